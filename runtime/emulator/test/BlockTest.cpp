//===- BlockTest.cpp - Fibers, barriers, warp operations ------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "TestKernel.h"
#include <gtest/gtest.h>

using namespace ganq::simt;

static uint32_t getThread(const ganq_simt_lane *lane) {
  return lane->tid[0] +
         lane->ntid[0] * (lane->tid[1] + lane->ntid[1] * lane->tid[2]);
}

static void syncThreads(ganq_simt_lane *lane, uint32_t place = 0) {
  ganq_simt_barrier(lane, place, GANQ_SIMT_BARRIER_ALIGNED, 0, 0, 0);
}

/// Adds 0 ... n - 1 in shared memory by halving, once per block.
static void reduceKernel(ganq_simt_lane *lane, void *const *args) {
  auto *sums = reinterpret_cast<uint32_t *>(lane->shared);
  uint32_t thread = getThread(lane);
  sums[thread] = thread;
  syncThreads(lane);
  for (uint32_t n = lane->ntid[0] / 2; n; n /= 2) {
    if (thread < n)
      sums[thread] += sums[thread + n];
    syncThreads(lane);
  }
  if (thread == 0)
    getPointer<uint32_t>(args)[lane->ctaid[0]] = sums[0] + lane->ctaid[0];
}

TEST(Block, ReducesInEveryOrder) {
  for (auto order : {GANQ_SIMT_FORWARD, GANQ_SIMT_REVERSE, GANQ_SIMT_RANDOM,
                     GANQ_SIMT_ALL_ORDERS}) {
    TestKernel kernel(reduceKernel, 4 * 1024);
    kernel.options.order = order;
    for (uint32_t threads : {1, 32, 64, 256, 1024}) {
      std::vector<uint32_t> sums(37);
      ASSERT_EQ(kernel.run(sums.data(), threads, sums.size()), "");
      for (uint32_t i = 0; i < sums.size(); ++i)
        EXPECT_EQ(sums[i], threads * (threads - 1) / 2 + i);
    }
  }
}

TEST(Block, NumbersThreadsInThreeDimensions) {
  TestKernel kernel([](ganq_simt_lane *lane, void *const *args) {
    uint32_t block =
        lane->ctaid[0] +
        lane->nctaid[0] * (lane->ctaid[1] + lane->nctaid[1] * lane->ctaid[2]);
    uint32_t threads = lane->ntid[0] * lane->ntid[1] * lane->ntid[2];
    uint32_t *cell =
        getPointer<uint32_t>(args) + block * threads + getThread(lane);
    *cell = lane->tid[0] | lane->tid[1] << 4 | lane->tid[2] << 8 |
            lane->ctaid[0] << 12 | lane->ctaid[1] << 16 | lane->ctaid[2] << 20 |
            lane->laneid << 24 | lane->warpid << 30;
  });
  uint32_t grid[3] = {2, 3, 4}, block[3] = {5, 4, 3};
  std::vector<uint32_t> cells(24 * 60);
  void *data = cells.data(), *args[] = {&data};
  ASSERT_EQ(ganq_simt_launch(kernel.device.get(), &kernel.module, "k", grid,
                             block, 0, args, 1),
            0);
  for (uint32_t b = 0, i = 0; b < 24; ++b)
    for (uint32_t t = 0; t < 60; ++t, ++i)
      ASSERT_EQ(cells[i], t % 5 | t / 5 % 4 << 4 | t / 20 << 8 | b % 2 << 12 |
                              b / 2 % 3 << 16 | b / 6 << 20 | t % 32 << 24 |
                              t / 32 << 30);
}

TEST(Block, KeepsRegistersAndRoundingOfLanes) {
  TestKernel kernel([](ganq_simt_lane *lane, void *const *args) {
    // One lane rounds up; the others must not see it.
    uint32_t thread = getThread(lane), control = thread == 3 ? 0x5f80 : 0x1f80;
    asm volatile("ldmxcsr %0" ::"m"(control));
    double sum = thread;
    for (uint32_t i = 0; i < 50; ++i) {
      syncThreads(lane);
      sum += i * (thread + 1);
    }
    uint32_t now;
    asm volatile("stmxcsr %0" : "=m"(now));
    getPointer<double>(args)[thread] =
        (now & 0x6000) == (control & 0x6000) ? sum : -1;
  });
  std::vector<double> sums(100);
  ASSERT_EQ(kernel.run(sums.data(), 100), "");
  for (uint32_t i = 0; i < 100; ++i)
    EXPECT_EQ(sums[i], i + 1225.0 * (i + 1));
}

