// RUN: ganq-opt %s --split-input-file --ganq-create-step-functions="chunk=4 max-context=16" 2>/dev/null | FileCheck %s
// RUN: ganq-opt %s --split-input-file --ganq-create-step-functions="chunk=4 max-context=16" -o /dev/null 2>&1 | FileCheck %s --check-prefix=REMARK
// RUN: ganq-opt %s --split-input-file --ganq-create-step-functions="chunk=4 max-context=16 kv-cache=i8" 2>/dev/null | FileCheck %s --check-prefix=BYTES
// RUN: not ganq-opt %s --ganq-create-step-functions=kv-cache=f8 2>&1 | FileCheck %s --check-prefix=KIND

// KIND: error: expected kv-cache to be model, f32, f16 or i8, but got `f8`
// BYTES: {dtype = "I8", name = "layers.0.key", shape = array<i64: 1, 2, 8, 8>}
// BYTES: ganq.kv_update %[[X:.*]] into %{{.*}} : tensor<1x2x4x4xf32>, tensor<1x2x8x8xi8> -> tensor<1x2x8x8xi8>
// BYTES: ganq.attention %[[X]], %{{.*}} causal {{.*}} tensor<1x2x8x8xi8> -> tensor<1x2x4x4xf32>

// CHECK: module attributes {ganq.state = {caches = [
// CHECK-SAME: {dtype = "F32", name = "layers.0.key", shape = array<i64: 1, 2, 8, 4>},
// CHECK-SAME: {dtype = "F32", name = "layers.0.value", shape = array<i64: 1, 2, 8, 4>}],
// CHECK-SAME: chunk = 4 : i64, max_context = 8 : i64, vocabulary = 32 : i64}}
// REMARK: warning: expected max-context to be at most 8, where the model's tables of positions end, but got 16; using 8
module {
  // CHECK-LABEL: func.func @main(
  // CHECK-SAME: %[[IDS:.*]]: tensor<?x?xi64>
  // CHECK: %[[ZERO:.*]] = arith.constant 0 : index
  // CHECK: ganq.position_rows %{{.*}}[%[[ZERO]], %{{.*}}]
  // CHECK-NOT: ganq.kv_append
  // CHECK: ganq.attention %[[X:.*]], %[[X]], %[[X]] past(%[[ZERO]]) causal

  // CHECK-LABEL: func.func @prefill(
  // CHECK-SAME: tensor<1x4xi64> {onnx.name = "tokens"}
  // CHECK-SAME: -> (tensor<1x4x32xf32> {onnx.name = "logits"}, tensor<1x2x8x4xf32> {onnx.name = "layers.0.key"}, tensor<1x2x8x4xf32> {onnx.name = "layers.0.value"})

  // CHECK-LABEL: func.func @decode(
  // CHECK-SAME: %[[IDS:.*]]: tensor<1x1xi64> {onnx.name = "tokens"}, %[[PAST:.*]]: index {onnx.name = "past"},
  // CHECK-SAME: %[[K:.*]]: tensor<1x2x8x4xf32> {onnx.name = "layers.0.key"}, %[[V:.*]]: tensor<1x2x8x4xf32> {onnx.name = "layers.0.value"})
  // CHECK: %[[ONE:.*]] = arith.constant 1 : index
  // CHECK: ganq.position_rows %{{.*}}[%[[PAST]], %[[ONE]]] : tensor<8x8xf32> -> tensor<1x8xf32>
  // CHECK: %[[X:.*]] = "onnx.Transpose"({{.*}} -> tensor<1x2x1x4xf32>
  // CHECK: %[[KEYS:.*]] = ganq.kv_update %[[X]] into %[[K]][%[[PAST]]]
  // CHECK: %[[VALUES:.*]] = ganq.kv_update %[[X]] into %[[V]][%[[PAST]]]
  // CHECK: ganq.attention %[[X]], %[[KEYS]], %[[VALUES]] past(%[[PAST]]) causal
  // CHECK-SAME: -> tensor<1x2x1x4xf32>
  // CHECK: return %{{.*}}, %[[KEYS]], %[[VALUES]] : tensor<1x1x32xf32>

  // CHECK-LABEL: func.func @prompt(
  // CHECK-SAME: %[[IDS:.*]]: tensor<1x4xi64> {onnx.name = "tokens"}, %{{.*}}: index {onnx.name = "past"}, %[[ROW:.*]]: tensor<1xi64> {onnx.name = "row"},
  // CHECK-SAME: -> (tensor<1x1x32xf32> {onnx.name = "logits"}, tensor<1x2x8x4xf32> {onnx.name = "layers.0.key"}
  // CHECK: %[[PICKED:.*]] = "onnx.Gather"(%{{.*}}, %[[ROW]]) {axis = 1 : i64} : (tensor<1x4x8xf32>, tensor<1xi64>) -> tensor<1x1x8xf32>
  // CHECK: ganq.matmul %[[PICKED]]
  func.func @main(%ids: tensor<?x?xi64> {onnx.name = "input_ids", onnx.dims = ["batch", "seq"]}) -> tensor<?x?x32xf32>
      attributes {ganq.max_context = 8 : i64} {
    %c1 = arith.constant 1 : index
    %count = tensor.dim %ids, %c1 : tensor<?x?xi64>
    %past = ganq.past_length
    %wte = ganq.parameter "wte" : tensor<32x8xf32>
    %wpe = ganq.parameter "wpe" : tensor<8x8xf32>
    %split = "onnx.Constant"() {value = dense<[0, 0, 2, 4]> : tensor<4xi64>} : () -> tensor<4xi64>
    %merge = "onnx.Constant"() {value = dense<[0, 0, 8]> : tensor<3xi64>} : () -> tensor<3xi64>
    %0 = "onnx.Gather"(%wte, %ids) : (tensor<32x8xf32>, tensor<?x?xi64>) -> tensor<?x?x8xf32>
    %1 = ganq.position_rows %wpe[%past, %count] : tensor<8x8xf32> -> tensor<?x8xf32>
    %2 = "onnx.Add"(%0, %1) : (tensor<?x?x8xf32>, tensor<?x8xf32>) -> tensor<?x?x8xf32>
    %3 = "onnx.Reshape"(%2, %split) : (tensor<?x?x8xf32>, tensor<4xi64>) -> tensor<?x?x2x4xf32>
    %4 = "onnx.Transpose"(%3) {perm = array<i64: 0, 2, 1, 3>} : (tensor<?x?x2x4xf32>) -> tensor<?x2x?x4xf32>
    %k = ganq.kv_append %4 : tensor<?x2x?x4xf32> -> tensor<?x2x?x4xf32>
    %v = ganq.kv_append %4 : tensor<?x2x?x4xf32> -> tensor<?x2x?x4xf32>
    %5 = ganq.attention %4, %k, %v past(%past) causal {scale = 0.5 : f32} : tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32> -> tensor<?x2x?x4xf32>
    %6 = "onnx.Transpose"(%5) {perm = array<i64: 0, 2, 1, 3>} : (tensor<?x2x?x4xf32>) -> tensor<?x?x2x4xf32>
    %7 = "onnx.Reshape"(%6, %merge) : (tensor<?x?x2x4xf32>, tensor<3xi64>) -> tensor<?x?x8xf32>
    %8 = ganq.matmul %7, %wte : tensor<?x?x8xf32>, tensor<32x8xf32> -> tensor<?x?x32xf32>
    return %8 : tensor<?x?x32xf32>
  }
}

