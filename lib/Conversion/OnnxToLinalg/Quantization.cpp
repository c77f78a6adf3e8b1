//===- Quantization.cpp - onnx quantization operators ---------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Lowering.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"

using namespace mlir;
using namespace ganq::lowering;
using ganq::onnx::getOpName;

/// Reads scale or zero point for an element of a tensor: one for all, one per
/// position along `axis`, or one per block of `block` positions along `axis`.
static Value loadParameter(BodyBuilder &s, Value tensor, ValueRange indices,
                           int64_t axis, int64_t block) {
  RankedTensorType type = Lowering::typeOf(tensor);
  SmallVector<Value> position;
  if (block > 0 && type.getRank() == static_cast<int64_t>(indices.size())) {
    position.assign(indices.begin(), indices.end());
    position[axis] = arith::DivUIOp::create(s, indices[axis], s.index(block));
  } else if (type.getRank() == 1) {
    position.push_back(type.getDimSize(0) == 1 ? s.index(0) : indices[axis]);
  }
  for (auto [dim, at] : llvm::enumerate(position)) {
    Value size = tensor::DimOp::create(s, tensor, dim);
    at = s.min(at, s.sub(size, s.index(1)));
  }
  return tensor::ExtractOp::create(s, tensor, position);
}

static LogicalResult checkParameters(Lowering &l, unsigned scale,
                                     unsigned zeroPoint, int64_t &axis,
                                     int64_t &block) {
  int64_t rank = l.rank(0);
  block = l.getInt("block_size", 0);
  axis = l.getInt("axis", 1);
  for (unsigned i : {scale, zeroPoint}) {
    if (!l.hasOperand(i))
      continue;
    bool fits = l.rank(i) <= 1 || (block > 0 && l.rank(i) == rank);
    if (!fits)
      return l.op->emitOpError("expected operand ")
             << i << " to have rank 0 or 1, but got " << l.rank(i);
  }
  bool single = l.rank(scale) == 0 ||
                (l.rank(scale) == 1 && l.type(scale).getDimSize(0) == 1);
  if (single && rank == 0)
    axis = 0;
  else if (single)
    axis = std::clamp<int64_t>(axis, 0, rank - 1);
  else if (failed(l.normalizeAxes(axis, rank)))
    return failure();
  return success();
}

/// round(x) + zeroPoint, saturated to `element`.
static Value saturate(BodyBuilder &s, Value x, Value zeroPoint, Type element,
                      bool isUnsigned) {
  unsigned width = element.getIntOrFloatBitWidth();
  double low = isUnsigned ? 0 : -std::ldexp(1.0, width - 1);
  double high = std::ldexp(1.0, isUnsigned ? width : width - 1) - 1;
  Type type = x.getType();
  Value y = math::RoundEvenOp::create(s, x);
  if (zeroPoint)
    y = s.add(y, s.cast(zeroPoint, type, isUnsigned, false));
  y = s.clamp(y, s.constant(type, low), s.constant(type, high));
  return s.cast(y, element, false, isUnsigned);
}

static LogicalResult lowerQuantize(Lowering &l) {
  int64_t axis, block;
  if (failed(checkParameters(l, 1, 2, axis, block)))
    return failure();
  Type element = l.hasOperand(2) ? l.element(2) : l.b.getI8Type();
  bool isUnsigned = !l.hasOperand(2) || l.isUnsigned(2);
  if (!isa<IntegerType>(element))
    return l.unsupported("a quantized type that is no integer");
  Value input = l.operand(0), scale = l.operand(1), zero = l.operand(2);
  bool fromUnsigned = l.isUnsigned(0);
  Value result = l.generate(
      l.shapeOf(input), element, [&](BodyBuilder &s, ValueRange indices) {
        Value step = loadParameter(s, scale, indices, axis, block);
        Type compute = getComputeType(step.getType());
        step = s.cast(step, compute, false, false);
        Value x = s.cast(Lowering::load(s, input, indices), compute,
                         fromUnsigned, false);
        Value offset =
            zero ? loadParameter(s, zero, indices, axis, block) : Value();
        return saturate(s, s.div(x, step), offset, element, isUnsigned);
      });
  return l.setResult(result, isUnsigned);
}

