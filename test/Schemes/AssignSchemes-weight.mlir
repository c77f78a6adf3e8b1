// RUN: not ganq-opt %s --ganq-assign-schemes="scheme=lut options=full-rows=9 quantize-head" 2>&1 | FileCheck %s

// An error about a weight names the weight and the option.
// CHECK: error: {{.*}}weight 'up': expected full_rows (--full-rows) to be at most the 8 rows of the weight, but got 9
func.func @main(%x: tensor<2x64xf32>) -> tensor<2x8xf32> {
  %up = ganq.parameter "up" : tensor<8x64xf32>
  %0 = ganq.matmul %x, %up : tensor<2x64xf32>, tensor<8x64xf32> -> tensor<2x8xf32>
  return %0 : tensor<2x8xf32>
}
