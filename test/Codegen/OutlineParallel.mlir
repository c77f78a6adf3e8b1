// RUN: ganq-opt %s --ganq-outline-parallel=min-work=1000 --canonicalize | FileCheck %s

// All but the innermost dimension are cut.
// CHECK-LABEL: func.func @large(
// CHECK-DAG:     %[[COUNT:.*]] = arith.constant 200 : index
// CHECK:         ganq.dispatch @[[BODY:.*]][%[[COUNT]]] (%{{.*}}, %{{.*}}) : (f32, memref<10x20x30xf32>)
func.func @large(%x: memref<10x20x30xf32>, %f: f32) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c10 = arith.constant 10 : index
  %c20 = arith.constant 20 : index
  %c30 = arith.constant 30 : index
  scf.parallel (%i, %j, %k) = (%c0, %c0, %c0) to (%c10, %c20, %c30) step (%c1, %c1, %c1) {
    memref.store %f, %x[%i, %j, %k] : memref<10x20x30xf32>
    scf.reduce
  }
  return
}

// CHECK-LABEL: func.func @small(
// CHECK:         scf.parallel
func.func @small(%x: memref<10xf32>, %f: f32) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c10 = arith.constant 10 : index
  scf.parallel (%i) = (%c0) to (%c10) step (%c1) {
    memref.store %f, %x[%i] : memref<10xf32>
    scf.reduce
  }
  return
}

// CHECK-LABEL: func.func @unknown(
// CHECK-SAME:    %[[X:[^:]*]]: memref<?xf32>, %[[F:[^:]*]]: f32, %[[N:[^:]*]]: index)
// CHECK:         %[[LARGE:.*]] = arith.cmpi sge, %[[N]]
// CHECK:         scf.if %[[LARGE]] {
// CHECK:           ganq.dispatch @[[DYNAMIC:.*]][%[[N]]] (%[[F]], %[[X]], %[[N]])
// CHECK:         } else {
// CHECK:           call @[[DYNAMIC]](%{{.*}}, %[[N]], %[[F]], %[[X]], %[[N]])
func.func @unknown(%x: memref<?xf32>, %f: f32, %n: index) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  scf.parallel (%i) = (%c0) to (%n) step (%c1) {
    memref.store %f, %x[%i] : memref<?xf32>
    scf.reduce
  }
  return
}

// Loops that do the same share a function; constants are a part of it.
// CHECK-LABEL: func.func @twice(
// CHECK:         ganq.dispatch @[[SHARED:.*]][%{{.*}}] (%{{.*}})
// CHECK:         ganq.dispatch @[[SHARED]][
// CHECK:         ganq.dispatch @[[OTHER:.*]][
func.func @twice(%x: memref<64x64xf32>, %y: memref<64x64xf32>) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c64 = arith.constant 64 : index
  %one = arith.constant 1.0 : f32
  %two = arith.constant 2.0 : f32
  scf.parallel (%i, %j) = (%c0, %c0) to (%c64, %c64) step (%c1, %c1) {
    memref.store %one, %x[%i, %j] : memref<64x64xf32>
    scf.reduce
  }
  scf.parallel (%i, %j) = (%c0, %c0) to (%c64, %c64) step (%c1, %c1) {
    memref.store %one, %y[%i, %j] : memref<64x64xf32>
    scf.reduce
  }
  scf.parallel (%i, %j) = (%c0, %c0) to (%c64, %c64) step (%c1, %c1) {
    memref.store %two, %y[%i, %j] : memref<64x64xf32>
    scf.reduce
  }
  return
}

// CHECK:       func.func private @[[BODY]](%[[LO:[^:]*]]: index, %[[HI:[^:]*]]: index, %{{.*}}: f32, %{{.*}}: memref<10x20x30xf32>)
// CHECK:         scf.for %[[I:.*]] = %[[LO]] to %[[HI]]
// CHECK:           arith.remui %[[I]]
// CHECK:           arith.divui %[[I]]
// CHECK:           scf.for
// CHECK:             memref.store
