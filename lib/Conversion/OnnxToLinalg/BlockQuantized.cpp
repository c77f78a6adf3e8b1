//===- BlockQuantized.cpp - Products with block-quantized weights ---------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The contrib operators whose weights come as packed codes. Weights are decoded
// where they are used: the packed bytes stay what is read.
//
//===----------------------------------------------------------------------===//

#include "Lowering.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace ganq;
using namespace ganq::lowering;

/// Element `position` of a tensor read as if it had one dimension.
static Value loadFlat(BodyBuilder &s, Value tensor, Value position) {
  auto type = cast<RankedTensorType>(tensor.getType());
  SmallVector<Value> indices(type.getRank());
  for (int64_t dim = type.getRank() - 1; dim >= 0; --dim) {
    Value size = s.index(type.getDimSize(dim));
    indices[dim] = dim ? arith::RemUIOp::create(s, position, size) : position;
    position = arith::DivUIOp::create(s, position, size);
  }
  return Lowering::load(s, tensor, indices);
}

/// Code number `position` of packed bytes as i64; the first code of a byte lies
/// in its low bits, or in its high ones.
static Value loadCode(BodyBuilder &s, Value bytes, Value position, int64_t bits,
                      bool highFirst = false) {
  int64_t perByte = 8 / bits;
  Type i64 = s.getI64Type();
  Value byte =
      loadFlat(s, bytes, arith::DivUIOp::create(s, position, s.index(perByte)));
  byte = arith::ExtUIOp::create(s, i64, byte);
  Value place = arith::IndexCastOp::create(
      s, i64, arith::RemUIOp::create(s, position, s.index(perByte)));
  if (highFirst)
    place = s.sub(s.integer(i64, perByte - 1), place);
  Value shift = s.mul(place, s.integer(i64, bits));
  return s.andBits(arith::ShRUIOp::create(s, byte, shift),
                   s.integer(i64, (int64_t(1) << bits) - 1));
}

/// n * stride + k as an index.
static Value offset(BodyBuilder &s, Value n, int64_t stride, Value k) {
  return s.add(s.mul(n, s.index(stride)), k);
}

/// Checks that operand `i` has static sizes with `count` elements in all.
static LogicalResult requireCount(Lowering &l, unsigned i, int64_t count) {
  if (l.type(i).hasStaticShape() && l.type(i).getNumElements() == count)
    return success();
  return l.op->emitError("expected operand ")
         << i << " to have " << count << " elements, but got " << l.type(i);
}

/// A times the transpose of the [N, K] weights that `weight` gives, plus the
/// bias.
static LogicalResult
multiply(Lowering &l, int64_t n, int64_t k, unsigned bias,
         llvm::function_ref<Value(BodyBuilder &, Value n, Value k)> weight) {
  Type f32 = l.b.getF32Type();
  Value a = l.operand(0);
  if (l.rank(0) < 1 || (!l.type(0).isDynamicDim(l.rank(0) - 1) &&
                        l.type(0).getShape().back() != k))
    return l.op->emitError("expected the last dimension of A to be ")
           << k << ", but got " << l.type(0);
  Value weights = l.generate({l.size(k), l.size(n)}, f32,
                             [&](BodyBuilder &s, ValueRange indices) {
                               return weight(s, indices[1], indices[0]);
                             });
  FailureOr<Value> result = buildMatMul(
      l, l.castElements(a, f32), weights, f32,
      [](BodyBuilder &s, ValueRange v) { return s.mul(v[0], v[1]); });
  if (failed(result))
    return failure();
  if (l.hasOperand(bias)) {
    result =
        l.map({*result, l.castElements(l.operand(bias), f32)}, f32,
              [](BodyBuilder &s, ValueRange v) { return s.add(v[0], v[1]); });
    if (failed(result))
      return failure();
  }
  return l.setResult(l.castElements(*result, l.element(0)));
}

