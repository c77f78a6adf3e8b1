//===- CompiledModule.h - Compiles and loads a module in a test -*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_UNITTESTS_CODEGEN_COMPILEDMODULE_H
#define GANQ_UNITTESTS_CODEGEN_COMPILEDMODULE_H

#include "ganq/module_abi.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/FormatVariadic.h"
#include "gtest/gtest.h"
#include <cmath>
#include <map>
#include <random>
#include <string>
#include <vector>

namespace ganq::test {

/// What the host functions record, for the module that is running.
struct Host {
  int threads = 1;
  std::vector<void *> allocations;
  std::vector<std::string> failures;
  std::map<int64_t, std::vector<float>> observed;
  int dispatches = 0;
};
inline Host host;

const ganq_host_api *getApi();

/// A row-major array of any rank that entries take and fill.
template <typename T> struct Array {
  std::vector<int64_t> shape;
  std::vector<T> values;
  std::vector<int64_t> descriptor;

  explicit Array(std::vector<int64_t> dims) : shape(std::move(dims)) {
    int64_t count = 1;
    for (int64_t dim : shape)
      count *= dim;
    values.resize(count);
  }
  T &operator[](size_t i) { return values[i]; }
  const T &operator[](size_t i) const { return values[i]; }

  void *argument() {
    descriptor.assign(3, 0);
    descriptor[0] = descriptor[1] = reinterpret_cast<int64_t>(values.data());
    descriptor.insert(descriptor.end(), shape.begin(), shape.end());
    std::vector<int64_t> strides(shape.size(), 1);
    for (size_t i = shape.size(); i-- > 1;)
      strides[i - 1] = strides[i] * shape[i];
    descriptor.insert(descriptor.end(), strides.begin(), strides.end());
    return descriptor.data();
  }
};

inline Array<float> randomArray(std::vector<int64_t> shape, unsigned seed,
                                float scale = 1.0f) {
  Array<float> result(std::move(shape));
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal(0.0f, scale);
  for (float &value : result.values)
    value = normal(engine);
  return result;
}

/// The bits of the nearest f16, and back.
inline uint16_t toHalf(float value) {
  _Float16 half = static_cast<_Float16>(value);
  uint16_t bits;
  __builtin_memcpy(&bits, &half, 2);
  return bits;
}
inline float fromHalf(uint16_t bits) {
  _Float16 half;
  __builtin_memcpy(&half, &bits, 2);
  return static_cast<float>(half);
}

bool hostRuns(llvm::StringRef cpu);

/// A module, lowered by the pipeline, compiled and loaded.
class CompiledModule {
public:
  /// Adds test failures when that does not work.
  CompiledModule(llvm::StringRef text, llvm::StringRef cpu,
                 std::string *assembly = nullptr);
  ~CompiledModule();
  CompiledModule(const CompiledModule &) = delete;

  explicit operator bool() const { return handle; }

  /// Runs ganq_module_init with the data of each parameter.
  void setParameters(const std::map<std::string, const void *> &byKey);

  /// Calls an entry; one that needs an arena gets it as its first argument.
  void call(const std::string &name, std::vector<void *> args, int threads = 1);

  void *handle = nullptr;
  std::vector<std::string> keys;
  std::vector<char> bytes;
  std::map<std::string, int64_t> arenaBytes;

private:
  std::vector<const void *> parameters;
};

/// Compares with a tolerance relative to the size of all expected values.
inline void expectClose(const std::vector<float> &got,
                        const std::vector<float> &expected, double tolerance,
                        const std::string &what = "") {
  ASSERT_EQ(got.size(), expected.size()) << what;
  double largest = 0;
  for (float value : expected)
    if (std::isfinite(value))
      largest = std::max<double>(largest, std::fabs(value));
  for (size_t i = 0; i < got.size(); ++i) {
    if (std::isnan(expected[i])) {
      EXPECT_TRUE(std::isnan(got[i])) << what << " at " << i;
      continue;
    }
    ASSERT_NEAR(got[i], expected[i], tolerance * (largest + 1e-30))
        << what << " at " << i;
  }
}

class CpuTest : public ::testing::TestWithParam<const char *> {
protected:
  void SetUp() override {
    if (!hostRuns(GetParam()))
      GTEST_SKIP() << "this machine cannot run " << GetParam();
  }
};

inline std::string
cpuTestName(const ::testing::TestParamInfo<const char *> &info) {
  return llvm::StringRef(info.param).ends_with("4") ? "v4" : "v3";
}

} // namespace ganq::test

#define GANQ_INSTANTIATE(SUITE)                                                \
  INSTANTIATE_TEST_SUITE_P(Cpu, SUITE,                                         \
                           ::testing::Values("x86-64-v3", "x86-64-v4"),        \
                           ::ganq::test::cpuTestName)

#endif // GANQ_UNITTESTS_CODEGEN_COMPILEDMODULE_H
