//===- LutBlock.cpp - Solve a block of rows -------------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Half.h"
#include "Kernels.h"
#include "LutProblem.h"
#include "LutStarts.h"
#include <algorithm>
#include <cmath>
#include <numeric>

using namespace ganq::quant;

/// Columns between two matrix products.
static constexpr int64_t blockColumns = 128;
/// A start is given up once fewer rows than this share still improve by more
/// than the least gain.
static constexpr double leastShare = 0.02, leastGain = 1e-4;

LutBlock::LutBlock(const LutProblem &problem, int64_t capacity) : p(problem) {
  int64_t most = (capacity + 15) / 16 * 16, levels = p.levels;
  int64_t groups = static_cast<int64_t>(p.groups.size());
  for (AlignedFloats *matrix : {&weight, &error, &gradient})
    matrix->resize(p.k * most);
  code.resize(p.k * most);
  bestCode.resize(p.k * most);
  table.resize(groups * levels * most);
  bestTable.resize(groups * levels * most);
  thresholds.resize(groups * (levels - 1) * most);
  for (std::vector<double> *list : {&loss, &bestLoss, &rowScale})
    list->resize(most);
  blockBuffer.resize(std::max(blockColumns, groups > 1 ? p.k : 0) * most);
  rowBuffer.resize(p.k * capacity * (p.correction.empty() ? 1 : 2));
  vector.resize(most);
  rowCodes.resize(p.k * capacity);
  normal.resize(levels * levels * capacity);
  slope.resize(levels * most);
  segments.resize(levels * tileWidth);
  codes.resize(p.k * capacity);
  tables.resize(groups * levels * capacity);
  reports.resize(capacity);
}

void LutBlock::load(const float *w) {
  int64_t k = p.k;
  const float *rows = p.target(w, count, rowBuffer.data());
  // Powers of two bring rows of any size into the same range, exactly.
  std::fill(weight.begin(), weight.end(), 0.0f);
  std::fill(rowScale.begin(), rowScale.end(), 1.0);
  for (int64_t r = 0; r != count; ++r) {
    float most = 0;
    for (int64_t j = 0; j != k; ++j)
      most = std::max(most, std::fabs(rows[r * k + j]));
    int exponent = 0;
    if (most > 0)
      std::frexp(most, &exponent);
    rowScale[r] = std::ldexp(1.0, exponent);
    for (int64_t j = 0; j != k; ++j)
      weight[j * lanes + r] = std::ldexp(rows[r * k + j], -exponent);
  }
}

