//===- WeightReaders.cpp - Weights of a product as vectors of f32 ---------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "CodeReader.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "llvm/Support/MathExtras.h"
#include <cmath>
#include <numeric>

using namespace mlir;
using namespace ganq;
using Values = KernelBuilder::Values;

namespace {

/// Weights in f32, f16 or bf16, [N, K].
class FloatReader : public WeightReader {
public:
  FloatReader(Value weight, int64_t n) : weight(weight), n(n) {}

  int64_t getGranule() const override { return 4 * kLanes; }

  void beginTile(KernelBuilder &k, Value tile) override {
    Value first = k.mul(tile, kRowTile);
    for (int64_t row = 0; row < kRowTile; ++row) {
      rows[row] = k.add(first, row);
      // Rows after the last are read from the last and not stored.
      if (n % kRowTile)
        rows[row] = k.min(rows[row], k.index(n - 1));
    }
  }
  void beginGranule(KernelBuilder &k, Value granule, int64_t) override {
    column = k.mul(granule, getGranule());
    for (int64_t row = 0; row < kRowTile; ++row)
      for (int64_t line = 0; line < getGranule(); line += kLanes)
        k.prefetch(weight, {rows[row], k.add(column, kAhead + line)});
  }
  Value decode(KernelBuilder &k, int64_t row, int64_t chunk,
               Value mask) override {
    return k.loadVector(weight, {rows[row], k.add(column, chunk * kLanes)},
                        mask);
  }
  bool hasShortWeights() const override {
    return cast<MemRefType>(weight.getType()).getElementTypeBitWidth() <= 16;
  }

private:
  /// Columns between what is read and what is prefetched.
  static constexpr int64_t kAhead = 1024;

  Value weight, column;
  int64_t n;
  Value rows[kRowTile];
};

/// Codes with a scale for each row and group. Where a row has several groups,
/// the scales of a tile are widened once, in vectors, so that a group reads its
/// own from the first cache together with the broadcast.
class ScaledReader : public CodeReader {
public:
  ScaledReader(Value codes, Value scales, SchemeAttrInterface scheme, int64_t n,
               int64_t k)
      : CodeReader(codes, scheme, n, k), scales(scales) {}

  void begin(KernelBuilder &k, int64_t sharing) override {
    CodeReader::begin(k, sharing);
    if (groups == 1)
      return;
    wideScales = k.scratch({kRowTile * groups});
    flatScales = k.flatten(scales);
  }

  void beginTile(KernelBuilder &k, Value tile) override {
    CodeReader::beginTile(k, tile);
    if (groups == 1)
      return;
    Value first = k.mul(tile, kRowTile * groups);
    k.chunks(k.index(kRowTile * groups), [&](Value offset, Value mask) {
      Value from = k.add(first, offset);
      widen(k, k.loadVector(flatScales, from, mask), from, offset, mask);
    });
  }

protected:
  /// Stores what groups read of 16 scales of the tile, at `from` of all rows
  /// and at `offset` of the tile.
  virtual void widen(KernelBuilder &k, Value scale, Value from, Value offset,
                     Value mask) {
    k.storeVector(scale, wideScales, offset, mask);
  }
  Value groupScale(KernelBuilder &k, int64_t r, Value group) {
    return groups == 1 ? k.load(scales, {row(k, r), k.index(0)})
                       : k.load(wideScales, k.add(group, r * groups));
  }
  static Value broadcast(KernelBuilder &k, Value scalar, int64_t count) {
    return vector::BroadcastOp::create(
        k.builder, k.loc, VectorType::get({count}, scalar.getType()), scalar);
  }

  /// Scales of f16 or bf16 have 11 significant bits at most, so that times
  /// levels of a few bits they have 16.
  static constexpr int kShortLevelBits = 5;
  bool hasShortScales() const {
    return cast<MemRefType>(scales.getType()).getElementTypeBitWidth() <= 16;
  }

  Value scales, wideScales, flatScales;
};

/// #ganq.uniform: (code - zero) * scale, through a table for small codes.
class UniformReader : public ScaledReader {
public:
  UniformReader(ValueRange components, UniformAttr scheme, int64_t n, int64_t k)
      : ScaledReader(components[0], components[1], scheme, n, k),
        zeros(components[2]) {}

  void begin(KernelBuilder &k, int64_t sharing) override {
    ScaledReader::begin(k, sharing);
    if (groups == 1)
      return;
    wideShifts = k.scratch({kRowTile * groups});
    flatZeros = k.flatten(zeros);
  }

