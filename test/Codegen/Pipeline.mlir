// RUN: ganq-opt %s --ganq-cpu-lowering=cpu=x86-64-v4 | FileCheck %s

// CHECK: module attributes {ganq.kernels = [{bytes = 16384 : i64, entry = "decode",
// CHECK-SAME: kernel = "kernel_matmul", {{.*}} rows = 1 : i64, tile = "registers rows=1", weight = "w"}], ganq.parameters = ["w"]}
// CHECK-NOT: func.func
// CHECK-LABEL: llvm.func @ganq_decode(
func.func @decode(%x: memref<1x64xf32>, %y: memref<1x64xf32>) {
  %w = ganq.parameter "w" : memref<64x64xf32>
  %t = memref.alloc() : memref<1x64xf32>
  ganq.matmul %x, %w out(%t : memref<1x64xf32>) : memref<1x64xf32>, memref<64x64xf32>
  linalg.add ins(%x, %t : memref<1x64xf32>, memref<1x64xf32>) outs(%y : memref<1x64xf32>)
  return
}
