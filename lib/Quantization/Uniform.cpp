//===- Uniform.cpp - Weights on evenly spaced levels ----------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/Quantization/Uniform.h"
#include "Half.h"
#include <algorithm>
#include <cmath>

using namespace ganq::quant;

Expected<UniformResult>
ganq::quant::roundToNearest(const UniformOptions &options, const float *w,
                            int64_t n, int64_t k) {
  if (options.bits < 1 || options.bits > 8)
    return Status::error("expected 1 to 8 bits, but got " +
                         std::to_string(options.bits));
  if (n < 1 || k < 1)
    return Status::error("expected at least one row and one column, but got " +
                         std::to_string(n) + " x " + std::to_string(k));
  if (options.group < 0)
    return Status::error("expected a group size of at least 0, but got " +
                         std::to_string(options.group));
  int64_t group = options.group ? std::min(options.group, k) : k;
  UniformResult result;
  result.groups = (k + group - 1) / group;
  result.codes.resize(n * k);
  result.scales.resize(n * result.groups);
  result.zeros.resize(n * result.groups);
  double top = (1 << options.bits) - 1;
  for (int64_t row = 0; row != n; ++row) {
    for (int64_t g = 0; g != result.groups; ++g) {
      int64_t begin = g * group, end = std::min(k, begin + group);
      const float *values = w + row * k;
      double low = 0, high = 0;
      for (int64_t j = begin; j != end; ++j) {
        if (!std::isfinite(values[j]))
          return Status::error("expected finite weights, but got " +
                               std::to_string(values[j]) + " in row " +
                               std::to_string(row) + ", column " +
                               std::to_string(j));
        low = std::min<double>(low, values[j]);
        high = std::max<double>(high, values[j]);
      }
      auto scale = static_cast<float>((high - low) / top);
      if (options.halfScales) {
        scale = roundToHalf(scale);
        if (!std::isfinite(scale))
          return Status::error(
              "expected a scale in fp16's range (below 65520), but got " +
              std::to_string((high - low) / top) + " in row " +
              std::to_string(row) + "; use fp32 scales");
      }
      // A group of zeros, or of values too small for the scale's format.
      if (!(scale > 0))
        scale = 1;
      double zero = std::clamp(std::nearbyint(-low / scale), 0.0, top);
      result.scales[row * result.groups + g] = scale;
      result.zeros[row * result.groups + g] = static_cast<uint8_t>(zero);
      for (int64_t j = begin; j != end; ++j)
        result.codes[row * k + j] = static_cast<uint8_t>(
            std::clamp(std::nearbyint(values[j] / scale) + zero, 0.0, top));
    }
  }
  return result;
}

void ganq::quant::dequantizeUniform(const UniformResult &result, int64_t n,
                                    int64_t k, int64_t group, float *dst) {
  if (group <= 0 || group > k)
    group = k;
  for (int64_t row = 0; row != n; ++row)
    for (int64_t j = 0; j != k; ++j) {
      int64_t at = row * result.groups + j / group;
      dst[row * k + j] =
          result.scales[at] *
          (static_cast<float>(result.codes[row * k + j]) - result.zeros[at]);
    }
}