TEST(Block, ReportsDivergentBarrier) {
  TestKernel kernel([](ganq_simt_lane *lane, void *const *) {
    if (getThread(lane) < 16)
      syncThreads(lane, 1);
  });
  for (auto order : {GANQ_SIMT_FORWARD, GANQ_SIMT_REVERSE, GANQ_SIMT_RANDOM}) {
    kernel.options.order = order;
    std::string message = kernel.run(nullptr, 64);
    EXPECT_TRUE(contains(message, "k.mlir:2:2: divergent bar.sync: no thread "
                                  "can go on: threads 0-15 wait at bar.sync 0 "
                                  "here; threads 16-63 have returned"))
        << message;
  }
}

TEST(Block, ReportsBarriersAtTwoPlacesInOneWarp) {
  Entry entry = [](ganq_simt_lane *lane, void *const *) {
    syncThreads(lane, getThread(lane) % 64 < 32 ? 1 : 2);
  };
  // Different warps may stand at different places, lanes of one may not.
  EXPECT_EQ(TestKernel(entry).run(nullptr, 64), "");
  TestKernel divergent([](ganq_simt_lane *lane, void *const *) {
    syncThreads(lane, getThread(lane) % 2 ? 1 : 2);
  });
  std::string message = divergent.run(nullptr, 32);
  EXPECT_TRUE(contains(message,
                       "divergent bar.sync: threads 0 wait at bar.sync "
                       "0 here; threads 1 wait at bar.sync 0 at "
                       "k.mlir:2:2; threads 2-31 have not arrived"))
      << message;
}

TEST(Block, CountsNamedBarriers) {
  // Warp 0 produces for warp 1 and goes on; warps 2 and 3 meet elsewhere.
  TestKernel kernel(
      [](ganq_simt_lane *lane, void *const *args) {
        auto *cells = reinterpret_cast<uint32_t *>(lane->shared);
        uint32_t thread = getThread(lane), warp = thread / 32;
        if (warp == 0) {
          cells[thread] = thread + 7;
          ganq_simt_barrier(
              lane, 0, GANQ_SIMT_BARRIER_ARRIVE | GANQ_SIMT_BARRIER_ALIGNED, 1,
              64, 0);
        } else if (warp == 1) {
          ganq_simt_barrier(lane, 0, GANQ_SIMT_BARRIER_ALIGNED, 1, 64, 0);
          getPointer<uint32_t>(args)[thread] = cells[63 - thread];
        } else {
          uint32_t count = ganq_simt_barrier(lane, 0, GANQ_SIMT_BARRIER_POPC, 2,
                                             64, thread % 3 == 0);
          getPointer<uint32_t>(args)[thread] = count;
        }
      },
      256);
  kernel.options.order = GANQ_SIMT_ALL_ORDERS;
  std::vector<uint32_t> cells(128);
  ganq_simt_add_buffer(kernel.device.get(), cells.data(), 512, "cells", 0);
  ASSERT_EQ(kernel.run(cells.data(), 128), "");
  for (uint32_t i = 32; i < 64; ++i)
    EXPECT_EQ(cells[i], 63 - i + 7);
  for (uint32_t i = 64; i < 128; ++i)
    EXPECT_EQ(cells[i], 21u);
}

/// PTX ISA, shfl.sync, evaluated by hand for widths of the segment.
TEST(Block, ShufflesAsPtxDoes) {
  struct Args {
    uint32_t mode, b, c, values[32];
    bool inside[32];
  };
  TestKernel kernel([](ganq_simt_lane *lane, void *const *args) {
    auto &a = *getPointer<Args>(args);
    uint64_t r =
        ganq_simt_shuffle(lane, 0, a.mode, ~0u, 100 + lane->laneid, a.b, a.c);
    a.values[lane->laneid] = uint32_t(r);
    a.inside[lane->laneid] = r >> 32;
  });
  for (uint32_t width : {32, 16, 4})
    for (uint32_t b : {0, 1, 3, 5, 16, 31})
      for (uint32_t mode = 0; mode < 4; ++mode) {
        uint32_t clamp = mode == GANQ_SIMT_SHUFFLE_UP ? 0 : 31;
        Args args = {mode, b, (32 - width) << 8 | clamp, {}, {}};
        ASSERT_EQ(kernel.run(&args, 32), "");
        for (uint32_t lane = 0; lane < 32; ++lane) {
          uint32_t base = lane / width * width, at = lane % width;
          int source = mode == GANQ_SIMT_SHUFFLE_UP     ? int(at) - int(b)
                       : mode == GANQ_SIMT_SHUFFLE_DOWN ? int(at + b)
                       : mode == GANQ_SIMT_SHUFFLE_BFLY
                           ? int(lane ^ b) - int(base)
                           : int(b % width);
          // A butterfly may reach into lower segments.
          bool inside = mode == GANQ_SIMT_SHUFFLE_BFLY
                            ? source < int(width)
                            : source >= 0 && source < int(width);
          EXPECT_EQ(args.inside[lane], inside)
              << mode << " " << width << " " << b << " " << lane;
          EXPECT_EQ(args.values[lane], 100 + (inside ? base + source : lane));
        }
      }
}

