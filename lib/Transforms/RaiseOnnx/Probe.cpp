//===- Probe.cpp - Meaning of masks and positions by their values ---------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Probe.h"
#include "ganq/IR/GanqDialect.h"
#include "ganq/Onnx/OnnxDialect.h"
#include "mlir/IR/Diagnostics.h"

using namespace mlir;
using namespace ganq;

/// Largest tensor that is computed: a mask of 2048 by 2048.
static constexpr int64_t kMaxElements = int64_t(1) << 22;
/// Longest context that a mask without caches is checked for.
static constexpr int64_t kMaxMaskContext = 2048;

//===----------------------------------------------------------------------===//
// Roles
//===----------------------------------------------------------------------===//

static bool isCacheUse(OpOperand &use) {
  Operation *op = use.getOwner();
  unsigned index = use.getOperandNumber();
  StringRef name = onnx::getOpName(op);
  if (name == "Concat")
    return index == 0 && op->getNumOperands() == 2 &&
           onnx::getInt(op, "axis", 0) == 2;
  if (name == "com.microsoft.GroupQueryAttention")
    return index == 3 || index == 4;
  if (name == "com.microsoft.MultiHeadAttention")
    return index == 6 || index == 7;
  if (name == "Attention")
    return index == 4 || index == 5;
  auto append = dyn_cast<KvAppendOp>(op);
  return append && append.getPast() == use.get();
}

SmallVector<ArgumentRole> ganq::getArgumentRoles(func::FuncOp func) {
  SmallVector<ArgumentRole> roles;
  for (BlockArgument argument : func.getArguments()) {
    ArgumentRole role = ArgumentRole::Other;
    std::string name;
    if (auto attr = func.getArgAttrOfType<StringAttr>(argument.getArgNumber(),
                                                      "onnx.name"))
      name = attr.getValue().lower();
    StringRef lower = name;
    if (auto type = dyn_cast<RankedTensorType>(argument.getType())) {
      bool isInteger = isa<IntegerType>(type.getElementType());
      if (type.getRank() == 2 && lower.contains("mask"))
        role = ArgumentRole::AttentionMask;
      else if (type.getRank() == 2 && isInteger && lower.contains("position"))
        role = ArgumentRole::Positions;
      else if (type.getRank() == 2 && isInteger && !lower.contains("type") &&
               !lower.contains("segment"))
        role = ArgumentRole::Tokens;
      else if (type.getRank() == 4 && isa<FloatType>(type.getElementType()) &&
               llvm::any_of(argument.getUses(), isCacheUse))
        role = ArgumentRole::Cache;
      else if (type.getRank() == 5 && type.getDimSize(0) == 2 &&
               isa<FloatType>(type.getElementType()))
        role = ArgumentRole::StackedCache;
    }
    roles.push_back(role);
  }
  // Only the positions of tokens are known without being given.
  if (!llvm::is_contained(roles, ArgumentRole::Tokens))
    llvm::replace(roles, ArgumentRole::Positions, ArgumentRole::Other);
  return roles;
}

//===----------------------------------------------------------------------===//
// Evaluation
//===----------------------------------------------------------------------===//

Probe::Probe(func::FuncOp func, int64_t maxContext,
             onnx::Evaluator::ReadParameter readParameter)
    : context(std::max<int64_t>(maxContext, 1)),
      readParameter(std::move(readParameter)), roles(getArgumentRoles(func)) {
  copy = cast<func::FuncOp>(func->clone(mapping));
  for (unsigned i = 0; i < copy.getNumArguments(); ++i)
    if (auto dims = copy.getArgAttrOfType<ArrayAttr>(i, "onnx.dims"))
      hasPastSizes |= llvm::any_of(dims, [](Attribute dim) {
        auto name = dyn_cast<StringAttr>(dim);
        return name && StringRef(name.getValue().lower()).contains("past");
      });
  limitByTables(func);
}

Probe::~Probe() {
  evaluators.clear();
  copy->erase();
}

