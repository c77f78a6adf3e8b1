//===- Rope.cpp - Rotary embedding and tables of positions ----------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Builder.h"
#include "Patterns.h"

using namespace mlir;
using namespace ganq;

namespace {

/// One half of the last dimension of `source`.
struct Half {
  Value source;
  bool isUpper;
};

/// x * cos + rotate(x) * sin with angles for all of x, or for its lower half.
struct Rotation {
  Value x, cos, sin;
  bool hasHalfAngles;
};

} // namespace

/// Columns [begin, end) of the last dimension that a Slice takes.
static std::optional<std::pair<int64_t, int64_t>> matchColumns(Operation *op) {
  RankedTensorType type = rankedType(op->getOperand(0));
  SmallVector<int64_t> starts, ends, axes, steps;
  if (!type || type.getRank() == 0 || op->getNumOperands() < 4 ||
      !onnx::getConstantInts(op->getOperand(1), starts) ||
      !onnx::getConstantInts(op->getOperand(2), ends) ||
      !onnx::getConstantInts(op->getOperand(3), axes) || starts.size() != 1 ||
      ends.size() != 1 || axes.size() != 1)
    return std::nullopt;
  int64_t rank = type.getRank(), size = type.getShape().back();
  if (Value operand = onnx::getOperand(op, 4))
    if (!onnx::getConstantInts(operand, steps) ||
        steps != SmallVector<int64_t>{1})
      return std::nullopt;
  if ((axes[0] != -1 && axes[0] != rank - 1) || ShapedType::isDynamic(size))
    return std::nullopt;
  auto clamp = [&](int64_t i) {
    return std::clamp<int64_t>(i < 0 ? i + size : i, 0, size);
  };
  return std::make_pair(clamp(starts[0]), clamp(ends[0]));
}

static std::optional<Half> matchHalf(Value value) {
  Operation *op = value.getDefiningOp();
  if (!onnx::isOnnxOp(op, {"Slice", "Split"}))
    return std::nullopt;
  RankedTensorType source = rankedType(op->getOperand(0));
  RankedTensorType type = rankedType(value);
  if (!source || !type || source.getRank() == 0)
    return std::nullopt;
  int64_t size = source.getShape().back();
  if (ShapedType::isDynamic(size) || size % 2 != 0 ||
      type.getShape().back() != size / 2)
    return std::nullopt;
  if (onnx::isOnnxOp(op, "Split")) {
    int64_t axis = onnx::getInt(op, "axis", 0);
    if ((axis != -1 && axis != source.getRank() - 1) ||
        op->getNumResults() != 2)
      return std::nullopt;
    return Half{op->getOperand(0), value == op->getResult(1)};
  }
  std::optional<std::pair<int64_t, int64_t>> columns = matchColumns(op);
  if (!columns || columns->second - columns->first != size / 2 ||
      columns->first % (size / 2) != 0)
    return std::nullopt;
  return Half{op->getOperand(0), columns->first != 0};
}

/// Concat of two values along the last dimension.
static Operation *matchPair(Value value) {
  Operation *concat = onnx::getDefiningOnnxOp(value, "Concat");
  RankedTensorType type = rankedType(value);
  if (!concat || !type || concat->getNumOperands() != 2)
    return nullptr;
  int64_t axis = onnx::getInt(concat, "axis", 0);
  return axis == -1 || axis == type.getRank() - 1 ? concat : nullptr;
}

/// The x of Concat(-upper(x), lower(x)).
static Value matchRotateHalf(Value value) {
  Operation *concat = matchPair(value);
  Operation *neg =
      concat ? onnx::getDefiningOnnxOp(concat->getOperand(0), "Neg") : nullptr;
  if (!neg)
    return {};
  std::optional<Half> upper = matchHalf(neg->getOperand(0));
  std::optional<Half> lower = matchHalf(concat->getOperand(1));
  if (!upper || !lower || !upper->isUpper || lower->isUpper ||
      !isSameValue(upper->source, lower->source))
    return {};
  return lower->source;
}

