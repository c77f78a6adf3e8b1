//===- LowerKernels.cpp - ganq ops on buffers to kernels ------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "IntegerMatmul.h"
#include "KernelBuilder.h"
#include "ganq/Codegen/Passes.h"
#include "mlir/Dialect/ControlFlow/IR/ControlFlow.h"
#include "llvm/ADT/TypeSwitch.h"

namespace ganq {
#define GEN_PASS_DEF_LOWERKERNELS
#include "ganq/Codegen/Passes.h.inc"
} // namespace ganq

using namespace mlir;
using namespace ganq;

namespace {

struct LowerKernelsPass : ganq::impl::LowerKernelsBase<LowerKernelsPass> {
  using LowerKernelsBase::LowerKernelsBase;

  void runOnOperation() override {
    llvm::Expected<CpuTarget> target = CpuTarget::get(cpu);
    if (!target) {
      getOperation().emitError(llvm::toString(target.takeError()));
      return signalPassFailure();
    }
    SmallVector<Operation *> ops;
    WalkResult checked = getOperation().walk([&](Operation *op) {
      if (!isa<KernelOpInterface, KvUpdateOp>(op))
        return WalkResult::advance();
      if (failed(check(op)))
        return WalkResult::interrupt();
      ops.push_back(op);
      return WalkResult::advance();
    });
    if (checked.wasInterrupted())
      return signalPassFailure();

    KernelLibrary library(getOperation(), *target);
    OpBuilder builder(&getContext());
    for (Operation *op : ops) {
      builder.setInsertionPoint(op);
      llvm::TypeSwitch<Operation *>(op)
          .Case([&](MatmulOp op) { lowerMatmul(builder, library, op); })
          .Case([&](PackedMatmulOp op) {
            if (op.getScheme().getActivationBits())
              lowerIntegerMatmul(builder, library, op);
            else
              lowerPackedMatmul(builder, library, op);
          })
          .Case([&](QuantizeRowsOp op) {
            lowerQuantizeRows(builder, library, op);
          })
          .Case([&](RmsNormOp op) { lowerRmsNorm(builder, library, op); })
          .Case([&](LayerNormOp op) { lowerLayerNorm(builder, library, op); })
          .Case([&](SwigluOp op) { lowerSwiglu(builder, library, op); })
          .Case([&](RopeOp op) { lowerRope(builder, library, op); })
          .Case([&](PositionRowsOp op) {
            lowerPositionRows(builder, library, op);
          })
          .Case([&](KvUpdateOp op) { lowerKvUpdate(builder, library, op); })
          .Case([&](AttentionOp op) { lowerAttention(builder, library, op); });
      op->erase();
    }
    numKernels += library.getNumKernels();
  }

private:
  /// What the kernels rely on beyond the verifiers.
  static LogicalResult check(Operation *op) {
    for (Value operand : op->getOperands()) {
      if (isa<TensorType>(operand.getType()))
        return op->emitOpError("expected buffers, but got ")
               << operand.getType() << "; bufferize first";
      auto type = dyn_cast<MemRefType>(operand.getType());
      if (type && !type.getLayout().isIdentity())
        return op->emitOpError("expected buffers without strides, but got ")
               << type;
    }
    auto fixedLast = [&](Value memref, StringRef what) -> LogicalResult {
      auto type = cast<MemRefType>(memref.getType());
      if (!type.isDynamicDim(type.getRank() - 1))
        return success();
      return op->emitOpError("expected a static ")
             << what << ", but got " << type;
    };
    if (auto attention = dyn_cast<AttentionOp>(op))
      return success(succeeded(fixedLast(attention.getQ(), "head size")) &&
                     succeeded(fixedLast(attention.getV(), "head size")));
    if (auto matmul = dyn_cast<MatmulOp>(op))
      return fixedLast(matmul.getOut(), "number of columns");
    if (auto matmul = dyn_cast<PackedMatmulOp>(op)) {
      if (!matmul.getScheme().getActivationBits() &&
          failed(checkPackedMatmul(matmul)))
        return failure();
      return fixedLast(matmul.getOut(), "number of columns");
    }
    return success();
  }
};

} // namespace
