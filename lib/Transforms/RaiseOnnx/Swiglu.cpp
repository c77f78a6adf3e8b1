//===- Swiglu.cpp - Gated activations -------------------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Patterns.h"

using namespace mlir;
using namespace ganq;

namespace {

/// The x of silu(x) = x * sigmoid(x), or null.
Value matchSilu(Value value) {
  if (Operation *mul = onnx::getDefiningOnnxOp(value, "Mul")) {
    Value x;
    eitherOrder(mul, [&](Value input, Value gate) {
      Operation *sigmoid = onnx::getDefiningOnnxOp(gate, "Sigmoid");
      if (sigmoid && isSameValue(sigmoid->getOperand(0), input))
        x = input;
      return x != nullptr;
    });
    return x;
  }
  Operation *op = value.getDefiningOp();
  if (onnx::isOnnxOp(op, "Swish") && onnx::getFloat(op, "alpha", 1.0) == 1.0)
    return op->getOperand(0);
  // QuickGelu is x * sigmoid(alpha x).
  if (onnx::isOnnxOp(op, "com.microsoft.QuickGelu") &&
      onnx::getFloat(op, "alpha", 1.702) == 1.0)
    return op->getOperand(0);
  return {};
}

/// silu(gate) * up with two values of one shape.
struct RaiseSwiglu : RewritePattern {
  RaiseSwiglu(MLIRContext *context)
      : RewritePattern("onnx.Mul", /*benefit=*/1, context) {}

  LogicalResult matchAndRewrite(Operation *op,
                                PatternRewriter &rewriter) const override {
    return success(eitherOrder(op, [&](Value activated, Value up) {
      Value gate = matchSilu(activated);
      if (!gate || !rankedType(gate) || gate.getType() != up.getType() ||
          up.getType() != op->getResult(0).getType() || !isSized(gate))
        return false;
      rewriter.replaceOpWithNewOp<SwigluOp>(op, up.getType(), gate, up,
                                            Value());
      return true;
    }));
  }

  /// Equal types of dynamic shape may hide a broadcast of size 1; a last
  /// dimension that is static and a product that is not broadcast to another
  /// type rule it out for the shapes that models have.
  static bool isSized(Value value) {
    RankedTensorType type = rankedType(value);
    return type.getRank() >= 1 &&
           !ShapedType::isDynamic(type.getShape().back());
  }
};

} // namespace

void ganq::populateSwigluPatterns(RewritePatternSet &patterns) {
  patterns.add<RaiseSwiglu>(patterns.getContext());
}
