//===- SchemeMatmulTest.cpp - Products with every scheme's weights --------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Random components of a scheme, the weight that its documentation says they
// stand for, and the product of the compiled kernels with them.
//
//===----------------------------------------------------------------------===//

#include "CompiledModule.h"
#include "ganq/IR/GanqDialect.h"
#include "ganq/Support/CodeLayout.h"
#include "mlir/AsmParser/AsmParser.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/MLIRContext.h"
#include "llvm/ADT/StringExtras.h"
#include <algorithm>
#include <numeric>

using namespace ganq;
using namespace ganq::test;

namespace {

float fromBfloat(uint16_t bits) {
  uint32_t wide = static_cast<uint32_t>(bits) << 16;
  float value;
  __builtin_memcpy(&value, &wide, 4);
  return value;
}

/// OFP8 E4M3FN: bias 7, three bits of mantissa.
float fromFloat8(uint8_t bits) {
  int exponent = bits >> 3 & 15, mantissa = bits & 7;
  float value = exponent ? std::ldexp(8.0f + mantissa, exponent - 10)
                         : std::ldexp(1.0f * mantissa, -9);
  return bits & 0x80 ? -value : value;
}

/// The bytes of a component and its elements as floats.
struct Component {
  std::string name, type;
  std::vector<char> bytes;
  std::vector<float> values;
};

/// A weight in the components of a scheme and as a dense matrix.
class SchemeWeight {
public:
  SchemeWeight(const std::string &text, int64_t n, int64_t k)
      : n(n), k(k), engine(static_cast<unsigned>(n * 31 + k)), dense({n, k}) {
    context.loadDialect<GanqDialect>();
    scheme = llvm::dyn_cast_or_null<SchemeAttrInterface>(
        mlir::parseAttribute("#ganq." + text, &context));
    if (!scheme) {
      ADD_FAILURE() << "no scheme: " << text;
      return;
    }
    layout.emplace(scheme.getCodeBits(), n, k);
    codes.resize(layout->getBytes());
    for (const SchemeComponent &each : scheme.getComponents(n, k))
      components.push_back(makeComponent(each));
    fillCodes();
    decode();
  }

  const Component &get(llvm::StringRef name) const {
    return *llvm::find_if(components,
                          [&](const Component &c) { return c.name == name; });
  }

  /// A module with an entry `run<m>` for each count of rows of x.
  std::string getModule(llvm::ArrayRef<int64_t> rows, bool bias) const {
    std::string parameters, names, types;
    for (const Component &each : components) {
      parameters += "%" + each.name + " = ganq.parameter \"" + each.name +
                    "\" : " + each.type + "\n";
      names += (names.empty() ? "%" : ", %") + each.name;
      types += (types.empty() ? "" : ", ") + each.type;
    }
    std::string attribute;
    llvm::raw_string_ostream(attribute) << scheme;
    std::string text;
    for (int64_t m : rows) {
      std::string x = llvm::formatv("memref<{0}x{1}xf32>", m, k);
      std::string y = llvm::formatv("memref<{0}x{1}xf32>", m, n);
      std::string b = llvm::formatv("memref<{0}xf32>", n);
      text += llvm::formatv(
          R"(func.func @run{0}(%x: {1}, %b: {2}, %y: {3}) {
               {4}
               ganq.packed_matmul %x weight({5} : {6}) {7} out(%y : {3})
                 {{scheme = {8}, n = {9}, k = {10}} : {1}
               return
             }
            )",
          m, x, b, y, parameters, names, types,
          bias ? "bias(%b : " + b + ")" : "", attribute, n, k);
    }
    return text;
  }

  std::map<std::string, const void *> getParameters() const {
    std::map<std::string, const void *> result;
    for (const Component &each : components)
      result[each.name] = each.name == "codes"
                              ? static_cast<const void *>(codes.data())
                              : static_cast<const void *>(each.bytes.data());
    return result;
  }

