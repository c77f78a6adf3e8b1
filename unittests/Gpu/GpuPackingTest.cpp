//===- GpuPackingTest.cpp - Stored weights to operands of kernels ---------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/Codegen/Gpu/GpuPacking.h"
#include "GpuModules.h"
#include "ganq/Support/CodeLayout.h"
#include "llvm/Support/MathExtras.h"
#include "gtest/gtest.h"
#include <cstring>
#include <random>

using namespace ganq;

namespace {

/// A weight of random components, and its operands.
class PackedWeight {
public:
  PackedWeight(mlir::MLIRContext &context, const std::string &scheme,
               GpuMatmulSpec given, int64_t n, int64_t k)
      : spec(makeSpec(context, scheme, scheme.find("bf16") != std::string::npos,
                      given)),
        n(n), k(k) {
    std::mt19937 random(11);
    for (const SchemeComponent &component : spec.scheme.getComponents(n, k)) {
      names.push_back(component.suffix);
      std::vector<char> &bytes = stored.emplace_back(
          static_cast<size_t>(component.type.getNumElements()) *
          component.type.getElementTypeBitWidth() / 8);
      for (char &byte : bytes)
        byte = static_cast<char>(random());
    }
    // Only the codes of the weight itself are there; the rest is zero.
    CodeLayout layout(spec.scheme.getCodeBits(), n, k);
    std::fill(stored[0].begin(), stored[0].end(), '\0');
    for (int64_t i = 0; i < n * k; ++i)
      layout.insert(codes(), i / k, i % k,
                    static_cast<uint8_t>(
                        random() & ((1u << spec.scheme.getCodeBits()) - 1)));
  }

  uint8_t *codes() { return reinterpret_cast<uint8_t *>(stored[0].data()); }
  const std::vector<char> &component(const std::string &name) const {
    for (size_t i = 0; i < names.size(); ++i)
      if (names[i] == name)
        return stored[i];
    ADD_FAILURE() << "no component " << name;
    return stored[0];
  }

  llvm::Expected<llvm::SmallVector<GpuPackedAttr>> operands() const {
    std::vector<llvm::StringRef> keys(names.begin(), names.end());
    return getGpuOperands(spec, n, k, keys);
  }
  llvm::Expected<std::vector<char>> pack(GpuPackedAttr operand) const {
    std::vector<llvm::ArrayRef<char>> bytes(stored.begin(), stored.end());
    return packGpuOperand(operand, bytes);
  }

  void check();

