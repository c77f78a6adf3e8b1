//===- Kernels.cpp - Inner loops of the table solver ----------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Kernels.h"
#include "Vectors.h"

using namespace ganq::quant;

static constexpr int64_t width = vectorWidth;

GANQ_CLONES
void ganq::quant::chooseLevels(const float *v, const float *table,
                               const float *thresholds, int64_t levels,
                               int64_t lanes, uint8_t *codes, float *values) {
  for (int64_t r = 0; r < lanes; r += width) {
    Floats x = *reinterpret_cast<const Floats *>(v + r);
    Floats value = *reinterpret_cast<const Floats *>(table + r);
    Ints code = {};
    for (int64_t t = 1; t < levels; ++t) {
      Ints above = x > *reinterpret_cast<const Floats *>(thresholds +
                                                         (t - 1) * lanes + r);
      code -= above;
      value = above ? *reinterpret_cast<const Floats *>(table + t * lanes + r)
                    : value;
    }
    *reinterpret_cast<Floats *>(values + r) = value;
    for (int64_t l = 0; l != width; ++l)
      codes[r + l] = static_cast<uint8_t>(code[l]);
  }
}

GANQ_CLONES
void ganq::quant::countBelow(const float *w, int64_t count,
                             const float *thresholds, int64_t limits,
                             uint8_t *codes) {
  int64_t j = 0;
  for (; j + width <= count; j += width) {
    Floats x = *reinterpret_cast<const Floats *>(w + j);
    Ints code = {};
    for (int64_t t = 0; t != limits; ++t)
      code -= x > thresholds[t];
    for (int64_t l = 0; l != width; ++l)
      codes[j + l] = static_cast<uint8_t>(code[l]);
  }
  for (; j != count; ++j) {
    codes[j] = 0;
    for (int64_t t = 0; t != limits; ++t)
      codes[j] += w[j] > thresholds[t];
  }
}

GANQ_CLONES
void ganq::quant::addSegments(const float *tile, const uint8_t *codes,
                              int64_t rows, float *sums) {
  for (int64_t j = 0; j != rows; ++j) {
    auto *sum = reinterpret_cast<Floats *>(sums + codes[j] * tileWidth);
    const auto *row = reinterpret_cast<const Floats *>(tile + j * tileWidth);
    sum[0] += row[0];
    sum[1] += row[1];
  }
}

GANQ_CLONES
void ganq::quant::subtractProducts(const float *factors, const float *x,
                                   int64_t count, int64_t lanes, float *out) {
  for (int64_t r = 0; r < lanes; r += width) {
    Floats sum = {};
    for (int64_t u = 0; u != count; ++u)
      sum += factors[u] * *reinterpret_cast<const Floats *>(x + u * lanes + r);
    *reinterpret_cast<Floats *>(out + r) -= sum;
  }
}

GANQ_CLONES
void ganq::quant::addOuter(const float *factors, const float *x, int64_t count,
                           int64_t lanes, float *out) {
  for (int64_t r = 0; r < lanes; r += width) {
    Floats value = *reinterpret_cast<const Floats *>(x + r);
    for (int64_t u = 0; u != count; ++u)
      *reinterpret_cast<Floats *>(out + u * lanes + r) += factors[u] * value;
  }
}

GANQ_CLONES
void ganq::quant::addInner(const float *a, const float *b, const float *scale,
                           int64_t count, int64_t lanes, double *out) {
  for (int64_t j = 0; j != count; ++j) {
    double factor = scale ? scale[j] : 1;
    for (int64_t r = 0; r != lanes; ++r)
      out[r] += factor * (static_cast<double>(a[j * lanes + r]) *
                          static_cast<double>(b[j * lanes + r]));
  }
}
