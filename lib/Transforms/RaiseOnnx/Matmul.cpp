//===- Matmul.cpp - Products with constant weights ------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Patterns.h"

using namespace mlir;
using namespace ganq;

namespace {

RankedTensorType transposedType(RankedTensorType type) {
  return RankedTensorType::get({type.getDimSize(1), type.getDimSize(0)},
                               type.getElementType(), type.getEncoding());
}

/// The same weight seen with its two dimensions exchanged.
Value transposeParameter(RewriterBase &rewriter, ParameterOp op) {
  OpBuilder::InsertionGuard guard(rewriter);
  rewriter.setInsertionPointAfter(op);
  auto type = cast<RankedTensorType>(op.getResult().getType());
  auto flipped = ParameterOp::create(
      rewriter, op.getLoc(), transposedType(type), op.getKeyAttr(),
      op.getSourceAttr(),
      op.getTransposed() ? UnitAttr() : rewriter.getUnitAttr());
  flipped->setDiscardableAttrs(op->getDiscardableAttrDictionary());
  return flipped;
}

/// The rank 2 float parameter behind `value`. Widening casts are looked
/// through: products are accumulated in f32 in any case.
ParameterOp matchWeight(Value value) {
  RankedTensorType type = rankedType(value);
  if (!type || type.getRank() != 2 || !isa<FloatType>(type.getElementType()))
    return {};
  Value source = value;
  if (Operation *cast = onnx::getDefiningOnnxOp(value, "Cast"))
    source = cast->getOperand(0);
  auto op = source.getDefiningOp<ParameterOp>();
  if (!op)
    return {};
  Type stored =
      cast<RankedTensorType>(op.getResult().getType()).getElementType();
  if (!stored.isF32() && !stored.isF16() && !stored.isBF16())
    return {};
  if (source != value && !type.getElementType().isF32())
    return {};
  return op;
}

/// Creates x W^T + bias; null when the types do not fit.
Value createMatmul(PatternRewriter &rewriter, Location loc, Type resultType,
                   Value x, ParameterOp weight, bool isNK, Value bias) {
  auto weightType = cast<RankedTensorType>(weight.getResult().getType());
  RankedTensorType xType = rankedType(x);
  auto result = dyn_cast<RankedTensorType>(resultType);
  int64_t k = weightType.getDimSize(isNK ? 1 : 0);
  int64_t n = weightType.getDimSize(isNK ? 0 : 1);
  if (!xType || !result || xType.getRank() < 1 ||
      result.getRank() != xType.getRank() ||
      result.getElementType() != xType.getElementType() ||
      failed(verifyCompatibleShape({xType.getShape().back()}, {k})) ||
      failed(verifyCompatibleShape({result.getShape().back()}, {n})))
    return {};
  Value w = isNK ? weight.getResult() : transposeParameter(rewriter, weight);
  return MatmulOp::create(rewriter, loc, resultType, x, w, bias, Value())
      .getResult();
}

/// MatMul(x, W) with W [K, N].
struct RaiseMatMul : RewritePattern {
  RaiseMatMul(MLIRContext *context)
      : RewritePattern("onnx.MatMul", /*benefit=*/1, context) {}

  LogicalResult matchAndRewrite(Operation *op,
                                PatternRewriter &rewriter) const override {
    ParameterOp weight = matchWeight(op->getOperand(1));
    if (!weight)
      return failure();
    Value result =
        createMatmul(rewriter, op->getLoc(), op->getResult(0).getType(),
                     op->getOperand(0), weight, /*isNK=*/false, Value());
    if (!result)
      return failure();
    result.getDefiningOp()->setDiscardableAttrs(
        DictionaryAttr::get(getContext(), nodeName(op)));
    rewriter.replaceOp(op, result);
    return success();
  }

  static SmallVector<NamedAttribute> nodeName(Operation *op) {
    SmallVector<NamedAttribute> attrs;
    if (StringRef name = onnx::getNodeName(op); !name.empty())
      attrs.emplace_back(StringAttr::get(op->getContext(), "onnx.node"),
                         StringAttr::get(op->getContext(), name));
    return attrs;
  }
};

/// alpha * x W' + beta * C, with W given as [N, K] (transB) or [K, N].
struct RaiseGemm : RewritePattern {
  RaiseGemm(MLIRContext *context)
      : RewritePattern("onnx.Gemm", /*benefit=*/1, context) {}

