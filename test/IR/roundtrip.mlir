// RUN: ganq-opt %s --verify-roundtrip | FileCheck %s

// CHECK-LABEL: func @weights
// CHECK: ganq.parameter "w" from <"model.onnx", 512, 16384> transposed : tensor<64x64xf32>
// CHECK: ganq.parameter "q" : tensor<64x128xf32, #ganq.lut<bits = 4>>
// CHECK: ganq.parameter "r" : tensor<64x128xf32, #ganq.lut<bits = 4, entry = i8, activation = 8>>
// CHECK: ganq.parameter "t" : tensor<64x128xf32, #ganq.lut<bits = 3, group = 128, rows = 8, entry = f8E4M3FN, outliers = 50, full_rows = 2>>
// CHECK: ganq.parameter "a" : tensor<64x128xf32, #ganq.uniform<bits = 3, levels = 5, scale = bf16, activation = 8, smooth = true>>
// CHECK: ganq.parameter "p" : tensor<64x128xf32, #ganq.pot<bits = 4, group = 32, grid = half, mantissa = 1>>
// CHECK: ganq.parameter "n" : tensor<64x128xf32, #ganq.nf<bits = 4, group = 64>>
// CHECK: ganq.parameter "u" : tensor<64x128xf32, #ganq.uniform<bits = 3, group = 128>>
// CHECK: ganq.parameter "c" gpu <scheme = #ganq.pot<bits = 3>, n = 64, k = 128, operand = codes, order = exponent, exponent_bit = 10, components = ["p.codes", "p.scale"]> : memref<3072xi8>
func.func @weights() {
  %0 = ganq.parameter "w" from <"model.onnx", 512, 16384> transposed : tensor<64x64xf32>
  %1 = ganq.parameter "q" : tensor<64x128xf32, #ganq.lut<bits = 4>>
  %r = ganq.parameter "r" : tensor<64x128xf32, #ganq.lut<bits = 4, entry = i8, activation = 8>>
  %t = ganq.parameter "t" : tensor<64x128xf32, #ganq.lut<bits = 3, group = 128, rows = 8, entry = f8E4M3FN, outliers = 50, full_rows = 2>>
  %a = ganq.parameter "a" : tensor<64x128xf32, #ganq.uniform<bits = 3, levels = 5, scale = bf16, activation = 8, smooth = true>>
  %p = ganq.parameter "p" : tensor<64x128xf32, #ganq.pot<bits = 4, group = 32, grid = half, mantissa = 1>>
  %n = ganq.parameter "n" : tensor<64x128xf32, #ganq.nf<bits = 4, group = 64>>
  %2 = ganq.parameter "u" : tensor<64x128xf32, #ganq.uniform<bits = 3, group = 128>>
  %c = ganq.parameter "c" gpu <scheme = #ganq.pot<bits = 3>, n = 64, k = 128, operand = codes, order = exponent, exponent_bit = 10, components = ["p.codes", "p.scale"]> : memref<3072xi8>
  return
}

// CHECK-LABEL: func @tensors
func.func @tensors(%x: tensor<1x?x64xf32>, %w: tensor<96x64xf32>, %b: tensor<96xf32>,
                   %g: tensor<64xf32>) -> tensor<1x?x96xf32> {
  // CHECK: ganq.rms_norm %{{.*}} weight(%{{.*}} : tensor<64xf32>)
  %0 = ganq.rms_norm %x weight(%g : tensor<64xf32>) {epsilon = 1.0e-5 : f32} : tensor<1x?x64xf32> -> tensor<1x?x64xf32>
  %1 = ganq.layer_norm %0 weight(%g : tensor<64xf32>) bias(%g : tensor<64xf32>) {epsilon = 1.0e-5 : f32} : tensor<1x?x64xf32> -> tensor<1x?x64xf32>
  // CHECK: ganq.swiglu
  %2 = ganq.swiglu %0, %1 : tensor<1x?x64xf32>, tensor<1x?x64xf32> -> tensor<1x?x64xf32>
  // CHECK: ganq.matmul %{{.*}}, %{{.*}} bias(%{{.*}} : tensor<96xf32>)
  %3 = ganq.matmul %2, %w bias(%b : tensor<96xf32>) : tensor<1x?x64xf32>, tensor<96x64xf32> -> tensor<1x?x96xf32>
  return %3 : tensor<1x?x96xf32>
}

