//===- Block.h - The lanes of one block on one OS thread --------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_EMULATOR_SRC_BLOCK_H
#define GANQ_EMULATOR_SRC_BLOCK_H

#include "ganq/emulator.h"
#include <atomic>
#include <cstddef>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

extern "C" {
void ganq_simt_switch(void **save, void *load);
void ganq_simt_begin();
}

namespace ganq::simt {

constexpr uint32_t kWarpLanes = 32;
constexpr uint32_t kMaxLanes = 1024;
constexpr uint32_t kMaxWarps = kMaxLanes / kWarpLanes;
constexpr uint32_t kNumBarriers = 16;

struct Buffer {
  uint64_t begin, bytes;
  std::string name;
  bool readOnly;
};

/// The buffer that holds the address, or null.
const Buffer *findBuffer(const std::vector<Buffer> &buffers, uint64_t address);

/// What all blocks of a launch share.
struct Launch {
  const ganq_simt_module *module;
  const ganq_simt_kernel *kernel;
  void *const *args;
  uint32_t grid[3], block[3];
  uint32_t lanes;
  uint64_t dynamicSharedBytes;
  ganq_simt_order order;
  uint64_t seed, iterationLimit;
  const std::vector<Buffer> *buffers; ///< Sorted by address.

  std::atomic<uint64_t> nextBlock{0};
  std::atomic<bool> stopped{false};
  std::mutex messageMutex;
  /// Of fixed size: who fails never returns, so nothing may own memory.
  char message[2048] = "";

  const char *getPlace(uint32_t place) const {
    return place < module->num_locations ? module->locations[place]
                                         : "unknown place";
  }
};

class Block;
struct Warp;

enum class Waits : uint8_t { No, AtBarrier, InWarp, Returned };

/// A copy that cp.async began.
struct Copy {
  char *target;
  const char *source;
  uint32_t bytes, sourceBytes, group, place;
};

struct Lane : ganq_simt_lane {
  Block *owner;
  Warp *warp;
  void *stackPointer;
  char *stackLow, *stackHigh;
  uint32_t index;    ///< In the block.
  uint32_t position; ///< In the order of running.

  Waits waits;
  uint32_t place;
  /// What it waits for: an instruction's name, a barrier's number, and for a
  /// warp operation the members and a key that must agree among them.
  const char *instruction;
  uint32_t barrier;
  uint32_t mask;
  uint64_t key;
  void *operands;
  void (*function)(Warp &warp, uint32_t mask);
  uint32_t result;

  std::vector<Copy> copies;
  uint32_t openGroup;
};

struct Warp {
  Lane *lanes[kWarpLanes];
  uint32_t all;     ///< Lanes that the warp began with.
  uint32_t live;    ///< Lanes that have not returned.
  uint32_t arrived; ///< Lanes that wait in a warp operation.
};

struct Barrier {
  uint32_t expected, arrived, flags, place;
  uint32_t warpLanes[kMaxWarps], warpPlace[kMaxWarps];
  uint64_t waiting[kMaxLanes / 64];
  uint32_t count;
  bool all, any;
};

/// Computes a warp operation once all lanes of `mask` have brought operands.
using WarpFunction = void (*)(Warp &warp, uint32_t mask);

class Block {
public:
  Block() = default;
  ~Block();
  Block(const Block &) = delete;

  /// Runs blocks of the launch until none is left or one fails.
  void work(Launch &launch);

  Launch &getLaunch() { return *launch; }

  /// Ends the launch with `place: message (thread ... of block ...)`.
  [[noreturn]] void fail(const Lane &lane, uint32_t place, const char *format,
                         ...) __attribute__((format(printf, 4, 5)));

  uint32_t barrier(Lane &lane, uint32_t place, uint32_t flags, uint32_t id,
                   uint32_t count, bool predicate);
  /// Waits until all live lanes of `mask` are in the same operation; the last
  /// runs `function`.
  void warpOperation(Lane &lane, uint32_t place, const char *instruction,
                     uint32_t mask, uint64_t key, void *operands,
                     WarpFunction function);
  /// Lets another lane run.
  void yield(Lane &lane);
  void tick(Lane &lane, uint32_t place);
  /// Checks and marks bytes of shared memory.
  void accessShared(Lane &lane, const void *address, uint64_t bytes,
                    uint32_t flags, uint32_t place);
  void access(Lane &lane, const void *address, uint64_t bytes, uint32_t flags,
              uint32_t place, ganq_simt_site *site);

  bool isShared(const void *address) const {
    return uint64_t((const char *)address - shared) < sharedBytes;
  }
  char *getState(const void *address) const {
    return (char *)const_cast<void *>(address) + stateDistance;
  }

private:
  bool prepare();
  void run(uint64_t number);
  static void laneMain(Lane *lane);
  [[noreturn]] void leave();
  [[noreturn]] void reportDeadlock();
  [[noreturn]] void reportDivergence(const Lane &lane, const Lane &other);
  void describe(char *text, size_t size, const std::vector<uint32_t> &) const;
  Lane *pickNext(uint32_t position);
  void suspend(Lane &lane);
  void switchTo(Lane &lane, Lane &next) {
    if (&next != &lane)
      ganq_simt_switch(&lane.stackPointer, next.stackPointer);
  }
  void release(Barrier &barrier);
  bool completes(Lane &lane);
  uint32_t complete(Lane &lane);
  void wake(uint32_t position) {
    ready[position / 64] |= uint64_t(1) << (position % 64);
  }

  Launch *launch = nullptr;
  std::unique_ptr<Lane[]> lanes;
  uint32_t numLanes = 0, numWarps = 0, live = 0;
  uint32_t laneAt[kMaxLanes]; ///< By position.
  uint64_t ready[kMaxLanes / 64];
  Warp warps[kMaxWarps];
  Barrier barriers[kNumBarriers];
  void *mainStack = nullptr;

  char *stacks = nullptr;
  uint64_t stackBytes = 0, stacksBytes = 0;
  std::vector<char> memory;
  char *shared = nullptr;
  int64_t stateDistance = 0;
  uint64_t sharedBytes = 0;
  std::vector<ganq_simt_site> sites;
  int64_t fuel = 0;
  uint64_t iterations = 0;
};

} // namespace ganq::simt

#endif // GANQ_EMULATOR_SRC_BLOCK_H
