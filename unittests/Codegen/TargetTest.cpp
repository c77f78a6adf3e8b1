//===- TargetTest.cpp - Errors on the way to a shared object --------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/Target/CpuTarget.h"
#include "ganq/Target/NativeObject.h"
#include "ganq/runtime/model.h"
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

std::vector<std::string> requiredFor(llvm::StringRef text,
                                     const CpuTarget &target) {
  mlir::MLIRContext context;
  context.loadDialect<mlir::LLVM::LLVMDialect>();
  auto module = mlir::parseSourceString<mlir::ModuleOp>(text, &context);
  EXPECT_TRUE(module);
  return target.getRequiredFeatures(*module);
}

bool contains(const std::vector<std::string> &names, const std::string &name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

TEST(TargetTest, RequiredFeatures) {
  auto target = CpuTarget::get("x86-64-v4");
  ASSERT_TRUE(static_cast<bool>(target));
  std::vector<std::string> features = requiredFor(kEmpty, *target);
  EXPECT_TRUE(contains(features, "avx512bw"));
  EXPECT_FALSE(contains(features, "amx-tile"));
}

TEST(TargetTest, RequiredFeaturesOfTiles) {
  auto target = CpuTarget::get("x86-64-v4");
  ASSERT_TRUE(static_cast<bool>(target));
  std::vector<std::string> features = requiredFor(
      R"(llvm.func @f(%rows: i16) {
           %0 = llvm.call_intrinsic "llvm.x86.tilezero.internal"(%rows, %rows)
             : (i16, i16) -> !llvm.x86_amx
           llvm.return
         })",
      *target);
  EXPECT_TRUE(contains(features, "amx-tile"));
  EXPECT_TRUE(contains(features, "amx-int8"));
}

TEST(TargetTest, RequiredFeaturesOfHost) {
  auto target = CpuTarget::get("host");
  if (!target) {
    llvm::consumeError(target.takeError());
    GTEST_SKIP() << "this machine is below x86-64-v3";
  }
  std::vector<std::string> required = requiredFor(kEmpty, *target);
  for (llvm::StringRef feature : target->features) {
    if (!feature.consume_front("+avx512"))
      continue;
    std::string name = ("avx512" + feature).str();
    EXPECT_EQ(std::count(required.begin(), required.end(), name), 1) << name;
  }
  for (const std::string &name : required)
    EXPECT_NE(name.substr(0, 3), "amx");
  EXPECT_EQ(runtime::missingCpuFeature(required), "");
}

// What LLVM may use is listed, so that another machine can refuse it.
TEST(TargetTest, FeaturesOfHostAreKnown) {
  auto target = CpuTarget::get("host");
  if (!target) {
    llvm::consumeError(target.takeError());
    GTEST_SKIP() << "this machine is below x86-64-v3";
  }
  std::vector<llvm::StringRef> known = CpuTarget::getKnownFeatures();
  for (llvm::StringRef feature : target->features)
    if (feature.starts_with("+avx") || feature.starts_with("+amx"))
      EXPECT_NE(std::find(known.begin(), known.end(), feature.drop_front()),
                known.end())
          << feature.str();
}

TEST(TargetTest, RuntimeKnowsFeatures) {
  for (llvm::StringRef feature : CpuTarget::getKnownFeatures())
    EXPECT_EQ(runtime::missingCpuFeature({feature.str()}).find("does not know"),
              std::string::npos)
        << feature.str();
}

} // namespace
