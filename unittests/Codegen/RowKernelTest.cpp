//===- RowKernelTest.cpp - Norms, rope and caches against plain loops -----===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "CompiledModule.h"

using namespace ganq;
using namespace ganq::test;

namespace {

class RowKernelTest : public CpuTest {
protected:
  std::unique_ptr<CompiledModule> compile(const std::string &text) {
    auto module = std::make_unique<CompiledModule>(text, GetParam());
    if (*module)
      module->setParameters({});
    return module;
  }
};

TEST_P(RowKernelTest, Norms) {
  for (int64_t size : {1, 8, 64, 172, 4096}) {
    SCOPED_TRACE(size);
    int64_t rows = 6;
    std::string x = llvm::formatv("memref<2x3x{0}xf32>", size);
    std::string d = "memref<?x?xf32>";
    std::string w = llvm::formatv("memref<{0}xf32>", size);
    auto module = compile(llvm::formatv(
        R"(func.func @rms(%x: {0}, %w: {1}, %y: {0}) {
             ganq.rms_norm %x weight(%w : {1}) out(%y : {0}) {{epsilon = 1.0e-5 : f32} : {0}
             return
           }
           func.func @layer(%x: {0}, %w: {1}, %b: {1}, %y: {0}) {
             ganq.layer_norm %x weight(%w : {1}) bias(%b : {1}) out(%y : {0}) {{epsilon = 1.0e-5 : f32} : {0}
             return
           }
           func.func @dynamic(%x: {2}, %y: {2}) {
             ganq.layer_norm %x out(%y : {2}) {{epsilon = 1.0e-5 : f32} : {2}
             return
           })",
        x, w, d));
    ASSERT_TRUE(*module);
    Array<float> in = randomArray({2, 3, size}, 1),
                 weight = randomArray({size}, 2), bias = randomArray({size}, 3),
                 out({2, 3, size});
    for (float &value : in.values)
      value += 10;
    std::vector<float> rms, layer, plain;
    for (int64_t r = 0; r < rows; ++r) {
      double squares = 0, sum = 0, centered = 0;
      for (int64_t i = 0; i < size; ++i) {
        squares += in[r * size + i] * static_cast<double>(in[r * size + i]);
        sum += in[r * size + i];
      }
      double mean = sum / size;
      for (int64_t i = 0; i < size; ++i)
        centered += std::pow(in[r * size + i] - mean, 2);
      for (int64_t i = 0; i < size; ++i) {
        double value = in[r * size + i];
        rms.push_back(value / std::sqrt(squares / size + 1e-5) * weight[i]);
        double normal = (value - mean) / std::sqrt(centered / size + 1e-5);
        plain.push_back(normal);
        layer.push_back(normal * weight[i] + bias[i]);
      }
    }
    module->call("rms", {in.argument(), weight.argument(), out.argument()}, 2);
    expectClose(out.values, rms, 1e-6, "rms");
    module->call("layer", {in.argument(), weight.argument(), bias.argument(),
                           out.argument()});
    expectClose(out.values, layer, 3e-6, "layer");
    in.shape = out.shape = {rows, size};
    module->call("dynamic", {in.argument(), out.argument()}, 2);
    expectClose(out.values, plain, 3e-6, "dynamic");
  }
}

TEST_P(RowKernelTest, Swiglu) {
  auto module = compile(R"(
    func.func @run(%g: memref<3x?xf32>, %u: memref<3x?xf32>, %y: memref<3x?xf32>) {
      ganq.swiglu %g, %u out(%y : memref<3x?xf32>) : memref<3x?xf32>, memref<3x?xf32>
      return
    })");
  ASSERT_TRUE(*module);
  for (int64_t size : {5, 2000}) {
    Array<float> gate = randomArray({3, size}, 1, 8.0f),
                 up = randomArray({3, size}, 2), out({3, size});
    gate[0] = 120;
    gate[1] = -120;
    std::vector<float> expected;
    for (size_t i = 0; i < gate.values.size(); ++i)
      expected.push_back(gate[i] /
                         (1 + std::exp(-static_cast<double>(gate[i]))) * up[i]);
    module->call("run", {gate.argument(), up.argument(), out.argument()}, 2);
    for (size_t i = 0; i < expected.size(); ++i)
      ASSERT_NEAR(out[i], expected[i], 1e-6 * std::fabs(expected[i]) + 1e-30)
          << i;
  }
}

TEST_P(RowKernelTest, Rope) {
  for (bool interleaved : {false, true}) {
    int64_t size = 44, half = 18, positions = 5, heads = 6;
    auto module = compile(llvm::formatv(
        R"(func.func @run(%x: memref<2x3x5x44xf32>, %c: memref<5x18xf32>, %s: memref<5x18xf32>, %y: memref<2x3x5x44xf32>) {
             ganq.rope %x, %c, %s {0} out(%y : memref<2x3x5x44xf32>)
               : memref<2x3x5x44xf32>, memref<5x18xf32>, memref<5x18xf32>
             return
           })",
        interleaved ? "interleaved" : ""));
    ASSERT_TRUE(*module);
    Array<float> x = randomArray({2, 3, positions, size}, 1),
                 c = randomArray({positions, half}, 2),
                 s = randomArray({positions, half}, 3), y = x;
    std::vector<float> expected = x.values;
    for (int64_t h = 0; h < heads; ++h)
      for (int64_t p = 0; p < positions; ++p)
        for (int64_t i = 0; i < half; ++i) {
          float *row = &expected[(h * positions + p) * size];
          int64_t first = interleaved ? 2 * i : i,
                  second = interleaved ? 2 * i + 1 : i + half;
          float a = row[first], b = row[second];
          row[first] = a * c[p * half + i] - b * s[p * half + i];
          row[second] = b * c[p * half + i] + a * s[p * half + i];
        }
    module->call("run",
                 {x.argument(), c.argument(), s.argument(), y.argument()}, 2);
    expectClose(y.values, expected, 1e-6);
  }
}

