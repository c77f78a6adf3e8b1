//===- BufferUses.cpp - Who reads and writes a buffer ---------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "BufferUses.h"
#include "mlir/Interfaces/ViewLikeInterface.h"

using namespace mlir;
using namespace ganq;

bool ganq::isStepFunction(func::FuncOp function) {
  return !function.isExternal() && !function.isPrivate() &&
         function.getNumArguments() && function.getNumResults() == 0;
}

static bool isReshape(Operation *op) {
  return isa_and_nonnull<memref::ExpandShapeOp, memref::CollapseShapeOp>(op);
}

Value ganq::getBufferRoot(Value value) {
  while (isReshape(value.getDefiningOp()))
    value = cast<ViewLikeOpInterface>(value.getDefiningOp()).getViewSource();
  return value;
}

Value ganq::getMemory(Value value) {
  while (auto view = value.getDefiningOp<ViewLikeOpInterface>())
    value = view.getViewSource();
  return value;
}

bool ganq::isHostOp(Operation *op) {
  return isa<memref::AllocOp>(op) ||
         (op->getNumRegions() == 0 && isMemoryEffectFree(op));
}

bool ganq::writesWhole(OpOperand &operand) {
  Operation *op = operand.getOwner();
  if (isa<KernelOpInterface>(op))
    return operand.getOperandNumber() + 1 == op->getNumOperands();
  if (auto copy = dyn_cast<memref::CopyOp>(op))
    return operand.get() == copy.getTarget() && operand.getOperandNumber() == 1;
  auto linalgOp = dyn_cast<linalg::LinalgOp>(op);
  return linalgOp && linalgOp.isDpsInit(&operand) &&
         !linalgOp.payloadUsesValueFromOperand(&operand) &&
         linalgOp.getMatchingIndexingMap(&operand).isProjectedPermutation();
}

bool ganq::mayWrite(OpOperand &operand) {
  if (writesWhole(operand))
    return true;
  if (auto linalgOp = dyn_cast<linalg::LinalgOp>(operand.getOwner()))
    return linalgOp.isDpsInit(&operand);
  if (auto update = dyn_cast<KvUpdateOp>(operand.getOwner()))
    return operand.get() == update.getCache();
  return false;
}

std::optional<BufferUses> BufferUses::find(memref::AllocOp alloc) {
  BufferUses result;
  if (!alloc.getType().hasStaticShape() ||
      !alloc.getType().getLayout().isIdentity())
    return std::nullopt;
  Block *block = alloc->getBlock();
  llvm::SmallSetVector<Operation *, 8> users;
  result.views.insert(alloc);
  for (size_t i = 0; i < result.views.size(); ++i)
    for (OpOperand &use : result.views[i].getUses()) {
      Operation *owner = use.getOwner();
      if (isReshape(owner)) {
        result.views.insert(owner->getResult(0));
        continue;
      }
      // A body may load what it captures.
      Operation *op = block->findAncestorOpInBlock(*owner);
      bool captured = op != owner;
      if (!op || (captured && !isa<memref::LoadOp>(owner)) ||
          !isa<KernelOpInterface, KvUpdateOp, linalg::LinalgOp, memref::CopyOp>(
              op)) {
        if (!isa_and_nonnull<memref::LoadOp>(op))
          return std::nullopt;
      }
      users.insert(op);
    }
  result.ops.assign(users.begin(), users.end());
  llvm::sort(result.ops,
             [](Operation *a, Operation *b) { return a->isBeforeInBlock(b); });
  // What is read before it is written has no value.
  if (result.ops.empty() ||
      llvm::none_of(result.ops.front()->getOpOperands(), [&](OpOperand &use) {
        return result.isView(use.get()) && writesWhole(use);
      }))
    return std::nullopt;
  return result;
}

SmallVector<Value> BufferUses::getCaptured(Operation *op) const {
  SmallVector<Value> captured;
  for (Value view : views)
    if (llvm::any_of(view.getUsers(), [&](Operation *user) {
          return user != op && op->isProperAncestor(user);
        }))
      captured.push_back(view);
  return captured;
}

unsigned BufferUses::countWrites() const {
  return llvm::count_if(ops, [&](Operation *op) {
    return llvm::any_of(op->getOpOperands(), [&](OpOperand &operand) {
      return isView(operand.get()) && mayWrite(operand);
    });
  });
}

void BufferUses::eraseDeadViews() {
  for (Value view : llvm::reverse(views.getArrayRef().drop_front()))
    if (view.use_empty())
      view.getDefiningOp()->erase();
}

Value ganq::rebuildView(OpBuilder &builder, Value value, Value root,
                        Value replacement) {
  if (value == root)
    return replacement;
  Operation *view = value.getDefiningOp();
  Value source =
      rebuildView(builder, cast<ViewLikeOpInterface>(view).getViewSource(),
                  root, replacement);
  IRMapping mapping;
  mapping.map(cast<ViewLikeOpInterface>(view).getViewSource(), source);
  Operation *copy = builder.clone(*view, mapping);
  Value result = copy->getResult(0);
  auto type = cast<MemRefType>(result.getType());
  result.setType(MemRefType::get(
      type.getShape(), cast<MemRefType>(source.getType()).getElementType()));
  return result;
}

void ganq::rebase(OpOperand &operand, Value root, Value replacement) {
  if (root == replacement)
    return;
  OpBuilder builder(operand.getOwner());
  operand.set(rebuildView(builder, operand.get(), root, replacement));
}

Value ganq::reshapeBuffer(OpBuilder &builder, Location loc, Value buffer,
                          MemRefType type) {
  auto from = cast<MemRefType>(buffer.getType());
  auto allOf = [](int64_t rank) {
    ReassociationIndices group;
    for (int64_t i = 0; i < rank; ++i)
      group.push_back(i);
    return SmallVector<ReassociationIndices>{group};
  };
  if (from.getShape() == type.getShape())
    return buffer;
  if (from.getRank() > 1)
    buffer = memref::CollapseShapeOp::create(builder, loc, buffer,
                                             allOf(from.getRank()));
  if (type.getRank() == 1)
    return buffer;
  return memref::ExpandShapeOp::create(
      builder, loc, MemRefType::get(type.getShape(), from.getElementType()),
      buffer, allOf(type.getRank()));
}
