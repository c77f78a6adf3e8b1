//===- Patterns.h - Parts of the raising pass ----------------- -*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_LIB_TRANSFORMS_RAISEONNX_PATTERNS_H
#define GANQ_LIB_TRANSFORMS_RAISEONNX_PATTERNS_H

#include "ganq/IR/GanqDialect.h"
#include "ganq/Onnx/OnnxDialect.h"
#include "mlir/IR/PatternMatch.h"

namespace ganq {

//===----------------------------------------------------------------------===//
// Matching
//===----------------------------------------------------------------------===//

/// The ranked tensor type of `value`, or null.
mlir::RankedTensorType rankedType(mlir::Value value);

/// For a commutative operator of two operands: calls `match` with the operands
/// in both orders until it returns true.
bool eitherOrder(
    mlir::Operation *op,
    llvm::function_ref<bool(mlir::Value first, mlir::Value second)> match);

/// True when the last dimension is what `op` (ReduceMean, Softmax, ...) works
/// on: its `axes` operand or attribute, or `axis` attribute.
bool isOverLastDim(mlir::Operation *op, mlir::Value input);

/// True when `a` and `b` are one value or are computed by equal operators from
/// equal values.
bool isSameValue(mlir::Value a, mlir::Value b, unsigned depth = 3);

/// A constant (parameter or onnx.Constant) of rank 1 and `size` elements.
bool isConstantVector(mlir::Value value, int64_t size);

/// Looks through Cast between float types and through Identity and Dropout
/// without used masks.
mlir::Value skipFloatCasts(mlir::Value value);

/// Erases the operations below `root` whose results are not used. The operators
/// of onnx have no effects besides their results.
void eraseDeadOps(mlir::Operation *root);

//===----------------------------------------------------------------------===//
// Patterns
//===----------------------------------------------------------------------===//

/// Products with constant weights to ganq.matmul.
void populateMatmulPatterns(mlir::RewritePatternSet &patterns);

/// Products with block-quantized weights to ganq.packed_matmul.
void populateBlockQuantizedPatterns(mlir::RewritePatternSet &patterns);

/// RMS norm and layer norm, whole or in pieces.
void populateNormPatterns(mlir::RewritePatternSet &patterns);

/// Rotary embeddings of a part of each head.
void populateRopePatterns(mlir::RewritePatternSet &patterns);

/// silu(gate) * up to ganq.swiglu.
void populateSwigluPatterns(mlir::RewritePatternSet &patterns);

} // namespace ganq

#endif // GANQ_LIB_TRANSFORMS_RAISEONNX_PATTERNS_H
