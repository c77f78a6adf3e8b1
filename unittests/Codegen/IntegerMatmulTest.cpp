//===- IntegerMatmulTest.cpp - Products of integers, exactly --------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "CompiledModule.h"
#include "ganq/Support/ActivationLayout.h"
#include <cstring>
#include <limits>

using namespace ganq;
using namespace ganq::test;

namespace {

/// A weight of random codes with its components. Scales are powers of two, so
/// that sums of products stay exact in f32.
struct Weight {
  Weight(unsigned bits, int64_t n, int64_t k, int64_t group, unsigned levels,
         unsigned seed)
      : bits(bits), n(n), k(k), group(group), layout(bits, n, k),
        groups(group ? (k + group - 1) / group : 1), codes(n * k),
        packed(layout.getBytes()), scale(paddedRows() * groups),
        zero(paddedRows() * groups), sum(paddedRows() * groups) {
    std::mt19937 engine(seed);
    unsigned most = (levels ? levels : 1u << bits) - 1;
    for (int64_t i = 0; i < paddedRows() * groups; ++i) {
      scale[i] = toHalf(std::ldexp(1.0f, static_cast<int>(engine() % 3) - 1));
      // Both ends, and what lies between.
      zero[i] = static_cast<uint8_t>(i % 3 == 0   ? 0
                                     : i % 3 == 1 ? most
                                                  : engine() % (most + 1));
    }
    for (int64_t row = 0; row < n; ++row)
      for (int64_t column = 0; column < k; ++column) {
        // The second row has the greatest codes only.
        auto code =
            static_cast<uint8_t>(row == 1 ? most : engine() % (most + 1));
        codes[row * k + column] = code;
        layout.insert(packed.data(), row, column, code);
        sum[at(row, column)] += code;
      }
    narrowSum.assign(sum.begin(), sum.end());
  }

  /// Codes into tables of i8 entries: bytes of 128 more with one zero point.
  Weight(unsigned bits, int64_t n, int64_t k, int64_t tableGroup,
         int64_t tableRows, unsigned seed, std::true_type)
      : Weight(bits, n, k, 0, 0, seed) {
    std::mt19937 engine(seed);
    int64_t columns = tableGroup ? tableGroup : k;
    tableShape = {tableRows == 1 ? paddedRows()
                                 : (n + tableRows - 1) / tableRows,
                  (k + columns - 1) / columns, int64_t(1) << bits};
    table.resize(tableShape[0] * tableShape[1] * tableShape[2]);
    for (int8_t &entry : table)
      entry = static_cast<int8_t>(engine());
    table[0] = -128;
    table[1] = 127;
    std::fill(zero.begin(), zero.end(), uint8_t(128));
    std::fill(sum.begin(), sum.end(), 0);
    for (int64_t row = 0; row < n; ++row)
      for (int64_t column = 0; column < k; ++column) {
        uint8_t &code = codes[row * k + column];
        int64_t first = (row / tableRows * tableShape[1] + column / columns)
                        << bits;
        int entry = table[first + code];
        code = static_cast<uint8_t>(entry + 128);
        sum[row] += entry;
      }
  }

  int64_t paddedRows() const { return layout.getRowTiles() * 4; }
  int64_t at(int64_t row, int64_t column) const {
    return row * groups + (group ? column / group : 0);
  }
  bool hasNarrowSum() const { return group > 0 && group * 255 < 65536; }

