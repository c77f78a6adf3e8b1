//===- GridBlock.cpp - Solve a block of rows ------------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "GridProblem.h"
#include "Half.h"
#include "Kernels.h"
#include "RowBlocks.h"
#include <algorithm>
#include <cmath>

using namespace ganq::quant;

/// Columns between two matrix products.
static constexpr int64_t blockColumns = 128;

GridBlock::GridBlock(const GridProblem &problem, int64_t capacity)
    : p(problem) {
  int64_t most = (capacity + 15) / 16 * 16, k = p.k, groups = p.groups;
  for (AlignedFloats *matrix :
       {&weight, &unit, &bestUnit, &error, &gradient, &feedback})
    matrix->resize(k * most);
  for (AlignedFloats *matrix :
       {&scale, &inverse, &low, &high, &bestScale, &bestLow, &least, &greatest})
    matrix->resize(groups * most);
  for (std::vector<double> *list : {&loss, &bestLoss, &rowScale})
    list->resize(most);
  blockBuffer.resize(blockColumns * most);
  rowBuffer.resize(k * capacity * (p.gram.correction.empty() ? 1 : 2));
  if (p.options.method == GridMethod::Improved) {
    products.resize(groups * (groups + 1) / 2 * most);
    system.resize(groups * groups * systemLanes);
  }
  slope.resize(groups * most);
  move.resize(groups * most);
  codes.resize(k * capacity);
  scales.resize(groups * capacity);
  if (p.even())
    zeros.resize(groups * capacity);
  reports.resize(capacity);
}

static float roundScale(ScaleType type, double value) {
  auto narrow = static_cast<float>(value);
  switch (type) {
  case ScaleType::Half:
    return roundToHalf(narrow);
  case ScaleType::BFloat:
    return roundToBFloat(narrow);
  case ScaleType::Float:
    break;
  }
  return narrow;
}

void GridBlock::load(const float *w, int64_t first) {
  int64_t k = p.k;
  const float *rows = p.gram.target(w, count, rowBuffer.data());
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
    // The inverse must be finite.
    exponent = std::max(exponent, -100);
    rowScale[r] = std::ldexp(1.0, exponent);
    for (int64_t j = 0; j != k; ++j)
      weight[p.gram.order[j] * lanes + r] =
          std::ldexp(rows[r * k + j], -exponent);
  }
  for (int64_t g = 0; g != p.groups; ++g)
    for (int64_t r = 0; r != lanes; ++r) {
      float from = 0, to = 0;
      if (p.options.low && r < count) {
        int64_t at = (first + r) * p.groups + g;
        from = static_cast<float>(p.options.low[at] / rowScale[r]);
        to = static_cast<float>(p.options.high[at] / rowScale[r]);
      } else {
        for (int64_t j = p.begin(g); j != p.end(g); ++j) {
          from = std::min(from, weight[j * lanes + r]);
          to = std::max(to, weight[j * lanes + r]);
        }
      }
      least[g * lanes + r] = from;
      greatest[g * lanes + r] = to;
    }
}

GridRule GridBlock::rule(int64_t g) const {
  GridRule rule;
  rule.scale = scale.data() + g * lanes;
  rule.inverse = inverse.data() + g * lanes;
  if (p.even()) {
    rule.low = low.data() + g * lanes;
    rule.high = high.data() + g * lanes;
  } else {
    rule.levels = p.levels.data();
    rule.borders = p.borders.data();
    rule.count = static_cast<int64_t>(p.levels.size());
  }
  return rule;
}

