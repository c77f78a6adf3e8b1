//===- RowKernels.cpp - Kernels that work row by row ----------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "KernelBuilder.h"
#include "ganq/Support/CacheLayout.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/ControlFlow/IR/ControlFlowOps.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "llvm/Support/MathExtras.h"
#include <limits>

using namespace mlir;
using namespace ganq;
using Values = KernelBuilder::Values;

namespace {

std::string epsilonKey(const APFloat &epsilon) {
  llvm::SmallString<16> text;
  epsilon.toString(text);
  return std::string(text);
}

/// The extent of a dimension as f32.
Value extentAsFloat(KernelBuilder &k, Value extent) {
  Value integer = arith::IndexCastOp::create(k.builder, k.loc,
                                             k.builder.getI64Type(), extent);
  return arith::SIToFPOp::create(k.builder, k.loc, k.f32, integer);
}

/// 1 / sqrt(sum / extent + epsilon).
Value inverseRoot(KernelBuilder &k, Value sum, Value extent, float epsilon) {
  Value mean = k.divf(sum, extentAsFloat(k, extent));
  Value root =
      math::SqrtOp::create(k.builder, k.loc, k.addf(mean, k.constant(epsilon)));
  return k.divf(k.constant(1.0f), root);
}

/// Sum over a row of what `term` makes of each vector of it.
Value rowSum(KernelBuilder &k, Value matrix, Value row, Value extent,
             function_ref<Value(Value x, Value mask, Value sum)> term) {
  Values sums =
      k.chunks(extent, k.splat(0.0f),
               [&](Value offset, Value mask, ValueRange carried) -> Values {
                 return {term(k.loadVector(matrix, {row, offset}, mask), mask,
                              carried[0])};
               });
  return k.sum(sums[0]);
}

/// A buffer [...] as [elements].
Value asVector(OpBuilder &builder, Location loc, Value memref) {
  auto type = cast<MemRefType>(memref.getType());
  if (type.getRank() > 1) {
    SmallVector<ReassociationIndices> groups(1);
    for (int64_t i = 0; i < type.getRank(); ++i)
      groups[0].push_back(i);
    memref = memref::CollapseShapeOp::create(builder, loc, memref, groups);
  }
  return withDynamicRows(builder, loc, memref);
}

/// Copies elements of any type.
void copyElements(KernelBuilder &k, Value count,
                  function_ref<void(Value)> copyOne) {
  k.loop(k.index(0), count, 1, copyOne);
}

void copyElement(KernelBuilder &k, Value from, ValueRange fromIndices, Value to,
                 ValueRange toIndices) {
  Value value = memref::LoadOp::create(k.builder, k.loc, from, fromIndices);
  memref::StoreOp::create(k.builder, k.loc, value, to, toIndices);
}

/// Rounds a row of floats to the record of `CacheLayout`.
void storeRecord(KernelBuilder &k, Value value, ArrayRef<Value> from,
                 Value cache, ArrayRef<Value> to, int64_t size) {
  auto at = [](ArrayRef<Value> row, Value column) {
    Values indices(row);
    indices.push_back(column);
    return indices;
  };
  // The second value is nan where x is not finite, else 0.
  Value zero = k.splat(0.0f);
  Values range = k.chunks(
      k.index(size), {zero, zero},
      [&](Value column, Value mask, ValueRange carried) -> Values {
        Value x = k.loadVector(value, at(from, column), mask);
        return {k.maxf(math::AbsFOp::create(k.builder, k.loc, x), carried[0]),
                k.fma(x, zero, carried[1])};
      });
  constexpr auto kGreatest = static_cast<float>(CacheLayout::kGreatest);
  Value scale = k.divf(k.maximum(range[0]), k.constant(kGreatest));
  // A subnormal scale has no finite inverse; such a row is as good as zero.
  Value vanishes =
      arith::CmpFOp::create(k.builder, k.loc, arith::CmpFPredicate::OLT, scale,
                            k.constant(std::numeric_limits<float>::min()));
  auto unlessVanishing = [&](Value x) -> Value {
    return arith::SelectOp::create(k.builder, k.loc, vanishes, k.constant(0.0f),
                                   x);
  };
  scale = unlessVanishing(scale);
  Value factor = k.splat(unlessVanishing(k.divf(k.constant(1.0f), scale)));
  k.chunks(k.index(size), [&](Value column, Value mask) {
    Value level = math::RoundEvenOp::create(
        k.builder, k.loc,
        k.mulf(k.loadVector(value, at(from, column), mask), factor));
    // Numbers only: a nan or what an infinity gives would have no integer.
    level = k.maxf(level, k.splat(-kGreatest));
    Value high = k.splat(kGreatest);
    level = arith::SelectOp::create(
        k.builder, k.loc,
        arith::CmpFOp::create(k.builder, k.loc, arith::CmpFPredicate::OLT,
                              level, high),
        level, high);
    Value codes = arith::TruncIOp::create(
        k.builder, k.loc,
        VectorType::get({KernelBuilder::kLanes}, k.builder.getI8Type()),
        arith::FPToSIOp::create(k.builder, k.loc, k.vecI32, level));
    if (mask)
      vector::MaskedStoreOp::create(k.builder, k.loc, cache, at(to, column),
                                    mask, codes);
    else
      vector::StoreOp::create(k.builder, k.loc, codes, cache, at(to, column));
  });
  Value single =
      vector::BroadcastOp::create(k.builder, k.loc, VectorType::get({1}, k.f32),
                                  k.addf(scale, k.sum(range[1])));
  Value bytes = vector::BitCastOp::create(
      k.builder, k.loc,
      VectorType::get({CacheLayout::kScaleBytes}, k.builder.getI8Type()),
      single);
  vector::StoreOp::create(k.builder, k.loc, bytes, cache,
                          at(to, k.index(size)));
}

} // namespace

