//===- LutTables.cpp - First, best and rounded tables ---------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Kernels.h"
#include "LutEntry.h"
#include "LutProblem.h"
#include "LutStarts.h"
#include <algorithm>
#include <cmath>

using namespace ganq::quant;

template <typename Start> void LutBlock::start(Start make) {
  int64_t tile = p.options.rows;
  std::vector<float> values;
  std::vector<double> weights, entries(p.levels);
  std::fill(table.begin(), table.end(), 0.0f);
  for (size_t g = 0; g != p.groups.size(); ++g) {
    auto [begin, end, index] = p.groups[g];
    float *out = groupTable(static_cast<int64_t>(g));
    for (int64_t first = 0; first < count; first += tile) {
      int64_t last = std::min(first + tile, count);
      values.clear();
      weights.clear();
      for (int64_t r = first; r != last; ++r)
        for (int64_t j = begin; j != end; ++j)
          if (!keeps() || !kept[j * lanes + r]) {
            values.push_back(weight[j * lanes + r]);
            weights.push_back(p.curvature[j] * share[r]);
          }
      if (values.empty())
        continue;
      make(values.data(), weights.data(), static_cast<int64_t>(values.size()),
           entries.data());
      for (int64_t t = 0; t != p.levels; ++t)
        for (int64_t r = first; r != last; ++r)
          out[t * lanes + r] = static_cast<float>(entries[t]);
    }
  }
}

void LutBlock::startLinear() {
  start([&](const float *w, const double *, int64_t n, double *t) {
    linearStart(w, n, p.levels, t);
  });
}

void LutBlock::startCompanded(bool weighted) {
  start([&](const float *w, const double *weights, int64_t n, double *t) {
    compandedStart(w, weighted ? weights : nullptr, n, p.levels, t);
  });
}

void LutBlock::startQuantiles() {
  start([&](const float *w, const double *, int64_t n, double *t) {
    quantileStart(w, n, p.levels, t);
  });
}

void LutBlock::startKMeans() {
  start([&](const float *w, const double *, int64_t n, double *t) {
    kMeansStart(w, n, p.levels, t);
  });
}

void LutBlock::sortTables() {
  std::vector<std::pair<float, uint8_t>> entries(p.levels);
  std::vector<uint8_t> rank(p.levels);
  for (size_t g = 0; g != p.groups.size(); ++g) {
    float *values = groupTable(static_cast<int64_t>(g));
    for (int64_t r = 0; r != count; ++r) {
      bool ascending = true;
      for (int64_t t = 0; t != p.levels; ++t) {
        entries[t] = {values[t * lanes + r], static_cast<uint8_t>(t)};
        ascending &= t == 0 || entries[t - 1].first <= entries[t].first;
      }
      if (ascending)
        continue;
      std::sort(entries.begin(), entries.end());
      for (int64_t t = 0; t != p.levels; ++t) {
        values[t * lanes + r] = entries[t].first;
        rank[entries[t].second] = static_cast<uint8_t>(t);
      }
      for (int64_t j = p.groups[g].begin; j != p.groups[g].end; ++j)
        code[j * lanes + r] = rank[code[j * lanes + r]];
    }
  }
  setThresholds();
}

void LutBlock::setThresholds() {
  int64_t groups = static_cast<int64_t>(p.groups.size());
  for (int64_t g = 0; g != groups; ++g) {
    const float *in = groupTable(g);
    float *out = thresholds.data() + g * (p.levels - 1) * lanes;
    for (int64_t i = 0; i != (p.levels - 1) * lanes; ++i)
      out[i] = 0.5f * (in[i] + in[i + lanes]);
  }
}

/// Solves A x = -b for the levels in use by a Cholesky factorisation in place;
/// x replaces b. Levels that depend on others stay as they are (x = 0).
static void solveNormal(double *a, double *b, int64_t levels, int64_t stride,
                        double *x) {
  std::vector<int64_t> live;
  double trace = 0;
  for (int64_t t = 0; t != levels; ++t) {
    x[t] = 0;
    trace += a[t * stride + t];
    if (a[t * stride + t] > 0)
      live.push_back(t);
  }
  int64_t m = static_cast<int64_t>(live.size());
  double least = 1e-10 * trace / static_cast<double>(std::max<int64_t>(m, 1));
  for (int64_t i = 0; i != m; ++i) {
    double *row = a + live[i] * stride;
    double sum = -b[live[i]];
    for (int64_t j = 0; j <= i; ++j) {
      const double *other = a + live[j] * stride;
      double entry = row[live[j]];
      for (int64_t u = 0; u != j; ++u)
        entry -= row[u] * other[u];
      // The factor's row overwrites columns 0..i, read at or after live[j] >=
      // j.
      if (j != i) {
        row[j] = other[j] > 0 ? entry / other[j] : 0;
        sum -= row[j] * x[j];
      } else {
        row[j] = entry > least ? std::sqrt(entry) : 0;
        x[i] = row[j] > 0 ? sum / row[j] : 0;
      }
    }
  }
  for (int64_t i = m; i-- != 0;) {
    const double *row = a + live[i] * stride;
    x[i] = row[i] > 0 ? x[i] / row[i] : 0;
    for (int64_t j = 0; j != i; ++j)
      x[j] -= row[j] * x[i];
  }
  std::fill(b, b + levels, 0.0);
  for (int64_t i = 0; i != m; ++i)
    b[live[i]] = x[i];
}