// -----

// Caches as arguments, i32 tokens, f16, and an attention mask that is ones in
// the step functions.

// CHECK: caches = [{dtype = "F16", name = "past.k", shape = array<i64: 1, 2, 16, 4>}, {dtype = "F16", name = "past.v"
module {
  // CHECK-LABEL: func.func @main(
  // CHECK: %[[P:.*]] = tensor.dim %{{.*}}, %{{.*}} : tensor<?x2x?x4xf16>
  // CHECK: "onnx.Concat"(%{{.*}}, %{{.*}}) {axis = 2 : i64}
  // CHECK: ganq.attention %{{.*}} mask(%{{.*}} : tensor<?x1x1x?xf16>) past(%[[P]]) causal {scale = 5.000000e-01 : f32}
  // CHECK-LABEL: func.func @decode(
  // CHECK-SAME: %[[IDS:.*]]: tensor<1x1xi64> {onnx.name = "tokens"}, %[[PAST:.*]]: index {onnx.name = "past"}, %{{.*}}: tensor<1x2x16x4xf16> {onnx.name = "past.k"}
  // CHECK: "onnx.Cast"(%[[IDS]]) {to = 6 : i64} : (tensor<1x1xi64>) -> tensor<1x1xi32>
  // CHECK: ganq.attention %{{[0-9]*}}, %{{[0-9]*}}, %{{[0-9]*}} past(%[[PAST]]) causal {scale = 5.000000e-01 : f32}
  // CHECK: "onnx.Cast"(%{{.*}}) {to = 1 : i64} : (tensor<1x1x8xf16>) -> tensor<1x1x8xf32>
  func.func @main(%ids: tensor<?x?xi32> {onnx.name = "input_ids", onnx.dims = ["batch", "seq"]},
                  %mask: tensor<?x?xf16> {onnx.name = "attention_mask", onnx.dims = ["batch", "total"]},
                  %pk: tensor<?x2x?x4xf16> {onnx.name = "past.k", onnx.dims = ["batch", 2, "past", 4]},
                  %pv: tensor<?x2x?x4xf16> {onnx.name = "past.v", onnx.dims = ["batch", 2, "past", 4]})
      -> (tensor<?x?x8xf16>, tensor<?x2x?x4xf16>, tensor<?x2x?x4xf16>) {
    %past = ganq.past_length
    %wte = ganq.parameter "wte" : tensor<32x8xf16>
    %axes = "onnx.Constant"() {value = dense<[1, 2]> : tensor<2xi64>} : () -> tensor<2xi64>
    %split = "onnx.Constant"() {value = dense<[0, 0, 2, 4]> : tensor<4xi64>} : () -> tensor<4xi64>
    %merge = "onnx.Constant"() {value = dense<[0, 0, 8]> : tensor<3xi64>} : () -> tensor<3xi64>
    %m = "onnx.Unsqueeze"(%mask, %axes) : (tensor<?x?xf16>, tensor<2xi64>) -> tensor<?x1x1x?xf16>
    %0 = "onnx.Gather"(%wte, %ids) : (tensor<32x8xf16>, tensor<?x?xi32>) -> tensor<?x?x8xf16>
    %1 = "onnx.Reshape"(%0, %split) : (tensor<?x?x8xf16>, tensor<4xi64>) -> tensor<?x?x2x4xf16>
    %2 = "onnx.Transpose"(%1) {perm = array<i64: 0, 2, 1, 3>} : (tensor<?x?x2x4xf16>) -> tensor<?x2x?x4xf16>
    %k = ganq.kv_append %2 past(%pk : tensor<?x2x?x4xf16>) : tensor<?x2x?x4xf16> -> tensor<?x2x?x4xf16>
    %v = ganq.kv_append %2 past(%pv : tensor<?x2x?x4xf16>) : tensor<?x2x?x4xf16> -> tensor<?x2x?x4xf16>
    %3 = ganq.attention %2, %k, %v mask(%m : tensor<?x1x1x?xf16>) past(%past) causal {scale = 0.5 : f32, ganq.unpadded_mask = "none"}
        : tensor<?x2x?x4xf16>, tensor<?x2x?x4xf16>, tensor<?x2x?x4xf16> -> tensor<?x2x?x4xf16>
    %4 = "onnx.Transpose"(%3) {perm = array<i64: 0, 2, 1, 3>} : (tensor<?x2x?x4xf16>) -> tensor<?x?x2x4xf16>
    %5 = "onnx.Reshape"(%4, %merge) : (tensor<?x?x2x4xf16>, tensor<3xi64>) -> tensor<?x?x8xf16>
    return %5, %k, %v : tensor<?x?x8xf16>, tensor<?x2x?x4xf16>, tensor<?x2x?x4xf16>
  }
}

