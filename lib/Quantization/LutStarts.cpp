//===- LutStarts.cpp - First tables ---------------------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "LutStarts.h"
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <utility>
#include <vector>

using namespace ganq::quant;

/// By 11 bits at a time, in an order of bits that is the order of floats.
static void radixSort(std::vector<float> &values) {
  constexpr int digits = 11, radix = 1 << digits, passes = 3;
  size_t count = values.size();
  std::vector<uint32_t> keys(count), other(count);
  std::vector<uint32_t> offsets(passes * radix);
  for (size_t i = 0; i != count; ++i) {
    uint32_t bits;
    std::memcpy(&bits, &values[i], sizeof(bits));
    keys[i] = bits ^ (bits >> 31 ? 0xFFFFFFFFu : 0x80000000u);
    for (int pass = 0; pass != passes; ++pass)
      ++offsets[pass * radix + (keys[i] >> pass * digits) % radix];
  }
  for (int pass = 0; pass != passes; ++pass) {
    uint32_t *offset = offsets.data() + pass * radix, sum = 0;
    for (int digit = 0; digit != radix; ++digit)
      sum += std::exchange(offset[digit], sum);
    for (uint32_t key : keys)
      other[offset[(key >> pass * digits) % radix]++] = key;
    keys.swap(other);
  }
  for (size_t i = 0; i != count; ++i) {
    uint32_t bits = keys[i] ^ (keys[i] >> 31 ? 0x80000000u : 0xFFFFFFFFu);
    std::memcpy(&values[i], &bits, sizeof(bits));
  }
}

static std::vector<float> sorted(const float *w, int64_t count) {
  constexpr int64_t few = 512;
  std::vector<float> values(w, w + count);
  if (count < few)
    std::sort(values.begin(), values.end());
  else
    radixSort(values);
  return values;
}

static void quantiles(const std::vector<float> &values, int levels,
                      double *table) {
  auto last = static_cast<double>(values.size() - 1);
  for (int t = 0; t != levels; ++t) {
    double at = (t + 0.5) / levels * last;
    auto below = static_cast<size_t>(at);
    size_t above = std::min(below + 1, values.size() - 1);
    double part = at - static_cast<double>(below);
    double low = values[below], high = values[above];
    table[t] = low + part * (high - low);
  }
}

void ganq::quant::linearStart(const float *w, int64_t count, int levels,
                              double *table) {
  auto [low, high] = std::minmax_element(w, w + count);
  for (int t = 0; t != levels; ++t)
    table[t] = *low + (static_cast<double>(*high) - *low) * t / (levels - 1);
}

void ganq::quant::quantileStart(const float *w, int64_t count, int levels,
                                double *table) {
  quantiles(sorted(w, count), levels, table);
}

/// Lloyd's iterations on ascending values, until nothing changes.
static void cluster(const std::vector<float> &values, int levels,
                    int iterations, double *table) {
  std::vector<double> sums(values.size() + 1);
  for (size_t i = 0; i != values.size(); ++i)
    sums[i + 1] = sums[i] + values[i];
  // A cluster is a range between two midpoints.
  for (int iteration = 0; iteration != iterations; ++iteration) {
    size_t begin = 0;
    bool changed = false;
    for (int t = 0; t != levels; ++t) {
      size_t end = values.size();
      if (t + 1 != levels)
        end = std::upper_bound(values.begin() + begin, values.end(),
                               (table[t] + table[t + 1]) / 2) -
              values.begin();
      if (end != begin) {
        double mean =
            (sums[end] - sums[begin]) / static_cast<double>(end - begin);
        changed |= mean != table[t];
        table[t] = mean;
      }
      begin = end;
    }
    if (!changed)
      break;
  }
  std::sort(table, table + levels);
}

void ganq::quant::kMeansStart(const float *w, int64_t count, int levels,
                              double *table) {
  constexpr int iterations = 15;
  std::vector<float> values = sorted(w, count);
  quantiles(values, levels, table);
  cluster(values, levels, iterations, table);
}

void ganq::quant::kMeans(const float *w, int64_t count, int levels,
                         double *table) {
  constexpr int iterations = 100;
  compandedStart(w, nullptr, count, levels, table);
  cluster(sorted(w, count), levels, iterations, table);
}

void ganq::quant::compandedStart(const float *w, const double *weights,
                                 int64_t count, int levels, double *table) {
  constexpr int bins = 200, reach = 24;
  constexpr double deviation = 8;
  auto [least, greatest] = std::minmax_element(w, w + count);
  double low = *least, high = *greatest;
  if (!(high > low)) {
    std::fill(table, table + levels, low);
    return;
  }
  std::vector<double> histogram(bins), density(bins);
  for (int64_t i = 0; i != count; ++i) {
    int bin = static_cast<int>((w[i] - low) / (high - low) * bins);
    histogram[std::clamp(bin, 0, bins - 1)] += weights ? weights[i] : 1;
  }
  static const std::array<double, 2 * reach + 1> bell = [] {
    std::array<double, 2 * reach + 1> values;
    for (int d = -reach; d <= reach; ++d)
      values[reach + d] = std::exp(-0.5 * (d / deviation) * (d / deviation));
    return values;
  }();
  double total = 0;
  for (int bin = 0; bin != bins; ++bin) {
    double sum = 0;
    int first = std::max(bin - reach, 0),
        last = std::min(bin + reach, bins - 1);
    for (int other = first; other <= last; ++other)
      sum += histogram[other] * bell[reach + other - bin];
    density[bin] = std::cbrt(sum);
    total += density[bin];
  }
  double before = 0;
  int bin = 0;
  for (int t = 0; t != levels; ++t) {
    double target = (t + 0.5) / levels * total;
    while (bin + 1 < bins && before + density[bin] < target)
      before += density[bin++];
    double part =
        density[bin] > 0 ? std::min((target - before) / density[bin], 1.0) : 0;
    table[t] = low + (high - low) * (bin + part) / bins;
  }
}