  /// Declares the components %NAMEc, %NAMEs, %NAMEz and %NAMEu.
  std::string declare(const std::string &name) const {
    if (!table.empty())
      return llvm::formatv("%{0}c = ganq.parameter \"{0}c\" : {1}\n"
                           "%{0}t = ganq.parameter \"{0}t\" : {2}\n"
                           "%{0}s = ganq.parameter \"{0}s\" : {3}xf16>\n"
                           "%{0}u = ganq.parameter \"{0}u\" : {3}xi32>\n",
                           name, codesType(), tableType(), rowType())
          .str();
    return llvm::formatv("%{0}c = ganq.parameter \"{0}c\" : {1}\n"
                         "%{0}s = ganq.parameter \"{0}s\" : {2}xf16>\n"
                         "%{0}z = ganq.parameter \"{0}z\" : {2}xi8>\n"
                         "%{0}u = ganq.parameter \"{0}u\" : {2}x{3}>\n",
                         name, codesType(), gridType(), sumType())
        .str();
  }
  std::string operands(const std::string &name) const {
    if (!table.empty())
      return llvm::formatv("%{0}c, %{0}t, %{0}s, %{0}u : {1}, {2}, {3}xf16>, "
                           "{3}xi32>",
                           name, codesType(), tableType(), rowType())
          .str();
    return llvm::formatv("%{0}c, %{0}s, %{0}z, %{0}u : {1}, {2}xf16>, "
                         "{2}xi8>, {2}x{3}>",
                         name, codesType(), gridType(), sumType())
        .str();
  }
  void bind(const std::string &name,
            std::map<std::string, const void *> &parameters) const {
    parameters[name + "c"] = packed.data();
    parameters[name + "s"] = scale.data();
    parameters[name + "z"] = zero.data();
    parameters[name + "t"] = table.data();
    parameters[name + "u"] = hasNarrowSum()
                                 ? static_cast<const void *>(narrowSum.data())
                                 : sum.data();
  }

  unsigned bits;
  int64_t n, k, group;
  CodeLayout layout;
  int64_t groups;
  std::vector<uint8_t> codes, packed;
  std::vector<uint16_t> scale;
  std::vector<uint8_t> zero;
  std::vector<int32_t> sum;
  std::vector<uint16_t> narrowSum;
  std::vector<int8_t> table;
  std::vector<int64_t> tableShape;

private:
  std::string codesType() const {
    return llvm::formatv("memref<{0}xi8>", packed.size());
  }
  std::string gridType() const {
    return llvm::formatv("memref<{0}x{1}", paddedRows(), groups);
  }
  std::string tableType() const {
    return llvm::formatv("memref<{0}x{1}x{2}xi8>", tableShape[0], tableShape[1],
                         tableShape[2]);
  }
  std::string rowType() const {
    return llvm::formatv("memref<{0}", paddedRows());
  }
  const char *sumType() const { return hasNarrowSum() ? "i16" : "i32"; }
};

/// Random codes of m rows of x in the order of ActivationLayout.
struct Records {
  Records(unsigned bits, int64_t m, int64_t k, int64_t group,
          unsigned planeBits, unsigned seed)
      : layout(bits, k, group, planeBits), codes(m * k), zero(m), scale(m),
        bytes({m, layout.getBytes()}) {
    std::mt19937 engine(seed);
    int64_t most = (1 << bits) - 1;
    for (int64_t row = 0; row < m; ++row) {
      // Rows of the least and of the greatest codes, then random ones.
      for (int64_t i = 0; i < k; ++i)
        codes[row * k + i] = row % 4 == 0   ? 0
                             : row % 4 == 1 ? most
                                            : engine() % (most + 1);
      zero[row] = row % 3 == 0   ? most
                  : row % 3 == 1 ? 0
                                 : static_cast<int64_t>(engine() % (most + 1));
      scale[row] = std::ldexp(1.0f, static_cast<int>(row % 3));
      write(row, k, group, bits, planeBits);
    }
  }

  void write(int64_t row, int64_t k, int64_t group, unsigned bits,
             unsigned planeBits) {
    uint8_t *record = bytes.values.data() + row * layout.getBytes();
    std::vector<float> header(ActivationLayout::kSums + layout.getGroups());
    header[0] = scale[row];
    header[1] = static_cast<float>(zero[row] - layout.getCenter());
    CodeLayout weight(planeBits ? planeBits : 8, 1, k);
    for (int64_t i = 0; i < k; ++i) {
      int64_t code = codes[row * k + i] - layout.getCenter();
      header[ActivationLayout::kSums + (group ? i / group : 0)] +=
          static_cast<float>(code);
      if (!planeBits) {
        record[layout.getCodesOffset() + i] = static_cast<uint8_t>(code);
        continue;
      }
      for (size_t p = 0; p < weight.getPlanes().size(); ++p) {
        const CodeLayout::Plane &plane = weight.getPlanes()[p];
        int64_t unit = i / plane.columnsPerUnit();
        int64_t field = i % plane.columnsPerUnit() / 16 * plane.width;
        for (unsigned bit = 0; bit < bits; ++bit)
          if (code >> bit & 1)
            record[layout.getPlaneOffset(p) + (unit * bits + bit) * 16 +
                   i % 16] |=
                static_cast<uint8_t>(((1 << plane.width) - 1) << field);
      }
    }
    std::memcpy(record, header.data(), header.size() * sizeof(float));
  }

