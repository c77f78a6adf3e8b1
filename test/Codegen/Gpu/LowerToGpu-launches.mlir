// RUN: ganq-opt %s --ganq-separate-buffers --ganq-lower-gpu-products --ganq-lower-to-gpu | FileCheck %s

// A layer of a decode step, as bufferization leaves it: nine launches.
// CHECK-LABEL: func.func @decode(
// CHECK-NOT: gpu.launch_func
// CHECK: gpu.launch_func @ganq_kernels::@rms_norm{{.*}} : memref<1x1x64xf16>, %{{.*}} : memref<64xf32>)
// CHECK-NOT: gpu.launch_func
// CHECK: gpu.launch_func @ganq_kernels::@gemv_uniform4_f16_m1_f32_x3
// CHECK-NOT: gpu.launch_func
// CHECK: gpu.launch_func @ganq_kernels::@attention
// CHECK-NOT: gpu.launch_func
// CHECK: gpu.launch_func @ganq_kernels::@combine{{.*}} : memref<1x8x1x8xf16>)
// CHECK-NOT: gpu.launch_func
// CHECK: gpu.launch_func @ganq_kernels::@gemv_uniform4_f16_m1_f32 blocks
// CHECK-NOT: gpu.launch_func
// CHECK: gpu.launch_func @ganq_kernels::@add_rms_norm
// CHECK-NOT: gpu.launch_func
// CHECK: gpu.launch_func @ganq_kernels::@gemv_uniform4_f16_m1_f32_x2
// CHECK-NOT: gpu.launch_func
// CHECK: gpu.launch_func @ganq_kernels::@swiglu
// CHECK-NOT: gpu.launch_func
// CHECK: gpu.launch_func @ganq_kernels::@gemv_uniform4_f16_m1_f32 blocks
// The norm of the next layer adds what this one gives.
// CHECK-NOT: gpu.launch_func
// CHECK: gpu.launch_func @ganq_kernels::@add_rms_norm
// CHECK-NOT: gpu.launch_func
// CHECK: return

#all = affine_map<(d0, d1, d2) -> (d0, d1, d2)>
#last = affine_map<(d0, d1, d2) -> (0, 0, d2)>
#scheme = #ganq.uniform<bits = 4>

