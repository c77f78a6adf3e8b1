// RUN: ganq-opt %s --onnx-infer-shapes --onnx-fold --split-input-file | FileCheck %s

// The plumbing of a Reshape goes, although batch and seq are unknown.
// CHECK-LABEL: func.func @reshape
// CHECK-NEXT: %[[SHAPE:.*]] = "onnx.Constant"() {value = dense<[0, 0, 8, 8]> : tensor<4xi64>}
// CHECK-NEXT: %[[R:.*]] = "onnx.Reshape"(%arg0, %[[SHAPE]]) : (tensor<?x?x64xf32>, tensor<4xi64>) -> tensor<?x?x8x8xf32>
// CHECK-NEXT: return %[[R]]
func.func @reshape(%x: tensor<?x?x64xf32> {onnx.dims = ["batch", "seq", 64]}) -> tensor<*xf32> {
  %start = "onnx.Constant"() {value = dense<0> : tensor<1xi64>} : () -> tensor<1xi64>
  %end = "onnx.Constant"() {value = dense<2> : tensor<1xi64>} : () -> tensor<1xi64>
  %tail = "onnx.Constant"() {value = dense<[8, 8]> : tensor<2xi64>} : () -> tensor<2xi64>
  %shape = "onnx.Shape"(%x) : (tensor<?x?x64xf32>) -> tensor<3xi64>
  %lead = "onnx.Slice"(%shape, %start, %end, %start) : (tensor<3xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<*xi64>
  %to = "onnx.Concat"(%lead, %tail) {axis = 0 : i64} : (tensor<*xi64>, tensor<2xi64>) -> tensor<*xi64>
  %0 = "onnx.Reshape"(%x, %to) : (tensor<?x?x64xf32>, tensor<*xi64>) -> tensor<*xf32>
  return %0 : tensor<*xf32>
}

// -----

// The Where in front of an Expand chooses between sizes and ones.
// CHECK-LABEL: func.func @expand
// CHECK-NEXT: %[[SHAPE:.*]] = "onnx.Constant"() {value = dense<[1, 4, 2, 1, 8]> : tensor<5xi64>}
// CHECK-NEXT: "onnx.Expand"(%arg0, %[[SHAPE]])
func.func @expand(%x: tensor<?x4x1x?x8xf32> {onnx.dims = ["batch", 4, 1, "past + seq", 8]},
                  %past: tensor<?xf32> {onnx.dims = ["past"]}, %new: tensor<?xf32> {onnx.dims = ["seq"]}) -> tensor<*xf32> {
  %start = "onnx.Constant"() {value = dense<0> : tensor<1xi64>} : () -> tensor<1xi64>
  %end = "onnx.Constant"() {value = dense<1> : tensor<1xi64>} : () -> tensor<1xi64>
  %inner = "onnx.Constant"() {value = dense<[4, 2]> : tensor<2xi64>} : () -> tensor<2xi64>
  %eight = "onnx.Constant"() {value = dense<8> : tensor<1xi64>} : () -> tensor<1xi64>
  %five = "onnx.Constant"() {value = dense<5> : tensor<1xi64>} : () -> tensor<1xi64>
  %minus = "onnx.Constant"() {value = dense<-1> : tensor<i64>} : () -> tensor<i64>
  %shape = "onnx.Shape"(%x) : (tensor<?x4x1x?x8xf32>) -> tensor<5xi64>
  %b = "onnx.Slice"(%shape, %start, %end, %start) : (tensor<5xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<*xi64>
  %p = "onnx.Shape"(%past) : (tensor<?xf32>) -> tensor<1xi64>
  %n = "onnx.Shape"(%new) : (tensor<?xf32>) -> tensor<1xi64>
  %t = "onnx.Add"(%p, %n) : (tensor<1xi64>, tensor<1xi64>) -> tensor<*xi64>
  %to = "onnx.Concat"(%b, %inner, %t, %eight) {axis = 0 : i64} : (tensor<*xi64>, tensor<2xi64>, tensor<*xi64>, tensor<1xi64>) -> tensor<*xi64>
  %ones = "onnx.ConstantOfShape"(%five) {value = dense<1> : tensor<1xi64>} : (tensor<1xi64>) -> tensor<*xi64>
  %is = "onnx.Equal"(%to, %minus) : (tensor<*xi64>, tensor<i64>) -> tensor<*xi1>
  %sizes = "onnx.Where"(%is, %ones, %to) : (tensor<*xi1>, tensor<*xi64>, tensor<*xi64>) -> tensor<*xi64>
  %0 = "onnx.Expand"(%x, %sizes) : (tensor<?x4x1x?x8xf32>, tensor<*xi64>) -> tensor<*xf32>
  return %0 : tensor<*xf32>
}

// -----

// Elements are computed, in the precision of their type.
// CHECK-LABEL: func.func @elements
// CHECK-NEXT: %[[MASK:.*]] = "onnx.Constant"() {value = dense<{{\[\[}}0xFF800000, 1.000000e+00], [0xFF800000, 0xFF800000]]> : tensor<2x2xf32>}
// CHECK-NEXT: %[[SUM:.*]] = "onnx.Constant"() {value = dense<[0, 1, 3, 6]> : tensor<4xi64>}
// CHECK-NEXT: %[[COS:.*]] = "onnx.Constant"() {value = dense<[1.000000e+00, 0.540302277]> : tensor<2xf32>}
// CHECK-NEXT: %[[DIV:.*]] = "onnx.Constant"() {value = dense<-2> : tensor<i64>}
// CHECK-NEXT: return %[[MASK]], %[[SUM]], %[[COS]], %[[DIV]]
func.func @elements() -> (tensor<*xf32>, tensor<*xi64>, tensor<*xf32>, tensor<*xi64>) {
  %zero = "onnx.Constant"() {value = dense<0> : tensor<i64>} : () -> tensor<i64>
  %one = "onnx.Constant"() {value = dense<1> : tensor<i64>} : () -> tensor<i64>
  %four = "onnx.Constant"() {value = dense<4> : tensor<i64>} : () -> tensor<i64>
  %shape = "onnx.Constant"() {value = dense<2> : tensor<2xi64>} : () -> tensor<2xi64>
  %low = "onnx.Constant"() {value = dense<0xFF800000> : tensor<f32>} : () -> tensor<f32>
  %ones = "onnx.ConstantOfShape"(%shape) {value = dense<1.0> : tensor<1xf32>} : (tensor<2xi64>) -> tensor<*xf32>
  %upper = "onnx.Trilu"(%ones, %one) {upper = 1 : i64} : (tensor<*xf32>, tensor<i64>) -> tensor<*xf32>
  %keep = "onnx.Cast"(%upper) {to = 9 : i64} : (tensor<*xf32>) -> tensor<*xi1>
  %mask = "onnx.Where"(%keep, %upper, %low) : (tensor<*xi1>, tensor<*xf32>, tensor<f32>) -> tensor<*xf32>
  %range = "onnx.Range"(%zero, %four, %one) : (tensor<i64>, tensor<i64>, tensor<i64>) -> tensor<*xi64>
  %sum = "onnx.CumSum"(%range, %zero) : (tensor<*xi64>, tensor<i64>) -> tensor<*xi64>
  %angles = "onnx.Constant"() {value = dense<[0.0, 1.0]> : tensor<2xf32>} : () -> tensor<2xf32>
  %cos = "onnx.Cos"(%angles) : (tensor<2xf32>) -> tensor<*xf32>
  %five = "onnx.Constant"() {value = dense<-5> : tensor<i64>} : () -> tensor<i64>
  %two = "onnx.Constant"() {value = dense<2> : tensor<i64>} : () -> tensor<i64>
  %div = "onnx.Div"(%five, %two) : (tensor<i64>, tensor<i64>) -> tensor<*xi64>
  return %mask, %sum, %cos, %div : tensor<*xf32>, tensor<*xi64>, tensor<*xf32>, tensor<*xi64>
}

// -----

// Operators that change nothing go, and so does the branch that is not taken.
// CHECK-LABEL: func.func @nothing
// CHECK-NEXT: %[[N:.*]] = "onnx.Neg"(%arg0)
// CHECK-NEXT: return %[[N]]
func.func @nothing(%x: tensor<2x3xf32>) -> tensor<2x3xf32> {
  %yes = "onnx.Constant"() {value = dense<true> : tensor<i1>} : () -> tensor<i1>
  %0 = "onnx.Identity"(%x) : (tensor<2x3xf32>) -> tensor<2x3xf32>
  %1 = "onnx.Dropout"(%0) : (tensor<2x3xf32>) -> tensor<2x3xf32>
  %2 = "onnx.Cast"(%1) {to = 1 : i64} : (tensor<2x3xf32>) -> tensor<2x3xf32>
  %3 = "onnx.If"(%yes) ({
    %4 = "onnx.Neg"(%2) : (tensor<2x3xf32>) -> tensor<2x3xf32>
    "onnx.Yield"(%4) : (tensor<2x3xf32>) -> ()
  }, {
    "onnx.Yield"(%2) : (tensor<2x3xf32>) -> ()
  }) : (tensor<i1>) -> tensor<2x3xf32>
  %5 = "onnx.Transpose"(%3) {perm = array<i64: 0, 1>} : (tensor<2x3xf32>) -> tensor<2x3xf32>
  return %5 : tensor<2x3xf32>
}

// -----

// Random numbers stay random.
// CHECK-LABEL: func.func @random
// CHECK-COUNT-2: "onnx.RandomNormal"
func.func @random() -> tensor<2xf32> {
  %0 = "onnx.RandomNormal"() {shape = array<i64: 2>} : () -> tensor<2xf32>
  %1 = "onnx.RandomNormal"() {shape = array<i64: 2>} : () -> tensor<2xf32>
  return %1 : tensor<2xf32>
}
