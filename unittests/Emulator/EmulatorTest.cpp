//===- EmulatorTest.cpp - Kernels in MLIR on the emulator -----------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/Emulator/Emulator.h"
#include "mlir/Dialect/DLTI/DLTI.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/Parser/Parser.h"
#include "llvm/Object/ObjectFile.h"
#include <gtest/gtest.h>
#include <numeric>
#include <set>

using namespace ganq;
using llvm::ArrayRef;
using llvm::StringRef;

namespace {
class Emulator : public testing::Test {
protected:
  Emulator() {
    context.loadDialect<mlir::DLTIDialect, mlir::gpu::GPUDialect,
                        mlir::LLVM::LLVMDialect, mlir::NVVM::NVVMDialect>();
  }

  /// Parses the body of a gpu.module; lines count from 1, columns from 1.
  mlir::gpu::GPUModuleOp parse(StringRef body) {
    module = mlir::parseSourceString<mlir::ModuleOp>(
        ("gpu.module @m {\n" + body + "}\n").str(), &context, "k.mlir");
    return *module->getOps<mlir::gpu::GPUModuleOp>().begin();
  }

  std::string compile(StringRef body, const EmulatorOptions &options = {}) {
    auto created = EmulatedModule::create(parse(body), options);
    if (!created)
      return llvm::toString(created.takeError());
    emulated = std::move(*created);
    return "";
  }

  std::string launch(int64_t threads, ArrayRef<void *> args, int64_t blocks = 1,
                     int64_t dynamicShared = 0) {
    return llvm::toString(emulated->launch("k", {blocks, 1, 1}, {threads, 1, 1},
                                           dynamicShared, args));
  }

  mlir::MLIRContext context;
  mlir::OwningOpRef<mlir::ModuleOp> module;
  std::unique_ptr<EmulatedModule> emulated;
};
} // namespace

static bool contains(const std::string &text, const std::string &part) {
  return text.find(part) != std::string::npos;
}

/// y[i] = x[i] * 2 for all threads of all blocks, without a bound.
static constexpr StringRef kDouble = R"(
llvm.func @k(%x: !llvm.ptr<1>, %y: !llvm.ptr<1>) attributes {gpu.kernel, nvvm.kernel} {
  %t = nvvm.read.ptx.sreg.tid.x : i32
  %b = nvvm.read.ptx.sreg.ctaid.x : i32
  %n = nvvm.read.ptx.sreg.ntid.x : i32
  %base = llvm.mul %b, %n : i32
  %i = llvm.add %base, %t : i32
  %px = llvm.getelementptr inbounds %x[%i] : (!llvm.ptr<1>, i32) -> !llvm.ptr<1>, f32
  %v = llvm.load %px : !llvm.ptr<1> -> f32
  %w = llvm.fadd %v, %v : f32
  %py = llvm.getelementptr inbounds %y[%i] : (!llvm.ptr<1>, i32) -> !llvm.ptr<1>, f32
  llvm.store %w, %py : f32, !llvm.ptr<1>
  llvm.return
}
)";

TEST_F(Emulator, RunsBlocksAndChecksBounds) {
  ASSERT_EQ(compile(kDouble), "");
  std::vector<float> x(256), y(256);
  std::iota(x.begin(), x.end(), 0.f);
  emulated->addBuffer(x.data(), 1024, "x", /*readOnly=*/true);
  emulated->addBuffer(y.data(), 1024, "y");
  void *px = x.data(), *py = y.data();
  ASSERT_EQ(launch(64, {&px, &py}, 4), "");
  for (int i = 0; i < 256; ++i)
    EXPECT_EQ(y[i], 2.f * i);
  EXPECT_EQ(
      launch(32, {&px, &py}, 9),
      "k.mlir:10:8: expected a load of 4 bytes inside of a buffer, but got "
      "offset 1024 of the nearest buffer `x` with 1024 bytes (thread (0, "
      "0, 0) of block (8, 0, 0), kernel `k`)");
  // What is read-only stays so.
  EXPECT_TRUE(
      contains(launch(32, {&py, &px}),
               "k.mlir:13:3: expected a store into memory that may be written, "
               "but got offset 0 of the read-only buffer `x`"));
  EXPECT_TRUE(contains(llvm::toString(emulated->launch("q", {}, {}, 0, {})),
                       "expected one of the kernels `k`, but got `q`"));
  EXPECT_TRUE(
      contains(launch(0, {&px, &py}),
               "expected sizes of 1 to 2147483647 for a block, but got 0"));
}

TEST_F(Emulator, NumbersOpsWithoutLocations) {
  mlir::gpu::GPUModuleOp gpuModule = parse(kDouble);
  gpuModule.walk([&](mlir::Operation *op) {
    op->setLoc(mlir::UnknownLoc::get(&context));
  });
  emulated = llvm::cantFail(EmulatedModule::create(gpuModule));
  float x = 0;
  void *px = &x;
  emulated->addBuffer(px, 4, "x");
  // The function itself is number 0.
  EXPECT_TRUE(contains(launch(2, {&px, &px}),
                       "in `k`, op 7 (llvm.load): expected a load"));
}

