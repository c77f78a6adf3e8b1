//===- MatmulTiles.cpp - Products of floats in tile registers -------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// AMX multiplies bf16, which have 8 significant bits, and adds up f32. x is the
// sum of three bf16, each the nearest to what the ones before leave, a weight
// that of two if it has at most 16 significant bits, as entries of f16 and
// codes times scales have, or else of three. Of their products those are added
// up that exceed 2^-24 of the whole:
//
//   x w = x1 w1 + x2 w1 + x1 w2 + x3 w1 + x2 w2 (+ x1 w3)
//
// With x1 w1 + x2 w1 + x1 w2 alone results of random numbers are off by 4e-6 of
// the largest, which is more than products of f32 are. Otherwise the loops are
// those of MatmulPanels.cpp. Of x, a tile is 16 rows by 32 columns, of W it is
// 32 columns by 16 rows, columns 16 apart in a word: two by two of them meet at
// a time. An infinity in x makes the results of its row nan.
//
//===----------------------------------------------------------------------===//

#include "MatmulPanels.h"
#include "TileBuilder.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace ganq;
using Values = KernelBuilder::Values;

/// Rows and columns of a tile of bf16, and tiles of x that meet a panel at
/// The bf16 that add up to an element of x.
static constexpr int64_t kInputParts = 3;
/// once.
static constexpr int64_t kTileRows = TileBuilder::kRows;
static constexpr int64_t kTileColumns = TileBuilder::kBytes / 2;
static constexpr int64_t kTileSize = kTileRows * TileBuilder::kBytes;

void TiledPanelSkeleton::makeScratch(int64_t served) {
  Type bf16 = k.builder.getBF16Type();
  int64_t steps = llvm::divideCeil(size, kTileColumns);
  int64_t tiles = llvm::divideCeil(served, kTileRows);
  weightParts = reader.hasShortWeights() ? 2 : 3;
  // Tile after tile, the parts of each side by side.
  packed =
      k.scratch({tiles, steps, kInputParts, kTileRows, kTileColumns}, bf16);
  decoded = k.scratch({kLanes, steps * kTileColumns});
  panel = k.scratch(
      {panelVectors(), steps, weightParts, kTileRows, kTileColumns}, bf16);
  results = k.scratch(
      {chosen.rows / kTileRows, panelVectors(), kTileRows, kTileRows});
}

Values TiledPanelSkeleton::split(Value low, Value high, int64_t count) {
  OpBuilder &b = k.builder;
  constexpr uint32_t kUpper = 0xFFFF0000;
  Value upper = k.splatInt(static_cast<int32_t>(kUpper)),
        half = k.splatInt(0x8000), width = k.splatInt(16);
  auto bitcast = [&](Value value, VectorType type) -> Value {
    return arith::BitcastOp::create(b, k.loc, type, value);
  };
  Values words;
  for (int64_t i = 0; i < count; ++i) {
    Value bits[] = {bitcast(low, k.vecI32), bitcast(high, k.vecI32)};
    // The last part has few bits left, which need no rounding; the payload of a
    // nan, which rounding may wrap around, gets into it.
    if (i + 1 < count)
      for (auto [part, rest] : {std::pair(&bits[0], &low), {&bits[1], &high}}) {
        *part = arith::AddIOp::create(b, k.loc, *part, half);
        Value rounded = arith::AndIOp::create(b, k.loc, *part, upper);
        *rest = k.subf(*rest, bitcast(rounded, k.vecF32));
      }
    Value shifted = arith::ShRUIOp::create(b, k.loc, bits[0], width);
    words.push_back(k.selectBits(kUpper, bits[1], shifted));
  }
  return words;
}

/// Runs `body(step, left)` for each step of `count` columns, of which `left`
/// exist.
static void forSteps(KernelBuilder &k, int64_t count,
                     function_ref<void(Value, int64_t)> body) {
  int64_t full = count / kTileColumns;
  k.loop(k.index(0), k.index(full), 1,
         [&](Value step) { body(step, kTileColumns); });
  if (count % kTileColumns)
    body(k.index(full), count % kTileColumns);
}

void TiledPanelSkeleton::storeWords(Value words, Value to, Value first,
                                    Value step, int64_t part, Value row) {
  auto type = VectorType::get({kTileColumns}, k.builder.getBF16Type());
  vector::StoreOp::create(
      k.builder, k.loc,
      vector::BitCastOp::create(k.builder, k.loc, type, words), to,
      ValueRange{first, step, k.index(part), row, k.index(0)});
}

