//===- MemoryTest.cpp - Checked accesses and cp.async ---------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "TestKernel.h"
#include <cstring>
#include <gtest/gtest.h>

using namespace ganq::simt;

static uint32_t getFlags(uint32_t kind, uint32_t alignment) {
  return kind | uint32_t(__builtin_ctz(alignment)) << GANQ_SIMT_ALIGN_SHIFT;
}

/// One access of each thread: kind, alignment, bytes at base + thread * stride.
struct Access {
  char *base;
  uint32_t kind, alignment, bytes, stride;
};

static void accessKernel(ganq_simt_lane *lane, void *const *args) {
  const Access &a = *getPointer<Access>(args);
  char *base = a.base ? a.base : lane->shared;
  ganq_simt_access(lane, base + lane->tid[0] * a.stride, a.bytes,
                   getFlags(a.kind, a.alignment), 1, 0);
}

TEST(Memory, KeepsAccessesInsideOfBuffers) {
  alignas(16) static char data[256];
  TestKernel kernel(accessKernel);
  Access access = {data, GANQ_SIMT_LOAD, 4, 4, 4};
  EXPECT_TRUE(contains(kernel.run(&access, 1), "and there is no buffer"));
  ganq_simt_add_buffer(kernel.device.get(), data, 128, "x", 0);
  EXPECT_EQ(kernel.run(&access, 32), "");
  EXPECT_EQ(kernel.run(&access, 33),
            "k.mlir:2:2: expected a load of 4 bytes inside of a buffer, but "
            "got offset 128 of the nearest buffer `x` with 128 bytes (thread "
            "(32, 0, 0) of block (0, 0, 0), kernel `k`)");
  // The last bytes reach over the end.
  access = {data, GANQ_SIMT_STORE, 4, 8, 4};
  EXPECT_TRUE(contains(
      kernel.run(&access, 32),
      "expected a store of 8 bytes inside of a buffer, but got offset 124"));
  ganq_simt_add_buffer(kernel.device.get(), data, 256, "y", 1);
  EXPECT_TRUE(contains(kernel.run(&access, 32), "read-only buffer `y`"));
  ganq_simt_remove_buffer(kernel.device.get(), data);
  EXPECT_TRUE(contains(kernel.run(&access, 32), "there is no buffer"));
}

TEST(Memory, WantsAlignment) {
  alignas(16) static char data[256];
  TestKernel kernel(accessKernel, 256);
  ganq_simt_add_buffer(kernel.device.get(), data, 256, "x", 0);
  Access access = {data, GANQ_SIMT_LOAD, 16, 16, 8};
  EXPECT_EQ(kernel.run(&access, 1), "");
  EXPECT_TRUE(contains(
      kernel.run(&access, 2),
      "expected a load of 16 bytes to be aligned to 16, but got address 0x"));
  access = {nullptr, GANQ_SIMT_STORE, 16, 16, 8};
  EXPECT_TRUE(contains(kernel.run(&access, 2),
                       "aligned to 16, but got offset 8 of shared memory"));
}

TEST(Memory, KnowsWhatWasWrittenInSharedMemory) {
  TestKernel kernel(accessKernel, 64);
  Access access = {nullptr, GANQ_SIMT_STORE | GANQ_SIMT_IN_SHARED, 4, 4, 4};
  EXPECT_EQ(kernel.run(&access, 16), "");
  EXPECT_TRUE(contains(kernel.run(&access, 17),
                       "expected a store of 4 bytes inside of the block's 64 "
                       "bytes of shared memory, but got offset 64"));
  access.kind = GANQ_SIMT_LOAD;
  EXPECT_TRUE(
      contains(kernel.run(&access, 1),
               "expected shared memory that some thread has written, but got a "
               "load of 4 bytes at offset 0 of which byte 0 is not"));
  access.kind = GANQ_SIMT_LOAD | GANQ_SIMT_STORE;
  EXPECT_TRUE(contains(kernel.run(&access, 1), "got a atomic update"));
}

/// Copies 16 bytes per thread in groups; reads as the flags say.
struct Copies {
  char source[4][512];
  char target[4][512];
  int wait;        ///< Argument of wait; -2: none.
  int stage;       ///< Read afterwards.
  bool overwrite;  ///< Writes over the source before the wait.
  bool storeFirst; ///< Stores into a target in flight.
};

