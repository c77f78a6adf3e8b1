//===- KernelModule.h - LLVM IR of kernels on its way to the host -*- C++ -*-=//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The steps, in this order: translateKernels, rewriteIntrinsics,
// instrumentAccesses, addModuleTable. Each has a file of its own name.
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_LIB_EMULATOR_KERNELMODULE_H
#define GANQ_LIB_EMULATOR_KERNELMODULE_H

#include "ganq/Emulator/Emulator.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/IR/IRBuilder.h"
#include "llvm/IR/Module.h"

namespace ganq {

/// A kernel and what its launch has to know.
struct EmulatedKernel {
  std::string name;
  llvm::Function *function = nullptr;
  uint64_t staticSharedBytes = 0;
};

/// LLVM IR of a `gpu.module`. Every defined function takes the lane as its
/// first parameter, a `ganq_simt_lane *`.
struct KernelModule {
  std::unique_ptr<llvm::Module> module;
  std::vector<EmulatedKernel> kernels;
  std::vector<std::string> places; ///< By the numbers that calls carry.
  llvm::StringMap<uint32_t> placeNumbers;
  /// By function: the names of its ops in the order of a walk.
  llvm::StringMap<std::vector<std::string>> opNames;
  uint32_t numSites = 0;
  bool checked = false;

  /// The number of the place that the instruction came from.
  uint32_t getPlace(const llvm::Instruction &instruction);
  llvm::Value *getPlaceValue(llvm::IRBuilderBase &builder,
                             const llvm::Instruction &instruction) {
    return builder.getInt32(getPlace(instruction));
  }
  /// An error at the instruction's place.
  llvm::Error makeError(const llvm::Instruction &instruction,
                        const llvm::Twine &message);

  static llvm::Value *getLane(llvm::Function &function) {
    return function.getArg(0);
  }
  /// A member of `ganq_simt_lane`, read once where the function begins.
  llvm::Value *getLaneMember(llvm::Function &function, size_t offset,
                             llvm::Type *type);
  /// To be called after passes that may have removed members again.
  void forgetLaneMembers() { members.clear(); }
  /// A function of the runtime. No call of it may be duplicated or moved into
  /// a branch: other lanes count on it.
  llvm::FunctionCallee getRuntime(llvm::StringRef name, llvm::Type *result,
                                  llvm::ArrayRef<llvm::Type *> parameters);
  /// Memory for operands of a call, at the function's entry.
  llvm::AllocaInst *makeOperands(llvm::Function &function, uint32_t words);

private:
  llvm::DenseMap<std::pair<llvm::Function *, size_t>, llvm::Value *> members;
};

/// LLVM IR with source locations; nothing is rewritten yet but the lane
/// parameter, calls between functions and variables in shared memory.
llvm::Expected<KernelModule> translateKernels(mlir::gpu::GPUModuleOp module,
                                              llvm::LLVMContext &context);

/// Replaces what only a GPU has by calls of the runtime or by plain IR.
llvm::Error rewriteIntrinsics(KernelModule &kernels);

/// An intrinsic that computes on scalars or vectors alone: its replacement, or
/// null for a name (without `llvm.nvvm.`) that is not known.
llvm::Value *expandScalarIntrinsic(llvm::IRBuilderBase &builder,
                                   llvm::StringRef name, llvm::CallInst &call);
/// A call of libdevice (`__nv_expf`): its replacement, or null.
llvm::Value *expandLibdeviceCall(llvm::IRBuilderBase &builder,
                                 llvm::StringRef name, llvm::CallInst &call);
/// Rewrites arithmetic of bf16 and conversions whose result depends on the
/// host: bf16 rounds to nearest even, conversions to integers saturate.
void expandConversions(llvm::Function &function);

/// Adds checks of memory accesses and divisors, and counts loop iterations.
llvm::Error instrumentAccesses(KernelModule &kernels);

/// Defines `ganq_simt_module`.
void addModuleTable(KernelModule &kernels);

/// Optimizes a module and generates code for `options.cpu`.
llvm::Expected<llvm::SmallVector<char, 0>>
compileForHost(llvm::Module &module, const EmulatorOptions &options);

/// Fails where this machine cannot execute code for `options.cpu`.
llvm::Error checkThisMachine(const EmulatorOptions &options);

/// All of the steps, optimization and code generation.
llvm::Expected<llvm::SmallVector<char, 0>>
compileKernels(mlir::gpu::GPUModuleOp module, const EmulatorOptions &options);

} // namespace ganq

#endif // GANQ_LIB_EMULATOR_KERNELMODULE_H
