//===- LutShapesTest.cpp - Tests of entry types, tiles and kept values ----===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Synthetic.h"
#include "ganq/Quantization/Lut.h"
#include <algorithm>
#include <gtest/gtest.h>
#include <set>

using namespace ganq::quant;
using namespace ganq::quant::test;

namespace {

LutResult solve(const LutOptions &options, const Layer &layer) {
  Expected<LutSolver> solver =
      LutSolver::create(options, layer.k, layer.gram.h.data());
  EXPECT_TRUE(solver.ok()) << solver.message();
  Expected<LutResult> result = solver->solve(layer.w.data(), layer.n);
  EXPECT_TRUE(result.ok()) << result.message();
  return result.ok() ? *result : LutResult();
}

std::vector<double> rowErrors(const LutOptions &options, const Layer &layer,
                              const LutResult &result) {
  std::vector<float> v(layer.w.size());
  dequantizeLut(result, options, layer.n, layer.k, v.data());
  std::vector<double> errors, e(layer.k);
  for (int64_t row = 0; row != layer.n; ++row) {
    for (int64_t j = 0; j != layer.k; ++j)
      e[j] = v[row * layer.k + j] - layer.w[row * layer.k + j];
    errors.push_back(quadratic(layer.gram.h, e.data(), layer.k));
  }
  return errors;
}

/// Everything that holds for any result: figures agree with the stored values,
/// entries and scales have their types.
double check(const LutOptions &options, const Layer &layer,
             const LutResult &result) {
  std::vector<double> errors = rowErrors(options, layer, result);
  double sum = 0;
  for (int64_t row = 0; row != layer.n; ++row) {
    EXPECT_NEAR(result.rows[row].outputError, errors[row],
                2e-5 * result.rows[row].outputEnergy + 1e-12)
        << "row " << row;
    sum += errors[row];
  }
  for (size_t i = 0; i != result.tables.size(); ++i) {
    EXPECT_EQ(result.tables[i], roundToEntry(options.entry, result.tables[i]));
    if (i % (size_t(1) << options.bits))
      EXPECT_LE(result.tables[i - 1], result.tables[i]);
  }
  for (float scale : result.scales) {
    EXPECT_EQ(scale, roundToEntry(LutEntry::Float16, scale));
    EXPECT_GT(scale, 0);
    if (!hasScale(options.entry))
      EXPECT_EQ(scale, 1);
  }
  for (int64_t row = 0; row != layer.n; ++row)
    for (int64_t i = row * options.kept; i != (row + 1) * options.kept; ++i) {
      EXPECT_GE(result.keptColumns[i], 0);
      EXPECT_LT(result.keptColumns[i], layer.k);
      if (i != row * options.kept)
        EXPECT_LT(result.keptColumns[i - 1], result.keptColumns[i]);
    }
  return sum;
}

constexpr LutEntry everyEntry[] = {LutEntry::Float32, LutEntry::Float16,
                                   LutEntry::BFloat16, LutEntry::Int8,
                                   LutEntry::Float8};
constexpr LutMethod everyMethod[] = {LutMethod::Improved, LutMethod::Literal,
                                     LutMethod::KMeans};

} // namespace

TEST(LutEntry, RoundsToTheNearest) {
  // All values of E4M3FN (OCP 8-bit floating point specification, table 1).
  std::vector<float> values;
  for (int code = 0; code != 127; ++code) {
    int exponent = code >> 3, mantissa = code & 7;
    values.push_back(exponent ? std::ldexp(8.0f + mantissa, exponent - 10)
                              : std::ldexp(1.0f * mantissa, -9));
  }
  EXPECT_EQ(values.back(), 448);
  for (size_t i = 0; i + 1 != values.size(); ++i) {
    float middle = (values[i] + values[i + 1]) / 2;
    for (float sign : {1.0f, -1.0f}) {
      auto round = [&](float x) {
        return sign * roundToEntry(LutEntry::Float8, sign * x);
      };
      EXPECT_EQ(round(values[i]), values[i]);
      EXPECT_EQ(round(std::nextafter(middle, 0.0f)), values[i]);
      EXPECT_EQ(round(std::nextafter(middle, 1e9f)), values[i + 1]);
      EXPECT_EQ(round(middle), values[i % 2 ? i + 1 : i]);
    }
  }
  EXPECT_EQ(roundToEntry(LutEntry::Float8, 1e9f), 448);
  EXPECT_EQ(roundToEntry(LutEntry::Float8, -1e9f), -448);
  EXPECT_EQ(roundToEntry(LutEntry::Int8, 2.5f), 2);
  EXPECT_EQ(roundToEntry(LutEntry::Int8, 500), 127);
  EXPECT_EQ(roundToEntry(LutEntry::Int8, -500), -128);
  EXPECT_EQ(roundToEntry(LutEntry::BFloat16, 1.00390625f), 1);
  EXPECT_EQ(roundToEntry(LutEntry::BFloat16, 1.005f), 1.0078125f);
  EXPECT_TRUE(std::isinf(roundToEntry(LutEntry::Float16, 65520)));
}

