//===- IntegerMatmul.h - Products of integers -------------------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_LIB_CODEGEN_INTEGERMATMUL_H
#define GANQ_LIB_CODEGEN_INTEGERMATMUL_H

#include "KernelBuilder.h"

namespace ganq {

/// Emits the kernel call for an op in buffer form at the builder's place.
void lowerQuantizeRows(mlir::OpBuilder &builder, KernelLibrary &library,
                       QuantizeRowsOp op);

/// The same for a product whose scheme rounds activations. A remark names the
/// strategy and the instructions.
void lowerIntegerMatmul(mlir::OpBuilder &builder, KernelLibrary &library,
                        PackedMatmulOp op);

} // namespace ganq

#endif // GANQ_LIB_CODEGEN_INTEGERMATMUL_H
