//===- Lut.h - Weights as indices into tables -----------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// W[n x k] becomes codes q[n x k] of 1..8 bits and, for each tile of rows and
// each group of columns, a table of 2^bits values:
//
//   W~[i,j] = scale[i] * table[tile(i), group(j), q[i,j]],
//
// with scales for 8-bit table entries only, and a tile of one row unless asked
// otherwise. A few values per row may be kept apart at full precision. Codes,
// tables and kept values minimise the layer's output error
//
//   sum_i (W'_i - W~_i) H (W'_i - W~_i)^T,   H = X^T X + damping,
//
// after GANQ (arXiv 2501.12956, section 3). docs/Schemes/Lut.md has the maths.
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_QUANTIZATION_LUT_H
#define GANQ_QUANTIZATION_LUT_H

#include "ganq/Quantization/Gram.h"
#include "ganq/Quantization/Rows.h"
#include <cstdint>
#include <memory>
#include <vector>

namespace ganq::quant {

enum class LutMethod {
  /// Several starts with the best kept per row, columns in order of falling
  /// curvature, coordinate descent at the end.
  Improved,
  /// The paper's Algorithm 1 with equation 20's index: evenly spaced start,
  /// columns from last to first, a fixed number of iterations.
  Literal,
  /// Unweighted k-means of each row's values; ignores the activations.
  KMeans,
};

/// The type of the stored table entries.
enum class LutEntry {
  Float32,
  Float16,
  BFloat16,
  /// -128..127, times a scale per row.
  Int8,
  /// E4M3FN: 3 bits of mantissa, up to 448, no infinities; times a scale.
  Float8,
};

inline bool hasScale(LutEntry entry) {
  return entry == LutEntry::Int8 || entry == LutEntry::Float8;
}

/// The value of `entry` nearest to x, ties to even. Values out of range become
/// infinite for floats of 16 bits, and the greatest value for 8 bits.
float roundToEntry(LutEntry entry, float x);

struct LutOptions {
  /// 1..8.
  int bits = 4;
  /// Columns that share a table; 0: the whole row.
  int64_t group = 0;
  /// Rows that share a table, 1..1024; the last tile may have fewer.
  int64_t rows = 1;
  LutEntry entry = LutEntry::Float16;
  /// Values of each row, 0..k, that are kept as they are (fewer than 8 bits).
  int64_t kept = 0;
  LutMethod method = LutMethod::Improved;
  /// Alternations of codes and tables from each start.
  int iterations = 10;
  /// Rounds of coordinate descent, each followed by a new table, and sweeps
  /// over the columns in each round.
  int descentRounds = 2;
  int descentSweeps = 2;
  /// Added to H's diagonal, as a fraction of the diagonal's mean.
  double ridge = 0.01;
  /// Where cross moments are given: 0 aims at the output for the quantized
  /// prefix's activations, 1 at the unquantized model's output.
  double alpha = 0.5;
  /// 0: one per core.
  unsigned threads = 0;
};

using LutRowReport = RowReport;

struct LutResult {
  /// [n x k]
  std::vector<uint8_t> codes;
  /// [tiles x groups x 2^bits], ascending within a table; exact values of the
  /// entry type.
  std::vector<float> tables;
  /// [n] fp16 values, positive; all 1 for entries without a scale.
  std::vector<float> scales;
  /// [n x kept], ascending within a row, and the values of W~ there.
  std::vector<int32_t> keptColumns;
  std::vector<float> keptValues;
  /// [n]
  std::vector<LutRowReport> rows;
  /// Square root of (sum of errors / sum of energies).
  double relativeOutputError() const;
};

/// One block of solved rows, a whole number of tiles but for the last; arrays
/// laid out as in LutResult.
struct LutRows {
  int64_t first = 0;
  int64_t count = 0;
  const uint8_t *codes = nullptr;
  const float *tables = nullptr;
  const float *scales = nullptr;
  const int32_t *keptColumns = nullptr;
  const float *keptValues = nullptr;
  const LutRowReport *rows = nullptr;
};

/// Everything that all rows share, prepared once per Gram matrix; weights of
/// one input (such as query, key and value projections) can use one solver.
class LutSolver {
public:
  using ReadRows = quant::ReadRows;
  using Progress = quant::Progress;
  /// Receives a block of results, in any order, by one thread at a time.
  using WriteRows = std::function<Status(const LutRows &)>;

  LutSolver();
  LutSolver(LutSolver &&);
  LutSolver &operator=(LutSolver &&);
  ~LutSolver();

  /// `h` [k x k] as in Gram::h, or null for the identity; `c` [k x k] as in
  /// Gram::c, or null for no correction of the target.
  static Expected<LutSolver> create(const LutOptions &options, int64_t k,
                                    const double *h, const double *c = nullptr);

  /// Solves n rows, a block per thread in memory at a time. The result depends
  /// neither on the number of threads nor on timing.
  Status solve(int64_t n, const ReadRows &read, const WriteRows &write,
               const Progress &progress = {}) const;

  /// The same for W[n x k] in memory.
  Expected<LutResult> solve(const float *w, int64_t n,
                            const Progress &progress = {}) const;

  /// The target W' of `count` rows of W, which the options' alpha and C make;
  /// W itself where there is no correction. Arrays may be the same.
  void target(const float *w, int64_t count, float *dst) const;

  int64_t groups() const;
  const Damping &damping() const;

private:
  struct Impl;
  std::unique_ptr<Impl> impl;
};

/// Writes W~[n x k] to dst, given the options and shape that made the result.
void dequantizeLut(const LutResult &result, const LutOptions &options,
                   int64_t n, int64_t k, float *dst);

} // namespace ganq::quant

#endif // GANQ_QUANTIZATION_LUT_H
