//===- CodeGeneration.cpp - LLVM IR to code -------------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/Target/CodeGeneration.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/IR/LegacyPassManager.h"
#include "llvm/IR/Verifier.h"
#include "llvm/MC/TargetRegistry.h"
#include "llvm/Support/TargetSelect.h"
#include "llvm/Target/TargetOptions.h"

using namespace ganq;
using llvm::createStringError;
using llvm::Error;
using llvm::Expected;

void ganq::initializeBackends() {
  static bool initialized = [] {
    LLVMInitializeX86TargetInfo();
    LLVMInitializeX86Target();
    LLVMInitializeX86TargetMC();
    LLVMInitializeX86AsmPrinter();
    LLVMInitializeNVPTXTargetInfo();
    LLVMInitializeNVPTXTarget();
    LLVMInitializeNVPTXTargetMC();
    LLVMInitializeNVPTXAsmPrinter();
    return true;
  }();
  (void)initialized;
}

static Expected<const llvm::Target *> findBackend(const llvm::Triple &triple) {
  initializeBackends();
  std::string message;
  if (const auto *backend = llvm::TargetRegistry::lookupTarget(triple, message))
    return backend;
  return createStringError("expected LLVM to generate code for " +
                           triple.str() + ", but got: " + message);
}

Expected<std::unique_ptr<llvm::TargetMachine>>
ganq::createTargetMachine(const CpuTarget &target, int optLevel) {
  llvm::Triple triple("x86_64-unknown-linux-gnu");
  auto backend = findBackend(triple);
  if (!backend)
    return backend.takeError();
  auto level = optLevel == 0   ? llvm::CodeGenOptLevel::None
               : optLevel == 1 ? llvm::CodeGenOptLevel::Less
               : optLevel == 2 ? llvm::CodeGenOptLevel::Default
                               : llvm::CodeGenOptLevel::Aggressive;
  return std::unique_ptr<llvm::TargetMachine>((*backend)->createTargetMachine(
      triple, target.cpu, llvm::join(target.features, ","),
      llvm::TargetOptions(), llvm::Reloc::PIC_, std::nullopt, level));
}

Expected<std::unique_ptr<llvm::TargetMachine>>
ganq::createTargetMachine(const GpuTarget &target) {
  llvm::Triple triple("nvptx64-nvidia-cuda");
  auto backend = findBackend(triple);
  if (!backend)
    return backend.takeError();
  return std::unique_ptr<llvm::TargetMachine>((*backend)->createTargetMachine(
      triple, target.chip, GpuTarget::kFeatures, llvm::TargetOptions(),
      std::nullopt, std::nullopt, llvm::CodeGenOptLevel::Aggressive));
}

void ganq::setTarget(llvm::Module &module, const llvm::TargetMachine &machine) {
  module.setTargetTriple(machine.getTargetTriple());
  module.setDataLayout(machine.createDataLayout());
}

void ganq::runModulePasses(
    llvm::Module &module, llvm::TargetMachine &machine,
    const llvm::PipelineTuningOptions &tuning,
    llvm::function_ref<llvm::ModulePassManager(llvm::PassBuilder &)> build) {
  llvm::LoopAnalysisManager loops;
  llvm::FunctionAnalysisManager functions;
  llvm::CGSCCAnalysisManager callGraph;
  llvm::ModuleAnalysisManager modules;
  llvm::PassBuilder builder(&machine, tuning);
  builder.registerModuleAnalyses(modules);
  builder.registerCGSCCAnalyses(callGraph);
  builder.registerFunctionAnalyses(functions);
  builder.registerLoopAnalyses(loops);
  builder.crossRegisterProxies(loops, functions, callGraph, modules);
  build(builder).run(module, modules);
}

void ganq::optimize(llvm::Module &module, llvm::TargetMachine &machine,
                    int level) {
  llvm::PipelineTuningOptions tuning;
  tuning.LoopVectorization = tuning.SLPVectorization = level >= 2;
  llvm::OptimizationLevel opt = level <= 0   ? llvm::OptimizationLevel::O0
                                : level == 1 ? llvm::OptimizationLevel::O1
                                : level == 2 ? llvm::OptimizationLevel::O2
                                             : llvm::OptimizationLevel::O3;
  runModulePasses(module, machine, tuning, [&](llvm::PassBuilder &builder) {
    return level <= 0 ? builder.buildO0DefaultPipeline(opt)
                      : builder.buildPerModuleDefaultPipeline(opt);
  });
}

Error ganq::verify(const llvm::Module &module) {
  std::string invalid;
  llvm::raw_string_ostream stream(invalid);
  if (llvm::verifyModule(module, &stream))
    return createStringError("expected valid LLVM IR, but got: " + invalid);
  return Error::success();
}

Error ganq::emit(llvm::Module &module, llvm::TargetMachine &machine,
                 llvm::CodeGenFileType kind,
                 llvm::SmallVectorImpl<char> &bytes) {
  llvm::raw_svector_ostream stream(bytes);
  llvm::legacy::PassManager passes;
  if (machine.addPassesToEmitFile(passes, stream, nullptr, kind))
    return createStringError("expected LLVM to write code for " +
                             machine.getTargetTriple().str() +
                             ", but it cannot");
  passes.run(module);
  return Error::success();
}
