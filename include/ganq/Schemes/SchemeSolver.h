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
  /// identity, that is, the weights alone count.
  const double *gram = nullptr;
};

struct SolverOptions {
  std::string solver = "improved"; ///< improved, literal or kmeans
  /// Called with the share of rows that are done.
  std::function<void(double)> progress;
};

struct QuantizedWeight {
  /// The stored bytes of each component, in the scheme's order.
  std::vector<std::vector<char>> components;
  /// ||(W - Wq) X|| / ||W X|| under the Gram matrix.
  double relativeError = 0;
  /// What the solver had to do apart from its usual way, such as stronger
  /// damping; empty if nothing.
  std::string note;
};

/// Attach the solver of a scheme to its attribute.
void registerLutSolver(mlir::DialectRegistry &registry);
void registerUniformSolver(mlir::DialectRegistry &registry);

/// All of the above.
void registerSchemeSolvers(mlir::DialectRegistry &registry);

} // namespace ganq

#include "ganq/Schemes/SchemeSolver.h.inc"

#endif // GANQ_SCHEMES_SCHEMESOLVER_H
