//===- MatmulPanels.cpp - Products of many rows of x ----------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The loops of Goto and van de Geijn ("Anatomy of High-Performance Matrix
// Multiplication", ACM TOMS 34, 2008). A block of columns of some hundred
// rows of x is copied together, so that its rows, which lie a power of two
// apart in most models, do not compete for the same lines of the second cache.
// Panels of W are decoded for the same columns and transposed to [column][row
// of W] in the first cache; they meet a dozen rows of x at a time, whose
// elements are broadcast. Lanes are rows of W, so nothing is added up across
// lanes.
//
//===----------------------------------------------------------------------===//

#include "MatmulPanels.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace ganq;

void PanelSkeleton::emit(Value lo, Value hi) {
  size = getBlockColumns();
  makeScratch(m < 0 ? chosen.served : std::min(m, chosen.served));
  reader.begin(k, /*sharing=*/0);
  forServedRows([&](Value first, Value count, int64_t known) {
    auto emitColumns = [&](Value block, int64_t columnCount) {
      pack(first, count, k.mul(block, size), columnCount);
      k.loop(lo, hi, 1, [&](Value number) {
        decodePanel(number, block, columnCount);
        multiply(number, first, count, known, block, columnCount);
      });
    };
    int64_t full = columns / size;
    if (full == 1)
      emitColumns(k.index(0), size);
    else if (full > 1)
      k.loop(k.index(0), k.index(full), 1,
             [&](Value block) { emitColumns(block, size); });
    if (columns % size)
      emitColumns(k.index(full), columns % size);
  });
}

void PanelSkeleton::makeScratch(int64_t served) {
  packed = k.scratch({served, size});
  decoded = k.scratch({kLanes, size});
  panel = k.scratch({size, getPanelRows(k.avx512)});
}

int64_t PanelSkeleton::getBlockColumns() const {
  int64_t group = getGroupColumns(), granule = reader.getGranule();
  if (group == columns)
    return std::min<int64_t>(chosen.columns, llvm::alignTo(columns, granule));
  if (group <= chosen.columns)
    return chosen.columns / group * group;
  int64_t part = chosen.columns / granule * granule;
  while (group % part)
    part -= granule;
  return part;
}

void PanelSkeleton::forServedRows(
    function_ref<void(Value, Value, int64_t)> body) {
  auto whole = [&](Value first, int64_t count) {
    body(first, k.index(count), count);
  };
  if (m < 0) {
    Value rows = k.dim(out, 0), most = k.index(chosen.served);
    k.loop(k.index(0), rows, chosen.served, [&](Value first) {
      body(first, k.min(k.sub(rows, first), most), -1);
    });
    return;
  }
  int64_t full = m / chosen.served * chosen.served;
  if (full == chosen.served)
    whole(k.index(0), chosen.served);
  else if (full)
    k.loop(k.index(0), k.index(full), chosen.served,
           [&](Value first) { whole(first, chosen.served); });
  if (m > full)
    whole(k.index(full), m - full);
}

void PanelSkeleton::pack(Value first, Value count, Value column,
                         int64_t columnCount) {
  k.loop(k.index(0), count, 1, [&](Value row) {
    k.chunks(k.index(columnCount), [&](Value offset, Value mask) {
      Value input =
          k.loadVector(x, {k.add(first, row), k.add(column, offset)}, mask);
      k.storeVector(input, packed, {row, offset}, mask);
    });
  });
}

void PanelSkeleton::decodePanel(Value number, Value block, int64_t count) {
  int64_t lastTile = llvm::divideCeil(n, kRowTile) - 1;
  k.loop(k.index(0), k.index(panelVectors()), 1, [&](Value vector) {
    Value firstTile =
        k.mul(k.add(k.mul(number, panelVectors()), vector), kLanes / kRowTile);
    k.loop(k.index(0), k.index(kLanes / kRowTile), 1, [&](Value t) {
      // Rows after the last are decoded from other ones and not stored.
      Value tile = k.min(k.add(firstTile, t), k.index(lastTile));
      decodeTile(tile, k.mul(t, kRowTile), block, count);
    });
    transposeTo(k.mul(vector, kLanes), count);
  });
}

