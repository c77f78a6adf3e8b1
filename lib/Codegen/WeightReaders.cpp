//===- WeightReaders.cpp - Weights of a product as vectors of f32 ---------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "WeightReaders.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "llvm/Support/MathExtras.h"
#include <array>
#include <cmath>
#include <numeric>

using namespace mlir;
using namespace ganq;
using Values = KernelBuilder::Values;

namespace {

Type elementType(Value memref) {
  return cast<MemRefType>(memref.getType()).getElementType();
}

/// Weights in f32, f16 or bf16, [N, K].
class FloatReader : public WeightReader {
public:
  FloatReader(Value weight, int64_t n) : weight(weight), n(n) {}

  int64_t getGranule() const override { return 4 * kLanes; }
  bool isPlain() const override { return elementType(weight).isF32(); }

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

private:
  /// Columns between what is read and what is prefetched.
  static constexpr int64_t kAhead = 256;

  Value weight, column;
  int64_t n;
  Value rows[kRowTile];
};

/// Reads codes in the order of CodeLayout; subclasses turn codes into floats.
class CodeReader : public WeightReader {
public:
  CodeReader(Value codes, SchemeAttrInterface scheme, int64_t n, int64_t k)
      : codes(codes), bits(scheme.getCodeBits()), entries(int64_t(1) << bits),
        group(scheme.getGroupSize()),
        groups(group ? llvm::divideCeil(k, group) : 1), layout(bits, n, k),
        granules(llvm::divideCeil(k, layout.getGroupGranularity())) {}

  int64_t getGranule() const override { return layout.getGroupGranularity(); }
  int64_t getGroup() const override { return group; }
  SmallVector<int64_t> getOrder(int64_t chunks) const override {
    SmallVector<int64_t> order;
    // Both codes of a byte follow each other, unless a group ends in between.
    int64_t stride = nibbles && (group == 0 || group >= getGranule())
                         ? kNibbleUnits
                         : chunks;
    for (int64_t first = 0; first < std::min(stride, chunks); ++first)
      for (int64_t chunk = first; chunk < chunks; chunk += stride)
        order.push_back(chunk);
    return order;
  }

  void begin(KernelBuilder &k, int64_t sharing) override {
    int64_t most = k.avx512 && sharing <= 2 ? 2 : 1;
    codesPerIndex = std::min<int64_t>(most, 4 / std::min(bits, 4u));
    int64_t bytes = granules * kNibbleUnits * kRowTile * kLanes;
    if (sharing && bits == 3 && bytes <= kMaxNibbleBytes)
      nibbles = k.scratch({bytes}, k.builder.getI8Type());
  }

  void beginTile(KernelBuilder &k, Value tile) override {
    this->tile = tile;
    base = k.mul(tile, layout.getTileBytes());
    if (nibbles)
      k.loop(k.index(0), k.index(granules), 1,
             [&](Value granule) { joinPlanes(k, granule); });
  }

  void beginGranule(KernelBuilder &k, Value granule, int64_t count) override {
    words.assign(layout.getPlanes().size(), {});
    if (nibbles)
      return loadNibbles(k, granule, count);
    for (auto [number, plane] : llvm::enumerate(layout.getPlanes())) {
      int64_t perGranule = getGranule() / plane.columnsPerUnit();
      int64_t units = llvm::divideCeil(count * kLanes, plane.columnsPerUnit());
      Value first =
          k.add(k.add(base, k.mul(granule, perGranule * kRowTile * kLanes)),
                plane.offset);
      for (int64_t unit = 0; unit < units; ++unit)
        for (int64_t row = 0; row < kRowTile; ++row)
          words[number].push_back(loadBytes(
              k, codes, k.add(first, (unit * kRowTile + row) * kLanes)));
      // A unit of four rows is a cache line.
      for (int64_t unit = 0; unit < units; ++unit)
        k.prefetch(codes, {k.add(first, unit * kRowTile * kLanes + kAhead)});
    }
  }

protected:
  /// Codes of a vector, moved left by `left` bits. Bits around the code are
  /// zero if `exact`, else undefined.
  Value codeVector(KernelBuilder &k, int64_t row, int64_t chunk, bool exact,
                   int64_t left = 0) {
    if (nibbles) {
      assert(!exact && left == 0 && "bits around joined codes are undefined");
      Value word = words[0][chunk % kNibbleUnits * kRowTile + row];
      return chunk < kNibbleUnits
                 ? word
                 : arith::ShRUIOp::create(k.builder, k.loc, word, k.splatInt(4))
                       .getResult();
    }
    Value code;
    for (auto [number, plane] : llvm::enumerate(layout.getPlanes())) {
      int64_t chunks = plane.columnsPerUnit() / kLanes;
      Value part = words[number][chunk / chunks * kRowTile + row];
      // One shift takes the bits from `from` on to their place in the code.
      int64_t from = chunk % chunks * plane.width, to = plane.shift + left;
      if (from > to)
        part = arith::ShRUIOp::create(k.builder, k.loc, part,
                                      k.splatInt(from - to));
      else if (from < to)
        part = arith::ShLIOp::create(k.builder, k.loc, part,
                                     k.splatInt(to - from));
      // Words hold eight bits, so nothing lies above those of the last chunk.
      bool last = number + 1 == layout.getPlanes().size();
      bool clearAbove = (exact || !last) && from + plane.width < 8;
      bool clearBelow = (exact || number > 0) && from > 0 && to > 0;
      if (number && k.avx512 && !exact) {
        code = k.selectBits(llvm::maskTrailingOnes<uint32_t>(to), code, part);
        continue;
      }
      if (k.avx512 && !exact)
        clearAbove = clearBelow = false;
      if (clearAbove || clearBelow) {
        uint32_t width = exact || !last ? plane.width : 32 - to;
        uint32_t keep = llvm::maskTrailingOnes<uint32_t>(width) << to;
        part = arith::AndIOp::create(k.builder, k.loc, part,
                                     k.splatInt(static_cast<int32_t>(keep)));
      }
      code =
          code ? arith::OrIOp::create(k.builder, k.loc, code, part).getResult()
               : part;
    }
    return code;
  }

