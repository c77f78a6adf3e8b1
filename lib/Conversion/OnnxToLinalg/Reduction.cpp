//===- Reduction.cpp - onnx reductions ------------------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Lowering.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"

using namespace mlir;
using namespace ganq::lowering;
using ganq::onnx::getOpName;

//===----------------------------------------------------------------------===//
// Reduce*
//===----------------------------------------------------------------------===//

namespace {
/// A reduction: elements are prepared, combined, and the sum finished.
struct Reducer {
  StringRef name;
  bool isUnsigned;

  bool is(StringRef other) const { return name == other; }

  Value start(BodyBuilder &s, Type type) const {
    if (is("ReduceMax"))
      return s.limit(type, /*largest=*/false, isUnsigned);
    if (is("ReduceMin"))
      return s.limit(type, /*largest=*/true, isUnsigned);
    return s.constant(type, is("ReduceProd") ? 1 : 0);
  }
  Value prepare(BodyBuilder &s, Value x) const {
    if (is("ReduceL1")) {
      if (isUnsigned)
        return x;
      return isa<FloatType>(x.getType())
                 ? math::AbsFOp::create(s, x).getResult()
                 : math::AbsIOp::create(s, x).getResult();
    }
    if (is("ReduceL2") || is("ReduceSumSquare"))
      return s.mul(x, x);
    return x;
  }
  Value combine(BodyBuilder &s, Value x, Value sum) const {
    if (is("ReduceMax"))
      return s.max(x, sum, isUnsigned);
    if (is("ReduceMin"))
      return s.min(x, sum, isUnsigned);
    if (is("ReduceProd"))
      return s.mul(x, sum);
    return s.add(x, sum);
  }
  Value finish(BodyBuilder &s, Value sum, Value count) const {
    if (is("ReduceMean"))
      return s.div(sum, s.cast(count, sum.getType(), false, false), isUnsigned);
    if (is("ReduceLogSum") || is("ReduceLogSumExp"))
      return math::LogOp::create(s, sum);
    if (is("ReduceL2")) {
      if (isa<FloatType>(sum.getType()))
        return math::SqrtOp::create(s, sum);
      Type f64 = s.getF64Type();
      Value root = math::SqrtOp::create(s, s.cast(sum, f64, isUnsigned, false));
      return s.cast(root, sum.getType(), false, isUnsigned);
    }
    return sum;
  }
};
} // namespace

/// Axes known at run time only: each element of the result walks over the
/// dimensions that turn out to be reduced.
static LogicalResult lowerRuntimeReduce(Lowering &l, const Reducer &reducer) {
  if (reducer.is("ReduceLogSumExp"))
    return l.unsupported("axes known at run time only");
  BodyBuilder &b = l.b;
  Value input = l.operand(0);
  Shape from = l.shapeOf(input);
  int64_t rank = from.size();
  bool keep = l.getInt("keepdims", 1);
  FailureOr<Shape> axes = l.ints(1);
  if (failed(axes) && !keep && l.declaredRank(0))
    axes = l.intsOfLength(1, rank - *l.declaredRank(0));
  if (failed(axes))
    return l.unsupported("an unknown number of axes");
  Value zero = b.index(0), one = b.index(1), count = one;
  SmallVector<Value> isReduced;
  Shape kept;
  for (int64_t dim = 0; dim < rank; ++dim) {
    Value reduced = b.integer(b.getI1Type(), 0);
    for (OpFoldResult axis : *axes)
      for (int64_t candidate : {dim, dim - rank})
        reduced = b.orBits(reduced, b.compare(Compare::EQ, l.toValue(axis),
                                              b.index(candidate)));
    Value size = l.toValue(from[dim]);
    isReduced.push_back(reduced);
    kept.push_back(OpFoldResult(b.select(reduced, one, size)));
    count = b.mul(count, b.select(reduced, size, one));
  }
  SmallVector<Value> bounds;
  for (int64_t dim = 0; dim < rank; ++dim)
    bounds.push_back(b.select(isReduced[dim], l.toValue(from[dim]), one));
  Type compute = getComputeType(l.element(0));
  Value result =
      l.generate(kept, l.element(0), [&](BodyBuilder &s, ValueRange indices) {
        Value start = reducer.start(s, compute);
        SmallVector<Value> sum = s.loops(
            bounds, start,
            [&](BodyBuilder &inner, ValueRange ivs, ValueRange carried) {
              SmallVector<Value> position;
              for (auto [reduced, iv, i] : llvm::zip(isReduced, ivs, indices))
                position.push_back(inner.select(reduced, iv, i));
              Value x = reducer.prepare(inner,
                                        Lowering::load(inner, input, position));
              return SmallVector<Value>{reducer.combine(inner, x, carried[0])};
            });
        return reducer.finish(s, sum[0], count);
      });
  if (keep)
    return l.setResult(result, reducer.isUnsigned);
  SmallVector<Value> sizes(std::max<int64_t>(rank - axes->size(), 0), one);
  Value next = zero;
  for (int64_t dim = 0; dim < rank; ++dim) {
    for (auto [i, size] : llvm::enumerate(sizes)) {
      Value isHere = b.andBits(b.notBool(isReduced[dim]),
                               b.compare(Compare::EQ, next, b.index(i)));
      size = b.select(isHere, l.toValue(from[dim]), size);
    }
    next = b.select(isReduced[dim], next, b.add(next, one));
  }
  return l.setResult(l.reshape(result, getAsOpFoldResult(sizes)),
                     reducer.isUnsigned);
}

