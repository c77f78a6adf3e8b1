// RUN: ganq-opt %s --ganq-raise-onnx | FileCheck %s

// CHECK-LABEL: func.func @swiglu(
// CHECK-SAME: %[[GATE:.*]]: tensor<?x16xf32>, %[[UP:.*]]: tensor<?x16xf32>
// CHECK-NEXT: %[[Y:.*]] = ganq.swiglu %[[GATE]], %[[UP]]
// CHECK-NEXT: return %[[Y]]
func.func @swiglu(%gate: tensor<?x16xf32>, %up: tensor<?x16xf32>) -> tensor<?x16xf32> {
  %0 = "onnx.Sigmoid"(%gate) : (tensor<?x16xf32>) -> tensor<?x16xf32>
  %1 = "onnx.Mul"(%gate, %0) : (tensor<?x16xf32>, tensor<?x16xf32>) -> tensor<?x16xf32>
  %2 = "onnx.Mul"(%1, %up) : (tensor<?x16xf32>, tensor<?x16xf32>) -> tensor<?x16xf32>
  return %2 : tensor<?x16xf32>
}

// CHECK-LABEL: func.func @swish(
// CHECK-SAME: %[[GATE:.*]]: tensor<4x16xf32>, %[[UP:.*]]: tensor<4x16xf32>
// CHECK-NEXT: ganq.swiglu %[[GATE]], %[[UP]]
func.func @swish(%gate: tensor<4x16xf32>, %up: tensor<4x16xf32>) -> tensor<4x16xf32> {
  %0 = "onnx.com.microsoft.QuickGelu"(%gate) {alpha = 1.0 : f32} : (tensor<4x16xf32>) -> tensor<4x16xf32>
  %1 = "onnx.Mul"(%up, %0) : (tensor<4x16xf32>, tensor<4x16xf32>) -> tensor<4x16xf32>
  return %1 : tensor<4x16xf32>
}

// The sigmoid is of another value, or the product broadcasts.

// CHECK-LABEL: func.func @not_swiglu(
// CHECK-NOT: ganq.swiglu
// CHECK: return
func.func @not_swiglu(%gate: tensor<4x16xf32>, %up: tensor<4x16xf32>, %row: tensor<1x16xf32>)
    -> (tensor<4x16xf32>, tensor<4x16xf32>) {
  %0 = "onnx.Sigmoid"(%up) : (tensor<4x16xf32>) -> tensor<4x16xf32>
  %1 = "onnx.Mul"(%gate, %0) : (tensor<4x16xf32>, tensor<4x16xf32>) -> tensor<4x16xf32>
  %2 = "onnx.Mul"(%1, %gate) : (tensor<4x16xf32>, tensor<4x16xf32>) -> tensor<4x16xf32>
  %3 = "onnx.Sigmoid"(%gate) : (tensor<4x16xf32>) -> tensor<4x16xf32>
  %4 = "onnx.Mul"(%gate, %3) : (tensor<4x16xf32>, tensor<4x16xf32>) -> tensor<4x16xf32>
  %5 = "onnx.Mul"(%4, %row) : (tensor<4x16xf32>, tensor<1x16xf32>) -> tensor<4x16xf32>
  return %2, %5 : tensor<4x16xf32>, tensor<4x16xf32>
}
