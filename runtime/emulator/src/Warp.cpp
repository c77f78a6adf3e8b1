//===- Warp.cpp - Barriers, shuffles and votes ----------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Semantics: PTX ISA, sections of bar, shfl.sync, vote.sync, match.sync,
// redux.sync and elect.sync.
//
//===----------------------------------------------------------------------===//

#include "Block.h"
#include <algorithm>

using namespace ganq::simt;

static Lane &getLane(ganq_simt_lane *lane) {
  return *static_cast<Lane *>(lane);
}

uint32_t ganq_simt_barrier(ganq_simt_lane *lane, uint32_t place, uint32_t flags,
                           uint32_t id, uint32_t count, uint32_t predicate) {
  Lane &l = getLane(lane);
  return l.owner->barrier(l, place, flags, id, count, predicate & 1);
}

void ganq_simt_warp_barrier(ganq_simt_lane *lane, uint32_t place,
                            uint32_t mask) {
  Lane &l = getLane(lane);
  l.owner->warpOperation(l, place, "bar.warp.sync", mask, 0, nullptr,
                         [](Warp &, uint32_t) {});
}

void ganq_simt_yield(ganq_simt_lane *lane) {
  Lane &l = getLane(lane);
  l.owner->yield(l);
}

void ganq_simt_tick(ganq_simt_lane *lane, uint32_t place) {
  Lane &l = getLane(lane);
  l.owner->tick(l, place);
}

uint32_t ganq_simt_active_mask(ganq_simt_lane *lane) {
  return getLane(lane).warp->live;
}

//===----------------------------------------------------------------------===//
// Shuffles
//===----------------------------------------------------------------------===//

namespace {
struct Shuffle {
  uint32_t mode, place, value, b, c;
  uint64_t result;
};
} // namespace

static void computeShuffle(Warp &warp, uint32_t mask) {
  for (uint32_t bits = mask; bits; bits &= bits - 1) {
    uint32_t lane = __builtin_ctz(bits);
    Shuffle &own = *static_cast<Shuffle *>(warp.lanes[lane]->operands);
    uint32_t b = own.b & 31, clamp = own.c & 31, segment = own.c >> 8 & 31;
    uint32_t maxLane = (lane & segment) | (clamp & ~segment);
    uint32_t minLane = lane & segment;
    int32_t source = 0;
    bool inside = false;
    switch (own.mode) {
    case GANQ_SIMT_SHUFFLE_UP:
      source = int32_t(lane) - int32_t(b);
      inside = source >= int32_t(maxLane);
      break;
    case GANQ_SIMT_SHUFFLE_DOWN:
      source = lane + b;
      inside = source <= int32_t(maxLane);
      break;
    case GANQ_SIMT_SHUFFLE_BFLY:
      source = lane ^ b;
      inside = source <= int32_t(maxLane);
      break;
    case GANQ_SIMT_SHUFFLE_IDX:
      source = minLane | (b & ~segment & 31);
      inside = source <= int32_t(maxLane);
      break;
    }
    if (!inside)
      source = lane;
    if (!(mask >> source & 1)) {
      Lane &l = *warp.lanes[lane];
      l.owner->fail(l, own.place,
                    "expected shfl.sync to read a lane that takes part, but "
                    "lane %u reads lane %d and only lanes of mask 0x%08x do",
                    lane, source, mask);
    }
    uint32_t value =
        static_cast<Shuffle *>(warp.lanes[source]->operands)->value;
    own.result = uint64_t(inside) << 32 | value;
  }
}

uint64_t ganq_simt_shuffle(ganq_simt_lane *lane, uint32_t place, uint32_t mode,
                           uint32_t mask, uint32_t value, uint32_t b,
                           uint32_t c) {
  Lane &l = getLane(lane);
  Shuffle shuffle = {mode, place, value, b, c, 0};
  l.owner->warpOperation(l, place, "shfl.sync", mask, 16 + mode, &shuffle,
                         computeShuffle);
  return shuffle.result;
}

//===----------------------------------------------------------------------===//
// Votes, matches and reductions
//===----------------------------------------------------------------------===//

namespace {
struct Vote {
  uint32_t kind;
  uint64_t value, result;
};
} // namespace

static uint32_t reduce(uint32_t kind, uint32_t a, uint32_t b) {
  switch (kind) {
  case GANQ_SIMT_REDUX_ADD:
    return a + b;
  case GANQ_SIMT_REDUX_MIN:
    return std::min(int32_t(a), int32_t(b));
  case GANQ_SIMT_REDUX_MAX:
    return std::max(int32_t(a), int32_t(b));
  case GANQ_SIMT_REDUX_UMIN:
    return std::min(a, b);
  case GANQ_SIMT_REDUX_UMAX:
    return std::max(a, b);
  case GANQ_SIMT_REDUX_AND:
    return a & b;
  case GANQ_SIMT_REDUX_OR:
    return a | b;
  default:
    return a ^ b;
  }
}

static void computeVote(Warp &warp, uint32_t mask) {
  auto at = [&](uint32_t lane) -> Vote & {
    return *static_cast<Vote *>(warp.lanes[lane]->operands);
  };
  auto forEach = [&](auto function) {
    for (uint32_t bits = mask; bits; bits &= bits - 1)
      function(uint32_t(__builtin_ctz(bits)));
  };
  uint32_t leader = __builtin_ctz(mask);
  uint32_t kind = at(leader).kind;
  uint32_t ballot = 0, equal = 0;
  forEach([&](uint32_t lane) {
    ballot |= uint32_t(at(lane).value & 1) << lane;
    equal |= uint32_t(at(lane).value == at(leader).value) << lane;
  });

  uint64_t result = 0;
  switch (kind) {
  case GANQ_SIMT_VOTE_ALL:
    result = ballot == mask;
    break;
  case GANQ_SIMT_VOTE_ANY:
    result = ballot != 0;
    break;
  case GANQ_SIMT_VOTE_UNI:
    result = ballot == 0 || ballot == mask;
    break;
  case GANQ_SIMT_VOTE_BALLOT:
    result = ballot;
    break;
  case GANQ_SIMT_VOTE_ELECT:
    forEach([&](uint32_t lane) {
      at(lane).result = uint64_t(lane == leader) << 32 | leader;
    });
    return;
  case GANQ_SIMT_MATCH_ANY:
    forEach([&](uint32_t lane) {
      uint32_t alike = 0;
      forEach([&](uint32_t other) {
        alike |= uint32_t(at(other).value == at(lane).value) << other;
      });
      at(lane).result = alike;
    });
    return;
  case GANQ_SIMT_MATCH_ALL:
    result = equal == mask ? uint64_t(1) << 32 | mask : 0;
    break;
  default: {
    uint32_t sum = at(leader).value;
    forEach([&](uint32_t lane) {
      if (lane != leader)
        sum = reduce(kind, sum, at(lane).value);
    });
    result = sum;
  }
  }
  forEach([&](uint32_t lane) { at(lane).result = result; });
}

uint64_t ganq_simt_vote(ganq_simt_lane *lane, uint32_t place, uint32_t kind,
                        uint32_t mask, uint64_t value) {
  const char *instruction = kind <= GANQ_SIMT_VOTE_BALLOT  ? "vote.sync"
                            : kind == GANQ_SIMT_VOTE_ELECT ? "elect.sync"
                            : kind <= GANQ_SIMT_MATCH_ALL  ? "match.sync"
                                                           : "redux.sync";
  Lane &l = getLane(lane);
  Vote vote = {kind, value, 0};
  l.owner->warpOperation(l, place, instruction, mask, 32 + kind, &vote,
                         computeVote);
  return vote.result;
}
