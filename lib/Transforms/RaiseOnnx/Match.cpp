//===- Match.cpp - Matching of onnx operators -----------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Patterns.h"

using namespace mlir;
using namespace ganq;

RankedTensorType ganq::rankedType(Value value) {
  return value ? dyn_cast<RankedTensorType>(value.getType())
               : RankedTensorType();
}

bool ganq::eitherOrder(Operation *op,
                       function_ref<bool(Value first, Value second)> match) {
  if (op->getNumOperands() != 2)
    return false;
  Value a = op->getOperand(0), b = op->getOperand(1);
  return match(a, b) || match(b, a);
}

bool ganq::isOverLastDim(Operation *op, Value input) {
  RankedTensorType type = rankedType(input);
  if (!type || type.getRank() == 0)
    return false;
  int64_t last = type.getRank() - 1;
  SmallVector<int64_t> axes;
  if (op->hasAttr("axis"))
    axes.push_back(onnx::getInt(op, "axis", -1));
  else if (std::optional<ArrayRef<int64_t>> attr = onnx::getInts(op, "axes"))
    llvm::append_range(axes, *attr);
  else if (Value operand = onnx::getOperand(op, 1))
    onnx::getConstantInts(operand, axes);
  else if (onnx::isOnnxOp(op, "Softmax"))
    axes.push_back(-1);
  return axes.size() == 1 && (axes[0] == -1 || axes[0] == last);
}

bool ganq::isSameValue(Value a, Value b, unsigned depth) {
  if (a == b)
    return true;
  Operation *x = a.getDefiningOp(), *y = b.getDefiningOp();
  if (!x || !y || depth == 0 || x->getName() != y->getName() ||
      a.getType() != b.getType() || onnx::getOpName(x).empty() ||
      cast<OpResult>(a).getResultNumber() !=
          cast<OpResult>(b).getResultNumber() ||
      x->getNumOperands() != y->getNumOperands() || x->getNumRegions() != 0)
    return false;
  auto meaning = [](Operation *op) {
    NamedAttrList attrs(op->getAttrDictionary());
    attrs.erase("onnx.node");
    return attrs.getDictionary(op->getContext());
  };
  if (meaning(x) != meaning(y))
    return false;
  return llvm::all_of(
      llvm::zip(x->getOperands(), y->getOperands()), [&](auto pair) {
        return isSameValue(std::get<0>(pair), std::get<1>(pair), depth - 1);
      });
}

bool ganq::isConstantVector(Value value, int64_t size) {
  RankedTensorType type = rankedType(value);
  if (!type || type.getRank() != 1 || !type.hasStaticShape() ||
      (!ShapedType::isDynamic(size) && type.getDimSize(0) != size) ||
      !isa<FloatType>(type.getElementType()))
    return false;
  return value.getDefiningOp<ParameterOp>() || onnx::matchConstant(value);
}

Value ganq::skipFloatCasts(Value value) {
  while (Operation *op = value.getDefiningOp()) {
    if (!onnx::isOnnxOp(op, {"Cast", "CastLike", "Identity", "Dropout"}) ||
        value != op->getResult(0))
      break;
    // Dropout passes its input only when it is not in training mode.
    if (onnx::isOnnxOp(op, "Dropout") && onnx::getOperand(op, 2))
      break;
    RankedTensorType type = rankedType(op->getOperand(0));
    if (!type || !isa<FloatType>(type.getElementType()))
      break;
    value = op->getOperand(0);
  }
  return value;
}
