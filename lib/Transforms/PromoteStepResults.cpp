//===- PromoteStepResults.cpp - Results of step functions to arguments ----===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/Transforms/Passes.h"
#include "mlir/Dialect/Bufferization/Transforms/Passes.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "llvm/ADT/BitVector.h"

using namespace mlir;
using namespace ganq;

namespace ganq {
#define GEN_PASS_DEF_PROMOTESTEPRESULTS
#include "ganq/Transforms/Passes.h.inc"
} // namespace ganq

namespace {

struct PromoteStepResultsPass
    : ganq::impl::PromoteStepResultsBase<PromoteStepResultsPass> {
  /// A cache that bufferized in place is returned as the argument it came in.
  static void dropCaches(func::FuncOp func) {
    auto terminator = cast<func::ReturnOp>(func.front().getTerminator());
    llvm::BitVector returned(func.getNumResults());
    for (auto [index, value] : llvm::enumerate(terminator.getOperands()))
      returned[index] = isa<BlockArgument>(value);
    terminator->eraseOperands(returned);
    (void)func.eraseResults(returned);
  }

  void runOnOperation() override {
    ModuleOp module = getOperation();
    auto isStep = [](func::FuncOp func) { return func.getSymName() != "main"; };
    for (auto func : module.getOps<func::FuncOp>()) {
      if (!isStep(func))
        continue;
      dropCaches(func);
      for (Type type : func.getResultTypes()) {
        auto buffer = dyn_cast<MemRefType>(type);
        if (!buffer || !buffer.hasStaticShape()) {
          func.emitError("expected the results of a step function to be "
                         "buffers of static shape, but got ")
              << type;
          return signalPassFailure();
        }
      }
    }
    bufferization::BufferResultsToOutParamsOpts options;
    options.filterFn = [&](func::FuncOp *func) { return isStep(*func); };
    options.hoistStaticAllocs = true;
    options.modifyPublicFunctions = true;
    if (failed(bufferization::promoteBufferResultsToOutParams(module, options)))
      signalPassFailure();
  }
};

} // namespace
