//===- MatmulTest.cpp - Products against plain loops ----------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "CompiledModule.h"
#include "ganq/Support/CodeLayout.h"
#include "ganq/Target/CpuTarget.h"

using namespace ganq;
using namespace ganq::test;

namespace {

struct Shape {
  int64_t m, n, k;
};

std::vector<float> reference(const Array<float> &x, const Array<float> &w,
                             const Array<float> *bias, Shape s) {
  std::vector<float> y(s.m * s.n);
  for (int64_t i = 0; i < s.m; ++i)
    for (int64_t j = 0; j < s.n; ++j) {
      double sum = bias ? (*bias)[j] : 0;
      for (int64_t l = 0; l < s.k; ++l)
        sum += static_cast<double>(x[i * s.k + l]) * w[j * s.k + l];
      y[i * s.n + j] = static_cast<float>(sum);
    }
  return y;
}

std::string rowsType(Shape s, bool dynamicRows) {
  return dynamicRows ? "?" : std::to_string(s.m);
}

class MatmulTest : public CpuTest {
protected:
  /// The tile that is asked for; any if empty.
  std::string tile;

  void runFloat(Shape s, const std::string &element, bool withBias,
                bool dynamicRows = false) {
    SCOPED_TRACE(
        llvm::formatv("{0}x{1}x{2} {3}", s.m, s.n, s.k, element).str());
    std::string x =
        llvm::formatv("memref<{0}x{1}xf32>", rowsType(s, dynamicRows), s.k);
    std::string y =
        llvm::formatv("memref<{0}x{1}xf32>", rowsType(s, dynamicRows), s.n);
    std::string w = llvm::formatv("memref<{0}x{1}x{2}>", s.n, s.k, element);
    std::string b = llvm::formatv("memref<{0}xf32>", s.n);
    std::string text = llvm::formatv(
        R"(func.func @run(%x: {0}, %b: {3}, %y: {1}) {
             %w = ganq.parameter "w" : {2}
             ganq.matmul %x, %w {4} out(%y : {1}) {5} : {0}, {2}
             return
           })",
        x, y, w, b, withBias ? "bias(%b : " + b + ")" : "",
        tile.empty() ? "" : "{ganq.tile = \"" + tile + "\"}");
    CompiledModule module(text, GetParam());
    ASSERT_TRUE(module);

