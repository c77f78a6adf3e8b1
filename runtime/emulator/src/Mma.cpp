//===- Mma.cpp - mma.sync on AVX2 -----------------------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// All shapes share one way to spread fragments over a warp (PTX ISA, "Matrix
// fragments for mma"): with g = lane / 4 and t = lane % 4, word t + 4 r of row
// g of A, rows and words counted in registers of 32 bits, stands in register r
// when A has 8 rows; with 16 rows register 2 r + h holds row g + 8 h. B is
// spread like A by columns, and C's registers hold columns 2 t and 2 t + 1.
//
//===----------------------------------------------------------------------===//

#include "Block.h"
#include <algorithm>
#include <cstring>
#include <immintrin.h>

using namespace ganq::simt;

namespace {
constexpr uint32_t kColumns = 8, kMaxRows = 16, kMaxWords = 8;

struct Operands {
  const ganq_simt_mma_shape *shape;
  uint32_t *registers;
};

/// A and B of a warp, gathered: rows of A and columns of B as packed words.
struct Fragments {
  alignas(32) uint32_t a[kMaxRows][kMaxWords];
  alignas(32) uint32_t b[kColumns][kMaxWords];
  uint32_t rows, words;
  uint32_t aRegisters, bRegisters;
};
} // namespace

static uint32_t getBits(uint8_t element) {
  switch (element) {
  case GANQ_SIMT_F16:
  case GANQ_SIMT_BF16:
    return 16;
  case GANQ_SIMT_S8:
  case GANQ_SIMT_U8:
    return 8;
  case GANQ_SIMT_S4:
  case GANQ_SIMT_U4:
    return 4;
  case GANQ_SIMT_B1:
    return 1;
  default:
    return 32;
  }
}

static uint32_t *getRegisters(Warp &warp, uint32_t lane) {
  return static_cast<Operands *>(warp.lanes[lane]->operands)->registers;
}

static void gather(Warp &warp, const ganq_simt_mma_shape &shape,
                   Fragments &fragments) {
  uint32_t halves = shape.m / 8;
  fragments.rows = shape.m;
  fragments.words = shape.k * getBits(shape.a) / 32;
  uint32_t groups = fragments.words / 4;
  fragments.aRegisters = groups * halves;
  fragments.bRegisters = groups;
  for (uint32_t lane = 0; lane < kWarpLanes; ++lane) {
    const uint32_t *registers = getRegisters(warp, lane);
    uint32_t g = lane / 4, t = lane % 4;
    for (uint32_t r = 0; r < groups; ++r) {
      for (uint32_t h = 0; h < halves; ++h)
        fragments.a[g + 8 * h][t + 4 * r] = registers[r * halves + h];
      fragments.b[g][t + 4 * r] = registers[fragments.aRegisters + r];
    }
  }
}

//===----------------------------------------------------------------------===//
// Accumulators: 32-bit words, or pairs of f16
//===----------------------------------------------------------------------===//

/// Calls function(registers of C, row, column) for the pairs of columns.
template <typename F>
static void forEachPair(Warp &warp, const Fragments &fragments, bool packed,
                        F function) {
  uint32_t skip = fragments.aRegisters + fragments.bRegisters;
  for (uint32_t lane = 0; lane < kWarpLanes; ++lane)
    for (uint32_t h = 0; h < fragments.rows / 8; ++h)
      function(getRegisters(warp, lane) + skip + h * (packed ? 1 : 2),
               lane / 4 + 8 * h, lane % 4 * 2);
}

using Accumulators = uint32_t[kMaxRows][kColumns];

static void loadAccumulators(Warp &warp, const Fragments &fragments,
                             uint8_t element, Accumulators &c) {
  bool packed = element == GANQ_SIMT_F16;
  forEachPair(warp, fragments, packed,
              [&](uint32_t *registers, uint32_t row, uint32_t column) {
                if (!packed) {
                  memcpy(&c[row][column], registers, 8);
                  return;
                }
                __m128 floats = _mm_cvtph_ps(_mm_cvtsi32_si128(*registers));
                _mm_storel_pi(reinterpret_cast<__m64 *>(&c[row][column]),
                              floats);
              });
}

