// RUN: ganq-opt %s --ganq-group-products | FileCheck %s

// Products of one x follow one another, their weights and biases come first;
// another x is left alone.
// CHECK-LABEL: func.func @layer(
// CHECK-SAME:    %[[X:[^:]*]]: tensor<1x4x64xf32>
// CHECK-DAG:     %[[WQ:.*]] = ganq.parameter "q"
// CHECK-DAG:     %[[WK:.*]] = ganq.parameter "k.codes"
// CHECK-DAG:     %[[WV:.*]] = ganq.parameter "v"
// CHECK-DAG:     %[[B:.*]] = arith.addf
// CHECK:         %[[Q:.*]] = ganq.matmul %[[X]], %[[WQ]]
// CHECK-NEXT:    ganq.packed_matmul %[[X]] weight(%[[WK]]
// CHECK-NEXT:    ganq.matmul %[[X]], %[[WV]] bias(%[[B]]
// CHECK:         arith.negf %[[Q]]
// CHECK:         ganq.matmul %[[Q]]
func.func @layer(%x: tensor<1x4x64xf32>, %b: tensor<16xf32>)
    -> (tensor<1x4x64xf32>, tensor<1x4x16xf32>, tensor<1x4x16xf32>, tensor<1x4x16xf32>) {
  %wq = ganq.parameter "q" : tensor<64x64xf32>
  %q = ganq.matmul %x, %wq : tensor<1x4x64xf32>, tensor<64x64xf32> -> tensor<1x4x64xf32>
  %n = arith.negf %q : tensor<1x4x64xf32>
  %codes = ganq.parameter "k.codes" : tensor<512xi8>
  %table = ganq.parameter "k.table" : tensor<16x1x16xf16>
  %k = ganq.packed_matmul %x weight(%codes, %table : tensor<512xi8>, tensor<16x1x16xf16>)
      {scheme = #ganq.lut<bits = 4>, n = 16, k = 64} : tensor<1x4x64xf32> -> tensor<1x4x16xf32>
  %wv = ganq.parameter "v" : tensor<16x64xf32>
  %bias = arith.addf %b, %b : tensor<16xf32>
  %other = ganq.matmul %q, %wv : tensor<1x4x64xf32>, tensor<16x64xf32> -> tensor<1x4x16xf32>
  %v = ganq.matmul %x, %wv bias(%bias : tensor<16xf32>) : tensor<1x4x64xf32>, tensor<16x64xf32> -> tensor<1x4x16xf32>
  return %n, %k, %v, %other : tensor<1x4x64xf32>, tensor<1x4x16xf32>, tensor<1x4x16xf32>, tensor<1x4x16xf32>
}

// What depends on an earlier product cannot come before it.
// CHECK-LABEL: func.func @chain(
// CHECK:         ganq.matmul
// CHECK-NEXT:    tensor.collapse_shape
// CHECK-NEXT:    ganq.matmul
func.func @chain(%x: tensor<1x64xf32>) -> tensor<1x64xf32> {
  %w = ganq.parameter "w" : tensor<64x64xf32>
  %0 = ganq.matmul %x, %w : tensor<1x64xf32>, tensor<64x64xf32> -> tensor<1x64xf32>
  %1 = tensor.collapse_shape %0 [[0, 1]] : tensor<1x64xf32> into tensor<64xf32>
  %2 = ganq.matmul %x, %w bias(%1 : tensor<64xf32>) : tensor<1x64xf32>, tensor<64x64xf32> -> tensor<1x64xf32>
  return %2 : tensor<1x64xf32>
}
