//===- AssignSchemes.cpp - One scheme per weight --------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/Schemes/Passes.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/Support/Regex.h"

using namespace mlir;
using namespace ganq;

namespace ganq {
#define GEN_PASS_DEF_ASSIGNSCHEMES
#include "ganq/Schemes/Passes.h.inc"
} // namespace ganq

SchemeAttrInterface
ganq::getSchemeByName(function_ref<InFlightDiagnostic()> emitError,
                      MLIRContext *context, StringRef name, unsigned bits,
                      int64_t group) {
  if (name == "lut")
    return dyn_cast_or_null<SchemeAttrInterface>(
        LutAttr::getChecked(emitError, context, bits, group));
  if (name == "uniform")
    return dyn_cast_or_null<SchemeAttrInterface>(
        UniformAttr::getChecked(emitError, context, bits, group));
  emitError() << "expected the scheme to be `lut` or `uniform`, but got `"
              << name << "`";
  return {};
}

namespace {

/// The product whose value reaches a result of `func` with nothing but
/// single-operand ops in between: the output head.
void collectHeads(func::FuncOp func, llvm::StringSet<> &heads) {
  for (auto returnOp : func.getOps<func::ReturnOp>()) {
    for (Value value : returnOp.getOperands()) {
      while (Operation *op = value.getDefiningOp()) {
        if (auto matmul = dyn_cast<MatmulOp>(op)) {
          if (auto weight = matmul.getWeight().getDefiningOp<ParameterOp>())
            heads.insert(weight.getKey());
          break;
        }
        // Reshapes take the shape as a second operand.
        if (op->getNumOperands() == 0 || isa<ParameterOp>(op) ||
            (op->getNumOperands() > 1 &&
             !op->getName().getStringRef().ends_with("Reshape")))
          break;
        value = op->getOperand(0);
      }
    }
  }
}

struct AssignSchemesPass : ganq::impl::AssignSchemesBase<AssignSchemesPass> {
  using AssignSchemesBase::AssignSchemesBase;

  void runOnOperation() override {
    ModuleOp module = getOperation();
    auto emitError = [&]() { return module.emitError(); };
    SchemeAttrInterface attr =
        getSchemeByName(emitError, &getContext(), scheme, bits, group);
    if (!attr)
      return signalPassFailure();

    std::string regexError;
    llvm::Regex excluded(exclude);
    if (!exclude.empty() && !excluded.isValid(regexError)) {
      emitError() << "expected `exclude` to be a regular expression, but got `"
                  << exclude << "`: " << regexError;
      return signalPassFailure();
    }

    llvm::StringSet<> heads;
    if (!quantizeHead)
      for (auto func : module.getOps<func::FuncOp>())
        collectHeads(func, heads);

    // A step function has the same weights as @main; the choice goes by key.
    llvm::MapVector<StringRef, SmallVector<MatmulOp>> products;
    module.walk([&](MatmulOp matmul) {
      if (auto weight = matmul.getWeight().getDefiningOp<ParameterOp>())
        products[weight.getKey()].push_back(matmul);
    });

    bool anyExcluded = false;
    for (auto &[key, matmuls] : products) {
      auto weight = matmuls.front().getWeight().getDefiningOp<ParameterOp>();
      if (!exclude.empty() && excluded.match(key)) {
        anyExcluded = true;
        weight.emitRemark("keeps its precision: excluded by `")
            << exclude << "`: " << key;
        continue;
      }
      if (heads.contains(key)) {
        weight.emitRemark("keeps its precision: output head: ") << key;
        continue;
      }
      weight.emitRemark("scheme ") << attr.getShortName() << ": " << key;
      for (MatmulOp matmul : matmuls)
        if (failed(encode(matmul, attr)))
          return signalPassFailure();
    }
    if (!exclude.empty() && !anyExcluded) {
      emitError() << "expected `exclude` to match at least one weight, but `"
                  << exclude << "` matches none of " << products.size();
      return signalPassFailure();
    }
  }

  /// Gives the product a parameter of its own with the encoded type; other
  /// users of the weight, such as an embedding, keep the plain one.
  LogicalResult encode(MatmulOp matmul, SchemeAttrInterface attr) {
    auto weight = matmul.getWeight().getDefiningOp<ParameterOp>();
    auto type = dyn_cast<RankedTensorType>(weight.getType());
    if (!type)
      return weight.emitError("expected a tensor, but got ")
             << weight.getType() << "; assign schemes before bufferization";
    if (failed(attr.verifyWeight([&]() { return weight.emitError(); },
                                 type.getDimSize(0), type.getDimSize(1))))
      return failure();
    OpBuilder builder(weight);
    auto encoded = ParameterOp::create(
        builder, weight.getLoc(),
        RankedTensorType::get(type.getShape(), type.getElementType(), attr),
        weight.getKeyAttr(), weight.getSourceAttr(),
        weight.getTransposedAttr());
    encoded->setDiscardableAttrs(weight->getDiscardableAttrDictionary());
    matmul.getWeightMutable().set(encoded);
    if (weight->use_empty())
      weight.erase();
    return success();
  }
};

} // namespace
