// A test script's exit status that is not 0 says that the input is interesting.
// RUN: printf '#!/bin/sh\nif grep -q ganq.swiglu "$1"; then exit 1; fi\n' > %t.sh && chmod +x %t.sh
// RUN: ganq-reduce %s -reduction-tree='traversal-mode=0 test=%t.sh' | FileCheck %s

// CHECK-NOT: func.func @other
// CHECK: ganq.swiglu
func.func @other(%x: tensor<2x4xf32>) -> tensor<2x4xf32> {
  %0 = "onnx.Neg"(%x) : (tensor<2x4xf32>) -> tensor<2x4xf32>
  return %0 : tensor<2x4xf32>
}

func.func @swiglu(%gate: tensor<2x4xf32>, %up: tensor<2x4xf32>) -> tensor<2x4xf32> {
  %0 = ganq.swiglu %gate, %up : tensor<2x4xf32>, tensor<2x4xf32> -> tensor<2x4xf32>
  return %0 : tensor<2x4xf32>
}