void TiledPanelSkeleton::pack(Value first, Value count, Value column,
                              int64_t columnCount) {
  k.loop(k.index(0), count, 1, [&](Value row) {
    Value tile = k.div(row, kTileRows), within = k.rem(row, k.index(kTileRows));
    forSteps(k, columnCount, [&](Value step, int64_t left) {
      Value from = k.add(column, k.mul(step, kTileColumns));
      auto load = [&](int64_t lane) {
        return lane < left
                   ? k.loadVector(x, {k.add(first, row), k.add(from, lane)},
                                  k.laneMask(left - lane))
                   : k.splat(0.0f);
      };
      Values words = split(load(0), load(kLanes), kInputParts);
      for (int64_t part = 0; part < kInputParts; ++part)
        storeWords(words[part], packed, tile, step, part, within);
    });
  });
}

void TiledPanelSkeleton::transposeTo(Value first, int64_t count) {
  Value vector = k.div(first, kLanes);
  forSteps(k, count, [&](Value step, int64_t left) {
    SmallVector<Values> squares(weightParts);
    for (int64_t row = 0; row < kLanes; ++row) {
      auto load = [&](int64_t lane) {
        // What is behind the last column meets zeros of x.
        return lane < left
                   ? k.loadVector(
                         decoded,
                         {k.index(row), k.add(k.mul(step, kTileColumns), lane)})
                   : k.splat(0.0f);
      };
      Values words = split(load(0), load(kLanes), weightParts);
      for (auto [square, word] : llvm::zip_equal(squares, words))
        square.push_back(word);
    }
    for (int64_t part = 0; part < weightParts; ++part)
      for (auto [row, words] : llvm::enumerate(k.transpose(squares[part])))
        storeWords(words, panel, vector, step, part,
                   k.index(static_cast<int64_t>(row)));
  });
}

void TiledPanelSkeleton::multiply(Value number, Value first, Value count,
                                  int64_t known, Value block,
                                  int64_t columnCount) {
  Columns at = beginColumns(number);
  int64_t most = chosen.rows / kTileRows;
  int64_t tiles = llvm::divideCeil(known, kTileRows),
          full = tiles / most * most;
  k.loop(k.index(0), k.index(full), most, [&](Value tile) {
    multiplyTiles(at, tile, most, first, count, block, columnCount);
  });
  if (tiles > full)
    multiplyTiles(at, k.index(full), tiles - full, first, count, block,
                  columnCount);
}

void TiledPanelSkeleton::multiplyTiles(const Columns &at, Value tile,
                                       int64_t tiles, Value first, Value count,
                                       Value block, int64_t columnCount) {
  TileBuilder t(k);
  int64_t steps = llvm::divideCeil(columnCount, kTileColumns),
          allSteps = llvm::divideCeil(size, kTileColumns),
          vectors = panelVectors();
  auto loadTiles = [&](Value from, Value first, int64_t count, int64_t step,
                       int64_t part) {
    int64_t partCount = cast<MemRefType>(from.getType()).getDimSize(2);
    Values loaded;
    for (int64_t i = 0; i < count; ++i) {
      Value place = k.add(k.mul(k.add(first, i), allSteps), step);
      Value offset =
          k.add(k.mul(place, partCount * kTileSize), part * kTileSize);
      loaded.push_back(t.load(t.address(from, offset), kTileRows,
                              TileBuilder::kBytes, TileBuilder::kBytes));
    }
    return loaded;
  };
  Values sums;
  for (int64_t i = 0; i < tiles * vectors; ++i)
    sums.push_back(t.zero(kTileRows));
  // Small products first; one side stays from one pair of parts to the next.
  // Four sums and two tiles of each side are all registers that there are.
  static constexpr int64_t kPairs[][2] = {{2, 0}, {1, 0}, {0, 0},
                                          {0, 2}, {0, 1}, {1, 1}};
  for (int64_t step = 0; step < steps; ++step) {
    int64_t inputPart = -1, weightPart = -1;
    Values inputs, weights;
    for (auto [x, w] : kPairs) {
      if (w >= weightParts)
        continue;
      if (weightPart != w)
        weights = loadTiles(panel, k.index(0), vectors, step, w);
      if (inputPart != x)
        inputs = loadTiles(packed, tile, tiles, step, x);
      inputPart = x;
      weightPart = w;
      for (int64_t v = 0; v < vectors; ++v)
        for (int64_t i = 0; i < tiles; ++i) {
          Value &sum = sums[i * vectors + v];
          sum = t.dotFloats(sum, inputs[i], weights[v]);
        }
    }
  }
  for (int64_t i = 0; i < tiles * vectors; ++i)
    t.storeSums(sums[i], t.address(results, k.index(i * kTileSize)), kTileRows);
  Value row = k.mul(tile, kTileRows);
  for (int64_t i = 0; i < tiles; ++i) {
    Value start = k.add(row, i * kTileRows);
    k.loop(k.index(0), k.min(k.sub(count, start), k.index(kTileRows)), 1,
           [&](Value within) {
             Values found;
             for (int64_t v = 0; v < vectors; ++v)
               found.push_back(k.loadVector(
                   results, {k.index(i), k.index(v), within, k.index(0)}));
             addToOut(at, k.add(k.add(first, start), within), block, found);
           });
  }
}
