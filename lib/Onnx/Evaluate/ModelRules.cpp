//===- ModelRules.cpp - Operators of neural networks ----------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Rules.h"
#include "ganq/IR/GanqDialect.h"

using namespace mlir;
using namespace ganq::onnx;

//===----------------------------------------------------------------------===//
// Normalization, quantization
//===----------------------------------------------------------------------===//

/// The result is like the operand; further results are sizes 1 from the axis.
static LogicalResult evaluateNormalization(Evaluation &e) {
  e.setLike(0, 0);
  if (!e.hasRanked(0) || e.out.size() < 2)
    return success();
  std::optional<int64_t> axis =
      Evaluation::normalizeAxis(getInt(e.op, "axis", -1), e.getRank(0));
  if (!axis)
    return e.error() << "expected an axis below " << e.getRank(0);
  Dims dims(e.in[0].dims.begin(), e.in[0].dims.end());
  for (size_t i = *axis; i < dims.size(); ++i)
    dims[i] = e.constant(1);
  for (unsigned i = 1; i < e.out.size(); ++i)
    e.set(i, Float32Type::get(e.getContext()), dims);
  return success();
}

/// Results 0 and 3 are like the operand, results 1 and 2 are statistics.
static LogicalResult evaluateSkipNormalization(Evaluation &e) {
  e.setLike(0, 0);
  e.setLike(3, 0);
  if (!e.hasRanked(0) || e.getRank(0) == 0)
    return success();
  Dims dims(e.in[0].dims.begin(), e.in[0].dims.end());
  dims.back() = e.constant(1);
  for (unsigned i : {1, 2})
    e.set(i, Float32Type::get(e.getContext()), dims);
  return success();
}

static LogicalResult evaluateEmbedLayerNormalization(Evaluation &e) {
  if (!e.hasRanked(0) || !e.hasRanked(2) || e.getRank(0) != 2 ||
      e.getRank(2) != 2)
    return success();
  Type type = e.in[2].elementType;
  AffineExpr dims[] = {e.in[0].dims[0], e.in[0].dims[1], e.in[2].dims[1]};
  e.set(0, type, dims);
  e.set(1, e.intType(32), {e.in[0].dims[0]});
  e.set(2, type, dims);
  return success();
}

static LogicalResult evaluateDropout(Evaluation &e) {
  e.out[0] = e.in[0];
  if (e.in[0].hasRank)
    e.set(1, e.intType(1), e.in[0].dims);
  else
    e.setUnranked(1, e.intType(1));
  return success();
}

static LogicalResult evaluateQuantize(Evaluation &e) {
  Type type = IntegerType::get(e.getContext(), 8, IntegerType::Unsigned);
  if (e.has(2))
    type = e.in[2].elementType;
  else if (int64_t number = getInt(e.op, "output_dtype", 0))
    type = getElementType(number, e.getContext());
  e.setLike(0, 0);
  e.out[0].elementType = type;
  return success();
}

static LogicalResult evaluateDequantize(Evaluation &e) {
  e.setLike(0, 0);
  e.out[0].elementType = e.in[1].elementType;
  if (int64_t number = getInt(e.op, "output_dtype", 0))
    e.out[0].elementType = getElementType(number, e.getContext());
  return success();
}

static LogicalResult evaluateDynamicQuantize(Evaluation &e) {
  Type ui8 = IntegerType::get(e.getContext(), 8, IntegerType::Unsigned);
  e.setLike(0, 0);
  e.out[0].elementType = ui8;
  e.set(1, Float32Type::get(e.getContext()), {});
  e.set(2, ui8, {});
  return success();
}

static LogicalResult evaluateGatherBlockQuantized(Evaluation &e) {
  if (!e.has(2))
    return success();
  Type type = e.in[2].elementType;
  e.setUnranked(0, type);
  if (!e.hasRanked(0) || !e.hasRanked(1))
    return success();
  std::optional<int64_t> axis =
      Evaluation::normalizeAxis(getInt(e.op, "gather_axis", 0), e.getRank(0));
  if (!axis)
    return e.error() << "expected a gather_axis below " << e.getRank(0);
  Dims data(e.in[0].dims.begin(), e.in[0].dims.end());
  // Bytes hold several codes of the last dimension.
  int64_t bits = getInt(e.op, "bits", 4);
  if (e.in[0].elementType.isUnsignedInteger(8) && bits > 0 && bits < 8)
    data.back() = data.back() * (8 / bits);
  Dims dims(data.begin(), data.begin() + *axis);
  dims.append(e.in[1].dims.begin(), e.in[1].dims.end());
  dims.append(data.begin() + *axis + 1, data.end());
  e.set(0, type, dims);
  return success();
}

