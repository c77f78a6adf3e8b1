// RUN: ganq-opt %s --ganq-lower-to-gpu | FileCheck %s
// RUN: ganq-opt %s --ganq-lower-to-gpu --ganq-plan-memory | FileCheck %s --check-prefix=PLAN
// RUN: ganq-opt %s --ganq-lower-to-gpu --ganq-gpu-to-nvvm | FileCheck %s --check-prefix=NVVM
// RUN: ganq-opt %s --ganq-lower-to-gpu --ganq-gpu-to-nvvm --ganq-gpu-to-cubin='chips=sm_80 format=ptx' \
// RUN:   | FileCheck %s --check-prefix=PTX

// The whole model at once goes; a host program stays.
// CHECK-NOT: @main

// CHECK-LABEL: func.func @decode(
// CHECK-SAME: %[[TOKENS:.*]]: memref<1x1xi64>
// CHECK-SAME: %[[PAST:[a-z0-9]+]]: memref<1xi64> {onnx.name = "past"}
// CHECK-SAME: %[[CACHE:[a-z0-9]+]]: memref<1x2x4x4xf32>
// CHECK-SAME: %[[OUT:[a-z0-9]+]]: memref<1x1x8xf32>
// CHECK-NOT: cf.assert
// CHECK-NOT: memref.load
// CHECK: %[[TABLE:.*]] = ganq.parameter "embed"
// CHECK: gpu.launch_func @ganq_kernels::@elementwise blocks in ({{.*}}) threads in ({{.*}}) args(%{{.*}} : memref<1x1x8xf32>, %[[TOKENS]] : memref<1x1xi64>, %[[TABLE]] : memref<5x8xf32>)
// CHECK: gpu.launch_func @ganq_kernels::@rms_norm blocks in (%[[ONE:.*]], %{{.*}}, %{{.*}}) threads in (%{{.*}}, %{{.*}}, %{{.*}}) args(%{{.*}} : memref<1x1x8xf32>, %[[A:.*]] : memref<1x1x8xf32>)
// CHECK: memref.expand_shape
// CHECK: gpu.launch_func @ganq_kernels::@kv_update{{.*}} args(%{{.*}} : memref<1x2x1x4xf32>, %[[CACHE]] : memref<1x2x4x4xf32>, %[[PAST]] : memref<1xi64>)
// A launch that is there stays.
// CHECK: gpu.launch_func @others::@kernel
// The same kernel serves again.
// CHECK: gpu.launch_func @ganq_kernels::@rms_norm blocks in {{.*}} args(%[[A]] : memref<1x1x8xf32>, %[[OUT]] : memref<1x1x8xf32>)
// CHECK-NEXT: return

// CHECK: gpu.module @ganq_kernels
// CHECK: gpu.func @elementwise(
// CHECK-SAME: kernel
// CHECK: gpu.func @rms_norm(%{{.*}}: memref<1x1x8xf32>, %{{.*}}: memref<1x1x8xf32>) workgroup(%{{.*}} : memref<1xf32, #gpu.address_space<workgroup>>) kernel
// CHECK-SAME: known_block_size = array<i32: 32, 1, 1>
// CHECK: gpu.func @kv_update
// CHECK-NOT: gpu.func

// The arena is its first argument then.
// PLAN: func.func @decode(%[[ARENA:.*]]: memref<?xi8>, %{{.*}}: memref<1x1xi64>
// PLAN-SAME: ganq.arena_bytes
// PLAN: memref.view %[[ARENA]]
// PLAN-NOT: memref.alloc

// Buffers are bare pointers, places have 32 bits.
// NVVM: llvm.func @elementwise(%{{.*}}: !llvm.ptr, %{{.*}}: !llvm.ptr, %{{.*}}: !llvm.ptr) attributes
// NVVM: llvm.func @kv_update(%{{.*}}: !llvm.ptr, %{{.*}}: !llvm.ptr, %{{.*}}: !llvm.ptr) attributes
// NVVM: llvm.getelementptr {{.*}} : (!llvm.ptr, i32) -> !llvm.ptr, f32

// No function of libdevice is left to be linked.
// PTX: .visible .entry rms_norm(
// PTX-NOT: .extern
// PTX: .maxntid 32, 1, 1
// PTX-NOT: __nv_