/// Add(Mul(x, cos), Mul(rotate_half(x), sin)).
static std::optional<Rotation> matchWhole(Operation *op) {
  std::optional<Rotation> found;
  eitherOrder(op, [&](Value straight, Value turned) {
    Operation *first = onnx::getDefiningOnnxOp(straight, "Mul");
    Operation *second = onnx::getDefiningOnnxOp(turned, "Mul");
    if (!first || !second)
      return false;
    return eitherOrder(second, [&](Value rotated, Value sin) {
      Value x = matchRotateHalf(rotated);
      if (!x)
        return false;
      return eitherOrder(first, [&](Value same, Value cos) {
        if (isSameValue(same, x))
          found = Rotation{x, cos, sin, /*hasHalfAngles=*/false};
        return found.has_value();
      });
    });
  });
  return found;
}

/// Product of a half of x with angles.
static bool matchHalfProduct(Value value, bool isUpper, Value &x,
                             Value &angles) {
  Operation *mul = onnx::getDefiningOnnxOp(value, "Mul");
  return mul && eitherOrder(mul, [&](Value part, Value factor) {
           std::optional<Half> half = matchHalf(part);
           if (!half || half->isUpper != isUpper ||
               (x && !isSameValue(x, half->source)) ||
               (angles && !isSameValue(angles, factor)))
             return false;
           x = half->source;
           angles = factor;
           return true;
         });
}

/// Concat(lower * cos - upper * sin, upper * cos + lower * sin).
static std::optional<Rotation> matchHalves(Operation *op) {
  Operation *concat = matchPair(op->getResult(0));
  if (!concat)
    return std::nullopt;
  Operation *sub = onnx::getDefiningOnnxOp(concat->getOperand(0), "Sub");
  Operation *add = onnx::getDefiningOnnxOp(concat->getOperand(1), "Add");
  Rotation found;
  found.hasHalfAngles = true;
  if (!sub || !add ||
      !matchHalfProduct(sub->getOperand(0), false, found.x, found.cos) ||
      !matchHalfProduct(sub->getOperand(1), true, found.x, found.sin) ||
      !eitherOrder(add, [&](Value a, Value b) {
        return matchHalfProduct(a, true, found.x, found.cos) &&
               matchHalfProduct(b, false, found.x, found.sin);
      }))
    return std::nullopt;
  return found;
}

/// The first half of the columns when both halves agree.
static std::optional<NumericTensor> keepHalf(const NumericTensor &table) {
  int64_t rows = table.shape[0], columns = table.shape[1];
  if (columns % 2 != 0)
    return std::nullopt;
  NumericTensor half;
  half.shape = {rows, columns / 2};
  for (int64_t row = 0; row < rows; ++row) {
    const double *begin = table.elements.data() + row * columns;
    if (!std::equal(begin, begin + columns / 2, begin + columns / 2))
      return std::nullopt;
    half.elements.insert(half.elements.end(), begin, begin + columns / 2);
  }
  return half;
}

bool ganq::raiseRope(ModelBuilder &model, Operation *op) {
  std::optional<Rotation> found;
  if (onnx::isOnnxOp(op, "Add"))
    found = matchWhole(op);
  else if (onnx::isOnnxOp(op, "Concat"))
    found = matchHalves(op);
  if (!found)
    return false;
  RankedTensorType type = rankedType(found->x);
  if (!model.getProbe().knowsPast() || !type || type.getRank() != 4 ||
      op->getResult(0).getType() != type)
    return false;
  std::optional<PositionTable> cos =
      model.getProbe().getPositionTable(found->cos);
  std::optional<PositionTable> sin =
      model.getProbe().getPositionTable(found->sin);
  if (!cos || !sin || cos->rows.shape != sin->rows.shape ||
      cos->isBeforeHeads != sin->isBeforeHeads)
    return false;
  std::optional<NumericTensor> cosTable = cos->rows, sinTable = sin->rows;
  if (!found->hasHalfAngles) {
    cosTable = keepHalf(cos->rows);
    sinTable = keepHalf(sin->rows);
  }
  int64_t half = type.getDimSize(3) / 2;
  if (!cosTable || !sinTable || cosTable->shape[1] != half)
    return false;
  OpBuilder builder(op);
  Location loc = op->getLoc();
  unsigned sequence = cos->isBeforeHeads ? 1 : 2;
  Value count = model.getTokenCount(builder, found->x, sequence);
  Value cosRows =
      model.createPositionRows(builder, found->cos.getLoc(), *cosTable, count);
  Value sinRows =
      model.createPositionRows(builder, found->sin.getLoc(), *sinTable, count);
  Value x = found->x;
  SmallVector<int64_t> swap = {0, 2, 1, 3};
  if (cos->isBeforeHeads)
    x = model.createTranspose(builder, loc, x, swap);
  Value result = RopeOp::create(builder, loc, x.getType(), x, cosRows, sinRows,
                                Value(), /*interleaved=*/UnitAttr())
                     .getResult();
  if (cos->isBeforeHeads)
    result = model.createTranspose(builder, loc, result, swap);
  op->getResult(0).replaceAllUsesWith(result);
  return true;
}

