//===- ElementKinds.cpp - Element types that operators accept -------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Lowering.h"

using namespace mlir;
using namespace ganq::lowering;

/// One letter per operand: `i` integers, `f` floats, `b` booleans, `.` any.
/// Operands beyond the letters may have any type.
static const llvm::StringMap<StringRef> kKinds = {
    {"And", "bb"},
    {"BatchNormalization", "fffff"},
    {"Compress", ".b"},
    {"ConstantOfShape", "i"},
    {"CumSum", ".i"},
    {"DynamicQuantizeLinear", "f"},
    {"Expand", ".i"},
    {"Gather", ".i"},
    {"GatherElements", ".i"},
    {"GatherND", ".i"},
    {"InstanceNormalization", "fff"},
    {"LRN", "f"},
    {"LayerNormalization", "fff"},
    {"LogSoftmax", "f"},
    {"LpNormalization", "f"},
    {"MeanVarianceNormalization", "f"},
    {"NegativeLogLikelihoodLoss", "fif"},
    {"Not", "b"},
    {"Or", "bb"},
    {"Pad", ".i.i"},
    {"QuantizeLinear", "ff"},
    {"RMSNormalization", "ff"},
    {"ReduceLogSum", "f"},
    {"Reshape", ".i"},
    {"ReverseSequence", ".i"},
    {"ScatterElements", ".i"},
    {"ScatterND", ".i"},
    {"SimplifiedLayerNormalization", "ff"},
    {"Slice", ".iiii"},
    {"Softmax", "f"},
    {"SoftmaxCrossEntropyLoss", "fif"},
    {"Split", ".i"},
    {"Squeeze", ".i"},
    {"Tile", ".i"},
    {"TopK", ".i"},
    {"Trilu", ".i"},
    {"Unsqueeze", ".i"},
    {"Where", "b.."},
    {"Xor", "bb"},
    {"TensorScatter", "..i"},
    {"com.microsoft.EmbedLayerNormalization", "iifffffii"},
    {"com.microsoft.GatherBlockQuantized", "iifi"},
    {"com.microsoft.SkipLayerNormalization", "fffff"},
    {"com.microsoft.SkipSimplifiedLayerNormalization", "ffff"},
};

LogicalResult Lowering::checkElementKinds() const {
  for (auto [i, letter] : llvm::enumerate(kKinds.lookup(onnx::getOpName(op)))) {
    if (!hasOperand(i))
      continue;
    Type type = element(i);
    bool isBool = type.isInteger(1);
    StringRef expected = letter == 'f' && !isa<FloatType>(type) ? "floats"
                         : letter == 'i' && (isBool || !isa<IntegerType>(type))
                             ? "integers"
                         : letter == 'b' && !isBool ? "booleans"
                                                    : "";
    if (!expected.empty())
      return op->emitOpError("expected operand ")
             << i << " to hold " << expected << ", but got elements of type "
             << type;
  }
  return success();
}
