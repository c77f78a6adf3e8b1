// RUN: ganq-opt %s --ganq-raise-onnx | FileCheck %s

// CHECK-LABEL: func.func @rms(
// CHECK-SAME: %[[X:.*]]: tensor<?x8xf32>
// CHECK: %[[W:.*]] = ganq.parameter "w"
// CHECK-NEXT: %[[Y:.*]] = ganq.rms_norm %[[X]] weight(%[[W]] : tensor<8xf32>) {epsilon = 9.99999974E-6 : f32}
// CHECK-NEXT: return %[[Y]]
func.func @rms(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %two = "onnx.Constant"() {value = dense<2.0> : tensor<f32>} : () -> tensor<f32>
  %one = "onnx.Constant"() {value = dense<1.0> : tensor<f32>} : () -> tensor<f32>
  %eps = "onnx.Constant"() {value = dense<1.0e-5> : tensor<f32>} : () -> tensor<f32>
  %axes = "onnx.Constant"() {value = dense<-1> : tensor<1xi64>} : () -> tensor<1xi64>
  %w = ganq.parameter "w" : tensor<8xf32>
  %0 = "onnx.Pow"(%x, %two) : (tensor<?x8xf32>, tensor<f32>) -> tensor<?x8xf32>
  %1 = "onnx.ReduceMean"(%0, %axes) {keepdims = 1 : i64} : (tensor<?x8xf32>, tensor<1xi64>) -> tensor<?x1xf32>
  %2 = "onnx.Add"(%1, %eps) : (tensor<?x1xf32>, tensor<f32>) -> tensor<?x1xf32>
  %3 = "onnx.Sqrt"(%2) : (tensor<?x1xf32>) -> tensor<?x1xf32>
  %4 = "onnx.Div"(%one, %3) : (tensor<f32>, tensor<?x1xf32>) -> tensor<?x1xf32>
  %5 = "onnx.Mul"(%x, %4) : (tensor<?x8xf32>, tensor<?x1xf32>) -> tensor<?x8xf32>
  %6 = "onnx.Mul"(%w, %5) : (tensor<8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  return %6 : tensor<?x8xf32>
}

// In f16 models the norm is computed in f32, which ganq.rms_norm always does.

// CHECK-LABEL: func.func @rms_f16(
// CHECK-SAME: %[[X:.*]]: tensor<4x8xf16>
// CHECK: ganq.rms_norm %[[X]] weight(%{{.*}} : tensor<8xf16>) {epsilon = {{.*}}} : tensor<4x8xf16> -> tensor<4x8xf16>
// CHECK-NOT: onnx.Cast
func.func @rms_f16(%h: tensor<4x8xf16>) -> tensor<4x8xf16> {
  %eps = "onnx.Constant"() {value = dense<1.0e-5> : tensor<f32>} : () -> tensor<f32>
  %axes = "onnx.Constant"() {value = dense<-1> : tensor<1xi64>} : () -> tensor<1xi64>
  %w = ganq.parameter "w" : tensor<8xf16>
  %x = "onnx.Cast"(%h) {to = 1 : i64} : (tensor<4x8xf16>) -> tensor<4x8xf32>
  %0 = "onnx.Mul"(%x, %x) : (tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>
  %1 = "onnx.ReduceMean"(%0, %axes) : (tensor<4x8xf32>, tensor<1xi64>) -> tensor<4x1xf32>
  %2 = "onnx.Add"(%1, %eps) : (tensor<4x1xf32>, tensor<f32>) -> tensor<4x1xf32>
  %3 = "onnx.Sqrt"(%2) : (tensor<4x1xf32>) -> tensor<4x1xf32>
  %4 = "onnx.Reciprocal"(%3) : (tensor<4x1xf32>) -> tensor<4x1xf32>
  %5 = "onnx.Mul"(%4, %x) : (tensor<4x1xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>
  %6 = "onnx.Cast"(%5) {to = 10 : i64} : (tensor<4x8xf32>) -> tensor<4x8xf16>
  %7 = "onnx.Mul"(%w, %6) : (tensor<8xf16>, tensor<4x8xf16>) -> tensor<4x8xf16>
  return %7 : tensor<4x8xf16>
}

// CHECK-LABEL: func.func @layer(
// CHECK-SAME: %[[X:.*]]: tensor<4x8xf32>
// CHECK: ganq.layer_norm %[[X]] weight(%{{.*}} : tensor<8xf32>) bias(%{{.*}} : tensor<8xf32>) {epsilon = 9.99999974E-6 : f32}
func.func @layer(%x: tensor<4x8xf32>) -> tensor<4x8xf32> {
  %two = "onnx.Constant"() {value = dense<2.0> : tensor<f32>} : () -> tensor<f32>
  %eps = "onnx.Constant"() {value = dense<1.0e-5> : tensor<f32>} : () -> tensor<f32>
  %axes = "onnx.Constant"() {value = dense<1> : tensor<1xi64>} : () -> tensor<1xi64>
  %w = ganq.parameter "w" : tensor<8xf32>
  %b = ganq.parameter "b" : tensor<8xf32>
  %0 = "onnx.ReduceMean"(%x, %axes) : (tensor<4x8xf32>, tensor<1xi64>) -> tensor<4x1xf32>
  %1 = "onnx.Sub"(%x, %0) : (tensor<4x8xf32>, tensor<4x1xf32>) -> tensor<4x8xf32>
  %2 = "onnx.Pow"(%1, %two) : (tensor<4x8xf32>, tensor<f32>) -> tensor<4x8xf32>
  %3 = "onnx.ReduceMean"(%2, %axes) : (tensor<4x8xf32>, tensor<1xi64>) -> tensor<4x1xf32>
  %4 = "onnx.Add"(%3, %eps) : (tensor<4x1xf32>, tensor<f32>) -> tensor<4x1xf32>
  %5 = "onnx.Sqrt"(%4) : (tensor<4x1xf32>) -> tensor<4x1xf32>
  %6 = "onnx.Div"(%1, %5) : (tensor<4x8xf32>, tensor<4x1xf32>) -> tensor<4x8xf32>
  %7 = "onnx.Mul"(%6, %w) : (tensor<4x8xf32>, tensor<8xf32>) -> tensor<4x8xf32>
  %8 = "onnx.Add"(%7, %b) : (tensor<4x8xf32>, tensor<8xf32>) -> tensor<4x8xf32>
  return %8 : tensor<4x8xf32>
}

// CHECK-LABEL: func.func @operators(
// CHECK: ganq.layer_norm %{{.*}} weight(%{{.*}}) bias(%{{.*}}) {epsilon = 9.99999974E-6 : f32}
// CHECK: %[[SUM:.*]] = "onnx.Add"
// CHECK: %[[NORM:.*]] = ganq.rms_norm %[[SUM]] weight(%{{.*}}) {epsilon = 9.99999997E-7 : f32}
// CHECK: return %{{.*}}, %[[NORM]], %[[SUM]]
func.func @operators(%x: tensor<2x4x8xf32>, %skip: tensor<2x4x8xf32>)
    -> (tensor<2x4x8xf32>, tensor<2x4x8xf32>, tensor<2x4x8xf32>) {
  %w = ganq.parameter "w" : tensor<8xf32>
  %0 = "onnx.LayerNormalization"(%x, %w, %w) {axis = -1 : i64} : (tensor<2x4x8xf32>, tensor<8xf32>, tensor<8xf32>) -> tensor<2x4x8xf32>
  %1:4 = "onnx.com.microsoft.SkipSimplifiedLayerNormalization"(%x, %skip, %w) {epsilon = 1.0e-6 : f32}
      : (tensor<2x4x8xf32>, tensor<2x4x8xf32>, tensor<8xf32>) -> (tensor<2x4x8xf32>, none, none, tensor<2x4x8xf32>)
  return %0, %1#0, %1#3 : tensor<2x4x8xf32>, tensor<2x4x8xf32>, tensor<2x4x8xf32>
}

// The mean is over another dimension, of another value, or over all from the
// middle on.

// CHECK-LABEL: func.func @not_norms(
// CHECK-NOT: ganq.rms_norm
// CHECK-NOT: ganq.layer_norm
// CHECK: return
func.func @not_norms(%x: tensor<4x8xf32>, %y: tensor<4x8xf32>, %z: tensor<2x4x8xf32>)
    -> (tensor<4x8xf32>, tensor<4x8xf32>, tensor<2x4x8xf32>) {
  %eps = "onnx.Constant"() {value = dense<1.0e-5> : tensor<f32>} : () -> tensor<f32>
  %first = "onnx.Constant"() {value = dense<0> : tensor<1xi64>} : () -> tensor<1xi64>
  %last = "onnx.Constant"() {value = dense<-1> : tensor<1xi64>} : () -> tensor<1xi64>
  %0 = "onnx.Mul"(%x, %x) : (tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>
  %1 = "onnx.ReduceMean"(%0, %first) : (tensor<4x8xf32>, tensor<1xi64>) -> tensor<1x8xf32>
  %2 = "onnx.Add"(%1, %eps) : (tensor<1x8xf32>, tensor<f32>) -> tensor<1x8xf32>
  %3 = "onnx.Sqrt"(%2) : (tensor<1x8xf32>) -> tensor<1x8xf32>
  %4 = "onnx.Div"(%x, %3) : (tensor<4x8xf32>, tensor<1x8xf32>) -> tensor<4x8xf32>
  %5 = "onnx.ReduceMean"(%0, %last) : (tensor<4x8xf32>, tensor<1xi64>) -> tensor<4x1xf32>
  %6 = "onnx.Add"(%5, %eps) : (tensor<4x1xf32>, tensor<f32>) -> tensor<4x1xf32>
  %7 = "onnx.Sqrt"(%6) : (tensor<4x1xf32>) -> tensor<4x1xf32>
  %8 = "onnx.Div"(%y, %7) : (tensor<4x8xf32>, tensor<4x1xf32>) -> tensor<4x8xf32>
  %w = ganq.parameter "w" : tensor<4x8xf32>
  %9 = "onnx.LayerNormalization"(%z, %w) {axis = 1 : i64} : (tensor<2x4x8xf32>, tensor<4x8xf32>) -> tensor<2x4x8xf32>
  return %4, %8, %9 : tensor<4x8xf32>, tensor<4x8xf32>, tensor<2x4x8xf32>
}
