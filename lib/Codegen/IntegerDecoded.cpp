//===- IntegerDecoded.cpp - Products of integers with many rows -----------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Blocks of W are decoded to bytes in the first cache and serve 64 rows of x.
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
  return std::min(all, std::max<int64_t>(1, kDecodedColumns / unit) * unit);
}

void IntegerMatmul::makeScratch(bool decodes) {
  int64_t rows =
      decodes ? (p.m < 0 ? kRows : std::min(kRows, p.m)) : getRowBlock();
  sums = k.scratch({rows, kTiles, kLanes}, getSumType());
  if (!decodes)
    return;
  int64_t size = getDecodedColumns();
  decoded = k.scratch({size / kLanes, kTiles, kLanes}, k.builder.getI32Type());
  if (p.group)
    groups = k.scratch({size / p.group, kTiles, 3, kLanes});
}

void IntegerMatmul::emitDecoded() {
  auto emitRowsFrom = [&](Value first, int64_t known, Value count) {
    k.loop(k.index(0), count, 1, [&](Value row) {
      for (int64_t t = 0; t < kTiles; ++t)
        storeScratch(zeroSum(), sums, {row, k.index(t)});
    });
    inParts(getDecodedColumns(), {},
            [&](Value index, int64_t size, ValueRange) {
              decodeBlock(index, size);
              // Group by group: all sums together exceed the registers.
              auto multiplyPart = [&](Value part, int64_t columnCount) {
                forRowBlocks(count, known, getDecodedRows(),
                             [&](Value row, int64_t rowCount) {
                               multiply(first, row, rowCount, index, part,
                                        columnCount);
                             });
              };
              int64_t part = p.group ? p.group : size;
              k.loop(k.index(0), k.index(size / part), 1,
                     [&](Value number) { multiplyPart(number, part); });
              if (size % part)
                multiplyPart(k.index(size / part), size % part);
              return Values();
            });
    k.loop(k.index(0), count, 1,
           [&](Value row) { finish(k.add(first, row), row); });
  };
  Value rows = k.dim(in.out, 0);
  if (p.m >= 0 && p.m <= kRows)
    return emitRowsFrom(k.index(0), p.m, rows);
  Value full = k.mul(k.div(rows, kRows), kRows);
  k.loop(k.index(0), full, kRows,
         [&](Value first) { emitRowsFrom(first, kRows, k.index(kRows)); });
  if (p.m >= 0 && p.m % kRows)
    emitRowsFrom(full, p.m % kRows, k.index(p.m % kRows));
  else if (p.m < 0)
    k.when(k.less(full, rows),
           [&] { emitRowsFrom(full, -1, k.sub(rows, full)); });
}

void IntegerMatmul::decodeBlock(Value index, int64_t size) {
  int64_t chunks = step / kLanes, blockColumns = getDecodedColumns();
  k.loop(k.index(0), k.index(kTiles), 1, [&](Value number) {
    Value tile = tileAt(number);
    base = k.mul(tile, layout.getTileBytes());
    Value firstStep = k.mul(index, blockColumns / step);
    auto decodeStep = [&](Value place, int64_t count) {
      Values codes = decode(k.add(firstStep, place), 0, count);
      for (int64_t chunk = 0; chunk < count; ++chunk)
        storeScratch(codes[chunk], decoded,
                     {k.add(k.mul(place, chunks), chunk), number});
    };
    k.loop(k.index(0), k.index(size / step), 1,
           [&](Value place) { decodeStep(place, chunks); });
    if (size % step)
      decodeStep(k.index(size / step), llvm::divideCeil(size % step, kLanes));
    if (!p.group)
      return;
    Value firstGroup = k.mul(index, blockColumns / p.group);
    auto storeGroup = [&](Value place, int64_t columnCount) {
      Group group = loadGroup(tile, k.add(firstGroup, place), columnCount);
      Value parts[] = {group.scale, group.zero, group.sum};
      for (int64_t i = 0; i < 3; ++i)
        storeScratch(parts[i], groups, {place, number, k.index(i)});
    };
    k.loop(k.index(0), k.index(size / p.group), 1,
           [&](Value place) { storeGroup(place, p.group); });
    if (size % p.group)
      storeGroup(k.index(size / p.group), size % p.group);
  });
}

