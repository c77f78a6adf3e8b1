// RUN: ganq-opt %s --convert-onnx-to-linalg --canonicalize | FileCheck %s

// CHECK-LABEL: func.func @cross_entropy
// CHECK: math.exp
// CHECK: math.log
// CHECK: arith.divf
func.func @cross_entropy(%a: tensor<4x8xf32>, %labels: tensor<4xi64>) -> tensor<f32> {
  %0 = "onnx.SoftmaxCrossEntropyLoss"(%a, %labels) {reduction = "mean"} : (tensor<4x8xf32>, tensor<4xi64>) -> tensor<f32>
  return %0 : tensor<f32>
}
