//===- LutBlock.cpp - Solve a block of rows -------------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Kernels.h"
#include "LutKept.h"
#include "LutProblem.h"
#include "RowBlocks.h"
#include <algorithm>
#include <cmath>

using namespace ganq::quant;

/// Columns between two matrix products.
static constexpr int64_t blockColumns = 128;

LutBlock::LutBlock(const LutProblem &problem, int64_t capacity)
    : output(problem, capacity), p(problem) {
  int64_t most = (capacity + 15) / 16 * 16, levels = p.levels;
  int64_t mostTiles = (capacity + p.options.rows - 1) / p.options.rows;
  int64_t groups = static_cast<int64_t>(p.groups.size());
  for (AlignedFloats *matrix : {&weight, &error, &gradient})
    matrix->resize(p.k * most);
  code.resize(p.k * most);
  bestCode.resize(p.k * most);
  table.resize(groups * levels * most);
  bestTable.resize(groups * levels * most);
  thresholds.resize(groups * (levels - 1) * most);
  for (std::vector<double> *list : {&rowScale, &share, &rowLoss})
    list->resize(most);
  loss.resize(mostTiles);
  bestLoss.resize(mostTiles);
  if (keeps()) {
    kept.resize(p.k * most);
    keptAt.resize(p.options.kept * capacity);
    keptError.resize(p.options.kept * capacity);
  }
  blockBuffer.resize(std::max(blockColumns, groups > 1 ? p.k : 0) * most);
  rowBuffer.resize(p.k * capacity * (p.correction.empty() ? 1 : 2));
  vector.resize(most);
  rowCodes.resize(p.k * capacity);
  normal.resize((levels + 1) * (levels + 1) * mostTiles);
  slope.resize((levels + 1) * mostTiles);
  segments.resize((levels + 1) * tileWidth);
}

void LutBlock::load(const float *w) {
  int64_t k = p.k, tileRows = p.options.rows;
  const float *rows = p.target(w, count, rowBuffer.data());
  std::fill(weight.begin(), weight.end(), 0.0f);
  std::fill(rowScale.begin(), rowScale.end(), 1.0);
  std::fill(share.begin(), share.end(), 1.0);
  if (hasScale(p.options.entry) && tileRows > 1) {
    // Rows of any size have much the same table.
    for (int64_t r = 0; r != count; ++r) {
      double sum = 0;
      for (int64_t j = 0; j != k; ++j)
        sum += static_cast<double>(rows[r * k + j]) * rows[r * k + j];
      if (sum > 0)
        rowScale[r] = std::sqrt(sum / static_cast<double>(k));
    }
  } else {
    // Powers of two bring tables of any size into the same range, exactly.
    for (int64_t first = 0; first < count; first += tileRows) {
      int64_t last = std::min(first + tileRows, count);
      float most = 0;
      for (int64_t i = first * k; i != last * k; ++i)
        most = std::max(most, std::fabs(rows[i]));
      int exponent = 0;
      if (most > 0)
        std::frexp(most, &exponent);
      std::fill(rowScale.begin() + first, rowScale.begin() + last,
                std::ldexp(1.0, exponent));
    }
  }
  for (int64_t first = 0; first < count; first += tileRows) {
    int64_t last = std::min(first + tileRows, count);
    double most =
        *std::max_element(rowScale.begin() + first, rowScale.begin() + last);
    for (int64_t r = first; r != last; ++r) {
      share[r] = rowScale[r] / most * (rowScale[r] / most);
      for (int64_t j = 0; j != k; ++j)
        weight[j * lanes + r] =
            static_cast<float>(rows[r * k + j] / rowScale[r]);
    }
  }
}

