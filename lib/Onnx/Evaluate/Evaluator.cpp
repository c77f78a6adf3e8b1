//===- Evaluator.cpp - Symbolic interpretation of ONNX graphs -------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Rules.h"
#include "ganq/IR/GanqDialect.h"
#include "llvm/ADT/SmallString.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"

using namespace mlir;
using namespace ganq;
using namespace ganq::onnx;

//===----------------------------------------------------------------------===//
// AbstractTensor
//===----------------------------------------------------------------------===//

std::optional<SmallVector<int64_t>> AbstractTensor::getStaticShape() const {
  if (!hasRank)
    return std::nullopt;
  SmallVector<int64_t> shape;
  for (AffineExpr dim : dims) {
    std::optional<int64_t> size = getConstantValue(dim);
    if (!size || *size < 0)
      return std::nullopt;
    shape.push_back(*size);
  }
  return shape;
}

std::optional<int64_t> AbstractTensor::getNumElements() const {
  std::optional<SmallVector<int64_t>> shape = getStaticShape();
  if (!shape)
    return std::nullopt;
  int64_t count = 1;
  for (int64_t size : *shape)
    if (llvm::MulOverflow(count, size, count))
      return std::nullopt;
  return count;
}

const std::vector<int64_t> *AbstractTensor::getInts() const {
  return elements ? std::get_if<std::vector<int64_t>>(elements.get()) : nullptr;
}

const std::vector<double> *AbstractTensor::getFloats() const {
  return elements ? std::get_if<std::vector<double>>(elements.get()) : nullptr;
}

std::optional<std::vector<AffineExpr>>
AbstractTensor::getExprs(MLIRContext *context) const {
  if (!elements)
    return std::nullopt;
  if (const auto *exprs = std::get_if<std::vector<AffineExpr>>(elements.get()))
    return *exprs;
  const std::vector<int64_t> *ints = getInts();
  if (!ints)
    return std::nullopt;
  std::vector<AffineExpr> exprs;
  for (int64_t value : *ints)
    exprs.push_back(getAffineConstantExpr(value, context));
  return exprs;
}

std::optional<std::vector<double>> AbstractTensor::getNumbers() const {
  if (const std::vector<double> *floats = getFloats())
    return *floats;
  if (const std::vector<int64_t> *ints = getInts())
    return std::vector<double>(ints->begin(), ints->end());
  return std::nullopt;
}

//===----------------------------------------------------------------------===//
// Symbols, types, attributes
//===----------------------------------------------------------------------===//

AffineExpr Evaluator::getSymbol(StringRef name) {
  auto [it, isNew] = symbols.try_emplace(name, symbolNames.size());
  if (isNew)
    symbolNames.push_back(name.str());
  return getAffineSymbolExpr(it->second, context);
}

AffineExpr Evaluator::getNewSymbol() {
  symbolNames.emplace_back();
  return getAffineSymbolExpr(symbolNames.size() - 1, context);
}

StringRef Evaluator::getName(AffineExpr symbol) const {
  auto expr = dyn_cast<AffineSymbolExpr>(symbol);
  return expr && expr.getPosition() < symbolNames.size()
             ? StringRef(symbolNames[expr.getPosition()])
             : StringRef();
}

AffineExpr Evaluator::getConstant(int64_t value) const {
  return getAffineConstantExpr(value, context);
}

AffineExpr Evaluator::simplify(AffineExpr expr) {
  if (!isa_and_nonnull<AffineBinaryOpExpr>(expr))
    return expr;
  AffineExpr &result = simplified[expr];
  if (!result)
    result = simplifyAffineExpr(expr, /*numDims=*/0, symbolNames.size());
  return result;
}

std::optional<int64_t> Evaluator::getLowerBound(AffineExpr expr) {
  if (auto constant = dyn_cast<AffineConstantExpr>(expr))
    return constant.getValue();
  if (isa<AffineSymbolExpr>(expr))
    return 0;
  auto binary = dyn_cast<AffineBinaryOpExpr>(expr);
  if (!binary)
    return std::nullopt;
  std::optional<int64_t> lhs = getLowerBound(binary.getLHS());
  std::optional<int64_t> rhs = getLowerBound(binary.getRHS());
  int64_t result = 0;
  switch (expr.getKind()) {
  case AffineExprKind::Add:
    if (lhs && rhs && !llvm::AddOverflow(*lhs, *rhs, result))
      return result;
    return std::nullopt;
  case AffineExprKind::Mul:
    if (lhs && rhs && *lhs >= 0 && *rhs >= 0 &&
        !llvm::MulOverflow(*lhs, *rhs, result))
      return result;
    return std::nullopt;
  case AffineExprKind::FloorDiv:
  case AffineExprKind::CeilDiv:
  case AffineExprKind::Mod:
    if (lhs && rhs && *lhs >= 0 && *rhs >= 0)
      return 0;
    return std::nullopt;
  default:
    return std::nullopt;
  }
}

