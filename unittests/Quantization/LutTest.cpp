//===- LutTest.cpp - Tests of the table solver ----------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/Quantization/Lut.h"
#include "Golden.inc"
#include "Synthetic.h"
#include <algorithm>
#include <gtest/gtest.h>

using namespace ganq::quant;
using namespace ganq::quant::test;

namespace {

Expected<LutResult> solve(const LutOptions &options, const Layer &layer) {
  Expected<LutSolver> solver =
      LutSolver::create(options, layer.k, layer.gram.h.data());
  if (!solver.ok())
    return solver.status();
  return solver->solve(layer.w.data(), layer.n);
}

double totalLoss(const LutResult &result) {
  double sum = 0;
  for (const LutRowReport &row : result.rows)
    sum += row.loss;
  return sum;
}

Layer goldenLayer() {
  Layer layer{goldenN, goldenK, {}, {}};
  layer.w.assign(std::begin(goldenW), std::end(goldenW));
  layer.gram.h.assign(std::begin(goldenH), std::end(goldenH));
  return layer;
}

/// The least loss of one row over all tables, for given codes.
double leastLoss(const std::vector<double> &h, const float *w,
                 const std::vector<int> &codes, int64_t k, int levels) {
  // Plain coordinate descent on the table: convex, small, and independent of
  // the solver's own way.
  std::vector<double> table(levels), e(k);
  for (int iteration = 0; iteration != 400; ++iteration)
    for (int t = 0; t != levels; ++t) {
      double slope = 0, curvature = 0;
      for (int64_t i = 0; i != k; ++i)
        e[i] = table[codes[i]] - w[i];
      for (int64_t i = 0; i != k; ++i)
        if (codes[i] == t)
          for (int64_t j = 0; j != k; ++j) {
            slope += h[i * k + j] * e[j];
            curvature += codes[j] == t ? h[i * k + j] : 0;
          }
      if (curvature > 0)
        table[t] -= slope / curvature;
    }
  for (int64_t i = 0; i != k; ++i)
    e[i] = table[codes[i]] - w[i];
  return quadratic(h, e.data(), k);
}

/// |H| |H^-1| in the 1-norm.
double conditionNumber(const std::vector<double> &h, int64_t k) {
  std::vector<double> a(h), inverse(k * k);
  auto norm = [&](const std::vector<double> &m) {
    double greatest = 0;
    for (int64_t j = 0; j != k; ++j) {
      double sum = 0;
      for (int64_t i = 0; i != k; ++i)
        sum += std::fabs(m[i * k + j]);
      greatest = std::max(greatest, sum);
    }
    return greatest;
  };
  for (int64_t i = 0; i != k; ++i)
    inverse[i * k + i] = 1;
  // Gauss-Jordan; positive definite matrices need no pivoting.
  for (int64_t p = 0; p != k; ++p) {
    double pivot = a[p * k + p];
    for (int64_t j = 0; j != k; ++j) {
      a[p * k + j] /= pivot;
      inverse[p * k + j] /= pivot;
    }
    for (int64_t i = 0; i != k; ++i) {
      double times = a[i * k + p];
      for (int64_t j = 0; i != p && j != k; ++j) {
        a[i * k + j] -= times * a[p * k + j];
        inverse[i * k + j] -= times * inverse[p * k + j];
      }
    }
  }
  return norm(h) * norm(inverse);
}

} // namespace

TEST(Lut, EstimatesTheConditionOfTheGramMatrix) {
  LutOptions options;
  for (double ridge : {0.0, 1e-4, 0.01})
    for (int64_t k : {2, 13, 64}) {
      Layer layer = makeLayer(1, k, 3 * k, 100 + k);
      options.ridge = ridge;
      Expected<LutSolver> solver =
          LutSolver::create(options, k, layer.gram.h.data());
      ASSERT_TRUE(solver.ok()) << solver.message();
      double exact = conditionNumber(damp(layer.gram.h, k, ridge), k);
      EXPECT_LE(solver->damping().condition, exact * (1 + 1e-9)) << k;
      EXPECT_GE(solver->damping().condition, exact * 0.7) << k;
    }
  const double h[] = {1, 0, 0, 4};
  options.ridge = 0;
  Expected<LutSolver> solver = LutSolver::create(options, 2, h);
  ASSERT_TRUE(solver.ok()) << solver.message();
  EXPECT_DOUBLE_EQ(solver->damping().condition, 4);
  solver = LutSolver::create(options, 2, nullptr);
  ASSERT_TRUE(solver.ok()) << solver.message();
  EXPECT_EQ(solver->damping().condition, 0);
}

