//===- Memory.cpp - Checked accesses and asynchronous copies --------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Block.h"
#include <algorithm>
#include <cstring>
#include <ctime>
#if defined(__x86_64__)
#include <x86intrin.h>
#endif

using namespace ganq::simt;

static Lane &getLane(ganq_simt_lane *lane) {
  return *static_cast<Lane *>(lane);
}

static const char *getAccessName(uint32_t flags) {
  bool load = flags & GANQ_SIMT_LOAD, store = flags & GANQ_SIMT_STORE;
  return load && store ? "atomic update" : store ? "store" : "load";
}

const Buffer *ganq::simt::findBuffer(const std::vector<Buffer> &buffers,
                                     uint64_t address) {
  auto next = std::upper_bound(
      buffers.begin(), buffers.end(), address,
      [](uint64_t a, const Buffer &buffer) { return a < buffer.begin; });
  if (next == buffers.begin())
    return nullptr;
  const Buffer &buffer = *std::prev(next);
  return address - buffer.begin < buffer.bytes ? &buffer : nullptr;
}

void Block::accessShared(Lane &lane, const void *address, uint64_t bytes,
                         uint32_t flags, uint32_t place) {
  uint64_t offset = static_cast<const char *>(address) - shared;
  const char *what = getAccessName(flags);
  if (offset >= sharedBytes || bytes > sharedBytes - offset)
    fail(lane, place,
         "expected a %s of %llu bytes inside of the block's %llu bytes of "
         "shared memory, but got offset %lld",
         what, (unsigned long long)bytes, (unsigned long long)sharedBytes,
         (long long)offset);
  char *state = getState(address);
  for (uint64_t i = 0; i < bytes; ++i) {
    if (state[i] & GANQ_SIMT_STATE_IN_FLIGHT) {
      uint32_t from = place;
      for (uint32_t l = 0; l < numLanes; ++l)
        for (const Copy &copy : lanes[l].copies)
          if (uint64_t(shared + offset + i - copy.target) < copy.bytes)
            from = copy.place;
      fail(lane, place,
           "expected shared memory that is not the target of a cp.async in "
           "flight, but got a %s at offset %llu; the copy began at %s and its "
           "thread has not waited for it",
           what, (unsigned long long)(offset + i), launch->getPlace(from));
    }
    if ((flags & GANQ_SIMT_LOAD) && state[i])
      fail(lane, place,
           "expected shared memory that some thread has written, but got a %s "
           "of %llu bytes at offset %llu of which byte %llu is not",
           what, (unsigned long long)bytes, (unsigned long long)offset,
           (unsigned long long)i);
  }
  if (flags & GANQ_SIMT_STORE)
    memset(state, 0, bytes);
}

void Block::access(Lane &lane, const void *address, uint64_t bytes,
                   uint32_t flags, uint32_t place, ganq_simt_site *site) {
  uint64_t a = reinterpret_cast<uint64_t>(address);
  uint64_t alignment = uint64_t(1) << (flags >> GANQ_SIMT_ALIGN_SHIFT);
  const char *what = getAccessName(flags);
  if (bytes == 0)
    return;
  if (a & (alignment - 1)) {
    if (isShared(address))
      fail(lane, place,
           "expected a %s of %llu bytes to be aligned to %llu, but got offset "
           "%llu of shared memory",
           what, (unsigned long long)bytes, (unsigned long long)alignment,
           (unsigned long long)(a - reinterpret_cast<uint64_t>(shared)));
    fail(lane, place,
         "expected a %s of %llu bytes to be aligned to %llu, but got address "
         "0x%llx",
         what, (unsigned long long)bytes, (unsigned long long)alignment,
         (unsigned long long)a);
  }
  if ((flags & GANQ_SIMT_IN_SHARED) || isShared(address)) {
    accessShared(lane, address, bytes, flags, place);
    return;
  }
  if (a - reinterpret_cast<uint64_t>(lane.stackLow) < stackBytes)
    return;

  const std::vector<Buffer> &buffers = *launch->buffers;
  const Buffer *buffer = findBuffer(buffers, a);
  if (buffer && bytes <= buffer->bytes - (a - buffer->begin)) {
    if ((flags & GANQ_SIMT_STORE) && buffer->readOnly)
      fail(lane, place,
           "expected a %s into memory that may be written, but got offset %llu "
           "of the read-only buffer `%s`",
           what, (unsigned long long)(a - buffer->begin), buffer->name.c_str());
    if (site)
      *site = {buffer->begin, buffer->bytes - bytes};
    return;
  }
  // The buffer that it starts in or that ends before it tells most.
  if (!buffer)
    for (const Buffer &other : buffers)
      if (other.begin <= a || !buffer)
        buffer = &other;
  if (!buffer)
    fail(lane, place,
         "expected a %s of %llu bytes inside of a buffer, but got address "
         "0x%llx, and there is no buffer",
         what, (unsigned long long)bytes, (unsigned long long)a);
  fail(lane, place,
       "expected a %s of %llu bytes inside of a buffer, but got offset %lld of "
       "the nearest buffer `%s` with %llu bytes",
       what, (unsigned long long)bytes, (long long)(a - buffer->begin),
       buffer->name.c_str(), (unsigned long long)buffer->bytes);
}