/// The scale that spans the range, and with evenly spaced levels the zero point
/// for the scale as it will be stored.
void GridBlock::setRange(int64_t g, int64_t r, double from, double to) {
  int64_t at = g * lanes + r;
  double top = p.options.levels - 1;
  double value = p.even() ? (to - from) / top : [&] {
    double above = p.levels.back(), below = p.levels.front();
    return std::max(above > 0 ? to / above : 0, below < 0 ? from / below : 0);
  }();
  double stored = roundScale(p.options.scaleType, value * rowScale[r]);
  if (std::isfinite(stored))
    value = stored / rowScale[r];
  // A group of zeros, or of values too small for the scale's format. Grids
  // without a zero come as close to it as they can.
  if (!(value > 0))
    value = p.leastScale / rowScale[r];
  scale[at] = static_cast<float>(value);
  inverse[at] = 1 / scale[at];
  if (!p.even())
    return;
  double zero = std::clamp(std::nearbyint(-from / value), 0.0, top);
  low[at] = static_cast<float>(-zero);
  high[at] = static_cast<float>(top - zero);
}

void GridBlock::startRange(float below, float above) {
  for (int64_t g = 0; g != p.groups; ++g)
    for (int64_t r = 0; r != lanes; ++r)
      setRange(g, r, least[g * lanes + r] * below,
               greatest[g * lanes + r] * above);
}

/// Each group's scale (and zero point) of least squared rounding error, columns
/// counted by `weights` (null: alike), among ranges shrunk by the factors.
void GridBlock::startSearch(const float *weights,
                            const std::vector<float> &factors) {
  std::vector<float> found(p.groups * lanes, INFINITY), sums(lanes);
  AlignedFloats foundScale(p.groups * lanes), foundLow(p.groups * lanes);
  auto tryRange = [&](float below, float above) {
    startRange(below, above);
    for (int64_t g = 0; g != p.groups; ++g) {
      std::fill(sums.begin(), sums.end(), 0.0f);
      addRoundingErrors(rule(g), weight.data() + p.begin(g) * lanes,
                        weights ? weights + p.begin(g) : nullptr,
                        p.end(g) - p.begin(g), lanes, sums.data());
      for (int64_t r = 0; r != lanes; ++r) {
        int64_t at = g * lanes + r;
        if (sums[r] < found[at]) {
          found[at] = sums[r];
          foundScale[at] = scale[at];
          foundLow[at] = low[at];
        }
      }
    }
  };
  for (float below : factors) {
    if (!p.even())
      tryRange(below, below);
    for (float above : factors)
      if (p.even())
        tryRange(below, above);
  }
  std::copy(foundScale.begin(), foundScale.end(), scale.begin());
  std::copy(foundLow.begin(), foundLow.end(), low.begin());
  completeScales();
}

void GridBlock::completeScales() {
  auto top = static_cast<float>(p.options.levels - 1);
  for (int64_t i = 0; i != p.groups * lanes; ++i) {
    inverse[i] = 1 / scale[i];
    high[i] = low[i] + top;
  }
}

Status GridBlock::roundScales(int64_t first) {
  for (int64_t g = 0; g != p.groups; ++g)
    for (int64_t r = 0; r != count; ++r) {
      float &value = scale[g * lanes + r];
      double exact = value * rowScale[r];
      float rounded = roundScale(p.options.scaleType, exact);
      if (!(rounded <= p.mostScale))
        return Status::error(
            "expected a scale in the range of its format (at most " +
            formatNumber(p.mostScale) + "), but got " + formatNumber(exact) +
            " in row " + std::to_string(first + r) +
            "; choose a scale type of greater range or scale the weights down");
      if (rounded < p.leastScale) {
        rounded = p.leastScale;
        ++raisedScales;
      }
      value = static_cast<float>(rounded / rowScale[r]);
    }
  completeScales();
  return {};
}

void GridBlock::chooseCodes() {
  int64_t k = p.k;
  if (p.gram.factor.empty()) {
    chooseNearest();
    setError();
    return;
  }
  const GramProblem &gram = p.gram;
  for (int64_t first = 0; first < k; first += blockColumns) {
    int64_t last = std::min(k, first + blockColumns);
    for (int64_t j = first; j != last; ++j)
      std::copy_n(weight.data() + gram.order[j] * lanes, lanes,
                  blockBuffer.data() + (j - first) * lanes);
    if (first)
      gram.blas->gemm(false, false, last - first, lanes, first, -1,
                      gram.factor.data() + first * k, k, feedback.data(), lanes,
                      1, blockBuffer.data(), lanes);
    for (int64_t j = first; j != last; ++j) {
      int64_t column = gram.order[j], g = column / p.group;
      float *v = blockBuffer.data() + (j - first) * lanes;
      float *e = feedback.data() + j * lanes;
      subtractProducts(gram.factor.data() + j * k + first,
                       feedback.data() + first * lanes, j - first, lanes, v);
      chooseUnits(rule(g), v, lanes, unit.data() + column * lanes);
      setErrors(unit.data() + column * lanes, scale.data() + g * lanes,
                weight.data() + column * lanes, lanes, e);
      std::copy_n(e, lanes, error.data() + column * lanes);
    }
  }
}

