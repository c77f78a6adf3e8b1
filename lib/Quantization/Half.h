//===- Half.h - Rounding to the values of small floats --------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_LIB_QUANTIZATION_HALF_H
#define GANQ_LIB_QUANTIZATION_HALF_H

#include <cmath>
#include <cstdint>
#include <cstring>

namespace ganq::quant {

/// The fp16 value nearest to x, ties to even; infinite from 65520 on.
inline float roundToHalf(float x) {
  float magnitude = std::fabs(x);
  if (!(magnitude < 65520.0f))
    return std::copysign(INFINITY, x);
  // Below 2^-14 fp16 is a fixed-point format with step 2^-24.
  int exponent = -14;
  if (magnitude >= 6.103515625e-05f)
    exponent = std::ilogb(magnitude);
  float step = std::ldexp(1.0f, exponent - 10);
  return std::copysign(std::nearbyint(magnitude / step) * step, x);
}

/// The bf16 value nearest to x, ties to even.
inline float roundToBFloat(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof(bits));
  if (std::isfinite(x))
    bits = (bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000;
  std::memcpy(&x, &bits, sizeof(bits));
  return x;
}

} // namespace ganq::quant

#endif // GANQ_LIB_QUANTIZATION_HALF_H
