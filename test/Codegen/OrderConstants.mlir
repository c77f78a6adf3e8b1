// RUN: ganq-opt %s --ganq-order-constants | FileCheck %s

// Constants follow their first use; what is not constant or not private stays.

// CHECK:      memref.global "private" constant @__constant : memref<1xf32> = dense<2.000000e+00>
// CHECK-NEXT: memref.global "private" constant @[[B:__constant_[0-9]+]] : memref<1xf32> = dense<1.000000e+00>
// CHECK-NEXT: memref.global constant @public : memref<1xf32> = dense<3.000000e+00>
// CHECK-NEXT: memref.global "private" @state : memref<1xf32> = dense<4.000000e+00>
// CHECK-LABEL: func.func @first
// CHECK:      memref.get_global @__constant : memref<1xf32>
// CHECK-NEXT: memref.get_global @public
// CHECK-NEXT: memref.get_global @[[B]] :
// CHECK-NEXT: memref.get_global @state
// CHECK-LABEL: func.func @second
// CHECK:      memref.get_global @[[B]] :
// CHECK-NEXT: memref.get_global @__constant :
memref.global "private" constant @__constant_0 : memref<1xf32> = dense<1.0>
memref.global constant @public : memref<1xf32> = dense<3.0>
memref.global "private" constant @__constant_1 : memref<1xf32> = dense<2.0>
memref.global "private" @state : memref<1xf32> = dense<4.0>

func.func @first() -> (memref<1xf32>, memref<1xf32>, memref<1xf32>, memref<1xf32>) {
  %0 = memref.get_global @__constant_1 : memref<1xf32>
  %1 = memref.get_global @public : memref<1xf32>
  %2 = memref.get_global @__constant_0 : memref<1xf32>
  %3 = memref.get_global @state : memref<1xf32>
  return %0, %1, %2, %3 : memref<1xf32>, memref<1xf32>, memref<1xf32>, memref<1xf32>
}

func.func @second() -> (memref<1xf32>, memref<1xf32>) {
  %0 = memref.get_global @__constant_0 : memref<1xf32>
  %1 = memref.get_global @__constant_1 : memref<1xf32>
  return %0, %1 : memref<1xf32>, memref<1xf32>
}
