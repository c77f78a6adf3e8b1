//===- GridTest.cpp - Tests of the grid solver ----------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/Quantization/Grid.h"
#include "Golden.inc"
#include "Synthetic.h"
#include <algorithm>
#include <gtest/gtest.h>

using namespace ganq::quant;
using namespace ganq::quant::test;

namespace {

const std::vector<float> powers = {1, 2, 4, 8, -1, -2, -4, -8};

Layer goldenLayer() {
  Layer layer{goldenN, goldenK, {}, {}};
  layer.w.assign(std::begin(goldenW), std::end(goldenW));
  layer.gram.h.assign(std::begin(goldenH), std::end(goldenH));
  return layer;
}

Expected<GridResult> solve(const GridOptions &options, const Layer &layer) {
  Expected<GridSolver> solver =
      GridSolver::create(options, layer.k, layer.gram.h.data());
  if (!solver.ok())
    return solver.status();
  return solver->solve(layer.w.data(), layer.n);
}

std::vector<float> dequantize(const GridOptions &options,
                              const GridResult &result, const Layer &layer) {
  std::vector<float> v(layer.w.size());
  dequantizeGrid(result, options.fixed, layer.n, layer.k, options.group,
                 v.data());
  return v;
}

double totalLoss(const GridResult &result) {
  double sum = 0;
  for (const RowReport &row : result.rows)
    sum += row.loss;
  return sum;
}

/// The least loss of one row over all scales, for given units and one group.
double leastLoss(const std::vector<double> &h, const float *w,
                 const std::vector<double> &units, int64_t k) {
  double square = 0, product = 0, energy = 0;
  for (int64_t i = 0; i != k; ++i)
    for (int64_t j = 0; j != k; ++j) {
      square += units[i] * h[i * k + j] * units[j];
      product += units[i] * h[i * k + j] * w[j];
      energy += w[i] * h[i * k + j] * w[j];
    }
  return square > 0 && product > 0 ? energy - product * product / square
                                   : energy;
}

bool isHalf(float value) {
  float scaled = std::fabs(value) < 6.103515625e-05f
                     ? std::ldexp(value, 24)
                     : std::ldexp(value, 10 - std::ilogb(value));
  return std::fabs(value) <= 65504 && scaled == std::nearbyint(scaled);
}

} // namespace

TEST(Grid, NearestIsAtMostAStepOff) {
  Layer layer = makeLayer(7, 45, 100, 3);
  for (int levels : {2, 4, 5, 8, 16, 256})
    for (int64_t group : {0, 16, 100}) {
      GridOptions options;
      options.levels = levels;
      options.group = group;
      options.method = GridMethod::Rtn;
      options.scaleType = ScaleType::Float;
      Expected<GridResult> result = solve(options, layer);
      ASSERT_TRUE(result.ok()) << result.message();
      EXPECT_EQ(result->groups, group == 16 ? 3 : 1);
      std::vector<float> v = dequantize(options, *result, layer);
      for (int64_t i = 0; i != layer.n * layer.k; ++i) {
        int64_t at =
            i / layer.k * result->groups + (group == 16 ? i % layer.k / 16 : 0);
        // The zero point is an integer, which may move the ends by half a step.
        EXPECT_LE(std::fabs(v[i] - layer.w[i]), 1.0001f * result->scales[at]);
        EXPECT_LT(result->codes[i], levels);
        EXPECT_LT(result->zeros[at], levels);
      }
    }
}

