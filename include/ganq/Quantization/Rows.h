//===- Rows.h - Weights row by row, in and out of the solvers -------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_QUANTIZATION_ROWS_H
#define GANQ_QUANTIZATION_ROWS_H

#include "ganq/Quantization/Status.h"
#include <cstdint>
#include <functional>
#include <vector>

namespace ganq::quant {

/// Per-row figures in units of the layer's squared output per calibration row.
struct RowReport {
  /// Damped loss after the first choice of codes, and of the result.
  double initialLoss = 0;
  double loss = 0;
  /// Undamped squared output error, and squared output of the target weights.
  double outputError = 0;
  double outputEnergy = 0;
};

/// Square root of error / energy. An output of zero that is missed counts as
/// missed altogether.
double relativeError(double error, double energy);

/// The relative error over all rows.
double relativeOutputError(const std::vector<RowReport> &rows);

/// Fills dst[count x k] with rows first.. of W. Called by one thread at a time.
using ReadRows =
    std::function<Status(int64_t first, int64_t count, float *dst)>;

/// Rows done of all; false stops the solver with an error.
using Progress = std::function<bool(int64_t done, int64_t total)>;

} // namespace ganq::quant

#endif // GANQ_QUANTIZATION_ROWS_H
