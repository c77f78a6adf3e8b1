// RUN: not ganq-opt %s --ganq-gpu-to-nvvm --ganq-gpu-to-cubin='chips=sm_42' 2>&1 | FileCheck %s --check-prefix=CHIP
// RUN: not ganq-opt %s --ganq-gpu-to-nvvm --ganq-gpu-to-cubin='format=fatbin' 2>&1 | FileCheck %s --check-prefix=FORMAT
// RUN: not ganq-opt %s --ganq-gpu-to-nvvm --ganq-gpu-to-cubin='chips=sm_80 toolkit=%S' 2>&1 | FileCheck %s --check-prefix=TOOLKIT
// RUN: not ganq-opt %s --ganq-gpu-to-nvvm --ganq-gpu-to-cubin='chips=sm_80,sm_100' 2>&1 | FileCheck %s --check-prefix=EMULATED
// RUN: not ganq-opt %s --ganq-gpu-to-cubin='chips=sm_80 format=ptx' 2>&1 | FileCheck %s --check-prefix=LEVEL

// CHIP: error: expected the chip to be one of sm_80, sm_86, sm_89, sm_90, sm_90a, sm_100, sm_120, but got `sm_42`
// FORMAT: error: expected `format` to be ptx or cubin, but got `fatbin`
// TOOLKIT: error: expected the assembler bin/ptxas in the toolkit `{{.*}}`, but found none
// EMULATED: error: expected a chip with instructions for strategy `btc` (sm_80, sm_86, sm_89, sm_90, sm_90a), but got `sm_100`, which emulates them; use `int8` or `dp4a`
// LEVEL: error: expected a gpu.module of LLVM and nvvm operations; run ganq-gpu-to-nvvm

module attributes {gpu.container_module} {
  gpu.module @kernels {
    gpu.func @bits(%out: !llvm.ptr<1>, %a: i32) kernel {
      %d = nvvm.mma.sync A[%a, %a, %a, %a] B[%a, %a] C[%a, %a, %a, %a]
          {b1Op = #nvvm.mma_b1op<and_popc>, intOverflowBehavior = #nvvm.mma_int_overflow<wrapped>,
           layoutA = #nvvm.mma_layout<row>, layoutB = #nvvm.mma_layout<col>,
           multiplicandAPtxType = #nvvm.mma_type<b1>, multiplicandBPtxType = #nvvm.mma_type<b1>,
           shape = #nvvm.shape<m = 16, n = 8, k = 256>}
          : (i32, i32, i32) -> !llvm.struct<(i32, i32, i32, i32)>
      %0 = llvm.extractvalue %d[0] : !llvm.struct<(i32, i32, i32, i32)>
      llvm.store %0, %out : i32, !llvm.ptr<1>
      gpu.return
    }
  }
}
