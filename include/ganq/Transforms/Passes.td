//===- Passes.td - Passes on the ganq dialect ------------ -*- tablegen -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_TRANSFORMS_PASSES_TD
#define GANQ_TRANSFORMS_PASSES_TD

include "mlir/Pass/PassBase.td"

def RaiseOnnx : Pass<"ganq-raise-onnx", "::mlir::ModuleOp"> {
  let summary = "Recognise the parts of language models in onnx graphs";
  let description = [{
    Turns groups of onnx operators and the fused operators of common producers
    into ganq ops: products with constant weights, RMS and layer norm, SwiGLU,
    rotary embedding, attention, tables of positions, caches of keys and values.
    Constant weights get the form [N, K].

    Masks, positions and tables of angles are recognised by their values: the
    operators that compute them are evaluated for a few small sizes of the
    symbolic dimensions. A mask that is exactly causal becomes the `causal`
    attribute, a row of angles `ganq.position_rows` of a table.

    A mask that depends on an input of the model stays an operand; when it is
    causal (or empty) for an attention mask of ones, `ganq.unpadded_mask` on the
    attention says so.
  }];
  let options = [
    Option<"maxContext", "max-context", "int64_t", "2048",
           "Rows of the tables of positions when the model does not limit them">
  ];
  let dependentDialects = ["::ganq::GanqDialect", "::ganq::onnx::OnnxDialect",
                           "::mlir::arith::ArithDialect",
                           "::mlir::tensor::TensorDialect"];
  let statistics = [
    Statistic<"numRaised", "raised", "Groups of operators turned into ganq ops">
  ];
}

def PromoteStepResults
    : Pass<"ganq-promote-step-results", "::mlir::ModuleOp"> {
  let summary = "Let step functions write their results into arguments";
  let description = [{
    After bufferization, each result of a function other than `@main` becomes a
    further argument that the function fills. The caches have no result any
    more by then: they are updated in place.
  }];
  let dependentDialects = ["::mlir::memref::MemRefDialect"];
}

#endif // GANQ_TRANSFORMS_PASSES_TD
