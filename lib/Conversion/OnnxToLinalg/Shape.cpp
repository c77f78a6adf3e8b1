//===- Shape.cpp - onnx operators that change shapes ----------------------===//
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

static LogicalResult lowerIdentity(Lowering &l) {
  return l.setResult(l.operand(0), l.isUnsigned(0));
}

static LogicalResult lowerDropout(Lowering &l) {
  if (l.hasOperand(2)) {
    SmallVector<int64_t> training;
    if (!ganq::onnx::getConstantInts(l.op->getOperand(2), training) ||
        training.size() != 1 || training[0])
      return l.unsupported("training mode");
  }
  if (l.op->getNumResults() > 1) {
    Value mask =
        l.fill(l.shapeOf(l.operand(0)), l.b.integer(l.b.getI1Type(), 1));
    if (failed(l.setResult(1, mask)))
      return failure();
  }
  return lowerIdentity(l);
}

//===----------------------------------------------------------------------===//
// Shapes of the same elements
//===----------------------------------------------------------------------===//

static LogicalResult setReshaped(Lowering &l, const Shape &shape) {
  return l.setResult(l.reshape(l.operand(0), shape), l.isUnsigned(0));
}

static LogicalResult lowerReshape(Lowering &l) {
  FailureOr<Shape> wanted = l.ints(1, "shape");
  if (failed(wanted) && l.declaredRank(0))
    wanted = l.intsOfLength(1, *l.declaredRank(0));
  if (failed(wanted))
    return l.unsupported("a shape of unknown length");
  Shape from = l.shapeOf(l.operand(0)), shape;
  bool allowZero = l.getInt("allowzero", 0);
  BodyBuilder &b = l.b;
  OpFoldResult others = l.size(1);
  for (auto [dim, entry] : llvm::enumerate(*wanted)) {
    OpFoldResult size = entry;
    if (auto constant = getConstantIntValue(entry)) {
      if (*constant == 0 && !allowZero) {
        if (dim >= from.size())
          return l.op->emitOpError("expected size 0 to copy a dimension of the "
                                   "operand, but dimension ")
                 << dim << " does not exist";
        size = from[dim];
      }
      if (*constant < 0) {
        shape.push_back(OpFoldResult());
        continue;
      }
    } else if (!allowZero && dim < from.size()) {
      Value value = l.toValue(entry);
      size = b.select(b.compare(Compare::EQ, value, b.index(0)),
                      l.toValue(from[dim]), value);
    }
    shape.push_back(size);
    if (!getConstantIntValue(entry)) {
      Value value = l.toValue(size);
      size = b.select(b.compare(Compare::LT, value, b.index(0)), b.index(1),
                      value);
    }
    others = l.mul(others, size);
  }
  OpFoldResult rest;
  for (auto [dim, entry] : llvm::enumerate(*wanted)) {
    bool known = getConstantIntValue(entry).has_value();
    if (shape[dim] && known)
      continue;
    if (!rest)
      rest = l.floorDiv(l.product(from), others);
    if (!shape[dim]) {
      shape[dim] = rest;
      continue;
    }
    Value value = l.toValue(shape[dim]);
    shape[dim] = b.select(b.compare(Compare::LT, value, b.index(0)),
                          l.toValue(rest), value);
  }
  return setReshaped(l, shape);
}

static LogicalResult lowerFlatten(Lowering &l) {
  Shape from = l.shapeOf(l.operand(0));
  int64_t rank = from.size(), axis = l.getInt("axis", 1);
  if (axis < -rank || axis > rank)
    return l.op->emitOpError("expected an axis between ")
           << -rank << " and " << rank << ", but got " << axis;
  if (axis < 0)
    axis += rank;
  ArrayRef<OpFoldResult> sizes(from);
  return setReshaped(l, {l.product(sizes.take_front(axis)),
                         l.product(sizes.drop_front(axis))});
}

/// sizes[position], for a position known at run time; 1 outside.
static Value chooseSize(Lowering &l, ArrayRef<OpFoldResult> sizes,
                        Value position) {
  Value result = l.b.index(1);
  for (auto [i, size] : llvm::enumerate(sizes))
    result = l.b.select(l.b.compare(Compare::EQ, position, l.b.index(i)),
                        l.toValue(size), result);
  return result;
}

