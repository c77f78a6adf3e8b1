//===- ganq-lsp-server.cpp - Language server for MLIR text ----------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/Pipelines/Phases.h"
#include "mlir/Tools/mlir-lsp-server/MlirLspServerMain.h"

int main(int argc, char **argv) {
  mlir::DialectRegistry registry;
  ganq::registerGanqDialects(registry);
  return mlir::failed(mlir::MlirLspServerMain(argc, argv, registry));
}
