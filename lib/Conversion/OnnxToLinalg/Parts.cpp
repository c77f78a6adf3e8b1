//===- Parts.cpp - onnx operators on parts of tensors ---------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Lowering.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"

using namespace mlir;
using namespace ganq::lowering;

static LogicalResult lowerConcat(Lowering &l) {
  SmallVector<Value> inputs = l.operands();
  int64_t rank = l.rank(0);
  FailureOr<int64_t> axis = l.getAxis("axis", 0, rank);
  if (failed(axis))
    return failure();
  Shape shape = l.shapeOf(inputs[0]);
  shape[*axis] = l.size(0);
  for (Value input : inputs) {
    if (Lowering::typeOf(input).getRank() != rank ||
        Lowering::typeOf(input).getElementType() != l.element(0))
      return l.op->emitOpError("expected operands of one rank and type");
    Shape part = l.shapeOf(input);
    for (int64_t dim = 0; dim < rank; ++dim) {
      if (dim == *axis || part[dim] == shape[dim])
        continue;
      auto a = getConstantIntValue(part[dim]),
           c = getConstantIntValue(shape[dim]);
      if (a && c)
        return l.op->emitOpError("expected operands with equal sizes in "
                                 "dimension ")
               << dim << ", but got " << *c << " and " << *a;
      l.assertThat(
          l.b.compare(Compare::EQ, l.toValue(part[dim]), l.toValue(shape[dim])),
          "expected operands with equal sizes in dimension " + Twine(dim));
      if (a)
        shape[dim] = part[dim];
    }
    shape[*axis] = l.add(shape[*axis], part[*axis]);
  }
  Value result = l.empty(shape, l.element(0));
  Shape offsets(rank, l.size(0)), strides(rank, l.size(1));
  for (Value input : inputs) {
    Shape part = l.shapeOf(input), sizes = shape;
    sizes[*axis] = part[*axis];
    // Sizes that only one of operand and result knows.
    SmallVector<int64_t> known;
    SmallVector<Value> dynamic;
    dispatchIndexOpFoldResults(sizes, dynamic, known);
    auto type = RankedTensorType::get(known, l.element(0));
    if (type != input.getType())
      input = tensor::CastOp::create(l.b, type, input);
    result = tensor::InsertSliceOp::create(l.b, input, result, offsets, sizes,
                                           strides);
    offsets[*axis] = l.add(offsets[*axis], part[*axis]);
  }
  l.state.shapes[result] = shape;
  return l.setResult(result, l.isUnsigned(0));
}

/// A slice of nothing may start where no element is, which tensor.extract_slice
/// does not take.
static Value buildSlice(Lowering &l, Value input, const Shape &offsets,
                        const Shape &sizes, const Shape &strides) {
  RankedTensorType type = Lowering::typeOf(input);
  bool isEmpty = llvm::is_contained(type.getShape(), 0) ||
                 llvm::any_of(sizes, [](OpFoldResult size) {
                   return isConstantIntValue(size, 0);
                 });
  if (isEmpty)
    return l.empty(sizes, type.getElementType());
  return tensor::ExtractSliceOp::create(l.b, input, offsets, sizes, strides);
}

