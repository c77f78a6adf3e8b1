//===- GanqOps.cpp - Operations of the ganq dialect -----------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/IR/GanqDialect.h"
#include "ganq/Support/ActivationLayout.h"
#include "ganq/Support/CacheLayout.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/Builders.h"
#include "mlir/Interfaces/FunctionInterfaces.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace ganq;

#include "ganq/IR/GanqOpInterfaces.cpp.inc"

#define GET_OP_CLASSES
#include "ganq/IR/GanqOps.cpp.inc"

//===----------------------------------------------------------------------===//
// What the compute ops share
//===----------------------------------------------------------------------===//

/// Dimensions that must agree: either may be unknown.
static bool compatible(int64_t a, int64_t b) {
  return ShapedType::isDynamic(a) || ShapedType::isDynamic(b) || a == b;
}

static ShapedType shaped(Value value) {
  return cast<ShapedType>(value.getType());
}

/// The size of dimension `dim` of a tensor or memref.
static OpFoldResult sizeOf(OpBuilder &builder, Value value, int64_t dim) {
  ShapedType type = shaped(value);
  if (!type.isDynamicDim(dim))
    return builder.getIndexAttr(type.getDimSize(dim));
  Location loc = value.getLoc();
  if (isa<MemRefType>(type))
    return memref::DimOp::create(builder, loc, value, dim).getResult();
  return tensor::DimOp::create(builder, loc, value, dim).getResult();
}

static SmallVector<OpFoldResult> sizesOf(OpBuilder &builder, Value value) {
  SmallVector<OpFoldResult> sizes;
  for (int64_t dim = 0; dim < shaped(value).getRank(); ++dim)
    sizes.push_back(sizeOf(builder, value, dim));
  return sizes;
}

/// Checks the form (tensor or buffer) and the destination against the result
/// that the operands imply.
static LogicalResult verifyKernelOp(Operation *op, Value out, Value result) {
  if (static_cast<bool>(out) == static_cast<bool>(result))
    return op->emitOpError("expected either a tensor result or an `out` "
                           "memref, but got ")
           << (out ? "both" : "neither");
  for (Value operand : op->getOperands()) {
    bool wrong = out ? isa<RankedTensorType>(operand.getType())
                     : isa<MemRefType>(operand.getType());
    if (wrong)
      return op->emitOpError("expected all operands to be ")
             << (out ? "memrefs" : "tensors") << ", but got "
             << operand.getType();
  }
  ShapedType inferred = cast<KernelOpInterface>(op).inferResult(
      [&]() { return op->emitOpError(); });
  if (!inferred)
    return failure();
  ShapedType actual = out ? shaped(out) : shaped(result);
  if (actual.getElementType() != inferred.getElementType() ||
      actual.getRank() != inferred.getRank() ||
      !llvm::all_of_zip(actual.getShape(), inferred.getShape(), compatible))
    return op->emitOpError("expected a result compatible with ")
           << inferred << ", but got " << actual;
  return success();
}

/// Buffer forms read all operands and write the last; tensor forms are pure.
static void kernelEffects(
    Operation *op, Value out,
    SmallVectorImpl<SideEffects::EffectInstance<MemoryEffects::Effect>>
        &effects) {
  if (!out)
    return;
  for (OpOperand &operand : op->getOpOperands()) {
    if (!isa<MemRefType>(operand.get().getType()))
      continue;
    if (operand.get() == out &&
        operand.getOperandNumber() == op->getNumOperands() - 1)
      effects.emplace_back(MemoryEffects::Write::get(), &operand,
                           SideEffects::DefaultResource::get());
    else
      effects.emplace_back(MemoryEffects::Read::get(), &operand,
                           SideEffects::DefaultResource::get());
  }
}

#define GANQ_KERNEL_OP(OP)                                                     \
  LogicalResult OP::verify() {                                                 \
    return verifyKernelOp(*this, getOut(), getResult());                       \
  }                                                                            \
  void OP::getEffects(                                                         \
      SmallVectorImpl<SideEffects::EffectInstance<MemoryEffects::Effect>>      \
          &effects) {                                                          \
    kernelEffects(*this, getOut(), effects);                                   \
  }