  ActivationLayout layout;
  std::vector<int64_t> codes, zero;
  std::vector<float> scale;
  Array<uint8_t> bytes;
};

/// Products, and how much f32 may lose when it adds up groups: nothing while
/// sums are whole numbers of halves that fit.
struct Reference {
  std::vector<float> y;
  std::vector<double> tolerance;

  Reference(const Records &x, const Weight &w, int64_t m,
            const Array<float> *bias) {
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = 0; j < w.n; ++j) {
        std::vector<int64_t> sums(w.groups);
        for (int64_t l = 0; l < w.k; ++l)
          sums[w.at(j, l) - j * w.groups] +=
              (x.codes[i * w.k + l] - x.zero[i]) *
              (w.codes[j * w.k + l] - w.zero[w.at(j, l)]);
        double sum = 0, size = 0;
        for (int64_t g = 0; g < w.groups; ++g) {
          double term = static_cast<double>(sums[g]) *
                        fromHalf(w.scale[j * w.groups + g]);
          sum += term;
          size += std::fabs(term);
        }
        y.push_back(
            static_cast<float>(sum * x.scale[i] + (bias ? (*bias)[j] : 0)));
        bool fits = w.groups == 1 || size < 0x1p23;
        tolerance.push_back(fits ? 0 : size * x.scale[i] * 0x1p-22);
      }
  }
};

struct Case {
  unsigned bits, activation;
  int64_t m, n, k, group;
  bool planes;
  unsigned levels = 0;
  bool withBias = false;
  bool dynamicRows = false;
  /// Rows that share a table of `group` columns; 0 without tables.
  int64_t tableRows = 0;

  std::string scheme() const {
    if (tableRows)
      return llvm::formatv("#ganq.lut<bits = {0}, group = {1}, rows = {2}, "
                           "entry = i8, activation = {3}>",
                           bits, group, tableRows, activation);
    return llvm::formatv("#ganq.uniform<bits = {0}, group = {1}, levels = {2}, "
                         "activation = {3}>",
                         bits, group, levels, activation);
  }
  Weight makeWeight(unsigned seed) const {
    if (tableRows)
      return Weight(bits, n, k, group, tableRows, seed, std::true_type());
    return Weight(bits, n, k, group, levels, seed);
  }
  /// Columns whose sums the records of x keep.
  int64_t sumGroup() const { return tableRows ? 0 : group; }
};

class IntegerMatmulTest : public CpuTest {
protected:
  /// Compiles all cases as one module; each must be exact where f32 can be.
  void check(const std::vector<Case> &cases) {
    std::string text;
    std::vector<Weight> weights;
    std::map<std::string, const void *> parameters;
    for (const Case &c : cases)
      weights.push_back(c.makeWeight(static_cast<unsigned>(weights.size())));
    for (size_t i = 0; i < cases.size(); ++i) {
      const Case &c = cases[i];
      std::string name = "w" + std::to_string(i);
      weights[i].bind(name, parameters);
      ActivationLayout layout(c.activation, c.k, c.sumGroup(),
                              c.planes ? c.bits : 0);
      std::string rows = c.dynamicRows ? "?" : std::to_string(c.m);
      text += llvm::formatv(
          R"(func.func @run{0}(%x: memref<{1}x{2}xi8>, %b: memref<{3}xf32>,
                               %y: memref<{1}x{3}xf32>) {
               {4}
               ganq.packed_matmul %x weight({5}) {6} out(%y : memref<{1}x{3}xf32>)
                 {{scheme = {7}, n = {3}, k = {8},
                   strategy = #ganq.strategy<{9}>} : memref<{1}x{2}xi8>
               return
             }
          )",
          i, rows, layout.getBytes(), c.n, weights[i].declare(name),
          weights[i].operands(name),
          c.withBias ? llvm::formatv("bias(%b : memref<{0}xf32>)", c.n).str()
                     : "",
          c.scheme(), c.k, c.planes ? "popcount" : "int8");
    }
    CompiledModule module(text, GetParam());
    ASSERT_TRUE(module);
    module.setParameters(parameters);
    for (size_t i = 0; i < cases.size(); ++i) {
      const Case &c = cases[i];
      SCOPED_TRACE(llvm::formatv("{0} {1}x{2}x{3} {4}", c.scheme(), c.m, c.n,
                                 c.k, c.planes ? "popcount" : "int8")
                       .str());
      // One row of x at a time meets all kinds of rows, too.
      for (unsigned seed = 0; seed < (c.m == 1 ? 4 : 1); ++seed) {
        Records x(c.activation, c.m == 1 ? 4 : c.m, c.k, c.sumGroup(),
                  c.planes ? c.bits : 0, seed);
        Array<float> bias({c.n}), y({c.m, c.n});
        for (int64_t j = 0; j < c.n; ++j)
          bias[j] = static_cast<float>(j);
        Reference expected(x, weights[i], c.m == 1 ? 4 : c.m,
                           c.withBias ? &bias : nullptr);
        int64_t first = 0;
        if (c.m == 1) {
          int64_t size = x.layout.getBytes();
          std::memmove(x.bytes.values.data(),
                       x.bytes.values.data() + seed * size, size);
          first = seed * c.n;
          x.bytes.shape[0] = 1;
        }
        module.call("run" + std::to_string(i),
                    {x.bytes.argument(), bias.argument(), y.argument()},
                    seed % 2 ? 3 : 1);
        for (int64_t j = 0; j < c.m * c.n; ++j)
          ASSERT_NEAR(y[j], expected.y[first + j],
                      expected.tolerance[first + j])
              << "element " << j;
      }
    }
  }
};

