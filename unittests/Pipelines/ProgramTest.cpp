//===- ProgramTest.cpp - Launches of lowered step functions ---------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/Pipelines/Program.h"
#include "ganq/Pipelines/Phases.h"
#include "mlir/AsmParser/AsmParser.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/IR/OwningOpRef.h"
#include "mlir/Parser/Parser.h"
#include "llvm/Support/FormatVariadic.h"
#include "gtest/gtest.h"
#include <cstring>

using namespace ganq;

namespace {

class ProgramTest : public ::testing::Test {
protected:
  ProgramTest() {
    mlir::DialectRegistry registry;
    registerGanqDialects(registry);
    context.appendDialectRegistry(registry);
    context.loadAllAvailableDialects();
  }

  /// The program of a step @decode with these ops, or the message.
  std::string exportStep(const std::string &body,
                         const std::string &globals = "",
                         const std::string &more = "") {
    std::string text = R"(
      module attributes {gpu.container_module, ganq.state = {caches = [{}]}} {
        gpu.module @k {
          llvm.func @kernel(%a: !llvm.ptr<1>, %b: !llvm.ptr<1>, %n: i32) attributes {gpu.kernel, nvvm.kernel} {
            llvm.return
          }
          llvm.func @one(%a: !llvm.ptr<1>) attributes {gpu.kernel, nvvm.kernel} {
            llvm.return
          }
        })" + globals + R"(
        func.func @decode(%arena: memref<?xi8>, %tokens: memref<1x1xi64>, %past: memref<1xi64>,
                          %cache: memref<1x2x4x8xf16>, %logits: memref<1x1x16xf32>)" +
                       more + R"()
            attributes {ganq.arena_bytes = 640 : i64} {
          %c1 = arith.constant 1 : index
          %c2 = arith.constant 2 : index
          %c64 = arith.constant 64 : index
          %n = arith.constant 7 : i32
          %view = memref.view %arena[%c64][] : memref<?xi8> to memref<4x2xf32>
          )" + body + R"(
          return
        }
      })";
    module = mlir::parseSourceString<mlir::ModuleOp>(text, &context);
    if (!module)
      return "does not parse";
    auto result = exportProgram(*module);
    if (!result)
      return llvm::toString(result.takeError());
    program = std::move(*result);
    return llvm::formatv(
        "{0}", llvm::json::Value(llvm::json::Object(program.entries)));
  }

  static std::string launch(const std::string &operands,
                            const std::string &sizes = "%c2, %c1, %c1") {
    return "gpu.launch_func @k::@" +
           std::string(operands.find(',') == std::string::npos ? "one"
                                                               : "kernel") +
           " blocks in (" + sizes + ") threads in (%c64, %c1, %c1) args(" +
           operands + ")\n";
  }

  mlir::MLIRContext context;
  mlir::OwningOpRef<mlir::ModuleOp> module;
  DeviceProgram program;
};