//===----------------------------------------------------------------------===//
// Attention
//===----------------------------------------------------------------------===//

/// Heads and head size of operand `index`: [B, H, S, D] or [B, S, H * D].
namespace {
struct Heads {
  AffineExpr batch, heads, length, size;
};
} // namespace

static std::optional<Heads> getHeads(Evaluation &e, unsigned index,
                                     int64_t heads) {
  if (!e.hasRanked(index))
    return std::nullopt;
  ArrayRef<AffineExpr> dims = e.in[index].dims;
  if (dims.size() == 4)
    return Heads{dims[0], dims[1], dims[2], dims[3]};
  if (dims.size() != 3 || heads <= 0)
    return std::nullopt;
  return Heads{dims[0], e.constant(heads), dims[1], dims[2].floorDiv(heads)};
}

/// Past length plus new length; unknown when the cache is a full buffer.
static AffineExpr getTotal(Evaluation &e, unsigned past, AffineExpr length) {
  if (!e.has(past))
    return length;
  if (e.hasRanked(past) && e.getRank(past) == 4)
    return e.in[past].dims[2] + length;
  return e.unknown();
}

static LogicalResult evaluateAttention(Evaluation &e) {
  Type type = e.in[0].elementType;
  int64_t heads = getInt(e.op, "q_num_heads", 0);
  int64_t kvHeads = getInt(e.op, "kv_num_heads", 0);
  auto q = getHeads(e, 0, heads), k = getHeads(e, 1, kvHeads),
       v = getHeads(e, 2, kvHeads);
  e.setUnranked(0, type);
  if (!q || !k || !v)
    return success();
  if (e.getRank(0) == 4)
    e.set(0, type, {q->batch, q->heads, q->length, v->size});
  else
    e.set(0, type, {q->batch, q->length, q->heads * v->size});
  AffineExpr total = getTotal(e, 4, k->length);
  e.set(1, e.in[1].elementType, {k->batch, k->heads, total, k->size});
  e.set(2, e.in[2].elementType, {v->batch, v->heads, total, v->size});
  e.set(3, type, {q->batch, q->heads, q->length, total});
  return success();
}

static LogicalResult evaluateGroupQueryAttention(Evaluation &e) {
  if (!e.hasRanked(0) || e.getRank(0) != 3)
    return success();
  Type type = e.in[0].elementType;
  int64_t heads = getInt(e.op, "num_heads", 0);
  int64_t kvHeads = getInt(e.op, "kv_num_heads", 0);
  if (heads <= 0 || kvHeads <= 0)
    return e.error() << "expected num_heads and kv_num_heads";
  ArrayRef<AffineExpr> query = e.in[0].dims;
  // Without a key the query holds all three.
  AffineExpr size = query[2].floorDiv(e.has(1) ? heads : heads + 2 * kvHeads);
  e.set(0, type, {query[0], query[1], size * heads});
  Type cache = e.has(3) ? e.in[3].elementType : type;
  for (unsigned i : {1, 2})
    e.set(i, cache,
          {query[0], e.constant(kvHeads), e.has(3) ? e.unknown() : query[1],
           size});
  return success();
}

static LogicalResult evaluateMultiHeadAttention(Evaluation &e) {
  if (!e.hasRanked(0))
    return success();
  Type type = e.in[0].elementType;
  ArrayRef<AffineExpr> query = e.in[0].dims;
  int64_t heads = getInt(e.op, "num_heads", 0);
  if (heads <= 0)
    return e.error() << "expected num_heads";
  if (query.size() == 5) { // [B, S, H, 3, D]
    e.set(0, type, {query[0], query[1], query[2] * query[4]});
    return success();
  }
  if (query.size() != 3)
    return success();
  auto value = getHeads(e, 2, heads);
  AffineExpr width = !e.has(2) ? query[2]
                     : value   ? value->heads * value->size
                               : e.unknown();
  e.set(0, type, {query[0], query[1], width});
  auto key = getHeads(e, 1, heads);
  if (!key || !value)
    return success();
  AffineExpr total = getTotal(e, 6, key->length);
  e.set(1, type, {query[0], e.constant(heads), total, key->size});
  e.set(2, type, {query[0], e.constant(heads), total, value->size});
  return success();
}