template <typename Start> void LutBlock::start(Start make) {
  std::vector<float> values(p.k);
  std::vector<double> entries(p.levels);
  std::fill(table.begin(), table.end(), 0.0f);
  for (size_t g = 0; g != p.groups.size(); ++g) {
    auto [begin, end, index] = p.groups[g];
    float *out = groupTable(static_cast<int64_t>(g));
    for (int64_t r = 0; r != count; ++r) {
      for (int64_t j = begin; j != end; ++j)
        values[j - begin] = weight[j * lanes + r];
      make(values.data(), p.curvature.data() + begin, end - begin,
           entries.data());
      for (int64_t t = 0; t != p.levels; ++t)
        out[t * lanes + r] = static_cast<float>(entries[t]);
    }
  }
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

void LutBlock::chooseCodes() {
  int64_t k = p.k;
  for (size_t g = 0; g != p.groups.size(); ++g) {
    auto [begin, end, index] = p.groups[g];
    const float *values = groupTable(static_cast<int64_t>(g));
    const float *limits = thresholds.data() + g * (p.levels - 1) * lanes;
    for (int64_t first = begin; first < end; first += blockColumns) {
      int64_t last = std::min(end, first + blockColumns);
      std::copy(weight.data() + first * lanes, weight.data() + last * lanes,
                blockBuffer.data());
      if (first)
        p.blas->gemm(false, false, last - first, lanes, first, -1,
                     p.factor.data() + first * k, k, error.data(), lanes, 1,
                     blockBuffer.data(), lanes);
      for (int64_t j = first; j != last; ++j) {
        float *v = blockBuffer.data() + (j - first) * lanes;
        subtractProducts(p.factor.data() + j * k + first,
                         error.data() + first * lanes, j - first, lanes, v);
        chooseLevels(v, values, limits, p.levels, lanes,
                     code.data() + j * lanes, vector.data());
        for (int64_t r = 0; r != lanes; ++r)
          error[j * lanes + r] = vector[r] - weight[j * lanes + r];
      }
    }
  }
}

void LutBlock::chooseNearest() {
  for (size_t g = 0; g != p.groups.size(); ++g)
    for (int64_t j = p.groups[g].begin; j != p.groups[g].end; ++j)
      chooseLevels(weight.data() + j * lanes,
                   groupTable(static_cast<int64_t>(g)),
                   thresholds.data() + g * (p.levels - 1) * lanes, p.levels,
                   lanes, code.data() + j * lanes, vector.data());
}

void LutBlock::setError() {
  for (size_t g = 0; g != p.groups.size(); ++g) {
    const float *values = groupTable(static_cast<int64_t>(g));
    for (int64_t j = p.groups[g].begin; j != p.groups[g].end; ++j)
      for (int64_t r = 0; r != lanes; ++r) {
        int64_t i = j * lanes + r;
        error[i] = values[code[i] * lanes + r] - weight[i];
      }
  }
}

void LutBlock::setGradient() {
  p.blas->gemm(false, false, p.k, lanes, p.k, 1, p.h.data(), p.k, error.data(),
               lanes, 0, gradient.data(), lanes);
}

void LutBlock::setLoss() {
  std::fill(loss.begin(), loss.end(), 0.0);
  addInner(error.data(), gradient.data(), nullptr, p.k, lanes, loss.data());
}

/// Solves A x = -b for the levels in use by a Cholesky factorisation in place;
/// x replaces b. Levels that depend on others stay as they are (x = 0).
static void solveNormal(double *a, double *b, int64_t levels, int64_t stride,
                        double *x) {
  std::vector<int64_t> live;
  double trace = 0;
  for (int64_t t = 0; t != levels; ++t) {
    x[t] = 0;
    trace += a[t * levels + t];
    if (a[t * levels + t] > 0)
      live.push_back(t);
  }
  int64_t m = static_cast<int64_t>(live.size());
  double least = 1e-10 * trace / static_cast<double>(std::max<int64_t>(m, 1));
  for (int64_t i = 0; i != m; ++i) {
    double *row = a + live[i] * levels;
    double sum = -b[live[i] * stride];
    for (int64_t j = 0; j <= i; ++j) {
      const double *other = a + live[j] * levels;
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
    const double *row = a + live[i] * levels;
    x[i] = row[i] > 0 ? x[i] / row[i] : 0;
    for (int64_t j = 0; j != i; ++j)
      x[j] -= row[j] * x[i];
  }
  for (int64_t t = 0; t != levels; ++t)
    b[t * stride] = 0;
  for (int64_t i = 0; i != m; ++i)
    b[live[i] * stride] = x[i];
}

void LutBlock::updateTables() {
  int64_t k = p.k, levels = p.levels;
  std::vector<double> solution(levels), before(levels);
  for (int64_t j = 0; j != k; ++j)
    for (int64_t r = 0; r != count; ++r)
      rowCodes[r * k + j] = code[j * lanes + r];
  for (size_t g = 0; g != p.groups.size(); ++g) {
    const LutProblem::Group &group = p.groups[g];
    std::fill(slope.begin(), slope.end(), 0.0);
    for (int64_t j = group.begin; j != group.end; ++j)
      for (int64_t r = 0; r != count; ++r)
        slope[code[j * lanes + r] * lanes + r] += gradient[j * lanes + r];
    std::fill(normal.begin(), normal.end(), 0.0);
    // A tile stays in the cache for all rows.
    const float *tile = p.tiles.data() + p.tileStart[g];
    for (int64_t u = group.begin; u < group.end; u += tileWidth) {
      int64_t rows = group.end - u, columns = std::min(tileWidth, rows);
      for (int64_t r = 0; r != count; ++r) {
        const uint8_t *rowCode = rowCodes.data() + r * k + u;
        double *matrix = normal.data() + r * levels * levels;
        std::fill(segments.begin(), segments.end(), 0.0f);
        addSegments(tile, rowCode, rows, segments.data());
        for (int64_t t = 0; t != levels; ++t)
          for (int64_t q = 0; q != columns; ++q)
            matrix[t * levels + rowCode[q]] += segments[t * tileWidth + q];
      }
      tile += rows * tileWidth;
    }
    float *values = groupTable(static_cast<int64_t>(g));
    for (int64_t r = 0; r != count; ++r) {
      double *matrix = normal.data() + r * levels * levels;
      for (int64_t t = 0; t != levels; ++t)
        for (int64_t s = 0; s <= t; ++s) {
          double sum = matrix[t * levels + s] + matrix[s * levels + t];
          matrix[t * levels + s] = matrix[s * levels + t] = sum;
        }
      double change = 0;
      for (int64_t t = 0; t != levels; ++t)
        before[t] = slope[t * lanes + r];
      solveNormal(matrix, slope.data() + r, levels, lanes, solution.data());
      for (int64_t t = 0; t != levels; ++t) {
        values[t * lanes + r] += static_cast<float>(slope[t * lanes + r]);
        change += slope[t * lanes + r] * before[t];
      }
      loss[r] += change;
    }
    if (group.end == k)
      break;
    // Later groups see what this one gained.
    for (int64_t j = group.begin; j != group.end; ++j)
      for (int64_t r = 0; r != lanes; ++r) {
        double step = r < count ? slope[code[j * lanes + r] * lanes + r] : 0;
        blockBuffer[(j - group.begin) * lanes + r] = static_cast<float>(step);
      }
    p.blas->gemm(false, false, k - group.end, lanes, group.end - group.begin, 1,
                 p.h.data() + group.end * k + group.begin, k,
                 blockBuffer.data(), lanes, 1,
                 gradient.data() + group.end * lanes, lanes);
  }
}

void LutBlock::descend(int sweeps) {
  int64_t k = p.k;
  std::vector<uint8_t> chosen(lanes);
  for (int sweep = 0; sweep != sweeps; ++sweep) {
    bool sweepChanged = false;
    for (size_t g = 0; g != p.groups.size(); ++g) {
      auto [begin, end, index] = p.groups[g];
      for (int64_t first = begin; first < end; first += blockColumns) {
        int64_t last = std::min(end, first + blockColumns);
        bool changed = false;
        for (int64_t j = first; j != last; ++j) {
          float *step = blockBuffer.data() + (j - first) * lanes;
          float *e = error.data() + j * lanes;
          const float *w = weight.data() + j * lanes;
          float inverse = 1 / p.h[j * k + j];
          for (int64_t r = 0; r != lanes; ++r)
            step[r] = (w[r] + e[r]) - gradient[j * lanes + r] * inverse;
          chooseLevels(step, groupTable(static_cast<int64_t>(g)),
                       thresholds.data() + g * (p.levels - 1) * lanes, p.levels,
                       lanes, chosen.data(), vector.data());
          bool columnChanged = false;
          for (int64_t r = 0; r != lanes; ++r) {
            float next = vector[r] - w[r];
            step[r] = next - e[r];
            e[r] = next;
            columnChanged |= step[r] != 0;
          }
          std::copy(chosen.begin(), chosen.end(), code.begin() + j * lanes);
          if (columnChanged)
            addOuter(p.h.data() + j * k + first, step, last - first, lanes,
                     gradient.data() + first * lanes);
          changed |= columnChanged;
        }
        if (!changed)
          continue;
        sweepChanged = true;
        p.blas->gemm(false, false, first, lanes, last - first, 1,
                     p.h.data() + first, k, blockBuffer.data(), lanes, 1,
                     gradient.data(), lanes);
        p.blas->gemm(false, false, k - last, lanes, last - first, 1,
                     p.h.data() + last * k + first, k, blockBuffer.data(),
                     lanes, 1, gradient.data() + last * lanes, lanes);
      }
    }
    if (!sweepChanged)
      break;
  }
}

void LutBlock::keepBest() {
  std::vector<uint8_t> better(lanes);
  bool any = false;
  for (int64_t r = 0; r != count; ++r) {
    better[r] = loss[r] < bestLoss[r];
    any |= better[r] != 0;
    if (better[r])
      bestLoss[r] = loss[r];
  }
  if (!any)
    return;
  for (int64_t j = 0; j != p.k; ++j)
    for (int64_t r = 0; r != lanes; ++r) {
      int64_t i = j * lanes + r;
      bestCode[i] = better[r] ? code[i] : bestCode[i];
    }
  int64_t entries = static_cast<int64_t>(p.groups.size()) * p.levels;
  for (int64_t t = 0; t != entries; ++t)
    for (int64_t r = 0; r != lanes; ++r) {
      int64_t i = t * lanes + r;
      bestTable[i] = better[r] ? table[i] : bestTable[i];
    }
}

void LutBlock::alternate() {
  bool improved = p.options.method == LutMethod::Improved;
  std::vector<double> before(lanes, INFINITY);
  for (int iteration = 0; iteration != p.options.iterations; ++iteration) {
    sortTables();
    chooseCodes();
    setGradient();
    setLoss();
    for (int64_t r = 0; r != count; ++r)
      if (reports[r].initialLoss < 0)
        reports[r].initialLoss = loss[r];
    updateTables();
    if (!improved)
      continue;
    keepBest();
    int64_t gains = 0;
    for (int64_t r = 0; r != count; ++r) {
      gains += loss[r] < before[r] * (1 - leastGain);
      before[r] = std::min(before[r], loss[r]);
    }
    if (static_cast<double>(gains) < leastShare * static_cast<double>(count) ||
        gains == 0)
      break;
  }
}

void LutBlock::improve() {
  auto each = [&](auto make) {
    start(make);
    alternate();
  };
  int levels = p.levels;
  each([&](const float *w, const double *, int64_t n, double *t) {
    compandedStart(w, nullptr, n, levels, t);
  });
  each([&](const float *w, const double *c, int64_t n, double *t) {
    compandedStart(w, c, n, levels, t);
  });
  each([&](const float *w, const double *, int64_t n, double *t) {
    quantileStart(w, n, levels, t);
  });
  each([&](const float *w, const double *, int64_t n, double *t) {
    kMeansStart(w, n, levels, t);
  });
  for (int round = 0; round != p.options.descentRounds; ++round) {
    restoreBest();
    setError();
    setGradient();
    descend(p.options.descentSweeps);
    setGradient();
    setLoss();
    updateTables();
    keepBest();
  }
  restoreBest();
}

void LutBlock::restoreBest() {
  code = bestCode;
  table = bestTable;
  sortTables();
}

Status LutBlock::finish(int64_t first) {
  int64_t k = p.k, levels = p.levels;
  int64_t groups = static_cast<int64_t>(p.groups.size());
  bool half = p.options.halfTables;
  for (int64_t i = 0; i != groups * levels; ++i)
    for (int64_t r = 0; r != count; ++r) {
      double scale = rowScale[r];
      auto value = static_cast<float>(table[i * lanes + r] * scale);
      float rounded = half ? roundToHalf(value) : value;
      if (!std::isfinite(rounded))
        return Status::error("expected table values in fp16's range (below "
                             "65520), but got " +
                             std::to_string(value) + " for row " +
                             std::to_string(first + r) + "; use fp32 tables");
      table[i * lanes + r] = static_cast<float>(rounded / scale);
    }
  setThresholds();
  if (p.options.method == LutMethod::KMeans)
    chooseNearest();
  setError();
  if (p.options.method == LutMethod::Improved && half) {
    setGradient();
    descend(p.options.descentSweeps);
  }
  setGradient();
  setLoss();

  std::vector<double> undamped(lanes), energy(lanes), dampedWeight(lanes);
  addInner(error.data(), error.data(), p.added.data(), k, lanes,
           undamped.data());
  addInner(weight.data(), weight.data(), p.added.data(), k, lanes,
           dampedWeight.data());
  p.blas->gemm(false, false, k, lanes, k, 1, p.h.data(), k, weight.data(),
               lanes, 0, gradient.data(), lanes);
  addInner(weight.data(), gradient.data(), nullptr, k, lanes, energy.data());
  for (int64_t r = 0; r != count; ++r) {
    double unit = p.damping.meanDiagonal * rowScale[r] * rowScale[r];
    LutRowReport &report = reports[r];
    report.loss = unit * loss[r];
    report.initialLoss =
        unit * (report.initialLoss < 0 ? loss[r] : report.initialLoss);
    report.outputError = unit * std::max(loss[r] - undamped[r], 0.0);
    report.outputEnergy = unit * std::max(energy[r] - dampedWeight[r], 0.0);
    for (int64_t j = 0; j != k; ++j)
      codes[r * k + p.order[j]] = code[j * lanes + r];
    for (int64_t g = 0; g != groups; ++g)
      for (int64_t t = 0; t != levels; ++t)
        tables[(r * groups + p.groups[g].index) * levels + t] =
            static_cast<float>(groupTable(g)[t * lanes + r] * rowScale[r]);
  }
  return {};
}

Status LutBlock::solve(const float *w, int64_t first, int64_t rows) {
  count = rows;
  lanes = (rows + 15) / 16 * 16;
  if (Status status = checkWeights(w, first, rows, p.k); !status.ok())
    return status;
  load(w);
  std::fill(bestLoss.begin(), bestLoss.end(), INFINITY);
  std::fill(code.begin(), code.end(), 0);
  for (LutRowReport &report : reports)
    report = {-1, 0, 0, 0};
  int levels = p.levels;
  switch (p.options.method) {
  case LutMethod::Improved:
    improve();
    break;
  case LutMethod::Literal:
    start([&](const float *values, const double *, int64_t n, double *t) {
      linearStart(values, n, levels, t);
    });
    alternate();
    sortTables();
    break;
  case LutMethod::KMeans:
    start([&](const float *values, const double *, int64_t n, double *t) {
      kMeansStart(values, n, levels, t);
    });
    break;
  }
  return finish(first);
}
