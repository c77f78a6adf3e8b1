//===- InferShapes.cpp - Types of all values ------------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/Onnx/Binding.h"
#include "ganq/Onnx/Evaluate.h"
#include "ganq/Onnx/Passes.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSet.h"

namespace ganq {
#define GEN_PASS_DEF_ONNXINFERSHAPES
#include "ganq/Onnx/Passes.h.inc"
} // namespace ganq

using namespace mlir;
using namespace ganq::onnx;

bool ganq::onnx::parseBinding(StringRef text,
                              std::pair<std::string, int64_t> &result,
                              std::string &error) {
  auto [name, size] = text.rsplit('=');
  int64_t value = 0;
  if (name.empty() || size.getAsInteger(10, value) || value < 0) {
    error = ("expected dimension=size, but got '" + text + "'").str();
    return false;
  }
  result = {name.str(), value};
  return true;
}

namespace {

class OnnxInferShapes
    : public ganq::impl::OnnxInferShapesBase<OnnxInferShapes> {
public:
  using OnnxInferShapesBase::OnnxInferShapesBase;
  void runOnOperation() override;

private:
  LogicalResult readBindings(llvm::StringMap<int64_t> &sizes);
  LogicalResult inferFunction(func::FuncOp function,
                              const llvm::StringMap<int64_t> &sizes);
  LogicalResult inferBlock(Evaluator &evaluator, Block &block);
};

} // namespace

LogicalResult OnnxInferShapes::readBindings(llvm::StringMap<int64_t> &sizes) {
  llvm::StringSet<> names;
  getOperation().walk([&](func::FuncOp function) {
    for (BlockArgument arg : function.getArguments())
      if (auto dims = function.getArgAttrOfType<ArrayAttr>(arg.getArgNumber(),
                                                           "onnx.dims"))
        for (Attribute dim : dims)
          if (auto name = dyn_cast<StringAttr>(dim))
            names.insert(name.getValue());
  });
  for (const std::string &text : bind) {
    std::pair<std::string, int64_t> binding;
    std::string error;
    if (!parseBinding(text, binding, error))
      return getOperation().emitError(error);
    if (!names.contains(binding.first)) {
      SmallVector<StringRef> list;
      for (const auto &entry : names)
        if (!entry.getKey().empty())
          list.push_back(entry.getKey());
      llvm::sort(list);
      return getOperation().emitError()
             << "expected a symbolic dimension of an argument to bind ("
             << (list.empty() ? "there is none" : llvm::join(list, ", "))
             << "), but got '" << binding.first << "'";
    }
    sizes[binding.first] = binding.second;
  }
  return success();
}

/// The dimensions as `onnx.dims` has them.
static ArrayAttr describeDims(const Evaluator &evaluator,
                              const AbstractTensor &tensor, ArrayAttr old) {
  Builder b(evaluator.getContext());
  SmallVector<Attribute> dims;
  for (auto [i, dim] : llvm::enumerate(tensor.dims)) {
    StringRef name = evaluator.getName(dim);
    if (auto constant = dyn_cast<AffineConstantExpr>(dim))
      dims.push_back(b.getI64IntegerAttr(constant.getValue()));
    else if (!name.empty() || !old || i >= old.size())
      dims.push_back(b.getStringAttr(name));
    else
      dims.push_back(isa<StringAttr>(old[i]) ? old[i] : b.getStringAttr(""));
  }
  return b.getArrayAttr(dims);
}

LogicalResult OnnxInferShapes::inferBlock(Evaluator &evaluator, Block &block) {
  for (Operation &op : block) {
    if (ganq::onnx::getOpName(&op).empty())
      continue;
    for (Value result : op.getResults()) {
      FailureOr<AbstractTensor> tensor = evaluator.evaluate(result);
      if (failed(tensor))
        return failure();
      Type type = evaluator.toType(*tensor);
      if (type && isa<TensorType>(result.getType()) && !isa<ConstantOp>(op))
        result.setType(type);
    }
    if (op.getNumRegions() == 0)
      continue;
    // The branch that is not taken need not fit the sizes at hand.
    std::optional<int64_t> taken;
    if (isOnnxOp(&op, "If")) {
      FailureOr<AbstractTensor> condition =
          evaluator.evaluate(op.getOperand(0));
      if (failed(condition))
        return failure();
      if (const auto *known = condition->getInts(); known && known->size() == 1)
        taken = known->front() ? 0 : 1;
    }
    for (Region &region : op.getRegions()) {
      if (taken && *taken != region.getRegionNumber())
        continue;
      for (Block &inner : region)
        if (failed(inferBlock(evaluator, inner)))
          return failure();
    }
  }
  return success();
}

LogicalResult
OnnxInferShapes::inferFunction(func::FuncOp function,
                               const llvm::StringMap<int64_t> &sizes) {
  if (function.isExternal())
    return success();
  Evaluator evaluator(&getContext());
  evaluator.bindArguments(function, sizes);
  for (BlockArgument arg : function.getArguments()) {
    FailureOr<AbstractTensor> tensor = evaluator.evaluate(arg);
    Type type = evaluator.toType(*tensor);
    if (!type || !isa<TensorType>(arg.getType()))
      continue;
    arg.setType(type);
    if (auto dims = function.getArgAttrOfType<ArrayAttr>(arg.getArgNumber(),
                                                         "onnx.dims"))
      function.setArgAttr(arg.getArgNumber(), "onnx.dims",
                          describeDims(evaluator, *tensor, dims));
  }
  for (Block &block : function.getBody())
    if (failed(inferBlock(evaluator, block)))
      return failure();
  Operation *terminator = function.getBody().back().getTerminator();
  for (auto [i, value] : llvm::enumerate(terminator->getOperands())) {
    FailureOr<AbstractTensor> tensor = evaluator.evaluate(value);
    if (failed(tensor))
      return failure();
    auto old = function.getResultAttrOfType<ArrayAttr>(i, "onnx.dims");
    if (tensor->elementType && tensor->hasRank)
      function.setResultAttr(i, "onnx.dims",
                             describeDims(evaluator, *tensor, old));
  }
  function.setFunctionType(
      FunctionType::get(&getContext(), function.getBody().getArgumentTypes(),
                        terminator->getOperandTypes()));
  return success();
}

void OnnxInferShapes::runOnOperation() {
  llvm::StringMap<int64_t> sizes;
  if (failed(readBindings(sizes)))
    return signalPassFailure();
  for (auto function : getOperation().getOps<func::FuncOp>())
    if (failed(inferFunction(function, sizes)))
      return signalPassFailure();
}
