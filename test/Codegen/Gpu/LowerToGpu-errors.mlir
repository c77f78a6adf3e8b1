// RUN: ganq-opt %s --ganq-lower-to-gpu --split-input-file --verify-diagnostics

func.func @dynamic(%x: memref<1x?x8xf32>, %y: memref<1x?x8xf32>) {
  // expected-error @below {{expected static shapes for GPU kernels, but got 'memref<1x?x8xf32>'}}
  ganq.rms_norm %x out(%y : memref<1x?x8xf32>) {epsilon = 1.0e-5 : f32} : memref<1x?x8xf32>
  return
}

// -----

func.func @strided(%x: memref<2x8xf32, strided<[16, 1]>>, %y: memref<2x8xf32>) {
  // expected-error @below {{expected buffers without strides, but got 'memref<2x8xf32, strided<[16, 1]>>'}}
  memref.copy %x, %y : memref<2x8xf32, strided<[16, 1]>> to memref<2x8xf32>
  return
}

// -----

func.func @records(%x: memref<1x1x1x4xf32>, %cache: memref<1x1x8x8xi8>, %past: index) {
  // expected-error @below {{expected a cache of floats for GPU kernels, but got 'memref<1x1x8x8xi8>'; compile with --kv-cache=f16}}
  ganq.kv_update %x into %cache[%past] : memref<1x1x1x4xf32>, memref<1x1x8x8xi8>
  return
}

// -----

func.func @attention(%q: memref<1x1x1x4xf32>, %cache: memref<1x1x8x8xi8>, %past: index, %y: memref<1x1x1x4xf32>) {
  // expected-error @below {{expected a cache of floats for GPU kernels, but got 'memref<1x1x8x8xi8>'}}
  ganq.attention %q, %cache, %cache past(%past) causal out(%y : memref<1x1x1x4xf32>) {scale = 1.0 : f32} : memref<1x1x1x4xf32>, memref<1x1x8x8xi8>, memref<1x1x8x8xi8>
  return
}

// -----

// expected-error @below {{expected buffers and counts of tokens, but got 'tensor<2x8xf32>'}}
func.func @tensors(%x: tensor<2x8xf32>, %y: memref<2x8xf32>) {
  return
}

// -----

func.func @packed(%x: memref<1x64xf32>, %c: memref<2048xi8>, %t: memref<64x1x16xf16>, %y: memref<1x64xf32>) {
  // expected-error @below {{expected an op with a GPU kernel}}
  ganq.packed_matmul %x weight(%c, %t : memref<2048xi8>, memref<64x1x16xf16>) out(%y : memref<1x64xf32>) {k = 64 : i64, n = 64 : i64, scheme = #ganq.lut<bits = 4>} : memref<1x64xf32>
  return
}

// -----

func.func @unknown(%x: memref<1x8xf32>) {
  // expected-error @below {{expected an op with a GPU kernel}}
  ganq.observe %x as "x" 0 : memref<1x8xf32>
  return
}

// -----

func.func @loop(%x: memref<8xf32>) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c8 = arith.constant 8 : index
  // expected-error @below {{expected an op with a GPU kernel}}
  scf.for %i = %c0 to %c8 step %c1 {
    %value = memref.load %x[%i] : memref<8xf32>
    memref.store %value, %x[%i] : memref<8xf32>
  }
  return
}

// -----

func.func @host(%x: memref<8xf32>, %n: memref<1xf32>) {
  %c0 = arith.constant 0 : index
  %value = memref.load %n[%c0] : memref<1xf32>
  // expected-error @below {{expected its body to use buffers and constants, but got 'f32' that the host computes}}
  linalg.generic {indexing_maps = [affine_map<(d0) -> (d0)>], iterator_types = ["parallel"]} outs(%x : memref<8xf32>) {
  ^bb0(%out: f32):
    linalg.yield %value : f32
  }
  return
}

// -----

