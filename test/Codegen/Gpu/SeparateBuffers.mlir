// RUN: ganq-opt %s --ganq-separate-buffers --split-input-file | FileCheck %s

// Each overwriting op has a buffer of its own, and readers follow, through
// views and in bodies.
// CHECK-LABEL: func.func @decode(
// CHECK-SAME:    %[[X:.*]]: memref<2x8xf32>, %[[OUT:.*]]: memref<2x8xf32>)
// CHECK: %[[A:.*]] = memref.alloc() : memref<2x8xf32>
// CHECK: %[[VIEW_A:.*]] = memref.collapse_shape %[[A]] {{.*}}
// CHECK: ganq.swiglu %[[X]], %[[X]] out(%[[A]] :
// CHECK: linalg.generic {{.*}} ins(%[[VIEW_A]] : memref<16xf32>)
// CHECK: %[[B:.*]] = memref.alloc() : memref<2x8xf32>
// CHECK: ganq.rms_norm %[[A]] out(%[[B]] :
// CHECK: %[[VIEW_B:.*]] = memref.collapse_shape %[[B]] {{.*}}
// CHECK: linalg.generic
// CHECK:   memref.load %[[VIEW_B]]
// CHECK: memref.copy %[[B]], %[[OUT]] :
func.func @decode(%x: memref<2x8xf32>, %out: memref<2x8xf32>) {
  %a = memref.alloc() : memref<2x8xf32>
  %view = memref.collapse_shape %a [[0, 1]] : memref<2x8xf32> into memref<16xf32>
  %y = memref.alloc() : memref<16xf32>
  ganq.swiglu %x, %x out(%a : memref<2x8xf32>) : memref<2x8xf32>, memref<2x8xf32>
  linalg.generic {indexing_maps = [affine_map<(d0) -> (d0)>, affine_map<(d0) -> (d0)>], iterator_types = ["parallel"]}
      ins(%view : memref<16xf32>) outs(%y : memref<16xf32>) {
  ^bb0(%in: f32, %o: f32):
    linalg.yield %in : f32
  }
  // It reads what it overwrites.
  ganq.rms_norm %a out(%a : memref<2x8xf32>) {epsilon = 1.0e-5 : f32} : memref<2x8xf32>
  linalg.generic {indexing_maps = [affine_map<(d0) -> (d0)>], iterator_types = ["parallel"]} outs(%y : memref<16xf32>) {
  ^bb0(%o: f32):
    %i = linalg.index 0 : index
    %value = memref.load %view[%i] : memref<16xf32>
    linalg.yield %value : f32
  }
  memref.copy %a, %out : memref<2x8xf32> to memref<2x8xf32>
  return
}

// -----

// A sum goes on in the buffer that holds it so far.
// CHECK-LABEL: func.func @sums(
// CHECK: %[[A:.*]] = memref.alloc() : memref<2xf32>
// CHECK: linalg.fill {{.*}} outs(%[[A]] :
// CHECK: linalg.generic {{.*}} outs(%[[A]] :
// CHECK: %[[B:.*]] = memref.alloc() : memref<2xf32>
// CHECK: linalg.fill {{.*}} outs(%[[B]] :
// CHECK: linalg.generic {{.*}} outs(%[[B]] :
// CHECK: memref.copy %[[B]], 
func.func @sums(%x: memref<2x8xf32>, %out: memref<2xf32>) {
  %zero = arith.constant 0.0 : f32
  %a = memref.alloc() : memref<2xf32>
  linalg.fill ins(%zero : f32) outs(%a : memref<2xf32>)
  linalg.generic {indexing_maps = [affine_map<(d0, d1) -> (d0, d1)>, affine_map<(d0, d1) -> (d0)>], iterator_types = ["parallel", "reduction"]}
      ins(%x : memref<2x8xf32>) outs(%a : memref<2xf32>) {
  ^bb0(%in: f32, %o: f32):
    %sum = arith.addf %in, %o : f32
    linalg.yield %sum : f32
  }
  linalg.fill ins(%zero : f32) outs(%a : memref<2xf32>)
  linalg.generic {indexing_maps = [affine_map<(d0, d1) -> (d0, d1)>, affine_map<(d0, d1) -> (d0)>], iterator_types = ["parallel", "reduction"]}
      ins(%x : memref<2x8xf32>) outs(%a : memref<2xf32>) {
  ^bb0(%in: f32, %o: f32):
    %sum = arith.addf %in, %o : f32
    linalg.yield %sum : f32
  }
  memref.copy %a, %out : memref<2xf32> to memref<2xf32>
  return
}