TEST_P(RowKernelTest, CacheAndPositions) {
  auto module = compile(R"(
    func.func @update(%c: memref<1x2x9x3xf32>, %v: memref<1x2x2x3xf32>, %p: index) {
      ganq.kv_update %v into %c[%p] : memref<1x2x2x3xf32>, memref<1x2x9x3xf32>
      return
    }
    func.func @rows(%t: memref<9x3xi64>, %p: index, %n: index, %y: memref<?x3xi64>) {
      ganq.position_rows %t[%p, %n] out(%y : memref<?x3xi64>) : memref<9x3xi64>
      return
    })");
  ASSERT_TRUE(*module);
  Array<float> cache({1, 2, 9, 3}), value = randomArray({1, 2, 2, 3}, 1);
  int64_t past = 4, count = 3;
  module->call("update", {cache.argument(), value.argument(), &past}, 2);
  std::vector<float> expected(cache.values.size());
  for (int64_t h = 0; h < 2; ++h)
    for (int64_t i = 0; i < 6; ++i)
      expected[h * 27 + past * 3 + i] = value[h * 6 + i];
  EXPECT_EQ(cache.values, expected);
  Array<int64_t> table({9, 3}), rows({3, 3});
  for (int64_t i = 0; i < 27; ++i)
    table[i] = i;
  module->call("rows", {table.argument(), &past, &count, rows.argument()});
  for (int64_t i = 0; i < 9; ++i)
    EXPECT_EQ(rows[i], past * 3 + i);
}

/// Activations in f16 and bf16 are computed in f32 and rounded.
TEST_P(RowKernelTest, NarrowActivations) {
  for (std::string element : {"f16", "bf16"}) {
    SCOPED_TRACE(element);
    std::string x = "memref<9x172x" + element + ">",
                w = "memref<20x172x" + element + ">",
                y = "memref<9x20x" + element + ">";
    auto module = compile(llvm::formatv(
        R"(func.func @run(%x: {0}, %w: {1}, %n: {0}, %g: {0}, %y: {2}) {
             ganq.rms_norm %x out(%n : {0}) {{epsilon = 0.0 : f32} : {0}
             ganq.swiglu %x, %n out(%g : {0}) : {0}, {0}
             ganq.matmul %x, %w out(%y : {2}) : {0}, {1}
             return
           })",
        x, w, y));
    ASSERT_TRUE(*module);
    auto narrow = [&](float value) -> uint16_t {
      if (element == "f16")
        return toHalf(value);
      uint32_t bits;
      __builtin_memcpy(&bits, &value, 4);
      return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
    };
    auto widen = [&](uint16_t value) {
      if (element == "f16")
        return fromHalf(value);
      uint32_t bits = static_cast<uint32_t>(value) << 16;
      float result;
      __builtin_memcpy(&result, &bits, 4);
      return result;
    };
    Array<float> exact = randomArray({9, 172}, 1),
                 weight = randomArray({20, 172}, 2);
    Array<uint16_t> xs({9, 172}), ws({20, 172}), ns({9, 172}), gs({9, 172}),
        ys({9, 20});
    for (size_t i = 0; i < exact.values.size(); ++i)
      exact[i] = widen(xs[i] = narrow(exact[i]));
    for (size_t i = 0; i < weight.values.size(); ++i)
      weight[i] = widen(ws[i] = narrow(weight[i]));
    module->call("run", {xs.argument(), ws.argument(), ns.argument(),
                         gs.argument(), ys.argument()});
    double step = element == "f16" ? 1.0 / 1024 : 1.0 / 128;
    for (int64_t r = 0; r < 9; ++r) {
      double squares = 0;
      for (int64_t i = 0; i < 172; ++i)
        squares += exact[r * 172 + i] * exact[r * 172 + i];
      for (int64_t i = 0; i < 172; ++i) {
        double value = exact[r * 172 + i];
        double normal = value / std::sqrt(squares / 172);
        EXPECT_NEAR(widen(ns[r * 172 + i]), normal,
                    step * std::fabs(normal) + 1e-7);
        double gated = value / (1 + std::exp(-value)) * widen(ns[r * 172 + i]);
        EXPECT_NEAR(widen(gs[r * 172 + i]), gated,
                    step * std::fabs(gated) + 1e-7);
      }
      for (int64_t j = 0; j < 20; ++j) {
        double sum = 0;
        for (int64_t i = 0; i < 172; ++i)
          sum += static_cast<double>(exact[r * 172 + i]) * weight[j * 172 + i];
        EXPECT_NEAR(widen(ys[r * 20 + j]), sum, step * std::fabs(sum) + 1e-4);
      }
    }
  }
}

GANQ_INSTANTIATE(RowKernelTest);

} // namespace
