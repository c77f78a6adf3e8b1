//===- GpuKernels.h - Quantized products on GPUs ----------------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Kernels for y = x Wᵀ with a quantized W [N, K] and x [M, K], built from two
// skeletons into which a scheme's decoder goes (docs/GpuKernels.md). All sizes
// are parameters of the kernel; rows, columns and tokens may be ragged.
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_CODEGEN_GPU_GPUKERNELS_H
#define GANQ_CODEGEN_GPU_GPUKERNELS_H

#include "ganq/IR/GanqDialect.h"
#include "ganq/Support/GpuLayout.h"
#include "ganq/Target/GpuTarget.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "llvm/Support/Error.h"
#include <optional>
#include <string>

namespace ganq {

enum class GpuSkeleton { Gemv, Gemm };
enum class GpuActivation { None, Relu, Silu };

/// One kernel. Its parameters, in this order and only those that it has:
///
///   out        [M, N]            outType
///   x          [M, K]            type; as codes (`activationBits`): see below
///   codes      GpuLayout         bytes
///   table      [Np, 2^bits]      type (lut)
///   scale      [groups, Np]      type (uniform, pot; one group when 0)
///   zero       [groups, Np]      type (uniform)
///   weight_sum [Np]              i32, sums of the codes of rows (integers)
///   x_scale    [M]               f32 (integers)
///   x_zero     [M]               i32 (integers)
///   x_sum      [M]               i32, sums of the codes of x (integers)
///   bias       [N]               outType
///   residual   [M, N]            outType, added after the activation
///   M, N, K                      i32
///
/// With more than one of `products`, x is multiplied by several weights of one
/// K: behind these pointers come out, codes, table, scale, zero, weight_sum,
/// bias and residual of each further product, and behind K its N.
///
/// Np is N rounded up to 32; values of rows beyond N must be finite. The codes
/// of x are bytes [M, K rounded up to 128] (int8, dp4a) or bit planes
/// [activationBits][M, K rounded up to 256] with the first column in the lowest
/// bit (btc), 0 beyond K. Pointers are aligned to 16 bytes. All but out and
/// residual must take less than 2 GiB, or the kernel reads elsewhere: see
/// checkGpuSizes.
struct GpuMatmulSpec {
  SchemeAttrInterface scheme;
  /// Of x, scales and tables: f16 or bf16.
  mlir::FloatType type;
  /// Of out, bias and residual: `type` where null, or f32.
  mlir::FloatType outType = {};
  GpuSkeleton skeleton = GpuSkeleton::Gemv;
  GpuStrategy strategy = GpuStrategy::F16;
  /// Bits of the codes of x where x is integers, else 0.
  unsigned activationBits = 0;
  /// Rows of x that a block handles: 1, 2, 4 or 8 for gemv, 16 or (but for btc)
  /// 64 for gemm.
  int64_t tokens = 1;
  bool bias = false, residual = false;
  GpuActivation activation = GpuActivation::None;
  /// Weights that one launch multiplies by x, 1 to 4.
  int64_t products = 1;

  mlir::FloatType getOutType() const { return outType ? outType : type; }
};

/// The kernel that makes codes of x (ABQ-LLM, section 3.3): each row with a
/// scale and a zero point of its own, as `ganq.quantize_rows` computes them.
/// Its parameters are
///
///   codes    as GpuMatmulSpec says (out)
///   x_scale  [M]     f32 (out)
///   x_zero   [M]     i32 (out)
///   x_sum    [M]     i32 (out)
///   x        [M, K]  type
///   M, K             i32
///
/// x and codes must take less than 2 GiB each: see checkGpuSizes.
struct GpuQuantizeSpec {
  mlir::FloatType type; ///< f16, bf16 or f32.
  unsigned bits = 8;    ///< 1 to 8.
  bool planes = false;  ///< For btc; else for int8 and dp4a.
};

/// How to launch a kernel: a grid of ceil(N / rows), the sum of these over all
/// products, x ceil(M / tokens) blocks; without rows, of ceil(M / tokens).
struct GpuKernelInfo {
  std::string name;
  int64_t threads = 0;
  int64_t sharedBytes = 0; ///< Dynamic shared memory.
  int64_t rows = 0, tokens = 0;
  /// Blocks for which a multiprocessor has registers at least.
  int64_t minBlocks = 1;
};

/// The order in which a kernel of `spec` reads a weight of this shape; an error
/// names what no kernel supports and what to use, or which operand of the
/// weight takes 2 GiB or more.
llvm::Expected<GpuLayout> getGpuLayout(const GpuMatmulSpec &spec, int64_t rows,
                                       int64_t columns);

/// Fails where an operand that the kernel addresses with 32 bits takes 2 GiB or
/// more for these sizes: ask before a launch. A kernel that writes the codes of
/// x needs what the kernel that reads them needs.
llvm::Error checkGpuSizes(const GpuMatmulSpec &spec, int64_t m, int64_t n,
                          int64_t k);
llvm::Error checkGpuSizes(const GpuQuantizeSpec &spec, int64_t m, int64_t k);

/// Adds the kernel to `module`, once.
llvm::Expected<GpuKernelInfo> buildGpuMatmul(mlir::gpu::GPUModuleOp module,
                                             const GpuMatmulSpec &spec);
/// Marks the kernels of buildGpuQuantizeRows, which others may end with.
inline constexpr llvm::StringLiteral kGpuQuantizeRowsAttr =
    "ganq.quantize_rows";
llvm::Expected<GpuKernelInfo>
buildGpuQuantizeRows(mlir::gpu::GPUModuleOp module,
                     const GpuQuantizeSpec &spec);

} // namespace ganq

#endif // GANQ_CODEGEN_GPU_GPUKERNELS_H