bool Probe::hasCaches() const {
  return llvm::is_contained(roles, ArgumentRole::Cache) ||
         llvm::is_contained(roles, ArgumentRole::StackedCache);
}

ArgumentRole Probe::getRole(BlockArgument argument) const {
  return argument.getArgNumber() < roles.size() &&
                 isa<func::FuncOp>(argument.getOwner()->getParentOp())
             ? roles[argument.getArgNumber()]
             : ArgumentRole::Other;
}

SmallVector<std::pair<int64_t, int64_t>> Probe::getSizes() const {
  SmallVector<std::pair<int64_t, int64_t>> sizes;
  int64_t tokens = std::min<int64_t>(context, 5);
  sizes.emplace_back(tokens, 0);
  if ((hasCaches() || hasPastSizes) && context >= 3)
    sizes.emplace_back(std::min<int64_t>(context - 2, 3), 2);
  else if (tokens > 1)
    sizes.emplace_back(tokens - 1, 0);
  return sizes;
}

std::unique_ptr<onnx::Evaluator> Probe::createEvaluator(int64_t tokens,
                                                        int64_t past) {
  auto evaluator = std::make_unique<onnx::Evaluator>(
      copy.getContext(), kMaxElements, readParameter);
  llvm::StringMap<int64_t> sizes;
  auto name = [&](unsigned argument, unsigned dim, int64_t size) {
    auto dims = copy.getArgAttrOfType<ArrayAttr>(argument, "onnx.dims");
    if (dims && dim < dims.size())
      if (auto symbol = dyn_cast<StringAttr>(dims[dim]))
        sizes.try_emplace(symbol.getValue(), size);
  };
  for (auto [i, role] : llvm::enumerate(roles))
    if (role == ArgumentRole::StackedCache)
      name(i, 1, 1);
    else if (role != ArgumentRole::Other)
      name(i, 0, 1);
  // Tokens first: without caches the mask may share their symbol.
  for (auto [i, role] : llvm::enumerate(roles))
    if (role == ArgumentRole::Tokens || role == ArgumentRole::Positions)
      name(i, 1, tokens);
  for (auto [i, role] : llvm::enumerate(roles)) {
    if (role == ArgumentRole::Cache)
      name(i, 2, past);
    if (role == ArgumentRole::StackedCache)
      name(i, 3, past);
    if (role == ArgumentRole::AttentionMask)
      name(i, 1, past + tokens);
  }
  // Other arguments, such as embeddings, name their sizes as exporters do.
  for (unsigned i = 0; i < copy.getNumArguments(); ++i) {
    auto dims = copy.getArgAttrOfType<ArrayAttr>(i, "onnx.dims");
    for (unsigned dim = 0; dims && dim < dims.size(); ++dim) {
      auto symbol = dyn_cast<StringAttr>(dims[dim]);
      std::string lower = symbol ? symbol.getValue().lower() : "";
      StringRef text = lower;
      if (text.contains("batch"))
        name(i, dim, 1);
      else if (text.contains("total"))
        name(i, dim, past + tokens);
      else if (text.contains("past"))
        name(i, dim, past);
      else if (text.contains("seq"))
        name(i, dim, tokens);
    }
  }
  evaluator->bindArguments(copy, sizes);
  for (auto [i, role] : llvm::enumerate(roles)) {
    bool isMask = role == ArgumentRole::AttentionMask;
    if (!isMask && role != ArgumentRole::Positions)
      continue;
    int64_t count = isMask ? past + tokens : tokens;
    onnx::AbstractTensor tensor;
    tensor.elementType =
        cast<ShapedType>(copy.getArgument(i).getType()).getElementType();
    tensor.hasRank = true;
    tensor.dims = {evaluator->getConstant(1), evaluator->getConstant(count)};
    if (isa<FloatType>(tensor.elementType)) {
      tensor.elements =
          std::make_shared<onnx::Elements>(std::vector<double>(count, 1.0));
    } else {
      std::vector<int64_t> values(count, 1);
      for (int64_t j = 0; j < count && !isMask; ++j)
        values[j] = past + j;
      tensor.elements = std::make_shared<onnx::Elements>(std::move(values));
    }
    evaluator->bind(copy.getArgument(i), std::move(tensor));
  }
  return evaluator;
}

