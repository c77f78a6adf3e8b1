//===- Uniform.h - Weights on evenly spaced levels ------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Round to nearest: W~[i,j] = scale[i,g] * (q[i,j] - zero[i,g]) with codes of
// 1..8 bits and a scale and an integer zero point per row and group of columns.
// Zero is always a level. docs/Schemes/Uniform.md has the details.
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_QUANTIZATION_UNIFORM_H
#define GANQ_QUANTIZATION_UNIFORM_H

#include "ganq/Quantization/Status.h"
#include <cstdint>
#include <vector>

namespace ganq::quant {

struct UniformOptions {
  /// 1..8.
  int bits = 4;
  /// Columns that share a scale; 0: the whole row.
  int64_t group = 0;
  /// Round scales to fp16 before the codes are chosen.
  bool halfScales = true;
};

struct UniformResult {
  int64_t groups = 1;
  /// [n x k], 0 .. 2^bits - 1.
  std::vector<uint8_t> codes;
  /// [n x groups], positive.
  std::vector<float> scales;
  /// [n x groups], 0 .. 2^bits - 1.
  std::vector<uint8_t> zeros;
};

/// Quantizes W[n x k]; fails on weights that are not finite or that leave
/// fp16's range.
Expected<UniformResult> roundToNearest(const UniformOptions &options,
                                       const float *w, int64_t n, int64_t k);

/// Writes W~[n x k] to dst.
void dequantizeUniform(const UniformResult &result, int64_t n, int64_t k,
                       int64_t group, float *dst);

} // namespace ganq::quant

#endif // GANQ_QUANTIZATION_UNIFORM_H
