//===- SchemeSolver.cpp - What a scheme can do ----------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/Schemes/SchemeSolver.h"

#include "ganq/Schemes/SchemeSolver.cpp.inc"

void ganq::registerSchemeSolvers(mlir::DialectRegistry &registry) {
  registerLutSolver(registry);
  registerUniformSolver(registry);
  registerPotSolver(registry);
  registerNfSolver(registry);
}
