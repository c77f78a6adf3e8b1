//===- RaiseOnnx.cpp - Recognise the parts of language models -------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

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

  void runOnOperation() override {
    if (failed(rewrite([](RewritePatternSet &patterns) {
          populateMatmulPatterns(patterns);
          populateNormPatterns(patterns);
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