AbstractTensor Evaluator::fromType(Type type) {
  AbstractTensor tensor;
  if (auto tensorType = dyn_cast<TensorType>(type)) {
    tensor.elementType = tensorType.getElementType();
    if (tensorType.hasRank()) {
      tensor.hasRank = true;
      for (int64_t size : tensorType.getShape())
        tensor.dims.push_back(ShapedType::isDynamic(size) ? getNewSymbol()
                                                          : getConstant(size));
    }
  } else if (isa<IndexType>(type)) {
    // Indices of ganq operations count as scalars.
    tensor.elementType = type;
    tensor.hasRank = true;
  }
  return tensor;
}

AbstractTensor Evaluator::fromAttr(DenseElementsAttr attr) {
  AbstractTensor tensor;
  ShapedType type = attr.getType();
  tensor.elementType = type.getElementType();
  tensor.hasRank = true;
  for (int64_t size : type.getShape())
    tensor.dims.push_back(getAffineConstantExpr(size, attr.getContext()));
  if (auto integer = dyn_cast<IntegerType>(tensor.elementType)) {
    bool zeroExtend = integer.isUnsigned() || integer.getWidth() == 1;
    std::vector<int64_t> values;
    for (const APInt &value : attr.getValues<APInt>())
      values.push_back(zeroExtend ? value.getZExtValue()
                                  : value.getSExtValue());
    tensor.elements = std::make_shared<Elements>(std::move(values));
  } else if (isa<FloatType>(tensor.elementType)) {
    std::vector<double> values;
    for (APFloat value : attr.getValues<APFloat>()) {
      bool losesInfo;
      value.convert(APFloat::IEEEdouble(), APFloat::rmNearestTiesToEven,
                    &losesInfo);
      values.push_back(value.convertToDouble());
    }
    tensor.elements = std::make_shared<Elements>(std::move(values));
  }
  return tensor;
}

Type Evaluator::toType(const AbstractTensor &tensor) const {
  if (!tensor.elementType)
    return {};
  if (isa<IndexType>(tensor.elementType))
    return tensor.elementType;
  if (!tensor.hasRank)
    return UnrankedTensorType::get(tensor.elementType);
  SmallVector<int64_t> shape;
  for (AffineExpr dim : tensor.dims) {
    std::optional<int64_t> size = getConstantValue(dim);
    shape.push_back(size && *size >= 0 ? *size : ShapedType::kDynamic);
  }
  return RankedTensorType::get(shape, tensor.elementType);
}

DenseElementsAttr Evaluator::toAttr(const AbstractTensor &tensor) const {
  auto type = dyn_cast_or_null<RankedTensorType>(toType(tensor));
  if (!type || !type.hasStaticShape() || !tensor.elements)
    return {};
  if (const std::vector<int64_t> *ints = tensor.getInts()) {
    auto integer = dyn_cast<IntegerType>(tensor.elementType);
    if (!integer)
      return {};
    SmallVector<APInt> values;
    for (int64_t value : *ints)
      values.emplace_back(integer.getWidth(), value, /*isSigned=*/true,
                          /*implicitTrunc=*/true);
    return DenseElementsAttr::get(type, values);
  }
  const std::vector<double> *floats = tensor.getFloats();
  auto floatType = dyn_cast<FloatType>(tensor.elementType);
  if (!floats || !floatType)
    return {};
  SmallVector<APFloat> values;
  for (double value : *floats) {
    bool losesInfo;
    values.emplace_back(value);
    values.back().convert(floatType.getFloatSemantics(),
                          APFloat::rmNearestTiesToEven, &losesInfo);
  }
  return DenseElementsAttr::get(type, values);
}

//===----------------------------------------------------------------------===//
// Weights
//===----------------------------------------------------------------------===//

Evaluator::ReadParameter ganq::onnx::readParametersFrom(StringRef folder) {
  return [folder = folder.str()](
             ParameterOp op) -> std::optional<std::vector<char>> {
    std::optional<ExternalAttr> source = op.getSource();
    if (!source)
      return std::nullopt;
    llvm::SmallString<256> path(folder);
    llvm::sys::path::append(path, source->getFile());
    auto file = llvm::MemoryBuffer::getFileSlice(path, source->getLength(),
                                                 source->getOffset());
    if (!file ||
        (*file)->getBufferSize() != static_cast<size_t>(source->getLength()))
      return std::nullopt;
    return std::vector<char>((*file)->getBufferStart(),
                             (*file)->getBufferEnd());
  };
}

