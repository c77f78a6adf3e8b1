//===- UniformTest.cpp - Tests of rounding to nearest ---------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/Quantization/Uniform.h"
#include "Synthetic.h"
#include <algorithm>
#include <gtest/gtest.h>

using namespace ganq::quant;
using namespace ganq::quant::test;

TEST(Uniform, ErrorIsAtMostHalfAStep) {
  const int64_t n = 7, k = 45;
  std::vector<float> w = makeWeights(n, k, 3), v(n * k);
  for (int bits = 1; bits <= 8; ++bits)
    for (int64_t group : {0, 16, 100}) {
      UniformOptions options;
      options.bits = bits;
      options.group = group;
      options.halfScales = false;
      Expected<UniformResult> result = roundToNearest(options, w.data(), n, k);
      ASSERT_TRUE(result.ok()) << result.message();
      dequantizeUniform(*result, n, k, group, v.data());
      EXPECT_EQ(result->groups, group == 16 ? 3 : 1);
      for (int64_t i = 0; i != n * k; ++i) {
        int64_t at = i / k * result->groups + (group == 16 ? i % k / 16 : 0);
        float scale = result->scales[at];
        // The zero point is an integer, which may move the ends by half a step.
        EXPECT_LE(std::fabs(v[i] - w[i]), 1.0001f * scale);
        EXPECT_LT(result->codes[i], 1 << bits);
      }
    }
}

TEST(Uniform, KeepsValuesOnTheGrid) {
  // Scale 0.5, zero point 2.
  float w[] = {-1, -0.5, 0, 0.5, 1, 2.5, 0, 1.5};
  UniformOptions options;
  options.bits = 3;
  Expected<UniformResult> result = roundToNearest(options, w, 1, 8);
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->scales[0], 0.5f);
  EXPECT_EQ(result->zeros[0], 2);
  float v[8];
  dequantizeUniform(*result, 1, 8, 0, v);
  for (int i = 0; i != 8; ++i)
    EXPECT_EQ(v[i], w[i]);
}

TEST(Uniform, ZerosAndErrors) {
  std::vector<float> zero(6), v(6, 1);
  UniformOptions options;
  Expected<UniformResult> result = roundToNearest(options, zero.data(), 2, 3);
  ASSERT_TRUE(result.ok());
  dequantizeUniform(*result, 2, 3, 0, v.data());
  EXPECT_EQ(v, zero);

  float bad[] = {0, INFINITY};
  EXPECT_NE(roundToNearest(options, bad, 1, 2).message().find("column 1"),
            std::string::npos);
  float big[] = {0, 1e9f};
  EXPECT_NE(roundToNearest(options, big, 1, 2).message().find("fp32 scales"),
            std::string::npos);
  EXPECT_FALSE(roundToNearest(options, big, 0, 2).ok());
  options.bits = 9;
  EXPECT_FALSE(roundToNearest(options, big, 1, 2).ok());
}