static void storeAccumulators(Warp &warp, const Fragments &fragments,
                              uint8_t element, const Accumulators &c) {
  bool packed = element == GANQ_SIMT_F16;
  forEachPair(warp, fragments, packed,
              [&](uint32_t *registers, uint32_t row, uint32_t column) {
                if (!packed) {
                  memcpy(registers, &c[row][column], 8);
                  return;
                }
                __m128i pair = _mm_loadl_epi64(
                    reinterpret_cast<const __m128i *>(&c[row][column]));
                __m128i halves = _mm_cvtps_ph(_mm_castsi128_ps(pair),
                                              _MM_FROUND_TO_NEAREST_INT);
                *registers = _mm_cvtsi128_si32(halves);
              });
}

//===----------------------------------------------------------------------===//
// Products
//===----------------------------------------------------------------------===//

/// One packed row to floats.
static void toFloats(const uint32_t *words, uint32_t count, uint8_t element,
                     float *floats) {
  for (uint32_t w = 0; w < count; w += 4) {
    __m128i packed =
        _mm_load_si128(reinterpret_cast<const __m128i *>(words + w));
    if (element == GANQ_SIMT_F16) {
      _mm256_store_ps(floats + 2 * w, _mm256_cvtph_ps(packed));
    } else if (element == GANQ_SIMT_BF16) {
      __m256i wide = _mm256_slli_epi32(_mm256_cvtepu16_epi32(packed), 16);
      _mm256_store_ps(floats + 2 * w, _mm256_castsi256_ps(wide));
    } else {
      // TF32 reads the upper 19 bits.
      packed = _mm_and_si128(packed, _mm_set1_epi32(int(0xffffe000)));
      _mm_store_ps(floats + w, _mm_castsi128_ps(packed));
    }
  }
}

/// D = A B + C in f32. The products of f16, bf16 and tf32 are exact there.
static void multiplyFloats(const ganq_simt_mma_shape &shape,
                           const Fragments &fragments, Accumulators &c) {
  alignas(32) float a[kMaxRows], column[16], b[16][kColumns];
  for (uint32_t n = 0; n < kColumns; ++n) {
    toFloats(fragments.b[n], fragments.words, shape.b, column);
    for (uint32_t k = 0; k < shape.k; ++k)
      b[k][n] = column[k];
  }
  for (uint32_t m = 0; m < fragments.rows; ++m) {
    toFloats(fragments.a[m], fragments.words, shape.a, a);
    float *row = reinterpret_cast<float *>(c[m]);
    __m256 sum = _mm256_load_ps(row);
    for (uint32_t k = 0; k < shape.k; ++k)
      sum = _mm256_fmadd_ps(_mm256_set1_ps(a[k]), _mm256_load_ps(b[k]), sum);
    _mm256_store_ps(row, sum);
  }
}

/// One packed row to 16-bit integers.
static void toIntegers(const uint32_t *words, uint32_t count, uint8_t element,
                       int16_t *values) {
  for (uint32_t w = 0; w < count; w += 4) {
    __m128i packed =
        _mm_load_si128(reinterpret_cast<const __m128i *>(words + w));
    auto widen = [&](__m128i bytes, int16_t *to, bool isSigned) {
      _mm256_store_si256(reinterpret_cast<__m256i *>(to),
                         isSigned ? _mm256_cvtepi8_epi16(bytes)
                                  : _mm256_cvtepu8_epi16(bytes));
    };
    if (element == GANQ_SIMT_S8 || element == GANQ_SIMT_U8) {
      widen(packed, values + 4 * w, element == GANQ_SIMT_S8);
      continue;
    }
    // The low nibble comes first.
    __m128i mask = _mm_set1_epi8(15);
    __m128i low = _mm_and_si128(packed, mask);
    __m128i high = _mm_and_si128(_mm_srli_epi16(packed, 4), mask);
    if (element == GANQ_SIMT_S4) {
      __m128i sign = _mm_set1_epi8(8);
      low = _mm_sub_epi8(_mm_xor_si128(low, sign), sign);
      high = _mm_sub_epi8(_mm_xor_si128(high, sign), sign);
    }
    bool isSigned = element == GANQ_SIMT_S4;
    widen(_mm_unpacklo_epi8(low, high), values + 8 * w, isSigned);
    widen(_mm_unpackhi_epi8(low, high), values + 8 * w + 16, isSigned);
  }
}

