//===- GpuPacking.cpp - Stored weights to operands of kernels -------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/Codegen/Gpu/GpuPacking.h"
#include "RowDecoder.h"
#include "ganq/Support/CodeLayout.h"
#include "llvm/ADT/APFloat.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/MathExtras.h"
#include <cmath>
#include <cstring>

using namespace mlir;
using namespace ganq;
using llvm::createStringError;
using llvm::Expected;

FloatType ganq::getGpuType(SchemeAttrInterface scheme) {
  Type type = Float16Type::get(scheme.getContext());
  if (auto lut = dyn_cast<LutAttr>(scheme))
    type = lut.getEntry();
  else if (auto pot = dyn_cast<PotAttr>(scheme))
    type = pot.getScale();
  else if (auto uniform = dyn_cast<UniformAttr>(scheme))
    type = uniform.getScale();
  if (type.isF16() || type.isBF16())
    return cast<FloatType>(type);
  return Float16Type::get(scheme.getContext());
}

SchemeAttrInterface ganq::getGpuScheme(SchemeAttrInterface scheme) {
  auto uniform = dyn_cast<UniformAttr>(scheme);
  if (!uniform)
    return scheme;
  Type scale = uniform.getScale();
  if (scale.isF32())
    scale = Float16Type::get(scheme.getContext());
  return cast<SchemeAttrInterface>(Attribute(UniformAttr::get(
      scheme.getContext(), uniform.getBits(), uniform.getGroup(),
      uniform.getLevels(), scale, uniform.getActivation(), /*smooth=*/false,
      /*shift=*/false)));
}

Expected<SmallVector<GpuPackedAttr>>
ganq::getGpuOperands(const GpuMatmulSpec &spec, int64_t n, int64_t k,
                     ArrayRef<StringRef> components,
                     SchemeAttrInterface stored) {
  Expected<GpuDecoding> decoding = getGpuDecoding(spec);
  if (!decoding)
    return decoding.takeError();
  if (Expected<GpuLayout> layout = getGpuLayout(spec, n, k); !layout)
    return layout.takeError();
  MLIRContext *context = spec.scheme.getContext();
  SmallVector<Attribute> keys;
  for (StringRef key : components)
    keys.push_back(StringAttr::get(context, key));
  SmallVector<GpuPackedAttr> operands;
  auto add = [&](GpuOperand operand) {
    bool exponent = decoding->order == GpuLayout::Order::Exponent;
    operands.push_back(GpuPackedAttr::get(
        context, stored ? stored : spec.scheme, n, k, operand,
        static_cast<GpuOrder>(decoding->order),
        exponent ? decoding->exponentBit : 0, ArrayAttr::get(context, keys)));
  };
  add(GpuOperand::codes);
  if (decoding->table)
    add(GpuOperand::table);
  if (decoding->scale)
    add(GpuOperand::scale);
  if (decoding->zero)
    add(GpuOperand::zero);
  if (spec.strategy != GpuStrategy::F16)
    add(GpuOperand::weight_sum);
  return operands;
}

static SchemeAttrInterface getScheme(GpuPackedAttr operand) {
  return cast<SchemeAttrInterface>(operand.getScheme());
}

static int64_t getPaddedRows(GpuPackedAttr operand) {
  return llvm::alignTo(operand.getN(), GpuLayout::kRowTile);
}

static int64_t getGroups(GpuPackedAttr operand) {
  int64_t group = getScheme(operand).getGroupSize();
  return group ? llvm::divideCeil(operand.getK(), group) : 1;
}

/// The stored tensor that an operand is made of, by its place; -1 where the
/// scheme has none.
static int64_t findComponent(GpuPackedAttr operand) {
  StringRef name = operand.getOperand() == GpuOperand::weight_sum
                       ? "sum"
                       : stringifyGpuOperand(operand.getOperand());
  auto components =
      getScheme(operand).getComponents(operand.getN(), operand.getK());
  for (auto [index, component] : llvm::enumerate(components))
    if (component.suffix == name)
      return static_cast<int64_t>(index);
  return -1;
}

