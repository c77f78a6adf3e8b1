//===- TestKernel.h - Kernels written by hand -------------------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_EMULATOR_TEST_TESTKERNEL_H
#define GANQ_EMULATOR_TEST_TESTKERNEL_H

#include "ganq/emulator.h"
#include <memory>
#include <string>
#include <vector>

namespace ganq::simt {

using Entry = void (*)(ganq_simt_lane *lane, void *const *args);

/// Places that the tests name in calls.
constexpr const char *kPlaces[] = {"k.mlir:1:1", "k.mlir:2:2", "k.mlir:3:3"};

/// A device and a module of one kernel `k` with one pointer as its parameter.
struct TestKernel {
  explicit TestKernel(Entry entry, uint64_t staticShared = 0,
                      bool checked = true)
      : device(ganq_simt_create(), ganq_simt_destroy) {
    kernel = {"k", entry, staticShared, 1, checked, 0};
    module = {GANQ_SIMT_ABI, 1, 0, 3, 4, 0, &kernel, nullptr, kPlaces};
    options = {GANQ_SIMT_FORWARD, 0, 2, 0};
  }

  /// The message, or nothing when the launch went well.
  std::string run(void *data, uint32_t threads, uint32_t blocks = 1,
                  uint64_t dynamicShared = 0) {
    uint32_t grid[3] = {blocks, 1, 1}, block[3] = {threads, 1, 1};
    void *args[] = {&data};
    ganq_simt_configure(device.get(), &options);
    if (ganq_simt_launch(device.get(), &module, "k", grid, block, dynamicShared,
                         args, 1) == 0)
      return "";
    return ganq_simt_message(device.get());
  }

  std::unique_ptr<ganq_simt_device, void (*)(ganq_simt_device *)> device;
  ganq_simt_kernel kernel;
  ganq_simt_module module;
  ganq_simt_options options;
};

template <typename T> T *getPointer(void *const *args) {
  return *static_cast<T *const *>(args[0]);
}

inline bool contains(const std::string &text, const std::string &part) {
  return text.find(part) != std::string::npos;
}

} // namespace ganq::simt

#endif // GANQ_EMULATOR_TEST_TESTKERNEL_H
