//===- StepFusion.h - Ops of a step that share a launch ---------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_LIB_CODEGEN_GPU_STEPFUSION_H
#define GANQ_LIB_CODEGEN_GPU_STEPFUSION_H

#include "BufferUses.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"

namespace ganq {

/// Lets ops write what is only read as floats of another width in that width:
/// the copy that converts goes, for example of the x of a quantized product.
void foldConversions(mlir::func::FuncOp function);

/// The sum of two buffers that comes right before a norm of it; null where
/// there is none.
mlir::linalg::GenericOp findSumBefore(mlir::Operation *norm, mlir::Value x);

/// The launch right after `op` that makes codes of each of `rows` rows of
/// `columns` elements of its result; null where there is none. A block of it
/// reads one row.
mlir::gpu::LaunchFuncOp findRounding(mlir::Operation *op, mlir::Value out,
                                     int64_t rows, int64_t columns);

/// What an attention needs of the tokens of a step: rotated queries, and keys
/// and values in the caches. Each may be null.
struct NewTokens {
  RopeOp queryRope;
  RopeOp keyRope;
  KvUpdateOp keys, values;

  /// The ops, in no order.
  llvm::SmallVector<mlir::Operation *> getOps();
};

/// Those ops before `attention` that may as well run right before it.
NewTokens findNewTokens(AttentionOp attention);

} // namespace ganq

#endif // GANQ_LIB_CODEGEN_GPU_STEPFUSION_H
