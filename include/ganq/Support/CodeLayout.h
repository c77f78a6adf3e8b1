//===- CodeLayout.h - Order of packed codes in memory -----------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The order in which the codes of a quantized weight are stored, shared by the
// packers and the kernels.
//
// A b-bit code is split into planes of 4, 2 and 1 bits, the low bits first
// (3 = 2 + 1, 5 = 4 + 1, 6 = 4 + 2, 7 = 4 + 2 + 1); 8 bits are one plane. A
// *unit* of a plane of width w is 16 bytes and holds 128 / w columns of one
// row: byte `lane`, bits [i w, i w + w) belong to column 16 i + lane of the
// unit. Four rows are stored side by side, so that a matrix-vector product
// reads one stream of memory:
//
//   codes[row / 4][plane][unit][row % 4][lane], ui8
//
// Rows are padded to a multiple of 4 and columns to whole units, with code 0.
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_SUPPORT_CODELAYOUT_H
#define GANQ_SUPPORT_CODELAYOUT_H

#include <cassert>
#include <cstdint>
#include <cstring>
#include <vector>

namespace ganq {

class CodeLayout {
public:
  static constexpr int64_t kRowTile = 4;
  static constexpr int64_t kLanes = 16;

  struct Plane {
    unsigned width; ///< Bits per code: 8, 4, 2 or 1.
    unsigned shift; ///< Place of these bits in the code.
    int64_t units;  ///< Units per row.
    int64_t offset; ///< First byte of the plane in a row tile.
    int64_t columnsPerUnit() const { return kLanes * 8 / width; }
  };

  CodeLayout(unsigned bits, int64_t rows, int64_t columns) : rows(rows) {
    assert(bits >= 1 && bits <= 8 && "code width out of range");
    int64_t offset = 0;
    for (unsigned width : {8u, 4u, 2u, 1u}) {
      if (width == 8 ? bits != 8 : (bits == 8 || !(bits & width)))
        continue;
      unsigned shift =
          planes.empty() ? 0 : planes.back().shift + planes.back().width;
      Plane plane{width, shift, 0, offset};
      plane.units =
          (columns + plane.columnsPerUnit() - 1) / plane.columnsPerUnit();
      offset += plane.units * kRowTile * kLanes;
      planes.push_back(plane);
    }
    tileBytes = offset;
  }

  const std::vector<Plane> &getPlanes() const { return planes; }
  int64_t getRowTiles() const { return (rows + kRowTile - 1) / kRowTile; }
  /// Bytes of four rows.
  int64_t getTileBytes() const { return tileBytes; }
  int64_t getBytes() const { return getRowTiles() * tileBytes; }

  /// Columns after which every plane is at the start of a unit.
  int64_t getGroupGranularity() const {
    int64_t columns = kLanes;
    for (const Plane &plane : planes)
      columns =
          columns > plane.columnsPerUnit() ? columns : plane.columnsPerUnit();
    return columns;
  }

  /// Whether `group` columns can share a table or scale: 0 for whole rows, one
  /// or more granules, or an equal part of a granule in whole vectors.
  bool canGroup(int64_t group) const {
    int64_t granule = getGroupGranularity();
    return group == 0 ||
           (group > 0 && (group % granule == 0 ||
                          (granule % group == 0 && group % kLanes == 0)));
  }

  /// Writes the code of one element into zero-filled storage.
  void insert(uint8_t *codes, int64_t row, int64_t column, uint8_t code) const {
    for (const Plane &plane : planes) {
      unsigned mask = (1u << plane.width) - 1;
      codes[byteOf(plane, row, column)] |= static_cast<uint8_t>(
          ((code >> plane.shift) & mask) << bitOf(plane, column));
    }
  }

  /// Writes `count` codes of a row, from its first column on, into zero-filled
  /// storage.
  void insertRow(uint8_t *codes, int64_t row, const uint8_t *values,
                 int64_t count) const {
    for (const Plane &plane : planes) {
      unsigned width = plane.width, shift = plane.shift;
      auto mask = static_cast<uint8_t>((1u << width) - 1);
      int64_t perUnit = plane.columnsPerUnit();
      uint8_t *out = codes + byteOf(plane, row, 0);
      for (int64_t first = 0; first < count; first += perUnit) {
        // Local, so that lanes become vectors.
        uint8_t unit[kLanes] = {}, lanes[kLanes] = {};
        for (int64_t i = 0; i < perUnit / kLanes; ++i) {
          int64_t column = first + i * kLanes;
          if (column + kLanes <= count)
            std::memcpy(lanes, values + column, kLanes);
          else
            for (int64_t lane = 0; lane < kLanes; ++lane)
              lanes[lane] = column + lane < count ? values[column + lane] : 0;
          auto bit = static_cast<unsigned>(i) * width;
          for (int64_t lane = 0; lane < kLanes; ++lane)
            unit[lane] |=
                static_cast<uint8_t>(((lanes[lane] >> shift) & mask) << bit);
        }
        std::memcpy(out, unit, kLanes);
        out += kRowTile * kLanes;
      }
    }
  }

  uint8_t extract(const uint8_t *codes, int64_t row, int64_t column) const {
    unsigned code = 0;
    for (const Plane &plane : planes) {
      unsigned mask = (1u << plane.width) - 1;
      code |=
          ((codes[byteOf(plane, row, column)] >> bitOf(plane, column)) & mask)
          << plane.shift;
    }
    return static_cast<uint8_t>(code);
  }

private:
  int64_t byteOf(const Plane &plane, int64_t row, int64_t column) const {
    return row / kRowTile * tileBytes + plane.offset +
           (column / plane.columnsPerUnit() * kRowTile + row % kRowTile) *
               kLanes +
           column % kLanes;
  }
  static unsigned bitOf(const Plane &plane, int64_t column) {
    return static_cast<unsigned>(column % plane.columnsPerUnit() / kLanes) *
           plane.width;
  }

  int64_t rows, tileBytes;
  std::vector<Plane> planes;
};

} // namespace ganq

#endif // GANQ_SUPPORT_CODELAYOUT_H
