//===- AttentionKernel.cpp - Softmax attention on the processor -----------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Keys are visited in blocks of 16, whose scores fill one vector; a running
// maximum and sum make a single pass over the cache enough (Milakov and
// Gimelshein, "Online normalizer calculation for softmax", 2018). A block of
// keys and values stays in the first cache while all queries of a work item
// use it: several positions of one head, or, for a single position, the query
// heads that share a key head.
//
//===----------------------------------------------------------------------===//

#include "KernelBuilder.h"
#include "ganq/Support/CacheLayout.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "llvm/Support/MathExtras.h"
#include <limits>

using namespace mlir;
using namespace ganq;
using Values = KernelBuilder::Values;

namespace {

constexpr int64_t kLanes = KernelBuilder::kLanes;
/// Queries of one head that share a visit of the keys.
constexpr int64_t kQueryBlock = 8;

class AttentionKernel {
public:
  AttentionKernel(KernelBuilder &k, AttentionOp op, bool byGroup,
                  ValueRange args)
      : k(k), byGroup(byGroup), causal(op.getCausal()),
        scale(op.getScale().convertToFloat()), q(args[0]), key(args[1]),
        value(args[2]), out(args[3]) {
    size_t next = 4;
    if (op.getMask())
      mask = args[next++];
    if (op.getPast())
      past = args[next++];
    headSize = cast<MemRefType>(q.getType()).getDimSize(3);
    valueSize = cast<MemRefType>(value.getType()).getDimSize(3);
    if (hasRecords(value))
      valueSize = CacheLayout::getSize(valueSize);
  }

  void emit(Value lo, Value hi) {
    queryHeads = k.dim(q, 1);
    keyHeads = k.dim(key, 1);
    queries = k.dim(q, 2);
    keys = k.dim(key, 2);
    perGroup = k.div(queryHeads, keyHeads);
    if (!past)
      past = k.sub(keys, queries);
    int64_t most = kQueryBlock;
    if (byGroup) {
      int64_t heads = cast<MemRefType>(q.getType()).getDimSize(1);
      most = heads / cast<MemRefType>(key.getType()).getDimSize(1);
    }
    sums = k.scratch(
        {most, static_cast<int64_t>(llvm::alignTo(valueSize, kLanes))});
    norms = k.scratch({most, 2});
    k.loop(lo, hi, 1, [&](Value item) { emitItem(item); });
  }

private:
  void emitItem(Value item) {
    Value firstQuery, rows;
    if (byGroup) {
      batch = k.div(item, keyHeads);
      keyHead = k.rem(item, keyHeads);
      firstQuery = k.index(0);
      rows = perGroup;
    } else {
      Value blocks = k.div(k.add(queries, kQueryBlock - 1), kQueryBlock);
      Value head = k.div(item, blocks);
      batch = k.div(head, queryHeads);
      itemHead = k.rem(head, queryHeads);
      keyHead = k.div(itemHead, perGroup);
      firstQuery = k.mul(k.rem(item, blocks), kQueryBlock);
      rows = k.min(k.index(kQueryBlock), k.sub(queries, firstQuery));
    }
    auto headOf = [&](Value row) {
      return byGroup ? k.add(k.mul(keyHead, perGroup), row) : itemHead;
    };
    auto queryOf = [&](Value row) {
      return byGroup ? firstQuery : k.add(firstQuery, row);
    };

    k.loop(k.index(0), rows, 1, [&](Value row) {
      k.store(k.constant(-std::numeric_limits<float>::infinity()), norms,
              {row, k.index(0)});
      k.store(k.constant(0.0f), norms, {row, k.index(1)});
      for (int64_t at = 0; at < valueSize; at += kLanes)
        k.storeVector(k.splat(0.0f), sums, {row, k.index(at)});
    });

    // The keys that the last query sees.
    Value limit = keys;
    if (causal) {
      Value last =
          byGroup ? firstQuery : k.sub(k.add(firstQuery, rows), k.index(1));
      limit = k.min(keys, k.add(k.add(past, last), 1));
    }
    Value full = k.mul(k.div(limit, kLanes), kLanes);
    auto visit = [&](Value first, bool whole) {
      k.loop(k.index(0), rows, 1, [&](Value row) {
        emitBlock(row, headOf(row), queryOf(row), first, limit, whole);
      });
    };
    k.loop(k.index(0), full, kLanes, [&](Value j) { visit(j, true); });
    k.when(k.less(full, limit), [&] { visit(full, false); });

    k.loop(k.index(0), rows, 1, [&](Value row) {
      Value factor =
          k.splat(k.divf(k.constant(1.0f), k.load(norms, {row, k.index(1)})));
      for (int64_t at = 0; at < valueSize; at += kLanes)
        k.storeVector(k.mulf(k.loadVector(sums, {row, k.index(at)}), factor),
                      out, {batch, headOf(row), queryOf(row), k.index(at)},
                      k.laneMask(valueSize - at));
    });
  }