void GridBlock::chooseNearest() {
  for (int64_t j = 0; j != p.k; ++j)
    chooseUnits(rule(j / p.group), weight.data() + j * lanes, lanes,
                unit.data() + j * lanes);
}

void GridBlock::setError() {
  for (int64_t j = 0; j != p.k; ++j)
    setErrors(unit.data() + j * lanes, scale.data() + j / p.group * lanes,
              weight.data() + j * lanes, lanes, error.data() + j * lanes);
}

/// out = H in.
void GridBlock::multiply(const AlignedFloats &in, AlignedFloats &out) const {
  if (p.h.empty())
    std::copy_n(in.begin(), p.k * lanes, out.begin());
  else
    p.gram.blas->gemm(false, false, p.k, lanes, p.k, 1, p.h.data(), p.k,
                      in.data(), lanes, 0, out.data(), lanes);
}

void GridBlock::setGradient() { multiply(error, gradient); }

void GridBlock::setLoss() {
  std::fill(loss.begin(), loss.end(), 0.0);
  addInner(error.data(), gradient.data(), nullptr, p.k, lanes, loss.data());
}

/// products = B^T H B and slope = B^T (gradient), where column g of B holds the
/// units of group g.
void GridBlock::normalEquations() {
  int64_t k = p.k;
  std::vector<double> sums(lanes);
  std::fill(slope.begin(), slope.end(), 0.0);
  if (p.h.empty())
    std::fill(products.begin(), products.end(), 0.0f);
  for (int64_t g = 0; g != p.groups; ++g) {
    int64_t begin = p.begin(g), columns = p.end(g) - begin;
    addInner(unit.data() + begin * lanes, gradient.data() + begin * lanes,
             nullptr, columns, lanes, slope.data() + g * lanes);
    if (p.h.empty()) {
      std::fill(sums.begin(), sums.end(), 0.0);
      addInner(unit.data() + begin * lanes, unit.data() + begin * lanes,
               nullptr, columns, lanes, sums.data());
      std::copy(sums.begin(), sums.end(),
                products.data() + (g * (g + 1) / 2 + g) * lanes);
      continue;
    }
    p.gram.blas->gemm(false, false, k - begin, lanes, columns, 1,
                      p.h.data() + begin * k + begin, k,
                      unit.data() + begin * lanes, lanes, 0,
                      feedback.data() + begin * lanes, lanes);
    for (int64_t i = g; i != p.groups; ++i) {
      std::fill(sums.begin(), sums.end(), 0.0);
      addInner(unit.data() + p.begin(i) * lanes,
               feedback.data() + p.begin(i) * lanes, nullptr,
               p.end(i) - p.begin(i), lanes, sums.data());
      std::copy(sums.begin(), sums.end(),
                products.data() + (i * (i + 1) / 2 + g) * lanes);
    }
  }
}

