// RUN: ganq-opt %s --ganq-separate-buffers --ganq-lower-to-gpu | FileCheck %s
// RUN: ganq-opt %s --ganq-separate-buffers --ganq-lower-to-gpu --ganq-gpu-to-nvvm --ganq-emulate='order=all' -o /dev/null \
// RUN:   | FileCheck %s --check-prefix=VALUES

// A sum with the norm that reads it; the rope of queries and keys and both
// writes to the caches with attention; conversions with what comes before them.
// CHECK-LABEL: func.func @decode(
// CHECK-NOT: gpu.launch_func
// CHECK: gpu.launch_func @ganq_kernels::@add_rms_norm {{.*}} args(%{{.*}} : memref<1x1x4xf32>, %{{.*}} : memref<1x1x4xf16>, %{{.*}} : memref<1x1x4xf32>, %{{.*}} : memref<1x1x4xf32>)
// CHECK-NOT: gpu.launch_func
// CHECK: gpu.launch_func @ganq_kernels::@elementwise {{.*}} : memref<1x1x4xf16>, %{{.*}} : memref<1x1x4xf16>)
// CHECK-NOT: gpu.launch_func
// CHECK: gpu.launch_func @ganq_kernels::@attention{{.*}} args(%{{.*}} : memref<1x2x1x4xf32>, %{{.*}} : memref<1x1x4x4xf16>, %{{.*}} : memref<1x1x4x4xf32>, %{{.*}} : memref<1x2x1x4xf16>, %{{.*}} : memref<1xi64>,
// CHECK-NOT: gpu.launch_func
// CHECK: gpu.launch_func @ganq_kernels::@elementwise{{.*}} : memref<1x1x8xf16>, %{{.*}} : memref<1x1x8xf16>)
// CHECK-NOT: gpu.launch_func
// CHECK: return

// With several tokens, or another past, these have a launch of their own.
// CHECK-LABEL: func.func @prefill(
// CHECK-NOT: gpu.launch_func
// CHECK: gpu.launch_func @ganq_kernels::@new_tokens{{.*}} args(%[[PAST:[a-z0-9]*]] : memref<1xi64>, {{.*}} : memref<1x1x4x4xf16>, {{.*}} : memref<1x1x4x4xf32>)
// CHECK-NOT: gpu.launch_func
// CHECK: gpu.launch_func @ganq_kernels::@attention{{.*}} : memref<1x2x2x4xf32>, %[[PAST]] : memref<1xi64>)
// CHECK-NOT: gpu.launch_func
// CHECK: return

// Where the cache is read in between, or the sum is written over, each op
// launches by itself.
// CHECK-LABEL: func.func @apart(
// CHECK: gpu.launch_func @ganq_kernels::@elementwise
// CHECK: gpu.launch_func @ganq_kernels::@elementwise
// CHECK: gpu.launch_func @ganq_kernels::@rms_norm
// CHECK: gpu.launch_func @ganq_kernels::@rope
// CHECK: gpu.launch_func @ganq_kernels::@kv_update
// CHECK: gpu.launch_func @ganq_kernels::@elementwise
// CHECK: gpu.launch_func @ganq_kernels::@attention
// CHECK: return

// So have several keys and values for one query.
// CHECK-LABEL: func.func @more_keys(
// CHECK: gpu.launch_func @ganq_kernels::@new_tokens
// CHECK: gpu.launch_func @ganq_kernels::@attention
// CHECK: return

// So has a cache that is written in between, by another view.
// CHECK-LABEL: func.func @viewed(
// CHECK: gpu.launch_func @ganq_kernels::@kv_update
// CHECK: gpu.launch_func @ganq_kernels::@elementwise
// CHECK: gpu.launch_func @ganq_kernels::@new_tokens
// CHECK: gpu.launch_func @ganq_kernels::@attention
// CHECK: return

#map = affine_map<(d0, d1, d2) -> (d0, d1, d2)>
#last = affine_map<(d0, d1, d2) -> (0, 0, d2)>
#rows = affine_map<(d0, d1) -> (d0, d1)>

