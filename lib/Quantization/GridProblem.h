//===- GridProblem.h - What all rows of a layer share ---------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Rows of matrices are columns of the weight in the caller's order, so that
// groups are contiguous; error feedback alone runs in GramProblem's order.
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_LIB_QUANTIZATION_GRIDPROBLEM_H
#define GANQ_LIB_QUANTIZATION_GRIDPROBLEM_H

#include "GramProblem.h"
#include "GridKernels.h"
#include "ganq/Quantization/Grid.h"

namespace ganq::quant {

struct GridProblem {
  /// Its `h` and `groups` are not in use.
  GramProblem gram;
  GridOptions options;
  int64_t k = 0;
  /// Columns per group, and groups.
  int64_t group = 0;
  int64_t groups = 1;
  /// Damped H (empty for the identity) and what the damping added, in the
  /// caller's order; H's diagonal and its inverse. Rtn has H as it came.
  AlignedFloats h;
  std::vector<float> added, diagonal, inverseDiagonal;
  /// Fixed levels in ascending order with their codes, and the borders; empty
  /// for evenly spaced ones.
  std::vector<float> levels, borders;
  std::vector<uint8_t> levelCodes;
  /// Legal scales in absolute terms.
  float leastScale = 0, mostScale = 0;

  bool even() const { return levels.empty(); }
  int64_t begin(int64_t g) const { return g * group; }
  int64_t end(int64_t g) const { return g + 1 == groups ? k : (g + 1) * group; }

  static Expected<GridProblem> prepare(const GridOptions &options, int64_t k,
                                       const double *h, const double *c);

private:
  void setLevels();
};

/// Rows solved together, and buffers for them. One object per thread.
class GridBlock {
public:
  GridBlock(const GridProblem &problem, int64_t capacity);

  /// Solves `count` rows of w[count x k]. Results lie in the members below
  /// until the next call.
  Status solve(const float *w, int64_t first, int64_t count);

  std::vector<uint8_t> codes;
  std::vector<float> scales;
  std::vector<uint8_t> zeros;
  std::vector<RowReport> reports;
  int64_t raisedScales = 0;

private:
  const GridProblem &p;
  int64_t count = 0;
  int64_t lanes = 0;
  /// [k][lanes]: target weights, units, units x scale - weights, H x errors.
  AlignedFloats weight, unit, bestUnit, error, gradient;
  /// [groups][lanes]; low is minus the zero point with evenly spaced levels.
  AlignedFloats scale, inverse, low, high, bestScale, bestLow;
  /// [groups][lanes]: ends of the weights' range, both on their side of 0.
  AlignedFloats least, greatest;
  /// [lanes]
  std::vector<double> loss, bestLoss, rowScale;
  AlignedFloats feedback, blockBuffer, rowBuffer;
  /// Packed lower triangles of the scales' normal equations [pairs][lanes].
  AlignedFloats products;
  std::vector<double> system, slope, move;

  void load(const float *w, int64_t first);
  GridRule rule(int64_t g) const;
  void setRange(int64_t g, int64_t r, double from, double to);
  void startRange(float below, float above);
  void startSearch(const float *weights, const std::vector<float> &factors);
  void completeScales();
  Status roundScales(int64_t first);
  void chooseCodes();
  void chooseNearest();
  void setError();
  void multiply(const AlignedFloats &in, AlignedFloats &out) const;
  void setGradient();
  void setLoss();
  void updateScales();
  void normalEquations();
  void descend(int sweeps);
  void keepBest();
  void restoreBest();
  void alternate(int iterations);
  void improve();
  void refineScales();
  void finish();
};

} // namespace ganq::quant

#endif // GANQ_LIB_QUANTIZATION_GRIDPROBLEM_H
