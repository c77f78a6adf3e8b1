// RUN: ganq-opt %s --ganq-promote-step-results | FileCheck %s

// The buffer of the logits is the new argument, without a copy.
// CHECK-LABEL: func @decode
// CHECK-SAME: (%[[X:.*]]: memref<1x1x64xf32>, %[[OUT:.*]]: memref<1x1x96xf32>)
func.func @decode(%x: memref<1x1x64xf32>) -> memref<1x1x96xf32> {
  %w = ganq.parameter "w" : memref<96x64xf32>
  // CHECK-NOT: memref.alloc
  %y = memref.alloc() : memref<1x1x96xf32>
  // CHECK: ganq.matmul %[[X]], %{{.*}} out(%[[OUT]] : memref<1x1x96xf32>)
  ganq.matmul %x, %w out(%y : memref<1x1x96xf32>) : memref<1x1x64xf32>, memref<96x64xf32>
  // CHECK: return{{$}}
  return %y : memref<1x1x96xf32>
}

// CHECK-LABEL: func @main
// CHECK-SAME: -> memref<?xf32>
func.func @main(%x: memref<?xf32>) -> memref<?xf32> {
  return %x : memref<?xf32>
}
