//===- LutReader.cpp - Weights from tables as vectors of f32 --------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "CodeReader.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include <numeric>

using namespace mlir;
using namespace ganq;

namespace {

/// Entries of a table, given by their bits, as f32. Those of f8E4M3FN lack a
/// factor of 2^8: their bits are placed in an f16, whose exponents are biased
/// by 8 more, since the processor widens f16 at once, denormal ones too.
Value widenEntries(KernelBuilder &k, Value bits, Type entry) {
  ArrayRef<int64_t> shape = cast<VectorType>(bits.getType()).getShape();
  auto bitcast = [&](Value value, Type element) -> Value {
    return arith::BitcastOp::create(k.builder, k.loc,
                                    VectorType::get(shape, element), value);
  };
  auto constant = [&](IntegerType element, int64_t value) -> Value {
    auto type = VectorType::get(shape, element);
    return arith::ConstantOp::create(
        k.builder, k.loc,
        DenseElementsAttr::get(type, APInt(element.getWidth(), value)));
  };
  IntegerType i16 = k.builder.getIntegerType(16);
  IntegerType i32 = k.builder.getIntegerType(32);
  if (entry.isInteger(8))
    return arith::SIToFPOp::create(k.builder, k.loc,
                                   VectorType::get(shape, k.f32), bits);
  if (entry.isF16())
    return k.extend(bitcast(bits, entry));
  if (entry.isBF16()) {
    Value wide = arith::ExtUIOp::create(k.builder, k.loc,
                                        VectorType::get(shape, i32), bits);
    wide = arith::ShLIOp::create(k.builder, k.loc, wide, constant(i32, 16));
    return bitcast(wide, k.f32);
  }
  Value half = arith::ExtSIOp::create(k.builder, k.loc,
                                      VectorType::get(shape, i16), bits);
  half = arith::ShLIOp::create(k.builder, k.loc, half, constant(i16, 7));
  // The sign was extended over the bit between it and the exponent.
  half = arith::AndIOp::create(k.builder, k.loc, half, constant(i16, 0xBFFF));
  return k.extend(bitcast(half, k.builder.getF16Type()));
}

/// What `widenEntries` leaves to the scale.
constexpr float kEntryFactorF8 = 256.0f;

/// #ganq.lut: the code selects an entry of the table of its rows and group.
class LutReader : public CodeReader {
public:
  LutReader(ValueRange components, LutAttr scheme, int64_t n, int64_t k)
      : CodeReader(components[0], scheme, n, k), scheme(scheme),
        tables(components[1]) {
    if (scheme.hasScale())
      scales = components[2];
    if (scheme.hasSparsePart())
      sparse = {components[components.size() - 3],
                components[components.size() - 2], components.back()};
  }

  void begin(KernelBuilder &k, int64_t sharing) override {
    CodeReader::begin(k, sharing);
    int64_t padded = granules * getGranule();
    bool joins = !k.avx512 && bits == 4 && group == 0 && sharing &&
                 scheme.getEntry().isF16() && padded <= kMaxHalves;
    if (joins)
      halves = k.scratch({kRowTile, padded}, k.builder.getF16Type());
    if (!fitsRegisters(k))
      spill = k.scratch({tablesPerTile(), entries});
  }

  void beginTile(KernelBuilder &k, Value tile) override {
    CodeReader::beginTile(k, tile);
    if (halves)
      k.loop(k.index(0), k.index(granules), 1,
             [&](Value granule) { joinHalves(k, granule); });
    if (!scales)
      return;
    for (int64_t r = 0; r < kRowTile; ++r) {
      scale[r] = k.load(scales, row(k, r));
      if (!scheme.getEntry().isInteger(8))
        scale[r] = k.mulf(scale[r], k.constant(kEntryFactorF8));
    }
  }

  void beginGranule(KernelBuilder &k, Value granule, int64_t count) override {
    if (!halves)
      return CodeReader::beginGranule(k, granule, count);
    column = k.mul(granule, getGranule());
    prefetchNextTiles(k, granule);
  }

  void beginGroup(KernelBuilder &k, Value group) override {
    if (halves)
      return;
    for (int64_t t = 0; t < tablesPerTile(); ++t) {
      Value place = tablesPerTile() == 1
                        ? k.div(tile, scheme.getRows() / kRowTile)
                        : row(k, t);
      if (fitsRegisters(k)) {
        Value stored = load(k, place, group, 0, entries);
        SmallVector<int64_t> lanes(entries);
        std::iota(lanes.begin(), lanes.end(), 0);
        table[t] = makeTables([&](int64_t number) {
          Value all = stored;
          if (entries < registerEntries(k))
            all = vector::ShuffleOp::create(
                k.builder, k.loc, stored, stored,
                arrangeEntries<int64_t>(k, lanes, number));
          return widenEntries(k, all, scheme.getEntry());
        });
        continue;
      }
      for (int64_t at = 0; at < entries; at += kLanes)
        k.storeVector(widenEntries(k, load(k, place, group, at, kLanes),
                                   scheme.getEntry()),
                      spill, {k.index(t), k.index(at)});
    }
  }

  Value decode(KernelBuilder &k, int64_t row, int64_t chunk, Value) override {
    if (halves)
      return k.loadVector(halves,
                          {k.index(row), k.add(column, chunk * kLanes)});
    int64_t number = tablesPerTile() == 1 ? 0 : row;
    return fitsRegisters(k) ? lookup(k, table[number], row, chunk)
                            : gather(k, spill, number, row, chunk);
  }

