// RUN: ganq-opt %s --pass-pipeline='builtin.module(gpu.module(convert-gpu-to-nvvm),ganq-emulate{order=all})' -o /dev/null | FileCheck %s
// RUN: ganq-opt %s --pass-pipeline='builtin.module(gpu.module(convert-gpu-to-nvvm{use-bare-ptr-memref-call-conv=1}),ganq-emulate{check=false threads=1})' -o /dev/null | FileCheck %s --check-prefix=BARE

// A host program with buffers, a constant, two launches of one kernel and
// a kernel that prints. Static memrefs only: bare pointers carry no sizes.

module attributes {gpu.container_module} {
  gpu.module @kernels {
    // y[i] = x[i] summed over its warp by butterfly shuffles, plus the next
    // thread's x by way of shared memory.
    gpu.func @sum(%x: memref<64xf32>, %y: memref<64xf32>, %bias: f32)
        workgroup(%next: memref<64xf32, #gpu.address_space<workgroup>>) kernel {
      %c1 = arith.constant 1 : index
      %c64 = arith.constant 64 : index
      %t = gpu.thread_id x
      %v = memref.load %x[%t] : memref<64xf32>
      memref.store %v, %next[%t] : memref<64xf32, #gpu.address_space<workgroup>>
      gpu.barrier
      %t1 = arith.addi %t, %c1 : index
      %n = arith.remui %t1, %c64 : index
      %w = memref.load %next[%n] : memref<64xf32, #gpu.address_space<workgroup>>
      %width = arith.constant 32 : i32
      %o1 = arith.constant 1 : i32
      %o2 = arith.constant 2 : i32
      %s1, %p1 = gpu.shuffle xor %v, %o1, %width : f32
      %a1 = arith.addf %v, %s1 : f32
      %s2, %p2 = gpu.shuffle xor %a1, %o2, %width : f32
      %a2 = arith.addf %a1, %s2 : f32
      %r = arith.addf %a2, %w : f32
      %b = arith.addf %r, %bias : f32
      memref.store %b, %y[%t] : memref<64xf32>
      gpu.return
    }
    gpu.func @hello(%v: i32) kernel {
      %t = gpu.thread_id x
      gpu.printf "thread %lld of %d\n", %t, %v : index, i32
      gpu.return
    }
  }

  memref.global "private" constant @ones : memref<64xf32> = dense<1.0>

  func.func @main() {
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %c2 = arith.constant 2 : index
    %c64 = arith.constant 64 : index
    %half = arith.constant 0.5 : f32
    %i2 = arith.constant 2 : i32
    %ones = memref.get_global @ones : memref<64xf32>
    %x = memref.alloc() : memref<64xf32>
    %y = memref.alloc() : memref<64xf32>
    scf.for %i = %c0 to %c64 step %c1 {
      %j = arith.index_cast %i : index to i32
      %f = arith.sitofp %j : i32 to f32
      memref.store %f, %x[%i] : memref<64xf32>
    }
    gpu.launch_func @kernels::@sum blocks in (%c1, %c1, %c1) threads in (%c64, %c1, %c1)
      args(%x : memref<64xf32>, %y : memref<64xf32>, %half : f32)
    // 0+1+2+3 + 1 + 0.5, 60+61+62+63 + 0 + 0.5
    // CHECK: 7.5
    // CHECK-NEXT: 246.5
    // BARE: 7.5
    // BARE-NEXT: 246.5
    %first = memref.load %y[%c0] : memref<64xf32>
    vector.print %first : f32
    %c63 = arith.constant 63 : index
    %last = memref.load %y[%c63] : memref<64xf32>
    vector.print %last : f32

    gpu.launch_func @kernels::@sum blocks in (%c1, %c1, %c1) threads in (%c64, %c1, %c1)
      args(%ones : memref<64xf32>, %y : memref<64xf32>, %half : f32)
    // CHECK-NEXT: [5.5, 5.5, 5.5, {{.*}} 5.5]
    // BARE-NEXT: [5.5, 5.5, 5.5, {{.*}} 5.5]
    %all = memref.cast %y : memref<64xf32> to memref<*xf32>
    func.call @printMemrefF32(%all) : (memref<*xf32>) -> ()

    // BARE-NEXT: thread 0 of 2
    // BARE-NEXT: thread 1 of 2
    gpu.launch_func @kernels::@hello blocks in (%c1, %c1, %c1) threads in (%c2, %c1, %c1)
      args(%i2 : i32)
    memref.dealloc %x : memref<64xf32>
    memref.dealloc %y : memref<64xf32>
    return
  }
  func.func private @printMemrefF32(memref<*xf32>) attributes {llvm.emit_c_interface}
}
