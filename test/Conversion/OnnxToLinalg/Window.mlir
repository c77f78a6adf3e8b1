// RUN: ganq-opt %s --convert-onnx-to-linalg --canonicalize | FileCheck %s

// Elements beyond the border count as nothing.
// CHECK-LABEL: func.func @conv
// CHECK: linalg.generic
// CHECK-COUNT-3: scf.for
// CHECK-COUNT-2: arith.cmpi ult
// CHECK: scf.if
// CHECK: tensor.extract %arg0
// CHECK: else
// CHECK: arith.mulf
// CHECK: arith.addf
func.func @conv(%a: tensor<1x2x5x5xf32>, %w: tensor<3x2x3x3xf32>) -> tensor<1x3x5x5xf32> {
  %0 = "onnx.Conv"(%a, %w) {pads = array<i64: 1, 1, 1, 1>, kernel_shape = array<i64: 3, 3>} : (tensor<1x2x5x5xf32>, tensor<3x2x3x3xf32>) -> tensor<1x3x5x5xf32>
  return %0 : tensor<1x3x5x5xf32>
}
