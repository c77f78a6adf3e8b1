//===- CostModelTest.cpp - Counts of kernels, against those by hand -------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/Codegen/CostModel.h"
#include "ganq/Codegen/Passes.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/InitAllDialects.h"
#include "mlir/Parser/Parser.h"
#include "mlir/Pass/PassManager.h"
#include "gtest/gtest.h"

using namespace ganq;

namespace {

struct CostModelTest : testing::Test {
  CostModelTest() {
    mlir::DialectRegistry registry;
    mlir::registerAllDialects(registry);
    registry.insert<GanqDialect>();
    context.appendDialectRegistry(registry);
  }

  /// Of the only function of `text`, a kernel, over `items` items.
  KernelCost count(llvm::StringRef text, int64_t items,
                   const CpuTarget &target) {
    auto module = mlir::parseSourceString<mlir::ModuleOp>(text, &context);
    if (!module) {
      ADD_FAILURE() << "the module does not parse";
      return {};
    }
    return countKernel(*module->getOps<mlir::func::FuncOp>().begin(), items, 0,
                       target);
  }

  /// What the pass says of the only product of `text`.
  mlir::DictionaryAttr lower(const std::string &text, const std::string &cpu) {
    auto module = mlir::parseSourceString<mlir::ModuleOp>(text, &context);
    remarks.clear();
    mlir::ScopedDiagnosticHandler collect(&context,
                                          [&](mlir::Diagnostic &diagnostic) {
                                            remarks += diagnostic.str() + "\n";
                                            return mlir::success();
                                          });
    mlir::PassManager manager(&context);
    manager.addPass(createLowerKernels({cpu}));
    if (!module || failed(manager.run(*module))) {
      ADD_FAILURE() << "the pass failed";
      return mlir::DictionaryAttr::get(&context);
    }
    auto kernels = (*module)->getAttrOfType<mlir::ArrayAttr>("ganq.kernels");
    return llvm::cast<mlir::DictionaryAttr>(kernels[0]);
  }

  /// Of 64 rows of x, 256 x 256, 4 bits by 8, rows of x multiplied by vectors
  /// after W is decoded.
  int64_t countProduct(const std::string &cpu, const std::string &tile) {
    mlir::DictionaryAttr kernel = lower(R"(
      func.func @f(%x: memref<64x320xi8>, %y: memref<64x256xf32>,
                   %c: memref<32768xi8>, %s: memref<256x1xf16>,
                   %z: memref<256x1xi8>, %u: memref<256x1xi32>) {
        ganq.packed_matmul %x weight(%c, %s, %z, %u : memref<32768xi8>,
            memref<256x1xf16>, memref<256x1xi8>, memref<256x1xi32>)
          out(%y : memref<64x256xf32>)
          {scheme = #ganq.uniform<bits = 4, activation = 8>, n = 256, k = 256,
           strategy = #ganq.strategy<int8>)" +
                                            tile + R"(} : memref<64x320xi8>
        return
      })",
                                        cpu);
    auto count = kernel.getAs<mlir::IntegerAttr>("instructions");
    return count ? count.getInt() : 0;
  }

  /// The tile of a product of floats with a 1024 x 1024 weight of 4 bits.
  std::string chooseTile(int64_t rows, const std::string &cpu) {
    std::string m = std::to_string(rows);
    auto tile =
        lower("func.func @f(%x: memref<" + m + "x1024xf32>, %y: memref<" + m +
                  "x1024xf32>, %c: memref<524288xi8>,"
                  " %t: memref<1024x1x16xf16>) {\n"
                  "ganq.packed_matmul %x weight(%c, %t : memref<524288xi8>, "
                  "memref<1024x1x16xf16>) out(%y : memref<" +
                  m +
                  "x1024xf32>) {scheme = #ganq.lut<bits = 4>, n = 1024, "
                  "k = 1024} : memref<" +
                  m + "x1024xf32>\n return }",
              cpu)
            .getAs<mlir::StringAttr>("tile");
    return tile ? tile.str() : "";
  }