  GpuMatmulSpec spec;
  int64_t n, k;
  std::vector<std::string> names;
  std::vector<std::vector<char>> stored;
};

void PackedWeight::check() {
  auto all = operands();
  ASSERT_TRUE(static_cast<bool>(all)) << llvm::toString(all.takeError());
  int64_t padded = llvm::alignTo(n, 32), group = spec.scheme.getGroupSize();
  int64_t groups = group ? llvm::divideCeil(k, group) : 1;
  int64_t levels = int64_t(1) << spec.scheme.getCodeBits();
  for (GpuPackedAttr operand : *all) {
    mlir::RankedTensorType type = getGpuOperandType(operand);
    ASSERT_TRUE(type);
    std::vector<char> packed = llvm::cantFail(pack(operand));
    ASSERT_EQ(static_cast<int64_t>(packed.size()),
              type.getNumElements() * type.getElementTypeBitWidth() / 8);
    auto half = [](const std::vector<char> &bytes, int64_t index) {
      uint16_t value;
      std::memcpy(&value, &bytes[static_cast<size_t>(index) * 2], 2);
      return value;
    };
    switch (operand.getOperand()) {
    case GpuOperand::codes: {
      GpuLayout to = llvm::cantFail(getGpuLayout(spec, n, k));
      CodeLayout from(spec.scheme.getCodeBits(), n, k);
      const auto *bytes = reinterpret_cast<const uint8_t *>(packed.data());
      std::vector<uint8_t> wanted(packed.size());
      for (int64_t i = 0; i < n * k; ++i)
        to.insert(wanted.data(), i / k, i % k,
                  from.extract(codes(), i / k, i % k));
      EXPECT_EQ(std::memcmp(bytes, wanted.data(), wanted.size()), 0);
      break;
    }
    case GpuOperand::table:
      EXPECT_EQ(type.getShape(), llvm::ArrayRef<int64_t>({padded, levels}));
      for (int64_t i = 0; i < padded * levels; ++i)
        ASSERT_EQ(half(packed, i),
                  i < n * levels ? half(component("table"), i) : 0);
      break;
    case GpuOperand::scale:
    case GpuOperand::zero:
      EXPECT_EQ(type.getShape(), llvm::ArrayRef<int64_t>({groups, padded}));
      for (int64_t row = 0; row < padded; ++row)
        for (int64_t g = 0; g < groups; ++g) {
          uint16_t got = half(packed, g * padded + row);
          int64_t place = row * groups + g;
          if (row >= n) {
            ASSERT_EQ(got, 0);
          } else if (operand.getOperand() == GpuOperand::scale) {
            ASSERT_EQ(got, half(component("scale"), place));
          } else {
            llvm::APFloat value(spec.type.getFloatSemantics(),
                                llvm::APInt(16, got));
            ASSERT_EQ(value.convertToFloat(),
                      static_cast<uint8_t>(
                          component("zero")[static_cast<size_t>(place)]));
          }
        }
      break;
    case GpuOperand::weight_sum:
      EXPECT_EQ(std::memcmp(packed.data(), component("sum").data(),
                            static_cast<size_t>(n) * 4),
                0);
      for (int64_t i = n * 4; i < padded * 4; ++i)
        ASSERT_EQ(packed[static_cast<size_t>(i)], 0);
      break;
    }
  }
}

void checkScheme(const std::string &scheme, GpuMatmulSpec spec = {}) {
  mlir::MLIRContext context;
  for (auto [n, k] : {std::pair<int64_t, int64_t>{64, 256}, {33, 300}, {7, 50}})
    PackedWeight(context, scheme, spec, n, k).check();
}

TEST(GpuPackingTest, Tables) {
  for (const char *bits : {"2", "3", "4"})
    for (const char *entry : {"f16", "bf16"})
      checkScheme(std::string("#ganq.lut<bits = ") + bits +
                  ", entry = " + entry + ">");
}

TEST(GpuPackingTest, Uniform) {
  for (const char *bits : {"1", "2", "3", "4", "8"})
    for (const char *more : {"", ", group = 128"})
      checkScheme(std::string("#ganq.uniform<bits = ") + bits + more + ">");
  checkScheme("#ganq.uniform<bits = 4, group = 32, scale = bf16>");
}

TEST(GpuPackingTest, PowersOfTwo) {
  for (const char *bits : {"2", "3", "4"})
    for (const char *more : {"", ", group = 128, scale = bf16"})
      checkScheme(std::string("#ganq.pot<bits = ") + bits + more + ">");
  checkScheme("#ganq.pot<bits = 2, group = 64, grid = stride2>");
}

TEST(GpuPackingTest, Integers) {
  GpuMatmulSpec spec;
  for (GpuStrategy strategy :
       {GpuStrategy::Dp4a, GpuStrategy::Int8, GpuStrategy::Btc})
    for (int bits = 1; bits <= 8; ++bits) {
      spec.strategy = strategy;
      spec.activationBits = 8;
      checkScheme("#ganq.uniform<bits = " + std::to_string(bits) +
                      ", activation = 8>",
                  spec);
    }
}

TEST(GpuPackingTest, RoundsScales) {
  mlir::MLIRContext context;
  context.loadDialect<GanqDialect>();
  auto stored =
      UniformAttr::get(&context, 4, 0, 0, mlir::Float32Type::get(&context), 0,
                       /*smooth=*/true, /*shift=*/false);
  EXPECT_EQ(getGpuScheme(stored), UniformAttr::get(&context, 4u));
  GpuMatmulSpec spec;
  spec.scheme = getGpuScheme(stored);
  spec.type = getGpuType(stored);
  llvm::StringRef keys[] = {"w.codes", "w.scale", "w.zero", "w.input_scale"};
  auto operands = llvm::cantFail(getGpuOperands(spec, 3, 64, keys, stored));
  ASSERT_EQ(operands.size(), 3u);
  GpuPackedAttr scale = operands[1];
  EXPECT_EQ(getGpuOperandType(scale),
            mlir::RankedTensorType::get({1, 32}, spec.type));
  std::vector<char> codes(CodeLayout(4, 3, 64).getBytes()), zero(4), input(128);
  auto pack = [&](std::vector<float> values) {
    llvm::ArrayRef<char> bytes(reinterpret_cast<char *>(values.data()), 16);
    return packGpuOperand(scale, {codes, bytes, zero, input});
  };
  std::vector<char> packed = llvm::cantFail(pack({0.5f, 1.0f / 3, 2e-5f, 0}));
  uint16_t halves[4];
  std::memcpy(halves, packed.data(), 8);
  EXPECT_EQ(halves[0], 0x3800);
  EXPECT_EQ(halves[1], 0x3555);
  EXPECT_EQ(halves[2], 0x0150); // 336 x 2^-24
  EXPECT_EQ(halves[3], 0);
  for (float value : {1e-7f, 70000.0f})
    EXPECT_NE(llvm::toString(pack({1, value, 1, 1}).takeError())
                  .find("in 'w.scale'; compile for CPUs"),
              std::string::npos);
}

TEST(GpuPackingTest, NamesWhatIsMissing) {
  mlir::MLIRContext context;
  PackedWeight weight(context, "#ganq.lut<bits = 4>", {}, 64, 128);
  auto operands = llvm::cantFail(weight.operands());
  weight.stored[1].pop_back();
  EXPECT_EQ(llvm::toString(weight.pack(operands[0]).takeError()),
            "expected 'table' to have 2048 bytes, but got 2047");
  weight.stored.pop_back();
  EXPECT_NE(llvm::toString(weight.pack(operands[0]).takeError())
                .find("expected the components of #ganq.lut<bits = 4>"),
            std::string::npos);
  // A table is no part of powers of two.
  auto pot = GpuPackedAttr::get(&context, PotAttr::get(&context, 3u), 64, 128,
                                GpuOperand::table, GpuOrder::exponent, 10,
                                operands[0].getComponents());
  EXPECT_FALSE(getGpuOperandType(pot));
}

TEST(GpuPackingTest, RefusesWhatKernelsLack) {
  mlir::MLIRContext context;
  auto message = [&](const char *scheme) {
    return llvm::toString(
        PackedWeight(context, scheme, {}, 64, 128).operands().takeError());
  };
  EXPECT_NE(message("#ganq.lut<bits = 4, outliers = 50>").find("outliers"),
            std::string::npos);
  EXPECT_NE(message("#ganq.lut<bits = 4, group = 64>").find("group"),
            std::string::npos);
  EXPECT_NE(message("#ganq.lut<bits = 8>").find("2 to 4 bits"),
            std::string::npos);
  EXPECT_NE(message("#ganq.nf<bits = 4>").find("lut, uniform or pot"),
            std::string::npos);
}

} // namespace
