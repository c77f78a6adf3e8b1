// RUN: ganq-opt %s --ganq-raise-onnx=max-context=6 | FileCheck %s

// Angles are position * rate with rates (1, 0); both halves of the table agree,
// and only one is kept.

// CHECK-LABEL: func.func @rotate_half(
// CHECK-SAME: %[[IDS:.*]]: tensor<?x?xi64>
// CHECK-SAME: %[[X:[a-z0-9]*]]: tensor<?x2x?x4xf32>
// CHECK-SAME: ganq.max_context = 6
// CHECK-DAG: %[[COUNT:.*]] = tensor.dim %[[IDS]], %{{.*}}
// CHECK-DAG: %[[PAST:.*]] = ganq.past_length
// CHECK-DAG: %[[COS_TABLE:.*]] = "onnx.Constant"() {value = dense<{{\[}}[1.000000e+00, 1.000000e+00], [0.540302277, 1.000000e+00]{{.*}}> : tensor<6x2xf32>}
// CHECK-DAG: %[[SIN_TABLE:.*]] = "onnx.Constant"() {value = dense<{{\[}}[0.000000e+00, 0.000000e+00], [0.841470{{[0-9]*}}, 0.000000e+00]{{.*}}> : tensor<6x2xf32>}
// CHECK-DAG: %[[COS:.*]] = ganq.position_rows %[[COS_TABLE]][%[[PAST]], %[[COUNT]]]
// CHECK-DAG: %[[SIN:.*]] = ganq.position_rows %[[SIN_TABLE]][%[[PAST]], %[[COUNT]]]
// CHECK: %[[Y:.*]] = ganq.rope %[[X]], %[[COS]], %[[SIN]]
// CHECK-NOT: onnx.Cos
// CHECK: return %[[Y]]
func.func @rotate_half(%ids: tensor<?x?xi64> {onnx.name = "input_ids", onnx.dims = ["batch", "seq"]},
                       %x: tensor<?x2x?x4xf32> {onnx.dims = ["batch", 2, "seq", 4]}) -> tensor<?x2x?x4xf32> {
  %zero = "onnx.Constant"() {value = dense<0> : tensor<i64>} : () -> tensor<i64>
  %one = "onnx.Constant"() {value = dense<1> : tensor<i64>} : () -> tensor<i64>
  %rates = "onnx.Constant"() {value = dense<[[1.0, 0.0]]> : tensor<1x2xf32>} : () -> tensor<1x2xf32>
  %first = "onnx.Constant"() {value = dense<1> : tensor<1xi64>} : () -> tensor<1xi64>
  %front = "onnx.Constant"() {value = dense<[0, 1]> : tensor<2xi64>} : () -> tensor<2xi64>
  %begin = "onnx.Constant"() {value = dense<0> : tensor<1xi64>} : () -> tensor<1xi64>
  %middle = "onnx.Constant"() {value = dense<2> : tensor<1xi64>} : () -> tensor<1xi64>
  %end = "onnx.Constant"() {value = dense<9223372036854775807> : tensor<1xi64>} : () -> tensor<1xi64>
  %last = "onnx.Constant"() {value = dense<3> : tensor<1xi64>} : () -> tensor<1xi64>
  %size = "onnx.Shape"(%ids) {start = 1 : i64, end = 2 : i64} : (tensor<?x?xi64>) -> tensor<1xi64>
  %count = "onnx.Squeeze"(%size) : (tensor<1xi64>) -> tensor<i64>
  %range = "onnx.Range"(%zero, %count, %one) : (tensor<i64>, tensor<i64>, tensor<i64>) -> tensor<?xi64>
  %places = "onnx.Cast"(%range) {to = 1 : i64} : (tensor<?xi64>) -> tensor<?xf32>
  %column = "onnx.Unsqueeze"(%places, %first) : (tensor<?xf32>, tensor<1xi64>) -> tensor<?x1xf32>
  %half = "onnx.Mul"(%column, %rates) : (tensor<?x1xf32>, tensor<1x2xf32>) -> tensor<?x2xf32>
  %angles = "onnx.Concat"(%half, %half) {axis = -1 : i64} : (tensor<?x2xf32>, tensor<?x2xf32>) -> tensor<?x4xf32>
  %c = "onnx.Cos"(%angles) : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %s = "onnx.Sin"(%angles) : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %cos = "onnx.Unsqueeze"(%c, %front) : (tensor<?x4xf32>, tensor<2xi64>) -> tensor<1x1x?x4xf32>
  %sin = "onnx.Unsqueeze"(%s, %front) : (tensor<?x4xf32>, tensor<2xi64>) -> tensor<1x1x?x4xf32>
  %low = "onnx.Slice"(%x, %begin, %middle, %last, %first) : (tensor<?x2x?x4xf32>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x2x?x2xf32>
  %high = "onnx.Slice"(%x, %middle, %end, %last, %first) : (tensor<?x2x?x4xf32>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x2x?x2xf32>
  %neg = "onnx.Neg"(%high) : (tensor<?x2x?x2xf32>) -> tensor<?x2x?x2xf32>
  %turned = "onnx.Concat"(%neg, %low) {axis = -1 : i64} : (tensor<?x2x?x2xf32>, tensor<?x2x?x2xf32>) -> tensor<?x2x?x4xf32>
  %0 = "onnx.Mul"(%x, %cos) : (tensor<?x2x?x4xf32>, tensor<1x1x?x4xf32>) -> tensor<?x2x?x4xf32>
  %1 = "onnx.Mul"(%turned, %sin) : (tensor<?x2x?x4xf32>, tensor<1x1x?x4xf32>) -> tensor<?x2x?x4xf32>
  %2 = "onnx.Add"(%0, %1) : (tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>) -> tensor<?x2x?x4xf32>
  return %2 : tensor<?x2x?x4xf32>
}

// A table of constants that covers four positions; the lower halves are split
// off, angles come for half of the head only.

// CHECK-LABEL: func.func @halves(
// CHECK-SAME: ganq.max_context = 4
// CHECK: %[[Y:.*]] = ganq.rope %{{.*}}, %{{.*}}, %{{.*}} : tensor<?x2x?x2xf32>, tensor<?x1xf32>, tensor<?x1xf32>
// CHECK: return %[[Y]]
func.func @halves(%x: tensor<?x2x?x2xf32> {onnx.dims = ["batch", 2, "seq", 2]}) -> tensor<?x2x?x2xf32> {
  %table = "onnx.Constant"() {value = dense<[[1.0], [0.5], [-0.5], [-1.0]]> : tensor<4x1xf32>} : () -> tensor<4x1xf32>
  %begin = "onnx.Constant"() {value = dense<0> : tensor<1xi64>} : () -> tensor<1xi64>
  %first = "onnx.Constant"() {value = dense<1> : tensor<1xi64>} : () -> tensor<1xi64>
  %size = "onnx.Shape"(%x) {start = 2 : i64, end = 3 : i64} : (tensor<?x2x?x2xf32>) -> tensor<1xi64>
  %cos = "onnx.Slice"(%table, %begin, %size, %begin, %first) : (tensor<4x1xf32>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x1xf32>
  %sin = "onnx.Neg"(%cos) : (tensor<?x1xf32>) -> tensor<?x1xf32>
  %low, %high = "onnx.Split"(%x) {axis = -1 : i64, num_outputs = 2 : i64} : (tensor<?x2x?x2xf32>) -> (tensor<?x2x?x1xf32>, tensor<?x2x?x1xf32>)
  %0 = "onnx.Mul"(%low, %cos) : (tensor<?x2x?x1xf32>, tensor<?x1xf32>) -> tensor<?x2x?x1xf32>
  %1 = "onnx.Mul"(%high, %sin) : (tensor<?x2x?x1xf32>, tensor<?x1xf32>) -> tensor<?x2x?x1xf32>
  %2 = "onnx.Sub"(%0, %1) : (tensor<?x2x?x1xf32>, tensor<?x2x?x1xf32>) -> tensor<?x2x?x1xf32>
  %3 = "onnx.Mul"(%high, %cos) : (tensor<?x2x?x1xf32>, tensor<?x1xf32>) -> tensor<?x2x?x1xf32>
  %4 = "onnx.Mul"(%low, %sin) : (tensor<?x2x?x1xf32>, tensor<?x1xf32>) -> tensor<?x2x?x1xf32>
  %5 = "onnx.Add"(%3, %4) : (tensor<?x2x?x1xf32>, tensor<?x2x?x1xf32>) -> tensor<?x2x?x1xf32>
  %6 = "onnx.Concat"(%2, %5) {axis = -1 : i64} : (tensor<?x2x?x1xf32>, tensor<?x2x?x1xf32>) -> tensor<?x2x?x2xf32>
  return %6 : tensor<?x2x?x2xf32>
}

// The halves of the table differ.

// CHECK-LABEL: func.func @two_angles(
// CHECK-NOT: ganq.rope
// CHECK: return
func.func @two_angles(%x: tensor<?x2x?x2xf32> {onnx.dims = ["batch", 2, "seq", 2]}) -> tensor<?x2x?x2xf32> {
  %table = "onnx.Constant"() {value = dense<[[1.0, 1.0], [0.5, 0.25], [-0.5, -0.5], [-1.0, -1.0]]> : tensor<4x2xf32>} : () -> tensor<4x2xf32>
  %begin = "onnx.Constant"() {value = dense<0> : tensor<1xi64>} : () -> tensor<1xi64>
  %first = "onnx.Constant"() {value = dense<1> : tensor<1xi64>} : () -> tensor<1xi64>
  %size = "onnx.Shape"(%x) {start = 2 : i64, end = 3 : i64} : (tensor<?x2x?x2xf32>) -> tensor<1xi64>
  %cos = "onnx.Slice"(%table, %begin, %size, %begin, %first) : (tensor<4x2xf32>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x2xf32>
  %low, %high = "onnx.Split"(%x) {axis = -1 : i64, num_outputs = 2 : i64} : (tensor<?x2x?x2xf32>) -> (tensor<?x2x?x1xf32>, tensor<?x2x?x1xf32>)
  %neg = "onnx.Neg"(%high) : (tensor<?x2x?x1xf32>) -> tensor<?x2x?x1xf32>
  %turned = "onnx.Concat"(%neg, %low) {axis = -1 : i64} : (tensor<?x2x?x1xf32>, tensor<?x2x?x1xf32>) -> tensor<?x2x?x2xf32>
  %0 = "onnx.Mul"(%x, %cos) : (tensor<?x2x?x2xf32>, tensor<?x2xf32>) -> tensor<?x2x?x2xf32>
  %1 = "onnx.Mul"(%turned, %cos) : (tensor<?x2x?x2xf32>, tensor<?x2xf32>) -> tensor<?x2x?x2xf32>
  %2 = "onnx.Add"(%0, %1) : (tensor<?x2x?x2xf32>, tensor<?x2x?x2xf32>) -> tensor<?x2x?x2xf32>
  return %2 : tensor<?x2x?x2xf32>
}

// Positions that the caller gives count as the places of the tokens; a Gather
// by the tokens is no table of positions.

// CHECK-LABEL: func.func @learned(
// CHECK-SAME: ganq.max_context = 5
// CHECK: %[[TOKENS:.*]] = "onnx.Gather"
// CHECK: %[[ROWS:.*]] = ganq.position_rows %{{.*}}[%{{.*}}, %{{.*}}] : tensor<5x8xf32>
// CHECK: %[[BATCH:.*]] = "onnx.Unsqueeze"(%[[ROWS]]
// CHECK: "onnx.Add"(%[[TOKENS]], %[[BATCH]])
func.func @learned(%ids: tensor<?x?xi64> {onnx.name = "input_ids", onnx.dims = ["batch", "seq"]},
                   %positions: tensor<?x?xi64> {onnx.name = "position_ids", onnx.dims = ["batch", "seq"]}) -> tensor<?x?x8xf32> {
  %wte = ganq.parameter "wte" : tensor<16x8xf32>
  %wpe = ganq.parameter "wpe" : tensor<5x8xf32>
  %0 = "onnx.Gather"(%wte, %ids) : (tensor<16x8xf32>, tensor<?x?xi64>) -> tensor<?x?x8xf32>
  %1 = "onnx.Gather"(%wpe, %positions) : (tensor<5x8xf32>, tensor<?x?xi64>) -> tensor<?x?x8xf32>
  %2 = "onnx.Add"(%0, %1) : (tensor<?x?x8xf32>, tensor<?x?x8xf32>) -> tensor<?x?x8xf32>
  return %2 : tensor<?x?x8xf32>
}