  LogicalResult matchAndRewrite(Operation *op,
                                PatternRewriter &rewriter) const override {
    ParameterOp weight = matchWeight(op->getOperand(1));
    if (!weight || onnx::getInt(op, "transA", 0) != 0)
      return failure();
    Location loc = op->getLoc();
    Type type = op->getResult(0).getType();
    bool isNK = onnx::getInt(op, "transB", 0) != 0;
    int64_t n = cast<RankedTensorType>(weight.getResult().getType())
                    .getDimSize(isNK ? 0 : 1);
    Value x = op->getOperand(0), added = onnx::getOperand(op, 2);
    double alpha = onnx::getFloat(op, "alpha", 1.0);
    double beta = onnx::getFloat(op, "beta", 1.0);
    if (beta == 0.0)
      added = Value();
    if (added && !rankedType(added))
      return failure();
    bool isBias =
        added && beta == 1.0 && alpha == 1.0 && isConstantVector(added, n);
    Value result = createMatmul(rewriter, loc, type, x, weight, isNK,
                                isBias ? added : Value());
    if (!result)
      return failure();
    result.getDefiningOp()->setDiscardableAttrs(
        DictionaryAttr::get(getContext(), RaiseMatMul::nodeName(op)));
    auto scale = [&](Value value, double factor) -> Value {
      if (factor == 1.0)
        return value;
      Type element = rankedType(value).getElementType();
      auto scalarType = RankedTensorType::get({}, element);
      Value constant = onnx::createConstant(
          rewriter, loc,
          DenseElementsAttr::get(
              scalarType, Attribute(rewriter.getFloatAttr(element, factor))));
      return onnx::createOnnxOp(rewriter, loc, "Mul", value.getType(),
                                {value, constant})
          ->getResult(0);
    };
    result = scale(result, alpha);
    if (added && !isBias)
      result = onnx::createOnnxOp(rewriter, loc, "Add", type,
                                  {result, scale(added, beta)})
                   ->getResult(0);
    rewriter.replaceOp(op, result);
    return success();
  }
};

/// Transpose of a matrix parameter: only the view changes.
struct FoldTranspose : RewritePattern {
  FoldTranspose(MLIRContext *context)
      : RewritePattern("onnx.Transpose", /*benefit=*/1, context) {}

  LogicalResult matchAndRewrite(Operation *op,
                                PatternRewriter &rewriter) const override {
    auto parameter = op->getOperand(0).getDefiningOp<ParameterOp>();
    if (!parameter)
      return failure();
    auto type = cast<RankedTensorType>(parameter.getResult().getType());
    std::optional<ArrayRef<int64_t>> perm = onnx::getInts(op, "perm");
    if (type.getRank() != 2 || (perm && *perm != ArrayRef<int64_t>{1, 0}) ||
        op->getResult(0).getType() != transposedType(type))
      return failure();
    rewriter.replaceOp(op, transposeParameter(rewriter, parameter));
    return success();
  }
};

/// matmul + constant vector.
struct FoldBias : RewritePattern {
  FoldBias(MLIRContext *context)
      : RewritePattern("onnx.Add", /*benefit=*/1, context) {}

  LogicalResult matchAndRewrite(Operation *op,
                                PatternRewriter &rewriter) const override {
    return success(eitherOrder(op, [&](Value product, Value bias) {
      return fold<MatmulOp>(op, product, bias, rewriter) ||
             fold<PackedMatmulOp>(op, product, bias, rewriter);
    }));
  }

  static int64_t getRows(MatmulOp op) {
    return rankedType(op.getWeight()).getDimSize(0);
  }
  static int64_t getRows(PackedMatmulOp op) { return op.getN(); }

  template <typename Product>
  static bool fold(Operation *op, Value value, Value bias,
                   PatternRewriter &rewriter) {
    auto product = value.getDefiningOp<Product>();
    if (!product || product.getBias() || !value.hasOneUse() ||
        value.getType() != op->getResult(0).getType() ||
        !isConstantVector(bias, getRows(product)))
      return false;
    rewriter.setInsertionPoint(op);
    auto fused = cast<Product>(rewriter.clone(*product));
    fused.getBiasMutable().assign(bias);
    fused->setLoc(rewriter.getFusedLoc({product.getLoc(), op->getLoc()}));
    rewriter.replaceOp(op, fused.getResult());
    return true;
  }
};

} // namespace

void ganq::populateMatmulPatterns(RewritePatternSet &patterns) {
  patterns.add<RaiseMatMul, RaiseGemm, FoldTranspose, FoldBias>(
      patterns.getContext());
}