  Value row(KernelBuilder &k, int64_t index) {
    return k.add(k.mul(tile, kRowTile), index);
  }
  /// Entries of a table in registers: what one permute reads, or more.
  int64_t registerEntries(KernelBuilder &k) const {
    return std::max<int64_t>(entries, k.avx512 ? 16 : 8);
  }
  bool fitsRegisters(KernelBuilder &k) const {
    return bits <= (k.avx512 ? 6 : 4);
  }
  /// Table number `number` as lanes of a register: entry i for lane i, with the
  /// code of the first column of an index in the low bits of i, that of the
  /// next one above. Repeated to the size of the register.
  template <typename T>
  SmallVector<T> arrangeEntries(KernelBuilder &k, ArrayRef<T> values,
                                int64_t number) const {
    SmallVector<T> lanes;
    for (int64_t i = 0; i < registerEntries(k); ++i)
      lanes.push_back(values[(i >> (bits * number)) % entries]);
    return lanes;
  }
  /// A table in registers for each code that an index holds. One permute
  /// ignores the bits of the other code, so that both share a shift.
  using Tables = std::array<Value, 2>;
  template <typename Function> Tables makeTables(Function make) const {
    Tables tables;
    for (int64_t number = 0; number < codesPerIndex; ++number)
      tables[number] = make(number);
    return tables;
  }
  Value lookup(KernelBuilder &k, const Tables &tables, int64_t row,
               int64_t chunk) {
    int64_t number = chunk % codesPerIndex;
    return TableLookupOp::create(
        k.builder, k.loc, k.vecF32, tables[number],
        codeVector(k, row, chunk - number, /*exact=*/false));
  }
  /// Looks up a table in memory, [tables, entries] in f32.
  Value gather(KernelBuilder &k, Value tables, int64_t table, int64_t row,
               int64_t chunk) {
    Value all = arith::ConstantOp::create(
        k.builder, k.loc, DenseElementsAttr::get(k.vecI1, true));
    return vector::GatherOp::create(k.builder, k.loc, k.vecF32, tables,
                                    ValueRange{k.index(table), k.index(0)},
                                    codeVector(k, row, chunk, /*exact=*/true),
                                    all, k.splat(0.0f));
  }

  Value codes, tile, base;
  unsigned bits;
  int64_t entries, group, groups;
  CodeLayout layout;
  /// Codes whose bits one index of a permute holds.
  int64_t codesPerIndex = 1;

private:
  /// Bytes between what is read and what is prefetched. Hardware stops at the
  /// end of a page, which is often the end of a row tile as well.
  static constexpr int64_t kAhead = 2048;
  /// Vectors of bytes that hold a granule of 3-bit codes, one in each nibble.
  static constexpr int64_t kNibbleUnits = 4;
  /// Of the stack, for wider rows than any model has.
  static constexpr int64_t kMaxNibbleBytes = 256 * 1024;

  Value loadBytes(KernelBuilder &k, Value memref, Value at) {
    auto type = VectorType::get({kLanes}, k.builder.getI8Type());
    Value bytes =
        vector::LoadOp::create(k.builder, k.loc, type, memref, ValueRange(at));
    return arith::ExtUIOp::create(k.builder, k.loc, k.vecI32, bytes);
  }

