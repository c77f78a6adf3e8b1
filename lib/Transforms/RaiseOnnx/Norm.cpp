//===- Norm.cpp - RMS norm and layer norm ---------------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Patterns.h"

using namespace mlir;
using namespace ganq;

namespace {

/// A scalar or one-element float constant.
std::optional<double> scalar(Value value) {
  return onnx::getConstantFloat(skipFloatCasts(value));
}

bool isScalar(Value value, double expected) {
  std::optional<double> actual = scalar(value);
  return actual && *actual == expected;
}

/// Matches x^2 as Pow(x, 2) or Mul(x, x).
Value matchSquare(Value value) {
  if (Operation *pow = onnx::getDefiningOnnxOp(value, "Pow"))
    return isScalar(pow->getOperand(1), 2.0) ? pow->getOperand(0) : Value();
  if (Operation *mul = onnx::getDefiningOnnxOp(value, "Mul"))
    return isSameValue(mul->getOperand(0), mul->getOperand(1))
               ? mul->getOperand(0)
               : Value();
  return {};
}

/// Matches the mean of `value`'s producer over the last dimension, which stays
/// with size 1.
Value matchMean(Value value) {
  Operation *mean = onnx::getDefiningOnnxOp(value, "ReduceMean");
  if (!mean || onnx::getInt(mean, "keepdims", 1) != 1 ||
      !isOverLastDim(mean, mean->getOperand(0)))
    return {};
  return mean->getOperand(0);
}

struct MeanSquare {
  Value x;
  double epsilon;
};

/// Matches mean(x^2) + epsilon.
std::optional<MeanSquare> matchVariance(Value value) {
  Operation *add = onnx::getDefiningOnnxOp(value, "Add");
  std::optional<MeanSquare> found;
  if (add)
    eitherOrder(add, [&](Value mean, Value epsilon) {
      std::optional<double> number = scalar(epsilon);
      Value squares = number ? matchMean(mean) : Value();
      Value x = squares ? matchSquare(squares) : Value();
      if (x)
        found = MeanSquare{x, *number};
      return x != nullptr;
    });
  return found;
}

/// Matches Sqrt(variance), or Pow(variance, 0.5).
std::optional<MeanSquare> matchDeviation(Value value) {
  if (Operation *sqrt = onnx::getDefiningOnnxOp(value, "Sqrt"))
    return matchVariance(sqrt->getOperand(0));
  Operation *pow = onnx::getDefiningOnnxOp(value, "Pow");
  if (pow && isScalar(pow->getOperand(1), 0.5))
    return matchVariance(pow->getOperand(0));
  return std::nullopt;
}

/// Matches 1 / deviation in its forms.
std::optional<MeanSquare> matchInverseDeviation(Value value) {
  if (Operation *op = onnx::getDefiningOnnxOp(value, "Reciprocal"))
    return matchDeviation(op->getOperand(0));
  if (Operation *op = onnx::getDefiningOnnxOp(value, "Div"))
    if (isScalar(op->getOperand(0), 1.0))
      return matchDeviation(op->getOperand(1));
  Operation *op = onnx::getDefiningOnnxOp(value, "Pow");
  if (op && isScalar(op->getOperand(1), -0.5))
    return matchVariance(op->getOperand(0));
  return std::nullopt;
}

/// The x of a centered value x - mean(x), or null.
Value matchCentered(Value value) {
  Operation *sub = onnx::getDefiningOnnxOp(value, "Sub");
  if (!sub)
    return {};
  Value of = matchMean(sub->getOperand(1));
  return of && isSameValue(of, sub->getOperand(0)) ? of : Value();
}

/// x * (1 / deviation(x)) or x / deviation(x), without weight.
struct RaiseNorm : RewritePattern {
  RaiseNorm(StringRef name, MLIRContext *context)
      : RewritePattern(name, /*benefit=*/1, context) {}