RankedTensorType ganq::getGpuOperandType(GpuPackedAttr operand) {
  SchemeAttrInterface scheme = getScheme(operand);
  MLIRContext *context = operand.getContext();
  if (findComponent(operand) < 0)
    return {};
  int64_t rows = getPaddedRows(operand);
  switch (operand.getOperand()) {
  case GpuOperand::codes: {
    auto order = static_cast<GpuLayout::Order>(operand.getOrder());
    if (!GpuLayout::supports(order, scheme.getCodeBits()))
      return {};
    GpuLayout layout(order, scheme.getCodeBits(), operand.getN(),
                     operand.getK());
    return RankedTensorType::get({layout.getBytes()},
                                 IntegerType::get(context, 8));
  }
  case GpuOperand::table:
    return RankedTensorType::get({rows, int64_t(1) << scheme.getCodeBits()},
                                 getGpuType(scheme));
  case GpuOperand::scale:
  case GpuOperand::zero:
    return RankedTensorType::get({getGroups(operand), rows},
                                 getGpuType(scheme));
  case GpuOperand::weight_sum:
    return RankedTensorType::get({rows}, IntegerType::get(context, 32));
  }
  llvm_unreachable("all operands are listed");
}

/// The codes of a row, from the order of the CPU kernels.
static void readRow(const CodeLayout &layout, const uint8_t *codes, int64_t row,
                    MutableArrayRef<uint8_t> values) {
  constexpr int64_t kLanes = CodeLayout::kLanes, kRows = CodeLayout::kRowTile;
  llvm::fill(values, 0);
  auto columns = static_cast<int64_t>(values.size());
  for (const CodeLayout::Plane &plane : layout.getPlanes()) {
    const uint8_t *unit = codes + row / kRows * layout.getTileBytes() +
                          plane.offset + row % kRows * kLanes;
    auto mask = static_cast<uint8_t>((1u << plane.width) - 1);
    for (int64_t first = 0; first < columns; unit += kRows * kLanes)
      for (unsigned bit = 0; bit < 8 && first < columns;
           bit += plane.width, first += kLanes)
        for (int64_t lane = 0; lane < std::min(kLanes, columns - first); ++lane)
          values[first + lane] |=
              static_cast<uint8_t>(((unit[lane] >> bit) & mask) << plane.shift);
  }
}

static std::vector<char> packCodes(GpuPackedAttr operand,
                                   ArrayRef<char> stored) {
  unsigned bits = getScheme(operand).getCodeBits();
  int64_t n = operand.getN(), k = operand.getK();
  CodeLayout from(bits, n, k);
  GpuLayout to(static_cast<GpuLayout::Order>(operand.getOrder()), bits, n, k,
               static_cast<int>(operand.getExponentBit()));
  // Word and bit in the granule of each bit of a column.
  int64_t granule = to.getGranuleColumns(),
          words = GpuLayout::kSlots * to.getSlotWords();
  std::vector<std::pair<unsigned, unsigned>> places;
  for (int64_t column = 0; column < granule; ++column)
    for (unsigned bit = 0; bit < bits; ++bit) {
      GpuLayout::Bit place = to.getBit(to.getIndexInSlot(column), bit);
      places.emplace_back(to.getSlot(column) * to.getSlotWords() + place.word,
                          place.bit);
    }
  std::vector<char> result(to.getBytes());
  std::vector<uint8_t> values(k);
  std::vector<uint32_t> gathered(words);
  constexpr int64_t kUnit = GpuLayout::kUnitWords;
  for (int64_t row = 0; row < n; ++row) {
    readRow(from, reinterpret_cast<const uint8_t *>(stored.data()), row,
            values);
    for (int64_t g = 0; g < to.getGranules(); ++g) {
      llvm::fill(gathered, 0);
      int64_t count = std::min(granule, k - g * granule);
      for (int64_t column = 0; column < count; ++column) {
        unsigned code = values[g * granule + column];
        for (unsigned bit = 0; bit < bits; ++bit) {
          auto [word, shift] = places[column * bits + bit];
          gathered[word] |= ((code >> bit) & 1) << shift;
        }
      }
      // Offsets as GpuLayout describes them.
      for (int64_t unit = 0; unit < to.getUnits(); ++unit)
        std::memcpy(
            result.data() +
                ((g * to.getUnits() + unit) * to.getPaddedRows() + row) *
                    kUnit * 4,
            &gathered[unit * kUnit], kUnit * 4);
    }
  }
  return result;
}

