//===- Builder.h - What raising adds to a model --------------- -*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_LIB_TRANSFORMS_RAISEONNX_BUILDER_H
#define GANQ_LIB_TRANSFORMS_RAISEONNX_BUILDER_H

#include "Probe.h"
#include "ganq/IR/GanqDialect.h"
#include "ganq/Onnx/OnnxDialect.h"

namespace ganq {

/// A mask that stays an operand.
struct AttentionMask {
  mlir::Value value;
  MaskForm form = MaskForm::Additive;
  /// What hidden scores become, for the boolean forms.
  double hidden = 0.0;
};

/// Builds the ops that a model has once or a few times, and knows what its
/// masks and positions mean.
class ModelBuilder {
public:
  ModelBuilder(mlir::func::FuncOp func, int64_t maxContext,
               onnx::Evaluator::ReadParameter readParameter);

  mlir::func::FuncOp getFunc() { return func; }
  Probe &getProbe() { return probe; }

  /// `ganq.past_length` at the start of the function.
  mlir::Value getPastLength();
  /// The number of new tokens, from the shape of the tokens, or of dimension
  /// `dim` of `fallback` at the builder's place; null without both.
  mlir::Value getTokenCount(mlir::OpBuilder &builder, mlir::Value fallback,
                            unsigned dim);

  /// Rows past .. past + count - 1 of `table`, f32.
  mlir::Value createPositionRows(mlir::OpBuilder &builder, mlir::Location loc,
                                 const NumericTensor &table, mlir::Value count);
  /// Rows of a constant table [positions, columns].
  mlir::Value createPositionRows(mlir::OpBuilder &builder, mlir::Location loc,
                                 mlir::Value table, mlir::Value count);

  mlir::Value createTranspose(mlir::OpBuilder &builder, mlir::Location loc,
                              mlir::Value value, llvm::ArrayRef<int64_t> perm);
  mlir::Value createReshape(mlir::OpBuilder &builder, mlir::Location loc,
                            mlir::Value value, llvm::ArrayRef<int64_t> shape,
                            mlir::RankedTensorType type);

  /// The keys or values of all tokens so far: a Concat of a cache argument and
  /// `value` becomes `ganq.kv_append`; without a cache one is added. Null when
  /// the keys are not those of the caches and the new tokens.
  mlir::Value createAppend(mlir::OpBuilder &builder, mlir::Location loc,
                           mlir::Value value);

  /// q [B, Hq, S, D], k, v [B, Hkv, T, D]. `unpadded` says what the explicit
  /// masks are for an attention mask of ones, when they depend on inputs. When
  /// the keys are neither caches nor the new tokens, causal attention lets the
  /// last query see the last key; with `isFromStart`, the first query the
  /// first. Null when a mask does not fit.
  mlir::Value createAttention(mlir::OpBuilder &builder, mlir::Location loc,
                              mlir::RankedTensorType type, mlir::Value q,
                              mlir::Value k, mlir::Value v,
                              llvm::ArrayRef<AttentionMask> masks, double scale,
                              bool isCausal, std::optional<MaskKind> unpadded,
                              bool isFromStart = false);

private:
  mlir::Value createMask(mlir::OpBuilder &builder, mlir::Location loc,
                         const AttentionMask &mask, mlir::Type element);

  mlir::func::FuncOp func;
  Probe probe;
  mlir::Value pastLength, tokenCount;
  std::vector<std::pair<NumericTensor, mlir::Value>> tables;
  llvm::DenseMap<std::pair<mlir::Value, mlir::Value>, mlir::Value> rows;
};

/// Each raises the group of operators that ends in `op`, and returns whether
/// there was one. The operators stay, without users.
bool raiseAttention(ModelBuilder &model, mlir::Operation *op);
bool raiseRope(ModelBuilder &model, mlir::Operation *op);
bool raisePositions(ModelBuilder &model, mlir::Operation *op);
/// Fused operators of com.microsoft and of opset 23.
bool raiseFusedAttention(ModelBuilder &model, mlir::Operation *op);
bool raiseRotaryEmbedding(ModelBuilder &model, mlir::Operation *op);

} // namespace ganq

#endif // GANQ_LIB_TRANSFORMS_RAISEONNX_BUILDER_H
