// RUN: not ganq-opt %s --ganq-verify-input 2>&1 | FileCheck %s

// CHECK: error: expected a model that can be compiled, but got 2 unsupported operators
// CHECK: note: op com.example.Strange: 3 nodes (first, second, ...)
// CHECK: note: op SequenceConstruct: 1 node (list)
// CHECK: note: input words: values of type 'tensor<2x!onnx.string>'
func.func @main(%x: tensor<2xf32> {onnx.name = "x"}, %s: tensor<2x!onnx.string> {onnx.name = "words"}) -> tensor<2xf32> {
  %c = "onnx.Constant"() {value = dense<0> : tensor<i64>} : () -> tensor<i64>
  %0 = "onnx.com.example.Strange"(%x) {onnx.node = "first"} : (tensor<2xf32>) -> tensor<2xf32>
  %1 = "onnx.com.example.Strange"(%0) {onnx.node = "second"} : (tensor<2xf32>) -> tensor<2xf32>
  %2 = "onnx.com.example.Strange"(%1) : (tensor<2xf32>) -> tensor<2xf32>
  %3 = "onnx.SequenceConstruct"(%2) {onnx.node = "list"} : (tensor<2xf32>) -> !onnx.sequence<tensor<2xf32>>
  return %2 : tensor<2xf32>
}