static Value subtractMax(Lowering &l, Value input, ArrayRef<int64_t> axes,
                         Value &largest) {
  Type compute = getComputeType(Lowering::typeOf(input).getElementType());
  Value low = l.b.limit(compute, false, false);
  largest = l.reduce(input, axes, low, [](BodyBuilder &s, ValueRange v) {
    return s.max(v[0], v[1]);
  });
  return l.mapTo(
      l.shapeOf(input), {input, largest}, compute,
      [](BodyBuilder &s, ValueRange v) { return s.sub(v[0], v[1]); });
}

static Value sumOfExp(Lowering &l, Value input, ArrayRef<int64_t> axes) {
  Type element = Lowering::typeOf(input).getElementType();
  return l.reduce(input, axes, l.b.constant(element, 0),
                  [](BodyBuilder &s, ValueRange v) {
                    return s.add(math::ExpOp::create(s, v[0]), v[1]);
                  });
}

/// Shape without the reduced dimensions.
static Value dropAxes(Lowering &l, Value value, ArrayRef<int64_t> axes) {
  Shape shape;
  for (auto [dim, size] : llvm::enumerate(l.shapeOf(value)))
    if (!llvm::is_contained(axes, static_cast<int64_t>(dim)))
      shape.push_back(size);
  return l.reshape(value, shape);
}

static LogicalResult lowerReduce(Lowering &l) {
  StringRef name = getOpName(l.op);
  Value input = l.operand(0);
  Type element = l.element(0), compute = getComputeType(element);
  Reducer reducer{name, l.isUnsigned(0) || element.isInteger(1)};
  int64_t rank = l.rank(0);
  auto axes = l.constantInts(1, "axes");
  if (!axes && l.hasOperand(1) && l.type(1).getNumElements() != 0)
    return lowerRuntimeReduce(l, reducer);
  if (!axes || axes->empty()) {
    if (l.getInt("noop_with_empty_axes", 0))
      return l.setResult(input, reducer.isUnsigned);
    axes = llvm::to_vector(llvm::seq<int64_t>(0, rank));
  }
  if (failed(l.normalizeAxes(*axes, rank)))
    return failure();
  Value result;
  OpFoldResult count = l.size(1);
  Shape from = l.shapeOf(input);
  for (int64_t axis : *axes)
    count = l.mul(count, from[axis]);
  Value countValue = l.toValue(count);
  if (reducer.is("ReduceLogSumExp")) {
    if (!isa<FloatType>(element))
      return l.unsupported("an operand of integers");
    Value largest;
    Value shifted = subtractMax(l, input, *axes, largest);
    Value sum = sumOfExp(l, shifted, *axes);
    result = l.mapTo(l.shapeOf(sum), {sum, largest}, element,
                     [](BodyBuilder &s, ValueRange v) {
                       return s.add(math::LogOp::create(s, v[0]), v[1]);
                     });
  } else {
    result =
        l.reduce(input, *axes, reducer.start(l.b, compute),
                 [&](BodyBuilder &s, ValueRange v) {
                   return reducer.combine(s, reducer.prepare(s, v[0]), v[1]);
                 });
    result = l.mapTo(l.shapeOf(result), result, element,
                     [&](BodyBuilder &s, ValueRange v) {
                       return reducer.finish(s, v[0], countValue);
                     });
  }
  if (!l.getInt("keepdims", 1))
    result = dropAxes(l, result, *axes);
  return l.setResult(result, reducer.isUnsigned);
}

//===----------------------------------------------------------------------===//
// Along one axis
//===----------------------------------------------------------------------===//

