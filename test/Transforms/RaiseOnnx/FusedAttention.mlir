// RUN: ganq-opt %s --ganq-raise-onnx | FileCheck %s

// The lengths come from the attention mask; for ones they are past + tokens.

// CHECK-LABEL: func.func @group_query(
// CHECK-SAME: ganq.max_context = 32
// CHECK: %[[PAST:.*]] = ganq.past_length
// CHECK: %[[COS:.*]] = ganq.position_rows
// CHECK: %[[SIN:.*]] = ganq.position_rows
// CHECK: %[[Q:.*]] = ganq.rope %{{.*}}, %[[COS]], %[[SIN]] : tensor<?x4x?x8xf32>
// CHECK: %[[K:.*]] = ganq.rope %{{.*}}, %[[COS]], %[[SIN]] : tensor<?x2x?x8xf32>
// CHECK: %[[KEYS:.*]] = ganq.kv_append %[[K]] past(%{{.*}} : tensor<?x2x?x8xf32>)
// CHECK: %[[VALUES:.*]] = ganq.kv_append %{{.*}} past(
// CHECK: %[[Y:.*]] = ganq.attention %[[Q]], %[[KEYS]], %[[VALUES]] past(%[[PAST]]) causal {scale = 0.353553385 : f32}
// CHECK: %[[SWAP:.*]] = "onnx.Transpose"(%[[Y]]) {perm = array<i64: 0, 2, 1, 3>}
// CHECK: %[[OUT:.*]] = "onnx.Reshape"(%[[SWAP]]
// CHECK: return %[[OUT]], %[[KEYS]], %[[VALUES]]
func.func @group_query(%ids: tensor<?x?xi64> {onnx.name = "input_ids", onnx.dims = ["batch", "seq"]},
                       %mask: tensor<?x?xi64> {onnx.name = "attention_mask", onnx.dims = ["batch", "total"]},
                       %past_k: tensor<?x2x?x8xf32> {onnx.dims = ["batch", 2, "past", 8]},
                       %past_v: tensor<?x2x?x8xf32> {onnx.dims = ["batch", 2, "past", 8]},
                       %q: tensor<?x?x32xf32>, %k: tensor<?x?x16xf32>, %v: tensor<?x?x16xf32>)
    -> (tensor<?x?x32xf32>, tensor<?x2x?x8xf32>, tensor<?x2x?x8xf32>) {
  %one = "onnx.Constant"() {value = dense<1> : tensor<1xi32>} : () -> tensor<1xi32>
  %last = "onnx.Constant"() {value = dense<1> : tensor<1xi64>} : () -> tensor<1xi64>
  %first = "onnx.Constant"() {value = dense<0> : tensor<1xi64>} : () -> tensor<1xi64>
  %cos = ganq.parameter "cos_cache" : tensor<32x4xf32>
  %sin = ganq.parameter "sin_cache" : tensor<32x4xf32>
  %m = "onnx.Cast"(%mask) {to = 6 : i64} : (tensor<?x?xi64>) -> tensor<?x?xi32>
  %sum = "onnx.ReduceSum"(%m, %last) {keepdims = 0 : i64} : (tensor<?x?xi32>, tensor<1xi64>) -> tensor<?xi32>
  %lengths = "onnx.Sub"(%sum, %one) : (tensor<?xi32>, tensor<1xi32>) -> tensor<?xi32>
  %total = "onnx.ReduceMax"(%sum, %first) {keepdims = 0 : i64} : (tensor<?xi32>, tensor<1xi64>) -> tensor<i32>
  %y:3 = "onnx.com.microsoft.GroupQueryAttention"(%q, %k, %v, %past_k, %past_v, %lengths, %total, %cos, %sin)
      {num_heads = 4 : i64, kv_num_heads = 2 : i64, do_rotary = 1 : i64}
      : (tensor<?x?x32xf32>, tensor<?x?x16xf32>, tensor<?x?x16xf32>, tensor<?x2x?x8xf32>, tensor<?x2x?x8xf32>, tensor<?xi32>, tensor<i32>, tensor<32x4xf32>, tensor<32x4xf32>)
      -> (tensor<?x?x32xf32>, tensor<?x2x?x8xf32>, tensor<?x2x?x8xf32>)
  return %y#0, %y#1, %y#2 : tensor<?x?x32xf32>, tensor<?x2x?x8xf32>, tensor<?x2x?x8xf32>
}

// A local window is more than ganq.attention says.

