//===- LutStarts.h - First tables -----------------------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_LIB_QUANTIZATION_LUTSTARTS_H
#define GANQ_LIB_QUANTIZATION_LUTSTARTS_H

#include <cstdint>

namespace ganq::quant {

/// Each writes `levels` ascending values for the `count` values of one row's
/// group to `table`.

/// Evenly spaced from the least to the greatest value.
void linearStart(const float *w, int64_t count, int levels, double *table);

/// The quantiles (t + 1/2) / levels.
void quantileStart(const float *w, int64_t count, int levels, double *table);

/// A few of Lloyd's iterations from the quantiles.
void kMeansStart(const float *w, int64_t count, int levels, double *table);

/// Levels with a density proportional to the cube root of the values' density
/// (Panter and Dite, 1951), which a smoothed histogram estimates; `weights`
/// (or null) counts each value by its curvature.
void compandedStart(const float *w, const double *weights, int64_t count,
                    int levels, double *table);

/// Lloyd's iterations to their end, from levels that are good already: the
/// companded ones.
void kMeans(const float *w, int64_t count, int levels, double *table);

} // namespace ganq::quant

#endif // GANQ_LIB_QUANTIZATION_LUTSTARTS_H