TEST_P(IntegerMatmulTest, EveryWidthBytes) {
  std::vector<Case> cases;
  for (unsigned bits = 1; bits <= 8; ++bits)
    for (unsigned activation = 1; activation <= 8; ++activation)
      cases.push_back({bits, activation, 1, 7, 200, 0, false});
  check(cases);
}

TEST_P(IntegerMatmulTest, EveryWidthPlanes) {
  // Without an instruction that counts, code grows with the pairs of planes.
  bool all = llvm::StringRef(GetParam()) == "host";
  std::vector<Case> cases;
  for (unsigned bits = 1; bits <= 8; ++bits)
    for (unsigned activation = 1; activation <= 8; ++activation)
      if (all || bits * activation <= 8)
        cases.push_back({bits, activation, 1, 7, 150, 0, true});
  check(cases);
}

TEST_P(IntegerMatmulTest, Rows) {
  std::vector<Case> cases;
  for (unsigned bits : {1u, 3u, 4u, 7u, 8u})
    for (int64_t m : {3, 17}) {
      cases.push_back({bits, 8, m, 19, 172, 0, false, 0, true});
      cases.push_back({bits, bits, m, 16, 64, 0, false});
    }
  for (int64_t m : {3, 17}) {
    cases.push_back({1, 2, m, 19, 172, 0, true, 0, true});
    cases.push_back({4, 3, m, 19, 172, 0, true, 0, false, true});
  }
  cases.push_back({4, 8, 1, 5, 33, 0, false, 0, true, true});
  cases.push_back({2, 4, 70, 17, 48, 0, false, 0, true, true});
  cases.push_back({2, 4, 70, 17, 48, 0, false});
  check(cases);
}

TEST_P(IntegerMatmulTest, Groups) {
  std::vector<Case> cases;
  for (int64_t m : {1, 3, 9}) {
    cases.push_back({4, 8, m, 9, 300, 128, false, 0, true});
    cases.push_back({4, 8, m, 16, 200, 16, false});
    cases.push_back({1, 8, m, 7, 300, 64, false});
    cases.push_back({8, 8, m, 4, 176, 48, false});
    cases.push_back({3, 4, m, 5, 512, 256, false, 5});
    cases.push_back({1, 3, m, 5, 300, 128, true});
    cases.push_back({4, 2, m, 5, 100, 32, true});
  }
  // Groups that are longer than a decoded block, and wider than the row.
  cases.push_back({2, 8, 9, 5, 2500, 1280, false});
  cases.push_back({4, 8, 9, 5, 96, 128, false});
  cases.push_back({4, 8, 1, 5, 96, 128, false});
  check(cases);
}

TEST_P(IntegerMatmulTest, GroupsWithLargeSums) {
  // The terms of a group exceed the whole numbers of f32.
  std::vector<Case> cases;
  for (int64_t m : {1, 3, 9}) {
    cases.push_back({8, 8, m, 5, 600, 256, false});
    cases.push_back({8, 8, m, 17, 1024, 512, false});
  }
  for (int64_t m : {1, 9}) {
    cases.push_back({1, 8, m, 5, 600, 256, true});
    // Without an instruction that counts, code grows with the pairs of planes.
    if (llvm::StringRef(GetParam()) == "host")
      cases.push_back({8, 8, m, 5, 1024, 512, true});
  }
  check(cases);
}

