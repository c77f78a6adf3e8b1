// RUN: ganq-opt %s --pass-pipeline='builtin.module(gpu.module(ganq-lower-gpu-math))' --split-input-file --verify-diagnostics | FileCheck %s
// RUN: ganq-opt %s --ganq-gpu-to-nvvm --ganq-gpu-to-cubin='chips=sm_80,sm_120 format=ptx' --split-input-file --verify-diagnostics | FileCheck %s --check-prefix=PTX

// CHECK-LABEL: gpu.func @functions
// CHECK-NOT: math.
// CHECK: llvm.call_intrinsic "llvm.sqrt.f32"
// CHECK: llvm.call_intrinsic "llvm.roundeven.f32"
// CHECK: llvm.call_intrinsic "llvm.fma.f32"
// CHECK: %[[EXPONENT:.*]] = arith.mulf %{{.*}}, %{{.*}} : f32
// CHECK: llvm.call_intrinsic "llvm.exp2.f32"(%[[EXPONENT]]) {fastmathFlags = #llvm.fastmath<afn>}
// CHECK-NOT: math.

// PTX-NOT: __nv
// PTX: .entry functions
// PTX-DAG: sqrt.rn.f32
// PTX-DAG: cvt.rni.f32.f32
// PTX-DAG: fma.rn.f32
// PTX-DAG: ex2.approx.f32
// PTX-NOT: __nv
gpu.module @kernels {
  gpu.func @functions(%x: memref<16xf32>, %h: memref<2xf16>) kernel {
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %c2 = arith.constant 2 : index
    %c3 = arith.constant 3 : index
    %c4 = arith.constant 4 : index
    %c5 = arith.constant 5 : index
    %c6 = arith.constant 6 : index
    %c7 = arith.constant 7 : index
    %c8 = arith.constant 8 : index
    %c9 = arith.constant 9 : index
    %in = memref.load %x[%c0] : memref<16xf32>
    %sqrt = math.sqrt %in : f32
    memref.store %sqrt, %x[%c1] : memref<16xf32>
    %even = math.roundeven %in : f32
    memref.store %even, %x[%c2] : memref<16xf32>
    %fma = math.fma %in, %in, %even : f32
    memref.store %fma, %x[%c3] : memref<16xf32>
    %exp = math.exp %in : f32
    memref.store %exp, %x[%c4] : memref<16xf32>
    %tanh = math.tanh %in : f32
    memref.store %tanh, %x[%c5] : memref<16xf32>
    %erf = math.erf %in : f32
    memref.store %erf, %x[%c6] : memref<16xf32>
    %rsqrt = math.rsqrt %in : f32
    memref.store %rsqrt, %x[%c7] : memref<16xf32>
    %pow = math.powf %in, %even : f32
    memref.store %pow, %x[%c8] : memref<16xf32>
    %sin = math.sin %in : f32
    memref.store %sin, %x[%c9] : memref<16xf32>
    // In 16 bits by way of 32.
    %half = memref.load %h[%c0] : memref<2xf16>
    %log = math.log %half : f16
    memref.store %log, %h[%c1] : memref<2xf16>
    gpu.return
  }
}

// -----

gpu.module @kernels {
  gpu.func @wide(%x: memref<2xf64>) kernel {
    %c0 = arith.constant 0 : index
    %in = memref.load %x[%c0] : memref<2xf64>
    // expected-error @below {{expected a function that GPU kernels have, for this type}}
    %tanh = math.cos %in : f64
    memref.store %tanh, %x[%c0] : memref<2xf64>
    gpu.return
  }
}
