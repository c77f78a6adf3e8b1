// RUN: ganq-opt %s --ganq-lower-kernels=cpu=x86-64-v3 --split-input-file --verify-diagnostics

func.func @tensors(%x: tensor<1x8xf32>) -> tensor<1x8xf32> {
  // expected-error @below {{expected buffers, but got 'tensor<1x8xf32>'; bufferize first}}
  %y = ganq.rms_norm %x {epsilon = 1.0e-5 : f32} : tensor<1x8xf32> -> tensor<1x8xf32>
  return %y : tensor<1x8xf32>
}

// -----

func.func @strides(%x: memref<4x8xf32, strided<[16, 1]>>, %y: memref<4x8xf32>) {
  // expected-error @below {{expected buffers without strides}}
  ganq.rms_norm %x out(%y : memref<4x8xf32>) {epsilon = 1.0e-5 : f32} : memref<4x8xf32, strided<[16, 1]>>
  return
}

// -----

func.func @heads(%q: memref<1x4x1x?xf32>, %o: memref<1x4x1x?xf32>) {
  // expected-error @below {{expected a static head size}}
  ganq.attention %q, %q, %q out(%o : memref<1x4x1x?xf32>) {scale = 1.0 : f32}
    : memref<1x4x1x?xf32>, memref<1x4x1x?xf32>, memref<1x4x1x?xf32>
  return
}

// -----

func.func @no_such_tile(%x: memref<2x16xf32>, %w: memref<4x16xf32>, %y: memref<2x4xf32>) {
  // expected-error @below {{expected `ganq.tile` to be one of `registers rows=1`, `panels rows=6 served=256 columns=256`, but got "registers rows=4"}}
  ganq.matmul %x, %w out(%y : memref<2x4xf32>) {ganq.tile = "registers rows=4"} : memref<2x16xf32>, memref<4x16xf32>
  return
}