TEST(Grid, KeepsValuesOnTheGrid) {
  // Scale 0.5, zero point 2.
  Layer layer{1, 8, {-1, -0.5, 0, 0.5, 1, 2.5, 0, 1.5}, {}};
  GridOptions options;
  options.levels = 8;
  options.method = GridMethod::Rtn;
  Expected<GridSolver> solver = GridSolver::create(options, 8, nullptr);
  ASSERT_TRUE(solver.ok()) << solver.message();
  EXPECT_TRUE(solver->damping().identity);
  Expected<GridResult> result = solver->solve(layer.w.data(), 1);
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->scales[0], 0.5f);
  EXPECT_EQ(result->zeros[0], 2);
  EXPECT_EQ(dequantize(options, *result, layer), layer.w);

  for (GridMethod method :
       {GridMethod::Improved, GridMethod::Paper, GridMethod::Rtn}) {
    Layer scaled{1, 8, powers, {}};
    for (float &value : scaled.w)
      value *= 0.375f;
    options.fixed = powers;
    options.method = method;
    options.searchScales = true;
    solver = GridSolver::create(options, 8, nullptr);
    ASSERT_TRUE(solver.ok()) << solver.message();
    result = solver->solve(scaled.w.data(), 1);
    ASSERT_TRUE(result.ok());
    std::vector<float> v = dequantize(options, *result, scaled);
    for (int i = 0; i != 8; ++i)
      EXPECT_NEAR(v[i], scaled.w[i], 1e-2 * std::fabs(scaled.w[i]));
  }
}

TEST(Grid, FeedbackMatchesTheReference) {
  GridOptions options;
  options.levels = 8;
  options.method = GridMethod::Gptq;
  for (int64_t group : {0, 8}) {
    options.group = group;
    Expected<GridResult> result = solve(options, goldenLayer());
    ASSERT_TRUE(result.ok()) << result.message();
    const int *codes = group ? goldenGptqGroupCodes : goldenGptqCodes;
    const double *loss = group ? goldenGptqGroupLoss : goldenGptqLoss;
    for (int i = 0; i != goldenN; ++i) {
      EXPECT_NEAR(result->rows[i].loss, loss[i], 1e-4 * loss[i]);
      for (int j = 0; j != goldenK; ++j)
        EXPECT_EQ(result->codes[i * goldenK + j], codes[i * goldenK + j])
            << "row " << i << ", column " << j << ", group " << group;
    }
  }
}

TEST(Grid, CorrectedTargetMatchesThePrototype) {
  Layer layer = goldenLayer();
  GridOptions options;
  Expected<GridSolver> solver =
      GridSolver::create(options, goldenK, goldenH, goldenC);
  ASSERT_TRUE(solver.ok()) << solver.message();
  Expected<GridResult> result = solver->solve(layer.w.data(), goldenN);
  ASSERT_TRUE(result.ok()) << result.message();
  for (int i = 0; i != goldenN; ++i)
    EXPECT_NEAR(result->rows[i].outputEnergy, goldenCorrectedEnergy[i],
                1e-4 * goldenCorrectedEnergy[i]);
}

TEST(Grid, CloseToTheBestOfAllCodes) {
  const int64_t n = 24, k = 6;
  const std::vector<float> stride = {1, 4, -1, -4};
  for (bool fixed : {false, true}) {
    Layer layer = makeLayer(n, k, 40, 11);
    GridOptions options;
    options.levels = 4;
    if (fixed)
      options.fixed = stride;
    options.scaleType = ScaleType::Float;
    Expected<GridResult> result = solve(options, layer);
    ASSERT_TRUE(result.ok()) << result.message();
    std::vector<double> h = damp(layer.gram.h, k, options.ridge);
    double found = 0, possible = 0;
    for (int64_t row = 0; row != n; ++row) {
      const float *w = layer.w.data() + row * k;
      std::vector<double> units(k);
      for (int64_t j = 0; j != k; ++j) {
        int code = result->codes[row * k + j];
        units[j] = fixed ? stride[code] : code - result->zeros[row];
      }
      double energy = result->rows[row].outputEnergy;
      // The last descent may leave the scale a little off its optimum.
      EXPECT_GE(result->rows[row].loss,
                leastLoss(h, w, units, k) - 1e-5 * energy);
      double least = INFINITY;
      for (int zero = 0; zero != (fixed ? 1 : 4); ++zero)
        for (int mask = 0; mask != 1 << (2 * k); ++mask) {
          for (int64_t j = 0; j != k; ++j) {
            int code = mask >> (2 * j) & 3;
            units[j] = fixed ? stride[code] : code - zero;
          }
          least = std::min(least, leastLoss(h, w, units, k));
        }
      EXPECT_GE(result->rows[row].loss, least - 1e-5 * energy);
      found += result->rows[row].loss;
      possible += least;
    }
    // A local search on tiny rows misses some optima.
    EXPECT_LE(found, 1.4 * possible) << (fixed ? "fixed" : "even");
  }
}

