//===- MatrixTest.cpp - ldmatrix and mma against plain products -----------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Fragments are packed element by element from the formulas of the PTX ISA's
// section on each shape, apart from the way the emulator gathers them.
//
//===----------------------------------------------------------------------===//

#include "TestKernel.h"
#include <cmath>
#include <cstring>
#include <gtest/gtest.h>
#include <immintrin.h>
#include <random>

using namespace ganq::simt;

namespace {
/// One element of a fragment: where element i of a lane stands in the matrix.
struct Position {
  int row, column;
};

/// Shapes by their element width; `i` counts elements of a lane.
struct Layout {
  Position (*a)(int lane, int i);
  Position (*b)(int lane, int i);
  int aElements, bElements;
};
} // namespace

// C and D of all shapes with 16 (8) rows: row g (+ 8 for i >= 2).
static Position getC(int lane, int i) {
  return {lane / 4 + (i < 2 ? 0 : 8), lane % 4 * 2 + (i & 1)};
}

static const Layout k16n8k16Half = {
    [](int lane, int i) -> Position {
      return {lane / 4 + (i < 2 || (4 <= i && i < 6) ? 0 : 8),
              lane % 4 * 2 + (i & 1) + (i < 4 ? 0 : 8)};
    },
    [](int lane, int i) -> Position {
      return {lane % 4 * 2 + (i & 1) + (i < 2 ? 0 : 8), lane / 4};
    },
    8, 4};
static const Layout k16n8k8Half = {
    [](int lane, int i) -> Position {
      return {lane / 4 + (i < 2 ? 0 : 8), lane % 4 * 2 + (i & 1)};
    },
    [](int lane, int i) -> Position { return {lane % 4 * 2 + i, lane / 4}; }, 4,
    2};
static const Layout k16n8k4Tf32 = {
    [](int lane, int i) -> Position {
      return {lane / 4 + (i == 0 ? 0 : 8), lane % 4};
    },
    [](int lane, int) -> Position { return {lane % 4, lane / 4}; }, 2, 1};
static const Layout k16n8k8Tf32 = {
    [](int lane, int i) -> Position {
      return {lane / 4 + (i == 0 || i == 2 ? 0 : 8),
              lane % 4 + (i < 2 ? 0 : 4)};
    },
    [](int lane, int i) -> Position {
      return {lane % 4 + (i == 0 ? 0 : 4), lane / 4};
    },
    4, 2};
static const Layout k8n8k16Byte = {
    [](int lane, int i) -> Position { return {lane / 4, lane % 4 * 4 + i}; },
    [](int lane, int i) -> Position { return {lane % 4 * 4 + i, lane / 4}; }, 4,
    4};
static const Layout k16n8k16Byte = {
    [](int lane, int i) -> Position {
      return {lane / 4 + (i < 4 ? 0 : 8), lane % 4 * 4 + (i & 3)};
    },
    [](int lane, int i) -> Position { return {lane % 4 * 4 + i, lane / 4}; }, 8,
    4};
static const Layout k16n8k32Byte = {
    [](int lane, int i) -> Position {
      return {lane / 4 + (i < 4 || (8 <= i && i < 12) ? 0 : 8),
              lane % 4 * 4 + (i & 3) + (i < 8 ? 0 : 16)};
    },
    [](int lane, int i) -> Position {
      return {lane % 4 * 4 + (i & 3) + (i < 4 ? 0 : 16), lane / 4};
    },
    16, 8};
static const Layout k8n8k32Nibble = {
    [](int lane, int i) -> Position { return {lane / 4, lane % 4 * 8 + i}; },
    [](int lane, int i) -> Position { return {lane % 4 * 8 + i, lane / 4}; }, 8,
    8};
static const Layout k16n8k32Nibble = {
    [](int lane, int i) -> Position {
      return {lane / 4 + (i < 8 ? 0 : 8), lane % 4 * 8 + (i & 7)};
    },
    [](int lane, int i) -> Position { return {lane % 4 * 8 + i, lane / 4}; },
    16, 8};