void LutBlock::chooseKept() {
  if (!keeps())
    return;
  std::vector<float> values(p.k);
  // Between distance alone, which frees the tables, and what an error costs.
  std::vector<double> weights(p.k);
  for (int64_t j = 0; j != p.k; ++j)
    weights[j] = std::sqrt(p.curvature[j]);
  std::fill(kept.begin(), kept.end(), 0);
  std::fill(keptError.begin(), keptError.end(), 0.0f);
  for (int64_t r = 0; r != count; ++r) {
    int32_t *columns = keptAt.data() + r * p.options.kept;
    for (int64_t j = 0; j != p.k; ++j)
      values[j] = weight[j * lanes + r];
    if (improves())
      chooseFarthest(values.data(), weights.data(), p.k, p.options.kept,
                     columns);
    else
      chooseTails(values.data(), p.k, p.options.kept, columns);
    for (int64_t i = 0; i != p.options.kept; ++i)
      kept[columns[i] * lanes + r] = 1;
  }
}

void LutBlock::collectKept() {
  for (int64_t r = 0; keeps() && r != count; ++r)
    for (int64_t i = r * p.options.kept; i != (r + 1) * p.options.kept; ++i)
      keptError[i] = error[keptAt[i] * lanes + r];
}

void LutBlock::blendKept(int64_t column, const float *ideal,
                         float *values) const {
  if (!keeps())
    return;
  const uint8_t *mark = kept.data() + column * lanes;
  const float *own = movesKept() ? ideal : weight.data() + column * lanes;
  for (int64_t r = 0; r != lanes; ++r)
    values[r] = mark[r] ? own[r] : values[r];
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
        blendKept(j, v, vector.data());
        for (int64_t r = 0; r != lanes; ++r)
          error[j * lanes + r] = vector[r] - weight[j * lanes + r];
      }
    }
  }
  collectKept();
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
  for (int64_t r = 0; keeps() && r != count; ++r)
    for (int64_t i = r * p.options.kept; i != (r + 1) * p.options.kept; ++i)
      error[keptAt[i] * lanes + r] = keptError[i];
}

void LutBlock::setGradient() {
  p.blas->gemm(false, false, p.k, lanes, p.k, 1, p.h.data(), p.k, error.data(),
               lanes, 0, gradient.data(), lanes);
}

void LutBlock::setLoss() {
  std::fill(rowLoss.begin(), rowLoss.end(), 0.0);
  addInner(error.data(), gradient.data(), nullptr, p.k, lanes, rowLoss.data());
  std::fill(loss.begin(), loss.end(), 0.0);
  for (int64_t r = 0; r != count; ++r)
    loss[r / p.options.rows] += share[r] * rowLoss[r];
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
          blendKept(j, step, vector.data());
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
  collectKept();
}