Case tableCase(unsigned bits, int64_t m, int64_t k, int64_t group = 0,
               int64_t tableRows = 1, unsigned activation = 8) {
  Case c{bits, activation, m, 19, k, group, false, 0, m == 3};
  c.tableRows = tableRows;
  return c;
}

TEST_P(IntegerMatmulTest, Tables) {
  std::vector<Case> cases;
  for (unsigned bits = 1; bits <= 8; ++bits)
    cases.push_back(
        tableCase(bits, bits % 2 ? 17 : 3, bits > 5 ? 40 : 172, 0, 1, bits));
  for (int64_t m : {1, 17}) {
    cases.push_back(tableCase(4, m, 172, 0, 8));
    cases.push_back(tableCase(4, m, 300, 128));
    cases.push_back(tableCase(4, m, 200, 96, 4));
    cases.push_back(tableCase(4, m, 100, 16));
    cases.push_back(tableCase(3, m, 200, 64));
  }
  cases.push_back(tableCase(2, 1, 2500, 1280));
  cases.push_back(tableCase(5, 1, 70));
  check(cases);
}

TEST_P(IntegerMatmulTest, ManyColumns) {
  check({{4, 8, 1, 5, 4000, 0, false},
         {4, 8, 33, 5, 2200, 0, false},
         {3, 4, 34, 5, 2200, 128, false},
         {1, 1, 9, 5, 4000, 0, true},
         {5, 4, 1, 1, 1, 0, false, 0, true},
         {5, 4, 8, 1, 1, 0, false, 0, true}});
}

/// Four products at a time in registers of AVX2.
class VnniMatmulTest : public IntegerMatmulTest {};

TEST_P(VnniMatmulTest, EveryPath) {
  check({{3, 8, 1, 7, 200, 0, false},
         {8, 8, 3, 7, 100, 0, false},
         {4, 8, 17, 19, 172, 0, false, 0, true},
         {4, 8, 1, 5, 300, 128, false},
         {2, 4, 9, 5, 200, 64, false},
         {8, 8, 9, 5, 600, 256, false},
         tableCase(4, 1, 172),
         tableCase(3, 17, 172)});
}

//===----------------------------------------------------------------------===//
// Rows to records
//===----------------------------------------------------------------------===//

/// What `ganq.quantize_rows` says it computes.
void quantizeRow(const float *x, int64_t k, unsigned bits, float &scale,
                 int64_t &zero, std::vector<int64_t> &codes) {
  float low = 0, high = 0, most = static_cast<float>((1 << bits) - 1);
  for (int64_t i = 0; i < k; ++i) {
    low = std::min(low, x[i]);
    high = std::max(high, x[i]);
  }
  scale = high / most - low / most;
  if (scale < std::numeric_limits<float>::min())
    scale = 0;
  float inverse = scale == 0 ? 0 : 1 / scale;
  auto clamp = [&](float v) { return std::min(std::max(v, 0.0f), most); };
  float zeroPoint = clamp(std::nearbyint(-low * inverse));
  zero = static_cast<int64_t>(zeroPoint);
  codes.resize(k);
  for (int64_t i = 0; i < k; ++i)
    codes[i] =
        static_cast<int64_t>(clamp(std::nearbyint(x[i] * inverse) + zeroPoint));
}