void ganq_simt_access(ganq_simt_lane *lane, const void *address, uint64_t bytes,
                      uint32_t flags, uint32_t place, uint32_t site) {
  Lane &l = getLane(lane);
  l.owner->access(l, address, bytes, flags, place, &l.sites[site]);
}

void ganq_simt_range(ganq_simt_lane *lane, const void *address, uint64_t bytes,
                     uint32_t flags, uint32_t place) {
  Lane &l = getLane(lane);
  l.owner->access(l, address, bytes, flags, place, nullptr);
}

void ganq_simt_local_error(ganq_simt_lane *lane, int64_t offset, uint64_t bytes,
                           uint64_t size, uint32_t place) {
  Lane &l = getLane(lane);
  l.owner->fail(l, place,
                "expected an access of %llu bytes inside of a local array of "
                "%llu bytes, but got offset %lld",
                (unsigned long long)bytes, (unsigned long long)size,
                (long long)offset);
}

void ganq_simt_divide_error(ganq_simt_lane *lane, uint32_t place) {
  Lane &l = getLane(lane);
  l.owner->fail(l, place,
                "expected a divisor that is not zero and a quotient that "
                "fits, but got others");
}

void ganq_simt_trap(ganq_simt_lane *lane, uint32_t place) {
  Lane &l = getLane(lane);
  l.owner->fail(l, place, "the kernel ran into a trap");
}

void ganq_simt_assertion(ganq_simt_lane *lane, const char *message,
                         uint32_t place) {
  Lane &l = getLane(lane);
  l.owner->fail(l, place, "assertion failed: %s", message);
}

uint64_t ganq_simt_clock(void) { return __rdtsc(); }

uint64_t ganq_simt_nanoseconds(void) {
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return uint64_t(now.tv_sec) * 1000000000 + now.tv_nsec;
}

//===----------------------------------------------------------------------===//
// cp.async
//===----------------------------------------------------------------------===//

void ganq_simt_copy_async(ganq_simt_lane *lane, uint32_t place, void *target,
                          const void *source, uint32_t bytes,
                          uint32_t source_bytes) {
  Lane &l = getLane(lane);
  Block &block = *l.owner;
  uint32_t alignment = __builtin_ctz(bytes) << GANQ_SIMT_ALIGN_SHIFT;
  source_bytes = std::min(source_bytes, bytes);
  if (!block.isShared(target))
    block.fail(l, place,
               "expected cp.async to write shared memory, but got address %p",
               target);
  block.access(l, target, bytes,
               GANQ_SIMT_STORE | GANQ_SIMT_IN_SHARED | alignment, place,
               nullptr);
  if (block.getLaunch().kernel->checked)
    block.access(l, source, source_bytes, GANQ_SIMT_LOAD | alignment, place,
                 nullptr);
  memset(block.getState(target), GANQ_SIMT_STATE_IN_FLIGHT, bytes);
  memset(target, 0xff, bytes);
  l.copies.push_back({static_cast<char *>(target),
                      static_cast<const char *>(source), bytes, source_bytes,
                      l.openGroup, place});
}

void ganq_simt_copy_commit(ganq_simt_lane *lane) { ++getLane(lane).openGroup; }

void ganq_simt_copy_wait(ganq_simt_lane *lane, int32_t pending) {
  Lane &l = getLane(lane);
  // Groups before this one have to be there.
  int64_t bound =
      pending < 0 ? int64_t(l.openGroup) + 1 : int64_t(l.openGroup) - pending;
  size_t done = 0;
  for (; done < l.copies.size() && l.copies[done].group < bound; ++done) {
    const Copy &copy = l.copies[done];
    memcpy(copy.target, copy.source, copy.sourceBytes);
    memset(copy.target + copy.sourceBytes, 0, copy.bytes - copy.sourceBytes);
    memset(l.owner->getState(copy.target), 0, copy.bytes);
  }
  l.copies.erase(l.copies.begin(), l.copies.begin() + done);
}