GANQ_KERNEL_OP(MatmulOp)
GANQ_KERNEL_OP(PackedMatmulOp)
GANQ_KERNEL_OP(QuantizeRowsOp)
GANQ_KERNEL_OP(RmsNormOp)
GANQ_KERNEL_OP(LayerNormOp)
GANQ_KERNEL_OP(SwigluOp)
GANQ_KERNEL_OP(RopeOp)
GANQ_KERNEL_OP(AttentionOp)
GANQ_KERNEL_OP(PositionRowsOp)

#undef GANQ_KERNEL_OP

static RankedTensorType resultType(ArrayRef<int64_t> shape, Type element) {
  return RankedTensorType::get(shape, element);
}

/// Checks an optional [size] vector such as a bias or a norm's weight.
static LogicalResult verifyVector(function_ref<InFlightDiagnostic()> emitError,
                                  Value vector, StringRef name, int64_t size) {
  if (!vector)
    return success();
  ShapedType type = shaped(vector);
  if (type.getRank() != 1 || !compatible(type.getDimSize(0), size))
    return emitError() << "expected " << name << " to have shape [" << size
                       << "], but got " << type;
  return success();
}

//===----------------------------------------------------------------------===//
// ParameterOp
//===----------------------------------------------------------------------===//

LogicalResult ParameterOp::verify() {
  ShapedType type = shaped(getResult());
  if (!type.hasStaticShape())
    return emitOpError("expected a static shape, but got ") << type;
  if (getTransposed() && type.getRank() != 2)
    return emitOpError("expected a transposed parameter to have rank 2, but "
                       "got ")
           << type;
  auto tensor = dyn_cast<RankedTensorType>(type);
  if (PackedRowsAttr rows = getPackedRowsAttr()) {
    // Codes are bytes; other elements keep their columns.
    bool fits = rows.getCodes()
                    ? type.getRank() == 1 && type.getElementType().isInteger(8)
                    : type.getRank() == 2 &&
                          type.getDimSize(0) >= rows.getRows() &&
                          type.getDimSize(1) == rows.getColumns() &&
                          type.getElementType().isIntOrFloat() &&
                          type.getElementTypeBitWidth() >= rows.getBits() &&
                          type.getElementTypeBitWidth() % 8 == 0;
    if (!fits || getTransposed())
      return emitOpError(
                 "expected a tensor that the packed rows fill, but got ")
             << type;
    if (static_cast<bool>(getSourceAttr()) ==
        static_cast<bool>(rows.getValue()))
      return emitOpError(
          "expected packed rows with either a source or a value");
  }
  if (getGpuPackedAttr() &&
      (getSourceAttr() || getPackedRowsAttr() || getTransposed()))
    return emitOpError("expected no source along with gpu, as the parameter is "
                       "made of stored tensors");
  if (!tensor || !tensor.getEncoding())
    return success();
  auto scheme = dyn_cast<SchemeAttrInterface>(tensor.getEncoding());
  if (!scheme)
    return emitOpError("expected the encoding to be a quantization scheme, "
                       "but got ")
           << tensor.getEncoding();
  if (type.getRank() != 2)
    return emitOpError("expected a quantized parameter to have rank 2, but "
                       "got ")
           << type;
  return scheme.verifyWeight([&]() { return emitOpError(); },
                             type.getDimSize(0), type.getDimSize(1));
}

//===----------------------------------------------------------------------===//
// Matrix products
//===----------------------------------------------------------------------===//

static ShapedType inferMatmul(function_ref<InFlightDiagnostic()> emitError,
                              Value x, Value bias, int64_t n, int64_t k) {
  ShapedType xType = shaped(x);
  if (xType.getRank() < 1 || !compatible(xType.getShape().back(), k))
    return emitError() << "expected the last dimension of x to be " << k
                       << ", but got " << xType,
           ShapedType();
  if (failed(verifyVector(emitError, bias, "bias", n)))
    return {};
  SmallVector<int64_t> shape(xType.getShape());
  shape.back() = n;
  return resultType(shape, xType.getElementType());
}

static SmallVector<OpFoldResult> reifyMatmul(OpBuilder &builder, Value x,
                                             int64_t n) {
  SmallVector<OpFoldResult> sizes = sizesOf(builder, x);
  sizes.back() = builder.getIndexAttr(n);
  return sizes;
}

