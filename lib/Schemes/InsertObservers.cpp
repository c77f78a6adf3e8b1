//===- InsertObservers.cpp - Taps for calibration -------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/Schemes/Passes.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/Builders.h"

using namespace mlir;
using namespace ganq;

namespace ganq {
#define GEN_PASS_DEF_INSERTOBSERVERS
#include "ganq/Schemes/Passes.h.inc"
} // namespace ganq

namespace {

/// The values in f32, as the host reads them.
Value toF32(OpBuilder &builder, Location loc, Value value) {
  auto type = cast<RankedTensorType>(value.getType());
  unsigned width = type.getElementTypeBitWidth();
  if (width == 32)
    return value;
  Type f32 = builder.getF32Type();
  Value empty = tensor::EmptyOp::create(
      builder, loc, tensor::getMixedSizes(builder, loc, value), f32);
  SmallVector<AffineMap> maps(2,
                              builder.getMultiDimIdentityMap(type.getRank()));
  SmallVector<utils::IteratorType> loops(type.getRank(),
                                         utils::IteratorType::parallel);
  return linalg::GenericOp::create(
             builder, loc, empty.getType(), value, empty, maps, loops,
             [&](OpBuilder &inner, Location, ValueRange args) {
               Value single =
                   width < 32
                       ? arith::ExtFOp::create(inner, loc, f32, args[0])
                             .getResult()
                       : arith::TruncFOp::create(inner, loc, f32, args[0])
                             .getResult();
               linalg::YieldOp::create(inner, loc, single);
             })
      .getResult(0);
}

struct InsertObserversPass
    : ganq::impl::InsertObserversBase<InsertObserversPass> {
  void runOnOperation() override {
    ModuleOp module = getOperation();
    // The head of @prompt does not see all rows.
    if (auto prompt = module.lookupSymbol<func::FuncOp>("prompt"))
      prompt.erase();
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
          Value x = toF32(builder, matmul.getLoc(), matmul.getX());
          ObserveOp::create(builder, matmul.getLoc(), x, entry->second,
                            weight.getKey());
        }
        observers.set(weight.getKey(), attrs.getI64IntegerAttr(entry->second));
      });
    }
    module->setAttr("ganq.observers", observers.getDictionary(&getContext()));
  }
};

} // namespace
