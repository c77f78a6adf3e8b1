// RUN: ganq-opt %s --ganq-lower-gpu-products='chips=sm_80,sm_100' --split-input-file --verify-diagnostics
// RUN: not ganq-opt %s --ganq-lower-gpu-products='chips=sm_75' 2>&1 | FileCheck %s --check-prefix=CHIP
// RUN: not ganq-opt %s --ganq-lower-gpu-products='strategy=f16' 2>&1 | FileCheck %s --check-prefix=STRATEGY
// RUN: not ganq-opt %s --split-input-file --ganq-lower-gpu-products='chips=sm_80,sm_100 strategy=btc' 2>&1 | FileCheck %s --check-prefix=BTC

// CHIP: error: expected the chip to be one of sm_80, {{.*}}, but got `sm_75`
// STRATEGY: error: expected `strategy` to be auto, int8 or btc, but got `f16`
// BTC: error: 'ganq.packed_matmul' op weight 'v': expected a chip with instructions for strategy `btc` (sm_80, sm_86, sm_89, sm_90, sm_90a), but got `sm_100`, which emulates them; use `int8` or `dp4a`

func.func @groups(%x: memref<1x128xf32>, %y: memref<1x32xf32>) {
  %c = ganq.parameter "m.w.codes" : memref<2048xi8>
  %t = ganq.parameter "m.w.table" : memref<32x2x16xf16>
  // expected-error @below {{weight 'm.w': expected one table per row for the GPU kernels, but got #ganq.lut<bits = 4, group = 64>; leave out group and rows}}
  ganq.packed_matmul %x weight(%c, %t : memref<2048xi8>, memref<32x2x16xf16>) out(%y : memref<1x32xf32>) {k = 128 : i64, n = 32 : i64, scheme = #ganq.lut<bits = 4, group = 64>} : memref<1x128xf32>
  return
}

// -----

func.func @dynamic(%x: memref<?x64xf32>, %y: memref<?x32xf32>) {
  %c = ganq.parameter "w.codes" : memref<1024xi8>
  %t = ganq.parameter "w.table" : memref<32x1x16xf16>
  // expected-error @below {{expected buffers of static shape without strides for GPU kernels, but got 'memref<?x64xf32>'}}
  ganq.packed_matmul %x weight(%c, %t : memref<1024xi8>, memref<32x1x16xf16>) out(%y : memref<?x32xf32>) {k = 64 : i64, n = 32 : i64, scheme = #ganq.lut<bits = 4>} : memref<?x64xf32>
  return
}

// -----

func.func @tensors(%x: tensor<1x64xf32>) {
  %c = ganq.parameter "w.codes" : tensor<1024xi8>
  %t = ganq.parameter "w.table" : tensor<32x1x16xf16>
  // expected-error @below {{expected buffers, but got 'tensor<1x64xf32>'; bufferize first}}
  %y = ganq.packed_matmul %x weight(%c, %t : tensor<1024xi8>, tensor<32x1x16xf16>) {k = 64 : i64, n = 32 : i64, scheme = #ganq.lut<bits = 4>} : tensor<1x64xf32> -> tensor<1x32xf32>
  return
}

// -----

func.func @computed(%x: memref<1x64xf32>, %c: memref<1024xi8>, %t: memref<32x1x16xf16>, %y: memref<1x32xf32>) {
  // expected-error @below {{expected a weight that is stored, but got a computed one}}
  ganq.packed_matmul %x weight(%c, %t : memref<1024xi8>, memref<32x1x16xf16>) out(%y : memref<1x32xf32>) {k = 64 : i64, n = 32 : i64, scheme = #ganq.lut<bits = 4>} : memref<1x64xf32>
  return
}

// -----

func.func @records(%r: memref<1x128xi8>, %y: memref<1x32xf32>) {
  %c = ganq.parameter "v.codes" : memref<512xi8>
  %s = ganq.parameter "v.scale" : memref<32x1xf16>
  %z = ganq.parameter "v.zero" : memref<32x1xi8>
  %m = ganq.parameter "v.sum" : memref<32x1xi32>
  // expected-error @below {{expected x to come from `ganq.quantize_rows` of the same block, with nothing else}}
  ganq.packed_matmul %r weight(%c, %s, %z, %m : memref<512xi8>, memref<32x1xf16>, memref<32x1xi8>, memref<32x1xi32>) out(%y : memref<1x32xf32>) {k = 64 : i64, n = 32 : i64, scheme = #ganq.uniform<bits = 2, activation = 8>, strategy = #ganq.strategy<int8>} : memref<1x128xi8>
  return
}

// -----

func.func @blocks(%x: memref<1x64xf32>, %y: memref<1x32xf32>) {
  %c = ganq.parameter "w.codes" : memref<1024xi8>
  %s = ganq.parameter "w.scale" : memref<32x1xf16>
  %z = ganq.parameter "w.zero" : memref<32x1xi8>
  %m = ganq.parameter "w.sum" : memref<32x1xi32>
  %r = memref.alloc() : memref<1x128xi8>
  ganq.quantize_rows %x out(%r : memref<1x128xi8>) {bits = 8 : i64} : memref<1x64xf32>
  cf.br ^bb1
^bb1:
  // expected-error @below {{expected x to come from `ganq.quantize_rows` of the same block, with nothing else that writes it in between}}
  ganq.packed_matmul %r weight(%c, %s, %z, %m : memref<1024xi8>, memref<32x1xf16>, memref<32x1xi8>, memref<32x1xi32>) out(%y : memref<1x32xf32>) {k = 64 : i64, n = 32 : i64, scheme = #ganq.uniform<bits = 4, activation = 8>, strategy = #ganq.strategy<int8>} : memref<1x128xi8>
  return
}

// -----

func.func @overwritten(%x: memref<1x64xf32>, %other: memref<1x128xi8>, %y: memref<1x32xf32>) {
  %c = ganq.parameter "w.codes" : memref<1024xi8>
  %s = ganq.parameter "w.scale" : memref<32x1xf16>
  %z = ganq.parameter "w.zero" : memref<32x1xi8>
  %m = ganq.parameter "w.sum" : memref<32x1xi32>
  %r = memref.alloc() : memref<1x128xi8>
  ganq.quantize_rows %x out(%r : memref<1x128xi8>) {bits = 8 : i64} : memref<1x64xf32>
  memref.copy %other, %r : memref<1x128xi8> to memref<1x128xi8>
  // expected-error @below {{expected x to come from `ganq.quantize_rows` of the same block}}
  ganq.packed_matmul %r weight(%c, %s, %z, %m : memref<1024xi8>, memref<32x1xf16>, memref<32x1xi8>, memref<32x1xi32>) out(%y : memref<1x32xf32>) {k = 64 : i64, n = 32 : i64, scheme = #ganq.uniform<bits = 4, activation = 8>, strategy = #ganq.strategy<int8>} : memref<1x128xi8>
  return
}