TEST(Block, VotesMatchesAndReduces) {
  TestKernel kernel([](ganq_simt_lane *lane, void *const *args) {
    uint64_t *out = getPointer<uint64_t>(args) + lane->laneid * 16;
    uint32_t id = lane->laneid;
    for (uint32_t kind = 0; kind <= GANQ_SIMT_VOTE_BALLOT; ++kind)
      out[kind] = ganq_simt_vote(lane, 0, kind, ~0u, id % 3 == 0);
    out[4] = ganq_simt_vote(lane, 0, GANQ_SIMT_VOTE_ELECT, ~0u, 0);
    out[5] = ganq_simt_vote(lane, 0, GANQ_SIMT_MATCH_ANY, ~0u, id / 8);
    out[6] = ganq_simt_vote(lane, 0, GANQ_SIMT_MATCH_ALL, ~0u, 5);
    for (uint32_t kind = GANQ_SIMT_REDUX_ADD; kind <= GANQ_SIMT_REDUX_XOR;
         ++kind)
      out[kind] = ganq_simt_vote(lane, 0, kind, ~0u, id - 16);
    // Halves of a warp on their own.
    uint32_t half = id < 16 ? 0xffff : 0xffff0000;
    out[15] = ganq_simt_vote(lane, 0, GANQ_SIMT_REDUX_ADD, half, id);
  });
  std::vector<uint64_t> out(32 * 16);
  ASSERT_EQ(kernel.run(out.data(), 32), "");
  for (uint32_t i = 0; i < 32; ++i) {
    const uint64_t *o = &out[i * 16];
    EXPECT_EQ(o[0], 0u);
    EXPECT_EQ(o[1], 1u);
    EXPECT_EQ(o[2], 0u);
    EXPECT_EQ(o[3], 0x49249249u);
    EXPECT_EQ(o[4], uint64_t(i == 0) << 32);
    EXPECT_EQ(o[5], uint64_t(0xff) << i / 8 * 8);
    EXPECT_EQ(o[6], uint64_t(1) << 32 | ~0u);
    EXPECT_EQ(int32_t(o[GANQ_SIMT_REDUX_ADD]), -16);
    EXPECT_EQ(int32_t(o[GANQ_SIMT_REDUX_MIN]), -16);
    EXPECT_EQ(int32_t(o[GANQ_SIMT_REDUX_MAX]), 15);
    EXPECT_EQ(o[GANQ_SIMT_REDUX_UMIN], 0u);
    EXPECT_EQ(int32_t(o[GANQ_SIMT_REDUX_UMAX]), -1);
    EXPECT_EQ(o[GANQ_SIMT_REDUX_AND], 0u);
    EXPECT_EQ(int32_t(o[GANQ_SIMT_REDUX_OR]), -1);
    EXPECT_EQ(o[GANQ_SIMT_REDUX_XOR], 0u);
    EXPECT_EQ(o[15], i < 16 ? 120u : 376u);
  }
}

TEST(Block, LetsLanesReturnBeforeShuffles) {
  TestKernel kernel([](ganq_simt_lane *lane, void *const *args) {
    if (lane->laneid >= 8)
      return;
    getPointer<uint64_t>(args)[lane->laneid] =
        ganq_simt_vote(lane, 0, GANQ_SIMT_REDUX_ADD, ~0u, 1);
  });
  std::vector<uint64_t> out(8);
  ASSERT_EQ(kernel.run(out.data(), 32), "");
  EXPECT_EQ(out, std::vector<uint64_t>(8, 8));
}