ShapedType MatmulOp::inferResult(function_ref<InFlightDiagnostic()> emitError) {
  ShapedType weight = shaped(getWeight());
  if (weight.getRank() != 2 || !weight.hasStaticShape())
    return emitError() << "expected the weight to be a static [N, K] matrix, "
                          "but got "
                       << weight,
           ShapedType();
  return inferMatmul(emitError, getX(), getBias(), weight.getDimSize(0),
                     weight.getDimSize(1));
}

SmallVector<OpFoldResult> MatmulOp::reifyResult(OpBuilder &builder) {
  return reifyMatmul(builder, getX(), shaped(getWeight()).getDimSize(0));
}

ShapedType
PackedMatmulOp::inferResult(function_ref<InFlightDiagnostic()> emitError) {
  int64_t n = getN(), k = getK();
  if (failed(getScheme().verifyWeight(emitError, n, k)))
    return {};
  SmallVector<SchemeComponent> expected = getScheme().getComponents(n, k);
  if (expected.size() != getComponents().size())
    return emitError() << "expected " << expected.size()
                       << " components, but got " << getComponents().size(),
           ShapedType();
  for (auto [component, value] : llvm::zip_equal(expected, getComponents())) {
    ShapedType type = shaped(value);
    if (type.getShape() != component.type.getShape() ||
        type.getElementType() != component.type.getElementType())
      return emitError() << "expected component `" << component.suffix
                         << "` to be " << component.type << ", but got "
                         << type,
             ShapedType();
  }
  unsigned activation = getScheme().getActivationBits();
  if (!activation) {
    if (!isa<FloatType>(shaped(getX()).getElementType()) || getStrategy())
      return emitError() << "expected x to be floats and no strategy with "
                         << getScheme() << ", but got " << getX().getType(),
             ShapedType();
    return inferMatmul(emitError, getX(), getBias(), n, k);
  }
  if (!getStrategy())
    return emitError() << "expected a strategy with " << getScheme(),
           ShapedType();
  bool planes = getStrategy() == Strategy::popcount;
  if (planes && isa<LutAttr>(getScheme()))
    return emitError() << "expected strategy int8 with tables, but got "
                          "popcount, which counts the bits of codes",
           ShapedType();
  int64_t granularity =
      CodeLayout(getScheme().getCodeBits(), 1, 1).getGroupGranularity();
  if (planes && getScheme().getGroupSize() % granularity != 0)
    return emitError() << "expected groups of whole units, multiples of "
                       << granularity
                       << " columns, to count bits, but got a group of "
                       << getScheme().getGroupSize()
                       << "; use strategy int8 or another group",
           ShapedType();
  int64_t bytes = ActivationLayout(activation, k, getScheme().getSumGroup(),
                                   planes ? getScheme().getCodeBits() : 0)
                      .getBytes();
  ShapedType records = shaped(getX());
  if (!records.getElementType().isInteger(8) || records.getRank() < 1 ||
      !compatible(records.getShape().back(), bytes))
    return emitError() << "expected x to be records of " << bytes
                       << " i8, but got " << records,
           ShapedType();
  if (failed(verifyVector(emitError, getBias(), "bias", n)))
    return {};
  SmallVector<int64_t> shape(records.getShape());
  shape.back() = n;
  // Records do not tell the type of floats.
  Value result = getOut() ? Value(getOut()) : Value(getResult());
  Type element = shaped(result).getElementType();
  if (!isa<FloatType>(element))
    return emitError() << "expected a result of floats, but got " << element,
           ShapedType();
  return resultType(shape, element);
}

SmallVector<OpFoldResult> PackedMatmulOp::reifyResult(OpBuilder &builder) {
  return reifyMatmul(builder, getX(), getN());
}

