// RUN: ganq-opt %s --split-input-file --ganq-insert-observers | FileCheck %s

// Two products of one value share an observer; plain weights have none.
// CHECK: module attributes {ganq.observers = {gate = 0 : i64, up = 0 : i64}}
// CHECK-LABEL: func @main
func.func @main(%x: tensor<2x64xf32>) -> tensor<2x64xf32> {
  %gate = ganq.parameter "gate" : tensor<128x64xf32, #ganq.lut<bits = 4>>
  %up = ganq.parameter "up" : tensor<128x64xf32, #ganq.lut<bits = 4>>
  %down = ganq.parameter "down" : tensor<64x128xf32>
  // CHECK: ganq.observe %{{.*}} as "gate" 0 : tensor<2x64xf32>
  // CHECK-NOT: ganq.observe
  %0 = ganq.matmul %x, %gate : tensor<2x64xf32>, tensor<128x64xf32, #ganq.lut<bits = 4>> -> tensor<2x128xf32>
  %1 = ganq.matmul %x, %up : tensor<2x64xf32>, tensor<128x64xf32, #ganq.lut<bits = 4>> -> tensor<2x128xf32>
  %2 = ganq.swiglu %0, %1 : tensor<2x128xf32>, tensor<2x128xf32> -> tensor<2x128xf32>
  %3 = ganq.matmul %2, %down : tensor<2x128xf32>, tensor<64x128xf32> -> tensor<2x64xf32>
  // CHECK: return
  return %3 : tensor<2x64xf32>
}

// -----

// The host reads f32.
// CHECK-LABEL: func @main
func.func @main(%x: tensor<1x?x64xf16>) -> tensor<1x?x128xf16> {
  %w = ganq.parameter "w" : tensor<128x64xf16, #ganq.lut<bits = 4>>
  // CHECK: %[[X:.*]] = linalg.generic {{.*}} ins(%{{.*}} : tensor<1x?x64xf16>)
  // CHECK: arith.extf
  // CHECK: ganq.observe %[[X]] as "w" 0 : tensor<1x?x64xf32>
  // CHECK: ganq.matmul %{{.*}} : tensor<1x?x64xf16>
  %0 = ganq.matmul %x, %w : tensor<1x?x64xf16>, tensor<128x64xf16, #ganq.lut<bits = 4>> -> tensor<1x?x128xf16>
  return %0 : tensor<1x?x128xf16>
}
