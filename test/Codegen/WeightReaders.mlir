// RUN: ganq-opt %s --ganq-lower-kernels=cpu=x86-64-v4 --canonicalize --cse --split-input-file | FileCheck %s
// RUN: ganq-opt %s --ganq-lower-kernels=cpu=x86-64-v3 --canonicalize --cse --split-input-file | FileCheck %s --check-prefix=AVX2

// Levels that are powers of two: one integer add to the bits of the scale makes
// the table of a group, signs included. The scales of a tile are widened before
// its groups.
// CHECK-LABEL: func.func private @kernel_pot3g64_matmul(
// CHECK-DAG:     %[[EXPONENTS:.*]] = arith.constant dense<[0, 8388608, 16777216, 25165824, -2147483648, -2139095040, -2130706432, -2122317824, 0, 8388608,
// CHECK-DAG:     %[[SCALES:.*]] = memref.alloca() {alignment = 64 : i64} : memref<16xf32>
// CHECK:         scf.for
// CHECK:           vector.store %{{.*}}, %[[SCALES]]
// CHECK:           scf.for
// CHECK:             %[[SCALE:.*]] = memref.load %[[SCALES]]
// CHECK:             %[[SPLAT:.*]] = vector.broadcast %[[SCALE]] : f32 to vector<16xf32>
// CHECK:             %[[BITS:.*]] = arith.bitcast %[[SPLAT]] : vector<16xf32> to vector<16xi32>
// CHECK:             %[[SUM:.*]] = arith.addi %[[BITS]], %[[EXPONENTS]] : vector<16xi32>
// CHECK:             %[[TABLE:.*]] = arith.bitcast %[[SUM]] : vector<16xi32> to vector<16xf32>
// CHECK-NOT:         arith.mulf
// CHECK:             ganq.table_lookup %[[TABLE]][
// CHECK-NOT:         arith.mulf
// CHECK:             return
func.func @pot(%x: memref<1x256xf32>, %y: memref<1x8xf32>, %c: memref<768xi8>, %s: memref<8x4xf16>) {
  ganq.packed_matmul %x weight(%c, %s : memref<768xi8>, memref<8x4xf16>) out(%y : memref<1x8xf32>)
    {scheme = #ganq.pot<bits = 3, group = 64>, n = 8, k = 256} : memref<1x256xf32>
  return
}

// -----

// With AVX2, sixteen levels take two registers, and an add to the bits of the
// scale for each vector of weights is faster.
// AVX2-LABEL:  func.func private @kernel_pot4_matmul(
// AVX2-NOT:      ganq.table_lookup
// AVX2:          %[[E:.*]] = arith.andi %{{.*}}, %{{.*}} : vector<16xi32>
// AVX2:          %[[SIGN:.*]] = arith.andi %{{.*}}, %{{.*}} : vector<16xi32>
// AVX2:          %[[SUM:.*]] = arith.addi %{{.*}}, %[[E]] : vector<16xi32>
// AVX2:          arith.xori %[[SUM]], %[[SIGN]] : vector<16xi32>
// AVX2-NOT:      ganq.table_lookup
// AVX2:          return
// CHECK-LABEL: func.func private @kernel_pot4_matmul(
// CHECK:         ganq.table_lookup
func.func @pot4(%x: memref<1x256xf32>, %y: memref<1x8xf32>, %c: memref<1024xi8>, %s: memref<8x1xf16>) {
  ganq.packed_matmul %x weight(%c, %s : memref<1024xi8>, memref<8x1xf16>) out(%y : memref<1x8xf32>)
    {scheme = #ganq.pot<bits = 4>, n = 8, k = 256} : memref<1x256xf32>
  return
}

// -----

// Other levels are multiplied, once per group.
// CHECK-LABEL: func.func private @kernel_nf4g64_matmul(
// CHECK:         %[[TABLE:.*]] = arith.mulf %{{.*}}, %{{.*}} : vector<16xf32>
// CHECK:         ganq.table_lookup %[[TABLE]][
func.func @nf(%x: memref<1x256xf32>, %y: memref<1x8xf32>, %c: memref<1024xi8>, %s: memref<8x4xf16>) {
  ganq.packed_matmul %x weight(%c, %s : memref<1024xi8>, memref<8x4xf16>) out(%y : memref<1x8xf32>)
    {scheme = #ganq.nf<bits = 4, group = 64>, n = 8, k = 256} : memref<1x256xf32>
  return
}

// -----

// Rows that share a table of 8-bit entries load it once; entries widen through
// f16, and the scale of a row is left to its sum.
// CHECK-LABEL: func.func private @kernel_lut3g64r8_e4m3_matmul(
// CHECK:         %[[STORED:.*]] = vector.load %{{.*}} : memref<1x4x8xf8E4M3FN>, vector<8xf8E4M3FN>
// CHECK-NOT:     memref<1x4x8xf8E4M3FN>, vector<8xf8E4M3FN>
// CHECK:         %[[BITS:.*]] = arith.bitcast %{{.*}} : vector<16xi16> to vector<16xf16>
// CHECK:         %[[TABLE:.*]] = arith.extf %[[BITS]] : vector<16xf16> to vector<16xf32>
// CHECK-COUNT-4: ganq.table_lookup %[[TABLE]][
// CHECK:         scf.yield
// CHECK:         arith.mulf
func.func @tile(%x: memref<1x256xf32>, %y: memref<1x8xf32>, %c: memref<768xi8>, %t: memref<1x4x8xf8E4M3FN>, %s: memref<8xf16>) {
  ganq.packed_matmul %x weight(%c, %t, %s : memref<768xi8>, memref<1x4x8xf8E4M3FN>, memref<8xf16>) out(%y : memref<1x8xf32>)
    {scheme = #ganq.lut<bits = 3, group = 64, rows = 8, entry = f8E4M3FN>, n = 8, k = 256} : memref<1x256xf32>
  return
}

// -----

// The sparse part is multiplied in the same kernel, sixteen entries at a time.
// CHECK-LABEL: func.func @sparse(
// CHECK-COUNT-1: call @kernel_
// CHECK-NOT:     @kernel_
// CHECK:         return
// CHECK-LABEL: func.func private @kernel_lut4_s_matmul(
// CHECK:         ganq.table_lookup
// CHECK:         %[[SUMS:.*]] = scf.for {{.*}} -> (vector<16xf32>)
// CHECK:           %[[COLUMNS:.*]] = arith.extui %{{.*}} : vector<16xi16> to vector<16xi32>
// CHECK:           vector.gather %{{.*}}[%{{.*}}, %{{.*}}] [%[[COLUMNS]]], {{.*}} : memref<1x256xf32>
// CHECK:         %[[ALL:.*]] = arith.addf %{{.*}}, %[[SUMS]]
// CHECK:         vector.reduction <add>, %[[ALL]]
func.func @sparse(%x: memref<1x256xf32>, %y: memref<1x8xf32>, %c: memref<1024xi8>, %t: memref<8x1x16xf16>,
                  %a: memref<9xi32>, %b: memref<16xi16>, %v: memref<16xf16>) {
  ganq.packed_matmul %x weight(%c, %t, %a, %b, %v : memref<1024xi8>, memref<8x1x16xf16>, memref<9xi32>, memref<16xi16>, memref<16xf16>)
    out(%y : memref<1x8xf32>)
    {scheme = #ganq.lut<bits = 4, outliers = 50>, n = 8, k = 256} : memref<1x256xf32>
  return
}

// -----

// With many rows of x it is added to the decoded block, found by bisection.
// CHECK-LABEL: func.func private @kernel_lut4_s_matmul(
// CHECK-DAG:     %[[X:.*]] = memref.alloca() {alignment = 64 : i64} : memref<256x256xf32>
// CHECK-DAG:     %[[BLOCK:.*]] = memref.alloca() {alignment = 64 : i64} : memref<16x256xf32>
// CHECK-DAG:     %[[PANEL:.*]] = memref.alloca() {alignment = 64 : i64} : memref<256x32xf32>
// CHECK:         vector.store %{{.*}}, %[[X]]
// CHECK:         ganq.table_lookup
// CHECK:         scf.while
// CHECK:         scf.while
// CHECK:           memref.store %{{.*}}, %[[BLOCK]]
// CHECK-NOT:     vector.gather
// CHECK:         vector.store %{{.*}}, %[[PANEL]]
// Lanes are rows of the weight: elements of x are broadcast, nothing is reduced.
// CHECK:         %[[ELEMENT:.*]] = memref.load %[[X]]
// CHECK:         %[[SPLAT:.*]] = vector.broadcast %[[ELEMENT]]
// CHECK:         math.fma %[[SPLAT]]
// CHECK-NOT:     vector.reduction
// CHECK:         return
func.func @sparse_many(%x: memref<256x256xf32>, %y: memref<256x32xf32>, %c: memref<4096xi8>, %t: memref<32x1x16xf16>,
                       %a: memref<33xi32>, %b: memref<64xi16>, %v: memref<64xf16>) {
  ganq.packed_matmul %x weight(%c, %t, %a, %b, %v : memref<4096xi8>, memref<32x1x16xf16>, memref<33xi32>, memref<64xi16>, memref<64xf16>)
    out(%y : memref<256x32xf32>)
    {scheme = #ganq.lut<bits = 4, outliers = 50>, n = 32, k = 256} : memref<256x256xf32>
  return
}

// -----

// An index of four bits holds two codes of two bits. A table for each code
// needs no shift between them.
// CHECK-LABEL: func.func private @kernel_lut2_matmul(
// CHECK:         %[[LOW:.*]] = vector.shuffle %[[TABLE:.*]], %[[TABLE]] [0, 1, 2, 3, 0, 1, 2, 3, {{.*}}] : vector<4xi16>
// CHECK:         %[[LOWHALF:.*]] = arith.bitcast %[[LOW]]
// CHECK:         %[[FIRST:.*]] = arith.extf %[[LOWHALF]]
// CHECK:         %[[HIGH:.*]] = vector.shuffle %[[TABLE]], %[[TABLE]] [0, 0, 0, 0, 1, 1, 1, 1, {{.*}}] : vector<4xi16>
// CHECK:         %[[HIGHHALF:.*]] = arith.bitcast %[[HIGH]]
// CHECK:         %[[SECOND:.*]] = arith.extf %[[HIGHHALF]]
// CHECK:         %[[INDEX:.*]] = arith.extui
// CHECK-DAG:     ganq.table_lookup %[[FIRST]][%[[INDEX]]]
// CHECK-DAG:     ganq.table_lookup %[[SECOND]][%[[INDEX]]]
// CHECK-DAG:     %[[NEXT:.*]] = arith.shrui %[[INDEX]]
// CHECK:         return
// The permute of AVX2 reads three bits, one code.
// AVX2-LABEL:  func.func private @kernel_lut2_matmul(
// AVX2-NOT:      vector.shuffle {{.*}} [0, 0, 0, 0,
// AVX2:          return
func.func @pairs(%x: memref<1x256xf32>, %y: memref<1x8xf32>, %c: memref<512xi8>, %t: memref<8x1x4xf16>) {
  ganq.packed_matmul %x weight(%c, %t : memref<512xi8>, memref<8x1x4xf16>) out(%y : memref<1x8xf32>)
    {scheme = #ganq.lut<bits = 2>, n = 8, k = 256} : memref<1x256xf32>
  return
}

// -----

// The planes of 3-bit codes are joined for all four rows of a tile at once, to
// one code in each nibble, before they are looked up.
// CHECK-LABEL: func.func private @kernel_lut3_matmul(
// CHECK:         %[[NIBBLES:.*]] = memref.alloca() {alignment = 64 : i64} : memref<512xi8>
// CHECK:         scf.for
// CHECK-COUNT-3:   vector.load %{{.*}} : memref<768xi8>, vector<64xi8>
// CHECK-COUNT-4:   vector.store %{{.*}}, %[[NIBBLES]][%{{.*}}] : memref<512xi8>, vector<64xi8>
// CHECK:         vector.load %[[NIBBLES]]
// CHECK:         ganq.table_lookup
// CHECK:         return
func.func @planes(%x: memref<1x256xf32>, %y: memref<1x8xf32>, %c: memref<768xi8>, %t: memref<8x1x8xf16>) {
  ganq.packed_matmul %x weight(%c, %t : memref<768xi8>, memref<8x1x8xf16>) out(%y : memref<1x8xf32>)
    {scheme = #ganq.lut<bits = 3>, n = 8, k = 256} : memref<1x256xf32>
  return
}

// -----

// With AVX2 the weights of a tile become f16 first: bytes of both halves of an
// entry are looked up for two rows at once, and widen when they are read.
// AVX2-LABEL:  func.func private @kernel_lut4_matmul(
// AVX2:          %[[HALVES:.*]] = memref.alloca() {alignment = 64 : i64} : memref<4x256xf16>
// AVX2:          llvm.call_intrinsic "llvm.x86.avx2.pshuf.b"
// AVX2-COUNT-16: vector.store %{{.*}}, %[[HALVES]][%{{.*}}, %{{.*}}] : memref<4x256xf16>, vector<8xf16>
// AVX2-NOT:      ganq.table_lookup
// AVX2:          vector.load %[[HALVES]]
// AVX2:          return
func.func @halves(%x: memref<1x256xf32>, %y: memref<1x8xf32>, %c: memref<1024xi8>, %t: memref<8x1x16xf16>) {
  ganq.packed_matmul %x weight(%c, %t : memref<1024xi8>, memref<8x1x16xf16>) out(%y : memref<1x8xf32>)
    {scheme = #ganq.lut<bits = 4>, n = 8, k = 256} : memref<1x256xf32>
  return
}
