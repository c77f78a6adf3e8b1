//===- LutSolverTest.cpp - Every shape of the LUT scheme, packed ----------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/Schemes/SchemeSolver.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/MLIRContext.h"
#include "gtest/gtest.h"
#include <cmath>
#include <cstring>
#include <numeric>
#include <random>

using namespace ganq;

namespace {

class LutSolverTest : public testing::Test {
protected:
  LutSolverTest() {
    mlir::DialectRegistry registry;
    registry.insert<GanqDialect>();
    registerSchemeSolvers(registry);
    context.appendDialectRegistry(registry);
    context.loadAllAvailableDialects();
    f16 = mlir::Float16Type::get(&context);
    entries = {f16, mlir::BFloat16Type::get(&context),
               mlir::IntegerType::get(&context, 8),
               mlir::Float8E4M3FNType::get(&context)};
  }

  void makeWeight(int64_t rows, int64_t columns) {
    n = rows;
    k = columns;
    std::mt19937 random(11);
    std::normal_distribution<float> normal;
    weight.resize(n * k);
    for (float &value : weight) {
      float z = normal(random);
      value = 0.05f * z * (1 + 0.3f * z * z);
    }
  }

  WeightProblem getProblem() const {
    WeightProblem problem;
    problem.n = n;
    problem.k = k;
    problem.readRows = [this](int64_t first, int64_t count, float *out) {
      std::copy_n(weight.data() + first * k, count * k, out);
      return llvm::Error::success();
    };
    return problem;
  }

  /// Quantizes and decodes; returns the relative error of the decoded matrix,
  /// which the solver must have reported.
  double roundTrip(LutAttr attr, llvm::StringRef name = "") {
    auto solver = mlir::cast<SchemeSolverInterface>(mlir::Attribute(attr));
    SolverOptions options;
    options.solver = name.str();
    auto result = solver.quantize(getProblem(), options);
    if (!result) {
      ADD_FAILURE() << llvm::toString(result.takeError());
      return 0;
    }
    components = std::move(result->components);
    note = result->note;
    auto types = attr.getComponents(n, k);
    EXPECT_EQ(types.size(), components.size());
    llvm::SmallVector<llvm::ArrayRef<char>> bytes;
    for (auto [type, component] : llvm::zip(types, components)) {
      EXPECT_EQ(type.type.getNumElements() *
                    type.type.getElementTypeBitWidth() / 8,
                static_cast<int64_t>(component.size()));
      bytes.push_back(component);
    }
    decoded.resize(n * k);
    solver.decode(n, k, bytes, decoded.data());
    double squares = 0, energy = 0;
    for (int64_t i = 0; i < n * k; ++i) {
      squares += (weight[i] - decoded[i]) * (weight[i] - decoded[i]);
      energy += weight[i] * weight[i];
    }
    double relative = std::sqrt(squares / energy);
    EXPECT_NEAR(relative, result->relativeError, 0.002 * relative + 1e-3);
    return relative;
  }

  template <typename T> T load(size_t component, int64_t index) const {
    T value;
    std::memcpy(&value, components[component].data() + index * sizeof(T),
                sizeof(T));
    return value;
  }