  void beginGroup(KernelBuilder &k, Value group) override {
    for (int64_t r = 0; r < kRowTile; ++r) {
      Value factor = groupScale(k, r, group);
      Value offset;
      if (groups == 1) {
        Value zero = memref::LoadOp::create(k.builder, k.loc, zeros,
                                            ValueRange{row(k, r), k.index(0)});
        zero = arith::UIToFPOp::create(k.builder, k.loc, k.f32, zero);
        offset = k.negf(k.mulf(zero, factor));
      } else {
        offset = k.load(wideShifts, k.add(group, r * groups));
      }
      scale[r] = broadcast(k, factor, lanes(k));
      shift[r] = broadcast(k, offset, lanes(k));
      if (!usesTable(k))
        continue;
      SmallVector<float> level(entries);
      std::iota(level.begin(), level.end(), 0.0f);
      table[r] = makeTables([&](int64_t number) {
        Value levels = arith::ConstantOp::create(
            k.builder, k.loc,
            DenseElementsAttr::get(
                VectorType::get({lanes(k)}, k.f32),
                ArrayRef<float>(arrangeEntries<float>(k, level, number))));
        return k.fma(levels, scale[r], shift[r]);
      });
    }
  }

  Value decode(KernelBuilder &k, int64_t row, int64_t chunk, Value) override {
    if (usesTable(k))
      return lookup(k, table[row], row, chunk);
    Value level = arith::SIToFPOp::create(
        k.builder, k.loc, k.vecF32, codeVector(k, row, chunk, /*exact=*/true));
    return k.fma(level, scale[row], shift[row]);
  }

  bool hasShortWeights() const override {
    return bits <= kShortLevelBits && hasShortScales();
  }

protected:
  void widen(KernelBuilder &k, Value scale, Value from, Value offset,
             Value mask) override {
    ScaledReader::widen(k, scale, from, offset, mask);
    Value zero = arith::UIToFPOp::create(k.builder, k.loc, k.vecF32,
                                         k.loadElements(flatZeros, from, mask));
    k.storeVector(k.negf(k.mulf(zero, scale)), wideShifts, offset, mask);
  }

private:
  /// Converting is faster than joining the permutes of two registers.
  bool usesTable(KernelBuilder &k) const {
    return entries <= (k.avx512 ? 16 : 8);
  }
  int64_t lanes(KernelBuilder &k) const {
    return usesTable(k) ? registerEntries(k) : kLanes;
  }

  Value zeros, wideShifts, flatZeros;
  Value scale[kRowTile], shift[kRowTile];
  Tables table[kRowTile];
};

/// Fixed levels times a scale. Levels that are powers of two are multiplied by
/// an integer add to the exponent of the scale: 2^E s has the bits of s plus
/// E 2^23 for every s that is normal, and the sign is a bit that s > 0 lacks.
class LevelsReader : public ScaledReader {
public:
  LevelsReader(ValueRange components, SchemeAttrInterface scheme, int64_t n,
               int64_t k)
      : ScaledReader(components[0], components[1], scheme, n, k),
        levels(scheme.getFixedLevels()),
        arePowers(llvm::all_of(levels, isPower)) {}

  void begin(KernelBuilder &k, int64_t sharing) override {
    ScaledReader::begin(k, sharing);
    if (fitsRegisters(k))
      return;
    memory = k.scratch({1, entries});
    for (int64_t at = 0; at < entries; at += kLanes)
      k.storeVector(
          arith::ConstantOp::create(
              k.builder, k.loc,
              DenseElementsAttr::get(
                  k.vecF32, ArrayRef<float>(levels).slice(at, kLanes))),
          memory, {k.index(0), k.index(at)});
  }

  void beginGroup(KernelBuilder &k, Value group) override {
    for (int64_t r = 0; r < kRowTile; ++r) {
      Value factor = groupScale(k, r, group);
      if (usesTable() && !addsToEachWeight(k))
        table[r] = makeTables(
            [&](int64_t number) { return scaledTable(k, factor, number); });
      else
        scale[r] = k.splat(factor);
    }
  }

  Value decode(KernelBuilder &k, int64_t row, int64_t chunk, Value) override {
    if (addsToEachWeight(k))
      return addExponents(k, row, chunk);
    if (usesTable())
      return lookup(k, table[row], row, chunk);
    Value level = fitsRegisters(k)
                      ? lookup(k, {constantTable(k, 0)}, row, chunk)
                      : gather(k, memory, 0, row, chunk);
    return k.mulf(level, scale[row]);
  }

