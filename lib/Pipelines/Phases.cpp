//===- Phases.cpp - The named phases of compilation -----------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/Pipelines/Phases.h"
#include "ganq/Codegen/Gpu/Passes.h"
#include "ganq/Codegen/Passes.h"
#include "ganq/Conversion/Passes.h"
#include "ganq/IR/GanqDialect.h"
#include "ganq/Onnx/OnnxDialect.h"
#include "ganq/Emulator/Passes.h"
#include "ganq/Onnx/Passes.h"
#include "ganq/Schemes/Passes.h"
#include "ganq/Transforms/Passes.h"
#include "mlir/Dialect/Bufferization/Transforms/OneShotAnalysis.h"
#include "mlir/Dialect/Bufferization/Transforms/Passes.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Linalg/Passes.h"
#include "mlir/InitAllDialects.h"
#include "mlir/InitAllExtensions.h"
#include "mlir/Target/LLVMIR/Dialect/All.h"
#include "mlir/Transforms/Passes.h"
#include "llvm/ADT/StringExtras.h"

using namespace mlir;
using namespace ganq;

/// In the order of `Phase`.
static constexpr llvm::StringLiteral kPhaseNames[] = {
    "input", "raise", "assign", "materialize", "linalg", "buffer", "llvm"};
static_assert(std::size(kPhaseNames) == static_cast<size_t>(Phase::LLVM) + 1);

std::optional<Phase> ganq::parsePhase(StringRef name) {
  const auto *found = llvm::find(kPhaseNames, name);
  if (found == std::end(kPhaseNames))
    return std::nullopt;
  return static_cast<Phase>(found - std::begin(kPhaseNames));
}

std::string ganq::getPhaseNames() {
  return llvm::join(llvm::ArrayRef(kPhaseNames), ", ");
}

/// Tensors to memrefs. Step functions return their caches, which bufferize in
/// place and vanish, and their logits, which become an argument.
static void buildBufferPhase(OpPassManager &manager) {
  bufferization::OneShotBufferizePassOptions options;
  options.bufferizeFunctionBoundaries = true;
  options.functionBoundaryTypeConversion =
      bufferization::LayoutMapOption::IdentityLayoutMap;
  manager.addPass(bufferization::createEmptyTensorEliminationPass());
  manager.addPass(bufferization::createOneShotBufferizePass(options));
  manager.addPass(bufferization::createDropEquivalentBufferResultsPass());
  manager.addPass(createOrderConstants());
  manager.addPass(createPromoteStepResults());
  manager.addPass(createCanonicalizerPass());
  manager.addPass(createCSEPass());
}

void ganq::buildPhase(OpPassManager &manager, Phase phase,
                      const PhaseOptions &options) {
  switch (phase) {
  case Phase::Input:
    manager.addPass(createOnnxNormalizeOpset());
    manager.addPass(createOnnxInferShapes());
    manager.addPass(createOnnxFold());
    manager.addPass(createGanqVerifyInput());
    return;
  case Phase::Raise: {
    RaiseOnnxOptions raise;
    raise.modelDir = options.modelDir;
    // Tables that are computed reach as far as the caches.
    raise.maxContext = std::max(raise.maxContext, options.maxContext);
    manager.addPass(createRaiseOnnx(raise));
    CreateStepFunctionsOptions steps;
    steps.chunk = options.chunk;
    steps.maxContext = options.maxContext;
    steps.kvCache = options.kvCache;
    manager.addPass(createCreateStepFunctions(steps));
    manager.addPass(createSeparateTransposed());
    return;
  }
  case Phase::Assign: {
    if (!options.quantizes())
      return;
    AssignSchemesOptions assign;
    assign.scheme = options.scheme;
    for (const auto &[name, value] : options.schemeOptions)
      assign.schemeOptions.push_back(name + "=" + value);
    assign.rules = options.rules;
    assign.exclude = options.exclude;
    assign.quantizeHead = options.quantizeHead;
    manager.addPass(createAssignSchemes(assign));
    return;
  }
  case Phase::Materialize:
    manager.addPass(createMaterializeSchemes());
    return;
  case Phase::Linalg:
    manager.addPass(createConvertOnnxToLinalg());
    manager.addPass(createCanonicalizerPass());
    manager.addPass(createCSEPass());
    manager.addNestedPass<func::FuncOp>(createLinalgElementwiseOpFusionPass());
    manager.addPass(createCanonicalizerPass());
    manager.addPass(createGroupProducts());
    return;
  case Phase::Buffer:
    buildBufferPhase(manager);
    return;
  case Phase::LLVM: {
    CpuLoweringOptions lowering;
    lowering.cpu = options.cpu;
    buildCpuLoweringPipeline(manager, lowering);
    return;
  }
  }
}

char ReportedError::ID = 0;

llvm::Error ganq::runPasses(PassManager &manager, ModuleOp module) {
  bool reported = false;
  LogicalResult result = success();
  {
    ScopedDiagnosticHandler watch(module.getContext(), [&](Diagnostic &diag) {
      reported |= diag.getSeverity() == DiagnosticSeverity::Error;
      return failure();
    });
    result = manager.run(module);
  }
  if (succeeded(result))
    return llvm::Error::success();
  if (reported)
    return llvm::make_error<ReportedError>();
  std::string passes;
  llvm::raw_string_ostream os(passes);
  manager.printAsTextualPipeline(os);
  return llvm::createStringError("internal error: one of these passes failed "
                                 "without a message: " +
                                 passes);
}

void ganq::registerGanqDialects(DialectRegistry &registry) {
  registerAllDialects(registry);
  registerAllExtensions(registry);
  registerAllToLLVMIRTranslations(registry);
  registry.insert<GanqDialect>();
  onnx::registerOnnxDialect(registry);
  registerBufferizableOpInterfaceExternalModels(registry);
}

void ganq::registerGanqPasses() {
  registerOnnxPasses();
  registerTransformsPasses();
  registerSchemesPasses();
  registerConversionPasses();
  registerGanqCodegen();
  registerGanqGpuCodegen();
  registerEmulatorPasses();
}
