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

// CHECK-LABEL: func @integers
// CHECK-SAME: (%[[X:.*]]: memref<1x?x64xf32>,
func.func @integers(%x: tensor<1x?x64xf32>, %s: tensor<64xf16>, %c: tensor<256xi8>, %g: tensor<8x1xf16>,
                    %z: tensor<8x1xi8>, %u: tensor<8x1xi32>) -> tensor<1x?x8xf32> {
  // CHECK: %[[R:.*]] = memref.alloc(%{{.*}}) : memref<1x?x128xi8>
  // CHECK: ganq.quantize_rows %[[X]] scale(%{{.*}} : memref<64xf16>) out(%[[R]] : memref<1x?x128xi8>) {bits = 8 : i64} : memref<1x?x64xf32>
  %r = ganq.quantize_rows %x scale(%s : tensor<64xf16>) {bits = 8} : tensor<1x?x64xf32> -> tensor<1x?x128xi8>
  // CHECK: %[[Y:.*]] = memref.alloc(%{{.*}}) : memref<1x?x8xf32>
  // CHECK: ganq.packed_matmul %[[R]] {{.*}} out(%[[Y]] : memref<1x?x8xf32>)
  %y = ganq.packed_matmul %r weight(%c, %g, %z, %u : tensor<256xi8>, tensor<8x1xf16>, tensor<8x1xi8>, tensor<8x1xi32>)
    {scheme = #ganq.uniform<bits = 4, activation = 8>, n = 8, k = 64, strategy = #ganq.strategy<int8>}
    : tensor<1x?x128xi8> -> tensor<1x?x8xf32>
  return %y : tensor<1x?x8xf32>
}
