//===- BlockQuantized.cpp - Products with weights that are codes ----------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Patterns.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace ganq;

namespace {

/// Bytes of a model: a parameter, or a small constant of the IR.
struct StoredBytes {
  ExternalAttr source;
  DenseElementsAttr value;
  Type element;
};

/// The bytes behind `value` when it has `count` elements; no element type when
/// it has not.
StoredBytes matchBytes(Value value, int64_t count) {
  RankedTensorType type = rankedType(value);
  if (!type || !type.hasStaticShape() || type.getNumElements() != count)
    return {};
  if (auto parameter = value.getDefiningOp<ParameterOp>()) {
    if (!parameter.getSourceAttr() || parameter.getTransposed() ||
        parameter.getPackedRowsAttr())
      return {};
    return {parameter.getSourceAttr(), {}, type.getElementType()};
  }
  if (std::optional<DenseElementsAttr> constant = onnx::matchConstant(value))
    return {{}, *constant, type.getElementType()};
  return {};
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
    int64_t blocks = llvm::divideCeil(k, block);
    int64_t rowBytes = blocks * block * bits / 8;
    int64_t zeroBytes = llvm::divideCeil(blocks * bits, 8);

    auto weight = op->getOperand(1).getDefiningOp<ParameterOp>();
    StoredBytes codes = matchBytes(op->getOperand(1), n * rowBytes);
    StoredBytes scales = matchBytes(op->getOperand(2), n * blocks);
    if (!weight || !codes.element || !codes.element.isInteger(8) ||
        !scales.element || !isUsedAlike(op))
      return failure();
    Value x = op->getOperand(0), zeros = onnx::getOperand(op, 3),
          bias = onnx::getOperand(op, 5);
    RankedTensorType xType = rankedType(x), type = rankedType(op->getResult(0));
    if (!xType || !type || xType.getRank() < 1 ||
        type.getRank() != xType.getRank() ||
        type.getElementType() != xType.getElementType() ||
        !isa<FloatType>(type.getElementType()) ||
        failed(verifyCompatibleShape({xType.getShape().back()}, {k})) ||
        failed(verifyCompatibleShape({type.getShape().back()}, {n})) ||
        (bias && !isConstantVector(bias, n)))
      return failure();

    Type scaleType = scales.element;
    if (!scaleType.isF32() && !scaleType.isF16() && !scaleType.isBF16())
      return failure();
    auto scheme = UniformAttr::get(
        getContext(), static_cast<unsigned>(bits), blocks == 1 ? 0 : block,
        /*levels=*/0, scaleType, /*activation=*/0, /*smooth=*/false,
        /*shift=*/false);

    unsigned scaleBits = scaleType.getIntOrFloatBitWidth();
    std::pair<StoredBytes, PackedRowsAttr> parts[3] = {
        {codes, rows(static_cast<unsigned>(bits), n, k, rowBytes, codes, true)},
        {scales, rows(scaleBits, n, blocks, blocks * scaleBits / 8, scales)},
        {}};
    if (zeros) {
      StoredBytes stored = matchBytes(zeros, n * zeroBytes);
      if (!stored.element || !stored.element.isInteger(8))
        return failure();
      parts[2] = {stored, rows(static_cast<unsigned>(bits), n, blocks,
                               zeroBytes, stored)};
    } else {
      auto middle = DenseElementsAttr::get(
          RankedTensorType::get({n, blocks}, rewriter.getI8Type()),
          rewriter.getI8IntegerAttr(static_cast<int8_t>(1 << (bits - 1))));
      StoredBytes stored{{}, middle, rewriter.getI8Type()};
      parts[2] = {stored, rows(8, n, blocks, blocks, stored)};
    }

    SmallVector<Value> components;
    for (auto [component, part] :
         llvm::zip_equal(scheme.getComponents(n, k), parts))
      components.push_back(ParameterOp::create(
          rewriter, weight.getLoc(), component.type,
          rewriter.getStringAttr(weight.getKey() + "." + component.suffix),
          part.first.source, UnitAttr(), part.second));
    auto product =
        PackedMatmulOp::create(rewriter, op->getLoc(), type, x, components,
                               bias, Value(), scheme, n, k, StrategyAttr());
    if (StringRef name = onnx::getNodeName(op); !name.empty())
      product->setAttr("onnx.node", rewriter.getStringAttr(name));
    rewriter.replaceOp(op, product.getResult());
    return success();
  }

  PackedRowsAttr rows(unsigned bits, int64_t n, int64_t columns, int64_t stride,
                      const StoredBytes &stored, bool isCodes = false) const {
    return PackedRowsAttr::get(getContext(), bits, n, columns, stride, isCodes,
                               stored.value);
  }

  /// Components are named after the codes: whoever reads these must see the
  /// same weight.
  static bool isUsedAlike(Operation *op) {
    return llvm::all_of(op->getOperand(1).getUsers(), [&](Operation *user) {
      return user == op ||
             (user->getName() == op->getName() &&
              user->getAttr("K") == op->getAttr("K") &&
              user->getAttr("N") == op->getAttr("N") &&
              user->getAttr("bits") == op->getAttr("bits") &&
              user->getAttr("block_size") == op->getAttr("block_size") &&
              onnx::getOperand(user, 2) == onnx::getOperand(op, 2) &&
              onnx::getOperand(user, 3) == onnx::getOperand(op, 3));
    });
  }
};

} // namespace

void ganq::populateBlockQuantizedPatterns(RewritePatternSet &patterns) {
  patterns.add<RaiseMatMulNBits>(patterns.getContext());
}
