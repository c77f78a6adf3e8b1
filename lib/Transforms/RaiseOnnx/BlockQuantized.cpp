//===- BlockQuantized.cpp - Products with weights that are codes ----------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Patterns.h"
#include "ganq/Support/CodeLayout.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace ganq;

namespace {

/// Rows of packed elements in the model: a parameter's bytes, or a small
/// constant of the IR.
struct StoredRows {
  ExternalAttr source;
  DenseElementsAttr value;
  Type element;
  unsigned bits = 0;  ///< Of an element.
  int64_t stride = 0; ///< Bits from one row to the next.
  explicit operator bool() const { return static_cast<bool>(element); }
};

/// The rows behind `value`, one after the other, when it has `count` elements
/// in `rows` rows.
StoredRows matchRows(Value value, int64_t rows, int64_t count) {
  RankedTensorType type = rankedType(value);
  if (!type || !type.hasStaticShape() || type.getNumElements() != count ||
      !type.getElementType().isIntOrFloat())
    return {};
  StoredRows stored;
  stored.bits = type.getElementTypeBitWidth();
  if (auto parameter = value.getDefiningOp<ParameterOp>()) {
    if (!parameter.getSourceAttr() || parameter.getTransposed() ||
        parameter.getPackedRowsAttr())
      return {};
    stored.source = parameter.getSourceAttr();
  } else if (std::optional<DenseElementsAttr> constant =
                 onnx::matchConstant(value)) {
    stored.value = *constant;
    if (stored.bits < 8) {
      // The IR keeps a byte for each.
      SmallVector<int8_t> bytes;
      for (const APInt &element : constant->getValues<APInt>())
        bytes.push_back(static_cast<int8_t>(element.getZExtValue()));
      auto byteType = RankedTensorType::get(
          {count}, IntegerType::get(value.getContext(), 8));
      stored.value = DenseElementsAttr::get(byteType, ArrayRef<int8_t>(bytes));
      stored.bits = 8;
    }
  } else {
    return {};
  }
  stored.element = type.getElementType();
  stored.stride = count / rows * stored.bits;
  return stored;
}

/// Every row is `columns` times `code`.
StoredRows fillRows(MLIRContext *context, int64_t rows, int64_t columns,
                    uint8_t code) {
  Type i8 = IntegerType::get(context, 8);
  auto value = DenseElementsAttr::get(
      RankedTensorType::get({rows, columns}, i8), static_cast<int8_t>(code));
  return {{}, value, i8, 8, columns * 8};
}

/// A weight [N, K] of unsigned codes with a scale and a zero point per row and
/// block of K. `flip` turns what is stored into unsigned codes.
struct BlockWeight {
  ParameterOp owner; ///< Names the components.
  int64_t n, k, block;
  unsigned bits, flip = 0;
  StoredRows codes, scales, zeros;
  int64_t getBlocks() const { return llvm::divideCeil(k, block); }
};

/// x W^T + bias in place of `op`; fails when the types do not fit.
LogicalResult replaceWithProduct(PatternRewriter &rewriter, Operation *op,
                                 Value x, BlockWeight w, Value bias) {
  MLIRContext *context = rewriter.getContext();
  RankedTensorType xType = rankedType(x), type = rankedType(op->getResult(0));
  if (!xType || !type || xType.getRank() < 1 ||
      type.getRank() != xType.getRank() ||
      type.getElementType() != xType.getElementType() ||
      !isa<FloatType>(type.getElementType()) ||
      failed(verifyCompatibleShape({xType.getShape().back()}, {w.k})) ||
      failed(verifyCompatibleShape({type.getShape().back()}, {w.n})) ||
      (bias && !isConstantVector(bias, w.n)))
    return failure();
  Type scaleType = w.scales.element;
  int64_t blocks = w.getBlocks(), group = blocks == 1 ? 0 : w.block;
  if ((!scaleType.isF32() && !scaleType.isF16() && !scaleType.isBF16()) ||
      !CodeLayout(w.bits, w.n, w.k).canGroup(group))
    return failure();
  auto scheme = UniformAttr::get(context, w.bits, group, /*levels=*/0,
                                 scaleType, /*activation=*/0, /*smooth=*/false,
                                 /*shift=*/false);
  auto describe = [&](const StoredRows &stored, int64_t columns, unsigned flip,
                      bool isCodes) {
    return PackedRowsAttr::get(context, stored.bits, w.n, columns,
                               stored.stride, flip, isCodes, stored.value);
  };
  std::pair<ExternalAttr, PackedRowsAttr> parts[] = {
      {w.codes.source, describe(w.codes, w.k, w.flip, true)},
      {w.scales.source, describe(w.scales, blocks, 0, false)},
      {w.zeros.source, describe(w.zeros, blocks, w.flip, false)}};
  SmallVector<Value> components;
  for (auto [component, part] :
       llvm::zip_equal(scheme.getComponents(w.n, w.k), parts))
    components.push_back(ParameterOp::create(
        rewriter, w.owner.getLoc(), component.type,
        rewriter.getStringAttr(w.owner.getKey() + "." + component.suffix),
        part.first, UnitAttr(), part.second, GpuPackedAttr()));
  auto product =
      PackedMatmulOp::create(rewriter, op->getLoc(), type, x, components, bias,
                             Value(), scheme, w.n, w.k, StrategyAttr());
  if (StringRef name = onnx::getNodeName(op); !name.empty())
    product->setAttr("onnx.node", rewriter.getStringAttr(name));
  rewriter.replaceOp(op, product.getResult());
  return success();
}

/// Components are named after the codes: all that read these must be `op` but
/// for operand `free`, so that they see the same weight.
bool isUsedAlike(Operation *op, Value codes, unsigned free) {
  return llvm::all_of(codes.getUsers(), [&](Operation *user) {
    if (user == op)
      return true;
    NamedAttrList mine(op->getAttrs()), others(user->getAttrs());
    for (NamedAttrList *attrs : {&mine, &others})
      attrs->erase("onnx.node");
    if (user->getName() != op->getName() || mine != others ||
        user->getNumOperands() != op->getNumOperands())
      return false;
    for (unsigned i = 0; i < op->getNumOperands(); ++i)
      if (i != free && user->getOperand(i) != op->getOperand(i))
        return false;
    return true;
  });
}

/// com.microsoft.MatMulNBits with constant codes [N, blocks, bytes], scales and
/// packed zero points. The bytes are rearranged when they are stored.
struct RaiseMatMulNBits : RewritePattern {
  RaiseMatMulNBits(MLIRContext *context)
      : RewritePattern("onnx.com.microsoft.MatMulNBits", /*benefit=*/1,
                       context) {}

