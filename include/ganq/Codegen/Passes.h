//===- Passes.h - Code generation passes ------------------------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// From bufferized modules to the LLVM dialect, for processors.
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_CODEGEN_PASSES_H
#define GANQ_CODEGEN_PASSES_H

#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/Pass/Pass.h"

namespace ganq {

class GanqDialect;

#define GEN_PASS_DECL
#include "ganq/Codegen/Passes.h.inc"

#define GEN_PASS_REGISTRATION
#include "ganq/Codegen/Passes.h.inc"

struct CpuLoweringOptions {
  /// A name that `CpuTarget::get` knows.
  std::string cpu = "host";
};

/// Appends the passes from a bufferized module (memrefs with identity layouts
/// at function boundaries, linalg, scf, arith, math, and ganq ops in buffer
/// form) to the LLVM dialect. Afterwards `ganq.parameters` on the module lists
/// the keys of the parameter table and `ganq.arena_bytes` on each entry wrapper
/// the bytes of its arena. `compileToSharedObject` takes the result.
void buildCpuLoweringPipeline(mlir::OpPassManager &manager,
                              const CpuLoweringOptions &options);

/// Registers the passes and `ganq-cpu-lowering`, the pipeline above.
void registerGanqCodegen();

} // namespace ganq

#endif // GANQ_CODEGEN_PASSES_H
