//===- Passes.td - Passes on the onnx dialect --------------*- tablegen -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_ONNX_PASSES_TD
#define GANQ_ONNX_PASSES_TD

include "mlir/Pass/PassBase.td"

def OnnxNormalizeOpset : Pass<"onnx-normalize-opset", "::mlir::ModuleOp"> {
  let summary = "Bring operators of opsets 7 to 24 into one form";
  let description = [{
    Rewrites what older opsets say with attributes into the operands of opset
    24, so that later passes know one form of each operator: `axes` of
    Squeeze, Unsqueeze and the reductions, `split` of Split, `starts`, `ends`
    and `axes` of Slice, `min` and `max` of Clip, `pads` of Pad, `k` of TopK,
    `ratio` of Dropout, `repeats` of Tile; Softmax and its kin get the meaning
    of opset 13 (one axis). `onnx.opset` of the module becomes 24.
  }];
  let dependentDialects = ["::ganq::onnx::OnnxDialect"];
}

def OnnxInferShapes : Pass<"onnx-infer-shapes", "::mlir::ModuleOp"> {
  let summary = "Infer element types and shapes with symbolic dimensions";
  let description = [{
    Interprets the graph with the dimensions of the arguments (`onnx.dims`) as
    symbols and refines the types of all values.
  }];
  let options = [
    ListOption<"bind", "bind", "std::string",
               "Sizes of symbolic dimensions: name=size">
  ];
  let dependentDialects = ["::ganq::onnx::OnnxDialect"];
}

def OnnxFold : Pass<"onnx-fold", "::mlir::ModuleOp"> {
  let summary = "Replace values that are known by constants";
  let description = [{
    Values of up to 1 KiB that the symbolic interpretation knows become
    onnx.Constant, as do the shape operands of Reshape and Expand when the
    result's dimensions say the same; operators that change nothing and
    operators without users go.
  }];
  let dependentDialects = ["::ganq::onnx::OnnxDialect"];
}

def GanqVerifyInput : Pass<"ganq-verify-input", "::mlir::ModuleOp"> {
  let summary = "List the operators that cannot be compiled";
  let description = [{
    Reports each operator that has no lowering, with the number and the names
    of its nodes, and fails when there is one.
  }];
}

#endif // GANQ_ONNX_PASSES_TD
