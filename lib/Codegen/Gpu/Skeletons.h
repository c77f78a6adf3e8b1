//===- Skeletons.h - The shapes of quantized products -----------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_LIB_CODEGEN_GPU_SKELETONS_H
#define GANQ_LIB_CODEGEN_GPU_SKELETONS_H

#include "RowDecoder.h"

namespace ganq {

/// What both skeletons know of a kernel.
struct GpuKernelContext {
  GpuBuilder &k;
  const GpuMatmulSpec &spec;
  const GpuDecoding &decoding;
  const GpuLayout &layout;
  GpuOperands operands;
  mlir::Value shared; ///< Dynamic shared memory.

  bool isInteger() const { return spec.strategy != GpuStrategy::F16; }
  /// Groups of scales in a granule; 0 where scales are per row.
  int64_t getGroupsPerGranule() const {
    if (isInteger() || !decoding.parameters || !decoding.group)
      return 0;
    return decoding.group >= 128 ? 1 : 128 / decoding.group;
  }
  /// Number of the first group of a granule.
  mlir::Value getFirstGroup(mlir::Value granule) const {
    return decoding.group > 128 ? k.div(k.mul(granule, 128), decoding.group)
                                : k.mul(granule, getGroupsPerGranule());
  }

  /// The result of a sum of products at [token, row], where that is inside:
  /// scaled, and stored with bias, activation and residual.
  void finish(RowDecoder *decoder, mlir::Value sum, mlir::Value token,
              mlir::Value row) const;

private:
  /// out[token, row] = activation(value + bias) + residual, for f32 `value`.
  void storeResult(mlir::Value value, mlir::Value token, mlir::Value row) const;
  /// The sum of products of codes to that of values (docs/GpuKernels.md).
  mlir::Value scaleIntegers(mlir::Value sum, mlir::Value token,
                            mlir::Value row) const;
};

/// A kernel of `pointers` and `integers` parameters for blocks of `threads`;
/// the builder stands in its body.
mlir::gpu::GPUFuncOp createGpuKernel(GpuBuilder &k,
                                     mlir::gpu::GPUModuleOp module,
                                     const GpuKernelInfo &info, size_t pointers,
                                     size_t integers);
/// The module's dynamic shared memory, whose size a launch sets.
mlir::Value getDynamicShared(GpuBuilder &k, mlir::gpu::GPUModuleOp module);

/// Fill the body of the kernel; `spec` has been checked.
void emitGemv(const GpuKernelContext &context);
void emitGemm(const GpuKernelContext &context);

/// Threads, tile and shared memory of a kernel.
void planGemv(const GpuMatmulSpec &spec, const GpuDecoding &decoding,
              const GpuLayout &layout, GpuKernelInfo &info);
void planGemm(const GpuMatmulSpec &spec, const GpuDecoding &decoding,
              const GpuLayout &layout, GpuKernelInfo &info);

} // namespace ganq

#endif // GANQ_LIB_CODEGEN_GPU_SKELETONS_H