    Array<float> input = randomArray({s.m, s.k}, 1),
                 weight = randomArray({s.n, s.k}, 2),
                 bias = randomArray({s.n}, 3), out({s.m, s.n});
    std::vector<uint16_t> narrow(weight.values.size());
    for (size_t i = 0; i < narrow.size(); ++i) {
      uint32_t bits;
      if (element == "f16") {
        narrow[i] = toHalf(weight[i]);
        weight[i] = fromHalf(narrow[i]);
      } else if (element == "bf16") {
        __builtin_memcpy(&bits, &weight[i], 4);
        narrow[i] = static_cast<uint16_t>(bits >> 16);
        bits = static_cast<uint32_t>(narrow[i]) << 16;
        __builtin_memcpy(&weight[i], &bits, 4);
      }
    }
    const void *data = element == "f32"
                           ? static_cast<const void *>(weight.values.data())
                           : narrow.data();
    module.setParameters({{"w", data}});
    for (int threads : {1, 3}) {
      out.values.assign(out.values.size(), -1);
      module.call("run", {input.argument(), bias.argument(), out.argument()},
                  threads);
      expectClose(out.values,
                  reference(input, weight, withBias ? &bias : nullptr, s),
                  3e-6);
    }
  }

  void runPacked(Shape s, bool lut, unsigned bits, int64_t group,
                 bool withBias = false, bool dynamicRows = false) {
    SCOPED_TRACE(llvm::formatv("{0}x{1}x{2} {3}{4} group {5}", s.m, s.n, s.k,
                               lut ? "lut" : "uniform", bits, group)
                     .str());
    CodeLayout layout(bits, s.n, s.k);
    int64_t groups = group ? (s.k + group - 1) / group : 1;
    int64_t padded = layout.getRowTiles() * 4, entries = int64_t(1) << bits;
    std::mt19937 engine(bits);
    std::vector<uint8_t> codes(layout.getBytes());
    Array<float> table = randomArray({padded, groups, entries}, 4);
    Array<float> scale = randomArray({padded, groups}, 5, 0.1f);
    std::vector<uint8_t> zeros(padded * groups);
    std::vector<uint16_t> halfTable(table.values.size()),
        halfScale(scale.values.size());
    for (size_t i = 0; i < halfTable.size(); ++i)
      table[i] = fromHalf(halfTable[i] = toHalf(table[i]));
    for (size_t i = 0; i < halfScale.size(); ++i)
      scale[i] = fromHalf(halfScale[i] = toHalf(scale[i]));
    for (uint8_t &zero : zeros)
      zero = static_cast<uint8_t>(engine() % entries);
    Array<float> weight({s.n, s.k});
    for (int64_t i = 0; i < s.n; ++i)
      for (int64_t j = 0; j < s.k; ++j) {
        uint8_t code = static_cast<uint8_t>(engine() % entries);
        layout.insert(codes.data(), i, j, code);
        int64_t at = i * groups + (group ? j / group : 0);
        weight[i * s.k + j] =
            lut ? table[at * entries + code]
                : (static_cast<float>(code) - zeros[at]) * scale[at];
      }

    std::string x =
        llvm::formatv("memref<{0}x{1}xf32>", rowsType(s, dynamicRows), s.k);
    std::string y =
        llvm::formatv("memref<{0}x{1}xf32>", rowsType(s, dynamicRows), s.n);
    std::string b = llvm::formatv("memref<{0}xf32>", s.n);
    std::string c = llvm::formatv("memref<{0}xi8>", codes.size());
    std::string t =
        llvm::formatv("memref<{0}x{1}x{2}xf16>", padded, groups, entries);
    std::string g = llvm::formatv("memref<{0}x{1}x", padded, groups);
    std::string components =
        lut ? "%t = ganq.parameter \"t\" : " + t
            : "%t = ganq.parameter \"s\" : " + g +
                  "f16>\n %z = ganq.parameter \"z\" : " + g + "i8>";
    std::string text = llvm::formatv(
        R"(func.func @run(%x: {0}, %b: {2}, %y: {1}) {
             %c = ganq.parameter "c" : {3}
             {4}
             ganq.packed_matmul %x weight(%c, {5}) {6} out(%y : {1})
               {{scheme = #ganq.{7}<bits = {8}, group = {9}>, n = {10}, k = {11}{12}} : {0}
             return
           })",
        x, y, b, c, components,
        lut ? "%t : " + c + ", " + t
            : "%t, %z : " + c + ", " + g + "f16>, " + g + "i8>",
        withBias ? "bias(%b : " + b + ")" : "", lut ? "lut" : "uniform", bits,
        group, s.n, s.k, tile.empty() ? "" : ", ganq.tile = \"" + tile + "\"");
    CompiledModule module(text, GetParam());
    ASSERT_TRUE(module);
    module.setParameters({{"c", codes.data()},
                          {"t", halfTable.data()},
                          {"s", halfScale.data()},
                          {"z", zeros.data()}});
    Array<float> input = randomArray({s.m, s.k}, 1),
                 bias = randomArray({s.n}, 3), out({s.m, s.n});
    for (int threads : {1, 3}) {
      out.values.assign(out.values.size(), -1);
      module.call("run", {input.argument(), bias.argument(), out.argument()},
                  threads);
      expectClose(out.values,
                  reference(input, weight, withBias ? &bias : nullptr, s),
                  3e-6);
    }
  }
};

TEST_P(MatmulTest, Float) {
  runFloat({1, 64, 64}, "f32", false);
  runFloat({1, 1, 1}, "f32", true);
  runFloat({3, 7, 172}, "f32", true);
  runFloat({64, 172, 64}, "f32", false);
  runFloat({7, 10, 33}, "f32", true);
  runFloat({9, 12, 100}, "f32", true, /*dynamicRows=*/true);
  runFloat({2, 12, 172}, "f16", true);
  runFloat({6, 5, 70}, "bf16", false);
}

