//===- GpuQuantizeTest.cpp - Rows of x to codes on GPUs -------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "GpuModules.h"
#include "ganq/Emulator/Emulator.h"
#include "llvm/Support/MathExtras.h"
#include "gtest/gtest.h"
#include <cmath>
#include <cstring>
#include <random>

using namespace ganq;

namespace {

/// Runs the kernel on rows of bf16 or f32 and compares all that it writes.
void checkQuantizer(unsigned bits, bool planes, int64_t rows, int64_t columns,
                    bool wide = false) {
  mlir::MLIRContext context;
  GpuQuantizeSpec spec;
  spec.type = mlir::BFloat16Type::get(&context);
  if (wide)
    spec.type = mlir::Float32Type::get(&context);
  spec.bits = bits;
  spec.planes = planes;
  GpuKernelInfo info;
  auto module = buildQuantizeModule(context, spec, info);
  ASSERT_TRUE(static_cast<bool>(module));
  auto emulated = EmulatedModule::create(
      *(*module)->getOps<mlir::gpu::GPUModuleOp>().begin());
  ASSERT_TRUE(static_cast<bool>(emulated))
      << llvm::toString(emulated.takeError());

  // A row of zeros, one that is negative, and others.
  std::mt19937 random(5);
  std::normal_distribution<float> normal;
  std::vector<uint16_t> x;
  std::vector<float> value;
  for (int64_t i = 0; i < rows * columns; ++i) {
    float drawn = normal(random) * 3;
    if (i / columns == 0)
      drawn = 0;
    else if (i / columns == 1)
      drawn = -std::fabs(drawn);
    uint32_t word;
    std::memcpy(&word, &drawn, 4);
    word &= wide ? 0xffffffff : 0xffff0000;
    x.push_back(static_cast<uint16_t>(word >> 16));
    std::memcpy(&drawn, &word, 4);
    value.push_back(drawn);
  }
  int64_t padded = llvm::alignTo(columns, planes ? 256 : 128);
  auto bytes =
      static_cast<size_t>(rows * (planes ? padded / 8 * bits : padded));
  std::vector<uint8_t> codes(bytes, 0xee), wanted(bytes, 0);
  auto count = static_cast<size_t>(rows);
  std::vector<float> scale(count, -1), wantedScale;
  std::vector<int32_t> zero(count, -1), sum(count, -1), wantedZero, wantedSum;

  auto greatest = static_cast<float>((1 << bits) - 1);
  for (int64_t row = 0; row < rows; ++row) {
    const float *in = value.data() + row * columns;
    float low = 0, high = 0;
    for (int64_t i = 0; i < columns; ++i) {
      low = std::min(low, in[i]);
      high = std::max(high, in[i]);
    }
    float step = high / greatest - low / greatest;
    float inverse = step > 0 ? 1 / step : 0;
    float offset = std::nearbyint(-low * inverse);
    wantedScale.push_back(step);
    wantedZero.push_back(static_cast<int32_t>(offset));
    int32_t total = 0;
    for (int64_t i = 0; i < columns; ++i) {
      float level = std::nearbyint(in[i] * inverse) + offset;
      auto code =
          static_cast<int32_t>(std::min(std::max(level, 0.0f), greatest));
      total += code;
      if (!planes)
        wanted[static_cast<size_t>(row * padded + i)] =
            static_cast<uint8_t>(code);
      else
        for (unsigned bit = 0; bit < bits; ++bit)
          wanted[static_cast<size_t>((bit * rows + row) * padded / 8 +
                                     i / 8)] |=
              static_cast<uint8_t>(((code >> bit) & 1) << (i % 8));
    }
    wantedSum.push_back(total);
  }

  const void *buffers[] = {codes.data(), scale.data(), zero.data(), sum.data(),
                           x.data()};
  size_t sizes[] = {bytes, count * 4, count * 4, count * 4, x.size() * 2};
  if (wide) {
    buffers[4] = value.data();
    sizes[4] = value.size() * 4;
  }
  std::vector<void *> args;
  for (size_t i = 0; i < 5; ++i) {
    (*emulated)->addBuffer(buffers[i], static_cast<int64_t>(sizes[i]), "",
                           i == 4);
    args.push_back(&buffers[i]);
  }
  auto m = static_cast<int32_t>(rows), k = static_cast<int32_t>(columns);
  args.insert(args.end(), {&m, &k});
  Dim3 grid, block;
  grid.x = rows;
  block.x = info.threads;
  llvm::Error error =
      (*emulated)->launch(info.name, grid, block, info.sharedBytes, args);
  ASSERT_FALSE(static_cast<bool>(error)) << llvm::toString(std::move(error));
  EXPECT_EQ(scale, wantedScale);
  EXPECT_EQ(zero, wantedZero);
  EXPECT_EQ(sum, wantedSum);
  EXPECT_TRUE(codes == wanted);
}

TEST(GpuQuantizeRows, Bytes) { checkQuantizer(8, false, 3, 300); }
TEST(GpuQuantizeRows, Planes) { checkQuantizer(3, true, 3, 300); }
TEST(GpuQuantizeRows, Floats) {
  checkQuantizer(8, false, 3, 300, true);
  checkQuantizer(5, true, 3, 37, true);
}

TEST(GpuQuantizeRows, FullBits) {
  for (unsigned bits = 1; bits <= 8; ++bits) {
    checkQuantizer(bits, false, 4, 1000);
    checkQuantizer(bits, true, 4, 1000);
  }
}

} // namespace
