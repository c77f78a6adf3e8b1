//===- Passes.td - Conversions between dialects ------------*- tablegen -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_CONVERSION_PASSES_TD
#define GANQ_CONVERSION_PASSES_TD

include "mlir/Pass/PassBase.td"

def ConvertOnnxToLinalg : Pass<"convert-onnx-to-linalg", "::mlir::ModuleOp"> {
  let summary = "Turn onnx operators into linalg, tensor, arith and math";
  let description = [{
    Lowers every onnx operator to loops over ranked tensors of static or
    dynamic sizes. Shape operands may be known only at run time; then the rank
    of the result must be known. Dimensions that do not broadcast are reported
    by `cf.assert`; indices out of range are clamped. Element types become
    signless: `ui8` tensors of function signatures turn into `i8`. 16-bit floats
    are computed in f32. Operations of other dialects stay as they are.

    An operator without a lowering is an error that names it and its node.
  }];
  let dependentDialects = [
    "::mlir::arith::ArithDialect", "::mlir::cf::ControlFlowDialect",
    "::mlir::func::FuncDialect", "::mlir::linalg::LinalgDialect",
    "::mlir::math::MathDialect", "::mlir::scf::SCFDialect",
    "::mlir::tensor::TensorDialect"
  ];
}

#endif // GANQ_CONVERSION_PASSES_TD