void LutBlock::keepBest() {
  int64_t tileRows = p.options.rows;
  std::vector<uint8_t> better(lanes);
  bool any = false;
  for (int64_t tile = 0; tile != tiles; ++tile) {
    if (!(loss[tile] < bestLoss[tile]))
      continue;
    bestLoss[tile] = loss[tile];
    any = true;
    std::fill(better.begin() + tile * tileRows,
              better.begin() + std::min((tile + 1) * tileRows, count), 1);
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
  for (int64_t r = 0; keeps() && r != count; ++r)
    if (better[r])
      std::copy_n(keptError.begin() + r * p.options.kept, p.options.kept,
                  bestKeptError.begin() + r * p.options.kept);
}

void LutBlock::restoreBest() {
  code = bestCode;
  table = bestTable;
  keptError = bestKeptError;
  sortTables();
}

void LutBlock::alternate() {
  std::vector<double> before(tiles, INFINITY);
  for (int iteration = 0; iteration != p.options.iterations; ++iteration) {
    sortTables();
    chooseCodes();
    setGradient();
    setLoss();
    for (int64_t r = 0; r != count; ++r)
      if (output.reports[r].initialLoss < 0)
        output.reports[r].initialLoss = rowLoss[r] * rowScale[r] * rowScale[r];
    updateTables();
    if (!improves())
      continue;
    keepBest();
    if (!stillGains(loss, before, tiles))
      break;
  }
}

void LutBlock::improve() {
  startCompanded(/*weighted=*/false);
  alternate();
  startCompanded(/*weighted=*/true);
  alternate();
  startQuantiles();
  alternate();
  startKMeans();
  alternate();
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

Status LutBlock::finish(int64_t first) {
  constexpr int roundedRounds = 2;
  int64_t k = p.k, levels = p.levels;
  int64_t groups = static_cast<int64_t>(p.groups.size());
  LutEntry entry = p.options.entry;
  setError();
  if (Status status = roundTables(first); !status.ok())
    return status;
  bool coarse = entry != LutEntry::Float32 && entry != LutEntry::Float16;
  if (!improves() && coarse)
    chooseCodes();
  setError();
  setGradient();
  if (improves() && entry != LutEntry::Float32) {
    descend(p.options.descentSweeps);
    for (int round = 0; coarse && round != roundedRounds; ++round) {
      setGradient();
      updateTables(/*rounded=*/true);
      sortTables();
      setError();
      setGradient();
      descend(p.options.descentSweeps);
    }
    setGradient();
  }
  setLoss();

  std::vector<double> undamped(lanes), energy(lanes), dampedWeight(lanes);
  addInner(error.data(), error.data(), p.added.data(), k, lanes,
           undamped.data());
  addInner(weight.data(), weight.data(), p.added.data(), k, lanes,
           dampedWeight.data());
  p.blas->gemm(false, false, k, lanes, k, 1, p.h.data(), k, weight.data(),
               lanes, 0, gradient.data(), lanes);
  addInner(weight.data(), gradient.data(), nullptr, k, lanes, energy.data());
  writeKept();
  for (int64_t r = 0; r != count; ++r) {
    double unit = p.damping.meanDiagonal * rowScale[r] * rowScale[r];
    LutRowReport &report = output.reports[r];
    report.loss = unit * rowLoss[r];
    report.initialLoss = report.initialLoss < 0
                             ? report.loss
                             : p.damping.meanDiagonal * report.initialLoss;
    report.outputError = unit * std::max(rowLoss[r] - undamped[r], 0.0);
    report.outputEnergy = unit * std::max(energy[r] - dampedWeight[r], 0.0);
    output.scales[r] = hasScale(entry) ? static_cast<float>(rowScale[r]) : 1.0f;
    for (int64_t j = 0; j != k; ++j)
      output.codes[r * k + p.order[j]] = code[j * lanes + r];
    for (int64_t g = 0; g != groups && r % p.options.rows == 0; ++g)
      for (int64_t t = 0; t != levels; ++t)
        output
            .tables[(r / p.options.rows * groups + p.groups[g].index) * levels +
                    t] = groupTable(g)[t * lanes + r] * entryUnit(r);
  }
  return {};
}

void LutBlock::writeKept() {
  int64_t perRow = p.options.kept;
  std::vector<std::pair<int64_t, float>> values(perRow);
  for (int64_t r = 0; keeps() && r != count; ++r) {
    size_t group = 0;
    for (int64_t i = 0; i != perRow; ++i) {
      int64_t j = keptAt[r * perRow + i], at = j * lanes + r;
      while (p.groups[group].end <= j)
        ++group;
      // The code that leaves the least difference to store.
      float value = weight[at] + error[at];
      const float *limits =
          thresholds.data() + group * (p.levels - 1) * lanes + r;
      code[at] = 0;
      for (int64_t t = 0; t != p.levels - 1; ++t)
        code[at] += value > limits[t * lanes];
      values[i] = {p.order[j], static_cast<float>(value * rowScale[r])};
    }
    std::sort(values.begin(), values.end());
    for (int64_t i = 0; i != perRow; ++i) {
      output.keptColumns[r * perRow + i] =
          static_cast<int32_t>(values[i].first);
      output.keptValues[r * perRow + i] = values[i].second;
    }
  }
}

Status LutBlock::solve(const float *w, int64_t first, int64_t rows) {
  count = rows;
  lanes = (rows + 15) / 16 * 16;
  tiles = (rows + p.options.rows - 1) / p.options.rows;
  if (Status status = checkWeights(w, first, rows, p.k); !status.ok())
    return status;
  load(w);
  chooseKept();
  bestKeptError = keptError;
  std::fill(bestLoss.begin(), bestLoss.end(), INFINITY);
  std::fill(code.begin(), code.end(), 0);
  for (LutRowReport &report : output.reports)
    report = {-1, 0, 0, 0};
  if (improves()) {
    improve();
  } else {
    startLinear();
    alternate();
    sortTables();
  }
  return finish(first);
}
