// RUN: ganq-opt %s --convert-onnx-to-linalg --canonicalize | FileCheck %s

// CHECK-LABEL: func.func @static_reshape
// CHECK: tensor.collapse_shape
// CHECK-NEXT: return
func.func @static_reshape(%a: tensor<2x3x4xf32>) -> tensor<6x4xf32> {
  %shape = "onnx.Constant"() {value = dense<[-1, 4]> : tensor<2xi64>} : () -> tensor<2xi64>
  %0 = "onnx.Reshape"(%a, %shape) : (tensor<2x3x4xf32>, tensor<2xi64>) -> tensor<6x4xf32>
  return %0 : tensor<6x4xf32>
}

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

// CHECK-LABEL: func.func @slice
// CHECK: tensor.extract_slice %{{.*}}[0, 2] [3, 6] [1, 1] : tensor<3x8xf32> to tensor<3x6xf32>
func.func @slice(%a: tensor<3x8xf32>) -> tensor<3x6xf32> {
  %start = "onnx.Constant"() {value = dense<2> : tensor<1xi64>} : () -> tensor<1xi64>
  %end = "onnx.Constant"() {value = dense<9223372036854775807> : tensor<1xi64>} : () -> tensor<1xi64>
  %axis = "onnx.Constant"() {value = dense<-1> : tensor<1xi64>} : () -> tensor<1xi64>
  %0 = "onnx.Slice"(%a, %start, %end, %axis) : (tensor<3x8xf32>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<3x6xf32>
  return %0 : tensor<3x6xf32>
}

// CHECK-LABEL: func.func @concat
// CHECK: tensor.insert_slice
// CHECK: tensor.insert_slice %{{.*}} into %{{.*}}[2, 0] [1, 4] [1, 1]
func.func @concat(%a: tensor<2x4xf32>, %b: tensor<1x4xf32>) -> tensor<3x4xf32> {
  %0 = "onnx.Concat"(%a, %b) {axis = 0 : i64} : (tensor<2x4xf32>, tensor<1x4xf32>) -> tensor<3x4xf32>
  return %0 : tensor<3x4xf32>
}

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

// CHECK-LABEL: func.func @choose
// CHECK: scf.if
// CHECK: scf.yield
// CHECK: else
func.func @choose(%c: tensor<i1>, %a: tensor<4xf32>) -> tensor<4xf32> {
  %0 = "onnx.If"(%c) ({
    %1 = "onnx.Neg"(%a) : (tensor<4xf32>) -> tensor<4xf32>
    "onnx.Yield"(%1) : (tensor<4xf32>) -> ()
  }, {
    "onnx.Yield"(%a) : (tensor<4xf32>) -> ()
  }) : (tensor<i1>) -> tensor<4xf32>
  return %0 : tensor<4xf32>
}
