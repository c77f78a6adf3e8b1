//===- Builder.cpp - What raising adds to a model -------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Builder.h"
#include "Patterns.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"

using namespace mlir;
using namespace ganq;

ModelBuilder::ModelBuilder(func::FuncOp func, int64_t maxContext,
                           onnx::Evaluator::ReadParameter readParameter)
    : func(func), probe(func, maxContext, std::move(readParameter)) {}

Value ModelBuilder::getPastLength() {
  if (!pastLength) {
    OpBuilder builder = OpBuilder::atBlockBegin(&func.getBody().front());
    pastLength =
        PastLengthOp::create(builder, func.getLoc(), builder.getIndexType());
  }
  return pastLength;
}

Value ModelBuilder::getTokenCount(OpBuilder &builder, Value fallback,
                                  unsigned dim) {
  if (tokenCount)
    return tokenCount;
  for (BlockArgument argument : func.getArguments())
    if (probe.getRole(argument) == ArgumentRole::Tokens) {
      OpBuilder entry = OpBuilder::atBlockBegin(&func.getBody().front());
      tokenCount = tensor::DimOp::create(entry, func.getLoc(), argument, 1);
      return tokenCount;
    }
  if (!fallback)
    return {};
  return tensor::DimOp::create(builder, fallback.getLoc(), fallback, dim);
}

Value ModelBuilder::createPositionRows(OpBuilder &builder, Location loc,
                                       const NumericTensor &table,
                                       Value count) {
  for (auto &[known, rows] : tables)
    if (known.shape == table.shape && known.elements == table.elements &&
        rows.getDefiningOp<PositionRowsOp>().getCount() == count)
      return rows;
  Value past = getPastLength();
  OpBuilder::InsertionGuard guard(builder);
  builder.setInsertionPointAfterValue(count);
  if (past.getDefiningOp()->getBlock() == count.getParentBlock() &&
      count.getDefiningOp() &&
      count.getDefiningOp()->isBeforeInBlock(past.getDefiningOp()))
    builder.setInsertionPointAfterValue(past);
  SmallVector<float> values(table.elements.begin(), table.elements.end());
  auto type = RankedTensorType::get(table.shape, builder.getF32Type());
  Value constant = onnx::createConstant(
      builder, loc, DenseElementsAttr::get(type, ArrayRef<float>(values)));
  auto rowsType = RankedTensorType::get({ShapedType::kDynamic, table.shape[1]},
                                        builder.getF32Type());
  Value rows = PositionRowsOp::create(builder, loc, rowsType, constant, past,
                                      count, Value())
                   .getResult();
  tables.emplace_back(table, rows);
  return rows;
}

Value ModelBuilder::createPositionRows(OpBuilder &builder, Location loc,
                                       Value table, Value count) {
  Value &known = rows[{table, count}];
  if (known)
    return known;
  RankedTensorType type = rankedType(table);
  probe.limitContext(type.getDimSize(0));
  auto rowsType = RankedTensorType::get(
      {ShapedType::kDynamic, type.getDimSize(1)}, type.getElementType());
  known = PositionRowsOp::create(builder, loc, rowsType, table, getPastLength(),
                                 count, Value())
              .getResult();
  return known;
}

Value ModelBuilder::createTranspose(OpBuilder &builder, Location loc,
                                    Value value, ArrayRef<int64_t> perm) {
  RankedTensorType type = rankedType(value);
  SmallVector<int64_t> shape;
  for (int64_t dim : perm)
    shape.push_back(type.getDimSize(dim));
  NamedAttribute attr(builder.getStringAttr("perm"),
                      builder.getDenseI64ArrayAttr(perm));
  return onnx::createOnnxOp(builder, loc, "Transpose",
                            RankedTensorType::get(shape, type.getElementType()),
                            value, attr)
      ->getResult(0);
}

Value ModelBuilder::createReshape(OpBuilder &builder, Location loc, Value value,
                                  ArrayRef<int64_t> shape,
                                  RankedTensorType type) {
  Value target = onnx::createInts(builder, loc, shape);
  return onnx::createOnnxOp(builder, loc, "Reshape", type, {value, target})
      ->getResult(0);
}

Value ModelBuilder::createAppend(OpBuilder &builder, Location loc,
                                 Value value) {
  if (value.getDefiningOp<KvAppendOp>())
    return value;
  OpBuilder::InsertionGuard guard(builder);
  Operation *concat = onnx::getDefiningOnnxOp(value, "Concat");
  if (concat && concat->getNumOperands() == 2 &&
      onnx::getInt(concat, "axis", 0) == 2) {
    auto past = dyn_cast<BlockArgument>(concat->getOperand(0));
    if (past && probe.getRole(past) == ArgumentRole::Cache &&
        rankedType(concat->getOperand(1)) && rankedType(value)) {
      builder.setInsertionPoint(concat);
      Value appended =
          KvAppendOp::create(builder, concat->getLoc(), value.getType(), past,
                             concat->getOperand(1));
      value.replaceAllUsesWith(appended);
      return appended;
    }
  }
  // Keys that come from elsewhere, with a past that is not a cache argument.
  if (concat && onnx::getInt(concat, "axis", 0) == 2)
    return {};
  if (!probe.knowsPast() || !probe.mayBeTokens(value, 2))
    return {};
  // One append serves all attentions that share the keys.
  for (Operation *user : value.getUsers())
    if (auto append = dyn_cast<KvAppendOp>(user);
        append && !append.getPast() && append.getValue() == value)
      return append.getResult();
  builder.setInsertionPointAfterValue(value);
  return KvAppendOp::create(builder, loc, value.getType(), Value(), value);
}

