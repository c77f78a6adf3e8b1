//===- GridKernels.h - Inner loops of the grid solver ---------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Matrices are laid out as in Kernels.h: element (j, r) at j * lanes + r. A
// unit is a weight's level before scaling: code - zero, or the fixed level.
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_LIB_QUANTIZATION_GRIDKERNELS_H
#define GANQ_LIB_QUANTIZATION_GRIDKERNELS_H

#include <cstdint>

namespace ganq::quant {

/// How a group of columns rounds: per-lane scales and ends of the range, or one
/// list of levels.
struct GridRule {
  /// [lanes]
  const float *scale = nullptr;
  const float *inverse = nullptr;
  /// Least and greatest unit [lanes]; null with fixed levels.
  const float *low = nullptr;
  const float *high = nullptr;
  /// Ascending levels, and the borders between them.
  const float *levels = nullptr;
  const float *borders = nullptr;
  int64_t count = 0;
};

/// unit[r] = the unit nearest to v[r] / scale[r].
void chooseUnits(const GridRule &rule, const float *v, int64_t lanes,
                 float *unit);

/// sums[r] += sum over j of weights[j] * (rounded w[j][r] - w[j][r])^2; null
/// weights are all ones.
void addRoundingErrors(const GridRule &rule, const float *w,
                       const float *weights, int64_t columns, int64_t lanes,
                       float *sums);

/// out[r] = scale[r] * unit[r] - w[r].
void setErrors(const float *unit, const float *scale, const float *w,
               int64_t lanes, float *out);

/// One column of coordinate descent: the unit nearest to the minimum of the
/// loss in this column, given its gradient. Updates unit and error, writes the
/// change of the error to `step`, and returns whether there was any.
bool descendColumn(const GridRule &rule, const float *w, const float *gradient,
                   float inverseDiagonal, int64_t lanes, float *unit,
                   float *error, float *step);

/// Systems solved at a time, one per lane.
constexpr int64_t systemLanes = 8;

/// Solves A x = b for systemLanes symmetric positive systems of `size` unknowns
/// at once: a[(i * size + j) * systemLanes + lane] for j <= i, overwritten by
/// the factor; b[i * systemLanes + lane], overwritten by x. Unknowns with a
/// pivot below `least`[lane] become 0.
void solveSystems(double *a, double *b, int64_t size, const double *least);

} // namespace ganq::quant

#endif // GANQ_LIB_QUANTIZATION_GRIDKERNELS_H
