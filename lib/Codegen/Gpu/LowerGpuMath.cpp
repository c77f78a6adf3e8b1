//===- LowerGpuMath.cpp - Math functions without libdevice ----------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/Codegen/Gpu/Passes.h"
#include "mlir/Dialect/Arith/Transforms/Passes.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Math/Transforms/Passes.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"
#include "llvm/Support/MathExtras.h"

namespace ganq {
#define GEN_PASS_DEF_LOWERGPUMATH
#include "ganq/Codegen/Gpu/Passes.h.inc"
} // namespace ganq

using namespace mlir;
using namespace ganq;

namespace {

/// A function that is one instruction of every chip.
template <typename Op> struct ToIntrinsic : OpRewritePattern<Op> {
  ToIntrinsic(MLIRContext *context, StringRef name)
      : OpRewritePattern<Op>(context), name(name) {}

  LogicalResult matchAndRewrite(Op op,
                                PatternRewriter &rewriter) const override {
    auto type = dyn_cast<FloatType>(op.getType());
    if (!type)
      return failure();
    std::string full = ("llvm." + name + ".f" + Twine(type.getWidth())).str();
    rewriter.replaceOpWithNewOp<LLVM::CallIntrinsicOp>(
        op, type, rewriter.getStringAttr(full), op->getOperands());
    return success();
  }

  StringRef name;
};

/// exp(x) = 2^(x log2 e), by the hardware's approximation.
struct ExpToExp2 : OpRewritePattern<math::ExpOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(math::ExpOp op,
                                PatternRewriter &rewriter) const override {
    Location loc = op.getLoc();
    auto f32 = rewriter.getF32Type();
    if (op.getType() != f32)
      return failure();
    Value factor = arith::ConstantOp::create(
        rewriter, loc,
        rewriter.getF32FloatAttr(static_cast<float>(llvm::numbers::log2e)));
    Value exponent =
        arith::MulFOp::create(rewriter, loc, op.getOperand(), factor);
    rewriter.replaceOpWithNewOp<LLVM::CallIntrinsicOp>(
        op, f32, rewriter.getStringAttr("llvm.exp2.f32"), ValueRange(exponent),
        LLVM::FastmathFlagsAttr::get(getContext(), LLVM::FastmathFlags::afn));
    return success();
  }
};

struct LowerGpuMathPass : ganq::impl::LowerGpuMathBase<LowerGpuMathPass> {
  void runOnOperation() override {
    MLIRContext *context = &getContext();
    RewritePatternSet patterns(context);
    patterns.add<ExpToExp2>(context);
    patterns.add<ToIntrinsic<math::SqrtOp>>(context, "sqrt");
    patterns.add<ToIntrinsic<math::AbsFOp>>(context, "fabs");
    patterns.add<ToIntrinsic<math::FloorOp>>(context, "floor");
    patterns.add<ToIntrinsic<math::CeilOp>>(context, "ceil");
    patterns.add<ToIntrinsic<math::TruncOp>>(context, "trunc");
    patterns.add<ToIntrinsic<math::RoundEvenOp>>(context, "roundeven");
    patterns.add<ToIntrinsic<math::CopySignOp>>(context, "copysign");
    patterns.add<ToIntrinsic<math::FmaOp>>(context, "fma");
    auto others = [](StringRef name) {
      return name != math::ExpOp::getOperationName();
    };
    populateMathF32ExpansionPatterns(patterns, [](StringRef) { return true; });
    populateMathPolynomialApproximationPatterns(patterns, others);
    math::populateExpansionPatterns(
        patterns, {"clampf", "fpowi", "powf", "rsqrt", "tan", "sinh", "cosh",
                   "asinh", "acosh", "atanh", "exp2f", "round"});
    arith::populateCeilFloorDivExpandOpsPatterns(patterns);
    if (failed(applyPatternsGreedily(getOperation(), std::move(patterns))))
      return signalPassFailure();
    WalkResult left = getOperation()->walk([&](Operation *op) {
      if (!isa_and_nonnull<math::MathDialect>(op->getDialect()) ||
          isa<IntegerType>(op->getResult(0).getType()))
        return WalkResult::advance();
      op->emitOpError("expected a function that GPU kernels have, for this "
                      "type: without libdevice there is no code for it");
      return WalkResult::interrupt();
    });
    if (left.wasInterrupted())
      signalPassFailure();
  }
};

} // namespace