bool ganq::raisePositions(ModelBuilder &model, Operation *op) {
  if (!onnx::isOnnxOp(op, {"Gather", "Slice"}))
    return false;
  Value table = op->getOperand(0);
  RankedTensorType tableType = rankedType(table);
  RankedTensorType type = rankedType(op->getResult(0));
  if (!tableType || tableType.getRank() != 2 || !type ||
      !isa<FloatType>(tableType.getElementType()) ||
      !(table.getDefiningOp<ParameterOp>() || onnx::matchConstant(table)))
    return false;
  Probe &probe = model.getProbe();
  if (!probe.knowsPast())
    return false;
  if (onnx::isOnnxOp(op, "Gather")) {
    if (onnx::getInt(op, "axis", 0) != 0 ||
        !probe.isPositions(op->getOperand(1)))
      return false;
  } else if (!probe.isPositionSlice(op)) {
    return false;
  }
  // A batch dimension becomes 1, which sums with the tokens broadcast.
  int64_t rank = type.getRank();
  if (rank != 2 && rank != 3)
    return false;
  if (rank == 3 && !llvm::all_of(op->getUsers(), [](Operation *user) {
        return onnx::isOnnxOp(user, "Add");
      }))
    return false;
  OpBuilder builder(op);
  Location loc = op->getLoc();
  Value indices = onnx::isOnnxOp(op, "Gather") ? op->getOperand(1) : Value();
  Value count = model.getTokenCount(builder, indices, rank - 2);
  if (!count)
    return false;
  Value rows = model.createPositionRows(builder, loc, table, count);
  if (rank == 3)
    rows = onnx::createOnnxOp(builder, loc, "Unsqueeze",
                              RankedTensorType::get(
                                  {1, type.getDimSize(1), type.getDimSize(2)},
                                  type.getElementType()),
                              {rows, onnx::createInts(builder, loc, {0})})
               ->getResult(0);
  op->getResult(0).replaceAllUsesWith(rows);
  return true;
}

namespace {

/// Concat(rope(x[.., :R]), x[.., R:]): only the first R elements turn.
struct FoldPartialRope : RewritePattern {
  FoldPartialRope(MLIRContext *context)
      : RewritePattern("onnx.Concat", /*benefit=*/1, context) {}

  LogicalResult matchAndRewrite(Operation *op,
                                PatternRewriter &rewriter) const override {
    if (!matchPair(op->getResult(0)))
      return failure();
    auto rope = op->getOperand(0).getDefiningOp<RopeOp>();
    Operation *rest = onnx::getDefiningOnnxOp(op->getOperand(1), "Slice");
    if (!rope || rope.getInterleaved() || !rest)
      return failure();
    Operation *turned = onnx::getDefiningOnnxOp(rope.getX(), "Slice");
    if (!turned || !isSameValue(turned->getOperand(0), rest->getOperand(0)) ||
        rest->getOperand(0).getType() != op->getResult(0).getType())
      return failure();
    auto low = matchColumns(turned), high = matchColumns(rest);
    RankedTensorType type = rankedType(op->getResult(0));
    if (!low || !high || low->first != 0 || low->second != high->first ||
        high->second != type.getDimSize(3))
      return failure();
    rewriter.replaceOpWithNewOp<RopeOp>(op, type, rest->getOperand(0),
                                        rope.getCos(), rope.getSin(), Value(),
                                        UnitAttr());
    return success();
  }
};

} // namespace

void ganq::populateRopePatterns(RewritePatternSet &patterns) {
  patterns.add<FoldPartialRope>(patterns.getContext());
}
