// RUN: ganq-opt %s --ganq-convert-to-llvm --split-input-file --verify-diagnostics

func.func @observe(%x: memref<4xf16>) {
  // expected-error @below {{expected an f32 buffer without strides, but got 'memref<4xf16>'}}
  ganq.observe %x as "x" 0 : memref<4xf16>
  return
}

// -----

func.func @parameter() {
  // expected-error @below {{expected a static buffer without strides, but got 'tensor<4xf32>'}}
  %p = ganq.parameter "p" : tensor<4xf32>
  return
}