std::optional<NumericTensor> Probe::evaluateWith(onnx::Evaluator &evaluator,
                                                 Value value) {
  Value twin = mapping.lookupOrNull(value);
  if (!twin)
    return std::nullopt;
  // Sizes that the model does not allow are no errors of the model.
  ScopedDiagnosticHandler quiet(copy.getContext(),
                                [](Diagnostic &) { return success(); });
  FailureOr<onnx::AbstractTensor> tensor = evaluator.evaluate(twin);
  if (failed(tensor))
    return std::nullopt;
  evaluator.load(*tensor);
  std::optional<SmallVector<int64_t>> shape = tensor->getStaticShape();
  std::optional<std::vector<double>> numbers = tensor->getNumbers();
  if (!shape || !numbers)
    return std::nullopt;
  return NumericTensor{*shape, std::move(*numbers)};
}

onnx::Evaluator &Probe::getEvaluator(int64_t tokens, int64_t past) {
  std::unique_ptr<onnx::Evaluator> &evaluator = evaluators[{tokens, past}];
  if (!evaluator)
    evaluator = createEvaluator(tokens, past);
  return *evaluator;
}

std::optional<NumericTensor> Probe::evaluate(Value value, int64_t tokens,
                                             int64_t past) {
  return evaluateWith(getEvaluator(tokens, past), value);
}

std::optional<int64_t> Probe::getSize(Value value, unsigned dim, int64_t tokens,
                                      int64_t past) {
  Value twin = mapping.lookupOrNull(value);
  if (!twin)
    return std::nullopt;
  ScopedDiagnosticHandler quiet(copy.getContext(),
                                [](Diagnostic &) { return success(); });
  FailureOr<onnx::AbstractTensor> tensor =
      getEvaluator(tokens, past).evaluate(twin);
  if (failed(tensor) || !tensor->hasRank || dim >= tensor->dims.size())
    return std::nullopt;
  auto size = dyn_cast<AffineConstantExpr>(tensor->dims[dim]);
  return size ? std::optional<int64_t>(size.getValue()) : std::nullopt;
}

bool Probe::mayBeTokens(Value value, unsigned dim) {
  return llvm::all_of(getSizes(), [&](auto size) {
    return getSize(value, dim, size.first, size.second).value_or(size.first) ==
           size.first;
  });
}

bool Probe::dependsOnInputs(Value value) {
  SmallVector<Value> work = {value};
  llvm::DenseSet<Value> seen;
  while (!work.empty()) {
    Value next = work.pop_back_val();
    if (!seen.insert(next).second)
      continue;
    if (auto argument = dyn_cast<BlockArgument>(next)) {
      ArgumentRole role = getRole(argument);
      if (role == ArgumentRole::AttentionMask ||
          role == ArgumentRole::Positions)
        return true;
      continue;
    }
    Operation *op = next.getDefiningOp();
    if (!onnx::isOnnxOp(op, {"Shape", "Size"}))
      llvm::append_range(work, op->getOperands());
  }
  return false;
}

//===----------------------------------------------------------------------===//
// Positions
//===----------------------------------------------------------------------===//

/// The only axis of a Slice (its operand 3), made positive; nothing when there
/// are several, or steps other than 1.
static std::optional<int64_t> getSliceAxis(Operation *slice) {
  auto type = dyn_cast<RankedTensorType>(slice->getOperand(0).getType());
  SmallVector<int64_t> axes, steps;
  Value axesOperand = onnx::getOperand(slice, 3);
  if (!type || (axesOperand && !onnx::getConstantInts(axesOperand, axes)))
    return std::nullopt;
  if (Value operand = onnx::getOperand(slice, 4))
    if (!onnx::getConstantInts(operand, steps) ||
        llvm::any_of(steps, [](int64_t step) { return step != 1; }))
      return std::nullopt;
  if (axes.empty() && type.getRank() == 1)
    axes.push_back(0);
  if (axes.size() != 1 || type.getRank() == 0)
    return std::nullopt;
  int64_t axis = axes[0] < 0 ? axes[0] + type.getRank() : axes[0];
  if (axis < 0 || axis >= type.getRank())
    return std::nullopt;
  return axis;
}

