// RUN: ganq-opt %s --pass-pipeline='builtin.module(func.func(ganq-lower-linalg))' | FileCheck %s

#id = affine_map<(i, j) -> (i, j)>
#row = affine_map<(i, j) -> (i)>

// CHECK-LABEL: func.func @sums(
// CHECK:         scf.parallel (%{{.*}}) = (%{{.*}}) to
// CHECK:           scf.for
// CHECK:             arith.addf %{{.*}} fastmath<reassoc,contract> : f32
// CHECK:         scf.parallel (%{{.*}}, %{{.*}}) =
// CHECK:           arith.addf %{{[^ ]*}}, %{{[^ ]*}} : f32
func.func @sums(%x: memref<4x8xf32>, %y: memref<4xf32>) {
  linalg.generic {indexing_maps = [#id, #row], iterator_types = ["parallel", "reduction"]}
      ins(%x : memref<4x8xf32>) outs(%y : memref<4xf32>) {
    ^bb0(%a: f32, %b: f32):
      %s = arith.addf %a, %b : f32
      linalg.yield %s : f32
  }
  linalg.generic {indexing_maps = [#id], iterator_types = ["parallel", "parallel"]}
      outs(%x : memref<4x8xf32>) {
    ^bb0(%a: f32):
      %s = arith.addf %a, %a : f32
      linalg.yield %s : f32
  }
  return
}

// CHECK-LABEL: func.func @copies(
// CHECK:         memref.copy
// CHECK-NOT:     memref.copy
// CHECK:         scf.parallel
func.func @copies(%x: memref<4x8xf32>, %y: memref<4x8xf32>, %s: memref<4x8xf32, strided<[1, 4]>>) {
  memref.copy %x, %y : memref<4x8xf32> to memref<4x8xf32>
  memref.copy %s, %y : memref<4x8xf32, strided<[1, 4]>> to memref<4x8xf32>
  return
}
