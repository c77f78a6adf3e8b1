//===- OpSupportTest.cpp - The operator table tells the truth -------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/Conversion/OnnxToLinalg.h"
#include "ganq/Onnx/OnnxDialect.h"
#include "llvm/ADT/STLExtras.h"
#include "gtest/gtest.h"

using namespace ganq;

// What --ganq-raise-onnx handles and the lowering does not.
static constexpr llvm::StringLiteral kOnlyRaised[] = {
    "Attention",
    "RotaryEmbedding",
    "com.microsoft.Attention",
    "com.microsoft.GroupQueryAttention",
    "com.microsoft.MultiHeadAttention",
    "com.microsoft.RotaryEmbedding"};

TEST(OpSupport, TableAgreesWithLowering) {
  for (const onnx::OpSchema &schema : onnx::getOpSchemas()) {
    onnx::OpSupport expected =
        hasOnnxToLinalgLowering(schema.name)           ? onnx::OpSupport::Lower
        : llvm::is_contained(kOnlyRaised, schema.name) ? onnx::OpSupport::Raise
                                                       : onnx::OpSupport::None;
    EXPECT_EQ(static_cast<int>(schema.support), static_cast<int>(expected))
        << schema.name.str();
  }
}

TEST(OpSupport, EveryLoweringIsInTheTable) {
  for (llvm::StringRef name : getOnnxToLinalgLowerings())
    EXPECT_TRUE(onnx::isSupportedOp(name)) << name.str();
}