void ganq::lowerRmsNorm(OpBuilder &builder, KernelLibrary &library,
                        RmsNormOp op) {
  Location loc = op.getLoc();
  SmallVector<Value> inputs;
  for (Value memref : SmallVector<Value>{op.getX(), op.getOut()})
    inputs.push_back(
        withDynamicRows(builder, loc, asMatrix(builder, loc, memref)));
  if (op.getWeight())
    inputs.push_back(op.getWeight());
  float epsilon = op.getEpsilon().convertToFloat();
  Value rows = memref::DimOp::create(builder, loc, inputs[0], 0);
  library.call(
      builder, loc, "rms_norm", kernelKey(inputs, epsilonKey(op.getEpsilon())),
      rows, inputs, staticElements(op.getX()),
      [&](KernelBuilder &k, Value lo, Value hi, ValueRange args) {
        Value x = args[0], out = args[1];
        Value extent = k.dim(out, 1);
        k.loop(lo, hi, 1, [&](Value row) {
          Value squares =
              rowSum(k, x, row, extent, [&](Value value, Value, Value sum) {
                return k.fma(value, value, sum);
              });
          Value factor = k.splat(inverseRoot(k, squares, extent, epsilon));
          k.chunks(extent, [&](Value offset, Value mask) {
            Value value = k.mulf(k.loadVector(x, {row, offset}, mask), factor);
            if (args.size() > 2)
              value = k.mulf(value, k.loadVector(args[2], offset, mask));
            k.storeVector(value, out, {row, offset}, mask);
          });
        });
      });
}

void ganq::lowerLayerNorm(OpBuilder &builder, KernelLibrary &library,
                          LayerNormOp op) {
  Location loc = op.getLoc();
  SmallVector<Value> inputs;
  for (Value memref : SmallVector<Value>{op.getX(), op.getOut()})
    inputs.push_back(
        withDynamicRows(builder, loc, asMatrix(builder, loc, memref)));
  bool hasWeight = static_cast<bool>(op.getWeight()),
       hasBias = static_cast<bool>(op.getBias());
  if (hasWeight)
    inputs.push_back(op.getWeight());
  if (hasBias)
    inputs.push_back(op.getBias());
  float epsilon = op.getEpsilon().convertToFloat();
  std::string rest = epsilonKey(op.getEpsilon()) + (hasWeight ? "w" : "") +
                     (hasBias ? "b" : "");
  Value rows = memref::DimOp::create(builder, loc, inputs[0], 0);
  library.call(
      builder, loc, "layer_norm", kernelKey(inputs, rest), rows, inputs,
      staticElements(op.getX()),
      [&](KernelBuilder &k, Value lo, Value hi, ValueRange args) {
        Value x = args[0], out = args[1];
        Value extent = k.dim(out, 1);
        Value count = extentAsFloat(k, extent);
        k.loop(lo, hi, 1, [&](Value row) {
          Value total =
              rowSum(k, x, row, extent, [&](Value value, Value, Value sum) {
                return k.addf(value, sum);
              });
          Value mean = k.splat(k.divf(total, count));
          // A second pass over the row: the difference of mean(x^2) and
          // mean(x)^2 loses all digits where the mean is large.
          Value squares = rowSum(
              k, x, row, extent, [&](Value value, Value mask, Value sum) {
                Value centered = k.subf(value, mean);
                if (mask)
                  centered = arith::SelectOp::create(k.builder, k.loc, mask,
                                                     centered, k.splat(0.0f));
                return k.fma(centered, centered, sum);
              });
          Value factor = k.splat(inverseRoot(k, squares, extent, epsilon));
          k.chunks(extent, [&](Value offset, Value mask) {
            Value value = k.mulf(
                k.subf(k.loadVector(x, {row, offset}, mask), mean), factor);
            if (hasWeight)
              value = k.mulf(value, k.loadVector(args[2], offset, mask));
            if (hasBias)
              value = k.addf(value, k.loadVector(args.back(), offset, mask));
            k.storeVector(value, out, {row, offset}, mask);
          });
        });
      });
}

