// RUN: ganq-opt %s --onnx-infer-shapes --split-input-file --verify-diagnostics

func.func @matmul(%a: tensor<2x3xf32>, %b: tensor<4x5xf32>) -> tensor<*xf32> {
  // expected-error @+1 {{MatMul: expected inner dimensions that agree, but got 3 and 4}}
  %0 = "onnx.MatMul"(%a, %b) : (tensor<2x3xf32>, tensor<4x5xf32>) -> tensor<*xf32>
  return %0 : tensor<*xf32>
}

// -----

func.func @broadcast(%a: tensor<2x3xf32>, %b: tensor<4xf32>) -> tensor<*xf32> {
  // expected-error @+1 {{Add: expected operands that broadcast, but operand 1 does not fit the ones before it}}
  %0 = "onnx.Add"(%a, %b) : (tensor<2x3xf32>, tensor<4xf32>) -> tensor<*xf32>
  return %0 : tensor<*xf32>
}

// -----

func.func @reshape(%a: tensor<2x3xf32>) -> tensor<*xf32> {
  %shape = "onnx.Constant"() {value = dense<[4, -1]> : tensor<2xi64>} : () -> tensor<2xi64>
  // expected-error @+1 {{Reshape: expected 6 elements to fill a shape of multiples of 4}}
  %0 = "onnx.Reshape"(%a, %shape) : (tensor<2x3xf32>, tensor<2xi64>) -> tensor<*xf32>
  return %0 : tensor<*xf32>
}

// -----

func.func @squeeze(%a: tensor<2x3xf32>) -> tensor<*xf32> {
  %axes = "onnx.Constant"() {value = dense<1> : tensor<1xi64>} : () -> tensor<1xi64>
  // expected-error @+1 {{Squeeze: expected dimension 1 to have size 1, but got 3}}
  %0 = "onnx.Squeeze"(%a, %axes) : (tensor<2x3xf32>, tensor<1xi64>) -> tensor<*xf32>
  return %0 : tensor<*xf32>
}

// -----

func.func @gather(%a: tensor<2xi64>) -> tensor<*xi64> {
  %data = "onnx.Constant"() {value = dense<[1, 2]> : tensor<2xi64>} : () -> tensor<2xi64>
  %index = "onnx.Constant"() {value = dense<2> : tensor<i64>} : () -> tensor<i64>
  // expected-error @+1 {{Gather: expected indices below 2, but got 2}}
  %0 = "onnx.Gather"(%data, %index) : (tensor<2xi64>, tensor<i64>) -> tensor<*xi64>
  return %0 : tensor<*xi64>
}

// -----

func.func @arity(%a: tensor<2xi64>) -> tensor<*xi64> {
  // expected-error @+1 {{'onnx.Gather' op expected 2 operands, but got 1}}
  %0 = "onnx.Gather"(%a) : (tensor<2xi64>) -> tensor<*xi64>
  return %0 : tensor<*xi64>
}
