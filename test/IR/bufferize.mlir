// RUN: ganq-opt %s --one-shot-bufferize="bufferize-function-boundaries function-boundary-type-conversion=identity-layout-map" | FileCheck %s

// CHECK-LABEL: func @step
// CHECK-SAME: (%[[X:.*]]: memref<1x1x64xf32>, %[[CACHE:.*]]: memref<1x4x512x8xf32>, %[[NEW:.*]]: memref<1x4x1x8xf32>, %[[P:.*]]: index)
func.func @step(%x: tensor<1x1x64xf32>, %cache: tensor<1x4x512x8xf32>, %new: tensor<1x4x1x8xf32>, %p: index)
    -> (tensor<1x1x96xf32>, tensor<1x4x512x8xf32>) {
  // CHECK: %[[W:.*]] = ganq.parameter "w" : memref<96x64xf32>
  %w = ganq.parameter "w" : tensor<96x64xf32>
  // CHECK: %[[Y:.*]] = memref.alloc() : memref<1x1x96xf32>
  // CHECK: ganq.matmul %[[X]], %[[W]] out(%[[Y]] : memref<1x1x96xf32>)
  %y = ganq.matmul %x, %w : tensor<1x1x64xf32>, tensor<96x64xf32> -> tensor<1x1x96xf32>
  // The cache is written in place, without a copy.
  // CHECK-NOT: memref.copy
  // CHECK: ganq.kv_update %[[NEW]] into %[[CACHE]][%[[P]]]
  %c = ganq.kv_update %new into %cache[%p] : tensor<1x4x1x8xf32>, tensor<1x4x512x8xf32> -> tensor<1x4x512x8xf32>
  return %y, %c : tensor<1x1x96xf32>, tensor<1x4x512x8xf32>
}
