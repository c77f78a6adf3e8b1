//===- LowerKernelsTest.cpp - Kernels of whole modules --------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/Codegen/Passes.h"
#include "ganq/IR/GanqDialect.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/InitAllDialects.h"
#include "mlir/Parser/Parser.h"
#include "mlir/Pass/PassManager.h"
#include "llvm/Support/FormatVariadic.h"
#include "gtest/gtest.h"
#include <map>

using namespace ganq;

namespace {

struct LowerKernelsTest : testing::Test {
  LowerKernelsTest() {
    mlir::DialectRegistry registry;
    mlir::registerAllDialects(registry);
    registry.insert<GanqDialect>();
    context.appendDialectRegistry(registry);
  }

  /// A norm, queries and keys, and a product with as many rows and columns, of
  /// which `attributes` are.
  static std::string layer(int number, int rows,
                           const std::string &attributes) {
    std::string product = R"(
  %c{0}_{1} = ganq.parameter "{0}.{1}.codes" : memref<32768xi8>
  %t{0}_{1} = ganq.parameter "{0}.{1}.table" : memref<256x1x16xf16>
  ganq.packed_matmul %{2} weight(%c{0}_{1}, %t{0}_{1} : memref<32768xi8>,
      memref<256x1x16xf16>) out(%{3} : memref<{4}x256xf32>)
    {{scheme = #ganq.lut<bits = 4>, n = 256, k = 256{5}} : memref<{4}x256xf32>
)";
    std::string text = llvm::formatv(R"(
  ganq.rms_norm %x out(%h : memref<{0}x256xf32>) {{epsilon = 1.0e-5 : f32}
    : memref<{0}x256xf32>
)",
                                     rows);
    auto add = [&](const char *name, const char *from, const char *to) {
      text += llvm::formatv(false, product.c_str(), number, name, from, to,
                            rows, attributes)
                  .str();
    };
    add("q", "h", "a");
    add("k", "h", "b");
    add("o", "a", "x");
    return text;
  }

  /// The functions of the kernels, printed without their names, by name.
  std::map<std::string, std::string> lower(const std::string &text) {
    std::map<std::string, std::string> kernels;
    auto module = mlir::parseSourceString<mlir::ModuleOp>(text, &context);
    mlir::ScopedDiagnosticHandler quiet(&context,
                                        [&](mlir::Diagnostic &diagnostic) {
                                          remarks += diagnostic.str() + "\n";
                                          return mlir::success();
                                        });
    mlir::PassManager manager(&context);
    manager.addPass(createLowerKernels({"x86-64-v4"}));
    if (!module || failed(manager.run(*module))) {
      ADD_FAILURE() << "the pass failed: " << remarks;
      return kernels;
    }
    for (auto function : module->getOps<mlir::func::FuncOp>()) {
      std::string name = function.getSymName().str();
      if (!function.isPrivate())
        continue;
      function.setSymName("kernel");
      llvm::raw_string_ostream(kernels[name]) << function;
    }
    return kernels;
  }

  mlir::MLIRContext context;
  std::string remarks;
};

// Layers share their kernels, products of prefill and decode do not, and one
// that names the tile that the others get has the kernel of theirs.
TEST_F(LowerKernelsTest, NoKernelTwice) {
  std::string text;
  for (int rows : {1, 64}) {
    text += llvm::formatv("func.func @f{0}(%x: memref<{0}x256xf32>, "
                          "%h: memref<{0}x256xf32>, %a: memref<{0}x256xf32>, "
                          "%b: memref<{0}x256xf32>) {{\n",
                          rows);
    for (int number : {0, 1})
      text += layer(number, rows, "");
    if (rows == 1)
      text += layer(2, rows, ", ganq.tile = \"registers rows=1\"");
    text += "  return\n}\n";
  }
  std::map<std::string, std::string> kernels = lower(text);
  // A norm for both functions; a product, and the group of queries and keys,
  // for each.
  EXPECT_EQ(kernels.size(), 5u);
  for (const auto &[name, body] : kernels)
    for (const auto &[other, same] : kernels)
      if (name != other)
        EXPECT_NE(body, same) << name << " and " << other;
  EXPECT_NE(remarks.find("; kernel 2 of 2\n"), std::string::npos) << remarks;
}

} // namespace