TEST(Lut, FirstIterationEqualsTheFormula) {
  Layer layer = goldenLayer();
  LutOptions options;
  options.bits = 3;
  options.method = LutMethod::Literal;
  options.iterations = 1;
  options.entry = LutEntry::Float32;
  Expected<LutResult> result = solve(options, layer);
  ASSERT_TRUE(result.ok()) << result.message();
  for (int i = 0; i != goldenN; ++i) {
    const LutRowReport &row = result->rows[i];
    EXPECT_NEAR(row.initialLoss, goldenFirstLoss[i], 1e-4 * goldenFirstLoss[i]);
    EXPECT_NEAR(row.loss, goldenFirstTableLoss[i],
                1e-4 * goldenFirstTableLoss[i]);
    // Tables come sorted: compare the values that the codes stand for.
    for (int j = 0; j != goldenK; ++j) {
      int at = i * goldenK + j;
      EXPECT_NEAR(result->tables[i * 8 + result->codes[at]],
                  goldenFirstTable[i * 8 + goldenFirstCodes[at]], 1e-5);
    }
  }
}

TEST(Lut, LiteralMatchesThePrototype) {
  LutOptions options;
  options.bits = 3;
  options.method = LutMethod::Literal;
  options.entry = LutEntry::Float32;
  Expected<LutResult> result = solve(options, goldenLayer());
  ASSERT_TRUE(result.ok()) << result.message();
  for (int i = 0; i != goldenN; ++i)
    EXPECT_NEAR(result->rows[i].loss, goldenLiteralLoss[i],
                1e-3 * goldenLiteralLoss[i]);
}

TEST(Lut, CorrectedTargetMatchesThePrototype) {
  Layer layer = goldenLayer();
  LutOptions options;
  Expected<LutSolver> solver =
      LutSolver::create(options, goldenK, goldenH, goldenC);
  ASSERT_TRUE(solver.ok()) << solver.message();
  Expected<LutResult> result = solver->solve(layer.w.data(), goldenN);
  ASSERT_TRUE(result.ok()) << result.message();
  for (int i = 0; i != goldenN; ++i)
    EXPECT_NEAR(result->rows[i].outputEnergy, goldenCorrectedEnergy[i],
                1e-4 * goldenCorrectedEnergy[i]);
}

TEST(Lut, CloseToTheBestOfAllAssignments) {
  const int64_t n = 24, k = 6;
  for (int bits : {1, 2}) {
    Layer layer = makeLayer(n, k, 40, 11 + bits);
    LutOptions options;
    options.bits = bits;
    options.entry = LutEntry::Float32;
    Expected<LutResult> result = solve(options, layer);
    ASSERT_TRUE(result.ok()) << result.message();
    std::vector<double> h = damp(layer.gram.h, k, options.ridge);
    int levels = 1 << bits;
    double found = 0, possible = 0;
    for (int64_t row = 0; row != n; ++row) {
      const float *w = layer.w.data() + row * k;
      std::vector<int> own(result->codes.begin() + row * k,
                           result->codes.begin() + (row + 1) * k);
      // The table is optimal for the codes, and the report is true.
      double scale = result->rows[row].outputEnergy;
      EXPECT_NEAR(leastLoss(h, w, own, k, levels), result->rows[row].loss,
                  1e-4 * scale);
      if (bits != 1)
        continue;
      double least = INFINITY;
      for (int mask = 0; mask != 1 << k; ++mask) {
        std::vector<int> codes(k);
        for (int64_t j = 0; j != k; ++j)
          codes[j] = mask >> j & 1;
        least = std::min(least, leastLoss(h, w, codes, k, levels));
      }
      EXPECT_GE(result->rows[row].loss, least - 1e-4 * scale);
      found += result->rows[row].loss;
      possible += least;
    }
    // A local search on tiny rows misses some optima.
    EXPECT_LE(found, 1.3 * possible);
  }
}

TEST(Lut, MethodsAreInOrder) {
  Layer layer = makeLayer(40, 96, 400, 21);
  for (int bits : {2, 3, 4}) {
    LutOptions options;
    options.bits = bits;
    double losses[3];
    int i = 0;
    for (LutMethod method :
         {LutMethod::Improved, LutMethod::Literal, LutMethod::KMeans}) {
      options.method = method;
      Expected<LutResult> result = solve(options, layer);
      ASSERT_TRUE(result.ok()) << result.message();
      losses[i++] = totalLoss(*result);
    }
    EXPECT_LT(losses[0], 0.9 * losses[1]) << bits << " bits";
    EXPECT_LT(losses[1], 0.9 * losses[2]) << bits << " bits";
  }
}

