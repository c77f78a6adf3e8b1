//===- Synthetic.h - Layers made for tests --------------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_UNITTESTS_QUANTIZATION_SYNTHETIC_H
#define GANQ_UNITTESTS_QUANTIZATION_SYNTHETIC_H

#include "ganq/Quantization/Gram.h"
#include <cmath>
#include <cstdint>
#include <gtest/gtest.h>
#include <vector>

namespace ganq::quant::test {

/// Uniform and roughly normal numbers, the same on every platform.
class Numbers {
public:
  explicit Numbers(uint64_t seed)
      : state(seed * 2654435761u + 88172645463325252u) {}
  double uniform() {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return static_cast<double>(state >> 11) / 9007199254740992.0;
  }
  double normal() {
    double sum = -6;
    for (int i = 0; i != 12; ++i)
      sum += uniform();
    return sum;
  }

private:
  uint64_t state;
};

/// Heavy-tailed weights.
inline std::vector<float> makeWeights(int64_t n, int64_t k, uint64_t seed) {
  Numbers numbers(seed);
  std::vector<float> w(n * k);
  for (float &value : w) {
    double z = numbers.normal();
    value = static_cast<float>(0.02 * z * (1 + 0.3 * z * z));
  }
  return w;
}

/// Correlated activations with a few large channels.
inline std::vector<float> makeInputs(int64_t rows, int64_t k, uint64_t seed) {
  Numbers numbers(seed);
  std::vector<float> x(rows * k);
  for (int64_t t = 0; t != rows; ++t) {
    double common = numbers.normal(), previous = 0;
    for (int64_t j = 0; j != k; ++j) {
      previous = 0.6 * previous + numbers.normal() + 0.3 * common;
      x[t * k + j] = static_cast<float>(previous * (j % 17 == 3 ? 8 : 1));
    }
  }
  return x;
}

struct Layer {
  int64_t n, k;
  std::vector<float> w;
  Gram gram;
};

inline Layer makeLayer(int64_t n, int64_t k, int64_t rows, uint64_t seed) {
  Layer layer{n, k, makeWeights(n, k, seed), {}};
  GramAccumulator sums(k);
  EXPECT_TRUE(sums.add(makeInputs(rows, k, seed + 1).data(), rows).ok());
  layer.gram = sums.finish();
  return layer;
}

/// H with a ridge, as a share of its mean diagonal.
inline std::vector<double> damp(std::vector<double> h, int64_t k,
                                double ridge) {
  double mean = 0;
  for (int64_t j = 0; j != k; ++j)
    mean += h[j * k + j] / static_cast<double>(k);
  for (int64_t j = 0; j != k; ++j)
    h[j * k + j] += ridge * mean;
  return h;
}

/// E H E^T of one row.
inline double quadratic(const std::vector<double> &h, const double *e,
                        int64_t k) {
  double sum = 0;
  for (int64_t i = 0; i != k; ++i)
    for (int64_t j = 0; j != k; ++j)
      sum += e[i] * h[i * k + j] * e[j];
  return sum;
}

} // namespace ganq::quant::test

#endif // GANQ_UNITTESTS_QUANTIZATION_SYNTHETIC_H
