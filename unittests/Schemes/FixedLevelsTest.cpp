//===- FixedLevelsTest.cpp - Levels that only a scale multiplies ----------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/IR/GanqDialect.h"
#include "mlir/IR/MLIRContext.h"
#include "gtest/gtest.h"
#include <cmath>

using namespace mlir;
using namespace ganq;

namespace {

class FixedLevelsTest : public testing::Test {
protected:
  FixedLevelsTest() { context.loadDialect<GanqDialect>(); }

  /// Checks the levels of positive codes, and that the others are their
  /// negatives.
  void expectMagnitudes(PotAttr scheme, ArrayRef<float> magnitudes) {
    SmallVector<float> levels = scheme.getFixedLevels();
    ASSERT_EQ(levels.size(), 2 * magnitudes.size());
    for (auto [code, magnitude] : llvm::enumerate(magnitudes)) {
      EXPECT_FLOAT_EQ(levels[code], magnitude) << "code " << code;
      EXPECT_FLOAT_EQ(levels[code + magnitudes.size()], -magnitude);
    }
  }

  MLIRContext context;
};

TEST_F(FixedLevelsTest, PowersOfTwo) {
  expectMagnitudes(PotAttr::get(&context, 2), {1, 2});
  expectMagnitudes(PotAttr::get(&context, 3), {1, 2, 4, 8});
  expectMagnitudes(PotAttr::get(&context, 4), {1, 2, 4, 8, 16, 32, 64, 128});
}

TEST_F(FixedLevelsTest, EverySecondPower) {
  expectMagnitudes(PotAttr::get(&context, 2, 0, PotGrid::stride2), {1, 4});
  expectMagnitudes(PotAttr::get(&context, 3, 0, PotGrid::stride2),
                   {1, 4, 16, 64});
}

TEST_F(FixedLevelsTest, FloatsWithoutZero) {
  expectMagnitudes(PotAttr::get(&context, 4, 0, PotGrid::half, 1),
                   {.25f, .75f, 1.25f, 1.75f, 2.5f, 3.5f, 5, 7});
  expectMagnitudes(PotAttr::get(&context, 3, 0, PotGrid::half),
                   {.5f, 1.5f, 3, 6});
  expectMagnitudes(PotAttr::get(&context, 3, 0, PotGrid::third),
                   {1 / 3.f, 4 / 3.f, 8 / 3.f, 16 / 3.f});
}

TEST_F(FixedLevelsTest, NormalQuantiles) {
  // The table of NF4 as QLoRA gives it.
  const float expected[] = {-1,          -0.6961928f, -0.5250731f, -0.3949175f,
                            -0.2844414f, -0.1847734f, -0.0910500f, 0,
                            0.0795803f,  0.1609302f,  0.2461123f,  0.3379152f,
                            0.4407098f,  0.5626170f,  0.7229568f,  1};
  SmallVector<float> levels = NfAttr::get(&context, 4, 64).getFixedLevels();
  ASSERT_EQ(levels.size(), std::size(expected));
  for (auto [level, value] : llvm::zip_equal(levels, expected))
    EXPECT_NEAR(level, value, 1e-5);
  for (unsigned bits : {2u, 3u, 5u, 8u}) {
    levels = NfAttr::get(&context, bits, 0).getFixedLevels();
    EXPECT_EQ(levels.size(), size_t(1) << bits);
    EXPECT_TRUE(llvm::is_sorted(levels));
    EXPECT_TRUE(llvm::is_contained(levels, 0.0f));
    EXPECT_FLOAT_EQ(levels.front(), -1);
    EXPECT_FLOAT_EQ(levels.back(), 1);
  }
}

} // namespace
