//===- InsertObservers.cpp - Taps for calibration -------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/Schemes/Passes.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Builders.h"

using namespace mlir;
using namespace ganq;

namespace ganq {
#define GEN_PASS_DEF_INSERTOBSERVERS
#include "ganq/Schemes/Passes.h.inc"
} // namespace ganq

namespace {

struct InsertObserversPass
    : ganq::impl::InsertObserversBase<InsertObserversPass> {
  void runOnOperation() override {
    ModuleOp module = getOperation();
    SmallVector<func::FuncOp> functions;
    for (StringRef name : {"prefill", "decode"})
      if (auto func = module.lookupSymbol<func::FuncOp>(name))
        functions.push_back(func);
    if (functions.empty())
      if (auto main = module.lookupSymbol<func::FuncOp>("main"))
        functions.push_back(main);
    if (functions.empty()) {
      module.emitError("expected a function @prefill or @main, but got none");
      return signalPassFailure();
    }
    Builder attrs(&getContext());
    NamedAttrList observers;
    int64_t next = 0;
    for (func::FuncOp func : functions) {
      llvm::DenseMap<Value, int64_t> observed;
      func.walk([&](MatmulOp matmul) {
        auto weight = matmul.getWeight().getDefiningOp<ParameterOp>();
        auto type = dyn_cast<RankedTensorType>(matmul.getWeight().getType());
        if (!weight || !type || !type.getEncoding())
          return;
        auto [entry, inserted] = observed.try_emplace(matmul.getX(), -1);
        if (inserted) {
          // The same layer has the same number in every function.
          auto known =
              dyn_cast_or_null<IntegerAttr>(observers.get(weight.getKeyAttr()));
          entry->second = known ? known.getInt() : next++;
          OpBuilder builder(matmul);
          ObserveOp::create(builder, matmul.getLoc(), matmul.getX(),
                            entry->second, weight.getKey());
        }
        observers.set(weight.getKey(), attrs.getI64IntegerAttr(entry->second));
      });
    }
    module->setAttr("ganq.observers", observers.getDictionary(&getContext()));
  }
};

} // namespace
