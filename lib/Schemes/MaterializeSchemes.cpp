//===- MaterializeSchemes.cpp - Encoded weights to stored tensors ---------===//
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
#define GEN_PASS_DEF_MATERIALIZESCHEMES
#include "ganq/Schemes/Passes.h.inc"
} // namespace ganq

namespace {

struct MaterializeSchemesPass
    : ganq::impl::MaterializeSchemesBase<MaterializeSchemesPass> {
  void runOnOperation() override {
    SmallVector<MatmulOp> products;
    getOperation().walk([&](MatmulOp matmul) {
      auto type = dyn_cast<RankedTensorType>(matmul.getWeight().getType());
      if (type && isa_and_nonnull<SchemeAttrInterface>(type.getEncoding()))
        products.push_back(matmul);
    });
    for (MatmulOp matmul : products) {
      auto weight = matmul.getWeight().getDefiningOp<ParameterOp>();
      if (!weight) {
        matmul.emitError("expected the encoded weight to be a "
                         "`ganq.parameter`, but got a computed value");
        return signalPassFailure();
      }
      auto type = cast<RankedTensorType>(weight.getType());
      auto scheme = cast<SchemeAttrInterface>(type.getEncoding());
      int64_t n = type.getDimSize(0), k = type.getDimSize(1);

      OpBuilder builder(matmul);
      SmallVector<Value> components;
      for (const SchemeComponent &component : scheme.getComponents(n, k))
        components.push_back(ParameterOp::create(
            builder, weight.getLoc(), component.type,
            builder.getStringAttr(weight.getKey() + "." + component.suffix),
            ExternalAttr(), UnitAttr()));
      auto packed = PackedMatmulOp::create(
          builder, matmul.getLoc(), matmul.getResult().getType(), matmul.getX(),
          components, matmul.getBias(), Value(), scheme, n, k);
      packed->setDiscardableAttrs(matmul->getDiscardableAttrDictionary());
      matmul.getResult().replaceAllUsesWith(packed.getResult());
      matmul.erase();
      if (weight->use_empty())
        weight.erase();
    }
  }
};

} // namespace
