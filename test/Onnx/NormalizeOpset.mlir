// RUN: ganq-opt %s --onnx-normalize-opset --split-input-file | FileCheck %s

// CHECK: module attributes {onnx.opset = 24 : i64}
module attributes {onnx.opset = 11 : i64} {
  // CHECK-LABEL: func.func @axes
  func.func @axes(%x: tensor<2x3x1xf32>) -> (tensor<2x3xf32>, tensor<2x1xf32>, tensor<1x2x3x1xf32>) {
    // CHECK: %[[A:.*]] = "onnx.Constant"() {value = dense<2> : tensor<1xi64>}
    // CHECK: "onnx.Squeeze"(%arg0, %[[A]]) : (tensor<2x3x1xf32>, tensor<1xi64>) -> tensor<2x3xf32>
    %0 = "onnx.Squeeze"(%x) {axes = array<i64: 2>} : (tensor<2x3x1xf32>) -> tensor<2x3xf32>
    // CHECK: %[[B:.*]] = "onnx.Constant"() {value = dense<[1, 2]> : tensor<2xi64>}
    // CHECK: "onnx.ReduceMean"(%arg0, %[[B]]) {keepdims = 0 : i64}
    %1 = "onnx.ReduceMean"(%x) {axes = array<i64: 1, 2>, keepdims = 0 : i64} : (tensor<2x3x1xf32>) -> tensor<2x1xf32>
    // CHECK: "onnx.Unsqueeze"(%arg0, %{{.*}}) :
    %2 = "onnx.Unsqueeze"(%x) {axes = array<i64: 0>} : (tensor<2x3x1xf32>) -> tensor<1x2x3x1xf32>
    return %0, %1, %2 : tensor<2x3xf32>, tensor<2x1xf32>, tensor<1x2x3x1xf32>
  }

  // CHECK-LABEL: func.func @slice_clip_pad_split
  func.func @slice_clip_pad_split(%x: tensor<4x6xf16>) -> (tensor<*xf16>, tensor<*xf16>, tensor<*xf16>, tensor<*xf16>) {
    // CHECK: "onnx.Slice"(%arg0, %{{.*}}, %{{.*}}, %{{.*}}) : (tensor<4x6xf16>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>)
    %0 = "onnx.Slice"(%x) {axes = array<i64: 1>, starts = array<i64: 0>, ends = array<i64: 3>} : (tensor<4x6xf16>) -> tensor<*xf16>
    // CHECK: %[[MAX:.*]] = "onnx.Constant"() {value = dense<6.000000e+00> : tensor<f16>}
    // CHECK: %[[NONE:.*]] = "onnx.None"()
    // CHECK: "onnx.Clip"(%arg0, %[[NONE]], %[[MAX]]) :
    %1 = "onnx.Clip"(%x) {max = 6.0 : f32} : (tensor<4x6xf16>) -> tensor<*xf16>
    // CHECK: "onnx.Pad"(%arg0, %{{.*}}, %{{.*}}) {mode = "constant"} : (tensor<4x6xf16>, tensor<4xi64>, tensor<f16>)
    %2 = "onnx.Pad"(%x) {mode = "constant", pads = array<i64: 0, 0, 1, 1>, value = 1.0 : f32} : (tensor<4x6xf16>) -> tensor<*xf16>
    // CHECK: "onnx.Split"(%arg0, %{{.*}}) {axis = 1 : i64} : (tensor<4x6xf16>, tensor<2xi64>)
    %3:2 = "onnx.Split"(%x) {axis = 1 : i64, split = array<i64: 2, 4>} : (tensor<4x6xf16>) -> (tensor<*xf16>, tensor<*xf16>)
    return %0, %1, %2, %3#0 : tensor<*xf16>, tensor<*xf16>, tensor<*xf16>, tensor<*xf16>
  }

  // The last axis means the same in all opsets; others flatten.
  // CHECK-LABEL: func.func @softmax
  func.func @softmax(%x: tensor<2x3x4xf32>) -> (tensor<2x3x4xf32>, tensor<2x3x4xf32>) {
    // CHECK-NEXT: "onnx.Softmax"(%arg0) {axis = -1 : i64} : (tensor<2x3x4xf32>) -> tensor<2x3x4xf32>
    %0 = "onnx.Softmax"(%x) {axis = 2 : i64} : (tensor<2x3x4xf32>) -> tensor<2x3x4xf32>
    // CHECK-NEXT: %[[S:.*]] = "onnx.Shape"(%arg0)
    // CHECK-NEXT: %[[F:.*]] = "onnx.Flatten"(%arg0) {axis = 1 : i64}
    // CHECK-NEXT: %[[P:.*]] = "onnx.Softmax"(%[[F]]) {axis = -1 : i64} : (tensor<?x?xf32>) -> tensor<?x?xf32>
    // CHECK-NEXT: "onnx.Reshape"(%[[P]], %[[S]])
    %1 = "onnx.Softmax"(%x) : (tensor<2x3x4xf32>) -> tensor<2x3x4xf32>
    return %0, %1 : tensor<2x3x4xf32>, tensor<2x3x4xf32>
  }
}

// -----

module attributes {onnx.opset = 6 : i64} {
  // CHECK-LABEL: func.func @old_broadcast
  func.func @old_broadcast(%x: tensor<2x3x4xf32>, %b: tensor<3xf32>) -> tensor<2x3x4xf32> {
    // CHECK: %[[AXES:.*]] = "onnx.Constant"() {value = dense<1> : tensor<1xi64>}
    // CHECK: %[[B:.*]] = "onnx.Unsqueeze"(%arg1, %[[AXES]])
    // CHECK: "onnx.Add"(%arg0, %[[B]]) :
    %0 = "onnx.Add"(%x, %b) {axis = 1 : i64, broadcast = 1 : i64} : (tensor<2x3x4xf32>, tensor<3xf32>) -> tensor<2x3x4xf32>
    return %0 : tensor<2x3x4xf32>
  }
}

// -----

module {
  // CHECK-LABEL: func.func @names
  func.func @names(%x: tensor<2x4xf32>, %w: tensor<4xf32>) -> tensor<2x4xf32> {
    // CHECK: "onnx.SimplifiedLayerNormalization"(%arg0, %arg1) {epsilon = 9.99999974E-6 : f32, onnx.node = "norm"}
    %0 = "onnx.com.microsoft.SimplifiedLayerNormalization"(%x, %w) {epsilon = 1.0e-5 : f32, onnx.node = "norm"} : (tensor<2x4xf32>, tensor<4xf32>) -> tensor<2x4xf32>
    return %0 : tensor<2x4xf32>
  }
}