static LogicalResult lowerSplit(Lowering &l) {
  FailureOr<int64_t> axis = l.getAxis("axis", 0, l.rank(0));
  if (failed(axis))
    return failure();
  int64_t count = l.op->getNumResults();
  Shape shape = l.shapeOf(l.operand(0));
  FailureOr<Shape> sizes = l.ints(1, "split");
  if (failed(sizes) && l.hasOperand(1))
    sizes = l.intsOfLength(1, count);
  if (failed(sizes)) {
    if (l.hasOperand(1))
      return l.unsupported("an unknown number of parts");
    // Equal parts; the last one may be smaller.
    OpFoldResult total = shape[*axis], rest = total;
    OpFoldResult part =
        l.floorDiv(l.add(total, l.size(count - 1)), l.size(count));
    sizes = Shape();
    for (int64_t i = 0; i < count; ++i) {
      sizes->push_back(l.max(l.min(part, rest), l.size(0)));
      rest = l.sub(rest, part);
    }
  }
  if (static_cast<int64_t>(sizes->size()) != count)
    return l.op->emitOpError("expected ")
           << count << " sizes, but got " << sizes->size();
  OpFoldResult sum = l.size(0);
  for (OpFoldResult size : *sizes) {
    if (!getConstantIntValue(size))
      l.assertThat(l.b.compare(Compare::GE, l.toValue(size), l.b.index(0)),
                   "expected sizes that are not negative");
    sum = l.add(sum, size);
  }
  auto known = getConstantIntValue(sum),
       total = getConstantIntValue(shape[*axis]);
  if (known && total && *known != *total)
    return l.op->emitOpError("expected sizes with sum ")
           << *total << ", but got " << *known;
  if (!known || !total)
    l.assertThat(
        l.b.compare(Compare::EQ, l.toValue(sum), l.toValue(shape[*axis])),
        "expected sizes with the size of the dimension as their sum");
  Shape offsets(shape.size(), l.size(0)), strides(shape.size(), l.size(1));
  for (int64_t i = 0; i < count; ++i) {
    Shape part = shape;
    part[*axis] = (*sizes)[i];
    Value result = buildSlice(l, l.operand(0), offsets, part, strides);
    l.state.shapes[result] = part;
    if (failed(l.setResult(i, result, l.isUnsigned(0))))
      return failure();
    offsets[*axis] = l.add(offsets[*axis], (*sizes)[i]);
  }
  return success();
}

namespace {
struct SliceRange {
  OpFoldResult start, step, size;
};
} // namespace

/// First element and count of start:end:step in a dimension of `size`.
static SliceRange getSliceRange(Lowering &l, OpFoldResult start,
                                OpFoldResult end, OpFoldResult step,
                                OpFoldResult size) {
  auto isNegative = [&](OpFoldResult value) -> Value {
    return l.b.compare(Compare::LT, l.toValue(value), l.b.index(0));
  };
  auto choose = [&](OpFoldResult condition, OpFoldResult a, OpFoldResult c) {
    if (auto known = getConstantIntValue(condition))
      return *known < 0 ? a : c;
    return OpFoldResult(
        l.b.select(isNegative(condition), l.toValue(a), l.toValue(c)));
  };
  OpFoldResult zero = l.size(0), one = l.size(1);
  start = choose(start, l.add(start, size), start);
  end = choose(end, l.add(end, size), end);
  OpFoldResult last = l.sub(size, one);
  OpFoldResult low = choose(step, l.size(-1), zero);
  start = l.max(l.min(start, choose(step, last, size)), zero);
  end = l.max(l.min(end, choose(step, last, size)), low);
  OpFoldResult up = l.sub(l.add(l.sub(end, start), step), one);
  OpFoldResult down = l.add(l.add(l.sub(end, start), step), one);
  OpFoldResult count = l.max(l.floorDiv(choose(step, down, up), step), zero);
  return {start, step, count};
}

