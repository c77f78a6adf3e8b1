//===- HostProgramTest.cpp - Loops, entries and calls of the host ---------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "CompiledModule.h"
#include <dlfcn.h>

using namespace ganq;
using namespace ganq::test;

namespace {

class HostProgramTest : public CpuTest {};

TEST_P(HostProgramTest, ResultsAllocationsAndAsserts) {
  CompiledModule module(R"(
    #id = affine_map<(i, j) -> (i, j)>
    func.func @main(%x: memref<?x8xf32>, %f: f32, %p: index)
        -> (memref<?x8xf32>, memref<?x8xf32>, memref<f32>) {
      %c0 = arith.constant 0 : index
      %n = memref.dim %x, %c0 : memref<?x8xf32>
      %y = memref.alloc(%n) : memref<?x8xf32>
      linalg.generic {indexing_maps = [#id, #id],
                      iterator_types = ["parallel", "parallel"]}
          ins(%x : memref<?x8xf32>) outs(%y : memref<?x8xf32>) {
        ^bb0(%a: f32, %b: f32):
          %s = arith.mulf %a, %f : f32
          %e = math.exp %s : f32
          linalg.yield %e : f32
      }
      %c5 = arith.constant 5 : index
      %ok = arith.cmpi slt, %p, %c5 : index
      cf.assert %ok, "expected less than 5"
      %r = memref.alloc() : memref<f32>
      memref.store %f, %r[] : memref<f32>
      return %y, %x, %r : memref<?x8xf32>, memref<?x8xf32>, memref<f32>
    })",
                        GetParam());
  ASSERT_TRUE(module);
  module.setParameters({});
  for (int64_t rows : {3, 9000}) {
    Array<float> x = randomArray({rows, 8}, 1);
    float f = 0.5f;
    int64_t p = rows;
    std::vector<int64_t> y(7), same(7), scalar(3);
    module.call("main",
                {x.argument(), &f, &p, y.data(), same.data(), scalar.data()},
                3);
    EXPECT_EQ(y[3], rows);
    EXPECT_EQ(y[4], 8);
    EXPECT_EQ(y[5], 8);
    EXPECT_EQ(same, x.descriptor);
    EXPECT_EQ(*reinterpret_cast<float *>(scalar[1]), f);
    EXPECT_EQ(y[1] % 64, 0);
    const float *values = reinterpret_cast<const float *>(y[1]);
    for (size_t i = 0; i < x.values.size(); ++i) {
      float expected = std::exp(x[i] * f);
      ASSERT_NEAR(values[i], expected, 3e-7 * expected);
    }
    EXPECT_EQ(host.dispatches, rows > 3 ? 1 : 0);
    EXPECT_EQ(host.failures.size(), rows > 3 ? 1u : 0u);
  }
}

TEST_P(HostProgramTest, ArenaAndObservers) {
  CompiledModule module(R"(
    func.func @run(%x: memref<4x16xf32>, %y: memref<4x16xf32>) {
      %w = ganq.parameter "w" : memref<16xf32>
      %v = ganq.parameter "v" : memref<16xf32>
      %a = memref.alloc() : memref<4x16xf32>
      %b = memref.alloc() : memref<4x16xf32>
      ganq.rms_norm %x weight(%w : memref<16xf32>) out(%a : memref<4x16xf32>)
        {epsilon = 0.0 : f32} : memref<4x16xf32>
      ganq.observe %a as "a" 7 : memref<4x16xf32>
      ganq.rms_norm %a weight(%v : memref<16xf32>) out(%b : memref<4x16xf32>)
        {epsilon = 0.0 : f32} : memref<4x16xf32>
      memref.copy %b, %y : memref<4x16xf32> to memref<4x16xf32>
      return
    })",
                        GetParam());
  ASSERT_TRUE(module);
  EXPECT_EQ(module.keys, (std::vector<std::string>{"w", "v"}));
  EXPECT_EQ(module.arenaBytes["ganq_run"], 2 * 4 * 16 * 4);
  std::vector<float> w(16, 2.0f), v(16, 3.0f);
  module.setParameters({{"w", w.data()}, {"v", v.data()}});
  Array<float> x = randomArray({4, 16}, 1), y({4, 16});
  module.call("run", {x.argument(), y.argument()});
  ASSERT_EQ(host.observed[7].size(), 64u);
  for (int64_t r = 0; r < 4; ++r) {
    double squares = 0;
    for (int64_t i = 0; i < 16; ++i)
      squares += x[r * 16 + i] * x[r * 16 + i];
    for (int64_t i = 0; i < 16; ++i) {
      double normal = x[r * 16 + i] / std::sqrt(squares / 16);
      EXPECT_NEAR(host.observed[7][r * 16 + i], 2 * normal, 1e-5);
      EXPECT_NEAR(y[r * 16 + i], 3 * normal, 1e-5);
    }
  }
}

