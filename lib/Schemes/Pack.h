//===- Pack.h - What the schemes' packers share -----------------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_LIB_SCHEMES_PACK_H
#define GANQ_LIB_SCHEMES_PACK_H

#include "ganq/IR/GanqDialect.h"
#include "ganq/Support/CodeLayout.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/Support/Error.h"
#include <cstring>
#include <vector>

namespace ganq {

/// Rounds `value` to f16 and stores it as element `index`.
inline void storeHalf(std::vector<char> &bytes, int64_t index, float value) {
  auto half = static_cast<_Float16>(value);
  std::memcpy(bytes.data() + index * sizeof(half), &half, sizeof(half));
}

inline float loadHalf(llvm::ArrayRef<char> bytes, int64_t index) {
  _Float16 half;
  std::memcpy(&half, bytes.data() + index * sizeof(half), sizeof(half));
  return static_cast<float>(half);
}

/// Zeroed storage for each component of an [n, k] weight.
inline std::vector<std::vector<char>>
allocateComponents(SchemeAttrInterface scheme, int64_t n, int64_t k) {
  std::vector<std::vector<char>> bytes;
  for (const SchemeComponent &component : scheme.getComponents(n, k))
    bytes.emplace_back(component.type.getNumElements() *
                       component.type.getElementTypeBitWidth() / 8);
  return bytes;
}

/// Adds rows [first, first + count) of row-major codes to packed storage.
inline void packCodes(const CodeLayout &layout, std::vector<char> &packed,
                      int64_t first, int64_t count, int64_t k,
                      const uint8_t *codes) {
  auto *bytes = reinterpret_cast<uint8_t *>(packed.data());
  for (int64_t row = 0; row < count; ++row)
    layout.insertRow(bytes, first + row, codes + row * k, k);
}

} // namespace ganq

#endif // GANQ_LIB_SCHEMES_PACK_H
