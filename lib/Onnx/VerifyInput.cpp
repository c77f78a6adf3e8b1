//===- VerifyInput.cpp - What cannot be compiled --------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/Onnx/Passes.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/StringExtras.h"

namespace ganq {
#define GEN_PASS_DEF_GANQVERIFYINPUT
#include "ganq/Onnx/Passes.h.inc"
} // namespace ganq

using namespace mlir;
using namespace ganq::onnx;

namespace {
class GanqVerifyInput
    : public ganq::impl::GanqVerifyInputBase<GanqVerifyInput> {
public:
  void runOnOperation() override;
};
} // namespace

/// True for values that compiled code can hold.
static bool isNumeric(Type type) {
  auto tensor = dyn_cast<TensorType>(type);
  return tensor && tensor.getElementType().isIntOrFloat();
}

void GanqVerifyInput::runOnOperation() {
  llvm::MapVector<StringRef, SmallVector<Operation *>> unsupported;
  getOperation().walk([&](Operation *op) {
    StringRef name = ganq::onnx::getOpName(op);
    if (!name.empty() && !isSupportedOp(name))
      unsupported[name].push_back(op);
  });
  SmallVector<std::pair<StringRef, Type>> arguments;
  for (auto function : getOperation().getOps<func::FuncOp>())
    for (BlockArgument arg : function.getArguments())
      if (!isNumeric(arg.getType()))
        if (auto name = function.getArgAttrOfType<StringAttr>(
                arg.getArgNumber(), "onnx.name"))
          arguments.emplace_back(name.getValue(), arg.getType());
  if (unsupported.empty() && arguments.empty())
    return;
  InFlightDiagnostic diag = getOperation().emitError()
                            << "expected a model that can be compiled, but got "
                            << unsupported.size() << " unsupported operators";
  for (auto &[name, ops] : unsupported) {
    constexpr size_t kMaxNames = 8;
    SmallVector<StringRef> names;
    for (Operation *op : ops)
      if (!getNodeName(op).empty() && names.size() < kMaxNames)
        names.push_back(getNodeName(op));
    if (!names.empty() && names.size() < ops.size())
      names.push_back("...");
    Diagnostic &note = diag.attachNote(ops.front()->getLoc());
    note << "op " << name << ": " << ops.size()
         << (ops.size() == 1 ? " node" : " nodes");
    if (!names.empty())
      note << " (" << llvm::join(names, ", ") << ")";
  }
  for (auto [name, type] : arguments)
    diag.attachNote() << "input " << name << ": values of type " << type;
  signalPassFailure();
}