ShapedType
QuantizeRowsOp::inferResult(function_ref<InFlightDiagnostic()> emitError) {
  if (getBits() < 1 || getBits() > 8 || getPlaneBits() > 8)
    return emitError() << "expected bits to be between 1 and 8 and plane_bits "
                          "between 0 and 8, but got "
                       << getBits() << " and " << getPlaneBits(),
           ShapedType();
  int64_t group = static_cast<int64_t>(getGroup());
  if (group < 0 || group % CodeLayout::kLanes != 0)
    return emitError() << "expected group to be 0 or a positive multiple of "
                       << CodeLayout::kLanes << ", but got " << group,
           ShapedType();
  ShapedType x = shaped(getX());
  if (x.getRank() < 1 || ShapedType::isDynamic(x.getShape().back()) ||
      x.getShape().back() == 0)
    return emitError() << "expected x to have a last dimension that is static "
                          "and not 0, but got "
                       << x,
           ShapedType();
  int64_t columns = x.getShape().back();
  if (failed(verifyVector(emitError, getScale(), "scale", columns)) ||
      failed(verifyVector(emitError, getShift(), "shift", columns)))
    return {};
  SmallVector<int64_t> shape(x.getShape());
  shape.back() =
      ActivationLayout(getBits(), columns, group, getPlaneBits()).getBytes();
  return resultType(shape, IntegerType::get(getContext(), 8));
}

SmallVector<OpFoldResult> QuantizeRowsOp::reifyResult(OpBuilder &builder) {
  SmallVector<OpFoldResult> sizes = sizesOf(builder, getX());
  sizes.back() = builder.getIndexAttr(
      ActivationLayout(getBits(), shaped(getX()).getShape().back(),
                       static_cast<int64_t>(getGroup()), getPlaneBits())
          .getBytes());
  return sizes;
}

//===----------------------------------------------------------------------===//
// Normalization and activation
//===----------------------------------------------------------------------===//

ShapedType
RmsNormOp::inferResult(function_ref<InFlightDiagnostic()> emitError) {
  ShapedType x = shaped(getX());
  if (x.getRank() < 1)
    return emitError() << "expected x to have a dimension, but got " << x,
           ShapedType();
  if (failed(
          verifyVector(emitError, getWeight(), "weight", x.getShape().back())))
    return {};
  return resultType(x.getShape(), x.getElementType());
}

SmallVector<OpFoldResult> RmsNormOp::reifyResult(OpBuilder &builder) {
  return sizesOf(builder, getX());
}

ShapedType
LayerNormOp::inferResult(function_ref<InFlightDiagnostic()> emitError) {
  ShapedType x = shaped(getX());
  if (x.getRank() < 1)
    return emitError() << "expected x to have a dimension, but got " << x,
           ShapedType();
  if (failed(verifyVector(emitError, getWeight(), "weight",
                          x.getShape().back())) ||
      failed(verifyVector(emitError, getBias(), "bias", x.getShape().back())))
    return {};
  return resultType(x.getShape(), x.getElementType());
}

SmallVector<OpFoldResult> LayerNormOp::reifyResult(OpBuilder &builder) {
  return sizesOf(builder, getX());
}

ShapedType SwigluOp::inferResult(function_ref<InFlightDiagnostic()> emitError) {
  ShapedType gate = shaped(getGate()), up = shaped(getUp());
  if (gate.getRank() != up.getRank() ||
      gate.getElementType() != up.getElementType() ||
      !llvm::all_of_zip(gate.getShape(), up.getShape(), compatible))
    return emitError() << "expected gate and up to have one type, but got "
                       << gate << " and " << up,
           ShapedType();
  return resultType(gate.getShape(), gate.getElementType());
}

SmallVector<OpFoldResult> SwigluOp::reifyResult(OpBuilder &builder) {
  return sizesOf(builder, getGate());
}

//===----------------------------------------------------------------------===//
// Attention
//===----------------------------------------------------------------------===//

ShapedType RopeOp::inferResult(function_ref<InFlightDiagnostic()> emitError) {
  ShapedType x = shaped(getX()), cos = shaped(getCos()), sin = shaped(getSin());
  if (x.getRank() != 4)
    return emitError() << "expected x to be [B, H, S, D], but got " << x,
           ShapedType();
  for (ShapedType table : {cos, sin}) {
    if (table.getRank() != 2 ||
        !compatible(table.getDimSize(0), x.getDimSize(2)) ||
        table.isDynamicDim(1) ||
        (!x.isDynamicDim(3) && 2 * table.getDimSize(1) > x.getDimSize(3)))
      return emitError() << "expected cos and sin to be [S, R/2] with R at "
                            "most the head size of "
                         << x << ", but got " << table,
             ShapedType();
  }
  if (cos.getDimSize(1) != sin.getDimSize(1))
    return emitError() << "expected cos and sin to have one shape, but got "
                       << cos << " and " << sin,
           ShapedType();
  return resultType(x.getShape(), x.getElementType());
}