  /// Adds keys first .. first + 15, of which those below `limit` count, to the
  /// state of one query.
  void emitBlock(Value row, Value head, Value query, Value first, Value limit,
                 bool whole) {
    Values keyRows;
    for (int64_t j = 0; j < kLanes; ++j) {
      Value at = k.add(first, j);
      // Rows that do not exist are read from the last one and weigh nothing.
      keyRows.push_back(whole ? at : k.min(at, k.sub(limit, k.index(1))));
    }
    Value scores = scoreVector(head, query, keyRows);
    scores = k.mulf(scores, k.splat(scale));
    if (mask)
      scores = k.addf(scores, maskVector(head, query, first, whole));
    if (causal || !whole) {
      Value end = limit;
      if (causal)
        end = k.min(limit, k.add(k.add(past, query), 1));
      Value visible =
          k.max(k.min(k.sub(end, first), k.index(kLanes)), k.index(0));
      Value lanes =
          vector::CreateMaskOp::create(k.builder, k.loc, k.vecI1, visible);
      scores = arith::SelectOp::create(
          k.builder, k.loc, lanes, scores,
          k.splat(-std::numeric_limits<float>::infinity()));
    }

    Value zero = k.index(0), one = k.index(1);
    Value oldMax = k.load(norms, {row, zero});
    Value newMax = k.maxf(oldMax, k.maximum(scores));
    k.store(newMax, norms, {row, zero});
    // Finite, so that -inf minus it is -inf and not nan.
    Value base = k.splat(
        k.maxf(newMax, k.constant(std::numeric_limits<float>::lowest())));
    Value weights = k.exp(k.subf(scores, base));
    Value correction = k.exp(k.subf(k.splat(oldMax), base));
    Value scalar = vector::ExtractOp::create(k.builder, k.loc, correction,
                                             ArrayRef<int64_t>{0});
    k.store(k.fma(k.load(norms, {row, one}), scalar, k.sum(weights)), norms,
            {row, one});

    Values totals;
    for (int64_t at = 0; at < valueSize; at += kLanes)
      totals.push_back(
          k.mulf(k.loadVector(sums, {row, k.index(at)}), correction));
    for (int64_t j = 0; j < kLanes; ++j) {
      Value scalar = vector::ExtractOp::create(k.builder, k.loc, weights,
                                               ArrayRef<int64_t>{j});
      if (hasRecords(value))
        scalar = k.mulf(scalar, loadScale(value, keyRows[j], valueSize));
      Value weight = k.splat(scalar);
      for (auto [chunk, total] : llvm::enumerate(totals)) {
        int64_t at = chunk * kLanes;
        total = k.fma(
            weight, loadRow(value, keyRows[j], at, k.laneMask(valueSize - at)),
            total);
      }
    }
    for (auto [chunk, total] : llvm::enumerate(totals))
      k.storeVector(total, sums, {row, k.index(chunk * kLanes)});
  }

  /// Products of one query with 16 keys, one per lane.
  Value scoreVector(Value head, Value query, const Values &keyRows) {
    Values products(kLanes);
    for (int64_t at = 0; at < headSize; at += kLanes) {
      Value lanes = k.laneMask(headSize - at);
      Value part = k.loadVector(q, {batch, head, query, k.index(at)}, lanes);
      for (int64_t j = 0; j < kLanes; ++j) {
        Value other = loadRow(key, keyRows[j], at, lanes);
        products[j] =
            products[j] ? k.fma(part, other, products[j]) : k.mulf(part, other);
      }
    }
    if (hasRecords(key))
      for (int64_t j = 0; j < kLanes; ++j)
        products[j] =
            k.mulf(products[j], k.splat(loadScale(key, keyRows[j], headSize)));
    // Add neighbours of two vectors into one, four times: lane j ends up with
    // the sum of vector j.
    SmallVector<int64_t> even, odd;
    for (int64_t i = 0; i < 2 * kLanes; i += 2) {
      even.push_back(i);
      odd.push_back(i + 1);
    }
    while (products.size() > 1) {
      Values merged;
      for (size_t i = 0; i < products.size(); i += 2)
        merged.push_back(
            k.addf(vector::ShuffleOp::create(k.builder, k.loc, products[i],
                                             products[i + 1], even),
                   vector::ShuffleOp::create(k.builder, k.loc, products[i],
                                             products[i + 1], odd)));
      products = std::move(merged);
    }
    return products.front();
  }

  static bool hasRecords(Value cache) {
    return cast<MemRefType>(cache.getType()).getElementType().isInteger(8);
  }

