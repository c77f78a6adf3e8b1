//===- GanqAttributes.cpp - Attributes of the ganq dialect ----------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/IR/GanqDialect.h"
#include "ganq/Support/CodeLayout.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/Diagnostics.h"
#include <cmath>

using namespace mlir;
using namespace ganq;

#include "ganq/IR/GanqAttrInterfaces.cpp.inc"
#include "ganq/IR/GanqEnums.cpp.inc"

LogicalResult ExternalAttr::verify(function_ref<InFlightDiagnostic()> emitError,
                                   StringRef file, int64_t offset,
                                   int64_t length) {
  if (file.empty())
    return emitError() << "expected a file name, but got an empty string";
  if (offset < 0 || length < 0)
    return emitError() << "expected offset and length to be non-negative, but "
                          "got offset "
                       << offset << " and length " << length;
  return success();
}

LogicalResult
PackedRowsAttr::verify(function_ref<InFlightDiagnostic()> emitError,
                       unsigned bits, int64_t rows, int64_t columns,
                       int64_t stride, unsigned flip, bool codes,
                       DenseElementsAttr value) {
  if (bits != 2 && bits != 4 && (bits % 8 != 0 || bits == 0 || bits > 64))
    return emitError() << "expected bits to be 2, 4 or those of whole bytes, "
                          "but got "
                       << bits;
  // Bounds that keep the product below 2^63.
  constexpr int64_t kMostRows = int64_t(1) << 30, kMostBits = int64_t(1) << 32;
  int64_t unit = std::min(bits, 8u);
  if (rows <= 0 || columns <= 0 || rows > kMostRows || columns > kMostRows ||
      stride > kMostBits || stride % unit != 0 || stride < columns * bits)
    return emitError()
           << "expected rows and columns to be positive and rows to "
              "fit their stride, but got "
           << rows << " rows of " << columns << " in " << stride << " bits";
  if (flip != 0 && (bits > 8 || flip >= 1u << bits))
    return emitError() << "expected flip to have " << bits << " bits, but got "
                       << flip;
  int64_t bytes = llvm::divideCeil(rows * stride, 8);
  if (value && (!value.getElementType().isIntOrFloat() ||
                value.getElementType().getIntOrFloatBitWidth() % 8 != 0 ||
                value.getNumElements() *
                        value.getElementType().getIntOrFloatBitWidth() !=
                    bytes * 8))
    return emitError() << "expected a value of " << bytes << " bytes, but got "
                       << value.getType();
  return success();
}

LogicalResult
GpuPackedAttr::verify(function_ref<InFlightDiagnostic()> emitError,
                      Attribute scheme, int64_t n, int64_t k,
                      GpuOperand operand, GpuOrder order, int64_t exponentBit,
                      ArrayAttr components) {
  if (!isa<SchemeAttrInterface>(scheme))
    return emitError() << "expected a quantization scheme, but got " << scheme;
  constexpr int64_t most = int64_t(1) << 30;
  if (n < 1 || k < 1 || n > most || k > most)
    return emitError() << "expected n and k to be between 1 and " << most
                       << ", but got " << n << " and " << k;
  if (exponentBit < 0 || exponentBit > 14)
    return emitError() << "expected exponent_bit to be between 0 and 14, but "
                          "got "
                       << exponentBit;
  if (components.empty() || !llvm::all_of(components, [](Attribute key) {
        return isa<StringAttr>(key);
      }))
    return emitError() << "expected components to be names, but got "
                       << components;
  if (exponentBit && order != GpuOrder::exponent)
    return emitError() << "expected exponent_bit along with order exponent "
                          "only, but got "
                       << stringifyGpuOrder(order);
  auto quantization = cast<SchemeAttrInterface>(scheme);
  if (failed(quantization.verifyWeight(emitError, n, k)))
    return failure();
  SmallVector<SchemeComponent> stored = quantization.getComponents(n, k);
  StringRef codes = cast<StringAttr>(components[0]).getValue();
  if (components.size() != stored.size() ||
      codes.rsplit('.').second != stored.front().suffix)
    return emitError() << "expected the " << stored.size() << " components of "
                       << scheme << ", '" << stored.front().suffix
                       << "' first, but got " << components;
  StringRef source =
      operand == GpuOperand::weight_sum ? "sum" : stringifyGpuOperand(operand);
  if (llvm::none_of(stored, [&](const SchemeComponent &component) {
        return component.suffix == source;
      }))
    return emitError() << "expected an operand that " << scheme
                       << " has, but got " << stringifyGpuOperand(operand);
  return success();
}

