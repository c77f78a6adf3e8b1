//===- MatMul.cpp - onnx matrix products ----------------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Lowering.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"

using namespace mlir;
using namespace ganq::lowering;
using ganq::onnx::getOpName;

static Value multiply(BodyBuilder &s, ValueRange v) {
  return s.mul(v[0], v[1]);
}

/// Both sizes of the inner dimension must agree.
static LogicalResult checkInner(Lowering &l, OpFoldResult a, OpFoldResult c) {
  if (a == c)
    return success();
  auto x = getConstantIntValue(a), y = getConstantIntValue(c);
  if (x && y)
    return l.op->emitOpError("expected operands with equal inner sizes, but "
                             "got ")
           << *x << " and " << *y;
  l.assertThat(l.b.compare(Compare::EQ, l.toValue(a), l.toValue(c)),
               "expected operands with equal inner sizes");
  return success();
}

FailureOr<Value> ganq::lowering::buildMatMul(Lowering &l, Value a, Value c,
                                             Type accumulator,
                                             Lowering::MapFn product) {
  Shape left = l.shapeOf(a), right = l.shapeOf(c);
  if (left.empty() || right.empty()) {
    l.op->emitOpError("expected operands of rank 1 or more");
    return failure();
  }
  bool leftVector = left.size() == 1, rightVector = right.size() == 1;
  if (leftVector) {
    left.insert(left.begin(), l.size(1));
    a = l.reshape(a, left);
  }
  if (rightVector) {
    right.push_back(l.size(1));
    c = l.reshape(c, right);
  }
  OpFoldResult rows = left[left.size() - 2], inner = left.back();
  OpFoldResult columns = right.back();
  if (failed(checkInner(l, inner, right[right.size() - 2])))
    return failure();
  Shape leftBatch(ArrayRef<OpFoldResult>(left).drop_back(2));
  Shape rightBatch(ArrayRef<OpFoldResult>(right).drop_back(2));
  FailureOr<Shape> batch = l.broadcast({leftBatch, rightBatch});
  if (failed(batch))
    return failure();
  // Operands whose batch may broadcast at run time are expanded first.
  auto expand = [&](Value &value, Shape &own) {
    bool known = llvm::all_of(llvm::enumerate(own), [&](auto entry) {
      return isConstantIntValue(entry.value(), 1) ||
             entry.value() ==
                 (*batch)[entry.index() + batch->size() - own.size()];
    });
    if (known)
      return;
    Shape shape = *batch, full = l.shapeOf(value);
    shape.append(full.end() - 2, full.end());
    value = l.mapTo(shape, value, Lowering::typeOf(value).getElementType(),
                    [](BodyBuilder &, ValueRange v) { return v[0]; });
    own = *batch;
  };
  expand(a, leftBatch);
  expand(c, rightBatch);

  MLIRContext *context = l.b.getContext();
  unsigned count = batch->size(), loops = count + 3;
  AffineExpr row = getAffineDimExpr(count, context);
  AffineExpr column = getAffineDimExpr(count + 1, context);
  AffineExpr depth = getAffineDimExpr(count + 2, context);
  auto getMap = [&](const Shape &own, AffineExpr x, AffineExpr y) {
    SmallVector<AffineExpr> exprs;
    for (auto [dim, size] : llvm::enumerate(own)) {
      unsigned outer = dim + count - own.size();
      exprs.push_back(isConstantIntValue(size, 1)
                          ? getAffineConstantExpr(0, context)
                          : getAffineDimExpr(outer, context));
    }
    exprs.append({x, y});
    return AffineMap::get(loops, 0, exprs, context);
  };
  SmallVector<AffineMap> maps{getMap(leftBatch, row, depth),
                              getMap(rightBatch, depth, column)};
  SmallVector<AffineExpr> exprs;
  for (unsigned dim = 0; dim < count + 2; ++dim)
    exprs.push_back(getAffineDimExpr(dim, context));
  maps.push_back(AffineMap::get(loops, 0, exprs, context));
  SmallVector<utils::IteratorType> iterators(loops,
                                             utils::IteratorType::parallel);
  iterators.back() = utils::IteratorType::reduction;

  Shape shape = *batch;
  shape.append({rows, columns});
  Value init = l.fill(shape, l.b.constant(accumulator, 0));
  auto generic = linalg::GenericOp::create(
      l.b, l.b.getLoc(), init.getType(), ValueRange{a, c}, init, maps,
      iterators, [&](OpBuilder &builder, Location loc, ValueRange args) {
        BodyBuilder s(loc, builder);
        auto widen = [&](Value v) {
          return s.cast(v, getComputeType(v.getType()), false, false);
        };
        Value term = product(s, {widen(args[0]), widen(args[1])});
        linalg::YieldOp::create(s, s.add(args[2], term));
      });
  Value result = generic.getResult(0);
  l.state.shapes[result] = shape;
  if (rightVector)
    shape.pop_back();
  if (leftVector)
    shape.erase(shape.begin() + batch->size());
  if (leftVector || rightVector)
    result = l.reshape(result, shape);
  return result;
}

