//===- CacheLayout.h - Rows of int8 caches ----------------------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_SUPPORT_CACHELAYOUT_H
#define GANQ_SUPPORT_CACHELAYOUT_H

#include <cstdint>

namespace ganq {

/// A cache of keys or values as bytes has a record for each token and head: the
/// `size` codes of a row x, code = round(x / scale) with scale = max |x| / 127,
/// and behind them the scale as an f32. A row with an infinity or nan has the
/// scale nan.
struct CacheLayout {
  static constexpr int64_t kScaleBytes = 4;
  static constexpr int kGreatest = 127;

  static int64_t getBytes(int64_t size) { return size + kScaleBytes; }
  static int64_t getSize(int64_t bytes) { return bytes - kScaleBytes; }
};

} // namespace ganq

#endif // GANQ_SUPPORT_CACHELAYOUT_H
