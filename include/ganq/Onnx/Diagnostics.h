//===- Diagnostics.h - Messages for users of the tools ----------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_ONNX_DIAGNOSTICS_H
#define GANQ_ONNX_DIAGNOSTICS_H

#include "mlir/IR/Diagnostics.h"

namespace ganq::onnx {

/// Prints `error: "node": message` and the notes below it. Locations are the
/// names of nodes, or file:line:column; unknown ones are left out.
void printDiagnostic(mlir::Diagnostic &diagnostic, llvm::raw_ostream &stream);

} // namespace ganq::onnx

#endif // GANQ_ONNX_DIAGNOSTICS_H