  LogicalResult matchAndRewrite(Operation *op,
                                PatternRewriter &rewriter) const override {
    int64_t n = onnx::getInt(op, "N", 0), k = onnx::getInt(op, "K", 0);
    int64_t bits = onnx::getInt(op, "bits", 4);
    int64_t block = onnx::getInt(op, "block_size", 0);
    constexpr int64_t kMost = int64_t(1) << 30;
    if ((bits != 2 && bits != 4 && bits != 8) || n <= 0 || k <= 0 ||
        n > kMost || k > kMost || block < 16 || block > kMost ||
        !llvm::isPowerOf2_64(block) || onnx::getOperand(op, 4))
      return failure();
    BlockWeight w;
    w.owner = op->getOperand(1).getDefiningOp<ParameterOp>();
    w.n = n;
    w.k = k;
    w.block = block;
    w.bits = static_cast<unsigned>(bits);
    int64_t blocks = w.getBlocks();
    w.codes = matchRows(op->getOperand(1), n, n * blocks * block * bits / 8);
    w.scales = matchRows(op->getOperand(2), n, n * blocks);
    Value zeros = onnx::getOperand(op, 3);
    w.zeros = zeros ? matchRows(zeros, n,
                                n * static_cast<int64_t>(
                                        llvm::divideCeil(blocks * bits, 8)))
                    : fillRows(getContext(), n, blocks,
                               static_cast<uint8_t>(1 << (bits - 1)));
    if (!w.owner || !w.codes || !w.scales || !w.zeros ||
        !w.codes.element.isInteger(8) || !w.zeros.element.isInteger(8) ||
        !isUsedAlike(op, op->getOperand(1), 0))
      return failure();
    // Bytes that hold several codes.
    w.codes.bits = w.bits;
    if (zeros)
      w.zeros.bits = w.bits;
    return replaceWithProduct(rewriter, op, op->getOperand(0), w,
                              onnx::getOperand(op, 5));
  }
};

/// A DequantizeLinear of constant integers [N, K], with scales per row or per
/// row and block.
std::optional<BlockWeight> matchDequantized(Value value) {
  Operation *op = onnx::getDefiningOnnxOp(value, "DequantizeLinear");
  if (!op)
    return std::nullopt;
  BlockWeight w;
  w.owner = op->getOperand(0).getDefiningOp<ParameterOp>();
  RankedTensorType type = rankedType(op->getOperand(0));
  RankedTensorType scale = rankedType(op->getOperand(1));
  if (!w.owner || !type || type.getRank() != 2 || !scale ||
      !scale.hasStaticShape() || !isa<IntegerType>(type.getElementType()))
    return std::nullopt;
  w.n = type.getDimSize(0);
  w.k = type.getDimSize(1);
  w.bits = type.getElementTypeBitWidth();
  int64_t axis = onnx::getInt(op, "axis", 1);
  int64_t block = onnx::getInt(op, "block_size", 0);
  if (axis < 0)
    axis += 2;
  bool isBlocked = block > 0 && axis == 1 && scale.getRank() == 2;
  bool isPerRow = block == 0 && axis == 0 && scale.getRank() == 1;
  if ((w.bits != 2 && w.bits != 4 && w.bits != 8) || w.n <= 0 || w.k <= 0 ||
      (!isBlocked && !isPerRow))
    return std::nullopt;
  w.block = isBlocked ? block : w.k;
  int64_t blocks = w.getBlocks();
  bool isSigned = !type.getElementType().isUnsignedInteger();
  w.flip = isSigned ? 1u << (w.bits - 1) : 0;
  w.codes = matchRows(op->getOperand(0), w.n, w.n * w.k);
  w.scales = matchRows(op->getOperand(1), w.n, w.n * blocks);
  Value zeros = onnx::getOperand(op, 2);
  w.zeros = zeros ? matchRows(zeros, w.n, w.n * blocks)
                  : fillRows(value.getContext(), w.n, blocks, 0);
  if (!w.codes || !w.scales || !w.zeros ||
      (zeros && w.zeros.element != type.getElementType()) ||
      !isUsedAlike(op, op->getOperand(0), op->getNumOperands()))
    return std::nullopt;
  return w;
}

/// MatMul(x, Transpose(DequantizeLinear(codes))).
struct RaiseDequantizedMatMul : RewritePattern {
  RaiseDequantizedMatMul(MLIRContext *context)
      : RewritePattern("onnx.MatMul", /*benefit=*/1, context) {}

