//===- OnnxToLinalg.cpp - From onnx to linalg -----------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/Conversion/OnnxToLinalg.h"
#include "Lowering.h"
#include "ganq/Conversion/Passes.h"

namespace ganq {
#define GEN_PASS_DEF_CONVERTONNXTOLINALG
#include "ganq/Conversion/Passes.h.inc"
} // namespace ganq

using namespace mlir;
using namespace ganq;
using namespace ganq::lowering;

static const LoweringTable &getLowerings() {
  static const LoweringTable table = [] {
    LoweringTable result;
    addElementwiseLowerings(result);
    addShapeLowerings(result);
    addPartLowerings(result);
    addIndexingLowerings(result);
    addReductionLowerings(result);
    addMatMulLowerings(result);
    addNormalizationLowerings(result);
    addQuantizationLowerings(result);
  addBlockQuantizedLowerings(result);
    addWindowLowerings(result);
    addLossLowerings(result);
    return result;
  }();
  return table;
}

bool ganq::hasOnnxToLinalgLowering(StringRef name) {
  return name == "If" || name == "Constant" || name == "None" ||
         getLowerings().count(name);
}

SmallVector<StringRef> ganq::getOnnxToLinalgLowerings() {
  return llvm::to_vector(getLowerings().keys());
}

namespace {

/// Lowers a function block by block. Lowered operators stay until the end, so
/// that constants and types of the onnx dialect can be seen.
class FunctionLowering {
public:
  LogicalResult run(func::FuncOp function);

private:
  LogicalResult lowerBlock(Block &block);
  LogicalResult lowerOp(Operation *op);
  LogicalResult lowerIf(Operation *op);
  LogicalResult lowerConstant(Operation *op);
  /// Gives an operation of another dialect its operands.
  LogicalResult rewireOp(Operation *op);
  /// Makes `value` known, with a cast if it has unsigned elements.
  void define(Value value, OpBuilder &builder);

  LoweringState state;
  SmallVector<Operation *> dead;
  /// Values whose type becomes signless, with the casts that stand for it.
  SmallVector<std::pair<Value, UnrealizedConversionCastOp>> retyped;
};

} // namespace

void FunctionLowering::define(Value value, OpBuilder &builder) {
  Type type = value.getType();
  if (!isa<TensorType>(type) || !isUnsignedElement(type)) {
    state.values[value] = {value, false};
    return;
  }
  auto cast = UnrealizedConversionCastOp::create(builder, value.getLoc(),
                                                 getSignless(type), value);
  retyped.push_back({value, cast});
  state.values[value] = {cast.getResult(0), true};
}

LogicalResult FunctionLowering::run(func::FuncOp function) {
  Block &entry = function.front();
  if (!llvm::hasSingleElement(function.getBody()))
    return success();
  OpBuilder builder(&entry, entry.begin());
  auto check = [&](TypeRange types, StringRef what) -> LogicalResult {
    for (auto [index, type] : llvm::enumerate(types)) {
      auto tensor = dyn_cast<TensorType>(type);
      if (isa<onnx::OnnxDialect>(type.getDialect()) ||
          (tensor && !tensor.getElementType().isIntOrFloat()))
        return function.emitOpError("cannot be compiled: ")
               << what << " " << index << " of type " << type
               << " is not supported";
    }
    return success();
  };
  if (failed(check(function.getArgumentTypes(), "argument")))
    return failure();
  for (BlockArgument argument : entry.getArguments())
    define(argument, builder);
  if (failed(lowerBlock(entry)))
    return failure();

  if (failed(check(entry.getTerminator()->getOperandTypes(), "result")))
    return failure();

  for (auto [value, cast] : retyped) {
    value.setType(cast.getResult(0).getType());
    cast.getResult(0).replaceAllUsesWith(value);
    cast.erase();
  }
  for (Operation *op : llvm::reverse(dead)) {
    op->dropAllUses();
    op->erase();
  }
  function.setType(FunctionType::get(function.getContext(),
                                     entry.getArgumentTypes(),
                                     entry.getTerminator()->getOperandTypes()));
  return success();
}