// CHECK-LABEL: func.func @local_window(
// CHECK: onnx.com.microsoft.GroupQueryAttention
// CHECK-NOT: ganq.attention
// CHECK: return
func.func @local_window(%q: tensor<1x4x32xf32>, %k: tensor<1x4x16xf32>, %v: tensor<1x4x16xf32>) -> tensor<1x4x32xf32> {
  %none = "onnx.None"() : () -> none
  %lengths = "onnx.Constant"() {value = dense<3> : tensor<1xi32>} : () -> tensor<1xi32>
  %total = "onnx.Constant"() {value = dense<4> : tensor<i32>} : () -> tensor<i32>
  %y = "onnx.com.microsoft.GroupQueryAttention"(%q, %k, %v, %none, %none, %lengths, %total)
      {num_heads = 4 : i64, kv_num_heads = 2 : i64, local_window_size = 2 : i64}
      : (tensor<1x4x32xf32>, tensor<1x4x16xf32>, tensor<1x4x16xf32>, none, none, tensor<1xi32>, tensor<i32>) -> tensor<1x4x32xf32>
  return %y : tensor<1x4x32xf32>
}

// Attention of opset 23 with a boolean mask that is data.

// CHECK-LABEL: func.func @standard(
// CHECK: %[[MASK:.*]] = "onnx.Where"(%{{.*}}, %{{.*}}, %{{.*}}) : (tensor<?x?xi1>, tensor<f32>, tensor<f32>) -> tensor<?x?xf32>
// CHECK: %[[MASK4:.*]] = "onnx.Unsqueeze"(%[[MASK]]
// CHECK: ganq.attention %{{.*}}, %{{.*}}, %{{.*}} mask(%[[MASK4]] : tensor<1x1x?x?xf32>) {scale = 1.250000e-01 : f32}
func.func @standard(%q: tensor<?x4x?x8xf32>, %k: tensor<?x2x?x8xf32>, %v: tensor<?x2x?x8xf32>, %mask: tensor<?x?xi1>) -> tensor<?x4x?x8xf32> {
  %0 = "onnx.Attention"(%q, %k, %v, %mask) {scale = 0.125 : f32}
      : (tensor<?x4x?x8xf32>, tensor<?x2x?x8xf32>, tensor<?x2x?x8xf32>, tensor<?x?xi1>) -> tensor<?x4x?x8xf32>
  return %0 : tensor<?x4x?x8xf32>
}

// The weights of queries, keys and values are one matrix, the caches one
// tensor: the length of the past is what the new tokens leave of the keys.

// CHECK-LABEL: func.func @packed(
// CHECK: ganq.matmul %{{.*}}, %{{.*}} bias(%{{.*}} : tensor<96xf32>) : tensor<?x?x32xf32>, tensor<96x32xf32>
// CHECK: %[[K:.*]] = "onnx.Concat"(%{{.*}}, %{{.*}}) {axis = 2 : i64}
// CHECK: %[[V:.*]] = "onnx.Concat"(%{{.*}}, %{{.*}}) {axis = 2 : i64}
// CHECK: ganq.attention %{{.*}}, %[[K]], %[[V]] causal {scale = 0.353553385 : f32}
func.func @packed(%x: tensor<?x?x32xf32> {onnx.dims = ["batch", "seq", 32]},
                  %past: tensor<2x?x4x?x8xf32> {onnx.dims = [2, "batch", 4, "past", 8]})
    -> (tensor<?x?x32xf32>, tensor<2x?x4x?x8xf32>) {
  %none = "onnx.None"() : () -> none
  %w = ganq.parameter "qkv" : tensor<32x96xf32>
  %b = ganq.parameter "bias" : tensor<96xf32>
  %y:2 = "onnx.com.microsoft.Attention"(%x, %w, %b, %none, %past) {num_heads = 4 : i64, unidirectional = 1 : i64}
      : (tensor<?x?x32xf32>, tensor<32x96xf32>, tensor<96xf32>, none, tensor<2x?x4x?x8xf32>) -> (tensor<?x?x32xf32>, tensor<2x?x4x?x8xf32>)
  return %y#0, %y#1 : tensor<?x?x32xf32>, tensor<2x?x4x?x8xf32>
}

// CHECK-LABEL: func.func @rotary(
// CHECK: %[[SPLIT:.*]] = "onnx.Reshape"(%{{.*}}, %{{.*}}) : (tensor<?x?x32xf32>, tensor<4xi64>) -> tensor<?x?x4x8xf32>
// CHECK: %[[X:.*]] = "onnx.Transpose"(%[[SPLIT]])
// CHECK: ganq.rope %[[X]], %{{.*}}, %{{.*}} interleaved
func.func @rotary(%ids: tensor<?x?xi64> {onnx.name = "input_ids", onnx.dims = ["batch", "seq"]},
                  %positions: tensor<?x?xi64> {onnx.name = "position_ids", onnx.dims = ["batch", "seq"]},
                  %x: tensor<?x?x32xf32>) -> tensor<?x?x32xf32> {
  %cos = ganq.parameter "cos_cache" : tensor<32x4xf32>
  %sin = ganq.parameter "sin_cache" : tensor<32x4xf32>
  %0 = "onnx.com.microsoft.RotaryEmbedding"(%x, %positions, %cos, %sin) {interleaved = 1 : i64}
      : (tensor<?x?x32xf32>, tensor<?x?xi64>, tensor<32x4xf32>, tensor<32x4xf32>) -> tensor<?x?x32xf32>
  return %0 : tensor<?x?x32xf32>
}