SmallVector<OpFoldResult> RopeOp::reifyResult(OpBuilder &builder) {
  return sizesOf(builder, getX());
}

/// Elements of a row of a cache; -1 where records have no valid size.
static int64_t getRowSize(ShapedType cache) {
  int64_t size = cache.getDimSize(3);
  if (!cache.getElementType().isInteger(8))
    return size;
  return ShapedType::isDynamic(size)
             ? -1
             : std::max<int64_t>(CacheLayout::getSize(size), -1);
}

ShapedType
AttentionOp::inferResult(function_ref<InFlightDiagnostic()> emitError) {
  ShapedType q = shaped(getQ()), k = shaped(getK()), v = shaped(getV());
  for (ShapedType type : {q, k, v})
    if (type.getRank() != 4)
      return emitError() << "expected q, k and v to have rank 4, but got "
                         << type,
             ShapedType();
  for (ShapedType type : {k, v})
    if (type.getElementType().isInteger(8) && getRowSize(type) < 1)
      return emitError() << "expected records of a static size above "
                         << CacheLayout::kScaleBytes << ", but got " << type,
             ShapedType();
  if (!compatible(q.getDimSize(0), k.getDimSize(0)) ||
      !compatible(q.getDimSize(3), getRowSize(k)))
    return emitError() << "expected q and k to agree in batch and head size, "
                          "but got "
                       << q << " and " << k,
           ShapedType();
  for (int64_t dim : {0, 1, 2})
    if (!compatible(k.getDimSize(dim), v.getDimSize(dim)))
      return emitError() << "expected k and v to agree in batch, heads and "
                            "length, but got "
                         << k << " and " << v,
             ShapedType();
  int64_t qHeads = q.getDimSize(1), kvHeads = k.getDimSize(1);
  if (!ShapedType::isDynamic(qHeads) && !ShapedType::isDynamic(kvHeads) &&
      (kvHeads == 0 || qHeads % kvHeads != 0))
    return emitError() << "expected the number of key heads to divide "
                       << qHeads << ", but got " << kvHeads,
           ShapedType();
  if (getMask()) {
    ShapedType mask = shaped(getMask());
    if (mask.getRank() != 4)
      return emitError() << "expected the mask to have rank 4, but got "
                         << mask,
             ShapedType();
    int64_t expected[] = {q.getDimSize(0), qHeads, q.getDimSize(2)};
    for (auto [dim, size] : llvm::enumerate(expected))
      if (mask.getDimSize(dim) != 1 && !compatible(mask.getDimSize(dim), size))
        return emitError() << "expected dimension " << dim
                           << " of the mask to be 1 or " << size << ", but got "
                           << mask,
               ShapedType();
    if (!compatible(mask.getDimSize(3), k.getDimSize(2)))
      return emitError() << "expected the last dimension of the mask to be "
                         << k.getDimSize(2) << ", but got " << mask,
             ShapedType();
  }
  return resultType(
      {q.getDimSize(0), q.getDimSize(1), q.getDimSize(2), getRowSize(v)},
      q.getElementType());
}

SmallVector<OpFoldResult> AttentionOp::reifyResult(OpBuilder &builder) {
  SmallVector<OpFoldResult> sizes = sizesOf(builder, getQ());
  sizes[3] = shaped(getV()).getElementType().isInteger(8)
                 ? builder.getIndexAttr(getRowSize(shaped(getV())))
                 : sizeOf(builder, getV(), 3);
  return sizes;
}

ShapedType
PositionRowsOp::inferResult(function_ref<InFlightDiagnostic()> emitError) {
  ShapedType table = shaped(getTable());
  if (table.getRank() != 2)
    return emitError() << "expected the table to be [P, C], but got " << table,
           ShapedType();
  APInt count;
  int64_t rows = matchPattern(getCount(), m_ConstantInt(&count))
                     ? count.getSExtValue()
                     : ShapedType::kDynamic;
  return resultType({rows, table.getDimSize(1)}, table.getElementType());
}