TEST(LutShapes, EveryCombinationAgreesWithItsReport) {
  Layer layer = makeLayer(19, 70, 300, 5);
  for (LutMethod method : everyMethod)
    for (LutEntry entry : everyEntry)
      for (auto [rows, group, kept] : {std::array<int64_t, 3>{1, 0, 0},
                                       {1, 16, 3},
                                       {8, 32, 0},
                                       {8, 0, 2},
                                       {64, 64, 1}}) {
        LutOptions options;
        options.bits = 3;
        options.method = method;
        options.entry = entry;
        options.rows = rows;
        options.group = group;
        options.kept = kept;
        SCOPED_TRACE(testing::Message()
                     << int(method) << " " << int(entry) << " " << rows << " "
                     << group << " " << kept);
        LutResult result = solve(options, layer);
        check(options, layer, result);
        size_t tiles = (19 + rows - 1) / rows;
        size_t groups = group ? (70 + group - 1) / group : 1;
        EXPECT_EQ(result.tables.size(), tiles * groups * 8);
      }
}

TEST(LutShapes, EightBitEntriesCostLittle) {
  Layer layer = makeLayer(24, 128, 500, 7);
  for (int bits : {2, 3, 4}) {
    LutOptions options;
    options.bits = bits;
    options.entry = LutEntry::Float32;
    double exact = check(options, layer, solve(options, layer));
    auto ratio = [&](LutEntry entry) {
      options.entry = entry;
      return check(options, layer, solve(options, layer)) / exact;
    };
    EXPECT_LT(ratio(LutEntry::Float16), 1.01) << bits;
    EXPECT_LT(ratio(LutEntry::BFloat16), 1.03) << bits;
    EXPECT_LT(ratio(LutEntry::Int8), 1.06) << bits;
    EXPECT_LT(ratio(LutEntry::Float8), 1.2) << bits;
  }
}

// Two rows of four columns with one table of two values: all 256 choices of
// codes, each with its best table.
TEST(LutShapes, TilesAreCloseToTheBestOfAllAssignments) {
  const int64_t k = 4;
  double found = 0, possible = 0;
  for (uint64_t seed = 0; seed != 12; ++seed) {
    Layer layer = makeLayer(2, k, 30, 100 + seed);
    LutOptions options;
    options.bits = 1;
    options.rows = 2;
    options.entry = LutEntry::Float32;
    options.ridge = 0;
    LutResult result = solve(options, layer);
    double own = check(options, layer, result);
    double least = INFINITY, ofCodes = INFINITY;
    for (int mask = 0; mask != 256; ++mask) {
      // Normal equations of the two entries over both rows.
      double a[2][2] = {}, b[2] = {}, energy = 0;
      bool same = true;
      for (int64_t row = 0; row != 2; ++row)
        for (int64_t i = 0; i != k; ++i) {
          int s = mask >> (row * k + i) & 1;
          same &= s == result.codes[row * k + i];
          for (int64_t j = 0; j != k; ++j) {
            double value = layer.gram.h[i * k + j];
            a[s][mask >> (row * k + j) & 1] += value;
            b[s] += value * layer.w[row * k + j];
            energy += layer.w[row * k + i] * value * layer.w[row * k + j];
          }
        }
      double determinant = a[0][0] * a[1][1] - a[0][1] * a[1][0];
      double loss = energy;
      if (determinant > 1e-9 * a[0][0] * a[1][1]) {
        double x = (b[0] * a[1][1] - b[1] * a[0][1]) / determinant;
        double y = (b[1] * a[0][0] - b[0] * a[1][0]) / determinant;
        loss -= x * b[0] + y * b[1];
      } else {
        int s = a[1][1] > 0;
        loss -= b[s] * b[s] / a[s][s];
      }
      least = std::min(least, loss);
      if (same)
        ofCodes = loss;
    }
    EXPECT_NEAR(own, ofCodes, 1e-4 * ofCodes + 1e-9);
    EXPECT_GE(own, least * (1 - 1e-4) - 1e-9);
    found += own;
    possible += least;
  }
  // A local search on so few columns misses some optima.
  EXPECT_LT(found, 1.6 * possible);
}

