//===- LutKept.cpp - Which values are kept --------------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "LutKept.h"
#include <algorithm>
#include <numeric>
#include <vector>

using namespace ganq::quant;

/// The `kept` columns of least rank, ties to the left.
template <typename Rank>
static void choose(int64_t k, int64_t kept, Rank rank, int32_t *columns) {
  std::vector<int32_t> order(k);
  std::iota(order.begin(), order.end(), 0);
  std::nth_element(order.begin(), order.begin() + kept, order.end(),
                   [&](int32_t a, int32_t b) {
                     auto left = rank(a), right = rank(b);
                     return left != right ? left < right : a < b;
                   });
  std::copy(order.begin(), order.begin() + kept, columns);
}

void ganq::quant::chooseTails(const float *w, int64_t k, int64_t kept,
                              int32_t *columns) {
  int64_t low = kept / 2;
  choose(k, low, [&](int32_t j) { return w[j]; }, columns);
  std::vector<uint8_t> taken(k);
  for (int64_t i = 0; i != low; ++i)
    taken[columns[i]] = 1;
  choose(
      k, kept - low,
      [&](int32_t j) { return std::make_pair(int(taken[j]), -w[j]); },
      columns + low);
  std::sort(columns, columns + kept);
}

void ganq::quant::chooseFarthest(const float *w, const double *weights,
                                 int64_t k, int64_t kept, int32_t *columns) {
  std::vector<float> values(w, w + k);
  auto middle = values.begin() + k / 2;
  std::nth_element(values.begin(), middle, values.end());
  double median = *middle;
  choose(
      k, kept,
      [&](int32_t j) {
        double far = w[j] - median;
        return -far * far * weights[j];
      },
      columns);
  std::sort(columns, columns + kept);
}