// -----

// CHECK-NOT: @decode
// REMARK: remark: no step functions: expected attention to be causal
module {
  // CHECK-LABEL: func.func @main(
  func.func @main(%ids: tensor<?x?xi64> {onnx.name = "input_ids", onnx.dims = ["batch", "seq"]}) -> tensor<?x?x4xf32> {
    %wte = ganq.parameter "wte" : tensor<32x4xf32>
    %axis = "onnx.Constant"() {value = dense<1> : tensor<1xi64>} : () -> tensor<1xi64>
    %0 = "onnx.Gather"(%wte, %ids) : (tensor<32x4xf32>, tensor<?x?xi64>) -> tensor<?x?x4xf32>
    %1 = "onnx.Unsqueeze"(%0, %axis) : (tensor<?x?x4xf32>, tensor<1xi64>) -> tensor<?x1x?x4xf32>
    %2 = ganq.attention %1, %1, %1 {scale = 0.5 : f32} : tensor<?x1x?x4xf32>, tensor<?x1x?x4xf32>, tensor<?x1x?x4xf32> -> tensor<?x1x?x4xf32>
    %3 = "onnx.Squeeze"(%2, %axis) : (tensor<?x1x?x4xf32>, tensor<1xi64>) -> tensor<?x?x4xf32>
    return %3 : tensor<?x?x4xf32>
  }
}

