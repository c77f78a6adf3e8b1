//===- TargetTest.cpp - Errors on the way to a shared object --------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/Target/NativeObject.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/Parser/Parser.h"
#include "gtest/gtest.h"
#include <algorithm>
#include <cstdlib>

using namespace ganq;

namespace {

std::string errorFor(const char *text, const std::string &cpu) {
  mlir::MLIRContext context;
  context.loadDialect<mlir::LLVM::LLVMDialect, mlir::func::FuncDialect>();
  // The translation reports what it cannot translate to this.
  mlir::ScopedDiagnosticHandler quiet(
      &context, [](mlir::Diagnostic &) { return mlir::success(); });
  auto module = mlir::parseSourceString<mlir::ModuleOp>(text, &context);
  TargetOptions options;
  options.cpu = cpu;
  auto code = compileToSharedObject(*module, options);
  return code ? "" : llvm::toString(code.takeError());
}

const char *const kEmpty = "llvm.func @f() { llvm.return }";

TEST(TargetTest, UnknownCpu) {
  EXPECT_EQ(errorFor(kEmpty, "pentium"),
            "expected the cpu to be one of x86-64-v3, x86-64-v3-vnni, "
            "x86-64-v4, host, but got "
            "`pentium`");
}

TEST(TargetTest, NotLowered) {
  EXPECT_EQ(errorFor("func.func @f() { return }", "x86-64-v3"),
            "expected a module in the LLVM dialect; run ganq-convert-to-llvm");
}

TEST(TargetTest, CompilesForEveryName) {
  EXPECT_EQ(errorFor(kEmpty, "x86-64-v3"), "");
  EXPECT_EQ(errorFor(kEmpty, "x86-64-v3-vnni"), "");
  EXPECT_EQ(errorFor(kEmpty, "x86-64-v4"), "");
}

TEST(TargetTest, RequiredFeatures) {
  auto target = CpuTarget::get("x86-64-v4");
  ASSERT_TRUE(static_cast<bool>(target));
  std::vector<std::string> features = target->getRequiredFeatures();
  EXPECT_NE(std::find(features.begin(), features.end(), "avx512bw"),
            features.end());
}

TEST(TargetTest, RequiredFeaturesOfHost) {
  auto target = CpuTarget::get("host");
  if (!target) {
    llvm::consumeError(target.takeError());
    GTEST_SKIP() << "this machine is below x86-64-v3";
  }
  std::vector<std::string> required = target->getRequiredFeatures();
  for (llvm::StringRef feature : target->features) {
    if (!feature.consume_front("+avx512"))
      continue;
    std::string name = ("avx512" + feature).str();
    EXPECT_EQ(std::count(required.begin(), required.end(), name), 1) << name;
  }
}

} // namespace
