// RUN: ganq-opt %s --ganq-lower-kernels=cpu=x86-64-v4 --verify-diagnostics | FileCheck %s
// RUN: ganq-opt %s --ganq-lower-kernels=cpu=x86-64-v3 2>&1 | FileCheck %s --check-prefix=AVX2

// One row of x: four rows of W times 16 columns at a time, in pairs that do not
// leave 16 bits.
// CHECK-LABEL: func.func @products(
// CHECK:         call @kernel_quantize_rows(
// CHECK:         ganq.dispatch @kernel_uniform4a8_matmul[
// CHECK:         ganq.dispatch @kernel_uniform1a2_matmul[
func.func @products(%x: memref<1x256xf32>, %r: memref<1x320xi8>, %p: memref<1x128xi8>, %y: memref<1x256xf32>,
                    %c: memref<32768xi8>, %d: memref<8192xi8>, %s: memref<256x1xf16>, %z: memref<256x1xi8>, %u: memref<256x1xi32>) {
  ganq.quantize_rows %x out(%r : memref<1x320xi8>) {bits = 8} : memref<1x256xf32>
  // expected-remark @below {{4-bit weights and 8-bit activations: strategy int8, vpmaddubsw and vpmaddwd}}
  // expected-remark @below {{kernel_uniform4a8_matmul}}
  ganq.packed_matmul %r weight(%c, %s, %z, %u : memref<32768xi8>, memref<256x1xf16>, memref<256x1xi8>, memref<256x1xi32>)
    out(%y : memref<1x256xf32>) {scheme = #ganq.uniform<bits = 4, activation = 8>, n = 256, k = 256,
                                 strategy = #ganq.strategy<int8>} : memref<1x320xi8>
  // expected-remark @below {{1-bit weights and 2-bit activations: strategy popcount, ones counted by tables}}
  // expected-remark @below {{kernel_uniform1a2_matmul}}
  ganq.packed_matmul %p weight(%d, %s, %z, %u : memref<8192xi8>, memref<256x1xf16>, memref<256x1xi8>, memref<256x1xi32>)
    out(%y : memref<1x256xf32>) {scheme = #ganq.uniform<bits = 1, activation = 2>, n = 256, k = 256,
                                 strategy = #ganq.strategy<popcount>} : memref<1x128xi8>
  return
}

// CHECK-LABEL: func.func private @kernel_quantize_rows(
// CHECK:         vector.reduction <minnumf>
// CHECK:         math.roundeven
// CHECK:         arith.fptosi %{{.*}} : vector<16xf32> to vector<16xi32>
// CHECK:         vector.store %{{.*}} : memref<?x320xi8>, vector<16xi8>

// CHECK-LABEL: func.func private @kernel_uniform4a8_matmul(
// CHECK:         vector.load %{{.*}} : memref<32768xi8>, vector<64xi8>
// CHECK:         vector.load %{{.*}} : memref<1x320xi8>, vector<16xi8>
// CHECK:         llvm.call_intrinsic "llvm.x86.avx512.pmaddubs.w.512"
// CHECK:         llvm.call_intrinsic "llvm.x86.avx512.pmaddw.d.512"
// AVX2-LABEL:  func.func private @kernel_uniform4a8_matmul(
// AVX2:          llvm.call_intrinsic "llvm.x86.avx2.pmadd.ub.sw"({{.*}}) : (vector<32xi8>, vector<32xi8>) -> vector<16xi16>

// Two planes of x, one of the weight: two sums.
// CHECK-LABEL: func.func private @kernel_uniform1a2_matmul(
// CHECK:         scf.for {{.*}} iter_args(%{{.*}} = %{{.*}}, %{{.*}} = %{{.*}}) -> (vector<16xi32>, vector<16xi32>)
// CHECK-COUNT-2:   math.ctpop %{{.*}} : vector<8xi64>
// CHECK-NOT:       math.ctpop

// Entries of tables, then four products at a time.
func.func @tables(%r: memref<1x320xi8>, %y: memref<1x256xf32>, %c: memref<32768xi8>, %t: memref<256x1x16xi8>, %s: memref<256xf16>, %u: memref<256xi32>) {
  // expected-remark @below {{4-bit weights and 8-bit activations: strategy int8, 8-bit entries by vpshufb, vpmaddubsw and vpmaddwd}}
  // expected-remark @below {{kernel_lut4a8}}
  ganq.packed_matmul %r weight(%c, %t, %s, %u : memref<32768xi8>, memref<256x1x16xi8>, memref<256xf16>, memref<256xi32>)
    out(%y : memref<1x256xf32>) {scheme = #ganq.lut<bits = 4, entry = i8, activation = 8>, n = 256, k = 256,
                                 strategy = #ganq.strategy<int8>} : memref<1x320xi8>
  return
}

// CHECK-LABEL: func.func private @kernel_lut4a8_i8_matmul(
// CHECK-COUNT-4: vector.load %{{.*}} : memref<256x1x16xi8>, vector<16xi8>
// CHECK:         scf.for
// CHECK:         llvm.call_intrinsic "llvm.x86.avx512.pshuf.b.512"
// CHECK:         llvm.call_intrinsic "llvm.x86.avx512.pmaddubs.w.512"
// AVX2:          llvm.call_intrinsic "llvm.x86.avx2.pshuf.b"
