//===- IntegerTiles.cpp - Products of integers in tile registers ----------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The decoded block (IntegerDecoded.cpp) lies as AMX wants its second operand:
// 16 vectors of it are 64 columns of 16 rows of W. Rows of x as they are in
// their records are the first operand, and a tile of sums is 16 rows of x by 16
// rows of W.
//
//===----------------------------------------------------------------------===//

#include "IntegerKernel.h"
#include "TileBuilder.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace ganq;

void IntegerMatmul::multiplyTiles(Value first, Value place, int64_t count,
                                  Value index, Value part, int64_t size) {
  constexpr int64_t kTile = TileBuilder::kRows, kBytes = TileBuilder::kBytes;
  TileBuilder t(k);
  int64_t stride = record.getBytes();
  // Codes behind the last column of W are 0, whatever those of x are.
  int64_t bytes = llvm::alignTo(size, kLanes);
  Value start = k.index(0);
  if (p.group)
    start = k.mul(part, p.group);
  Value column = k.add(k.add(k.mul(index, getDecodedColumns()), start),
                       record.getCodesOffset());
  Value sumsAt = p.group ? k.index(0) : k.mul(place, kBytes);
  Value target = p.group ? tileSums : sums;

  struct Rows {
    int64_t first, count;
    Value sums;
  };
  SmallVector<Rows> blocks;
  auto addressOfSums = [&](const Rows &rows) {
    return t.address(target, k.add(sumsAt, rows.first * kBytes));
  };
  for (int64_t at = 0; at < count; at += kTile) {
    Rows rows{at, std::min(kTile, count - at), {}};
    rows.sums = p.group ? t.zero(rows.count)
                        : t.loadSums(addressOfSums(rows), rows.count);
    blocks.push_back(rows);
  }
  Value row = k.add(first, place);
  for (int64_t at = 0; at < bytes; at += kBytes) {
    int64_t depth = std::min(kBytes, bytes - at);
    // A vector of the block has four columns and 64 bytes.
    Value weights =
        t.load(t.address(decoded, k.mul(k.add(start, at), kBytes / kQuarter)),
               depth / kQuarter, kBytes, kBytes);
    for (Rows &rows : blocks) {
      Value from =
          k.add(k.mul(k.add(row, rows.first), stride), k.add(column, at));
      Value inputs = t.load(t.address(in.x, from), rows.count, depth, stride);
      rows.sums = t.dot(rows.sums, inputs, weights, rows.count, depth);
    }
  }
  for (const Rows &rows : blocks)
    t.storeSums(rows.sums, addressOfSums(rows), rows.count);
  if (!p.group)
    return;

  Value number = k.add(k.mul(index, getDecodedColumns() / p.group), part);
  Group group = groupAt(number);
  k.loop(k.index(0), k.index(count), 1, [&](Value i) {
    Value x = k.add(row, i), zero = k.index(0);
    Values at{k.add(place, i), zero};
    storeScratch(closeGroup(group, number, x, loadInputZero(x),
                            loadScratch(tileSums, {i}), loadScratch(sums, at)),
                 sums, at);
  });
}