  mlir::MLIRContext context;
  std::string remarks; ///< Of the last product.
};

// Registers of 256 bits: halves are taken apart and joined without
// instructions, other shuffles take one for each register.
TEST_F(CostModelTest, Halves) {
  std::string low, high, reversed;
  for (int i = 0; i < 32; ++i) {
    low += (i ? ", " : "") + std::to_string(i);
    high += (i ? ", " : "") + std::to_string(32 + i);
    reversed += (i ? ", " : "") + std::to_string(31 - i);
  }
  auto kernel = [&](const std::string &join) {
    return "func.func @k(%lo: index, %hi: index, %a: memref<64xi8>, "
           "%b: memref<64xi8>, %o: memref<32xi16>) {\n"
           "  %c0 = arith.constant 0 : index\n"
           "  %c1 = arith.constant 1 : index\n"
           "  %zero = arith.constant dense<0> : vector<32xi16>\n"
           "  %sum = scf.for %i = %lo to %hi step %c1 iter_args(%s = %zero)"
           "      -> vector<32xi16> {\n"
           "    %w = vector.load %a[%c0] : memref<64xi8>, vector<64xi8>\n"
           "    %x = vector.load %b[%c0] : memref<64xi8>, vector<64xi8>\n"
           "    %w0 = vector.shuffle %w, %w [" +
           low +
           "] : vector<64xi8>, vector<64xi8>\n"
           "    %w1 = vector.shuffle %w, %w [" +
           high +
           "] : vector<64xi8>, vector<64xi8>\n"
           "    %x0 = vector.shuffle %x, %x [" +
           low +
           "] : vector<64xi8>, vector<64xi8>\n"
           "    %x1 = vector.shuffle %x, %x [" +
           high +
           "] : vector<64xi8>, vector<64xi8>\n"
           "    %p0 = llvm.call_intrinsic \"llvm.x86.avx2.pmadd.ub.sw\"(%w0, "
           "%x0) : (vector<32xi8>, vector<32xi8>) -> vector<16xi16>\n"
           "    %p1 = llvm.call_intrinsic \"llvm.x86.avx2.pmadd.ub.sw\"(%w1, "
           "%x1) : (vector<32xi8>, vector<32xi8>) -> vector<16xi16>\n"
           "    %p = vector.shuffle %p0, %p1 [" +
           join +
           "] : vector<16xi16>, vector<16xi16>\n"
           "    %t = arith.addi %s, %p : vector<32xi16>\n"
           "    scf.yield %t : vector<32xi16>\n"
           "  }\n"
           "  vector.store %sum, %o[%c0] : memref<32xi16>, vector<32xi16>\n"
           "  return\n"
           "}\n";
  };
  CpuTarget avx2;
  // Two products, two sums, the number and the jump; two stores.
  KernelCost cost = count(kernel(low), 10, avx2);
  EXPECT_EQ(cost.instructions, 10 * 6 + 2);
  EXPECT_EQ(count(kernel(reversed), 10, avx2).instructions, 10 * 8 + 2);
  // Stores run beside the others.
  EXPECT_DOUBLE_EQ(cost.getSeconds() / 60,
                   count(kernel(reversed), 10, avx2).getSeconds() / 80);
}

TEST_F(CostModelTest, Tiles) {
  CpuTarget target;
  target.avx512 = target.amx = true;
  KernelCost cost = count(R"(
    func.func @k(%lo: index, %hi: index, %p: !llvm.ptr) {
      %c1 = arith.constant 1 : index
      %rows = arith.constant 16 : i16
      %bytes = arith.constant 64 : i16
      %stride = arith.constant 64 : i64
      %zero = llvm.call_intrinsic "llvm.x86.tilezero.internal"(%rows, %bytes)
        : (i16, i16) -> !llvm.x86_amx
      %sum = scf.for %i = %lo to %hi step %c1 iter_args(%s = %zero)
          -> !llvm.x86_amx {
        %w = llvm.call_intrinsic "llvm.x86.tileloadd64.internal"(%rows, %bytes,
          %p, %stride) : (i16, i16, !llvm.ptr, i64) -> !llvm.x86_amx
        %t = llvm.call_intrinsic "llvm.x86.tdpbsud.internal"(%rows, %bytes,
          %bytes, %s, %w, %w) : (i16, i16, i16, !llvm.x86_amx, !llvm.x86_amx,
                                 !llvm.x86_amx) -> !llvm.x86_amx
        scf.yield %t : !llvm.x86_amx
      }
      llvm.call_intrinsic "llvm.x86.tilestored64.internal"(%rows, %bytes, %p,
        %stride, %sum) : (i16, i16, !llvm.ptr, i64, !llvm.x86_amx) -> ()
      return
    })",
                          4, target);
  EXPECT_EQ(cost.instructions, 1 + 4 * (8 + 16 + 2) + 16);
  EXPECT_GT(cost.getSeconds(), 0);
}