/// Least squares scales for the current units, and the loss that they have.
/// Needs error and gradient; leaves them as they were.
void GridBlock::updateScales() {
  int64_t groups = p.groups;
  normalEquations();
  double floor[systemLanes];
  std::vector<double> x(groups * systemLanes);
  for (int64_t r0 = 0; r0 < count; r0 += systemLanes) {
    std::fill(floor, floor + systemLanes, 0.0);
    for (int64_t i = 0; i != groups; ++i)
      for (int64_t l = 0; l != systemLanes; ++l) {
        for (int64_t j = 0; j <= i; ++j)
          system[(i * groups + j) * systemLanes + l] =
              products[(i * (i + 1) / 2 + j) * lanes + r0 + l];
        x[i * systemLanes + l] = -slope[i * lanes + r0 + l];
        floor[l] += 1e-7 / static_cast<double>(groups) *
                    system[(i * groups + i) * systemLanes + l];
      }
    if (p.h.empty())
      for (int64_t i = 0; i != groups * systemLanes; ++i) {
        int64_t g = i / systemLanes, l = i % systemLanes;
        double pivot = system[(g * groups + g) * systemLanes + l];
        x[i] = pivot > floor[l] ? x[i] / pivot : 0;
      }
    else
      solveSystems(system.data(), x.data(), groups, floor);
    for (int64_t i = 0; i != groups; ++i)
      for (int64_t l = 0; l != systemLanes; ++l) {
        double before = scale[i * lanes + r0 + l];
        double after = before + x[i * systemLanes + l];
        bool usable = after > 0.2 * before && after < 5 * before;
        move[i * lanes + r0 + l] = usable ? x[i * systemLanes + l] : 0;
      }
  }
  std::vector<double> change(lanes);
  for (int64_t i = 0; i != groups; ++i) {
    const double *a = move.data() + i * lanes;
    for (int64_t r = 0; r != lanes; ++r)
      change[r] += 2 * a[r] * slope[i * lanes + r];
    for (int64_t j = 0; j <= i; ++j) {
      const double *b = move.data() + j * lanes;
      const float *product = products.data() + (i * (i + 1) / 2 + j) * lanes;
      double times = i == j ? 1 : 2;
      for (int64_t r = 0; r != lanes; ++r)
        change[r] += times * a[r] * b[r] * static_cast<double>(product[r]);
    }
  }
  for (int64_t r = 0; r != count; ++r) {
    if (!(change[r] < 0))
      continue;
    loss[r] += change[r];
    for (int64_t i = 0; i != groups; ++i)
      scale[i * lanes + r] += static_cast<float>(move[i * lanes + r]);
  }
  completeScales();
}

void GridBlock::descend(int sweeps) {
  int64_t k = p.k;
  if (p.h.empty()) {
    chooseNearest();
    setError();
    return;
  }
  for (int sweep = 0; sweep != sweeps; ++sweep) {
    bool sweepChanged = false;
    for (int64_t first = 0; first < k; first += blockColumns) {
      int64_t last = std::min(k, first + blockColumns);
      bool changed = false;
      for (int64_t j = first; j != last; ++j) {
        float *step = blockBuffer.data() + (j - first) * lanes;
        if (!descendColumn(rule(j / p.group), weight.data() + j * lanes,
                           gradient.data() + j * lanes, p.inverseDiagonal[j],
                           lanes, unit.data() + j * lanes,
                           error.data() + j * lanes, step))
          continue;
        changed = true;
        addOuter(p.h.data() + j * k + first, step, last - first, lanes,
                 gradient.data() + first * lanes);
      }
      if (!changed)
        continue;
      sweepChanged = true;
      p.gram.blas->gemm(false, false, first, lanes, last - first, 1,
                        p.h.data() + first, k, blockBuffer.data(), lanes, 1,
                        gradient.data(), lanes);
      p.gram.blas->gemm(false, false, k - last, lanes, last - first, 1,
                        p.h.data() + last * k + first, k, blockBuffer.data(),
                        lanes, 1, gradient.data() + last * lanes, lanes);
    }
    if (!sweepChanged)
      break;
  }
}

void GridBlock::keepBest() {
  std::vector<int64_t> better;
  for (int64_t r = 0; r != count; ++r)
    if (loss[r] < bestLoss[r]) {
      bestLoss[r] = loss[r];
      better.push_back(r);
    }
  if (better.empty())
    return;
  auto keep = [&](const AlignedFloats &from, AlignedFloats &to, int64_t rows) {
    if (static_cast<int64_t>(better.size()) == count) {
      std::copy_n(from.begin(), rows * lanes, to.begin());
      return;
    }
    for (int64_t j = 0; j != rows; ++j)
      for (int64_t r : better)
        to[j * lanes + r] = from[j * lanes + r];
  };
  keep(unit, bestUnit, p.k);
  keep(scale, bestScale, p.groups);
  keep(low, bestLow, p.groups);
}

