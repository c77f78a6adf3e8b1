// RUN: ganq-opt %s --ganq-emulate=order=all -o /dev/null | FileCheck %s

// Ops of the nvvm dialect reach the runtime with the right shape, element types
// and registers. How fragments spread over lanes is tested with the runtime.

module attributes {gpu.container_module} {
  gpu.module @m {
    // With A and B all ones, D = k + C; C is the lane's number.
    llvm.func @mma(%out: !llvm.ptr) attributes {gpu.kernel, nvvm.kernel} {
      %t = nvvm.read.ptx.sreg.tid.x : i32
      %f = llvm.sitofp %t : i32 to f32
      %h = llvm.fptrunc %f : f32 to f16
      %i0 = llvm.mlir.constant(0 : i32) : i32
      %i1 = llvm.mlir.constant(1 : i32) : i32
      %undef = llvm.mlir.undef : vector<2xf16>
      %h0 = llvm.insertelement %h, %undef[%i0 : i32] : vector<2xf16>
      %hh = llvm.insertelement %h, %h0[%i1 : i32] : vector<2xf16>
      %one16 = llvm.mlir.constant(dense<1.0> : vector<2xf16>) : vector<2xf16>
      %onebf = llvm.mlir.constant(0x3f803f80 : i32) : i32
      %one8 = llvm.mlir.constant(0x01010101 : i32) : i32
      %one4 = llvm.mlir.constant(0x11111111 : i32) : i32
      %neg8 = llvm.mlir.constant(-1 : i32) : i32
      %bits = llvm.mlir.constant(0x0000ffff : i32) : i32
      %onetf = llvm.mlir.constant(0x3f800000 : i32) : i32

      // CHECK: 16
      // CHECK-NEXT: 47
      %d0 = nvvm.mma.sync A[%one16, %one16, %one16, %one16] B[%one16, %one16] C[%f, %f, %f, %f]
        {layoutA = #nvvm.mma_layout<row>, layoutB = #nvvm.mma_layout<col>, shape = #nvvm.shape<m = 16, n = 8, k = 16>}
        : (vector<2xf16>, vector<2xf16>, f32) -> !llvm.struct<(f32, f32, f32, f32)>
      %r0 = llvm.extractvalue %d0[3] : !llvm.struct<(f32, f32, f32, f32)>
      %p0 = llvm.getelementptr %out[%t] : (!llvm.ptr, i32) -> !llvm.ptr, f32
      llvm.store %r0, %p0 : f32, !llvm.ptr

      // CHECK-NEXT: 16
      // CHECK-NEXT: 47
      %d1 = nvvm.mma.sync A[%one16, %one16, %one16, %one16] B[%one16, %one16] C[%hh, %hh]
        {layoutA = #nvvm.mma_layout<row>, layoutB = #nvvm.mma_layout<col>, shape = #nvvm.shape<m = 16, n = 8, k = 16>}
        : (vector<2xf16>, vector<2xf16>, vector<2xf16>) -> !llvm.struct<(vector<2xf16>, vector<2xf16>)>
      %v1 = llvm.extractvalue %d1[1] : !llvm.struct<(vector<2xf16>, vector<2xf16>)>
      %e1 = llvm.extractelement %v1[%i1 : i32] : vector<2xf16>
      %r1 = llvm.fpext %e1 : f16 to f32
      %p1 = llvm.getelementptr %p0[32] : (!llvm.ptr) -> !llvm.ptr, f32
      llvm.store %r1, %p1 : f32, !llvm.ptr

      // CHECK-NEXT: 8
      // CHECK-NEXT: 39
      %d2 = nvvm.mma.sync A[%onebf, %onebf] B[%onebf] C[%f, %f, %f, %f]
        {layoutA = #nvvm.mma_layout<row>, layoutB = #nvvm.mma_layout<col>,
         multiplicandAPtxType = #nvvm.mma_type<bf16>, multiplicandBPtxType = #nvvm.mma_type<bf16>, shape = #nvvm.shape<m = 16, n = 8, k = 8>}
        : (i32, i32, f32) -> !llvm.struct<(f32, f32, f32, f32)>
      %r2 = llvm.extractvalue %d2[0] : !llvm.struct<(f32, f32, f32, f32)>
      %p2 = llvm.getelementptr %p0[64] : (!llvm.ptr) -> !llvm.ptr, f32
      llvm.store %r2, %p2 : f32, !llvm.ptr

      // CHECK-NEXT: 4
      // CHECK-NEXT: 35
      %d3 = nvvm.mma.sync A[%onetf, %onetf] B[%onetf] C[%f, %f, %f, %f]
        {layoutA = #nvvm.mma_layout<row>, layoutB = #nvvm.mma_layout<col>,
         multiplicandAPtxType = #nvvm.mma_type<tf32>, multiplicandBPtxType = #nvvm.mma_type<tf32>, shape = #nvvm.shape<m = 16, n = 8, k = 4>}
        : (i32, i32, f32) -> !llvm.struct<(f32, f32, f32, f32)>
      %r3 = llvm.extractvalue %d3[2] : !llvm.struct<(f32, f32, f32, f32)>
      %p3 = llvm.getelementptr %p0[96] : (!llvm.ptr) -> !llvm.ptr, f32
      llvm.store %r3, %p3 : f32, !llvm.ptr

      // s8 A of -1 times u8 B of 1: -32 + lane.
      // CHECK-NEXT: -32
      // CHECK-NEXT: -1
      %d4 = nvvm.mma.sync A[%neg8, %neg8, %neg8, %neg8] B[%one8, %one8] C[%t, %t, %t, %t]
        {layoutA = #nvvm.mma_layout<row>, layoutB = #nvvm.mma_layout<col>,
         multiplicandAPtxType = #nvvm.mma_type<s8>, multiplicandBPtxType = #nvvm.mma_type<u8>,
         intOverflowBehavior = #nvvm.mma_int_overflow<wrapped>, shape = #nvvm.shape<m = 16, n = 8, k = 32>}
        : (i32, i32, i32) -> !llvm.struct<(i32, i32, i32, i32)>
      %s4 = llvm.extractvalue %d4[1] : !llvm.struct<(i32, i32, i32, i32)>
      %r4 = llvm.sitofp %s4 : i32 to f32
      %p4 = llvm.getelementptr %p0[128] : (!llvm.ptr) -> !llvm.ptr, f32
      llvm.store %r4, %p4 : f32, !llvm.ptr

      // u8 of 255 times u8 of 1, m16n8k16: 4080 + lane.
      // CHECK-NEXT: 4080
      // CHECK-NEXT: 4111
      %d5 = nvvm.mma.sync A[%neg8, %neg8] B[%one8] C[%t, %t, %t, %t]
        {layoutA = #nvvm.mma_layout<row>, layoutB = #nvvm.mma_layout<col>,
         multiplicandAPtxType = #nvvm.mma_type<u8>, multiplicandBPtxType = #nvvm.mma_type<u8>,
         intOverflowBehavior = #nvvm.mma_int_overflow<satfinite>, shape = #nvvm.shape<m = 16, n = 8, k = 16>}
        : (i32, i32, i32) -> !llvm.struct<(i32, i32, i32, i32)>
      %s5 = llvm.extractvalue %d5[1] : !llvm.struct<(i32, i32, i32, i32)>
      %r5 = llvm.sitofp %s5 : i32 to f32
      %p5 = llvm.getelementptr %p0[160] : (!llvm.ptr) -> !llvm.ptr, f32
      llvm.store %r5, %p5 : f32, !llvm.ptr

      // s4 of -1 times s4 of 1: -64 + lane.
      // CHECK-NEXT: -64
      // CHECK-NEXT: -33
      %d6 = nvvm.mma.sync A[%neg8, %neg8, %neg8, %neg8] B[%one4, %one4] C[%t, %t, %t, %t]
        {layoutA = #nvvm.mma_layout<row>, layoutB = #nvvm.mma_layout<col>,
         multiplicandAPtxType = #nvvm.mma_type<s4>, multiplicandBPtxType = #nvvm.mma_type<s4>,
         intOverflowBehavior = #nvvm.mma_int_overflow<wrapped>, shape = #nvvm.shape<m = 16, n = 8, k = 64>}
        : (i32, i32, i32) -> !llvm.struct<(i32, i32, i32, i32)>
      %s6 = llvm.extractvalue %d6[2] : !llvm.struct<(i32, i32, i32, i32)>
      %r6 = llvm.sitofp %s6 : i32 to f32
      %p6 = llvm.getelementptr %p0[192] : (!llvm.ptr) -> !llvm.ptr, f32
      llvm.store %r6, %p6 : f32, !llvm.ptr

      // All bits of A, half of the bits of B.
      // CHECK-NEXT: 128
      // CHECK-NEXT: 159
      %d7 = nvvm.mma.sync A[%neg8, %neg8, %neg8, %neg8] B[%bits, %bits] C[%t, %t, %t, %t]
        {layoutA = #nvvm.mma_layout<row>, layoutB = #nvvm.mma_layout<col>, b1Op = #nvvm.mma_b1op<and_popc>,
         multiplicandAPtxType = #nvvm.mma_type<b1>, multiplicandBPtxType = #nvvm.mma_type<b1>, shape = #nvvm.shape<m = 16, n = 8, k = 256>}
        : (i32, i32, i32) -> !llvm.struct<(i32, i32, i32, i32)>
      %s7 = llvm.extractvalue %d7[3] : !llvm.struct<(i32, i32, i32, i32)>
      %r7 = llvm.sitofp %s7 : i32 to f32
      %p7 = llvm.getelementptr %p0[224] : (!llvm.ptr) -> !llvm.ptr, f32
      llvm.store %r7, %p7 : f32, !llvm.ptr
      llvm.return
    }

    // 16 bytes per lane by cp.async into rows of 8 halves, which ldmatrix reads.
    llvm.mlir.global internal @rows() {addr_space = 3 : i32, alignment = 16 : i64} : !llvm.array<512 x i8>
    llvm.func @matrix(%in: !llvm.ptr<1>, %out: !llvm.ptr<1>) attributes {gpu.kernel, nvvm.kernel} {
      %t = nvvm.read.ptx.sreg.laneid : i32
      %c16 = llvm.mlir.constant(16 : i32) : i32
      %at = llvm.mul %t, %c16 : i32
      %rows = llvm.mlir.addressof @rows : !llvm.ptr<3>
      %row = llvm.getelementptr %rows[%at] : (!llvm.ptr<3>, i32) -> !llvm.ptr<3>, i8
      %from = llvm.getelementptr %in[%at] : (!llvm.ptr<1>, i32) -> !llvm.ptr<1>, i8
      nvvm.cp.async.shared.global %row, %from, 16, cache = cg : !llvm.ptr<3>, !llvm.ptr<1>
      nvvm.cp.async.commit.group
      nvvm.cp.async.wait.group 0
      %all = llvm.mlir.constant(-1 : i32) : i32
      nvvm.bar.warp.sync %all : i32
      %m = nvvm.ldmatrix %row {num = 4 : i32, layout = #nvvm.mma_layout<col>, shape = #nvvm.ld_st_matrix_shape<m = 8, n = 8>, eltType = #nvvm.ld_st_matrix_elt_type<b16>}
        : (!llvm.ptr<3>) -> !llvm.struct<(i32, i32, i32, i32)>
      %r = llvm.extractvalue %m[3] : !llvm.struct<(i32, i32, i32, i32)>
      %p = llvm.getelementptr %out[%t] : (!llvm.ptr<1>, i32) -> !llvm.ptr<1>, i32
      llvm.store %r, %p : i32, !llvm.ptr<1>
      llvm.return
    }

    llvm.func @integers(%out: !llvm.ptr<1>) attributes {gpu.kernel, nvvm.kernel} {
      %t = nvvm.read.ptx.sreg.tid.x : i32
      %lo = llvm.mlir.constant(0x83828180 : i32) : i32
      %hi = llvm.mlir.constant(0x07060504 : i32) : i32
      %sel = llvm.mlir.constant(0x70b1 : i32) : i32
      // Bytes 1, sign of 3, 0, 7 from the lowest on.
      %p = nvvm.prmt #nvvm.permute_mode<default> %sel, %lo, %hi : i32
      %lov = llvm.bitcast %lo : i32 to vector<4xi8>
      %hiv = llvm.bitcast %hi : i32 to vector<4xi8>
      %d = nvvm.dot.accumulate.4way %lov <signed>, %hiv <unsigned>, %t : vector<4xi8>, vector<4xi8>
      %i1 = llvm.mlir.constant(1 : i32) : i32
      %all = llvm.mlir.constant(-1 : i32) : i32
      %odd = llvm.and %t, %i1 : i32
      %isOdd = llvm.icmp "eq" %odd, %i1 : i32
      %b = nvvm.vote.sync ballot %all, %isOdd -> i32
      %s = nvvm.redux.sync add %t, %all : i32 -> i32
      %x = llvm.call_intrinsic "llvm.nvvm.mulhi.ui"(%lo, %lo) : (i32, i32) -> i32
      llvm.store %p, %out : i32, !llvm.ptr<1>
      %o1 = llvm.getelementptr %out[1] : (!llvm.ptr<1>) -> !llvm.ptr<1>, i32
      llvm.store %b, %o1 : i32, !llvm.ptr<1>
      %o2 = llvm.getelementptr %out[2] : (!llvm.ptr<1>) -> !llvm.ptr<1>, i32
      llvm.store %s, %o2 : i32, !llvm.ptr<1>
      %o3 = llvm.getelementptr %out[3] : (!llvm.ptr<1>) -> !llvm.ptr<1>, i32
      llvm.store %x, %o3 : i32, !llvm.ptr<1>
      %o4 = llvm.getelementptr %out[4] : (!llvm.ptr<1>) -> !llvm.ptr<1>, i32
      %old = llvm.atomicrmw add %o4, %d monotonic : !llvm.ptr<1>, i32
      llvm.return
    }
  }

  func.func @main() {
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %c8 = arith.constant 8 : index
    %c31 = arith.constant 31 : index
    %c32 = arith.constant 32 : index
    %out = memref.alloc() : memref<8x32xf32>
    gpu.launch_func @m::@mma blocks in (%c1, %c1, %c1) threads in (%c32, %c1, %c1) args(%out : memref<8x32xf32>)
    scf.for %i = %c0 to %c8 step %c1 {
      %first = memref.load %out[%i, %c0] : memref<8x32xf32>
      vector.print %first : f32
      %last = memref.load %out[%i, %c31] : memref<8x32xf32>
      vector.print %last : f32
    }

    // Element i holds i; transposed, lane t gets rows 2 (t % 4), 2 (t % 4) + 1 of
    // column t / 4 of the last matrix, which begins at 192.
    // CHECK-NEXT: 13107392
    // CHECK-NEXT: 14155984
    // CHECK-NEXT: 16711927
    %in = memref.alloc() : memref<256xi16>
    %res = memref.alloc() : memref<32xi32>
    %c256 = arith.constant 256 : index
    scf.for %i = %c0 to %c256 step %c1 {
      %v = arith.index_cast %i : index to i16
      memref.store %v, %in[%i] : memref<256xi16>
    }
    gpu.launch_func @m::@matrix blocks in (%c1, %c1, %c1) threads in (%c32, %c1, %c1) args(%in : memref<256xi16>, %res : memref<32xi32>)
    %r0 = memref.load %res[%c0] : memref<32xi32>
    vector.print %r0 : i32
    %r1 = memref.load %res[%c1] : memref<32xi32>
    vector.print %r1 : i32
    %r31 = memref.load %res[%c31] : memref<32xi32>
    vector.print %r31 : i32

    // 0x0780ff81; odd lanes; 0 + ... + 31; the upper half of 0x83828180 squared;
    // 32 (-128 * 4 - 127 * 5 - 126 * 6 - 125 * 7) + 496.
    // CHECK-NEXT: [125894529, -1431655766, 496, 1133433616, -88400]
    %ints = memref.alloc() : memref<5xi32>
    %z = arith.constant 0 : i32
    %c4 = arith.constant 4 : index
    memref.store %z, %ints[%c4] : memref<5xi32>
    gpu.launch_func @m::@integers blocks in (%c1, %c1, %c1) threads in (%c32, %c1, %c1) args(%ints : memref<5xi32>)
    %cast = memref.cast %ints : memref<5xi32> to memref<*xi32>
    func.call @printMemrefI32(%cast) : (memref<*xi32>) -> ()
    return
  }
  func.func private @printMemrefI32(memref<*xi32>) attributes {llvm.emit_c_interface}
}
