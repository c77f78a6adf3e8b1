// RUN: ganq-opt %s --ganq-raise-onnx --split-input-file | FileCheck %s

// Codes, scales and zero points keep their place in the file; how their bytes
// are rearranged goes with them.
// CHECK-LABEL: func.func @nbits
func.func @nbits(%x: tensor<?x128xf32>) -> tensor<?x40xf32> {
  // CHECK-DAG: %[[CODES:.*]] = ganq.parameter "w.codes" from <"m.data", 0, 2560> rows <bits = 4, rows = 40, columns = 128, stride = 512, codes = true> : tensor<2560xi8>
  // CHECK-DAG: %[[SCALE:.*]] = ganq.parameter "w.scale" from <"m.data", 4096, 640> rows <bits = 32, rows = 40, columns = 4, stride = 128> : tensor<40x4xf32>
  // CHECK-DAG: %[[ZERO:.*]] = ganq.parameter "w.zero" from <"m.data", 8192, 80> rows <bits = 4, rows = 40, columns = 4, stride = 16> : tensor<40x4xi8>
  // CHECK: ganq.packed_matmul %{{.*}} weight(%[[CODES]], %[[SCALE]], %[[ZERO]]
  // CHECK-SAME: scheme = #ganq.uniform<bits = 4, group = 32, scale = f32>
  %w = ganq.parameter "w" from <"m.data", 0, 2560> : tensor<40x4x16xui8>
  %s = ganq.parameter "s" from <"m.data", 4096, 640> : tensor<160xf32>
  %z = ganq.parameter "z" from <"m.data", 8192, 80> : tensor<80xui8>
  %0 = "onnx.com.microsoft.MatMulNBits"(%x, %w, %s, %z) {K = 128 : i64, N = 40 : i64, bits = 4 : i64, block_size = 32 : i64} : (tensor<?x128xf32>, tensor<40x4x16xui8>, tensor<160xf32>, tensor<80xui8>) -> tensor<?x40xf32>
  return %0 : tensor<?x40xf32>
}

// -----

// Without zero points it is the middle code; a constant vector that is added
// becomes the bias.
// CHECK-LABEL: func.func @no_zeros
func.func @no_zeros(%x: tensor<?x128xf32>) -> tensor<?x40xf32> {
  // CHECK: ganq.parameter "w.zero" rows <bits = 8, rows = 40, columns = 1, stride = 8, value = dense<-128> : tensor<40x1xi8>> : tensor<40x1xi8>
  // CHECK: ganq.packed_matmul {{.*}} bias(%{{.*}}) {{.*}}#ganq.uniform<bits = 8, scale = f32>
  %w = ganq.parameter "w" from <"m.data", 0, 5120> : tensor<40x1x128xui8>
  %s = ganq.parameter "s" from <"m.data", 8192, 160> : tensor<40xf32>
  %b = ganq.parameter "b" from <"m.data", 9000, 160> : tensor<40xf32>
  %0 = "onnx.com.microsoft.MatMulNBits"(%x, %w, %s) {K = 128 : i64, N = 40 : i64, bits = 8 : i64, block_size = 128 : i64} : (tensor<?x128xf32>, tensor<40x1x128xui8>, tensor<40xf32>) -> tensor<?x40xf32>
  %1 = "onnx.Add"(%0, %b) : (tensor<?x40xf32>, tensor<40xf32>) -> tensor<?x40xf32>
  return %1 : tensor<?x40xf32>
}

// -----