void PanelSkeleton::decodeTile(Value tile, Value place, Value block,
                               int64_t count) {
  int64_t group = getGroupColumns(), granule = reader.getGranule();
  reader.beginTile(k, tile);
  auto decodeColumns = [&](Value first, Value column, int64_t columnCount) {
    auto decodeGranule = [&](Value number, int64_t left) {
      Value source = k.add(first, number);
      int64_t chunks = llvm::divideCeil(left, kLanes);
      reader.beginGranule(k, source, chunks);
      for (int64_t chunk = 0; chunk < chunks; ++chunk) {
        beginChunk(source, chunk);
        for (int64_t r = 0; r < kRowTile; ++r) {
          Value weight =
              reader.decode(k, r, chunk, k.laneMask(left - chunk * kLanes));
          if (Value scale = reader.getRowScale(k, r))
            weight = k.mulf(weight, k.splat(scale));
          k.storeVector(
              weight, decoded,
              {k.add(place, r),
               k.add(k.add(column, k.mul(number, granule)), chunk * kLanes)});
        }
      }
    };
    k.loop(k.index(0), k.index(columnCount / granule), 1,
           [&](Value number) { decodeGranule(number, granule); });
    if (columnCount % granule)
      decodeGranule(k.index(columnCount / granule), columnCount % granule);
  };
  if (group == columns || group >= size) {
    beginGroup(group == columns ? k.index(0)
                                : k.div(block, k.index(group / size)));
    decodeColumns(k.mul(block, size / granule), k.index(0), count);
  } else {
    Value firstGroup = k.mul(block, size / group);
    auto decodeGroup = [&](Value number, int64_t columnCount) {
      Value source = k.add(firstGroup, number);
      beginGroup(source);
      decodeColumns(k.mul(source, group / granule), k.mul(number, group),
                    columnCount);
    };
    k.loop(k.index(0), k.index(count / group), 1,
           [&](Value number) { decodeGroup(number, group); });
    if (count % group)
      decodeGroup(k.index(count / group), count % group);
  }
  if (!reader.getSparseRows())
    return;
  for (int64_t r = 0; r < kRowTile; ++r) {
    Value row = k.add(k.mul(tile, kRowTile), r);
    auto add = [&] {
      addSparse(row, k.add(place, r), k.mul(block, size), count);
    };
    if (n % kRowTile)
      k.when(k.less(row, k.index(n)), add);
    else
      add();
  }
}

void PanelSkeleton::addSparse(Value row, Value place, Value column,
                              int64_t count) {
  OpBuilder &b = k.builder;
  Type index = b.getIndexType();
  Value end = sparseEntry(k.add(row, 1)), behind = k.add(column, count);
  // The first entry that is not before the block.
  auto search = scf::WhileOp::create(
      b, k.loc, TypeRange{index, index}, ValueRange{sparseEntry(row), end},
      [&](OpBuilder &, Location, ValueRange at) {
        scf::ConditionOp::create(b, k.loc, k.less(at[0], at[1]), at);
      },
      [&](OpBuilder &, Location, ValueRange at) {
        Value middle = k.div(k.add(at[0], at[1]), 2);
        Value before = k.less(sparseColumn(middle), column);
        auto select = [&](Value a, Value c) -> Value {
          return arith::SelectOp::create(b, k.loc, before, a, c);
        };
        scf::YieldOp::create(
            b, k.loc,
            ValueRange{select(k.add(middle, 1), at[0]), select(at[1], middle)});
      });
  scf::WhileOp::create(
      b, k.loc, TypeRange{index, index}, search.getResult(0),
      [&](OpBuilder &, Location, ValueRange at) {
        // The column of the entry, or one behind the block without any.
        auto found = scf::IfOp::create(
            b, k.loc, k.less(at[0], end),
            [&](OpBuilder &, Location) {
              Value value = sparseColumn(at[0]);
              scf::YieldOp::create(b, k.loc, value);
            },
            [&](OpBuilder &, Location) {
              scf::YieldOp::create(b, k.loc, behind);
            });
        scf::ConditionOp::create(b, k.loc, k.less(found.getResult(0), behind),
                                 ValueRange{at[0], found.getResult(0)});
      },
      [&](OpBuilder &, Location, ValueRange at) {
        Values target{place, k.sub(at[1], column)};
        Value kept = k.load(reader.getSparseRows()->value, at[0]);
        k.store(k.addf(k.load(decoded, target), kept), decoded, target);
        scf::YieldOp::create(b, k.loc, k.add(at[0], 1));
      });
}

