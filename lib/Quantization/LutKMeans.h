//===- LutKMeans.h - Tables and codes by clustering -----------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_LIB_QUANTIZATION_LUTKMEANS_H
#define GANQ_LIB_QUANTIZATION_LUTKMEANS_H

#include "LutProblem.h"

namespace ganq::quant {

/// Clusters the values of each tile and group, one row after the other. The
/// Gram matrix serves the reports alone. One object per thread.
class LutKMeans {
public:
  LutKMeans(const LutProblem &problem, int64_t capacity);

  /// As LutBlock::solve.
  Status solve(const float *w, int64_t first, int64_t count);

  LutOutput output;

private:
  const LutProblem &p;
  /// [count][k] V - W, and the same times H.
  AlignedFloats error, gradient;
  /// [count]
  std::vector<double> rowScale;

  void chooseKept(const float *w, int64_t count);
  Status makeTables(const float *w, int64_t first, int64_t begin, int64_t end);
  void chooseCodes(const float *w, int64_t r);
  void report(const float *w, int64_t count);
};

} // namespace ganq::quant

#endif // GANQ_LIB_QUANTIZATION_LUTKMEANS_H
