//===- Driver.cpp - The emulator as a driver of a device ------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The functions of ganq/driver_abi.h over `ganq_simt_*`. Device memory is the
// host's, everything runs when it is asked for, and a stream in capture records
// instead. Mistakes of a kernel come out of error_string.
//
//===----------------------------------------------------------------------===//

#include "ganq/driver_abi.h"
#include "ganq/emulator.h"
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <unistd.h>
#include <vector>

namespace {

/// Unwritten memory of the device: a NaN in each float format.
constexpr int kPoison = 0xff;
constexpr size_t kAlignment = 256;

/// One device; a launch, or a copy, at a time: a launch in several orders puts
/// all buffers back in between.
struct Emulator {
  std::mutex mutex;
  int contexts = 0;
  ganq_simt_device *device = nullptr;
  /// The named parts of each allocation.
  std::map<uint64_t, std::vector<uint64_t>> memory;
};

Emulator &emulator() {
  // Never destroyed: models that live as long may still free their memory.
  static Emulator &instance = *new Emulator;
  return instance;
}

struct Module {
  const ganq_simt_module *code;
  /// Made at first use; handles stay valid as long as the module.
  std::map<std::string,
           std::pair<const ganq_simt_module *, const ganq_simt_kernel *>>
      functions;
};

using Function = std::pair<const ganq_simt_module *, const ganq_simt_kernel *>;
using Work = std::function<int()>;
using Graph = std::vector<Work>;

struct Stream {
  bool inCapture = false;
  Graph recorded;
};

using Clock = std::chrono::steady_clock;

/// The text of the thread's last failure.
thread_local int lastError = 0;
thread_local std::string lastText;

int fail(int error, std::string text) {
  lastError = error;
  lastText = std::move(text);
  return error;
}

/// Takes no memory itself.
int failOutOfMemory() {
  lastError = GANQ_DRIVER_OUT_OF_MEMORY;
  lastText.clear();
  return GANQ_DRIVER_OUT_OF_MEMORY;
}

/// Runs the work now, or when the graph that is being captured runs.
int submit(void *stream, Work work) {
  auto &target = *static_cast<Stream *>(stream);
  if (!target.inCapture)
    return work();
  target.recorded.push_back(std::move(work));
  return GANQ_DRIVER_SUCCESS;
}

/// Calls a function that may run out of memory; nothing is thrown to C.
template <typename Body> int guarded(Body body) {
  try {
    return body();
  } catch (const std::bad_alloc &) {
    return failOutOfMemory();
  }
}

int driverVersion(int *version) {
  *version = 0;
  return GANQ_DRIVER_SUCCESS;
}

int init(unsigned) { return GANQ_DRIVER_SUCCESS; }

int errorName(int, const char **text) {
  *text = "emulator";
  return GANQ_DRIVER_SUCCESS;
}

int errorString(int error, const char **text) {
  *text = error == GANQ_DRIVER_OUT_OF_MEMORY ? "the host has no more memory"
          : error == lastError               ? lastText.c_str()
                                             : "unknown error";
  return GANQ_DRIVER_SUCCESS;
}

int deviceCount(int *count) {
  *count = 1;
  return GANQ_DRIVER_SUCCESS;
}

int deviceGet(int *device, int ordinal) {
  *device = ordinal;
  return ordinal == 0 ? GANQ_DRIVER_SUCCESS
                      : fail(GANQ_DRIVER_INVALID_VALUE, "there is one device");
}

int deviceName(char *name, int length, int) {
  snprintf(name, size_t(length), "emulator");
  return GANQ_DRIVER_SUCCESS;
}

int deviceAttribute(int *value, int attribute, int) {
  // The sizes that ganq_simt_launch accepts; any capability.
  *value = attribute == GANQ_DEVICE_SHARED_BYTES ? GANQ_MAX_SHARED_BYTES : 0;
  return GANQ_DRIVER_SUCCESS;
}

/// What the environment asks for. False if it asks for an order that is none.
bool readOptions(ganq_simt_options &options) {
  options = {GANQ_SIMT_FORWARD, 0, 0, 0};
  if (const char *threads = getenv("GANQ_THREADS"))
    options.threads = int32_t(strtol(threads, nullptr, 10));
  const char *order = getenv("GANQ_EMULATOR_ORDER");
  if (!order || !*order)
    return true;
  const std::pair<const char *, ganq_simt_order> orders[] = {
      {"forward", GANQ_SIMT_FORWARD},
      {"reverse", GANQ_SIMT_REVERSE},
      {"random", GANQ_SIMT_RANDOM},
      {"all", GANQ_SIMT_ALL_ORDERS}};
  for (auto [name, value] : orders)
    if (strcmp(order, name) == 0) {
      options.order = value;
      return true;
    }
  return false;
}

int contextRetain(void **context, int) {
  ganq_simt_options options;
  if (!readOptions(options))
    return fail(GANQ_DRIVER_INVALID_VALUE,
                std::string("GANQ_EMULATOR_ORDER: expected forward, reverse, "
                            "random or all, but got '") +
                    getenv("GANQ_EMULATOR_ORDER") + "'");
  Emulator &e = emulator();
  std::lock_guard<std::mutex> lock(e.mutex);
  if (e.contexts == 0) {
    e.device = ganq_simt_create();
    if (!e.device)
      return failOutOfMemory();
    ganq_simt_configure(e.device, &options);
  }
  ++e.contexts;
  *context = &e;
  return GANQ_DRIVER_SUCCESS;
}

int contextRelease(int) {
  Emulator &e = emulator();
  std::lock_guard<std::mutex> lock(e.mutex);
  if (--e.contexts == 0) {
    ganq_simt_destroy(e.device);
    e.device = nullptr;
  }
  return GANQ_DRIVER_SUCCESS;
}

int contextPush(void *) { return GANQ_DRIVER_SUCCESS; }
int contextPop(void **context) {
  *context = &emulator();
  return GANQ_DRIVER_SUCCESS;
}

int moduleLoad(void **module, const void *image) {
  auto *code = static_cast<const ganq_simt_module *>(image);
  if (code->abi != GANQ_SIMT_ABI)
    return fail(GANQ_DRIVER_INVALID_IMAGE, "expected kernels for version " +
                                               std::to_string(GANQ_SIMT_ABI) +
                                               " of the emulator, but got " +
                                               std::to_string(code->abi) +
                                               " (compile the model again)");
  return guarded([&] {
    *module = new Module{code, {}};
    return GANQ_DRIVER_SUCCESS;
  });
}

int moduleUnload(void *module) {
  delete static_cast<Module *>(module);
  return GANQ_DRIVER_SUCCESS;
}

int moduleFunction(void **function, void *module, const char *name) {
  return guarded([&] {
    auto &m = *static_cast<Module *>(module);
    for (uint32_t i = 0; i < m.code->num_kernels; ++i)
      if (strcmp(m.code->kernels[i].name, name) == 0) {
        Function &made = m.functions[name];
        made = {m.code, &m.code->kernels[i]};
        *function = &made;
        return int(GANQ_DRIVER_SUCCESS);
      }
    return fail(GANQ_DRIVER_NOT_FOUND, "there is no such kernel");
  });
}

int functionSet(void *, int, int) { return GANQ_DRIVER_SUCCESS; }

int functionParameter(void *function, size_t index, size_t *offset,
                      size_t *size) {
  *offset = *size = 0;
  return index < static_cast<Function *>(function)->second->num_params
             ? GANQ_DRIVER_SUCCESS
             : GANQ_DRIVER_INVALID_VALUE;
}

/// What can be had without other programs' memory or swapping.
int memoryInfo(size_t *available, size_t *total) {
  size_t page = size_t(sysconf(_SC_PAGESIZE));
  *total = size_t(sysconf(_SC_PHYS_PAGES)) * page;
  // Fewer than can be had: the system's caches count as used.
  *available = size_t(sysconf(_SC_AVPHYS_PAGES)) * page;
  if (FILE *file = fopen("/proc/meminfo", "re")) {
    char line[128];
    unsigned long long kilobytes;
    while (fgets(line, sizeof(line), file))
      if (sscanf(line, "MemAvailable: %llu kB", &kilobytes) == 1)
        *available = size_t(kilobytes) << 10;
    fclose(file);
  }
  return GANQ_DRIVER_SUCCESS;
}

int nameMemory(uint64_t address, size_t bytes, const char *name,
               int read_only) {
  return guarded([&] {
    Emulator &e = emulator();
    std::lock_guard<std::mutex> lock(e.mutex);
    auto found = e.memory.upper_bound(address);
    if (found == e.memory.begin())
      return fail(GANQ_DRIVER_INVALID_VALUE, "the address is none of memory");
    std::prev(found)->second.push_back(address);
    ganq_simt_add_buffer(e.device, reinterpret_cast<void *>(address), bytes,
                         name, read_only);
    return int(GANQ_DRIVER_SUCCESS);
  });
}

int memoryAllocate(uint64_t *address, size_t bytes) {
  return guarded([&] {
    // A system that promises more memory than it has would end the process.
    size_t available = 0, total = 0;
    memoryInfo(&available, &total);
    size_t rounded = (bytes + kAlignment - 1) / kAlignment * kAlignment;
    void *memory =
        bytes > available ? nullptr : std::aligned_alloc(kAlignment, rounded);
    if (!memory)
      return failOutOfMemory();
    memset(memory, kPoison, rounded);
    *address = reinterpret_cast<uint64_t>(memory);
    Emulator &e = emulator();
    std::lock_guard<std::mutex> lock(e.mutex);
    e.memory[*address] = {*address};
    ganq_simt_add_buffer(e.device, memory, bytes, "memory", 0);
    return int(GANQ_DRIVER_SUCCESS);
  });
}

int memoryFree(uint64_t address) {
  Emulator &e = emulator();
  std::lock_guard<std::mutex> lock(e.mutex);
  auto found = e.memory.find(address);
  if (found == e.memory.end())
    return fail(GANQ_DRIVER_INVALID_VALUE, "the address is none of memory");
  for (uint64_t part : found->second)
    ganq_simt_remove_buffer(e.device, reinterpret_cast<void *>(part));
  e.memory.erase(found);
  free(reinterpret_cast<void *>(address));
  return GANQ_DRIVER_SUCCESS;
}

int hostAllocate(void **memory, size_t bytes) {
  *memory = malloc(bytes);
  return *memory ? GANQ_DRIVER_SUCCESS : failOutOfMemory();
}

int hostFree(void *memory) {
  free(memory);
  return GANQ_DRIVER_SUCCESS;
}

int copy(void *to, const void *from, size_t bytes, void *stream) {
  return guarded([&] {
    return submit(stream, [=] {
      std::lock_guard<std::mutex> lock(emulator().mutex);
      memcpy(to, from, bytes);
      return int(GANQ_DRIVER_SUCCESS);
    });
  });
}

int copyToDevice(uint64_t to, const void *from, size_t bytes, void *stream) {
  return copy(reinterpret_cast<void *>(to), from, bytes, stream);
}
int copyToHost(void *to, uint64_t from, size_t bytes, void *stream) {
  return copy(to, reinterpret_cast<const void *>(from), bytes, stream);
}
int copyWithin(uint64_t to, uint64_t from, size_t bytes, void *stream) {
  return copy(reinterpret_cast<void *>(to),
              reinterpret_cast<const void *>(from), bytes, stream);
}

int fill(uint64_t to, unsigned char value, size_t bytes, void *stream) {
  return guarded([&] {
    return submit(stream, [=] {
      std::lock_guard<std::mutex> lock(emulator().mutex);
      memset(reinterpret_cast<void *>(to), value, bytes);
      return int(GANQ_DRIVER_SUCCESS);
    });
  });
}

int streamCreate(void **stream, unsigned) {
  return guarded([&] {
    *stream = new Stream;
    return GANQ_DRIVER_SUCCESS;
  });
}

int streamDestroy(void *stream) {
  delete static_cast<Stream *>(stream);
  return GANQ_DRIVER_SUCCESS;
}

int streamSynchronize(void *) { return GANQ_DRIVER_SUCCESS; }

int eventCreate(void **event, unsigned) {
  return guarded([&] {
    *event = new Clock::time_point;
    return GANQ_DRIVER_SUCCESS;
  });
}

int eventDestroy(void *event) {
  delete static_cast<Clock::time_point *>(event);
  return GANQ_DRIVER_SUCCESS;
}

int eventRecord(void *event, void *stream) {
  return guarded([&] {
    return submit(stream, [=] {
      *static_cast<Clock::time_point *>(event) = Clock::now();
      return int(GANQ_DRIVER_SUCCESS);
    });
  });
}

int eventElapsed(float *milliseconds, void *start, void *end) {
  *milliseconds = std::chrono::duration<float, std::milli>(
                      *static_cast<Clock::time_point *>(end) -
                      *static_cast<Clock::time_point *>(start))
                      .count();
  return GANQ_DRIVER_SUCCESS;
}

int launch(void *function, unsigned gridX, unsigned gridY, unsigned gridZ,
           unsigned blockX, unsigned blockY, unsigned blockZ, unsigned shared,
           void *stream, void **args, void **) {
  return guarded([&] {
    auto [module, kernel] = *static_cast<Function *>(function);
    std::vector<uint64_t> values(kernel->num_params);
    for (size_t i = 0; i < values.size(); ++i)
      memcpy(&values[i], args[i], sizeof(uint64_t));
    return submit(stream, [=, module = module, kernel = kernel]() mutable {
      uint32_t grid[3] = {gridX, gridY, gridZ};
      uint32_t block[3] = {blockX, blockY, blockZ};
      std::vector<void *> pointers;
      for (uint64_t &value : values)
        pointers.push_back(&value);
      Emulator &e = emulator();
      std::lock_guard<std::mutex> lock(e.mutex);
      if (ganq_simt_launch(e.device, module, kernel->name, grid, block, shared,
                           pointers.data(), uint32_t(pointers.size())) == 0)
        return int(GANQ_DRIVER_SUCCESS);
      return fail(GANQ_DRIVER_LAUNCH_FAILED, ganq_simt_message(e.device));
    });
  });
}

int captureBegin(void *stream, int) {
  static_cast<Stream *>(stream)->inCapture = true;
  return GANQ_DRIVER_SUCCESS;
}

int captureEnd(void *stream, void **graph) {
  return guarded([&] {
    auto &s = *static_cast<Stream *>(stream);
    s.inCapture = false;
    *graph = new Graph(std::move(s.recorded));
    s.recorded.clear();
    return GANQ_DRIVER_SUCCESS;
  });
}

int graphInstantiate(void **executable, void *graph, uint64_t) {
  return guarded([&] {
    *executable = new Graph(*static_cast<Graph *>(graph));
    return GANQ_DRIVER_SUCCESS;
  });
}

int graphLaunch(void *executable, void *stream) {
  return guarded([&] {
    for (const Work &work : *static_cast<Graph *>(executable))
      if (int result = submit(stream, work))
        return result;
    return int(GANQ_DRIVER_SUCCESS);
  });
}

int graphDestroy(void *graph) {
  delete static_cast<Graph *>(graph);
  return GANQ_DRIVER_SUCCESS;
}

} // namespace

