//===- ThreadPool.cpp - Persistent worker threads -------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/runtime/thread_pool.h"
#include <algorithm>
#include <atomic>
#include <climits>
#include <cstdlib>
#include <linux/futex.h>
#include <mutex>
#include <sched.h>
#include <sys/syscall.h>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

namespace ganq::runtime {

namespace {

// Some 50 microseconds on current x86-64: the gap between two loops of a
// model's layer is shorter, the gap between two tokens' sampling mostly too.
constexpr int spinsBeforeSleep = 2000;

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

void futexWait(std::atomic<uint32_t> &word, uint32_t seen) {
  syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, seen, nullptr, nullptr, 0);
}

void futexWake(std::atomic<uint32_t> &word) {
  syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
}

/// Waits until `word` differs from `seen`. `asleep` tells the thread that
/// changes the word whether it has to wake this one: both sides write one
/// variable and then read the other, sequentially consistent.
uint32_t waitForChange(std::atomic<uint32_t> &word, uint32_t seen,
                       std::atomic<uint32_t> &asleep, int spins) {
  for (int i = 0; i < spins; ++i) {
    uint32_t value = word.load(std::memory_order_acquire);
    if (value != seen)
      return value;
    pause();
  }
  asleep.store(1);
  uint32_t value;
  while ((value = word.load()) == seen)
    futexWait(word, seen);
  asleep.store(0);
  return value;
}

thread_local bool insideBody = false;

constexpr int maxThreads = 1024;

int usableCpus() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0)
    return std::max(1, CPU_COUNT(&set));
  return std::max(1u, std::thread::hardware_concurrency());
}

} // namespace

struct ThreadPool::State {
  /// A worker's mailbox, alone on its cache line.
  struct alignas(64) Worker {
    std::atomic<uint32_t> ticket{0}; ///< changes when there is a range to run
    std::atomic<uint32_t> asleep{0};
    std::atomic<bool> open{false}; ///< the range is there and nobody's yet
    Body body = nullptr;           ///< null: leave
    void *closure = nullptr;
    int64_t lo = 0, hi = 0;
    std::thread thread;
  };

  explicit State(int threads) : workers(size_t(threads - 1)) {}

  std::vector<Worker> workers;
  int spins = spinsBeforeSleep;
  std::mutex owner;
  alignas(64) std::atomic<uint32_t> running{0};
  std::atomic<uint32_t> callerAsleep{0};

  void post(Worker &worker, Body body, void *closure, int64_t lo, int64_t hi) {
    worker.body = body;
    worker.closure = closure;
    worker.lo = lo;
    worker.hi = hi;
    worker.open.store(true);
    worker.ticket.fetch_add(1);
    if (worker.asleep.load())
      futexWake(worker.ticket);
  }

  void work(Worker &worker) {
    insideBody = true;
    for (uint32_t seen = 0;;) {
      seen = waitForChange(worker.ticket, seen, worker.asleep, spins);
      if (!worker.open.exchange(false))
        continue;
      if (!worker.body)
        return;
      worker.body(worker.closure, worker.lo, worker.hi);
      if (running.fetch_sub(1) == 1 && callerAsleep.load())
        futexWake(running);
    }
  }

  void waitForWorkers() {
    for (uint32_t left; (left = running.load(std::memory_order_acquire));)
      waitForChange(running, left, callerAsleep, spins);
  }
};

ThreadPool::ThreadPool(int threads)
    : state(std::make_unique<State>(std::clamp(threads, 1, maxThreads))) {
  // Spinning would keep the CPU from the thread that is waited for.
  if (this->threads() > usableCpus())
    state->spins = 16;
  for (State::Worker &worker : state->workers)
    worker.thread = std::thread([this, &worker] { state->work(worker); });
}

ThreadPool::~ThreadPool() {
  for (State::Worker &worker : state->workers) {
    state->post(worker, nullptr, nullptr, 0, 0);
    worker.thread.join();
  }
}

int ThreadPool::threads() const { return int(state->workers.size()) + 1; }

void ThreadPool::parallelFor(Body body, void *closure, int64_t count) {
  if (count <= 0)
    return;
  int64_t parts = std::min<int64_t>(threads(), count);
  std::unique_lock<std::mutex> owner(state->owner, std::defer_lock);
  if (insideBody || parts == 1 || !owner.try_lock()) {
    bool outer = std::exchange(insideBody, true);
    body(closure, 0, count);
    insideBody = outer;
    return;
  }
  // Part i is [bound(i), bound(i + 1)): sizes differ by one at most.
  int64_t base = count / parts, extra = count % parts;
  auto bound = [&](int64_t i) { return i * base + std::min(i, extra); };
  state->running.store(uint32_t(parts - 1));
  for (int64_t i = 1; i < parts; ++i)
    state->post(state->workers[size_t(i - 1)], body, closure, bound(i),
                bound(i + 1));
  insideBody = true;
  body(closure, 0, bound(1));
  // A worker that has not begun may be long in getting a CPU: do its part.
  for (int64_t i = 1; i < parts; ++i)
    if (state->workers[size_t(i - 1)].open.exchange(false)) {
      body(closure, bound(i), bound(i + 1));
      state->running.fetch_sub(1);
    }
  insideBody = false;
  state->waitForWorkers();
}

Result<int> ThreadPool::defaultThreads() {
  const char *text = getenv("GANQ_THREADS");
  if (!text || !*text)
    return usableCpus();
  char *end = nullptr;
  long value = strtol(text, &end, 10);
  if (*end != '\0' || value < 1 || value > maxThreads)
    return Status(Code::InvalidArgument,
                  "GANQ_THREADS: expected a number of threads from 1 to " +
                      std::to_string(maxThreads) + ", but got '" + text + "'");
  return int(value);
}

ThreadPool &ThreadPool::instance() {
  // Never destroyed: at exit the process ends the sleeping workers.
  static ThreadPool *pool = [] {
    Result<int> threads = defaultThreads();
    return new ThreadPool(threads.ok() ? *threads : usableCpus());
  }();
  return *pool;
}

} // namespace ganq::runtime