// -----

// The mean mixes tokens.

// CHECK-NOT: @decode
// REMARK: remark: no step functions: expected every token to be treated by itself, but got onnx.ReduceMean
module {
  // CHECK-LABEL: func.func @main(
  func.func @main(%ids: tensor<?x?xi64> {onnx.name = "input_ids", onnx.dims = ["batch", "seq"]}) -> tensor<?x?x4xf32> {
    %past = ganq.past_length
    %wte = ganq.parameter "wte" : tensor<32x4xf32>
    %axis = "onnx.Constant"() {value = dense<1> : tensor<1xi64>} : () -> tensor<1xi64>
    %0 = "onnx.Gather"(%wte, %ids) : (tensor<32x4xf32>, tensor<?x?xi64>) -> tensor<?x?x4xf32>
    %1 = "onnx.Unsqueeze"(%0, %axis) : (tensor<?x?x4xf32>, tensor<1xi64>) -> tensor<?x1x?x4xf32>
    %k = ganq.kv_append %1 : tensor<?x1x?x4xf32> -> tensor<?x1x?x4xf32>
    %2 = ganq.attention %1, %k, %k past(%past) causal {scale = 0.5 : f32} : tensor<?x1x?x4xf32>, tensor<?x1x?x4xf32>, tensor<?x1x?x4xf32> -> tensor<?x1x?x4xf32>
    %3 = "onnx.Squeeze"(%2, %axis) : (tensor<?x1x?x4xf32>, tensor<1xi64>) -> tensor<?x?x4xf32>
    %4 = "onnx.ReduceMean"(%3, %axis) : (tensor<?x?x4xf32>, tensor<1xi64>) -> tensor<?x1x4xf32>
    %5 = "onnx.Add"(%3, %4) : (tensor<?x?x4xf32>, tensor<?x1x4xf32>) -> tensor<?x?x4xf32>
    return %5 : tensor<?x?x4xf32>
  }
}

// -----

// Positions that were not recognised.

// CHECK-NOT: @decode
// REMARK: remark: no step functions: expected positions to be recognised, but operand 1 depends on the number of tokens
module {
  // CHECK-LABEL: func.func @main(
  func.func @main(%ids: tensor<?x?xi64> {onnx.name = "input_ids", onnx.dims = ["batch", "seq"]}) -> tensor<?x?x4xf32> {
    %past = ganq.past_length
    %wte = ganq.parameter "wte" : tensor<32x4xf32>
    %axis = "onnx.Constant"() {value = dense<1> : tensor<1xi64>} : () -> tensor<1xi64>
    %zero = "onnx.Constant"() {value = dense<0> : tensor<1xi64>} : () -> tensor<1xi64>
    %0 = "onnx.Gather"(%wte, %ids) : (tensor<32x4xf32>, tensor<?x?xi64>) -> tensor<?x?x4xf32>
    %n = "onnx.Shape"(%ids) {start = 1 : i64, end = 2 : i64} : (tensor<?x?xi64>) -> tensor<1xi64>
    %p = "onnx.Slice"(%wte, %zero, %n, %zero, %axis) : (tensor<32x4xf32>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x4xf32>
    %s = "onnx.Add"(%0, %p) : (tensor<?x?x4xf32>, tensor<?x4xf32>) -> tensor<?x?x4xf32>
    %1 = "onnx.Unsqueeze"(%s, %axis) : (tensor<?x?x4xf32>, tensor<1xi64>) -> tensor<?x1x?x4xf32>
    %k = ganq.kv_append %1 : tensor<?x1x?x4xf32> -> tensor<?x1x?x4xf32>
    %2 = ganq.attention %1, %k, %k past(%past) causal {scale = 0.5 : f32} : tensor<?x1x?x4xf32>, tensor<?x1x?x4xf32>, tensor<?x1x?x4xf32> -> tensor<?x1x?x4xf32>
    %3 = "onnx.Squeeze"(%2, %axis) : (tensor<?x1x?x4xf32>, tensor<1xi64>) -> tensor<?x?x4xf32>
    return %3 : tensor<?x?x4xf32>
  }
}
