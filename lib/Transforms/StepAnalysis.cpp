//===- StepAnalysis.cpp - Can a model run a few tokens at a time? ---------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "StepAnalysis.h"
#include "RaiseOnnx/Patterns.h"
#include "RaiseOnnx/Probe.h"
#include "ganq/Onnx/Evaluate.h"
#include "ganq/Onnx/OnnxDialect.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"

using namespace mlir;
using namespace ganq;

namespace {

class Analysis {
public:
  explicit Analysis(func::FuncOp func)
      : func(func), roles(getArgumentRoles(func)),
        evaluator(func.getContext()) {}

  FailureOr<StepModel> run();

private:
  LogicalResult reject(Operation *op, const Twine &reason) {
    op->emitRemark("no step functions: ") << reason;
    return failure();
  }
  LogicalResult checkArguments();
  LogicalResult collectCaches();
  LogicalResult checkResults();
  LogicalResult checkRows();
  LogicalResult checkRowwise(Operation &op);

  /// The only dimension of `value` that depends on the number of tokens.
  std::optional<unsigned> getTokenAxis(Value value);
  unsigned countTokenDims(Value value);
  bool dependsOnTokens(AffineExpr expr) {
    return expr && expr.isFunctionOfSymbol(tokenSymbol);
  }
  /// Product of the sizes after dimension `axis`.
  AffineExpr getStride(Value value, unsigned axis);
  const onnx::AbstractTensor *get(Value value);

  func::FuncOp func;
  SmallVector<ArgumentRole> roles;
  onnx::Evaluator evaluator;
  unsigned tokenSymbol = 0;
  DenseMap<Value, onnx::AbstractTensor> tensors;
  /// Values with one row per token that may depend on what the token is.
  llvm::DenseSet<Value> streams;
  StepModel model;
};

} // namespace

const onnx::AbstractTensor *Analysis::get(Value value) {
  auto [known, isNew] = tensors.try_emplace(value);
  if (isNew) {
    ScopedDiagnosticHandler quiet(func.getContext(),
                                  [](Diagnostic &) { return success(); });
    FailureOr<onnx::AbstractTensor> tensor = evaluator.evaluate(value);
    if (succeeded(tensor))
      tensors[value] = *tensor;
    return &tensors[value];
  }
  return &known->second;
}

unsigned Analysis::countTokenDims(Value value) {
  return llvm::count_if(get(value)->dims,
                        [&](AffineExpr dim) { return dependsOnTokens(dim); });
}

std::optional<unsigned> Analysis::getTokenAxis(Value value) {
  if (countTokenDims(value) != 1)
    return std::nullopt;
  for (auto [axis, dim] : llvm::enumerate(get(value)->dims))
    if (dependsOnTokens(dim))
      return axis;
  return std::nullopt;
}

AffineExpr Analysis::getStride(Value value, unsigned axis) {
  AffineExpr product = evaluator.getConstant(1);
  for (AffineExpr dim : ArrayRef(get(value)->dims).drop_front(axis + 1))
    product = product * dim;
  return product;
}

LogicalResult Analysis::checkArguments() {
  for (BlockArgument argument : func.getArguments()) {
    ArgumentRole role = roles[argument.getArgNumber()];
    auto name =
        func.getArgAttrOfType<StringAttr>(argument.getArgNumber(), "onnx.name");
    std::string shown =
        name ? name.str() : "#" + std::to_string(argument.getArgNumber());
    if (role == ArgumentRole::Tokens) {
      if (model.tokens)
        return reject(func, "expected one input of tokens, but got '" + shown +
                                "' as well");
      model.tokens = argument;
    } else if (role == ArgumentRole::Other ||
               role == ArgumentRole::StackedCache) {
      return reject(func, "expected inputs to be tokens, attention mask, "
                          "positions or caches, but got '" +
                              shown + "'");
    }
  }
  if (!model.tokens)
    return reject(func, "expected an integer input [batch, sequence]");
  evaluator.bindArguments(func);
  auto symbol = dyn_cast<AffineSymbolExpr>(get(model.tokens)->dims[1]);
  if (!symbol)
    return reject(func, "expected the number of tokens to be dynamic");
  tokenSymbol = symbol.getPosition();
  // Rows of positions come one for each token.
  func.walk([&](PositionRowsOp op) {
    auto dim = op.getCount().getDefiningOp<tensor::DimOp>();
    if (!dim || dim.getSource() != model.tokens || dim.getConstantIndex() != 1)
      return;
    auto type = cast<RankedTensorType>(op.getResult().getType());
    onnx::AbstractTensor rows = evaluator.fromType(type);
    rows.dims[0] = symbol;
    evaluator.bind(op.getResult(), std::move(rows));
  });
  return success();
}