TEST(LutShapes, RowsOfATileMayDifferInSize) {
  Layer layer = makeLayer(16, 64, 200, 9);
  for (int64_t row = 0; row != 16; ++row)
    for (int64_t j = 0; j != 64; ++j)
      layer.w[row * 64 + j] *= std::ldexp(1.0f, row % 8);
  LutOptions options;
  options.rows = 8;
  options.entry = LutEntry::Float8;
  LutResult scaled = solve(options, layer);
  EXPECT_LT(scaled.relativeOutputError(), 0.12);
  std::vector<double> errors = rowErrors(options, layer, scaled);
  for (int64_t row = 0; row != 16; ++row)
    EXPECT_LT(errors[row], 0.03 * scaled.rows[row].outputEnergy);
}

TEST(LutShapes, KeptValuesLowerTheLoss) {
  Layer layer = makeLayer(20, 100, 400, 13);
  for (LutMethod method : everyMethod) {
    LutOptions options;
    options.bits = 3;
    options.method = method;
    double before = INFINITY;
    for (int64_t kept : {0, 1, 4, 16, 100}) {
      options.kept = kept;
      LutResult result = solve(options, layer);
      double now = check(options, layer, result);
      EXPECT_LT(now, 0.97 * before) << int(method) << " " << kept;
      before = now;
    }
    EXPECT_NEAR(before, 0, 1e-9);
  }
}

TEST(LutShapes, KeptValuesAbsorbErrors) {
  Layer layer = makeLayer(6, 60, 300, 17);
  LutOptions options;
  options.bits = 2;
  options.kept = 5;
  options.ridge = 0;
  LutResult result = solve(options, layer);
  std::vector<float> v(layer.w.size());
  dequantizeLut(result, options, 6, 60, v.data());
  // The loss is stationary in each kept value.
  for (int64_t row = 0; row != 6; ++row)
    for (int64_t i = 0; i != 5; ++i) {
      int64_t at = result.keptColumns[row * 5 + i];
      double slope = 0, size = 0;
      for (int64_t j = 0; j != 60; ++j) {
        double term = layer.gram.h[at * 60 + j] *
                      (v[row * 60 + j] - layer.w[row * 60 + j]);
        slope += term;
        size += std::fabs(term);
      }
      EXPECT_LT(std::fabs(slope), 0.05 * size);
    }
  // The paper's way leaves them as they are, and takes both tails.
  options.method = LutMethod::Literal;
  options.kept = 4;
  result = solve(options, layer);
  for (int64_t row = 0; row != 6; ++row) {
    std::vector<float> values(layer.w.begin() + row * 60,
                              layer.w.begin() + (row + 1) * 60);
    std::multiset<float> keptOnes;
    for (int64_t i = row * 4; i != row * 4 + 4; ++i) {
      EXPECT_NEAR(result.keptValues[i], values[result.keptColumns[i]],
                  1e-6 * std::fabs(result.keptValues[i]));
      keptOnes.insert(values[result.keptColumns[i]]);
    }
    std::sort(values.begin(), values.end());
    EXPECT_EQ(keptOnes, (std::multiset<float>{values[0], values[1], values[58],
                                              values[59]}));
  }
}

TEST(LutShapes, KMeansIsAFixedPoint) {
  // Long enough to be sorted digit by digit; signs, zeros and equal values.
  const int64_t k = 3000;
  std::vector<float> w = makeWeights(2, k, 19);
  for (int64_t j = 0; j < k; j += 7)
    w[j] = j % 2 ? 0.0f : -0.0f;
  LutOptions options;
  options.method = LutMethod::KMeans;
  options.entry = LutEntry::Float32;
  Expected<LutSolver> solver = LutSolver::create(options, k, nullptr);
  ASSERT_TRUE(solver.ok());
  Expected<LutResult> result = solver->solve(w.data(), 2);
  ASSERT_TRUE(result.ok());
  for (int64_t row = 0; row != 2; ++row) {
    const float *table = result->tables.data() + row * 16;
    double sums[16] = {}, range = table[15] - table[0];
    int64_t counts[16] = {};
    for (int64_t j = 0; j != k; ++j) {
      float value = w[row * k + j];
      int code = result->codes[row * k + j];
      for (int t = 0; t != 16; ++t)
        EXPECT_LE(std::fabs(value - table[code]),
                  std::fabs(value - table[t]) + 1e-7);
      sums[code] += value;
      ++counts[code];
    }
    for (int t = 0; t != 16; ++t)
      EXPECT_NEAR(table[t], sums[t] / static_cast<double>(counts[t]),
                  0.01 * range);
  }
  EXPECT_LT(result->relativeOutputError(), 0.15);
}