/// Of com.microsoft: operand 1 projects to query, key and value at once.
static LogicalResult evaluatePackedAttention(Evaluation &e) {
  if (!e.hasRanked(0) || !e.hasRanked(1) || e.getRank(0) != 3 ||
      e.getRank(1) != 2)
    return success();
  Type type = e.in[0].elementType;
  int64_t heads = getInt(e.op, "num_heads", 0);
  if (heads <= 0)
    return e.error() << "expected num_heads";
  AffineExpr width = e.in[1].dims[1].floorDiv(3);
  if (auto sizes = getInts(e.op, "qkv_hidden_sizes");
      sizes && sizes->size() == 3)
    width = e.constant((*sizes)[2]);
  ArrayRef<AffineExpr> x = e.in[0].dims;
  e.set(0, type, {x[0], x[1], width});
  AffineExpr total = x[1];
  if (e.hasRanked(4) && e.getRank(4) == 5)
    total = e.in[4].dims[3] + x[1];
  else if (e.has(4))
    total = e.unknown();
  e.set(1, type,
        {e.constant(2), x[0], e.constant(heads), total, width.floorDiv(heads)});
  return success();
}

//===----------------------------------------------------------------------===//
// Convolution and pooling
//===----------------------------------------------------------------------===//

/// Results of windows that slide over the dimensions after the second.
static LogicalResult setWindows(Evaluation &e, ArrayRef<AffineExpr> kernel,
                                AffineExpr channels, Type type) {
  ArrayRef<AffineExpr> x = e.in[0].dims;
  size_t count = x.size() - 2;
  auto get = [&](StringRef name, size_t i, int64_t fallback) {
    auto values = getInts(e.op, name);
    return values && i < values->size() ? (*values)[i] : fallback;
  };
  StringRef autoPad = getString(e.op, "auto_pad", "NOTSET");
  bool up = getInt(e.op, "ceil_mode", 0) != 0;
  Dims dims{x[0], channels};
  for (size_t i = 0; i < count; ++i) {
    int64_t stride = get("strides", i, 1), dilation = get("dilations", i, 1);
    if (stride <= 0 || dilation <= 0)
      return e.error() << "expected strides and dilations of at least 1";
    if (autoPad.starts_with("SAME")) {
      dims.push_back(x[i + 2].ceilDiv(stride));
      continue;
    }
    int64_t pads =
        autoPad == "VALID" ? 0 : get("pads", i, 0) + get("pads", i + count, 0);
    AffineExpr span = x[i + 2] + pads - (kernel[i] - 1) * dilation - 1;
    AffineExpr steps = up ? span.ceilDiv(stride) : span.floorDiv(stride);
    if (std::optional<int64_t> known = getConstantValue(steps);
        known && up && *known > 0) {
      // The last window must start inside the operand or its left padding.
      std::optional<int64_t> size = getConstantValue(x[i + 2]);
      if (size && *known * stride >= *size + get("pads", i, 0))
        steps = e.constant(*known - 1);
    }
    AffineExpr size = steps + 1;
    if (std::optional<int64_t> known = getConstantValue(size);
        known && *known < 0)
      size = e.constant(0);
    dims.push_back(size);
  }
  e.set(0, type, dims);
  return success();
}

static LogicalResult evaluateConv(Evaluation &e) {
  Type type = getOpName(e.op) == "ConvInteger" ? Type(e.intType(32))
                                               : e.in[0].elementType;
  e.setUnranked(0, type);
  if (!e.hasRanked(0) || !e.hasRanked(1))
    return success();
  if (e.getRank(0) < 3 || e.getRank(0) != e.getRank(1))
    return e.error() << "expected operands of one rank of at least 3";
  return setWindows(e, ArrayRef(e.in[1].dims).drop_front(2), e.in[1].dims[0],
                    type);
}

static LogicalResult evaluatePool(Evaluation &e) {
  Type type = e.in[0].elementType;
  e.setUnranked(0, type);
  auto shape = getInts(e.op, "kernel_shape");
  if (!e.hasRanked(0) || !shape)
    return success();
  if (e.getRank(0) != shape->size() + 2)
    return e.error() << "expected an operand of rank " << shape->size() + 2;
  Dims kernel;
  for (int64_t size : *shape)
    kernel.push_back(e.constant(size));
  if (failed(setWindows(e, kernel, e.in[0].dims[1], type)))
    return failure();
  e.set(1, e.intType(64), e.out[0].dims);
  return success();
}

static LogicalResult evaluateGlobalPool(Evaluation &e) {
  e.setLike(0, 0);
  for (size_t i = 2; i < e.out[0].dims.size(); ++i)
    e.out[0].dims[i] = e.constant(1);
  return success();
}

static LogicalResult evaluateLikeFirst(Evaluation &e) {
  e.setLike(0, 0);
  return success();
}