void GridBlock::restoreBest() {
  std::copy(bestUnit.begin(), bestUnit.end(), unit.begin());
  std::copy(bestScale.begin(), bestScale.end(), scale.begin());
  std::copy(bestLow.begin(), bestLow.end(), low.begin());
  completeScales();
}

void GridBlock::alternate(int iterations) {
  std::vector<double> before(lanes, INFINITY);
  for (int iteration = 0; iteration != iterations; ++iteration) {
    chooseCodes();
    setGradient();
    setLoss();
    for (int64_t r = 0; r != count; ++r)
      if (reports[r].initialLoss < 0)
        reports[r].initialLoss = loss[r];
    updateScales();
    keepBest();
    if (!stillGains(loss, before, count))
      break;
  }
}

/// Shares of the weights' range worth trying: evenly spaced levels shrink each
/// side by itself; fixed levels move by one factor.
static std::vector<float> rangeFactors(const GridProblem &p) {
  std::vector<float> factors;
  if (p.even())
    for (int i = 0; i != 11; ++i)
      factors.push_back(1.0f - 0.07f * static_cast<float>(i));
  else
    for (int i = 0; i != 48; ++i)
      factors.push_back(0.15f *
                        std::pow(1.6f / 0.15f, static_cast<float>(i) / 47));
  return factors;
}

/// PoTPTQ's step 1: two hundred steps of a hundredth.
static std::vector<float> paperFactors() {
  std::vector<float> factors;
  for (int i = 1; i <= 200; ++i)
    factors.push_back(0.01f * static_cast<float>(i));
  return factors;
}

void GridBlock::improve() {
  std::vector<float> factors = rangeFactors(p);
  int iterations = p.options.iterations;
  startSearch(p.diagonal.data(), factors);
  AlignedFloats searched = scale;
  alternate(iterations);
  if (p.even()) {
    for (float shrink : {1.0f, 0.9f, 0.8f, 0.7f, 0.6f, 0.5f, 0.4f}) {
      startRange(shrink, shrink);
      alternate(iterations);
    }
  } else {
    for (float factor : {0.75f, 0.87f, 1.15f, 1.35f}) {
      for (int64_t i = 0; i != p.groups * lanes; ++i)
        scale[i] = searched[i] * factor;
      completeScales();
      alternate(iterations);
    }
    startSearch(nullptr, factors);
    alternate(iterations);
  }
  for (int round = 0; round != p.options.descentRounds; ++round) {
    restoreBest();
    setError();
    setGradient();
    descend(p.options.descentSweeps);
    setGradient();
    setLoss();
    updateScales();
    keepBest();
  }
  restoreBest();
}

/// PoTPTQ's step 2 on the layer's own output error: scale = S (1 + G) with
/// Adam's steps on G, codes held fixed for the gradient and chosen anew after
/// each step. Codes can get worse as they are chosen anew, so each row keeps
/// its best scales.
void GridBlock::refineScales() {
  constexpr double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, least = 0.05;
  int64_t size = p.groups * lanes;
  AlignedFloats first = scale;
  std::vector<double> change(size), mean(size), square(size), unitLoss(lanes);
  double decay1 = 1, decay2 = 1;
  for (int step = 0; step != p.options.steps; ++step) {
    chooseNearest();
    setError();
    setGradient();
    setLoss();
    keepBest();
    if (step == 0)
      unitLoss = loss;
    std::fill(slope.begin(), slope.end(), 0.0);
    for (int64_t g = 0; g != p.groups; ++g)
      addInner(unit.data() + p.begin(g) * lanes,
               gradient.data() + p.begin(g) * lanes, nullptr,
               p.end(g) - p.begin(g), lanes, slope.data() + g * lanes);
    decay1 *= beta1;
    decay2 *= beta2;
    for (int64_t i = 0; i != size; ++i) {
      double unitOfLoss = std::max(unitLoss[i % lanes], 1e-300);
      double derivative =
          2 * slope[i] * first[i] / unitOfLoss + p.options.decay * change[i];
      mean[i] = beta1 * mean[i] + (1 - beta1) * derivative;
      square[i] = beta2 * square[i] + (1 - beta2) * derivative * derivative;
      change[i] -= p.options.rate * (mean[i] / (1 - decay1)) /
                   (std::sqrt(square[i] / (1 - decay2)) + epsilon);
      change[i] = std::max(change[i], least - 1);
      scale[i] = static_cast<float>(first[i] * (1 + change[i]));
    }
    completeScales();
  }
  if (p.options.steps)
    restoreBest();
}

