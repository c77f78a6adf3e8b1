//===- LutEntry.h - Types of table entries --------------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_LIB_QUANTIZATION_LUTENTRY_H
#define GANQ_LIB_QUANTIZATION_LUTENTRY_H

#include "ganq/Quantization/Lut.h"

namespace ganq::quant {

/// Where the greatest of a row's 8-bit entries is put: the end of Int8's range;
/// for Float8 far enough below it that fp16 scales of the usual weights are
/// normal numbers, with seven octaves of normal entries below.
double greatestEntry(LutEntry entry);

/// x as a positive fp16 value (1 for an empty table), or infinity.
double toScale(double x, bool used);

Status scaleRangeError(int64_t row);
Status entryRangeError(float value, int64_t row);

} // namespace ganq::quant

#endif // GANQ_LIB_QUANTIZATION_LUTENTRY_H
