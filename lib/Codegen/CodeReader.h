//===- CodeReader.h - Codes of packed weights as vectors --------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_LIB_CODEGEN_CODEREADER_H
#define GANQ_LIB_CODEGEN_CODEREADER_H

#include "WeightReaders.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/MathExtras.h"
#include <array>

namespace ganq {

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
  llvm::SmallVector<int64_t> getOrder(int64_t chunks) const override {
    llvm::SmallVector<int64_t> order;
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
      return chunk < kNibbleUnits ? word
                                  : mlir::arith::ShRUIOp::create(
                                        k.builder, k.loc, word, k.splatInt(4))
                                        .getResult();
    }
    Value code;
    for (auto [number, plane] : llvm::enumerate(layout.getPlanes())) {
      int64_t chunks = plane.columnsPerUnit() / kLanes;
      Value part = words[number][chunk / chunks * kRowTile + row];
      // One shift takes the bits from `from` on to their place in the code.
      int64_t from = chunk % chunks * plane.width, to = plane.shift + left;
      if (from > to)
        part = mlir::arith::ShRUIOp::create(k.builder, k.loc, part,
                                            k.splatInt(from - to));
      else if (from < to)
        part = mlir::arith::ShLIOp::create(k.builder, k.loc, part,
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
        part = mlir::arith::AndIOp::create(
            k.builder, k.loc, part, k.splatInt(static_cast<int32_t>(keep)));
      }
      code = code ? mlir::arith::OrIOp::create(k.builder, k.loc, code, part)
                        .getResult()
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
  llvm::SmallVector<T> arrangeEntries(KernelBuilder &k,
                                      llvm::ArrayRef<T> values,
                                      int64_t number) const {
    llvm::SmallVector<T> lanes;
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
    Value all = mlir::arith::ConstantOp::create(
        k.builder, k.loc, mlir::DenseElementsAttr::get(k.vecI1, true));
    return mlir::vector::GatherOp::create(
        k.builder, k.loc, k.vecF32, tables,
        mlir::ValueRange{k.index(table), k.index(0)},
        codeVector(k, row, chunk, /*exact=*/true), all, k.splat(0.0f));
  }

  /// Asks for what the next tiles decode, a line for each that a granule of
  /// this one came from.
  void prefetchNextTiles(KernelBuilder &k, Value granule) {
    constexpr int64_t kLine = kRowTile * kLanes;
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

  Value codes, tile, base;
  unsigned bits;
  int64_t entries, group, groups;
  CodeLayout layout;
  /// Codes whose bits one index of a permute holds.
  int64_t codesPerIndex = 1;
  int64_t granules; ///< In a row.

private:
  /// Bytes between what is read and what is prefetched. Hardware stops at the
  /// end of a page, which is often the end of a row tile as well.
  static constexpr int64_t kAhead = 8192;
  /// Vectors of bytes that hold a granule of 3-bit codes, one in each nibble.
  static constexpr int64_t kNibbleUnits = 4;
  /// Of the stack, for wider rows than any model has.
  static constexpr int64_t kMaxNibbleBytes = 256 * 1024;

  Value loadBytes(KernelBuilder &k, Value memref, Value at) {
    auto type = mlir::VectorType::get({kLanes}, k.builder.getI8Type());
    Value bytes = mlir::vector::LoadOp::create(k.builder, k.loc, type, memref,
                                               mlir::ValueRange(at));
    return mlir::arith::ExtUIOp::create(k.builder, k.loc, k.vecI32, bytes);
  }

  /// Joins the planes of 3-bit codes, 2 bits and 1 bit, of a granule of all
  /// four rows. Byte by byte that takes 13 instructions for 512 codes; vector
  /// by vector of f32, three for 16.
  void joinPlanes(KernelBuilder &k, Value granule) {
    constexpr int64_t kLine = kRowTile * kLanes;
    mlir::OpBuilder &b = k.builder;
    auto bytes = mlir::VectorType::get({kLine}, b.getI8Type());
    auto load = [&](int64_t plane, int64_t unit) -> Value {
      const CodeLayout::Plane &from = layout.getPlanes()[plane];
      int64_t units = getGranule() / from.columnsPerUnit();
      Value at = k.add(k.add(base, k.mul(granule, units * kLine)),
                       from.offset + unit * kLine);
      Value line = mlir::vector::LoadOp::create(b, k.loc, bytes, codes,
                                                mlir::ValueRange(at));
      return mlir::vector::BitCastOp::create(b, k.loc, k.vecI32, line);
    };
    auto left = [&](Value bits, int64_t count) -> Value {
      return mlir::arith::ShLIOp::create(b, k.loc, bits, k.splatInt(count));
    };
    auto right = [&](Value bits, int64_t count) -> Value {
      return mlir::arith::ShRUIOp::create(b, k.loc, bits, k.splatInt(count));
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
      mlir::vector::StoreOp::create(
          b, k.loc, mlir::vector::BitCastOp::create(b, k.loc, bytes, bits),
          nibbles, mlir::ValueRange(at));
    }
  }

  void loadNibbles(KernelBuilder &k, Value granule, int64_t count) {
    constexpr int64_t kLine = kRowTile * kLanes;
    Value first = k.mul(granule, kNibbleUnits * kLine);
    for (int64_t i = 0; i < std::min(count, kNibbleUnits) * kRowTile; ++i)
      words[0].push_back(loadBytes(k, nibbles, k.add(first, i * kLanes)));
    prefetchNextTiles(k, granule);
  }

  /// By plane: units, rows innermost; of joined codes only the first.
  llvm::SmallVector<KernelBuilder::Values> words;
  /// Joined codes of a tile of 3-bit codes: [granule][unit][row][lane]; null
  /// where planes are joined vector by vector.
  Value nibbles;
};

/// Reads #ganq.lut.
std::unique_ptr<WeightReader> createLutReader(mlir::ValueRange components,
                                              LutAttr scheme, int64_t n,
                                              int64_t k);

} // namespace ganq

#endif // GANQ_LIB_CODEGEN_CODEREADER_H
