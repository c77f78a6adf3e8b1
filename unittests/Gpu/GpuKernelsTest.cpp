//===- GpuKernelsTest.cpp - GPU kernels on the emulator -------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Every kernel computes products of random codes that are exact in f32, so the
// results must be equal bit for bit.
//
//===----------------------------------------------------------------------===//

#include "GpuProblem.h"
#include "gtest/gtest.h"
#include <map>

using namespace ganq;

namespace {

/// The kernel that would be chosen for a product with `m` rows of x.
GpuMatmulSpec kernelFor(int64_t m, GpuStrategy strategy) {
  GpuMatmulSpec spec;
  spec.strategy = strategy;
  bool gemv =
      m <= 8 && strategy != GpuStrategy::Int8 && strategy != GpuStrategy::Btc;
  spec.skeleton = gemv ? GpuSkeleton::Gemv : GpuSkeleton::Gemm;
  if (gemv)
    spec.tokens = m == 1 ? 1 : m == 2 ? 2 : m <= 4 ? 4 : 8;
  else
    spec.tokens = m <= 16 || strategy == GpuStrategy::Btc ? 16 : 64;
  if (gemv && strategy != GpuStrategy::F16)
    spec.strategy = GpuStrategy::Dp4a;
  return spec;
}

/// Runs `scheme` on the shapes, each with the kernel for its M; kernels are
/// made once.
void checkShapes(const std::string &scheme, GpuStrategy strategy,
                 const std::vector<GpuShape> &shapes) {
  mlir::MLIRContext context;
  std::map<int64_t, std::unique_ptr<GpuKernelUnderTest>> kernels;
  uint64_t seed = 1;
  for (GpuShape shape : shapes) {
    GpuMatmulSpec spec = kernelFor(shape.m, strategy);
    auto &kernel = kernels[spec.tokens];
    if (!kernel)
      kernel = std::make_unique<GpuKernelUnderTest>(context, scheme, spec);
    ASSERT_EQ(kernel->getError(), "") << scheme;
    EXPECT_EQ(kernel->check(shape, seed++), "")
        << scheme << " " << shape.m << "x" << shape.n << "x" << shape.k;
  }
}

//===----------------------------------------------------------------------===//
// A few kernels of each kind: part of every run of the tests
//===----------------------------------------------------------------------===//

const std::vector<GpuShape> kDecode = {{1, 64, 64}, {1, 100, 260}};
const std::vector<GpuShape> kRagged = {{3, 100, 260}};
const std::vector<GpuShape> kBatch = {{16, 128, 256}, {9, 50, 132}};

TEST(GpuGemv, Lut4) {
  checkShapes("#ganq.lut<bits = 4>", GpuStrategy::F16, kDecode);
}
TEST(GpuGemv, Lut3Ragged) {
  checkShapes("#ganq.lut<bits = 3>", GpuStrategy::F16, kRagged);
}
TEST(GpuGemv, Lut2BFloat) {
  checkShapes("#ganq.lut<bits = 2, entry = bf16>", GpuStrategy::F16, kDecode);
}
TEST(GpuGemv, Uniform3Grouped) {
  checkShapes("#ganq.uniform<bits = 3, group = 32>", GpuStrategy::F16, kDecode);
}
TEST(GpuGemv, Pot2Stride2) {
  checkShapes("#ganq.pot<bits = 2, group = 64, grid = stride2>",
              GpuStrategy::F16, kDecode);
}
TEST(GpuGemv, Dp4a) {
  checkShapes("#ganq.uniform<bits = 3, activation = 8>", GpuStrategy::Dp4a,
              kDecode);
}
TEST(GpuGemm, Lut3) {
  checkShapes("#ganq.lut<bits = 3>", GpuStrategy::F16, kBatch);
}
TEST(GpuGemm, Uniform4Grouped) {
  checkShapes("#ganq.uniform<bits = 4, group = 64>", GpuStrategy::F16, kBatch);
}
TEST(GpuGemm, Int8) {
  checkShapes("#ganq.uniform<bits = 4, activation = 8>", GpuStrategy::Int8,
              kBatch);
}
TEST(GpuGemm, Btc) {
  checkShapes("#ganq.uniform<bits = 2, activation = 3>", GpuStrategy::Btc,
              kBatch);
}

TEST(GpuEpilogue, BiasActivationResidual) {
  mlir::MLIRContext context;
  GpuMatmulSpec spec;
  spec.tokens = 4;
  spec.bias = spec.residual = true;
  spec.activation = GpuActivation::Silu;
  GpuKernelUnderTest silu(context, "#ganq.pot<bits = 2>", spec);
  EXPECT_EQ(silu.check({3, 40, 96}, 1), "");
  spec.activation = GpuActivation::Relu;
  spec.skeleton = GpuSkeleton::Gemm;
  spec.tokens = 16;
  GpuKernelUnderTest relu(context, "#ganq.pot<bits = 2>", spec);
  EXPECT_EQ(relu.check({3, 40, 96}, 2), "");
}

/// Both skeletons and all strategies store results of f32.
TEST(GpuEpilogue, FloatResults) {
  mlir::MLIRContext context;
  auto check = [&](const std::string &scheme, GpuStrategy strategy,
                   GpuShape shape, GpuActivation activation) {
    GpuMatmulSpec spec = kernelFor(shape.m, strategy);
    spec.bias = spec.residual = true;
    spec.activation = activation;
    GpuKernelUnderTest kernel(context, scheme, spec, /*floatResult=*/true);
    EXPECT_EQ(kernel.check(shape, 3), "") << scheme;
  };
  constexpr GpuActivation kNone = GpuActivation::None;
  check("#ganq.pot<bits = 3, group = 32>", GpuStrategy::F16, {3, 40, 96},
        kNone);
  check("#ganq.lut<bits = 2>", GpuStrategy::F16, {9, 40, 100},
        GpuActivation::Silu);
  check("#ganq.uniform<bits = 4, scale = bf16>", GpuStrategy::F16, {1, 40, 96},
        GpuActivation::Relu);
  const char *codes = "#ganq.uniform<bits = 2, activation = 4>";
  check(codes, GpuStrategy::Dp4a, {2, 40, 96}, kNone);
  check(codes, GpuStrategy::Int8, {9, 40, 96}, kNone);
  check(codes, GpuStrategy::Btc, {9, 40, 96}, kNone);
}

/// Several weights in one launch, of several numbers of rows.
TEST(GpuProducts, ShareALaunch) {
  mlir::MLIRContext context;
  auto check = [&](const std::string &scheme, GpuStrategy strategy,
                   GpuShape shape, int64_t products) {
    GpuMatmulSpec spec = kernelFor(shape.m, strategy);
    spec.bias = true;
    spec.products = products;
    GpuKernelUnderTest kernel(context, scheme, spec, /*floatResult=*/true);
    EXPECT_EQ(kernel.check(shape, 4), "") << scheme;
  };
  check("#ganq.lut<bits = 4>", GpuStrategy::F16, {1, 100, 96}, 3);
  check("#ganq.uniform<bits = 4, group = 32>", GpuStrategy::F16, {9, 40, 96},
        2);
  const char *codes = "#ganq.uniform<bits = 2, activation = 4>";
  check(codes, GpuStrategy::Dp4a, {2, 40, 96}, 4);
  check(codes, GpuStrategy::Btc, {9, 40, 96}, 3);

  GpuMatmulSpec spec;
  spec.products = 5;
  GpuKernelUnderTest none(context, "#ganq.lut<bits = 4>", spec);
  EXPECT_EQ(none.getError(), "expected 1 to 4 products of one x, but got 5");
}

//===----------------------------------------------------------------------===//
// Everything
//===----------------------------------------------------------------------===//

class FullGpuFloats
    : public ::testing::TestWithParam<std::tuple<std::string, bool>> {};

TEST_P(FullGpuFloats, AllShapes) {
  auto [scheme, bf16] = GetParam();
  if (bf16)
    scheme.insert(scheme.size() - 1, scheme.find("lut") != std::string::npos
                                         ? ", entry = bf16"
                                         : ", scale = bf16");
  std::vector<GpuShape> shapes = kGpuShapes;
  // The other kernels for few rows of x, and x without alignment.
  shapes.insert(shapes.end(), {{2, 64, 129}, {7, 33, 128}, {20, 40, 131}});
  checkShapes(scheme, GpuStrategy::F16, shapes);
}

INSTANTIATE_TEST_SUITE_P(
    , FullGpuFloats,
    ::testing::Combine(
        ::testing::Values("#ganq.lut<bits = 2>", "#ganq.lut<bits = 3>",
                          "#ganq.lut<bits = 4>", "#ganq.uniform<bits = 1>",
                          "#ganq.uniform<bits = 2>", "#ganq.uniform<bits = 3>",
                          "#ganq.uniform<bits = 4>",
                          "#ganq.uniform<bits = 2, group = 128>",
                          "#ganq.uniform<bits = 3, group = 64>",
                          "#ganq.uniform<bits = 4, group = 32>",
                          "#ganq.uniform<bits = 4, group = 256>",
                          "#ganq.pot<bits = 2>", "#ganq.pot<bits = 3>",
                          "#ganq.pot<bits = 4>",
                          "#ganq.pot<bits = 2, group = 64>",
                          "#ganq.pot<bits = 3, group = 32>",
                          "#ganq.pot<bits = 4, group = 128>",
                          "#ganq.pot<bits = 2, grid = stride2>",
                          "#ganq.pot<bits = 2, group = 128, grid = stride2>"),
        ::testing::Bool()));

TEST(FullGpuFloats8, AllShapes) {
  checkShapes("#ganq.uniform<bits = 8>", GpuStrategy::F16, kGpuShapes);
}

class FullGpuIntegers : public ::testing::TestWithParam<int> {};

TEST_P(FullGpuIntegers, Int8AndDp4a) {
  std::string scheme = "#ganq.uniform<bits = " + std::to_string(GetParam()) +
                       ", activation = 8>";
  std::vector<GpuShape> gemv, gemm;
  for (GpuShape shape : kGpuShapes)
    (shape.m <= 8 ? gemv : gemm).push_back(shape);
  checkShapes(scheme, GpuStrategy::Dp4a, gemv);
  checkShapes(scheme, GpuStrategy::Int8, gemm);
}

INSTANTIATE_TEST_SUITE_P(, FullGpuIntegers, ::testing::Range(1, 9));

class FullGpuPlanes : public ::testing::TestWithParam<std::tuple<int, int>> {};

TEST_P(FullGpuPlanes, Btc) {
  auto [p, q] = GetParam();
  checkShapes("#ganq.uniform<bits = " + std::to_string(p) +
                  ", activation = " + std::to_string(q) + ">",
              GpuStrategy::Btc, kGpuShapes);
}

INSTANTIATE_TEST_SUITE_P(, FullGpuPlanes,
                         ::testing::Combine(::testing::Range(1, 9),
                                            ::testing::Range(1, 9)));

} // namespace