// -----

// With one token, heads before tokens and tokens before heads is the same.
// CHECK-LABEL: func.func @transposes(
// CHECK: %[[Q:.*]] = memref.alloc() : memref<1x1x16xf32>
// CHECK: ganq.swiglu {{.*}} out(%[[Q]] :
// CHECK-NOT: linalg.transpose
// CHECK: %[[FLAT:.*]] = memref.collapse_shape
// CHECK: %[[HEADS:.*]] = memref.expand_shape %[[FLAT]] {{.*}} into memref<1x2x1x8xf32>
// CHECK: ganq.kv_update %[[HEADS]] into
// CHECK: linalg.transpose
// CHECK: return
func.func @transposes(%x: memref<1x1x16xf32>, %tokens: memref<1x4x2x8xf32>, %cache: memref<1x2x8x8xf32>, %past: index) {
  %q = memref.alloc() : memref<1x1x16xf32>
  ganq.swiglu %x, %x out(%q : memref<1x1x16xf32>) : memref<1x1x16xf32>, memref<1x1x16xf32>
  %heads = memref.expand_shape %q [[0], [1], [2, 3]] output_shape [1, 1, 2, 8] : memref<1x1x16xf32> into memref<1x1x2x8xf32>
  %t = memref.alloc() : memref<1x2x1x8xf32>
  linalg.transpose ins(%heads : memref<1x1x2x8xf32>) outs(%t : memref<1x2x1x8xf32>) permutation = [0, 2, 1, 3]
  ganq.kv_update %t into %cache[%past] : memref<1x2x1x8xf32>, memref<1x2x8x8xf32>
  // Four tokens do move.
  %u = memref.alloc() : memref<1x2x4x8xf32>
  linalg.transpose ins(%tokens : memref<1x4x2x8xf32>) outs(%u : memref<1x2x4x8xf32>) permutation = [0, 2, 1, 3]
  ganq.kv_update %u into %cache[%past] : memref<1x2x4x8xf32>, memref<1x2x8x8xf32>
  return
}

// -----

// Where its source changes while the result is read, a transpose stays.
// CHECK-LABEL: func.func @changes(
// CHECK: linalg.transpose
func.func @changes(%x: memref<1x2xf32>, %y: memref<2x1xf32>, %z: memref<2x1xf32>) {
  %a = memref.alloc() : memref<1x2xf32>
  %t = memref.alloc() : memref<2x1xf32>
  memref.copy %x, %a : memref<1x2xf32> to memref<1x2xf32>
  linalg.transpose ins(%a : memref<1x2xf32>) outs(%t : memref<2x1xf32>) permutation = [1, 0]
  linalg.generic {indexing_maps = [affine_map<(d0, d1) -> (d0, d1)>], iterator_types = ["parallel", "parallel"]} outs(%a : memref<1x2xf32>) {
  ^bb0(%o: f32):
    %twice = arith.addf %o, %o : f32
    linalg.yield %twice : f32
  }
  memref.copy %t, %y : memref<2x1xf32> to memref<2x1xf32>
  memref.copy %a, %x : memref<1x2xf32> to memref<1x2xf32>
  return
}

// -----

// What something else writes stays as it is, as do functions with results.
// CHECK-LABEL: func.func @stays(
// CHECK-COUNT-1: memref.alloc
// CHECK-NOT: memref.alloc
func.func @stays(%x: memref<8xf32>) {
  %a = memref.alloc() : memref<8xf32>
  memref.copy %x, %a : memref<8xf32> to memref<8xf32>
  call @writes(%a) : (memref<8xf32>) -> ()
  memref.copy %x, %a : memref<8xf32> to memref<8xf32>
  memref.copy %a, %x : memref<8xf32> to memref<8xf32>
  return
}
func.func private @writes(memref<8xf32>)
