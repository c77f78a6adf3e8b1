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

// -----

// CHECK-LABEL: func.func @matmul
// CHECK: iterator_types = ["parallel", "parallel", "parallel", "reduction"]
// CHECK: arith.mulf
func.func @matmul(%a: tensor<5x2x3xf32>, %b: tensor<3x4xf32>) -> tensor<5x2x4xf32> {
  %0 = "onnx.MatMul"(%a, %b) : (tensor<5x2x3xf32>, tensor<3x4xf32>) -> tensor<5x2x4xf32>
  return %0 : tensor<5x2x4xf32>
}

// -----

// CHECK-LABEL: func.func @rms_norm
// CHECK: math.sqrt
func.func @rms_norm(%a: tensor<2x8xf32>, %w: tensor<8xf32>) -> tensor<2x8xf32> {
  %0 = "onnx.RMSNormalization"(%a, %w) {epsilon = 1.0e-5 : f32} : (tensor<2x8xf32>, tensor<8xf32>) -> tensor<2x8xf32>
  return %0 : tensor<2x8xf32>
}

// -----

// CHECK-LABEL: func.func @quantize
// CHECK-SAME: -> tensor<4xi8>
// CHECK: math.roundeven
// CHECK: arith.minimumf
// CHECK: arith.maximumf
func.func @quantize(%a: tensor<4xf32>, %s: tensor<f32>, %z: tensor<ui8>) -> tensor<4xui8> {
  %0 = "onnx.QuantizeLinear"(%a, %s, %z) : (tensor<4xf32>, tensor<f32>, tensor<ui8>) -> tensor<4xui8>
  return %0 : tensor<4xui8>
}

// -----

// Results that are left out have type none.
// CHECK-LABEL: func.func @skip_norm
// CHECK: math.sqrt
// CHECK: return %{{.*}}, %{{.*}} : tensor<2x8xf32>, tensor<2x8xf32>
func.func @skip_norm(%a: tensor<2x8xf32>, %b: tensor<2x8xf32>, %w: tensor<8xf32>) -> (tensor<2x8xf32>, tensor<2x8xf32>) {
  %0:4 = "onnx.com.microsoft.SkipSimplifiedLayerNormalization"(%a, %b, %w) {epsilon = 1.0e-5 : f32} : (tensor<2x8xf32>, tensor<2x8xf32>, tensor<8xf32>) -> (tensor<2x8xf32>, none, none, tensor<2x8xf32>)
  return %0#0, %0#3 : tensor<2x8xf32>, tensor<2x8xf32>
}