extern "C" __attribute__((visibility("default"))) const ganq_driver *
ganq_emulator_driver(uint32_t abi) {
  static const ganq_driver driver = [] {
    ganq_driver table = {};
    table.driver_version = driverVersion;
    table.init = init;
    table.error_name = errorName;
    table.error_string = errorString;
    table.device_count = deviceCount;
    table.device_get = deviceGet;
    table.device_name = deviceName;
    table.device_attribute = deviceAttribute;
    table.context_retain = contextRetain;
    table.context_release = contextRelease;
    table.context_push = contextPush;
    table.context_pop = contextPop;
    table.module_load = moduleLoad;
    table.module_unload = moduleUnload;
    table.module_function = moduleFunction;
    table.function_set = functionSet;
    table.memory_info = memoryInfo;
    table.memory_allocate = memoryAllocate;
    table.memory_free = memoryFree;
    table.host_allocate = hostAllocate;
    table.host_free = hostFree;
    table.copy_to_device = copyToDevice;
    table.copy_to_host = copyToHost;
    table.copy_within = copyWithin;
    table.fill = fill;
    table.stream_create = streamCreate;
    table.stream_destroy = streamDestroy;
    table.stream_synchronize = streamSynchronize;
    table.event_create = eventCreate;
    table.event_destroy = eventDestroy;
    table.event_record = eventRecord;
    table.event_elapsed = eventElapsed;
    table.launch = launch;
    table.capture_begin = captureBegin;
    table.capture_end = captureEnd;
    table.graph_instantiate = graphInstantiate;
    table.graph_launch = graphLaunch;
    table.graph_exec_destroy = graphDestroy;
    table.graph_destroy = graphDestroy;
    table.function_parameter = functionParameter;
    table.name_memory = nameMemory;
    return table;
  }();
  return abi == GANQ_DRIVER_ABI_VERSION ? &driver : nullptr;
}