Value ModelBuilder::createMask(OpBuilder &builder, Location loc,
                               const AttentionMask &mask, Type element) {
  Value value = mask.value;
  RankedTensorType type = rankedType(value);
  if (!type || type.getRank() > 4)
    return {};
  auto scalar = [&](double number) {
    auto scalarType = RankedTensorType::get({}, element);
    Attribute attr = builder.getFloatAttr(element, number);
    return onnx::createConstant(builder, loc,
                                DenseElementsAttr::get(scalarType, attr));
  };
  auto elementwise = RankedTensorType::get(type.getShape(), element);
  if (mask.form != MaskForm::Additive) {
    // Finite, so that rows without any key stay numbers.
    auto semantics = &cast<FloatType>(element).getFloatSemantics();
    double least =
        APFloat::getLargest(*semantics, /*Negative=*/true).convertToDouble();
    Value seen = scalar(0.0), hidden = scalar(std::max(mask.hidden, least));
    if (mask.form == MaskForm::Hidden)
      std::swap(seen, hidden);
    value = onnx::createOnnxOp(builder, loc, "Where", elementwise,
                               {value, seen, hidden})
                ->getResult(0);
  } else if (type.getElementType() != element) {
    if (!isa<FloatType>(type.getElementType()))
      return {};
    // Cast finds the type in its result; the number is that of ONNX.
    int64_t to = element.isF32() ? 1 : element.isF16() ? 10 : 16;
    NamedAttribute attr(builder.getStringAttr("to"),
                        builder.getI64IntegerAttr(to));
    value = onnx::createOnnxOp(builder, loc, "Cast", elementwise, value, attr)
                ->getResult(0);
  }
  if (int64_t missing = 4 - type.getRank()) {
    SmallVector<int64_t> shape(missing, 1);
    llvm::append_range(shape, type.getShape());
    Value axes = onnx::createInts(
        builder, loc, llvm::to_vector(llvm::seq<int64_t>(0, missing)));
    value =
        onnx::createOnnxOp(builder, loc, "Unsqueeze",
                           RankedTensorType::get(shape, element), {value, axes})
            ->getResult(0);
  }
  return value;
}

Value ModelBuilder::createAttention(OpBuilder &builder, Location loc,
                                    RankedTensorType type, Value q, Value k,
                                    Value v, ArrayRef<AttentionMask> masks,
                                    double scale, bool isCausal,
                                    std::optional<MaskKind> unpadded,
                                    bool isFromStart) {
  Type element = type.getElementType();
  Value sum;
  for (const AttentionMask &mask : masks) {
    Value value = createMask(builder, loc, mask, element);
    if (!value)
      return {};
    if (!sum) {
      sum = value;
      continue;
    }
    SmallVector<int64_t> shape;
    for (auto [a, b] : llvm::zip_equal(rankedType(sum).getShape(),
                                       rankedType(value).getShape()))
      shape.push_back(a == 1                     ? b
                      : b == 1                   ? a
                      : ShapedType::isDynamic(a) ? b
                                                 : a);
    sum =
        onnx::createOnnxOp(builder, loc, "Add",
                           RankedTensorType::get(shape, element), {sum, value})
            ->getResult(0);
  }
  if (sum) {
    // A mask with a single column for all keys is not what ganq.attention has.
    int64_t columns = rankedType(sum).getDimSize(3);
    if (columns == 1 && rankedType(k).getDimSize(2) != 1)
      return {};
  }
  // Without recognised caches past is the number of keys that are not new.
  Value past;
  if (isCausal || unpadded == MaskKind::Causal) {
    Value keys = createAppend(builder, loc, k);
    Value values = createAppend(builder, loc, v);
    if (keys && values) {
      k = keys;
      v = values;
      past = getPastLength();
    } else if (isFromStart) {
      past = arith::ConstantIndexOp::create(builder, loc, 0);
    }
  }
  auto attention =
      AttentionOp::create(builder, loc, type, q, k, v, sum, past, Value(),
                          builder.getF32FloatAttr(scale),
                          isCausal ? builder.getUnitAttr() : UnitAttr());
  if (unpadded && *unpadded != MaskKind::Other)
    attention->setAttr("ganq.unpadded_mask",
                       builder.getStringAttr(
                           *unpadded == MaskKind::Causal ? "causal" : "none"));
  return attention.getResult();
}
