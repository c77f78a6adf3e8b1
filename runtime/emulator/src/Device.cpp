//===- Device.cpp - Buffers, OS threads and launches ----------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Block.h"
#include "ganq/driver_abi.h"
#include <algorithm>
#include <condition_variable>
#include <cstdio>
#include <cstring>
#include <exception>
#include <new>
#include <thread>

using namespace ganq::simt;

namespace {
/// OS threads that stay between launches.
class Workers {
public:
  ~Workers() {
    {
      std::lock_guard<std::mutex> lock(mutex);
      launch = nullptr;
      stop = true;
    }
    wake.notify_all();
    for (std::thread &thread : threads)
      thread.join();
  }

  /// Runs all blocks on `count` threads, the caller's among them, or on as many
  /// as the system gives.
  void run(Launch &l, uint32_t count) {
    if (blocks.empty())
      blocks.push_back(std::make_unique<Block>());
    {
      std::lock_guard<std::mutex> lock(mutex);
      launch = &l;
      ++round;
      try {
        while (blocks.size() < count)
          blocks.push_back(std::make_unique<Block>());
        while (threads.size() < count - 1)
          threads.emplace_back(&Workers::work, this, threads.size(), round - 1);
      } catch (const std::exception &) {
        count = uint32_t(std::min(blocks.size(), threads.size() + 1));
      }
      wanted = count - 1;
      pending = count - 1;
    }
    if (count > 1)
      wake.notify_all();
    blocks[0]->work(l);
    std::unique_lock<std::mutex> lock(mutex);
    done.wait(lock, [&] { return pending == 0; });
    launch = nullptr;
  }

private:
  void work(size_t index, uint64_t seen) {
    std::unique_lock<std::mutex> lock(mutex);
    for (;;) {
      wake.wait(lock, [&] { return stop || round != seen; });
      if (stop)
        return;
      seen = round;
      if (index >= wanted)
        continue;
      Launch *current = launch;
      Block &block = *blocks[index + 1];
      lock.unlock();
      block.work(*current);
      lock.lock();
      if (--pending == 0)
        done.notify_all();
    }
  }

  std::mutex mutex;
  std::condition_variable wake, done;
  std::vector<std::thread> threads;
  std::vector<std::unique_ptr<Block>> blocks;
  Launch *launch = nullptr;
  uint32_t wanted = 0, pending = 0;
  uint64_t round = 0;
  bool stop = false;
};
} // namespace

struct ganq_simt_device {
  std::vector<Buffer> buffers; ///< Sorted by address, without overlaps.
  ganq_simt_options options = {GANQ_SIMT_FORWARD, 0, 0, 0};
  std::string message;
  std::unique_ptr<Workers> workers = std::make_unique<Workers>();
};

ganq_simt_device *ganq_simt_create(void) {
  return new (std::nothrow) ganq_simt_device;
}

void ganq_simt_destroy(ganq_simt_device *device) { delete device; }

void ganq_simt_configure(ganq_simt_device *device,
                         const ganq_simt_options *options) {
  device->options = *options;
}

static void addBuffer(std::vector<Buffer> &buffers, Buffer buffer) {
  buffers.erase(
      std::remove_if(buffers.begin(), buffers.end(),
                     [&](const Buffer &other) {
                       return other.begin < buffer.begin + buffer.bytes &&
                              buffer.begin < other.begin + other.bytes;
                     }),
      buffers.end());
  auto place = std::upper_bound(
      buffers.begin(), buffers.end(), buffer,
      [](const Buffer &a, const Buffer &b) { return a.begin < b.begin; });
  buffers.insert(place, std::move(buffer));
}

void ganq_simt_add_buffer(ganq_simt_device *device, const void *data,
                          uint64_t bytes, const char *name, int read_only) {
  if (bytes == 0)
    return;
  addBuffer(device->buffers, {reinterpret_cast<uint64_t>(data), bytes,
                              name ? name : "", read_only != 0});
}

void ganq_simt_remove_buffer(ganq_simt_device *device, const void *data) {
  uint64_t address = reinterpret_cast<uint64_t>(data);
  auto &buffers = device->buffers;
  buffers.erase(
      std::remove_if(buffers.begin(), buffers.end(),
                     [&](const Buffer &b) { return b.begin == address; }),
      buffers.end());
}

