//===- LutEntry.cpp - Rounding to the types of table entries --------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "LutEntry.h"
#include "Half.h"
#include <algorithm>
#include <cmath>

using namespace ganq::quant;

static float roundToE4M3(float x) {
  if (!(std::fabs(x) < 448))
    return std::copysign(448.0f, x);
  // Below 2^-6 a fixed-point format with step 2^-9.
  int exponent = x == 0 ? -6 : std::max(std::ilogb(x), -6);
  float step = std::ldexp(1.0f, exponent - 3);
  return std::nearbyint(x / step) * step;
}

float ganq::quant::roundToEntry(LutEntry entry, float x) {
  switch (entry) {
  case LutEntry::Float32:
    return x;
  case LutEntry::Float16:
    return roundToHalf(x);
  case LutEntry::BFloat16:
    return roundToBFloat(x);
  case LutEntry::Int8:
    return std::clamp(std::nearbyint(x), -128.0f, 127.0f);
  case LutEntry::Float8:
    return roundToE4M3(x);
  }
  return x;
}

double ganq::quant::greatestEntry(LutEntry entry) {
  return entry == LutEntry::Int8 ? 127 : 56;
}

double ganq::quant::toScale(double x, bool used) {
  constexpr double leastHalf = 5.9604644775390625e-08;
  return used ? std::max<double>(roundToHalf(static_cast<float>(x)), leastHalf)
              : 1;
}

Status ganq::quant::scaleRangeError(int64_t row) {
  return Status::error(
      "expected a scale in fp16's range (below 65520), but got "
      "a greater one for row " +
      std::to_string(row) + "; scale the weights down");
}

Status ganq::quant::entryRangeError(float value, int64_t row) {
  return Status::error("expected table values in the range of their type (fp16 "
                       "ends at 65520), but got " +
                       formatNumber(value) + " for row " + std::to_string(row) +
                       "; use bf16 entries");
}
