// RUN: ganq-opt %s --onnx-infer-shapes="bind=batch=2,seq=8,past=4" | FileCheck %s
// RUN: not ganq-opt %s --onnx-infer-shapes="bind=length=2" 2>&1 | FileCheck %s --check-prefix=NAME
// RUN: not ganq-opt %s --onnx-infer-shapes="bind=batch" 2>&1 | FileCheck %s --check-prefix=FORM

// NAME: error: expected a symbolic dimension of an argument to bind (batch, past, seq), but got 'length'
// FORM: error: expected dimension=size, but got 'batch'

// CHECK-LABEL: func.func @main
// CHECK-SAME: %arg0: tensor<2x4x4x8xf32> {onnx.dims = [2, 4, 4, 8]}
// CHECK-SAME: %arg1: tensor<2x4x8x8xf32> {onnx.dims = [2, 4, 8, 8]}
// CHECK-SAME: -> (tensor<2x4x12x8xf32> {onnx.dims = [2, 4, 12, 8]})
func.func @main(%past: tensor<?x4x?x8xf32> {onnx.dims = ["batch", 4, "past", 8]},
                %new: tensor<?x4x?x8xf32> {onnx.dims = ["batch", 4, "seq", 8]})
    -> (tensor<*xf32> {onnx.dims = ["batch", 4, "total", 8]}) {
  %0 = "onnx.Concat"(%past, %new) {axis = 2 : i64} : (tensor<?x4x?x8xf32>, tensor<?x4x?x8xf32>) -> tensor<*xf32>
  return %0 : tensor<*xf32>
}