/// Tables of positions, angles or masks end the context: a Gather with
/// positions or a Slice up to the number of tokens cannot go beyond them.
void Probe::limitByTables(func::FuncOp func) {
  func.walk([&](Operation *op) {
    if (!onnx::isOnnxOp(op, {"Gather", "Slice"}))
      return;
    Value table = op->getOperand(0);
    auto type = dyn_cast<RankedTensorType>(table.getType());
    // A Slice of a Slice of a table limits by the table's other dimension.
    Value root = table;
    while (Operation *inner = onnx::getDefiningOnnxOp(root, "Slice"))
      root = inner->getOperand(0);
    if (!type ||
        !(root.getDefiningOp<ParameterOp>() || onnx::matchConstant(root)))
      return;
    if (onnx::isOnnxOp(op, "Gather")) {
      int64_t axis = onnx::getInt(op, "axis", 0);
      if (type.getRank() >= 2 && axis == 0 && !type.isDynamicDim(0) &&
          isPositions(op->getOperand(1)))
        limitContext(type.getDimSize(0));
      return;
    }
    std::optional<int64_t> axis = getSliceAxis(op);
    if (axis && type.getRank() >= 2 && !type.isDynamicDim(*axis) &&
        llvm::all_of(getSizes(), [&, op = op](auto size) {
          auto end = evaluate(op->getOperand(2), size.first, size.second);
          return end && end->elements.size() == 1 &&
                 end->elements[0] == size.first + size.second;
        }))
      limitContext(type.getDimSize(*axis));
  });
}

bool Probe::isPositions(Value value, bool orFirst) {
  return llvm::all_of(getSizes(), [&](auto size) {
    auto [tokens, past] = size;
    std::optional<NumericTensor> actual = evaluate(value, tokens, past);
    if (!actual)
      return false;
    int64_t count = actual->elements.size();
    if (count != tokens && !(orFirst && count == 1))
      return false;
    for (int64_t i = 0; i < count; ++i)
      if (actual->elements[i] != past + i)
        return false;
    return true;
  });
}

bool Probe::isLength(Value value, int64_t offset) {
  return value && llvm::all_of(getSizes(), [&](auto size) {
           std::optional<NumericTensor> actual =
               evaluate(value, size.first, size.second);
           return actual && llvm::all_of(actual->elements, [&](double element) {
                    return element == size.first + size.second + offset;
                  });
         });
}

bool Probe::isPositionSlice(Operation *op) {
  std::optional<int64_t> axis = getSliceAxis(op);
  if (!axis || *axis != 0)
    return false;
  return llvm::all_of(getSizes(), [&](auto size) {
    auto [tokens, past] = size;
    auto start = evaluate(op->getOperand(1), tokens, past);
    auto end = evaluate(op->getOperand(2), tokens, past);
    return start && end && start->elements.size() == 1 &&
           end->elements.size() == 1 && start->elements[0] == past &&
           end->elements[0] == past + tokens;
  });
}