TEST(LutShapes, TargetFollowsCrossMoments) {
  Layer layer = makeLayer(3, 12, 60, 23);
  // C = D H has the target W (I + alpha (D - I)) without damping.
  std::vector<double> c = layer.gram.h;
  for (int64_t i = 0; i != 12; ++i)
    for (int64_t j = 0; j != 12; ++j)
      c[i * 12 + j] *= 1 + 0.1 * static_cast<double>(i);
  LutOptions options;
  options.ridge = 0;
  options.entry = LutEntry::Float32;
  for (double alpha : {0.0, 0.5, 1.0}) {
    options.alpha = alpha;
    Expected<LutSolver> solver =
        LutSolver::create(options, 12, layer.gram.h.data(), c.data());
    ASSERT_TRUE(solver.ok());
    std::vector<float> target = layer.w;
    solver->target(target.data(), 3, target.data());
    for (int64_t i = 0; i != 36; ++i)
      EXPECT_NEAR(target[i],
                  layer.w[i] * (1 + 0.1 * alpha * static_cast<double>(i % 12)),
                  1e-3 * std::fabs(layer.w[i]) + 1e-5);
    // The result is that of the target as a weight, with no cross moments.
    Layer moved{3, 12, target, layer.gram};
    EXPECT_EQ(solver->solve(layer.w.data(), 3)->codes,
              solve(options, moved).codes);
  }
}

TEST(LutShapes, DegenerateRows) {
  const int64_t k = 8;
  std::vector<double> h(k * k);
  for (int64_t j = 0; j != k - 1; ++j)
    h[j * k + j] = 1;
  std::vector<float> w(5 * k);
  std::fill_n(w.begin() + k, k, 0.25f);
  std::fill_n(w.begin() + 2 * k, k, -3e-7f);
  for (int64_t j = 0; j != k; ++j) {
    w[3 * k + j] = j == 2 ? 1000.0f : 0.0f;
    w[4 * k + j] = static_cast<float>(j);
  }
  for (LutMethod method : everyMethod)
    for (LutEntry entry : everyEntry)
      for (int64_t rows : {1, 4})
        for (int64_t kept : {0, 2, 8}) {
          LutOptions options;
          options.bits = 3;
          options.method = method;
          options.entry = entry;
          options.rows = rows;
          options.kept = kept;
          Expected<LutSolver> solver = LutSolver::create(options, k, h.data());
          ASSERT_TRUE(solver.ok());
          Expected<LutResult> result = solver->solve(w.data(), 5);
          ASSERT_TRUE(result.ok()) << result.message();
          std::vector<float> v(5 * k);
          dequantizeLut(*result, options, 5, k, v.data());
          for (float value : v)
            EXPECT_TRUE(std::isfinite(value));
          for (int64_t j = 0; j != k; ++j) {
            if (rows == 1) {
              EXPECT_EQ(v[j], 0);
              EXPECT_NEAR(v[k + j], 0.25, 0.002);
            }
            if (kept == 8)
              EXPECT_NEAR(v[4 * k + j], w[4 * k + j], 1e-5);
          }
        }
}

TEST(LutShapes, Errors) {
  double h[] = {1, 0, 0, 1};
  auto message = [&](auto change) {
    LutOptions options;
    change(options);
    return LutSolver::create(options, 2, h).message();
  };
  EXPECT_EQ(message([](LutOptions &o) { o.rows = 0; }),
            "expected tables shared by 1 to 1024 rows, but got 0");
  EXPECT_EQ(message([](LutOptions &o) { o.kept = 3; }),
            "expected 0 to 2 kept values per row, but got 3");
  EXPECT_NE(message([](LutOptions &o) {
              o.kept = 1, o.bits = 8;
            }).find("at most 7 bits"),
            std::string::npos);
  float big[] = {3e7f, 1};
  for (LutMethod method : everyMethod) {
    LutOptions options;
    options.method = method;
    options.entry = LutEntry::Int8;
    Expected<LutSolver> solver = LutSolver::create(options, 2, h);
    ASSERT_TRUE(solver.ok());
    EXPECT_NE(solver->solve(big, 1).message().find("scale in fp16's range"),
              std::string::npos);
  }
}
