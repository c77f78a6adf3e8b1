// RUN: ganq-opt %s --convert-onnx-to-linalg | FileCheck %s

// CHECK-LABEL: func.func @add
// CHECK-SAME: (%[[A:.*]]: tensor<2x3xf32>, %[[B:.*]]: tensor<3xf32>) -> tensor<2x3xf32>
// CHECK: linalg.generic
// CHECK-SAME: ins(%[[A]], %[[B]] : tensor<2x3xf32>, tensor<3xf32>)
// CHECK: arith.addf
// CHECK-NOT: onnx.
func.func @add(%a: tensor<2x3xf32>, %b: tensor<3xf32>) -> tensor<2x3xf32> {
  %0 = "onnx.Add"(%a, %b) : (tensor<2x3xf32>, tensor<3xf32>) -> tensor<2x3xf32>
  return %0 : tensor<2x3xf32>
}

// Either size may be 1 at run time: sizes are checked and elements are read at
// clamped indices.
// CHECK-LABEL: func.func @dynamic_broadcast
// CHECK: cf.assert %{{.*}}, "Mul 'scale': expected sizes that broadcast
// CHECK: linalg.generic
// CHECK: arith.minsi
// CHECK: tensor.extract
// CHECK: arith.minsi
// CHECK: tensor.extract
// CHECK: arith.mulf
func.func @dynamic_broadcast(%a: tensor<?xf32>, %b: tensor<?xf32>) -> tensor<?xf32> {
  %0 = "onnx.Mul"(%a, %b) {onnx.node = "scale"} : (tensor<?xf32>, tensor<?xf32>) -> tensor<?xf32>
  return %0 : tensor<?xf32>
}

// Results of one operator have equal sizes; no check, no clamping.
// CHECK-LABEL: func.func @residual
// CHECK: math.exp
// CHECK-NOT: cf.assert
// CHECK: linalg.generic
// CHECK-SAME: ins(%{{.*}}, %{{.*}} : tensor<?xf32>, tensor<?xf32>)
func.func @residual(%a: tensor<?xf32>) -> tensor<?xf32> {
  %0 = "onnx.Exp"(%a) : (tensor<?xf32>) -> tensor<?xf32>
  %1 = "onnx.Add"(%a, %0) : (tensor<?xf32>, tensor<?xf32>) -> tensor<?xf32>
  return %1 : tensor<?xf32>
}

// CHECK-LABEL: func.func @unsigned_division
// CHECK-SAME: (%{{.*}}: tensor<4xi8>, %{{.*}}: tensor<4xi8>) -> tensor<4xi8>
// CHECK: arith.divui
func.func @unsigned_division(%a: tensor<4xui8>, %b: tensor<4xui8>) -> tensor<4xui8> {
  %0 = "onnx.Div"(%a, %b) : (tensor<4xui8>, tensor<4xui8>) -> tensor<4xui8>
  return %0 : tensor<4xui8>
}

// CHECK-LABEL: func.func @half
// CHECK: arith.extf %{{.*}} : f16 to f32
// CHECK: math.tanh %{{.*}} : f32
// CHECK: arith.truncf %{{.*}} : f32 to f16
func.func @half(%a: tensor<4xf16>) -> tensor<4xf16> {
  %0 = "onnx.Tanh"(%a) : (tensor<4xf16>) -> tensor<4xf16>
  return %0 : tensor<4xf16>
}

// CHECK-LABEL: func.func @round
// CHECK: math.roundeven
func.func @round(%a: tensor<4xf32>) -> tensor<4xf32> {
  %0 = "onnx.Round"(%a) : (tensor<4xf32>) -> tensor<4xf32>
  return %0 : tensor<4xf32>
}