static LogicalResult lowerUnsqueeze(Lowering &l) {
  Shape from = l.shapeOf(l.operand(0)), shape;
  if (auto axes = l.constantInts(1, "axes")) {
    int64_t rank = from.size() + axes->size();
    if (failed(l.normalizeAxes(*axes, rank)))
      return failure();
    auto *next = from.begin();
    for (int64_t dim = 0; dim < rank; ++dim) {
      bool isNew = llvm::is_contained(*axes, dim);
      if (!isNew && next == from.end())
        return l.op->emitOpError("expected axes that differ");
      shape.push_back(isNew ? l.size(1) : *next++);
    }
    return setReshaped(l, shape);
  }
  FailureOr<Shape> axes = l.ints(1);
  if (failed(axes) && l.declaredRank(0))
    axes = l.intsOfLength(1, *l.declaredRank(0) - from.size());
  if (failed(axes))
    return l.unsupported("an unknown number of axes");
  int64_t rank = from.size() + axes->size();
  Value next = l.b.index(0), one = l.b.index(1);
  for (int64_t dim = 0; dim < rank; ++dim) {
    Value isNew = l.isOneOf(dim, rank, *axes);
    shape.push_back(l.b.select(isNew, one, chooseSize(l, from, next)));
    next = l.b.select(isNew, next, l.b.add(next, one));
  }
  return setReshaped(l, shape);
}

static LogicalResult lowerSqueeze(Lowering &l) {
  Shape from = l.shapeOf(l.operand(0)), shape;
  int64_t rank = from.size();
  auto axes = l.constantInts(1, "axes");
  if (!axes && !l.hasOperand(1)) {
    axes.emplace();
    for (int64_t dim = 0; dim < rank; ++dim) {
      if (ShapedType::isDynamic(l.type(0).getDimSize(dim)))
        return l.unsupported("run-time sizes without axes");
      if (l.type(0).getDimSize(dim) == 1)
        axes->push_back(dim);
    }
  }
  if (axes) {
    if (failed(l.normalizeAxes(*axes, rank)))
      return failure();
    for (int64_t dim = 0; dim < rank; ++dim)
      if (!llvm::is_contained(*axes, dim))
        shape.push_back(from[dim]);
    return setReshaped(l, shape);
  }
  FailureOr<Shape> runtime = l.ints(1);
  if (failed(runtime) && l.declaredRank(0))
    runtime = l.intsOfLength(1, rank - *l.declaredRank(0));
  if (failed(runtime))
    return l.unsupported("an unknown number of axes");
  int64_t resultRank = rank - static_cast<int64_t>(runtime->size());
  if (resultRank < 0)
    return l.op->emitOpError("expected at most ")
           << rank << " axes, but got " << runtime->size();
  SmallVector<Value> sizes(resultRank, l.b.index(1));
  Value next = l.b.index(0), one = l.b.index(1);
  for (int64_t dim = 0; dim < rank; ++dim) {
    Value goes = l.isOneOf(dim, rank, *runtime);
    for (auto [i, size] : llvm::enumerate(sizes)) {
      Value isHere = l.b.andBits(l.b.notBool(goes),
                                 l.b.compare(Compare::EQ, next, l.b.index(i)));
      size = l.b.select(isHere, l.toValue(from[dim]), size);
    }
    next = l.b.select(goes, next, l.b.add(next, one));
  }
  return setReshaped(l, getAsOpFoldResult(sizes));
}

static LogicalResult lowerTranspose(Lowering &l) {
  int64_t rank = l.rank(0);
  SmallVector<int64_t> permutation;
  if (auto attr = ganq::onnx::getInts(l.op, "perm"))
    permutation.assign(attr->begin(), attr->end());
  else
    for (int64_t dim = rank; dim-- > 0;)
      permutation.push_back(dim);
  if (static_cast<int64_t>(permutation.size()) != rank ||
      !isPermutationVector(permutation))
    return l.op->emitOpError("expected perm to be a permutation of ")
           << rank << " dimensions";
  return l.setResult(l.transpose(l.operand(0), permutation), l.isUnsigned(0));
}

/// DepthToSpace and SpaceToDepth on [N, C, H, W].
static LogicalResult lowerDepthSpace(Lowering &l) {
  if (l.rank(0) != 4)
    return l.op->emitOpError("expected an operand of rank 4, but got ")
           << l.rank(0);
  Shape s = l.shapeOf(l.operand(0));
  OpFoldResult block = l.size(std::max<int64_t>(l.getInt("blocksize", 1), 1));
  Shape split, shape;
  SmallVector<int64_t> permutation;
  if (getOpName(l.op) == "SpaceToDepth") {
    OpFoldResult h = l.floorDiv(s[2], block), w = l.floorDiv(s[3], block);
    split = {s[0], s[1], h, block, w, block};
    permutation = {0, 3, 5, 1, 2, 4};
    shape = {s[0], l.mul(l.mul(s[1], block), block), h, w};
  } else {
    OpFoldResult depth = l.floorDiv(l.floorDiv(s[1], block), block);
    bool crd = ganq::onnx::getString(l.op, "mode", "DCR") == "CRD";
    split = crd ? Shape{s[0], depth, block, block, s[2], s[3]}
                : Shape{s[0], block, block, depth, s[2], s[3]};
    permutation = crd ? SmallVector<int64_t>{0, 1, 4, 2, 5, 3}
                      : SmallVector<int64_t>{0, 3, 4, 1, 5, 2};
    shape = {s[0], depth, l.mul(s[2], block), l.mul(s[3], block)};
  }
  Value moved = l.transpose(l.reshape(l.operand(0), split), permutation);
  return l.setResult(l.reshape(moved, shape), l.isUnsigned(0));
}

