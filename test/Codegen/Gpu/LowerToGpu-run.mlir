// RUN: ganq-opt %s --ganq-lower-to-gpu --ganq-gpu-to-nvvm --ganq-emulate='order=all' -o /dev/null | FileCheck %s

// The kernel of each op, run in the emulator, gives what its definition says.

func.func @rms_norm(%x: memref<1x2x4xf32>, %w: memref<4xf32>, %y: memref<1x2x4xf32>) {
  ganq.rms_norm %x weight(%w : memref<4xf32>) out(%y : memref<1x2x4xf32>) {epsilon = 1.0e-5 : f32} : memref<1x2x4xf32>
  return
}
func.func @layer_norm(%x: memref<1x2x4xf32>, %w: memref<4xf32>, %b: memref<4xf32>, %y: memref<1x2x4xf32>) {
  ganq.layer_norm %x weight(%w : memref<4xf32>) bias(%b : memref<4xf32>) out(%y : memref<1x2x4xf32>) {epsilon = 1.0e-5 : f32} : memref<1x2x4xf32>
  return
}
// More columns than lanes, which are several warps.
func.func @wide_norm(%x: memref<2x300xf32>, %y: memref<2x300xf32>) {
  ganq.layer_norm %x out(%y : memref<2x300xf32>) {epsilon = 1.0e-5 : f32} : memref<2x300xf32>
  return
}
func.func @swiglu(%x: memref<1x2x4xf32>, %up: memref<1x2x4xf32>, %y: memref<1x2x4xf32>) {
  ganq.swiglu %x, %up out(%y : memref<1x2x4xf32>) : memref<1x2x4xf32>, memref<1x2x4xf32>
  return
}
func.func @gelu(%x: memref<1x2x4xf32>, %y: memref<1x2x4xf32>) {
  %half = arith.constant 0.5 : f32
  %one = arith.constant 1.0 : f32
  %root = arith.constant 1.41421354 : f32
  linalg.generic {indexing_maps = [affine_map<(d0, d1, d2) -> (d0, d1, d2)>, affine_map<(d0, d1, d2) -> (d0, d1, d2)>],
                  iterator_types = ["parallel", "parallel", "parallel"]}
      ins(%x : memref<1x2x4xf32>) outs(%y : memref<1x2x4xf32>) {
  ^bb0(%in: f32, %out: f32):
    %0 = arith.divf %in, %root : f32
    %1 = math.erf %0 : f32
    %2 = arith.addf %1, %one : f32
    %3 = arith.mulf %in, %2 : f32
    %4 = arith.mulf %3, %half : f32
    linalg.yield %4 : f32
  }
  return
}
func.func @rope(%x: memref<1x2x1x4xf32>, %cos: memref<1x2xf32>, %sin: memref<1x2xf32>, %y: memref<1x2x1x4xf32>, %z: memref<1x2x1x4xf32>) {
  ganq.rope %x, %cos, %sin out(%y : memref<1x2x1x4xf32>) : memref<1x2x1x4xf32>, memref<1x2xf32>, memref<1x2xf32>
  ganq.rope %x, %cos, %sin interleaved out(%z : memref<1x2x1x4xf32>) : memref<1x2x1x4xf32>, memref<1x2xf32>, memref<1x2xf32>
  return
}
// Columns behind the rotated ones are copied.
func.func @partial_rope(%x: memref<1x2x1x4xf32>, %cos: memref<1x1xf32>, %sin: memref<1x1xf32>, %y: memref<1x2x1x4xf32>) {
  ganq.rope %x, %cos, %sin out(%y : memref<1x2x1x4xf32>) : memref<1x2x1x4xf32>, memref<1x1xf32>, memref<1x1xf32>
  return
}
func.func @matmul(%x: memref<1x2x4xf32>, %w: memref<3x4xf32>, %b: memref<3xf32>, %y: memref<1x2x3xf32>) {
  ganq.matmul %x, %w bias(%b : memref<3xf32>) out(%y : memref<1x2x3xf32>) : memref<1x2x4xf32>, memref<3x4xf32>
  return
}
func.func @positions(%table: memref<3x4xf32>, %past: memref<1xi64>, %y: memref<1x4xf32>) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %count = memref.load %past[%c0] : memref<1xi64>
  %p = arith.index_cast %count : i64 to index
  ganq.position_rows %table[%p, %c1] out(%y : memref<1x4xf32>) : memref<3x4xf32>
  return
}
func.func @step(%q: memref<1x2x2x4xf32>, %new: memref<1x1x2x4xf32>, %minus: memref<1x1x2x4xf32>, %past: memref<1xi64>,
                %k: memref<1x1x5x4xf16>, %v: memref<1x1x5x4xf32>, %y: memref<1x2x2x4xf32>) {
  %c0 = arith.constant 0 : index
  %count = memref.load %past[%c0] : memref<1xi64>
  %p = arith.index_cast %count : i64 to index
  ganq.kv_update %new into %k[%p] : memref<1x1x2x4xf32>, memref<1x1x5x4xf16>
  ganq.kv_update %minus into %v[%p] : memref<1x1x2x4xf32>, memref<1x1x5x4xf32>
  ganq.attention %q, %k, %v past(%p) causal out(%y : memref<1x2x2x4xf32>) {scale = 0.5 : f32} : memref<1x2x2x4xf32>, memref<1x1x5x4xf16>, memref<1x1x5x4xf32>
  return
}
func.func @masked(%q: memref<1x2x2x4xf32>, %k: memref<1x1x5x4xf16>, %v: memref<1x1x5x4xf32>, %mask: memref<1x1x2x5xf32>, %y: memref<1x2x2x4xf32>) {
  ganq.attention %q, %k, %v mask(%mask : memref<1x1x2x5xf32>) out(%y : memref<1x2x2x4xf32>) {scale = 0.5 : f32} : memref<1x2x2x4xf32>, memref<1x1x5x4xf16>, memref<1x1x5x4xf32>
  return
}
// More keys than lanes: 300, of which the first 200 count; each value is the
// number of its key, all weights are equal.
func.func @long(%q: memref<1x1x1x4xf32>, %past: memref<1xi64>, %k: memref<1x1x300x4xf32>, %v: memref<1x1x300x4xf32>, %y: memref<1x1x1x4xf32>) {
  %c0 = arith.constant 0 : index
  %count = memref.load %past[%c0] : memref<1xi64>
  %p = arith.index_cast %count : i64 to index
  ganq.attention %q, %k, %v past(%p) causal out(%y : memref<1x1x1x4xf32>) {scale = 0.5 : f32} : memref<1x1x1x4xf32>, memref<1x1x300x4xf32>, memref<1x1x300x4xf32>
  return
}
// The same with key and value of the last of these as new ones.
func.func @long_step(%q: memref<1x1x1x4xf32>, %new_k: memref<1x1x1x4xf32>, %new_v: memref<1x1x1x4xf32>, %past: memref<1xi64>,
                     %k: memref<1x1x300x4xf32>, %v: memref<1x1x300x4xf32>, %y: memref<1x1x1x4xf32>) {
  %c0 = arith.constant 0 : index
  %count = memref.load %past[%c0] : memref<1xi64>
  %p = arith.index_cast %count : i64 to index
  ganq.kv_update %new_k into %k[%p] : memref<1x1x1x4xf32>, memref<1x1x300x4xf32>
  ganq.kv_update %new_v into %v[%p] : memref<1x1x1x4xf32>, memref<1x1x300x4xf32>
  ganq.attention %q, %k, %v past(%p) causal out(%y : memref<1x1x1x4xf32>) {scale = 0.5 : f32} : memref<1x1x1x4xf32>, memref<1x1x300x4xf32>, memref<1x1x300x4xf32>
  return
}
func.func @copies(%x: memref<1x2x4xf32>, %t: memref<1x4x2xf32>, %y: memref<1x2x4xf32>, %z: memref<1x2xf32>) {
  %zero = arith.constant 0.0 : f32
  linalg.transpose ins(%x : memref<1x2x4xf32>) outs(%t : memref<1x4x2xf32>) permutation = [0, 2, 1]
  memref.copy %x, %y : memref<1x2x4xf32> to memref<1x2x4xf32>
  linalg.fill ins(%zero : f32) outs(%z : memref<1x2xf32>)
  linalg.generic {indexing_maps = [affine_map<(d0, d1, d2) -> (d0, d1, d2)>, affine_map<(d0, d1, d2) -> (d0, d1)>],
                  iterator_types = ["parallel", "parallel", "reduction"]}
      ins(%x : memref<1x2x4xf32>) outs(%z : memref<1x2xf32>) {
  ^bb0(%in: f32, %out: f32):
    %0 = arith.addf %in, %out : f32
    linalg.yield %0 : f32
  }
  return
}
func.func @rows(%x: memref<1x2x4xf32>, %row: memref<1xi64>, %y: memref<1x1x4xf32>) {
  %c0 = arith.constant 0 : index
  linalg.generic {indexing_maps = [affine_map<(d0, d1, d2) -> (d0, d1, d2)>],
                  iterator_types = ["parallel", "parallel", "parallel"]}
      outs(%y : memref<1x1x4xf32>) {
  ^bb0(%out: f32):
    %column = linalg.index 2 : index
    %in = memref.load %row[%c0] : memref<1xi64>
    %at = arith.index_cast %in : i64 to index
    %value = memref.load %x[%c0, %at, %column] : memref<1x2x4xf32>
    linalg.yield %value : f32
  }
  return
}

