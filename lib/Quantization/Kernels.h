//===- Kernels.h - Inner loops of the table solver ------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Matrices are stored by columns of the weight: element (j, r) of a block of
// rows is at j * lanes + r, lanes being a multiple of 16, so every loop over
// rows is a loop over full vectors.
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_LIB_QUANTIZATION_KERNELS_H
#define GANQ_LIB_QUANTIZATION_KERNELS_H

#include <cstdint>

namespace ganq::quant {

/// Columns of H in one packed tile.
constexpr int64_t tileWidth = 32;

/// codes[r] = number of thresholds[levels-1][lanes] below v[r]; values[r] = the
/// entry of table[levels][lanes] so chosen.
void chooseLevels(const float *v, const float *table, const float *thresholds,
                  int64_t levels, int64_t lanes, uint8_t *codes, float *values);

/// codes[j] = number of thresholds[0..limits) below w[j] for j < count; the
/// thresholds are ascending.
void countBelow(const float *w, int64_t count, const float *thresholds,
                int64_t limits, uint8_t *codes);

/// sums[codes[j]][0..tileWidth) += tile[j][0..tileWidth) for j < rows.
void addSegments(const float *tile, const uint8_t *codes, int64_t rows,
                 float *sums);

/// out[r] -= sum over u < count of factors[u] * x[u][r].
void subtractProducts(const float *factors, const float *x, int64_t count,
                      int64_t lanes, float *out);

/// out[u][r] += factors[u] * x[r] for u < count.
void addOuter(const float *factors, const float *x, int64_t count,
              int64_t lanes, float *out);

/// out[r] += sum over j < count of scale[j] * a[j][r] * b[j][r], in double; a
/// null scale is all ones.
void addInner(const float *a, const float *b, const float *scale, int64_t count,
              int64_t lanes, double *out);

} // namespace ganq::quant

#endif // GANQ_LIB_QUANTIZATION_KERNELS_H
