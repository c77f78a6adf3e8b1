// RUN: ganq-opt %s --ganq-separate-transposed --split-input-file | FileCheck %s

// One weight in both forms, in two functions.
// CHECK-LABEL: func @prefill
func.func @prefill() -> (tensor<64x64xf32>, tensor<64x64xf32>) {
  // CHECK: ganq.parameter "w" from <"m.onnx", 0, 16384> : tensor<64x64xf32>
  %0 = ganq.parameter "w" from <"m.onnx", 0, 16384> : tensor<64x64xf32>
  // CHECK: ganq.parameter "w.transposed" from <"m.onnx", 0, 16384> transposed : tensor<64x64xf32>
  %1 = ganq.parameter "w" from <"m.onnx", 0, 16384> transposed : tensor<64x64xf32>
  return %0, %1 : tensor<64x64xf32>, tensor<64x64xf32>
}

// The form counts in all of the module.
// CHECK-LABEL: func @decode
func.func @decode() -> (tensor<64x64xf32>, tensor<64x64xf32>) {
  // CHECK: ganq.parameter "w.transposed" from <"m.onnx", 0, 16384> transposed
  %0 = ganq.parameter "w" from <"m.onnx", 0, 16384> transposed : tensor<64x64xf32>
  // A weight with one form keeps its key.
  // CHECK: ganq.parameter "v" from <"m.onnx", 16384, 16384> transposed
  %1 = ganq.parameter "v" from <"m.onnx", 16384, 16384> transposed : tensor<64x64xf32>
  return %0, %1 : tensor<64x64xf32>, tensor<64x64xf32>
}

// -----

// A name that is taken is not used again.
// CHECK-LABEL: func @main
func.func @main() -> (tensor<8x8xf32>, tensor<8x8xf32>, tensor<8x8xf32>) {
  // CHECK: ganq.parameter "w" from <"m.onnx", 0, 256> : tensor<8x8xf32>
  %0 = ganq.parameter "w" from <"m.onnx", 0, 256> : tensor<8x8xf32>
  // CHECK: ganq.parameter "w.transposed" from <"m.onnx", 256, 256> : tensor<8x8xf32>
  %1 = ganq.parameter "w.transposed" from <"m.onnx", 256, 256> : tensor<8x8xf32>
  // CHECK: ganq.parameter "w.transposed_" from <"m.onnx", 0, 256> transposed : tensor<8x8xf32>
  %2 = ganq.parameter "w" from <"m.onnx", 0, 256> transposed : tensor<8x8xf32>
  return %0, %1, %2 : tensor<8x8xf32>, tensor<8x8xf32>, tensor<8x8xf32>
}

// -----

// Nor is the name of a weight that only the transposed form has.
// CHECK-LABEL: func @main
func.func @main() -> (tensor<8x8xf32>, tensor<8x8xf32>, tensor<8x8xf32>) {
  %0 = ganq.parameter "w" from <"m.onnx", 0, 256> : tensor<8x8xf32>
  // CHECK: ganq.parameter "w.transposed" from <"m.onnx", 256, 256> transposed
  %1 = ganq.parameter "w.transposed" from <"m.onnx", 256, 256> transposed : tensor<8x8xf32>
  // CHECK: ganq.parameter "w.transposed_" from <"m.onnx", 0, 256> transposed
  %2 = ganq.parameter "w" from <"m.onnx", 0, 256> transposed : tensor<8x8xf32>
  return %0, %1, %2 : tensor<8x8xf32>, tensor<8x8xf32>, tensor<8x8xf32>
}
