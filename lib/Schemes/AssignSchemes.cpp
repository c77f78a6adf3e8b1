//===- AssignSchemes.cpp - One scheme per weight --------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/Schemes/Passes.h"
#include "ganq/Schemes/SchemeRules.h"
#include "ganq/Support/Errors.h"
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
    if (llvm::Error error = assign()) {
      std::string message = llvm::toString(std::move(error));
      if (!message.empty())
        getOperation().emitError() << message;
      signalPassFailure();
    }
  }

  /// The scheme of the pass's own options.
  llvm::Expected<SchemeText> readText() {
    auto text = SchemeText::parse(scheme);
    if (!text)
      return text;
    SmallVector<std::pair<StringRef, StringRef>> given;
    if (!bits.empty())
      given.emplace_back("bits", bits);
    if (!group.empty())
      given.emplace_back("group", group);
    for (StringRef option : schemeOptions)
      given.push_back(option.split('='));
    for (auto [name, value] : given)
      if (llvm::Error error = text->set(name, value))
        return std::move(error);
    return text;
  }

  /// An error without text where diagnostics have said all.
  llvm::Error assign() {
    ModuleOp module = getOperation();
    auto text = readText();
    if (!text)
      return text.takeError();
    SchemeAttrInterface usual;
    if (!text->isNone()) {
      auto attr = text->get(&getContext());
      if (!attr)
        return attr.takeError();
      usual = *attr;
    }
    SchemeRules list;
    if (!rules.empty()) {
      auto read = SchemeRules::read(&getContext(), rules, *text);
      if (!read)
        return read.takeError();
      list = std::move(*read);
    }

    std::string regexError;
    llvm::Regex excluded(exclude);
    if (!exclude.empty() && !excluded.isValid(regexError))
      return makeError("expected `exclude` to be a regular expression, but got "
                       "`" +
                       exclude + "`: " + regexError);

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
      const SchemeRule *rule = list.find(key);
      SchemeAttrInterface attr = rule ? rule->scheme : usual;
      if (!attr) {
        auto remark = weight.emitRemark("keeps its precision: ");
        (rule ? remark << "rule at " << rule->where : remark << "no rule")
            << ": " << key;
        continue;
      }
      weight.emitRemark("scheme ") << attr.getShortName() << ": " << key;
      for (MatmulOp matmul : matmuls)
        if (failed(encode(matmul, attr, rule ? rule->solver : "")))
          return makeError("");
    }
    if (!exclude.empty() && !anyExcluded)
      return makeError("expected `exclude` to match at least one weight, but "
                       "`" +
                       exclude + "` matches none of " +
                       llvm::Twine(products.size()));
    return list.checkUsed();
  }

  /// Gives the product a parameter of its own with the encoded type; other
  /// users of the weight, such as an embedding, keep the plain one.
  LogicalResult encode(MatmulOp matmul, SchemeAttrInterface attr,
                       StringRef solver) {
    auto weight = matmul.getWeight().getDefiningOp<ParameterOp>();
    auto type = dyn_cast<RankedTensorType>(weight.getType());
    if (!type)
      return weight.emitError("expected a tensor, but got ")
             << weight.getType() << "; assign schemes before bufferization";
    auto emitError = [&]() {
      InFlightDiagnostic error = weight.emitError();
      error << "weight '" << weight.getKey() << "': ";
      return error;
    };
    if (failed(attr.verifyWeight(emitError, type.getDimSize(0),
                                 type.getDimSize(1))))
      return failure();
    OpBuilder builder(weight);
    auto encoded = cast<ParameterOp>(builder.clone(*weight));
    encoded.getResult().setType(
        RankedTensorType::get(type.getShape(), type.getElementType(), attr));
    if (!solver.empty())
      encoded->setAttr("ganq.solver", builder.getStringAttr(solver));
    matmul.getWeightMutable().set(encoded);
    if (weight->use_empty())
      weight.erase();
    return success();
  }
};

} // namespace
