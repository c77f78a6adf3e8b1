// RUN: ganq-opt %s --ganq-cut-stages --split-input-file --verify-diagnostics | FileCheck %s

// Queries, keys and values are ready together; so are gate and up. The output
// head is in no stage, the embedding only in the first one.
// CHECK-LABEL: func @stage0(
// CHECK-SAME: %[[T:[a-z0-9]+]]: tensor<1x4xi64> {ganq.value = 0 : i64})
// CHECK-SAME: -> (tensor<1x4x64xf32> {ganq.value = [[H:[0-9]+]] : i64},
// CHECK-SAME:     tensor<1x4x64xf32> {ganq.value = [[X0:[0-9]+]] : i64})
// CHECK-SAME: ganq.taps = [{value = [[X0]] : i64, weights = ["q", "k", "v"]}]
// CHECK: "onnx.Gather"
// CHECK: ganq.rms_norm
// CHECK-NOT: ganq.matmul

// The caches hold what the call writes; the table is read at position 0.
// CHECK-LABEL: func @stage1(
// CHECK-SAME: tensor<1x4x64xf32> {ganq.value = [[X0]] : i64})
// CHECK-SAME: -> (tensor<1x4x64xf32> {ganq.value = [[X1:[0-9]+]] : i64})
// CHECK-SAME: weights = ["o"]
// CHECK: %[[ZERO:.*]] = arith.constant 0 : index
// CHECK-NOT: ganq.kv_update
// CHECK: ganq.position_rows %{{.*}}[%[[ZERO]]
// CHECK: ganq.attention {{.*}} past(%[[ZERO]]) causal

// CHECK-LABEL: func @stage2(
// CHECK-SAME: {ganq.value = [[X1]] : i64}
// CHECK-SAME: {ganq.value = [[H]] : i64}
// CHECK-SAME: -> (tensor<1x4x64xf32> {ganq.value = [[X2:[0-9]+]] : i64})
// CHECK-SAME: weights = ["gate", "up"]

// CHECK-LABEL: func @stage3(
// CHECK-SAME: {ganq.value = [[X2]] : i64}
// CHECK-SAME: weights = ["down"]
// CHECK: ganq.swiglu
// CHECK-NOT: "head"
// CHECK: return
func.func @main(%tokens: tensor<?x?xi64>) {
  return
}
func.func @prefill(%tokens: tensor<1x4xi64>, %past: index, %key: tensor<1x8x4x8xf32>, %value: tensor<1x8x4x8xf32>) -> (tensor<1x4x96xf32>, tensor<1x8x4x8xf32>, tensor<1x8x4x8xf32>) {
  %four = arith.constant 4 : index
  %heads = "onnx.Constant"() {value = dense<[1, 8, 4, 8]> : tensor<4xi64>} : () -> tensor<4xi64>
  %flat = "onnx.Constant"() {value = dense<[1, 4, 64]> : tensor<3xi64>} : () -> tensor<3xi64>
  %embed = ganq.parameter "embed" : tensor<96x64xf32>
  %cos = ganq.parameter "cos" : tensor<16x4xf32>
  %wq = ganq.parameter "q" : tensor<64x64xf32, #ganq.lut<bits = 4>>
  %wk = ganq.parameter "k" : tensor<64x64xf32, #ganq.lut<bits = 4>>
  %wv = ganq.parameter "v" : tensor<64x64xf32, #ganq.lut<bits = 4>>
  %wo = ganq.parameter "o" : tensor<64x64xf32, #ganq.lut<bits = 4>>
  %wg = ganq.parameter "gate" : tensor<128x64xf32, #ganq.lut<bits = 4>>
  %wu = ganq.parameter "up" : tensor<128x64xf32, #ganq.lut<bits = 4>>
  %wd = ganq.parameter "down" : tensor<64x128xf32, #ganq.lut<bits = 4>>
  %head = ganq.parameter "head" : tensor<96x64xf32>
  %rows = ganq.position_rows %cos[%past, %four] : tensor<16x4xf32> -> tensor<4x4xf32>
  %h = "onnx.Gather"(%embed, %tokens) : (tensor<96x64xf32>, tensor<1x4xi64>) -> tensor<1x4x64xf32>
  %x0 = ganq.rms_norm %h {epsilon = 1.0e-5 : f32} : tensor<1x4x64xf32> -> tensor<1x4x64xf32>
  %q = ganq.matmul %x0, %wq : tensor<1x4x64xf32>, tensor<64x64xf32, #ganq.lut<bits = 4>> -> tensor<1x4x64xf32>
  %k = ganq.matmul %x0, %wk : tensor<1x4x64xf32>, tensor<64x64xf32, #ganq.lut<bits = 4>> -> tensor<1x4x64xf32>
  %v = ganq.matmul %x0, %wv : tensor<1x4x64xf32>, tensor<64x64xf32, #ganq.lut<bits = 4>> -> tensor<1x4x64xf32>
  %qh = "onnx.Reshape"(%q, %heads) : (tensor<1x4x64xf32>, tensor<4xi64>) -> tensor<1x8x4x8xf32>
  %kh = "onnx.Reshape"(%k, %heads) : (tensor<1x4x64xf32>, tensor<4xi64>) -> tensor<1x8x4x8xf32>
  %vh = "onnx.Reshape"(%v, %heads) : (tensor<1x4x64xf32>, tensor<4xi64>) -> tensor<1x8x4x8xf32>
  %qr = ganq.rope %qh, %rows, %rows : tensor<1x8x4x8xf32>, tensor<4x4xf32>, tensor<4x4xf32> -> tensor<1x8x4x8xf32>
  %keys = ganq.kv_update %kh into %key[%past] : tensor<1x8x4x8xf32>, tensor<1x8x4x8xf32> -> tensor<1x8x4x8xf32>
  %values = ganq.kv_update %vh into %value[%past] : tensor<1x8x4x8xf32>, tensor<1x8x4x8xf32> -> tensor<1x8x4x8xf32>
  %a = ganq.attention %qr, %keys, %values past(%past) causal {scale = 0.35 : f32} : tensor<1x8x4x8xf32>, tensor<1x8x4x8xf32>, tensor<1x8x4x8xf32> -> tensor<1x8x4x8xf32>
  %x1 = "onnx.Reshape"(%a, %flat) : (tensor<1x8x4x8xf32>, tensor<3xi64>) -> tensor<1x4x64xf32>
  %o = ganq.matmul %x1, %wo : tensor<1x4x64xf32>, tensor<64x64xf32, #ganq.lut<bits = 4>> -> tensor<1x4x64xf32>
  %h1 = "onnx.Add"(%h, %o) : (tensor<1x4x64xf32>, tensor<1x4x64xf32>) -> tensor<1x4x64xf32>
  %x2 = ganq.rms_norm %h1 {epsilon = 1.0e-5 : f32} : tensor<1x4x64xf32> -> tensor<1x4x64xf32>
  %g = ganq.matmul %x2, %wg : tensor<1x4x64xf32>, tensor<128x64xf32, #ganq.lut<bits = 4>> -> tensor<1x4x128xf32>
  %u = ganq.matmul %x2, %wu : tensor<1x4x64xf32>, tensor<128x64xf32, #ganq.lut<bits = 4>> -> tensor<1x4x128xf32>
  %x3 = ganq.swiglu %g, %u : tensor<1x4x128xf32>, tensor<1x4x128xf32> -> tensor<1x4x128xf32>
  %d = ganq.matmul %x3, %wd : tensor<1x4x128xf32>, tensor<64x128xf32, #ganq.lut<bits = 4>> -> tensor<1x4x64xf32>
  %h2 = "onnx.Add"(%h1, %d) : (tensor<1x4x64xf32>, tensor<1x4x64xf32>) -> tensor<1x4x64xf32>
  %logits = ganq.matmul %h2, %head : tensor<1x4x64xf32>, tensor<96x64xf32> -> tensor<1x4x96xf32>
  return %logits, %keys, %values : tensor<1x4x96xf32>, tensor<1x8x4x8xf32>, tensor<1x8x4x8xf32>
}