//===----------------------------------------------------------------------===//
// What all schemes with packed codes share
//===----------------------------------------------------------------------===//

static LogicalResult verifyCodes(function_ref<InFlightDiagnostic()> emitError,
                                 unsigned bits, int64_t group) {
  if (bits < 1 || bits > 8)
    return emitError() << "expected bits to be between 1 and 8, but got "
                       << bits;
  // Beyond this, sizes that are computed from groups would overflow.
  constexpr int64_t most = int64_t(1) << 30;
  if (group > most)
    return emitError() << "expected group to be at most " << most
                       << ", but got " << group << "; 0 groups the whole row";
  CodeLayout layout(bits, 1, 1);
  if (!layout.canGroup(group))
    return emitError() << "expected group to be 0, a multiple of "
                       << layout.getGroupGranularity()
                       << ", or a divisor of it that is a multiple of "
                       << CodeLayout::kLanes << ", for " << bits
                       << "-bit codes, but got " << group;
  return success();
}

static LogicalResult verifyMatrix(function_ref<InFlightDiagnostic()> emitError,
                                  int64_t n, int64_t k) {
  if (n <= 0 || k <= 0)
    return emitError() << "expected a weight with static, positive dimensions, "
                          "but got "
                       << n << "x" << k;
  return success();
}

static LogicalResult
verifyActivation(function_ref<InFlightDiagnostic()> emitError,
                 unsigned activation) {
  if (activation > 8)
    return emitError() << "expected activation to be between 0 and 8 bits, but "
                          "got "
                       << activation;
  return success();
}

static LogicalResult
verifyIntegerColumns(function_ref<InFlightDiagnostic()> emitError, int64_t k) {
  // Sums of two products of 8-bit codes over more columns overflow 32 bits.
  constexpr int64_t most = 33000;
  if (k > most)
    return emitError() << "expected at most " << most
                       << " columns for a product of integers, but got " << k;
  return success();
}

static int64_t paddedRows(int64_t n) {
  return llvm::alignTo(n, CodeLayout::kRowTile);
}

static int64_t groupCount(int64_t k, int64_t group) {
  return group ? llvm::divideCeil(k, group) : 1;
}

static std::string groupSuffix(int64_t group) {
  return group ? "g" + std::to_string(group) : "";
}

static StringRef shortTypeName(Type type) {
  if (type.isF16())
    return "f16";
  if (type.isBF16())
    return "bf16";
  return type.isF32() ? "f32" : type.isInteger(8) ? "i8" : "e4m3";
}

static SchemeComponent codesComponent(MLIRContext *context, unsigned bits,
                                      int64_t n, int64_t k) {
  return {"codes", RankedTensorType::get({CodeLayout(bits, n, k).getBytes()},
                                         IntegerType::get(context, 8))};
}

//===----------------------------------------------------------------------===//
// LutAttr
//===----------------------------------------------------------------------===//

LogicalResult LutAttr::verify(function_ref<InFlightDiagnostic()> emitError,
                              unsigned bits, int64_t group, int64_t rows,
                              Type entry, int64_t outliers, int64_t fullRows,
                              unsigned activation) {
  if (failed(verifyCodes(emitError, bits, group)))
    return failure();
  // The solver works on the rows of whole tables.
  constexpr int64_t mostRows = 1024;
  if (rows != 1 &&
      (rows < 1 || rows > mostRows || rows % CodeLayout::kRowTile != 0))
    return emitError() << "expected rows to be 1 or a positive multiple of "
                       << CodeLayout::kRowTile << " up to " << mostRows
                       << ", but got " << rows;
  if (!entry.isF16() && !entry.isBF16() && !entry.isSignlessInteger(8) &&
      !isa<Float8E4M3FNType>(entry))
    return emitError() << "expected entry to be f16, bf16, i8 or f8E4M3FN, but "
                          "got "
                       << entry;
  if (outliers < 0 || outliers > 5000)
    return emitError() << "expected outliers to be between 0 and 5000 "
                          "ten-thousandths of a row, but got "
                       << outliers;
  if (outliers && bits == 8)
    return emitError() << "expected at most 7 bits along with outliers, but "
                          "got 8; tables of 8 bits need no outliers";
  if (fullRows < 0)
    return emitError() << "expected full_rows not to be negative, but got "
                       << fullRows;
  if (failed(verifyActivation(emitError, activation)))
    return failure();
  if (activation && (!entry.isSignlessInteger(8) || outliers || fullRows))
    return emitError() << "expected activation only with entries of i8 and "
                          "without outliers and full rows, but got entry = "
                       << entry << ", outliers = " << outliers
                       << ", full_rows = " << fullRows;
  return success();
}