void GridBlock::finish() {
  int64_t k = p.k, groups = p.groups;
  std::vector<double> undamped(lanes), energy(lanes), dampedWeight(lanes);
  setGradient();
  setLoss();
  addInner(error.data(), error.data(), p.added.data(), k, lanes,
           undamped.data());
  addInner(weight.data(), weight.data(), p.added.data(), k, lanes,
           dampedWeight.data());
  multiply(weight, gradient);
  addInner(weight.data(), gradient.data(), nullptr, k, lanes, energy.data());
  auto levelsEnd = p.levels.end();
  for (int64_t r = 0; r != count; ++r) {
    double size = p.gram.damping.meanDiagonal * rowScale[r] * rowScale[r];
    RowReport &report = reports[r];
    report.loss = size * loss[r];
    report.initialLoss =
        size * (report.initialLoss < 0 ? loss[r] : report.initialLoss);
    report.outputError = size * std::max(loss[r] - undamped[r], 0.0);
    report.outputEnergy = size * std::max(energy[r] - dampedWeight[r], 0.0);
    for (int64_t j = 0; j != k; ++j) {
      float value = unit[j * lanes + r];
      if (p.even())
        value -= low[j / p.group * lanes + r];
      codes[r * k + j] = p.even()
                             ? static_cast<uint8_t>(value)
                             : p.levelCodes[std::lower_bound(p.levels.begin(),
                                                             levelsEnd, value) -
                                            p.levels.begin()];
    }
    for (int64_t g = 0; g != groups; ++g) {
      scales[r * groups + g] =
          static_cast<float>(scale[g * lanes + r] * rowScale[r]);
      if (p.even())
        zeros[r * groups + g] = static_cast<uint8_t>(-low[g * lanes + r]);
    }
  }
}

Status GridBlock::solve(const float *w, int64_t first, int64_t rows) {
  count = rows;
  lanes = (rows + 15) / 16 * 16;
  raisedScales = 0;
  if (Status status = checkWeights(w, first, rows, p.k); !status.ok())
    return status;
  load(w, first);
  std::fill(bestLoss.begin(), bestLoss.end(), INFINITY);
  for (RowReport &report : reports)
    report = {-1, 0, 0, 0};
  switch (p.options.method) {
  case GridMethod::Improved:
    improve();
    break;
  case GridMethod::Paper:
    startSearch(nullptr, paperFactors());
    refineScales();
    break;
  case GridMethod::Rtn:
  case GridMethod::Gptq:
    if (!p.options.searchScales)
      startRange(1, 1);
    else if (p.options.method == GridMethod::Gptq)
      startSearch(p.diagonal.data(), rangeFactors(p));
    else
      startSearch(nullptr, p.even() ? rangeFactors(p) : paperFactors());
    break;
  }
  if (Status status = roundScales(first); !status.ok())
    return status;
  switch (p.options.method) {
  case GridMethod::Improved:
    setError();
    setGradient();
    descend(p.options.descentSweeps);
    break;
  case GridMethod::Gptq:
    chooseCodes();
    break;
  case GridMethod::Paper:
  case GridMethod::Rtn:
    chooseNearest();
    setError();
    break;
  }
  finish();
  return {};
}