static const Layout k16n8k64Nibble = {
    [](int lane, int i) -> Position {
      return {lane / 4 + (i < 8 || (16 <= i && i < 24) ? 0 : 8),
              lane % 4 * 8 + (i & 7) + (i < 16 ? 0 : 32)};
    },
    [](int lane, int i) -> Position {
      return {lane % 4 * 8 + (i & 7) + (i < 8 ? 0 : 32), lane / 4};
    },
    32, 16};
static const Layout k8n8k128Bit = {
    [](int lane, int i) -> Position { return {lane / 4, lane % 4 * 32 + i}; },
    [](int lane, int i) -> Position { return {lane % 4 * 32 + i, lane / 4}; },
    32, 32};
static const Layout k16n8k128Bit = {
    [](int lane, int i) -> Position {
      return {lane / 4 + (i < 32 ? 0 : 8), lane % 4 * 32 + (i & 31)};
    },
    [](int lane, int i) -> Position { return {lane % 4 * 32 + i, lane / 4}; },
    64, 32};
static const Layout k16n8k256Bit = {
    [](int lane, int i) -> Position {
      return {lane / 4 + (i < 32 || (64 <= i && i < 96) ? 0 : 8),
              lane % 4 * 32 + (i & 31) + (i < 64 ? 0 : 128)};
    },
    [](int lane, int i) -> Position {
      return {lane % 4 * 32 + (i & 31) + (i < 32 ? 0 : 128), lane / 4};
    },
    128, 64};