unsigned LutAttr::getCodeBits() const { return getBits(); }

int64_t LutAttr::getGroupSize() const { return getGroup(); }

unsigned LutAttr::getActivationBits() const { return getActivation(); }

int64_t LutAttr::getSumGroup() const { return 0; }

int64_t LutAttr::getOutliersPerRow(int64_t k) const {
  return llvm::divideCeil(k * getOutliers(), 10000);
}

std::string LutAttr::getShortName() const {
  std::string name =
      "lut" + std::to_string(getBits()) +
      (getActivation() ? "a" + std::to_string(getActivation()) : "") +
      groupSuffix(getGroup());
  if (getRows() != 1)
    name += "r" + std::to_string(getRows());
  if (!getEntry().isF16())
    name += "_" + shortTypeName(getEntry()).str();
  if (hasSparsePart())
    name += "_s";
  return name;
}

SmallVector<SchemeComponent> LutAttr::getComponents(int64_t n,
                                                    int64_t k) const {
  MLIRContext *context = getContext();
  Type half = Float16Type::get(context);
  int64_t tables =
      getRows() == 1 ? paddedRows(n) : llvm::divideCeil(n, getRows());
  SmallVector<SchemeComponent> components{
      codesComponent(context, getBits(), n, k),
      {"table", RankedTensorType::get({tables, groupCount(k, getGroup()),
                                       int64_t(1) << getBits()},
                                      getEntry())}};
  if (hasScale())
    components.push_back(
        {"scale", RankedTensorType::get({paddedRows(n)}, half)});
  if (getActivation())
    components.push_back(
        {"sum", RankedTensorType::get({paddedRows(n)},
                                      IntegerType::get(context, 32))});
  if (hasSparsePart()) {
    int64_t count =
        (n - getFullRows()) * getOutliersPerRow(k) + getFullRows() * k;
    Type column = IntegerType::get(context, k <= 65536 ? 16 : 32);
    components.push_back(
        {"outlier_start",
         RankedTensorType::get({n + 1}, IntegerType::get(context, 32))});
    components.push_back(
        {"outlier_column", RankedTensorType::get({count}, column)});
    components.push_back(
        {"outlier_value", RankedTensorType::get({count}, half)});
  }
  return components;
}

LogicalResult
LutAttr::verifyWeight(function_ref<InFlightDiagnostic()> emitError, int64_t n,
                      int64_t k) const {
  if (failed(verifyMatrix(emitError, n, k)))
    return failure();
  if (getFullRows() > n)
    return emitError() << "expected full_rows (--full-rows) to be at most the "
                       << n << " rows of the weight, but got " << getFullRows();
  if (getActivation())
    return verifyIntegerColumns(emitError, k);
  return success();
}

//===----------------------------------------------------------------------===//
// UniformAttr
//===----------------------------------------------------------------------===//

LogicalResult UniformAttr::verify(function_ref<InFlightDiagnostic()> emitError,
                                  unsigned bits, int64_t group, unsigned levels,
                                  Type scale, unsigned activation, bool smooth,
                                  bool shift) {
  if (failed(verifyCodes(emitError, bits, group)))
    return failure();
  if (levels == 1 || levels > (1u << bits))
    return emitError() << "expected levels to be 0 or between 2 and "
                       << (1u << bits) << " for " << bits
                       << "-bit codes, but got " << levels;
  if (!scale.isF16() && !scale.isBF16() && !scale.isF32())
    return emitError() << "expected scale to be f16, bf16 or f32, but got "
                       << scale;
  if (failed(verifyActivation(emitError, activation)))
    return failure();
  if (shift && !activation)
    return emitError() << "expected shift only with an activation, but got "
                          "activation = 0";
  return success();
}

