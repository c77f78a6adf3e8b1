//===- DeviceModel.cpp - A model's code and weights on a device -----------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "DeviceModel.h"
#include "Program.h"
#include "ganq/runtime/thread_pool.h"
#include <algorithm>
#include <cstring>
#include <elf.h>

namespace ganq::runtime {

/// The chip of the file whose code runs on the device and uses most of it, or
/// null. Code runs on its chip and on later ones of the same major version;
/// with an `a` behind its name on its chip only (CUDA's rules for cubins).
static const ChipCode *chooseChip(const std::vector<ChipCode> &chips,
                                  const Device &device) {
  const ChipCode *best = nullptr;
  int bestRank = -1;
  for (const ChipCode &code : chips) {
    std::optional<ChipName> chip = parseChip(code.chip);
    if (chip->major != device.major() || chip->minor > device.minor() ||
        (chip->suffix == 'a' && chip->minor != device.minor()))
      continue;
    int rank = 4 * chip->minor + (chip->suffix == 'a'   ? 2
                                  : chip->suffix == 'f' ? 1
                                                        : 0);
    if (rank > bestRank)
      best = &code, bestRank = rank;
  }
  return best;
}

/// Whether the bytes are machine code for GPUs, with all of its tables. The
/// driver gets no size, and reads anything else as the text of a program.
static bool isCubin(std::string_view bytes) {
  Elf64_Ehdr header;
  if (bytes.size() < sizeof(header))
    return false;
  memcpy(&header, bytes.data(), sizeof(header));
  auto within = [&](uint64_t offset, uint64_t table) {
    return offset <= bytes.size() && table <= bytes.size() - offset;
  };
  return memcmp(header.e_ident, ELFMAG, SELFMAG) == 0 &&
         header.e_ident[EI_CLASS] == ELFCLASS64 &&
         header.e_machine == EM_CUDA &&
         within(header.e_shoff,
                uint64_t(header.e_shnum) * header.e_shentsize) &&
         within(header.e_phoff, uint64_t(header.e_phnum) * header.e_phentsize);
}

Status DeviceModel::loadModule(std::string_view code,
                               const std::string &where) {
  const ganq_driver &driver = opened->driver();
  const void *image = nullptr;
  std::vector<char> aligned;
  if (about->arch == "emulator") {
    Result<std::unique_ptr<CodeLibrary>> loaded =
        CodeLibrary::load(code, where);
    if (!loaded.ok())
      return loaded.status();
    library = std::move(*loaded);
    image = library->find("ganq_simt_module");
    if (!image)
      return Status(Code::InvalidFile,
                    where + ": there is no 'ganq_simt_module' (compile the "
                            "model with --target=emulator)");
  } else {
    const ChipCode *chip = chooseChip(about->chips, *opened);
    if (!chip) {
      std::string names;
      for (const ChipCode &other : about->chips)
        names += (names.empty() ? "" : ", ") + other.chip;
      std::string own = "sm_" + std::to_string(opened->major()) +
                        std::to_string(opened->minor());
      return Status(Code::Unsupported,
                    where + ": expected code for '" + opened->name() + "', " +
                        own + ", but got " + names +
                        " (compile the model with --chips=" + own + ")");
    }
    std::string_view cubin =
        code.substr(size_t(chip->offset), size_t(chip->bytes));
    if (!isCubin(cubin))
      return Status(Code::InvalidFile,
                    where + ": expected a cubin for " + chip->chip +
                        " in the " + std::to_string(chip->bytes) +
                        " bytes at " + std::to_string(chip->offset) +
                        ", but got something else (compile the model again)");
    // The file aligns the code, but not each chip's.
    aligned.assign(cubin.begin(), cubin.end());
    aligned.push_back('\0');
    image = aligned.data();
  }
  void *handle = nullptr;
  if (Status status = opened->check(driver.module_load(&handle, image),
                                    "load the model's code");
      !status.ok())
    return Status(status.code(), where + ": " + status.message());
  module = DriverObject(*opened, handle, &ganq_driver::module_unload);
  return Status();
}

/// Finds the launch's kernel and checks that it takes the arguments.
Status DeviceModel::resolve(const Launch &launch) {
  const ganq_driver &driver = opened->driver();
  std::string name = "kernel '" + launch.kernel + "'";
  auto [place, isNew] = kernels.try_emplace(launch.kernel, nullptr);
  if (isNew)
    if (Status status =
            opened->check(driver.module_function(&place->second, module.get(),
                                                 launch.kernel.c_str()),
                          "find the " + name + " in the model's code");
        !status.ok())
      return status;
  if (int64_t(launch.shared) > opened->sharedBytes())
    return Status(Code::Unsupported, name + ": expected at most " +
                                         std::to_string(opened->sharedBytes()) +
                                         " bytes of shared memory, which '" +
                                         opened->name() + "' has, but got " +
                                         std::to_string(launch.shared) +
                                         " (compile the model for this chip)");
  // Static and dynamic shared memory beyond 48 KiB must be asked for.
  uint32_t &shared = sharedBytes[launch.kernel];
  if (launch.shared > shared)
    if (Status status =
            opened->check(driver.function_set(
                              place->second, GANQ_FUNCTION_DYNAMIC_SHARED_BYTES,
                              int(launch.shared)),
                          "give the " + name + " shared memory");
        !status.ok())
      return status;
  shared = std::max(shared, launch.shared);

  if (!driver.function_parameter)
    return Status();
  for (size_t i = 0; i <= launch.arguments.size(); ++i) {
    size_t offset = 0, size = 0;
    int result = driver.function_parameter(place->second, i, &offset, &size);
    bool takes = result != GANQ_DRIVER_INVALID_VALUE;
    if (takes && result != 0)
      return opened->check(result, "ask for the arguments of the " + name);
    bool given = i < launch.arguments.size();
    LaunchArgument::Kind kind =
        given ? launch.arguments[i].kind : LaunchArgument::Kind::I32;
    size_t bytes =
        kind == LaunchArgument::Kind::I32 || kind == LaunchArgument::Kind::F32
            ? 4
            : 8;
    if (takes != given)
      return Status(Code::InvalidFile,
                    name + ": expected " + (takes ? "more than " : "") +
                        std::to_string(i) + " arguments, but got " +
                        std::to_string(launch.arguments.size()));
    if (given && size != 0 && size != bytes)
      return Status(Code::InvalidFile,
                    name + ": expected an argument " + std::to_string(i) +
                        " of " + std::to_string(size) + " bytes, but got " +
                        std::to_string(bytes));
  }
  return Status();
}

//===----------------------------------------------------------------------===//
// Parameters
//===----------------------------------------------------------------------===//

namespace {
/// Copies to the device through two buffers that take turns: while the device
/// fetches one, the other is filled from the file.
class Uploader {
public:
  static constexpr int64_t kMostBytes = int64_t(16) << 20; ///< of a buffer

