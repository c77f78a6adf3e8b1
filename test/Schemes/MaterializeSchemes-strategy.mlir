// RUN: ganq-opt %s --ganq-materialize-schemes=strategy=popcount --split-input-file --verify-diagnostics | FileCheck %s
// RUN: not ganq-opt %s --ganq-materialize-schemes=strategy=table 2>&1 | FileCheck %s --check-prefix=NAME

// NAME: expected `strategy` to be auto, int8 or popcount, but got `table`

// CHECK-LABEL: func @forced
func.func @forced(%x: tensor<2x256xf32>) -> tensor<2x8xf32> {
  %w = ganq.parameter "w" : tensor<8x256xf32, #ganq.uniform<bits = 4, activation = 8>>
  // CHECK: ganq.quantize_rows %{{.*}} {bits = 8 : i64, plane_bits = 4 : i64}
  // CHECK: strategy = #ganq.strategy<popcount>
  %0 = ganq.matmul %x, %w : tensor<2x256xf32>, tensor<8x256xf32, #ganq.uniform<bits = 4, activation = 8>> -> tensor<2x8xf32>
  return %0 : tensor<2x8xf32>
}

// -----

func.func @impossible(%x: tensor<2x256xf32>) -> tensor<2x8xf32> {
  %w = ganq.parameter "w" : tensor<8x256xf32, #ganq.uniform<bits = 1, group = 64, activation = 1>>
  // expected-error @below {{expected groups of whole units, multiples of 128 columns, for strategy popcount, but got #ganq.uniform<bits = 1, group = 64, activation = 1>; use strategy int8 or another group}}
  %0 = ganq.matmul %x, %w : tensor<2x256xf32>, tensor<8x256xf32, #ganq.uniform<bits = 1, group = 64, activation = 1>> -> tensor<2x8xf32>
  return %0 : tensor<2x8xf32>
}

// -----

func.func @tables(%x: tensor<2x256xf32>) -> tensor<2x8xf32> {
  %w = ganq.parameter "w" : tensor<8x256xf32, #ganq.lut<bits = 1, entry = i8, activation = 1>>
  // expected-error @below {{expected strategy int8 or auto with tables, but got popcount, which counts the bits of codes}}
  %0 = ganq.matmul %x, %w : tensor<2x256xf32>, tensor<8x256xf32, #ganq.lut<bits = 1, entry = i8, activation = 1>> -> tensor<2x8xf32>
  return %0 : tensor<2x8xf32>
}
