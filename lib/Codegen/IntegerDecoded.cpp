//===- IntegerDecoded.cpp - Products of integers with many rows -----------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Blocks of W are decoded to bytes in the first cache and serve chosen.served
// rows of x. A vector of the decoded block has four columns of 16 rows of W, so
// that its products with four codes of x, which an instruction broadcasts, are
// one vector of 16 sums. Those are in the order that transposing four tiles
// within their 128-bit parts gives: place 4 r + t has row 4 t + r.
//
//===----------------------------------------------------------------------===//

#include "IntegerKernel.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace ganq;
using Values = KernelBuilder::Values;

int64_t IntegerMatmul::getDecodedColumns() const {
  int64_t unit = std::max(step, p.group);
  int64_t all = llvm::alignTo(p.columns, unit);
  return std::min(all, std::max<int64_t>(1, chosen.columns / unit) * unit);
}

int64_t IntegerMatmul::getDecodedRows() const {
  // What tile registers leave is multiplied by vectors.
  return hasTiles() ? kLanes : chosen.rows;
}

void IntegerMatmul::makeScratch() {
  if (p.group)
    groups = k.scratch({record.getGroups(), 3, kLanes});
  if (!decodes) {
    sums = k.scratch({chosen.rows, kTiles, kLanes}, k.builder.getI32Type());
    return;
  }
  sums = k.scratch(
      {p.m < 0 ? chosen.served : std::min(chosen.served, p.m), 1, kLanes},
      getSumType());
  decoded = k.scratch({getDecodedColumns() / kQuarter, kLanes},
                      k.builder.getI32Type());
  if (hasTiles() && p.group)
    tileSums = k.scratch({chosen.rows, kLanes}, k.builder.getI32Type());
}

void IntegerMatmul::emitDecoded() {
  auto emitRowsFrom = [&](Value first, int64_t known, Value count) {
    k.loop(k.index(0), count, 1, [&](Value row) {
      storeScratch(zeroSum(), sums, {row, k.index(0)});
    });
    inParts(
        getDecodedColumns(), {}, [&](Value index, int64_t size, ValueRange) {
          decodeBlock(index, size);
          // Group by group: all sums together exceed the registers.
          auto multiplyPart = [&](Value part, int64_t columnCount) {
            // Another depth would be another shape of tile registers, whose
            // shapes the whole kernel shares.
            bool tiled = hasTiles() && columnCount % kTiledColumns == 0;
            forRowBlocks(
                count, known, tiled ? chosen.rows : getDecodedRows(),
                [&](Value row, int64_t number) {
                  if (tiled && number >= kLeastTiledRows)
                    multiplyTiles(first, row, number, index, part, columnCount);
                  else
                    multiply(first, row, number, index, part, columnCount);
                });
          };
          int64_t part = p.group ? p.group : size;
          k.loop(k.index(0), k.index(size / part), 1,
                 [&](Value number) { multiplyPart(number, part); });
          if (size % part)
            multiplyPart(k.index(size / part), size % part);
          return Values();
        });
    k.loop(k.index(0), count, 1, [&](Value row) {
      finish(k.add(first, row),
             b.inRowOrder(loadScratch(sums, {row, k.index(0)})));
    });
  };
  Value rows = k.dim(in.out, 0);
  if (p.m >= 0 && p.m <= chosen.served)
    return emitRowsFrom(k.index(0), p.m, rows);
  Value full = k.mul(k.div(rows, chosen.served), chosen.served);
  k.loop(k.index(0), full, chosen.served, [&](Value first) {
    emitRowsFrom(first, chosen.served, k.index(chosen.served));
  });
  if (p.m >= 0 && p.m % chosen.served)
    emitRowsFrom(full, p.m % chosen.served, k.index(p.m % chosen.served));
  else if (p.m < 0)
    k.when(k.less(full, rows),
           [&] { emitRowsFrom(full, -1, k.sub(rows, full)); });
}

