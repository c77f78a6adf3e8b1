//===- Host.cpp - The runtime's side of the module ABI --------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Host.h"
#include "ganq/runtime/thread_pool.h"
#include <algorithm>
#include <csetjmp>
#include <cstdio>
#include <mutex>

namespace ganq::runtime {

void *Scratch::allocate(int64_t bytes) {
  constexpr int64_t alignment = GANQ_MODULE_ALIGNMENT;
  constexpr int64_t firstBlock = int64_t(1) << 20;
  if (bytes < 0 || bytes > INT64_MAX / 4)
    return nullptr;
  bytes = std::max(alignment, (bytes + alignment - 1) & -alignment);
  if (blocks.empty() || bytes > blocks.back().size() - used) {
    int64_t size = blocks.empty() ? firstBlock : 2 * blocks.back().size();
    Result<Buffer> block = Buffer::create(std::max(bytes, size));
    if (!block.ok() && bytes < size)
      block = Buffer::create(bytes);
    if (!block.ok())
      return nullptr;
    blocks.push_back(std::move(*block));
    used = 0;
  }
  void *pointer = blocks.back().data() + used;
  used += bytes;
  return pointer;
}

void Scratch::reset() {
  constexpr int64_t keptBytes = int64_t(1) << 30;
  int64_t total = 0;
  for (const Buffer &block : blocks)
    total += block.size();
  if (blocks.size() > 1 || total > keptBytes) {
    blocks.clear();
    if (total <= keptBytes)
      if (Result<Buffer> block = Buffer::create(total); block.ok())
        blocks.push_back(std::move(*block));
  }
  used = 0;
}

namespace {

/// What the host functions of a running entry refer to.
struct Call {
  Scratch &scratch;
  const Observer &observer;
  std::jmp_buf abandon;
  std::mutex mutex; ///< guards `failed` and `message`
  bool failed = false;
  char message[512] = {};

  void record(const char *text) {
    std::lock_guard<std::mutex> lock(mutex);
    if (!failed)
      snprintf(message, sizeof(message), "%s", text ? text : "unknown failure");
    failed = true;
  }
};

thread_local Call *currentCall = nullptr;
thread_local bool insideBody = false;

struct ParallelBody {
  ganq_parallel_fn fn;
  void *closure;
  Call *call;
};

/// Gives the worker the caller's call for the time of the body.
void runBody(void *closure, int64_t lo, int64_t hi) {
  auto *body = static_cast<ParallelBody *>(closure);
  Call *outerCall = std::exchange(currentCall, body->call);
  bool outerInside = std::exchange(insideBody, true);
  body->fn(body->closure, lo, hi);
  insideBody = outerInside;
  currentCall = outerCall;
}

void hostParallelFor(ganq_parallel_fn fn, void *closure, int64_t count) {
  ParallelBody body{fn, closure, currentCall};
  ThreadPool::instance().parallelFor(runBody, &body, count);
}

// The module's frames between here and runEntry hold nothing to destroy, so
// that a long jump over them is sound.
void hostFail(const char *message) {
  if (!currentCall)
    return;
  currentCall->record(message);
  if (!insideBody)
    longjmp(currentCall->abandon, 1);
}

void *hostAllocate(int64_t bytes) {
  void *pointer = currentCall->scratch.allocate(bytes);
  if (!pointer) {
    char text[80];
    snprintf(text, sizeof(text), "cannot allocate %lld bytes",
             static_cast<long long>(bytes));
    hostFail(text);
  }
  return pointer;
}

void hostObserve(int64_t id, const float *data, int64_t rows, int64_t columns) {
  if (currentCall && currentCall->observer)
    currentCall->observer(id, data, rows, columns);
}

/// Alone in its frame: no local of it changes between setjmp and longjmp.
[[gnu::noinline]] void invoke(ganq_entry_fn entry, void **args, Call &call) {
  if (setjmp(call.abandon) == 0)
    entry(args);
}

} // namespace

const ganq_host_api &hostApi() {
  static const ganq_host_api api = {GANQ_MODULE_ABI_VERSION,
                                    sizeof(ganq_host_api),
                                    hostParallelFor,
                                    hostAllocate,
                                    hostObserve,
                                    hostFail};
  return api;
}

Status runEntry(ganq_entry_fn entry, void **args, Scratch &scratch,
                const Observer &observer) {
  Call call{scratch, observer, {}, {}};
  Call *outer = std::exchange(currentCall, &call);
  invoke(entry, args, call);
  currentCall = outer;
  if (call.failed)
    return Status(Code::Failed, call.message);
  return Status();
}

} // namespace ganq::runtime
