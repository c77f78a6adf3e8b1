//===- GpuSassTest.cpp - Machine code of the GPU kernels ------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// What can be proven without a GPU: ptxas accepts the kernels for every chip,
// spills no register, calls no routine that emulates an instruction, and spends
// no more instructions per weight than what is written here.
//
//===----------------------------------------------------------------------===//

#include "GpuSass.h"
#include "GpuProblem.h"
#include "gtest/gtest.h"
#include <cstdlib>

using namespace ganq;

namespace {

GpuMatmulSpec gemv(int64_t tokens, GpuStrategy strategy = GpuStrategy::F16) {
  GpuMatmulSpec spec;
  spec.tokens = tokens;
  spec.strategy = strategy;
  return spec;
}
GpuMatmulSpec gemm(int64_t tokens, GpuStrategy strategy = GpuStrategy::F16) {
  GpuMatmulSpec spec = gemv(tokens, strategy);
  spec.skeleton = GpuSkeleton::Gemm;
  return spec;
}

/// A kernel whose machine code is looked at.
struct Case {
  std::string scheme;
  GpuMatmulSpec spec;
};

class GpuSass : public ::testing::Test {
protected:
  void SetUp() override {
    if (llvm::Error error =
            assemblePtx("", cantFail(GpuTarget::get("sm_80"))).takeError()) {
      std::string message = llvm::toString(std::move(error));
      if (message.find("found none") != std::string::npos)
        GTEST_SKIP() << message;
    }
  }

  Cubin assemble(const Case &test, llvm::StringRef chip) {
    mlir::MLIRContext context;
    bool bf16 = test.scheme.find("bf16") != std::string::npos;
    GpuKernelInfo info;
    auto module = buildKernelModule(
        context, makeSpec(context, test.scheme, bf16, test.spec), info);
    // The 64-token tile of gemm keeps 64 sums, 16 words of x and the codes,
    // scales and offsets of four rows: where all of that comes to 256 registers
    // (uniform, 2 bits with one group per granule, on sm_100), ptxas stores a
    // few words per step. Code of gemv must never do so.
    return assemble(std::move(module), info, chip,
                    test.spec.skeleton == GpuSkeleton::Gemm ? 32 : 0);
  }

  Cubin assemble(llvm::Expected<mlir::OwningOpRef<mlir::ModuleOp>> module,
                 const GpuKernelInfo &info, llvm::StringRef chip,
                 int64_t spills) {
    GpuTarget target = cantFail(GpuTarget::get(chip));
    if (!module) {
      ADD_FAILURE() << info.name << ": " << llvm::toString(module.takeError());
      return {};
    }
    EXPECT_LE(info.sharedBytes, target.sharedBytes) << info.name;
    auto ptx = compileToPtx(
        *(*module)->getOps<mlir::gpu::GPUModuleOp>().begin(), target);
    auto cubin = ptx ? assemblePtx(*ptx, target)
                     : llvm::Expected<Cubin>(ptx.takeError());
    if (!cubin) {
      ADD_FAILURE() << info.name << ": " << llvm::toString(cubin.takeError());
      return {};
    }
    EXPECT_EQ(cubin->kernels.size(), 1u);
    for (const GpuKernelResources &kernel : cubin->kernels) {
      EXPECT_EQ(kernel.name, info.name);
      EXPECT_LE(kernel.spillBytes, spills) << info.name << " on " << chip.str();
      EXPECT_LE(kernel.stackBytes, spills) << info.name << " on " << chip.str();
      if (std::getenv("GANQ_PRINT_SASS"))
        std::printf("%s %s: %d registers, %d bytes spilled, %d bytes shared, "
                    "%d threads\n",
                    info.name.c_str(), chip.str().c_str(),
                    static_cast<int>(kernel.registers),
                    static_cast<int>(kernel.spillBytes),
                    static_cast<int>(info.sharedBytes),
                    static_cast<int>(info.threads));
    }
    llvm::StringRef image(cubin->image.data(), cubin->image.size());
    EXPECT_FALSE(image.contains("__cuda_sm_")) << info.name;
    return std::move(*cubin);
  }