memref.global "private" constant @x : memref<1x2x4xf32> = dense<[[[1.0, 2.0, 3.0, 4.0], [-1.0, 0.5, 2.0, -3.0]]]>
memref.global "private" constant @w : memref<4xf32> = dense<[1.0, 2.0, 0.5, -1.0]>
memref.global "private" constant @b : memref<4xf32> = dense<[0.5, 0.0, -1.0, 1.0]>
memref.global "private" constant @up : memref<1x2x4xf32> = dense<[[[1.0, 2.0, 0.5, -1.0], [1.0, 2.0, 0.5, -1.0]]]>
memref.global "private" constant @matrix : memref<3x4xf32> = dense<[[1.0, 0.0, 2.0, -1.0], [0.5, 1.0, -1.0, 0.0], [2.0, 2.0, 2.0, 2.0]]>
memref.global "private" constant @bias : memref<3xf32> = dense<[10.0, 20.0, 30.0]>
memref.global "private" constant @cos : memref<1x2xf32> = dense<[[0.5, 0.25]]>
memref.global "private" constant @sin : memref<1x2xf32> = dense<[[2.0, -1.0]]>
memref.global "private" constant @cos1 : memref<1x1xf32> = dense<0.5>
memref.global "private" constant @sin1 : memref<1x1xf32> = dense<2.0>
memref.global "private" constant @two : memref<1xi64> = dense<2>
memref.global "private" constant @one : memref<1xi64> = dense<1>
memref.global "private" constant @most : memref<1xi64> = dense<199>
memref.global "private" constant @q : memref<1x2x2x4xf32> = dense<[[[[-2.0, -1.75, -1.5, -1.25], [-1.0, -0.75, -0.5, -0.25]],
                                                                     [[0.0, 0.25, 0.5, 0.75], [1.0, 1.25, 1.5, 1.75]]]]>
