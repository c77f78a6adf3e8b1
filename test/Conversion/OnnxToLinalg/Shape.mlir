// RUN: ganq-opt %s --convert-onnx-to-linalg --canonicalize --split-input-file | FileCheck %s

// CHECK-LABEL: func.func @static_reshape
// CHECK: tensor.collapse_shape
// CHECK-NEXT: return
func.func @static_reshape(%a: tensor<2x3x4xf32>) -> tensor<6x4xf32> {
  %shape = "onnx.Constant"() {value = dense<[-1, 4]> : tensor<2xi64>} : () -> tensor<2xi64>
  %0 = "onnx.Reshape"(%a, %shape) : (tensor<2x3x4xf32>, tensor<2xi64>) -> tensor<6x4xf32>
  return %0 : tensor<6x4xf32>
}

// -----

// CHECK-LABEL: func.func @runtime_reshape
// CHECK-SAME: (%[[A:.*]]: tensor<?x4xf32>, %[[S:.*]]: tensor<2xi64>)
// CHECK: tensor.extract %[[S]][%c0]
// CHECK: tensor.extract %[[S]][%c1]
// CHECK: cf.assert %{{.*}}, "Reshape: expected as many elements as the operand has"
// CHECK: tensor.reshape
func.func @runtime_reshape(%a: tensor<?x4xf32>, %shape: tensor<2xi64>) -> tensor<?x?xf32> {
  %0 = "onnx.Reshape"(%a, %shape) : (tensor<?x4xf32>, tensor<2xi64>) -> tensor<?x?xf32>
  return %0 : tensor<?x?xf32>
}