TEST(Grid, MethodsAreInOrder) {
  Layer layer = makeLayer(40, 96, 400, 21);
  for (int levels : {4, 5, 8, 16})
    for (int64_t group : {0, 32}) {
      GridOptions options;
      options.levels = levels;
      options.group = group;
      double before = 0;
      for (GridMethod method :
           {GridMethod::Improved, GridMethod::Gptq, GridMethod::Rtn}) {
        options.method = method;
        Expected<GridResult> result = solve(options, layer);
        ASSERT_TRUE(result.ok()) << result.message();
        EXPECT_GT(totalLoss(*result), 1.1 * before) << levels << " levels";
        before = totalLoss(*result);
      }
    }
  GridOptions options;
  options.fixed = powers;
  options.group = 32;
  options.searchScales = true;
  options.roundLogarithms = true;
  double before = 0;
  for (GridMethod method :
       {GridMethod::Improved, GridMethod::Paper, GridMethod::Rtn}) {
    options.method = method;
    Expected<GridResult> result = solve(options, layer);
    ASSERT_TRUE(result.ok()) << result.message();
    EXPECT_GT(totalLoss(*result), 1.05 * before);
    before = totalLoss(*result);
  }
}

TEST(Grid, MoreWorkIsNoWorse) {
  Layer layer = makeLayer(30, 70, 300, 31);
  for (const std::vector<float> &fixed : {std::vector<float>(), powers}) {
    GridOptions options;
    options.levels = 8;
    options.fixed = fixed;
    options.group = 32;
    options.scaleType = ScaleType::Float;
    options.descentRounds = 0;
    double before = INFINITY;
    auto check = [&](const char *what) {
      Expected<GridResult> result = solve(options, layer);
      ASSERT_TRUE(result.ok()) << result.message();
      double now = totalLoss(*result);
      // The sweeps at the end start from different places.
      EXPECT_LE(now, before * 1.01) << what;
      before = now;
    };
    for (int iterations : {1, 2, 8}) {
      options.iterations = iterations;
      check("iterations");
    }
    for (int rounds : {1, 2, 4}) {
      options.descentRounds = rounds;
      check("descent");
    }
    for (int64_t group : {16, 8}) {
      options.group = group;
      check("group");
    }
  }
}

TEST(Grid, ReportsAgreeWithTheResult) {
  Layer layer = makeLayer(9, 50, 200, 41);
  for (const std::vector<float> &fixed : {std::vector<float>(), powers})
    for (int64_t group : {0, 16, 50, 64, 1})
      for (GridMethod method :
           {GridMethod::Improved, GridMethod::Gptq, GridMethod::Rtn}) {
        GridOptions options;
        options.levels = 4;
        options.fixed = fixed;
        options.group = group;
        options.method = method;
        Expected<GridResult> result = solve(options, layer);
        ASSERT_TRUE(result.ok()) << result.message();
        std::vector<float> v = dequantize(options, *result, layer);
        std::vector<double> e(layer.k);
        for (int64_t row = 0; row != layer.n; ++row) {
          for (int64_t j = 0; j != layer.k; ++j)
            e[j] = v[row * layer.k + j] - layer.w[row * layer.k + j];
          EXPECT_NEAR(result->rows[row].outputError,
                      quadratic(layer.gram.h, e.data(), layer.k),
                      1e-5 * result->rows[row].outputEnergy)
              << "group " << group;
        }
      }
}

TEST(Grid, SameBytesForAnyThreads) {
  Layer layer = makeLayer(300, 48, 200, 51);
  for (const std::vector<float> &fixed : {std::vector<float>(), powers}) {
    GridOptions options;
    options.fixed = fixed;
    options.group = 16;
    options.threads = 1;
    Expected<GridResult> one = solve(options, layer);
    options.threads = 2;
    Expected<GridResult> two = solve(options, layer);
    ASSERT_TRUE(one.ok() && two.ok());
    EXPECT_EQ(one->codes, two->codes);
    EXPECT_EQ(one->scales, two->scales);
    EXPECT_EQ(one->zeros, two->zeros);
  }
}

