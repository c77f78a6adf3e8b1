//===- ThreadPoolTest.cpp - Tests of the thread pool ----------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/runtime/thread_pool.h"
#include <atomic>
#include <gtest/gtest.h>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

using namespace ganq::runtime;

namespace {
struct Cover {
  std::mutex mutex;
  std::vector<int> hits;
  int ranges = 0;
  ThreadPool *nested = nullptr;
};
} // namespace

static void cover(void *closure, int64_t lo, int64_t hi) {
  auto &work = *static_cast<Cover *>(closure);
  EXPECT_LT(lo, hi);
  std::lock_guard<std::mutex> lock(work.mutex);
  ++work.ranges;
  for (int64_t i = lo; i < hi; ++i)
    ++work.hits[size_t(i)];
}

TEST(ThreadPool, CoversEachIndexOnce) {
  for (int threads : {1, 2, 3, 8}) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.threads(), threads);
    for (int64_t count : {0, 1, 2, 7, 8, 1000}) {
      Cover work;
      work.hits.resize(size_t(count));
      pool.parallelFor(cover, &work, count);
      EXPECT_EQ(work.hits, std::vector<int>(size_t(count), 1));
      EXPECT_EQ(work.ranges, std::min<int64_t>(threads, count));
    }
    Cover none;
    pool.parallelFor(cover, &none, -5);
    EXPECT_EQ(none.ranges, 0);
  }
}

TEST(ThreadPool, NestedLoopsRunInline) {
  ThreadPool pool(3);
  struct Work {
    ThreadPool *pool;
    std::atomic<int64_t> sum{0};
    std::atomic<int> inner{0};
  } work{&pool, {}, {}};
  pool.parallelFor(
      [](void *closure, int64_t lo, int64_t hi) {
        auto &work = *static_cast<Work *>(closure);
        for (int64_t i = lo; i < hi; ++i)
          work.pool->parallelFor(
              [](void *closure, int64_t lo, int64_t hi) {
                auto &work = *static_cast<Work *>(closure);
                ++work.inner;
                work.sum += hi - lo;
              },
              &work, 10);
      },
      &work, 6);
  EXPECT_EQ(work.sum, 60);
  EXPECT_EQ(work.inner, 6) << "one range for each nested loop";
}

TEST(ThreadPool, ManyLoopsWithPauses) {
  ThreadPool pool(2);
  std::atomic<int64_t> sum{0};
  for (int i = 0; i < 20000; ++i) {
    pool.parallelFor(
        [](void *closure, int64_t lo, int64_t hi) {
          *static_cast<std::atomic<int64_t> *>(closure) += hi - lo;
        },
        &sum, 2);
    // Long enough for the worker to fall asleep.
    if (i % 2000 == 0)
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  EXPECT_EQ(sum, 40000);
}

TEST(ThreadPool, SeveralCallers) {
  ThreadPool pool(2);
  std::vector<std::thread> callers;
  std::atomic<int64_t> sum{0};
  for (int caller = 0; caller < 4; ++caller)
    callers.emplace_back([&] {
      for (int i = 0; i < 500; ++i)
        pool.parallelFor(
            [](void *closure, int64_t lo, int64_t hi) {
              *static_cast<std::atomic<int64_t> *>(closure) += hi - lo;
            },
            &sum, 5);
    });
  for (std::thread &caller : callers)
    caller.join();
  EXPECT_EQ(sum, 4 * 500 * 5);
}