LogicalResult Analysis::collectCaches() {
  llvm::DenseSet<Operation *> seen;
  unsigned layer = 0;
  auto add = [&](AttentionOp op, Value value, StringRef kind) {
    auto append = value.getDefiningOp<KvAppendOp>();
    if (!append)
      return reject(op, "expected the " + kind +
                            "s of attention to be "
                            "ganq.kv_append");
    if (!seen.insert(append).second)
      return success();
    auto type = cast<RankedTensorType>(append.getValue().getType());
    if (type.isDynamicDim(1) || type.isDynamicDim(3))
      return reject(append, "expected heads and their size to be static");
    std::string name = ("layers." + Twine(layer) + "." + kind).str();
    if (auto past = dyn_cast_or_null<BlockArgument>(append.getPast()))
      if (auto attr = func.getArgAttrOfType<StringAttr>(past.getArgNumber(),
                                                        "onnx.name"))
        name = attr.str();
    for (Operation *user : append->getUsers())
      if (!isa<AttentionOp, func::ReturnOp>(user))
        return reject(user, "expected keys and values to be used by attention "
                            "and results only");
    model.caches.push_back({append, name, type.getDimSize(1),
                            type.getDimSize(3), type.getElementType()});
    return success();
  };
  WalkResult result = func.walk([&](AttentionOp op) {
    auto unpadded = op->getAttrOfType<StringAttr>("ganq.unpadded_mask");
    bool isCausal = op.getCausal()
                        ? !op.getMask() || unpadded
                        : unpadded && unpadded.getValue() == "causal";
    if (!isCausal || !op.getPast() ||
        !op.getPast().getDefiningOp<PastLengthOp>())
      return WalkResult(reject(op, "expected attention to be causal"));
    if (failed(add(op, op.getK(), "key")) ||
        failed(add(op, op.getV(), "value")))
      return WalkResult::interrupt();
    ++layer;
    return WalkResult::advance();
  });
  if (result.wasInterrupted())
    return failure();
  if (model.caches.empty())
    return reject(func, "expected attention, but found none");
  for (BlockArgument argument : func.getArguments())
    if (roles[argument.getArgNumber()] == ArgumentRole::Cache)
      for (Operation *user : argument.getUsers())
        if (!isa<KvAppendOp, tensor::DimOp>(user) &&
            !onnx::isOnnxOp(user, "Shape"))
          return reject(user, "expected caches to be used by ganq.kv_append "
                              "only");
  return success();
}

LogicalResult Analysis::checkResults() {
  std::optional<unsigned> logits;
  Operation *terminator = func.getBody().front().getTerminator();
  for (auto [index, value] : llvm::enumerate(terminator->getOperands())) {
    if (value.getDefiningOp<KvAppendOp>())
      continue;
    auto type = dyn_cast<RankedTensorType>(value.getType());
    if (logits || !type || type.getRank() != 3 || type.isDynamicDim(2) ||
        !isa<FloatType>(type.getElementType()))
      return reject(terminator,
                    "expected one result [batch, sequence, vocabulary] besides "
                    "the caches, but result #" +
                        Twine(index) + " is another");
    logits = index;
    model.vocabulary = type.getDimSize(2);
  }
  if (!logits)
    return reject(terminator, "expected a result for the logits");
  Value value = terminator->getOperand(*logits);
  if (!streams.contains(value) || getTokenAxis(value) != 1u)
    return reject(terminator, "expected the logits of every token");
  model.logits = *logits;
  return success();
}

/// Operators that treat elements, or elements at one place of several tensors,
/// by themselves.
static bool isElementwise(Operation *op) {
  return onnx::isOnnxOp(op, {"Abs",
                             "Add",
                             "And",
                             "Cast",
                             "CastLike",
                             "Ceil",
                             "Clip",
                             "Cos",
                             "Div",
                             "Dropout",
                             "Elu",
                             "Equal",
                             "Erf",
                             "Exp",
                             "Floor",
                             "Gelu",
                             "Greater",
                             "HardSigmoid",
                             "HardSwish",
                             "Identity",
                             "IsInf",
                             "IsNaN",
                             "LeakyRelu",
                             "Less",
                             "Log",
                             "Max",
                             "Min",
                             "Mish",
                             "Mod",
                             "Mul",
                             "Neg",
                             "Not",
                             "Or",
                             "PRelu",
                             "Pow",
                             "Reciprocal",
                             "Relu",
                             "Round",
                             "Selu",
                             "Sigmoid",
                             "Sign",
                             "Sin",
                             "Softplus",
                             "Softsign",
                             "Sqrt",
                             "Sub",
                             "Sum",
                             "Swish",
                             "Tanh",
                             "Where",
                             "Xor",
                             "GreaterOrEqual",
                             "LessOrEqual",
                             "com.microsoft.BiasGelu",
                             "com.microsoft.FastGelu",
                             "com.microsoft.Gelu",
                             "com.microsoft.QuickGelu"});
}