void ganq::lowerSwiglu(OpBuilder &builder, KernelLibrary &library,
                       SwigluOp op) {
  Location loc = op.getLoc();
  constexpr int64_t kBlock = 1024;
  SmallVector<Value> inputs;
  for (Value memref : SmallVector<Value>{op.getGate(), op.getUp(), op.getOut()})
    inputs.push_back(asVector(builder, loc, memref));
  Value elements = memref::DimOp::create(builder, loc, inputs[2], 0);
  Value blocks = arith::CeilDivUIOp::create(
      builder, loc, elements,
      arith::ConstantIndexOp::create(builder, loc, kBlock));
  library.call(builder, loc, "swiglu", kernelKey(inputs), blocks, inputs,
               staticElements(op.getOut()),
               [&](KernelBuilder &k, Value lo, Value hi, ValueRange args) {
                 Value begin = k.mul(lo, kBlock);
                 Value end = k.min(k.mul(hi, kBlock), k.dim(args[2], 0));
                 k.chunks(k.max(k.sub(end, begin), k.index(0)),
                          [&](Value offset, Value mask) {
                            Value at = k.add(begin, offset);
                            Value gate = k.loadVector(args[0], at, mask);
                            Value up = k.loadVector(args[1], at, mask);
                            Value denominator =
                                k.addf(k.splat(1.0f), k.exp(k.negf(gate)));
                            k.storeVector(k.mulf(k.divf(gate, denominator), up),
                                          args[2], at, mask);
                          });
               });
}

void ganq::lowerRope(OpBuilder &builder, KernelLibrary &library, RopeOp op) {
  Location loc = op.getLoc();
  SmallVector<Value> inputs;
  for (Value memref : SmallVector<Value>{op.getX(), op.getOut()})
    inputs.push_back(
        withDynamicRows(builder, loc, asMatrix(builder, loc, memref)));
  inputs.push_back(withDynamicRows(builder, loc, op.getCos()));
  inputs.push_back(withDynamicRows(builder, loc, op.getSin()));
  bool interleaved = op.getInterleaved();
  Value rows = memref::DimOp::create(builder, loc, inputs[0], 0);
  library.call(
      builder, loc, "rope", kernelKey(inputs, interleaved ? "i" : ""), rows,
      inputs, staticElements(op.getX()),
      [&](KernelBuilder &k, Value lo, Value hi, ValueRange args) {
        Value x = args[0], out = args[1], cos = args[2], sin = args[3];
        Value half = k.dim(cos, 1), positions = k.dim(cos, 0);
        Value rotated = k.mul(half, 2);
        k.loop(lo, hi, 1, [&](Value row) {
          Value position = k.rem(row, positions);
          if (interleaved) {
            k.loop(k.index(0), half, 1, [&](Value pair) {
              Value even = k.mul(pair, 2), odd = k.add(even, 1);
              Value a = k.load(x, {row, even}), b = k.load(x, {row, odd});
              Value c = k.load(cos, {position, pair}),
                    s = k.load(sin, {position, pair});
              k.store(k.subf(k.mulf(a, c), k.mulf(b, s)), out, {row, even});
              k.store(k.addf(k.mulf(b, c), k.mulf(a, s)), out, {row, odd});
            });
          } else {
            k.chunks(half, [&](Value offset, Value mask) {
              Value second = k.add(offset, half);
              Value a = k.loadVector(x, {row, offset}, mask),
                    b = k.loadVector(x, {row, second}, mask);
              Value c = k.loadVector(cos, {position, offset}, mask),
                    s = k.loadVector(sin, {position, offset}, mask);
              k.storeVector(k.subf(k.mulf(a, c), k.mulf(b, s)), out,
                            {row, offset}, mask);
              k.storeVector(k.addf(k.mulf(b, c), k.mulf(a, s)), out,
                            {row, second}, mask);
            });
          }
          copyElements(k, k.sub(k.dim(x, 1), rotated), [&](Value i) {
            Value column = k.add(rotated, i);
            copyElement(k, x, {row, column}, out, {row, column});
          });
        });
      });
}

