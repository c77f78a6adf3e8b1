// RUN: ganq-opt %s --convert-onnx-to-linalg --split-input-file --verify-diagnostics

func.func @unknown(%a: tensor<4xf32>) -> tensor<4xf32> {
  // expected-error @below {{'onnx.Bernoulli' op cannot be compiled: the operator has no lowering}}
  %0 = "onnx.Bernoulli"(%a) : (tensor<4xf32>) -> tensor<4xf32>
  return %0 : tensor<4xf32>
}

// -----

func.func @broadcast(%a: tensor<3xf32>, %b: tensor<4xf32>) -> tensor<?xf32> {
  // expected-error @below {{expected sizes that broadcast, but got 3 and 4 in dimension 0 of the result}}
  %0 = "onnx.Add"(%a, %b) : (tensor<3xf32>, tensor<4xf32>) -> tensor<?xf32>
  return %0 : tensor<?xf32>
}

// -----

func.func @axis(%a: tensor<3xf32>) -> tensor<3xf32> {
  // expected-error @below {{expected an axis between -1 and 0, but got 2}}
  %0 = "onnx.Softmax"(%a) {axis = 2 : i64} : (tensor<3xf32>) -> tensor<3xf32>
  return %0 : tensor<3xf32>
}

// -----

func.func @rank(%a: tensor<*xf32>) -> tensor<*xf32> {
  // expected-error @below {{expected operand 0 to be a tensor of known rank}}
  %0 = "onnx.Exp"(%a) : (tensor<*xf32>) -> tensor<*xf32>
  return %0 : tensor<*xf32>
}

// -----

func.func @inner_sizes(%a: tensor<2x3xf32>, %b: tensor<4x5xf32>) -> tensor<2x5xf32> {
  // expected-error @below {{expected operands with equal inner sizes, but got 3 and 4}}
  %0 = "onnx.MatMul"(%a, %b) : (tensor<2x3xf32>, tensor<4x5xf32>) -> tensor<2x5xf32>
  return %0 : tensor<2x5xf32>
}