func.func @operand(%x: memref<8xf32>, %n: memref<1xf32>) {
  %c0 = arith.constant 0 : index
  %value = memref.load %n[%c0] : memref<1xf32>
  // expected-error @below {{expected buffers or constants, but got 'f32' that the host computes}}
  linalg.fill ins(%value : f32) outs(%x : memref<8xf32>)
  return
}

// -----

func.func @sum(%table: memref<8x4xf32>, %past: index, %y: memref<1x4xf32>) {
  %c1 = arith.constant 1 : index
  %next = arith.addi %past, %c1 : index
  // expected-error @below {{expected the count of tokens to be an argument of the step function}}
  ganq.position_rows %table[%next, %c1] out(%y : memref<1x4xf32>) : memref<8x4xf32>
  return
}

// -----

// expected-error @below {{expected one block in a step function}}
func.func @blocks(%x: memref<8xf32>) {
  cf.br ^next
^next:
  return
}

// -----

func.func @large(%x: memref<65536x65536xf16>, %y: memref<65536x65536xf16>) {
  // expected-error @below {{expected buffers of 1 to 2147483647 elements for GPU kernels, but got 'memref<65536x65536xf16>'}}
  memref.copy %x, %y : memref<65536x65536xf16> to memref<65536x65536xf16>
  return
}

// -----

func.func @captured_dynamic(%ids: memref<3xi64>, %t: memref<?x4xf32>, %o: memref<3x4xf32>) {
  // expected-error @below {{expected static shapes for GPU kernels, but got 'memref<?x4xf32>'}}
  linalg.generic {indexing_maps = [affine_map<(d0, d1) -> (d0)>, affine_map<(d0, d1) -> (d0, d1)>], iterator_types = ["parallel", "parallel"]}
      ins(%ids : memref<3xi64>) outs(%o : memref<3x4xf32>) {
  ^bb0(%id: i64, %out: f32):
    %i = arith.index_cast %id : i64 to index
    %j = linalg.index 1 : index
    %e = memref.load %t[%i, %j] : memref<?x4xf32>
    linalg.yield %e : f32
  }
  return
}

// -----

func.func @captured_strided(%ids: memref<3xi64>, %t: memref<5x4xf32, strided<[8, 1]>>, %o: memref<3x4xf32>) {
  // expected-error @below {{expected buffers without strides, but got 'memref<5x4xf32, strided<[8, 1]>>'}}
  linalg.generic {indexing_maps = [affine_map<(d0, d1) -> (d0)>, affine_map<(d0, d1) -> (d0, d1)>], iterator_types = ["parallel", "parallel"]}
      ins(%ids : memref<3xi64>) outs(%o : memref<3x4xf32>) {
  ^bb0(%id: i64, %out: f32):
    %i = arith.index_cast %id : i64 to index
    %j = linalg.index 1 : index
    %e = memref.load %t[%i, %j] : memref<5x4xf32, strided<[8, 1]>>
    linalg.yield %e : f32
  }
  return
}

// -----

func.func @many_tokens(%past: index, %q: memref<1x1x16384x65536xf32>, %k: memref<1x1x16384x65536xf32>, %v: memref<1x1x16384x65536xf32>,
                       %keys: memref<1x1x16384x65536xf32>, %values: memref<1x1x16384x65536xf32>, %o: memref<1x1x16384x65536xf32>) {
  ganq.kv_update %k into %keys[%past] : memref<1x1x16384x65536xf32>, memref<1x1x16384x65536xf32>
  ganq.kv_update %v into %values[%past] : memref<1x1x16384x65536xf32>, memref<1x1x16384x65536xf32>
  // expected-error @below {{to have at most 2147483647 elements together, but got 2147483648; compile with fewer tokens per chunk}}
  ganq.attention %q, %keys, %values past(%past) causal out(%o : memref<1x1x16384x65536xf32>) {scale = 1.0 : f32} : memref<1x1x16384x65536xf32>, memref<1x1x16384x65536xf32>, memref<1x1x16384x65536xf32>
  return
}