// Codes that two products see with different scales have no key of their own.
// CHECK-LABEL: func.func @shared_codes
func.func @shared_codes(%x: tensor<?x128xf32>) -> (tensor<?x40xf32>, tensor<?x40xf32>) {
  // CHECK-NOT: ganq.packed_matmul
  // CHECK: return
  %w = ganq.parameter "w" from <"m.data", 0, 5120> : tensor<40x1x128xui8>
  %s = ganq.parameter "s" from <"m.data", 8192, 160> : tensor<40xf32>
  %t = ganq.parameter "t" from <"m.data", 9000, 160> : tensor<40xf32>
  %0 = "onnx.com.microsoft.MatMulNBits"(%x, %w, %s) {K = 128 : i64, N = 40 : i64, bits = 8 : i64, block_size = 128 : i64} : (tensor<?x128xf32>, tensor<40x1x128xui8>, tensor<40xf32>) -> tensor<?x40xf32>
  %1 = "onnx.com.microsoft.MatMulNBits"(%x, %w, %t) {K = 128 : i64, N = 40 : i64, bits = 8 : i64, block_size = 128 : i64} : (tensor<?x128xf32>, tensor<40x1x128xui8>, tensor<40xf32>) -> tensor<?x40xf32>
  return %0, %1 : tensor<?x40xf32>, tensor<?x40xf32>
}

// -----

// Signed codes become unsigned ones; without zero points theirs is the middle.
// CHECK-LABEL: func.func @dequantized
func.func @dequantized(%x: tensor<?x128xf32>) -> tensor<?x40xf32> {
  // CHECK: ganq.parameter "w.codes" from <"m.data", 0, 2560> rows <bits = 4, rows = 40, columns = 128, stride = 512, flip = 8, codes = true>
  // CHECK: ganq.parameter "w.zero" rows <bits = 8, rows = 40, columns = 4, stride = 32, flip = 8, value = dense<0> : tensor<40x4xi8>>
  // CHECK: ganq.packed_matmul {{.*}} bias(%{{.*}}) {{.*}}#ganq.uniform<bits = 4, group = 32, scale = f32>
  %w = ganq.parameter "w" from <"m.data", 0, 2560> : tensor<40x128xi4>
  %s = ganq.parameter "s" from <"m.data", 8192, 640> : tensor<40x4xf32>
  %b = ganq.parameter "b" from <"m.data", 9000, 160> : tensor<40xf32>
  %0 = "onnx.DequantizeLinear"(%w, %s) {axis = 1 : i64, block_size = 32 : i64} : (tensor<40x128xi4>, tensor<40x4xf32>) -> tensor<40x128xf32>
  %1 = "onnx.Transpose"(%0) {perm = array<i64: 1, 0>} : (tensor<40x128xf32>) -> tensor<128x40xf32>
  %2 = "onnx.MatMul"(%x, %1) : (tensor<?x128xf32>, tensor<128x40xf32>) -> tensor<?x40xf32>
  %3 = "onnx.Add"(%2, %b) : (tensor<?x40xf32>, tensor<40xf32>) -> tensor<?x40xf32>
  return %3 : tensor<?x40xf32>
}

// -----

// CHECK-LABEL: func.func @dequantized_rows
func.func @dequantized_rows(%x: tensor<?x128xf32>) -> tensor<?x40xf32> {
  // CHECK: ganq.packed_matmul {{.*}} bias(%{{.*}}) {{.*}}#ganq.uniform<bits = 8, scale = f32>
  %w = ganq.parameter "w" from <"m.data", 0, 5120> : tensor<40x128xui8>
  %s = ganq.parameter "s" from <"m.data", 8192, 160> : tensor<40xf32>
  %z = ganq.parameter "z" from <"m.data", 8500, 40> : tensor<40xui8>
  %b = ganq.parameter "b" from <"m.data", 9000, 160> : tensor<40xf32>
  %0 = "onnx.DequantizeLinear"(%w, %s, %z) {axis = 0 : i64} : (tensor<40x128xui8>, tensor<40xf32>, tensor<40xui8>) -> tensor<40x128xf32>
  %1 = "onnx.Gemm"(%x, %0, %b) {transB = 1 : i64} : (tensor<?x128xf32>, tensor<40x128xf32>, tensor<40xf32>) -> tensor<?x40xf32>
  return %1 : tensor<?x40xf32>
}
