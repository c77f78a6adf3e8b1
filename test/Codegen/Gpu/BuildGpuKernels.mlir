// RUN: ganq-opt %s --ganq-build-gpu-kernels='scheme=#ganq.lut<bits=4>' | FileCheck %s
// RUN: ganq-opt %s --ganq-build-gpu-kernels='scheme=#ganq.pot<bits=2,group=64> tokens=4' \
// RUN:   --ganq-build-gpu-kernels='scheme=#ganq.lut<bits=4> skeleton=gemm tokens=16 bias residual activation=silu out-type=f32' \
// RUN:   | FileCheck %s --check-prefix=MORE
// RUN: ganq-opt %s --ganq-build-gpu-kernels='scheme=#ganq.uniform<bits=2,activation=4> skeleton=gemm strategy=btc tokens=16 chip=sm_90 out-type=f16' \
// RUN:   | FileCheck %s --check-prefix=BTC

module {}

// The table of pairs has one bank per lane: 16 x 16 pairs of 128 bytes.
// CHECK: gpu.module @ganq_kernels
// CHECK: llvm.mlir.global external @ganq_shared() {addr_space = 3 : i32, alignment = 16 : i64} : !llvm.array<0 x i8>
// CHECK: gpu.func @gemv_lut4_f16_m1(%{{.*}}: !llvm.ptr<1>, %{{.*}}: !llvm.ptr<1>, %{{.*}}: !llvm.ptr<1>, %{{.*}}: !llvm.ptr<1>, %{{.*}}: i32, %{{.*}}: i32, %{{.*}}: i32) kernel
// CHECK-SAME: ganq.launch = {rows = 32 : i64, shared_bytes = 66048 : i64, threads = 256 : i64, tokens = 1 : i64}
// CHECK: nvvm.mma.sync

// MORE: gpu.func @gemv_pot2g64_f16_m4
// MORE: gpu.func @gemm_lut4_f16_m16_f32_bias_silu_residual
// MORE: nvvm.cp.async.shared.global
// MORE: nvvm.cp.async.wait.group 1
// MORE: nvvm.ldmatrix
// MORE: nvvm.prmt
// MORE-NOT: arith.truncf
// MORE: llvm.store %{{.*}} {alignment = 4 : i64} : f32, !llvm.ptr<1>

// Five weights 2^d of pairs of planes, for each of two tiles of tokens.
// BTC: gpu.func @gemm_uniform2a4_btc_f16_m16
// BTC-COUNT-16: b1Op = #nvvm.mma_b1op<and_popc>
// BTC-NOT: b1Op