/// The names that an object wants from elsewhere.
static std::set<std::string> getUndefined(ArrayRef<char> bytes) {
  auto object = llvm::cantFail(llvm::object::ObjectFile::createObjectFile(
      llvm::MemoryBufferRef(StringRef(bytes.data(), bytes.size()), "kernels")));
  std::set<std::string> names;
  for (const llvm::object::SymbolRef &symbol : object->symbols())
    if (llvm::cantFail(symbol.getFlags()) &
        llvm::object::SymbolRef::SF_Undefined)
      names.insert(llvm::cantFail(symbol.getName()).str());
  names.erase("");
  return names;
}

TEST_F(Emulator, ObjectsNeedTheRuntimeAndLibmOnly) {
  EmulatorOptions options;
  options.cpu = "x86-64-v3";
  auto bytes = llvm::cantFail(compileToEmulatedObject(parse(kDouble), options));
  EXPECT_EQ(getUndefined(bytes), std::set<std::string>{"ganq_simt_access"});
  options.check = false;
  bytes = llvm::cantFail(compileToEmulatedObject(parse(kDouble), options));
  EXPECT_EQ(getUndefined(bytes), std::set<std::string>{});
  bytes = llvm::cantFail(compileToEmulatedObject(parse(R"(
llvm.func @__nv_expf(f32) -> f32
llvm.func @k(%x: !llvm.ptr<1>) attributes {nvvm.kernel} {
  %v = llvm.load %x : !llvm.ptr<1> -> f32
  nvvm.barrier0
  %e = llvm.call @__nv_expf(%v) : (f32) -> f32
  llvm.store %e, %x : f32, !llvm.ptr<1>
  llvm.return
}
)"),
                                                 options));
  EXPECT_EQ(getUndefined(bytes),
            (std::set<std::string>{"expf", "ganq_simt_barrier"}));
}

/// The sum of 64 numbers through shared memory; without the second barrier the
/// result depends on the order.
static std::string makeReduction(bool withBarrier) {
  return std::string(R"(
llvm.mlir.global internal @w() {addr_space = 3 : i32} : !llvm.array<64 x i32>
llvm.func @k(%x: !llvm.ptr<1>) attributes {gpu.kernel, nvvm.kernel} {
  %c63 = llvm.mlir.constant(63 : i32) : i32
  %t = nvvm.read.ptx.sreg.tid.x : i32
  %s = llvm.mlir.addressof @w : !llvm.ptr<3>
  %p = llvm.getelementptr %s[%t] : (!llvm.ptr<3>, i32) -> !llvm.ptr<3>, i32
  %z = llvm.mlir.constant(0 : i32) : i32
  llvm.store %z, %p : i32, !llvm.ptr<3>
  nvvm.barrier0
  llvm.store %t, %p : i32, !llvm.ptr<3>
)") + (withBarrier ? "  nvvm.barrier0\n" : "") +
         R"(
  %o = llvm.sub %c63, %t : i32
  %q = llvm.getelementptr %s[%o] : (!llvm.ptr<3>, i32) -> !llvm.ptr<3>, i32
  %v = llvm.load %q : !llvm.ptr<3> -> i32
  %r = llvm.getelementptr %x[%t] : (!llvm.ptr<1>, i32) -> !llvm.ptr<1>, i32
  llvm.store %v, %r : i32, !llvm.ptr<1>
  llvm.return
}
)";
}

TEST_F(Emulator, FindsRacesBetweenLanes) {
  EmulatorOptions options;
  options.order = LaneOrder::All;
  std::vector<int32_t> x(64);
  void *px = x.data();
  ASSERT_EQ(compile(makeReduction(true), options), "");
  EXPECT_EQ(llvm::cantFail(emulated->getStaticSharedBytes("k")), 256);
  emulated->addBuffer(px, 256, "x");
  ASSERT_EQ(launch(64, {&px}), "");
  for (int i = 0; i < 64; ++i)
    EXPECT_EQ(x[i], 63 - i);
  ASSERT_EQ(compile(makeReduction(false), options), "");
  emulated->addBuffer(px, 256, "x");
  EXPECT_TRUE(
      contains(launch(64, {&px}),
               "expected the same result in every order of lanes, but byte 0 "
               "of buffer `x` differs between forward and reverse order"));
}

