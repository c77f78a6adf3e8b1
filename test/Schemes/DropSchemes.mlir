// RUN: ganq-opt %s --ganq-drop-schemes | FileCheck %s

// CHECK-LABEL: func @main
func.func @main(%x: tensor<2x64xf32>) -> tensor<2x128xf32> {
  // CHECK: ganq.parameter "up" transposed : tensor<128x64xf32>{{$}}
  %up = ganq.parameter "up" transposed : tensor<128x64xf32, #ganq.lut<bits = 3>>
  %0 = ganq.matmul %x, %up : tensor<2x64xf32>, tensor<128x64xf32, #ganq.lut<bits = 3>> -> tensor<2x128xf32>
  return %0 : tensor<2x128xf32>
}