static LogicalResult lowerDequantize(Lowering &l) {
  int64_t axis, block;
  if (failed(checkParameters(l, 1, 2, axis, block)))
    return failure();
  Value input = l.operand(0), scale = l.operand(1), zero = l.operand(2);
  bool isUnsigned = l.isUnsigned(0);
  if (!isa<IntegerType>(l.element(0)))
    return l.unsupported("a quantized type that is no integer");
  Value result = l.generate(
      l.shapeOf(input), l.element(1), [&](BodyBuilder &s, ValueRange indices) {
        Value step = loadParameter(s, scale, indices, axis, block);
        Type compute = getComputeType(step.getType());
        Type i64 = s.getI64Type();
        Value x =
            s.cast(Lowering::load(s, input, indices), i64, isUnsigned, false);
        if (zero)
          x = s.sub(x, s.cast(loadParameter(s, zero, indices, axis, block), i64,
                              isUnsigned, false));
        return s.mul(s.cast(x, compute, false, false),
                     s.cast(step, compute, false, false));
      });
  return l.setResult(result);
}

/// To ui8 with the range of the operand, which always holds 0.
static LogicalResult lowerDynamicQuantize(Lowering &l) {
  BodyBuilder &b = l.b;
  Value input = l.operand(0);
  Type f32 = b.getF32Type(), i8 = b.getI8Type();
  if (l.element(0) != f32)
    return l.unsupported("an operand that is not f32");
  auto axes = llvm::to_vector(llvm::seq<int64_t>(0, l.rank(0)));
  auto bound = [&](bool largest) {
    Value found = l.reduce(
        input, axes, b.constant(f32, 0), [&](BodyBuilder &s, ValueRange v) {
          return largest ? s.max(v[0], v[1]) : s.min(v[0], v[1]);
        });
    return l.reshape(found, {});
  };
  Value low = bound(false), high = bound(true);
  Value scale =
      l.mapTo({}, {low, high}, f32, [&](BodyBuilder &s, ValueRange v) {
        Value range = s.div(s.sub(v[1], v[0]), s.constant(f32, 255));
        Value isZero = s.compare(Compare::EQ, range, s.constant(f32, 0));
        return s.select(isZero, s.constant(f32, 1), range);
      });
  Value zero = l.mapTo({}, {low, scale}, i8, [&](BodyBuilder &s, ValueRange v) {
    return saturate(s, s.div(s.neg(v[0]), v[1]), Value(), i8, true);
  });
  Value result =
      l.mapTo(l.shapeOf(input), {input, scale, zero}, i8,
              [&](BodyBuilder &s, ValueRange v) {
                return saturate(s, s.div(v[0], v[1]), v[2], i8, true);
              });
  if (failed(l.setResult(0, result, true)) || failed(l.setResult(1, scale)))
    return failure();
  return l.setResult(2, zero, true);
}

/// Operand `i` minus its zero point.
static FailureOr<Value> centred(Lowering &l, unsigned i) {
  bool isUnsigned = l.isUnsigned(i);
  return l.map({l.operand(i), l.operand(i + 2)}, l.b.getI32Type(),
               [&](BodyBuilder &s, ValueRange v) {
                 Type i32 = s.getI32Type();
                 return s.sub(s.cast(v[0], i32, isUnsigned, false),
                              s.cast(v[1], i32, isUnsigned, false));
               });
}

static LogicalResult lowerQLinearMatMul(Lowering &l) {
  for (unsigned i : {1, 2, 4, 5, 6, 7})
    if (l.type(i).hasStaticShape() ? l.type(i).getNumElements() != 1 : true)
      return l.unsupported("a scale or zero point per row or column");
  FailureOr<Value> a = centred(l, 0), c = centred(l, 3);
  if (failed(a) || failed(c))
    return failure();
  FailureOr<Value> product = buildMatMul(
      l, *a, *c, l.b.getI32Type(),
      [](BodyBuilder &s, ValueRange v) { return s.mul(v[0], v[1]); });
  if (failed(product))
    return failure();
  Type element = l.element(7), compute = l.b.getF32Type();
  bool isUnsigned = l.isUnsigned(7);
  auto read = [&](unsigned i) {
    return l.b.cast(l.scalar(i), compute, false, false);
  };
  Value scale = l.b.div(l.b.mul(read(1), read(4)), read(6));
  Value zero = l.scalar(7);
  Value result =
      l.mapTo(l.shapeOf(*product), *product, element,
              [&](BodyBuilder &s, ValueRange v) {
                Value x = s.mul(s.cast(v[0], compute, false, false), scale);
                return saturate(s, x, zero, element, isUnsigned);
              });
  return l.setResult(result, isUnsigned);
}

void ganq::lowering::addQuantizationLowerings(LoweringTable &table) {
  table["QuantizeLinear"] = lowerQuantize;
  table["DequantizeLinear"] = lowerDequantize;
  table["DynamicQuantizeLinear"] = lowerDynamicQuantize;
  table["QLinearMatMul"] = lowerQLinearMatMul;
}
