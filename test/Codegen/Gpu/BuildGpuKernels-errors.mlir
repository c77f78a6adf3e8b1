// RUN: not ganq-opt %s --ganq-build-gpu-kernels='scheme=lut' 2>&1 | FileCheck %s --check-prefix=SCHEME
// RUN: not ganq-opt %s --ganq-build-gpu-kernels='scheme=#ganq.lut<bits=5>' 2>&1 | FileCheck %s --check-prefix=BITS
// RUN: not ganq-opt %s --ganq-build-gpu-kernels='scheme=#ganq.lut<bits=4,group=128>' 2>&1 | FileCheck %s --check-prefix=GROUP
// RUN: not ganq-opt %s --ganq-build-gpu-kernels='scheme=#ganq.lut<bits=4> type=bf16' 2>&1 | FileCheck %s --check-prefix=ENTRY
// RUN: not ganq-opt %s --ganq-build-gpu-kernels='scheme=#ganq.lut<bits=4> type=f32' 2>&1 | FileCheck %s --check-prefix=TYPE
// RUN: not ganq-opt %s --ganq-build-gpu-kernels='scheme=#ganq.lut<bits=4> out-type=bf16' 2>&1 | FileCheck %s --check-prefix=OUT
// RUN: not ganq-opt %s --ganq-build-gpu-kernels='scheme=#ganq.lut<bits=4> tokens=3' 2>&1 | FileCheck %s --check-prefix=TOKENS
// RUN: not ganq-opt %s --ganq-build-gpu-kernels='scheme=#ganq.uniform<bits=2,activation=4> strategy=btc chip=sm_100' 2>&1 | FileCheck %s --check-prefix=EMULATED
// RUN: not ganq-opt %s --ganq-build-gpu-kernels='scheme=#ganq.uniform<bits=4,activation=4> strategy=int4 chip=sm_90' 2>&1 | FileCheck %s --check-prefix=INT4
// RUN: not ganq-opt %s --ganq-build-gpu-kernels='scheme=#ganq.uniform<bits=2,activation=4> strategy=btc chip=sm_75' 2>&1 | FileCheck %s --check-prefix=CHIP
// RUN: not ganq-opt %s --ganq-build-gpu-kernels='scheme=#ganq.uniform<bits=2,activation=4> strategy=wmma' 2>&1 | FileCheck %s --check-prefix=STRATEGY
// RUN: not ganq-opt %s --ganq-build-gpu-kernels='scheme=#ganq.uniform<bits=2,activation=4> strategy=btc' 2>&1 | FileCheck %s --check-prefix=GEMV
// RUN: not ganq-opt %s --ganq-build-gpu-kernels='scheme=#ganq.uniform<bits=2> strategy=dp4a' 2>&1 | FileCheck %s --check-prefix=CODES
// RUN: not ganq-opt %s --ganq-build-gpu-kernels='scheme=#ganq.uniform<bits=4,activation=8,shift=true> strategy=int8 skeleton=gemm tokens=16' 2>&1 | FileCheck %s --check-prefix=SHIFT
// RUN: not ganq-opt %s --ganq-build-gpu-kernels='scheme=#ganq.uniform<bits=4,smooth=true>' 2>&1 | FileCheck %s --check-prefix=SMOOTH

// SCHEME: error: expected `scheme` to be a scheme such as #ganq.lut<bits = 4>, but got `lut`
// BITS: error: expected tables of 2 to 4 bits for the GPU kernels, but got #ganq.lut<bits = 5>; choose 2 to 4 bits
// GROUP: error: expected one table per row for the GPU kernels, but got #ganq.lut<bits = 4, group = 128>; leave out group and rows
// ENTRY: error: expected table entries of the type of x for the GPU kernels, but got #ganq.lut<bits = 4>; set entry to that type
// TYPE: error: expected `type` to be f16 or bf16, but got `f32`
// OUT: error: expected `out-type` to be the type of x (`f16`) or f32, but got `bf16`
// TOKENS: error: expected tokens of a gemv kernel to be one of 1, 2, 4, 8, but got 3
// EMULATED: error: expected a chip with instructions for strategy `btc` (sm_80, sm_86, sm_89, sm_90, sm_90a), but got `sm_100`, which emulates them; use `int8` or `dp4a`
// INT4: error: expected a chip with instructions for strategy `int4` (sm_80, sm_86, sm_89), but got `sm_90`, which emulates them; use `int8` or `dp4a`
// CHIP: error: expected the chip to be one of sm_80, sm_86, sm_89, sm_90, sm_90a, sm_100, sm_120, but got `sm_75`
// STRATEGY: error: expected `strategy` to be one of f16, int8, dp4a, int4, btc, but got `wmma`
// GEMV: error: expected strategy f16 or dp4a for a gemv kernel, but got `btc`; use dp4a, or a gemm kernel
// CODES: error: expected codes of x of the scheme's `activation` bits for the GPU kernels, but got #ganq.uniform<bits = 2>; choose a scheme with activation = 1 to 8
// SHIFT: error: expected a weight without input scales and shifts for the GPU kernels, but got #ganq.uniform<bits = 4, activation = 8, shift = true>; leave out smooth and shift, or fold them into the layer before
// SMOOTH: error: expected a weight without input scales and shifts for the GPU kernels, but got #ganq.uniform<bits = 4, smooth = true>; leave out smooth and shift, or fold them into the layer before
module {}
