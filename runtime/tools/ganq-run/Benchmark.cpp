//===- Benchmark.cpp - Speed of a model and of the machine ----------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Commands.h"
#include "ganq/runtime/thread_pool.h"
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <nlohmann/json.hpp>
#include <unistd.h>

namespace ganq::run {

using namespace runtime;

static double seconds() {
  return std::chrono::duration<double>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

static double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

namespace {
struct ReadJob {
  const char *data;
  uint64_t result;
};
} // namespace

/// Sums `bytes` bytes, a multiple of 4096. Four streams side by side, and lines
/// asked for ahead of time, keep more reads of memory in flight than one.
template <int Width>
__attribute__((always_inline)) inline uint64_t sumLines(const char *data,
                                                        int64_t bytes) {
  typedef uint64_t Vector __attribute__((vector_size(Width)));
  constexpr int kStreams = 4, kLine = 64, kAhead = 1024;
  Vector sums[kStreams] = {};
  int64_t part = bytes / kStreams;
  for (int64_t at = 0; at < part; at += kLine)
    for (int stream = 0; stream < kStreams; ++stream) {
      const char *from = data + stream * part + at;
      __builtin_prefetch(from + kAhead);
      for (int i = 0; i < kLine; i += Width) {
        Vector value;
        memcpy(&value, from + i, Width);
        sums[stream] += value;
      }
    }
  uint64_t words[kStreams * Width / 8], sum = 0;
  memcpy(words, sums, sizeof(words));
  for (uint64_t word : words)
    sum += word;
  return sum;
}

#if defined(__x86_64__)
__attribute__((target("avx512f"))) static uint64_t
sumLinesAvx512(const char *data, int64_t bytes) {
  return sumLines<64>(data, bytes);
}
__attribute__((target("avx2"))) static uint64_t sumLinesAvx2(const char *data,
                                                             int64_t bytes) {
  return sumLines<32>(data, bytes);
}
#endif

/// Reads a range of 4 KiB pages.
static void readPages(void *closure, int64_t lo, int64_t hi) {
  auto &job = *static_cast<ReadJob *>(closure);
  auto *sum = sumLines<16>;
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f"))
    sum = sumLinesAvx512;
  else if (__builtin_cpu_supports("avx2"))
    sum = sumLinesAvx2;
#endif
  uint64_t result = sum(job.data + lo * 4096, (hi - lo) * 4096);
  __atomic_fetch_add(&job.result, result, __ATOMIC_RELAXED);
}

/// Bytes per second that all threads together read from memory: the best of
/// some passes over a buffer of up to 1 GiB.
static Result<double> readBandwidth() {
  int64_t bytes = int64_t(1) << 30;
  int64_t available =
      int64_t(sysconf(_SC_AVPHYS_PAGES)) * sysconf(_SC_PAGESIZE);
  bytes = std::clamp(available / 4 / 4096 * 4096, int64_t(1) << 26, bytes);
  Result<Buffer> buffer = Buffer::create(bytes);
  if (!buffer.ok())
    return buffer.status();
  // Written, as untouched pages would all be the kernel's one page of zeros.
  memset(buffer->data(), 1, size_t(bytes));
  ReadJob job{buffer->data(), 0};
  double best = 0;
  for (int pass = 0; pass < 7; ++pass) {
    double start = seconds();
    ThreadPool::instance().parallelFor(readPages, &job, bytes / 4096);
    best = std::max(best, double(bytes) / (seconds() - start));
  }
  if (job.result == 0)
    return Status(Code::Failed, "the memory does not keep what is written");
  return best;
}

namespace {
struct Timings {
  double prefillRate = 0, firstToken = 0, decodeRate = 0;
  double coldToken = 0; ///< first token of the process
};
} // namespace

/// Several rounds of a prompt and `decoded` greedy tokens; medians.
static Result<Timings> timeSession(Session &session,
                                   const std::vector<int64_t> &prompt,
                                   int64_t decoded) {
  Timings timings;
  std::vector<double> first, decode;
  double begin = seconds();
  // The first round warms caches and clocks up; it counts if there is no other.
  for (int round = 0; round < 6; ++round) {
    if (round > 1 && seconds() - begin > 20)
      break;
    if (Status status = session.rewind(0); !status.ok())
      return status;
    double start = seconds();
    if (Status status = session.feed(prompt.data(), int64_t(prompt.size()));
        !status.ok())
      return status;
    Result<int64_t> token = session.sample(0);
    double fed = seconds();
    for (int64_t i = 0; i < decoded && token.ok(); ++i) {
      if (Status status = session.feed(&*token, 1); !status.ok())
        return status;
      token = session.sample(0);
    }
    if (!token.ok())
      return token.status();
    double end = seconds();
    if (round == 0)
      timings.coldToken = fed - start;
    if (round == 1)
      first.clear(), decode.clear();
    first.push_back(fed - start);
    decode.push_back((end - fed) / double(std::max<int64_t>(decoded, 1)));
  }
  timings.firstToken = median(first);
  timings.prefillRate = double(prompt.size()) / timings.firstToken;
  timings.decodeRate = 1 / median(decode);
  return timings;
}

namespace {
/// What the device's events say, with nothing of the model in its cache.
struct DeviceTimings {
  double prefill = 0, token = 0; ///< seconds; median of tokens
};
} // namespace

static Result<DeviceTimings> timeDevice(Session &session,
                                        const std::vector<int64_t> &prompt,
                                        int64_t decoded) {
  Status status = session.setTimed(true);
  if (status.ok())
    status = session.rewind(0);
  if (status.ok())
    status = session.feed(prompt.data(), int64_t(prompt.size()));
  DeviceTimings timings;
  timings.prefill = session.deviceSeconds();
  std::vector<double> tokens;
  for (int64_t i = 0; i < decoded && status.ok(); ++i) {
    Result<int64_t> token = session.sample(0);
    if (!token.ok())
      return token.status();
    status = session.feed(&*token, 1);
    tokens.push_back(session.deviceSeconds());
  }
  if (!status.ok())
    return status;
  if (!tokens.empty())
    timings.token = median(tokens);
  return timings;
}

Status benchmark(const ModelPointer &model, const Options &options) {
  double start = seconds();
  Result<std::unique_ptr<Session>> created = Session::create(model);
  if (!created.ok())
    return created.status();
  Session &session = **created;
  double load = options.loadSeconds + seconds() - start;
  int64_t limit = session.maxContext();
  int64_t decoded = options.generate > 0 ? options.generate : 64;
  decoded = std::min(decoded, limit / 2);
  int64_t length = std::clamp<int64_t>(options.promptLength, 1,
                                       std::max<int64_t>(limit - decoded, 1));
  int64_t vocabulary = std::max<int64_t>(session.vocabulary(), 1);
  std::vector<int64_t> prompt(static_cast<size_t>(length));
  for (int64_t i = 0; i < length; ++i)
    prompt[size_t(i)] = (i * 7919 + 1) % vocabulary;

  Result<Timings> timings = timeSession(session, prompt, decoded);
  if (!timings.ok())
    return timings.status();
  int64_t weightBytes = model->manifest().weightBytes();
  double used = timings->decodeRate * double(weightBytes);
  int threads = ThreadPool::instance().threads();
  // Bytes per second that the weights may take, and how their time is taken.
  double available = 0;
  std::optional<DeviceTimings> device;
  std::string deviceName;
  if (model->manifest().isForDevice()) {
    Result<DeviceTimings> timed = timeDevice(session, prompt, decoded);
    if (!timed.ok())
      return timed.status();
    device = *timed;
    used = device->token > 0 ? double(weightBytes) / device->token : 0;
    Result<Model::DeviceFacts> facts = model->measureDevice();
    if (!facts.ok())
      return facts.status();
    available = facts->copyBandwidth;
    deviceName = facts->name;
  } else {
    Result<double> bandwidth = readBandwidth();
    if (!bandwidth.ok())
      return bandwidth.status();
    available = *bandwidth;
  }

  if (options.json) {
    nlohmann::ordered_json object = {
        {"decode_tokens_per_second", timings->decodeRate},
        {"prefill_tokens_per_second", timings->prefillRate},
        {"time_to_first_token_ms", timings->firstToken * 1e3},
        {"load_ms", load * 1e3},
        {"first_token_after_load_ms", timings->coldToken * 1e3},
        {"prompt_tokens", length},
        {"decoded_tokens", decoded},
        {"threads", threads},
        {"weight_bytes", weightBytes},
        {"weight_bytes_per_second", used},
        {device ? "copy_bytes_per_second" : "read_bytes_per_second", available},
        {"bandwidth_fraction", used / available}};
    if (device) {
      object["device"] = deviceName;
      object["device_prefill_ms"] = device->prefill * 1e3;
      object["device_decode_ms"] = device->token * 1e3;
    }
    puts(object.dump().c_str());
    return Status();
  }
  printf("decode               %10.1f tokens/s\n", timings->decodeRate);
  printf("prefill              %10.1f tokens/s (%lld tokens)\n",
         timings->prefillRate, static_cast<long long>(length));
  printf("time to first token  %10.2f ms (after loading %.2f ms)\n",
         timings->firstToken * 1e3, timings->coldToken * 1e3);
  printf("load                 %10.2f ms\n", load * 1e3);
  printf("weights              %10.2f MB, read at %.2f GB/s\n",
         double(weightBytes) / 1e6, used / 1e9);
  if (device) {
    printf("on the device        %10.3f ms per token, %.3f ms for the prompt, "
           "from a cold cache\n",
           device->token * 1e3, device->prefill * 1e3);
    printf("copies               %10.2f GB/s read and written on '%s'\n",
           available / 1e9, deviceName.c_str());
  } else {
    printf("machine              %10.2f GB/s with %d threads\n",
           available / 1e9, threads);
  }
  printf("bandwidth fraction   %10.1f %%\n", 100 * used / available);
  return Status();
}

} // namespace ganq::run
