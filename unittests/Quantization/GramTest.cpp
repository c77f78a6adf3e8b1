//===- GramTest.cpp - Tests of the moments --------------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/Quantization/Gram.h"
#include "Synthetic.h"
#include <gtest/gtest.h>

using namespace ganq::quant;
using namespace ganq::quant::test;

TEST(Gram, EqualsTheSums) {
  const int64_t rows = 700, k = 9;
  std::vector<float> x = makeInputs(rows, k, 1), y = makeInputs(rows, k, 2);
  GramAccumulator sums(k, /*cross=*/true);
  ASSERT_TRUE(sums.add(x.data(), 500, y.data()).ok());
  ASSERT_TRUE(sums.add(x.data() + 500 * k, 200, y.data() + 500 * k).ok());
  Gram gram = sums.finish();
  EXPECT_EQ(gram.rows, rows);
  for (int64_t i = 0; i != k; ++i)
    for (int64_t j = 0; j != k; ++j) {
      double h = 0, c = 0;
      for (int64_t t = 0; t != rows; ++t) {
        h += static_cast<double>(x[t * k + i]) * x[t * k + j] / rows;
        c += static_cast<double>(y[t * k + i]) * x[t * k + j] / rows;
      }
      EXPECT_NEAR(gram.h[i * k + j], h, 1e-4 * (1 + std::fabs(h)));
      EXPECT_NEAR(gram.c[i * k + j], c, 1e-4 * (1 + std::fabs(c)));
    }
}

TEST(Gram, RefusesWhatItCannotUse) {
  GramAccumulator plain(2), cross(2, true);
  float good[] = {1, 2}, bad[] = {1, NAN};
  Status status = plain.add(bad, 1);
  ASSERT_FALSE(status.ok());
  EXPECT_NE(status.message().find("row 0, column 1"), std::string::npos);
  EXPECT_FALSE(plain.add(good, 1, good).ok());
  EXPECT_FALSE(cross.add(good, 1).ok());
  EXPECT_FALSE(plain.add(good, -1).ok());
  EXPECT_EQ(plain.finish().h[0], 0);
  EXPECT_EQ(plain.rows(), 0);
}