static int getBits(int element) {
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

/// The bits of a small integer as an element.
static uint32_t encode(int element, int value) {
  float f = float(value);
  uint32_t bits;
  memcpy(&bits, &f, 4);
  switch (element) {
  case GANQ_SIMT_F16:
    return _cvtss_sh(f, 0);
  case GANQ_SIMT_BF16:
    return bits >> 16;
  case GANQ_SIMT_TF32:
  case GANQ_SIMT_F32:
    return bits;
  default:
    return uint32_t(value) & uint32_t((uint64_t(1) << getBits(element)) - 1);
  }
}

static int decode(int element, uint32_t bits) {
  float f;
  memcpy(&f, &bits, 4);
  if (element == GANQ_SIMT_F16)
    return int(_cvtsh_ss(bits));
  return element == GANQ_SIMT_F32 ? int(f) : int(bits);
}

static int draw(std::mt19937 &random, int element) {
  auto pick = [&](int low, int high) {
    return std::uniform_int_distribution<int>(low, high)(random);
  };
  switch (element) {
  case GANQ_SIMT_S8:
    return pick(-128, 127);
  case GANQ_SIMT_U8:
    return pick(0, 255);
  case GANQ_SIMT_S4:
    return pick(-8, 7);
  case GANQ_SIMT_U4:
    return pick(0, 15);
  case GANQ_SIMT_B1:
    return pick(0, 1);
  default:
    return pick(-8, 8); // Exact in each float format, and so are the sums.
  }
}

namespace {
struct MmaArgs {
  ganq_simt_mma_shape shape;
  uint32_t registers[32][16];
};
} // namespace

static void mmaKernel(ganq_simt_lane *lane, void *const *args) {
  auto &a = *getPointer<MmaArgs>(args);
  ganq_simt_mma(lane, 1, &a.shape, a.registers[lane->laneid]);
}

static void put(uint32_t *registers, int bits, int i, uint32_t value) {
  registers[i * bits / 32] |= value << i * bits % 32;
}

static void testMma(ganq_simt_mma_shape shape, const Layout &layout,
                    int bias = 0) {
  SCOPED_TRACE(testing::Message()
               << "m" << shape.m << "n" << shape.n << "k" << shape.k << " a"
               << int(shape.a) << " b" << int(shape.b) << " d" << int(shape.d)
               << " op" << int(shape.op));
  std::mt19937 random(shape.k * 64 + shape.a * 8 + shape.b);
  int aBits = getBits(shape.a), cBits = getBits(shape.c);
  int aRegisters = layout.aElements * aBits / 32;
  int bRegisters = layout.bElements * aBits / 32;
  int cElements = shape.m == 16 ? 4 : 2;
  int64_t a[16][256], b[256][8], c[16][8];
  for (int m = 0; m < shape.m; ++m)
    for (int k = 0; k < shape.k; ++k)
      a[m][k] = draw(random, shape.a);
  for (int k = 0; k < shape.k; ++k)
    for (int n = 0; n < 8; ++n)
      b[k][n] = draw(random, shape.b);
  for (int m = 0; m < shape.m; ++m)
    for (int n = 0; n < 8; ++n)
      c[m][n] = draw(random, shape.c) + bias;

  MmaArgs args = {shape, {}};
  for (int lane = 0; lane < 32; ++lane) {
    uint32_t *registers = args.registers[lane];
    for (int i = 0; i < layout.aElements; ++i) {
      Position p = layout.a(lane, i);
      put(registers, aBits, i, encode(shape.a, a[p.row][p.column]));
    }
    for (int i = 0; i < layout.bElements; ++i) {
      Position p = layout.b(lane, i);
      put(registers + aRegisters, aBits, i,
          encode(shape.b, b[p.row][p.column]));
    }
    for (int i = 0; i < cElements; ++i) {
      Position p = getC(lane, i);
      put(registers + aRegisters + bRegisters, cBits, i,
          encode(shape.c, c[p.row][p.column]));
    }
  }
  TestKernel kernel(mmaKernel);
  ASSERT_EQ(kernel.run(&args, 32), "");
  for (int lane = 0; lane < 32; ++lane)
    for (int i = 0; i < cElements; ++i) {
      Position p = getC(lane, i);
      int64_t sum = c[p.row][p.column];
      for (int k = 0; k < shape.k; ++k) {
        int64_t x = a[p.row][k], y = b[k][p.column];
        sum += shape.op == GANQ_SIMT_MMA_XOR_POPC ? x ^ y : x * y;
      }
      if (shape.op == GANQ_SIMT_MMA_SATURATE)
        sum = std::max<int64_t>(INT32_MIN, std::min<int64_t>(INT32_MAX, sum));
      int dBits = getBits(shape.d);
      uint32_t word =
          args.registers[lane][aRegisters + bRegisters + i * dBits / 32];
      uint32_t bits = dBits == 16 ? word >> i * 16 % 32 & 0xffff : word;
      ASSERT_EQ(decode(shape.d, bits), int32_t(uint32_t(sum)))
          << "lane " << lane << " element " << i;
    }
}

TEST(Mma, MultipliesFloats) {
  uint8_t multiply = GANQ_SIMT_MMA_MULTIPLY;
  for (uint8_t c : {GANQ_SIMT_F16, GANQ_SIMT_F32})
    for (uint8_t d : {GANQ_SIMT_F16, GANQ_SIMT_F32}) {
      testMma({16, 8, 16, GANQ_SIMT_F16, GANQ_SIMT_F16, c, d, multiply, 0},
              k16n8k16Half);
      testMma({16, 8, 8, GANQ_SIMT_F16, GANQ_SIMT_F16, c, d, multiply, 0},
              k16n8k8Half);
    }
  uint8_t f32 = GANQ_SIMT_F32;
  testMma({16, 8, 16, GANQ_SIMT_BF16, GANQ_SIMT_BF16, f32, f32, multiply, 0},
          k16n8k16Half);
  testMma({16, 8, 8, GANQ_SIMT_BF16, GANQ_SIMT_BF16, f32, f32, multiply, 0},
          k16n8k8Half);
  testMma({16, 8, 4, GANQ_SIMT_TF32, GANQ_SIMT_TF32, f32, f32, multiply, 0},
          k16n8k4Tf32);
  testMma({16, 8, 8, GANQ_SIMT_TF32, GANQ_SIMT_TF32, f32, f32, multiply, 0},
          k16n8k8Tf32);
}

TEST(Mma, MultipliesIntegers) {
  uint8_t s32 = GANQ_SIMT_S32;
  for (uint8_t op : {GANQ_SIMT_MMA_MULTIPLY, GANQ_SIMT_MMA_SATURATE}) {
    // Sums that leave the range wrap or saturate.
    int bias = INT32_MAX - 3000;
    for (uint8_t a : {GANQ_SIMT_S8, GANQ_SIMT_U8})
      for (uint8_t b : {GANQ_SIMT_S8, GANQ_SIMT_U8}) {
        testMma({8, 8, 16, a, b, s32, s32, op, 0}, k8n8k16Byte, bias);
        testMma({16, 8, 16, a, b, s32, s32, op, 0}, k16n8k16Byte, bias);
        testMma({16, 8, 32, a, b, s32, s32, op, 0}, k16n8k32Byte, bias);
      }
    for (uint8_t a : {GANQ_SIMT_S4, GANQ_SIMT_U4})
      for (uint8_t b : {GANQ_SIMT_S4, GANQ_SIMT_U4}) {
        testMma({8, 8, 32, a, b, s32, s32, op, 0}, k8n8k32Nibble, bias);
        testMma({16, 8, 32, a, b, s32, s32, op, 0}, k16n8k32Nibble, bias);
        testMma({16, 8, 64, a, b, s32, s32, op, 0}, k16n8k64Nibble, bias);
      }
  }
}

TEST(Mma, CountsBits) {
  uint8_t b1 = GANQ_SIMT_B1, s32 = GANQ_SIMT_S32;
  for (uint8_t op : {GANQ_SIMT_MMA_AND_POPC, GANQ_SIMT_MMA_XOR_POPC}) {
    testMma({8, 8, 128, b1, b1, s32, s32, op, 0}, k8n8k128Bit);
    testMma({16, 8, 128, b1, b1, s32, s32, op, 0}, k16n8k128Bit);
    testMma({16, 8, 256, b1, b1, s32, s32, op, 0}, k16n8k256Bit);
  }
}

TEST(Mma, RoundsLikeSingleAndHalfPrecision) {
  // 1 + 2^-11 rounds to 1 in f16; f32 keeps it.
  for (uint8_t d : {GANQ_SIMT_F16, GANQ_SIMT_F32}) {
    MmaArgs args = {{16, 8, 8, GANQ_SIMT_F16, GANQ_SIMT_F16, d, d, 0, 0}, {}};
    for (auto &lane : args.registers) {
      lane[0] = lane[1] = 0x00003c00; // a: 1 in even columns
      lane[2] = 0x00000000;
      lane[3] = d == GANQ_SIMT_F16 ? 0x3c003c00 : 0x3f800000;
      lane[4] = lane[3];
    }
    // B[0][n] = 2^-11.
    for (int lane = 0; lane < 32; lane += 4)
      args.registers[lane][2] = 0x00001000;
    ASSERT_EQ(TestKernel(mmaKernel).run(&args, 32), "");
    EXPECT_EQ(args.registers[0][3],
              d == GANQ_SIMT_F16 ? 0x3c003c00 : 0x3f801000u);
  }
}

TEST(Mma, WantsTheWholeWarp) {
  TestKernel kernel([](ganq_simt_lane *lane, void *const *args) {
    if (lane->tid[0] != 40)
      mmaKernel(lane, args);
  });
  MmaArgs args = {{8, 8, 16, GANQ_SIMT_S8, GANQ_SIMT_S8, GANQ_SIMT_S32,
                   GANQ_SIMT_S32, 0, 0},
                  {}};
  std::string message = kernel.run(&args, 64);
  EXPECT_TRUE(contains(message,
                       "k.mlir:2:2: expected all 32 lanes of a warp to run "
                       "mma.sync, but only mask 0xfffffeff does"))
      << message;
  EXPECT_TRUE(contains(TestKernel(mmaKernel).run(&args, 16),
                       "but only mask 0x0000ffff does"));
}

//===----------------------------------------------------------------------===//
// ldmatrix and stmatrix
//===----------------------------------------------------------------------===//

namespace {
struct MatrixArgs {
  uint32_t shape, stride, skew;
  bool useStore;
  uint32_t registers[32][4];
  uint16_t memory[32][16];
};
} // namespace

/// Rows stand `stride` bytes apart in shared memory.
static void matrixKernel(ganq_simt_lane *lane, void *const *args) {
  auto &a = *getPointer<MatrixArgs>(args);
  uint32_t id = lane->laneid;
  char *row = lane->shared + id * a.stride + a.skew;
  if (a.useStore) {
    ganq_simt_stmatrix(lane, 1, a.shape, row, a.registers[id]);
  } else {
    memcpy(lane->shared + id * a.stride, a.memory[id], a.stride);
    memset(lane->shared + id * a.stride + lane->shared_state, 0, a.stride);
    ganq_simt_warp_barrier(lane, 0, ~0u);
    ganq_simt_ldmatrix(lane, 2, a.shape, row, a.registers[id]);
    return;
  }
  memcpy(a.memory[id], lane->shared + id * a.stride, a.stride);
}

TEST(Matrix, MovesRowsAndColumns) {
  for (uint32_t count : {1, 2, 4})
    for (bool transposed : {false, true})
      for (bool store : {false, true}) {
        MatrixArgs args = {
            count | uint32_t(transposed) << 8, 32, 0, store, {}, {}};
        auto value = [](int row, int column) {
          return uint16_t(row * 100 + column);
        };
        auto get = [&](int lane, int matrix, int half) {
          int row = lane / 4, column = lane % 4 * 2 + half;
          return transposed ? value(8 * matrix + column, row)
                            : value(8 * matrix + row, column);
        };
        for (int row = 0; row < 32; ++row)
          for (int column = 0; column < 8; ++column)
            if (!store)
              args.memory[row][column] = value(row, column);
        if (store)
          for (uint32_t lane = 0; lane < 32; ++lane)
            for (uint32_t i = 0; i < count; ++i)
              args.registers[lane][i] =
                  get(lane, i, 0) | uint32_t(get(lane, i, 1)) << 16;
        ASSERT_EQ(TestKernel(matrixKernel, 1024).run(&args, 32), "");
        if (store) {
          for (uint32_t row = 0; row < 8 * count; ++row)
            for (int column = 0; column < 8; ++column)
              ASSERT_EQ(args.memory[row][column], value(row, column));
          continue;
        }
        for (uint32_t lane = 0; lane < 32; ++lane)
          for (uint32_t i = 0; i < count; ++i)
            ASSERT_EQ(args.registers[lane][i],
                      get(lane, i, 0) | uint32_t(get(lane, i, 1)) << 16);
      }
}

TEST(Matrix, ChecksRows) {
  MatrixArgs args = {4, 32, 8, false, {}, {}};
  EXPECT_TRUE(contains(TestKernel(matrixKernel, 1024).run(&args, 32),
                       "k.mlir:3:3: expected a load of 16 bytes to be aligned "
                       "to 16, but got offset 8 of shared memory"));
  args.skew = 0;
  // Only the rows of the last matrix lie behind the end.
  args.useStore = true;
  EXPECT_TRUE(contains(TestKernel(matrixKernel, 960).run(&args, 32),
                       "expected stmatrix to be given rows in shared memory"));
  args.shape = 2;
  std::string message = TestKernel(matrixKernel, 1024).run(&args, 32);
  EXPECT_EQ(message, "");
}