TEST(Lut, MoreWorkIsNoWorse) {
  Layer layer = makeLayer(30, 70, 300, 31);
  LutOptions options;
  options.bits = 3;
  options.entry = LutEntry::Float32;
  options.descentRounds = 0;
  double before = INFINITY;
  auto check = [&](const char *what) {
    Expected<LutResult> result = solve(options, layer);
    ASSERT_TRUE(result.ok()) << result.message();
    double now = totalLoss(*result);
    EXPECT_LE(now, before * (1 + 1e-6)) << what;
    before = now;
  };
  for (int iterations : {1, 2, 5, 10}) {
    options.iterations = iterations;
    check("iterations");
  }
  for (int rounds : {1, 2, 4}) {
    options.descentRounds = rounds;
    check("descent");
  }
  for (int bits : {4, 6, 8}) {
    options.bits = bits;
    check("bits");
  }
}

TEST(Lut, ReportsAgreeWithTheResult) {
  Layer layer = makeLayer(9, 50, 200, 41);
  for (int64_t group : {0, 16, 50, 64, 1}) {
    LutOptions options;
    options.bits = 2;
    options.group = group;
    Expected<LutResult> result = solve(options, layer);
    ASSERT_TRUE(result.ok()) << result.message();
    std::vector<float> v(layer.w.size());
    dequantizeLut(*result, options, layer.n, layer.k, v.data());
    std::vector<double> e(layer.k);
    for (int64_t row = 0; row != layer.n; ++row) {
      for (int64_t j = 0; j != layer.k; ++j)
        e[j] = v[row * layer.k + j] - layer.w[row * layer.k + j];
      double energy = result->rows[row].outputEnergy;
      EXPECT_NEAR(result->rows[row].outputError,
                  quadratic(layer.gram.h, e.data(), layer.k), 1e-5 * energy)
          << "group " << group;
    }
    for (size_t t = 1; t != result->tables.size(); ++t) {
      if (t % 4 != 0) {
        EXPECT_LE(result->tables[t - 1], result->tables[t]);
      }
    }
  }
}

TEST(Lut, GroupsLowerTheLoss) {
  Layer layer = makeLayer(16, 128, 400, 43);
  double before = INFINITY;
  for (int64_t group : {0, 64, 32}) {
    LutOptions options;
    options.bits = 2;
    options.group = group;
    Expected<LutResult> result = solve(options, layer);
    ASSERT_TRUE(result.ok()) << result.message();
    EXPECT_LT(totalLoss(*result), before);
    before = totalLoss(*result);
  }
}

TEST(Lut, SameBytesForAnyThreads) {
  Layer layer = makeLayer(300, 48, 200, 51);
  LutOptions options;
  options.threads = 1;
  Expected<LutResult> one = solve(options, layer),
                      again = solve(options, layer);
  options.threads = 2;
  Expected<LutResult> two = solve(options, layer);
  ASSERT_TRUE(one.ok() && again.ok() && two.ok());
  EXPECT_EQ(one->codes, again->codes);
  EXPECT_EQ(one->tables, again->tables);
  EXPECT_EQ(one->codes, two->codes);
  EXPECT_EQ(one->tables, two->tables);
}

TEST(Lut, TablesAreHalfPrecision) {
  Layer layer = makeLayer(5, 40, 100, 61);
  LutOptions options;
  Expected<LutResult> result = solve(options, layer);
  ASSERT_TRUE(result.ok());
  for (float value : result->tables) {
    // Eleven significant bits, or a multiple of the least fp16 value.
    float scaled = std::fabs(value) < 6.103515625e-05f
                       ? std::ldexp(value, 24)
                       : std::ldexp(value, 10 - std::ilogb(value));
    EXPECT_EQ(scaled, std::nearbyint(scaled));
  }
}

