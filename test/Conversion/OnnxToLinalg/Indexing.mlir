// RUN: ganq-opt %s --convert-onnx-to-linalg --canonicalize | FileCheck %s

// Indices count from the end if negative and stay in range.
// CHECK-LABEL: func.func @gather
// CHECK: linalg.generic
// CHECK: %[[I:.*]] = tensor.extract %arg1
// CHECK: arith.cmpi slt
// CHECK: arith.minsi
// CHECK: arith.maxsi
// CHECK: tensor.extract %arg0
func.func @gather(%a: tensor<10x4xf32>, %i: tensor<?xi64>) -> tensor<?x4xf32> {
  %0 = "onnx.Gather"(%a, %i) {axis = 0 : i64} : (tensor<10x4xf32>, tensor<?xi64>) -> tensor<?x4xf32>
  return %0 : tensor<?x4xf32>
}