  Value getRowScale(KernelBuilder &k, int64_t row) override {
    return scales ? scale[row] : Value();
  }
  bool hasShortWeights() const override {
    return scheme.getEntry().getIntOrFloatBitWidth() == 16 ||
           isa<FloatType>(scheme.getEntry());
  }
  const SparseRows *getSparseRows() const override {
    return scheme.hasSparsePart() ? &sparse : nullptr;
  }

private:
  /// Columns whose f16 weights of four rows may occupy the stack.
  static constexpr int64_t kMaxHalves = 32 * 1024;

  int64_t tablesPerTile() const { return scheme.getRows() == 1 ? kRowTile : 1; }
  /// The bits of `count` entries.
  Value load(KernelBuilder &k, Value place, Value group, int64_t at,
             int64_t count) {
    Type entry = scheme.getEntry();
    Value stored = vector::LoadOp::create(
        k.builder, k.loc, VectorType::get({count}, entry), tables,
        ValueRange{place, group, k.index(at)});
    Type bits = k.builder.getIntegerType(entry.getIntOrFloatBitWidth());
    return arith::BitcastOp::create(k.builder, k.loc,
                                    VectorType::get({count}, bits), stored);
  }

  /// Looks up a granule of 4-bit codes of all four rows with AVX2, whose
  /// permute of f32 takes eight entries. vpshufb takes the low or the high byte
  /// of all sixteen for the codes of two rows; interleaved, they are f16.
  void joinHalves(KernelBuilder &k, Value granule) {
    constexpr int64_t kPair = 2 * kLanes;
    OpBuilder &b = k.builder;
    auto bytes = VectorType::get({kPair}, b.getI8Type());
    auto half = VectorType::get({kLanes}, b.getF16Type());
    auto shuffle = [&](Value x, Value y, int64_t count,
                       function_ref<int64_t(int64_t)> from) -> Value {
      SmallVector<int64_t> lanes;
      for (int64_t i = 0; i < count; ++i)
        lanes.push_back(from(i));
      return vector::ShuffleOp::create(b, k.loc, x, y, lanes);
    };
    auto splat = [&](int8_t value) -> Value {
      return arith::ConstantOp::create(b, k.loc,
                                       DenseElementsAttr::get(bytes, value));
    };
    for (int64_t pair = 0; pair < kRowTile; pair += 2) {
      // Entries of both rows, their bytes apart: [row][byte of entry].
      Value entriesOf[2];
      for (int64_t r = 0; r < 2; ++r) {
        Value place = tablesPerTile() == 1
                          ? k.div(tile, scheme.getRows() / kRowTile)
                          : row(k, pair + r);
        entriesOf[r] = vector::BitCastOp::create(
            b, k.loc, bytes, load(k, place, k.index(0), 0, entries));
      }
      Value plane[2];
      for (int64_t byte = 0; byte < 2; ++byte)
        plane[byte] = shuffle(entriesOf[0], entriesOf[1], kPair,
                              [=](int64_t i) { return 2 * i + byte; });
      Value at =
          k.add(k.add(base, k.mul(granule, kRowTile * kLanes)), pair * kLanes);
      Value word =
          vector::LoadOp::create(b, k.loc, bytes, codes, ValueRange(at));
      for (int64_t chunk = 0; chunk < 2; ++chunk) {
        Value index =
            chunk ? arith::ShRUIOp::create(b, k.loc, word, splat(4)).getResult()
                  : word;
        index = arith::AndIOp::create(b, k.loc, index, splat(15));
        Value found[2];
        for (int64_t byte = 0; byte < 2; ++byte)
          found[byte] =
              LLVM::CallIntrinsicOp::create(
                  b, k.loc, bytes, b.getStringAttr("llvm.x86.avx2.pshuf.b"),
                  ValueRange{plane[byte], index})
                  .getResult(0);
        for (int64_t side = 0; side < kLanes; side += 8) {
          // Lane i is byte i % 2 of column side + i / 2 of either row.
          Value both = shuffle(found[0], found[1], kPair, [=](int64_t i) {
            return i / kLanes * kLanes + side + i % kLanes / 2 + i % 2 * kPair;
          });
          both = vector::BitCastOp::create(b, k.loc, half, both);
          for (int64_t r = 0; r < 2; ++r) {
            Value weights = vector::ExtractStridedSliceOp::create(
                b, k.loc, both, ArrayRef<int64_t>{r * 8}, ArrayRef<int64_t>{8},
                ArrayRef<int64_t>{1});
            vector::StoreOp::create(
                b, k.loc, weights, halves,
                ValueRange{k.index(pair + r),
                           k.add(k.mul(granule, getGranule()),
                                 chunk * kLanes + side)});
          }
        }
      }
    }
  }

  LutAttr scheme;
  Value tables, scales, spill;
  /// Weights of a tile, [row][column] in f16; null where each vector is looked
  /// up when it is used.
  Value halves, column;
  SparseRows sparse;
  Tables table[kRowTile];
  Value scale[kRowTile];
};

} // namespace

std::unique_ptr<WeightReader> ganq::createLutReader(ValueRange components,
                                                    LutAttr scheme, int64_t n,
                                                    int64_t k) {
  return std::make_unique<LutReader>(components, scheme, n, k);
}