bool Evaluator::load(AbstractTensor &tensor) {
  if (tensor.elements || !tensor.parameter)
    return tensor.elements != nullptr;
  auto op = cast<ParameterOp>(tensor.parameter);
  auto type = dyn_cast<RankedTensorType>(op.getResult().getType());
  if (!readParameter || !type || !type.hasStaticShape() ||
      type.getNumElements() > maxElements || op.getTransposed() ||
      op.getPackedRowsAttr() || !type.getElementType().isIntOrFloat())
    return false;
  unsigned width = type.getElementTypeBitWidth();
  std::optional<std::vector<char>> bytes = readParameter(op);
  if (!bytes || width < 8 ||
      bytes->size() != static_cast<size_t>(type.getNumElements() * width / 8))
    return false;
  auto plain = RankedTensorType::get(type.getShape(), type.getElementType());
  tensor.elements =
      fromAttr(DenseElementsAttr::getFromRawBuffer(plain, *bytes)).elements;
  tensor.parameter = nullptr;
  known[op.getResult()] = tensor;
  return true;
}

//===----------------------------------------------------------------------===//
// Interpretation
//===----------------------------------------------------------------------===//

void Evaluator::bind(Value value, AbstractTensor tensor) {
  known[value] = std::move(tensor);
}

/// Exporters also write sums, such as `past_length + length`.
AffineExpr Evaluator::parseDim(StringRef text,
                               const llvm::StringMap<int64_t> &sizes) {
  auto isName = [](StringRef term) {
    return !term.empty() && llvm::all_of(term, [](char c) {
      return llvm::isAlnum(c) || c == '_' || c == '.';
    });
  };
  llvm::SmallVector<StringRef> terms;
  text.split(terms, '+');
  for (StringRef &term : terms)
    term = term.trim();
  if (sizes.contains(text) || !llvm::all_of(terms, isName))
    terms = {text};
  AffineExpr sum = getConstant(0);
  for (StringRef term : terms) {
    auto size = sizes.find(term);
    int64_t number = 0;
    if (size != sizes.end())
      sum = sum + size->second;
    else if (terms.size() > 1 && !term.getAsInteger(10, number))
      sum = sum + number;
    else
      sum = sum + getSymbol(term);
  }
  return simplify(sum);
}

void Evaluator::bindArguments(func::FuncOp function,
                              const llvm::StringMap<int64_t> &sizes) {
  for (BlockArgument arg : function.getArguments()) {
    AbstractTensor tensor = fromType(arg.getType());
    auto dims =
        function.getArgAttrOfType<ArrayAttr>(arg.getArgNumber(), "onnx.dims");
    if (dims && dims.size() == tensor.dims.size())
      for (auto [expr, attr] : llvm::zip(tensor.dims, dims)) {
        auto name = dyn_cast<StringAttr>(attr);
        if (!name || name.empty() || getConstantValue(expr))
          continue;
        expr = parseDim(name.getValue(), sizes);
      }
    bind(arg, std::move(tensor));
  }
}

/// The branch of an If whose condition is known; null otherwise.
Block *Evaluator::getTakenBranch(Operation *op) {
  if (!isOnnxOp(op, "If") || op->getNumRegions() != 2 ||
      op->getNumOperands() != 1)
    return nullptr;
  auto condition = known.find(op->getOperand(0));
  if (condition == known.end())
    return nullptr;
  const std::vector<int64_t> *ints = condition->second.getInts();
  if (!ints || ints->size() != 1)
    return nullptr;
  Region &region = op->getRegion(ints->front() ? 0 : 1);
  return region.hasOneBlock() ? &region.front() : nullptr;
}

SmallVector<Value> Evaluator::getMissing(Operation *op) {
  SmallVector<Value> missing;
  auto add = [&](ValueRange values) {
    for (Value value : values)
      if (!known.contains(value))
        missing.push_back(value);
  };
  add(op->getOperands());
  // The branch that is not taken may be wrong for the sizes at hand.
  if (missing.empty() && isOnnxOp(op, "If")) {
    if (Block *taken = getTakenBranch(op))
      add(taken->back().getOperands());
    else
      for (Region &region : op->getRegions())
        if (region.hasOneBlock())
          add(region.front().back().getOperands());
  }
  return missing;
}