Expected<std::vector<char>>
ganq::packGpuOperand(GpuPackedAttr operand,
                     ArrayRef<ArrayRef<char>> components) {
  SchemeAttrInterface scheme = getScheme(operand);
  int64_t n = operand.getN();
  auto stored = scheme.getComponents(n, operand.getK());
  RankedTensorType type = getGpuOperandType(operand);
  if (!type || components.size() != stored.size() ||
      components.size() != operand.getComponents().size())
    return createStringError(
        llvm::formatv("expected the components of {0}, but got those of {1}",
                      scheme, operand)
            .str());
  for (auto [component, bytes, key] :
       llvm::zip_equal(stored, components, operand.getComponents())) {
    int64_t wanted = component.type.getNumElements() *
                     component.type.getElementTypeBitWidth() / 8;
    if (static_cast<int64_t>(bytes.size()) != wanted)
      return createStringError(
          llvm::formatv("expected '{0}' to have {1} bytes, but got {2}",
                        cast<StringAttr>(key).getValue(), wanted, bytes.size())
              .str());
  }
  ArrayRef<char> source = components[findComponent(operand)];
  if (operand.getOperand() == GpuOperand::codes)
    return packCodes(operand, source);

  std::vector<char> result(type.getNumElements() *
                           type.getElementTypeBitWidth() / 8);
  if (operand.getOperand() == GpuOperand::table ||
      operand.getOperand() == GpuOperand::weight_sum) {
    // Rows are padded, to fewer or to more than the other order has.
    int64_t row = static_cast<int64_t>(result.size()) / type.getDimSize(0);
    std::memcpy(result.data(), source.data(), n * row);
    return result;
  }
  int64_t groups = getGroups(operand), padded = getPaddedRows(operand);
  const llvm::fltSemantics &semantics =
      cast<FloatType>(type.getElementType()).getFloatSemantics();
  int64_t width =
      stored[findComponent(operand)].type.getElementTypeBitWidth() / 8;
  for (int64_t row = 0; row < n; ++row)
    for (int64_t group = 0; group < groups; ++group) {
      char *to = result.data() + (group * padded + row) * 2;
      const char *from = source.data() + (row * groups + group) * width;
      if (width == 2) {
        std::memcpy(to, from, 2);
        continue;
      }
      // Zero points are whole numbers up to 255, which both types hold.
      float value = static_cast<uint8_t>(*from);
      if (width == 4)
        std::memcpy(&value, from, 4);
      llvm::APFloat number(value);
      bool inexact;
      number.convert(semantics, llvm::APFloat::rmNearestTiesToEven, &inexact);
      auto bits = static_cast<uint16_t>(number.bitcastToAPInt().getZExtValue());
      std::memcpy(to, &bits, 2);
      // Subnormal numbers may be far from what they stand for.
      constexpr float kNear = 1.0f / 256;
      number.convert(llvm::APFloat::IEEEsingle(),
                     llvm::APFloat::rmNearestTiesToEven, &inexact);
      float got = number.convertToFloat();
      if (!(std::fabs(got - value) <= kNear * std::fabs(value)))
        return createStringError(
            llvm::formatv("expected scales in the range of f16 for the GPU "
                          "kernels, but got {0} in '{1}'; compile for CPUs, or "
                          "quantize the weight anew",
                          value,
                          cast<StringAttr>(
                              operand.getComponents()[findComponent(operand)])
                              .getValue())
                .str());
    }
  return result;
}
