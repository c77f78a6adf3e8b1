//===- LowerLinalg.cpp - linalg ops and copies to loops -------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/Codegen/Passes.h"
#include "mlir/Dialect/Linalg/Transforms/Transforms.h"
#include "mlir/Dialect/Linalg/Utils/Utils.h"

namespace ganq {
#define GEN_PASS_DEF_LOWERLINALG
#include "ganq/Codegen/Passes.h.inc"
} // namespace ganq

using namespace mlir;

namespace {

struct LowerLinalgPass : ganq::impl::LowerLinalgBase<LowerLinalgPass> {
  void runOnOperation() override {
    IRRewriter rewriter(&getContext());
    SmallVector<memref::CopyOp> copies;
    getOperation().walk([&](memref::CopyOp copy) {
      auto plain = [](Value value) {
        auto type = dyn_cast<MemRefType>(value.getType());
        return type && type.getLayout().isIdentity();
      };
      // Plain buffers are copied by memcpy.
      if (!plain(copy.getSource()) || !plain(copy.getTarget()))
        copies.push_back(copy);
    });
    for (memref::CopyOp copy : copies) {
      rewriter.setInsertionPoint(copy);
      linalg::makeMemRefCopyOp(rewriter, copy.getLoc(), copy.getSource(),
                               copy.getTarget());
      rewriter.eraseOp(copy);
    }

    SmallVector<linalg::LinalgOp> ops;
    getOperation().walk([&](linalg::LinalgOp op) { ops.push_back(op); });
    for (linalg::LinalgOp op : ops) {
      if (!op.hasPureBufferSemantics()) {
        op.emitOpError("expected buffers; bufferize first");
        return signalPassFailure();
      }
      if (op.getNumReductionLoops() > 0)
        allowReassociation(op);
      rewriter.setInsertionPoint(op);
      if (failed(linalg::linalgOpToParallelLoops(rewriter, op))) {
        op.emitOpError("expected an op that can become loops");
        return signalPassFailure();
      }
      rewriter.eraseOp(op);
    }
  }

private:
  /// Lets the vectorizer keep several partial sums. Infinite masks and nan stay
  /// what they are.
  static void allowReassociation(linalg::LinalgOp op) {
    auto flags = arith::FastMathFlagsAttr::get(
        op.getContext(),
        arith::FastMathFlags::reassoc | arith::FastMathFlags::contract);
    op->walk([&](Operation *inner) {
      if (isa<arith::AddFOp, arith::MulFOp>(inner))
        inner->setAttr("fastmath", flags);
    });
  }
};

} // namespace
