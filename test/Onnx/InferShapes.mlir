// RUN: ganq-opt %s --onnx-infer-shapes --split-input-file | FileCheck %s

// Shapes that are computed from shapes.
// CHECK-LABEL: func.func @heads
// CHECK-SAME: (%arg0: tensor<?x?x64xf32> {onnx.dims = ["batch", "seq", 64], onnx.name = "x"}) -> (tensor<?x8x?x8xf32> {onnx.dims = ["batch", 8, "seq", 8], onnx.name = "y"})
func.func @heads(%x: tensor<?x?x64xf32> {onnx.name = "x", onnx.dims = ["batch", "seq", 64]}) -> (tensor<*x!onnx.any> {onnx.name = "y"}) {
  %zero = "onnx.Constant"() {value = dense<0> : tensor<i64>} : () -> tensor<i64>
  %one = "onnx.Constant"() {value = dense<1> : tensor<i64>} : () -> tensor<i64>
  %axes = "onnx.Constant"() {value = dense<0> : tensor<1xi64>} : () -> tensor<1xi64>
  %eight = "onnx.Constant"() {value = dense<8> : tensor<1xi64>} : () -> tensor<1xi64>
  %rest = "onnx.Constant"() {value = dense<-1> : tensor<1xi64>} : () -> tensor<1xi64>
  // CHECK: "onnx.Shape"(%arg0) : (tensor<?x?x64xf32>) -> tensor<3xi64>
  %shape = "onnx.Shape"(%x) : (tensor<?x?x64xf32>) -> tensor<*x!onnx.any>
  %b = "onnx.Gather"(%shape, %zero) {axis = 0 : i64} : (tensor<*x!onnx.any>, tensor<i64>) -> tensor<*x!onnx.any>
  %s = "onnx.Gather"(%shape, %one) {axis = 0 : i64} : (tensor<*x!onnx.any>, tensor<i64>) -> tensor<*x!onnx.any>
  %b1 = "onnx.Unsqueeze"(%b, %axes) : (tensor<*x!onnx.any>, tensor<1xi64>) -> tensor<*x!onnx.any>
  %s1 = "onnx.Unsqueeze"(%s, %axes) : (tensor<*x!onnx.any>, tensor<1xi64>) -> tensor<*x!onnx.any>
  // CHECK: "onnx.Concat"{{.*}} -> tensor<4xi64>
  %to = "onnx.Concat"(%b1, %s1, %eight, %rest) {axis = 0 : i64} : (tensor<*x!onnx.any>, tensor<*x!onnx.any>, tensor<1xi64>, tensor<1xi64>) -> tensor<*x!onnx.any>
  // CHECK: "onnx.Reshape"{{.*}} -> tensor<?x?x8x8xf32>
  %r = "onnx.Reshape"(%x, %to) : (tensor<?x?x64xf32>, tensor<*x!onnx.any>) -> tensor<*x!onnx.any>
  %t = "onnx.Transpose"(%r) {perm = array<i64: 0, 2, 1, 3>} : (tensor<*x!onnx.any>) -> tensor<*x!onnx.any>
  return %t : tensor<*x!onnx.any>
}

// -----

// A cache grows by the new tokens; sums in the names of dimensions agree with
// computed sums.
// CHECK-LABEL: func.func @cache
// CHECK-SAME: -> (tensor<?x4x?x8xf32> {onnx.dims = ["batch", 4, "total", 8]}, tensor<?x4x?x?xf32>
func.func @cache(%past: tensor<?x4x?x8xf32> {onnx.dims = ["batch", 4, "past", 8]},
                 %new: tensor<?x4x?x8xf32> {onnx.dims = ["batch", 4, "seq", 8]},
                 %mask: tensor<?x1x?x?xf32> {onnx.dims = ["batch", 1, "seq", "past + seq"]})
    -> (tensor<*xf32> {onnx.dims = ["batch", 4, "total", 8]}, tensor<*xf32> {onnx.dims = ["", "", "", ""]}) {
  %0 = "onnx.Concat"(%past, %new) {axis = 2 : i64} : (tensor<?x4x?x8xf32>, tensor<?x4x?x8xf32>) -> tensor<*xf32>
  // CHECK: "onnx.Transpose"{{.*}} -> tensor<?x4x8x?xf32>
  %1 = "onnx.Transpose"(%0) {perm = array<i64: 0, 1, 3, 2>} : (tensor<*xf32>) -> tensor<*xf32>
  // CHECK: "onnx.MatMul"{{.*}} -> tensor<?x4x?x?xf32>
  %2 = "onnx.MatMul"(%new, %1) : (tensor<?x4x?x8xf32>, tensor<*xf32>) -> tensor<*xf32>
  %3 = "onnx.Add"(%2, %mask) : (tensor<*xf32>, tensor<?x1x?x?xf32>) -> tensor<*xf32>
  return %0, %3 : tensor<*xf32>, tensor<*xf32>
}

