//===- Device.cpp - A GPU, or its emulator, behind a driver ---------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Device.h"
#include <algorithm>

namespace ganq::runtime {

/// What a user can do about an error; empty if nothing is known.
static const char *remedy(int result) {
  switch (result) {
  case GANQ_DRIVER_OUT_OF_MEMORY:
    return "free memory of the device, or compile the model to fewer bits or a "
           "shorter context";
  case GANQ_DRIVER_INVALID_IMAGE:
  case GANQ_DRIVER_NO_BINARY_FOR_GPU:
  case GANQ_DRIVER_UNSUPPORTED_PTX:
    return "update NVIDIA's driver, or compile the model with the CUDA toolkit "
           "of its version";
  case GANQ_DRIVER_SYSTEM_MISMATCH:
    return "NVIDIA's driver was updated; restart the machine";
  case GANQ_DRIVER_NO_DEVICE:
    return "check with nvidia-smi and CUDA_VISIBLE_DEVICES, or compile the "
           "model with --target=cpu";
  case GANQ_DRIVER_OUT_OF_RESOURCES:
    return "compile the model for this chip";
  // After these every call fails until the process ends (cuda.h, CUresult).
  case GANQ_DRIVER_ILLEGAL_ADDRESS:
  case GANQ_DRIVER_LAUNCH_TIMEOUT:
  case GANQ_DRIVER_CONTEXT_DESTROYED:
  case GANQ_DRIVER_ASSERT:
  case GANQ_DRIVER_HARDWARE_STACK_ERROR:
  case GANQ_DRIVER_ILLEGAL_INSTRUCTION:
  case GANQ_DRIVER_MISALIGNED_ADDRESS:
  case GANQ_DRIVER_INVALID_ADDRESS_SPACE:
  case GANQ_DRIVER_INVALID_PC:
  case GANQ_DRIVER_LAUNCH_FAILED:
    return "the device's state is lost; start the process again";
  default:
    return "";
  }
}

Status Device::check(int result, const std::string &action) const {
  if (result == GANQ_DRIVER_SUCCESS)
    return Status();
  const char *known = nullptr, *text = nullptr;
  std::string name = "unknown error " + std::to_string(result);
  if (table.error_name(result, &known) == 0 && known)
    name = known;
  if (table.error_string(result, &text) != 0 || !text)
    text = "the driver does not explain it";
  std::string message = "cannot " + action + ": " + name + ": " + text;
  // The emulator's text says what is wrong; nothing is lost there.
  if (const char *help = remedy(result); *help && !table.name_memory)
    message += std::string(" (") + help + ")";
  return Status(result == GANQ_DRIVER_OUT_OF_MEMORY ? Code::OutOfMemory
                : result == GANQ_DRIVER_NO_DEVICE ||
                        result == GANQ_DRIVER_NO_BINARY_FOR_GPU ||
                        result == GANQ_DRIVER_INVALID_IMAGE ||
                        result == GANQ_DRIVER_UNSUPPORTED_PTX ||
                        result == GANQ_DRIVER_SYSTEM_MISMATCH
                    ? Code::Unsupported
                    : Code::Failed,
                message);
}

Result<std::unique_ptr<Device>> Device::open(const ganq_driver &driver) {
  std::unique_ptr<Device> device(new Device(driver));
  Status status = device->check(driver.init(0), "start the driver");
  int count = 0;
  if (status.ok())
    status = device->check(driver.device_count(&count), "count the devices");
  if (status.ok() && count < 1)
    status = device->check(GANQ_DRIVER_NO_DEVICE, "find a device");
  if (status.ok())
    status =
        device->check(driver.device_get(&device->ordinal, 0), "find a device");
  auto attribute = [&](int &value, int which) {
    if (status.ok())
      status =
          device->check(driver.device_attribute(&value, which, device->ordinal),
                        "ask for the device's properties");
  };
  attribute(device->capability[0], GANQ_DEVICE_CAPABILITY_MAJOR);
  attribute(device->capability[1], GANQ_DEVICE_CAPABILITY_MINOR);
  attribute(device->shared, GANQ_DEVICE_SHARED_BYTES);
  attribute(device->cache, GANQ_DEVICE_CACHE_BYTES);
  char name[256] = "";
  if (status.ok())
    status = device->check(
        driver.device_name(name, int(sizeof(name)) - 1, device->ordinal),
        "ask for the device's name");
  device->deviceName = name;
  void *context = nullptr;
  if (status.ok())
    status = device->check(driver.context_retain(&context, device->ordinal),
                           "use the device '" + device->deviceName + "'");
  if (!status.ok())
    return status;
  device->context = context;
  return device;
}

Device::~Device() {
  if (context)
    table.context_release(ordinal);
}

//===----------------------------------------------------------------------===//
// What is made on a device
//===----------------------------------------------------------------------===//

Result<DeviceMemory> allocate(const Device &device, int64_t bytes,
                              const std::string &what, bool readOnly) {
  const ganq_driver &driver = device.driver();
  // The driver refuses to allocate nothing.
  bytes = std::max<int64_t>(bytes, 1);
  uint64_t address = 0;
  int result = driver.memory_allocate(&address, size_t(bytes));
  if (result != 0) {
    std::string action =
        "allocate " + std::to_string(bytes) + " bytes for " + what;
    size_t available = 0, total = 0;
    if (driver.memory_info(&available, &total) == 0)
      action += " on '" + device.name() + "', which has " +
                std::to_string(available) + " of " + std::to_string(total) +
                " bytes left";
    return device.check(result, action);
  }
  DeviceMemory memory(device, address, &ganq_driver::memory_free);
  if (driver.name_memory)
    if (Status status = device.check(
            driver.name_memory(address, size_t(bytes), what.c_str(), readOnly),
            "name memory");
        !status.ok())
      return status;
  return memory;
}

Result<DriverObject> allocateHost(const Device &device, int64_t bytes) {
  void *memory = nullptr;
  bytes = std::max<int64_t>(bytes, 1);
  if (Status status =
          device.check(device.driver().host_allocate(&memory, size_t(bytes)),
                       "allocate " + std::to_string(bytes) +
                           " bytes of the host's memory for copies");
      !status.ok())
    return status;
  return DriverObject(device, memory, &ganq_driver::host_free);
}

Result<DriverObject> createStream(const Device &device) {
  void *stream = nullptr;
  if (Status status = device.check(
          device.driver().stream_create(&stream, GANQ_STREAM_NON_BLOCKING),
          "create a stream");
      !status.ok())
    return status;
  return DriverObject(device, stream, &ganq_driver::stream_destroy);
}

Result<DriverObject> createEvent(const Device &device) {
  void *event = nullptr;
  if (Status status = device.check(device.driver().event_create(&event, 0),
                                   "create an event");
      !status.ok())
    return status;
  return DriverObject(device, event, &ganq_driver::event_destroy);
}

} // namespace ganq::runtime
