//===- FusedAttention.cpp - Fused attention operators ---------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// GroupQueryAttention, MultiHeadAttention and Attention of com.microsoft and
// Attention of opset 23, as ganq.attention with the changes of layout written
// out; and the RotaryEmbedding of both.
//
//===----------------------------------------------------------------------===//

#include "Builder.h"
#include "Patterns.h"
#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace ganq;

namespace {

/// Raises one fused operator.
class FusedRaiser {
public:
  FusedRaiser(ModelBuilder &model, Operation *op)
      : model(model), op(op), builder(op), loc(op->getLoc()) {}

  bool raiseGroupQuery();
  bool raiseMultiHead();
  bool raisePacked();
  bool raiseStandard();
  bool raiseRotary(bool isMicrosoft);

private:
  Value operand(unsigned index) { return onnx::getOperand(op, index); }
  int64_t integer(StringRef name, int64_t fallback = 0) {
    return onnx::getInt(op, name, fallback);
  }
  bool isUsed(unsigned result) {
    return result < op->getNumResults() && !op->getResult(result).use_empty();
  }

  /// [B, S, H D] to [B, H, S, D]; values of rank 4 pass. Null when sizes do
  /// not fit.
  Value splitHeads(Value value, int64_t heads);
  /// [B, H, S, D] to [B, S, H D].
  Value mergeHeads(Value value, RankedTensorType type);
  /// Columns of the last dimension.
  Value slice(Value value, int64_t dim, int64_t begin, int64_t end);
  Value rotate(Value x, Value cos, Value sin, Value count, bool isInterleaved);
  /// The past and the new keys or values; `kv_append` with a cache argument.
  Value append(Value past, Value value);
  /// Builds the attention from [B, H, S, D] values and replaces the results:
  /// output, keys, values.
  bool finish(Value q, Value k, Value v, ArrayRef<AttentionMask> masks,
              double scale, bool isCausal, std::optional<MaskKind> unpadded,
              bool isFromStart = false);
  double scaleOrDefault(double scale, Value q) {
    int64_t size = rankedType(q).getDimSize(3);
    return scale != 0.0 ? scale : 1.0 / std::sqrt(static_cast<double>(size));
  }

  ModelBuilder &model;
  Operation *op;
  OpBuilder builder;
  Location loc;
};

} // namespace

Value FusedRaiser::splitHeads(Value value, int64_t heads) {
  RankedTensorType type = rankedType(value);
  if (!type)
    return {};
  if (type.getRank() == 4)
    return type.isDynamicDim(1) || type.isDynamicDim(3) ? Value() : value;
  if (type.getRank() != 3 || heads <= 0 || type.isDynamicDim(2) ||
      type.getDimSize(2) % heads != 0)
    return {};
  int64_t size = type.getDimSize(2) / heads;
  // Heads that an operator before merged in the same way.
  if (Operation *merge = onnx::getDefiningOnnxOp(value, "Reshape"))
    if (Operation *swap =
            onnx::getDefiningOnnxOp(merge->getOperand(0), "Transpose")) {
      std::optional<ArrayRef<int64_t>> perm = onnx::getInts(swap, "perm");
      RankedTensorType inner = rankedType(swap->getOperand(0));
      SmallVector<int64_t> shape;
      if (perm && *perm == ArrayRef<int64_t>{0, 2, 1, 3} && inner &&
          inner.getDimSize(1) == heads && inner.getDimSize(3) == size &&
          onnx::getConstantInts(merge->getOperand(1), shape) &&
          shape == SmallVector<int64_t>{0, 0, heads * size})
        return swap->getOperand(0);
    }
  auto split = RankedTensorType::get(
      {type.getDimSize(0), type.getDimSize(1), heads, size},
      type.getElementType());
  Value reshaped =
      model.createReshape(builder, loc, value, {0, 0, heads, size}, split);
  return model.createTranspose(builder, loc, reshaped, {0, 2, 1, 3});
}

