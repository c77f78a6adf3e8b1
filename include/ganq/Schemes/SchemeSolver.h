//===- SchemeSolver.h - What a scheme can do --------------------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_SCHEMES_SCHEMESOLVER_H
#define GANQ_SCHEMES_SCHEMESOLVER_H

#include "ganq/IR/GanqDialect.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/Support/Error.h"
#include <functional>
#include <string>
#include <vector>

namespace ganq {

/// One [n, k] weight to quantize. Arrays are row-major.
struct WeightProblem {
  int64_t n = 0; ///< Rows: outputs.
  int64_t k = 0; ///< Columns: inputs.
  /// Writes rows [first, first + count) as f32; never called twice at a time.
  std::function<llvm::Error(int64_t first, int64_t count, float *out)> readRows;
  /// Gram matrix X^T X per row of the layer's inputs, [k, k]; null: the
  /// identity, that is, the weights alone count. Where the model before the
  /// layer is quantized already, X are the inputs of that model.
  const double *gram = nullptr;
  /// Cross moments Xref^T X per row with the inputs Xref of the unquantized
  /// model, [k, k], as in quant::Gram::c; null: there are none.
  const double *cross = nullptr;
  /// Some rows of the layer's inputs X, [sampleRows, k]; null: none.
  const float *sample = nullptr;
  int64_t sampleRows = 0;
  /// What was learned for this weight elsewhere, by suffix: `input_scale` [k],
  /// `input_shift` [k], `clip_low` and `clip_high` [n, groups],
  /// `compensation_left` [n], `compensation_right` [k], `weight_delta` [n, k],
  /// `format` [3]: the levels, the group and the activation bits that they are
  /// for; empty where there is nothing. The weight to round is (W +
  /// weight_delta) diag(input_scale) + compensation_left compensation_right^T.
  /// Null: nothing was learned.
  std::function<llvm::ArrayRef<float>(llvm::StringRef suffix)> learned;
};

struct SolverOptions {
  /// One of SchemeSolverInterface::getSolvers(), or empty for the first.
  std::string solver;
  /// Where cross moments are given: 0 aims at the layer's output for the
  /// quantized model's inputs, 1 at the unquantized model's output.
  double alpha = 0.5;
  /// Called with the share of rows that are done.
  std::function<void(double)> progress;
};

struct QuantizedWeight {
  /// The stored bytes of each component, in the scheme's order.
  std::vector<std::vector<char>> components;
  /// ||(W - Wq) X|| / ||W X|| under the Gram matrix.
  double relativeError = 0;
  /// Condition number of the damped Gram matrix, as in quant::Damping; 0: none.
  double gramCondition = 0;
  /// What the solver had to do apart from its usual way, such as stronger
  /// damping; empty if nothing.
  std::string note;
};

/// Attach the solver of a scheme to its attribute.
void registerLutSolver(mlir::DialectRegistry &registry);
void registerUniformSolver(mlir::DialectRegistry &registry);
void registerPotSolver(mlir::DialectRegistry &registry);
void registerNfSolver(mlir::DialectRegistry &registry);

/// All of the above.
void registerSchemeSolvers(mlir::DialectRegistry &registry);

} // namespace ganq

#include "ganq/Schemes/SchemeSolver.h.inc"

#endif // GANQ_SCHEMES_SCHEMESOLVER_H