unsigned UniformAttr::getCodeBits() const { return getBits(); }

int64_t UniformAttr::getGroupSize() const { return getGroup(); }

unsigned UniformAttr::getActivationBits() const { return getActivation(); }

std::string UniformAttr::getShortName() const {
  std::string name = "uniform" + std::to_string(getBits());
  if (getLevels())
    name += "l" + std::to_string(getLevels());
  if (getActivation())
    name += "a" + std::to_string(getActivation());
  name += groupSuffix(getGroup());
  if (!getScale().isF16())
    name += "_" + shortTypeName(getScale()).str();
  if (getSmooth())
    name += "_smooth";
  if (getShift())
    name += "_shift";
  return name;
}

SmallVector<SchemeComponent> UniformAttr::getComponents(int64_t n,
                                                        int64_t k) const {
  MLIRContext *context = getContext();
  Type half = Float16Type::get(context);
  SmallVector<int64_t> shape{paddedRows(n), groupCount(k, getGroup())};
  SmallVector<SchemeComponent> components{
      codesComponent(context, getBits(), n, k),
      {"scale", RankedTensorType::get(shape, getScale())},
      {"zero", RankedTensorType::get(shape, IntegerType::get(context, 8))}};
  if (getActivation()) {
    bool narrow = getGroup() > 0 && getGroup() * 255 < 65536;
    components.push_back(
        {"sum", RankedTensorType::get(
                    shape, IntegerType::get(context, narrow ? 16 : 32))});
  }
  if (getSmooth())
    components.push_back({"input_scale", RankedTensorType::get({k}, half)});
  if (getShift()) {
    components.push_back({"input_shift", RankedTensorType::get({k}, half)});
    components.push_back(
        {"offset", RankedTensorType::get({n}, Float32Type::get(context))});
  }
  return components;
}

LogicalResult
UniformAttr::verifyWeight(function_ref<InFlightDiagnostic()> emitError,
                          int64_t n, int64_t k) const {
  if (failed(verifyMatrix(emitError, n, k)))
    return failure();
  if (getActivation())
    return verifyIntegerColumns(emitError, k);
  return success();
}

//===----------------------------------------------------------------------===//
// PotAttr
//===----------------------------------------------------------------------===//

LogicalResult PotAttr::verify(function_ref<InFlightDiagnostic()> emitError,
                              unsigned bits, int64_t group, PotGrid grid,
                              unsigned mantissa, Type scale) {
  if (failed(verifyCodes(emitError, bits, group)))
    return failure();
  if (bits < 2)
    return emitError() << "expected bits to be between 2 and 8, but got "
                       << bits;
  bool isFloat = grid == PotGrid::half || grid == PotGrid::third;
  if (mantissa >= bits - 1 || (mantissa && !isFloat))
    return emitError() << "expected mantissa to be "
                       << (isFloat ? "below bits - 1" : "0") << " with grid "
                       << stringifyPotGrid(grid) << " and " << bits
                       << " bits, but got " << mantissa;
  // Exponents beyond this would leave the range of half-precision scales.
  int64_t exponents = int64_t(1) << (bits - 1 - mantissa);
  int64_t most = grid == PotGrid::stride2 ? 2 * (exponents - 1) : exponents - 1;
  if (most > 8)
    return emitError() << "expected the greatest exponent to be at most 8, but "
                          "grid "
                       << stringifyPotGrid(grid) << " with " << bits
                       << " bits has " << most;
  if (!scale.isF16() && !scale.isBF16())
    return emitError() << "expected scale to be f16 or bf16, but got " << scale;
  return success();
}

unsigned PotAttr::getCodeBits() const { return getBits(); }

int64_t PotAttr::getGroupSize() const { return getGroup(); }