  LogicalResult matchAndRewrite(Operation *op,
                                PatternRewriter &rewriter) const override {
    std::optional<MeanSquare> norm;
    auto use = [&](Value x, std::optional<MeanSquare> match) {
      if (match && isSameValue(x, match->x) &&
          x.getType() == op->getResult(0).getType())
        norm = MeanSquare{x, match->epsilon};
      return norm.has_value();
    };
    if (onnx::isOnnxOp(op, "Div"))
      use(op->getOperand(0), matchDeviation(op->getOperand(1)));
    else
      eitherOrder(op, [&](Value x, Value factor) {
        return use(x, matchInverseDeviation(factor));
      });
    if (!norm || !rankedType(norm->x))
      return failure();
    FloatAttr epsilon = rewriter.getF32FloatAttr(norm->epsilon);
    if (Value x = matchCentered(norm->x))
      rewriter.replaceOpWithNewOp<LayerNormOp>(
          op, op->getResultTypes(), x, Value(), Value(), Value(), epsilon);
    else
      rewriter.replaceOpWithNewOp<RmsNormOp>(op, op->getResultTypes(), norm->x,
                                             Value(), Value(), epsilon);
    return success();
  }
};

/// Cast(norm(Cast(x))) to the type of x: norms compute in f32 in any case.
struct FoldNormCasts : RewritePattern {
  FoldNormCasts(MLIRContext *context)
      : RewritePattern("onnx.Cast", /*benefit=*/1, context) {}

  LogicalResult matchAndRewrite(Operation *op,
                                PatternRewriter &rewriter) const override {
    Operation *norm = op->getOperand(0).getDefiningOp();
    if (!isa_and_nonnull<RmsNormOp, LayerNormOp>(norm) || !norm->hasOneUse())
      return failure();
    Operation *widen = onnx::getDefiningOnnxOp(norm->getOperand(0), "Cast");
    if (!widen ||
        widen->getOperand(0).getType() != op->getResult(0).getType() ||
        !rankedType(norm->getResult(0)).getElementType().isF32())
      return failure();
    rewriter.modifyOpInPlace(norm, [&] {
      norm->setOperand(0, widen->getOperand(0));
      norm->getResult(0).setType(op->getResult(0).getType());
    });
    rewriter.replaceOp(op, norm->getResults());
    return success();
  }
};

/// norm(x) * weight.
struct FoldNormWeight : RewritePattern {
  FoldNormWeight(MLIRContext *context)
      : RewritePattern("onnx.Mul", /*benefit=*/2, context) {}

  LogicalResult matchAndRewrite(Operation *op,
                                PatternRewriter &rewriter) const override {
    return success(eitherOrder(op, [&](Value value, Value weight) {
      if (!value.hasOneUse() || value.getType() != op->getResult(0).getType() ||
          !rankedType(value) ||
          !isConstantVector(weight, rankedType(value).getShape().back()))
        return false;
      if (auto rms = value.getDefiningOp<RmsNormOp>();
          rms && !rms.getWeight()) {
        rewriter.replaceOpWithNewOp<RmsNormOp>(op, value.getType(), rms.getX(),
                                               weight, Value(),
                                               rms.getEpsilonAttr());
        return true;
      }
      auto layer = value.getDefiningOp<LayerNormOp>();
      if (!layer || layer.getWeight() || layer.getBias())
        return false;
      rewriter.replaceOpWithNewOp<LayerNormOp>(op, value.getType(),
                                               layer.getX(), weight, Value(),
                                               Value(), layer.getEpsilonAttr());
      return true;
    }));
  }
};

/// layer_norm(x) + bias.
struct FoldNormBias : RewritePattern {
  FoldNormBias(MLIRContext *context)
      : RewritePattern("onnx.Add", /*benefit=*/1, context) {}

