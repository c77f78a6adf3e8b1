//===- Probe.h - Values under trial sizes of dimensions ---------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Which arguments of a model are tokens, positions, attention mask and caches,
// and what the values computed from them are for a few sizes.
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_LIB_TRANSFORMS_RAISEONNX_PROBE_H
#define GANQ_LIB_TRANSFORMS_RAISEONNX_PROBE_H

#include "ganq/Onnx/Evaluate.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/IRMapping.h"
#include <map>
#include <optional>

namespace ganq {

/// What an argument of the model means.
enum class ArgumentRole {
  Tokens,
  Positions,
  AttentionMask,
  Cache,
  StackedCache,
  Other
};

/// The roles of the arguments of `func`. Integer arguments [B, S] are tokens,
/// unless their name says positions or mask; float arguments [B, H, P, D] that
/// are extended by Concat along P, or are the past of a fused attention, are
/// caches. Float arguments [2, B, H, P, D] hold keys and values in one.
llvm::SmallVector<ArgumentRole> getArgumentRoles(mlir::func::FuncOp func);

/// A tensor of numbers, row-major.
struct NumericTensor {
  llvm::SmallVector<int64_t> shape;
  std::vector<double> elements;
};

/// What a mask adds to the scores of `tokens` queries after `past` tokens.
enum class MaskKind { None, Causal, Other };

/// A boolean mask says where keys are seen; an additive mask is 0 there and at
/// most -1e4 elsewhere.
enum class MaskForm { Additive, Seen, Hidden };

/// Rows of a table by position.
struct PositionTable {
  NumericTensor rows; ///< [rows, columns].
  /// The positions are the third dimension from the end, with one for heads
  /// after it, instead of the second.
  bool isBeforeHeads = false;
};

/// Evaluates parts of a model with concrete sizes: batch 1, `tokens` tokens
/// after `past` in the caches, an attention mask of ones, and positions past,
/// past + 1, ...
class Probe {
public:
  Probe(mlir::func::FuncOp func, int64_t maxContext,
        onnx::Evaluator::ReadParameter readParameter);
  ~Probe();

  bool hasCaches() const;
  /// False when an argument has a past whose length is not that of a cache, so
  /// that `ganq.past_length` would not be it.
  bool knowsPast() const { return hasCaches() || !hasPastSizes; }
  ArgumentRole getRole(mlir::BlockArgument argument) const;

  /// Size of a dimension of `value`; nothing when it is not known.
  std::optional<int64_t> getSize(mlir::Value value, unsigned dim,
                                 int64_t tokens, int64_t past);
  /// True when dimension `dim` is as long as the new tokens, or unknown.
  bool mayBeTokens(mlir::Value value, unsigned dim);

  /// Nothing when the value depends on data (tokens, contents of the caches)
  /// or cannot be computed. Values made after the construction are not known.
  std::optional<NumericTensor> evaluate(mlir::Value value, int64_t tokens,
                                        int64_t past);

  /// True when the contents of the attention mask or the positions reach
  /// `value`.
  bool dependsOnInputs(mlir::Value value);

  MaskKind classifyMask(mlir::Value mask, MaskForm form);

  /// True when the value is past, past + 1, ... past + tokens - 1; with
  /// `orFirst`, also when it is only the first of them.
  bool isPositions(mlir::Value value, bool orFirst = false);

  /// True when each element of the value is past + tokens + `offset`.
  bool isLength(mlir::Value value, int64_t offset);

  /// True when a Slice takes rows past .. past + tokens - 1 of its input.
  bool isPositionSlice(mlir::Operation *op);

  /// When the value [.., S, C] or [.., S, 1, C] holds rows past .. past + S - 1
  /// of some table: the table, as long as the greatest context.
  std::optional<PositionTable> getPositionTable(mlir::Value value);

  /// Greatest number of tokens that the tables seen so far allow.
  int64_t getContext() const { return context; }
  void limitContext(int64_t rows) { context = std::min(context, rows); }

private:
  /// A few sizes (tokens, past) that tell most functions of positions apart.
  llvm::SmallVector<std::pair<int64_t, int64_t>> getSizes() const;
  onnx::Evaluator &getEvaluator(int64_t tokens, int64_t past);
  std::unique_ptr<onnx::Evaluator> createEvaluator(int64_t tokens,
                                                   int64_t past);
  std::optional<NumericTensor> evaluateWith(onnx::Evaluator &evaluator,
                                            mlir::Value value);
  bool agrees(const NumericTensor &mask, MaskForm form, MaskKind kind,
              int64_t tokens, int64_t past);
  void limitByTables(mlir::func::FuncOp func);

  /// A copy of the function: it stays as it is while the original is rewritten.
  mlir::func::FuncOp copy;
  mlir::IRMapping mapping;
  int64_t context;
  bool hasPastSizes = false;
  onnx::Evaluator::ReadParameter readParameter;
  llvm::SmallVector<ArgumentRole> roles;
  std::map<std::pair<int64_t, int64_t>, std::unique_ptr<onnx::Evaluator>>
      evaluators;
  llvm::DenseMap<mlir::Value, MaskKind> maskKinds;
};

} // namespace ganq

#endif // GANQ_LIB_TRANSFORMS_RAISEONNX_PROBE_H
