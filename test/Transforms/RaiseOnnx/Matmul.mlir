// RUN: ganq-opt %s --ganq-raise-onnx | FileCheck %s

// CHECK-LABEL: func.func @projection(
// CHECK-SAME: %[[X:.*]]: tensor<?x8x64xf32>
// CHECK: %[[W:.*]] = ganq.parameter "w" from <"m.onnx", 0, 8192> transposed : tensor<32x64xf32>
// CHECK: %[[B:.*]] = ganq.parameter "b"
// CHECK: %[[Y:.*]] = ganq.matmul %[[X]], %[[W]] bias(%[[B]] : tensor<32xf32>)
// CHECK-SAME: {onnx.node = "q_proj"}
// CHECK: return %[[Y]]
func.func @projection(%x: tensor<?x8x64xf32>) -> tensor<?x8x32xf32> {
  %w = ganq.parameter "w" from <"m.onnx", 0, 8192> : tensor<64x32xf32>
  %b = ganq.parameter "b" : tensor<32xf32>
  %0 = "onnx.MatMul"(%x, %w) {onnx.node = "q_proj"} : (tensor<?x8x64xf32>, tensor<64x32xf32>) -> tensor<?x8x32xf32>
  %1 = "onnx.Add"(%b, %0) : (tensor<32xf32>, tensor<?x8x32xf32>) -> tensor<?x8x32xf32>
  return %1 : tensor<?x8x32xf32>
}

// A Linear layer as torch exports it: the weight is stored [N, K].

// CHECK-LABEL: func.func @transposed_weight(
// CHECK: %[[W:.*]] = ganq.parameter "w" : tensor<32x64xf16>
// CHECK: ganq.matmul %{{.*}}, %[[W]] : tensor<8x64xf16>, tensor<32x64xf16> -> tensor<8x32xf16>
func.func @transposed_weight(%x: tensor<8x64xf16>) -> tensor<8x32xf16> {
  %w = ganq.parameter "w" : tensor<32x64xf16>
  %t = "onnx.Transpose"(%w) {perm = array<i64: 1, 0>} : (tensor<32x64xf16>) -> tensor<64x32xf16>
  %0 = "onnx.MatMul"(%x, %t) : (tensor<8x64xf16>, tensor<64x32xf16>) -> tensor<8x32xf16>
  return %0 : tensor<8x32xf16>
}

// CHECK-LABEL: func.func @gemm(
// CHECK: %[[W:.*]] = ganq.parameter "w" : tensor<32x64xf32>
// CHECK: ganq.matmul %{{.*}}, %[[W]] bias(%{{.*}} : tensor<32xf32>)
func.func @gemm(%x: tensor<8x64xf32>) -> tensor<8x32xf32> {
  %w = ganq.parameter "w" : tensor<32x64xf32>
  %b = ganq.parameter "b" : tensor<32xf32>
  %0 = "onnx.Gemm"(%x, %w, %b) {transB = 1 : i64} : (tensor<8x64xf32>, tensor<32x64xf32>, tensor<32xf32>) -> tensor<8x32xf32>
  return %0 : tensor<8x32xf32>
}

// CHECK-LABEL: func.func @scaled_gemm(
// CHECK: %[[W:.*]] = ganq.parameter "w" transposed : tensor<32x64xf32>
// CHECK: %[[Y:.*]] = ganq.matmul %{{.*}}, %[[W]] : tensor<8x64xf32>
// CHECK: %[[A:.*]] = "onnx.Mul"(%[[Y]], %{{.*}})
// CHECK: %[[B:.*]] = "onnx.Mul"(%{{.*}}, %{{.*}}) : (tensor<8x32xf32>, tensor<f32>)
// CHECK: "onnx.Add"(%[[A]], %[[B]])
func.func @scaled_gemm(%x: tensor<8x64xf32>, %c: tensor<8x32xf32>) -> tensor<8x32xf32> {
  %w = ganq.parameter "w" : tensor<64x32xf32>
  %0 = "onnx.Gemm"(%x, %w, %c) {alpha = 0.5 : f32, beta = 2.0 : f32} : (tensor<8x64xf32>, tensor<64x32xf32>, tensor<8x32xf32>) -> tensor<8x32xf32>
  return %0 : tensor<8x32xf32>
}

// A product of two computed matrices, a transposed x, and a bias with a second
// user of the product stay.

// CHECK-LABEL: func.func @not_weights(
// CHECK: "onnx.MatMul"
// CHECK: "onnx.Gemm"
// CHECK: %[[Y:.*]] = ganq.matmul %{{.*}}, %{{.*}} : tensor<8x64xf32>
// CHECK: "onnx.Add"(%[[Y]]
func.func @not_weights(%x: tensor<8x64xf32>, %y: tensor<64x8xf32>)
    -> (tensor<8x8xf32>, tensor<8x32xf32>, tensor<8x32xf32>, tensor<8x32xf32>) {
  %w = ganq.parameter "w" : tensor<64x32xf32>
  %b = ganq.parameter "b" : tensor<32xf32>
  %0 = "onnx.MatMul"(%x, %y) : (tensor<8x64xf32>, tensor<64x8xf32>) -> tensor<8x8xf32>
  %1 = "onnx.Gemm"(%y, %w) {transA = 1 : i64} : (tensor<64x8xf32>, tensor<64x32xf32>) -> tensor<8x32xf32>
  %2 = "onnx.MatMul"(%x, %w) : (tensor<8x64xf32>, tensor<64x32xf32>) -> tensor<8x32xf32>
  %3 = "onnx.Add"(%2, %b) : (tensor<8x32xf32>, tensor<32xf32>) -> tensor<8x32xf32>
  return %0, %1, %2, %3 : tensor<8x8xf32>, tensor<8x32xf32>, tensor<8x32xf32>, tensor<8x32xf32>
}
