//===- DeviceModel.h - A model's code and weights on a device ---*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_RUNTIME_SRC_DEVICEMODEL_H
#define GANQ_RUNTIME_SRC_DEVICEMODEL_H

#include "CodeLibrary.h"
#include "Device.h"
#include "ganq/runtime/manifest.h"
#include "ganq/runtime/safetensors.h"
#include <map>

namespace ganq::runtime {

/// What all sessions of a model share: the device, its code and the parameters
/// in its memory.
class DeviceModel {
public:
  /// Opens the device that the manifest asks for and loads everything into it.
  /// Manifest and file have been checked.
  static Result<std::unique_ptr<DeviceModel>> load(const Manifest &manifest,
                                                   const Safetensors &file,
                                                   std::string_view code);

  const Manifest &manifest() const { return *about; }
  const Device &device() const { return *opened; }
  uint64_t parameter(int64_t index) const {
    return parameters[size_t(index)].get();
  }
  void *kernel(const std::string &name) const { return kernels.at(name); }

  /// Bytes per second that a copy within the device's memory reads and writes.
  Result<double> copyBandwidth() const;

private:
  DeviceModel() = default;
  Status loadModule(std::string_view code, const std::string &where);
  Status resolve(const Launch &launch);
  Status upload(const Safetensors &file);

  const Manifest *about = nullptr;
  // Freed in reverse order.
  std::unique_ptr<Device> opened;
  std::unique_ptr<CodeLibrary> library; ///< the emulator's code
  DriverObject module;
  std::map<std::string, void *> kernels;
  std::map<std::string, uint32_t> sharedBytes; ///< the most of its launches
  std::vector<DeviceMemory> parameters;
};

} // namespace ganq::runtime

#endif // GANQ_RUNTIME_SRC_DEVICEMODEL_H
