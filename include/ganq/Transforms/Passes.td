//===- Passes.td - Passes on the ganq dialect --------------*- tablegen -*-===//
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
    attention says so. `ganq.max_context` on the function is the number of tokens
    that its tables allow.
  }];
  let options = [
    Option<"maxContext", "max-context", "int64_t", "2048",
           "Rows of the tables of positions when the model does not limit them">,
    Option<"modelDir", "model-dir", "std::string", "\".\"",
           "Folder of the files that parameters name">
  ];
  let dependentDialects = ["::ganq::GanqDialect", "::ganq::onnx::OnnxDialect",
                           "::mlir::arith::ArithDialect",
                           "::mlir::tensor::TensorDialect"];
  let statistics = [
    Statistic<"numRaised", "raised", "Groups of operators turned into ganq ops">
  ];
}

def CreateStepFunctions : Pass<"ganq-create-step-functions", "::mlir::ModuleOp"> {
  let summary = "Derive @prefill, @prompt and @decode from the @main of a language model";
  let description = [{
    When @main is a causal language model, clones it for `chunk` tokens
    (@prefill) and for one token (@decode), batch 1, with static shapes and with
    the keys and values in caches of the greatest context:

    ```mlir
    func.func @decode(%tokens: tensor<1x1xi64>, %past: index,
                      %key: tensor<1x4x512x8xf32>, ...)
        -> (tensor<1x1x512xf32>, tensor<1x4x512x8xf32>, ...)
    ```

    @prompt is @prefill with the logits of one row, whose number is the argument
    `%row: tensor<1xi64>` behind `%past`: the output head is the largest product
    of many models, and a prompt needs its last row alone. It is left out where
    the last operators do not have the form of a head: a product with a constant
    weight and what is done to its result element by element.

    A causal language model has one integer input [batch, sequence] of tokens,
    one result of rank 3, and only causal attention; besides it may have inputs
    for the attention mask (taken as ones), the positions (taken as the tokens'
    places) and the caches. `ganq.state` on the module describes the caches.

    In @main, `ganq.past_length` becomes 0 or the length of the cache inputs,
    and `ganq.kv_append` a Concat. When the model is not recognised, a remark
    says why, and only @main is left.
  }];
  let options = [
    Option<"chunk", "chunk", "int64_t", "64", "Tokens of one call of @prefill">,
    Option<"maxContext", "max-context", "int64_t", "0",
           "Length of the caches; 0 takes what the model's tables of positions "
           "allow, at most 2048">,
    Option<"kvCache", "kv-cache", "std::string", "\"model\"",
           "How caches hold keys and values: f32, f16, i8 (rows of bytes with a "
           "scale each), or model for the model's own type">
  ];
  let dependentDialects = ["::ganq::GanqDialect", "::ganq::onnx::OnnxDialect",
                           "::mlir::arith::ArithDialect",
                           "::mlir::func::FuncDialect",
                           "::mlir::tensor::TensorDialect"];
}

def SeparateTransposed : Pass<"ganq-separate-transposed", "::mlir::ModuleOp"> {
  let summary = "Give weights that are used in two forms a key for each";
  let description = [{
    A parameter is stored under its key in its logical order. When a weight is
    read both as the file has it and `transposed`, such as an embedding that is
    the output head too, the transposed form gets the key with `.transposed`
    appended, in all functions:

    ```mlir
    %0 = ganq.parameter "w" from <"m.onnx", 0, 16> : tensor<2x2xf32>
    %1 = ganq.parameter "w.transposed" from <"m.onnx", 0, 16> transposed
        : tensor<2x2xf32>
    ```
  }];
}

def GroupProducts : Pass<"ganq-group-products", "::mlir::ModuleOp"> {
  let summary = "Put products that read the same input side by side";
  let description = [{
    Moves each `ganq.matmul` and `ganq.packed_matmul` behind the first one of its
    block that reads the same x, such as keys and values behind queries, and what
    else it reads before that one. `ganq-lower-kernels` makes one dispatch of
    products that follow one another; each keeps its weight, scheme and result.

    ```mlir
    %q = ganq.matmul %x, %wq : tensor<1x1x64xf32>, tensor<64x64xf32> -> ...
    %k = ganq.matmul %x, %wk : tensor<1x1x64xf32>, tensor<16x64xf32> -> ...
    ```
  }];
  let statistics = [
    Statistic<"numMoved", "moved", "Products moved beside another one">
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