Value FusedRaiser::mergeHeads(Value value, RankedTensorType type) {
  if (type.getRank() == 4)
    return value;
  RankedTensorType heads = rankedType(value);
  Value swapped = model.createTranspose(builder, loc, value, {0, 2, 1, 3});
  return model.createReshape(builder, loc, swapped,
                             {0, 0, heads.getDimSize(1) * heads.getDimSize(3)},
                             type);
}

Value FusedRaiser::slice(Value value, int64_t dim, int64_t begin, int64_t end) {
  RankedTensorType type = rankedType(value);
  SmallVector<int64_t> shape(type.getShape());
  shape[dim] = end - begin;
  Value operands[] = {value, onnx::createInts(builder, loc, {begin}),
                      onnx::createInts(builder, loc, {end}),
                      onnx::createInts(builder, loc, {dim}),
                      onnx::createInts(builder, loc, {1})};
  return onnx::createOnnxOp(builder, loc, "Slice",
                            RankedTensorType::get(shape, type.getElementType()),
                            operands)
      ->getResult(0);
}

Value FusedRaiser::rotate(Value x, Value cos, Value sin, Value count,
                          bool isInterleaved) {
  // By name, as compilers evaluate arguments in orders of their own.
  Value cosRows = model.createPositionRows(builder, loc, cos, count);
  Value sinRows = model.createPositionRows(builder, loc, sin, count);
  return RopeOp::create(builder, loc, x.getType(), x, cosRows, sinRows, Value(),
                        isInterleaved ? builder.getUnitAttr() : UnitAttr())
      .getResult();
}

/// True for tables of angles [rows, R / 2] with R at most the size of a head.
static bool isAngleTable(Value table, Value heads) {
  RankedTensorType type = rankedType(table);
  return type && type.getRank() == 2 && type.hasStaticShape() &&
         2 * type.getDimSize(1) <= rankedType(heads).getDimSize(3);
}

Value FusedRaiser::append(Value past, Value value) {
  RankedTensorType type = rankedType(value);
  if (!past)
    return value;
  auto argument = dyn_cast<BlockArgument>(past);
  auto grown = RankedTensorType::get({type.getDimSize(0), type.getDimSize(1),
                                      ShapedType::kDynamic, type.getDimSize(3)},
                                     type.getElementType());
  if (argument && model.getProbe().getRole(argument) == ArgumentRole::Cache)
    return KvAppendOp::create(builder, loc, grown, past, value);
  NamedAttribute axis(builder.getStringAttr("axis"),
                      builder.getI64IntegerAttr(2));
  return onnx::createOnnxOp(builder, loc, "Concat", grown, {past, value}, axis)
      ->getResult(0);
}

bool FusedRaiser::finish(Value q, Value k, Value v,
                         ArrayRef<AttentionMask> masks, double scale,
                         bool isCausal, std::optional<MaskKind> unpadded,
                         bool isFromStart) {
  RankedTensorType type = rankedType(op->getResult(0));
  RankedTensorType qType = rankedType(q), vType = rankedType(v);
  auto heads = RankedTensorType::get({qType.getDimSize(0), qType.getDimSize(1),
                                      qType.getDimSize(2), vType.getDimSize(3)},
                                     qType.getElementType());
  Value result = model.createAttention(builder, loc, heads, q, k, v, masks,
                                       scale, isCausal, unpadded, isFromStart);
  if (!result)
    return false;
  op->getResult(0).replaceAllUsesWith(mergeHeads(result, type));
  return true;
}

/// True when `op` has no attribute besides `known` and the node's name: newer
/// versions of the operators may say more than this file knows.
static bool hasOnly(Operation *op, ArrayRef<StringRef> known) {
  return llvm::all_of(op->getDiscardableAttrs(), [&](NamedAttribute attr) {
    StringRef name = attr.getName();
    return name.starts_with("onnx.") || llvm::is_contained(known, name);
  });
}