TEST(Block, ReportsDivergentShuffle) {
  TestKernel kernel([](ganq_simt_lane *lane, void *const *) {
    if (lane->laneid < 4)
      ganq_simt_shuffle(lane, 1, GANQ_SIMT_SHUFFLE_BFLY, ~0u, 0, 1, 31);
    else
      syncThreads(lane, 2);
  });
  std::string message = kernel.run(nullptr, 32);
  EXPECT_TRUE(contains(message,
                       "k.mlir:2:2: divergent shfl.sync: no thread can go on: "
                       "threads 0-3 wait in shfl.sync with mask 0xffffffff "
                       "here; threads 4-31 wait at bar.sync 0 at k.mlir:3:3"))
      << message;

  TestKernel mixed([](ganq_simt_lane *lane, void *const *) {
    ganq_simt_vote(lane, lane->laneid % 2, lane->laneid % 2, ~0u, 0);
  });
  message = mixed.run(nullptr, 32);
  EXPECT_TRUE(contains(message, "divergent vote.sync: threads 0, 2, 4, ..."))
      << message;

  TestKernel outside([](ganq_simt_lane *lane, void *const *) {
    ganq_simt_shuffle(lane, 1, GANQ_SIMT_SHUFFLE_BFLY, 1, 0, 0, 31);
  });
  message = outside.run(nullptr, 32);
  EXPECT_TRUE(contains(
      message, "expected the member mask of shfl.sync to hold "
               "the thread that runs it, but got 0x00000001 "
               "in lane 1 (thread (1, 0, 0) of block (0, 0, 0), kernel `k`)"))
      << message;
}

TEST(Block, FindsRacesByOrder) {
  // The barrier between write and read is missing.
  TestKernel kernel(
      [](ganq_simt_lane *lane, void *const *args) {
        auto *cells = reinterpret_cast<uint32_t *>(lane->shared);
        uint32_t thread = getThread(lane);
        cells[thread] = thread;
        getPointer<uint32_t>(args)[thread] = cells[thread ^ 1];
      },
      256, /*checked=*/false);
  std::vector<uint32_t> cells(64);
  ganq_simt_add_buffer(kernel.device.get(), cells.data(), 256, "cells", 0);
  kernel.options.order = GANQ_SIMT_ALL_ORDERS;
  std::string message = kernel.run(cells.data(), 64);
  EXPECT_TRUE(contains(message, "expected the same result in every order of "
                                "lanes, but byte 0 of buffer `cells` differs "
                                "between forward and reverse order"))
      << message;
}

TEST(Block, EndsLoopsThatWaitForEver) {
  TestKernel kernel([](ganq_simt_lane *lane, void *const *args) {
    auto *flag = getPointer<volatile uint32_t>(args);
    while (*flag != 2) {
      if (--*lane->fuel < 0)
        ganq_simt_tick(lane, 2);
      if (getThread(lane) == 5)
        *flag = lane->ntid[0] == 32 ? 1 : 2;
    }
  });
  kernel.options.iteration_limit = 1 << 20;
  uint32_t flag = 0;
  // A lane that spins lets the lane run that it waits for.
  EXPECT_EQ(kernel.run(&flag, 64), "");
  flag = 0;
  std::string message = kernel.run(&flag, 32, 3);
  EXPECT_TRUE(contains(message, "k.mlir:3:3: expected a block to run at most "
                                "1048576 loop iterations"))
      << message;
}

TEST(Block, RefusesWhatCudaRefuses) {
  TestKernel kernel(reduceKernel, 4096);
  EXPECT_TRUE(contains(kernel.run(nullptr, 1025),
                       "expected a block of 1 to 1024 threads"));
  EXPECT_TRUE(contains(kernel.run(nullptr, 32, 0), "expected a grid of"));
  EXPECT_TRUE(contains(kernel.run(nullptr, 32, 1, 230000),
                       "expected at most 232448 bytes of shared memory, but "
                       "got 4096 static and 230000 dynamic ones"));
  uint32_t one[3] = {1, 1, 1};
  EXPECT_NE(ganq_simt_launch(kernel.device.get(), &kernel.module, "x", one, one,
                             0, nullptr, 0),
            0);
  EXPECT_STREQ(ganq_simt_message(kernel.device.get()),
               "expected one of the kernels `k`, but got `x`");
  EXPECT_NE(ganq_simt_launch(kernel.device.get(), &kernel.module, "k", one, one,
                             0, nullptr, 0),
            0);
  EXPECT_STREQ(ganq_simt_message(kernel.device.get()),
               "expected 1 arguments, but got 0 (kernel `k`)");
}

TEST(Block, StopsAllBlocksAtTheFirstMistake) {
  TestKernel kernel([](ganq_simt_lane *lane, void *const *args) {
    getPointer<uint32_t>(args)[lane->ctaid[0]] = 1;
    if (lane->ctaid[0] == 3)
      ganq_simt_trap(lane, 1);
  });
  std::vector<uint32_t> ran(100000);
  std::string message = kernel.run(ran.data(), 1, ran.size());
  EXPECT_EQ(message, "k.mlir:2:2: the kernel ran into a trap (thread (0, 0, 0) "
                     "of block (3, 0, 0), kernel `k`)");
  EXPECT_EQ(ran.back(), 0u);
  // The device is as good as new.
  EXPECT_EQ(kernel.run(ran.data(), 1, 3), "");
}
