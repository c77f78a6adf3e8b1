// RUN: ganq-opt %s --split-input-file --ganq-assign-schemes="scheme=lut bits=3 exclude=skip" --verify-diagnostics | FileCheck %s

// CHECK-LABEL: func @main
func.func @main(%x: tensor<2x64xf32>, %ids: tensor<2xi64>) -> tensor<2x32xf32> {
  // CHECK: ganq.parameter "up" from <"m.onnx", 0, 32768> transposed : tensor<128x64xf32, #ganq.lut<bits = 3>>
  // expected-remark @below {{scheme lut3: up}}
  %up = ganq.parameter "up" from <"m.onnx", 0, 32768> transposed : tensor<128x64xf32>
  // CHECK: ganq.parameter "skip.me" : tensor<64x128xf32>{{$}}
  // expected-remark @below {{keeps its precision: excluded by `skip`: skip.me}}
  %down = ganq.parameter "skip.me" : tensor<64x128xf32>
  // CHECK: ganq.parameter "head" : tensor<32x64xf32>{{$}}
  // expected-remark @below {{keeps its precision: output head: head}}
  %head = ganq.parameter "head" : tensor<32x64xf32>
  %0 = ganq.matmul %x, %up : tensor<2x64xf32>, tensor<128x64xf32> -> tensor<2x128xf32>
  %1 = ganq.matmul %0, %down : tensor<2x128xf32>, tensor<64x128xf32> -> tensor<2x64xf32>
  %2 = ganq.matmul %1, %head : tensor<2x64xf32>, tensor<32x64xf32> -> tensor<2x32xf32>
  return %2 : tensor<2x32xf32>
}

// -----

// expected-error @below {{expected `exclude` to match at least one weight, but `skip` matches none of 1}}
module {
  func.func @main(%x: tensor<2x64xf32>) {
    // expected-remark @below {{scheme lut3: up}}
    %up = ganq.parameter "up" : tensor<128x64xf32>
    %0 = ganq.matmul %x, %up : tensor<2x64xf32>, tensor<128x64xf32> -> tensor<2x128xf32>
    return
  }
}