/// All of the further results that are used have ranked types.
static bool hasRankedResults(Operation *op, unsigned count) {
  for (OpResult result : op->getResults())
    if (!result.use_empty() &&
        (result.getResultNumber() >= count || !rankedType(result)))
      return false;
  return rankedType(op->getResult(0)) != nullptr;
}

/// Replaces result `index` by a cache value, with the type that it had.
static void replaceCache(Operation *op, unsigned index, Value value) {
  if (index >= op->getNumResults() || op->getResult(index).use_empty())
    return;
  value.setType(cast<RankedTensorType>(op->getResult(index).getType()));
  op->getResult(index).replaceAllUsesWith(value);
}

bool FusedRaiser::raiseGroupQuery() {
  int64_t heads = integer("num_heads"), groups = integer("kv_num_heads");
  bool doRotary = integer("do_rotary") != 0;
  // A bias, sinks, a window or a cap need more than ganq.attention has.
  if (!hasOnly(op, {"do_rotary", "kv_num_heads", "local_window_size",
                    "num_heads", "qk_output", "rotary_interleaved", "scale",
                    "smooth_softmax", "softcap"}) ||
      !hasRankedResults(op, 3) || heads <= 0 || groups <= 0 ||
      integer("local_window_size", -1) != -1 || integer("smooth_softmax") > 0 ||
      onnx::getFloat(op, "softcap", 0.0) != 0.0 || integer("qk_output") != 0)
    return false;
  for (unsigned index = 10; index < op->getNumOperands(); ++index)
    if (operand(index))
      return false;
  Probe &probe = model.getProbe();
  if (!probe.isLength(operand(5), -1) || !probe.isLength(operand(6), 0))
    return false;
  Value query = operand(0), key = operand(1), value = operand(2);
  RankedTensorType type = rankedType(query);
  if (!type || type.getRank() != 3 || type.isDynamicDim(2) || !key != !value)
    return false;
  if (operand(9) && !probe.isPositions(operand(9)))
    return false;
  if (!key) {
    int64_t width = type.getDimSize(2);
    if (width % (heads + 2 * groups) != 0)
      return false;
    int64_t size = width / (heads + 2 * groups);
    key = slice(query, 2, heads * size, (heads + groups) * size);
    value = slice(query, 2, (heads + groups) * size, width);
    query = slice(query, 2, 0, heads * size);
  }
  Value q = splitHeads(query, heads), k = splitHeads(key, groups),
        v = splitHeads(value, groups);
  if (!q || !k || !v)
    return false;
  if (doRotary) {
    Value cos = operand(7), sin = operand(8);
    if (!isAngleTable(cos, q) || !isAngleTable(sin, q))
      return false;
    bool isInterleaved = integer("rotary_interleaved") != 0;
    Value count = model.getTokenCount(builder, q, 2);
    q = rotate(q, cos, sin, count, isInterleaved);
    k = rotate(k, cos, sin, count, isInterleaved);
  }
  double scale = scaleOrDefault(onnx::getFloat(op, "scale", 0.0), q);
  k = append(operand(3), k);
  v = append(operand(4), v);
  if (!finish(q, k, v, {}, scale, /*isCausal=*/true, std::nullopt))
    return false;
  replaceCache(op, 1, k);
  replaceCache(op, 2, v);
  return true;
}

