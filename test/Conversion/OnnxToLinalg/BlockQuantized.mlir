// RUN: ganq-opt %s --convert-onnx-to-linalg --split-input-file | FileCheck %s

// The packed bytes are read where a weight is used: shift, mask, zero, scale.
// CHECK-LABEL: func.func @nbits
func.func @nbits(%a: tensor<2x64xf32>, %b: tensor<4x2x16xui8>, %scales: tensor<8xf32>) -> tensor<2x4xf32> {
  // CHECK: linalg.generic
  // CHECK: arith.shrui
  // CHECK: arith.andi
  // CHECK: arith.mulf
  // CHECK: linalg.yield
  // CHECK-NOT: onnx.
  %0 = "onnx.com.microsoft.MatMulNBits"(%a, %b, %scales) {K = 64 : i64, N = 4 : i64, bits = 4 : i64, block_size = 32 : i64} : (tensor<2x64xf32>, tensor<4x2x16xui8>, tensor<8xf32>) -> tensor<2x4xf32>
  return %0 : tensor<2x4xf32>
}

// -----

// CHECK-LABEL: func.func @bnb4
func.func @bnb4(%a: tensor<2x64xf32>, %b: tensor<128xui8>, %absmax: tensor<4xf32>) -> tensor<2x4xf32> {
  // CHECK: arith.constant dense<{{.*}}> : tensor<16xf32>
  // CHECK: tensor.extract
  %0 = "onnx.com.microsoft.MatMulBnb4"(%a, %b, %absmax) {K = 64 : i64, N = 4 : i64, block_size = 64 : i64, quant_type = 1 : i64} : (tensor<2x64xf32>, tensor<128xui8>, tensor<4xf32>) -> tensor<2x4xf32>
  return %0 : tensor<2x4xf32>
}

// -----

// A row of codes is found by its index, decoded with the scale of its block.
// CHECK-LABEL: func.func @gather
func.func @gather(%data: tensor<8x16xui8>, %i: tensor<?xi64>, %scales: tensor<8x1xf16>) -> tensor<?x32xf16> {
  // CHECK: cf.assert {{.*}}expected indices within the dimension of 8
  // CHECK: linalg.generic
  // CHECK: arith.shrui
  // CHECK: arith.subi
  // CHECK: arith.mulf %{{.*}} : f32
  %0 = "onnx.com.microsoft.GatherBlockQuantized"(%data, %i, %scales) {bits = 4 : i64, block_size = 32 : i64} : (tensor<8x16xui8>, tensor<?xi64>, tensor<8x1xf16>) -> tensor<?x32xf16>
  return %0 : tensor<?x32xf16>
}