static void multiplyIntegers(const ganq_simt_mma_shape &shape,
                             const Fragments &fragments,
                             Accumulators &products) {
  alignas(32) int16_t a[64], column[64];
  alignas(32) uint32_t b[32][kColumns]; // Pairs along k.
  uint32_t pairs = shape.k / 2;
  for (uint32_t n = 0; n < kColumns; ++n) {
    toIntegers(fragments.b[n], fragments.words, shape.b, column);
    for (uint32_t p = 0; p < pairs; ++p)
      memcpy(&b[p][n], column + 2 * p, 4);
  }
  for (uint32_t m = 0; m < fragments.rows; ++m) {
    toIntegers(fragments.a[m], fragments.words, shape.a, a);
    __m256i sum = _mm256_setzero_si256();
    for (uint32_t p = 0; p < pairs; ++p) {
      int32_t pair;
      memcpy(&pair, a + 2 * p, 4);
      sum = _mm256_add_epi32(
          sum, _mm256_madd_epi16(
                   _mm256_set1_epi32(pair),
                   _mm256_load_si256(reinterpret_cast<__m256i *>(b[p]))));
    }
    _mm256_store_si256(reinterpret_cast<__m256i *>(products[m]), sum);
  }
}

static void multiplyBits(const ganq_simt_mma_shape &shape,
                         const Fragments &fragments, Accumulators &products) {
  bool isXor = shape.op == GANQ_SIMT_MMA_XOR_POPC;
  for (uint32_t m = 0; m < fragments.rows; ++m)
    for (uint32_t n = 0; n < kColumns; ++n) {
      uint32_t sum = 0;
      for (uint32_t w = 0; w < fragments.words; w += 2) {
        uint64_t a, b;
        memcpy(&a, &fragments.a[m][w], 8);
        memcpy(&b, &fragments.b[n][w], 8);
        sum += __builtin_popcountll(isXor ? a ^ b : a & b);
      }
      products[m][n] = sum;
    }
}

static void computeMma(Warp &warp, uint32_t mask) {
  Lane &any = *warp.lanes[__builtin_ctz(mask)];
  const ganq_simt_mma_shape &shape =
      *static_cast<Operands *>(any.operands)->shape;
  if (mask != ~0u)
    any.owner->fail(any, any.place,
                    "expected all 32 lanes of a warp to run mma.sync, but only "
                    "mask 0x%08x does",
                    mask);
  Fragments fragments;
  alignas(32) Accumulators c, products;
  gather(warp, shape, fragments);
  loadAccumulators(warp, fragments, shape.c, c);
  if (shape.d != GANQ_SIMT_S32) {
    multiplyFloats(shape, fragments, c);
  } else {
    if (shape.a == GANQ_SIMT_B1)
      multiplyBits(shape, fragments, products);
    else
      multiplyIntegers(shape, fragments, products);
    bool saturate = shape.op == GANQ_SIMT_MMA_SATURATE;
    for (uint32_t m = 0; m < fragments.rows; ++m)
      for (uint32_t n = 0; n < kColumns; ++n) {
        int64_t sum = int64_t(int32_t(c[m][n])) + int32_t(products[m][n]);
        if (saturate)
          sum = std::clamp<int64_t>(sum, INT32_MIN, INT32_MAX);
        c[m][n] = uint32_t(sum);
      }
  }
  storeAccumulators(warp, fragments, shape.d, c);
}

void ganq_simt_mma(ganq_simt_lane *lane, uint32_t place,
                   const ganq_simt_mma_shape *shape, uint32_t *registers) {
  Lane &l = *static_cast<Lane *>(lane);
  Operands operands = {shape, registers};
  l.owner->warpOperation(l, place, "mma.sync", ~0u, uint64_t(place) << 16 | 64,
                         &operands, computeMma);
}
