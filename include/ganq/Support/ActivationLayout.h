//===- ActivationLayout.h - Rows of quantized activations -------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The record of bytes that `ganq.quantize_rows` makes of a row of x and that
// products of integers read: a header of f32
//
//   scale, zero, sum of the codes of group 0, of group 1, ...
//
// and the codes. x[i] is about (code[i] - zero) * scale. All but the scale are
// whole numbers below 2^24. Codes lie in one of two orders:
//
// *Bytes*, for dot products: code[i] - 2^(bits - 1), signed, column by column.
// The zero point and the sums are moved by as much.
//
// *Planes*, to be combined with the codes of a weight bit by bit: for each
// plane of the weight's CodeLayout, [unit][bit of the activation][lane]. A unit
// has the columns of one of the weight; each bit is repeated as often as the
// plane is wide, so that it covers the field of the same column. Columns behind
// the last are zero.
//
// Header and codes start at multiples of 64 bytes, and so does the next row.
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_SUPPORT_ACTIVATIONLAYOUT_H
#define GANQ_SUPPORT_ACTIVATIONLAYOUT_H

#include "ganq/Support/CodeLayout.h"

namespace ganq {

class ActivationLayout {
public:
  static constexpr int64_t kAlignment = 64;
  /// Positions of f32 values in the header.
  static constexpr int64_t kScale = 0, kZero = 1, kSums = 2;

  /// `group` is that of the weight, 0 for whole rows. `planeBits` is the width
  /// of the weight's codes to lay planes out for; 0 asks for bytes.
  ActivationLayout(unsigned bits, int64_t columns, int64_t group,
                   unsigned planeBits)
      : bits(bits), planeBits(planeBits),
        groups(group ? (columns + group - 1) / group : 1),
        codes(align((kSums + groups) * 4)) {
    assert(bits >= 1 && bits <= 8 && "code width out of range");
    int64_t end = codes;
    if (planeBits == 0) {
      end += columns;
    } else {
      CodeLayout weight(planeBits, 1, columns);
      for (const CodeLayout::Plane &plane : weight.getPlanes()) {
        planes.push_back(end);
        end += plane.units * bits * CodeLayout::kLanes;
      }
    }
    bytes = align(end);
  }

  int64_t getGroups() const { return groups; }
  /// First byte of the codes.
  int64_t getCodesOffset() const { return codes; }
  /// First byte for a plane of the weight's layout.
  int64_t getPlaneOffset(size_t plane) const { return planes[plane]; }
  /// Bytes of a row.
  int64_t getBytes() const { return bytes; }
  /// What is subtracted from codes.
  int64_t getCenter() const { return planeBits ? 0 : int64_t(1) << (bits - 1); }

private:
  static int64_t align(int64_t size) {
    return (size + kAlignment - 1) / kAlignment * kAlignment;
  }

  unsigned bits, planeBits;
  int64_t groups, codes, bytes;
  std::vector<int64_t> planes;
};

} // namespace ganq

#endif // GANQ_SUPPORT_ACTIVATIONLAYOUT_H