  /// Joins the planes of 3-bit codes, 2 bits and 1 bit, of a granule of all
  /// four rows. Byte by byte that takes 13 instructions for 512 codes; vector
  /// by vector of f32, three for 16.
  void joinPlanes(KernelBuilder &k, Value granule) {
    constexpr int64_t kLine = kRowTile * kLanes;
    OpBuilder &b = k.builder;
    auto bytes = VectorType::get({kLine}, b.getI8Type());
    auto load = [&](int64_t plane, int64_t unit) -> Value {
      const CodeLayout::Plane &from = layout.getPlanes()[plane];
      int64_t units = getGranule() / from.columnsPerUnit();
      Value at = k.add(k.add(base, k.mul(granule, units * kLine)),
                       from.offset + unit * kLine);
      Value line =
          vector::LoadOp::create(b, k.loc, bytes, codes, ValueRange(at));
      return vector::BitCastOp::create(b, k.loc, k.vecI32, line);
    };
    auto left = [&](Value bits, int64_t count) -> Value {
      return arith::ShLIOp::create(b, k.loc, bits, k.splatInt(count));
    };
    auto right = [&](Value bits, int64_t count) -> Value {
      return arith::ShRUIOp::create(b, k.loc, bits, k.splatInt(count));
    };
    // The second unit of a last, incomplete granule lies in the plane behind.
    Value first = load(0, 0), second = load(0, 1), high = load(1, 0);
    constexpr uint32_t kLowNibbles = 0x0F0F0F0F, kHighBits = 0x44444444;
    Value even = k.selectBits(kLowNibbles, first, left(second, 4));
    Value odd = k.selectBits(kLowNibbles, right(first, 4), second);
    // Bits 0 to 2 and 4 to 6 of a byte become the codes of chunk i and i + 4.
    Value joined[kNibbleUnits] = {
        k.selectBits(kHighBits, left(high, 2), even),
        k.selectBits(kHighBits, left(high, 1), right(even, 2)),
        k.selectBits(kHighBits, high, odd),
        k.selectBits(kHighBits, right(high, 1), right(odd, 2))};
    for (auto [unit, bits] : llvm::enumerate(joined)) {
      Value at = k.add(k.mul(granule, kNibbleUnits * kLine),
                       static_cast<int64_t>(unit) * kLine);
      vector::StoreOp::create(b, k.loc,
                              vector::BitCastOp::create(b, k.loc, bytes, bits),
                              nibbles, ValueRange(at));
    }
  }

  void loadNibbles(KernelBuilder &k, Value granule, int64_t count) {
    constexpr int64_t kLine = kRowTile * kLanes;
    Value first = k.mul(granule, kNibbleUnits * kLine);
    for (int64_t i = 0; i < std::min(count, kNibbleUnits) * kRowTile; ++i)
      words[0].push_back(loadBytes(k, nibbles, k.add(first, i * kLanes)));
    // What the next tiles join, a line for each that this granule came from.
    int64_t ahead =
        llvm::alignTo(kAhead, static_cast<uint64_t>(layout.getTileBytes()));
    for (const CodeLayout::Plane &plane : layout.getPlanes()) {
      int64_t units = getGranule() / plane.columnsPerUnit();
      Value at = k.add(k.add(base, k.mul(granule, units * kLine)),
                       plane.offset + ahead);
      for (int64_t unit = 0; unit < units; ++unit)
        k.prefetch(codes, {k.add(at, unit * kLine)});
    }
  }

  /// By plane: units, rows innermost; of joined codes only the first.
  SmallVector<Values> words;
  int64_t granules;
  /// Joined codes of a tile of 3-bit codes: [granule][unit][row][lane]; null
  /// where planes are joined vector by vector.
  Value nibbles;
};

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
    if (!fitsRegisters(k))
      spill = k.scratch({tablesPerTile(), entries});
  }

  void beginTile(KernelBuilder &k, Value tile) override {
    CodeReader::beginTile(k, tile);
    if (!scales)
      return;
    for (int64_t r = 0; r < kRowTile; ++r) {
      scale[r] = k.load(scales, row(k, r));
      if (!scheme.getEntry().isInteger(8))
        scale[r] = k.mulf(scale[r], k.constant(kEntryFactorF8));
    }
  }

  void beginGroup(KernelBuilder &k, Value group) override {
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
    int64_t number = tablesPerTile() == 1 ? 0 : row;
    return fitsRegisters(k) ? lookup(k, table[number], row, chunk)
                            : gather(k, spill, number, row, chunk);
  }

  Value getRowScale(KernelBuilder &k, int64_t row) override {
    return scales ? scale[row] : Value();
  }
  const SparseRows *getSparseRows() const override {
    return scheme.hasSparsePart() ? &sparse : nullptr;
  }

private:
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

  LutAttr scheme;
  Value tables, scales, spill;
  SparseRows sparse;
  Tables table[kRowTile];
  Value scale[kRowTile];
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
    flatScales = flatten(k, scales);
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
  Value flatten(KernelBuilder &k, Value matrix) {
    return memref::CollapseShapeOp::create(
        k.builder, k.loc, matrix, ArrayRef<ReassociationIndices>{{0, 1}});
  }
  static Value broadcast(KernelBuilder &k, Value scalar, int64_t count) {
    return vector::BroadcastOp::create(
        k.builder, k.loc, VectorType::get({count}, scalar.getType()), scalar);
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
    flatZeros = flatten(k, zeros);
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
    return std::make_unique<LutReader>(components, lut, n, k);
  if (auto uniform = dyn_cast<UniformAttr>(scheme))
    return std::make_unique<UniformReader>(components, uniform, n, k);
  if (hasReader(scheme))
    return std::make_unique<LevelsReader>(components, scheme, n, k);
  return nullptr;
}

bool ganq::hasReader(SchemeAttrInterface scheme) {
  return isa<LutAttr, UniformAttr>(scheme) || !scheme.getFixedLevels().empty();
}
