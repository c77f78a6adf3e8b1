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

/// What compiled code cannot hold: strings, complex numbers, sequences and the
/// like. Values of unknown type pass; shape inference has the say over them.
static bool isUnsupported(Type type) {
  if (isa<NoneType>(type))
    return false;
  auto tensor = dyn_cast<TensorType>(type);
  if (!tensor)
    return !isa<AnyType>(type);
  Type element = tensor.getElementType();
  return !element.isIntOrFloat() && !isa<AnyType>(element);
}

static std::string countOf(size_t count, StringRef what) {
  return (Twine(count) + " unsupported " + what + (count == 1 ? "" : "s"))
      .str();
}

/// `: 3 nodes ("first", "second", ...)`
static void printNodes(Diagnostic &note, ArrayRef<Operation *> ops) {
  constexpr size_t kMaxNames = 8;
  SmallVector<std::string> names;
  for (Operation *op : ops)
    if (!getNodeName(op).empty() && names.size() < kMaxNames)
      names.push_back(("\"" + getNodeName(op) + "\"").str());
  if (!names.empty() && names.size() < ops.size())
    names.push_back("...");
  note << ": " << ops.size() << (ops.size() == 1 ? " node" : " nodes");
  if (!names.empty())
    note << " (" << llvm::join(names, ", ") << ")";
}

void GanqVerifyInput::runOnOperation() {
  llvm::MapVector<StringRef, SmallVector<Operation *>> unsupported;
  // Types that only supported operators give: the others are listed anyhow.
  llvm::MapVector<Type, SmallVector<Operation *>> types;
  getOperation().walk([&](Operation *op) {
    StringRef name = ganq::onnx::getOpName(op);
    if (name.empty())
      return;
    if (!isSupportedOp(name)) {
      unsupported[name].push_back(op);
      return;
    }
    for (Type type : op->getResultTypes())
      if (isUnsupported(type)) {
        types[type].push_back(op);
        break;
      }
  });
  SmallVector<std::pair<StringRef, Type>> arguments;
  for (auto function : getOperation().getOps<func::FuncOp>())
    for (BlockArgument arg : function.getArguments())
      if (isUnsupported(arg.getType()))
        if (auto name = function.getArgAttrOfType<StringAttr>(
                arg.getArgNumber(), "onnx.name"))
          arguments.emplace_back(name.getValue(), arg.getType());
  SmallVector<std::string> kinds;
  if (!unsupported.empty())
    kinds.push_back(countOf(unsupported.size(), "operator"));
  if (!types.empty())
    kinds.push_back(countOf(types.size(), "type"));
  if (!arguments.empty())
    kinds.push_back(countOf(arguments.size(), "input"));
  if (kinds.empty())
    return;
  // The notes name their nodes themselves.
  Location nowhere = UnknownLoc::get(&getContext());
  InFlightDiagnostic diag = getOperation().emitError()
                            << "expected a model that can be compiled, but got "
                            << llvm::join(kinds, ", ");
  for (auto &[name, ops] : unsupported) {
    Diagnostic &note = diag.attachNote(nowhere);
    note << "op " << name;
    printNodes(note, ops);
  }
  for (auto &[type, ops] : types) {
    Diagnostic &note = diag.attachNote(nowhere);
    note << "values of type " << type;
    printNodes(note, ops);
  }
  for (auto [name, type] : arguments)
    diag.attachNote(nowhere)
        << "input \"" << name << "\": values of type " << type;
  signalPassFailure();
}
