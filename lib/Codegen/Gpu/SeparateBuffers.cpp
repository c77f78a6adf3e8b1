//===- SeparateBuffers.cpp - A buffer of its own for each value -----------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "BufferUses.h"
#include "ganq/Codegen/Gpu/Passes.h"

namespace ganq {
#define GEN_PASS_DEF_SEPARATEBUFFERS
#include "ganq/Codegen/Gpu/Passes.h.inc"
} // namespace ganq

using namespace mlir;
using namespace ganq;

namespace {

struct SeparateBuffersPass
    : public ganq::impl::SeparateBuffersBase<SeparateBuffersPass> {
  void runOnOperation() override {
    func::FuncOp function = getOperation();
    if (!isStepFunction(function) ||
        !llvm::hasSingleElement(function.getBody()))
      return;
    for (auto alloc :
         llvm::make_early_inc_range(function.getOps<memref::AllocOp>()))
      separate(alloc);
    SmallVector<linalg::TransposeOp> transposes(
        function.getOps<linalg::TransposeOp>());
    for (linalg::TransposeOp op : transposes)
      fold(op);
  }

private:
  /// Each write of the whole buffer after the first goes to a new buffer.
  void separate(memref::AllocOp alloc) {
    std::optional<BufferUses> uses = BufferUses::find(alloc);
    if (!uses)
      return;
    // By the value, what was last written to it.
    Value current = alloc;
    bool first = true;
    for (Operation *op : uses->ops) {
      Value before = current;
      for (OpOperand &operand : op->getOpOperands())
        if (uses->isView(operand.get()) && writesWhole(operand)) {
          if (!first) {
            OpBuilder builder(op);
            current = memref::AllocOp::create(builder, alloc.getLoc(),
                                              alloc.getType());
            ++numBuffers;
          }
          first = false;
        }
      for (OpOperand &operand : op->getOpOperands())
        if (uses->isView(operand.get()))
          rebase(operand, alloc, writesWhole(operand) ? current : before);
      for (Value captured : uses->getCaptured(op)) {
        OpBuilder builder(op);
        Value value = rebuildView(builder, captured, alloc, before);
        op->walk([&](Operation *inner) {
          if (inner != op)
            inner->replaceUsesOfWith(captured, value);
        });
      }
    }
    uses->eraseDeadViews();
  }

  /// A transpose that moves only dimensions of size 1 is another view.
  void fold(linalg::TransposeOp op) {
    auto type = cast<MemRefType>(op.getInput().getType());
    int64_t last = -1;
    for (int64_t dimension : op.getPermutation())
      if (type.getDimSize(dimension) != 1) {
        if (dimension < last || type.isDynamicDim(dimension))
          return;
        last = dimension;
      }
    auto alloc = op.getInit().getDefiningOp<memref::AllocOp>();
    std::optional<BufferUses> target =
        alloc ? BufferUses::find(alloc) : std::nullopt;
    if (!target || target->ops.front() != op || target->countWrites() != 1)
      return;
    // What it reads must stay as it is while the result is read.
    auto source = getBufferRoot(op.getInput()).getDefiningOp<memref::AllocOp>();
    std::optional<BufferUses> origin =
        source ? BufferUses::find(source) : std::nullopt;
    if (!origin || origin->countWrites() != 1)
      return;
    OpBuilder builder(op);
    Value view = reshapeBuffer(builder, op.getLoc(), op.getInput(),
                               cast<MemRefType>(alloc.getType()));
    for (Operation *user : ArrayRef(target->ops).drop_front())
      for (OpOperand &operand : user->getOpOperands())
        if (target->isView(operand.get()))
          rebase(operand, alloc, view);
    for (Operation *user : ArrayRef(target->ops).drop_front())
      for (Value captured : target->getCaptured(user)) {
        OpBuilder inner(user);
        Value value = rebuildView(inner, captured, alloc, view);
        user->walk(
            [&](Operation *op) { op->replaceUsesOfWith(captured, value); });
      }
    op.erase();
    target->eraseDeadViews();
    if (alloc.use_empty())
      alloc.erase();
    ++numFolded;
  }
};

} // namespace
