// RUN: ganq-opt %s --pass-pipeline='builtin.module(func.func(ganq-lower-math))' | FileCheck %s

// CHECK-LABEL: func.func @functions(
// CHECK-NOT:     math.exp
// CHECK-NOT:     math.tanh
// CHECK-NOT:     math.erf
// CHECK-NOT:     math.rsqrt
// CHECK:         math.log
func.func @functions(%x: f32) -> (f32, f32, f32, f32, f32) {
  %a = math.exp %x : f32
  %b = math.tanh %x : f32
  %c = math.erf %x : f32
  %d = math.rsqrt %x : f32
  %e = math.log %x : f32
  return %a, %b, %c, %d, %e : f32, f32, f32, f32, f32
}

// CHECK-LABEL: func.func @narrow(
// CHECK-NOT:     arith.extf
// CHECK:         arith.shli
func.func @narrow(%x: bf16) -> f32 {
  %a = arith.extf %x : bf16 to f32
  return %a : f32
}