//===----------------------------------------------------------------------===//
// New tensors
//===----------------------------------------------------------------------===//

static LogicalResult lowerShape(Lowering &l) {
  Shape shape = l.shapeOf(l.operand(0));
  int64_t rank = shape.size();
  auto bound = [&](StringRef name, int64_t defaultValue) {
    int64_t value = l.getInt(name, defaultValue);
    return std::clamp<int64_t>(value < 0 ? value + rank : value, 0, rank);
  };
  int64_t start = bound("start", 0), end = bound("end", rank);
  ArrayRef<OpFoldResult> sizes(shape);
  return l.setResult(
      l.fromSizes(sizes.slice(start, std::max<int64_t>(end - start, 0))));
}

static LogicalResult lowerSize(Lowering &l) {
  OpFoldResult count = l.product(l.shapeOf(l.operand(0)));
  return l.setResult(l.reshape(l.fromSizes(count), {}));
}

static LogicalResult lowerConstantOfShape(Lowering &l) {
  FailureOr<Shape> shape = l.ints(0);
  if (failed(shape) && l.declaredRank(0))
    shape = l.intsOfLength(0, *l.declaredRank(0));
  if (failed(shape))
    return l.unsupported("a shape of unknown length");
  for (OpFoldResult &size : *shape)
    if (!getConstantIntValue(size))
      size = l.max(size, l.size(0));
  auto attr = l.op->getAttrOfType<DenseElementsAttr>("value");
  bool isUnsigned = false;
  Value scalar;
  if (!attr) {
    scalar = l.b.constant(l.b.getF32Type(), 0);
  } else {
    Type element = attr.getElementType();
    isUnsigned = element.isUnsignedInteger();
    if (isUnsigned)
      attr = attr.bitcast(getSignless(element));
    if (attr.getNumElements() != 1 || !attr.getElementType().isIntOrFloat())
      return l.op->emitOpError("expected a value of one element");
    scalar = arith::ConstantOp::create(
        l.b, cast<TypedAttr>(*attr.getValues<Attribute>().begin()));
  }
  return l.setResult(l.fill(*shape, scalar), isUnsigned);
}

static LogicalResult lowerRange(Lowering &l) {
  BodyBuilder &b = l.b;
  Type element = l.element(0), compute = getComputeType(element);
  auto read = [&](unsigned i) {
    return b.cast(l.scalar(i), compute, false, false);
  };
  Value start = read(0), limit = read(1), delta = read(2), count;
  if (isa<FloatType>(compute)) {
    count = math::CeilOp::create(b, b.div(b.sub(limit, start), delta));
    count = b.cast(count, b.getI64Type(), false, false);
  } else {
    Value zero = b.integer(compute, 0), one = b.integer(compute, 1);
    Value isZero = b.compare(Compare::EQ, delta, zero);
    count = arith::CeilDivSIOp::create(b, b.sub(limit, start),
                                       b.select(isZero, one, delta));
    count = b.select(isZero, zero, count);
  }
  Value size = b.max(b.toIndex(count), b.index(0));
  Value result = l.generate(
      {OpFoldResult(size)}, element, [&](BodyBuilder &s, ValueRange indices) {
        return s.add(start,
                     s.mul(s.cast(indices[0], compute, false, false), delta));
      });
  return l.setResult(result, l.isUnsigned(0));
}

static LogicalResult lowerEyeLike(Lowering &l) {
  if (l.rank(0) != 2)
    return l.op->emitOpError("expected an operand of rank 2");
  Type element = l.declaredElement(0);
  if (!element.isIntOrFloat())
    element = l.element(0);
  Value k = l.b.index(l.getInt("k", 0));
  Type compute = getComputeType(element);
  Value result = l.generate(
      l.shapeOf(l.operand(0)), element, [&](BodyBuilder &s, ValueRange i) {
        Value isOne = s.compare(Compare::EQ, s.sub(i[1], i[0]), k);
        return s.select(isOne, s.integer(compute, 1), s.integer(compute, 0));
      });
  return l.setResult(result);
}

void ganq::lowering::addShapeLowerings(LoweringTable &table) {
  table["Identity"] = lowerIdentity;
  table["Dropout"] = lowerDropout;
  table["Reshape"] = lowerReshape;
  table["Flatten"] = lowerFlatten;
  table["Unsqueeze"] = lowerUnsqueeze;
  table["Squeeze"] = lowerSqueeze;
  table["Transpose"] = lowerTranspose;
  table["DepthToSpace"] = lowerDepthSpace;
  table["SpaceToDepth"] = lowerDepthSpace;
  table["Shape"] = lowerShape;
  table["Size"] = lowerSize;
  table["ConstantOfShape"] = lowerConstantOfShape;
  table["Range"] = lowerRange;
  table["EyeLike"] = lowerEyeLike;
}
