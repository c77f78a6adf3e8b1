// RUN: ganq-opt %s --split-input-file --ganq-separate-buffers --ganq-lower-gpu-products --ganq-lower-to-gpu 2>/dev/null | FileCheck %s

// What rounds rows of x goes on where a kernel with a block for each of them
// ends, behind a barrier, and reads what that one wrote.
// CHECK-LABEL: func.func @decode(
// CHECK-NOT: gpu.launch_func
// CHECK: gpu.launch_func @ganq_kernels::@rms_norm_quantize_rows8_bytes_f32 blocks in (%c1{{.*}}, %c1{{.*}}, %c1{{.*}}) threads in (%c256{{.*}}) dynamic_shared_memory_size %{{.*}} args(%{{.*}} : memref<1x1x64xf32>, %{{.*}} : memref<1x1x64xf32>, %{{.*}} : !llvm.ptr<1>, {{.*}} : i32, %{{.*}} : i32)
// CHECK-NOT: gpu.launch_func
// CHECK: gpu.launch_func @ganq_kernels::@gemv_uniform4a8_dp4a_f16_m1_f32 blocks
// CHECK-NOT: gpu.launch_func
// CHECK: gpu.launch_func @ganq_kernels::@swiglu_quantize_rows8_bytes_f32
// CHECK-NOT: gpu.launch_func
// CHECK: gpu.launch_func @ganq_kernels::@gemv_uniform4a8_dp4a_f16_m1_f32 blocks
// CHECK-NOT: gpu.launch_func
// CHECK: gpu.launch_func @ganq_kernels::@elementwise_quantize_rows8_bytes_f32
// CHECK-NOT: gpu.launch_func
// CHECK: gpu.launch_func @ganq_kernels::@gemv_uniform4a8_dp4a_f16_m1_f32 blocks
// CHECK-NOT: gpu.launch_func
// CHECK: return

// Rows of heads are no rows of x; neither is there a block for each where the
// keys of one head are not split.
// CHECK-LABEL: func.func @apart(
// CHECK: gpu.launch_func @ganq_kernels::@rms_norm{{(_[0-9]+)?}} blocks
// CHECK: gpu.launch_func @ganq_kernels::@quantize_rows8_bytes_f32 blocks
// CHECK: gpu.launch_func @ganq_kernels::@gemv
// CHECK: gpu.launch_func @ganq_kernels::@attention{{(_[0-9]+)?}} blocks
// CHECK: gpu.launch_func @ganq_kernels::@quantize_rows8_bytes_f32 blocks
// CHECK: gpu.launch_func @ganq_kernels::@gemv

// CHECK: gpu.func @rms_norm_quantize_rows8_bytes_f32(
// CHECK-SAME: known_block_size = array<i32: 256, 1, 1>, nvvm.minctasm = 1 : i32
// CHECK: memref.store
// CHECK: gpu.barrier
// CHECK: llvm.load
// CHECK-NOT: invariant
// CHECK: gpu.func