FailureOr<AbstractTensor> Evaluator::evaluate(Value value) {
  // Graphs are thousands of operations deep: no recursion.
  SmallVector<Value> stack{value};
  while (!stack.empty()) {
    Value current = stack.back();
    if (known.contains(current)) {
      stack.pop_back();
      continue;
    }
    Operation *op = current.getDefiningOp();
    if (!op) {
      known[current] = fromType(current.getType());
      continue;
    }
    SmallVector<Value> missing = getMissing(op);
    if (!missing.empty()) {
      stack.append(missing);
      continue;
    }
    if (failed(evaluateOp(op)))
      return failure();
  }
  return known.lookup(value);
}

/// Adds what the type of the value tells and the rule did not find.
void Evaluator::mergeDeclared(Value value, AbstractTensor &tensor) {
  AbstractTensor declared = fromType(value.getType());
  if (!declared.elementType)
    return;
  if (!tensor.elementType || isa<AnyType>(tensor.elementType))
    tensor.elementType = declared.elementType;
  if (!declared.hasRank)
    return;
  if (!tensor.hasRank) {
    tensor.hasRank = true;
    tensor.dims = declared.dims;
    return;
  }
  if (tensor.dims.size() != declared.dims.size())
    return;
  for (auto [dim, size] : llvm::zip(tensor.dims, declared.dims))
    if (!getConstantValue(dim) && getConstantValue(size))
      dim = size;
}

static const RuleMap &getRules() {
  static const RuleMap rules = [] {
    RuleMap map;
    addMoveRules(map);
    addSelectRules(map);
    addMathRules(map);
    addReductionRules(map);
    addModelRules(map);
    addGanqRules(map);
    return map;
  }();
  return rules;
}

/// The rules of standard operators may rely on their required operands.
static bool hasRequiredOperands(const Evaluation &e) {
  StringRef name = getOpName(e.op);
  const OpSchema *schema = lookupOpSchema(name);
  if (!schema || name.contains('.'))
    return true;
  bool variadic = schema->maxOperands > 1000;
  unsigned required = variadic ? e.in.size() : schema->minOperands;
  if (e.in.size() < schema->minOperands)
    return false;
  for (unsigned i = 0; i < required; ++i)
    if (!e.has(i))
      return false;
  return true;
}

LogicalResult Evaluator::evaluateOp(Operation *op) {
  if (auto parameter = dyn_cast<ParameterOp>(op)) {
    AbstractTensor tensor = fromType(parameter.getResult().getType());
    tensor.parameter = op;
    bind(parameter.getResult(), std::move(tensor));
    return success();
  }
  if (auto constant = dyn_cast<ConstantOp>(op)) {
    AbstractTensor tensor;
    if (auto dense = dyn_cast<DenseElementsAttr>(constant.getValueAttr()))
      tensor = fromAttr(dense);
    else
      tensor = fromType(constant.getValueAttr().getType());
    bind(constant.getResult(), std::move(tensor));
    return success();
  }

  SmallVector<AbstractTensor> operands;
  for (Value operand : op->getOperands())
    operands.push_back(known.lookup(operand));
  Evaluation evaluation(*this, op, std::move(operands));
  if (isOnnxOp(op, "If")) {
    SmallVector<Block *> branches;
    if (Block *taken = getTakenBranch(op))
      branches.push_back(taken);
    else
      for (Region &region : op->getRegions())
        if (region.hasOneBlock())
          branches.push_back(&region.front());
    for (unsigned i = 0; i < op->getNumResults(); ++i)
      for (auto [n, block] : llvm::enumerate(branches)) {
        Operation &yield = block->back();
        if (i >= yield.getNumOperands())
          continue;
        const AbstractTensor &branch = known[yield.getOperand(i)];
        AbstractTensor &result = evaluation.out[i];
        if (n == 0) {
          result = branch;
          continue;
        }
        result.elements = nullptr;
        result.parameter = nullptr;
        if (!branch.hasRank || branch.dims.size() != result.dims.size())
          result.hasRank = false;
        if (!result.hasRank) {
          result.dims.clear();
          continue;
        }
        for (auto [a, b] : llvm::zip(result.dims, branch.dims))
          if (a != b)
            a = getNewSymbol();
      }
  } else {
    StringRef name = getOpName(op);
    auto rule =
        getRules().find(name.empty() ? op->getName().getStringRef() : name);
    if (rule != getRules().end() && hasRequiredOperands(evaluation) &&
        failed(rule->second(evaluation)))
      return failure();
  }
  for (auto [value, tensor] : llvm::zip(op->getResults(), evaluation.out)) {
    mergeDeclared(value, tensor);
    bind(value, std::move(tensor));
  }
  return success();
}