/// Position of the largest or smallest element along `axis`, which keeps
/// size 1.
static Value buildArg(Lowering &l, Value input, int64_t axis, bool largest,
                      bool last, bool isUnsigned) {
  Shape shape = l.shapeOf(input);
  l.requireNonEmpty(shape[axis], "the dimension");
  Value size = l.toValue(shape[axis]);
  shape[axis] = l.size(1);
  Type i64 = l.b.getI64Type();
  Compare better = largest ? (last ? Compare::GE : Compare::GT)
                           : (last ? Compare::LE : Compare::LT);
  return l.generate(shape, i64, [&](BodyBuilder &s, ValueRange indices) {
    SmallVector<Value> position(indices);
    position[axis] = s.index(0);
    Value first = Lowering::load(s, input, position);
    SmallVector<Value> found = s.loops(
        size, {first, s.index(0)},
        [&](BodyBuilder &inner, ValueRange ivs, ValueRange carried) {
          position[axis] = ivs[0];
          Value x = Lowering::load(inner, input, position);
          Value wins = inner.compare(better, x, carried[0], isUnsigned);
          return SmallVector<Value>{inner.select(wins, x, carried[0]),
                                    inner.select(wins, ivs[0], carried[1])};
        });
    return s.cast(found[1], i64, false, false);
  });
}

static LogicalResult lowerArg(Lowering &l) {
  FailureOr<int64_t> axis = l.getAxis("axis", 0, l.rank(0));
  if (failed(axis))
    return failure();
  Value result = buildArg(l, l.operand(0), *axis, getOpName(l.op) == "ArgMax",
                          l.getInt("select_last_index", 0), l.isUnsigned(0));
  if (!l.getInt("keepdims", 1))
    result = dropAxes(l, result, *axis);
  return l.setResult(result);
}

static LogicalResult lowerHardmax(Lowering &l) {
  FailureOr<int64_t> axis = l.getAxis("axis", -1, l.rank(0));
  if (failed(axis))
    return failure();
  Value found = buildArg(l, l.operand(0), *axis, true, false, false);
  Type compute = getComputeType(l.element(0));
  Value result = l.mapTo(
      l.shapeOf(l.operand(0)), found, l.element(0),
      [&](BodyBuilder &s, ValueRange v) {
        Value here = linalg::IndexOp::create(s, *axis);
        Value hit = s.compare(Compare::EQ, s.toIndex(v[0]), here);
        return s.select(hit, s.constant(compute, 1), s.constant(compute, 0));
      });
  return l.setResult(result);
}

Value ganq::lowering::buildSoftmax(Lowering &l, Value input, int64_t axis,
                                   bool log) {
  Type element = Lowering::typeOf(input).getElementType();
  Value largest;
  Value shifted = subtractMax(l, input, axis, largest);
  Shape shape = l.shapeOf(input);
  if (log) {
    Value sum = sumOfExp(l, shifted, axis);
    return l.mapTo(shape, {shifted, sum}, element,
                   [](BodyBuilder &s, ValueRange v) {
                     return s.sub(v[0], math::LogOp::create(s, v[1]));
                   });
  }
  Type compute = getComputeType(element);
  Value powers =
      l.mapTo(shape, shifted, compute, [](BodyBuilder &s, ValueRange v) {
        return math::ExpOp::create(s, v[0]).getResult();
      });
  Value sum =
      l.reduce(powers, axis, l.b.constant(compute, 0),
               [](BodyBuilder &s, ValueRange v) { return s.add(v[0], v[1]); });
  return l.mapTo(
      shape, {powers, sum}, element,
      [](BodyBuilder &s, ValueRange v) { return s.div(v[0], v[1]); });
}

static LogicalResult lowerSoftmax(Lowering &l) {
  if (!isa<FloatType>(l.element(0)))
    return l.unsupported("an operand of integers");
  FailureOr<int64_t> axis = l.getAxis("axis", -1, l.rank(0));
  if (failed(axis))
    return failure();
  return l.setResult(
      buildSoftmax(l, l.operand(0), *axis, getOpName(l.op) == "LogSoftmax"));
}