bool FusedRaiser::raiseMultiHead() {
  int64_t heads = integer("num_heads");
  Value query = operand(0), key = operand(1), value = operand(2),
        bias = operand(3), padding = operand(4), scores = operand(5),
        pastKey = operand(6), pastValue = operand(7);
  if (!hasOnly(op,
               {"mask_filter_value", "num_heads", "scale", "unidirectional"}) ||
      !hasRankedResults(op, 3) || heads <= 0 || !key || !value || padding ||
      operand(8) || operand(9) || !rankedType(query) ||
      rankedType(query).getRank() != 3 || !pastKey != !pastValue)
    return false;
  if (bias) {
    RankedTensorType type = rankedType(bias);
    int64_t begin = 0;
    for (Value *part : {&query, &key, &value}) {
      RankedTensorType partType = rankedType(*part);
      if (!type || type.getRank() != 1 || type.isDynamicDim(0) || !partType ||
          partType.getRank() != 3 || partType.isDynamicDim(2) ||
          begin + partType.getDimSize(2) > type.getDimSize(0))
        return false;
      int64_t end = begin + partType.getDimSize(2);
      Value piece = slice(bias, 0, begin, end);
      *part = onnx::createOnnxOp(builder, loc, "Add", partType, {*part, piece})
                  ->getResult(0);
      begin = end;
    }
  }
  Value q = splitHeads(query, heads), k = splitHeads(key, heads),
        v = splitHeads(value, heads);
  if (!q || !k || !v)
    return false;
  bool isCausal = integer("unidirectional") != 0;
  double scale = scaleOrDefault(onnx::getFloat(op, "scale", 0.0), q);
  SmallVector<AttentionMask> masks;
  std::optional<MaskKind> unpadded;
  if (scores) {
    MaskKind kind = model.getProbe().classifyMask(scores, MaskForm::Additive);
    bool isData = model.getProbe().dependsOnInputs(scores);
    if (kind == MaskKind::Other || isData)
      masks.push_back({scores});
    else
      isCausal |= kind == MaskKind::Causal;
    if (kind == MaskKind::Other || isData)
      unpadded = kind;
  }
  k = append(pastKey, k);
  v = append(pastValue, v);
  if (!finish(q, k, v, masks, scale, isCausal, unpadded))
    return false;
  replaceCache(op, 1, k);
  replaceCache(op, 2, v);
  return true;
}

