//===- Gram.cpp - Second moments of a layer's inputs ----------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/Quantization/Gram.h"
#include "Blas.h"
#include <algorithm>
#include <cmath>

using namespace ganq::quant;

/// Rows whose products are summed in single precision.
static constexpr int64_t blockRows = 256;

GramAccumulator::GramAccumulator(int64_t columns, bool cross) : cross(cross) {
  sums.columns = std::max<int64_t>(columns, 0);
  sums.h.resize(sums.columns * sums.columns);
  if (cross)
    sums.c.resize(sums.columns * sums.columns);
}

static Status checkFinite(const float *x, int64_t rows, int64_t columns,
                          const char *what) {
  for (int64_t i = 0; i != rows * columns; ++i)
    if (!std::isfinite(x[i]))
      return Status::error(std::string("expected finite ") + what +
                           ", but got " + std::to_string(x[i]) + " in row " +
                           std::to_string(i / columns) + ", column " +
                           std::to_string(i % columns));
  return {};
}

Status GramAccumulator::add(const float *x, int64_t rows,
                            const float *reference) {
  int64_t k = sums.columns;
  if (rows < 0)
    return Status::error("expected a number of rows of at least 0, but got " +
                         std::to_string(rows));
  if (cross != (reference != nullptr))
    return Status::error(cross ? "expected reference activations, but got none"
                               : "expected no reference activations, but got "
                                 "some");
  if (Status status = checkFinite(x, rows, k, "activations"); !status.ok())
    return status;
  if (cross)
    if (Status status =
            checkFinite(reference, rows, k, "reference activations");
        !status.ok())
      return status;
  Expected<const Blas *> library = blas();
  if (!library.ok())
    return library.status();
  BlasThreads threads(**library, static_cast<int>(resolveThreads(0)));

  scratch.resize(k * k);
  auto accumulate = [&](const float *left, const float *right, int64_t count,
                        std::vector<double> &sum) {
    (*library)->gemm(true, false, k, k, count, 1, left, k, right, k, 0,
                     scratch.data(), k);
    for (int64_t i = 0; i != k * k; ++i)
      sum[i] += scratch[i];
  };
  for (int64_t first = 0; first < rows; first += blockRows) {
    int64_t count = std::min(blockRows, rows - first);
    accumulate(x + first * k, x + first * k, count, sums.h);
    if (cross)
      accumulate(reference + first * k, x + first * k, count, sums.c);
  }
  sums.rows += rows;
  return {};
}

Gram GramAccumulator::finish() const {
  Gram result = sums;
  if (sums.rows) {
    double scale = 1.0 / static_cast<double>(sums.rows);
    for (double &value : result.h)
      value *= scale;
    for (double &value : result.c)
      value *= scale;
  }
  return result;
}
