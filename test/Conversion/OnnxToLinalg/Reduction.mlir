// RUN: ganq-opt %s --convert-onnx-to-linalg --canonicalize --split-input-file | FileCheck %s

// CHECK-LABEL: func.func @softmax
// CHECK: arith.maximumf
// CHECK: math.exp
// CHECK: iterator_types = ["parallel", "reduction"]
// CHECK: arith.divf
func.func @softmax(%a: tensor<2x8xf32>) -> tensor<2x8xf32> {
  %0 = "onnx.Softmax"(%a) {axis = -1 : i64} : (tensor<2x8xf32>) -> tensor<2x8xf32>
  return %0 : tensor<2x8xf32>
}

// -----

// The axes are known at run time only.
// CHECK-LABEL: func.func @reduce
// CHECK: linalg.generic
// CHECK: scf.for
// CHECK: scf.for
// CHECK: arith.addf
func.func @reduce(%a: tensor<3x4xf32>, %axes: tensor<1xi64>) -> tensor<?x?xf32> {
  %0 = "onnx.ReduceSum"(%a, %axes) {keepdims = 1 : i64} : (tensor<3x4xf32>, tensor<1xi64>) -> tensor<?x?xf32>
  return %0 : tensor<?x?xf32>
}