  explicit Uploader(const Device &device) : device(device) {}
  /// Nothing may be freed, also after an error, while the device copies it.
  ~Uploader() {
    for (Lane &lane : lanes)
      if (lane.busy)
        (void)wait(lane);
  }

  /// `total` bytes will come.
  Status begin(int64_t total) {
    capacity = std::clamp<int64_t>(total, 1, kMostBytes);
    for (Lane &lane : lanes) {
      Result<DriverObject> memory = allocateHost(device, capacity);
      if (!memory.ok())
        return memory.status();
      lane.memory = std::move(*memory);
      Result<DriverObject> stream = createStream(device);
      if (!stream.ok())
        return stream.status();
      lane.stream = std::move(*stream);
    }
    return Status();
  }

  Status add(uint64_t to, const char *from, int64_t bytes) {
    while (bytes > 0) {
      if (used == capacity) {
        // The other buffer is free once its copies have ended.
        current ^= 1;
        used = 0;
        if (Status status = wait(lanes[current]); !status.ok())
          return status;
      }
      Lane &lane = lanes[current];
      char *staging = static_cast<char *>(lane.memory.get()) + used;
      int64_t count = std::min(bytes, capacity - used);
      read(staging, from, count);
      lane.busy = true;
      if (Status status =
              device.check(device.driver().copy_to_device(
                               to, staging, size_t(count), lane.stream.get()),
                           "copy the model to the device");
          !status.ok())
        return status;
      used += count;
      to += uint64_t(count);
      from += count;
      bytes -= count;
    }
    return Status();
  }

  Status finish() {
    Status first = wait(lanes[0]), second = wait(lanes[1]);
    return first.ok() ? second : first;
  }

private:
  struct Lane {
    DriverObject memory, stream;
    bool busy = false; ///< copies from it may be under way
  };

  Status wait(Lane &lane) {
    lane.busy = false;
    return device.check(device.driver().stream_synchronize(lane.stream.get()),
                        "copy the model to the device");
  }

  /// Reads the mapped file with all threads.
  static void read(char *to, const char *from, int64_t bytes) {
    constexpr int64_t piece = int64_t(1) << 20;
    struct Copy {
      char *to;
      const char *from;
      int64_t bytes;
    } copy{to, from, bytes};
    ThreadPool::instance().parallelFor(
        [](void *closure, int64_t lo, int64_t hi) {
          auto &copy = *static_cast<Copy *>(closure);
          int64_t begin = lo * piece, end = std::min(hi * piece, copy.bytes);
          memcpy(copy.to + begin, copy.from + begin, size_t(end - begin));
        },
        &copy, (bytes + piece - 1) / piece);
  }

