//===- GpuLayout.h - Order of packed codes for GPU kernels ------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The order in which the GPU kernels read the codes of a quantized weight.
//
// Columns are taken in *granules* of 128 (256 as bit planes). The codes of one
// row in a granule are `units` units of 16 bytes, and the units of all rows
// stand side by side:
//
//   codes[granule][unit][row], 16 bytes each
//
// so 32 lanes that read one unit of 32 rows read 512 bytes in a row, and 4
// lanes x 8 rows, as mma wants it, whole segments of 128 bytes. A granule has
// four *slots*: the columns that lane t of a quad holds in the A operand of mma
// (m16n8k16 of f16: two of eight, m16n8k32 of s8: four of sixteen, m16n8k256 of
// b1: 32 of 128). A slot is `slotWords` words; slots follow each other in the
// units. The order says where a code's bits lie in the words of its slot, so
// that a kernel takes them out in few instructions. With `word:bit`, columns
// numbered within the slot, and pair c = columns 2c and 2c + 1:
//
// Table     Codes stand in nibbles, so that a byte is an index of a table of
//           pairs and four nibbles a selector of prmt. 4 bits: pair c is byte
//           c % 4 of word c / 4. 2 bits: a nibble holds column i in its low and
//           column i + 8 in its high bits. 3 bits: column i < 24 is in the low
//           three bits of nibble i % 8 of word i / 8, and bit j of column
//           24 + n is the high bit of nibble n of word j.
// Halves    The columns of a pair stand 16 bits apart: one `and` cuts out both
//           as the mantissas of two floats. 3 bits: five pairs a word, and bit
//           j of pair 15 in bits 15 and 31 of word j.
// Exponent  As Halves, but a code's bits stand as far apart as they do in the
//           float: sign, exponent (PoTPTQ). Pairs that do not fit so share what
//           bits are left, bit j of the code in word j: where possible such
//           bits that one shift of each word makes whole pairs of them.
// Bytes     Four columns stand 8 bits apart, in planes of 4, 2 and 1 bits as in
//           CodeLayout: one `and` cuts out a register for s8 mma or dp4a.
// Planes    A word is one bit of each of 32 columns (ABQ-LLM, section 3.5).
//
// Rows are padded to a multiple of 32 and columns to whole granules, with code
// 0.
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_SUPPORT_GPULAYOUT_H
#define GANQ_SUPPORT_GPULAYOUT_H

#include <array>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace ganq {

class GpuLayout {
public:
  enum class Order { Table, Halves, Exponent, Bytes, Planes };

  static constexpr int64_t kRowTile = 32;
  static constexpr int64_t kSlots = 4;
  static constexpr int64_t kUnitWords = 4;

  /// Place of a bit in the words of a slot.
  struct Bit {
    int word = -1, bit = 0;
  };

  static bool supports(Order order, unsigned bits) {
    switch (order) {
    case Order::Table:
    case Order::Exponent:
      return bits >= 2 && bits <= 4;
    case Order::Halves:
      return (bits >= 1 && bits <= 4) || bits == 8;
    case Order::Bytes:
    case Order::Planes:
      return bits >= 1 && bits <= 8;
    }
    return false;
  }

  /// With `Exponent`, bit j of a code below its sign is bit `exponentBit` + j
  /// of a 16-bit float.
  GpuLayout(Order order, unsigned bits, int64_t rows, int64_t columns,
            int exponentBit = 10)
      : order(order), bits(bits), rows(rows), columns(columns),
        exponentBit(exponentBit),
        places(static_cast<size_t>(getSlotColumns()) * bits) {
    assert(supports(order, bits) && "no such layout");
    place();
  }