void ganq::onnx::addModelRules(RuleMap &rules) {
  for (StringRef name : {"LayerNormalization", "SimplifiedLayerNormalization",
                         "com.microsoft.SimplifiedLayerNormalization"})
    rules[name] = evaluateNormalization;
  for (StringRef name : {"com.microsoft.SkipLayerNormalization",
                         "com.microsoft.SkipSimplifiedLayerNormalization"})
    rules[name] = evaluateSkipNormalization;
  rules["com.microsoft.EmbedLayerNormalization"] =
      evaluateEmbedLayerNormalization;
  for (StringRef name :
       {"Softmax", "LogSoftmax", "Hardmax", "RMSNormalization",
        "BatchNormalization", "InstanceNormalization", "GroupNormalization",
        "MeanVarianceNormalization", "LpNormalization", "LRN",
        "RotaryEmbedding", "com.microsoft.RotaryEmbedding", "ReverseSequence"})
    rules[name] = evaluateLikeFirst;
  rules["Dropout"] = evaluateDropout;
  rules["QuantizeLinear"] = evaluateQuantize;
  rules["DequantizeLinear"] = evaluateDequantize;
  rules["DynamicQuantizeLinear"] = evaluateDynamicQuantize;
  rules["com.microsoft.GatherBlockQuantized"] = evaluateGatherBlockQuantized;
  rules["Attention"] = evaluateAttention;
  rules["com.microsoft.GroupQueryAttention"] = evaluateGroupQueryAttention;
  rules["com.microsoft.MultiHeadAttention"] = evaluateMultiHeadAttention;
  rules["com.microsoft.Attention"] = evaluatePackedAttention;
  rules["Conv"] = evaluateConv;
  rules["ConvInteger"] = evaluateConv;
  for (StringRef name : {"MaxPool", "AveragePool", "LpPool"})
    rules[name] = evaluatePool;
  for (StringRef name : {"GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"})
    rules[name] = evaluateGlobalPool;
}

//===----------------------------------------------------------------------===//
// ganq operations
//===----------------------------------------------------------------------===//

static LogicalResult evaluateGanqMatmul(Evaluation &e) {
  if (!e.hasRanked(0) || !e.hasRanked(1) || e.getRank(0) == 0 ||
      e.getRank(1) != 2)
    return success();
  Dims dims(e.in[0].dims.begin(), e.in[0].dims.end());
  dims.back() = e.in[1].dims[0];
  e.set(0, e.in[0].elementType, dims);
  return success();
}

static LogicalResult evaluatePackedMatmul(Evaluation &e) {
  if (!e.hasRanked(0) || e.getRank(0) == 0)
    return success();
  Dims dims(e.in[0].dims.begin(), e.in[0].dims.end());
  dims.back() = e.constant(cast<ganq::PackedMatmulOp>(e.op).getN());
  e.set(0, e.in[0].elementType, dims);
  return success();
}

static LogicalResult evaluateGanqAttention(Evaluation &e) {
  if (!e.hasRanked(0) || !e.hasRanked(2) || e.getRank(0) != 4 ||
      e.getRank(2) != 4)
    return success();
  Dims dims(e.in[0].dims.begin(), e.in[0].dims.end());
  dims[3] = e.in[2].dims[3];
  e.set(0, e.in[0].elementType, dims);
  return success();
}

static LogicalResult evaluateKvAppend(Evaluation &e) {
  auto append = cast<ganq::KvAppendOp>(e.op);
  unsigned value = append.getPast() ? 1 : 0;
  e.setLike(0, value);
  if (append.getPast() && e.hasRanked(0) && e.hasRanked(1) &&
      e.getRank(0) == 4 && e.getRank(1) == 4)
    e.out[0].dims[2] = e.in[0].dims[2] + e.in[1].dims[2];
  return success();
}

static LogicalResult evaluatePositionRows(Evaluation &e) {
  if (!e.hasRanked(0) || e.getRank(0) != 2)
    return success();
  std::optional<Dims> count = e.getExprs(2);
  e.set(0, e.in[0].elementType,
        {count && count->front() ? count->front() : e.unknown(),
         e.in[0].dims[1]});
  return success();
}

void ganq::onnx::addGanqRules(RuleMap &rules) {
  for (StringRef name : {"ganq.rms_norm", "ganq.layer_norm", "ganq.swiglu",
                         "ganq.rope", "ganq.kv_update"})
    rules[name] = evaluateLikeFirst;
  rules["ganq.matmul"] = evaluateGanqMatmul;
  rules["ganq.packed_matmul"] = evaluatePackedMatmul;
  rules["ganq.attention"] = evaluateGanqAttention;
  rules["ganq.kv_append"] = evaluateKvAppend;
  rules["ganq.position_rows"] = evaluatePositionRows;
}