/// com.microsoft.MatMulNBits: B [N, blocks, bytes], scales and zero points per
/// row and block of K.
static LogicalResult lowerMatMulNBits(Lowering &l) {
  int64_t k = l.getInt("K", 0), n = l.getInt("N", 0),
          bits = l.getInt("bits", 4), block = l.getInt("block_size", 0);
  if (bits != 2 && bits != 4 && bits != 8)
    return l.unsupported("bits other than 2, 4 and 8");
  if (n <= 0 || k <= 0 || block < 16 || !llvm::isPowerOf2_64(block))
    return l.op->emitError("expected N and K to be positive and block_size a "
                           "power of two from 16, but got N ")
           << n << ", K " << k << ", block_size " << block;
  if (l.hasOperand(4))
    return l.unsupported("a group index");
  int64_t blocks = llvm::divideCeil(k, block);
  int64_t rowCodes = blocks * block;
  if (failed(requireCount(l, 1, n * rowCodes * bits / 8)) ||
      failed(requireCount(l, 2, n * blocks)))
    return failure();
  // Zero points are packed like the codes, a row to whole bytes.
  Value zeros = l.operand(3);
  bool packedZeros = zeros && isa<IntegerType>(l.element(3));
  int64_t zeroBytes = llvm::divideCeil(blocks * bits, 8);
  if (zeros &&
      failed(requireCount(l, 3, n * (packedZeros ? zeroBytes : blocks))))
    return failure();

  Value codes = l.operand(1), scales = l.operand(2);
  return multiply(l, n, k, 5, [&](BodyBuilder &s, Value row, Value column) {
    Type f32 = s.getF32Type(), i64 = s.getI64Type();
    Value group = arith::DivUIOp::create(s, column, s.index(block));
    Value code = loadCode(s, codes, offset(s, row, rowCodes, column), bits);
    Value scale = s.cast(loadFlat(s, scales, offset(s, row, blocks, group)),
                         f32, false, false);
    if (zeros && !packedZeros) {
      Value zero = s.cast(loadFlat(s, zeros, offset(s, row, blocks, group)),
                          f32, false, false);
      return s.mul(s.sub(s.cast(code, f32, false, false), zero), scale);
    }
    Value zero =
        zeros ? loadCode(s, zeros, offset(s, row, zeroBytes * 8 / bits, group),
                         bits)
              : s.integer(i64, int64_t(1) << (bits - 1));
    return s.mul(s.cast(s.sub(code, zero), f32, false, false), scale);
  });
}

/// com.microsoft.MatMulBnb4: 4-bit codes of bitsandbytes into a fixed table,
/// the first code of a byte in its high bits, one maximum per block of the
/// flattened [N, K] weights.
static LogicalResult lowerMatMulBnb4(Lowering &l) {
  static const float kFp4[] = {0.0f,         5.208333333e-03f,
                               0.66666667f,  1.0f,
                               0.33333333f,  0.5f,
                               0.16666667f,  0.25f,
                               -0.0f,        -5.208333333e-03f,
                               -0.66666667f, -1.0f,
                               -0.33333333f, -0.5f,
                               -0.16666667f, -0.25f};
  static const float kNf4[] = {
      -1.0f,        -0.69619280f, -0.52507305f, -0.39491749f,
      -0.28444138f, -0.18477343f, -0.09105004f, 0.0f,
      0.07958030f,  0.16093020f,  0.24611230f,  0.33791524f,
      0.44070983f,  0.56261700f,  0.72295684f,  1.0f};
  int64_t k = l.getInt("K", 0), n = l.getInt("N", 0),
          block = l.getInt("block_size", 0), kind = l.getInt("quant_type", 1);
  if (n <= 0 || k <= 0 || block <= 0 || (kind != 0 && kind != 1))
    return l.op->emitError("expected N, K and block_size to be positive and "
                           "quant_type 0 or 1, but got N ")
           << n << ", K " << k << ", block_size " << block << ", quant_type "
           << kind;
  if (l.getInt("transB", 1) != 1)
    return l.unsupported("weights that are not transposed");
  if (failed(requireCount(l, 1, llvm::divideCeil(n * k, 2))) ||
      failed(requireCount(l, 2, llvm::divideCeil(n * k, block))))
    return failure();
  Value codes = l.operand(1), maxima = l.operand(2);
  auto type = RankedTensorType::get({16}, l.b.getF32Type());
  Value table = arith::ConstantOp::create(
      l.b, DenseElementsAttr::get(
               type, ArrayRef<float>(kind == 0 ? kFp4 : kNf4, 16)));
  return multiply(l, n, k, 3, [&](BodyBuilder &s, Value row, Value column) {
    Value position = offset(s, row, k, column);
    Value code = arith::IndexCastOp::create(
        s, s.getIndexType(),
        loadCode(s, codes, position, 4, /*highFirst=*/true));
    Value group = arith::DivUIOp::create(s, position, s.index(block));
    return s.mul(
        Lowering::load(s, table, code),
        s.cast(loadFlat(s, maxima, group), s.getF32Type(), false, false));
  });
}