static LogicalResult lowerMatMul(Lowering &l) {
  if (failed(l.requireSameElements({0, 1})))
    return failure();
  Type element = l.element(0);
  FailureOr<Value> result = buildMatMul(l, l.operand(0), l.operand(1),
                                        getComputeType(element), multiply);
  if (failed(result))
    return failure();
  return l.setResult(l.castElements(*result, element), l.isUnsigned(0));
}

static Value swapLast(Lowering &l, Value value) {
  int64_t rank = Lowering::typeOf(value).getRank();
  if (rank < 2)
    return value;
  auto permutation = llvm::to_vector(llvm::seq<int64_t>(0, rank));
  std::swap(permutation[rank - 1], permutation[rank - 2]);
  return l.transpose(value, permutation);
}

static LogicalResult lowerGemm(Lowering &l) {
  if (failed(l.requireSameElements({0, 1, 2})))
    return failure();
  if (l.rank(0) != 2 || l.rank(1) != 2)
    return l.op->emitOpError("expected operands of rank 2");
  Type element = l.element(0), compute = getComputeType(element);
  Value a = l.operand(0), c = l.operand(1);
  if (l.getInt("transA", 0))
    a = swapLast(l, a);
  if (l.getInt("transB", 0))
    c = swapLast(l, c);
  FailureOr<Value> product = buildMatMul(l, a, c, compute, multiply);
  if (failed(product))
    return failure();
  double alpha = l.getFloat("alpha", 1), beta = l.getFloat("beta", 1);
  SmallVector<Value> inputs{*product};
  if (l.hasOperand(2)) {
    if (l.rank(2) > 2)
      return l.op->emitOpError("expected operand 2 to have rank 2 or less");
    inputs.push_back(l.operand(2));
  }
  FailureOr<Shape> shape = l.shapeOf(*product);
  if (inputs.size() > 1)
    shape = l.broadcast({*shape, l.shapeOf(inputs[1])});
  if (failed(shape))
    return failure();
  Value result =
      l.mapTo(*shape, inputs, element, [&](BodyBuilder &s, ValueRange v) {
        Value sum = v[0];
        if (alpha != 1)
          sum = s.mul(sum, s.constant(compute, alpha));
        if (v.size() == 1)
          return sum;
        Value bias = v[1];
        if (beta != 1)
          bias = s.mul(bias, s.constant(compute, beta));
        return s.add(sum, bias);
      });
  return l.setResult(result, l.isUnsigned(0));
}

static LogicalResult lowerFusedMatMul(Lowering &l) {
  if (failed(l.requireSameElements({0, 1})))
    return failure();
  if (l.getInt("transBatchA", 0) || l.getInt("transBatchB", 0))
    return l.unsupported("transBatchA or transBatchB");
  Type element = l.element(0), compute = getComputeType(element);
  Value a = l.operand(0), c = l.operand(1);
  if (l.getInt("transA", 0))
    a = swapLast(l, a);
  if (l.getInt("transB", 0))
    c = swapLast(l, c);
  FailureOr<Value> product = buildMatMul(l, a, c, compute, multiply);
  if (failed(product))
    return failure();
  double alpha = l.getFloat("alpha", 1);
  Value result = l.mapTo(l.shapeOf(*product), *product, element,
                         [&](BodyBuilder &s, ValueRange v) {
                           return s.mul(v[0], s.constant(compute, alpha));
                         });
  return l.setResult(result);
}

/// Elements minus their zero point, as i32. The zero point of the left operand
/// may have one element per row, that of the right one per column.
static FailureOr<Value> centre(Lowering &l, unsigned i, unsigned zeroPoint,
                               bool perRow) {
  Value value = l.operand(i);
  Type i32 = l.b.getI32Type();
  Value wide = l.castElements(value, i32, l.isUnsigned(i), false);
  if (!l.hasOperand(zeroPoint))
    return wide;
  Value zero =
      l.castElements(l.operand(zeroPoint), i32, l.isUnsigned(zeroPoint), false);
  if (perRow && Lowering::typeOf(zero).getRank() == 1 &&
      Lowering::typeOf(zero).getDimSize(0) != 1) {
    Shape shape = l.shapeOf(zero);
    shape.push_back(l.size(1));
    zero = l.reshape(zero, shape);
  }
  return l.map({wide, zero}, i32,
               [](BodyBuilder &s, ValueRange v) { return s.sub(v[0], v[1]); });
}

static LogicalResult lowerMatMulInteger(Lowering &l) {
  FailureOr<Value> a = centre(l, 0, 2, true), c = centre(l, 1, 3, false);
  if (failed(a) || failed(c))
    return failure();
  FailureOr<Value> result = buildMatMul(l, *a, *c, l.b.getI32Type(), multiply);
  return failed(result) ? failure() : l.setResult(*result);
}

void ganq::lowering::addMatMulLowerings(LoweringTable &table) {
  table["MatMul"] = lowerMatMul;
  table["Gemm"] = lowerGemm;
  table["MatMulInteger"] = lowerMatMulInteger;
  table["com.microsoft.FusedMatMul"] = lowerFusedMatMul;
}