/// Changes x so that x + values has the entry type's values and x A x + 2 b x
/// is small, by coordinate descent from zero.
template <typename Round>
static void descendOnGrid(const double *a, double *b, int64_t levels,
                          int64_t stride, const float *values, Round round,
                          double *x) {
  constexpr int sweeps = 8;
  std::fill(x, x + levels, 0.0);
  for (int sweep = 0; sweep != sweeps; ++sweep) {
    bool changed = false;
    for (int64_t t = 0; t != levels; ++t) {
      double curvature = a[t * stride + t];
      if (!(curvature > 0))
        continue;
      double now = values[t] + x[t];
      double next = round(static_cast<float>(now - b[t] / curvature));
      // Rounding to the nearest is best for one entry alone.
      double step = next - now;
      if (step == 0 || !std::isfinite(step))
        continue;
      x[t] += step;
      changed = true;
      for (int64_t s = 0; s != levels; ++s)
        b[s] += a[t * stride + s] * step;
    }
    if (!changed)
      break;
  }
  std::copy(x, x + levels, b);
}

void LutBlock::formNormalEquations(int64_t g) {
  int64_t k = p.k, levels = p.levels, stride = levels + 1;
  int64_t tileRows = p.options.rows;
  const LutProblem::Group &group = p.groups[g];
  std::fill(slope.begin(), slope.end(), 0.0);
  std::fill(normal.begin(), normal.end(), 0.0);
  for (int64_t r = 0; r != count; ++r) {
    double *sums = slope.data() + r / tileRows * stride;
    const uint8_t *rowCode = rowCodes.data() + r * k;
    for (int64_t j = group.begin; j != group.end; ++j)
      sums[rowCode[j]] += share[r] * gradient[j * lanes + r];
  }
  // A tile of H stays in the cache for all rows.
  const float *tile = p.tiles.data() + p.tileStart[g];
  for (int64_t u = group.begin; u < group.end; u += tileWidth) {
    int64_t rows = group.end - u, columns = std::min(tileWidth, rows);
    for (int64_t r = 0; r != count; ++r) {
      const uint8_t *rowCode = rowCodes.data() + r * k + u;
      double *matrix = normal.data() + r / tileRows * stride * stride;
      std::fill(segments.begin(), segments.end(), 0.0f);
      addSegments(tile, rowCode, rows, segments.data());
      for (int64_t t = 0; t != levels; ++t)
        for (int64_t q = 0; q != columns; ++q)
          matrix[t * stride + rowCode[q]] +=
              share[r] * segments[t * tileWidth + q];
    }
    tile += rows * tileWidth;
  }
  for (int64_t tile = 0; tile != tiles; ++tile) {
    double *matrix = normal.data() + tile * stride * stride;
    for (int64_t t = 0; t != levels; ++t)
      for (int64_t s = 0; s <= t; ++s) {
        double sum = matrix[t * stride + s] + matrix[s * stride + t];
        matrix[t * stride + s] = matrix[s * stride + t] = sum;
      }
  }
}