void ganq::lowerPositionRows(OpBuilder &builder, KernelLibrary &library,
                             PositionRowsOp op) {
  Location loc = op.getLoc();
  SmallVector<Value> inputs{
      op.getTable(), withDynamicRows(builder, loc, op.getOut()), op.getPast()};
  // Tokens beyond the table: the call fails, and nothing is read.
  Value rows = memref::DimOp::create(builder, loc, op.getTable(), 0);
  Value end = arith::AddIOp::create(builder, loc, op.getPast(), op.getCount());
  Value zero = arith::ConstantIndexOp::create(builder, loc, 0);
  Value starts = arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::sge,
                                       op.getPast(), zero);
  Value ends =
      arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::sle, end, rows);
  Value fits = arith::AndIOp::create(builder, loc, starts, ends);
  std::string message = "expected a sequence within the model's context";
  if (int64_t size = cast<MemRefType>(op.getTable().getType()).getDimSize(0);
      !ShapedType::isDynamic(size))
    message += " of " + std::to_string(size) + " tokens, but got more";
  cf::AssertOp::create(builder, loc, fits, message);
  Value count =
      arith::SelectOp::create(builder, loc, fits, op.getCount(), zero);
  library.call(builder, loc, "position_rows", kernelKey(inputs), count, inputs,
               staticElements(op.getOut()),
               [&](KernelBuilder &k, Value lo, Value hi, ValueRange args) {
                 k.loop(lo, hi, 1, [&](Value row) {
                   Value source = k.add(row, args[2]);
                   copyElements(k, k.dim(args[0], 1), [&](Value column) {
                     copyElement(k, args[0], {source, column}, args[1],
                                 {row, column});
                   });
                 });
               });
}

void ganq::lowerKvUpdate(OpBuilder &builder, KernelLibrary &library,
                         KvUpdateOp op) {
  Location loc = op.getLoc();
  SmallVector<Value> inputs{op.getCache(), op.getValue(), op.getPast()};
  Value heads = arith::MulIOp::create(
      builder, loc, memref::DimOp::create(builder, loc, op.getValue(), 0),
      memref::DimOp::create(builder, loc, op.getValue(), 1));
  auto cacheType = cast<MemRefType>(op.getCache().getType());
  auto valueType = cast<MemRefType>(op.getValue().getType());
  bool same = cacheType.getElementType() == valueType.getElementType();
  bool records = !same && cacheType.getElementType().isInteger(8);
  library.call(builder, loc, "kv_update", kernelKey(inputs), heads, inputs,
               staticElements(op.getValue()),
               [&](KernelBuilder &k, Value lo, Value hi, ValueRange args) {
                 Value cache = args[0], value = args[1];
                 Value perBatch = k.dim(value, 1), size = k.dim(value, 3);
                 k.loop(lo, hi, 1, [&](Value i) {
                   Value b = k.div(i, perBatch), h = k.rem(i, perBatch);
                   k.loop(k.index(0), k.dim(value, 2), 1, [&](Value s) {
                     Value t = k.add(s, args[2]);
                     if (records)
                       storeRecord(k, value, {b, h, s}, cache, {b, h, t},
                                   valueType.getDimSize(3));
                     else if (same)
                       copyElements(k, size, [&](Value d) {
                         copyElement(k, value, {b, h, s, d}, cache,
                                     {b, h, t, d});
                       });
                     else
                       k.chunks(size, [&](Value d, Value mask) {
                         k.storeVector(k.loadVector(value, {b, h, s, d}, mask),
                                       cache, {b, h, t, d}, mask);
                       });
                   });
                 });
               });
}