  /// 16 elements of a row of keys or values, or their codes.
  Value loadRow(Value cache, Value row, int64_t at, Value lanes) {
    SmallVector<Value> indices{batch, keyHead, row, k.index(at)};
    if (!hasRecords(cache))
      return k.loadVector(cache, indices, lanes);
    auto type = VectorType::get({kLanes}, k.builder.getI8Type());
    Value codes;
    if (lanes) {
      Value none = arith::ConstantOp::create(k.builder, k.loc,
                                             k.builder.getZeroAttr(type));
      codes = vector::MaskedLoadOp::create(k.builder, k.loc, type, cache,
                                           indices, lanes, none);
    } else {
      codes = vector::LoadOp::create(k.builder, k.loc, type, cache, indices);
    }
    return arith::SIToFPOp::create(k.builder, k.loc, k.vecF32, codes);
  }

  /// The scale behind the `size` codes of a row.
  Value loadScale(Value cache, Value row, int64_t size) {
    auto type =
        VectorType::get({CacheLayout::kScaleBytes}, k.builder.getI8Type());
    Value bytes =
        vector::LoadOp::create(k.builder, k.loc, type, cache,
                               ValueRange{batch, keyHead, row, k.index(size)});
    Value single = vector::BitCastOp::create(
        k.builder, k.loc, VectorType::get({1}, k.f32), bytes);
    return vector::ExtractOp::create(k.builder, k.loc, single, 0);
  }

  Value maskVector(Value head, Value query, Value first, bool whole) {
    auto type = cast<MemRefType>(mask.getType());
    SmallVector<Value> indices{batch, head, query};
    for (int64_t dim = 0; dim < 3; ++dim) {
      // A dimension of size 1 is shared.
      if (type.getDimSize(dim) == 1)
        indices[dim] = k.index(0);
      else if (type.isDynamicDim(dim))
        indices[dim] = k.min(indices[dim], k.sub(k.dim(mask, dim), k.index(1)));
    }
    indices.push_back(first);
    Value lanes;
    if (!whole)
      lanes = vector::CreateMaskOp::create(k.builder, k.loc, k.vecI1,
                                           k.sub(keys, first));
    return k.loadVector(mask, indices, lanes);
  }

  KernelBuilder &k;
  bool byGroup, causal;
  float scale;
  Value q, key, value, out, mask, past;
  int64_t headSize, valueSize;
  Value queryHeads, keyHeads, queries, keys, perGroup;
  Value batch, keyHead, itemHead;
  Value sums;  ///< [queries, Dv]: weighted values so far.
  Value norms; ///< [queries, 2]: greatest score, sum of weights.
};

} // namespace

void ganq::lowerAttention(OpBuilder &builder, KernelLibrary &library,
                          AttentionOp op) {
  Location loc = op.getLoc();
  SmallVector<Value> inputs{op.getQ(), op.getK(), op.getV(), op.getOut()};
  if (op.getMask())
    inputs.push_back(op.getMask());
  if (op.getPast())
    inputs.push_back(op.getPast());
  auto qType = cast<MemRefType>(op.getQ().getType());
  auto kType = cast<MemRefType>(op.getK().getType());
  // Items of whole groups share the reads of keys; with few groups threads
  // would go idle.
  constexpr int64_t kMinGroups = 4;
  bool byGroup = qType.getDimSize(2) == 1 && !qType.isDynamicDim(1) &&
                 !kType.isDynamicDim(1) && kType.getDimSize(1) >= kMinGroups;

  llvm::SmallString<64> rest;
  llvm::raw_svector_ostream stream(rest);
  stream << (op.getMask() ? "m" : "") << (op.getPast() ? "p" : "")
         << (op.getCausal() ? "c" : "") << (byGroup ? "g" : "");
  op.getScale().toString(rest);

  KernelBuilder k(builder, loc, library.hasAvx512());
  Value items = k.dim(op.getQ(), 0);
  if (byGroup) {
    items = k.mul(items, k.dim(op.getK(), 1));
  } else {
    items = k.mul(items, k.dim(op.getQ(), 1));
    items = k.mul(
        items, k.div(k.add(k.dim(op.getQ(), 2), kQueryBlock - 1), kQueryBlock));
  }
  int64_t work = staticElements(op.getQ()) < 0 || kType.isDynamicDim(2)
                     ? -1
                     : staticElements(op.getQ()) * kType.getDimSize(2);
  library.call(builder, loc, "attention", kernelKey(inputs, rest), items,
               inputs, work,
               [&](KernelBuilder &k, Value lo, Value hi, ValueRange args) {
                 AttentionKernel(k, op, byGroup, args).emit(lo, hi);
               });
}