void LutBlock::updateTables(bool rounded) {
  int64_t k = p.k, levels = p.levels, stride = levels + 1;
  int64_t tileRows = p.options.rows;
  std::vector<double> solution(levels), before(levels);
  std::vector<float> entries(levels);
  for (int64_t j = 0; j != k; ++j)
    for (int64_t r = 0; r != count; ++r)
      rowCodes[r * k + j] = keeps() && kept[j * lanes + r]
                                ? static_cast<uint8_t>(levels)
                                : code[j * lanes + r];
  for (size_t g = 0; g != p.groups.size(); ++g) {
    const LutProblem::Group &group = p.groups[g];
    formNormalEquations(static_cast<int64_t>(g));
    float *values = groupTable(static_cast<int64_t>(g));
    for (int64_t tile = 0; tile != tiles; ++tile) {
      int64_t first = tile * tileRows;
      int64_t last = std::min(first + tileRows, count);
      double *matrix = normal.data() + tile * stride * stride;
      double *b = slope.data() + tile * stride;
      if (rounded) {
        for (int64_t t = 0; t != levels; ++t)
          entries[t] = values[t * lanes + first];
        float unit = entryUnit(first);
        descendOnGrid(
            matrix, b, levels, stride, entries.data(),
            [&](float x) {
              return roundToEntry(p.options.entry, x * unit) / unit;
            },
            solution.data());
      } else {
        std::copy(b, b + levels, before.begin());
        // The paper's pseudo-inverse puts unused levels at zero.
        for (int64_t t = 0; t != levels && !improves(); ++t)
          if (matrix[t * stride + t] == 0)
            for (int64_t r = first; r != last; ++r)
              values[t * lanes + r] = 0;
        solveNormal(matrix, b, levels, stride, solution.data());
        for (int64_t t = 0; t != levels; ++t)
          loss[tile] += b[t] * before[t];
      }
      for (int64_t t = 0; t != levels; ++t)
        for (int64_t r = first; r != last; ++r)
          values[t * lanes + r] =
              static_cast<float>(values[t * lanes + r] + b[t]);
      b[levels] = 0;
    }
    if (group.end == k)
      break;
    // Later groups see what this one gained.
    std::fill_n(blockBuffer.begin(), (group.end - group.begin) * lanes, 0.0f);
    for (int64_t j = group.begin; j != group.end; ++j)
      for (int64_t r = 0; r != count; ++r)
        blockBuffer[(j - group.begin) * lanes + r] = static_cast<float>(
            slope[r / tileRows * stride + rowCodes[r * k + j]]);
    p.blas->gemm(false, false, k - group.end, lanes, group.end - group.begin, 1,
                 p.h.data() + group.end * k + group.begin, k,
                 blockBuffer.data(), lanes, 1,
                 gradient.data() + group.end * lanes, lanes);
  }
}

void LutBlock::chooseScales() {
  constexpr int candidates = 32;
  double greatest = greatestEntry(p.options.entry);
  bool integers = p.options.entry == LutEntry::Int8;
  int64_t tileRows = p.options.rows, levels = p.levels;
  int64_t groups = static_cast<int64_t>(p.groups.size());
  std::vector<double> weights(groups * levels);
  for (int64_t first = 0; first < count; first += tileRows) {
    int64_t last = std::min(first + tileRows, count);
    float most = 0;
    for (int64_t i = 0; i != groups * levels; ++i)
      most = std::max(most, std::fabs(table[i * lanes + first]));
    std::fill(weights.begin(), weights.end(), 0.0);
    for (int64_t g = 0; g != groups; ++g)
      for (int64_t j = p.groups[g].begin; j != p.groups[g].end; ++j)
        for (int64_t r = first; r != last; ++r)
          if (!keeps() || !kept[j * lanes + r])
            weights[g * levels + code[j * lanes + r]] +=
                share[r] * p.h[j * p.k + j];
    double best = 1, least = INFINITY;
    for (int candidate = 0; candidate != candidates && most > 0; ++candidate) {
      // An octave holds all roundings of a float's significand.
      double at = integers
                      ? greatest - candidate
                      : greatest * std::exp2(-candidate / double(candidates));
      double unit = most / at, sum = 0;
      for (int64_t i = 0; i != groups * levels; ++i) {
        double value = table[i * lanes + first];
        double rounded = unit * roundToEntry(p.options.entry,
                                             static_cast<float>(value / unit));
        sum += weights[i] * (rounded - value) * (rounded - value);
      }
      if (sum < least) {
        least = sum;
        best = unit;
      }
    }
    double greatestScale = 0;
    for (int64_t r = first; r != last; ++r) {
      double scale = toScale(rowScale[r] * best, most > 0);
      auto factor = static_cast<float>(rowScale[r] / scale);
      for (int64_t j = 0; j != p.k; ++j) {
        weight[j * lanes + r] *= factor;
        error[j * lanes + r] *= factor;
      }
      if (keeps())
        for (int64_t i = 0; i != p.options.kept; ++i)
          keptError[r * p.options.kept + i] *= factor;
      rowScale[r] = scale;
      greatestScale = std::max(greatestScale, scale);
      for (int64_t i = 0; i != groups * levels; ++i)
        table[i * lanes + r] /= static_cast<float>(best);
    }
    for (int64_t r = first; r != last; ++r)
      share[r] = std::pow(rowScale[r] / greatestScale, 2);
  }
}

Status LutBlock::roundTables(int64_t first) {
  int64_t entries = static_cast<int64_t>(p.groups.size()) * p.levels;
  LutEntry entry = p.options.entry;
  if (hasScale(entry))
    chooseScales();
  for (int64_t r = 0; r != count; ++r) {
    float unit = entryUnit(r);
    if (!std::isfinite(rowScale[r]))
      return scaleRangeError(first + r);
    for (int64_t i = 0; i != entries; ++i) {
      float value = table[i * lanes + r] * unit;
      float rounded = roundToEntry(entry, value);
      if (!std::isfinite(rounded))
        return entryRangeError(value, first + r);
      table[i * lanes + r] = rounded / unit;
    }
  }
  setThresholds();
  return {};
}