void IntegerMatmul::multiply(Value first, Value place, int64_t count,
                             Value index, Value part, int64_t size) {
  int64_t blockColumns = getDecodedColumns();
  Value at = k.add(k.mul(index, blockColumns), record.getCodesOffset());
  int64_t chunks = llvm::divideCeil(size, kLanes);
  auto where = [&](int64_t i, int64_t t) {
    return Values{k.add(place, i), k.index(t)};
  };
  Values rows, products(count * kTiles, k.splatInt(0));
  for (int64_t i = 0; i < count; ++i)
    rows.push_back(k.add(k.add(first, place), i));
  if (!p.group) {
    for (int64_t i = 0; i < count; ++i)
      for (int64_t t = 0; t < kTiles; ++t)
        products[i * kTiles + t] = loadScratch(sums, where(i, t));
    products = dotDecodedChunks(rows, at, k.index(0), chunks, products);
    for (int64_t i = 0; i < count; ++i)
      for (int64_t t = 0; t < kTiles; ++t)
        storeScratch(products[i * kTiles + t], sums, where(i, t));
    return;
  }
  products = dotDecodedChunks(rows, at, k.mul(part, p.group / kLanes), chunks,
                              products);
  Value number = k.add(k.mul(index, blockColumns / p.group), part);
  for (int64_t t = 0; t < kTiles; ++t) {
    auto load = [&](int64_t i) {
      return loadScratch(groups, {part, k.index(t), k.index(i)});
    };
    Group group{load(0), load(1), load(2)};
    for (int64_t i = 0; i < count; ++i)
      storeScratch(closeGroup(group, number, rows[i], loadInputZero(rows[i]),
                              products[i * kTiles + t],
                              loadScratch(sums, where(i, t))),
                   sums, where(i, t));
  }
}

Values IntegerMatmul::dotDecodedChunks(ArrayRef<Value> rows, Value at,
                                       Value first, int64_t count,
                                       Values totals) {
  // Chunks whose products are added up before they are widened.
  int64_t run = b.target.vnni ? 1 : std::min<int64_t>(4, b.getRun());
  auto dotRun = [&](Value place, int64_t length, Values &results) {
    Values weights[kTiles], inputs;
    for (int64_t t = 0; t < kTiles; ++t)
      for (int64_t i = 0; i < length; ++i)
        weights[t].push_back(
            loadScratch(decoded, {k.add(place, i), k.index(t)}));
    for (auto [r, row] : llvm::enumerate(rows)) {
      inputs.clear();
      for (int64_t i = 0; i < length; ++i)
        inputs.push_back(
            b.loadInputs(in.x, row, k.add(at, k.mul(k.add(place, i), kLanes))));
      for (int64_t t = 0; t < kTiles; ++t) {
        Value &sum = results[r * kTiles + t];
        sum = b.dot(sum, weights[t], inputs);
      }
    }
  };
  auto dotRuns = [&](Value offset, int64_t length, ValueRange carried) {
    Values results(carried);
    for (int64_t i = 0; i < length; i += run)
      dotRun(k.add(k.add(first, offset), i), std::min(run, length - i),
             results);
    return results;
  };
  int64_t size = std::max<int64_t>(run, 2), full = count / size * size;
  if (full)
    totals = k.loop(k.index(0), k.index(full), size, totals,
                    [&](Value offset, ValueRange carried) {
                      return dotRuns(offset, size, carried);
                    });
  if (count > full)
    totals = dotRuns(k.index(full), count - full, totals);
  return totals;
}
