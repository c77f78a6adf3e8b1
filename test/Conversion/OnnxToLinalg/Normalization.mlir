// RUN: ganq-opt %s --convert-onnx-to-linalg --canonicalize --split-input-file | FileCheck %s

// CHECK-LABEL: func.func @rms_norm
// CHECK: math.sqrt
func.func @rms_norm(%a: tensor<2x8xf32>, %w: tensor<8xf32>) -> tensor<2x8xf32> {
  %0 = "onnx.RMSNormalization"(%a, %w) {epsilon = 1.0e-5 : f32} : (tensor<2x8xf32>, tensor<8xf32>) -> tensor<2x8xf32>
  return %0 : tensor<2x8xf32>
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