  int64_t n, k;
  mlir::MLIRContext context;
  SchemeAttrInterface scheme;
  std::mt19937 engine;
  std::vector<Component> components;
  std::vector<uint8_t> codes;
  Array<float> dense;
  std::optional<CodeLayout> layout;

private:
  Component makeComponent(const SchemeComponent &from) {
    Component result;
    result.name = from.suffix;
    auto type = mlir::cast<mlir::RankedTensorType>(from.type);
    mlir::Type element = type.getElementType();
    std::string text;
    llvm::raw_string_ostream(text)
        << mlir::MemRefType::get(type.getShape(), element);
    result.type = text;
    int64_t count = type.getNumElements();
    unsigned size = type.getElementTypeBitWidth() / 8;
    result.bytes.resize(count * size);
    result.values.resize(count);
    if (result.name.rfind("outlier", 0) == 0 || result.name == "codes")
      return result; // filled by hand
    std::normal_distribution<float> normal;
    for (int64_t i = 0; i < count; ++i) {
      char *at = result.bytes.data() + i * size;
      float value = normal(engine);
      if (result.name == "scale")
        value = 0.01f + 0.1f * std::fabs(value);
      uint16_t half = toHalf(value);
      uint8_t byte = static_cast<uint8_t>(engine());
      if (element.isF16()) {
        __builtin_memcpy(at, &half, 2);
        value = fromHalf(half);
      } else if (element.isBF16()) {
        __builtin_memcpy(&half, reinterpret_cast<char *>(&value) + 2, 2);
        __builtin_memcpy(at, &half, 2);
        value = fromBfloat(half);
      } else if (element.isF32()) {
        __builtin_memcpy(at, &value, 4);
      } else if (element.isInteger(8)) {
        // Zero points are unsigned levels, entries of tables are signed.
        if (result.name == "zero")
          byte &= (1 << scheme.getCodeBits()) - 1;
        *at = static_cast<char>(byte);
        value = result.name == "zero" ? byte : static_cast<int8_t>(byte);
      } else {
        if ((byte & 0x7F) == 0x7F)
          byte ^= 1; // not a number
        *at = static_cast<char>(byte);
        value = fromFloat8(byte);
      }
      result.values[i] = value;
    }
    return result;
  }

  void fillCodes() {
    unsigned levels = 1u << scheme.getCodeBits();
    if (auto uniform = llvm::dyn_cast<UniformAttr>(scheme))
      levels = uniform.getLevelCount();
    for (int64_t i = 0; i < n; ++i)
      for (int64_t j = 0; j < k; ++j)
        layout->insert(codes.data(), i, j,
                       static_cast<uint8_t>(engine() % levels));
  }

  void decode() {
    int64_t group = scheme.getGroupSize();
    int64_t groups = group ? (k + group - 1) / group : 1;
    llvm::SmallVector<float> levels = scheme.getFixedLevels();
    for (int64_t i = 0; i < n; ++i)
      for (int64_t j = 0; j < k; ++j) {
        uint8_t code = layout->extract(codes.data(), i, j);
        int64_t g = group ? j / group : 0, at = i * groups + g;
        float &value = dense[i * k + j];
        if (auto lut = llvm::dyn_cast<LutAttr>(scheme)) {
          int64_t entries = int64_t(1) << lut.getBits();
          value =
              get("table")
                  .values[(i / lut.getRows() * groups + g) * entries + code];
          if (lut.hasScale())
            value *= get("scale").values[i];
        } else if (!levels.empty()) {
          value = levels[code] * get("scale").values[at];
        } else {
          value = (code - get("zero").values[at]) * get("scale").values[at];
        }
      }
    if (auto lut = llvm::dyn_cast<LutAttr>(scheme); lut && lut.hasSparsePart())
      addSparse(lut);
  }

  void addSparse(LutAttr lut) {
    std::vector<int32_t> start(1);
    std::vector<int64_t> columns, all(k);
    std::vector<uint16_t> kept;
    std::iota(all.begin(), all.end(), 0);
    for (int64_t i = 0; i < n; ++i) {
      // Every other row from the first on is kept as a whole, while any left.
      bool full = i % 2 == 0 && i / 2 < lut.getFullRows();
      std::vector<int64_t> chosen = all;
      if (!full) {
        std::shuffle(chosen.begin(), chosen.end(), engine);
        chosen.resize(lut.getOutliersPerRow(k));
        std::sort(chosen.begin(), chosen.end());
      }
      for (int64_t column : chosen) {
        columns.push_back(column);
        kept.push_back(toHalf(2.0f + column % 7));
        dense[i * k + column] += fromHalf(kept.back());
      }
      start.push_back(static_cast<int32_t>(columns.size()));
    }
    for (Component &each : components) {
      char *at = each.bytes.data();
      if (each.name == "outlier_start")
        __builtin_memcpy(at, start.data(), each.bytes.size());
      if (each.name == "outlier_value")
        __builtin_memcpy(at, kept.data(), each.bytes.size());
      if (each.name == "outlier_column")
        for (size_t i = 0; i < columns.size(); ++i)
          __builtin_memcpy(at + i * each.bytes.size() / columns.size(),
                           &columns[i], each.bytes.size() / columns.size());
    }
    ASSERT_EQ(get("outlier_value").values.size(), columns.size());
  }
};