// -----

// CHECK-LABEL: func.func @contrib
func.func @contrib(%x: tensor<?x?x64xf16> {onnx.dims = ["batch", "seq", 64]},
                   %past: tensor<?x2x?x8xf16> {onnx.dims = ["batch", 2, "past", 8]},
                   %lengths: tensor<?xi32> {onnx.dims = ["batch"]}, %total: tensor<i32>,
                   %codes: tensor<96x2x16xui8>, %scales: tensor<192xf16>, %w: tensor<64xf16>) -> tensor<*x!onnx.any> {
  %none = "onnx.None"() : () -> none
  // CHECK: "onnx.com.microsoft.SkipSimplifiedLayerNormalization"{{.*}} -> (tensor<?x?x64xf16>, none, none, tensor<?x?x64xf16>)
  %n:4 = "onnx.com.microsoft.SkipSimplifiedLayerNormalization"(%x, %x, %w) : (tensor<?x?x64xf16>, tensor<?x?x64xf16>, tensor<64xf16>) -> (tensor<*x!onnx.any>, none, none, tensor<*x!onnx.any>)
  // CHECK: "onnx.com.microsoft.MatMulNBits"{{.*}} -> tensor<?x?x96xf16>
  %qkv = "onnx.com.microsoft.MatMulNBits"(%n#0, %codes, %scales) {K = 64 : i64, N = 96 : i64, bits = 4 : i64, block_size = 32 : i64} : (tensor<*x!onnx.any>, tensor<96x2x16xui8>, tensor<192xf16>) -> tensor<*x!onnx.any>
  // CHECK: "onnx.com.microsoft.GroupQueryAttention"{{.*}} -> (tensor<?x?x64xf16>, tensor<?x2x?x8xf16>, tensor<?x2x?x8xf16>)
  %a:3 = "onnx.com.microsoft.GroupQueryAttention"(%qkv, %none, %none, %past, %past, %lengths, %total) {num_heads = 8 : i64, kv_num_heads = 2 : i64} : (tensor<*x!onnx.any>, none, none, tensor<?x2x?x8xf16>, tensor<?x2x?x8xf16>, tensor<?xi32>, tensor<i32>) -> (tensor<*x!onnx.any>, tensor<*x!onnx.any>, tensor<*x!onnx.any>)
  return %a#0 : tensor<*x!onnx.any>
}

// -----

// The branch that is not taken need not fit.
// CHECK-LABEL: func.func @branch
func.func @branch(%x: tensor<2x3xf32>) -> tensor<*xf32> {
  %no = "onnx.Constant"() {value = dense<false> : tensor<i1>} : () -> tensor<i1>
  %axis = "onnx.Constant"() {value = dense<0> : tensor<1xi64>} : () -> tensor<1xi64>
  // CHECK: -> tensor<2x3xf32>
  %0 = "onnx.If"(%no) ({
    %1 = "onnx.Squeeze"(%x, %axis) : (tensor<2x3xf32>, tensor<1xi64>) -> tensor<*xf32>
    "onnx.Yield"(%1) : (tensor<*xf32>) -> ()
  }, {
    %1 = "onnx.Neg"(%x) : (tensor<2x3xf32>) -> tensor<*xf32>
    "onnx.Yield"(%1) : (tensor<*xf32>) -> ()
  }) : (tensor<i1>) -> tensor<*xf32>
  return %0 : tensor<*xf32>
}
