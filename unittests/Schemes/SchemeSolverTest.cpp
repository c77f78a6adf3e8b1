//===- SchemeSolverTest.cpp - Quantize, pack, decode ----------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/Schemes/SchemeSolver.h"
#include "mlir/IR/MLIRContext.h"
#include "gtest/gtest.h"
#include <random>

using namespace ganq;

namespace {

class SchemeSolverTest : public testing::Test {
protected:
  SchemeSolverTest() {
    mlir::DialectRegistry registry;
    registry.insert<GanqDialect>();
    registerSchemeSolvers(registry);
    context.appendDialectRegistry(registry);
    context.loadAllAvailableDialects();
  }

  /// Quantizes a random [n, k] matrix and returns the largest error of the
  /// decoded one in units of the standard deviation.
  double roundTrip(mlir::Attribute attr, int64_t n, int64_t k) {
    auto scheme = mlir::cast<SchemeAttrInterface>(attr);
    auto solver = mlir::cast<SchemeSolverInterface>(attr);
    std::mt19937 random(7);
    std::normal_distribution<float> normal;
    std::vector<float> weight(n * k), decoded(n * k);
    for (float &value : weight)
      value = normal(random);
    WeightProblem problem;
    problem.n = n;
    problem.k = k;
    problem.readRows = [&](int64_t first, int64_t count, float *out) {
      std::copy_n(weight.data() + first * k, count * k, out);
      return llvm::Error::success();
    };
    auto result = solver.quantize(problem, SolverOptions());
    if (!result) {
      ADD_FAILURE() << llvm::toString(result.takeError());
      return 0;
    }
    auto components = scheme.getComponents(n, k);
    EXPECT_EQ(components.size(), result->components.size());
    llvm::SmallVector<llvm::ArrayRef<char>> bytes;
    for (size_t i = 0; i < components.size(); ++i) {
      EXPECT_EQ(components[i].type.getNumElements() *
                    components[i].type.getElementTypeBitWidth() / 8,
                static_cast<int64_t>(result->components[i].size()));
      bytes.push_back(result->components[i]);
    }
    solver.decode(n, k, bytes, decoded.data());
    double squares = 0, energy = 0;
    for (int64_t i = 0; i < n * k; ++i) {
      squares += (weight[i] - decoded[i]) * (weight[i] - decoded[i]);
      energy += weight[i] * weight[i];
    }
    double relative = std::sqrt(squares / energy);
    EXPECT_NEAR(relative, result->relativeError, 0.02 * relative + 1e-6);
    return relative;
  }

  mlir::MLIRContext context;
};

// More bits, less error; the bounds are a little above what optimal quantizers
// of a normal variable reach (Max 1960).
TEST_F(SchemeSolverTest, Lut) {
  EXPECT_LT(roundTrip(LutAttr::get(&context, 2, 0), 9, 200), 0.37);
  EXPECT_LT(roundTrip(LutAttr::get(&context, 3, 0), 9, 200), 0.2);
  EXPECT_LT(roundTrip(LutAttr::get(&context, 4, 0), 9, 200), 0.11);
  EXPECT_LT(roundTrip(LutAttr::get(&context, 8, 0), 9, 200), 0.02);
}

TEST_F(SchemeSolverTest, LutGroups) {
  double rows = roundTrip(LutAttr::get(&context, 3, 0), 8, 256);
  double groups = roundTrip(LutAttr::get(&context, 3, 128), 8, 256);
  EXPECT_LT(groups, rows);
}

TEST_F(SchemeSolverTest, Uniform) {
  EXPECT_LT(roundTrip(UniformAttr::get(&context, 4, 0), 9, 200), 0.15);
  EXPECT_LT(roundTrip(UniformAttr::get(&context, 8, 0), 9, 200), 0.01);
  EXPECT_LT(roundTrip(UniformAttr::get(&context, 4, 32), 9, 200),
            roundTrip(UniformAttr::get(&context, 4, 0), 9, 200));
}

} // namespace
