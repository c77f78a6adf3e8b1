// REQUIRES: ptxas
// RUN: ganq-opt %s --ganq-gpu-to-nvvm --ganq-gpu-to-cubin | FileCheck %s
// RUN: ganq-opt %s --ganq-build-gpu-kernels='scheme=#ganq.lut<bits=4>' \
// RUN:   --ganq-build-gpu-kernels='scheme=#ganq.lut<bits=4> products=3 bias out-type=f32' --ganq-gpu-to-nvvm \
// RUN:   --ganq-gpu-to-cubin='chips=sm_80,sm_120' | FileCheck %s --check-prefix=LUT

// One object for each chip, with what ptxas says of the kernel.
// CHECK: gpu.binary @kernels
// CHECK-SAME: #gpu.object<#nvvm.target<O = 3, chip = "sm_80", features = "+ptx87">, properties = {store = {registers = {{[0-9]+}} : i64, shared_bytes = 0 : i64, spill_bytes = 0 : i64, stack_bytes = 0 : i64}}, bin = "\7FELF
// CHECK-SAME: chip = "sm_86"
// CHECK-SAME: chip = "sm_89"
// CHECK-SAME: chip = "sm_90"
// CHECK-SAME: chip = "sm_90a"
// CHECK-SAME: chip = "sm_100"
// CHECK-SAME: chip = "sm_120"

// LUT: gpu.binary @ganq_kernels
// LUT-SAME: chip = "sm_80"
// LUT-SAME: properties = {gemv_lut4_f16_m1 = {
// LUT-SAME: spill_bytes = 0
// LUT-SAME: gemv_lut4_f16_m1_f32_bias_x3 = {
// LUT-SAME: spill_bytes = 0
// LUT-SAME: chip = "sm_120"
// LUT-SAME: spill_bytes = 0

module attributes {gpu.container_module} {
  gpu.module @kernels {
    gpu.func @store(%out: !llvm.ptr<1>, %value: i32) kernel {
      llvm.store %value, %out : i32, !llvm.ptr<1>
      gpu.return
    }
  }
}