TEST(Grid, ScalesAreLegal) {
  // Rows from far below fp16's range to its end.
  Layer layer = makeLayer(60, 32, 100, 61);
  for (int64_t row = 0; row != layer.n; ++row)
    for (int64_t j = 0; j != layer.k; ++j)
      layer.w[row * layer.k + j] *=
          std::ldexp(1.0f, static_cast<int>(row) - 42);
  for (GridMethod method :
       {GridMethod::Improved, GridMethod::Paper, GridMethod::Rtn}) {
    GridOptions options;
    options.fixed = powers;
    options.group = 16;
    options.method = method;
    options.searchScales = true;
    Expected<GridResult> result = solve(options, layer);
    ASSERT_TRUE(result.ok()) << result.message();
    EXPECT_GT(result->raisedScales, 0);
    for (float scale : result->scales) {
      EXPECT_GE(scale, 6.103515625e-05f);
      EXPECT_LE(scale, 8188.0f);
      EXPECT_TRUE(isHalf(scale)) << scale;
    }
    options.scaleType = ScaleType::BFloat;
    result = solve(options, layer);
    ASSERT_TRUE(result.ok()) << result.message();
    EXPECT_EQ(result->raisedScales, 0);
    for (float scale : result->scales) {
      float scaled = std::ldexp(scale, 7 - std::ilogb(scale));
      EXPECT_EQ(scaled, std::nearbyint(scaled));
    }
    options.scaleType = ScaleType::Half;
    layer.w[5] = 1e6f;
    EXPECT_NE(solve(options, layer).message().find("of greater range"),
              std::string::npos);
    layer.w[5] = 0;
  }
}

TEST(Grid, RowsOfZerosComeCloseToZero) {
  Layer layer = makeLayer(6, 32, 100, 67);
  for (int64_t j = 0; j != layer.k; ++j) {
    layer.w[j] = 0;
    // Below the least normal float: the inverse of its scale is infinite.
    layer.w[layer.k + j] = std::ldexp(1.0f, -149);
  }
  const std::vector<float> withZero = {-1, -0.5f, 0, 0.25f, 0.5f, 1};
  for (GridMethod method : {GridMethod::Improved, GridMethod::Gptq,
                            GridMethod::Paper, GridMethod::Rtn})
    for (const std::vector<float> *fixed : {&powers, &withZero}) {
      GridOptions options;
      options.fixed = *fixed;
      options.group = 16;
      options.method = method;
      Expected<GridResult> result = solve(options, layer);
      ASSERT_TRUE(result.ok()) << result.message();
      std::vector<float> v = dequantize(options, *result, layer);
      for (int64_t i = 0; i != 2 * layer.k; ++i)
        EXPECT_LE(std::fabs(v[i]), 8 * 6.103515625e-05f)
            << "method " << static_cast<int>(method) << " value " << i;
    }
}

TEST(Grid, GivenRanges) {
  Layer layer = makeLayer(3, 16, 60, 65);
  std::vector<float> low = {-0.01f, -0.02f, 0, -0.03f, -0.01f, -0.5f};
  std::vector<float> high = {0.02f, 0, 0.04f, 0.03f, 0.05f, 0.5f};
  GridOptions options;
  options.levels = 16;
  options.group = 8;
  options.method = GridMethod::Rtn;
  options.scaleType = ScaleType::Float;
  options.low = low.data();
  options.high = high.data();
  Expected<GridResult> result = solve(options, layer);
  ASSERT_TRUE(result.ok()) << result.message();
  for (int i = 0; i != 6; ++i) {
    EXPECT_NEAR(result->scales[i], (high[i] - low[i]) / 15, 1e-8);
    EXPECT_EQ(result->zeros[i], std::lround(-low[i] / result->scales[i]));
  }
  options.method = GridMethod::Improved;
  EXPECT_FALSE(solve(options, layer).ok());
}

