// RUN: ganq-opt %s --ganq-raise-onnx | FileCheck %s

// The mask is computed from the number of tokens: Trilu of ones, where zero is
// hidden. Two query heads share a key head.

// CHECK-LABEL: func.func @causal(
// CHECK-SAME: %[[Q:[a-z0-9]*]]: tensor<?x4x?x8xf32>
// CHECK-SAME: %[[K:[a-z0-9]*]]: tensor<?x2x?x8xf32>
// CHECK-SAME: %[[V:[a-z0-9]*]]: tensor<?x2x?x8xf32>
// CHECK-SAME: ganq.max_context = 2048
// CHECK: %[[PAST:.*]] = ganq.past_length
// CHECK-DAG: %[[KEYS:.*]] = ganq.kv_append %[[K]] : tensor<?x2x?x8xf32> -> tensor<?x2x?x8xf32>
// CHECK-DAG: %[[VALUES:.*]] = ganq.kv_append %[[V]]
// CHECK: %[[Y:.*]] = ganq.attention %[[Q]], %[[KEYS]], %[[VALUES]] past(%[[PAST]]) causal {scale = 2.500000e-01 : f32}
// CHECK: return %[[Y]]
func.func @causal(%q: tensor<?x4x?x8xf32> {onnx.dims = ["batch", 4, "seq", 8]},
                  %k: tensor<?x2x?x8xf32> {onnx.dims = ["batch", 2, "seq", 8]},
                  %v: tensor<?x2x?x8xf32> {onnx.dims = ["batch", 2, "seq", 8]}) -> tensor<?x4x?x8xf32> {
  %half = "onnx.Constant"() {value = dense<0.5> : tensor<f32>} : () -> tensor<f32>
  %zero = "onnx.Constant"() {value = dense<0.0> : tensor<f32>} : () -> tensor<f32>
  %one = "onnx.Constant"() {value = dense<1.0> : tensor<f32>} : () -> tensor<f32>
  %hidden = "onnx.Constant"() {value = dense<-1.0e9> : tensor<f32>} : () -> tensor<f32>
  %two = "onnx.Constant"() {value = dense<2> : tensor<1xi64>} : () -> tensor<1xi64>
  %repeat = "onnx.Constant"() {value = dense<[1, 1, 2, 1, 1]> : tensor<5xi64>} : () -> tensor<5xi64>
  %heads = "onnx.Constant"() {value = dense<[0, 4, -1, 8]> : tensor<4xi64>} : () -> tensor<4xi64>
  %size = "onnx.Shape"(%q) {start = 2 : i64, end = 3 : i64} : (tensor<?x4x?x8xf32>) -> tensor<1xi64>
  %square = "onnx.Concat"(%size, %size) {axis = 0 : i64} : (tensor<1xi64>, tensor<1xi64>) -> tensor<2xi64>
  %ones = "onnx.Expand"(%one, %square) : (tensor<f32>, tensor<2xi64>) -> tensor<?x?xf32>
  %lower = "onnx.Trilu"(%ones) {upper = 0 : i64} : (tensor<?x?xf32>) -> tensor<?x?xf32>
  %none = "onnx.Equal"(%lower, %zero) : (tensor<?x?xf32>, tensor<f32>) -> tensor<?x?xi1>
  %mask = "onnx.Where"(%none, %hidden, %zero) : (tensor<?x?xi1>, tensor<f32>, tensor<f32>) -> tensor<?x?xf32>
  %k5 = "onnx.Unsqueeze"(%k, %two) : (tensor<?x2x?x8xf32>, tensor<1xi64>) -> tensor<?x2x1x?x8xf32>
  %kx = "onnx.Expand"(%k5, %repeat) : (tensor<?x2x1x?x8xf32>, tensor<5xi64>) -> tensor<?x2x2x?x8xf32>
  %kr = "onnx.Reshape"(%kx, %heads) : (tensor<?x2x2x?x8xf32>, tensor<4xi64>) -> tensor<?x4x?x8xf32>
  %v5 = "onnx.Unsqueeze"(%v, %two) : (tensor<?x2x?x8xf32>, tensor<1xi64>) -> tensor<?x2x1x?x8xf32>
  %vx = "onnx.Expand"(%v5, %repeat) : (tensor<?x2x1x?x8xf32>, tensor<5xi64>) -> tensor<?x2x2x?x8xf32>
  %vr = "onnx.Reshape"(%vx, %heads) : (tensor<?x2x2x?x8xf32>, tensor<4xi64>) -> tensor<?x4x?x8xf32>
  %kt = "onnx.Transpose"(%kr) {perm = array<i64: 0, 1, 3, 2>} : (tensor<?x4x?x8xf32>) -> tensor<?x4x8x?xf32>
  %qs = "onnx.Mul"(%q, %half) : (tensor<?x4x?x8xf32>, tensor<f32>) -> tensor<?x4x?x8xf32>
  %ks = "onnx.Mul"(%kt, %half) : (tensor<?x4x8x?xf32>, tensor<f32>) -> tensor<?x4x8x?xf32>
  %0 = "onnx.MatMul"(%qs, %ks) : (tensor<?x4x?x8xf32>, tensor<?x4x8x?xf32>) -> tensor<?x4x?x?xf32>
  %1 = "onnx.Add"(%0, %mask) : (tensor<?x4x?x?xf32>, tensor<?x?xf32>) -> tensor<?x4x?x?xf32>
  %2 = "onnx.Softmax"(%1) {axis = -1 : i64} : (tensor<?x4x?x?xf32>) -> tensor<?x4x?x?xf32>
  %3 = "onnx.MatMul"(%2, %vr) : (tensor<?x4x?x?xf32>, tensor<?x4x?x8xf32>) -> tensor<?x4x?x8xf32>
  return %3 : tensor<?x4x?x8xf32>
}