TEST(Lut, OddLayers) {
  LutOptions options;
  options.bits = 3;
  for (LutMethod method :
       {LutMethod::Improved, LutMethod::Literal, LutMethod::KMeans}) {
    options.method = method;
    // One row, one column, constant rows, zero rows, dead inputs, few values.
    std::vector<float> w = {0,  0, 0, 0, 0, 2,    2, 2, 2, 2, 1, -1, 1,
                            -1, 1, 0, 0, 1, 0.5f, 0, 1, 2, 3, 4, 5};
    std::vector<double> h(25);
    for (int j = 0; j != 4; ++j)
      h[j * 5 + j] = j + 1;
    Expected<LutSolver> solver = LutSolver::create(options, 5, h.data());
    ASSERT_TRUE(solver.ok()) << solver.message();
    EXPECT_EQ(solver->damping().deadColumns, 1);
    Expected<LutResult> result = solver->solve(w.data(), 5);
    ASSERT_TRUE(result.ok()) << result.message();
    std::vector<float> v(25);
    dequantizeLut(*result, options, 5, 5, v.data());
    // Evenly spaced levels need not hit five distinct values at once.
    for (int i = 0; i != 20; ++i)
      EXPECT_NEAR(v[i], w[i], 1e-3) << i;

    float single = 0.75f;
    double unit = 2;
    solver = LutSolver::create(options, 1, &unit);
    ASSERT_TRUE(solver.ok());
    result = solver->solve(&single, 1);
    ASSERT_TRUE(result.ok());
    EXPECT_EQ(result->tables[result->codes[0]], single);
  }
}

TEST(Lut, NoActivations) {
  Layer layer = makeLayer(4, 30, 50, 71);
  LutOptions options;
  std::vector<double> zero(30 * 30);
  Expected<LutSolver> none = LutSolver::create(options, 30, nullptr);
  Expected<LutSolver> dead = LutSolver::create(options, 30, zero.data());
  ASSERT_TRUE(none.ok() && dead.ok());
  EXPECT_TRUE(none->damping().identity && dead->damping().identity);
  Expected<LutResult> a = none->solve(layer.w.data(), 4);
  Expected<LutResult> b = dead->solve(layer.w.data(), 4);
  ASSERT_TRUE(a.ok() && b.ok());
  EXPECT_EQ(a->codes, b->codes);
  EXPECT_LT(a->relativeOutputError(), 0.15);
}

TEST(Lut, FallsBackToDiagonalDominance) {
  // Indefinite: no ridge of one percent helps.
  std::vector<double> h = {1, 2, 0, 2, 1, 0, 0, 0, 1};
  LutOptions options;
  Expected<LutSolver> solver = LutSolver::create(options, 3, h.data());
  ASSERT_TRUE(solver.ok()) << solver.message();
  EXPECT_TRUE(solver->damping().diagonalDominance);
  float w[] = {1, 2, 3};
  EXPECT_TRUE(solver->solve(w, 1).ok());
}

TEST(Lut, Errors) {
  double h[] = {1, 0, 0, 1};
  LutOptions options;
  auto message = [&](auto change) {
    LutOptions changed = options;
    change(changed);
    return LutSolver::create(changed, 2, h).message();
  };
  EXPECT_EQ(message([](LutOptions &o) { o.bits = 9; }),
            "expected 1 to 8 bits, but got 9");
  EXPECT_FALSE(message([](LutOptions &o) { o.iterations = 0; }).empty());
  EXPECT_FALSE(message([](LutOptions &o) { o.group = -1; }).empty());
  EXPECT_FALSE(message([](LutOptions &o) { o.ridge = NAN; }).empty());
  EXPECT_FALSE(message([](LutOptions &o) { o.alpha = 2; }).empty());
  EXPECT_FALSE(LutSolver::create(options, 0, h).ok());
  double bad[] = {1, NAN, NAN, 1}, negative[] = {-1, 0, 0, 1};
  EXPECT_FALSE(LutSolver::create(options, 2, bad).ok());
  EXPECT_FALSE(LutSolver::create(options, 2, negative).ok());
  EXPECT_FALSE(LutSolver::create(options, 2, h, bad).ok());
  EXPECT_FALSE(LutSolver::create(options, 2, nullptr, h).ok());

  Expected<LutSolver> solver = LutSolver::create(options, 2, h);
  ASSERT_TRUE(solver.ok());
  float infinite[] = {0, 1, 2, INFINITY}, big[] = {1e6f, 1};
  EXPECT_NE(solver->solve(infinite, 2).message().find("row 1, column 1"),
            std::string::npos);
  EXPECT_NE(solver->solve(big, 1).message().find("bf16 entries"),
            std::string::npos);
  EXPECT_FALSE(solver->solve(big, 0).ok());
  EXPECT_FALSE(LutSolver().solve(big, 1).ok());
  float good[] = {1, 2};
  EXPECT_FALSE(
      solver->solve(good, 1, [](int64_t, int64_t) { return false; }).ok());
}
