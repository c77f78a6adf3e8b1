//===- GpuProducts.h - Which kernels multiply a weight ----------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_CODEGEN_GPU_GPUPRODUCTS_H
#define GANQ_CODEGEN_GPU_GPUPRODUCTS_H

#include "ganq/Codegen/Gpu/GpuKernels.h"
#include "llvm/ADT/ArrayRef.h"

namespace ganq {

/// How GPUs multiply a weight of this scheme: f16, or for schemes that round
/// activations int8 (which stands for dp4a with few rows of x) or btc. `asked`
/// decides for these; without it btc is taken where it needs fewer mma than
/// int8. Fails where one of the chips would emulate the strategy.
llvm::Expected<GpuStrategy> chooseGpuStrategy(SchemeAttrInterface scheme,
                                              std::optional<GpuStrategy> asked,
                                              llvm::ArrayRef<GpuTarget> chips);

/// The kernel for `m` rows of x: gemv up to 8 but for btc, else gemm. All
/// kernels for a weight read it in one order.
GpuMatmulSpec getGpuMatmulSpec(SchemeAttrInterface scheme, GpuStrategy strategy,
                               int64_t m);

/// Fails where an [n, k] weight has no kernel: names what no kernel supports
/// and what to use. Input scales and shifts are no part of the kernels.
llvm::Error checkGpuWeight(SchemeAttrInterface scheme, int64_t n, int64_t k,
                           std::optional<GpuStrategy> asked,
                           llvm::ArrayRef<GpuTarget> chips);

} // namespace ganq

#endif // GANQ_CODEGEN_GPU_GPUPRODUCTS_H
