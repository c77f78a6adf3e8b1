//===- RaiseOnnx.cpp - Recognise the parts of language models -------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Builder.h"
#include "Patterns.h"
#include "ganq/Transforms/Passes.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"

using namespace mlir;
using namespace ganq;

namespace ganq {
#define GEN_PASS_DEF_RAISEONNX
#include "ganq/Transforms/Passes.h.inc"
} // namespace ganq

namespace {

struct RaiseOnnxPass : ganq::impl::RaiseOnnxBase<RaiseOnnxPass> {
  using RaiseOnnxBase::RaiseOnnxBase;

  LogicalResult rewrite(function_ref<void(RewritePatternSet &)> populate) {
    RewritePatternSet patterns(&getContext());
    populate(patterns);
    GreedyRewriteConfig config;
    config.enableFolding(false).setRegionSimplificationLevel(
        GreedySimplifyRegionLevel::Disabled);
    return applyPatternsGreedily(getOperation(), std::move(patterns), config);
  }

  /// Attention, rotary embedding and positions, whose meaning needs the whole
  /// model.
  void raiseModel(func::FuncOp func) {
    if (!func.getBody().hasOneBlock())
      return;
    ModelBuilder model(func, maxContext,
                       onnx::readParametersFrom(modelDir.getValue()));
    auto forEach = [&](function_ref<void(Operation *)> raise) {
      SmallVector<Operation *> operations;
      for (Operation &op : func.getBody().front())
        operations.push_back(&op);
      for (Operation *op : operations)
        raise(op);
    };
    auto isLive = [](Operation *op) {
      return !op->use_empty() && !onnx::getOpName(op).empty();
    };
    forEach([&](Operation *op) {
      if (isLive(op))
        raiseRope(model, op) || raiseRotaryEmbedding(model, op);
    });
    forEach([&](Operation *op) {
      if (isLive(op))
        raiseAttention(model, op) || raiseFusedAttention(model, op);
    });
    // The tables of masks and angles that are recognised are gone by now.
    eraseDeadOps(func);
    forEach([&](Operation *op) {
      if (isLive(op))
        raisePositions(model, op);
    });
    eraseDeadOps(func);
    for (BlockArgument argument : func.getArguments())
      if (model.getProbe().getRole(argument) == ArgumentRole::Positions &&
          argument.use_empty())
        func.emitRemark("input #")
            << argument.getArgNumber()
            << " is not read: positions are taken as the places of the tokens";
    OpBuilder builder(func);
    if (llvm::any_of(func.getOps<PastLengthOp>(), [](auto) { return true; }))
      func->setAttr("ganq.max_context",
                    builder.getI64IntegerAttr(model.getProbe().getContext()));
  }

  void runOnOperation() override {
    for (auto func : getOperation().getOps<func::FuncOp>())
      if (!func.isExternal())
        raiseModel(func);
    if (failed(rewrite([](RewritePatternSet &patterns) {
          populateMatmulPatterns(patterns);
          populateBlockQuantizedPatterns(patterns);
          populateNormPatterns(patterns);
          populateRopePatterns(patterns);
          populateSwigluPatterns(patterns);
        })))
      return signalPassFailure();
    for (auto func : getOperation().getOps<func::FuncOp>())
      eraseDeadOps(func);
    getOperation().walk([&](Operation *op) {
      if (isa<GanqDialect>(op->getDialect()) && !isa<ParameterOp>(op))
        ++numRaised;
    });
  }
};

} // namespace

void ganq::eraseDeadOps(Operation *root) {
  SmallVector<Operation *> operations;
  root->walk<WalkOrder::PreOrder>([&](Operation *op) {
    if (op != root)
      operations.push_back(op);
  });
  for (Operation *op : llvm::reverse(operations)) {
    if (!op->use_empty() || op->hasTrait<OpTrait::IsTerminator>())
      continue;
    bool isTensorOnnx = !onnx::getOpName(op).empty() && op->getNumResults() > 0;
    if (isTensorOnnx || isOpTriviallyDead(op))
      op->erase();
  }
}