func.func @decode(%x: memref<1x1x64xf32>, %past: index, %keys: memref<1x4x512x8xf16>, %values: memref<1x4x512x8xf16>,
                  %cos: memref<1x4xf32>, %sin: memref<1x4xf32>, %w: memref<64xf32>, %out: memref<1x1x64xf32>) {
  %h = memref.alloc() : memref<1x1x64xf32>
  ganq.rms_norm %x weight(%w : memref<64xf32>) out(%h : memref<1x1x64xf32>) {epsilon = 1.0e-5 : f32} : memref<1x1x64xf32>
  %qc = ganq.parameter "q.codes" : memref<2048xi8>
  %qs = ganq.parameter "q.scale" : memref<64x1xf16>
  %qz = ganq.parameter "q.zero" : memref<64x1xi8>
  %kc = ganq.parameter "k.codes" : memref<1024xi8>
  %ks = ganq.parameter "k.scale" : memref<32x1xf16>
  %kz = ganq.parameter "k.zero" : memref<32x1xi8>
  %vc = ganq.parameter "v.codes" : memref<1024xi8>
  %vs = ganq.parameter "v.scale" : memref<32x1xf16>
  %vz = ganq.parameter "v.zero" : memref<32x1xi8>
  %q = memref.alloc() : memref<1x1x64xf32>
  ganq.packed_matmul %h weight(%qc, %qs, %qz : memref<2048xi8>, memref<64x1xf16>, memref<64x1xi8>) out(%q : memref<1x1x64xf32>) {k = 64 : i64, n = 64 : i64, scheme = #scheme} : memref<1x1x64xf32>
  %k = memref.alloc() : memref<1x1x32xf32>
  ganq.packed_matmul %h weight(%kc, %ks, %kz : memref<1024xi8>, memref<32x1xf16>, memref<32x1xi8>) out(%k : memref<1x1x32xf32>) {k = 64 : i64, n = 32 : i64, scheme = #scheme} : memref<1x1x64xf32>
  %v = memref.alloc() : memref<1x1x32xf32>
  ganq.packed_matmul %h weight(%vc, %vs, %vz : memref<1024xi8>, memref<32x1xf16>, memref<32x1xi8>) out(%v : memref<1x1x32xf32>) {k = 64 : i64, n = 32 : i64, scheme = #scheme} : memref<1x1x64xf32>
  %q4 = memref.expand_shape %q [[0], [1], [2, 3]] output_shape [1, 1, 8, 8] : memref<1x1x64xf32> into memref<1x1x8x8xf32>
  %qt = memref.alloc() : memref<1x8x1x8xf32>
  linalg.transpose ins(%q4 : memref<1x1x8x8xf32>) outs(%qt : memref<1x8x1x8xf32>) permutation = [0, 2, 1, 3]
  %k4 = memref.expand_shape %k [[0], [1], [2, 3]] output_shape [1, 1, 4, 8] : memref<1x1x32xf32> into memref<1x1x4x8xf32>
  %vt = memref.alloc() : memref<1x4x1x8xf32>
  %kt = memref.alloc() : memref<1x4x1x8xf32>
  linalg.transpose ins(%k4 : memref<1x1x4x8xf32>) outs(%kt : memref<1x4x1x8xf32>) permutation = [0, 2, 1, 3]
  %v4 = memref.expand_shape %v [[0], [1], [2, 3]] output_shape [1, 1, 4, 8] : memref<1x1x32xf32> into memref<1x1x4x8xf32>
  linalg.transpose ins(%v4 : memref<1x1x4x8xf32>) outs(%vt : memref<1x4x1x8xf32>) permutation = [0, 2, 1, 3]
  ganq.kv_update %vt into %values[%past] : memref<1x4x1x8xf32>, memref<1x4x512x8xf16>
  %qr = memref.alloc() : memref<1x8x1x8xf32>
  ganq.rope %qt, %cos, %sin out(%qr : memref<1x8x1x8xf32>) : memref<1x8x1x8xf32>, memref<1x4xf32>, memref<1x4xf32>
  %kr = memref.alloc() : memref<1x4x1x8xf32>
  ganq.rope %kt, %cos, %sin out(%kr : memref<1x4x1x8xf32>) : memref<1x4x1x8xf32>, memref<1x4xf32>, memref<1x4xf32>
  ganq.kv_update %kr into %keys[%past] : memref<1x4x1x8xf32>, memref<1x4x512x8xf16>
  %a = memref.alloc() : memref<1x8x1x8xf32>
  ganq.attention %qr, %keys, %values past(%past) causal out(%a : memref<1x8x1x8xf32>) {scale = 0.353553385 : f32} : memref<1x8x1x8xf32>, memref<1x4x512x8xf16>, memref<1x4x512x8xf16>
  %at = memref.alloc() : memref<1x1x8x8xf32>
  linalg.transpose ins(%a : memref<1x8x1x8xf32>) outs(%at : memref<1x1x8x8xf32>) permutation = [0, 2, 1, 3]
  %a3 = memref.collapse_shape %at [[0], [1], [2, 3]] : memref<1x1x8x8xf32> into memref<1x1x64xf32>
  %o = memref.alloc() : memref<1x1x64xf32>
  ganq.packed_matmul %a3 weight(%qc, %qs, %qz : memref<2048xi8>, memref<64x1xf16>, memref<64x1xi8>) out(%o : memref<1x1x64xf32>) {k = 64 : i64, n = 64 : i64, scheme = #scheme} : memref<1x1x64xf32>
  %s = memref.alloc() : memref<1x1x64xf32>
  linalg.generic {indexing_maps = [#last, #last, #all], iterator_types = ["parallel", "parallel", "parallel"]}
      ins(%x, %o : memref<1x1x64xf32>, memref<1x1x64xf32>) outs(%s : memref<1x1x64xf32>) {
  ^bb0(%in: f32, %other: f32, %to: f32):
    %sum = arith.addf %in, %other : f32
    linalg.yield %sum : f32
  }
  ganq.rms_norm %s weight(%w : memref<64xf32>) out(%h : memref<1x1x64xf32>) {epsilon = 1.0e-5 : f32} : memref<1x1x64xf32>
  %gate = memref.alloc() : memref<1x1x64xf32>
  ganq.packed_matmul %h weight(%qc, %qs, %qz : memref<2048xi8>, memref<64x1xf16>, memref<64x1xi8>) out(%gate : memref<1x1x64xf32>) {k = 64 : i64, n = 64 : i64, scheme = #scheme} : memref<1x1x64xf32>
  %up = memref.alloc() : memref<1x1x64xf32>
  ganq.packed_matmul %h weight(%qc, %qs, %qz : memref<2048xi8>, memref<64x1xf16>, memref<64x1xi8>) out(%up : memref<1x1x64xf32>) {k = 64 : i64, n = 64 : i64, scheme = #scheme} : memref<1x1x64xf32>
  %glu = memref.alloc() : memref<1x1x64xf32>
  ganq.swiglu %gate, %up out(%glu : memref<1x1x64xf32>) : memref<1x1x64xf32>, memref<1x1x64xf32>
  ganq.packed_matmul %glu weight(%qc, %qs, %qz : memref<2048xi8>, memref<64x1xf16>, memref<64x1xi8>) out(%o : memref<1x1x64xf32>) {k = 64 : i64, n = 64 : i64, scheme = #scheme} : memref<1x1x64xf32>
  %s2 = memref.alloc() : memref<1x1x64xf32>
  linalg.generic {indexing_maps = [#last, #last, #all], iterator_types = ["parallel", "parallel", "parallel"]}
      ins(%s, %o : memref<1x1x64xf32>, memref<1x1x64xf32>) outs(%s2 : memref<1x1x64xf32>) {
  ^bb0(%in: f32, %other: f32, %to: f32):
    %sum = arith.addf %in, %other : f32
    linalg.yield %sum : f32
  }
  ganq.rms_norm %s2 weight(%w : memref<64xf32>) out(%out : memref<1x1x64xf32>) {epsilon = 1.0e-5 : f32} : memref<1x1x64xf32>
  return
}