  LogicalResult matchAndRewrite(Operation *op,
                                PatternRewriter &rewriter) const override {
    return success(eitherOrder(op, [&](Value value, Value bias) {
      auto norm = value.getDefiningOp<LayerNormOp>();
      if (!norm || norm.getBias() || !value.hasOneUse() ||
          value.getType() != op->getResult(0).getType() ||
          !isConstantVector(bias, rankedType(value).getShape().back()))
        return false;
      rewriter.replaceOpWithNewOp<LayerNormOp>(op, value.getType(), norm.getX(),
                                               norm.getWeight(), bias, Value(),
                                               norm.getEpsilonAttr());
      return true;
    }));
  }
};

/// LayerNormalization, RMSNormalization and SimplifiedLayerNormalization, and
/// the Skip forms, which norm the sum of two tensors (and a bias) and return
/// the sum as well.
struct RaiseNormOperator : RewritePattern {
  RaiseNormOperator(StringRef name, bool isRms, bool isSkip,
                    MLIRContext *context)
      : RewritePattern(name, /*benefit=*/1, context), isRms(isRms),
        isSkip(isSkip) {}

  LogicalResult matchAndRewrite(Operation *op,
                                PatternRewriter &rewriter) const override {
    Location loc = op->getLoc();
    Value x = op->getOperand(0);
    RankedTensorType type = rankedType(x);
    unsigned weightIndex = isSkip ? 2 : 1;
    Value weight = onnx::getOperand(op, weightIndex);
    Value bias, addend;
    if (!isRms)
      bias = onnx::getOperand(op, weightIndex + 1);
    if (isSkip)
      addend = onnx::getOperand(op, isRms ? 3 : 4);
    auto isVector = [&](Value value) {
      RankedTensorType vector = rankedType(value);
      return !value || (vector && vector.getRank() == 1);
    };
    int64_t axis = onnx::getInt(op, "axis", -1);
    if (!type || !isa<FloatType>(type.getElementType()) || type.getRank() < 1 ||
        (!isSkip && axis != -1 && axis != type.getRank() - 1) ||
        op->getResult(0).getType() != type || !isVector(weight) ||
        !isVector(bias))
      return failure();
    // Of the further results only the sum (the fourth) can be had.
    for (OpResult result : op->getResults().drop_front())
      if (!result.use_empty() && !(isSkip && result.getResultNumber() == 3))
        return failure();
    auto add = [&](Value a, Value b) {
      return onnx::createOnnxOp(rewriter, loc, "Add", type, {a, b})
          ->getResult(0);
    };
    if (isSkip)
      x = add(x, op->getOperand(1));
    if (addend)
      x = add(x, addend);
    // MS skip norms default to 1e-12; the plain ones to 1e-5.
    double fallback = isSkip ? 1e-12 : 1e-5;
    FloatAttr epsilon =
        rewriter.getF32FloatAttr(onnx::getFloat(op, "epsilon", fallback));
    Value result;
    if (isRms)
      result =
          RmsNormOp::create(rewriter, loc, type, x, weight, Value(), epsilon)
              .getResult();
    else
      result = LayerNormOp::create(rewriter, loc, type, x, weight, bias,
                                   Value(), epsilon)
                   .getResult();
    SmallVector<Value> results(op->getNumResults());
    rewriter.replaceAllUsesWith(op->getResult(0), result);
    if (isSkip && op->getNumResults() > 3)
      rewriter.replaceAllUsesWith(op->getResult(3), x);
    rewriter.eraseOp(op);
    return success();
  }

private:
  bool isRms, isSkip;
};

} // namespace

void ganq::populateNormPatterns(RewritePatternSet &patterns) {
  MLIRContext *context = patterns.getContext();
  patterns.add<RaiseNorm>("onnx.Mul", context);
  patterns.add<RaiseNorm>("onnx.Div", context);
  patterns.add<FoldNormCasts, FoldNormWeight, FoldNormBias>(context);
  auto addOperator = [&](StringRef name, bool isRms, bool isSkip) {
    patterns.add<RaiseNormOperator>(name, isRms, isSkip, context);
  };
  addOperator("onnx.LayerNormalization", false, false);
  addOperator("onnx.RMSNormalization", true, false);
  for (StringRef domain : {"onnx.", "onnx.com.microsoft."}) {
    addOperator((domain + "SimplifiedLayerNormalization").str(), true, false);
    addOperator((domain + "SkipLayerNormalization").str(), false, true);
    addOperator((domain + "SkipSimplifiedLayerNormalization").str(), true,
                true);
  }
}