memref.global "private" constant @minus : memref<1x1x2x4xf32> = dense<[[[[-1.0, -2.0, -3.0, -4.0], [1.0, -0.5, -2.0, 3.0]]]]>
memref.global "private" @k : memref<1x1x5x4xf16> = dense<[[[[1.0, 0.0, -1.0, 2.0], [0.5, 0.5, 0.5, 0.5], [0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]]]>
memref.global "private" @v : memref<1x1x5x4xf32> = dense<[[[[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0], [0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]]]>
memref.global "private" constant @mask : memref<1x1x2x5xf32> = dense<[[[[0.0, -1.0, 0.0, 0.5, 0.0], [0.25, 0.0, 0.0, 0.0, 0.0]]]]>
memref.global "private" constant @q1 : memref<1x1x1x4xf32> = dense<3.0>
memref.global "private" constant @new_k : memref<1x1x1x4xf32> = dense<0.25>
memref.global "private" constant @new_v : memref<1x1x1x4xf32> = dense<199.0>
memref.global "private" @long_k : memref<1x1x300x4xf32> = dense<0.25>

func.func private @printMemrefF32(memref<*xf32>)

func.func @main() {
  %x = memref.get_global @x : memref<1x2x4xf32>
  %w = memref.get_global @w : memref<4xf32>
  %b = memref.get_global @b : memref<4xf32>
  %up = memref.get_global @up : memref<1x2x4xf32>
  %matrix = memref.get_global @matrix : memref<3x4xf32>
  %bias = memref.get_global @bias : memref<3xf32>
  %y = memref.alloc() : memref<1x2x4xf32>
  %yp = memref.cast %y : memref<1x2x4xf32> to memref<*xf32>
  // CHECK: [0.365148, 1.46059, 0.547722, -1.46059], [-0.529812, 0.529812, 0.529812, 1.58944]
  call @rms_norm(%x, %w, %y) : (memref<1x2x4xf32>, memref<4xf32>, memref<1x2x4xf32>) -> ()
  call @printMemrefF32(%yp) : (memref<*xf32>) -> ()
  // CHECK: [-0.841635, -0.894424, -0.776394, -0.341635], [0.162132, 0.946031, -0.35805, 2.41905]
  call @layer_norm(%x, %w, %b, %y) : (memref<1x2x4xf32>, memref<4xf32>, memref<4xf32>, memref<1x2x4xf32>) -> ()
  call @printMemrefF32(%yp) : (memref<*xf32>) -> ()

  // The rows are 0, 1, ..., 299 and 7 times that: normalized they are equal, and
  // begin with -149.5 / sqrt((300^2 - 1) / 12).
  // CHECK: -1.7262
  // CHECK-NEXT: 1.7262
  // CHECK-NEXT: -1.7262
  // CHECK-NEXT: 1.7262
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c2 = arith.constant 2 : index
  %c7 = arith.constant 7 : index
  %c299 = arith.constant 299 : index
  %c300 = arith.constant 300 : index
  %wide = memref.alloc() : memref<2x300xf32>
  %wide_y = memref.alloc() : memref<2x300xf32>
  scf.for %i = %c0 to %c2 step %c1 {
    scf.for %j = %c0 to %c300 step %c1 {
      %six = arith.constant 6 : index
      %scale = arith.muli %i, %six : index
      %factor = arith.addi %scale, %c1 : index
      %product = arith.muli %factor, %j : index
      %integer = arith.index_cast %product : index to i64
      %float = arith.sitofp %integer : i64 to f32
      memref.store %float, %wide[%i, %j] : memref<2x300xf32>
    }
  }
  call @wide_norm(%wide, %wide_y) : (memref<2x300xf32>, memref<2x300xf32>) -> ()
  scf.for %i = %c0 to %c2 step %c1 {
    %first = memref.load %wide_y[%i, %c0] : memref<2x300xf32>
    %last = memref.load %wide_y[%i, %c299] : memref<2x300xf32>
    vector.print %first : f32
    vector.print %last : f32
  }

  // CHECK: [0.731059, 3.52319, 1.42886, -3.92806], [-0.268941, 0.622459, 0.880797, 0.142278]
  call @swiglu(%x, %up, %y) : (memref<1x2x4xf32>, memref<1x2x4xf32>, memref<1x2x4xf32>) -> ()
  call @printMemrefF32(%yp) : (memref<*xf32>) -> ()
  // CHECK: [0.841345, 1.9545, 2.99595, 3.99987], [-0.158655, 0.345731, 1.9545, -0.0040{{[45].*}}]
  call @gelu(%x, %y) : (memref<1x2x4xf32>, memref<1x2x4xf32>) -> ()
  call @printMemrefF32(%yp) : (memref<*xf32>) -> ()

  // CHECK: {{.*}}[-5.5, 4.5, 3.5, -1]{{.*}}[-4.5, -2.875, -1, -1.25]
  // CHECK: {{.*}}[-3.5, 3, 4.75, -2]{{.*}}[-1.5, -1.75, -2.5, -2.75]
  // CHECK: {{.*}}[-3.5, 3, 3, 4]{{.*}}[-1.5, -1.75, 2, -3]
  %heads = memref.expand_shape %x [[0], [1], [2, 3]] output_shape [1, 2, 1, 4] : memref<1x2x4xf32> into memref<1x2x1x4xf32>
  %cos = memref.get_global @cos : memref<1x2xf32>
  %sin = memref.get_global @sin : memref<1x2xf32>
  %cos1 = memref.get_global @cos1 : memref<1x1xf32>
  %sin1 = memref.get_global @sin1 : memref<1x1xf32>
  %r = memref.alloc() : memref<1x2x1x4xf32>
  %s = memref.alloc() : memref<1x2x1x4xf32>
  %rp = memref.cast %r : memref<1x2x1x4xf32> to memref<*xf32>
  %sp = memref.cast %s : memref<1x2x1x4xf32> to memref<*xf32>
  call @rope(%heads, %cos, %sin, %r, %s) : (memref<1x2x1x4xf32>, memref<1x2xf32>, memref<1x2xf32>, memref<1x2x1x4xf32>, memref<1x2x1x4xf32>) -> ()
  call @printMemrefF32(%rp) : (memref<*xf32>) -> ()
  call @printMemrefF32(%sp) : (memref<*xf32>) -> ()
  call @partial_rope(%heads, %cos1, %sin1, %r) : (memref<1x2x1x4xf32>, memref<1x1xf32>, memref<1x1xf32>, memref<1x2x1x4xf32>) -> ()
  call @printMemrefF32(%rp) : (memref<*xf32>) -> ()

  // CHECK: [13, 19.5, 50], [16, 18, 27]
  %m = memref.alloc() : memref<1x2x3xf32>
  %mp = memref.cast %m : memref<1x2x3xf32> to memref<*xf32>
  call @matmul(%x, %matrix, %bias, %m) : (memref<1x2x4xf32>, memref<3x4xf32>, memref<3xf32>, memref<1x2x3xf32>) -> ()
  call @printMemrefF32(%mp) : (memref<*xf32>) -> ()

  // CHECK: [2, 2, 2, 2]
  %two = memref.get_global @two : memref<1xi64>
  %one = memref.get_global @one : memref<1xi64>
  %position = memref.alloc() : memref<1x4xf32>
  %pp = memref.cast %position : memref<1x4xf32> to memref<*xf32>
  call @positions(%matrix, %two, %position) : (memref<3x4xf32>, memref<1xi64>, memref<1x4xf32>) -> ()
  call @printMemrefF32(%pp) : (memref<*xf32>) -> ()

  // CHECK: [2.87007, 3.86744, 4.86481, 5.86218]
  // CHECK-SAME: [1.81349, 1.50501, 1.19653, 4.11445]
  // CHECK-SAME: [-0.213187, -0.807107, -1.40103, -1.99495]
  // CHECK-SAME: [-0.981708, -1.97249, -2.96328, -3.9531]
  %q = memref.get_global @q : memref<1x2x2x4xf32>
  %new = memref.expand_shape %x [[0], [1, 2], [3]] output_shape [1, 1, 2, 4] : memref<1x2x4xf32> into memref<1x1x2x4xf32>
  %minus = memref.get_global @minus : memref<1x1x2x4xf32>
  %k = memref.get_global @k : memref<1x1x5x4xf16>
  %v = memref.get_global @v : memref<1x1x5x4xf32>
  %mask = memref.get_global @mask : memref<1x1x2x5xf32>
  %a = memref.alloc() : memref<1x2x2x4xf32>
  %ap = memref.cast %a : memref<1x2x2x4xf32> to memref<*xf32>
  call @step(%q, %new, %minus, %two, %k, %v, %a)
      : (memref<1x2x2x4xf32>, memref<1x1x2x4xf32>, memref<1x1x2x4xf32>, memref<1xi64>, memref<1x1x5x4xf16>, memref<1x1x5x4xf32>, memref<1x2x2x4xf32>) -> ()
  call @printMemrefF32(%ap) : (memref<*xf32>) -> ()
  // CHECK: [0.870812, -0.222525, -1.31586, 2.56077]
  // CHECK-SAME: [1.2711{{[78]}}, 1.1109, 0.950627, 2.96683]
  // CHECK-SAME: [-0.424267, -1.12387, -1.82347, -2.1486]
  // CHECK-SAME: [-0.979781, -1.96863, -2.95748, -3.9453{{[67]}}]
  call @masked(%q, %k, %v, %mask, %a) : (memref<1x2x2x4xf32>, memref<1x1x5x4xf16>, memref<1x1x5x4xf32>, memref<1x1x2x5xf32>, memref<1x2x2x4xf32>) -> ()
  call @printMemrefF32(%ap) : (memref<*xf32>) -> ()

  // CHECK: [99.5, 99.5, 99.5, 99.5]
  %most = memref.get_global @most : memref<1xi64>
  %q1 = memref.get_global @q1 : memref<1x1x1x4xf32>
  %long_k = memref.get_global @long_k : memref<1x1x300x4xf32>
  %long_v = memref.alloc() : memref<1x1x300x4xf32>
  %c4 = arith.constant 4 : index
  scf.for %i = %c0 to %c300 step %c1 {
    scf.for %j = %c0 to %c4 step %c1 {
      %integer = arith.index_cast %i : index to i64
      %float = arith.sitofp %integer : i64 to f32
      memref.store %float, %long_v[%c0, %c0, %i, %j] : memref<1x1x300x4xf32>
    }
  }
  %l = memref.alloc() : memref<1x1x1x4xf32>
  %lp = memref.cast %l : memref<1x1x1x4xf32> to memref<*xf32>
  call @long(%q1, %most, %long_k, %long_v, %l) : (memref<1x1x1x4xf32>, memref<1xi64>, memref<1x1x300x4xf32>, memref<1x1x300x4xf32>, memref<1x1x1x4xf32>) -> ()
  call @printMemrefF32(%lp) : (memref<*xf32>) -> ()
  // CHECK: [99.5, 99.5, 99.5, 99.5]
  // CHECK-NEXT: 199
  // CHECK-NEXT: 0.25
  %nan = arith.constant 0x7FC00000 : f32
  %c199 = arith.constant 199 : index
  scf.for %j = %c0 to %c4 step %c1 {
    memref.store %nan, %long_k[%c0, %c0, %c199, %j] : memref<1x1x300x4xf32>
    memref.store %nan, %long_v[%c0, %c0, %c199, %j] : memref<1x1x300x4xf32>
  }
  %new_k = memref.get_global @new_k : memref<1x1x1x4xf32>
  %new_v = memref.get_global @new_v : memref<1x1x1x4xf32>
  call @long_step(%q1, %new_k, %new_v, %most, %long_k, %long_v, %l)
      : (memref<1x1x1x4xf32>, memref<1x1x1x4xf32>, memref<1x1x1x4xf32>, memref<1xi64>, memref<1x1x300x4xf32>, memref<1x1x300x4xf32>, memref<1x1x1x4xf32>) -> ()
  call @printMemrefF32(%lp) : (memref<*xf32>) -> ()
  %written_v = memref.load %long_v[%c0, %c0, %c199, %c0] : memref<1x1x300x4xf32>
  %written_k = memref.load %long_k[%c0, %c0, %c199, %c0] : memref<1x1x300x4xf32>
  vector.print %written_v : f32
  vector.print %written_k : f32

  // CHECK: [1, -1], [2, 0.5], [3, 2], [4, -3]
  // CHECK: [1, 2, 3, 4], [-1, 0.5, 2, -3]
  // CHECK: [10, -1.5]
  %t = memref.alloc() : memref<1x4x2xf32>
  %tp = memref.cast %t : memref<1x4x2xf32> to memref<*xf32>
  %z = memref.alloc() : memref<1x2xf32>
  %zp = memref.cast %z : memref<1x2xf32> to memref<*xf32>
  call @copies(%x, %t, %y, %z) : (memref<1x2x4xf32>, memref<1x4x2xf32>, memref<1x2x4xf32>, memref<1x2xf32>) -> ()
  call @printMemrefF32(%tp) : (memref<*xf32>) -> ()
  call @printMemrefF32(%yp) : (memref<*xf32>) -> ()
  call @printMemrefF32(%zp) : (memref<*xf32>) -> ()
  // CHECK: [-1, 0.5, 2, -3]
  %row = memref.alloc() : memref<1x1x4xf32>
  %rowp = memref.cast %row : memref<1x1x4xf32> to memref<*xf32>
  call @rows(%x, %one, %row) : (memref<1x2x4xf32>, memref<1xi64>, memref<1x1x4xf32>) -> ()
  call @printMemrefF32(%rowp) : (memref<*xf32>) -> ()
  return
}
