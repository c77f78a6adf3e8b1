//===- Report.cpp - Says what a kernel did wrong --------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// These functions run on the stack of a lane and never return, so they own no
// memory: text goes into arrays.
//
//===----------------------------------------------------------------------===//

#include "Block.h"
#include <cstdarg>
#include <cstdio>
#include <cstring>

using namespace ganq::simt;

void Block::fail(const Lane &lane, uint32_t place, const char *format, ...) {
  if (launch->stopped.exchange(true))
    leave(); // Another block was first.
  launch->messageMutex.lock();
  char *text = launch->message;
  size_t size = sizeof(launch->message);
  size_t used = snprintf(text, size, "%s: ", launch->getPlace(place));
  va_list values;
  va_start(values, format);
  if (used < size)
    used += vsnprintf(text + used, size - used, format, values);
  va_end(values);
  if (used < size)
    snprintf(text + used, size - used,
             " (thread (%u, %u, %u) of block (%u, %u, %u), kernel `%s`)",
             lane.tid[0], lane.tid[1], lane.tid[2], lane.ctaid[0],
             lane.ctaid[1], lane.ctaid[2], launch->kernel->name);
  launch->messageMutex.unlock();
  leave();
}

namespace {
/// Text in an array; what does not fit is left out.
struct Text {
  char data[1024] = "";
  size_t used = 0;

  void add(const char *format, ...) __attribute__((format(printf, 2, 3))) {
    va_list values;
    va_start(values, format);
    int length = vsnprintf(data + used, sizeof(data) - used, format, values);
    va_end(values);
    if (length > 0)
      used = used + length < sizeof(data) ? used + length : sizeof(data) - 1;
  }

  /// `0-15, 31`, after three ranges `...`.
  void addRanges(const uint64_t *lanes, uint32_t count) {
    auto has = [&](uint32_t i) { return lanes[i / 64] >> (i % 64) & 1; };
    int ranges = 0;
    for (uint32_t i = 0; i < count; ++i) {
      if (!has(i))
        continue;
      uint32_t last = i;
      while (last + 1 < count && has(last + 1))
        ++last;
      if (ranges++ == 3) {
        add(", ...");
        return;
      }
      add(ranges > 1 ? ", %u" : "%u", i);
      if (last > i)
        add("-%u", last);
      i = last;
    }
  }
};
} // namespace

/// Whether two lanes wait in the same way, so that one line tells of both.
static bool waitAlike(const Lane &a, const Lane &b) {
  if (a.waits != b.waits || a.waits == Waits::Returned || a.waits == Waits::No)
    return a.waits == b.waits;
  return a.place == b.place && a.instruction == b.instruction &&
         (a.waits == Waits::AtBarrier ? a.barrier == b.barrier
                                      : a.mask == b.mask);
}

/// Says of all lanes where they are. The place stands in front of the message
/// for the lanes that are like `first`.
static void tellWhere(Text &text, const Launch &launch, Lane *lanes,
                      uint32_t count, const Lane &first) {
  uint64_t told[kMaxLanes / 64] = {};
  auto tell = [&](const Lane &lane, bool here) {
    uint64_t alike[kMaxLanes / 64] = {};
    for (uint32_t i = 0; i < count; ++i)
      if (waitAlike(lanes[i], lane)) {
        alike[i / 64] |= uint64_t(1) << (i % 64);
        told[i / 64] |= uint64_t(1) << (i % 64);
      }
    text.add(here ? "threads " : "; threads ");
    text.addRanges(alike, count);
    switch (lane.waits) {
    case Waits::No:
      text.add(" have not arrived");
      return;
    case Waits::Returned:
      text.add(" have returned");
      return;
    case Waits::AtBarrier:
      text.add(" wait at %s %u", lane.instruction, lane.barrier);
      break;
    case Waits::InWarp:
      text.add(" wait in %s with mask 0x%08x", lane.instruction, lane.mask);
      break;
    }
    if (here)
      text.add(" here");
    else
      text.add(" at %s", launch.getPlace(lane.place));
  };
  tell(first, true);
  for (uint32_t i = 0; i < count; ++i)
    if (!(told[i / 64] >> (i % 64) & 1))
      tell(lanes[i], false);
}

void Block::reportDivergence(const Lane &lane, const Lane &other) {
  Text text;
  // Lanes that were in a barrier and went on may still look as if they waited.
  for (uint32_t i = 0; i < numLanes; ++i) {
    Lane &l = lanes[i];
    if (l.waits == Waits::AtBarrier &&
        !(barriers[l.barrier].warpLanes[l.warpid] >> l.laneid & 1) &&
        &l != &lane)
      l.waits = Waits::No;
  }
  tellWhere(text, *launch, lanes.get(), numLanes, other);
  fail(lane, other.place, "divergent %s: %s", other.instruction, text.data);
}

void Block::reportDeadlock() {
  const Lane *first = nullptr;
  for (uint32_t i = 0; i < numLanes && !first; ++i)
    if (lanes[i].waits == Waits::AtBarrier || lanes[i].waits == Waits::InWarp)
      first = &lanes[i];
  Text text;
  tellWhere(text, *launch, lanes.get(), numLanes, *first);
  fail(*first, first->place, "divergent %s: no thread can go on: %s",
       first->instruction, text.data);
}
