//===- Matrix.cpp - ldmatrix and stmatrix ---------------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Lanes 8 i to 8 i + 7 give the rows of matrix i, each of eight 16-bit values.
// Of matrix i, register i of lane t holds row t / 4, columns 2 (t % 4) and the
// next; with .trans, rows and columns change places. PTX ISA, ldmatrix.
//
//===----------------------------------------------------------------------===//

#include "Block.h"
#include <cstring>

using namespace ganq::simt;

namespace {
struct MatrixMove {
  uint32_t shape, place;
  char *row;
  uint32_t *registers;

  uint32_t count() const { return shape & 255; }
  bool transposed() const { return shape & 256; }
};
} // namespace

static MatrixMove &getMove(Warp &warp, uint32_t lane) {
  return *static_cast<MatrixMove *>(warp.lanes[lane]->operands);
}

/// Checks all rows. `flags` is LOAD or STORE.
static void checkRows(Warp &warp, uint32_t mask, uint32_t flags) {
  const MatrixMove &first = getMove(warp, __builtin_ctz(mask));
  Lane &any = *warp.lanes[__builtin_ctz(mask)];
  if (mask != ~0u)
    any.owner->fail(any, first.place,
                    "expected all 32 lanes of a warp to run %s, but only mask "
                    "0x%08x does",
                    any.instruction, mask);
  for (uint32_t lane = 0; lane < 8 * first.count(); ++lane) {
    Lane &l = *warp.lanes[lane];
    char *row = getMove(warp, lane).row;
    if (!l.owner->isShared(row))
      l.owner->fail(l, first.place,
                    "expected %s to be given rows in shared memory, but got "
                    "address %p",
                    l.instruction, static_cast<void *>(row));
    l.owner->access(l, row, 16,
                    flags | GANQ_SIMT_IN_SHARED | 4 << GANQ_SIMT_ALIGN_SHIFT,
                    first.place, nullptr);
  }
}

/// Calls function(register of a lane, address in a row, bytes) for all pieces.
template <typename F> static void forEachPiece(Warp &warp, F function) {
  const MatrixMove &shape = getMove(warp, 0);
  for (uint32_t lane = 0; lane < kWarpLanes; ++lane) {
    char *registers = reinterpret_cast<char *>(getMove(warp, lane).registers);
    for (uint32_t i = 0; i < shape.count(); ++i) {
      char *reg = registers + 4 * i;
      if (!shape.transposed()) {
        function(reg, getMove(warp, 8 * i + lane / 4).row + lane % 4 * 4, 4);
        continue;
      }
      for (uint32_t half = 0; half < 2; ++half)
        function(reg + 2 * half,
                 getMove(warp, 8 * i + lane % 4 * 2 + half).row + lane / 4 * 2,
                 2);
    }
  }
}

void ganq_simt_ldmatrix(ganq_simt_lane *lane, uint32_t place, uint32_t shape,
                        const void *row, uint32_t *registers) {
  Lane &l = *static_cast<Lane *>(lane);
  MatrixMove move = {shape, place, static_cast<char *>(const_cast<void *>(row)),
                     registers};
  l.owner->warpOperation(
      l, place, "ldmatrix", ~0u, uint64_t(place) << 16 | shape, &move,
      [](Warp &warp, uint32_t mask) {
        checkRows(warp, mask, GANQ_SIMT_LOAD);
        forEachPiece(warp, [](char *reg, char *memory, size_t bytes) {
          memcpy(reg, memory, bytes);
        });
      });
}

void ganq_simt_stmatrix(ganq_simt_lane *lane, uint32_t place, uint32_t shape,
                        void *row, const uint32_t *registers) {
  Lane &l = *static_cast<Lane *>(lane);
  MatrixMove move = {shape, place, static_cast<char *>(row),
                     const_cast<uint32_t *>(registers)};
  l.owner->warpOperation(
      l, place, "stmatrix", ~0u, uint64_t(place) << 16 | shape, &move,
      [](Warp &warp, uint32_t mask) {
        checkRows(warp, mask, GANQ_SIMT_STORE);
        forEachPiece(warp, [](char *reg, char *memory, size_t bytes) {
          memcpy(memory, reg, bytes);
        });
      });
}
