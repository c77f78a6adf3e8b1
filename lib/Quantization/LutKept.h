//===- LutKept.h - Which values are kept ----------------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_LIB_QUANTIZATION_LUTKEPT_H
#define GANQ_LIB_QUANTIZATION_LUTKEPT_H

#include <cstdint>

namespace ganq::quant {

/// Each writes `kept` columns of a row w[k], ascending.

/// The least kept / 2 and the greatest values (GANQ, Algorithm 2).
void chooseTails(const float *w, int64_t k, int64_t kept, int32_t *columns);

/// Those farthest from the median, by (w - median)^2 * weights[j].
void chooseFarthest(const float *w, const double *weights, int64_t k,
                    int64_t kept, int32_t *columns);

} // namespace ganq::quant

#endif // GANQ_LIB_QUANTIZATION_LUTKEPT_H