class SchemeMatmulTest : public CpuTest {
protected:
  void run(const std::string &text, int64_t n, int64_t k,
           std::vector<int64_t> rows = {1, 30}) {
    SCOPED_TRACE(llvm::formatv("{0} {1}x{2}", text, n, k).str());
    SchemeWeight weight(text, n, k);
    ASSERT_TRUE(weight.scheme);
    bool bias = n % 2 == 0;
    CompiledModule module(weight.getModule(rows, bias), GetParam());
    ASSERT_TRUE(module);
    module.setParameters(weight.getParameters());
    Array<float> start = randomArray({n}, 3);
    for (int64_t m : rows) {
      Array<float> x = randomArray({m, k}, static_cast<unsigned>(m));
      Array<float> y({m, n});
      std::vector<float> expected(m * n);
      for (int64_t i = 0; i < m; ++i)
        for (int64_t j = 0; j < n; ++j) {
          double sum = bias ? start[j] : 0;
          for (int64_t l = 0; l < k; ++l)
            sum += static_cast<double>(x[i * k + l]) * weight.dense[j * k + l];
          expected[i * n + j] = static_cast<float>(sum);
        }
      y.values.assign(m * n, -1);
      module.call("run" + std::to_string(m),
                  {x.argument(), start.argument(), y.argument()},
                  m == 1 ? 1 : 3);
      expectClose(y.values, expected, 3e-6, std::to_string(m) + " rows");
    }
  }
};

TEST_P(SchemeMatmulTest, TableShapes) {
  run("lut<bits = 1, group = 16, entry = bf16>", 6, 172);
  run("lut<bits = 2, group = 32, entry = i8>", 7, 300, {1, 2, 3, 30});
  run("lut<bits = 3, group = 64, rows = 8, entry = f8E4M3FN>", 20, 330,
      {1, 3, 30});
  run("lut<bits = 3, group = 32>", 9, 1100);
  run("lut<bits = 3>", 37, 712, {1, 6, 30});
  run("lut<bits = 2, group = 64>", 6, 330, {1, 2});
  run("lut<bits = 4, group = 128, rows = 4, entry = f8E4M3FN>", 11, 400);
  run("lut<bits = 4, group = 32, rows = 16, entry = i8>", 18, 64);
  run("lut<bits = 5, rows = 8, entry = i8>", 6, 172);
  run("lut<bits = 6, group = 32, entry = bf16>", 5, 200);
  run("lut<bits = 7, group = 64, rows = 8>", 9, 150);
  run("lut<bits = 8, entry = f8E4M3FN>", 5, 60);
}

TEST_P(SchemeMatmulTest, SparsePart) {
  const std::vector<int64_t> rows{1, 3, 30};
  run("lut<bits = 4, outliers = 50>", 7, 172, rows);
  run("lut<bits = 4, outliers = 50>", 1, 31, rows);
  run("lut<bits = 4, full_rows = 2>", 5, 100, rows);
  run("lut<bits = 3, group = 64, outliers = 500, full_rows = 2>", 9, 1500,
      rows);
  run("lut<bits = 2, rows = 8, entry = i8, outliers = 1000, full_rows = 1>", 10,
      2100, rows);
  run("lut<bits = 7, entry = f8E4M3FN, outliers = 5000>", 4, 70, rows);
}

TEST_P(SchemeMatmulTest, SparsePartOfManyColumns) {
  run("lut<bits = 4, outliers = 2>", 2, 66000, {1, 24});
}

TEST_P(SchemeMatmulTest, UniformScales) {
  run("uniform<bits = 1, group = 32, scale = f32>", 6, 172);
  run("uniform<bits = 2, group = 32, scale = bf16>", 5, 330, {1, 3, 30});
  run("uniform<bits = 3, levels = 5, group = 64>", 7, 172);
  run("uniform<bits = 4, scale = f32>", 6, 172);
  run("uniform<bits = 5, group = 16, scale = bf16>", 5, 300);
  run("uniform<bits = 8, group = 16>", 6, 1100);
}

TEST_P(SchemeMatmulTest, PowersOfTwo) {
  run("pot<bits = 2>", 6, 172);
  run("pot<bits = 2, grid = stride2, group = 32>", 7, 300);
  run("pot<bits = 3, group = 64>", 9, 1100, {1, 3, 30});
  run("pot<bits = 3, grid = stride2, scale = bf16>", 5, 100);
  run("pot<bits = 4, group = 32, scale = bf16>", 6, 172);
  run("pot<bits = 4>", 5, 1);
}

TEST_P(SchemeMatmulTest, FloatsWithoutZero) {
  run("pot<bits = 2, grid = half, group = 64>", 6, 172);
  run("pot<bits = 3, grid = third>", 7, 100);
  run("pot<bits = 4, grid = half, mantissa = 1, group = 32>", 9, 1100);
  run("pot<bits = 5, grid = third, mantissa = 1, group = 32>", 5, 172);
  run("pot<bits = 6, grid = half, mantissa = 2>", 6, 200);
  run("pot<bits = 7, grid = half, mantissa = 3, group = 64>", 5, 150);
  run("pot<bits = 8, grid = third, mantissa = 4, scale = bf16>", 6, 172);
}