SmallVector<OpFoldResult> PositionRowsOp::reifyResult(OpBuilder &builder) {
  APInt count;
  OpFoldResult rows = getCount();
  if (matchPattern(getCount(), m_ConstantInt(&count)))
    rows = builder.getIndexAttr(count.getSExtValue());
  return {rows, sizeOf(builder, getTable(), 1)};
}

LogicalResult KvAppendOp::verify() {
  ShapedType value = shaped(getValue()), result = shaped(getResult());
  if (value.getRank() != 4 || result.getRank() != 4)
    return emitOpError("expected [B, H, S, D] tensors, but got ")
           << value << " and " << result;
  if (!getPast())
    return success();
  ShapedType past = shaped(getPast());
  if (past.getRank() != 4)
    return emitOpError("expected past to be [B, H, P, D], but got ") << past;
  for (int64_t dim : {0, 1, 3})
    if (!compatible(past.getDimSize(dim), value.getDimSize(dim)))
      return emitOpError("expected past and value to agree but for the "
                         "length, but got ")
             << past << " and " << value;
  return success();
}

LogicalResult KvUpdateOp::verify() {
  ShapedType cache = shaped(getCache()), value = shaped(getValue());
  if (isa<RankedTensorType>(cache) != static_cast<bool>(getResult()))
    return emitOpError("expected a result exactly when the cache is a tensor");
  if (getResult() && getResult().getType() != getCache().getType())
    return emitOpError("expected the result to have the type of the cache ")
           << cache << ", but got " << getResult().getType();
  if (cache.getRank() != 4 || value.getRank() != 4)
    return emitOpError("expected [B, H, T, D] operands, but got ")
           << cache << " and " << value;
  bool records = cache.getElementType().isInteger(8) &&
                 !value.getElementType().isInteger(8);
  if (records && value.isDynamicDim(3))
    return emitOpError("expected rows of a static size for a cache of bytes, "
                       "but got ")
           << value;
  for (int64_t dim : {0, 1, 3}) {
    int64_t size = value.getDimSize(dim);
    if (records && dim == 3)
      size = CacheLayout::getBytes(size);
    if (!compatible(cache.getDimSize(dim), size))
      return emitOpError("expected cache and value to agree but for the "
                         "length, but got ")
             << cache << " and " << value;
  }
  return success();
}

void KvUpdateOp::getEffects(
    SmallVectorImpl<SideEffects::EffectInstance<MemoryEffects::Effect>>
        &effects) {
  if (getResult())
    return;
  effects.emplace_back(MemoryEffects::Read::get(), &getValueMutable(),
                       SideEffects::DefaultResource::get());
  effects.emplace_back(MemoryEffects::Write::get(), &getCacheMutable(),
                       SideEffects::DefaultResource::get());
}

//===----------------------------------------------------------------------===//
// Dispatch, vectors
//===----------------------------------------------------------------------===//

LogicalResult DispatchOp::verifySymbolUses(SymbolTableCollection &symbolTable) {
  auto callee = symbolTable.lookupNearestSymbolFrom<FunctionOpInterface>(
      *this, getCalleeAttr());
  if (!callee)
    return emitOpError("expected a function, but found no symbol ")
           << getCalleeAttr();
  SmallVector<Type> expected(2, IndexType::get(getContext()));
  llvm::append_range(expected, getInputs().getTypes());
  if (!llvm::equal(expected, callee.getArgumentTypes()) ||
      callee.getNumResults() != 0)
    return (emitOpError("expected the callee to take (index, index) and the "
                        "types of the inputs and to return nothing"))
               .attachNote(callee.getLoc())
           << "callee is declared here";
  return success();
}

LogicalResult TableLookupOp::verify() {
  auto table = getTable().getType(), index = getIndex().getType(),
       result = getResult().getType();
  if (!llvm::isPowerOf2_64(table.getNumElements()))
    return emitOpError("expected the table size to be a power of two, but got ")
           << table.getNumElements();
  if (index.getShape() != result.getShape() ||
      table.getElementType() != result.getElementType())
    return emitOpError("expected a result of the index's shape and the "
                       "table's element type, but got ")
           << result;
  return success();
}