  Order getOrder() const { return order; }
  unsigned getBits() const { return bits; }
  int64_t getGranuleColumns() const {
    return order == Order::Planes ? 256 : 128;
  }
  int64_t getSlotColumns() const { return getGranuleColumns() / kSlots; }
  int64_t getSlotWords() const { return getSlotColumns() * bits / 32; }
  /// Units of a row in a granule.
  int64_t getUnits() const { return getSlotWords(); }
  int64_t getGranules() const {
    return (columns + getGranuleColumns() - 1) / getGranuleColumns();
  }
  int64_t getPaddedRows() const {
    return (rows + kRowTile - 1) / kRowTile * kRowTile;
  }
  int64_t getBytes() const {
    return getGranules() * getUnits() * getPaddedRows() * 16;
  }

  /// Where bit `bit` of the code of column `index` of a slot lies.
  Bit getBit(int64_t index, unsigned bit) const {
    return places[static_cast<size_t>(index) * bits + bit];
  }

  /// Bit `bit` of a code in the float that `Exponent` makes of it.
  int getFloatBit(unsigned bit) const {
    return bit + 1 == bits ? 15 : exponentBit + static_cast<int>(bit);
  }

  /// With `Exponent`: the pair that has bit `at` of each word becomes, when
  /// word j is shifted left by getFloatBit(j) - this, a whole pair that lies
  /// this
  /// - `at` below its place in the float. -1 where pairs do not fit so.
  int getGatherBit() const { return gatherBit; }

  /// Slot of a column of a granule, and its number in the slot.
  int64_t getSlot(int64_t column) const {
    switch (order) {
    case Order::Bytes:
      return column % 16 / 4;
    case Order::Planes:
      return column % 128 / 32;
    default:
      return column % 8 / 2;
    }
  }
  int64_t getIndexInSlot(int64_t column) const {
    switch (order) {
    case Order::Bytes:
      return column / 16 * 4 + column % 4;
    case Order::Planes:
      return column / 128 * 32 + column % 32;
    default:
      return column / 8 * 2 + column % 2;
    }
  }

  /// Writes the code of one element into zero-filled storage.
  void insert(uint8_t *codes, int64_t row, int64_t column, uint8_t code) const {
    int64_t index = getIndexInSlot(column % getGranuleColumns());
    for (unsigned bit = 0; bit < bits; ++bit) {
      Bit place = getBit(index, bit);
      codes[byteOf(row, column, place)] |=
          static_cast<uint8_t>(((code >> bit) & 1) << (place.bit % 8));
    }
  }

  uint8_t extract(const uint8_t *codes, int64_t row, int64_t column) const {
    int64_t index = getIndexInSlot(column % getGranuleColumns());
    unsigned code = 0;
    for (unsigned bit = 0; bit < bits; ++bit) {
      Bit place = getBit(index, bit);
      code |= static_cast<unsigned>(
                  (codes[byteOf(row, column, place)] >> (place.bit % 8)) & 1)
              << bit;
    }
    return static_cast<uint8_t>(code);
  }

private:
  int64_t byteOf(int64_t row, int64_t column, Bit place) const {
    int64_t granule = column / getGranuleColumns();
    int64_t word =
        getSlot(column % getGranuleColumns()) * getSlotWords() + place.word;
    return ((granule * getUnits() + word / kUnitWords) * getPaddedRows() +
            row) *
               16 +
           word % kUnitWords * 4 + place.bit / 8;
  }

  void set(int64_t index, unsigned bit, int64_t word, int64_t position) {
    places[static_cast<size_t>(index) * bits + bit] = {
        static_cast<int>(word), static_cast<int>(position)};
  }

  void place() {
    auto width = static_cast<int64_t>(bits);
    if (order == Order::Exponent)
      return placeExponent();
    for (int64_t i = 0; i < getSlotColumns(); ++i)
      for (int64_t j = 0; j < width; ++j) {
        auto bit = static_cast<unsigned>(j);
        switch (order) {
        case Order::Table:
          if (width == 4)
            set(i, bit, i / 8, i % 8 * 4 + j);
          else if (width == 2)
            set(i, bit, i / 16, i % 8 * 4 + i % 16 / 8 * 2 + j);
          else if (i < 24)
            set(i, bit, i / 8, i % 8 * 4 + j);
          else
            set(i, bit, j, (i - 24) * 4 + 3);
          break;
        case Order::Halves: {
          int64_t pair = i / 2, half = i % 2 * 16, perWord = 16 / width;
          if (width == 3 && pair == 15)
            set(i, bit, j, half + 15);
          else
            set(i, bit, pair / perWord, half + pair % perWord * width + j);
          break;
        }
        case Order::Bytes:
          placeByte(i, j);
          break;
        case Order::Planes:
          set(i, bit, j * 2 + i / 32, i % 32);
          break;
        case Order::Exponent:
          break;
        }
      }
  }

