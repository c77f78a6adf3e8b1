// RUN: ganq-opt %s --ganq-plan-memory --split-input-file | FileCheck %s

// %a and %c are never live together and share bytes.
// CHECK-LABEL: func.func @decode(
// CHECK-SAME:    %[[ARENA:.*]]: memref<?xi8>, %[[X:.*]]: memref<20xf32>
// CHECK-SAME:    attributes {ganq.arena_bytes = 256 : i64}
func.func @decode(%x: memref<20xf32>) {
  // CHECK: %[[A:.*]] = memref.view %[[ARENA]][%c0{{.*}}][] : memref<?xi8> to memref<20xf32>
  %a = memref.alloc() : memref<20xf32>
  memref.copy %x, %a : memref<20xf32> to memref<20xf32>
  // CHECK: memref.view %[[ARENA]][%c128{{.*}}][] : memref<?xi8> to memref<20xf32>
  %b = memref.alloc() : memref<20xf32>
  %cast = memref.cast %a : memref<20xf32> to memref<?xf32>
  %back = memref.cast %cast : memref<?xf32> to memref<20xf32>
  memref.copy %back, %b : memref<20xf32> to memref<20xf32>
  // CHECK: memref.view %[[ARENA]][%c0{{.*}}][] : memref<?xi8> to memref<20xf32>
  %c = memref.alloc() : memref<20xf32>
  memref.copy %b, %c : memref<20xf32> to memref<20xf32>
  memref.copy %c, %x : memref<20xf32> to memref<20xf32>
  // CHECK-NOT: memref.dealloc
  memref.dealloc %c : memref<20xf32>
  return
}

// -----

// Results and buffers of unknown size come from the host; the rest shares one
// allocation.
// CHECK-LABEL: func.func @main(
// CHECK-SAME:    %[[X:[^:]*]]: memref<?xf32>) -> memref<4xf32> {
func.func @main(%x: memref<?xf32>) -> memref<4xf32> {
  // CHECK: %[[SIZE:.*]] = arith.constant 64 : index
  // CHECK: %[[ARENA:.*]] = memref.alloc(%[[SIZE]]) : memref<?xi8>
  %c0 = arith.constant 0 : index
  %n = memref.dim %x, %c0 : memref<?xf32>
  // CHECK: memref.alloc(%{{.*}}) : memref<?xf32>
  %d = memref.alloc(%n) : memref<?xf32>
  memref.copy %x, %d : memref<?xf32> to memref<?xf32>
  // CHECK: memref.view %[[ARENA]]
  %t = memref.alloc() : memref<4xf32>
  // CHECK: memref.alloc() : memref<4xf32>
  %r = memref.alloc() : memref<4xf32>
  memref.copy %t, %r : memref<4xf32> to memref<4xf32>
  return %r : memref<4xf32>
}

// -----

// A buffer used inside a loop lives until the loop ends; one that the loop
// carries is not placed.
// CHECK-LABEL: func.func @loops(
// CHECK-SAME:    ganq.arena_bytes = 128
func.func @loops(%x: memref<4xf32>, %n: index) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  // CHECK: memref.view
  %outer = memref.alloc() : memref<4xf32>
  // CHECK: %[[CARRIED:.*]] = memref.alloc() : memref<4xf32>
  %carried = memref.alloc() : memref<4xf32>
  // CHECK: scf.for
  %last = scf.for %i = %c0 to %n step %c1 iter_args(%in = %carried) -> memref<4xf32> {
    memref.copy %outer, %x : memref<4xf32> to memref<4xf32>
    // CHECK: memref.view
    %inner = memref.alloc() : memref<4xf32>
    memref.copy %in, %inner : memref<4xf32> to memref<4xf32>
    // CHECK: memref.alloc() : memref<4xf32>
    %next = memref.alloc() : memref<4xf32>
    memref.copy %inner, %next : memref<4xf32> to memref<4xf32>
    scf.yield %next : memref<4xf32>
  }
  // CHECK: memref.view
  %after = memref.alloc() : memref<20xf32>
  %head = memref.subview %after[0] [4] [1] : memref<20xf32> to memref<4xf32, strided<[1]>>
  memref.copy %last, %head : memref<4xf32> to memref<4xf32, strided<[1]>>
  memref.copy %head, %x : memref<4xf32, strided<[1]>> to memref<4xf32>
  return
}

// -----

// CHECK-LABEL: func.func private @helper(
// CHECK-NEXT:    memref.alloc
func.func private @helper() {
  %a = memref.alloc() : memref<4xf32>
  %c0 = arith.constant 0 : index
  %f = arith.constant 0.0 : f32
  memref.store %f, %a[%c0] : memref<4xf32>
  return
}

// -----

// A buffer whose address was taken lives as long as what is computed from it.
// CHECK-LABEL: func.func @addresses(
// CHECK-SAME:    attributes {ganq.arena_bytes = 128 : i64}
func.func @addresses(%x: memref<4xi64>) {
  %c0 = arith.constant 0 : index
  %a = memref.alloc() : memref<4xi64>
  %index = memref.extract_aligned_pointer_as_index %a : memref<4xi64> -> index
  %address = arith.index_cast %index : index to i64
  %b = memref.alloc() : memref<4xi64>
  memref.copy %x, %b : memref<4xi64> to memref<4xi64>
  memref.store %address, %b[%c0] : memref<4xi64>
  return
}