module attributes {gpu.container_module} {
func.func @main(%tokens: memref<?x?xi64>) -> memref<?x?x8xf32> {
  %c0 = arith.constant 0 : index
  %b = memref.dim %tokens, %c0 : memref<?x?xi64>
  %out = memref.alloc(%b, %b) : memref<?x?x8xf32>
  return %out : memref<?x?x8xf32>
}

func.func @decode(%tokens: memref<1x1xi64>, %past: index {onnx.name = "past"},
                  %cache: memref<1x2x4x4xf32>, %out: memref<1x1x8xf32>) {
  %c0 = arith.constant 0 : index
  %c5 = arith.constant 5 : index
  %true = arith.constant true
  %table = ganq.parameter "embed" : memref<5x8xf32>
  // A check of the tokens.
  %inside = memref.alloc() : memref<1x1xi1>
  %all = memref.alloc() : memref<1x1xi1>
  linalg.generic {indexing_maps = [affine_map<(d0, d1) -> (d0, d1)>, affine_map<(d0, d1) -> (d0, d1)>],
                  iterator_types = ["parallel", "parallel"]}
      ins(%tokens : memref<1x1xi64>) outs(%inside : memref<1x1xi1>) {
  ^bb0(%in: i64, %o: i1):
    %token = arith.index_cast %in : i64 to index
    %less = arith.cmpi slt, %token, %c5 : index
    linalg.yield %less : i1
  }
  linalg.fill ins(%true : i1) outs(%all : memref<1x1xi1>)
  linalg.generic {indexing_maps = [affine_map<(d0, d1) -> (d0, d1)>, affine_map<(d0, d1) -> (0, 0)>],
                  iterator_types = ["reduction", "reduction"]}
      ins(%inside : memref<1x1xi1>) outs(%all : memref<1x1xi1>) {
  ^bb0(%in: i1, %o: i1):
    %and = arith.andi %in, %o : i1
    linalg.yield %and : i1
  }
  %ok = memref.load %all[%c0, %c0] : memref<1x1xi1>
  cf.assert %ok, "expected tokens of the vocabulary"
  %x = memref.alloc() : memref<1x1x8xf32>
  linalg.generic {indexing_maps = [affine_map<(d0, d1, d2) -> (d0, d1, d2)>],
                  iterator_types = ["parallel", "parallel", "parallel"]}
      outs(%x : memref<1x1x8xf32>) {
  ^bb0(%o: f32):
    %column = linalg.index 2 : index
    %in = memref.load %tokens[%c0, %c0] : memref<1x1xi64>
    %token = arith.index_cast %in : i64 to index
    %value = memref.load %table[%token, %column] : memref<5x8xf32>
    linalg.yield %value : f32
  }
  %a = memref.alloc() : memref<1x1x8xf32>
  ganq.rms_norm %x out(%a : memref<1x1x8xf32>) {epsilon = 1.0e-5 : f32} : memref<1x1x8xf32>
  %heads = memref.expand_shape %a [[0], [1], [2, 3]] output_shape [1, 1, 2, 4] : memref<1x1x8xf32> into memref<1x1x2x4xf32>
  %rows = memref.collapse_shape %heads [[0, 1], [2], [3]] : memref<1x1x2x4xf32> into memref<1x2x4xf32>
  %new = memref.expand_shape %rows [[0], [1, 2], [3]] output_shape [1, 2, 1, 4] : memref<1x2x4xf32> into memref<1x2x1x4xf32>
  ganq.kv_update %new into %cache[%past] : memref<1x2x1x4xf32>, memref<1x2x4x4xf32>
  %c1 = arith.constant 1 : index
  gpu.launch_func @others::@kernel blocks in (%c1, %c1, %c1) threads in (%c1, %c1, %c1) args(%a : memref<1x1x8xf32>)
  ganq.rms_norm %a out(%out : memref<1x1x8xf32>) {epsilon = 1.0e-5 : f32} : memref<1x1x8xf32>
  return
}

gpu.module @others {
  gpu.func @kernel(%x: memref<1x1x8xf32>) kernel {
    gpu.return
  }
}
}
