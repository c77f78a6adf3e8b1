//===- SchemeSolver.td - What a scheme can do --------------*- tablegen -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_SCHEMES_SCHEMESOLVER_TD
#define GANQ_SCHEMES_SCHEMESOLVER_TD

include "mlir/IR/OpBase.td"

def Ganq_SchemeSolverInterface : AttrInterface<"SchemeSolverInterface"> {
  let cppNamespace = "::ganq";
  let description = [{
    The work of a scheme on numbers, attached to its attribute by an external
    model so that the dialect does not depend on the solvers.
  }];
  let methods = [
    InterfaceMethod<"Names of the scheme's solvers, the usual one first.",
      "::llvm::SmallVector<::llvm::StringRef>", "getSolvers">,
    InterfaceMethod<"Finds codes and tables and packs them.",
      "::llvm::Expected<::ganq::QuantizedWeight>", "quantize",
      (ins "const ::ganq::WeightProblem &":$problem,
           "const ::ganq::SolverOptions &":$options)>,
    InterfaceMethod<[{
      The reference decoder: writes the [n, k] matrix that the stored components
      stand for, row-major.
    }], "void", "decode",
      (ins "int64_t":$n, "int64_t":$k,
           "::llvm::ArrayRef<::llvm::ArrayRef<char>>":$components,
           "float *":$out)>
  ];
}

#endif // GANQ_SCHEMES_SCHEMESOLVER_TD
