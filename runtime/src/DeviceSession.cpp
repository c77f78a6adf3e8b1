//===- DeviceSession.cpp - One sequence of tokens on a device -------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "DeviceSession.h"
#include <algorithm>
#include <cstring>

namespace ganq::runtime {

/// Where past, row and tokens lie in the memory of the inputs: one copy takes
/// them all to the device. The most probable token comes back from among them.
static constexpr int64_t kPast = 0, kRow = 256, kBest = 512, kTokens = 768;

Result<std::unique_ptr<DeviceSession>>
DeviceSession::create(const DeviceModel &model) {
  std::unique_ptr<DeviceSession> session(new DeviceSession(model));
  const Device &device = model.device();
  Device::Scope scope(device);
  Status status = scope.status();
  if (!status.ok())
    return status;
  status = session->allocateAll();
  // Also after an error: nothing may be freed while the device clears it.
  if (session->stream) {
    int result = device.driver().stream_synchronize(session->stream.get());
    if (status.ok())
      status = device.check(result, "clear the caches");
  }
  if (!status.ok())
    return status;
  return session;
}

Status DeviceSession::allocateAll() {
  const Manifest &manifest = model.manifest();
  const ganq_driver &driver = device.driver();
  int64_t arenaBytes = 0, tokens = 1;
  for (const std::optional<Entry> *entry :
       {&manifest.prefill, &manifest.prompt, &manifest.decode})
    if (*entry) {
      arenaBytes = std::max(arenaBytes, (*entry)->arena);
      tokens = std::max(tokens, (*entry)->tokens);
    }
  int64_t row = manifest.state->vocabulary * int64_t(sizeof(float));

  Status status;
  auto take = [&](auto &target, auto made) {
    status = made.status();
    if (status.ok())
      target = std::move(*made);
    return status.ok();
  };
  auto memory = [&](DeviceMemory &target, int64_t bytes,
                    const std::string &what) {
    return take(target, allocate(device, bytes, what, /*readOnly=*/false));
  };
  int64_t inputBytes = kTokens + tokens * int64_t(sizeof(int64_t));
  if (!take(stream, createStream(device)) ||
      !take(hostInputs, allocateHost(device, inputBytes)) ||
      !take(hostLogits, allocateHost(device, row)) ||
      !memory(inputs, inputBytes, "inputs") ||
      !memory(arena, arenaBytes, "the arena") ||
      !memory(logitRows, (manifest.prefill ? tokens : 1) * row, "logits"))
    return status;
  if (driver.name_memory) {
    struct Part {
      int64_t offset;
      size_t bytes;
      const char *name;
      bool readOnly;
    };
    for (Part part : {Part{kPast, 8, "past", true}, Part{kRow, 8, "row", true},
                      Part{kBest, 8, "best", false},
                      Part{kTokens, size_t(tokens) * 8, "tokens", true}})
      if (Status status = device.check(
              driver.name_memory(inputs.get() + uint64_t(part.offset),
                                 part.bytes, part.name, part.readOnly),
              "name memory");
          !status.ok())
        return status;
  }
  // Caches start as zeros: rows beyond `past` are masked, but a NaN there would
  // pass a mask that adds.
  for (const CacheInfo &cache : manifest.state->caches) {
    int64_t bytes = *elementCount(cache.shape, byteSize(cache.dtype)) *
                    byteSize(cache.dtype);
    caches.emplace_back();
    if (!memory(caches.back(), bytes, "cache '" + cache.name + "'"))
      return status;
    if (Status status = device.check(
            driver.fill(caches.back().get(), 0, size_t(bytes), stream.get()),
            "clear a cache");
        !status.ok())
      return status;
  }
  return status;
}

/// The 8 bytes that a parameter of the kernel gets, or their first 4.
uint64_t DeviceSession::value(const LaunchArgument &argument) const {
  using Kind = LaunchArgument::Kind;
  uint64_t offset = uint64_t(argument.offset);
  switch (argument.kind) {
  case Kind::Arena:
    return arena.get() + offset;
  case Kind::Parameter:
    return model.parameter(argument.index) + offset;
  case Kind::Cache:
    return caches[size_t(argument.index)].get();
  case Kind::Tokens:
    return inputs.get() + kTokens;
  case Kind::Past:
    return inputs.get() + kPast;
  case Kind::Row:
    return inputs.get() + kRow;
  case Kind::Logits:
    return logitRows.get();
  case Kind::Best:
    return inputs.get() + kBest;
  case Kind::I32:
  case Kind::I64:
    return uint64_t(argument.integer);
  case Kind::F32: {
    uint64_t bits = 0;
    memcpy(&bits, &argument.real, sizeof(argument.real));
    return bits;
  }
  }
  return 0;
}

Status DeviceSession::launch(const Launch &launch) {
  std::vector<uint64_t> values;
  for (const LaunchArgument &argument : launch.arguments)
    values.push_back(value(argument));
  std::vector<void *> args;
  for (uint64_t &each : values)
    args.push_back(&each);
  int result = device.driver().launch(
      model.kernel(launch.kernel), launch.grid[0], launch.grid[1],
      launch.grid[2], launch.block[0], launch.block[1], launch.block[2],
      launch.shared, stream.get(), args.data(), nullptr);
  return result == 0 ? Status()
                     : device.check(result, "launch the kernel '" +
                                                launch.kernel + "'");
}

/// Puts the copy of the inputs and all launches of a step into the stream.
Status DeviceSession::enqueue(Step step) {
  if (Status status = device.check(
          device.driver().copy_to_device(inputs.get(), hostInputs.get(),
                                         size_t(inputBytes), stream.get()),
          "copy tokens to the device");
      !status.ok())
    return status;
  for (const Launch &each : model.manifest().entry(step).launches)
    if (Status status = launch(each); !status.ok())
      return status;
  return Status();
}

Status DeviceSession::captureDecode() {
  const ganq_driver &driver = device.driver();
  if (Status status = device.check(
          driver.capture_begin(stream.get(), GANQ_CAPTURE_THREAD_LOCAL),
          "begin to capture a graph");
      !status.ok())
    return status;
  // Ended in any case, or the stream would stay in capture.
  Status status = enqueue(Step::Decode);
  void *handle = nullptr;
  int result = driver.capture_end(stream.get(), &handle);
  DriverObject graph;
  if (result == 0 && handle)
    graph = DriverObject(device, handle, &ganq_driver::graph_destroy);
  if (status.ok())
    status = device.check(result, "capture a graph");
  if (!status.ok())
    return status;
  void *executable = nullptr;
  status = device.check(driver.graph_instantiate(&executable, graph.get(), 0),
                        "make a graph");
  if (status.ok())
    decodeGraph =
        DriverObject(device, executable, &ganq_driver::graph_exec_destroy);
  return status;
}

Result<const float *> DeviceSession::run(Step step, const int64_t *tokens,
                                         int64_t past, int64_t row,
                                         int64_t first, int64_t count) {
  const ganq_driver &driver = device.driver();
  const Manifest &manifest = model.manifest();
  Device::Scope scope(device);
  if (Status status = scope.status(); !status.ok())
    return status;
  int64_t columns = manifest.entry(step).tokens;
  char *host = static_cast<char *>(hostInputs.get());
  memcpy(host + kPast, &past, sizeof(past));
  memcpy(host + kRow, &row, sizeof(row));
  constexpr int64_t kNone = -1;
  memcpy(host + kBest, &kNone, sizeof(kNone));
  memcpy(host + kTokens, tokens, size_t(columns) * sizeof(int64_t));
  inputBytes = kTokens + columns * int64_t(sizeof(int64_t));
  if (step == Step::Decode && !decodeGraph)
    if (Status status = captureDecode(); !status.ok())
      return status;

  float *target = static_cast<float *>(hostLogits.get());
  if (count > 1) {
    hostRows.resize(size_t(count * manifest.state->vocabulary));
    target = hostRows.data();
  }
  Status status;
  if (start)
    status = beginTime();
  if (status.ok())
    status =
        step == Step::Decode
            ? device.check(driver.graph_launch(decodeGraph.get(), stream.get()),
                           "run the graph of decode")
            : enqueue(step);
  if (status.ok() && end)
    status = device.check(driver.event_record(end.get(), stream.get()),
                          "record an event");
  if (status.ok() && manifest.entry(step).findsBest)
    status = device.check(driver.copy_to_host(host + kBest,
                                              inputs.get() + uint64_t(kBest),
                                              sizeof(int64_t), stream.get()),
                          "copy a token from the device");
  if (status.ok() && count > 0)
    status = copyLogits(target, first, count);
  // Also after an error: nothing may use the host's memory any more.
  int result = driver.stream_synchronize(stream.get());
  if (status.ok())
    status = device.check(result, "run the model");
  if (!status.ok())
    return status;
  return target;
}

Status DeviceSession::copyLogits(float *target, int64_t first, int64_t count) {
  size_t bytes = size_t(model.manifest().state->vocabulary) * sizeof(float);
  return device.check(device.driver().copy_to_host(
                          target, logitRows.get() + size_t(first) * bytes,
                          size_t(count) * bytes, stream.get()),
                      "copy logits from the device");
}

int64_t DeviceSession::best() const {
  int64_t token;
  memcpy(&token, static_cast<const char *>(hostInputs.get()) + kBest,
         sizeof(token));
  return token;
}

Result<const float *> DeviceSession::readLogits() {
  Device::Scope scope(device);
  if (Status status = scope.status(); !status.ok())
    return status;
  float *target = static_cast<float *>(hostLogits.get());
  Status status = copyLogits(target, 0, 1);
  int result = device.driver().stream_synchronize(stream.get());
  if (status.ok())
    status = device.check(result, "copy logits from the device");
  if (!status.ok())
    return status;
  return target;
}

/// Empties the device's cache and starts the clock.
Status DeviceSession::beginTime() {
  const ganq_driver &driver = device.driver();
  if (flush)
    if (Status status = device.check(
            driver.fill(flush.get(), 0, size_t(flushBytes), stream.get()),
            "empty the device's cache");
        !status.ok())
      return status;
  return device.check(driver.event_record(start.get(), stream.get()),
                      "record an event");
}

Status DeviceSession::setTimed(bool timed) {
  Device::Scope scope(device);
  if (Status status = scope.status(); !status.ok())
    return status;
  start = DriverObject();
  end = DriverObject();
  flush = DeviceMemory();
  if (!timed)
    return Status();
  if (device.cacheBytes() > 0) {
    flushBytes = 2 * int64_t(device.cacheBytes());
    Result<DeviceMemory> memory =
        allocate(device, flushBytes, "emptying the cache", /*readOnly=*/false);
    if (!memory.ok())
      return memory.status();
    flush = std::move(*memory);
  }
  Result<DriverObject> first = createEvent(device),
                       second = createEvent(device);
  if (!first.ok() || !second.ok())
    return first.ok() ? second.status() : first.status();
  start = std::move(*first);
  end = std::move(*second);
  return Status();
}

Result<double> DeviceSession::seconds() const {
  if (!start)
    return Status(Code::InvalidArgument,
                  "expected runs to be timed, but they are not");
  Device::Scope scope(device);
  if (Status status = scope.status(); !status.ok())
    return status;
  float milliseconds = 0;
  if (Status status = device.check(
          device.driver().event_elapsed(&milliseconds, start.get(), end.get()),
          "ask for the time of a run");
      !status.ok())
    return status;
  return double(milliseconds) / 1e3;
}

} // namespace ganq::runtime