void IntegerMatmul::decodeBlock(Value index, int64_t size) {
  int64_t blockColumns = getDecodedColumns();
  Tile tiles[kTiles];
  for (int64_t t = 0; t < kTiles; ++t)
    tiles[t] = beginTile(tileAt(k.index(t)));
  Value firstStep = k.mul(index, blockColumns / step);
  auto decodeStep = [&](Value place, int64_t count) {
    Value at = k.mul(place, step / kQuarter), number = k.add(firstStep, place);
    StepCache caches[kTiles];
    for (int64_t chunk = 0; chunk < count; ++chunk) {
      Values codes;
      for (int64_t t = 0; t < kTiles; ++t) {
        tile = tiles[t];
        codes.push_back(decodeChunk(caches[t], number, chunk));
      }
      for (auto [q, quarter] : llvm::enumerate(b.transposeTiles(codes)))
        storeScratch(quarter, decoded,
                     {k.add(at, chunk * kQuarter + static_cast<int64_t>(q))});
    }
  };
  k.loop(k.index(0), k.index(size / step), 1,
         [&](Value place) { decodeStep(place, step / kLanes); });
  if (size % step)
    decodeStep(k.index(size / step), llvm::divideCeil(size % step, kLanes));
}

void IntegerMatmul::multiply(Value first, Value place, int64_t count,
                             Value index, Value part, int64_t size) {
  int64_t blockColumns = getDecodedColumns();
  Value at = k.add(k.mul(index, blockColumns), record.getCodesOffset());
  int64_t chunks = llvm::divideCeil(size, kLanes);
  auto where = [&](int64_t i) { return Values{k.add(place, i), k.index(0)}; };
  Values rows, products(count, k.splatInt(0));
  for (int64_t i = 0; i < count; ++i)
    rows.push_back(k.add(k.add(first, place), i));
  if (!p.group) {
    for (int64_t i = 0; i < count; ++i)
      products[i] = loadScratch(sums, where(i));
    products = dotDecodedChunks(rows, at, k.index(0), chunks, products);
    for (int64_t i = 0; i < count; ++i)
      storeScratch(products[i], sums, where(i));
    return;
  }
  products = dotDecodedChunks(rows, at, k.mul(part, p.group / kLanes), chunks,
                              products);
  Value number = k.add(k.mul(index, blockColumns / p.group), part);
  Group group = groupAt(number);
  for (int64_t i = 0; i < count; ++i)
    storeScratch(closeGroup(group, number, rows[i], loadInputZero(rows[i]),
                            products[i], loadScratch(sums, where(i))),
                 sums, where(i));
}

Values IntegerMatmul::dotDecodedChunks(ArrayRef<Value> rows, Value at,
                                       Value first, int64_t count,
                                       Values totals) {
  // Adds the products of `length` vectors from number `start` on, whose pairs
  // are added up in 16 bits where there is no instruction for four products.
  auto dotRun = [&](Value start, int64_t length, Values &results) {
    Values pairs(rows.size());
    for (int64_t i = 0; i < length; ++i) {
      Value number = k.add(start, i);
      Value weight = loadScratch(decoded, {number});
      Value from = k.add(at, k.mul(number, kQuarter));
      for (auto [r, row] : llvm::enumerate(rows)) {
        Value input = b.broadcastInputs(in.x, row, from);
        if (b.addsFour())
          results[r] = b.dot(results[r], weight, input);
        else
          pairs[r] = b.addPairs(pairs[r], weight, input);
      }
    }
    if (!b.addsFour())
      for (size_t r = 0; r < rows.size(); ++r)
        results[r] = b.widenPairs(results[r], pairs[r]);
  };
  int64_t run = std::min<int64_t>(kDecodedRun, b.getRun());
  auto dotRuns = [&](Value offset, int64_t length, ValueRange carried) {
    Values results(carried);
    for (int64_t i = 0; i < length; i += run)
      dotRun(k.add(k.add(k.mul(first, kQuarter), offset), i),
             std::min(run, length - i), results);
    return results;
  };
  int64_t size = count * kQuarter, full = size / kDecodedRun * kDecodedRun;
  if (full)
    totals = k.loop(k.index(0), k.index(full), kDecodedRun, totals,
                    [&](Value offset, ValueRange carried) {
                      return dotRuns(offset, kDecodedRun, carried);
                    });
  if (size > full)
    totals = dotRuns(k.index(full), size - full, totals);
  return totals;
}
