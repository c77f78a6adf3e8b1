//===- SchemeSolverTest.cpp - Quantize, pack, decode ----------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/Schemes/SchemeSolver.h"
#include "ganq/Support/CodeLayout.h"
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

  /// A random [n, k] matrix.
  static WeightProblem makeProblem(int64_t n, int64_t k) {
    std::mt19937 random(7);
    std::normal_distribution<float> normal;
    std::vector<float> weight(n * k);
    for (float &value : weight)
      value = normal(random);
    WeightProblem problem;
    problem.n = n;
    problem.k = k;
    problem.readRows = [weight, k](int64_t first, int64_t count, float *out) {
      std::copy_n(weight.data() + first * k, count * k, out);
      return llvm::Error::success();
    };
    return problem;
  }

  /// Quantizes a random [n, k] matrix and returns the largest error of the
  /// decoded one in units of the standard deviation.
  double roundTrip(mlir::Attribute attr, int64_t n, int64_t k,
                   llvm::StringRef name = "") {
    auto scheme = mlir::cast<SchemeAttrInterface>(attr);
    auto solver = mlir::cast<SchemeSolverInterface>(attr);
    WeightProblem problem = makeProblem(n, k);
    std::vector<float> weight(n * k), decoded(n * k);
    llvm::cantFail(problem.readRows(0, n, weight.data()));
    SolverOptions options;
    options.solver = name.str();
    auto result = solver.quantize(problem, options);
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

TEST_F(SchemeSolverTest, UniformFormats) {
  mlir::Type f32 = mlir::Float32Type::get(&context),
             bf16 = mlir::BFloat16Type::get(&context);
  for (mlir::Type type : {f32, bf16})
    EXPECT_LT(
        roundTrip(UniformAttr::get(&context, 4, 0, 0, type, 0, false, false), 9,
                  200),
        0.15);
  double five = roundTrip(
      UniformAttr::get(&context, 3, 0, 5, f32, 0, false, false), 9, 200);
  EXPECT_LT(roundTrip(UniformAttr::get(&context, 3, 0), 9, 200), five);
  EXPECT_LT(five, roundTrip(UniformAttr::get(&context, 2, 0), 9, 200));
}

TEST_F(SchemeSolverTest, RaisedScalesAreNoted) {
  WeightProblem problem = makeProblem(4, 64), small = problem;
  small.readRows = [&](int64_t first, int64_t count, float *out) {
    llvm::Error error = problem.readRows(first, count, out);
    for (int64_t i = 0; i < count * 64; ++i)
      out[i] *= 1e-5f;
    return error;
  };
  auto note = [&](mlir::Attribute attr) {
    auto result = mlir::cast<SchemeSolverInterface>(attr).quantize(small, {});
    return result ? result->note : llvm::toString(result.takeError());
  };
  std::string raised = "4 scales raised to the least normal value";
  EXPECT_EQ(note(PotAttr::get(&context, 4, 0)),
            raised + "; scale = bf16 has room for them");
  EXPECT_EQ(note(PotAttr::get(&context, 4, 0, PotGrid::pot, 0,
                              mlir::BFloat16Type::get(&context))),
            "");
  EXPECT_EQ(note(NfAttr::get(&context, 4, 0)), raised);
  EXPECT_EQ(note(UniformAttr::get(&context, 4, 0)), "");
}

TEST_F(SchemeSolverTest, Pot) {
  double previous = 1;
  for (unsigned bits : {2, 3}) {
    double error = roundTrip(PotAttr::get(&context, bits, 64), 9, 256);
    EXPECT_LT(error, previous);
    previous = error;
  }
  // Levels 1 and 4 suit a normal variable better than 1 and 2.
  EXPECT_LT(roundTrip(PotAttr::get(&context, 2, 64, PotGrid::stride2), 9, 256),
            roundTrip(PotAttr::get(&context, 2, 64), 9, 256));
  EXPECT_LT(roundTrip(PotAttr::get(&context, 4, 64, PotGrid::half, 1), 9, 256),
            0.11);
  EXPECT_LT(roundTrip(PotAttr::get(&context, 3, 64, PotGrid::third), 9, 256),
            0.22);
  double improved = roundTrip(PotAttr::get(&context, 3, 64), 9, 256);
  double paper = roundTrip(PotAttr::get(&context, 3, 64), 9, 256, "paper");
  double rtn = roundTrip(PotAttr::get(&context, 3, 64), 9, 256, "rtn");
  EXPECT_LT(improved, paper);
  EXPECT_LE(paper, rtn);
}

TEST_F(SchemeSolverTest, Nf) {
  EXPECT_LT(roundTrip(NfAttr::get(&context, 4, 64), 9, 256), 0.11);
  EXPECT_LT(roundTrip(NfAttr::get(&context, 3, 64), 9, 256, "rtn"), 0.22);
}

TEST_F(SchemeSolverTest, WeightsOfZeros) {
  WeightProblem problem;
  problem.n = 5;
  problem.k = 64;
  problem.readRows = [](int64_t, int64_t count, float *out) {
    std::fill_n(out, count * 64, 0.0f);
    return llvm::Error::success();
  };
  // A grid without a zero misses them, though hardly.
  auto pot = PotAttr::get(&context, 3);
  auto missed =
      mlir::cast<SchemeSolverInterface>(pot).quantize(problem, SolverOptions());
  ASSERT_TRUE(static_cast<bool>(missed));
  EXPECT_EQ(missed->relativeError, 1);
  auto uniform = UniformAttr::get(&context, 4);
  auto met = mlir::cast<SchemeSolverInterface>(uniform).quantize(
      problem, SolverOptions());
  ASSERT_TRUE(static_cast<bool>(met));
  EXPECT_EQ(met->relativeError, 0);
}

TEST_F(SchemeSolverTest, SolverNames) {
  WeightProblem problem;
  SolverOptions options;
  options.solver = "best";
  for (mlir::Attribute attr : {mlir::Attribute(UniformAttr::get(&context, 4)),
                               mlir::Attribute(PotAttr::get(&context, 3)),
                               mlir::Attribute(NfAttr::get(&context, 4, 64))}) {
    auto solver = mlir::cast<SchemeSolverInterface>(attr);
    auto result = solver.quantize(problem, options);
    ASSERT_FALSE(result);
    std::string message = llvm::toString(result.takeError());
    EXPECT_NE(message.find(solver.getSolvers().front()), std::string::npos);
    EXPECT_NE(message.find("'best'"), std::string::npos);
  }
}

// A product of integers stores the sums of its codes, and the decoder undoes
// the input scales.
TEST_F(SchemeSolverTest, UniformProduct) {
  auto attr = UniformAttr::get(&context, 4, 32, 0,
                               mlir::Float16Type::get(&context), 8, true, true);
  EXPECT_LT(roundTrip(attr, 9, 200), 0.12);
  mlir::Attribute smooth = UniformAttr::get(
      &context, 3, 0, 0, mlir::Float16Type::get(&context), 0, true, false);
  int64_t n = 5, k = 64;
  WeightProblem problem = makeProblem(n, k);
  SolverOptions rescale;
  rescale.solver = "awq";
  auto blind =
      mlir::cast<SchemeSolverInterface>(smooth).quantize(problem, rescale);
  ASSERT_FALSE(blind);
  EXPECT_NE(llvm::toString(blind.takeError()).find("--calibration"),
            std::string::npos);
  std::vector<float> sample(20 * k);
  for (int64_t i = 0; i < 20 * k; ++i)
    sample[i] = static_cast<float>(i % 7 - 3) * (i % k == 5 ? 30.0f : 1.0f);
  problem.sample = sample.data();
  problem.sampleRows = 20;
  for (llvm::StringRef solver : {"improved", "rtn", "gptq"}) {
    SolverOptions options;
    options.solver = solver.str();
    auto result = mlir::cast<SchemeSolverInterface>(mlir::Attribute(attr))
                      .quantize(problem, options);
    ASSERT_TRUE(static_cast<bool>(result));
    EXPECT_EQ(result->components.size(), 7u);
    CodeLayout layout(4, n, k);
    const auto *codes =
        reinterpret_cast<const uint8_t *>(result->components[0].data());
    for (int64_t row = 0; row < n; ++row)
      for (int64_t g = 0; g < 2; ++g) {
        unsigned sum = 0;
        for (int64_t j = g * 32; j < g * 32 + 32; ++j)
          sum += layout.extract(codes, row, j);
        uint16_t stored;
        std::memcpy(&stored, &result->components[3][(row * 2 + g) * 2], 2);
        EXPECT_EQ(stored, sum);
      }
    // The large input is made smaller, the others larger.
    _Float16 scales[64];
    std::memcpy(scales, result->components[4].data(), sizeof(scales));
    EXPECT_GT(static_cast<float>(scales[5]), 3.0f * scales[6]);
  }
}

TEST_F(SchemeSolverTest, UniformLearned) {
  int64_t n = 4, k = 32;
  auto attr = UniformAttr::get(&context, 4, 0, 0,
                               mlir::Float32Type::get(&context), 8, true, true);
  mlir::Attribute generic = attr;
  auto solver = mlir::cast<SchemeSolverInterface>(generic);
  WeightProblem problem = makeProblem(n, k);
  SolverOptions options;
  options.solver = "learned";
  auto fails = [&](llvm::StringRef part) {
    auto result = solver.quantize(problem, options);
    ASSERT_FALSE(static_cast<bool>(result));
    std::string message = llvm::toString(result.takeError());
    EXPECT_NE(message.find(part.str()), std::string::npos) << message;
  };
  fails("has none");
  llvm::StringMap<std::vector<float>> learned;
  problem.learned = [&](llvm::StringRef suffix) -> llvm::ArrayRef<float> {
    auto found = learned.find(suffix);
    return found == learned.end() ? llvm::ArrayRef<float>()
                                  : llvm::ArrayRef<float>(found->second);
  };
  learned["input_scale"] = std::vector<float>(k, 2);
  learned["input_scale"][3] = 0.5f;
  learned["input_shift"] = std::vector<float>(k, 0.25f);
  learned["clip_low"] = {-1.1f, -1.5f, -3.2f, -4};
  fails("clip_high");
  learned["clip_high"] = {1, 2, 3};
  fails("4 learned values of clip_high");
  learned["clip_high"] = {1, 2, 3, 3.5f};
  learned["format"] = {16, 0, 7};
  fails("the scheme that was learned, 16 levels, group 0 and 7 activation bits "
        "(0: none), but got 16, 0 and 8");
  learned["format"] = {16, 0, 8};
  learned["compensation_left"] = {0, 0, 1, 0};
  learned["compensation_right"] = std::vector<float>(k, 0.125f);
  auto result = solver.quantize(problem, options);
  ASSERT_TRUE(static_cast<bool>(result)) << llvm::toString(result.takeError());
  std::vector<float> weight(n * k);
  ASSERT_FALSE(problem.readRows(0, n, weight.data()));
  const auto *scale =
      reinterpret_cast<const float *>(result->components[1].data());
  const auto *offset =
      reinterpret_cast<const float *>(result->components[6].data());
  CodeLayout layout(4, n, k);
  for (int64_t row = 0; row < n; ++row) {
    float low = learned["clip_low"][row], high = learned["clip_high"][row];
    EXPECT_FLOAT_EQ(scale[row], (high - low) / 15);
    float zero = std::nearbyint(-low / scale[row]), sum = 0;
    EXPECT_EQ(static_cast<uint8_t>(result->components[2][row]), zero);
    for (int64_t j = 0; j < k; ++j) {
      float value = weight[row * k + j];
      sum += value * 0.25f;
      value = value * (j == 3 ? 0.5f : 2.0f) + (row == 2 ? 0.125f : 0.0f);
      float code =
          std::clamp(std::nearbyint(value / scale[row]) + zero, 0.0f, 15.0f);
      EXPECT_NEAR(layout.extract(reinterpret_cast<const uint8_t *>(
                                     result->components[0].data()),
                                 row, j),
                  code, 0)
          << row << ", " << j;
    }
    EXPECT_NEAR(offset[row], sum, 1e-5);
  }
}

} // namespace