/// CumSum: each row along the axis is summed in order.
static LogicalResult lowerCumSum(Lowering &l) {
  BodyBuilder &b = l.b;
  Value input = l.operand(0);
  Shape shape = l.shapeOf(input);
  SmallVector<int64_t> known;
  if (!ganq::onnx::getConstantInts(l.op->getOperand(1), known) ||
      known.size() != 1)
    known.clear();
  int64_t rank = shape.size();
  if (!known.empty() && failed(l.normalizeAxes(known, rank)))
    return failure();
  Value axis = known.empty() ? b.toIndex(l.scalar(1)) : b.index(known[0]);
  axis = b.wrapIndex(axis, b.index(rank));
  bool exclusive = l.getInt("exclusive", 0), reverse = l.getInt("reverse", 0);
  Type compute = getComputeType(l.element(0));
  SmallVector<Value> sizes = l.toValues(shape);
  Value result =
      l.generate(shape, l.element(0), [&](BodyBuilder &s, ValueRange indices) {
        Value here = s.index(0), size = s.index(1);
        SmallVector<Value> isAxis;
        for (auto [dim, i] : llvm::enumerate(indices)) {
          isAxis.push_back(s.compare(Compare::EQ, axis, s.index(dim)));
          here = s.select(isAxis.back(), i, here);
          size = s.select(isAxis.back(), sizes[dim], size);
        }
        Value bound = reverse ? s.sub(size, here) : s.add(here, s.index(1));
        if (exclusive)
          bound = s.sub(bound, s.index(1));
        SmallVector<Value> sum = s.loops(
            bound, s.constant(compute, 0),
            [&](BodyBuilder &inner, ValueRange ivs, ValueRange carried) {
              Value at = ivs[0];
              if (reverse)
                at = inner.sub(inner.sub(size, inner.index(1)), at);
              SmallVector<Value> position;
              for (auto [dim, i] : llvm::enumerate(indices))
                position.push_back(inner.select(isAxis[dim], at, i));
              return SmallVector<Value>{inner.add(
                  Lowering::load(inner, input, position), carried[0])};
            });
        return sum[0];
      });
  return l.setResult(result, l.isUnsigned(0));
}

static LogicalResult lowerTopK(Lowering &l) {
  BodyBuilder &b = l.b;
  Value input = l.operand(0);
  Shape shape = l.shapeOf(input);
  FailureOr<int64_t> axis = l.getAxis("axis", -1, shape.size());
  FailureOr<Shape> k = l.intsOfLength(1, 1);
  if (failed(axis) || failed(k))
    return failure();
  bool largest = l.getInt("largest", 1), isUnsigned = l.isUnsigned(0);
  Shape resultShape = shape;
  resultShape[*axis] = l.max(l.min((*k)[0], shape[*axis]), l.size(0));
  Value limit = l.toValue(resultShape[*axis]), size = l.toValue(shape[*axis]);
  Value values = l.empty(resultShape, l.element(0));
  Value positions = l.empty(resultShape, b.getI64Type());
  // The place of an element is the number of elements that go before it.
  Compare better = largest ? Compare::GT : Compare::LT;
  SmallVector<Value> results = b.loops(
      l.toValues(shape), {values, positions},
      [&](BodyBuilder &s, ValueRange indices, ValueRange carried) {
        Value x = tensor::ExtractOp::create(s, input, indices);
        SmallVector<Value> place = s.loops(
            size, s.index(0),
            [&](BodyBuilder &inner, ValueRange ivs, ValueRange count) {
              SmallVector<Value> position(indices);
              position[*axis] = ivs[0];
              Value other = tensor::ExtractOp::create(inner, input, position);
              Value before = inner.compare(better, other, x, isUnsigned);
              Value tie = inner.andBits(
                  inner.compare(Compare::EQ, other, x),
                  inner.compare(Compare::LT, ivs[0], indices[*axis]));
              Value step = inner.select(inner.orBits(before, tie),
                                        inner.index(1), inner.index(0));
              return SmallVector<Value>{inner.add(count[0], step)};
            });
        Value fits = s.compare(Compare::LT, place[0], limit);
        auto choice = scf::IfOp::create(
            s, fits,
            [&](OpBuilder &builder, Location loc) {
              BodyBuilder inner(loc, builder);
              SmallVector<Value> position(indices);
              Value number =
                  inner.cast(position[*axis], inner.getI64Type(), false, false);
              position[*axis] = place[0];
              Value v =
                  tensor::InsertOp::create(inner, x, carried[0], position);
              Value p =
                  tensor::InsertOp::create(inner, number, carried[1], position);
              scf::YieldOp::create(inner, ValueRange{v, p});
            },
            [&](OpBuilder &builder, Location loc) {
              scf::YieldOp::create(builder, loc, carried);
            });
        return SmallVector<Value>(choice.getResults());
      });
  if (failed(l.setResult(0, results[0], isUnsigned)))
    return failure();
  return l.setResult(1, results[1]);
}

void ganq::lowering::addReductionLowerings(LoweringTable &table) {
  for (StringRef name :
       {"ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax",
        "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum",
        "ReduceSumSquare"})
    table[name] = lowerReduce;
  table["ArgMax"] = lowerArg;
  table["ArgMin"] = lowerArg;
  table["Hardmax"] = lowerHardmax;
  table["Softmax"] = lowerSoftmax;
  table["LogSoftmax"] = lowerSoftmax;
  table["CumSum"] = lowerCumSum;
  table["TopK"] = lowerTopK;
}