const char *ganq_simt_message(const ganq_simt_device *device) {
  return device->message.c_str();
}

//===----------------------------------------------------------------------===//
// Launches
//===----------------------------------------------------------------------===//

static std::string describe(const uint32_t size[3]) {
  return "(" + std::to_string(size[0]) + ", " + std::to_string(size[1]) + ", " +
         std::to_string(size[2]) + ")";
}

/// What CUDA refuses as well, or an empty text.
static std::string checkSizes(const ganq_simt_kernel &kernel,
                              const uint32_t grid[3], const uint32_t block[3],
                              uint64_t dynamicShared, uint32_t numArgs) {
  uint64_t lanes = uint64_t(block[0]) * block[1] * block[2];
  if (!block[0] || !block[1] || !block[2] || block[0] > kMaxLanes ||
      block[1] > kMaxLanes || block[2] > 64 || lanes > kMaxLanes)
    return "expected a block of 1 to 1024 threads, at most 64 of them along z, "
           "but got " +
           describe(block);
  if (!grid[0] || !grid[1] || !grid[2] || grid[0] > INT32_MAX ||
      grid[1] > 65535 || grid[2] > 65535)
    return "expected a grid of 1 to 2147483647, 65535 and 65535 blocks, but "
           "got " +
           describe(grid);
  uint64_t shared = kernel.static_shared_bytes + dynamicShared;
  if (dynamicShared > GANQ_MAX_SHARED_BYTES || shared > GANQ_MAX_SHARED_BYTES)
    return "expected at most " + std::to_string(GANQ_MAX_SHARED_BYTES) +
           " bytes of shared memory, but got " +
           std::to_string(kernel.static_shared_bytes) + " static and " +
           std::to_string(dynamicShared) + " dynamic ones";
  if (numArgs != kernel.num_params)
    return "expected " + std::to_string(kernel.num_params) +
           " arguments, but got " + std::to_string(numArgs);
  return "";
}

static bool runOnce(ganq_simt_device &device, const ganq_simt_module &module,
                    const ganq_simt_kernel &kernel, const uint32_t grid[3],
                    const uint32_t block[3], uint64_t dynamicShared,
                    void *const *args, ganq_simt_order order,
                    const std::vector<Buffer> &buffers) {
  Launch launch;
  launch.module = &module;
  launch.kernel = &kernel;
  launch.args = args;
  std::copy_n(grid, 3, launch.grid);
  std::copy_n(block, 3, launch.block);
  launch.lanes = block[0] * block[1] * block[2];
  launch.dynamicSharedBytes = dynamicShared;
  launch.order = order;
  launch.seed = device.options.seed;
  launch.iterationLimit = device.options.iteration_limit
                              ? device.options.iteration_limit
                              : uint64_t(1) << 32;
  launch.buffers = &buffers;

  uint64_t blocks = uint64_t(grid[0]) * grid[1] * grid[2];
  uint64_t threads = std::max(1u, std::thread::hardware_concurrency());
  // More of them would gain nothing but take memory.
  if (device.options.threads > 0)
    threads = std::min<uint64_t>(device.options.threads, 4 * threads);
  device.workers->run(launch, uint32_t(std::min<uint64_t>(threads, blocks)));
  if (launch.stopped)
    device.message = launch.message;
  return !launch.stopped;
}

namespace {
/// The bytes of all buffers that a kernel may write.
using Snapshot = std::vector<std::vector<char>>;
} // namespace

static Snapshot takeSnapshot(const std::vector<Buffer> &buffers) {
  Snapshot snapshot;
  for (const Buffer &buffer : buffers) {
    const char *data = reinterpret_cast<const char *>(buffer.begin);
    snapshot.emplace_back();
    if (!buffer.readOnly)
      snapshot.back().assign(data, data + buffer.bytes);
  }
  return snapshot;
}

static void restore(const std::vector<Buffer> &buffers,
                    const Snapshot &snapshot) {
  for (size_t i = 0; i < buffers.size(); ++i)
    if (!buffers[i].readOnly)
      memcpy(reinterpret_cast<void *>(buffers[i].begin), snapshot[i].data(),
             snapshot[i].size());
}