class QuantizeRowsTest : public CpuTest {
protected:
  void run(int64_t m, int64_t k, unsigned bits, int64_t group,
           unsigned planeBits, bool smooth = false) {
    SCOPED_TRACE(llvm::formatv("{0}x{1} A{2} group {3} planes {4}", m, k, bits,
                               group, planeBits)
                     .str());
    ActivationLayout layout(bits, k, group, planeBits);
    std::string x = llvm::formatv("memref<{0}x{1}xf32>", m, k),
                v = llvm::formatv("memref<{0}xf32>", k),
                y = llvm::formatv("memref<{0}x{1}xi8>", m, layout.getBytes());
    std::string text = llvm::formatv(
        R"(func.func @run(%x: {0}, %s: {1}, %t: {1}, %y: {2}) {
             ganq.quantize_rows %x {3} out(%y : {2})
               {{bits = {4}, group = {5}, plane_bits = {6}} : {0}
             return
           })",
        x, v, y,
        smooth ? llvm::formatv("scale(%s : {0}) shift(%t : {0})", v).str() : "",
        bits, group, planeBits);
    CompiledModule module(text, GetParam());
    ASSERT_TRUE(module);
    module.setParameters({});
    Array<float> input = randomArray({m, k}, 7), scale = randomArray({k}, 8),
                 shift = randomArray({k}, 9);
    for (float &value : scale.values)
      value = std::fabs(value) + 0.5f;
    fillRows(input, m, k);
    Array<uint8_t> out({m, layout.getBytes()});
    module.call("run", {input.argument(), scale.argument(), shift.argument(),
                        out.argument()});
    for (int64_t row = 0; row < m; ++row) {
      std::vector<float> values(input.values.begin() + row * k,
                                input.values.begin() + (row + 1) * k);
      bool finite = true;
      for (int64_t i = 0; i < k; ++i) {
        if (smooth)
          values[i] = (values[i] - shift[i]) / scale[i];
        finite &= std::isfinite(values[i]);
      }
      const uint8_t *record = out.values.data() + row * layout.getBytes();
      std::vector<float> header(ActivationLayout::kSums + layout.getGroups());
      std::memcpy(header.data(), record, header.size() * sizeof(float));
      if (!finite) {
        EXPECT_TRUE(std::isnan(header[0])) << row;
        continue;
      }
      Records expected(bits, 1, k, group, planeBits, 0);
      quantizeRow(values.data(), k, bits, expected.scale[0], expected.zero[0],
                  expected.codes);
      std::fill(expected.bytes.values.begin(), expected.bytes.values.end(), 0);
      expected.write(0, k, group, bits, planeBits);
      // Bytes behind the last column do not count.
      size_t size = planeBits ? layout.getBytes() : layout.getCodesOffset() + k;
      for (size_t i = 0; i < size; ++i) {
        bool padding = i >= header.size() * sizeof(float) &&
                       static_cast<int64_t>(i) < layout.getCodesOffset();
        if (!padding)
          ASSERT_EQ(record[i], expected.bytes[i]) << row << " byte " << i;
      }
    }
  }

  /// Rows at the edges: zeros, constants, what is not finite or too small.
  static void fillRows(Array<float> &x, int64_t m, int64_t k) {
    const float values[] = {0,      3,        -2,        3e38f,
                            -3e38f, INFINITY, -INFINITY, 1e-41f};
    for (int64_t row = 1; row < std::min<int64_t>(m, 9); ++row)
      for (int64_t i = 0; i < k; ++i)
        x[row * k + i] = values[row - 1];
    if (m > 9)
      x[9 * k + k - 1] = NAN;
    if (m > 10)
      for (int64_t i = 0; i < k; ++i)
        x[10 * k + i] = (i % 2 ? 3e38f : -3e38f);
  }
};

TEST_P(QuantizeRowsTest, Bytes) {
  for (unsigned bits = 1; bits <= 8; ++bits)
    run(12, 100, bits, 0, 0);
  run(12, 300, 8, 128, 0);
  run(3, 1, 4, 0, 0);
  run(12, 70, 8, 0, 0, /*smooth=*/true);
}

TEST_P(QuantizeRowsTest, Planes) {
  run(12, 300, 2, 0, 1);
  run(12, 200, 3, 0, 3);
  run(3, 100, 8, 64, 2);
  run(3, 20, 1, 0, 8);
  run(3, 150, 4, 0, 7);
}

std::string integerTestName(const ::testing::TestParamInfo<const char *> &i) {
  return llvm::StringRef(i.param) == "host" ? "host" : cpuTestName(i);
}
INSTANTIATE_TEST_SUITE_P(Cpu, IntegerMatmulTest,
                         ::testing::Values("x86-64-v3", "x86-64-v4", "host"),
                         integerTestName);
INSTANTIATE_TEST_SUITE_P(Cpu, VnniMatmulTest,
                         ::testing::Values("x86-64-v3-vnni"));
INSTANTIATE_TEST_SUITE_P(Cpu, QuantizeRowsTest,
                         ::testing::Values("x86-64-v3", "host"),
                         integerTestName);

} // namespace