  const Device &device;
  Lane lanes[2];
  int current = 0;
  int64_t capacity = 0, used = 0; ///< of each buffer, of the current one
};
} // namespace

Status DeviceModel::upload(const Safetensors &file) {
  int64_t total = 0;
  for (const std::string &name : about->parameters)
    total = std::min(total + file.find(name)->bytes, Uploader::kMostBytes);
  Uploader uploader(*opened);
  if (Status status = uploader.begin(total); !status.ok())
    return status;
  for (const std::string &name : about->parameters) {
    const TensorInfo &info = *file.find(name);
    Result<DeviceMemory> memory = allocate(
        *opened, info.bytes, "parameter '" + name + "'", /*readOnly=*/true);
    if (!memory.ok())
      return memory.status();
    parameters.push_back(std::move(*memory));
    if (Status status =
            uploader.add(parameters.back().get(), file.data(info), info.bytes);
        !status.ok())
      return status;
  }
  return uploader.finish();
}

Result<std::unique_ptr<DeviceModel>> DeviceModel::load(const Manifest &manifest,
                                                       const Safetensors &file,
                                                       std::string_view code) {
  auto at = [&](const Status &status) {
    return Status(status.code(), file.path() + ": " + status.message());
  };
  Result<ganq_driver> driver =
      manifest.arch == "emulator" ? loadEmulatorDriver() : loadCudaDriver();
  if (!driver.ok())
    return at(driver.status());
  Result<std::unique_ptr<Device>> device = Device::open(*driver);
  if (!device.ok())
    return at(device.status());
  std::unique_ptr<DeviceModel> model(new DeviceModel);
  model->about = &manifest;
  model->opened = std::move(*device);
  Device::Scope scope(*model->opened);
  if (Status status = scope.status(); !status.ok())
    return at(status);
  if (Status status = model->loadModule(code, file.path() + ": code tensor '" +
                                                  manifest.code + "'");
      !status.ok())
    return status;
  for (const std::optional<Entry> *entry :
       {&manifest.prefill, &manifest.prompt, &manifest.decode})
    if (*entry)
      for (const Launch &launch : (*entry)->launches)
        if (Status status = model->resolve(launch); !status.ok())
          return at(status);
  if (Status status = model->upload(file); !status.ok())
    return at(status);
  return model;
}

Result<double> DeviceModel::copyBandwidth() const {
  const ganq_driver &driver = opened->driver();
  Device::Scope scope(*opened);
  if (Status status = scope.status(); !status.ok())
    return status;
  size_t available = 0, total = 0;
  if (Status status = opened->check(driver.memory_info(&available, &total),
                                    "ask for free memory");
      !status.ok())
    return status;
  // Far more than the cache holds, where there is room for it.
  int64_t bytes = std::clamp<int64_t>(16 * int64_t(opened->cacheBytes()),
                                      int64_t(64) << 20, int64_t(1) << 30);
  bytes = std::clamp<int64_t>(int64_t(available / 4), 1 << 20, bytes);
  Result<DeviceMemory> from = allocate(*opened, bytes, "a copy", true);
  if (!from.ok())
    return from.status();
  Result<DeviceMemory> to = allocate(*opened, bytes, "a copy", false);
  if (!to.ok())
    return to.status();
  Result<DriverObject> stream = createStream(*opened);
  if (!stream.ok())
    return stream.status();
  Result<DriverObject> start = createEvent(*opened), end = createEvent(*opened);
  if (!start.ok() || !end.ok())
    return start.ok() ? end.status() : start.status();
  double best = 0;
  // The first pass wakes the device.
  for (int pass = 0; pass < 8; ++pass) {
    int result = driver.event_record(start->get(), stream->get());
    if (result == 0)
      result = driver.copy_within(to->get(), from->get(), size_t(bytes),
                                  stream->get());
    if (result == 0)
      result = driver.event_record(end->get(), stream->get());
    // Also after an error: nothing may be freed while the device copies it.
    if (int ended = driver.stream_synchronize(stream->get()); result == 0)
      result = ended;
    float milliseconds = 0;
    if (result == 0)
      result = driver.event_elapsed(&milliseconds, start->get(), end->get());
    if (Status status = opened->check(result, "copy within the device");
        !status.ok())
      return status;
    if (pass > 0 && milliseconds > 0)
      best = std::max(best, 2e3 * double(bytes) / double(milliseconds));
  }
  if (best == 0)
    return Status(Code::Failed, "cannot measure the device's copies: its "
                                "events give no time");
  return best;
}

} // namespace ganq::runtime
