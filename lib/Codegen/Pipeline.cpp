//===- Pipeline.cpp - From buffers to the LLVM dialect --------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/Codegen/Passes.h"
#include "mlir/Conversion/AffineToStandard/AffineToStandard.h"
#include "mlir/Conversion/ReconcileUnrealizedCasts/ReconcileUnrealizedCasts.h"
#include "mlir/Conversion/SCFToControlFlow/SCFToControlFlow.h"
#include "mlir/Conversion/VectorToSCF/VectorToSCF.h"
#include "mlir/Dialect/Arith/Transforms/Passes.h"
#include "mlir/Dialect/MemRef/Transforms/Passes.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Pass/PassOptions.h"
#include "mlir/Transforms/Passes.h"

using namespace mlir;
using namespace ganq;

void ganq::buildCpuLoweringPipeline(OpPassManager &manager,
                                    const CpuLoweringOptions &options) {
  manager.addPass(createPlanMemory());
  manager.addPass(createLowerKernels({options.cpu}));
  manager.addNestedPass<func::FuncOp>(createLowerLinalg());
  manager.addPass(createCanonicalizerPass());
  manager.addPass(createCSEPass());
  manager.addPass(createOutlineParallel());
  manager.addPass(createLowerTableLookup({options.cpu}));
  manager.addNestedPass<func::FuncOp>(createConvertVectorToSCFPass());
  // No processor here computes in bf16.
  manager.addNestedPass<func::FuncOp>(
      arith::createArithEmulateUnsupportedFloats(
          {SmallVector<std::string>{"bf16"}, "f32"}));
  manager.addNestedPass<func::FuncOp>(createLowerMath());
  manager.addPass(memref::createExpandOpsPass());
  manager.addPass(memref::createExpandStridedMetadataPass());
  manager.addPass(createLowerAffinePass());
  manager.addPass(createSCFToControlFlowPass());
  manager.addPass(createCanonicalizerPass());
  manager.addPass(createCSEPass());
  manager.addPass(createConvertToLLVM());
}

namespace {
struct PipelineOptions : PassPipelineOptions<PipelineOptions> {
  Option<std::string> cpu{*this, "cpu",
                          llvm::cl::desc("x86-64-v3, x86-64-v3-vnni, "
                                         "x86-64-v4 or host"),
                          llvm::cl::init("host")};
};
} // namespace

void ganq::registerGanqCodegen() {
  registerCodegenPasses();
  PassPipelineRegistration<PipelineOptions>(
      "ganq-cpu-lowering", "From bufferized modules to the LLVM dialect",
      [](OpPassManager &manager, const PipelineOptions &options) {
        buildCpuLoweringPipeline(manager, {options.cpu});
      });
}
