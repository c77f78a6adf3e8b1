//===- ganq-opt.cpp - Runs passes on MLIR text ----------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/Pipelines/Phases.h"
#include "mlir/InitAllPasses.h"
#include "mlir/Tools/mlir-opt/MlirOptMain.h"

int main(int argc, char **argv) {
  mlir::registerAllPasses();
  ganq::registerGanqPasses();
  mlir::DialectRegistry registry;
  ganq::registerGanqDialects(registry);
  return mlir::asMainReturnCode(
      mlir::MlirOptMain(argc, argv, "ganq optimizer driver\n", registry));
}