static LogicalResult lowerSlice(Lowering &l) {
  Shape shape = l.shapeOf(l.operand(0));
  int64_t rank = shape.size();
  FailureOr<Shape> starts = l.ints(1, "starts"), ends = l.ints(2, "ends");
  if (failed(starts) || failed(ends) || starts->size() != ends->size())
    return l.unsupported("an unknown number of ranges");
  unsigned count = starts->size();
  Shape axes, steps(count, l.size(1));
  if (l.hasOperand(3) || ganq::onnx::getInts(l.op, "axes")) {
    FailureOr<Shape> given = l.ints(3, "axes");
    if (failed(given))
      return l.unsupported("an unknown number of axes");
    axes = *given;
  } else {
    for (unsigned i = 0; i < count; ++i)
      axes.push_back(l.size(i));
  }
  if (l.hasOperand(4)) {
    FailureOr<Shape> given = l.ints(4);
    if (failed(given))
      return l.unsupported("an unknown number of steps");
    steps = *given;
  }
  if (axes.size() != count || steps.size() != count)
    return l.op->emitOpError("expected as many axes and steps as starts");

  SmallVector<SliceRange> ranges;
  for (OpFoldResult size : shape)
    ranges.push_back({l.size(0), l.size(1), size});
  for (unsigned i = 0; i < count; ++i) {
    if (auto axis = getConstantIntValue(axes[i])) {
      if (failed(l.normalizeAxes(*axis, rank)))
        return failure();
      ranges[*axis] =
          getSliceRange(l, (*starts)[i], (*ends)[i], steps[i], shape[*axis]);
      continue;
    }
    for (int64_t dim = 0; dim < rank; ++dim) {
      Value isHere = l.isOneOf(dim, rank, axes[i]);
      SliceRange range =
          getSliceRange(l, (*starts)[i], (*ends)[i], steps[i], shape[dim]);
      auto choose = [&](OpFoldResult a, OpFoldResult c) -> OpFoldResult {
        return l.b.select(isHere, l.toValue(a), l.toValue(c));
      };
      ranges[dim] = {choose(range.start, ranges[dim].start),
                     choose(range.step, ranges[dim].step),
                     choose(range.size, ranges[dim].size)};
    }
  }
  Shape offsets, sizes, strides;
  bool forward = true;
  for (const SliceRange &range : ranges) {
    offsets.push_back(range.start);
    strides.push_back(range.step);
    sizes.push_back(range.size);
    auto step = getConstantIntValue(range.step);
    forward &= step && *step > 0;
  }
  Value input = l.operand(0), result;
  if (forward) {
    result = buildSlice(l, input, offsets, sizes, strides);
    l.state.shapes[result] = sizes;
  } else {
    SmallVector<Value> first = l.toValues(offsets), step = l.toValues(strides);
    result = l.generate(
        sizes, l.element(0), [&](BodyBuilder &s, ValueRange indices) {
          SmallVector<Value> position;
          for (auto [i, start, stride] : llvm::zip(indices, first, step))
            position.push_back(s.add(start, s.mul(i, stride)));
          return Lowering::load(s, input, position);
        });
  }
  return l.setResult(result, l.isUnsigned(0));
}

static LogicalResult lowerExpand(Lowering &l) {
  FailureOr<Shape> wanted = l.ints(1);
  if (failed(wanted) && l.declaredRank(0)) {
    // A shape shorter than the result's has ones in front.
    wanted = l.intsOfLength(1, *l.declaredRank(0));
  }
  if (failed(wanted))
    return l.unsupported("a shape of unknown length");
  FailureOr<Shape> shape = l.broadcast({l.shapeOf(l.operand(0)), *wanted});
  if (failed(shape))
    return failure();
  Value result = l.mapTo(*shape, l.operand(0), l.element(0),
                         [](BodyBuilder &, ValueRange v) { return v[0]; });
  return l.setResult(result, l.isUnsigned(0));
}

static LogicalResult lowerTile(Lowering &l) {
  Shape from = l.shapeOf(l.operand(0)), shape;
  FailureOr<Shape> repeats = l.intsOfLength(1, from.size());
  if (failed(repeats))
    return l.op->emitOpError("expected as many repeats as dimensions");
  for (auto [size, count] : llvm::zip(from, *repeats))
    shape.push_back(l.mul(size, l.max(count, l.size(0))));
  Value input = l.operand(0);
  SmallVector<Value> sizes = l.toValues(from);
  Value result =
      l.generate(shape, l.element(0), [&](BodyBuilder &s, ValueRange indices) {
        SmallVector<Value> position;
        for (auto [i, size] : llvm::zip(indices, sizes))
          position.push_back(arith::RemUIOp::create(s, i, size));
        return Lowering::load(s, input, position);
      });
  return l.setResult(result, l.isUnsigned(0));
}

