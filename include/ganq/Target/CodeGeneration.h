//===- CodeGeneration.h - LLVM IR to code -----------------------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// What all that is compiled with LLVM shares: native code of models, kernels
// for the emulator and PTX.
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_TARGET_CODEGENERATION_H
#define GANQ_TARGET_CODEGENERATION_H

#include "ganq/Target/CpuTarget.h"
#include "ganq/Target/GpuTarget.h"
#include "llvm/IR/Module.h"
#include "llvm/Passes/PassBuilder.h"
#include "llvm/Support/CodeGen.h"
#include "llvm/Target/TargetMachine.h"
#include <memory>

namespace ganq {

/// Makes LLVM know the processors that code is generated for.
void initializeBackends();

/// LLVM's machine for x86-64 code; `optLevel` is 0 to 3.
llvm::Expected<std::unique_ptr<llvm::TargetMachine>>
createTargetMachine(const CpuTarget &target, int optLevel);

/// LLVM's machine for PTX.
llvm::Expected<std::unique_ptr<llvm::TargetMachine>>
createTargetMachine(const GpuTarget &target);

/// Gives the module the machine's triple and data layout.
void setTarget(llvm::Module &module, const llvm::TargetMachine &machine);

/// Runs the passes that `build` makes.
void runModulePasses(
    llvm::Module &module, llvm::TargetMachine &machine,
    const llvm::PipelineTuningOptions &tuning,
    llvm::function_ref<llvm::ModulePassManager(llvm::PassBuilder &)> build);

/// LLVM's pipeline of a level of 0 to 3; loops become vectors from 2 on.
void optimize(llvm::Module &module, llvm::TargetMachine &machine, int level);

/// An error quotes the verifier.
llvm::Error verify(const llvm::Module &module);

/// Appends the module's object or assembly text to `bytes`.
llvm::Error emit(llvm::Module &module, llvm::TargetMachine &machine,
                 llvm::CodeGenFileType kind,
                 llvm::SmallVectorImpl<char> &bytes);

} // namespace ganq

#endif // GANQ_TARGET_CODEGENERATION_H
