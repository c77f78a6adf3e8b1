//===- Vectors.h - Vector types of the inner loops ------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_LIB_QUANTIZATION_VECTORS_H
#define GANQ_LIB_QUANTIZATION_VECTORS_H

#include <cstdint>

// One copy of a function per vector width, chosen at load time.
#if defined(__x86_64__) && defined(__linux__)
#define GANQ_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define GANQ_CLONES
#endif
// Such a function's helpers must become part of it.
#define GANQ_INLINE __attribute__((always_inline)) inline

namespace ganq::quant {

constexpr int64_t vectorWidth = 16;
typedef float Floats __attribute__((vector_size(64), aligned(4), may_alias));
typedef int32_t Ints __attribute__((vector_size(64), aligned(4), may_alias));
typedef double Doubles __attribute__((vector_size(64), aligned(8), may_alias));

GANQ_INLINE const Floats &load(const float *p) {
  return *reinterpret_cast<const Floats *>(p);
}
GANQ_INLINE Floats &load(float *p) { return *reinterpret_cast<Floats *>(p); }

} // namespace ganq::quant

#endif // GANQ_LIB_QUANTIZATION_VECTORS_H
