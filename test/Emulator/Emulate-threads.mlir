// RUN: ganq-opt %s --pass-pipeline='builtin.module(gpu.module(convert-gpu-to-nvvm),ganq-emulate{threads=100000})' -o /dev/null | FileCheck %s
// RUN: not ganq-opt %s --pass-pipeline='builtin.module(gpu.module(convert-gpu-to-nvvm),ganq-emulate{threads=-1})' -o /dev/null 2>&1 | FileCheck %s --check-prefix=FEW

// Asks for more threads than a system may give.
// CHECK: 5000
// FEW: error: expected threads to be 0 or more, but got -1
module attributes {gpu.container_module} {
  gpu.module @m {
    gpu.func @count(%x: memref<1xi32>) kernel {
      %c0 = arith.constant 0 : index
      %one = arith.constant 1 : i32
      %old = memref.atomic_rmw addi %one, %x[%c0] : (i32, memref<1xi32>) -> i32
      gpu.return
    }
  }
  func.func @main() {
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %grid = arith.constant 5000 : index
    %zero = arith.constant 0 : i32
    %x = memref.alloc() : memref<1xi32>
    memref.store %zero, %x[%c0] : memref<1xi32>
    gpu.launch_func @m::@count blocks in (%grid, %c1, %c1) threads in (%c1, %c1, %c1) args(%x : memref<1xi32>)
    %sum = memref.load %x[%c0] : memref<1xi32>
    vector.print %sum : i32
    return
  }
}
