//===- KernelRun.cpp - Speed and instructions of single products ----------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   kernel-run FOLDER time [ROUNDS [MIB]]
//   kernel-run FOLDER once
//   kernel-run FOLDER step
//
// runs the products that kernel-build made, on random weights.
//
// `time` prints JSON: seconds of one call of each product, with one thread and
// with all (GANQ_THREADS), and bytes per second that plain reading reaches in
// the same rounds. Weights lie in MIB mebibytes (1024) of huge pages that the
// calls walk through, so that they come from memory and not from a cache. All
// products take their turn in every round; a figure is the median of ROUNDS
// (7).
//
// `once` calls each product once, on one thread, to be watched by callgrind.
// `step` counts the instructions of that call with the processor's single-step
// trap: callgrind knows no AVX-512. x has its records already in both.
//
//===----------------------------------------------------------------------===//

#include "ganq/module_abi.h"
#include "ganq/runtime/model.h"
#include "ganq/runtime/thread_pool.h"
#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <fstream>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <sys/mman.h>
#include <vector>

using ganq::runtime::ThreadPool;
using nlohmann::ordered_json;

[[noreturn]] static void fail(const std::string &message) {
  std::fprintf(stderr, "kernel-run: %s\n", message.c_str());
  std::exit(1);
}

static double seconds() {
  return std::chrono::duration<double>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

static double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

/// The pool of the call that is running; none: on the spot.
static ThreadPool *pool;

static const ganq_host_api api = {
    GANQ_MODULE_ABI_VERSION,
    sizeof(ganq_host_api),
    [](ganq_parallel_fn fn, void *closure, int64_t count) {
      if (pool)
        pool->parallelFor(fn, closure, count);
      else if (count > 0)
        fn(closure, 0, count);
    },
    [](int64_t) -> void * { fail("expected products to allocate nothing"); },
    [](int64_t, const float *, int64_t, int64_t) {},
    [](const char *message) { fail(message); }};

namespace {

/// Memory of one kind of tensor, handed out piece by piece, round and round.
class Store {
public:
  Store(const std::string &kind, unsigned most, size_t size) : size(size) {
    constexpr size_t kHuge = size_t(2) << 20;
    void *map = mmap(nullptr, size + kHuge, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED)
      fail("cannot allocate " + std::to_string(size) + " bytes");
    auto address =
        (reinterpret_cast<uintptr_t>(map) + kHuge - 1) & ~(kHuge - 1);
    data = reinterpret_cast<char *>(address);
    madvise(data, size, MADV_HUGEPAGE);
    // A repeated block of an odd size: no two rows are alike.
    std::vector<char> block(0x40044);
    fill(block, kind, most);
    for (size_t at = 0; at < size; at += block.size())
      std::memcpy(data + at, block.data(), std::min(block.size(), size - at));
  }

  char *next(size_t bytes) {
    if (bytes > size)
      fail("expected more memory for the weights; give a larger MIB");
    if (at + bytes > size)
      at = 0;
    char *result = data + at;
    at += (bytes + GANQ_MODULE_ALIGNMENT - 1) / GANQ_MODULE_ALIGNMENT *
          GANQ_MODULE_ALIGNMENT;
    return result;
  }

  char *data;
  size_t size;

private:
  /// Floats get a plain exponent: no infinity, no denormal.
  static void fill(std::vector<char> &block, const std::string &kind,
                   unsigned most) {
    std::mt19937 engine(1);
    auto put = [&](size_t width, auto make) {
      for (size_t i = 0; i + width <= block.size(); i += width) {
        uint32_t value = make(static_cast<uint32_t>(engine()));
        std::memcpy(block.data() + i, &value, width);
      }
    };
    if (kind == "f16")
      put(2, [](uint32_t bits) { return (bits & 0x3FF) | 0x2400; });
    else if (kind == "bf16")
      put(2, [](uint32_t bits) { return (bits & 0x7F) | 0x3C00; });
    else if (kind == "f32")
      put(4, [](uint32_t bits) { return (bits & 0x807FFFFF) | 0x3F000000; });
    else if (kind == "f8E4M3FN")
      put(1, [](uint32_t bits) { return (bits & 0x87) | 0x30; });
    else if (kind == "zero")
      put(1, [=](uint32_t bits) { return bits % (most + 1); });
    else
      put(1, [](uint32_t bits) { return bits; });
  }

  size_t at = 0;
};

/// A row-major matrix as entries take it.
struct Matrix {
  int64_t fields[7];
  Matrix(void *data, int64_t rows, int64_t columns)
      : fields{reinterpret_cast<int64_t>(data),
               reinterpret_cast<int64_t>(data),
               0,
               rows,
               columns,
               columns,
               1} {}
};

/// Reads `streams` parts of a range side by side, and asks for the lines that
/// lie `ahead` bytes behind them.
__attribute__((target_clones("avx512f", "avx2", "default"))) static void
readRange(const char *data, size_t bytes, int streams, int ahead,
          uint64_t *result) {
  typedef uint64_t Line __attribute__((vector_size(64)));
  Line sums[8] = {};
  size_t part = bytes / static_cast<size_t>(streams) / 512 * 512;
  for (size_t i = 0; i < part; i += 512)
    for (int stream = 0; stream < streams; ++stream) {
      const char *from = data + static_cast<size_t>(stream) * part + i;
      for (int j = 0; j < 8; ++j) {
        Line line;
        if (ahead)
          __builtin_prefetch(from + j * 64 + ahead);
        std::memcpy(&line, from + j * 64, 64);
        sums[j] += line;
      }
    }
  uint64_t sum = 0;
  for (const Line &each : sums)
    for (int j = 0; j < 8; ++j)
      sum += each[j];
  __atomic_fetch_add(result, sum, __ATOMIC_RELAXED);
}

volatile sig_atomic_t steps = 0;

class Kernels {
public:
  Kernels(const std::string &folder, size_t storeBytes)
      : storeBytes(storeBytes) {
    std::ifstream file(folder + "/kernels.json");
    description =
        ordered_json::parse(file, nullptr, /*allow_exceptions=*/false);
    if (description.is_discarded())
      fail("expected a description in " + folder + "/kernels.json");
    // Asks the system for tile registers, too.
    std::string missing = ganq::runtime::missingCpuFeature(
        description["features"].get<std::vector<std::string>>());
    if (!missing.empty())
      fail("the kernels need " + missing);
    handle = dlopen((folder + "/kernels.so").c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!handle)
      fail(dlerror());
    arena.resize(description["arena_bytes"].get<size_t>() + 64);
    for (const auto &entry : description["arena_entries"])
      arenaEntries.push_back(entry.get<std::string>());
    parameters.resize(description["parameters"].size());
    for (size_t i = 0; i < list().size(); ++i)
      place(i);
    auto init = reinterpret_cast<ganq_module_init_fn>(
        dlsym(handle, GANQ_MODULE_INIT_SYMBOL));
    if (!init || init(&api, parameters.data()) != 0)
      fail("expected the module to start");
  }

  const ordered_json &list() const { return description["kernels"]; }
  Store &store(const std::string &kind, unsigned most = 0) {
    std::string key = kind + (kind == "zero" ? std::to_string(most) : "");
    auto found = stores.find(key);
    if (found == stores.end()) {
      size_t bytes = kind == "bytes" ? storeBytes : storeBytes / 8;
      found = stores.emplace(key, Store(kind, most, bytes)).first;
    }
    return found->second;
  }

  /// Points the tensors of a kernel at the next pieces of memory.
  void place(size_t kernel) {
    size_t i = 0;
    for (const auto &each : description["parameters"]) {
      if (each["kernel"].get<size_t>() == kernel)
        parameters[i] =
            store(each["kind"].get<std::string>(), each["most"].get<unsigned>())
                .next(each["bytes"].get<size_t>());
      ++i;
    }
  }

  /// An entry and its arguments, ready to be called many times.
  class Call {
  public:
    Call(Kernels &kernels, size_t index, bool round) {
      const auto &kernel = kernels.list()[index];
      int64_t m = kernel["m"], n = kernel["n"], k = kernel["k"];
      int64_t bytes = kernel["record_bytes"];
      size_t columns = static_cast<size_t>(bytes ? bytes : k);
      auto rows = static_cast<size_t>(m);
      if (bytes && round) {
        Store &floats = kernels.store("f32");
        char *x = floats.next(rows * static_cast<size_t>(k) * 4);
        char *records = kernels.store("bytes").next(rows * columns);
        add(kernels, kernel["round_entry"], {{x, m, k}, {records, m, bytes}});
        add(kernels, kernel["entry"], {{records, m, bytes}, output(m, n)});
        return;
      }
      char *x = bytes ? kernels.store("bytes").next(rows * columns)
                      : kernels.store("f32").next(rows * columns * 4);
      add(kernels, kernel["entry"],
          {{x, m, static_cast<int64_t>(columns)}, output(m, n)});
    }

    void operator()() {
      for (Step &step : steps)
        step.entry(step.args.data());
    }

  private:
    struct Step {
      ganq_entry_fn entry;
      std::vector<Matrix> matrices;
      std::vector<void *> args;
      int64_t arena[5];
    };

    Matrix output(int64_t m, int64_t n) {
      result.resize(static_cast<size_t>(m * n) + 16);
      auto data = (reinterpret_cast<uintptr_t>(result.data()) + 63) & ~63ul;
      return {reinterpret_cast<void *>(data), m, n};
    }

    void add(Kernels &kernels, const std::string &name,
             std::vector<Matrix> matrices) {
      steps.emplace_back();
      Step &step = steps.back();
      step.entry =
          reinterpret_cast<ganq_entry_fn>(dlsym(kernels.handle, name.c_str()));
      if (!step.entry)
        fail("expected an entry " + name);
      step.matrices = std::move(matrices);
      const auto &arenas = kernels.arenaEntries;
      if (std::find(arenas.begin(), arenas.end(), name) != arenas.end()) {
        auto data =
            (reinterpret_cast<uintptr_t>(kernels.arena.data()) + 63) & ~63ul;
        auto address = static_cast<int64_t>(data);
        int64_t fields[5] = {address, address, 0,
                             static_cast<int64_t>(kernels.arena.size()) - 64,
                             1};
        std::copy(fields, fields + 5, step.arena);
        step.args.push_back(step.arena);
      }
      for (Matrix &matrix : step.matrices)
        step.args.push_back(matrix.fields);
    }

    std::vector<float> result;
    // Arguments are addresses of its elements.
    std::vector<Step> steps = reserved();
    static std::vector<Step> reserved() {
      std::vector<Step> result;
      result.reserve(2);
      return result;
    }
  };

  /// Seconds of one call, over one walk through the memory or 60 ms.
  double time(size_t index, ThreadPool *on) {
    pool = on;
    Call call(*this, index, /*round=*/true);
    auto packed = list()[index]["packed_bytes"].get<size_t>();
    size_t walk = storeBytes / packed;
    call();
    double start = seconds(), now = start;
    size_t calls = 0;
    for (; calls < 3 || (calls < walk && now - start < 0.06); now = seconds()) {
      place(index);
      call();
      ++calls;
    }
    pool = nullptr;
    return (now - start) / static_cast<double>(calls);
  }

private:
  size_t storeBytes;
  ordered_json description;
  void *handle = nullptr;
  std::vector<const void *> parameters;
  std::vector<char> arena;
  std::vector<std::string> arenaEntries;
  std::map<std::string, Store> stores;
};

struct ReadJob {
  const char *data;
  int streams, ahead;
  uint64_t result;
};

} // namespace

/// Ways to read, streams and bytes ahead; which is best depends on the machine.
static constexpr int kReads[][2] = {{1, 0}, {2, 0}, {4, 0}, {4, 1024}};

/// Bytes per second that a pool reads with.
static double readSpeed(Store &store, ThreadPool &on, const int (&way)[2]) {
  ReadJob job{store.data, way[0], way[1], 0};
  auto pages = static_cast<int64_t>(store.size >> 12);
  double start = seconds();
  on.parallelFor(
      [](void *closure, int64_t lo, int64_t hi) {
        auto &job = *static_cast<ReadJob *>(closure);
        readRange(job.data + (lo << 12), static_cast<size_t>(hi - lo) << 12,
                  job.streams, job.ahead, &job.result);
      },
      &job, pages);
  return static_cast<double>(store.size) / (seconds() - start);
}

static ordered_json timeAll(Kernels &kernels, int rounds) {
  ThreadPool one(1);
  ThreadPool &all = ThreadPool::instance();
  std::vector<double> reads[2][std::size(kReads)];
  std::vector<std::vector<double>> times[2];
  size_t count = kernels.list().size();
  for (int t = 0; t < 2; ++t)
    times[t].resize(count);
  for (int round = 0; round < rounds; ++round)
    for (int t = 0; t < 2; ++t) {
      ThreadPool &on = t ? all : one;
      for (size_t s = 0; s < std::size(kReads); ++s)
        reads[t][s].push_back(readSpeed(kernels.store("bytes"), on, kReads[s]));
      for (size_t i = 0; i < count; ++i)
        times[t][i].push_back(kernels.time(i, &on));
    }
  double bandwidth[2] = {};
  for (int t = 0; t < 2; ++t)
    for (const std::vector<double> &speeds : reads[t])
      bandwidth[t] = std::max(bandwidth[t], median(speeds));
  ordered_json result{{"threads", all.threads()},
                      {"read_bytes_per_second_1", bandwidth[0]},
                      {"read_bytes_per_second", bandwidth[1]},
                      {"kernels", ordered_json::array()}};
  for (size_t i = 0; i < count; ++i) {
    const auto &kernel = kernels.list()[i];
    double single = median(times[0][i]), whole = median(times[1][i]);
    double bytes = kernel["packed_bytes"];
    double weights = kernel["n"].get<double>() * kernel["k"].get<double>();
    result["kernels"].push_back(
        {{"name", kernel["name"]},
         {"scheme", kernel["scheme"]},
         {"m", kernel["m"]},
         {"n", kernel["n"]},
         {"k", kernel["k"]},
         {"tile", kernel["tile"]},
         {"bits_per_weight", bytes * 8 / weights},
         {"predicted_seconds_1",
          kernel["predicted_nanoseconds"].get<double>() / 1e9},
         {"seconds_1", single},
         {"seconds", whole},
         {"bytes_per_second_1", bytes / single},
         {"bytes_per_second", bytes / whole},
         {"bandwidth_fraction", bytes / whole / bandwidth[1]},
         {"multiplications_per_second",
          weights * kernel["m"].get<double>() / whole}});
  }
  return result;
}

/// Instructions of a call, by a trap behind each.
static long countSteps(Kernels::Call &call) {
  struct sigaction action = {};
  action.sa_handler = [](int) { steps = steps + 1; };
  sigaction(SIGTRAP, &action, nullptr);
  steps = 0;
  asm volatile("pushfq\n orq $0x100, (%%rsp)\n popfq" ::: "memory", "cc");
  call();
  asm volatile("pushfq\n andq $~0x100, (%%rsp)\n popfq" ::: "memory", "cc");
  return steps;
}

int main(int argc, char **argv) {
  std::string mode = argc > 2 ? argv[2] : "";
  bool timing = mode == "time";
  if (argc < 3 || argc > (timing ? 5 : 3) ||
      (!timing && mode != "once" && mode != "step"))
    fail("expected FOLDER time [ROUNDS [MIB]], FOLDER once or FOLDER step");
  int rounds = argc > 3 ? std::atoi(argv[3]) : 7;
  long mebibytes = argc > 4 ? std::atol(argv[4]) : timing ? 1024 : 64;
  if (rounds < 1 || mebibytes < 64)
    fail("expected at least one round and 64 MiB");
  Kernels kernels(argv[1], static_cast<size_t>(mebibytes) << 20);
  if (timing) {
    std::puts(timeAll(kernels, rounds).dump(1).c_str());
    return 0;
  }
  ordered_json counts = ordered_json::object();
  for (size_t i = 0; i < kernels.list().size(); ++i) {
    Kernels::Call call(kernels, i, /*round=*/false);
    if (mode == "once")
      call();
    else
      counts[kernels.list()[i]["name"].get<std::string>()] = countSteps(call);
  }
  if (mode == "step")
    std::puts(counts.dump(1).c_str());
  return 0;
}
