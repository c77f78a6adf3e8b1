// RUN: not ganq-opt %s --ganq-verify-input 2>&1 | FileCheck %s

// CHECK: error: expected a model that can be compiled, but got 2 unsupported operators, 1 unsupported type, 1 unsupported input
// CHECK: note: op com.example.Strange: 3 nodes ("first", "second", ...)
// CHECK: note: op SequenceConstruct: 1 node ("list")
// CHECK: note: values of type 'tensor<2x!onnx.string>': 1 node ("spell")
// CHECK: note: input "words": values of type 'tensor<2x!onnx.string>'
func.func @main(%x: tensor<2xf32> {onnx.name = "x"}, %s: tensor<2x!onnx.string> {onnx.name = "words"}) -> tensor<2xf32> {
  %c = "onnx.Constant"() {value = dense<0> : tensor<i64>} : () -> tensor<i64>
  %n = "onnx.None"() : () -> none
  %0 = "onnx.com.example.Strange"(%x) {onnx.node = "first"} : (tensor<2xf32>) -> tensor<2xf32>
  %1 = "onnx.com.example.Strange"(%0) {onnx.node = "second"} : (tensor<2xf32>) -> tensor<2xf32>
  %2 = "onnx.com.example.Strange"(%1) : (tensor<2xf32>) -> tensor<*x!onnx.any>
  %3 = "onnx.SequenceConstruct"(%2) {onnx.node = "list"} : (tensor<*x!onnx.any>) -> !onnx.sequence<tensor<2xf32>>
  %4 = "onnx.Cast"(%x) {onnx.node = "spell", to = 8} : (tensor<2xf32>) -> tensor<2x!onnx.string>
  %5 = "onnx.Relu"(%2) {onnx.node = "unknown"} : (tensor<*x!onnx.any>) -> tensor<*x!onnx.any>
  return %0 : tensor<2xf32>
}