bool FusedRaiser::raisePacked() {
  int64_t heads = integer("num_heads");
  Value input = operand(0), weight = operand(1), bias = operand(2),
        mask = operand(3), past = operand(4), scores = operand(5);
  RankedTensorType type = rankedType(input);
  RankedTensorType weightType = rankedType(weight);
  if (!hasOnly(op, {"do_rotary", "mask_filter_value", "num_heads",
                    "past_present_share_buffer", "rotary_embedding_dim",
                    "scale", "unidirectional"}) ||
      !hasRankedResults(op, 2) || heads <= 0 || !type || type.getRank() != 3 ||
      !weightType || weightType.getRank() != 2 ||
      !weightType.hasStaticShape() || scores || operand(6) ||
      integer("do_rotary") != 0 || integer("past_present_share_buffer") != 0 ||
      onnx::getInts(op, "qkv_hidden_sizes"))
    return false;
  int64_t width = weightType.getDimSize(1);
  if (width % (3 * heads) != 0 ||
      (mask && (!rankedType(mask) || rankedType(mask).getRank() != 2)))
    return false;
  auto wide = RankedTensorType::get(
      {type.getDimSize(0), type.getDimSize(1), width}, type.getElementType());
  Value qkv = onnx::createOnnxOp(builder, loc, "MatMul", wide, {input, weight})
                  ->getResult(0);
  if (bias)
    qkv = onnx::createOnnxOp(builder, loc, "Add", wide, {qkv, bias})
              ->getResult(0);
  Value q = splitHeads(slice(qkv, 2, 0, width / 3), heads);
  Value k = splitHeads(slice(qkv, 2, width / 3, width / 3 * 2), heads);
  Value v = splitHeads(slice(qkv, 2, width / 3 * 2, width), heads);
  if (past) {
    RankedTensorType pastType = rankedType(past);
    if (!pastType || pastType.getRank() != 5 || pastType.getDimSize(0) != 2)
      return false;
    auto part = RankedTensorType::get(pastType.getShape().drop_front(),
                                      pastType.getElementType());
    auto take = [&](int64_t index) {
      NamedAttribute axis(builder.getStringAttr("axis"),
                          builder.getI64IntegerAttr(0));
      Value which = onnx::createInt(builder, loc, index);
      return onnx::createOnnxOp(builder, loc, "Gather", part, {past, which},
                                axis)
          ->getResult(0);
    };
    k = append(take(0), k);
    v = append(take(1), v);
  }
  SmallVector<AttentionMask> masks;
  if (mask) {
    // [B, T] with ones where keys are seen.
    RankedTensorType maskType = rankedType(mask);
    auto boolType =
        RankedTensorType::get(maskType.getShape(), builder.getI1Type());
    NamedAttribute to(builder.getStringAttr("to"),
                      builder.getI64IntegerAttr(9));
    Value seen = onnx::createOnnxOp(builder, loc, "Cast", boolType, mask, to)
                     ->getResult(0);
    auto rank4 = RankedTensorType::get(
        {maskType.getDimSize(0), 1, 1, maskType.getDimSize(1)},
        builder.getI1Type());
    seen = onnx::createOnnxOp(builder, loc, "Unsqueeze", rank4,
                              {seen, onnx::createInts(builder, loc, {1, 2})})
               ->getResult(0);
    masks.push_back({seen, MaskForm::Seen,
                     onnx::getFloat(op, "mask_filter_value", -10000.0)});
  }
  double scale = scaleOrDefault(onnx::getFloat(op, "scale", 0.0), q);
  bool isCausal = integer("unidirectional") != 0;
  if (!finish(q, k, v, masks, scale, isCausal,
              mask ? std::optional<MaskKind>(
                         model.getProbe().classifyMask(mask, MaskForm::Seen))
                   : std::nullopt))
    return false;
  if (isUsed(1)) {
    auto present = cast<RankedTensorType>(op->getResult(1).getType());
    Value parts[2] = {k, v};
    for (Value &part : parts) {
      SmallVector<int64_t> shape = {1};
      llvm::append_range(shape, rankedType(part).getShape());
      part = onnx::createOnnxOp(
                 builder, loc, "Unsqueeze",
                 RankedTensorType::get(shape, present.getElementType()),
                 {part, onnx::createInts(builder, loc, {0})})
                 ->getResult(0);
    }
    NamedAttribute axis(builder.getStringAttr("axis"),
                        builder.getI64IntegerAttr(0));
    op->getResult(1).replaceAllUsesWith(
        onnx::createOnnxOp(builder, loc, "Concat", present, parts, axis)
            ->getResult(0));
  }
  return true;
}

bool FusedRaiser::raiseStandard() {
  Value query = operand(0), key = operand(1), value = operand(2),
        mask = operand(3), pastKey = operand(4), pastValue = operand(5);
  if (!hasOnly(op, {"is_causal", "kv_num_heads", "left_window_size",
                    "q_num_heads", "qk_matmul_output_mode", "right_window_size",
                    "scale", "softcap", "softmax_precision"}) ||
      !hasRankedResults(op, 3) || operand(6) ||
      integer("left_window_size", -1) != -1 ||
      integer("right_window_size", -1) != -1 ||
      onnx::getFloat(op, "softcap", 0.0) != 0.0 || !pastKey != !pastValue)
    return false;
  Value q = splitHeads(query, integer("q_num_heads")),
        k = splitHeads(key, integer("kv_num_heads")),
        v = splitHeads(value, integer("kv_num_heads"));
  if (!q || !k || !v)
    return false;
  bool isCausal = integer("is_causal") != 0;
  double scale = scaleOrDefault(onnx::getFloat(op, "scale", 0.0), q);
  SmallVector<AttentionMask> masks;
  std::optional<MaskKind> unpadded;
  if (mask) {
    RankedTensorType type = rankedType(mask);
    if (!type)
      return false;
    bool isBool = type.getElementType().isInteger(1);
    MaskForm form = isBool ? MaskForm::Seen : MaskForm::Additive;
    MaskKind kind = model.getProbe().classifyMask(mask, form);
    bool isData = model.getProbe().dependsOnInputs(mask);
    if (kind == MaskKind::Other || isData) {
      masks.push_back({mask, form, -std::numeric_limits<double>::infinity()});
      unpadded = kind;
    } else {
      isCausal |= kind == MaskKind::Causal;
    }
  }
  k = append(pastKey, k);
  v = append(pastValue, v);
  // Without a past the first query sees the first key only.
  if (!finish(q, k, v, masks, scale, isCausal, unpadded,
              /*isFromStart=*/!pastKey))
    return false;
  replaceCache(op, 1, k);
  replaceCache(op, 2, v);
  return true;
}