/// The dimensions that an operator mixes or cuts.
static std::optional<SmallVector<int64_t>> getWorkingAxes(Operation *op,
                                                          int64_t rank) {
  SmallVector<int64_t> axes;
  if (onnx::isOnnxOp(op, "Slice")) {
    if (Value operand = onnx::getOperand(op, 3)) {
      if (!onnx::getConstantInts(operand, axes))
        return std::nullopt;
    } else {
      llvm::append_range(axes, llvm::seq<int64_t>(0, rank));
    }
  } else if (onnx::isOnnxOp(op,
                            {"Concat", "Split", "Gather", "GatherElements"})) {
    axes.push_back(onnx::getInt(op, "axis", 0));
  } else if (onnx::isOnnxOp(op, {"Softmax", "LogSoftmax", "TopK", "Hardmax"})) {
    axes.push_back(onnx::getInt(op, "axis", -1));
  } else if (onnx::getOpName(op).starts_with("Reduce")) {
    Value operand = onnx::getOperand(op, 1);
    if (!operand || !onnx::getConstantInts(operand, axes) || axes.empty())
      return std::nullopt;
  } else {
    return std::nullopt;
  }
  for (int64_t &axis : axes)
    if (axis < 0)
      axis += rank;
  return axes;
}

LogicalResult Analysis::checkRowwise(Operation &op) {
  auto unknown = [&] {
    return reject(&op,
                  "expected every token to be treated by itself, but got " +
                      op.getName().getStringRef());
  };
  for (Value result : op.getResults())
    if (!result.use_empty() && countTokenDims(result) != 1)
      return unknown();
  Value first = *llvm::find_if(op.getOperands(), [&](Value operand) {
    return streams.contains(operand);
  });
  // What comes from the number of tokens must be a size, not data.
  bool takesSizes = onnx::isOnnxOp(&op, {"Reshape", "Expand", "Slice"});
  for (Value operand : op.getOperands()) {
    if (streams.contains(operand) || !isa<ShapedType>(operand.getType()) ||
        isa<AttentionOp, KvAppendOp>(op))
      continue;
    const onnx::AbstractTensor *tensor = get(operand);
    bool isSized = countTokenDims(operand) != 0;
    if (!takesSizes)
      if (auto exprs = tensor->getExprs(op.getContext()))
        isSized |= llvm::any_of(
            *exprs, [&](AffineExpr expr) { return dependsOnTokens(expr); });
    if (isSized)
      return reject(&op, "expected positions to be recognised, but operand " +
                             Twine(llvm::find(op.getOperands(), operand) -
                                   op.operand_begin()) +
                             " depends on the number of tokens");
  }
  if (isElementwise(&op) ||
      isa<MatmulOp, PackedMatmulOp, SwigluOp, RopeOp, AttentionOp, KvAppendOp,
          PositionRowsOp, tensor::DimOp>(op) ||
      onnx::isOnnxOp(&op, {"Unsqueeze", "Squeeze", "Transpose", "Expand"}))
    return success();
  int64_t rank = get(first)->dims.size();
  std::optional<unsigned> axis = getTokenAxis(first);
  if (!axis)
    return unknown();
  if (isa<RmsNormOp, LayerNormOp>(op) ||
      onnx::isOnnxOp(&op, "LayerNormalization"))
    return *axis + 1 < rank ? success() : unknown();
  if (onnx::isOnnxOp(&op, "MatMul"))
    return first == op.getOperand(0) && !streams.contains(op.getOperand(1)) &&
                   *axis + 1 < rank
               ? success()
               : unknown();
  if (onnx::isOnnxOp(&op, {"Reshape", "Flatten"})) {
    std::optional<unsigned> after = getTokenAxis(op.getResult(0));
    return after &&
                   getStride(first, *axis) == getStride(op.getResult(0), *after)
               ? success()
               : unknown();
  }
  if (onnx::isOnnxOp(&op, "Gather") && first != op.getOperand(0))
    return success();
  std::optional<SmallVector<int64_t>> axes = getWorkingAxes(&op, rank);
  if (!axes || llvm::is_contained(*axes, static_cast<int64_t>(*axis)))
    return unknown();
  return success();
}

LogicalResult Analysis::checkRows() {
  streams.insert(model.tokens);
  for (Operation &op : func.getBody().front().without_terminator()) {
    if (onnx::isOnnxOp(&op, {"Shape", "Size"}) || isa<tensor::DimOp>(op))
      continue;
    bool isStream = isa<PositionRowsOp>(op) ||
                    llvm::any_of(op.getOperands(), [&](Value operand) {
                      return streams.contains(operand);
                    });
    if (!isStream)
      continue;
    if (op.getNumRegions() != 0)
      return reject(&op, "expected no control flow");
    streams.insert(op.result_begin(), op.result_end());
    if (!isa<PositionRowsOp>(op) && failed(checkRowwise(op)))
      return failure();
  }
  return success();
}

FailureOr<StepModel> Analysis::run() {
  if (!func.getBody().hasOneBlock())
    return reject(func, "expected straight code");
  if (failed(checkArguments()) || failed(collectCaches()) ||
      failed(checkRows()) || failed(checkResults()))
    return failure();
  return model;
}

FailureOr<StepModel> ganq::analyzeSteps(func::FuncOp func) {
  return Analysis(func).run();
}
