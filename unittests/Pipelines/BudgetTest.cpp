//===- BudgetTest.cpp - Judging and choosing schemes ----------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/Pipelines/Budget.h"
#include "TrialModel.h"
#include "gtest/gtest.h"
#include <cmath>
#include <limits>
#include <random>
#include <tuple>

using namespace ganq;

namespace {

using Weights = std::vector<std::vector<BudgetChoice>>;

/// What a choice is judged by, in this order.
struct Cost {
  double damage = 0, error = 0;
  int64_t bytes = 0;

  bool operator<(const Cost &other) const {
    return std::tie(damage, error, bytes) <
           std::tie(other.damage, other.error, other.bytes);
  }
  bool operator==(const Cost &other) const {
    return !(*this < other) && !(other < *this);
  }
};

Cost getCost(const Weights &weights, const std::vector<size_t> &chosen) {
  Cost cost;
  for (size_t i = 0; i < weights.size(); ++i) {
    const BudgetChoice &choice = weights[i][chosen[i]];
    cost.damage += choice.damage;
    cost.error += choice.error * choice.error;
    cost.bytes += choice.bytes;
  }
  return cost;
}

/// The best of all combinations within the limit; empty if there is none.
std::vector<size_t> tryAll(const Weights &weights, int64_t limit) {
  std::vector<size_t> best, now(weights.size(), 0);
  while (true) {
    Cost cost = getCost(weights, now);
    if (cost.bytes <= limit && (best.empty() || cost < getCost(weights, best)))
      best = now;
    size_t i = 0;
    while (i < now.size() && ++now[i] == weights[i].size())
      now[i++] = 0;
    if (i == now.size())
      return best;
  }
}

/// Few different values, so that equal sums occur and are exact.
Weights makeWeights(std::mt19937 &random, size_t count, size_t choices) {
  auto draw = [&](int least, int most) {
    return std::uniform_int_distribution<int>(least, most)(random);
  };
  Weights weights(count);
  for (std::vector<BudgetChoice> &weight : weights)
    for (size_t i = 0; i < choices; ++i)
      weight.push_back({draw(1, 12), static_cast<double>(draw(0, 4)),
                        static_cast<double>(draw(0, 3))});
  return weights;
}

TEST(BudgetTest, ChoosesTheBestOfAllCombinations) {
  std::mt19937 random(5);
  int fitted = 0, unfitted = 0;
  for (int trial = 0; trial < 300; ++trial) {
    Weights weights = makeWeights(random, 4, 4);
    int64_t limit = std::uniform_int_distribution<int>(4, 48)(random);
    std::vector<size_t> best = tryAll(weights, limit);
    std::vector<size_t> chosen = chooseWithinBudget(weights, limit);
    ASSERT_EQ(chosen.size(), best.size()) << trial;
    ++(best.empty() ? unfitted : fitted);
    if (!best.empty()) {
      EXPECT_TRUE(getCost(weights, chosen) == getCost(weights, best)) << trial;
    }
  }
  EXPECT_GT(fitted, 100);
  EXPECT_GT(unfitted, 10);
}

TEST(BudgetTest, FewStatesStayWithinTheLimit) {
  std::mt19937 random(6);
  for (int trial = 0; trial < 100; ++trial) {
    Weights weights = makeWeights(random, 8, 4);
    int64_t limit = std::uniform_int_distribution<int>(30, 60)(random);
    std::vector<size_t> chosen = chooseWithinBudget(weights, limit, 2);
    // The smallest way is always kept.
    ASSERT_EQ(chosen.empty(), chooseWithinBudget(weights, limit).empty());
    if (!chosen.empty()) {
      EXPECT_LE(getCost(weights, chosen).bytes, limit);
    }
  }
}

TEST(BudgetTest, NothingFitsOrNothingToChoose) {
  EXPECT_TRUE(chooseWithinBudget({{{4, 1, 1}}, {{5, 1, 1}}}, 8).empty());
  EXPECT_EQ(chooseWithinBudget({{{4, 1, 1}}, {{5, 1, 1}}}, 9).size(), 2u);
  EXPECT_TRUE(chooseWithinBudget({{{1, 0, 0}}, {}}, 9).empty());
}

TEST(BudgetTest, EqualDamageIsDecidedByTheError) {
  // No candidate does damage: the smaller error, not the smaller size.
  EXPECT_EQ(chooseWithinBudget({{{1, 0, 0.5}, {2, 0, 0.1}}}, 2),
            std::vector<size_t>{1});
  // No difference at all: the smaller size.
  EXPECT_EQ(chooseWithinBudget({{{2, 0, 0.5}, {1, 0, 0.5}}}, 2),
            std::vector<size_t>{1});
}

TEST(BudgetTest, MeasuresACandidateThatHasAnError) {
  EXPECT_EQ(chooseMeasured({{1, 0, 0.2}, {2, 0, 0.1}, {3, 0, 0.05}}), 1u);
  EXPECT_EQ(chooseMeasured({{3, 0, 0.05}, {2, 0, 0.1}, {1, 0, 0.2}}), 1u);
  // The second smallest is exact.
  EXPECT_EQ(chooseMeasured({{1, 0, 0.2}, {2, 0, 0}, {3, 0, 0}}), 0u);
  EXPECT_EQ(chooseMeasured({{1, 0, 0.2}, {2, 0, 1e-6}, {3, 0, 0.3}}), 2u);
  EXPECT_EQ(chooseMeasured({{1, 0, 0}, {2, 0, 1e-7}}), std::nullopt);
  EXPECT_EQ(chooseMeasured({}), std::nullopt);
}

TEST(BudgetTest, DivergenceIsNeverNegative) {
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  for (float step : {0.f, 1e-6f, 1e-4f, 1e-2f, 1.f})
    for (int trial = 0; trial < 50; ++trial) {
      std::vector<float> logits(1000), logP, changed;
      for (float &logit : logits)
        logit = 5 * normal(random);
      double normP = logSumExp(logits);
      for (float logit : logits) {
        logP.push_back(static_cast<float>(logit - normP));
        changed.push_back(logit + step * normal(random));
      }
      double divergence = getDivergence(logP, changed);
      EXPECT_GE(divergence, -1e-15);
      double direct = 0, normQ = logSumExp(changed);
      for (size_t i = 0; i < logits.size(); ++i)
        direct += std::exp(logits[i] - normP) *
                  ((logits[i] - normP) - (changed[i] - normQ));
      EXPECT_NEAR(divergence, direct, 1e-10 + 1e-4 * direct);
    }
}

TEST(BudgetTest, DivergenceOfLogitsThatAreNotNumbers) {
  std::vector<float> logits{1, 2, 3}, logP;
  for (float logit : logits)
    logP.push_back(static_cast<float>(logit - logSumExp(logits)));
  logits[1] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_TRUE(std::isnan(getDivergence(logP, logits)));
  // A token that both rule out adds nothing.
  logP[1] = logits[1] = -std::numeric_limits<float>::infinity();
  EXPECT_TRUE(std::isfinite(getDivergence(logP, logits)));
}

TEST(BudgetTest, SamplesAreWithinTheLimit) {
  TokenRows rows;
  rows.rows = 4;
  rows.columns = 8;
  for (int64_t i = 0; i < 32; ++i)
    rows.ids.push_back(i);
  TokenRows some = rows.sample(17);
  EXPECT_EQ(some.rows, 2);
  EXPECT_EQ(some.columns, 8);
  EXPECT_EQ(some.ids[8], 16);
  TokenRows piece = rows.sample(5);
  EXPECT_EQ(piece.rows, 1);
  EXPECT_EQ(piece.columns, 5);
  EXPECT_EQ(piece.ids, (std::vector<int64_t>{0, 1, 2, 3, 4}));
  EXPECT_EQ(rows.sample(0).ids.size(), 1u);
  EXPECT_EQ(rows.sample(1000).ids, rows.ids);
}

} // namespace