// A window of three keys is not causal attention: the mask stays.

// CHECK-LABEL: func.func @window(
// CHECK: ganq.attention %{{.*}}, %{{.*}}, %{{.*}} mask(%{{.*}} : tensor<1x1x?x?xf32>) {scale = 1.000000e+00 : f32}
func.func @window(%q: tensor<?x4x?x8xf32> {onnx.dims = ["batch", 4, "seq", 8]},
                  %kt: tensor<?x4x8x?xf32> {onnx.dims = ["batch", 4, 8, "seq"]},
                  %v: tensor<?x4x?x8xf32> {onnx.dims = ["batch", 4, "seq", 8]}) -> tensor<?x4x?x8xf32> {
  %zero = "onnx.Constant"() {value = dense<0.0> : tensor<f32>} : () -> tensor<f32>
  %one = "onnx.Constant"() {value = dense<1.0> : tensor<f32>} : () -> tensor<f32>
  %hidden = "onnx.Constant"() {value = dense<-1.0e9> : tensor<f32>} : () -> tensor<f32>
  %back = "onnx.Constant"() {value = dense<-3> : tensor<i64>} : () -> tensor<i64>
  %size = "onnx.Shape"(%q) {start = 2 : i64, end = 3 : i64} : (tensor<?x4x?x8xf32>) -> tensor<1xi64>
  %square = "onnx.Concat"(%size, %size) {axis = 0 : i64} : (tensor<1xi64>, tensor<1xi64>) -> tensor<2xi64>
  %ones = "onnx.Expand"(%one, %square) : (tensor<f32>, tensor<2xi64>) -> tensor<?x?xf32>
  %lower = "onnx.Trilu"(%ones) {upper = 0 : i64} : (tensor<?x?xf32>) -> tensor<?x?xf32>
  %band = "onnx.Trilu"(%lower, %back) {upper = 1 : i64} : (tensor<?x?xf32>, tensor<i64>) -> tensor<?x?xf32>
  %none = "onnx.Equal"(%band, %zero) : (tensor<?x?xf32>, tensor<f32>) -> tensor<?x?xi1>
  %mask = "onnx.Where"(%none, %hidden, %zero) : (tensor<?x?xi1>, tensor<f32>, tensor<f32>) -> tensor<?x?xf32>
  %0 = "onnx.MatMul"(%q, %kt) : (tensor<?x4x?x8xf32>, tensor<?x4x8x?xf32>) -> tensor<?x4x?x?xf32>
  %1 = "onnx.Add"(%mask, %0) : (tensor<?x?xf32>, tensor<?x4x?x?xf32>) -> tensor<?x4x?x?xf32>
  %2 = "onnx.Softmax"(%1) {axis = -1 : i64} : (tensor<?x4x?x?xf32>) -> tensor<?x4x?x?xf32>
  %3 = "onnx.MatMul"(%2, %v) : (tensor<?x4x?x?xf32>, tensor<?x4x?x8xf32>) -> tensor<?x4x?x8xf32>
  return %3 : tensor<?x4x?x8xf32>
}

