//===- NormalizeOpset.cpp - One form of each operator ---------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/Onnx/Evaluate.h"
#include "ganq/Onnx/Passes.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"

namespace ganq {
#define GEN_PASS_DEF_ONNXNORMALIZEOPSET
#include "ganq/Onnx/Passes.h.inc"
} // namespace ganq

using namespace mlir;
using namespace ganq::onnx;

namespace {

constexpr int64_t kNewestOpset = 24;

class OnnxNormalizeOpset
    : public ganq::impl::OnnxNormalizeOpsetBase<OnnxNormalizeOpset> {
public:
  using OnnxNormalizeOpsetBase::OnnxNormalizeOpsetBase;
  void runOnOperation() override;
};

/// Rewrites the operations of one function.
class Normalizer {
public:
  Normalizer(func::FuncOp function, int64_t opset)
      : evaluator(function.getContext()), opset(opset) {
    evaluator.bindArguments(function);
  }
  LogicalResult normalize(Operation *op);

private:
  /// Makes attribute `name`, a list of integers, operand `index`.
  void moveInts(Operation *op, StringRef name, unsigned index);
  /// Makes attribute `name`, an integer, operand `index`, a vector of one.
  void moveInt(Operation *op, StringRef name, unsigned index);
  /// Makes attribute `name`, a float, a scalar operand of the type of operand
  /// 0.
  void moveFloat(Operation *op, StringRef name, unsigned index);
  void setOperand(Operation *op, unsigned index, Value value);
  LogicalResult normalizeSoftmax(Operation *op);
  LogicalResult normalizeBroadcast(Operation *op);
  Operation *rename(Operation *op, StringRef name);

  Evaluator evaluator;
  int64_t opset;
};

} // namespace

void Normalizer::setOperand(Operation *op, unsigned index, Value value) {
  OpBuilder builder(op);
  SmallVector<Value> operands(op->getOperands());
  while (operands.size() <= index)
    operands.push_back({});
  operands[index] = value;
  for (Value &operand : operands)
    if (!operand)
      operand = createNone(builder, op->getLoc());
  op->setOperands(operands);
}

void Normalizer::moveInts(Operation *op, StringRef name, unsigned index) {
  auto values = getInts(op, name);
  if (!values)
    return;
  OpBuilder builder(op);
  if (!getOperand(op, index))
    setOperand(op, index, createInts(builder, op->getLoc(), *values));
  op->removeAttr(name);
}

void Normalizer::moveInt(Operation *op, StringRef name, unsigned index) {
  auto value = op->getAttrOfType<IntegerAttr>(name);
  if (!value)
    return;
  OpBuilder builder(op);
  if (!getOperand(op, index))
    setOperand(op, index, createInts(builder, op->getLoc(), value.getInt()));
  op->removeAttr(name);
}

void Normalizer::moveFloat(Operation *op, StringRef name, unsigned index) {
  auto value = op->getAttrOfType<FloatAttr>(name);
  if (!value)
    return;
  OpBuilder builder(op);
  Type type = builder.getF32Type();
  FailureOr<AbstractTensor> operand = evaluator.evaluate(op->getOperand(0));
  if (succeeded(operand) && isa_and_nonnull<FloatType>(operand->elementType))
    type = operand->elementType;
  if (!getOperand(op, index)) {
    auto scalar = DenseElementsAttr::get(
        RankedTensorType::get({}, type),
        Attribute(builder.getFloatAttr(type, value.getValueAsDouble())));
    setOperand(op, index, createConstant(builder, op->getLoc(), scalar));
  }
  op->removeAttr(name);
}

Operation *Normalizer::rename(Operation *op, StringRef name) {
  OpBuilder builder(op);
  Operation *renamed =
      createOnnxOp(builder, op->getLoc(), name, op->getResultTypes(),
                   op->getOperands(), op->getAttrs());
  op->replaceAllUsesWith(renamed->getResults());
  return renamed;
}

/// Before opset 13 the dimensions from the axis on were one.
LogicalResult Normalizer::normalizeSoftmax(Operation *op) {
  OpBuilder builder(op);
  if (opset >= 13) {
    if (!op->hasAttr("axis"))
      op->setAttr("axis", builder.getI64IntegerAttr(-1));
    return success();
  }
  int64_t axis = getInt(op, "axis", 1);
  FailureOr<AbstractTensor> operand = evaluator.evaluate(op->getOperand(0));
  if (failed(operand))
    return failure();
  op->setAttr("axis", builder.getI64IntegerAttr(-1));
  if (axis == -1 || (operand->hasRank &&
                     axis + 1 == static_cast<int64_t>(operand->dims.size())))
    return success();
  Location loc = op->getLoc();
  Value input = op->getOperand(0);
  Type element = cast<ShapedType>(input.getType()).getElementType();
  auto matrix = RankedTensorType::get(
      {ShapedType::kDynamic, ShapedType::kDynamic}, element);
  Value shape = createOnnxOp(builder, loc, "Shape",
                             RankedTensorType::get({ShapedType::kDynamic},
                                                   builder.getI64Type()),
                             input)
                    ->getResult(0);
  Value flat = createOnnxOp(builder, loc, "Flatten", matrix, input,
                            builder.getNamedAttr(
                                "axis", builder.getI64IntegerAttr(axis)))
                   ->getResult(0);
  op->setOperand(0, flat);
  Value result = op->getResult(0);
  builder.setInsertionPointAfter(op);
  Operation *reshape =
      createOnnxOp(builder, loc, "Reshape", result.getType(), {result, shape});
  result.replaceAllUsesExcept(reshape->getResult(0), reshape);
  result.setType(matrix);
  return success();
}

