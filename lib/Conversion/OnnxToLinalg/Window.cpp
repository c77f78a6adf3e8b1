//===- Window.cpp - onnx convolution and pooling --------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Lowering.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"

using namespace mlir;
using namespace ganq::lowering;
using ganq::onnx::getInts;
using ganq::onnx::getOpName;

namespace {
/// Windows over the spatial dimensions of [N, C, ...].
struct Window {
  SmallVector<int64_t> kernel, strides, dilations;
  Shape begin;  ///< Padding before the first element.
  Shape output; ///< Number of windows.
};
} // namespace

static FailureOr<Window> getWindow(Lowering &l, ArrayRef<int64_t> kernel) {
  unsigned rank = kernel.size();
  auto read = [&](StringRef name, int64_t defaultValue, unsigned count) {
    SmallVector<int64_t> values(count, defaultValue);
    if (auto attr = getInts(l.op, name))
      values.assign(attr->begin(), attr->end());
    return values;
  };
  Window w;
  w.kernel.assign(kernel.begin(), kernel.end());
  w.strides = read("strides", 1, rank);
  w.dilations = read("dilations", 1, rank);
  SmallVector<int64_t> pads = read("pads", 0, 2 * rank);
  auto positive = [](int64_t value) { return value > 0; };
  if (w.strides.size() != rank || w.dilations.size() != rank ||
      pads.size() != 2 * rank || !llvm::all_of(w.strides, positive) ||
      !llvm::all_of(w.dilations, positive) || !llvm::all_of(kernel, positive)) {
    l.op->emitOpError("expected positive kernel_shape, strides and dilations "
                      "and pads for ")
        << rank << " dimensions";
    return failure();
  }
  StringRef autoPad = ganq::onnx::getString(l.op, "auto_pad", "NOTSET");
  bool ceil = l.getInt("ceil_mode", 0);
  Shape from = l.shapeOf(l.operand(0));
  for (unsigned d = 0; d < rank; ++d) {
    OpFoldResult size = from[d + 2], begin = l.size(0), end = l.size(0);
    OpFoldResult stride = l.size(w.strides[d]);
    int64_t reach = (kernel[d] - 1) * w.dilations[d] + 1;
    if (autoPad == "SAME_UPPER" || autoPad == "SAME_LOWER") {
      OpFoldResult count =
          l.floorDiv(l.add(size, l.size(w.strides[d] - 1)), stride);
      OpFoldResult total = l.max(
          l.sub(l.add(l.mul(l.sub(count, l.size(1)), stride), l.size(reach)),
                size),
          l.size(0));
      bool lower = autoPad == "SAME_LOWER";
      begin = l.floorDiv(lower ? l.add(total, l.size(1)) : total, l.size(2));
      end = l.sub(total, begin);
    } else if (autoPad != "VALID") {
      begin = l.size(pads[d]);
      end = l.size(pads[d + rank]);
    }
    OpFoldResult room = l.sub(l.add(l.add(size, begin), end), l.size(reach));
    if (ceil)
      room = l.add(room, l.size(w.strides[d] - 1));
    OpFoldResult count = l.add(l.floorDiv(room, stride), l.size(1));
    if (ceil) {
      // A window that starts in the padding after the last element is none.
      OpFoldResult starts = l.floorDiv(
          l.add(l.add(size, begin), l.size(w.strides[d] - 1)), stride);
      count = l.min(count, starts);
    }
    w.begin.push_back(begin);
    w.output.push_back(l.max(count, l.size(0)));
  }
  return w;
}

static SmallVector<Value> constants(BodyBuilder &s, ArrayRef<int64_t> values) {
  SmallVector<Value> result;
  for (int64_t value : values)
    result.push_back(s.index(value));
  return result;
}

/// Positions of the window's elements in the operand; `inside` says whether
/// all lie in it.
static SmallVector<Value> getPosition(BodyBuilder &s, const Window &w,
                                      ValueRange begin, ValueRange sizes,
                                      ValueRange at, ValueRange ivs,
                                      Value &inside) {
  SmallVector<Value> position;
  inside = s.integer(s.getI1Type(), 1);
  for (unsigned d = 0; d < w.kernel.size(); ++d) {
    Value x = s.add(s.mul(at[d], s.index(w.strides[d])),
                    s.mul(ivs[d], s.index(w.dilations[d])));
    x = s.sub(x, begin[d]);
    inside = s.andBits(inside, s.compare(Compare::LT, x, sizes[d],
                                         /*isUnsigned=*/true));
    position.push_back(x);
  }
  return position;
}