// The attention mask is data; for ones it is causal together with the table.
// The keys of the past come from an argument.

// CHECK-LABEL: func.func @cached(
// CHECK: %[[PAST:.*]] = ganq.past_length
// CHECK: %[[KEYS:.*]] = ganq.kv_append %{{.*}} past(%{{.*}} : tensor<?x2x?x8xf32>)
// CHECK: ganq.attention %{{.*}}, %[[KEYS]], %{{.*}} mask(%{{.*}} : tensor<?x1x1x?xf32>) past(%[[PAST]]) causal
// CHECK-SAME: {ganq.unpadded_mask = "none", scale = 1.000000e+00 : f32}
// CHECK: return %{{.*}}, %[[KEYS]]
func.func @cached(%ids: tensor<?x?xi64> {onnx.name = "input_ids", onnx.dims = ["batch", "seq"]},
                  %attention_mask: tensor<?x?xi64> {onnx.name = "attention_mask", onnx.dims = ["batch", "total"]},
                  %past_k: tensor<?x2x?x8xf32> {onnx.name = "past.k", onnx.dims = ["batch", 2, "past", 8]},
                  %past_v: tensor<?x2x?x8xf32> {onnx.name = "past.v", onnx.dims = ["batch", 2, "past", 8]},
                  %q: tensor<?x2x?x8xf32> {onnx.dims = ["batch", 2, "seq", 8]}) -> (tensor<?x2x?x8xf32>, tensor<?x2x?x8xf32>) {
  %hidden = "onnx.Constant"() {value = dense<-1.0e9> : tensor<f32>} : () -> tensor<f32>
  %zero = "onnx.Constant"() {value = dense<0> : tensor<i64>} : () -> tensor<i64>
  %one = "onnx.Constant"() {value = dense<1> : tensor<i64>} : () -> tensor<i64>
  %axes = "onnx.Constant"() {value = dense<[1, 2]> : tensor<2xi64>} : () -> tensor<2xi64>
  %first = "onnx.Constant"() {value = dense<1> : tensor<1xi64>} : () -> tensor<1xi64>
  %k = "onnx.Concat"(%past_k, %q) {axis = 2 : i64} : (tensor<?x2x?x8xf32>, tensor<?x2x?x8xf32>) -> tensor<?x2x?x8xf32>
  %v = "onnx.Concat"(%past_v, %q) {axis = 2 : i64} : (tensor<?x2x?x8xf32>, tensor<?x2x?x8xf32>) -> tensor<?x2x?x8xf32>
  // seen[i, j] = j <= past + i
  %new = "onnx.Shape"(%q) {start = 2 : i64, end = 3 : i64} : (tensor<?x2x?x8xf32>) -> tensor<1xi64>
  %all = "onnx.Shape"(%k) {start = 2 : i64, end = 3 : i64} : (tensor<?x2x?x8xf32>) -> tensor<1xi64>
  %old = "onnx.Shape"(%past_k) {start = 2 : i64, end = 3 : i64} : (tensor<?x2x?x8xf32>) -> tensor<1xi64>
  %scalar = "onnx.Squeeze"(%new) : (tensor<1xi64>) -> tensor<i64>
  %end = "onnx.Squeeze"(%all) : (tensor<1xi64>) -> tensor<i64>
  %i = "onnx.Range"(%zero, %scalar, %one) : (tensor<i64>, tensor<i64>, tensor<i64>) -> tensor<?xi64>
  %place = "onnx.Add"(%i, %old) : (tensor<?xi64>, tensor<1xi64>) -> tensor<?xi64>
  %row = "onnx.Unsqueeze"(%place, %first) : (tensor<?xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %j = "onnx.Range"(%zero, %end, %one) : (tensor<i64>, tensor<i64>, tensor<i64>) -> tensor<?xi64>
  %seen = "onnx.LessOrEqual"(%j, %row) : (tensor<?xi64>, tensor<?x1xi64>) -> tensor<?x?xi1>
  // padding: (1 - mask) * -1e9
  %m4 = "onnx.Unsqueeze"(%attention_mask, %axes) : (tensor<?x?xi64>, tensor<2xi64>) -> tensor<?x1x1x?xi64>
  %inverse = "onnx.Sub"(%one, %m4) : (tensor<i64>, tensor<?x1x1x?xi64>) -> tensor<?x1x1x?xi64>
  %float = "onnx.Cast"(%inverse) {to = 1 : i64} : (tensor<?x1x1x?xi64>) -> tensor<?x1x1x?xf32>
  %padding = "onnx.Mul"(%float, %hidden) : (tensor<?x1x1x?xf32>, tensor<f32>) -> tensor<?x1x1x?xf32>
  %kt = "onnx.Transpose"(%k) {perm = array<i64: 0, 1, 3, 2>} : (tensor<?x2x?x8xf32>) -> tensor<?x2x8x?xf32>
  %0 = "onnx.MatMul"(%q, %kt) : (tensor<?x2x?x8xf32>, tensor<?x2x8x?xf32>) -> tensor<?x2x?x?xf32>
  %1 = "onnx.Where"(%seen, %0, %hidden) : (tensor<?x?xi1>, tensor<?x2x?x?xf32>, tensor<f32>) -> tensor<?x2x?x?xf32>
  %2 = "onnx.Add"(%1, %padding) : (tensor<?x2x?x?xf32>, tensor<?x1x1x?xf32>) -> tensor<?x2x?x?xf32>
  %3 = "onnx.Softmax"(%2) {axis = 3 : i64} : (tensor<?x2x?x?xf32>) -> tensor<?x2x?x?xf32>
  %4 = "onnx.MatMul"(%3, %v) : (tensor<?x2x?x?xf32>, tensor<?x2x?x8xf32>) -> tensor<?x2x?x8xf32>
  return %4, %k : tensor<?x2x?x8xf32>, tensor<?x2x?x8xf32>
}

// No mask: every query sees every key.

// CHECK-LABEL: func.func @bidirectional(
// CHECK-NOT: ganq.kv_append
// CHECK: ganq.attention %{{.*}}, %{{.*}}, %{{.*}} {scale = 5.000000e-01 : f32}
func.func @bidirectional(%q: tensor<1x2x3x4xf32>, %k: tensor<1x2x4x5xf32>, %v: tensor<1x2x5x4xf32>) -> tensor<1x2x3x4xf32> {
  %two = "onnx.Constant"() {value = dense<2.0> : tensor<1xf32>} : () -> tensor<1xf32>
  %0 = "onnx.MatMul"(%q, %k) : (tensor<1x2x3x4xf32>, tensor<1x2x4x5xf32>) -> tensor<1x2x3x5xf32>
  %1 = "onnx.Div"(%0, %two) : (tensor<1x2x3x5xf32>, tensor<1xf32>) -> tensor<1x2x3x5xf32>
  %2 = "onnx.Softmax"(%1) {axis = -1 : i64} : (tensor<1x2x3x5xf32>) -> tensor<1x2x3x5xf32>
  %3 = "onnx.MatMul"(%2, %v) : (tensor<1x2x3x5xf32>, tensor<1x2x5x4xf32>) -> tensor<1x2x3x4xf32>
  return %3 : tensor<1x2x3x4xf32>
}

// The softmax runs over the queries.

// CHECK-LABEL: func.func @other_axis(
// CHECK-NOT: ganq.attention
// CHECK: return
func.func @other_axis(%q: tensor<1x2x3x4xf32>, %k: tensor<1x2x4x5xf32>, %v: tensor<1x2x5x4xf32>) -> tensor<1x2x3x4xf32> {
  %0 = "onnx.MatMul"(%q, %k) : (tensor<1x2x3x4xf32>, tensor<1x2x4x5xf32>) -> tensor<1x2x3x5xf32>
  %1 = "onnx.Softmax"(%0) {axis = 2 : i64} : (tensor<1x2x3x5xf32>) -> tensor<1x2x3x5xf32>
  %2 = "onnx.MatMul"(%1, %v) : (tensor<1x2x3x5xf32>, tensor<1x2x5x4xf32>) -> tensor<1x2x3x4xf32>
  return %2 : tensor<1x2x3x4xf32>
}