  void placeByte(int64_t index, int64_t bit) {
    int64_t word = 0, shift = 0;
    for (int64_t width : {8, 4, 2, 1}) {
      if (width == 8 ? bits != 8 : (bits == 8 || !(bits & width)))
        continue;
      if (bit < shift + width) {
        int64_t quad = index / 4, perWord = 8 / width;
        set(index, static_cast<unsigned>(bit), word + quad / perWord,
            index % 4 * 8 + quad % perWord * width + bit - shift);
        return;
      }
      shift += width;
      word += width;
    }
  }

  using HalfWord = std::array<bool, 16>;

  /// Takes the bits of a pair that lies `shift` below its place in the float,
  /// if they are free.
  bool takeShape(HalfWord &used, int shift) const {
    for (unsigned j = 0; j < bits; ++j) {
      int at = getFloatBit(j) - shift;
      if (at < 0 || at > 15 || used[static_cast<size_t>(at)])
        return false;
    }
    for (unsigned j = 0; j < bits; ++j)
      used[static_cast<size_t>(getFloatBit(j) - shift)] = true;
    return true;
  }
  /// The greatest number of pairs in a half word, by their shifts from `first`
  /// on, and the bits that they leave.
  void placeShapes(int first, std::vector<int> &shifts,
                   std::vector<int> &left) const {
    HalfWord used{};
    shifts.clear();
    left.clear();
    for (int shift = first; shift < 16; ++shift)
      if (takeShape(used, shift))
        shifts.push_back(shift);
    for (int at = 0; at < 16; ++at)
      if (!used[static_cast<size_t>(at)])
        left.push_back(at);
  }
  int findGatherBit(const std::vector<int> &left) const {
    for (int top = 0; top < 32; ++top) {
      HalfWord used{};
      bool fits = true;
      for (int at : left)
        fits = fits && at <= top && takeShape(used, top - at);
      if (fits)
        return top;
    }
    return -1;
  }

  /// Pairs by the greatest number that keep their shape, from the high bits on.
  void placeExponent() {
    std::vector<int> shifts, left;
    placeShapes(0, shifts, left);
    size_t most = shifts.size();
    for (int first = 0; first < 16; ++first) {
      placeShapes(first, shifts, left);
      if (shifts.size() < most)
        break;
      gatherBit = findGatherBit(left);
      if (gatherBit >= 0)
        break;
    }
    if (gatherBit < 0)
      placeShapes(0, shifts, left);
    int64_t pair = 0;
    for (unsigned word = 0; word < bits; ++word)
      for (int shift : shifts) {
        for (unsigned j = 0; j < bits; ++j) {
          int64_t at = getFloatBit(j) - shift;
          set(2 * pair, j, word, at);
          set(2 * pair + 1, j, word, at + 16);
        }
        ++pair;
      }
    // Every word has the same bits left, one word for each bit of a code.
    for (int64_t at : left) {
      for (unsigned j = 0; j < bits; ++j) {
        set(2 * pair, j, j, at);
        set(2 * pair + 1, j, j, at + 16);
      }
      ++pair;
    }
    assert(pair == 16 && "bits of all pairs fill the words");
  }

  Order order;
  unsigned bits;
  int64_t rows, columns;
  int exponentBit;
  int gatherBit = -1;
  std::vector<Bit> places;
};

} // namespace ganq

#endif // GANQ_SUPPORT_GPULAYOUT_H