  bool hasShortWeights() const override {
    return hasShortScales() && llvm::all_of(levels, [](float level) {
             int exponent;
             float scaled =
                 std::ldexp(std::frexp(level, &exponent), kShortLevelBits);
             return scaled == std::trunc(scaled);
           });
  }

private:
  /// Tables for more bits take more registers than multiplying costs.
  static constexpr unsigned kMaxTableBits = 4;
  bool usesTable() const { return bits <= kMaxTableBits; }

  static bool isPower(float level) {
    int exponent;
    return std::fabs(std::frexp(level, &exponent)) == 0.5f && exponent >= 1;
  }
  /// Whether exponents are added to the scale weight by weight. A permute of
  /// one register is faster than the shifts and masks of an exponent and a
  /// sign, which are faster than joining the permutes of two.
  bool addsToEachWeight(KernelBuilder &k) const {
    return arePowers && entries > (k.avx512 ? 16 : 8);
  }
  Value addExponents(KernelBuilder &k, int64_t row, int64_t chunk) {
    constexpr int64_t kMantissaBits = 23;
    OpBuilder &b = k.builder;
    Value code = codeVector(k, row, chunk, /*exact=*/false);
    auto field = [&](int64_t left, uint32_t mask) -> Value {
      Value moved = arith::ShLIOp::create(b, k.loc, code, k.splatInt(left));
      return arith::AndIOp::create(b, k.loc, moved,
                                   k.splatInt(static_cast<int32_t>(mask)));
    };
    // Magnitude 1 is the step of the grid: 2 or 4.
    int64_t place = kMantissaBits + std::ilogb(levels[1]) - 1;
    Value exponent =
        field(place, llvm::maskTrailingOnes<uint32_t>(bits - 1) << place);
    Value sign = field(32 - bits, 1u << 31);
    Value sum = arith::AddIOp::create(
        b, k.loc, arith::BitcastOp::create(b, k.loc, k.vecI32, scale[row]),
        exponent);
    return arith::BitcastOp::create(b, k.loc, k.vecF32,
                                    arith::XOrIOp::create(b, k.loc, sum, sign));
  }
  Value constantTable(KernelBuilder &k, int64_t number) {
    return arith::ConstantOp::create(
        k.builder, k.loc,
        DenseElementsAttr::get(
            VectorType::get({registerEntries(k)}, k.f32),
            ArrayRef<float>(arrangeEntries<float>(k, levels, number))));
  }
  /// The levels of a group in a register.
  Value scaledTable(KernelBuilder &k, Value factor, int64_t number) {
    int64_t count = registerEntries(k);
    if (!arePowers)
      return k.mulf(constantTable(k, number), broadcast(k, factor, count));
    SmallVector<int32_t> bitsToAdd;
    for (float level : levels)
      bitsToAdd.push_back(static_cast<int32_t>(
          (static_cast<uint32_t>(std::ilogb(level)) << 23) +
          (level < 0 ? 1u << 31 : 0)));
    auto type = VectorType::get({count}, k.builder.getI32Type());
    Value exponents = arith::ConstantOp::create(
        k.builder, k.loc,
        DenseElementsAttr::get(type, ArrayRef<int32_t>(arrangeEntries<int32_t>(
                                         k, bitsToAdd, number))));
    Value bits = arith::BitcastOp::create(k.builder, k.loc, type,
                                          broadcast(k, factor, count));
    return arith::BitcastOp::create(
        k.builder, k.loc, VectorType::get({count}, k.f32),
        arith::AddIOp::create(k.builder, k.loc, bits, exponents));
  }

  SmallVector<float> levels;
  bool arePowers;
  Value memory;
  Value scale[kRowTile];
  Tables table[kRowTile];
};

} // namespace

SmallVector<int64_t> WeightReader::getOrder(int64_t chunks) const {
  return llvm::to_vector(llvm::seq(chunks));
}

std::unique_ptr<WeightReader> ganq::createFloatReader(Value weight, int64_t n) {
  return std::make_unique<FloatReader>(weight, n);
}

std::unique_ptr<WeightReader> ganq::createReader(SchemeAttrInterface scheme,
                                                 ValueRange components,
                                                 int64_t n, int64_t k) {
  if (auto lut = dyn_cast<LutAttr>(scheme))
    return createLutReader(components, lut, n, k);
  if (auto uniform = dyn_cast<UniformAttr>(scheme))
    return std::make_unique<UniformReader>(components, uniform, n, k);
  if (hasReader(scheme))
    return std::make_unique<LevelsReader>(components, scheme, n, k);
  return nullptr;
}

bool ganq::hasReader(SchemeAttrInterface scheme) {
  return isa<LutAttr, UniformAttr>(scheme) || !scheme.getFixedLevels().empty();
}