static FailureOr<SmallVector<int64_t>> getKernel(Lowering &l) {
  auto kernel = getInts(l.op, "kernel_shape");
  if (!kernel || static_cast<int64_t>(kernel->size()) != l.rank(0) - 2) {
    l.op->emitOpError("expected kernel_shape to have ")
        << l.rank(0) - 2 << " elements";
    return failure();
  }
  return SmallVector<int64_t>(*kernel);
}

static LogicalResult lowerPool(Lowering &l) {
  bool isMax = getOpName(l.op) == "MaxPool";
  bool isMean = getOpName(l.op) == "AveragePool";
  int64_t power = l.getInt("p", 2);
  FailureOr<SmallVector<int64_t>> kernel = getKernel(l);
  if (failed(kernel))
    return failure();
  FailureOr<Window> window = getWindow(l, *kernel);
  if (failed(window))
    return failure();
  if (l.isResultUsed(1))
    return l.unsupported("the result Indices");
  Value input = l.operand(0);
  Shape from = l.shapeOf(input),
        shape(ArrayRef<OpFoldResult>(from).take_front(2));
  shape.append(window->output);
  SmallVector<Value> sizes = l.toValues(ArrayRef(from).drop_front(2));
  SmallVector<Value> begin = l.toValues(window->begin);
  Type element = l.element(0), compute = getComputeType(element);
  bool isUnsigned = l.isUnsigned(0);
  bool countAll = l.getInt("count_include_pad", 0);
  Value result = l.generate(shape, element, [&](BodyBuilder &s, ValueRange at) {
    Value zero = s.constant(compute, 0), one = s.constant(compute, 1);
    Value start = isMax ? s.limit(compute, false, isUnsigned) : zero;
    SmallVector<Value> found = s.loops(
        constants(s, *kernel), {start, zero},
        [&](BodyBuilder &inner, ValueRange ivs, ValueRange carried) {
          Value inside;
          SmallVector<Value> position(at.take_front(2));
          llvm::append_range(position,
                             getPosition(inner, *window, begin, sizes,
                                         at.drop_front(2), ivs, inside));
          Value x = Lowering::loadIf(inner, inside, input, position, start);
          Value next;
          if (isMax) {
            next = inner.max(carried[0], x, isUnsigned);
          } else if (isMean) {
            next = inner.add(carried[0], x);
          } else {
            Value size = math::AbsFOp::create(inner, x);
            next = inner.add(carried[0],
                             math::PowFOp::create(
                                 inner, size, inner.constant(compute, power)));
          }
          Value count = inner.add(carried[1], inner.select(inside, one, zero));
          return SmallVector<Value>{next, count};
        });
    if (isMax)
      return found[0];
    if (!isMean)
      return math::PowFOp::create(s, found[0], s.constant(compute, 1.0 / power))
          .getResult();
    int64_t total = 1;
    for (int64_t size : *kernel)
      total *= size;
    return s.div(found[0], countAll ? s.constant(compute, total) : found[1]);
  });
  return l.setResult(0, result, isUnsigned);
}

static LogicalResult lowerGlobalPool(Lowering &l) {
  StringRef name = getOpName(l.op);
  bool isMax = name == "GlobalMaxPool", isMean = name == "GlobalAveragePool";
  double power = l.getInt("p", 2);
  Value input = l.operand(0);
  Type element = l.element(0), compute = getComputeType(element);
  auto axes =
      llvm::to_vector(llvm::seq<int64_t>(2, std::max<int64_t>(l.rank(0), 2)));
  Value start =
      isMax ? l.b.limit(compute, false, false) : l.b.constant(compute, 0);
  Value sum = l.reduce(input, axes, start, [&](BodyBuilder &s, ValueRange v) {
    if (isMax)
      return s.max(v[0], v[1]);
    if (isMean)
      return s.add(v[0], v[1]);
    Value size = math::AbsFOp::create(s, v[0]);
    return s.add(math::PowFOp::create(s, size, s.constant(compute, power)),
                 v[1]);
  });
  Value count =
      l.b.cast(l.toValue(l.product(ArrayRef(l.shapeOf(input)).drop_front(2))),
               compute, false, false);
  Value result = l.mapTo(
      l.shapeOf(sum), sum, element, [&](BodyBuilder &s, ValueRange v) -> Value {
        if (isMax)
          return v[0];
        if (isMean)
          return s.div(v[0], count);
        return math::PowFOp::create(s, v[0], s.constant(compute, 1 / power));
      });
  return l.setResult(result);
}