static void copyKernel(ganq_simt_lane *lane, void *const *args) {
  Copies &c = *getPointer<Copies>(args);
  uint32_t at = lane->tid[0] * 16;
  for (uint32_t stage = 0; stage < 4; ++stage) {
    ganq_simt_copy_async(lane, 2, lane->shared + 512 * stage + at,
                         c.source[stage] + at, 16, stage == 3 ? 10 : 16);
    ganq_simt_copy_commit(lane);
  }
  if (c.overwrite)
    memset(c.source[0] + at, 77, 16);
  if (c.storeFirst)
    ganq_simt_access(lane, lane->shared + at, 4, getFlags(GANQ_SIMT_STORE, 4),
                     1, 0);
  if (c.wait != -2)
    ganq_simt_copy_wait(lane, c.wait);
  char *from = lane->shared + 512 * c.stage + at;
  ganq_simt_access(lane, from, 16, getFlags(GANQ_SIMT_LOAD, 16), 1, 0);
  memcpy(c.target[c.stage] + at, from, 16);
}

TEST(Memory, DelaysAsynchronousCopies) {
  auto copies = std::make_unique<Copies>();
  for (int stage = 0; stage < 4; ++stage)
    for (int i = 0; i < 512; ++i)
      copies->source[stage][i] = char(i * 7 + stage);
  TestKernel kernel(copyKernel, 2048);
  ganq_simt_add_buffer(kernel.device.get(), copies.get(), sizeof(Copies), "c",
                       0);
  auto run = [&](int wait, int stage) {
    copies->wait = wait;
    copies->stage = stage;
    return kernel.run(copies.get(), 32);
  };
  EXPECT_TRUE(contains(
      run(-2, 0),
      "k.mlir:2:2: expected shared memory that is not the target of a cp.async "
      "in flight, but got a load at offset 0; the copy began at k.mlir:3:3"));
  EXPECT_TRUE(contains(run(3, 1), "in flight"));
  EXPECT_EQ(run(3, 0), "");
  EXPECT_EQ(run(2, 1), "");
  EXPECT_TRUE(contains(run(1, 3), "in flight"));
  EXPECT_EQ(run(0, 3), "");
  EXPECT_EQ(run(-1, 2), "");
  for (int stage = 0; stage < 4; ++stage)
    for (int i = 0; i < 512; ++i)
      EXPECT_EQ(copies->target[stage][i],
                stage == 3 && i % 16 >= 10 ? 0 : copies->source[stage][i]);
  copies->storeFirst = true;
  EXPECT_TRUE(contains(run(0, 0), "but got a store at offset 0"));
  copies->storeFirst = false;
  // The source is read as late as the hardware may.
  copies->overwrite = true;
  EXPECT_EQ(run(0, 0), "");
  EXPECT_EQ(copies->target[0][5], 77);
}

TEST(Memory, ReadsOfOtherThreadsNeedABarrier) {
  TestKernel kernel(
      [](ganq_simt_lane *lane, void *const *args) {
        uint32_t at = lane->tid[0] * 4;
        ganq_simt_copy_async(lane, 0, lane->shared + at,
                             getPointer<char>(args) + at, 4, 4);
        ganq_simt_copy_wait(lane, -1);
        if (lane->ntid[0] == 64)
          ganq_simt_barrier(lane, 0, GANQ_SIMT_BARRIER_ALIGNED, 0, 0, 0);
        ganq_simt_access(lane, lane->shared + (at ^ 4), 4,
                         getFlags(GANQ_SIMT_LOAD, 4), 1, 0);
      },
      256);
  alignas(16) char data[256] = {};
  ganq_simt_add_buffer(kernel.device.get(), data, 256, "data", 0);
  EXPECT_EQ(kernel.run(data, 64), "");
  EXPECT_TRUE(contains(kernel.run(data, 32), "some thread has written"));
}

TEST(Memory, RefusesCopiesOfWrongPlaces) {
  alignas(16) static char data[64];
  struct Args {
    char *target, *source;
    uint32_t bytes;
  } args;
  TestKernel kernel(
      [](ganq_simt_lane *lane, void *const *args) {
        Args &a = *getPointer<Args>(args);
        ganq_simt_copy_async(lane, 1, a.target ? a.target : lane->shared,
                             a.source, a.bytes, a.bytes);
      },
      64);
  ganq_simt_add_buffer(kernel.device.get(), data, 64, "x", 0);
  args = {nullptr, data + 4, 8};
  EXPECT_TRUE(contains(kernel.run(&args, 1),
                       "expected a load of 8 bytes to be aligned to 8"));
  args = {nullptr, data + 56, 16};
  EXPECT_TRUE(contains(kernel.run(&args, 1), "aligned to 16"));
  args = {nullptr, data + 64, 16};
  EXPECT_TRUE(contains(kernel.run(&args, 1),
                       "expected a load of 16 bytes inside of a buffer"));
  args = {data, data, 16};
  EXPECT_TRUE(contains(kernel.run(&args, 1),
                       "expected cp.async to write shared memory"));
}
