//===- GpuPacking.h - Stored weights to operands of kernels -----*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A quantized weight is stored as the components of its scheme, in the order of
// the CPU kernels. Here they become the operands that a kernel of GpuMatmulSpec
// reads, as `#ganq.gpu_packed` describes them.
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_CODEGEN_GPU_GPUPACKING_H
#define GANQ_CODEGEN_GPU_GPUPACKING_H

#include "ganq/Codegen/Gpu/GpuKernels.h"
#include "llvm/ADT/ArrayRef.h"
#include <vector>

namespace ganq {

/// The type of x in kernels for a scheme, which is that of its tables or
/// scales; f16 where no kernel reads these, or they are rounded to it.
mlir::FloatType getGpuType(SchemeAttrInterface scheme);

/// The scheme whose kernels multiply a weight of `scheme`: scales of f32 are
/// rounded to f16, and input scales and shifts are no part of kernels.
SchemeAttrInterface getGpuScheme(SchemeAttrInterface scheme);

/// The operands of the weight in kernels of `spec`, in the order in which these
/// take them, for an [n, k] weight whose components have these keys. `stored`
/// is the components' scheme where that of `spec` is made of it. An error names
/// what no kernel supports.
llvm::Expected<llvm::SmallVector<GpuPackedAttr>>
getGpuOperands(const GpuMatmulSpec &spec, int64_t n, int64_t k,
               llvm::ArrayRef<llvm::StringRef> components,
               SchemeAttrInterface stored = {});

/// Shape and element type of an operand; null for an operand that its scheme
/// does not have, or an order that its codes do not fit.
mlir::RankedTensorType getGpuOperandType(GpuPackedAttr operand);

/// The bytes of an operand, made of those of all components of the scheme. An
/// error says which component does not have the bytes that it should have, or
/// has scales that f16 has no near number for.
llvm::Expected<std::vector<char>>
packGpuOperand(GpuPackedAttr operand,
               llvm::ArrayRef<llvm::ArrayRef<char>> components);

} // namespace ganq

#endif // GANQ_CODEGEN_GPU_GPUPACKING_H
