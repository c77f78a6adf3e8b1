//===- Passes.td - Passes that quantize weights ------------*- tablegen -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_SCHEMES_PASSES_TD
#define GANQ_SCHEMES_PASSES_TD

include "mlir/Pass/PassBase.td"

def AssignSchemes : Pass<"ganq-assign-schemes", "::mlir::ModuleOp"> {
  let summary = "Give each weight of a matrix product its quantization scheme";
  let description = [{
    Sets the scheme as the encoding of every `ganq.parameter` that is the
    weight of a `ganq.matmul`, in all functions alike. The output head (the
    product that makes the last result-bound logits of `@main`) keeps its
    precision unless `quantize-head` is set, and so does every key that the
    regular expression `exclude` matches. An `exclude` that matches no key is
    an error. Every choice is a remark.

    `scheme` is the name of a family, to which `bits`, `group` and `options`
    add, or an attribute's text without its dialect, such as
    `lut<bits = 3, rows = 8>`. `rules` is a YAML or JSON file with a list of
    rules; the first one whose `match` finds something in the key decides, and
    `scheme` is for the weights that no rule matches. A rule that decides on no
    weight is an error. The solver that a rule names becomes the attribute
    `ganq.solver` of the parameter.
  }];
  let options = [
    Option<"scheme", "scheme", "std::string", "\"lut\"",
           "`none`, `lut`, `uniform`, `pot`, `nf`, or an attribute's text">,
    Option<"bits", "bits", "std::string", "", "Bits of a code, 1 to 8">,
    Option<"group", "group", "std::string", "",
           "Columns per table or scale; 0 for whole rows">,
    ListOption<"schemeOptions", "options", "std::string",
               "Further options of the scheme: name=value">,
    Option<"rules", "rules", "std::string", "",
           "File of rules, for which `scheme` is the default">,
    Option<"exclude", "exclude", "std::string", "",
           "Keys that keep their precision (regular expression)">,
    Option<"quantizeHead", "quantize-head", "bool", "false",
           "Quantize the output head too">
  ];
  let dependentDialects = ["::ganq::GanqDialect"];
}

def InsertObservers : Pass<"ganq-insert-observers", "::mlir::ModuleOp"> {
  let summary = "Tap the inputs of the products that are to be quantized";
  let description = [{
    Inserts a `ganq.observe` before each `ganq.matmul` with an encoded weight
    in `@prefill` and `@decode`, or in `@main` where there are none. Products
    that read the same value share one observer. Values of another width are
    converted to f32. The module attribute `ganq.observers` maps each weight's
    key to the observer's number.
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect",
                           "::mlir::linalg::LinalgDialect",
                           "::mlir::tensor::TensorDialect"];
}

def CutStages : Pass<"ganq-cut-stages", "::mlir::ModuleOp"> {
  let summary = "Cut a model into functions at the inputs of its quantized products";
  let description = [{
    Replaces the functions of the module by @stage0, @stage1, ..., which
    together compute @prefill, or @main where there is none, up to the inputs of
    its last products with encoded weights. A value belongs to stage s if at most
    s such products lie on a way to it from an argument; so stage s reads the
    weights whose inputs stage s - 1 gives, and products that read values of one
    stage (queries, keys and values) fall into one stage. What depends on no
    argument is computed again wherever it is read.

    Arguments and results are numbered by `ganq.value`: a value that a later
    stage reads has the same number there; the arguments of the model come
    first. `ganq.taps` on a function lists the values that are inputs of encoded
    weights, with the keys of those. A weight that is used twice counts where
    its input is known first.

    @prefill is taken as called without past: its caches must be as long as its
    chunk.

    ```mlir
    func.func @stage1(%h: tensor<1x64x64xf32> {ganq.value = 1 : i64}, ...)
        -> (tensor<1x64x64xf32> {ganq.value = 3 : i64})
        attributes {ganq.taps = [ {value = 3 : i64, weights = ["o_proj"]} ]}
    ```
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect"];
}

def DropSchemes : Pass<"ganq-drop-schemes", "::mlir::ModuleOp"> {
  let summary = "Remove the schemes again, so that weights keep their precision";
  let description = [{
    The inverse of `ganq-assign-schemes`, for the run that calibrates.
  }];
}

def MaterializeSchemes
    : Pass<"ganq-materialize-schemes", "::mlir::ModuleOp"> {
  let summary = "Replace encoded weights by the tensors that are stored";
  let description = [{
    `ganq.matmul` with an encoded weight becomes `ganq.packed_matmul` on one
    `ganq.parameter` per component of the scheme, with the keys
    `<key>.<component>`.

    With activation bits, the product reads the records of a
    `ganq.quantize_rows`, which products of one input with the same bits, group,
    smoothing and order of codes share. `strategy` is `popcount` or `int8`;
    `auto` counts ones where a weight has one bit, the activation one or two,
    and groups are whole units. Smoothing becomes part of
    `ganq.quantize_rows` or, without activation bits, a division of its own; the
    offset of a shift is added to the bias. The scheme of the product no longer
    has either.
  }];
  let options = [
    Option<"strategy", "strategy", "std::string", "\"auto\"",
           "How codes are multiplied: `auto`, `int8` or `popcount`">
  ];
  let dependentDialects = ["::mlir::arith::ArithDialect",
                           "::mlir::linalg::LinalgDialect",
                           "::mlir::tensor::TensorDialect"];
}

#endif // GANQ_SCHEMES_PASSES_TD