/// com.microsoft.GatherBlockQuantized: rows of a table of codes, decoded. Codes
/// are elements of 4 bits, or packed into the bytes of the last dimension.
static LogicalResult lowerGatherBlockQuantized(Lowering &l) {
  Value data = l.operand(0), indices = l.operand(1), scales = l.operand(2),
        zeros = l.operand(3);
  int64_t rank = l.rank(0), count = l.rank(1),
          block = l.getInt("block_size", 128), bits = l.getInt("bits", 4);
  FailureOr<int64_t> axis = l.getAxis("gather_axis", 0, rank);
  FailureOr<int64_t> blocked = l.getAxis("quantize_axis", 1, rank);
  if (failed(axis) || failed(blocked))
    return failure();
  if (block < 16 || !llvm::isPowerOf2_64(block))
    return l.op->emitError("expected block_size to be a power of two from 16, "
                           "but got ")
           << block;
  bool isPacked = l.element(0).getIntOrFloatBitWidth() == 8;
  if (isPacked && bits != 2 && bits != 4 && bits != 8)
    return l.unsupported("bits other than 2, 4 and 8");
  if (isPacked && *blocked != rank - 1)
    return l.op->emitError(
               "expected quantize_axis to be the last one of packed "
               "codes, but got ")
           << *blocked;
  if (!l.type(0).hasStaticShape())
    return l.unsupported("a table of unknown size");
  int64_t perByte = isPacked ? 8 / bits : 1;
  SmallVector<int64_t> sizes(l.type(0).getShape());
  sizes.back() *= perByte;
  SmallVector<int64_t> groups(sizes);
  groups[*blocked] = llvm::divideCeil(sizes[*blocked], block);
  SmallVector<int64_t> zeroSizes(groups);
  zeroSizes.back() = llvm::divideCeil(zeroSizes.back(), perByte);
  auto check = [&](unsigned i, ArrayRef<int64_t> shape) -> LogicalResult {
    if (l.type(i).getShape() == shape)
      return success();
    return l.op->emitError("expected operand ")
           << i << " to have the shape "
           << RankedTensorType::get(shape, l.element(i)) << ", but got "
           << l.type(i);
  };
  if (failed(check(2, groups)) || (zeros && failed(check(3, zeroSizes))))
    return failure();
  if (zeros && failed(l.requireSameElements({0, 3})))
    return failure();
  l.requireNonEmpty(l.size(sizes[*axis]), "the dimension");
  if (failed(requireWithin(l, 1, l.size(sizes[*axis]))))
    return failure();

  Shape shape;
  for (int64_t size : ArrayRef(sizes).take_front(*axis))
    shape.push_back(l.size(size));
  shape.append(l.shapeOf(indices));
  for (int64_t size : ArrayRef(sizes).drop_front(*axis + 1))
    shape.push_back(l.size(size));
  bool isUnsigned = l.isUnsigned(0);
  // A packed code and its place in the bytes, or an element.
  auto loadInt = [&](BodyBuilder &s, Value tensor, ValueRange at) -> Value {
    Type i64 = s.getI64Type();
    if (!isPacked)
      return s.cast(Lowering::load(s, tensor, at), i64, isUnsigned, false);
    // Rows are whole bytes, in the table as in the zero points.
    RankedTensorType type = Lowering::typeOf(tensor);
    Value place = at.front();
    for (int64_t dim = 1; dim < rank; ++dim)
      place = offset(s, place,
                     type.getDimSize(dim) * (dim == rank - 1 ? perByte : 1),
                     at[dim]);
    return loadCode(s, tensor, place, bits);
  };
  Value size = l.b.index(sizes[*axis]);
  Value result =
      l.generate(shape, l.element(2), [&](BodyBuilder &s, ValueRange at) {
        SmallVector<Value> position(at.take_front(*axis));
        position.push_back(loadIndex(s, indices, at.slice(*axis, count), size));
        llvm::append_range(position, at.drop_front(*axis + count));
        SmallVector<Value> group(position);
        group[*blocked] =
            arith::DivUIOp::create(s, group[*blocked], s.index(block));
        Value code = loadInt(s, data, position);
        if (zeros)
          code = s.sub(code, loadInt(s, zeros, group));
        else if (isPacked)
          code =
              s.sub(code, s.integer(s.getI64Type(), int64_t(1) << (bits - 1)));
        Value scale = Lowering::load(s, scales, group);
        return s.mul(s.cast(code, scale.getType(), false, false), scale);
      });
  return l.setResult(result);
}

void ganq::lowering::addBlockQuantizedLowerings(LoweringTable &table) {
  table["com.microsoft.GatherBlockQuantized"] = lowerGatherBlockQuantized;
  table["com.microsoft.MatMulBnb4"] = lowerMatMulBnb4;
  table["com.microsoft.MatMulNBits"] = lowerMatMulNBits;
}
