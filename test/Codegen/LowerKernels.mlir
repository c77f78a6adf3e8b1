// RUN: ganq-opt %s --ganq-lower-kernels=cpu=x86-64-v4 | FileCheck %s

// Two products of one shape, whose tile is given, share a kernel; x of rank 3 becomes a matrix.
// CHECK-LABEL: func.func @matmuls(
// CHECK:         %[[X:.*]] = memref.collapse_shape %{{.*}} {{\[\[}}0, 1], [2]] : memref<2x3x64xf32> into memref<6x64xf32>
// CHECK:         %[[Y:.*]] = memref.collapse_shape
// CHECK:         %[[TILES:.*]] = arith.constant 16 : index
// CHECK:         ganq.dispatch @kernel_lut4_matmul[%[[TILES]]] (%[[X]], %[[Y]], %{{.*}}, %{{.*}})
// CHECK:         ganq.dispatch @kernel_lut4_matmul[
// CHECK:         ganq.dispatch @kernel_matmul[
func.func @matmuls(%x: memref<2x3x64xf32>, %y: memref<2x3x64xf32>, %w: memref<64x64xf32>) {
  %c = ganq.parameter "a.codes" : memref<2048xi8>
  %t = ganq.parameter "a.table" : memref<64x1x16xf16>
  ganq.packed_matmul %x weight(%c, %t : memref<2048xi8>, memref<64x1x16xf16>)
    out(%y : memref<2x3x64xf32>) {scheme = #ganq.lut<bits = 4>, n = 64, k = 64, ganq.tile = "registers rows=4"} : memref<2x3x64xf32>
  %c2 = ganq.parameter "b.codes" : memref<2048xi8>
  %t2 = ganq.parameter "b.table" : memref<64x1x16xf16>
  ganq.packed_matmul %y weight(%c2, %t2 : memref<2048xi8>, memref<64x1x16xf16>)
    out(%x : memref<2x3x64xf32>) {scheme = #ganq.lut<bits = 4>, n = 64, k = 64, ganq.tile = "registers rows=4"} : memref<2x3x64xf32>
  ganq.matmul %x, %w out(%y : memref<2x3x64xf32>) : memref<2x3x64xf32>, memref<64x64xf32>
  return
}

// Little work stays on the calling thread.
// CHECK-LABEL: func.func @small(
// CHECK:         call @kernel_rms_norm(
// CHECK:         call @kernel_kv_update(
// CHECK:         call @kernel_rope(
func.func @small(%x: memref<1x64xf32>, %y: memref<1x64xf32>, %p: index,
                 %c: memref<1x2x64x8xf32>, %v: memref<1x2x1x8xf32>, %o: memref<1x2x1x8xf32>,
                 %cos: memref<1x4xf32>, %sin: memref<1x4xf32>) {
  ganq.rms_norm %x out(%y : memref<1x64xf32>) {epsilon = 1.0e-5 : f32} : memref<1x64xf32>
  ganq.kv_update %v into %c[%p] : memref<1x2x1x8xf32>, memref<1x2x64x8xf32>
  ganq.rope %v, %cos, %sin out(%o : memref<1x2x1x8xf32>) : memref<1x2x1x8xf32>, memref<1x4xf32>, memref<1x4xf32>
  return
}

// Tokens beyond the table of positions fail the call instead of reading it.
// CHECK-LABEL: func.func @positions(
// CHECK:         %[[FITS:.*]] = arith.andi
// CHECK:         cf.assert %[[FITS]], "expected a sequence within the model's context of 8 tokens, but got more"
// CHECK:         %[[COUNT:.*]] = arith.select %[[FITS]], %{{.*}}, %{{.*}} : index
// CHECK:         @kernel_position_rows{{.*}}%[[COUNT]]
func.func @positions(%table: memref<8x4xf32>, %p: index, %n: index, %y: memref<?x4xf32>) {
  ganq.position_rows %table[%p, %n] out(%y : memref<?x4xf32>) : memref<8x4xf32>
  return
}

// Unknown sizes are dispatched.
// CHECK-LABEL: func.func @dynamic(
// CHECK:         ganq.dispatch @kernel_attention[
// CHECK:         ganq.dispatch @kernel_swiglu[
func.func @dynamic(%q: memref<?x4x?x8xf32>, %k: memref<?x4x?x8xf32>, %o: memref<?x4x?x8xf32>,
                   %g: memref<?x16xf32>) {
  ganq.attention %q, %k, %k causal out(%o : memref<?x4x?x8xf32>) {scale = 1.0 : f32}
    : memref<?x4x?x8xf32>, memref<?x4x?x8xf32>, memref<?x4x?x8xf32>
  ganq.swiglu %g, %g out(%g : memref<?x16xf32>) : memref<?x16xf32>, memref<?x16xf32>
  return
}
// Products of one x that follow one another are one dispatch, in which each
// thread takes its share of both; an alloc between them does not matter.
// CHECK-LABEL: func.func @group(
// CHECK:         %[[C:.*]] = arith.constant 64 : index
// CHECK:         ganq.dispatch @kernel_group[%[[C]]]
// CHECK-NOT:     ganq.dispatch
// CHECK:         return
func.func @group(%x: memref<1x64xf32>, %q: memref<1x256xf32>, %w: memref<256x64xf32>,
                 %u: memref<16x64xf32>) -> memref<1x16xf32> {
  ganq.matmul %x, %w out(%q : memref<1x256xf32>) : memref<1x64xf32>, memref<256x64xf32>
  %k = memref.alloc() : memref<1x16xf32>
  ganq.matmul %x, %u out(%k : memref<1x16xf32>) : memref<1x64xf32>, memref<16x64xf32>
  return %k : memref<1x16xf32>
}

// One that writes what the other reads stays behind it.
// CHECK-LABEL: func.func @inPlace(
// CHECK:         ganq.dispatch @kernel_matmul
// CHECK:         ganq.dispatch @kernel_matmul
func.func @inPlace(%x: memref<1x256xf32>, %q: memref<1x256xf32>, %w: memref<256x256xf32>) {
  ganq.matmul %x, %w out(%q : memref<1x256xf32>) : memref<1x256xf32>, memref<256x256xf32>
  ganq.matmul %x, %w out(%q : memref<1x256xf32>) : memref<1x256xf32>, memref<256x256xf32>
  return
}

// So does one that reads what the other writes,
// CHECK-LABEL: func.func @readsOut(
// CHECK:         ganq.dispatch @kernel_matmul
// CHECK:         ganq.dispatch @kernel_matmul
func.func @readsOut(%x: memref<256x256xf32>, %w: memref<256x256xf32>, %q: memref<256x256xf32>,
                    %r: memref<256x256xf32>) {
  ganq.matmul %x, %w out(%q : memref<256x256xf32>) : memref<256x256xf32>, memref<256x256xf32>
  ganq.matmul %x, %q out(%r : memref<256x256xf32>) : memref<256x256xf32>, memref<256x256xf32>
  return
}

// or writes what the other reads,
// CHECK-LABEL: func.func @writesInput(
// CHECK:         ganq.dispatch @kernel_matmul
// CHECK:         ganq.dispatch @kernel_matmul
func.func @writesInput(%x: memref<256x256xf32>, %w: memref<256x256xf32>, %u: memref<256x256xf32>,
                       %q: memref<256x256xf32>) {
  ganq.matmul %x, %w out(%q : memref<256x256xf32>) : memref<256x256xf32>, memref<256x256xf32>
  ganq.matmul %x, %u out(%w : memref<256x256xf32>) : memref<256x256xf32>, memref<256x256xf32>
  return
}

// also by another view of the buffer.
// CHECK-LABEL: func.func @views(
// CHECK:         ganq.dispatch @kernel_matmul
// CHECK:         ganq.dispatch @kernel_matmul
func.func @views(%x: memref<256x256xf32>, %w: memref<256x256xf32>, %q: memref<1x256x256xf32>) {
  %a = memref.collapse_shape %q [[0, 1], [2]] : memref<1x256x256xf32> into memref<256x256xf32>
  %b = memref.collapse_shape %q [[0, 1], [2]] : memref<1x256x256xf32> into memref<256x256xf32>
  ganq.matmul %x, %w out(%a : memref<256x256xf32>) : memref<256x256xf32>, memref<256x256xf32>
  ganq.matmul %x, %w out(%b : memref<256x256xf32>) : memref<256x256xf32>, memref<256x256xf32>
  return
}

// In an arena, places tell; the third overlaps the second.
// CHECK-LABEL: func.func @arena(
// CHECK:         ganq.dispatch @kernel_group
// CHECK:         ganq.dispatch @kernel_matmul
// CHECK-NOT:     ganq.dispatch
// CHECK:         return
func.func @arena(%arena: memref<?xi8>, %w: memref<256x256xf32>) {
  %c0 = arith.constant 0 : index
  %c1024 = arith.constant 1024 : index
  %c2048 = arith.constant 2048 : index
  %c2560 = arith.constant 2560 : index
  %x = memref.view %arena[%c0][] : memref<?xi8> to memref<1x256xf32>
  %a = memref.view %arena[%c1024][] : memref<?xi8> to memref<1x256xf32>
  %b = memref.view %arena[%c2048][] : memref<?xi8> to memref<1x256xf32>
  %c = memref.view %arena[%c2560][] : memref<?xi8> to memref<1x256xf32>
  ganq.matmul %x, %w out(%a : memref<1x256xf32>) : memref<1x256xf32>, memref<256x256xf32>
  ganq.matmul %x, %w out(%b : memref<1x256xf32>) : memref<1x256xf32>, memref<256x256xf32>
  ganq.matmul %x, %w out(%c : memref<1x256xf32>) : memref<1x256xf32>, memref<256x256xf32>
  return
}

// Bytes of four rows widen to indices; a table of 16 is looked up with the high
// bits left in place.
// CHECK-LABEL: func.func private @kernel_lut4_matmul(
// CHECK-SAME:    %{{.*}}: index, %{{.*}}: index, %{{.*}}: memref<6x64xf32>
// CHECK-DAG:     vector.load %{{.*}} : memref<64x1x16xf16>, vector<16xf16>
// CHECK-DAG:     vector.load %{{.*}} : memref<2048xi8>, vector<16xi8>
// CHECK-DAG:     arith.extui %{{.*}} : vector<16xi8> to vector<16xi32>
// CHECK-NOT:     arith.andi
// CHECK:         ganq.table_lookup %{{.*}} : vector<16xf32>, vector<16xi32> -> vector<16xf32>
// CHECK:         math.fma
// CHECK-NOT:     func.func private @kernel_lut4_matmul

// CHECK:       func.func private @kernel_group(%[[LO:[^:]*]]: index, %[[HI:[^:]*]]: index,
// CHECK:         call @kernel_matmul{{.*}}(%[[LO]], %[[HI]],
// CHECK:         %[[LOW:.*]] = arith.divui
// CHECK:         %[[HIGH:.*]] = arith.divui
// CHECK:         call @kernel_matmul{{.*}}(%[[LOW]], %[[HIGH]],
