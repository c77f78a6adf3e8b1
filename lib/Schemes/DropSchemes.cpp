//===- DropSchemes.cpp - Weights in their own precision again -------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/Schemes/Passes.h"

using namespace mlir;
using namespace ganq;

namespace ganq {
#define GEN_PASS_DEF_DROPSCHEMES
#include "ganq/Schemes/Passes.h.inc"
} // namespace ganq

namespace {

struct DropSchemesPass : ganq::impl::DropSchemesBase<DropSchemesPass> {
  void runOnOperation() override {
    getOperation().walk([](ParameterOp parameter) {
      auto type = dyn_cast<RankedTensorType>(parameter.getType());
      if (type && type.getEncoding())
        parameter.getResult().setType(
            RankedTensorType::get(type.getShape(), type.getElementType()));
    });
  }
};

} // namespace
