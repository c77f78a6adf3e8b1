//===- Emulator.h - GPU kernels on the host ---------------------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Runs the kernels of a `gpu.module` at the NVVM level (`llvm.func`s with
// `nvvm.kernel` that hold LLVM and nvvm ops only: what convert-gpu-to-nvvm
// leaves) on this machine. docs/Emulator.md says what is emulated and which
// mistakes are found.
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_EMULATOR_EMULATOR_H
#define GANQ_EMULATOR_EMULATOR_H

#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/Support/Error.h"
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace ganq {

/// The order in which the lanes of a block run between two points where they
/// wait. A kernel without races gives the same result in each.
enum class LaneOrder {
  Forward,
  Reverse,
  Random, ///< A permutation per block, drawn from `EmulatorOptions::seed`.
  /// Runs each launch forward, in reverse and at random, and fails when the
  /// registered buffers differ afterwards. The result is the forward one.
  All
};

struct EmulatorOptions {
  LaneOrder order = LaneOrder::Forward;
  uint64_t seed = 0;
  /// OS threads that run blocks side by side, at most four per processor; 0
  /// takes one per processor.
  int threads = 0;
  /// Checks every access: bounds of registered buffers, alignment, reads of
  /// shared memory that nobody wrote, divisors of zero. Without it only what
  /// the runtime sees anyhow is checked: barriers, warp operations, cp.async.
  bool check = true;
  /// Loop iterations of one block after which a launch fails because it seems
  /// to wait for ever. Not counted without `check`.
  uint64_t iterationLimit = uint64_t(1) << 32;
  int optLevel = 2; ///< 0 to 3, for LLVM's pipeline.
  /// A processor that `CpuTarget::get` knows.
  std::string cpu = "host";
};

/// Sizes of a grid in blocks or of a block in threads.
struct Dim3 {
  int64_t x = 1, y = 1, z = 1;
};

/// A compiled `gpu.module`. One launch at a time.
class EmulatedModule {
public:
  /// Compiles all kernels of `module`, which stays as it is. An error names
  /// what cannot be emulated and where it stands.
  static llvm::Expected<std::unique_ptr<EmulatedModule>>
  create(mlir::gpu::GPUModuleOp module, const EmulatorOptions &options = {});
  ~EmulatedModule();

  /// Declares [data, data + bytes) to be memory of the device, called `name` in
  /// messages. With `check`, a kernel may touch no other global memory. A
  /// buffer that overlaps an older one replaces it.
  void addBuffer(const void *data, int64_t bytes, llvm::StringRef name = "",
                 bool readOnly = false);
  void removeBuffer(const void *data);

  /// Runs `kernel` and waits for it. `args[i]` points to the value of the
  /// kernel's i-th parameter (a pointer, integer or float), as with
  /// cuLaunchKernel. Fails with what the kernel did wrong, where, and which
  /// lanes of which block did it.
  llvm::Error launch(llvm::StringRef kernel, Dim3 grid, Dim3 block,
                     int64_t dynamicSharedBytes, llvm::ArrayRef<void *> args);

  /// Bytes of static shared memory that `kernel` uses, or an error when there
  /// is no such kernel.
  llvm::Expected<int64_t> getStaticSharedBytes(llvm::StringRef kernel) const;

  /// How launches from here on run: order, seed, threads and iterationLimit.
  /// The other options belong to the compiled code and stay.
  void setRunOptions(const EmulatorOptions &options);

private:
  struct Impl;
  explicit EmulatedModule(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl;
};

/// Compiles the kernels of `module` to an x86-64 ELF object that defines
/// `ganq_simt_module` (runtime/emulator/include/ganq/emulator.h) and needs only
/// `ganq_simt_*` and the C library with libm.
llvm::Expected<std::vector<char>>
compileToEmulatedObject(mlir::gpu::GPUModuleOp module,
                        const EmulatorOptions &options = {});

} // namespace ganq

#endif // GANQ_EMULATOR_EMULATOR_H
