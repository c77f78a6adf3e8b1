//===- ProductTest.cpp - Tests of products with rounded inputs ------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/Quantization/Product.h"
#include "Synthetic.h"
#include <algorithm>
#include <gtest/gtest.h>

using namespace ganq::quant;
using namespace ganq::quant::test;

namespace {

struct SampledLayer {
  int64_t n = 24, k = 51, rows = 300;
  std::vector<float> w = makeWeights(n, k, 5), x = makeInputs(rows, k, 6);
  Gram gram;
  SampledLayer() {
    GramAccumulator sums(k);
    EXPECT_TRUE(sums.add(x.data(), rows).ok());
    gram = sums.finish();
  }
  Expected<ProductResult> solve(const ProductOptions &options) const {
    return solveProduct(options, w.data(), n, k, gram.h.data(), nullptr,
                        x.data(), rows);
  }
  /// Squared error of the product that is computed in the end.
  double error(const ProductOptions &options,
               const ProductResult &result) const {
    std::vector<float> v(n * k), divided(x);
    dequantizeGrid(result.weight, {}, n, k, options.grid.group, v.data());
    for (int64_t i = 0; i != rows * k; ++i)
      divided[i] /= result.inputScale[i % k];
    if (options.activationBits)
      roundRows(divided.data(), rows, k, options.activationBits,
                divided.data());
    double sum = 0;
    for (int64_t t = 0; t != rows; ++t)
      for (int64_t i = 0; i != n; ++i) {
        double y = 0;
        for (int64_t j = 0; j != k; ++j)
          y += static_cast<double>(x[t * k + j]) * w[i * k + j] -
               static_cast<double>(divided[t * k + j]) * v[i * k + j];
        sum += y * y;
      }
    return sum;
  }
};

} // namespace

TEST(Product, RoundsEachRowOnItsOwn) {
  float x[] = {-1, 0, 1, 2, 0, 0, 0, 0, 3, 6, 4.4f, 4.6f}, y[12];
  roundRows(x, 3, 4, 2, y);
  float expected[] = {-1, 0, 1, 2, 0, 0, 0, 0, 4, 6, 4, 4};
  for (int i = 0; i != 12; ++i)
    EXPECT_FLOAT_EQ(y[i], expected[i]) << i;
  // Whose scale has no finite inverse.
  float tiny[] = {1e-42f, -1e-42f}, zeros[2];
  roundRows(tiny, 1, 2, 8, zeros);
  EXPECT_EQ(zeros[0], 0);
  EXPECT_EQ(zeros[1], 0);
  // Whose range is no finite number.
  float wide[] = {3e38f, -3e38f}, same[2];
  roundRows(wide, 1, 2, 8, same);
  EXPECT_TRUE(std::isfinite(same[0]) && std::isfinite(same[1]));
  roundRows(x, 3, 4, 8, y);
  for (int i = 0; i != 12; ++i)
    EXPECT_NEAR(y[i], x[i], 6.0 / 255 / 2 + 1e-6);
}

TEST(Product, EachPartHelps) {
  SampledLayer layer;
  ProductOptions options;
  options.activationBits = 4;
  double losses[4], errors[4];
  int i = 0;
  // Rounded; improved; with the rank-one change; with input scales.
  for (auto [method, compensate, smooth] :
       {std::tuple{GridMethod::Rtn, false, false},
        {GridMethod::Improved, false, false},
        {GridMethod::Improved, true, false},
        {GridMethod::Improved, true, true}}) {
    options.grid.method = method;
    options.compensate = compensate;
    options.smooth = smooth;
    Expected<ProductResult> result = layer.solve(options);
    ASSERT_TRUE(result.ok()) << result.message();
    losses[i] = 0;
    for (const RowReport &row : result->weight.rows)
      losses[i] += row.loss;
    errors[i++] = layer.error(options, *result);
    EXPECT_EQ(result->exponent >= 0, smooth);
    EXPECT_EQ(result->compensatedRows > 0, compensate);
  }
  EXPECT_LT(errors[1], errors[0]);
  EXPECT_LT(losses[2], losses[1]);
  // Large channels among the inputs: rescaling is what matters.
  EXPECT_LT(errors[3], 0.5 * errors[2]);
}

TEST(Product, CompensationReportsItsLoss) {
  SampledLayer layer;
  ProductOptions options;
  options.grid.levels = 4;
  options.compensate = true;
  Expected<ProductResult> result = layer.solve(options);
  ASSERT_TRUE(result.ok()) << result.message();
  EXPECT_GT(result->compensatedRows, 0);
  std::vector<float> v(layer.w.size());
  dequantizeGrid(result->weight, {}, layer.n, layer.k, 0, v.data());
  std::vector<double> e(layer.k);
  double ridge = 0;
  for (int64_t j = 0; j != layer.k; ++j)
    ridge += 0.01 * layer.gram.h[j * layer.k + j] / 51;
  for (int64_t row = 0; row != layer.n; ++row) {
    double damping = 0;
    for (int64_t j = 0; j != layer.k; ++j) {
      e[j] = v[row * layer.k + j] - layer.w[row * layer.k + j];
      damping += ridge * e[j] * e[j];
    }
    double loss = quadratic(layer.gram.h, e.data(), layer.k) + damping;
    EXPECT_NEAR(result->weight.rows[row].loss, loss, 0.05 * loss);
  }
}

TEST(Product, SalientInputs) {
  SampledLayer layer;
  ProductOptions options;
  options.grid.levels = 8;
  options.grid.method = GridMethod::Rtn;
  Expected<ProductResult> plain = layer.solve(options);
  options.smooth = true;
  Expected<ProductResult> scaled = layer.solve(options);
  ASSERT_TRUE(plain.ok() && scaled.ok());
  EXPECT_GT(scaled->exponent, 0);
  EXPECT_LT(layer.error(options, *scaled), 0.9 * layer.error(options, *plain));
}

TEST(Product, WithoutInputsAndErrors) {
  SampledLayer layer;
  ProductOptions options;
  options.activationBits = 8;
  options.smooth = true;
  options.compensate = true;
  Expected<ProductResult> result = solveProduct(
      options, layer.w.data(), layer.n, layer.k, nullptr, nullptr, nullptr, 0);
  ASSERT_TRUE(result.ok()) << result.message();
  EXPECT_LT(result->exponent, 0);
  EXPECT_EQ(result->inputScale, std::vector<float>(layer.k, 1));

  layer.x[layer.k + 2] = NAN;
  EXPECT_NE(layer.solve(options).message().find("row 1, column 2"),
            std::string::npos);
  layer.x[layer.k + 2] = 0;
  options.activationBits = 9;
  EXPECT_FALSE(layer.solve(options).ok());
  options.activationBits = 8;
  options.grid.fixed = {-1, 1};
  EXPECT_FALSE(layer.solve(options).ok());
}

TEST(Product, RelativeError) {
  float w[] = {1, 2, 3, 4}, v[] = {1, 2, 3, 2};
  double h[] = {1, 0, 0, 2};
  Expected<double> plain = relativeError(w, v, 2, 2, nullptr);
  Expected<double> weighted = relativeError(w, v, 2, 2, h);
  ASSERT_TRUE(plain.ok() && weighted.ok());
  EXPECT_NEAR(*plain, std::sqrt(4.0 / 30), 1e-6);
  EXPECT_NEAR(*weighted, std::sqrt(8.0 / 50), 1e-6);
}
