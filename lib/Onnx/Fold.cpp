//===- Fold.cpp - Known values become constants ---------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/Onnx/Evaluate.h"
#include "ganq/Onnx/Passes.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

namespace ganq {
#define GEN_PASS_DEF_ONNXFOLD
#include "ganq/Onnx/Passes.h.inc"
} // namespace ganq

using namespace mlir;
using namespace ganq::onnx;

namespace {

/// Folds one function.
class Folder {
public:
  explicit Folder(func::FuncOp function)
      : function(function), evaluator(function.getContext()) {
    evaluator.bindArguments(function);
  }
  /// Fails after an error. `changed` is set when another run may find more.
  LogicalResult run(bool &changed);

private:
  LogicalResult visit(Operation *op);
  bool inlineTakenBranch(Operation *op);
  Value getReplacement(Operation *op);
  void makeShapeConstant(Operation *op);
  bool haveSameDims(Value a, Value b);

  func::FuncOp function;
  Evaluator evaluator;
  SmallVector<Operation *> inlined;
  bool changed = false;
};

class OnnxFold : public ganq::impl::OnnxFoldBase<OnnxFold> {
public:
  using OnnxFoldBase::OnnxFoldBase;
  void runOnOperation() override {
    for (auto function : getOperation().getOps<func::FuncOp>()) {
      if (function.isExternal())
        continue;
      for (bool changed = true; changed;) {
        changed = false;
        if (failed(Folder(function).run(changed)))
          return signalPassFailure();
      }
    }
  }
};

} // namespace

/// Constants above this size stay computations.
static constexpr int64_t kMaxBytes = 1024;

bool Folder::haveSameDims(Value a, Value b) {
  FailureOr<AbstractTensor> x = evaluator.evaluate(a),
                            y = evaluator.evaluate(b);
  return succeeded(x) && succeeded(y) && x->hasRank && y->hasRank &&
         x->dims == y->dims;
}