TEST_F(Emulator, NamesWhatItCannotRun) {
  auto wrap = [](StringRef body) {
    return ("llvm.func @k() attributes {nvvm.kernel} {\n" + body +
            "\n  llvm.return\n}\n")
        .str();
  };
  EXPECT_EQ(
      compile(wrap("  llvm.call_intrinsic \"llvm.nvvm.exit\"() : () -> ()")),
      "k.mlir:3:3: expected an intrinsic that the emulator knows, but got "
      "`llvm.nvvm.exit`");
  EXPECT_TRUE(contains(compile(wrap("  llvm.inline_asm has_side_effects "
                                    "\"nanosleep.u32 1;\", \"\" : () -> ()")),
                       "k.mlir:3:3: expected instructions that the emulator "
                       "knows, but got inline assembly `nanosleep.u32 1;`"));
  EXPECT_TRUE(contains(
      compile("llvm.func @f()\n" + wrap("  llvm.call @f() : () -> ()")),
      "k.mlir:4:3: expected functions of this module or of libdevice, but got "
      "a call of `f`"));
  EXPECT_TRUE(contains(compile("gpu.func @g() kernel {\n  gpu.return\n}\n"),
                       "expected LLVM and nvvm ops, but got `gpu.func`; run "
                       "convert-gpu-to-nvvm"));
  EXPECT_TRUE(contains(
      compile(
          "llvm.func @f() {\n  llvm.call @f() : () -> ()\n  llvm.return\n}\n" +
          wrap("  llvm.call @f() : () -> ()")),
      "expected functions without recursion, but `f` calls itself"));
}

TEST_F(Emulator, ChecksLocalArraysAndDivisors) {
  ASSERT_EQ(compile(R"(
llvm.func @k(%n: i32, %d: i32, %x: !llvm.ptr<1>) attributes {nvvm.kernel} {
  %c4 = llvm.mlir.constant(4 : i32) : i32
  %a = llvm.alloca %c4 x i32 : (i32) -> !llvm.ptr
  %p = llvm.getelementptr %a[%n] : (!llvm.ptr, i32) -> !llvm.ptr, i32
  llvm.store volatile %n, %p : i32, !llvm.ptr
  %v = llvm.load volatile %p : !llvm.ptr -> i32
  %q = llvm.sdiv %v, %d : i32
  llvm.store %q, %x : i32, !llvm.ptr<1>
  llvm.return
}
)"),
            "");
  int32_t result = 0, n = 3, d = 2;
  void *x = &result;
  emulated->addBuffer(&result, 4, "x");
  EXPECT_EQ(launch(1, {&n, &d, &x}), "");
  EXPECT_EQ(result, 1);
  n = 4;
  EXPECT_TRUE(contains(launch(1, {&n, &d, &x}),
                       "k.mlir:7:3: expected an access of 4 bytes inside of a "
                       "local array of 16 bytes, but got offset 16"));
  n = 3, d = 0;
  EXPECT_TRUE(contains(launch(1, {&n, &d, &x}),
                       "k.mlir:9:8: expected a divisor that is not zero"));
}

TEST_F(Emulator, RoundsAndSaturatesAsPtxDoes) {
  ASSERT_EQ(compile(R"(
llvm.func @k(%f: f32, %x: !llvm.ptr<1>) attributes {nvvm.kernel} {
  %i = llvm.fptosi %f : f32 to i32
  llvm.store %i, %x : i32, !llvm.ptr<1>
  %b = llvm.fptrunc %f : f32 to bf16
  %w = llvm.bitcast %b : bf16 to i16
  %p = llvm.getelementptr %x[1] : (!llvm.ptr<1>) -> !llvm.ptr<1>, i32
  llvm.store %w, %p : i16, !llvm.ptr<1>
  llvm.return
}
)"),
            "");
  auto run = [&](float f) {
    int32_t words[2] = {};
    void *x = words;
    emulated->addBuffer(words, 8, "x");
    EXPECT_EQ(launch(1, {&f, &x}), "");
    return std::pair<int32_t, int32_t>(words[0], words[1]);
  };
  EXPECT_EQ(run(-1.75f), std::make_pair(-1, 0xbfe0));
  EXPECT_EQ(run(3e9f), std::make_pair(INT32_MAX, 0x4f33));
  EXPECT_EQ(run(NAN), std::make_pair(0, 0x7fff));
  EXPECT_EQ(run(1.00390625f), std::make_pair(1, 0x3f80)); // A tie goes to even.
  EXPECT_EQ(run(1.01171875f), std::make_pair(1, 0x3f82));
  EXPECT_EQ(run(1e-40f), std::make_pair(0, 0x0001)); // Denormal numbers stay.
}

TEST_F(Emulator, EndsWhatWouldRunForEver) {
  EmulatorOptions options;
  options.iterationLimit = 1 << 20;
  ASSERT_EQ(compile(R"(
llvm.func @k(%x: !llvm.ptr<1>) attributes {nvvm.kernel} {
  llvm.br ^bb1
^bb1:
  %v = llvm.load volatile %x : !llvm.ptr<1> -> i32
  %z = llvm.mlir.constant(0 : i32) : i32
  %c = llvm.icmp "eq" %v, %z : i32
  llvm.cond_br %c, ^bb1, ^bb2
^bb2:
  llvm.return
}
)",
                    options),
            "");
  int32_t flag = 0;
  void *x = &flag;
  emulated->addBuffer(x, 4, "flag");
  EXPECT_TRUE(contains(
      launch(8, {&x}),
      "k.mlir:9:3: expected a block to run at most 1048576 loop iterations"));
  flag = 1;
  EXPECT_EQ(launch(8, {&x}), "");
}