  mlir::MLIRContext context;
  mlir::Type f16;
  llvm::SmallVector<mlir::Type> entries;
  int64_t n = 0, k = 0;
  std::vector<float> weight, decoded;
  std::vector<std::vector<char>> components;
  std::string note;
};

TEST_F(LutSolverTest, EntriesAndTiles) {
  makeWeight(19, 256);
  for (llvm::StringRef name : {"improved", "literal", "kmeans"})
    for (mlir::Type entry : entries)
      for (auto [rows, group] :
           {std::pair<int64_t, int64_t>{1, 0}, {1, 128}, {8, 64}, {8, 0}}) {
        SCOPED_TRACE(name.str());
        double error = roundTrip(
            LutAttr::get(&context, 4, group, rows, entry, 0, 0), name);
        EXPECT_GT(error, 0.02);
        EXPECT_LT(error, name == "literal" ? 0.45 : 0.2);
      }
}

TEST_F(LutSolverTest, SumsOfEntries) {
  makeWeight(19, 256);
  for (auto [rows, group] : {std::pair<int64_t, int64_t>{1, 0}, {8, 64}}) {
    roundTrip(LutAttr::get(&context, 3, group, rows,
                           mlir::IntegerType::get(&context, 8), 0, 0, 8),
              "kmeans");
    for (int64_t row = 0; row < n; ++row) {
      double sum = std::accumulate(decoded.begin() + row * k,
                                   decoded.begin() + (row + 1) * k, 0.0);
      auto scale = static_cast<double>(load<_Float16>(2, row));
      EXPECT_EQ(load<int32_t>(3, row), std::lround(sum / scale)) << row;
    }
    EXPECT_EQ(load<int32_t>(3, n), 0);
  }
}

TEST_F(LutSolverTest, SparsePart) {
  makeWeight(10, 200);
  auto check = [&](LutAttr attr, llvm::StringRef name = "") {
    double error = roundTrip(attr, name);
    size_t sparse = attr.hasScale() ? 3 : 2;
    // Columns ascend within each row, and rows have their numbers of values.
    int64_t perRow = attr.getOutliersPerRow(k), whole = 0;
    EXPECT_EQ(load<int32_t>(sparse, 0), 0);
    for (int64_t row = 0; row < n; ++row) {
      int32_t begin = load<int32_t>(sparse, row),
              end = load<int32_t>(sparse, row + 1);
      whole += end - begin == k;
      if (end - begin != k)
        EXPECT_EQ(end - begin, perRow);
      for (int32_t i = begin; i + 1 < end; ++i)
        EXPECT_LT(load<uint16_t>(sparse + 1, i),
                  load<uint16_t>(sparse + 1, i + 1));
      if (end - begin == k)
        for (int64_t column = 0; column < k; ++column)
          EXPECT_NEAR(decoded[row * k + column], weight[row * k + column],
                      1e-3 * std::fabs(weight[row * k + column]) + 2e-4);
    }
    EXPECT_EQ(whole, attr.getFullRows());
    return error;
  };
  for (llvm::StringRef name : {"improved", "literal", "kmeans"})
    for (mlir::Type entry : entries)
      for (int64_t rows : {1, 4}) {
        SCOPED_TRACE(name.str());
        auto get = [&](int64_t outliers, int64_t whole) {
          return LutAttr::get(&context, 3, 0, rows, entry, outliers, whole);
        };
        double plain = roundTrip(get(0, 0), name);
        double kept = check(get(200, 0), name);
        double both = check(get(200, 3), name);
        EXPECT_LT(kept, 0.9 * plain);
        EXPECT_LT(both, 0.95 * kept);
        EXPECT_LT(check(get(0, 2), name), plain);
        EXPECT_LT(check(get(0, 10), name), 1e-3);
      }
}

TEST_F(LutSolverTest, CorrectsTheTarget) {
  makeWeight(6, 40);
  WeightProblem problem = getProblem();
  std::vector<double> gram(k * k), cross(k * k);
  for (int64_t j = 0; j < k; ++j) {
    gram[j * k + j] = 1;
    cross[j * k + j] = 3;
  }
  problem.gram = gram.data();
  problem.cross = cross.data();
  LutAttr attr = LutAttr::get(&context, 4, 0, 1, f16, 500, 2);
  auto solver = mlir::cast<SchemeSolverInterface>(mlir::Attribute(attr));
  SolverOptions options;
  options.alpha = 0.5;
  auto result = solver.quantize(problem, options);
  ASSERT_TRUE(bool(result)) << llvm::toString(result.takeError());
  llvm::SmallVector<llvm::ArrayRef<char>> bytes(result->components.begin(),
                                                result->components.end());
  decoded.resize(n * k);
  solver.decode(n, k, bytes, decoded.data());
  double squares = 0, energy = 0;
  for (int64_t i = 0; i < n * k; ++i) {
    squares += std::pow(decoded[i] - 2 * weight[i], 2);
    energy += std::pow(2 * weight[i], 2);
  }
  // The ridge of one percent holds the target back a little.
  EXPECT_LT(std::sqrt(squares / energy), 0.1);
}

TEST_F(LutSolverTest, NotesAndErrors) {
  makeWeight(4, 512);
  roundTrip(LutAttr::get(&context, 4, 0));
  EXPECT_EQ(note, "");
  roundTrip(LutAttr::get(&context, 8, 32), "kmeans");
  EXPECT_NE(note.find("tables take 128.0 bits per weight, codes 8.0"),
            std::string::npos);
  auto fails = [&](LutAttr attr, llvm::StringRef name) {
    SolverOptions options;
    options.solver = name.str();
    auto result = mlir::cast<SchemeSolverInterface>(mlir::Attribute(attr))
                      .quantize(getProblem(), options);
    return result ? std::string() : llvm::toString(result.takeError());
  };
  EXPECT_NE(fails(LutAttr::get(&context, 4, 0), "best")
                .find("(improved, literal, kmeans), but got 'best'"),
            std::string::npos);
  weight[7] = 1e6f;
  EXPECT_NE(fails(LutAttr::get(&context, 4, 0, 1, f16, 50, 0), "")
                .find("fp16's range"),
            std::string::npos);
}

} // namespace