  LogicalResult matchAndRewrite(Operation *op,
                                PatternRewriter &rewriter) const override {
    Operation *transpose =
        onnx::getDefiningOnnxOp(op->getOperand(1), "Transpose");
    RankedTensorType type = rankedType(op->getOperand(1));
    if (!transpose || !type || type.getRank() != 2)
      return failure();
    std::optional<ArrayRef<int64_t>> perm = onnx::getInts(transpose, "perm");
    if (perm && *perm != ArrayRef<int64_t>{1, 0})
      return failure();
    std::optional<BlockWeight> w = matchDequantized(transpose->getOperand(0));
    if (!w)
      return failure();
    return replaceWithProduct(rewriter, op, op->getOperand(0), *w, Value());
  }
};

/// Gemm(x, DequantizeLinear(codes), bias) with transB.
struct RaiseDequantizedGemm : RewritePattern {
  RaiseDequantizedGemm(MLIRContext *context)
      : RewritePattern("onnx.Gemm", /*benefit=*/1, context) {}

  LogicalResult matchAndRewrite(Operation *op,
                                PatternRewriter &rewriter) const override {
    if (onnx::getInt(op, "transA", 0) != 0 ||
        onnx::getInt(op, "transB", 0) == 0 ||
        onnx::getFloat(op, "alpha", 1.0) != 1.0 ||
        onnx::getFloat(op, "beta", 1.0) != 1.0)
      return failure();
    std::optional<BlockWeight> w = matchDequantized(op->getOperand(1));
    if (!w)
      return failure();
    return replaceWithProduct(rewriter, op, op->getOperand(0), *w,
                              onnx::getOperand(op, 2));
  }
};

} // namespace

void ganq::populateBlockQuantizedPatterns(RewritePatternSet &patterns) {
  patterns.add<RaiseMatMulNBits, RaiseDequantizedMatMul, RaiseDequantizedGemm>(
      patterns.getContext());
}