void PanelSkeleton::transposeTo(Value first, int64_t count) {
  int64_t side = k.avx512 ? 16 : 8;
  auto type = VectorType::get({side}, k.f32);
  k.loop(k.index(0), k.index(count), side, [&](Value column) {
    for (int64_t part = 0; part < kLanes; part += side) {
      Values square;
      for (int64_t i = 0; i < side; ++i)
        square.push_back(
            vector::LoadOp::create(k.builder, k.loc, type, decoded,
                                   ValueRange{k.index(part + i), column}));
      square = k.transpose(std::move(square));
      for (int64_t i = 0; i < side; ++i)
        vector::StoreOp::create(
            k.builder, k.loc, square[i], panel,
            ValueRange{k.add(column, i), k.add(first, part)});
    }
  });
}

void PanelSkeleton::multiply(Value number, Value first, Value count,
                             int64_t known, Value block, int64_t columnCount) {
  auto blocks = [&](Value from, Value to, int64_t rows) {
    k.loop(from, to, rows, [&](Value row) {
      multiplyRows(number, first, row, rows, block, columnCount);
    });
  };
  if (known >= 0) {
    // Two sizes that differ by one.
    int64_t parts = llvm::divideCeil(known, chosen.rows);
    int64_t small = known / parts, large = known % parts * (small + 1);
    if (large)
      blocks(k.index(0), k.index(large), small + 1);
    if (known > large)
      blocks(k.index(large), k.index(known), small);
    return;
  }
  Value done = k.index(0);
  for (int64_t rows : {chosen.rows, int64_t(3), int64_t(1)}) {
    Value end =
        k.add(done, k.mul(k.div(k.sub(count, done), k.index(rows)), rows));
    blocks(done, end, rows);
    done = end;
  }
}

PanelSkeleton::Columns PanelSkeleton::beginColumns(Value number) {
  int64_t width = getPanelRows(k.avx512);
  Columns at;
  for (int64_t v = 0; v < panelVectors(); ++v) {
    Value place = k.add(k.mul(number, width), v * kLanes), mask;
    if (n % width)
      mask = vector::CreateMaskOp::create(k.builder, k.loc, k.vecI1,
                                          k.sub(k.index(n), place));
    at.places.push_back(place);
    at.masks.push_back(mask);
  }
  return at;
}

void PanelSkeleton::addToOut(const Columns &at, Value row, Value block,
                             ArrayRef<Value> sums) {
  // The sums of blocks are added up one by one, which keeps the error of long
  // rows small.
  Value isFirst = k.less(block, k.index(1));
  for (auto [v, sum] : llvm::enumerate(sums)) {
    Values place{row, at.places[v]};
    Value start, total = sum, mask = at.masks[v];
    if (bias)
      start = k.loadVector(bias, at.places[v], mask);
    if (columns > size)
      start = arith::SelectOp::create(k.builder, k.loc, isFirst,
                                      start ? start : k.splat(0.0f),
                                      k.loadVector(out, place, mask));
    if (start)
      total = k.addf(total, start);
    k.storeVector(total, out, place, mask);
  }
}

void PanelSkeleton::multiplyRows(Value number, Value first, Value row,
                                 int64_t rows, Value block,
                                 int64_t columnCount) {
  Columns at = beginColumns(number);
  Values sums(rows * panelVectors(), k.splat(0.0f));
  // What the sums are added to, on another page for each row.
  if (columns > size)
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t v = 0; v < panelVectors(); ++v)
        k.prefetch(out, {k.add(k.add(first, row), i), at.places[v]});
  constexpr int64_t kUnroll = 4;
  auto step = [&](Value column, int64_t steps, ValueRange carried) {
    Values result(carried);
    for (int64_t s = 0; s < steps; ++s) {
      Value place = k.add(column, s);
      Values weights;
      for (int64_t v = 0; v < panelVectors(); ++v)
        weights.push_back(k.loadVector(panel, {place, k.index(v * kLanes)}));
      for (int64_t i = 0; i < rows; ++i) {
        Value input = k.splat(k.load(packed, {k.add(row, i), place}));
        for (int64_t v = 0; v < panelVectors(); ++v) {
          Value &sum = result[i * panelVectors() + v];
          sum = k.fma(input, weights[v], sum);
        }
      }
    }
    return result;
  };
  int64_t full = columnCount / kUnroll * kUnroll;
  if (full)
    sums = k.loop(k.index(0), k.index(full), kUnroll, sums,
                  [&](Value column, ValueRange carried) {
                    return step(column, kUnroll, carried);
                  });
  if (columnCount > full)
    sums = step(k.index(full), columnCount - full, sums);
  for (int64_t i = 0; i < rows; ++i)
    addToOut(at, k.add(k.add(first, row), i), block,
             ArrayRef<Value>(sums).slice(i * panelVectors(), panelVectors()));
}
