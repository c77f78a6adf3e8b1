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

// Tables of bytes multiply the same codes of x, whose sums are those of rows.
// CHECK-LABEL: func @tables
func.func @tables(%x: tensor<2x256xf32>) -> (tensor<2x8xf32>, tensor<2x8xf32>) {
  %w = ganq.parameter "w" : tensor<8x256xf32, #ganq.lut<bits = 4, group = 64, entry = i8, activation = 8>>
  %u = ganq.parameter "u" : tensor<8x256xf32, #ganq.uniform<bits = 4, activation = 8>>
  // CHECK: ganq.parameter "w.table" : tensor<8x4x16xi8>
  // CHECK: ganq.parameter "w.scale" : tensor<8xf16>
  // CHECK: ganq.parameter "w.sum" : tensor<8xi32>
  // CHECK: %[[R:.*]] = ganq.quantize_rows %{{.*}} {bits = 8 : i64} : tensor<2x256xf32> -> tensor<2x320xi8>
  // CHECK: ganq.packed_matmul %[[R]] {{.*}}scheme = #ganq.lut<bits = 4, group = 64, entry = i8, activation = 8>, strategy = #ganq.strategy<int8>
  // CHECK: ganq.packed_matmul %[[R]] {{.*}}scheme = #ganq.uniform
  %0 = ganq.matmul %x, %w : tensor<2x256xf32>, tensor<8x256xf32, #ganq.lut<bits = 4, group = 64, entry = i8, activation = 8>> -> tensor<2x8xf32>
  %1 = ganq.matmul %x, %u : tensor<2x256xf32>, tensor<8x256xf32, #ganq.uniform<bits = 4, activation = 8>> -> tensor<2x8xf32>
  return %0, %1 : tensor<2x8xf32>, tensor<2x8xf32>
}

// Products of one input share its codes, unless they need other ones.
// CHECK-LABEL: func @integers
// CHECK-SAME: (%[[X:.*]]: tensor<1x?x256xf32>)
func.func @integers(%x: tensor<1x?x256xf32>) -> (tensor<1x?x8xf32>, tensor<1x?x8xf32>, tensor<1x?x8xf32>) {
  %a = ganq.parameter "a" : tensor<8x256xf32, #ganq.uniform<bits = 4, activation = 8>>
  %b = ganq.parameter "b" : tensor<8x256xf32, #ganq.uniform<bits = 2, activation = 8>>
  %c = ganq.parameter "c" : tensor<8x256xf32, #ganq.uniform<bits = 1, activation = 2>>
  // CHECK: ganq.parameter "a.codes"
  // CHECK: ganq.parameter "a.sum" : tensor<8x1xi32>
  // CHECK: %[[R:.*]] = ganq.quantize_rows %[[X]] {bits = 8 : i64} : tensor<1x?x256xf32> -> tensor<1x?x320xi8>
  // CHECK: ganq.packed_matmul %[[R]] weight({{.*}}scheme = #ganq.uniform<bits = 4, activation = 8>, strategy = #ganq.strategy<int8>}
  // CHECK-NOT: ganq.quantize_rows
  // CHECK: ganq.packed_matmul %[[R]] weight({{.*}}scheme = #ganq.uniform<bits = 2, activation = 8>
  // CHECK: %[[P:.*]] = ganq.quantize_rows %[[X]] {bits = 2 : i64, plane_bits = 1 : i64} : tensor<1x?x256xf32> -> tensor<1x?x128xi8>
  // CHECK: ganq.packed_matmul %[[P]] weight({{.*}}strategy = #ganq.strategy<popcount>}
  %0 = ganq.matmul %x, %a : tensor<1x?x256xf32>, tensor<8x256xf32, #ganq.uniform<bits = 4, activation = 8>> -> tensor<1x?x8xf32>
  %1 = ganq.matmul %x, %b : tensor<1x?x256xf32>, tensor<8x256xf32, #ganq.uniform<bits = 2, activation = 8>> -> tensor<1x?x8xf32>
  %2 = ganq.matmul %x, %c : tensor<1x?x256xf32>, tensor<8x256xf32, #ganq.uniform<bits = 1, activation = 2>> -> tensor<1x?x8xf32>
  return %0, %1, %2 : tensor<1x?x8xf32>, tensor<1x?x8xf32>, tensor<1x?x8xf32>
}

// Smoothing goes into the codes, the offset into the bias.
// CHECK-LABEL: func @shifted
// CHECK-SAME: (%{{.*}}: tensor<2x256xf32>, %[[B:.*]]: tensor<8xf32>)
func.func @shifted(%x: tensor<2x256xf32>, %b: tensor<8xf32>) -> (tensor<2x8xf32>, tensor<2x8xf32>) {
  %w = ganq.parameter "w" : tensor<8x256xf32, #ganq.uniform<bits = 4, activation = 8, smooth = true, shift = true>>
  // CHECK: %[[S:.*]] = ganq.parameter "w.input_scale" : tensor<256xf16>
  // CHECK: %[[T:.*]] = ganq.parameter "w.input_shift" : tensor<256xf16>
  // CHECK: %[[O:.*]] = ganq.parameter "w.offset" : tensor<8xf32>
  // CHECK: ganq.quantize_rows %{{.*}} scale(%[[S]] : tensor<256xf16>) shift(%[[T]] : tensor<256xf16>) {bits = 8 : i64}
  // CHECK: ganq.packed_matmul {{.*}} bias(%[[O]] : tensor<8xf32>) {{.*}}scheme = #ganq.uniform<bits = 4, activation = 8>, strategy
  %0 = ganq.matmul %x, %w : tensor<2x256xf32>, tensor<8x256xf32, #ganq.uniform<bits = 4, activation = 8, smooth = true, shift = true>> -> tensor<2x8xf32>
  // CHECK: %[[SUM:.*]] = linalg.generic {{.*}} ins(%{{.*}}, %[[B]] : tensor<8xf32>, tensor<8xf32>)
  // CHECK: arith.addf
  // CHECK: ganq.packed_matmul {{.*}} bias(%[[SUM]] : tensor<8xf32>)
  %1 = ganq.matmul %x, %w bias(%b : tensor<8xf32>) : tensor<2x256xf32>, tensor<8x256xf32, #ganq.uniform<bits = 4, activation = 8, smooth = true, shift = true>> -> tensor<2x8xf32>
  return %0, %1 : tensor<2x8xf32>, tensor<2x8xf32>
}

// Without activation bits x is divided by itself.
// CHECK-LABEL: func @smoothed
// CHECK-SAME: (%[[X:.*]]: tensor<?x256xf32>)
func.func @smoothed(%x: tensor<?x256xf32>) -> tensor<?x8xf32> {
  %w = ganq.parameter "w" : tensor<8x256xf32, #ganq.uniform<bits = 4, smooth = true>>
  // CHECK: %[[S:.*]] = ganq.parameter "w.input_scale" : tensor<256xf16>
  // CHECK: %[[D:.*]] = linalg.generic {{.*}} ins(%[[X]], %[[S]] : tensor<?x256xf32>, tensor<256xf16>)
  // CHECK: arith.extf
  // CHECK: arith.divf
  // CHECK: ganq.packed_matmul %[[D]] weight({{.*}}scheme = #ganq.uniform<bits = 4>}
  %0 = ganq.matmul %x, %w : tensor<?x256xf32>, tensor<8x256xf32, #ganq.uniform<bits = 4, smooth = true>> -> tensor<?x8xf32>
  return %0 : tensor<?x8xf32>
}