LogicalResult FunctionLowering::lowerBlock(Block &block) {
  for (Operation &op : llvm::make_early_inc_range(block))
    if (failed(lowerOp(&op)))
      return failure();
  return success();
}

LogicalResult FunctionLowering::lowerConstant(Operation *op) {
  auto value = onnx::matchConstant(op->getResult(0));
  if (!value)
    return op->emitOpError("expected a dense constant");
  Type element = value->getElementType();
  if (!element.isIntOrFloat())
    return op->emitOpError("cannot be compiled: elements of type ")
           << element << " are not supported";
  bool isUnsigned = element.isUnsignedInteger();
  DenseElementsAttr attr = *value;
  if (isUnsigned)
    attr = attr.bitcast(getSignless(element));
  OpBuilder builder(op);
  Value constant = arith::ConstantOp::create(builder, op->getLoc(), attr);
  state.values[op->getResult(0)] = {constant, isUnsigned};
  return success();
}

LogicalResult FunctionLowering::lowerOp(Operation *op) {
  if (!isa_and_nonnull<onnx::OnnxDialect>(op->getDialect()))
    return rewireOp(op);
  StringRef name = onnx::getOpName(op);
  dead.push_back(op);
  if (name == "None" || name == "Yield")
    return success();
  if (name == "Constant")
    return lowerConstant(op);
  for (auto [index, value] : llvm::enumerate(op->getOperands())) {
    if (onnx::isNone(value))
      continue;
    auto known = state.values.find(value);
    Type type = known == state.values.end() ? value.getType()
                                            : known->second.value.getType();
    auto tensor = dyn_cast<RankedTensorType>(type);
    if (!tensor)
      return op->emitOpError("expected operand ")
             << index << " to be a tensor of known rank, but got " << type;
    if (!tensor.getElementType().isIntOrFloat())
      return op->emitOpError("cannot be compiled: elements of type ")
             << tensor.getElementType() << " are not supported";
  }
  if (name == "If")
    return lowerIf(op);
  LowerFn lower = getLowerings().lookup(name);
  if (!lower)
    return op->emitOpError("cannot be compiled: the operator has no lowering");
  Lowering lowering(op, state);
  return failed(lowering.checkElementKinds()) ? failure() : lower(lowering);
}

LogicalResult FunctionLowering::rewireOp(Operation *op) {
  for (OpOperand &use : op->getOpOperands()) {
    auto known = state.values.find(use.get());
    if (known == state.values.end())
      continue;
    Value value = known->second.value;
    Type old = use.get().getType();
    bool isReturn = isa<func::ReturnOp>(op);
    Type wanted = getSignless(old);
    if (isReturn && isa<UnrankedTensorType>(wanted))
      wanted = value.getType();
    if (value.getType() != wanted) {
      if (!isa<RankedTensorType>(wanted) ||
          !tensor::CastOp::areCastCompatible(value.getType(), wanted))
        return op->emitOpError("expected an operand of type ")
               << wanted << ", but got " << value.getType();
      OpBuilder builder(op);
      value = tensor::CastOp::create(builder, op->getLoc(), wanted, value);
    }
    use.set(value);
  }
  OpBuilder builder(op->getContext());
  builder.setInsertionPointAfter(op);
  for (Value result : op->getResults())
    define(result, builder);
  for (Region &region : op->getRegions())
    for (Block &block : region)
      if (failed(lowerBlock(block)))
        return failure();
  return success();
}

