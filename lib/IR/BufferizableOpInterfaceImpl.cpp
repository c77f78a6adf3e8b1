//===- BufferizableOpInterfaceImpl.cpp - Bufferization of ganq ops --------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/IR/GanqDialect.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Bufferization/IR/BufferizableOpInterface.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"

using namespace mlir;
using namespace mlir::bufferization;
using namespace ganq;

namespace {

/// A buffer with the identity layout; kernels read rows without strides.
FailureOr<Value> contiguousBuffer(RewriterBase &rewriter, Value tensor,
                                  const BufferizationOptions &options,
                                  BufferizationState &state) {
  FailureOr<Value> buffer = getBuffer(rewriter, tensor, options, state);
  if (failed(buffer))
    return failure();
  auto type = cast<MemRefType>(buffer->getType());
  if (type.getLayout().isIdentity())
    return buffer;
  SmallVector<Value> sizes;
  for (int64_t dim = 0; dim < type.getRank(); ++dim)
    if (type.isDynamicDim(dim))
      sizes.push_back(
          memref::DimOp::create(rewriter, tensor.getLoc(), *buffer, dim));
  auto plain = MemRefType::get(type.getShape(), type.getElementType());
  Value copy = memref::AllocOp::create(rewriter, tensor.getLoc(), plain, sizes);
  memref::CopyOp::create(rewriter, tensor.getLoc(), *buffer, copy);
  return copy;
}

/// Compute ops: read every tensor, allocate the result, become the buffer
/// form of the same op.
template <typename OpTy>
struct KernelOpModel
    : BufferizableOpInterface::ExternalModel<KernelOpModel<OpTy>, OpTy> {
  bool bufferizesToMemoryRead(Operation *, OpOperand &,
                              const AnalysisState &) const {
    return true;
  }
  bool bufferizesToMemoryWrite(Operation *, OpOperand &,
                               const AnalysisState &) const {
    return false;
  }
  AliasingValueList getAliasingValues(Operation *, OpOperand &,
                                      const AnalysisState &) const {
    return {};
  }
  bool bufferizesToAllocation(Operation *, Value) const { return true; }

  LogicalResult bufferize(Operation *op, RewriterBase &rewriter,
                          const BufferizationOptions &options,
                          BufferizationState &state) const {
    auto kernel = cast<OpTy>(op);
    if (kernel.getOut())
      return success();
    rewriter.setInsertionPoint(op);
    auto resultType = cast<RankedTensorType>(kernel.getResult().getType());
    SmallVector<OpFoldResult> sizes = kernel.reifyResult(rewriter);
    SmallVector<Value> dynamicSizes;
    for (auto [dim, size] : llvm::enumerate(sizes))
      if (resultType.isDynamicDim(dim))
        dynamicSizes.push_back(
            getValueOrCreateConstantIndexOp(rewriter, op->getLoc(), size));
    SmallVector<Value> operands;
    for (Value operand : op->getOperands()) {
      if (!isa<RankedTensorType>(operand.getType())) {
        operands.push_back(operand);
        continue;
      }
      FailureOr<Value> buffer =
          contiguousBuffer(rewriter, operand, options, state);
      if (failed(buffer))
        return failure();
      operands.push_back(*buffer);
    }
    auto bufferType =
        MemRefType::get(resultType.getShape(), resultType.getElementType());
    Value out = memref::AllocOp::create(rewriter, op->getLoc(), bufferType,
                                        dynamicSizes);
    operands.push_back(out);

    OperationState newOp(op->getLoc(), op->getName());
    newOp.addOperands(operands);
    newOp.addAttributes(op->getDiscardableAttrDictionary().getValue());
    Operation *created = rewriter.create(newOp);
    auto newKernel = cast<OpTy>(created);
    newKernel.getProperties() = kernel.getProperties();
    // The last segment is `out`: it went from absent to present.
    if constexpr (OpTy::template hasTrait<OpTrait::AttrSizedOperandSegments>())
      newKernel.getProperties().operandSegmentSizes.back() = 1;
    replaceOpWithBufferizedValues(rewriter, op, out);
    return success();
  }
};

/// A parameter is a buffer that nobody may write.
struct ParameterModel
    : BufferizableOpInterface::ExternalModel<ParameterModel, ParameterOp> {
  AliasingValueList getAliasingValues(Operation *, OpOperand &,
                                      const AnalysisState &) const {
    return {};
  }
  bool isWritable(Operation *, Value, const AnalysisState &) const {
    return false;
  }
  LogicalResult bufferize(Operation *op, RewriterBase &rewriter,
                          const BufferizationOptions &,
                          BufferizationState &) const {
    auto parameter = cast<ParameterOp>(op);
    auto type = dyn_cast<RankedTensorType>(parameter.getResult().getType());
    if (!type)
      return success();
    if (type.getEncoding())
      return op->emitOpError("expected quantized parameters to be "
                             "materialized before bufferization");
    replaceOpWithNewBufferizedOp<ParameterOp>(
        rewriter, op, MemRefType::get(type.getShape(), type.getElementType()),
        parameter.getKeyAttr(), parameter.getSourceAttr(),
        parameter.getTransposedAttr());
    return success();
  }
};

/// The cache is read and written in place; the result is the cache.
struct KvUpdateModel
    : BufferizableOpInterface::ExternalModel<KvUpdateModel, KvUpdateOp> {
  bool bufferizesToMemoryRead(Operation *, OpOperand &,
                              const AnalysisState &) const {
    return true;
  }
  bool bufferizesToMemoryWrite(Operation *op, OpOperand &operand,
                               const AnalysisState &) const {
    return operand.get() == cast<KvUpdateOp>(op).getCache();
  }
  AliasingValueList getAliasingValues(Operation *op, OpOperand &operand,
                                      const AnalysisState &) const {
    if (operand.get() != cast<KvUpdateOp>(op).getCache())
      return {};
    return {{op->getResult(0), BufferRelation::Equivalent}};
  }
  LogicalResult bufferize(Operation *op, RewriterBase &rewriter,
                          const BufferizationOptions &options,
                          BufferizationState &state) const {
    auto update = cast<KvUpdateOp>(op);
    if (!update.getResult())
      return success();
    FailureOr<Value> cache =
        getBuffer(rewriter, update.getCache(), options, state);
    FailureOr<Value> value =
        contiguousBuffer(rewriter, update.getValue(), options, state);
    if (failed(cache) || failed(value))
      return failure();
    KvUpdateOp::create(rewriter, op->getLoc(), Type(), *cache, *value,
                       update.getPast());
    replaceOpWithBufferizedValues(rewriter, op, *cache);
    return success();
  }
};

struct ObserveModel
    : BufferizableOpInterface::ExternalModel<ObserveModel, ObserveOp> {
  bool bufferizesToMemoryRead(Operation *, OpOperand &,
                              const AnalysisState &) const {
    return true;
  }
  bool bufferizesToMemoryWrite(Operation *, OpOperand &,
                               const AnalysisState &) const {
    return false;
  }
  AliasingValueList getAliasingValues(Operation *, OpOperand &,
                                      const AnalysisState &) const {
    return {};
  }
  LogicalResult bufferize(Operation *op, RewriterBase &rewriter,
                          const BufferizationOptions &options,
                          BufferizationState &state) const {
    auto observe = cast<ObserveOp>(op);
    if (isa<MemRefType>(observe.getX().getType()))
      return success();
    FailureOr<Value> x =
        contiguousBuffer(rewriter, observe.getX(), options, state);
    if (failed(x))
      return failure();
    rewriter.replaceOpWithNewOp<ObserveOp>(op, *x, observe.getIdAttr(),
                                           observe.getKeyAttr());
    return success();
  }
};

} // namespace

void ganq::registerBufferizableOpInterfaceExternalModels(
    DialectRegistry &registry) {
  registry.addExtension(+[](MLIRContext *context, GanqDialect *) {
    MatmulOp::attachInterface<KernelOpModel<MatmulOp>>(*context);
    PackedMatmulOp::attachInterface<KernelOpModel<PackedMatmulOp>>(*context);
    QuantizeRowsOp::attachInterface<KernelOpModel<QuantizeRowsOp>>(*context);
    RmsNormOp::attachInterface<KernelOpModel<RmsNormOp>>(*context);
    LayerNormOp::attachInterface<KernelOpModel<LayerNormOp>>(*context);
    SwigluOp::attachInterface<KernelOpModel<SwigluOp>>(*context);
    RopeOp::attachInterface<KernelOpModel<RopeOp>>(*context);
    AttentionOp::attachInterface<KernelOpModel<AttentionOp>>(*context);
    PositionRowsOp::attachInterface<KernelOpModel<PositionRowsOp>>(*context);
    ParameterOp::attachInterface<ParameterModel>(*context);
    KvUpdateOp::attachInterface<KvUpdateModel>(*context);
    ObserveOp::attachInterface<ObserveModel>(*context);
  });
}