/// Before opset 7 operand 1 was aligned with the operand 0 from `axis` on.
LogicalResult Normalizer::normalizeBroadcast(Operation *op) {
  if (!op->hasAttr("axis") || op->getNumOperands() != 2) {
    op->removeAttr("broadcast");
    return success();
  }
  FailureOr<AbstractTensor> a = evaluator.evaluate(op->getOperand(0));
  FailureOr<AbstractTensor> b = evaluator.evaluate(op->getOperand(1));
  if (failed(a) || failed(b))
    return failure();
  if (!a->hasRank || !b->hasRank)
    return op->emitError("expected operands of known rank for a broadcast "
                         "along `axis`");
  int64_t rank = a->dims.size(), inner = b->dims.size();
  int64_t axis = getInt(op, "axis", 0);
  if (axis < 0)
    axis += rank;
  int64_t missing = rank - axis - inner;
  if (axis < 0 || missing < 0)
    return op->emitError("expected `axis` to leave room for operand 1");
  if (missing > 0) {
    SmallVector<int64_t> axes;
    for (int64_t i = 0; i < missing; ++i)
      axes.push_back(inner + i);
    OpBuilder builder(op);
    Type type = UnrankedTensorType::get(
        cast<ShapedType>(op->getOperand(1).getType()).getElementType());
    Value list = createInts(builder, op->getLoc(), axes);
    op->setOperand(1, createOnnxOp(builder, op->getLoc(), "Unsqueeze", type,
                                   {op->getOperand(1), list})
                          ->getResult(0));
  }
  op->removeAttr("axis");
  op->removeAttr("broadcast");
  return success();
}

LogicalResult Normalizer::normalize(Operation *op) {
  StringRef name = getOpName(op);
  if (name == "Squeeze" || name == "Unsqueeze" || name.starts_with("Reduce")) {
    moveInts(op, "axes", 1);
  } else if (name == "Split") {
    moveInts(op, "split", 1);
    op->removeAttr("num_outputs");
  } else if (name == "Slice") {
    moveInts(op, "starts", 1);
    moveInts(op, "ends", 2);
    moveInts(op, "axes", 3);
  } else if (name == "Reshape") {
    moveInts(op, "shape", 1);
  } else if (name == "Clip") {
    moveFloat(op, "min", 1);
    moveFloat(op, "max", 2);
  } else if (name == "Pad") {
    moveInts(op, "pads", 1);
    moveInts(op, "paddings", 1);
    moveFloat(op, "value", 2);
  } else if (name == "TopK") {
    moveInt(op, "k", 1);
  } else if (name == "Dropout") {
    // The ratio matters in training only, which older opsets have no word for.
    op->removeAttr("ratio");
    op->removeAttr("is_test");
    op->removeAttr("seed");
  } else if (name == "Softmax" || name == "LogSoftmax" || name == "Hardmax") {
    return normalizeSoftmax(op);
  } else if (opset < 7 &&
             llvm::is_contained({"Add", "Sub", "Mul", "Div", "Pow", "And", "Or",
                                 "Xor", "Equal", "Less", "Greater"},
                                name)) {
    return normalizeBroadcast(op);
  } else if (name == "Scatter") {
    rename(op, "ScatterElements");
    op->erase();
  } else if (name == "com.microsoft.SimplifiedLayerNormalization") {
    rename(op, "SimplifiedLayerNormalization");
    op->erase();
  }
  return success();
}

void OnnxNormalizeOpset::runOnOperation() {
  ModuleOp module = getOperation();
  int64_t opset = kNewestOpset;
  if (auto attr = module->getAttrOfType<IntegerAttr>("onnx.opset"))
    opset = attr.getInt();
  if (opset >= kNewestOpset)
    opset = kNewestOpset;
  for (auto function : module.getOps<func::FuncOp>()) {
    if (function.isExternal())
      continue;
    Normalizer normalizer(function, opset);
    SmallVector<Operation *> ops;
    function.walk([&](Operation *op) {
      if (!ganq::onnx::getOpName(op).empty())
        ops.push_back(op);
    });
    for (Operation *op : ops)
      if (failed(normalizer.normalize(op)))
        return signalPassFailure();
  }
  module->setAttr(
      "onnx.opset",
      IntegerAttr::get(IntegerType::get(&getContext(), 64), kNewestOpset));
}