/// Conv and ConvInteger.
static LogicalResult lowerConv(Lowering &l) {
  bool isInteger = getOpName(l.op) == "ConvInteger";
  int64_t rank = l.rank(0) - 2;
  if (rank < 1 || l.rank(1) != rank + 2)
    return l.op->emitOpError("expected operands of equal rank, 3 or more");
  ArrayRef<int64_t> weightShape = l.type(1).getShape();
  if (!l.type(1).hasStaticShape())
    return l.unsupported("a weight of run-time size");
  FailureOr<Window> window = getWindow(l, weightShape.drop_front(2));
  if (failed(window))
    return failure();
  int64_t groups = l.getInt("group", 1);
  if (groups < 1 || weightShape[0] % groups != 0)
    return l.op->emitOpError("expected group to divide the channels");
  Value input = l.operand(0), weight = l.operand(1);
  Shape from = l.shapeOf(input);
  OpFoldResult channels = l.size(weightShape[1] * groups);
  if (from[1] != channels)
    l.assertThat(
        l.b.compare(Compare::EQ, l.toValue(from[1]), l.toValue(channels)),
        "expected as many channels as the weight has");
  Shape shape{from[0], l.size(weightShape[0])};
  shape.append(window->output);
  SmallVector<Value> sizes = l.toValues(ArrayRef(from).drop_front(2));
  SmallVector<Value> begin = l.toValues(window->begin);
  Type compute =
      isInteger ? Type(l.b.getI32Type()) : getComputeType(l.element(0));
  Type element = isInteger ? compute : l.element(0);
  Value xZero, wZero, bias = isInteger ? Value() : l.operand(2);
  if (isInteger) {
    if (l.hasOperand(2))
      xZero = l.b.cast(l.scalar(2), compute, l.isUnsigned(2), false);
    if (l.hasOperand(3))
      wZero = l.b.cast(l.scalar(3), compute, l.isUnsigned(3), false);
  }
  int64_t perGroup = weightShape[0] / groups;
  SmallVector<int64_t> bounds(weightShape.drop_front());
  Value result = l.generate(shape, element, [&](BodyBuilder &s, ValueRange at) {
    Value start = s.constant(compute, 0);
    if (bias)
      start = Lowering::load(s, bias, at[1]);
    Value group = arith::DivUIOp::create(s, at[1], s.index(perGroup));
    Value first = s.mul(group, s.index(weightShape[1]));
    return s.loops(
        constants(s, bounds), start,
        [&](BodyBuilder &inner, ValueRange ivs, ValueRange carried) {
          Value inside;
          SmallVector<Value> position{at[0], inner.add(first, ivs[0])};
          llvm::append_range(position, getPosition(inner, *window, begin, sizes,
                                                   at.drop_front(2),
                                                   ivs.drop_front(), inside));
          SmallVector<Value> weightPosition{at[1]};
          llvm::append_range(weightPosition, ivs);
          Type stored = getComputeType(l.element(0));
          Value x = Lowering::loadIf(inner, inside, input, position,
                                     inner.constant(stored, 0));
          Value w = Lowering::load(inner, weight, weightPosition);
          x = inner.cast(x, compute, l.isUnsigned(0), false);
          w = inner.cast(w, compute, l.isUnsigned(1), false);
          if (xZero) // Padding stands for the zero point.
            x = inner.select(inside, inner.sub(x, xZero),
                             inner.constant(compute, 0));
          if (wZero)
            w = inner.sub(w, wZero);
          return SmallVector<Value>{inner.add(carried[0], inner.mul(x, w))};
        })[0];
  });
  return l.setResult(result);
}

void ganq::lowering::addWindowLowerings(LoweringTable &table) {
  for (StringRef name : {"MaxPool", "AveragePool", "LpPool"})
    table[name] = lowerPool;
  for (StringRef name : {"GlobalMaxPool", "GlobalAveragePool", "GlobalLpPool"})
    table[name] = lowerGlobalPool;
  table["Conv"] = lowerConv;
  table["ConvInteger"] = lowerConv;
}
