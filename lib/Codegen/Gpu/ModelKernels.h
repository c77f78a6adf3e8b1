//===- ModelKernels.h - GPU kernels around the products ---------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_LIB_CODEGEN_GPU_MODELKERNELS_H
#define GANQ_LIB_CODEGEN_GPU_MODELKERNELS_H

#include "LaneBuilder.h"
#include "StepFusion.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"

namespace ganq {

/// Emits the launches for an op in buffer form at the builder's place, or with
/// `then` (findRounding) in place of that launch. Shapes
/// are static; `past` is the buffer with the number of tokens seen so far.
/// Norms may compute the sum that they read, too.
void launchRmsNorm(mlir::OpBuilder &builder, GpuKernelLibrary &library,
                   RmsNormOp op, mlir::linalg::GenericOp sum,
                   mlir::gpu::LaunchFuncOp then);
void launchLayerNorm(mlir::OpBuilder &builder, GpuKernelLibrary &library,
                     LayerNormOp op, mlir::linalg::GenericOp sum,
                     mlir::gpu::LaunchFuncOp then);
void launchSwiglu(mlir::OpBuilder &builder, GpuKernelLibrary &library,
                  SwigluOp op, mlir::gpu::LaunchFuncOp then);
void launchRope(mlir::OpBuilder &builder, GpuKernelLibrary &library, RopeOp op);
void launchPositionRows(mlir::OpBuilder &builder, GpuKernelLibrary &library,
                        PositionRowsOp op, mlir::Value past);
void launchKvUpdate(mlir::OpBuilder &builder, GpuKernelLibrary &library,
                    KvUpdateOp op, mlir::Value past);
void launchNewTokens(mlir::OpBuilder &builder, GpuKernelLibrary &library,
                     mlir::Location loc, NewTokens tokens, mlir::Value past);
/// The number of lanes that launchNewTokens takes.
int64_t countNewTokens(NewTokens tokens);
/// Whether the kernel of a step's attention also does what makes new tokens.
bool canFuseNewTokens(AttentionOp op, NewTokens tokens);
/// With `tokens` if it can.
void launchAttention(mlir::OpBuilder &builder, GpuKernelLibrary &library,
                     AttentionOp op, mlir::Value past, NewTokens tokens);
void launchMatmul(mlir::OpBuilder &builder, GpuKernelLibrary &library,
                  MatmulOp op);
/// One lane for each point of the parallel loops. Fails with a diagnostic where
/// the op has no scalar form, or reads what is neither buffer nor constant.
mlir::LogicalResult launchLinalg(mlir::OpBuilder &builder,
                                 GpuKernelLibrary &library,
                                 mlir::linalg::LinalgOp op,
                                 mlir::gpu::LaunchFuncOp then);

/// In a kernel: one element of the rotated x; x is [B, H, S, D], cos and sin
/// [S, R/2].
mlir::Value emitRope(LaneBuilder &k, RopeOp op, mlir::Value x, mlir::Value cos,
                     mlir::Value sin, const KernelBuilder::Values &at);
/// In a kernel: the number of tokens seen before this step.
mlir::Value loadPast(LaneBuilder &k, mlir::Value past);

} // namespace ganq

#endif // GANQ_LIB_CODEGEN_GPU_MODELKERNELS_H
