//===- Gram.h - Second moments of a layer's inputs ------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// H = X^T X / rows over calibration rows, optionally with the cross moments
// C = Xref^T X / rows, where Xref are the inputs that the same layer sees in
// the unquantized model. All matrices are row-major.
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_QUANTIZATION_GRAM_H
#define GANQ_QUANTIZATION_GRAM_H

#include "ganq/Quantization/Status.h"
#include <cstdint>
#include <vector>

namespace ganq::quant {

/// Moments per calibration row.
struct Gram {
  int64_t columns = 0;
  /// Calibration rows seen.
  int64_t rows = 0;
  /// [columns x columns], symmetric.
  std::vector<double> h;
  /// [columns x columns], or empty where no reference inputs were given.
  std::vector<double> c;
};

/// What was done to H so that it has a Cholesky factor.
struct Damping {
  double meanDiagonal = 0;
  /// Added to every diagonal entry, absolute.
  double ridge = 0;
  /// Inputs that were zero in every calibration row.
  int64_t deadColumns = 0;
  /// The ridge was not enough: diagonal entries were raised to the sum of the
  /// absolute values of the rest of their row.
  bool diagonalDominance = false;
  /// Condition number of damped H in the 1-norm, |H| |H^-1|, |H^-1| being
  /// LAPACK's estimate from the Cholesky factor (Hager 1984, Higham 1988):
  /// never above the norm but for rounding, hardly ever below a third of it.
  /// Infinity beyond double precision; 0 without an H.
  double condition = 0;
  /// H was absent or zero: plain squared error of the weights.
  bool identity = false;
};

/// Collects a Gram matrix from blocks of activations. Products are single
/// precision inside a block of a few hundred rows and are summed in double.
class GramAccumulator {
public:
  /// `cross`: also collect C; then every add() needs the reference rows.
  explicit GramAccumulator(int64_t columns, bool cross = false);

  /// Adds x[rows x columns]; `reference` has the same shape. Fails, and leaves
  /// the sums as they were, if a value is not finite or the reference is
  /// missing or unexpected.
  Status add(const float *x, int64_t rows, const float *reference = nullptr);

  int64_t columns() const { return sums.columns; }
  int64_t rows() const { return sums.rows; }

  /// The moments so far (zero if no rows were added).
  Gram finish() const;

private:
  Gram sums;
  bool cross;
  std::vector<float> scratch;
};

} // namespace ganq::quant

#endif // GANQ_QUANTIZATION_GRAM_H