static LogicalResult lowerPad(Lowering &l) {
  Shape from = l.shapeOf(l.operand(0)), shape = from;
  int64_t rank = from.size();
  SmallVector<int64_t> axes = llvm::to_vector(llvm::seq<int64_t>(0, rank));
  if (l.hasOperand(3)) {
    auto given = l.constantInts(3, "");
    if (!given)
      return l.unsupported("axes known at run time only");
    axes = *given;
    if (failed(l.normalizeAxes(axes, rank)))
      return failure();
  }
  FailureOr<Shape> pads =
      l.hasOperand(1) ? l.intsOfLength(1, 2 * axes.size()) : l.ints(1, "pads");
  if (failed(pads) || pads->size() != 2 * axes.size())
    return l.op->emitOpError("expected ") << 2 * axes.size() << " pads";
  SmallVector<Value> before(rank, l.b.index(0));
  for (auto [i, axis] : llvm::enumerate(axes)) {
    before[axis] = l.toValue((*pads)[i]);
    shape[axis] =
        l.max(l.add(l.add(from[axis], (*pads)[i]), (*pads)[i + axes.size()]),
              l.size(0));
  }
  StringRef mode = ganq::onnx::getString(l.op, "mode", "constant");
  Type compute = getComputeType(l.element(0));
  Value filler = l.hasOperand(2)
                     ? l.b.cast(l.scalar(2), compute, false, false)
                     : l.b.constant(compute, l.getFloat("value", 0));
  Value input = l.operand(0);
  SmallVector<Value> sizes = l.toValues(from);
  if (mode != "constant")
    for (OpFoldResult size : from)
      l.requireNonEmpty(size, "the operand");
  Value result =
      l.generate(shape, l.element(0), [&](BodyBuilder &s, ValueRange indices) {
        SmallVector<Value> position;
        Value inside = s.integer(s.getI1Type(), 1);
        Value zero = s.index(0), one = s.index(1);
        for (auto [i, start, size] : llvm::zip(indices, before, sizes)) {
          Value at = s.sub(i, start), last = s.sub(size, one);
          if (mode == "reflect") {
            // A walk to and fro has a period of 2 (size - 1).
            Value period = s.max(s.mul(last, s.index(2)), one);
            at = arith::RemSIOp::create(s, at, period);
            at = s.select(s.compare(Compare::LT, at, zero), s.add(at, period),
                          at);
            at = s.select(s.compare(Compare::GT, at, last), s.sub(period, at),
                          at);
          } else if (mode == "wrap") {
            at = arith::RemSIOp::create(s, at, size);
            at =
                s.select(s.compare(Compare::LT, at, zero), s.add(at, size), at);
          } else if (mode == "edge") {
            at = s.clamp(at, zero, last);
          } else {
            inside = s.andBits(
                inside, s.compare(Compare::LT, at, size, /*isUnsigned=*/true));
          }
          position.push_back(at);
        }
        return mode == "constant"
                   ? Lowering::loadIf(s, inside, input, position, filler)
                   : Lowering::load(s, input, position);
      });
  return l.setResult(result, l.isUnsigned(0));
}

static LogicalResult lowerTrilu(Lowering &l) {
  int64_t rank = l.rank(0);
  if (rank < 2)
    return l.op->emitOpError("expected an operand of rank 2 or more");
  bool upper = l.getInt("upper", 1);
  Value k = l.hasOperand(1) ? l.b.toIndex(l.scalar(1)) : l.b.index(0);
  Value input = l.operand(0);
  Value result = l.mapTo(
      l.shapeOf(input), input, l.element(0), [&](BodyBuilder &s, ValueRange v) {
        Value row = linalg::IndexOp::create(s, rank - 2);
        Value column = linalg::IndexOp::create(s, rank - 1);
        Value stays =
            s.compare(upper ? Compare::GE : Compare::LE, s.sub(column, row), k);
        return s.select(stays, v[0], s.constant(v[0].getType(), 0));
      });
  return l.setResult(result, l.isUnsigned(0));
}

void ganq::lowering::addPartLowerings(LoweringTable &table) {
  table["Concat"] = lowerConcat;
  table["Split"] = lowerSplit;
  table["Slice"] = lowerSlice;
  table["Expand"] = lowerExpand;
  table["Tile"] = lowerTile;
  table["Pad"] = lowerPad;
  table["Trilu"] = lowerTrilu;
}