func.func @decode(%x: memref<1x1x64xf32>, %y: memref<1x1x32xf32>, %out: memref<1x1x32xf32>) {
  %c = ganq.parameter "w.codes" : memref<1024xi8>
  %s = ganq.parameter "w.scale" : memref<32x1xf16>
  %z = ganq.parameter "w.zero" : memref<32x1xi8>
  %m = ganq.parameter "w.sum" : memref<32x1xi32>
  %h = memref.alloc() : memref<1x1x64xf32>
  %r = memref.alloc() : memref<1x1x128xi8>
  ganq.rms_norm %x out(%h : memref<1x1x64xf32>) {epsilon = 1.0e-5 : f32} : memref<1x1x64xf32>
  ganq.quantize_rows %h out(%r : memref<1x1x128xi8>) {bits = 8 : i64} : memref<1x1x64xf32>
  ganq.packed_matmul %r weight(%c, %s, %z, %m : memref<1024xi8>, memref<32x1xf16>, memref<32x1xi8>, memref<32x1xi32>) out(%y : memref<1x1x32xf32>) {k = 64 : i64, n = 32 : i64, scheme = #ganq.uniform<bits = 4, activation = 8>, strategy = #ganq.strategy<int8>} : memref<1x1x128xi8>
  ganq.swiglu %x, %x out(%h : memref<1x1x64xf32>) : memref<1x1x64xf32>, memref<1x1x64xf32>
  ganq.quantize_rows %h out(%r : memref<1x1x128xi8>) {bits = 8 : i64} : memref<1x1x64xf32>
  ganq.packed_matmul %r weight(%c, %s, %z, %m : memref<1024xi8>, memref<32x1xf16>, memref<32x1xi8>, memref<32x1xi32>) out(%y : memref<1x1x32xf32>) {k = 64 : i64, n = 32 : i64, scheme = #ganq.uniform<bits = 4, activation = 8>, strategy = #ganq.strategy<int8>} : memref<1x1x128xi8>
  linalg.generic {indexing_maps = [affine_map<(d0, d1, d2) -> (d0, d1, d2)>, affine_map<(d0, d1, d2) -> (d0, d1, d2)>], iterator_types = ["parallel", "parallel", "parallel"]}
      ins(%x : memref<1x1x64xf32>) outs(%h : memref<1x1x64xf32>) {
  ^bb0(%in: f32, %o: f32):
    %tanh = math.tanh %in : f32
    linalg.yield %tanh : f32
  }
  ganq.quantize_rows %h out(%r : memref<1x1x128xi8>) {bits = 8 : i64} : memref<1x1x64xf32>
  ganq.packed_matmul %r weight(%c, %s, %z, %m : memref<1024xi8>, memref<32x1xf16>, memref<32x1xi8>, memref<32x1xi32>) out(%out : memref<1x1x32xf32>) {k = 64 : i64, n = 32 : i64, scheme = #ganq.uniform<bits = 4, activation = 8>, strategy = #ganq.strategy<int8>} : memref<1x1x128xi8>
  return
}

func.func @apart(%x: memref<1x1x8x8xf32>, %q: memref<1x8x1x8xf32>, %keys: memref<1x8x16x8xf32>, %values: memref<1x8x16x8xf32>, %past: index,
                 %y: memref<1x1x32xf32>, %out: memref<1x1x32xf32>) {
  %c = ganq.parameter "w.codes" : memref<1024xi8>
  %s = ganq.parameter "w.scale" : memref<32x1xf16>
  %z = ganq.parameter "w.zero" : memref<32x1xi8>
  %m = ganq.parameter "w.sum" : memref<32x1xi32>
  %h = memref.alloc() : memref<1x1x8x8xf32>
  %row = memref.collapse_shape %h [[0], [1], [2, 3]] : memref<1x1x8x8xf32> into memref<1x1x64xf32>
  %r = memref.alloc() : memref<1x1x128xi8>
  ganq.rms_norm %x out(%h : memref<1x1x8x8xf32>) {epsilon = 1.0e-5 : f32} : memref<1x1x8x8xf32>
  ganq.quantize_rows %row out(%r : memref<1x1x128xi8>) {bits = 8 : i64} : memref<1x1x64xf32>
  ganq.packed_matmul %r weight(%c, %s, %z, %m : memref<1024xi8>, memref<32x1xf16>, memref<32x1xi8>, memref<32x1xi32>) out(%y : memref<1x1x32xf32>) {k = 64 : i64, n = 32 : i64, scheme = #ganq.uniform<bits = 4, activation = 8>, strategy = #ganq.strategy<int8>} : memref<1x1x128xi8>
  %a = memref.alloc() : memref<1x8x1x8xf32>
  ganq.attention %q, %keys, %values past(%past) causal out(%a : memref<1x8x1x8xf32>) {scale = 0.5 : f32} : memref<1x8x1x8xf32>, memref<1x8x16x8xf32>, memref<1x8x16x8xf32>
  %heads = memref.collapse_shape %a [[0], [1, 2, 3]] : memref<1x8x1x8xf32> into memref<1x64xf32>
  %wide = memref.expand_shape %heads [[0], [1, 2]] output_shape [1, 1, 64] : memref<1x64xf32> into memref<1x1x64xf32>
  ganq.quantize_rows %wide out(%r : memref<1x1x128xi8>) {bits = 8 : i64} : memref<1x1x64xf32>
  ganq.packed_matmul %r weight(%c, %s, %z, %m : memref<1024xi8>, memref<32x1xf16>, memref<32x1xi8>, memref<32x1xi32>) out(%out : memref<1x1x32xf32>) {k = 64 : i64, n = 32 : i64, scheme = #ganq.uniform<bits = 4, activation = 8>, strategy = #ganq.strategy<int8>} : memref<1x1x128xi8>
  return
}

// -----

// Loops of reductions have no block for each row, even where they write it.
// CHECK-LABEL: func.func @all_reductions(
// CHECK: gpu.launch_func @ganq_kernels::@elementwise{{(_[0-9]+)?}} blocks
// CHECK: gpu.launch_func @ganq_kernels::@quantize_rows8_bytes_f32 blocks in (%c4
// CHECK-LABEL: func.func @columns_reduced(
// CHECK: gpu.launch_func @ganq_kernels::@elementwise{{(_[0-9]+)?}} blocks
// CHECK: gpu.launch_func @ganq_kernels::@quantize_rows8_bytes_f32 blocks in (%c4
func.func @all_reductions(%a: memref<4x64xf32>, %y: memref<4x32xf32>) {
  %c = ganq.parameter "w.codes" : memref<1024xi8>
  %s = ganq.parameter "w.scale" : memref<32x1xf16>
  %z = ganq.parameter "w.zero" : memref<32x1xi8>
  %m = ganq.parameter "w.sum" : memref<32x1xi32>
  %h = memref.alloc() : memref<4x64xf32>
  %r = memref.alloc() : memref<4x128xi8>
  linalg.generic {indexing_maps = [affine_map<(d0, d1) -> (d0, d1)>, affine_map<(d0, d1) -> (d0, d1)>], iterator_types = ["reduction", "reduction"]}
      ins(%a : memref<4x64xf32>) outs(%h : memref<4x64xf32>) {
  ^bb0(%in: f32, %out: f32):
    %g = arith.addf %in, %in : f32
    linalg.yield %g : f32
  }
  ganq.quantize_rows %h out(%r : memref<4x128xi8>) {bits = 8 : i64} : memref<4x64xf32>
  ganq.packed_matmul %r weight(%c, %s, %z, %m : memref<1024xi8>, memref<32x1xf16>, memref<32x1xi8>, memref<32x1xi32>) out(%y : memref<4x32xf32>) {k = 64 : i64, n = 32 : i64, scheme = #ganq.uniform<bits = 4, activation = 8>, strategy = #ganq.strategy<int8>} : memref<4x128xi8>
  return
}
func.func @columns_reduced(%a: memref<4x64xf32>, %y: memref<4x32xf32>) {
  %c = ganq.parameter "w.codes" : memref<1024xi8>
  %s = ganq.parameter "w.scale" : memref<32x1xf16>
  %z = ganq.parameter "w.zero" : memref<32x1xi8>
  %m = ganq.parameter "w.sum" : memref<32x1xi32>
  %h = memref.alloc() : memref<4x64xf32>
  %r = memref.alloc() : memref<4x128xi8>
  linalg.generic {indexing_maps = [affine_map<(d0, d1) -> (d0, d1)>, affine_map<(d0, d1) -> (d0, d1)>], iterator_types = ["parallel", "reduction"]}
      ins(%a : memref<4x64xf32>) outs(%h : memref<4x64xf32>) {
  ^bb0(%in: f32, %out: f32):
    %g = arith.addf %in, %in : f32
    linalg.yield %g : f32
  }
  ganq.quantize_rows %h out(%r : memref<4x128xi8>) {bits = 8 : i64} : memref<4x64xf32>
  ganq.packed_matmul %r weight(%c, %s, %z, %m : memref<1024xi8>, memref<32x1xf16>, memref<32x1xi8>, memref<32x1xi32>) out(%y : memref<4x32xf32>) {k = 64 : i64, n = 32 : i64, scheme = #ganq.uniform<bits = 4, activation = 8>, strategy = #ganq.strategy<int8>} : memref<4x128xi8>
  return
}

// -----

// A kernel is no such one by its name.
// CHECK-LABEL: func.func @foreign(
// CHECK: gpu.launch_func @ganq_kernels::@rms_norm blocks
// CHECK: gpu.launch_func @ganq_kernels::@quantize_rows8 blocks
// CHECK-LABEL: func.func @unmarked(
// CHECK: gpu.launch_func @ganq_kernels::@rms_norm blocks
// CHECK: gpu.launch_func @ganq_kernels::@quantize_rows9 blocks
module attributes {gpu.container_module} {
gpu.module @ganq_kernels {
  llvm.func @quantize_rows8(%0: !llvm.ptr, %1: !llvm.ptr, %2: !llvm.ptr, %3: !llvm.ptr, %4: !llvm.ptr, %5: i32, %6: i32) attributes {gpu.kernel} { llvm.return }
  gpu.func @quantize_rows9(%0: memref<1x64xf32>, %1: memref<1x64xf32>, %2: memref<1x64xf32>, %3: memref<1x64xf32>, %4: memref<1x64xf32>, %5: i32, %6: i32) kernel { gpu.return }
}
func.func @foreign(%x: memref<1x64xf32>, %y: memref<1x64xf32>) {
  %c1 = arith.constant 1 : index
  %c256 = arith.constant 256 : index
  %m = arith.constant 1 : i32
  %n = arith.constant 64 : i32
  ganq.rms_norm %x out(%y : memref<1x64xf32>) {epsilon = 1.0e-5 : f32} : memref<1x64xf32>
  gpu.launch_func @ganq_kernels::@quantize_rows8 blocks in (%c1, %c1, %c1) threads in (%c256, %c1, %c1) args(%y : memref<1x64xf32>, %y : memref<1x64xf32>, %y : memref<1x64xf32>, %y : memref<1x64xf32>, %y : memref<1x64xf32>, %m : i32, %n : i32)
  return
}
func.func @unmarked(%x: memref<1x64xf32>, %y: memref<1x64xf32>) {
  %c1 = arith.constant 1 : index
  %c256 = arith.constant 256 : index
  %m = arith.constant 1 : i32
  %n = arith.constant 64 : i32
  ganq.rms_norm %x out(%y : memref<1x64xf32>) {epsilon = 1.0e-5 : f32} : memref<1x64xf32>
  gpu.launch_func @ganq_kernels::@quantize_rows9 blocks in (%c1, %c1, %c1) threads in (%c256, %c1, %c1) args(%y : memref<1x64xf32>, %y : memref<1x64xf32>, %y : memref<1x64xf32>, %y : memref<1x64xf32>, %y : memref<1x64xf32>, %m : i32, %n : i32)
  return
}
}
