//===- Grid.h - Weights on scaled copies of one grid ----------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// W[n x k] becomes codes q[n x k] and a scale for each row and group of
// columns:
//
//   evenly spaced  W~[i,j] = scale[i,g] * (q[i,j] - zero[i,g]), 0 <= q, zero <
//   L fixed levels   W~[i,j] = scale[i,g] * level[q[i,j]]
//
// docs/Schemes/Uniform.md, Pot.md and Nf.md have the maths.
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_QUANTIZATION_GRID_H
#define GANQ_QUANTIZATION_GRID_H

#include "ganq/Quantization/Gram.h"
#include "ganq/Quantization/Rows.h"
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

namespace ganq::quant {

enum class GridMethod {
  /// Scales from clip search, codes by error feedback, alternated with scales
  /// by least squares; coordinate descent; the best iterate kept per row.
  Improved,
  /// Scales from the weights alone, codes by error feedback in order of falling
  /// curvature (GPTQ, arXiv 2210.17323, with static groups).
  Gptq,
  /// Nearest level; looks at no activations.
  Rtn,
  /// Fixed levels only. Scale search without data, then gradient steps on the
  /// scales with the codes chosen anew at each, the best step kept per row
  /// (PoTPTQ, arXiv 2507.11959).
  Paper,
};

/// Number format that scales are stored in.
enum class ScaleType { Half, BFloat, Float };

struct GridOptions {
  /// Evenly spaced levels L, 2..256.
  int levels = 16;
  /// Fixed levels by code, in any order, 2..256; empty: evenly spaced ones.
  std::vector<float> fixed;
  /// Columns that share a scale; 0: the whole row.
  int64_t group = 0;
  GridMethod method = GridMethod::Improved;
  /// Rtn and Gptq: take the scale of least squared rounding error among
  /// candidates, rather than the one that reaches the group's greatest values.
  bool searchScales = false;
  /// Rtn and Paper with fixed levels: the border between two levels of one sign
  /// is their geometric mean, rather than the arithmetic one.
  bool roundLogarithms = false;
  ScaleType scaleType = ScaleType::Half;
  /// Rtn and Gptq, evenly spaced: [n x groups] ranges to use in place of the
  /// weights' own; they must outlive the solver.
  const float *low = nullptr;
  const float *high = nullptr;
  /// Improved: alternations of codes and scales, rounds of coordinate descent,
  /// each followed by new scales, and sweeps over the columns in each round.
  int iterations = 8;
  int descentRounds = 3;
  int descentSweeps = 2;
  /// Paper: steps of Adam, their size, and the weight of the squared relative
  /// change of the scales against the loss in units of the first one.
  int steps = 200;
  double rate = 1e-3;
  double decay = 0.1;
  /// As in LutOptions.
  double ridge = 0.01;
  double alpha = 0.5;
  /// 0: one per core.
  unsigned threads = 0;
};

struct GridResult {
  int64_t groups = 1;
  /// [n x k]
  std::vector<uint8_t> codes;
  /// [n x groups], positive values of the scales' format. With fixed levels
  /// also normal, and so small that scale times any level is finite: adding a
  /// level's exponent to that of the scale then is the exact multiplication.
  std::vector<float> scales;
  /// [n x groups], below L; empty with fixed levels.
  std::vector<uint8_t> zeros;
  /// [n]
  std::vector<RowReport> rows;
  /// Scales that had to be raised to the least legal value.
  int64_t raisedScales = 0;
  double relativeOutputError() const {
    return quant::relativeOutputError(rows);
  }
};

/// One block of solved rows; arrays laid out as in GridResult.
struct GridRows {
  int64_t first = 0;
  int64_t count = 0;
  const uint8_t *codes = nullptr;
  const float *scales = nullptr;
  const uint8_t *zeros = nullptr;
  const RowReport *rows = nullptr;
  int64_t raisedScales = 0;
};

/// Everything that all rows share, prepared once per Gram matrix.
class GridSolver {
public:
  /// Receives a block of results, in any order, by one thread at a time.
  using WriteRows = std::function<Status(const GridRows &)>;

  GridSolver();
  GridSolver(GridSolver &&);
  GridSolver &operator=(GridSolver &&);
  ~GridSolver();

  /// `h` [k x k] as in Gram::h, or null for the identity; `c` [k x k] as in
  /// Gram::c, or null for no correction of the target.
  static Expected<GridSolver> create(const GridOptions &options, int64_t k,
                                     const double *h,
                                     const double *c = nullptr);

  /// Solves n rows, a block per thread in memory at a time. The result depends
  /// neither on the number of threads nor on timing.
  Status solve(int64_t n, const ReadRows &read, const WriteRows &write,
               const Progress &progress = {}) const;

  /// The same for W[n x k] in memory.
  Expected<GridResult> solve(const float *w, int64_t n,
                             const Progress &progress = {}) const;

  int64_t groups() const;
  const Damping &damping() const;

private:
  struct Impl;
  std::unique_ptr<Impl> impl;
};

/// Writes W~[n x k] to dst. `fixed` and `group` as in GridOptions.
void dequantizeGrid(const GridResult &result, const std::vector<float> &fixed,
                    int64_t n, int64_t k, int64_t group, float *dst);

} // namespace ganq::quant

#endif // GANQ_QUANTIZATION_GRID_H
