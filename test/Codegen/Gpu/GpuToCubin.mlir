// RUN: ganq-opt %s --ganq-build-gpu-kernels='scheme=#ganq.pot<bits=2,group=128,grid=stride2>' \
// RUN:   --ganq-gpu-to-nvvm --ganq-gpu-to-cubin='chips=sm_80 format=ptx' | sed 's/\\0A/\n/g; s/\\09/ /g' | FileCheck %s --check-prefix=POT
// RUN: ganq-opt %s --ganq-build-gpu-kernels='scheme=#ganq.uniform<bits=2,activation=4> skeleton=gemm strategy=btc tokens=16' \
// RUN:   --ganq-gpu-to-nvvm --ganq-gpu-to-cubin='chips=sm_80 format=ptx' | sed 's/\\0A/\n/g; s/\\09/ /g' | FileCheck %s --check-prefix=BTC

module {}

// A pair of weights is one `and` and one shift and add. LLVM must not shift
// first, which would cost a third instruction.
// POT: .version 8.7
// POT: .target sm_80
// POT: .visible .entry gemv_pot2_stride2g128_f16_m1
// POT: ld.global.nc.v4
// POT: prmt.b32 {{ *}}[[SCALE:%r[0-9]+]], {{.*}}, 0x1010U
// POT: and.b32 {{ *}}[[FIRST:%r[0-9]+]], [[WORD:%r[0-9]+]], -2013231104
// POT-NEXT: add.s32 {{ *}}{{%r[0-9]+}}, [[FIRST]], [[SCALE]]
// POT-NEXT: and.b32 {{ *}}[[SECOND:%r[0-9]+]], [[WORD]], 1140868096
// POT-NEXT: shl.b32 {{ *}}[[MOVED:%r[0-9]+]], [[SECOND]], 1
// POT-NEXT: add.s32 {{ *}}{{%r[0-9]+}}, [[MOVED]], [[SCALE]]
// POT: mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32

// BTC: cp.async.cg.shared.global
// BTC: ldmatrix.sync.aligned.m8n8.x4.shared.b16
// BTC-COUNT-16: mma.sync.aligned.m16n8k256.row.col.s32.b1.b1.s32.and.popc
// BTC-NOT: mma.sync
