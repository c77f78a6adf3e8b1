//===- thread_pool.h - Persistent worker threads ----------------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_RUNTIME_THREAD_POOL_H
#define GANQ_RUNTIME_THREAD_POOL_H

#include "ganq/runtime/status.h"
#include <cstdint>
#include <memory>

namespace ganq::runtime {

/// Workers that wait for parallel loops: spinning for some microseconds after a
/// loop, since in a model the next one follows soon, then asleep.
class ThreadPool {
public:
  using Body = void (*)(void *closure, int64_t lo, int64_t hi);

  /// `threads` counts the calling thread.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool &) = delete;
  ThreadPool &operator=(const ThreadPool &) = delete;

  int threads() const;

  /// Runs `body` over [0, count) in at most threads() contiguous non-empty
  /// ranges and waits. From within a body, and while another thread uses the
  /// pool, everything runs on the calling thread.
  void parallelFor(Body body, void *closure, int64_t count);

  /// The number that the environment variable GANQ_THREADS asks for, by default
  /// the number of CPUs that this process may use.
  static Result<int> defaultThreads();

  /// The process's pool, of defaultThreads() threads. Made at first use.
  static ThreadPool &instance();

private:
  struct State;
  std::unique_ptr<State> state;
};

} // namespace ganq::runtime

#endif // GANQ_RUNTIME_THREAD_POOL_H
