// RUN: ganq-opt %s --ganq-materialize-schemes | FileCheck %s

// CHECK-LABEL: func @main
func.func @main(%x: tensor<2x64xf32>, %b: tensor<130xf32>) -> tensor<2x130xf32> {
  %up = ganq.parameter "up" from <"m.onnx", 0, 33280> : tensor<130x64xf32, #ganq.lut<bits = 3>>
  // 33 row tiles of 4 rows; K = 64 takes one unit of two bits and one of one.
  // CHECK: %[[CODES:.*]] = ganq.parameter "up.codes" : tensor<4224xi8>
  // CHECK: %[[TABLE:.*]] = ganq.parameter "up.table" : tensor<132x1x8xf16>
  // CHECK: ganq.packed_matmul %{{.*}} weight(%[[CODES]], %[[TABLE]] : tensor<4224xi8>, tensor<132x1x8xf16>) bias(%{{.*}} : tensor<130xf32>) {k = 64 : i64, n = 130 : i64, scheme = #ganq.lut<bits = 3>}
  %0 = ganq.matmul %x, %up bias(%b : tensor<130xf32>) : tensor<2x64xf32>, tensor<130x64xf32, #ganq.lut<bits = 3>> -> tensor<2x130xf32>
  return %0 : tensor<2x130xf32>
}

// CHECK-LABEL: func @uniform
func.func @uniform(%x: tensor<2x256xf32>) -> tensor<2x8xf32> {
  %w = ganq.parameter "w" : tensor<8x256xf32, #ganq.uniform<bits = 4, group = 128>>
  // CHECK: ganq.parameter "w.codes" : tensor<1024xi8>
  // CHECK: ganq.parameter "w.scale" : tensor<8x2xf16>
  // CHECK: ganq.parameter "w.zero" : tensor<8x2xi8>
  %0 = ganq.matmul %x, %w : tensor<2x256xf32>, tensor<8x256xf32, #ganq.uniform<bits = 4, group = 128>> -> tensor<2x8xf32>
  return %0 : tensor<2x8xf32>
}