LogicalResult FunctionLowering::lowerIf(Operation *op) {
  if (op->getNumRegions() != 2 || !op->getRegion(0).hasOneBlock() ||
      !op->getRegion(1).hasOneBlock())
    return op->emitOpError("expected two branches of one block each");
  SmallVector<int64_t> constant;
  bool known = onnx::getConstantInts(op->getOperand(0), constant) &&
               constant.size() == 1;
  auto yielded = [&](Block &block) {
    return SmallVector<Value>(block.getTerminator()->getOperands());
  };
  if (known) {
    // The chosen branch takes the place of the operator.
    Block &branch = op->getRegion(constant[0] ? 0 : 1).front();
    SmallVector<Operation *> body;
    for (Operation &inner : branch)
      body.push_back(&inner);
    for (Operation *inner : body) {
      if (!inner->hasTrait<OpTrait::IsTerminator>())
        inner->moveBefore(op);
      if (!inner->hasTrait<OpTrait::IsTerminator>() && failed(lowerOp(inner)))
        return failure();
    }
    for (auto [result, value] : llvm::zip(op->getResults(), yielded(branch)))
      state.values[result] = state.values.lookup(value);
    // After the branch's operators, whose results its Yield still uses.
    dead.erase(llvm::find(dead, op));
    dead.push_back(op);
    return success();
  }

  Lowering lowering(op, state);
  Value condition = lowering.scalar(0);
  std::array<SmallVector<Lowered>, 2> results;
  std::array<std::unique_ptr<Region>, 2> regions;
  for (int i : {0, 1}) {
    Block &block = op->getRegion(i).front();
    if (failed(lowerBlock(block)))
      return failure();
    for (Value value : yielded(block))
      results[i].push_back(state.values.lookup(value));
  }
  SmallVector<Type> types;
  for (auto [result, a, c] :
       llvm::zip(op->getResults(), results[0], results[1])) {
    auto first = dyn_cast_or_null<RankedTensorType>(a.value ? a.value.getType()
                                                            : Type());
    auto second = dyn_cast_or_null<RankedTensorType>(c.value ? c.value.getType()
                                                             : Type());
    if (!first || !second || first.getRank() != second.getRank() ||
        first.getElementType() != second.getElementType())
      return op->emitOpError(
          "cannot be compiled: branches with results of different ranks or "
          "element types are not supported when the condition is not constant");
    SmallVector<int64_t> sizes;
    for (auto [x, y] : llvm::zip(first.getShape(), second.getShape()))
      sizes.push_back(x == y ? x : ShapedType::kDynamic);
    types.push_back(RankedTensorType::get(sizes, first.getElementType()));
  }
  OpBuilder builder(op);
  auto choice = scf::IfOp::create(builder, op->getLoc(), types, condition,
                                  /*addThenBlock=*/true, /*addElseBlock=*/true);
  for (int i : {0, 1}) {
    Block &from = op->getRegion(i).front();
    Block &to = choice->getRegion(i).front();
    to.getOperations().splice(to.end(), from.getOperations(), from.begin(),
                              std::prev(from.end()));
    builder.setInsertionPointToEnd(&to);
    SmallVector<Value> values;
    for (auto [lowered, type] : llvm::zip(results[i], types)) {
      Value value = lowered.value;
      if (value.getType() != type)
        value = tensor::CastOp::create(builder, op->getLoc(), type, value);
      values.push_back(value);
    }
    scf::YieldOp::create(builder, op->getLoc(), values);
    // The Yield goes with the operator, after the operators it uses.
    Operation *yield = from.getTerminator();
    dead.erase(llvm::find(dead, yield));
    yield->erase();
  }
  builder.setInsertionPoint(op);
  lowering.b.setInsertionPoint(op);
  for (auto [index, value] : llvm::enumerate(choice.getResults()))
    if (failed(lowering.setResult(index, value, results[0][index].isUnsigned)))
      return failure();
  dead.erase(llvm::find(dead, op));
  dead.push_back(op);
  return success();
}

namespace {

struct ConvertOnnxToLinalgPass
    : ganq::impl::ConvertOnnxToLinalgBase<ConvertOnnxToLinalgPass> {
  void runOnOperation() override {
    for (auto function : getOperation().getOps<func::FuncOp>())
      if (!function.isExternal() && failed(FunctionLowering().run(function)))
        return signalPassFailure();
  }
};

} // namespace
