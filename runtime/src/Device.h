//===- Device.h - A GPU, or its emulator, behind a driver -------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_RUNTIME_SRC_DEVICE_H
#define GANQ_RUNTIME_SRC_DEVICE_H

#include "ganq/driver_abi.h"
#include "ganq/runtime/status.h"
#include <memory>

namespace ganq::runtime {

/// Fills the table from NVIDIA's driver: libcuda.so.1, or what the environment
/// variable GANQ_CUDA_DRIVER names.
Result<ganq_driver> loadCudaDriver();

/// Fills the table from libganq_emulator.so, which is loaded so that code for
/// it finds `ganq_simt_*`.
Result<ganq_driver> loadEmulatorDriver();

/// A device with its primary context, which it releases at the end.
class Device {
public:
  static Result<std::unique_ptr<Device>> open(const ganq_driver &driver);
  ~Device();
  Device(const Device &) = delete;
  Device &operator=(const Device &) = delete;

  const ganq_driver &driver() const { return table; }
  const std::string &name() const { return deviceName; }
  int major() const { return capability[0]; }
  int minor() const { return capability[1]; }
  /// Dynamic and static shared memory that a block can have.
  int sharedBytes() const { return shared; }
  /// What the device caches of its memory (L2).
  int cacheBytes() const { return cache; }

  /// Success, or an error with the driver's name and text for `result`.
  /// `action` is what could not be done: "launch the kernel 'k'".
  Status check(int result, const std::string &action) const;

  /// Makes the device's context the thread's while it lives, if `status` says
  /// so; other calls would go to whatever context the thread has.
  class Scope {
  public:
    explicit Scope(const Device &device)
        : device(device), result(device.table.context_push(device.context)) {}
    ~Scope() {
      void *context;
      if (entered())
        device.table.context_pop(&context);
    }
    bool entered() const { return result == GANQ_DRIVER_SUCCESS; }
    Status status() const {
      return device.check(result, "use the device '" + device.name() + "'");
    }
    Scope(const Scope &) = delete;
    Scope &operator=(const Scope &) = delete;

  private:
    const Device &device;
    const int result;
  };

private:
  explicit Device(const ganq_driver &driver) : table(driver) {}

  ganq_driver table;
  std::string deviceName;
  int ordinal = 0;
  void *context = nullptr;
  int capability[2] = {0, 0};
  int shared = 0, cache = 0;
};

/// What a driver's function has made and another one frees; the end of the
/// device's context does where the context cannot be entered.
template <typename Handle> class Owned {
public:
  using Release = int (*ganq_driver::*)(Handle);

  Owned() = default;
  Owned(const Device &device, Handle handle, Release release)
      : device(&device), handle(handle), release(release) {}
  Owned(Owned &&other) noexcept { swap(other); }
  Owned &operator=(Owned &&other) noexcept {
    Owned moved(std::move(other));
    swap(moved);
    return *this;
  }
  ~Owned() {
    if (!device)
      return;
    Device::Scope scope(*device);
    if (scope.entered())
      (device->driver().*release)(handle);
  }

  Handle get() const { return handle; }
  explicit operator bool() const { return device; }

private:
  void swap(Owned &other) {
    std::swap(device, other.device);
    std::swap(handle, other.handle);
    std::swap(release, other.release);
  }

  const Device *device = nullptr;
  Handle handle = {};
  Release release = nullptr;
};

/// Memory of the device; its address is at a multiple of 256.
using DeviceMemory = Owned<uint64_t>;
/// Memory of the host that the device reads and writes directly, or a module,
/// stream, event or graph.
using DriverObject = Owned<void *>;

/// The context must be the thread's. `what` names the memory in errors and in
/// the emulator's messages.
Result<DeviceMemory> allocate(const Device &device, int64_t bytes,
                              const std::string &what, bool readOnly);
Result<DriverObject> allocateHost(const Device &device, int64_t bytes);
Result<DriverObject> createStream(const Device &device);
Result<DriverObject> createEvent(const Device &device);

} // namespace ganq::runtime

#endif // GANQ_RUNTIME_SRC_DEVICE_H