bool FusedRaiser::raiseRotary(bool isMicrosoft) {
  Value x = operand(0);
  Value positions = operand(isMicrosoft ? 1 : 3);
  Value cos = operand(isMicrosoft ? 2 : 1), sin = operand(isMicrosoft ? 3 : 2);
  RankedTensorType type = rankedType(x), cosType = rankedType(cos);
  if (!hasOnly(op, {"interleaved", "is_packed_batching", "num_heads",
                    "rotary_embedding_dim", "scale"}) ||
      !type || !cosType || !rankedType(sin) ||
      op->getResult(0).getType() != type ||
      (isMicrosoft && (onnx::getFloat(op, "scale", 1.0) != 1.0 ||
                       integer("is_packed_batching") != 0)))
    return false;
  int64_t heads = integer("num_heads");
  if (heads == 0 && type.getRank() == 3 && !type.isDynamicDim(2) &&
      cosType.getDimSize(cosType.getRank() - 1) > 0)
    heads =
        type.getDimSize(2) / (2 * cosType.getDimSize(cosType.getRank() - 1));
  Value split = splitHeads(x, heads);
  if (!split || !model.getProbe().knowsPast())
    return false;
  bool isInterleaved = integer("interleaved") != 0;
  Value count = model.getTokenCount(builder, split, 2), result;
  if (positions) {
    if (!isAngleTable(cos, split) || !isAngleTable(sin, split) ||
        !model.getProbe().isPositions(positions, /*orFirst=*/true))
      return false;
    result = rotate(split, cos, sin, count, isInterleaved);
  } else {
    std::optional<PositionTable> cosTable =
        model.getProbe().getPositionTable(cos);
    std::optional<PositionTable> sinTable =
        model.getProbe().getPositionTable(sin);
    if (!cosTable || !sinTable ||
        cosTable->rows.shape != sinTable->rows.shape ||
        2 * cosTable->rows.shape[1] > rankedType(split).getDimSize(3))
      return false;
    Value cosRows =
        model.createPositionRows(builder, loc, cosTable->rows, count);
    Value sinRows =
        model.createPositionRows(builder, loc, sinTable->rows, count);
    result = RopeOp::create(builder, loc, split.getType(), split, cosRows,
                            sinRows, Value(),
                            isInterleaved ? builder.getUnitAttr() : UnitAttr())
                 .getResult();
  }
  op->getResult(0).replaceAllUsesWith(mergeHeads(result, type));
  return true;
}

bool ganq::raiseFusedAttention(ModelBuilder &model, Operation *op) {
  FusedRaiser raiser(model, op);
  StringRef name = onnx::getOpName(op);
  if (name == "com.microsoft.GroupQueryAttention")
    return raiser.raiseGroupQuery();
  if (name == "com.microsoft.MultiHeadAttention")
    return raiser.raiseMultiHead();
  if (name == "com.microsoft.Attention")
    return raiser.raisePacked();
  return name == "Attention" && raiser.raiseStandard();
}

bool ganq::raiseRotaryEmbedding(ModelBuilder &model, Operation *op) {
  FusedRaiser raiser(model, op);
  StringRef name = onnx::getOpName(op);
  if (name == "com.microsoft.RotaryEmbedding")
    return raiser.raiseRotary(/*isMicrosoft=*/true);
  return name == "RotaryEmbedding" && raiser.raiseRotary(/*isMicrosoft=*/false);
}
