//===- Passes.h - Kernels for GPUs ------------------------------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_CODEGEN_GPU_PASSES_H
#define GANQ_CODEGEN_GPU_PASSES_H

#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/Pass/Pass.h"

namespace ganq {

#define GEN_PASS_DECL
#include "ganq/Codegen/Gpu/Passes.h.inc"

#define GEN_PASS_REGISTRATION
#include "ganq/Codegen/Gpu/Passes.h.inc"

/// Appends the passes that take the gpu.modules of a module to LLVM and nvvm
/// operations, which compileToPtx and the emulator read. The context must know
/// the conversions that `registerGpuConversions` adds.
void buildGpuToNvvmPipeline(mlir::OpPassManager &manager);

/// How convert-gpu-to-nvvm converts the other dialects of kernels.
void registerGpuConversions(mlir::DialectRegistry &registry);

/// Registers the passes and `ganq-gpu-to-nvvm`, the pipeline above.
void registerGanqGpuCodegen();

} // namespace ganq

#endif // GANQ_CODEGEN_GPU_PASSES_H