/// The operand that an operation returns unchanged; null when there is none.
Value Folder::getReplacement(Operation *op) {
  StringRef name = getOpName(op);
  if (op->getNumOperands() == 0 || op->getNumResults() == 0)
    return {};
  Value operand = op->getOperand(0), result = op->getResult(0);
  if (name == "Where" && op->getNumOperands() == 3) {
    FailureOr<AbstractTensor> condition = evaluator.evaluate(operand);
    const auto *known = succeeded(condition) ? condition->getInts() : nullptr;
    if (!known || known->empty() || !llvm::all_equal(*known))
      return {};
    operand = op->getOperand(known->front() ? 1 : 2);
    return operand.getType() == result.getType() &&
                   haveSameDims(operand, result)
               ? operand
               : Value();
  }
  if (operand.getType() != result.getType())
    return {};
  if (name == "Identity")
    return operand;
  if (name == "Dropout") {
    std::optional<int64_t> training = 0;
    if (op->getNumOperands() > 2 && !isNone(op->getOperand(2)))
      training = getConstantInt(op->getOperand(2));
    bool masked = op->getNumResults() > 1 && !op->getResult(1).use_empty();
    return training == 0 && !masked ? operand : Value();
  }
  if (name == "Cast" || name == "CastLike") // Of equal types.
    return isa<AnyType>(cast<ShapedType>(operand.getType()).getElementType())
               ? Value()
               : operand;
  if (name == "Concat" && op->getNumOperands() == 1)
    return operand;
  if (name == "Transpose") {
    auto perm = getInts(op, "perm");
    if (!perm)
      return {};
    for (auto [i, axis] : llvm::enumerate(*perm))
      if (axis != static_cast<int64_t>(i))
        return {};
    return operand;
  }
  if (name == "Slice") {
    if (op->getNumOperands() > 4 && !isNone(op->getOperand(4))) {
      SmallVector<int64_t> steps;
      if (!getConstantInts(op->getOperand(4), steps) ||
          llvm::any_of(steps, [](int64_t step) { return step != 1; }))
        return {};
    }
    return haveSameDims(operand, result) ? operand : Value();
  }
  if (llvm::is_contained(
          {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Expand", "Tile"},
          name))
    return haveSameDims(operand, result) ? operand : Value();
  return {};
}

/// Writes the shape operand of Reshape and Expand as a constant when the
/// operand's dimensions give the rest: 0 copies a dimension and -1 follows.
void Folder::makeShapeConstant(Operation *op) {
  bool reshape = isOnnxOp(op, "Reshape");
  if (op->getNumOperands() != 2 || op->getNumResults() != 1 ||
      matchConstant(op->getOperand(1)))
    return;
  FailureOr<AbstractTensor> from = evaluator.evaluate(op->getOperand(0));
  FailureOr<AbstractTensor> to = evaluator.evaluate(op->getResult(0));
  FailureOr<AbstractTensor> shape = evaluator.evaluate(op->getOperand(1));
  if (failed(from) || failed(to) || failed(shape) || !from->hasRank ||
      !to->hasRank || !shape->hasRank || shape->dims.size() != 1 ||
      to->dims.size() < from->dims.size() * !reshape)
    return;
  SmallVector<int64_t> sizes;
  bool inferred = false;
  size_t lead = reshape ? 0 : to->dims.size() - from->dims.size();
  for (auto [i, dim] : llvm::enumerate(to->dims)) {
    auto constant = dyn_cast<AffineConstantExpr>(dim);
    bool copied = i >= lead && i - lead < from->dims.size() &&
                  from->dims[i - lead] == dim;
    if (constant && (constant.getValue() > 0 || !reshape))
      sizes.push_back(constant.getValue());
    else if (copied)
      sizes.push_back(reshape ? 0 : 1);
    else if (reshape && !inferred && !constant)
      inferred = true, sizes.push_back(-1);
    else
      return;
  }
  OpBuilder builder(op);
  op->setOperand(1, createInts(builder, op->getLoc(), sizes));
  op->removeAttr("allowzero");
  changed = true;
}

/// Puts the branch of an If whose condition is known in place of the If.
bool Folder::inlineTakenBranch(Operation *op) {
  if (!isOnnxOp(op, "If") || op->getNumRegions() != 2)
    return false;
  FailureOr<AbstractTensor> condition = evaluator.evaluate(op->getOperand(0));
  if (failed(condition) || !condition->getInts() ||
      condition->getInts()->size() != 1)
    return false;
  Region &region = op->getRegion(condition->getInts()->front() ? 0 : 1);
  if (!region.hasOneBlock() || region.front().getNumArguments() != 0)
    return false;
  Operation *yield = &region.front().back();
  if (yield->getNumOperands() != op->getNumResults())
    return false;
  SmallVector<Value> values(yield->getOperands());
  yield->erase();
  op->getBlock()->getOperations().splice(op->getIterator(),
                                         region.front().getOperations());
  op->replaceAllUsesWith(values);
  // Erased at the end: a new operation at its address would inherit what the
  // evaluator knows about it.
  inlined.push_back(op);
  return true;
}

LogicalResult Folder::visit(Operation *op) {
  if (inlineTakenBranch(op)) {
    changed = true;
    return success();
  }
  for (Value result : op->getResults()) {
    if (result.use_empty())
      continue;
    FailureOr<AbstractTensor> tensor = evaluator.evaluate(result);
    if (failed(tensor))
      return failure();
    DenseElementsAttr value = evaluator.toAttr(*tensor);
    if (!value || value.getNumElements() *
                          value.getElementType().getIntOrFloatBitWidth() >
                      kMaxBytes * 8)
      continue;
    OpBuilder builder(op);
    result.replaceAllUsesWith(createConstant(builder, op->getLoc(), value));
    changed = true;
  }
  if (isOnnxOp(op, {"Reshape", "Expand"}))
    makeShapeConstant(op);
  if (Value replacement = getReplacement(op);
      replacement && !op->getResult(0).use_empty()) {
    op->getResult(0).replaceAllUsesWith(replacement);
    changed = true;
  }
  return success();
}

LogicalResult Folder::run(bool &anyChange) {
  SmallVector<Operation *> ops;
  function.walk<WalkOrder::PreOrder>([&](Operation *op) {
    // Bodies wait until a later run: their If may be replaced by one of them.
    if (!getOpName(op).empty() && !isa<ConstantOp, NoneOp, YieldOp>(op))
      ops.push_back(op);
    return op->getNumRegions() > 0 && op != function ? WalkResult::skip()
                                                     : WalkResult::advance();
  });
  for (Operation *op : ops)
    if (failed(visit(op)))
      return failure();
  for (Operation *op : inlined)
    op->erase();
  SmallVector<Operation *> all;
  function.walk<WalkOrder::PreOrder>([&](Operation *op) { all.push_back(op); });
  for (Operation *op : llvm::reverse(all)) // Users come before what they use.
    if (op != function && isOpTriviallyDead(op)) {
      op->erase();
      changed = true;
    }
  anyChange = changed;
  return success();
}