TEST_P(SchemeMatmulTest, NormalQuantiles) {
  for (int bits : {3, 4, 6, 8})
    run("nf<bits = " + std::to_string(bits) +
            ", group = " + (bits % 2 ? "128" : "64") + ">",
        7, 172, {1, 9});
  run("nf<bits = 4, group = 0>", 6, 100);
}

/// Decoding by an integer add equals multiplying, bit for bit, for every scale
/// that the scheme allows and every level: the product with the unit matrix.
class PowerDecodeTest : public CpuTest {
protected:
  void run(const std::string &text) {
    SCOPED_TRACE(text);
    constexpr int64_t k = 16;
    bool half = text.find("bf16") == std::string::npos;
    mlir::MLIRContext context;
    context.loadDialect<GanqDialect>();
    auto scheme = llvm::dyn_cast<SchemeAttrInterface>(
        mlir::parseAttribute("#ganq." + text, &context));
    ASSERT_TRUE(scheme);
    llvm::SmallVector<float> levels = scheme.getFixedLevels();
    int most = std::ilogb(*llvm::max_element(levels));
    // Positive and normal, and the greatest product is finite.
    uint16_t first = half ? 0x0400 : 0x0080;
    uint16_t last = static_cast<uint16_t>(half ? ((30 - most) << 10) + 0x3FF
                                               : ((254 - most) << 7) + 0x7F);
    int64_t n = last - first + 1;
    ASSERT_EQ(n % 4, 0);
    CodeLayout layout(scheme.getCodeBits(), n, k);
    std::vector<uint8_t> codes(layout.getBytes());
    std::vector<uint16_t> scales(n);
    for (int64_t i = 0; i < n; ++i) {
      scales[i] = static_cast<uint16_t>(first + i);
      for (int64_t j = 0; j < k; ++j)
        layout.insert(codes.data(), i, j,
                      static_cast<uint8_t>(j % levels.size()));
    }
    std::string c = llvm::formatv("memref<{0}xi8>", codes.size());
    std::string s =
        llvm::formatv("memref<{0}x1x{1}>", n, half ? "f16" : "bf16");
    std::string module;
    for (int64_t m : {4, 32})
      module += llvm::formatv(
          R"(func.func @run{0}(%x: memref<{0}x{1}xf32>, %y: memref<{0}x{2}xf32>) {
               %c = ganq.parameter "c" : {3}
               %s = ganq.parameter "s" : {4}
               ganq.packed_matmul %x weight(%c, %s : {3}, {4})
                 out(%y : memref<{0}x{2}xf32>)
                 {{scheme = #ganq.{5}, n = {2}, k = {1}} : memref<{0}x{1}xf32>
               return
             }
            )",
          m, k, n, c, s, text);
    CompiledModule code(module, GetParam());
    ASSERT_TRUE(code);
    code.setParameters({{"c", codes.data()}, {"s", scales.data()}});
    Array<float> unit({32, k}), all({32, n}), few({4, n});
    for (int64_t j = 0; j < k; ++j)
      unit[j * k + j] = 1;
    code.call("run32", {unit.argument(), all.argument()});
    for (int64_t block = 0; block < k; block += 4) {
      Array<float> part({4, k});
      std::copy_n(unit.values.begin() + block * k, 4 * k, part.values.begin());
      code.call("run4", {part.argument(), few.argument()});
      int64_t wrong = 0;
      for (int64_t j = block; j < block + 4; ++j)
        for (int64_t i = 0; i < n; ++i) {
          float scale = half ? fromHalf(scales[i]) : fromBfloat(scales[i]);
          float expected = scale * levels[j % levels.size()];
          wrong += __builtin_memcmp(&all[j * n + i], &expected, 4) != 0;
          wrong +=
              __builtin_memcmp(&few[(j - block) * n + i], &expected, 4) != 0;
        }
      EXPECT_EQ(wrong, 0) << "columns from " << block;
    }
  }
};

TEST_P(PowerDecodeTest, EqualsMultiplication) {
  run("pot<bits = 2>");
  run("pot<bits = 3>");
  run("pot<bits = 4>");
  run("pot<bits = 2, grid = stride2>");
  run("pot<bits = 3, grid = stride2>");
  run("pot<bits = 4, scale = bf16>");
}

GANQ_INSTANTIATE(SchemeMatmulTest);
GANQ_INSTANTIATE(PowerDecodeTest);

} // namespace