TEST_F(ProgramTest, PlacesOfBuffers) {
  std::string text = exportStep(
      R"(%flat = memref.collapse_shape %view [[0, 1]] : memref<4x2xf32> into memref<8xf32>
         %w = ganq.parameter "w" : memref<8xf32>
         %g = memref.get_global @w : memref<2xf32>
         %index = memref.extract_aligned_pointer_as_index %cache : memref<1x2x4x8xf16> -> index
         %integer = arith.index_cast %index : index to i64
         %pointer = llvm.inttoptr %integer : i64 to !llvm.ptr<1>
      )" + launch("%flat : memref<8xf32>, %pointer : !llvm.ptr<1>, %n : i32") +
          launch("%w : memref<8xf32>, %g : memref<2xf32>, %n : i32") +
          launch("%tokens : memref<1x1xi64>, %past : memref<1xi64>, %n : i32") +
          launch("%logits : memref<1x1x16xf32>, %w : memref<8xf32>, %n : i32"),
      "memref.global constant @w : memref<2xf32> = dense<[1.0, 2.0]>");
  EXPECT_NE(text.find(R"("arena":640,)"), std::string::npos) << text;
  EXPECT_NE(text.find(R"("tokens":1)"), std::string::npos) << text;
  EXPECT_NE(
      text.find(
          R"({"args":[["arena",64],["cache",0],["i32",7]],"block":[64,1,1],)"
          R"("grid":[2,1,1],"kernel":"kernel","shared":0})"),
      std::string::npos)
      << text;
  for (const char *args : {R"([["parameter",0,0],["parameter",1,0],["i32",7]])",
                           R"([["tokens"],["past"],["i32",7]])",
                           R"([["logits"],["parameter",0,0],["i32",7]])"})
    EXPECT_NE(text.find(args), std::string::npos) << text;
  // A constant and a tensor of the model may have one name.
  constexpr llvm::StringLiteral constant = "constant of the program: w";
  EXPECT_EQ(program.parameters,
            (std::vector<std::string>{"w", constant.str()}));
  ASSERT_TRUE(program.constants.contains(constant));
  std::vector<char> bytes = llvm::cantFail(
      getConstantBytes(program.constants.find(constant)->second));
  float values[2];
  ASSERT_EQ(bytes.size(), sizeof(values));
  std::memcpy(values, bytes.data(), sizeof(values));
  EXPECT_EQ(values[0], 1.0f);
  EXPECT_EQ(values[1], 2.0f);
}

TEST_F(ProgramTest, PlaceOfTheMostProbableToken) {
  std::string text =
      exportStep(launch("%logits : memref<1x1x16xf32>, %best : memref<1xi64>, "
                        "%n : i32"),
                 "", ", %best: memref<1xi64>");
  EXPECT_NE(text.find(R"("args":[["logits"],["best"],["i32",7]])"),
            std::string::npos)
      << text;
  EXPECT_EQ(exportStep(launch("%past : memref<1xi64>"), "",
                       ", %a: memref<1xi64>, %b: memref<1xi64>"),
            "internal error: expected @decode to have 5 arguments, but got 7");
}

TEST_F(ProgramTest, WhatIsNoLaunchIsNamed) {
  EXPECT_EQ(exportStep("%a = memref.alloc() : memref<4xf32>\n"),
            "internal error: expected launches of kernels only, but got "
            "`memref.alloc` in @decode");
  EXPECT_EQ(exportStep("%c0 = arith.constant 0 : index\n"
                       "%p = memref.load %past[%c0] : memref<1xi64>\n"
                       "%size = arith.index_cast %p : i64 to index\n" +
                       launch("%past : memref<1xi64>", "%size, %c1, %c1")),
            "internal error: expected launches of kernels only, but got "
            "`memref.load` in @decode");
  EXPECT_EQ(exportStep("%size = arith.addi %c1, %c2 : index\n" +
                       launch("%past : memref<1xi64>", "%size, %c1, %c1")),
            "internal error: expected constant sizes of a launch, but got "
            "`gpu.launch_func` in @decode");
  EXPECT_EQ(
      exportStep("%m = arith.addi %n, %n : i32\n" +
                 launch("%view : memref<4x2xf32>, %past : memref<1xi64>, %m : "
                        "i32")),
      "internal error: expected arguments of kernels to be buffers and "
      "constants, but got `arith.addi` in @decode");
}

TEST_F(ProgramTest, BytesOfConstants) {
  auto bytes = [&](const char *text) {
    mlir::Attribute attribute = mlir::parseAttribute(text, &context);
    return llvm::cantFail(
        getConstantBytes(llvm::cast<mlir::ElementsAttr>(attribute)));
  };
  EXPECT_EQ(bytes("dense<[true, false, true]> : tensor<3xi1>"),
            (std::vector<char>{1, 0, 1}));
  EXPECT_EQ(bytes("dense<3> : tensor<2xi16>"), (std::vector<char>{3, 0, 3, 0}));
  EXPECT_EQ(bytes("dense<5> : tensor<1xindex>").size(), 8u);
}

} // namespace
