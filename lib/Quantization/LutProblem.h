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

/// A solved block of rows: the arrays of LutRows, in the caller's order.
struct LutOutput {
  std::vector<uint8_t> codes;
  std::vector<float> tables, scales;
  std::vector<int32_t> keptColumns;
  std::vector<float> keptValues;
  std::vector<RowReport> reports;

  LutOutput(const LutProblem &problem, int64_t capacity);
};

/// Rows solved together, and buffers for them. One object per thread. Rows lie
/// in the lanes of vectors; a tile is `options.rows` lanes side by side, whose
/// tables are equal.
class LutBlock {
public:
  LutBlock(const LutProblem &problem, int64_t capacity);

  /// Solves `count` rows of w[count x k] (columns in the caller's order), the
  /// first of which begins a tile.
  Status solve(const float *w, int64_t first, int64_t count);

  LutOutput output;

private:
  const LutProblem &p;
  int64_t count = 0;
  int64_t lanes = 0;
  int64_t tiles = 0;
  /// [k][lanes]: target weights, V - W, and H (V - W), in units of rowScale.
  AlignedFloats weight, error, gradient;
  /// [k][lanes] codes, of the iterate and the best so far.
  std::vector<uint8_t> code, bestCode;
  /// [groups][levels][lanes] tables, and [groups][levels - 1][lanes] midpoints.
  AlignedFloats table, bestTable, thresholds;
  /// [lanes]. Weights are divided by rowScale; a row's loss counts by its share
  /// (rowScale squared, up to a factor) in its tile.
  std::vector<double> rowScale, share, rowLoss;
  /// [tiles]
  std::vector<double> loss, bestLoss;
  /// [count][kept] positions of the kept values, ascending, and V - W there;
  /// [k][lanes] marks of them.
  std::vector<int32_t> keptAt;
  std::vector<float> keptError, bestKeptError;
  std::vector<uint8_t> kept;
  AlignedFloats blockBuffer, rowBuffer, vector;
  /// [count][k] codes, `levels` for kept values.
  std::vector<uint8_t> rowCodes;
  /// [tiles][levels + 1][levels + 1] and [tiles][levels + 1]; the last level
  /// gathers what belongs to kept values.
  std::vector<double> normal, slope;
  AlignedFloats segments;

  bool keeps() const { return p.options.kept != 0; }
  bool improves() const { return p.options.method == LutMethod::Improved; }
  /// Kept values may move, so that they absorb the errors of others.
  bool movesKept() const { return improves(); }
  /// A value in `table` times this is a stored entry, once tables are rounded.
  float entryUnit(int64_t r) const {
    return hasScale(p.options.entry) ? 1 : static_cast<float>(rowScale[r]);
  }
  float *groupTable(int64_t group) {
    return table.data() + group * p.levels * lanes;
  }

  // LutBlock.cpp
  void load(const float *w);
  void chooseKept();
  void collectKept();
  void blendKept(int64_t column, const float *ideal, float *values) const;
  void chooseCodes();
  void setError();
  void setGradient();
  void setLoss();
  void descend(int sweeps);
  void keepBest();
  void restoreBest();
  void alternate();
  void improve();
  Status finish(int64_t first);
  void writeKept();

  // LutTables.cpp
  template <typename Start> void start(Start make);
  void startLinear();
  void startCompanded(bool weighted);
  void startQuantiles();
  void startKMeans();
  void sortTables();
  void setThresholds();
  void formNormalEquations(int64_t group);
  void updateTables(bool rounded = false);
  void chooseScales();
  Status roundTables(int64_t first);
};

} // namespace ganq::quant

#endif // GANQ_LIB_QUANTIZATION_LUTPROBLEM_H