// By hand, in the loop over columns: pairs of products, their sums of up to
// eight (32767 / (2 * 15 * 128)), widened sums (two instructions), inputs that
// are broadcast, and loads of weights for 2 (AVX2), 6 (with VNNI) or 8 rows.
// Decoding and finishing add less than a third.
TEST_F(CostModelTest, Products) {
  constexpr int64_t kProducts = 64 * 256 * 256;
  auto expectAbout = [&](const std::string &cpu, int64_t rows, int64_t loop) {
    int64_t counted = countProduct(
        cpu, ", ganq.tile = \"panels rows=" + std::to_string(rows) +
                 " served=64 columns=1024\"");
    EXPECT_GE(counted, loop) << cpu;
    EXPECT_LE(counted, loop + loop / 3) << cpu;
  };
  constexpr int64_t kNarrow = kProducts / 32, kWide = kProducts / 64;
  expectAbout("x86-64-v3", 2,
              kNarrow + kNarrow * 7 / 8 + kNarrow / 4 + kNarrow / 2 +
                  kNarrow / 2);
  expectAbout("x86-64-v3-vnni", 6, kNarrow + kNarrow / 2 + kNarrow / 6);
  expectAbout("x86-64-v4", 8,
              kWide + kWide * 7 / 8 + kWide / 4 + kWide + kWide / 8);
}

// Decoding anew for every few rows of x takes less for few of them, and tile
// registers less than vectors for many.
TEST_F(CostModelTest, ChoosesTile) {
  EXPECT_EQ(chooseTile(1, "x86-64-v4"), "registers rows=1");
  EXPECT_NE(remarks.find("products: 1: registers rows=1, "), std::string::npos)
      << remarks;
  EXPECT_EQ(chooseTile(8, "x86-64-v4"), "registers rows=4");
  EXPECT_EQ(chooseTile(256, "x86-64-v4"),
            "panels rows=12 served=256 columns=256");
  EXPECT_EQ(chooseTile(2048, "x86-64-v3"),
            "panels rows=6 served=256 columns=256");
  auto host = CpuTarget::get("host");
  if (!host)
    return llvm::consumeError(host.takeError());
  if (host->amxFloats) {
    EXPECT_EQ(chooseTile(256, "host").substr(0, 14), "tiles rows=32 ");
    EXPECT_EQ(chooseTile(2, "host"), "registers rows=2");
  }
}

TEST_F(CostModelTest, NamesInstruction) {
  countProduct("x86-64-v3-vnni", "");
  EXPECT_NE(remarks.find("strategy int8, vpdpbusd"), std::string::npos)
      << remarks;
  auto host = CpuTarget::get("host");
  if (!host) {
    llvm::consumeError(host.takeError());
    GTEST_SKIP() << "this machine is below x86-64-v3";
  }
  if (!host->amx)
    GTEST_SKIP() << "needs tile registers";
  countProduct("host", "");
  EXPECT_NE(remarks.find("strategy int8, tdpbsud"), std::string::npos)
      << remarks;
}

} // namespace
