//===- StepAnalysis.h - Can a model run a few tokens at once? ---*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_LIB_TRANSFORMS_STEPANALYSIS_H
#define GANQ_LIB_TRANSFORMS_STEPANALYSIS_H

#include "ganq/IR/GanqDialect.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"

namespace ganq {

/// A cache of keys or values.
struct StepCache {
  KvAppendOp append;
  std::string name;
  int64_t heads, size;
  mlir::Type elementType;
};

/// What the step functions of a causal language model need to know.
struct StepModel {
  mlir::BlockArgument tokens;
  /// Position of the logits among the results of the function.
  unsigned logits = 0;
  int64_t vocabulary = 0;
  /// In the order of the attentions, keys before values.
  llvm::SmallVector<StepCache> caches;
};

/// Recognises a causal language model: besides attention, which is causal,
/// every operation treats each token by itself, and positions come from
/// `ganq.past_length` alone. Otherwise fails after a remark that says why.
mlir::FailureOr<StepModel> analyzeSteps(mlir::func::FuncOp func);

} // namespace ganq

#endif // GANQ_LIB_TRANSFORMS_STEPANALYSIS_H