// -----

// A product may read an argument itself, and a weight may be used twice: it is
// known from its first input on.
// CHECK-LABEL: func @stage0()
// CHECK-SAME: ganq.taps = [{value = 0 : i64, weights = ["a"]}]
// CHECK-LABEL: func @stage1(
// CHECK-SAME: {ganq.value = 0 : i64}
// CHECK-SAME: -> (tensor<2x64xf32> {ganq.value = 1 : i64})
// CHECK-SAME: ganq.taps = [{value = 1 : i64, weights = ["b"]}]
// CHECK-NOT: func
func.func @main(%x: tensor<2x64xf32>) -> tensor<2x64xf32> {
  %wa = ganq.parameter "a" : tensor<64x64xf32, #ganq.lut<bits = 4>>
  %wb = ganq.parameter "b" : tensor<64x64xf32, #ganq.lut<bits = 4>>
  %a = ganq.matmul %x, %wa : tensor<2x64xf32>, tensor<64x64xf32, #ganq.lut<bits = 4>> -> tensor<2x64xf32>
  %b = ganq.matmul %a, %wb : tensor<2x64xf32>, tensor<64x64xf32, #ganq.lut<bits = 4>> -> tensor<2x64xf32>
  %c = ganq.matmul %b, %wa : tensor<2x64xf32>, tensor<64x64xf32, #ganq.lut<bits = 4>> -> tensor<2x64xf32>
  return %c : tensor<2x64xf32>
}

// -----

// expected-error @below {{expected a product with an encoded weight in @main}}
func.func @main(%x: tensor<2x64xf32>) -> tensor<2x64xf32> {
  return %x : tensor<2x64xf32>
}

// -----

func.func @prefill(%past: index, %cache: tensor<1x8x64x8xf32>, %value: tensor<1x8x4x8xf32>) -> tensor<1x8x64x8xf32> {
  // expected-error @below {{expected a cache of 'tensor<1x8x4x8xf32>', which one call fills, but got 'tensor<1x8x64x8xf32>'}}
  %0 = ganq.kv_update %value into %cache[%past] : tensor<1x8x4x8xf32>, tensor<1x8x64x8xf32> -> tensor<1x8x64x8xf32>
  return %0 : tensor<1x8x64x8xf32>
}
