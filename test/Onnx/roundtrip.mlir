// RUN: ganq-opt %s | ganq-opt | FileCheck %s

// CHECK-LABEL: func.func private @types
// CHECK-SAME: !onnx.sequence<tensor<?xf32>>
// CHECK-SAME: !onnx.optional<tensor<*x!onnx.any>>
// CHECK-SAME: !onnx.map<i64, !onnx.sparse<tensor<2x2xf64>>>
// CHECK-SAME: tensor<2x!onnx.string>
func.func private @types(!onnx.sequence<tensor<?xf32>>, !onnx.optional<tensor<*x!onnx.any>>,
                         !onnx.map<i64, !onnx.sparse<tensor<2x2xf64>>>, tensor<2x!onnx.string>)

// CHECK-LABEL: func.func @ops
func.func @ops(%x: tensor<2xf32>) -> tensor<2xf32> {
  // CHECK-NEXT: %[[NONE:.*]] = "onnx.None"() : () -> none
  %none = "onnx.None"() : () -> none
  // CHECK-NEXT: %[[CLIP:.*]] = "onnx.Clip"(%arg0, %[[NONE]], %[[NONE]]) {onnx.node = "clip"} : (tensor<2xf32>, none, none) -> tensor<2xf32>
  %0 = "onnx.Clip"(%x, %none, %none) {onnx.node = "clip"} : (tensor<2xf32>, none, none) -> tensor<2xf32>
  // CHECK-NEXT: "onnx.com.example.Unheard"(%[[CLIP]]) {axis = 1 : i64}
  %1 = "onnx.com.example.Unheard"(%0) {axis = 1 : i64} : (tensor<2xf32>) -> tensor<2xf32>
  return %1 : tensor<2xf32>
}