TEST(Grid, OddLayers) {
  for (GridMethod method :
       {GridMethod::Improved, GridMethod::Gptq, GridMethod::Rtn}) {
    GridOptions options;
    options.levels = 8;
    options.method = method;
    // Zero rows, constant rows, few values, a dead input, one column.
    Layer layer{
        4,
        5,
        {0, 0, 0, 0, 0, 2, 2, 2, 2, 2, 1, -1, 1, -1, 1, 0, 0, 1, 0.5f, 0},
        {}};
    layer.gram.h.resize(25);
    for (int j = 0; j != 4; ++j)
      layer.gram.h[j * 5 + j] = j + 1;
    Expected<GridSolver> solver =
        GridSolver::create(options, 5, layer.gram.h.data());
    ASSERT_TRUE(solver.ok()) << solver.message();
    EXPECT_EQ(solver->damping().deadColumns, 1);
    Expected<GridResult> result = solver->solve(layer.w.data(), 4);
    ASSERT_TRUE(result.ok()) << result.message();
    std::vector<float> v = dequantize(options, *result, layer);
    for (int i = 0; i != 20; ++i)
      EXPECT_NEAR(v[i], layer.w[i], 0.2) << i;

    float single = 0.75f, value = 0;
    double unit = 2;
    solver = GridSolver::create(options, 1, &unit);
    ASSERT_TRUE(solver.ok());
    result = solver->solve(&single, 1);
    ASSERT_TRUE(result.ok());
    dequantizeGrid(*result, {}, 1, 1, 0, &value);
    EXPECT_NEAR(value, single, 1e-3);
  }
}

TEST(Grid, SingularGram) {
  // Two equal inputs and no ridge: not positive definite.
  GridOptions options;
  options.ridge = 0;
  double h[] = {1, 1, 0, 1, 1, 0, 0, 0, 1};
  Expected<GridSolver> solver = GridSolver::create(options, 3, h);
  ASSERT_TRUE(solver.ok()) << solver.message();
  EXPECT_TRUE(solver->damping().diagonalDominance);
  float w[] = {1, 2, 3};
  EXPECT_TRUE(solver->solve(w, 1).ok());
}

TEST(Grid, Errors) {
  double h[] = {1, 0, 0, 1};
  auto message = [&](auto change) {
    GridOptions changed;
    change(changed);
    return GridSolver::create(changed, 2, h).message();
  };
  EXPECT_EQ(message([](GridOptions &o) { o.levels = 257; }),
            "expected 2 to 256 levels, but got 257");
  EXPECT_FALSE(message([](GridOptions &o) { o.fixed = {1}; }).empty());
  EXPECT_FALSE(message([](GridOptions &o) { o.fixed = {1, 1}; }).empty());
  EXPECT_FALSE(message([](GridOptions &o) { o.fixed = {1, NAN}; }).empty());
  EXPECT_FALSE(message([](GridOptions &o) { o.iterations = 0; }).empty());
  EXPECT_FALSE(message([](GridOptions &o) { o.group = -1; }).empty());
  EXPECT_FALSE(message([](GridOptions &o) { o.ridge = NAN; }).empty());
  EXPECT_FALSE(message([](GridOptions &o) { o.alpha = 2; }).empty());
  EXPECT_FALSE(
      message([](GridOptions &o) { o.method = GridMethod::Paper; }).empty());
  GridOptions options;
  double bad[] = {1, NAN, NAN, 1};
  EXPECT_FALSE(GridSolver::create(options, 0, h).ok());
  EXPECT_FALSE(GridSolver::create(options, 2, bad).ok());
  EXPECT_FALSE(GridSolver::create(options, 2, nullptr, h).ok());

  Expected<GridSolver> solver = GridSolver::create(options, 2, h);
  ASSERT_TRUE(solver.ok());
  float infinite[] = {0, 1, 2, INFINITY}, big[] = {0, 1e9f}, good[] = {1, 2};
  EXPECT_NE(solver->solve(infinite, 2).message().find("row 1, column 1"),
            std::string::npos);
  EXPECT_NE(solver->solve(big, 1).message().find("of greater range"),
            std::string::npos);
  EXPECT_FALSE(solver->solve(big, 0).ok());
  EXPECT_FALSE(GridSolver().solve(big, 1).ok());
  EXPECT_FALSE(
      solver->solve(good, 1, [](int64_t, int64_t) { return false; }).ok());
}