TEST_P(HostProgramTest, RefusesOtherHosts) {
  CompiledModule module("func.func @run(%x: memref<1xf32>) { return }",
                        GetParam());
  ASSERT_TRUE(module);
  auto init = reinterpret_cast<ganq_module_init_fn>(
      dlsym(module.handle, GANQ_MODULE_INIT_SYMBOL));
  ganq_host_api other = *getApi();
  EXPECT_EQ(init(&other, nullptr), 0);
  other.abi_version = 99;
  EXPECT_NE(init(&other, nullptr), 0);
  other = *getApi();
  other.size = 8;
  EXPECT_NE(init(&other, nullptr), 0);
}

TEST_P(HostProgramTest, SameBytesEachTime) {
  const char *text = R"(
    func.func @run(%x: memref<8x64xf32>, %y: memref<8x64xf32>) {
      %w = ganq.parameter "w" : memref<64x64xf32>
      ganq.matmul %x, %w out(%y : memref<8x64xf32>) : memref<8x64xf32>, memref<64x64xf32>
      return
    })";
  EXPECT_EQ(CompiledModule(text, GetParam()).bytes,
            CompiledModule(text, GetParam()).bytes);
}

/// Accuracy of the functions that LowerMath approximates, in units of the
/// spacing of floats at the exact value.
TEST_P(HostProgramTest, MathFunctions) {
  CompiledModule module(R"(
    #id = affine_map<(i) -> (i)>
    func.func @run(%x: memref<?xf32>, %y: memref<3x?xf32>) {
      %c0 = arith.constant 0 : index
      %c1 = arith.constant 1 : index
      %c2 = arith.constant 2 : index
      %n = memref.dim %x, %c0 : memref<?xf32>
      scf.for %i = %c0 to %n step %c1 {
        %v = memref.load %x[%i] : memref<?xf32>
        %e = math.exp %v : f32
        %t = math.tanh %v : f32
        %r = math.erf %v : f32
        memref.store %e, %y[%c0, %i] : memref<3x?xf32>
        memref.store %t, %y[%c1, %i] : memref<3x?xf32>
        memref.store %r, %y[%c2, %i] : memref<3x?xf32>
      }
      return
    })",
                        GetParam());
  ASSERT_TRUE(module);
  module.setParameters({});
  int64_t n = 20000;
  Array<float> x({n}), y({3, n});
  for (int64_t i = 0; i < n; ++i)
    x[i] = (i - n / 2) * 0.002f;
  module.call("run", {x.argument(), y.argument()});
  const char *names[] = {"exp", "tanh", "erf"};
  for (int f = 0; f < 3; ++f) {
    double worst = 0;
    for (int64_t i = 0; i < n; ++i) {
      double v = x[i];
      double exact = f == 0 ? std::exp(v) : f == 1 ? std::tanh(v) : std::erf(v);
      float near = static_cast<float>(exact);
      double ulp = std::max(
          std::nextafter(std::fabs(near), INFINITY) - std::fabs(near), 1e-38f);
      worst = std::max(worst, std::fabs(y[f * n + i] - exact) / ulp);
    }
    EXPECT_LE(worst, 5) << names[f];
  }
}

GANQ_INSTANTIATE(HostProgramTest);

} // namespace