TEST_P(MatmulTest, LutBits) {
  for (unsigned bits = 1; bits <= 8; ++bits) {
    runPacked({1, 64, 256}, true, bits, 0);
    runPacked({3, 6, 172}, true, bits, 0, true);
  }
}

TEST_P(MatmulTest, UniformBits) {
  for (unsigned bits = 1; bits <= 8; ++bits) {
    runPacked({1, 64, 256}, false, bits, 0);
    runPacked({3, 6, 172}, false, bits, 0, true);
  }
}

TEST_P(MatmulTest, Groups) {
  runPacked({1, 8, 512}, true, 4, 128);
  runPacked({2, 8, 300}, true, 4, 128);
  runPacked({5, 9, 512}, true, 3, 128);
  runPacked({1, 8, 64}, true, 4, 128);
  runPacked({1, 8, 300}, false, 4, 32);
  runPacked({6, 8, 512}, false, 8, 128);
  runPacked({2, 8, 512}, false, 5, 256);
}

TEST_P(MatmulTest, RaggedShapes) {
  runPacked({1, 1, 64}, true, 4, 0, true);
  runPacked({1, 1, 1}, true, 4, 0);
  runPacked({4, 5, 31}, true, 4, 0);
  runPacked({64, 7, 172}, true, 4, 0);
  runPacked({13, 64, 64}, true, 4, 0, true);
  runPacked({7, 12, 172}, false, 4, 0, true, /*dynamicRows=*/true);
}

TEST_P(MatmulTest, ManyRowsAndColumns) {
  // More columns than one decoded block, with a rest, whole and in groups.
  runPacked({29, 6, 2200}, true, 4, 0, true);
  runPacked({24, 40, 2048}, true, 3, 128);
  runPacked({27, 5, 3100}, false, 4, 1536, true);
  runPacked({24, 4, 1300}, false, 8, 160);
  runFloat({26, 9, 1100}, "f16", true);
}

TEST_P(MatmulTest, MoreRowsThanAPanelServes) {
  runPacked({283, 35, 300}, true, 2, 0, true);
  runPacked({270, 33, 100}, false, 3, 0, true, /*dynamicRows=*/true);
  runFloat({512, 17, 70}, "f32", false);
}

GANQ_INSTANTIATE(MatmulTest);

/// Tiles that the cost model would not choose, too.
class MatmulTileTest : public MatmulTest {
protected:
  void SetUp() override {
    auto target = CpuTarget::get("host");
    bool isHost = llvm::StringRef(GetParam()) == "host";
    if (!target)
      llvm::consumeError(target.takeError());
    if (isHost && (!target || !target->amxFloats))
      GTEST_SKIP() << "needs tile registers";
    if (!isHost)
      MatmulTest::SetUp();
  }
  void runAll() {
    runPacked({17, 33, 300}, true, 3, 0, true);
    runPacked({260, 40, 80}, false, 8, 16);
    runFloat({33, 5, 600}, "f32", true);
  }
};

TEST_P(MatmulTileTest, Tiles) {
  if (llvm::StringRef(GetParam()) != "host")
    GTEST_SKIP() << "has no tile registers";
  tile = "tiles rows=32 served=256 columns=256";
  runAll();
}

TEST_P(MatmulTileTest, Panels) {
  tile = llvm::StringRef(GetParam()) == "x86-64-v3"
             ? "panels rows=6 served=256 columns=256"
             : "panels rows=12 served=256 columns=256";
  runAll();
}

INSTANTIATE_TEST_SUITE_P(Cpu, MatmulTileTest,
                         ::testing::Values("x86-64-v3", "x86-64-v4", "host"),
                         [](const ::testing::TestParamInfo<const char *> &i) {
                           return llvm::StringRef(i.param) == "host"
                                      ? "host"
                                      : cpuTestName(i);
                         });

} // namespace