/// Runs the launch in each order; the buffers hold the result of the first.
static bool runAllOrders(ganq_simt_device &device,
                         const ganq_simt_module &module,
                         const ganq_simt_kernel &kernel, const uint32_t grid[3],
                         const uint32_t block[3], uint64_t dynamicShared,
                         void *const *args,
                         const std::vector<Buffer> &buffers) {
  Snapshot before = takeSnapshot(buffers), forward;
  const std::pair<ganq_simt_order, const char *> orders[] = {
      {GANQ_SIMT_FORWARD, "forward"},
      {GANQ_SIMT_REVERSE, "reverse"},
      {GANQ_SIMT_RANDOM, "random"}};
  for (auto [order, name] : orders) {
    if (order != GANQ_SIMT_FORWARD)
      restore(buffers, before);
    if (!runOnce(device, module, kernel, grid, block, dynamicShared, args,
                 order, buffers)) {
      device.message += std::string(", lanes run in ") + name + " order";
      return false;
    }
    if (order == GANQ_SIMT_FORWARD) {
      forward = takeSnapshot(buffers);
      continue;
    }
    for (size_t i = 0; i < buffers.size(); ++i) {
      const char *data = reinterpret_cast<const char *>(buffers[i].begin);
      const std::vector<char> &expected = forward[i];
      auto differs = std::mismatch(expected.begin(), expected.end(), data);
      if (differs.first == expected.end())
        continue;
      device.message =
          "expected the same result in every order of lanes, but byte " +
          std::to_string(differs.first - expected.begin()) + " of buffer `" +
          buffers[i].name + "` differs between forward and " + name +
          " order (kernel `" + kernel.name +
          "`); threads race, a barrier may be missing";
      restore(buffers, forward);
      return false;
    }
  }
  restore(buffers, forward);
  return true;
}

static int launch(ganq_simt_device *device, const ganq_simt_module *module,
                  const char *kernel, const uint32_t grid[3],
                  const uint32_t block[3], uint64_t dynamic_shared_bytes,
                  void *const *args, uint32_t num_args) {
  auto fail = [&](std::string message) {
    device->message = std::move(message);
    return -1;
  };
  if (module->abi != GANQ_SIMT_ABI)
    return fail("expected kernels for version " +
                std::to_string(GANQ_SIMT_ABI) + " of the emulator, but got " +
                std::to_string(module->abi) + "; compile them again");
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma"))
    return fail("expected a processor with AVX2 and FMA, but this one has not");

  const ganq_simt_kernel *found = nullptr;
  for (uint32_t i = 0; i < module->num_kernels; ++i)
    if (strcmp(module->kernels[i].name, kernel) == 0)
      found = &module->kernels[i];
  if (!found) {
    std::string names;
    for (uint32_t i = 0; i < module->num_kernels; ++i)
      names += std::string(i ? ", `" : "`") + module->kernels[i].name + "`";
    return fail("expected one of the kernels " + names + ", but got `" +
                kernel + "`");
  }
  std::string wrong =
      checkSizes(*found, grid, block, dynamic_shared_bytes, num_args);
  if (!wrong.empty())
    return fail(wrong + " (kernel `" + kernel + "`)");

  // Copied only where the module adds to them: models have many.
  std::vector<Buffer> own;
  for (uint32_t i = 0; i < module->num_variables; ++i) {
    const ganq_simt_variable &variable = module->variables[i];
    if (!variable.bytes)
      continue;
    if (own.empty())
      own = device->buffers;
    addBuffer(own, {reinterpret_cast<uint64_t>(variable.data), variable.bytes,
                    variable.name, variable.read_only != 0});
  }
  const std::vector<Buffer> &buffers = own.empty() ? device->buffers : own;
  bool good =
      device->options.order == GANQ_SIMT_ALL_ORDERS
          ? runAllOrders(*device, *module, *found, grid, block,
                         dynamic_shared_bytes, args, buffers)
          : runOnce(*device, *module, *found, grid, block, dynamic_shared_bytes,
                    args, device->options.order, buffers);
  return good ? 0 : -1;
}

int ganq_simt_launch(ganq_simt_device *device, const ganq_simt_module *module,
                     const char *kernel, const uint32_t grid[3],
                     const uint32_t block[3], uint64_t dynamic_shared_bytes,
                     void *const *args, uint32_t num_args) {
  try {
    return launch(device, module, kernel, grid, block, dynamic_shared_bytes,
                  args, num_args);
  } catch (const std::bad_alloc &) {
    device->message = "expected memory for the launch, but got none";
    return -1;
  }
}