func.func @decode(%a: memref<1x1x4xf32>, %b: memref<1x1x4xf32>, %s: memref<1x1x4xf32>, %h: memref<1x1x4xf16>,
                  %q: memref<1x2x1x4xf32>, %k: memref<1x1x1x4xf32>, %v: memref<1x1x1x4xf32>,
                  %cos: memref<1x2xf32>, %sin: memref<1x2xf32>, %past: memref<1xi64>,
                  %keys: memref<1x1x4x4xf16>, %values: memref<1x1x4x4xf32>, %y: memref<1x1x8xf16>) {
  %c0 = arith.constant 0 : index
  %count = memref.load %past[%c0] : memref<1xi64>
  %p = arith.index_cast %count : i64 to index
  linalg.generic {indexing_maps = [#last, #last, #map], iterator_types = ["parallel", "parallel", "parallel"]}
      ins(%a, %b : memref<1x1x4xf32>, memref<1x1x4xf32>) outs(%s : memref<1x1x4xf32>) {
  ^bb0(%in: f32, %other: f32, %out: f32):
    %sum = arith.addf %in, %other : f32
    linalg.yield %sum : f32
  }
  %n = memref.alloc() : memref<1x1x4xf32>
  ganq.rms_norm %s out(%n : memref<1x1x4xf32>) {epsilon = 1.0e-5 : f32} : memref<1x1x4xf32>
  %half = memref.alloc() : memref<1x1x4xf16>
  linalg.generic {indexing_maps = [#map, #map], iterator_types = ["parallel", "parallel", "parallel"]}
      ins(%n : memref<1x1x4xf32>) outs(%half : memref<1x1x4xf16>) {
  ^bb0(%in: f32, %out: f16):
    %small = arith.truncf %in : f32 to f16
    linalg.yield %small : f16
  }
  memref.copy %half, %h : memref<1x1x4xf16> to memref<1x1x4xf16>

  ganq.kv_update %v into %values[%p] : memref<1x1x1x4xf32>, memref<1x1x4x4xf32>
  %turned = memref.alloc() : memref<1x2x1x4xf32>
  ganq.rope %q, %cos, %sin out(%turned : memref<1x2x1x4xf32>) : memref<1x2x1x4xf32>, memref<1x2xf32>, memref<1x2xf32>
  %key = memref.alloc() : memref<1x1x1x4xf32>
  ganq.rope %k, %cos, %sin out(%key : memref<1x1x1x4xf32>) : memref<1x1x1x4xf32>, memref<1x2xf32>, memref<1x2xf32>
  ganq.kv_update %key into %keys[%p] : memref<1x1x1x4xf32>, memref<1x1x4x4xf16>
  %o = memref.alloc() : memref<1x2x1x4xf32>
  ganq.attention %turned, %keys, %values past(%p) causal out(%o : memref<1x2x1x4xf32>) {scale = 0.125 : f32} : memref<1x2x1x4xf32>, memref<1x1x4x4xf16>, memref<1x1x4x4xf32>
  // Heads behind tokens, then as one row.
  %t = memref.alloc() : memref<1x1x2x4xf32>
  linalg.transpose ins(%o : memref<1x2x1x4xf32>) outs(%t : memref<1x1x2x4xf32>) permutation = [0, 2, 1, 3]
  %row = memref.collapse_shape %t [[0], [1], [2, 3]] : memref<1x1x2x4xf32> into memref<1x1x8xf32>
  %small_row = memref.alloc() : memref<1x1x8xf16>
  linalg.generic {indexing_maps = [#map, #map], iterator_types = ["parallel", "parallel", "parallel"]}
      ins(%row : memref<1x1x8xf32>) outs(%small_row : memref<1x1x8xf16>) {
  ^bb0(%in: f32, %out: f16):
    %small = arith.truncf %in : f32 to f16
    linalg.yield %small : f16
  }
  memref.copy %small_row, %y : memref<1x1x8xf16> to memref<1x1x8xf16>
  return
}

func.func @prefill(%q: memref<1x2x2x4xf32>, %k: memref<1x1x2x4xf32>, %v: memref<1x1x2x4xf32>,
                   %cos: memref<2x2xf32>, %sin: memref<2x2xf32>, %past: memref<1xi64>,
                   %keys: memref<1x1x4x4xf16>, %values: memref<1x1x4x4xf32>, %o: memref<1x2x2x4xf32>) {
  %c0 = arith.constant 0 : index
  %count = memref.load %past[%c0] : memref<1xi64>
  %p = arith.index_cast %count : i64 to index
  ganq.kv_update %v into %values[%p] : memref<1x1x2x4xf32>, memref<1x1x4x4xf32>
  %turned = memref.alloc() : memref<1x2x2x4xf32>
  ganq.rope %q, %cos, %sin out(%turned : memref<1x2x2x4xf32>) : memref<1x2x2x4xf32>, memref<2x2xf32>, memref<2x2xf32>
  %key = memref.alloc() : memref<1x1x2x4xf32>
  ganq.rope %k, %cos, %sin out(%key : memref<1x1x2x4xf32>) : memref<1x1x2x4xf32>, memref<2x2xf32>, memref<2x2xf32>
  ganq.kv_update %key into %keys[%p] : memref<1x1x2x4xf32>, memref<1x1x4x4xf16>
  ganq.attention %turned, %keys, %values past(%p) causal out(%o : memref<1x2x2x4xf32>) {scale = 0.125 : f32} : memref<1x2x2x4xf32>, memref<1x1x4x4xf16>, memref<1x1x4x4xf32>
  return
}

func.func @apart(%a: memref<1x1x4xf32>, %n: memref<1x1x4xf32>, %k: memref<1x1x1x4xf32>, %cos: memref<1x2xf32>, %sin: memref<1x2xf32>,
                 %past: index, %q: memref<1x1x1x4xf32>, %keys: memref<1x1x4x4xf32>, %values: memref<1x1x4x4xf32>,
                 %o: memref<1x1x1x4xf32>, %copy: memref<1x1x4x4xf32>) {
  linalg.generic {indexing_maps = [#map, #map, #map], iterator_types = ["parallel", "parallel", "parallel"]}
      ins(%a, %a : memref<1x1x4xf32>, memref<1x1x4xf32>) outs(%n : memref<1x1x4xf32>) {
  ^bb0(%in: f32, %other: f32, %out: f32):
    %sum = arith.addf %in, %other : f32
    linalg.yield %sum : f32
  }
  memref.copy %n, %a : memref<1x1x4xf32> to memref<1x1x4xf32>
  ganq.rms_norm %n out(%n : memref<1x1x4xf32>) {epsilon = 1.0e-5 : f32} : memref<1x1x4xf32>
  %key = memref.alloc() : memref<1x1x1x4xf32>
  ganq.rope %k, %cos, %sin out(%key : memref<1x1x1x4xf32>) : memref<1x1x1x4xf32>, memref<1x2xf32>, memref<1x2xf32>
  ganq.kv_update %key into %keys[%past] : memref<1x1x1x4xf32>, memref<1x1x4x4xf32>
  memref.copy %keys, %copy : memref<1x1x4x4xf32> to memref<1x1x4x4xf32>
  ganq.attention %q, %keys, %values past(%past) causal out(%o : memref<1x1x1x4xf32>) {scale = 0.5 : f32} : memref<1x1x1x4xf32>, memref<1x1x4x4xf32>, memref<1x1x4x4xf32>
  return
}

func.func @more_keys(%past: index, %q: memref<1x2x1x4xf32>, %k: memref<1x1x2x4xf32>, %v: memref<1x1x2x4xf32>,
                     %keys: memref<1x1x8x4xf32>, %values: memref<1x1x8x4xf32>, %o: memref<1x2x1x4xf32>) {
  ganq.kv_update %k into %keys[%past] : memref<1x1x2x4xf32>, memref<1x1x8x4xf32>
  ganq.kv_update %v into %values[%past] : memref<1x1x2x4xf32>, memref<1x1x8x4xf32>
  ganq.attention %q, %keys, %values past(%past) causal out(%o : memref<1x2x1x4xf32>) {scale = 0.5 : f32} : memref<1x2x1x4xf32>, memref<1x1x8x4xf32>, memref<1x1x8x4xf32>
  return
}

func.func @viewed(%past: index, %q: memref<1x1x1x4xf32>, %k: memref<1x1x1x4xf32>, %v: memref<1x1x1x4xf32>, %other: memref<4x4xf32>,
                  %keys: memref<1x1x4x4xf32>, %values: memref<1x1x4x4xf32>, %o: memref<1x1x1x4xf32>) {
  ganq.kv_update %k into %keys[%past] : memref<1x1x1x4xf32>, memref<1x1x4x4xf32>
  %rows = memref.reinterpret_cast %keys to offset: [0], sizes: [4, 4], strides: [4, 1] : memref<1x1x4x4xf32> to memref<4x4xf32>
  linalg.generic {indexing_maps = [#rows, #rows], iterator_types = ["parallel", "parallel"]}
      ins(%other : memref<4x4xf32>) outs(%rows : memref<4x4xf32>) {
  ^bb0(%in: f32, %out: f32):
    linalg.yield %in : f32
  }
  ganq.kv_update %v into %values[%past] : memref<1x1x1x4xf32>, memref<1x1x4x4xf32>
  ganq.attention %q, %keys, %values past(%past) causal out(%o : memref<1x1x1x4xf32>) {scale = 0.5 : f32} : memref<1x1x1x4xf32>, memref<1x1x4x4xf32>, memref<1x1x4x4xf32>
  return
}

memref.global "private" constant @a : memref<1x1x4xf32> = dense<[[[1.0, 2.0, 3.0, 4.0]]]>
memref.global "private" constant @b : memref<1x1x4xf32> = dense<[[[-2.0, -1.5, -1.0, -7.0]]]>
memref.global "private" constant @q : memref<1x2x1x4xf32> = dense<[[[[1.0, 2.0, 3.0, 4.0]], [[-1.0, 0.5, 2.0, -3.0]]]]>
memref.global "private" constant @k : memref<1x1x1x4xf32> = dense<[[[[1.0, 2.0, 3.0, 4.0]]]]>
memref.global "private" constant @v : memref<1x1x1x4xf32> = dense<[[[[5.0, 6.0, 7.0, 8.0]]]]>
memref.global "private" constant @cos : memref<1x2xf32> = dense<[[0.5, 0.25]]>
memref.global "private" constant @sin : memref<1x2xf32> = dense<[[2.0, -1.0]]>
memref.global "private" constant @one : memref<1xi64> = dense<1>
memref.global "private" @keys : memref<1x1x4x4xf16> = dense<[[[[1.0, 0.0, -1.0, 2.0], [0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]]]>
memref.global "private" @values : memref<1x1x4x4xf32> = dense<[[[[1.0, 2.0, 3.0, 4.0], [0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]]]>

memref.global "private" constant @q2 : memref<1x2x2x4xf32> = dense<[[[[1.0, 2.0, 3.0, 4.0], [-1.0, 0.5, 2.0, -3.0]], [[0.0, 1.0, 0.0, 1.0], [2.0, 0.0, 2.0, 0.0]]]]>
memref.global "private" constant @k2 : memref<1x1x2x4xf32> = dense<[[[[1.0, 2.0, 3.0, 4.0], [0.5, -1.0, 1.5, 2.0]]]]>
memref.global "private" constant @v2 : memref<1x1x2x4xf32> = dense<[[[[5.0, 6.0, 7.0, 8.0], [-1.0, -2.0, -3.0, -4.0]]]]>
memref.global "private" constant @cos2 : memref<2x2xf32> = dense<[[0.5, 0.25], [1.0, 0.0]]>
memref.global "private" constant @sin2 : memref<2x2xf32> = dense<[[2.0, -1.0], [0.0, 1.0]]>

func.func private @printMemrefF32(memref<*xf32>)

func.func @main() {
  %a = memref.get_global @a : memref<1x1x4xf32>
  %b = memref.get_global @b : memref<1x1x4xf32>
  %q = memref.get_global @q : memref<1x2x1x4xf32>
  %k = memref.get_global @k : memref<1x1x1x4xf32>
  %v = memref.get_global @v : memref<1x1x1x4xf32>
  %cos = memref.get_global @cos : memref<1x2xf32>
  %sin = memref.get_global @sin : memref<1x2xf32>
  %one = memref.get_global @one : memref<1xi64>
  %keys = memref.get_global @keys : memref<1x1x4x4xf16>
  %values = memref.get_global @values : memref<1x1x4x4xf32>
  %s = memref.alloc() : memref<1x1x4xf32>
  %h = memref.alloc() : memref<1x1x4xf16>
  %y = memref.alloc() : memref<1x1x8xf16>
  call @decode(%a, %b, %s, %h, %q, %k, %v, %cos, %sin, %one, %keys, %values, %y)
      : (memref<1x1x4xf32>, memref<1x1x4xf32>, memref<1x1x4xf32>, memref<1x1x4xf16>, memref<1x2x1x4xf32>, memref<1x1x1x4xf32>, memref<1x1x1x4xf32>,
         memref<1x2xf32>, memref<1x2xf32>, memref<1xi64>, memref<1x1x4x4xf16>, memref<1x1x4x4xf32>, memref<1x1x8xf16>) -> ()
  // VALUES: [-1, 0.5, 2, -3]
  %sp = memref.cast %s : memref<1x1x4xf32> to memref<*xf32>
  call @printMemrefF32(%sp) : (memref<*xf32>) -> ()
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c4 = arith.constant 4 : index
  %c8 = arith.constant 8 : index
  // VALUES-NEXT: -0.529785
  // VALUES-NEXT: 0.264893
  // VALUES-NEXT: 1.05957
  // VALUES-NEXT: -1.58984
  scf.for %i = %c0 to %c4 step %c1 {
    %0 = memref.load %h[%c0, %c0, %i] : memref<1x1x4xf16>
    %1 = arith.extf %0 : f16 to f32
    vector.print %1 : f32
  }
  // The new key, rotated, and the new value.
  // VALUES-NEXT: -5.5
  // VALUES-NEXT: 5
  // VALUES-NEXT: 4.5
  // VALUES-NEXT: 6
  // VALUES-NEXT: 3.5
  // VALUES-NEXT: 7
  // VALUES-NEXT: -1
  // VALUES-NEXT: 8
  scf.for %i = %c0 to %c4 step %c1 {
    %0 = memref.load %keys[%c0, %c0, %c1, %i] : memref<1x1x4x4xf16>
    %1 = arith.extf %0 : f16 to f32
    vector.print %1 : f32
    %2 = memref.load %values[%c0, %c0, %c1, %i] : memref<1x1x4x4xf32>
    vector.print %2 : f32
  }
  // VALUES-NEXT: 5
  // VALUES-NEXT: 6
  // VALUES-NEXT: 7
  // VALUES-NEXT: 8
  // VALUES-NEXT: 4.5
  // VALUES-NEXT: 5.5
  // VALUES-NEXT: 6.5
  // VALUES-NEXT: 7.5
  scf.for %i = %c0 to %c8 step %c1 {
    %0 = memref.load %y[%c0, %c0, %i] : memref<1x1x8xf16>
    %1 = arith.extf %0 : f16 to f32
    vector.print %1 : f32
  }
  // Two tokens behind the two that are there.
  %two = arith.constant 2 : i64
  %past = memref.alloc() : memref<1xi64>
  memref.store %two, %past[%c0] : memref<1xi64>
  %q2 = memref.get_global @q2 : memref<1x2x2x4xf32>
  %k2 = memref.get_global @k2 : memref<1x1x2x4xf32>
  %v2 = memref.get_global @v2 : memref<1x1x2x4xf32>
  %cos2 = memref.get_global @cos2 : memref<2x2xf32>
  %sin2 = memref.get_global @sin2 : memref<2x2xf32>
  %o = memref.alloc() : memref<1x2x2x4xf32>
  call @prefill(%q2, %k2, %v2, %cos2, %sin2, %past, %keys, %values, %o)
      : (memref<1x2x2x4xf32>, memref<1x1x2x4xf32>, memref<1x1x2x4xf32>, memref<2x2xf32>, memref<2x2xf32>, memref<1xi64>, memref<1x1x4x4xf16>, memref<1x1x4x4xf32>, memref<1x2x2x4xf32>) -> ()
  // VALUES: [4.9998{{[0-9]*}}, 5.9998{{[0-9]*}}, 6.9998{{[0-9]*}}, 7.9998{{[0-9]*}}]
  // VALUES-SAME: [4.8644{{[0-9]*}}, 5.8401{{[0-9]*}}, 6.815{{[0-9]*}}, 7.791{{[0-9]*}}]
  // VALUES-SAME: [4.370{{[0-9]*}}, 5.370{{[0-9]*}}, 6.370{{[0-9]*}}, 7.370{{[0-9]*}}]
  // VALUES-SAME: [1.402{{[0-9]*}}, 1.548{{[0-9]*}}, 1.694{{[0-9]*}}, 1.841{{[0-9]*}}]
  %op = memref.cast %o : memref<1x2x2x4xf32> to memref<*xf32>
  call @printMemrefF32(%op) : (memref<*xf32>) -> ()
  return
}