SmallVector<float> PotAttr::getFixedLevels() const {
  unsigned magnitudes = 1u << (getBits() - 1);
  float fraction = getGrid() == PotGrid::half ? 0.5f : 1.0f / 3.0f;
  SmallVector<float> levels(2 * magnitudes);
  for (unsigned code = 0; code < magnitudes; ++code) {
    int exponent = static_cast<int>(code >> getMantissa());
    float level = 0;
    if (getGrid() == PotGrid::pot || getGrid() == PotGrid::stride2) {
      level =
          std::ldexp(1.0f, getGrid() == PotGrid::pot ? exponent : 2 * exponent);
    } else {
      unsigned mantissa = code & ((1u << getMantissa()) - 1);
      float part = std::ldexp(static_cast<float>(mantissa) + fraction,
                              -static_cast<int>(getMantissa()));
      level = exponent ? std::ldexp(1.0f + part, exponent - 1) : part;
    }
    levels[code] = level;
    levels[code + magnitudes] = -level;
  }
  return levels;
}

std::string PotAttr::getShortName() const {
  std::string name = "pot" + std::to_string(getBits());
  if (getGrid() != PotGrid::pot)
    name += "_" + stringifyPotGrid(getGrid()).str();
  if (getMantissa())
    name += "m" + std::to_string(getMantissa());
  name += groupSuffix(getGroup());
  if (!getScale().isF16())
    name += "_" + shortTypeName(getScale()).str();
  return name;
}

SmallVector<SchemeComponent> PotAttr::getComponents(int64_t n,
                                                    int64_t k) const {
  return {codesComponent(getContext(), getBits(), n, k),
          {"scale",
           RankedTensorType::get({paddedRows(n), groupCount(k, getGroup())},
                                 getScale())}};
}

LogicalResult
PotAttr::verifyWeight(function_ref<InFlightDiagnostic()> emitError, int64_t n,
                      int64_t k) const {
  return verifyMatrix(emitError, n, k);
}

//===----------------------------------------------------------------------===//
// NfAttr
//===----------------------------------------------------------------------===//

LogicalResult NfAttr::verify(function_ref<InFlightDiagnostic()> emitError,
                             unsigned bits, int64_t group) {
  if (failed(verifyCodes(emitError, bits, group)))
    return failure();
  if (bits < 2)
    return emitError() << "expected bits to be between 2 and 8, but got "
                       << bits;
  return success();
}

unsigned NfAttr::getCodeBits() const { return getBits(); }

int64_t NfAttr::getGroupSize() const { return getGroup(); }

/// The value that a normal variable stays below with probability p > 0.5.
static double normalQuantile(double p) {
  double low = 0, high = 10;
  for (int step = 0; step < 80; ++step) {
    double middle = (low + high) / 2;
    (0.5 * std::erfc(-middle / std::sqrt(2.0)) < p ? low : high) = middle;
  }
  return low;
}

SmallVector<float> NfAttr::getFixedLevels() const {
  int half = 1 << (getBits() - 1);
  double count = 2.0 * half;
  // Half way between the ends of both sides, which differ by one level.
  double end = 1 - (0.5 / (count - 1) + 0.5 / count) / 2;
  double greatest = normalQuantile(end);
  SmallVector<float> levels;
  auto level = [&](int index, int steps) {
    double p = end + (0.5 - end) * index / steps;
    return static_cast<float>(normalQuantile(p) / greatest);
  };
  for (int i = 0; i < half - 1; ++i)
    levels.push_back(-level(i, half - 1));
  levels.push_back(0);
  for (int i = half - 1; i >= 0; --i)
    levels.push_back(level(i, half));
  return levels;
}

std::string NfAttr::getShortName() const {
  return "nf" + std::to_string(getBits()) + groupSuffix(getGroup());
}

SmallVector<SchemeComponent> NfAttr::getComponents(int64_t n, int64_t k) const {
  return {codesComponent(getContext(), getBits(), n, k),
          {"scale",
           RankedTensorType::get({paddedRows(n), groupCount(k, getGroup())},
                                 Float16Type::get(getContext()))}};
}

LogicalResult NfAttr::verifyWeight(function_ref<InFlightDiagnostic()> emitError,
                                   int64_t n, int64_t k) const {
  return verifyMatrix(emitError, n, k);
}