std::optional<PositionTable> Probe::getPositionTable(Value value) {
  std::optional<NumericTensor> whole = evaluate(value, context, 0);
  if (!whole || whole->shape.size() < 2)
    return std::nullopt;
  // Where the positions are: all other dimensions but the last must be 1.
  auto rowsOf = [](const NumericTensor &tensor,
                   bool isBeforeHeads) -> std::optional<int64_t> {
    int64_t rank = tensor.shape.size(), axis = rank - (isBeforeHeads ? 3 : 2);
    if (axis < 0)
      return std::nullopt;
    for (int64_t dim = 0; dim + 1 < rank; ++dim)
      if (dim != axis && tensor.shape[dim] != 1)
        return std::nullopt;
    return tensor.shape[axis];
  };
  for (bool isBeforeHeads : {false, true}) {
    std::optional<int64_t> rows = rowsOf(*whole, isBeforeHeads);
    int64_t columns = whole->shape.back();
    if (!rows || *rows == 0)
      continue;
    bool isTable = llvm::all_of(getSizes(), [&](auto size) {
      auto [tokens, past] = size;
      std::optional<NumericTensor> part = evaluate(value, tokens, past);
      if (!part || part->shape.size() != whole->shape.size() ||
          rowsOf(*part, isBeforeHeads) != tokens ||
          part->shape.back() != columns || past + tokens > *rows)
        return false;
      return std::equal(part->elements.begin(), part->elements.end(),
                        whole->elements.begin() + past * columns);
    });
    if (!isTable)
      continue;
    limitContext(*rows);
    PositionTable table;
    table.rows = {{*rows, columns}, std::move(whole->elements)};
    table.isBeforeHeads = isBeforeHeads;
    return table;
  }
  return std::nullopt;
}

//===----------------------------------------------------------------------===//
// Masks
//===----------------------------------------------------------------------===//

bool Probe::agrees(const NumericTensor &mask, MaskForm form, MaskKind kind,
                   int64_t tokens, int64_t past) {
  int64_t rank = mask.shape.size();
  auto sizeFromEnd = [&](int64_t i) {
    return i <= rank ? mask.shape[rank - i] : 1;
  };
  int64_t columns = sizeFromEnd(1), rows = sizeFromEnd(2);
  int64_t keys = past + tokens;
  if ((columns != keys && columns != 1) || (rows != tokens && rows != 1))
    return false;
  int64_t planes = mask.elements.size() / std::max<int64_t>(rows * columns, 1);
  for (int64_t plane = 0; plane < planes; ++plane)
    for (int64_t i = 0; i < tokens; ++i)
      for (int64_t j = 0; j < keys; ++j) {
        int64_t row = rows == 1 ? 0 : i, column = columns == 1 ? 0 : j;
        double value = mask.elements[(plane * rows + row) * columns + column];
        bool isSeen = kind == MaskKind::None || j <= past + i;
        bool fits = false;
        switch (form) {
        case MaskForm::Additive:
          fits = isSeen ? value == 0.0 : value <= -1e4;
          break;
        case MaskForm::Seen:
          fits = (value != 0.0) == isSeen;
          break;
        case MaskForm::Hidden:
          fits = (value == 0.0) == isSeen;
          break;
        }
        if (!fits)
          return false;
      }
  return true;
}

MaskKind Probe::classifyMask(Value mask, MaskForm form) {
  auto [known, isNew] = maskKinds.try_emplace(mask, MaskKind::Other);
  if (!isNew)
    return known->second;
  SmallVector<MaskKind> kinds = {MaskKind::None, MaskKind::Causal};
  auto check = [&](std::optional<NumericTensor> values, int64_t tokens,
                   int64_t past) {
    llvm::erase_if(kinds, [&](MaskKind kind) {
      return !values || !agrees(*values, form, kind, tokens, past);
    });
  };
  for (auto [tokens, past] : getSizes()) {
    std::optional<NumericTensor> values = evaluate(mask, tokens, past);
    // Some masks are made for one token or for no past only.
    if (!values && past != 0 && tokens != 1)
      check(evaluate(mask, 1, past), 1, past);
    else
      check(values, tokens, past);
  }
  if (kinds.empty())
    return MaskKind::Other;
  // The greatest context shows windows and other limits of attention. Nothing
  // of it is kept: each mask may be large.
  int64_t length = hasCaches() ? context : std::min(context, kMaxMaskContext);
  int64_t tokens = hasCaches() ? 1 : length;
  std::unique_ptr<onnx::Evaluator> evaluator =
      createEvaluator(tokens, length - tokens);
  check(evaluateWith(*evaluator, mask), tokens, length - tokens);
  if (kinds.empty())
    return MaskKind::Other;
  // With one token and nothing before it both kinds fit.
  MaskKind kind = kinds.size() == 2 ? MaskKind::None : kinds.front();
  maskKinds[mask] = kind;
  return kind;
}