// CHECK-LABEL: func @attention
func.func @attention(%q: tensor<1x8x?x8xf32>, %k: tensor<1x4x?x8xf32>, %v: tensor<1x4x?x8xf32>,
                     %cos: tensor<512x4xf32>, %s: index) -> tensor<1x8x?x8xf32> {
  %p = ganq.past_length
  // CHECK: ganq.position_rows
  %c = ganq.position_rows %cos[%p, %s] : tensor<512x4xf32> -> tensor<?x4xf32>
  // CHECK: ganq.rope
  %r = ganq.rope %q, %c, %c : tensor<1x8x?x8xf32>, tensor<?x4xf32>, tensor<?x4xf32> -> tensor<1x8x?x8xf32>
  %ka = ganq.kv_append %k past(%v : tensor<1x4x?x8xf32>) : tensor<1x4x?x8xf32> -> tensor<1x4x?x8xf32>
  // CHECK: ganq.attention %{{.*}}, %{{.*}}, %{{.*}} past(%{{.*}}) causal
  %0 = ganq.attention %r, %ka, %v past(%p) causal {scale = 0.353553385 : f32} : tensor<1x8x?x8xf32>, tensor<1x4x?x8xf32>, tensor<1x4x?x8xf32> -> tensor<1x8x?x8xf32>
  return %0 : tensor<1x8x?x8xf32>
}

// CHECK-LABEL: func @buffers
func.func @buffers(%x: memref<4x64xf32>, %codes: memref<2048xi8>, %table: memref<64x1x16xf16>,
                   %o: memref<4x64xf32>, %cache: memref<1x4x512x8xf32>, %new: memref<1x4x1x8xf32>, %p: index) {
  // CHECK: ganq.packed_matmul %{{.*}} weight(%{{.*}}, %{{.*}} : memref<2048xi8>, memref<64x1x16xf16>) out(%{{.*}} : memref<4x64xf32>)
  ganq.packed_matmul %x weight(%codes, %table : memref<2048xi8>, memref<64x1x16xf16>) out(%o : memref<4x64xf32>)
    {scheme = #ganq.lut<bits = 4>, n = 64 : i64, k = 64 : i64} : memref<4x64xf32>
  // CHECK: ganq.kv_update
  ganq.kv_update %new into %cache[%p] : memref<1x4x1x8xf32>, memref<1x4x512x8xf32>
  // CHECK: ganq.observe %{{.*}} as "fc1" 3
  ganq.observe %x as "fc1" 3 : memref<4x64xf32>
  return
}

// CHECK-LABEL: func @integers
func.func @integers(%x: tensor<1x?x64xf16>, %s: tensor<64xf16>, %c: tensor<256xi8>, %g: tensor<8x1xf16>,
                    %z: tensor<8x1xi8>, %u: tensor<8x1xi32>) -> tensor<1x?x8xf16> {
  // CHECK: ganq.quantize_rows %{{.*}} scale(%{{.*}} : tensor<64xf16>) shift(%{{.*}} : tensor<64xf16>) {bits = 8 : i64} : tensor<1x?x64xf16> -> tensor<1x?x128xi8>
  %r = ganq.quantize_rows %x scale(%s : tensor<64xf16>) shift(%s : tensor<64xf16>) {bits = 8}
    : tensor<1x?x64xf16> -> tensor<1x?x128xi8>
  // CHECK: ganq.quantize_rows %{{.*}} {bits = 2 : i64, group = 32 : i64, plane_bits = 1 : i64} : tensor<1x?x64xf16> -> tensor<1x?x128xi8>
  %p = ganq.quantize_rows %x {bits = 2, group = 32, plane_bits = 1} : tensor<1x?x64xf16> -> tensor<1x?x128xi8>
  // CHECK: ganq.packed_matmul {{.*}} strategy = #ganq.strategy<int8>} : tensor<1x?x128xi8> -> tensor<1x?x8xf16>
  %y = ganq.packed_matmul %r weight(%c, %g, %z, %u : tensor<256xi8>, tensor<8x1xf16>, tensor<8x1xi8>, tensor<8x1xi32>)
    {scheme = #ganq.uniform<bits = 4, activation = 8>, n = 8, k = 64, strategy = #ganq.strategy<int8>}
    : tensor<1x?x128xi8> -> tensor<1x?x8xf16>
  return %y : tensor<1x?x8xf16>
}

// CHECK-LABEL: func @lookup
func.func @lookup(%t: vector<16xf32>, %i: vector<16xi32>) -> vector<16xf32> {
  // CHECK: ganq.table_lookup
  %0 = ganq.table_lookup %t[%i] : vector<16xf32>, vector<16xi32> -> vector<16xf32>
  return %0 : vector<16xf32>
}

func.func private @body(index, index, memref<4xf32>)

// CHECK-LABEL: func @dispatch
func.func @dispatch(%n: index, %m: memref<4xf32>) {
  // CHECK: ganq.dispatch @body[%{{.*}}] (%{{.*}}) : (memref<4xf32>)
  ganq.dispatch @body[%n](%m) : (memref<4xf32>)
  return
}
