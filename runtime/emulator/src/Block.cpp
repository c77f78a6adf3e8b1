//===- Block.cpp - Runs the lanes of a block as fibers --------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Block.h"
#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <sys/mman.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#define GANQ_SIMT_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define GANQ_SIMT_ASAN 1
#endif
#endif
#ifdef GANQ_SIMT_ASAN
#include <new>
#include <sanitizer/asan_interface.h>
#endif

using namespace ganq::simt;

/// Behind the last byte of shared memory; at least the widest access.
static constexpr uint64_t kGuardBytes = 256;
static constexpr uint64_t kSharedAlignment = 1024;
/// Iterations between two looks at whether the launch still gets on.
static constexpr int64_t kSlice = int64_t(1) << 16;
/// What unwritten shared memory holds: a NaN in each float format.
static constexpr int kPoison = 0xff;

/// No access lies within: what a site remembers at first.
alignas(64) static char kNowhere[64];

Block::~Block() {
  if (stacks)
    munmap(stacks, stacksBytes);
}

//===----------------------------------------------------------------------===//
// A block from its first lane to its last
//===----------------------------------------------------------------------===//

/// Memory for the launch's blocks. False when there is none.
bool Block::prepare() {
  numLanes = launch->lanes;
  numWarps = (numLanes + kWarpLanes - 1) / kWarpLanes;
  if (!lanes)
    lanes.reset(new Lane[kMaxLanes]());

  // Each stack has a guard page at its low end. Stacks that suffice stay: the
  // kernels of a model take turns, and each map costs a call per stack.
  uint64_t page = sysconf(_SC_PAGESIZE);
  uint64_t bytes =
      (launch->kernel->stack_bytes + 64 * 1024 + page - 1) / page * page + page;
  uint64_t held = stackBytes ? stacksBytes / stackBytes : 0;
  if (bytes > stackBytes || numLanes > held) {
    if (stacks)
      munmap(stacks, stacksBytes);
    held = std::max<uint64_t>(held, numLanes);
    stackBytes = std::max(stackBytes, bytes);
    stacksBytes = stackBytes * held;
    void *map = mmap(nullptr, stacksBytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    stacks = map == MAP_FAILED ? nullptr : static_cast<char *>(map);
    if (!stacks)
      return false;
    for (uint64_t i = 0; i < held; ++i)
      if (mprotect(stacks + i * stackBytes, page, PROT_NONE) != 0)
        return false;
  }

  uint64_t dynamicOffset =
      (launch->kernel->static_shared_bytes + 1023) / 1024 * 1024;
  sharedBytes = launch->dynamicSharedBytes
                    ? dynamicOffset + launch->dynamicSharedBytes
                    : launch->kernel->static_shared_bytes;
  uint64_t half = sharedBytes + kGuardBytes + kSharedAlignment;
  memory.resize(2 * half + kSharedAlignment);
  uint64_t base = reinterpret_cast<uint64_t>(memory.data());
  shared = memory.data() +
           ((kSharedAlignment - base % kSharedAlignment) % kSharedAlignment);
  stateDistance = half;

  ganq_simt_site nowhere = {reinterpret_cast<uint64_t>(kNowhere), 0};
  sites.assign(launch->module->num_sites, nowhere);

  for (uint32_t i = 0; i < numLanes; ++i) {
    Lane &lane = lanes[i];
    lane.owner = this;
    lane.index = i;
    lane.warp = &warps[i / kWarpLanes];
    lane.stackLow = stacks + i * stackBytes;
    // Stacks that begin at the same offset in a page would share cache sets.
    lane.stackHigh = lane.stackLow + stackBytes - i % 64 * 64 * 5 % 4096;
    lane.tid[0] = i % launch->block[0];
    lane.tid[1] = i / launch->block[0] % launch->block[1];
    lane.tid[2] = i / launch->block[0] / launch->block[1];
    for (int d = 0; d < 3; ++d) {
      lane.ntid[d] = launch->block[d];
      lane.nctaid[d] = launch->grid[d];
    }
    lane.laneid = i % kWarpLanes;
    lane.warpid = i / kWarpLanes;
    lane.shared = shared;
    lane.shared_state = stateDistance;
    lane.shared_bytes = sharedBytes;
    lane.sites = sites.data();
    lane.fuel = &fuel;
    lane.dynamic_shared_offset = dynamicOffset;
    warps[i / kWarpLanes].lanes[i % kWarpLanes] = &lane;
  }
  return true;
}

void Block::work(Launch &l) {
  launch = &l;
  bool ready = false;
  try {
    ready = prepare();
  } catch (const std::bad_alloc &) {
  }
  if (!ready) {
    std::lock_guard<std::mutex> lock(l.messageMutex);
    if (!l.stopped.exchange(true))
      snprintf(l.message, sizeof(l.message),
               "expected %llu bytes for stacks of %u threads and memory for "
               "their block, but the system has no more",
               (unsigned long long)(stackBytes * numLanes), numLanes);
    stackBytes = 0;
    return;
  }
  uint64_t blocks = uint64_t(l.grid[0]) * l.grid[1] * l.grid[2];
  while (!l.stopped.load(std::memory_order_relaxed)) {
    uint64_t number = l.nextBlock.fetch_add(1);
    if (number >= blocks)
      break;
    run(number);
  }
}

/// A generator good enough to shuffle lanes (splitmix64).
static uint64_t nextRandom(uint64_t &state) {
  uint64_t z = (state += 0x9e3779b97f4a7c15);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

void Block::run(uint64_t number) {
  for (uint32_t i = 0; i < numLanes; ++i)
    laneAt[i] = launch->order == GANQ_SIMT_REVERSE ? numLanes - 1 - i : i;
  if (launch->order == GANQ_SIMT_RANDOM) {
    uint64_t state = launch->seed * 0x9e3779b97f4a7c15 + number;
    for (uint32_t i = numLanes; i > 1; --i)
      std::swap(laneAt[i - 1], laneAt[nextRandom(state) % i]);
  }

  memset(shared, kPoison, sharedBytes);
  memset(shared + stateDistance,
         launch->kernel->checked ? GANQ_SIMT_STATE_UNWRITTEN : 0, sharedBytes);
  memset(shared + stateDistance + sharedBytes, GANQ_SIMT_STATE_OUTSIDE,
         kGuardBytes);
  memset(barriers, 0, sizeof(barriers));
  for (uint32_t w = 0; w < numWarps; ++w) {
    uint32_t count = std::min(kWarpLanes, numLanes - w * kWarpLanes);
    warps[w].all = warps[w].live =
        count == kWarpLanes ? ~0u : (1u << count) - 1;
    warps[w].arrived = 0;
  }
  memset(ready, 0, sizeof(ready));
  live = numLanes;
  fuel = kSlice;
  iterations = 0;

  uint32_t id[3] = {uint32_t(number % launch->grid[0]),
                    uint32_t(number / launch->grid[0] % launch->grid[1]),
                    uint32_t(number / launch->grid[0] / launch->grid[1])};
  // What the switch pops: a control word, six registers and where to go.
  uint32_t control;
  asm volatile("stmxcsr %0" : "=m"(control));
  for (uint32_t p = 0; p < numLanes; ++p) {
    Lane &lane = lanes[laneAt[p]];
    lane.position = p;
    lane.waits = Waits::No;
    lane.copies.clear();
    lane.openGroup = 0;
    memcpy(lane.ctaid, id, sizeof(id));
#ifdef GANQ_SIMT_ASAN
    __asan_unpoison_memory_region(lane.stackLow + sysconf(_SC_PAGESIZE),
                                  stackBytes - sysconf(_SC_PAGESIZE));
#endif
    uint64_t *frame = reinterpret_cast<uint64_t *>(lane.stackHigh) - 8;
    memcpy(frame, &control, sizeof(control));
    frame[1] = frame[2] = 0;                          // r15, r14
    frame[3] = reinterpret_cast<uint64_t>(&laneMain); // r13
    frame[4] = reinterpret_cast<uint64_t>(&lane);     // r12
    frame[5] = frame[6] = 0;                          // rbx, rbp
    frame[7] = reinterpret_cast<uint64_t>(&ganq_simt_begin);
    lane.stackPointer = frame;
    wake(p);
  }
  ganq_simt_switch(&mainStack, lanes[laneAt[0]].stackPointer);
}

void Block::laneMain(Lane *lane) {
  Block &block = *lane->owner;
  block.launch->kernel->entry(lane, block.launch->args);

  lane->waits = Waits::Returned;
  block.ready[lane->position / 64] &= ~(uint64_t(1) << (lane->position % 64));
  Warp &warp = *lane->warp;
  warp.live &= ~(1u << lane->laneid);
  if (--block.live == 0)
    block.leave();
  // Others may have waited for this lane alone.
  for (uint32_t bits = warp.arrived; bits; bits &= bits - 1) {
    Lane &other = *warp.lanes[__builtin_ctz(bits)];
    if (other.waits == Waits::InWarp && block.completes(other))
      block.complete(other);
  }
  Lane *next = block.pickNext(lane->position);
  if (!next)
    block.reportDeadlock();
  ganq_simt_switch(&lane->stackPointer, next->stackPointer);
  __builtin_unreachable();
}

/// Goes back to `run` for good.
void Block::leave() {
  void *ignored;
  ganq_simt_switch(&ignored, mainStack);
  __builtin_unreachable();
}

//===----------------------------------------------------------------------===//
// Who runs next
//===----------------------------------------------------------------------===//

/// The lane that is ready and comes next after `position`, in a circle.
Lane *Block::pickNext(uint32_t position) {
  uint32_t words = (numLanes + 63) / 64;
  uint32_t word = position / 64;
  // Shifting by one twice: the position may be the last of its word.
  uint64_t bits = ready[word] & (~uint64_t(1) << (position % 64));
  for (uint32_t i = 0; i <= words; ++i) {
    if (bits)
      return &lanes[laneAt[word * 64 + __builtin_ctzll(bits)]];
    word = word + 1 == words ? 0 : word + 1;
    bits = ready[word];
  }
  return nullptr;
}

/// Stops the lane until somebody wakes it.
void Block::suspend(Lane &lane) {
  ready[lane.position / 64] &= ~(uint64_t(1) << (lane.position % 64));
  Lane *next = pickNext(lane.position);
  if (!next)
    reportDeadlock();
  ganq_simt_switch(&lane.stackPointer, next->stackPointer);
}

void Block::yield(Lane &lane) {
  Lane *next = pickNext(lane.position);
  if (next)
    switchTo(lane, *next);
}

void Block::tick(Lane &lane, uint32_t place) {
  if (launch->stopped.load(std::memory_order_relaxed))
    leave();
  iterations += kSlice;
  fuel = kSlice;
  if (iterations >= launch->iterationLimit)
    fail(lane, place,
         "expected a block to run at most %llu loop iterations, but it runs "
         "on here; it may wait for a value that nobody writes, or for a block "
         "with a higher number, which starts later",
         (unsigned long long)launch->iterationLimit);
  yield(lane);
}

//===----------------------------------------------------------------------===//
// Barriers
//===----------------------------------------------------------------------===//

uint32_t Block::barrier(Lane &lane, uint32_t place, uint32_t flags, uint32_t id,
                        uint32_t count, bool predicate) {
  if (id >= kNumBarriers)
    fail(lane, place, "expected a barrier from 0 to 15, but got %u", id);
  if (count % kWarpLanes != 0 || count > kMaxLanes)
    fail(lane, place,
         "expected a barrier's thread count to be a multiple of 32 up to 1024, "
         "but got %u",
         count);
  Barrier &b = barriers[id];
  uint32_t expected = count ? count : numWarps * kWarpLanes;
  uint32_t kind =
      flags & ~(GANQ_SIMT_BARRIER_ALIGNED | GANQ_SIMT_BARRIER_ARRIVE);
  if (b.expected == 0) {
    b.expected = expected;
    b.flags = kind;
    b.place = place;
    b.all = true;
  } else if (b.expected != expected || b.flags != kind) {
    fail(lane, place,
         "expected all threads to use barrier %u alike, but it counts %u "
         "threads here and %u at %s",
         id, expected, b.expected, launch->getPlace(b.place));
  }

  uint32_t w = lane.warpid, bit = 1u << lane.laneid;
  if (b.warpLanes[w] & bit)
    fail(lane, place,
         "expected a thread to arrive once at barrier %u, but it "
         "arrives again before the others have",
         id);
  lane.place = place;
  lane.barrier = id;
  if (b.warpLanes[w] == 0) {
    b.warpPlace[w] = place;
  } else if ((flags & GANQ_SIMT_BARRIER_ALIGNED) && b.warpPlace[w] != place) {
    lane.instruction = "bar.sync";
    lane.waits = Waits::AtBarrier;
    reportDivergence(lane, *lane.warp->lanes[__builtin_ctz(b.warpLanes[w])]);
  }
  b.warpLanes[w] |= bit;
  b.count += predicate;
  b.all &= predicate;
  b.any |= predicate;
  if (b.warpLanes[w] == lane.warp->all)
    b.arrived += kWarpLanes;
  if (b.arrived >= b.expected) {
    uint32_t result = b.flags & GANQ_SIMT_BARRIER_POPC  ? b.count
                      : b.flags & GANQ_SIMT_BARRIER_AND ? b.all
                                                        : b.any;
    release(b);
    // The first in the order goes on, not the last to arrive: else the order
    // after a barrier would hardly differ from its reverse.
    switchTo(lane, *pickNext(numLanes - 1));
    return result;
  }
  if (flags & GANQ_SIMT_BARRIER_ARRIVE)
    return 0;
  lane.waits = Waits::AtBarrier;
  lane.instruction = "bar.sync";
  b.waiting[lane.position / 64] |= uint64_t(1) << (lane.position % 64);
  suspend(lane);
  lane.waits = Waits::No;
  return lane.result;
}

void Block::release(Barrier &b) {
  uint32_t result = b.flags & GANQ_SIMT_BARRIER_POPC  ? b.count
                    : b.flags & GANQ_SIMT_BARRIER_AND ? b.all
                                                      : b.any;
  for (uint32_t word = 0; word < (numLanes + 63) / 64; ++word) {
    ready[word] |= b.waiting[word];
    if (b.flags)
      for (uint64_t bits = b.waiting[word]; bits; bits &= bits - 1)
        lanes[laneAt[word * 64 + __builtin_ctzll(bits)]].result = result;
    b.waiting[word] = 0;
  }
  memset(b.warpLanes, 0, numWarps * sizeof(uint32_t));
  b.expected = b.arrived = b.count = 0;
  b.any = false;
}

//===----------------------------------------------------------------------===//
// Operations of a warp
//===----------------------------------------------------------------------===//

/// Whether all live lanes of the lane's mask are in its operation. Reports a
/// lane that is in another one although both wait for each other.
bool Block::completes(Lane &lane) {
  Warp &warp = *lane.warp;
  uint32_t members = lane.mask & warp.live;
  if (members & ~warp.arrived)
    return false;
  for (uint32_t bits = members; bits; bits &= bits - 1) {
    Lane &other = *warp.lanes[__builtin_ctz(bits)];
    if (other.key == lane.key && other.mask == lane.mask)
      continue;
    if (other.mask >> lane.laneid & 1)
      reportDivergence(lane, other);
    return false;
  }
  return true;
}

void Block::warpOperation(Lane &lane, uint32_t place, const char *instruction,
                          uint32_t mask, uint64_t key, void *operands,
                          WarpFunction function) {
  Warp &warp = *lane.warp;
  lane.place = place;
  lane.instruction = instruction;
  lane.mask = mask;
  lane.key = key;
  lane.operands = operands;
  lane.function = function;
  if (!(mask >> lane.laneid & 1))
    fail(lane, place,
         "expected the member mask of %s to hold the thread that runs it, but "
         "got 0x%08x in lane %u",
         instruction, mask, lane.laneid);
  warp.arrived |= 1u << lane.laneid;
  lane.waits = Waits::InWarp;
  if (completes(lane))
    switchTo(lane, lanes[laneAt[complete(lane)]]);
  else
    suspend(lane);
}

/// Computes the lane's operation and wakes the members. Returns the position of
/// the first of them.
uint32_t Block::complete(Lane &lane) {
  Warp &warp = *lane.warp;
  uint32_t members = lane.mask & warp.live;
  lane.function(warp, members);
  warp.arrived &= ~members;
  uint32_t first = kMaxLanes;
  for (uint32_t bits = members; bits; bits &= bits - 1) {
    Lane &other = *warp.lanes[__builtin_ctz(bits)];
    other.waits = Waits::No;
    wake(other.position);
    first = std::min(first, other.position);
  }
  return first;
}
