// RUN: ganq-opt %s --ganq-lower-table-lookup=cpu=x86-64-v4 | FileCheck %s --check-prefixes=CHECK,V4
// RUN: ganq-opt %s --ganq-lower-table-lookup=cpu=x86-64-v3 | FileCheck %s --check-prefixes=CHECK,V3

// CHECK-LABEL: func.func @sixteen(
// V4-NEXT:       llvm.call_intrinsic "llvm.x86.avx512.permvar.sf.512"
// V4-NEXT:       return
// V3-COUNT-4:    llvm.call_intrinsic "llvm.x86.avx2.permps"
// V3-NOT:        permps
func.func @sixteen(%t: vector<16xf32>, %i: vector<16xi32>) -> vector<16xf32> {
  %r = ganq.table_lookup %t[%i] : vector<16xf32>, vector<16xi32> -> vector<16xf32>
  return %r : vector<16xf32>
}

// CHECK-LABEL: func.func @sixtyfour(
// V4-COUNT-2:    llvm.call_intrinsic "llvm.x86.avx512.vpermi2var.ps.512"
// V4:            arith.select
func.func @sixtyfour(%t: vector<64xf32>, %i: vector<16xi32>) -> vector<16xf32> {
  %r = ganq.table_lookup %t[%i] : vector<64xf32>, vector<16xi32> -> vector<16xf32>
  return %r : vector<16xf32>
}

// Too small for one permute: repeated.
// CHECK-LABEL: func.func @four(
// V4:            vector.shuffle {{.*}}[0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3]
// V3:            vector.shuffle {{.*}}[0, 1, 2, 3, 0, 1, 2, 3]
func.func @four(%t: vector<4xf32>, %i: vector<16xi32>) -> vector<16xf32> {
  %r = ganq.table_lookup %t[%i] : vector<4xf32>, vector<16xi32> -> vector<16xf32>
  return %r : vector<16xf32>
}

// No permute for this: the bits above the table are cut off, entries extracted.
// CHECK-LABEL: func.func @other(
// CHECK:         arith.andi
// CHECK-COUNT-4: vector.extract %{{.*}}[%{{.*}}] : f16 from vector<16xf16>
// CHECK-NOT:     ganq.table_lookup
func.func @other(%t: vector<16xf16>, %i: vector<4xi32>) -> vector<4xf16> {
  %r = ganq.table_lookup %t[%i] : vector<16xf16>, vector<4xi32> -> vector<4xf16>
  return %r : vector<4xf16>
}
