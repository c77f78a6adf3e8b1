//===- LutKMeans.cpp - Tables and codes by clustering ---------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "LutKMeans.h"
#include "Kernels.h"
#include "LutEntry.h"
#include "LutKept.h"
#include "LutStarts.h"
#include <algorithm>
#include <cmath>

using namespace ganq::quant;

LutKMeans::LutKMeans(const LutProblem &problem, int64_t capacity)
    : output(problem, capacity), p(problem), error(capacity * problem.k),
      gradient(problem.h.empty() ? 0 : capacity * problem.k),
      rowScale(capacity) {}

void LutKMeans::chooseKept(const float *w, int64_t count) {
  for (int64_t r = 0; p.options.kept && r != count; ++r) {
    int32_t *columns = output.keptColumns.data() + r * p.options.kept;
    chooseTails(w + r * p.k, p.k, p.options.kept, columns);
    for (int64_t i = 0; i != p.options.kept; ++i)
      output.keptValues[r * p.options.kept + i] = w[r * p.k + columns[i]];
  }
}

/// The tables of one tile of rows, in the units of its rows' scales.
Status LutKMeans::makeTables(const float *w, int64_t first, int64_t begin,
                             int64_t end) {
  int64_t k = p.k, levels = p.levels, perRow = p.options.kept;
  LutEntry entry = p.options.entry;
  bool scaled = hasScale(entry);
  auto groups = static_cast<int64_t>(p.groups.size());
  float *tables =
      output.tables.data() + begin / p.options.rows * groups * levels;
  for (int64_t r = begin; r != end; ++r) {
    double sum = 0;
    for (int64_t j = 0; j != k && scaled; ++j)
      sum += static_cast<double>(w[r * k + j]) * w[r * k + j];
    rowScale[r] = sum > 0 ? std::sqrt(sum / static_cast<double>(k)) : 1;
  }
  std::vector<float> values;
  std::vector<double> entries(levels);
  float most = 0;
  for (const LutProblem::Group &group : p.groups) {
    values.clear();
    for (int64_t r = begin; r != end; ++r) {
      const int32_t *skip = output.keptColumns.data() + r * perRow;
      const int32_t *last = skip + perRow;
      skip = std::lower_bound(skip, last, group.begin);
      for (int64_t j = group.begin; j != group.end; ++j)
        if (skip != last && *skip == j)
          ++skip;
        else
          values.push_back(scaled
                               ? static_cast<float>(w[r * k + j] / rowScale[r])
                               : w[r * k + j]);
    }
    std::fill(entries.begin(), entries.end(), 0.0);
    if (!values.empty())
      kMeans(values.data(), static_cast<int64_t>(values.size()), p.levels,
             entries.data());
    for (int64_t t = 0; t != levels; ++t) {
      auto value = static_cast<float>(entries[t]);
      tables[group.index * levels + t] = value;
      most = std::max(most, std::fabs(value));
    }
  }
  double unit = 1;
  if (scaled && most > 0)
    unit = most / greatestEntry(entry);
  for (int64_t i = 0; i != groups * levels; ++i) {
    float value = tables[i];
    tables[i] = roundToEntry(entry, static_cast<float>(value / unit));
    if (!std::isfinite(tables[i]))
      return entryRangeError(value, first + begin);
  }
  for (int64_t r = begin; r != end; ++r) {
    rowScale[r] = scaled ? toScale(rowScale[r] * unit, most > 0) : 1;
    if (!std::isfinite(rowScale[r]))
      return scaleRangeError(first + r);
    output.scales[r] = static_cast<float>(rowScale[r]);
  }
  return {};
}

void LutKMeans::chooseCodes(const float *w, int64_t r) {
  int64_t k = p.k, levels = p.levels, perRow = p.options.kept;
  auto groups = static_cast<int64_t>(p.groups.size());
  float scale = output.scales[r];
  std::vector<float> values(levels), thresholds(levels);
  for (const LutProblem::Group &group : p.groups) {
    const float *entries = output.tables.data() +
                           (r / p.options.rows * groups + group.index) * levels;
    for (int64_t t = 0; t != levels; ++t)
      values[t] = entries[t] * scale;
    for (int64_t t = 0; t + 1 != levels; ++t)
      thresholds[t] = 0.5f * (values[t] + values[t + 1]);
    int64_t at = r * k + group.begin;
    countBelow(w + at, group.end - group.begin, thresholds.data(), levels - 1,
               output.codes.data() + at);
    for (int64_t i = at; i != r * k + group.end; ++i)
      error[i] = values[output.codes[i]] - w[i];
  }
  for (int64_t i = r * perRow; i != (r + 1) * perRow; ++i)
    error[r * k + output.keptColumns[i]] = 0;
}

void LutKMeans::report(const float *w, int64_t count) {
  int64_t k = p.k;
  auto measure = [&](const float *rows, int64_t r) {
    const float *other = p.h.empty() ? rows + r * k : gradient.data() + r * k;
    double sum = 0;
    for (int64_t j = 0; j != k; ++j)
      sum += static_cast<double>(rows[r * k + j]) * other[j];
    return p.damping.meanDiagonal * std::max(sum, 0.0);
  };
  auto multiply = [&](const float *rows) {
    if (!p.h.empty())
      p.blas->gemm(false, false, count, k, k, 1, rows, k, p.h.data(), k, 0,
                   gradient.data(), k);
  };
  multiply(w);
  for (int64_t r = 0; r != count; ++r)
    output.reports[r].outputEnergy = measure(w, r);
  multiply(error.data());
  for (int64_t r = 0; r != count; ++r) {
    RowReport &report = output.reports[r];
    report.outputError = report.loss = report.initialLoss =
        measure(error.data(), r);
  }
}

Status LutKMeans::solve(const float *w, int64_t first, int64_t count) {
  if (Status status = checkWeights(w, first, count, p.k); !status.ok())
    return status;
  chooseKept(w, count);
  for (int64_t r = 0; r < count; r += p.options.rows)
    if (Status status =
            makeTables(w, first, r, std::min(r + p.options.rows, count));
        !status.ok())
      return status;
  for (int64_t r = 0; r != count; ++r)
    chooseCodes(w, r);
  report(w, count);
  return {};
}
