// RUN: ganq-opt %s --ganq-lower-gpu-products --split-input-file 2>%t | FileCheck %s
// RUN: FileCheck %s --check-prefix=REMARK --input-file=%t

// Two products of one x share its conversion; a write to x in between does not
// let a third one.
// REMARK: remark: weight 'a', rows of x: 1: gemv_lut4_f16_m1_f32, strategy f16
// REMARK: remark: weight 'b', rows of x: 1: gemv_pot3g32_f16_m1_f32_bias, strategy f16
// CHECK-LABEL: func.func @decode(
// CHECK-SAME:    %[[X:.*]]: memref<1x1x64xf32>, %[[BIAS:.*]]: memref<40xf32>, %[[Y:.*]]: memref<1x1x100xf32>, %[[Z:.*]]: memref<1x1x40xf32>)
func.func @decode(%x: memref<1x1x64xf32>, %bias: memref<40xf32>, %y: memref<1x1x100xf32>, %z: memref<1x1x40xf32>) {
  %c = ganq.parameter "a.codes" : memref<3200xi8>
  %t = ganq.parameter "a.table" : memref<100x1x16xf16>
  %pc = ganq.parameter "b.codes" : memref<1280xi8>
  %ps = ganq.parameter "b.scale" : memref<40x2xf16>
  // CHECK: %[[HALF:.*]] = memref.alloc() : memref<1x1x64xf16>
  // CHECK: linalg.generic {{.*}} ins(%[[X]] : memref<1x1x64xf32>) outs(%[[HALF]] : memref<1x1x64xf16>)
  // CHECK:   arith.minimumf
  // CHECK:   arith.maximumf
  // CHECK:   arith.truncf
  // CHECK: %[[Y_INDEX:.*]] = memref.extract_aligned_pointer_as_index %[[Y]]
  // CHECK: %[[Y_INT:.*]] = arith.index_cast %[[Y_INDEX]] : index to i64
  // CHECK: %[[Y_PTR:.*]] = llvm.inttoptr %[[Y_INT]] : i64 to !llvm.ptr<1>
  // CHECK: extract_aligned_pointer_as_index %[[HALF]]
  // CHECK: %[[CODES:.*]] = ganq.parameter "a.gpu_codes" gpu <scheme = #ganq.lut<bits = 4>, n = 100, k = 64, operand = codes, order = table, components = ["a.codes", "a.table"]> : memref<8192xi8>
  // CHECK: extract_aligned_pointer_as_index %[[CODES]]
  // CHECK: ganq.parameter "a.gpu_table" gpu <scheme = #ganq.lut<bits = 4>, n = 100, k = 64, operand = table, order = table, components = ["a.codes", "a.table"]> : memref<128x16xf16>
  // CHECK: gpu.launch_func @ganq_kernels::@gemv_lut4_f16_m1_f32 blocks in (%c4{{.*}}, %c1{{.*}}, %c1{{.*}}) threads in (%c256{{.*}}, %c1{{.*}}, %c1{{.*}}) dynamic_shared_memory_size %{{.*}} args(%[[Y_PTR]] : !llvm.ptr<1>, %{{.*}} : !llvm.ptr<1>, %{{.*}} : !llvm.ptr<1>, %{{.*}} : !llvm.ptr<1>, %c1_i32{{.*}} : i32, %c100_i32{{.*}} : i32, %c64_i32{{.*}} : i32)
  ganq.packed_matmul %x weight(%c, %t : memref<3200xi8>, memref<100x1x16xf16>) out(%y : memref<1x1x100xf32>) {k = 64 : i64, n = 100 : i64, scheme = #ganq.lut<bits = 4>} : memref<1x1x64xf32>
  // CHECK-NOT: linalg.generic
  // CHECK: ganq.parameter "b.gpu_codes" gpu <scheme = #ganq.pot<bits = 3, group = 32>, n = 40, k = 64, operand = codes, order = exponent, exponent_bit = 10, components = ["b.codes", "b.scale"]> : memref<3072xi8>
  // CHECK: ganq.parameter "b.gpu_scale" gpu <{{.*}}operand = scale{{.*}}> : memref<2x64xf16>
  // CHECK: extract_aligned_pointer_as_index %[[BIAS]]
  // CHECK: gpu.launch_func @ganq_kernels::@gemv_pot3g32_f16_m1_f32_bias
  ganq.packed_matmul %x weight(%pc, %ps : memref<1280xi8>, memref<40x2xf16>) bias(%bias : memref<40xf32>) out(%z : memref<1x1x40xf32>) {k = 64 : i64, n = 40 : i64, scheme = #ganq.pot<bits = 3, group = 32>} : memref<1x1x64xf32>
  // CHECK: ganq.swiglu
  ganq.swiglu %x, %x out(%x : memref<1x1x64xf32>) : memref<1x1x64xf32>, memref<1x1x64xf32>
  // CHECK: linalg.generic
  // CHECK: gpu.launch_func @ganq_kernels::@gemv_lut4_f16_m1_f32
  ganq.packed_matmul %x weight(%c, %t : memref<3200xi8>, memref<100x1x16xf16>) out(%y : memref<1x1x100xf32>) {k = 64 : i64, n = 100 : i64, scheme = #ganq.lut<bits = 4>} : memref<1x1x64xf32>
  return
}
// CHECK: gpu.module @ganq_kernels
// CHECK:   gpu.func @gemv_lut4_f16_m1_f32
// CHECK:   gpu.func @gemv_pot3g32_f16_m1_f32_bias

// -----

// More rows: blocks of 16 and of 64 tokens; x of 16 bits is taken as it is, and
// so is a result of 16 bits.
// CHECK-LABEL: func.func @prefill(
func.func @prefill(%x: memref<1x12x64xf32>, %y: memref<1x12x32xf32>, %h: memref<1x65x64xbf16>, %g: memref<1x65x32xbf16>) {
  %c = ganq.parameter "a.codes" : memref<1024xi8>
  %t = ganq.parameter "a.table" : memref<32x1x16xbf16>
  // CHECK: linalg.generic {{.*}} outs(%{{.*}} : memref<1x12x64xbf16>)
  // CHECK: gpu.launch_func @ganq_kernels::@gemm_lut4_bf16_bf16_m16_f32 blocks in (%c1{{.*}}, %c1{{.*}}, %c1{{.*}})
  ganq.packed_matmul %x weight(%c, %t : memref<1024xi8>, memref<32x1x16xbf16>) out(%y : memref<1x12x32xf32>) {k = 64 : i64, n = 32 : i64, scheme = #ganq.lut<bits = 4, entry = bf16>} : memref<1x12x64xf32>
  // CHECK-NOT: linalg.generic
  // CHECK: gpu.launch_func @ganq_kernels::@gemm_lut4_bf16_bf16_m64 blocks in (%c1{{.*}}, %c2{{.*}}, %c1{{.*}})
  ganq.packed_matmul %h weight(%c, %t : memref<1024xi8>, memref<32x1x16xbf16>) out(%g : memref<1x65x32xbf16>) {k = 64 : i64, n = 32 : i64, scheme = #ganq.lut<bits = 4, entry = bf16>} : memref<1x65x64xbf16>
  return
}

// -----

// Records become codes with their scales, zero points and sums: bytes, or planes
// where these take fewer mma.
// REMARK: remark: weight 'w', rows of x: 3: gemv_uniform4a8_dp4a_f16_m4_f32, strategy dp4a
// REMARK: remark: weight 'v', rows of x: 3: gemm_uniform2a3_btc_f16_m16_f32, strategy btc
// CHECK-LABEL: func.func @integers(
// CHECK-SAME:    %[[X:.*]]: memref<1x3x64xf32>,
func.func @integers(%x: memref<1x3x64xf32>, %y: memref<1x3x32xf32>) {
  %r = memref.alloc() : memref<1x3x128xi8>
  // CHECK: %[[CODES:.*]] = memref.alloc() : memref<384xi8>
  // CHECK: %[[SCALE:.*]] = memref.alloc() : memref<3xf32>
  // CHECK: %[[ZERO:.*]] = memref.alloc() : memref<3xi32>
  // CHECK: %[[SUM:.*]] = memref.alloc() : memref<3xi32>
  // CHECK: extract_aligned_pointer_as_index %[[X]]
  // CHECK: gpu.launch_func @ganq_kernels::@quantize_rows8_bytes_f32 blocks in (%c3{{.*}}, %c1{{.*}}, %c1{{.*}})
  // CHECK-NOT: ganq.quantize_rows
  ganq.quantize_rows %x out(%r : memref<1x3x128xi8>) {bits = 8 : i64} : memref<1x3x64xf32>
  %c = ganq.parameter "w.codes" : memref<1024xi8>
  %s = ganq.parameter "w.scale" : memref<32x1xf16>
  %z = ganq.parameter "w.zero" : memref<32x1xi8>
  %m = ganq.parameter "w.sum" : memref<32x1xi32>
  // CHECK: extract_aligned_pointer_as_index %[[CODES]]
  // CHECK: ganq.parameter "w.gpu_codes" gpu <{{.*}}order = bytes{{.*}}> : memref<2048xi8>
  // CHECK: ganq.parameter "w.gpu_zero" gpu <{{.*}}> : memref<1x32xf16>
  // CHECK: ganq.parameter "w.gpu_weight_sum" gpu <{{.*}}> : memref<32xi32>
  // CHECK: extract_aligned_pointer_as_index %[[SUM]]
  // CHECK: gpu.launch_func @ganq_kernels::@gemv_uniform4a8_dp4a_f16_m4_f32
  ganq.packed_matmul %r weight(%c, %s, %z, %m : memref<1024xi8>, memref<32x1xf16>, memref<32x1xi8>, memref<32x1xi32>) out(%y : memref<1x3x32xf32>) {k = 64 : i64, n = 32 : i64, scheme = #ganq.uniform<bits = 4, activation = 8>, strategy = #ganq.strategy<int8>} : memref<1x3x128xi8>
  %q = memref.alloc() : memref<1x3x128xi8>
  // CHECK: gpu.launch_func @ganq_kernels::@quantize_rows3_planes_f32
  ganq.quantize_rows %x out(%q : memref<1x3x128xi8>) {bits = 3 : i64} : memref<1x3x64xf32>
  %vc = ganq.parameter "v.codes" : memref<512xi8>
  // CHECK: ganq.parameter "v.gpu_codes" gpu <{{.*}}order = planes{{.*}}> : memref<2048xi8>
  // CHECK: gpu.launch_func @ganq_kernels::@gemm_uniform2a3_btc_f16_m16_f32
  ganq.packed_matmul %q weight(%vc, %s, %z, %m : memref<512xi8>, memref<32x1xf16>, memref<32x1xi8>, memref<32x1xi32>) out(%y : memref<1x3x32xf32>) {k = 64 : i64, n = 32 : i64, scheme = #ganq.uniform<bits = 2, activation = 3>, strategy = #ganq.strategy<int8>} : memref<1x3x128xi8>
  return
}

// -----

// Inputs are scaled in f32 before they are rounded.
// CHECK-LABEL: func.func @smooth(
func.func @smooth(%x: memref<2x64xf32>, %scale: memref<64xf16>, %shift: memref<64xf16>, %y: memref<2x32xf32>) {
  %r = memref.alloc() : memref<2x128xi8>
  // CHECK: linalg.generic {{.*}} ins(%{{.*}}, %{{.*}}, %{{.*}} : memref<2x64xf32>, memref<64xf16>, memref<64xf16>) outs(%{{.*}} : memref<2x64xf32>)
  // CHECK:   arith.subf
  // CHECK:   arith.divf
  // CHECK: gpu.launch_func @ganq_kernels::@quantize_rows8_bytes_f32
  ganq.quantize_rows %x scale(%scale : memref<64xf16>) shift(%shift : memref<64xf16>) out(%r : memref<2x128xi8>) {bits = 8 : i64} : memref<2x64xf32>
  %c = ganq.parameter "w.codes" : memref<1024xi8>
  %s = ganq.parameter "w.scale" : memref<32x1xf16>
  %z = ganq.parameter "w.zero" : memref<32x1xi8>
  %m = ganq.parameter "w.sum" : memref<32x1xi32>
  ganq.packed_matmul %r weight(%c, %s, %z, %m : memref<1024xi8>, memref<32x1xf16>, memref<32x1xi8>, memref<32x1xi32>) out(%y : memref<2x32xf32>) {k = 64 : i64, n = 32 : i64, scheme = #ganq.uniform<bits = 4, activation = 8>, strategy = #ganq.strategy<int8>} : memref<2x128xi8>
  return
}

// -----

// Products of one x by weights of one scheme and K share a launch, with the
// blocks of all; what another scheme or a bias sets apart does not.
// REMARK: remark: weight 'q', rows of x: 1: gemv_lut4_f16_m1_f32_x3, strategy f16
// CHECK-LABEL: func.func @shared(
// CHECK-SAME:    %[[X:.*]]: memref<1x64xf32>, %[[BIAS:.*]]: memref<32xf32>, %[[A:.*]]: memref<1x100xf32>, %[[B:.*]]: memref<1x32xf32>, %[[C:.*]]: memref<1x32xf32>,
func.func @shared(%x: memref<1x64xf32>, %bias: memref<32xf32>, %a: memref<1x100xf32>, %b: memref<1x32xf32>, %c: memref<1x32xf32>, %d: memref<1x32xf32>) {
  %qc = ganq.parameter "q.codes" : memref<3200xi8>
  %qt = ganq.parameter "q.table" : memref<100x1x16xf16>
  %kc = ganq.parameter "k.codes" : memref<1024xi8>
  %kt = ganq.parameter "k.table" : memref<32x1x16xf16>
  // CHECK: linalg.generic {{.*}} ins(%[[X]] : memref<1x64xf32>) outs(%[[HALF:.*]] : memref<1x64xf16>)
  // CHECK: memref.extract_aligned_pointer_as_index %[[A]]
  // CHECK: memref.extract_aligned_pointer_as_index %[[HALF]]
  // CHECK: ganq.parameter "q.gpu_codes"
  // CHECK: ganq.parameter "q.gpu_table"
  // CHECK: memref.extract_aligned_pointer_as_index %[[B]]
  // CHECK-NOT: memref.extract_aligned_pointer_as_index %[[HALF]]
  // CHECK: ganq.parameter "k.gpu_codes"
  // CHECK: memref.extract_aligned_pointer_as_index %[[C]]
  // CHECK: gpu.launch_func @ganq_kernels::@gemv_lut4_f16_m1_f32_x3 blocks in (%c6{{.*}}, %c1{{.*}}, %c1{{.*}}) {{.*}} args({{.*}}, %c1_i32{{.*}} : i32, %c100_i32{{.*}} : i32, %c64_i32{{.*}} : i32, %c32_i32{{.*}} : i32, %c32_i32{{.*}} : i32)
  ganq.packed_matmul %x weight(%qc, %qt : memref<3200xi8>, memref<100x1x16xf16>) out(%a : memref<1x100xf32>) {k = 64 : i64, n = 100 : i64, scheme = #ganq.lut<bits = 4>} : memref<1x64xf32>
  ganq.packed_matmul %x weight(%kc, %kt : memref<1024xi8>, memref<32x1x16xf16>) out(%b : memref<1x32xf32>) {k = 64 : i64, n = 32 : i64, scheme = #ganq.lut<bits = 4>} : memref<1x64xf32>
  ganq.packed_matmul %x weight(%kc, %kt : memref<1024xi8>, memref<32x1x16xf16>) out(%c : memref<1x32xf32>) {k = 64 : i64, n = 32 : i64, scheme = #ganq.lut<bits = 4>} : memref<1x64xf32>
  // CHECK: gpu.launch_func @ganq_kernels::@gemv_lut4_f16_m1_f32_bias blocks in (%c1
  ganq.packed_matmul %x weight(%kc, %kt : memref<1024xi8>, memref<32x1x16xf16>) bias(%bias : memref<32xf32>) out(%d : memref<1x32xf32>) {k = 64 : i64, n = 32 : i64, scheme = #ganq.lut<bits = 4>} : memref<1x64xf32>
  return
}

// -----

// A launch computes at the same time what does not read each other's results:
// one product writes the bias of the next, then one writes what the one before
// reads.
// CHECK-LABEL: func.func @dependent(
func.func @dependent(%x: memref<1x64xf16>, %y: memref<1x32xf16>, %b: memref<32xf16>, %d: memref<32xf16>) {
  %c = ganq.parameter "a.codes" : memref<1024xi8>
  %t = ganq.parameter "a.table" : memref<32x1x16xf16>
  %row = memref.expand_shape %b [[0, 1]] output_shape [1, 32] : memref<32xf16> into memref<1x32xf16>
  // CHECK: gpu.launch_func @ganq_kernels::@gemv_lut4_f16_m1_bias blocks
  ganq.packed_matmul %x weight(%c, %t : memref<1024xi8>, memref<32x1x16xf16>) bias(%d : memref<32xf16>) out(%row : memref<1x32xf16>) {k = 64 : i64, n = 32 : i64, scheme = #ganq.lut<bits = 4>} : memref<1x64xf16>
  // CHECK: gpu.launch_func @ganq_kernels::@gemv_lut4_f16_m1_bias blocks
  ganq.packed_matmul %x weight(%c, %t : memref<1024xi8>, memref<32x1x16xf16>) bias(%b : memref<32xf16>) out(%y : memref<1x32xf16>) {k = 64 : i64, n = 32 : i64, scheme = #ganq.lut<bits = 4>} : memref<1x64xf16>
  // CHECK: gpu.launch_func @ganq_kernels::@gemv_lut4_f16_m1_bias blocks
  ganq.packed_matmul %x weight(%c, %t : memref<1024xi8>, memref<32x1x16xf16>) bias(%d : memref<32xf16>) out(%row : memref<1x32xf16>) {k = 64 : i64, n = 32 : i64, scheme = #ganq.lut<bits = 4>} : memref<1x64xf16>
  return
}
