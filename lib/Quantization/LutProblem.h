//===- LutProblem.h - What all rows of a layer share ----------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Everything here is in processing order: position p holds input column
// order[p]. H is divided by its mean diagonal.
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_LIB_QUANTIZATION_LUTPROBLEM_H
#define GANQ_LIB_QUANTIZATION_LUTPROBLEM_H

#include "GramProblem.h"
#include "ganq/Quantization/Lut.h"

namespace ganq::quant {

struct LutProblem : GramProblem {
  LutOptions options;
  int levels = 16;
  /// Lower triangle of each group's diagonal block of H, its diagonal halved,
  /// in tiles of tileWidth columns: the tile of columns u.. holds rows u..end.
  AlignedFloats tiles;
  /// Where each group's tiles begin.
  std::vector<int64_t> tileStart;

  static Expected<LutProblem> prepare(const LutOptions &options, int64_t k,
                                      const double *h, const double *c);

private:
  void packTiles();
};

/// Rows solved together, and buffers for them. One object per thread.
class LutBlock {
public:
  LutBlock(const LutProblem &problem, int64_t capacity);

  /// Solves `count` rows of w[count x k] (columns in the caller's order).
  /// Results lie in the members below until the next call.
  Status solve(const float *w, int64_t first, int64_t count);

  std::vector<uint8_t> codes;
  std::vector<float> tables;
  std::vector<LutRowReport> reports;

private:
  const LutProblem &p;
  int64_t count = 0;
  int64_t lanes = 0;
  /// [k][lanes]: target weights, V - W, and H (V - W).
  AlignedFloats weight, error, gradient;
  /// [k][lanes] codes, of the iterate and the best so far.
  std::vector<uint8_t> code, bestCode;
  /// [groups][levels][lanes] tables, and [groups][levels - 1][lanes] midpoints.
  AlignedFloats table, bestTable, thresholds;
  /// [lanes]
  std::vector<double> loss, bestLoss, rowScale;
  AlignedFloats blockBuffer, rowBuffer, vector;
  std::vector<uint8_t> rowCodes;
  std::vector<double> normal, slope;
  AlignedFloats segments;

  void load(const float *w);
  template <typename Start> void start(Start make);
  void sortTables();
  void setThresholds();
  void chooseCodes();
  void chooseNearest();
  void setError();
  void setGradient();
  void setLoss();
  void updateTables();
  void descend(int sweeps);
  void keepBest();
  void restoreBest();
  void alternate();
  void improve();
  Status finish(int64_t first);
  float *groupTable(int64_t group) {
    return table.data() + group * p.levels * lanes;
  }
};

} // namespace ganq::quant

#endif // GANQ_LIB_QUANTIZATION_LUTPROBLEM_H