  /// Checks arithmetic, and all instructions, per weight in the inner loop.
  void checkBudget(const Case &test, llvm::StringRef chip, double arithmetic,
                   double total) {
    Cubin cubin = assemble(test, chip);
    if (cubin.image.empty())
      return;
    llvm::Expected<std::string> sass = disassemble(cubin);
    if (!sass) {
      ADD_FAILURE() << test.scheme << ": " << llvm::toString(sass.takeError());
      return;
    }
    std::optional<InnerLoop> loop = findInnerLoop(*sass);
    ASSERT_TRUE(loop) << test.scheme;
    // Eight weights of a lane are multiplied with one row of x (gemv) or with
    // eight of them.
    int64_t products = test.spec.skeleton == GpuSkeleton::Gemv
                           ? test.spec.tokens
                           : test.spec.tokens / 8;
    auto weights = static_cast<double>(loop->opcodes["HMMA"] * 8 / products);
    ASSERT_GT(weights, 0) << test.scheme;
    double each = static_cast<double>(loop->arithmetic) / weights;
    double all = static_cast<double>(loop->total) / weights;
    if (std::getenv("GANQ_PRINT_SASS")) {
      std::printf("%s %s: %.3f arithmetic, %.3f in all:", test.scheme.c_str(),
                  chip.str().c_str(), each, all);
      for (const auto &[opcode, count] : loop->opcodes)
        std::printf(" %s %d", opcode.c_str(), static_cast<int>(count));
      std::printf("\n");
    }
    EXPECT_LE(each, arithmetic) << test.scheme;
    EXPECT_LE(all, total) << test.scheme;
  }
};

/// Sizes at which an offset of 32 bits would wrap, and the greatest before.
TEST(GpuSizes, Limits) {
  mlir::MLIRContext context;
  auto messageOf = [](llvm::Error error) {
    return llvm::toString(std::move(error));
  };
  const std::string kExpected = "expected less than 2 GiB of ";
  auto begins = [&](llvm::Error error, const std::string &what) {
    std::string message = messageOf(std::move(error));
    EXPECT_EQ(message.rfind(kExpected + what + " for the GPU kernels", 0), 0u)
        << message;
  };
  GpuMatmulSpec floats =
      makeSpec(context, "#ganq.lut<bits = 4>", false, gemm(64));
  EXPECT_EQ(messageOf(checkGpuSizes(floats, 131071, 4096, 8192)), "");
  begins(checkGpuSizes(floats, 131072, 4096, 8192), "x");
  begins(getGpuLayout(floats, 1 << 18, 1 << 14).takeError(), "codes of W");
  begins(getGpuLayout(floats, 1 << 26, 64).takeError(), "codes of W");
  EXPECT_TRUE(bool(getGpuLayout(floats, (1 << 18) - 32, 1 << 14)));
  GpuMatmulSpec planes =
      makeSpec(context, "#ganq.uniform<bits = 2, activation = 4>", false,
               gemm(16, GpuStrategy::Btc));
  begins(checkGpuSizes(planes, 1 << 19, 64, 8192), "planes of x");
  GpuMatmulSpec bytes =
      makeSpec(context, "#ganq.uniform<bits = 2, activation = 8>", false,
               gemm(64, GpuStrategy::Int8));
  begins(checkGpuSizes(bytes, 1 << 24, 64, 100), "codes of x");
  GpuQuantizeSpec quantize;
  quantize.type = mlir::Float16Type::get(&context);
  begins(checkGpuSizes(quantize, 1 << 24, 64), "x");
  begins(checkGpuSizes(quantize, 1 << 24, 1), "codes of x");
  EXPECT_EQ(messageOf(checkGpuSizes(quantize, 0, 64)),
            "expected M of 1 to 2147483647 for the GPU kernels, but got 0");
}

TEST_F(GpuSass, GemvBudget) {
  if (!hasDisassembler())
    GTEST_SKIP() << "counting instructions needs nvdisasm, which was not found "
                    "when the build was configured";
  checkBudget({"#ganq.pot<bits = 2, group = 128, grid = stride2>", gemv(1)},
              "sm_90a", 1.08, 1.31);
  checkBudget({"#ganq.pot<bits = 3, group = 128>", gemv(1)}, "sm_90a", 1.28,
              1.51);
  checkBudget({"#ganq.uniform<bits = 4>", gemv(1)}, "sm_90a", 1.25, 1.48);
  checkBudget({"#ganq.uniform<bits = 4, group = 128>", gemv(1)}, "sm_90a", 1.31,
              1.57);
  checkBudget({"#ganq.lut<bits = 4>", gemv(1)}, "sm_90a", 1.1, 1.83);
  checkBudget({"#ganq.lut<bits = 3>", gemv(1)}, "sm_90a", 1.24, 1.96);
  checkBudget({"#ganq.lut<bits = 2>", gemv(1)}, "sm_90a", 1.07, 1.79);
}

TEST_F(GpuSass, GemmBudget) {
  if (!hasDisassembler())
    GTEST_SKIP() << "counting instructions needs nvdisasm, which was not found "
                    "when the build was configured";
  checkBudget({"#ganq.lut<bits = 3>", gemm(64)}, "sm_90a", 1.76, 3.3);
  checkBudget({"#ganq.lut<bits = 3>", gemm(16)}, "sm_90a", 1.94, 2.73);
  checkBudget({"#ganq.lut<bits = 4>", gemm(64)}, "sm_90a", 3.5, 4.98);
}

/// One kernel of each kind for the oldest and the newest chip.
TEST_F(GpuSass, Assembles) {
  const Case kCases[] = {
      {"#ganq.lut<bits = 4>", gemv(8)},
      {"#ganq.lut<bits = 4, entry = bf16>", gemm(64)},
      {"#ganq.uniform<bits = 3, group = 32, scale = bf16>", gemm(16)},
      {"#ganq.pot<bits = 3, group = 64>", gemv(4)},
      {"#ganq.uniform<bits = 5, activation = 8>", gemm(64, GpuStrategy::Int8)},
      {"#ganq.uniform<bits = 7, activation = 8>", gemv(8, GpuStrategy::Dp4a)},
  };
  for (const Case &test : kCases)
    for (const char *chip : {"sm_80", "sm_120"})
      assemble(test, chip);
  assemble(
      {"#ganq.uniform<bits = 8, activation = 8>", gemm(16, GpuStrategy::Btc)},
      "sm_90");
  for (bool planes : {false, true}) {
    mlir::MLIRContext context;
    GpuQuantizeSpec spec;
    spec.type = mlir::Float16Type::get(&context);
    spec.planes = planes;
    GpuKernelInfo info;
    auto module = buildQuantizeModule(context, spec, info);
    assemble(std::move(module), info, planes ? "sm_80" : "sm_120", 0);
  }
}

/// All kernels, each for one chip, or for all with GANQ_GPU_ALL_CHIPS.
TEST_F(GpuSass, FullAssembles) {
  std::vector<Case> cases;
  auto addFloats = [&](const std::string &scheme) {
    for (int64_t tokens : {1, 2, 4, 8})
      cases.push_back({scheme, gemv(tokens)});
    for (int64_t tokens : {16, 64})
      cases.push_back({scheme, gemm(tokens)});
  };
  for (int bits : {2, 3, 4})
    for (const char *type : {"f16", "bf16"}) {
      std::string head = "<bits = " + std::to_string(bits);
      std::string scale = std::string(", scale = ") + type + ">";
      addFloats("#ganq.lut" + head + ", entry = " + type + ">");
      for (const char *group : {"", ", group = 32", ", group = 128"}) {
        addFloats("#ganq.uniform" + head + group + scale);
        addFloats("#ganq.pot" + head + group + scale);
      }
    }
  for (const char *type : {"f16", "bf16"})
    addFloats(std::string("#ganq.pot<bits = 2, group = 128, grid = stride2, "
                          "scale = ") +
              type + ">");
  for (int bits = 1; bits <= 8; ++bits) {
    std::string scheme =
        "#ganq.uniform<bits = " + std::to_string(bits) + ", activation = ";
    for (int64_t tokens : {1, 2, 4, 8})
      cases.push_back({scheme + "8>", gemv(tokens, GpuStrategy::Dp4a)});
    for (int64_t tokens : {16, 64})
      cases.push_back({scheme + "8>", gemm(tokens, GpuStrategy::Int8)});
    for (int q = 1; q <= 8; ++q)
      cases.push_back(
          {scheme + std::to_string(q) + ">", gemm(16, GpuStrategy::Btc)});
  }
  // One chip after the other takes the next kernel that it can execute.
  bool exhaustive = std::getenv("GANQ_GPU_ALL_CHIPS") != nullptr;
  for (auto [number, test] : llvm::enumerate(cases)) {
    std::vector<llvm::StringRef> chips;
    for (const GpuTarget &target : GpuTarget::getAll())
      if (target.isNative(test.spec.strategy))
        chips.push_back(target.chip);
    if (!exhaustive)
      chips = {chips[number % chips.size()]};
    for (llvm::StringRef chip : chips)
      assemble(test, chip);
  }
}

} // namespace
