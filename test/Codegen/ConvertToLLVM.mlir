// RUN: ganq-opt %s --ganq-convert-to-llvm | FileCheck %s

// CHECK: module attributes {ganq.parameters = ["b", "a"]}
// CHECK-DAG: llvm.mlir.global internal @__ganq_api
// CHECK-DAG: llvm.mlir.global internal @__ganq_parameters

// CHECK-LABEL: llvm.func internal @decode(
// CHECK-SAME:    sym_visibility = "private"
// Offsets of allocate, observe and fail in ganq_host_api.
// CHECK:         %[[API:.*]] = llvm.load %{{.*}} : !llvm.ptr -> !llvm.ptr
// CHECK:         llvm.getelementptr %{{.*}}[16]
// CHECK:         llvm.getelementptr %{{.*}}[24]
// CHECK:         llvm.getelementptr %{{.*}}[8]
// CHECK:         llvm.cond_br
// CHECK:         llvm.getelementptr %{{.*}}[32]
func.func @decode(%arena: memref<?xi8>, %n: index, %x: memref<2x4xf32>)
    attributes {ganq.arena_bytes = 64 : i64} {
  %b = ganq.parameter "b" : memref<4xf32>
  %a = ganq.parameter "a" : memref<4xui8>
  %again = ganq.parameter "b" : memref<4xf32>
  %t = memref.alloc(%n) : memref<?xf32>
  ganq.observe %x as "x" 3 : memref<2x4xf32>
  ganq.dispatch @body[%n](%t) : (memref<?xf32>)
  %ok = arith.cmpi sge, %n, %n : index
  cf.assert %ok, "expected n"
  memref.dealloc %t : memref<?xf32>
  return
}

func.func private @body(%lo: index, %hi: index, %x: memref<?xf32>) {
  return
}

// Of a buffer of static shape threads get the address.
// CHECK-LABEL: llvm.func internal @fixed(
// CHECK:         llvm.alloca %{{.*}} x !llvm.struct<(ptr, i64)>
func.func @fixed(%x: memref<2x4xf32>, %n: index) {
  ganq.dispatch @row[%n](%x, %n) : (memref<2x4xf32>, index)
  return
}

func.func private @row(%lo: index, %hi: index, %x: memref<2x4xf32>, %n: index) {
  return
}

// CHECK-LABEL: llvm.func internal @pair(
func.func @pair(%x: memref<f32>) -> (memref<f32>, memref<f32>) {
  return %x, %x : memref<f32>, memref<f32>
}

// CHECK-LABEL: llvm.func @ganq_module_init(%{{.*}}: !llvm.ptr, %{{.*}}: !llvm.ptr) -> i32

// CHECK-LABEL: llvm.func @ganq_decode(%{{.*}}: !llvm.ptr) attributes {ganq.arena_bytes = 64 : i64}
// CHECK:         llvm.call @decode(

// CHECK-LABEL: llvm.func @ganq_pair(
// CHECK-SAME:    %[[ARGS:.*]]: !llvm.ptr)
// CHECK:         %[[R:.*]] = llvm.call @pair(
// CHECK:         %[[FIRST:.*]] = llvm.extractvalue %[[R]][0]
// CHECK:         %[[SLOT:.*]] = llvm.getelementptr %[[ARGS]][8]
// CHECK:         %[[AT:.*]] = llvm.load %[[SLOT]]
// CHECK:         llvm.store %[[FIRST]], %[[AT]]
