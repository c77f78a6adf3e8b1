// RUN: ganq-opt %s --ganq-add-argmax --split-input-file --verify-diagnostics

// expected-error @+1 {{expected the last argument to be logits of one token, 1 to 2147483647 of type f32, but got '(memref<1xi64>, memref<2x100xf32>) -> ()'}}
func.func @decode(%past: memref<1xi64>, %logits: memref<2x100xf32>) {
  return
}

// -----

// expected-error @+1 {{but got '(memref<100xf16>) -> ()'}}
func.func @prompt(%logits: memref<100xf16>) {
  return
}

// -----

// expected-error @+1 {{but got '(memref<1x?xf32>) -> ()'}}
func.func @decode(%logits: memref<1x?xf32>) {
  return
}

// -----

// expected-error @+1 {{but got '(memref<1x8xf32, strided<[16, 1]>>) -> ()'}}
func.func @decode(%logits: memref<1x8xf32, strided<[16, 1]>>) {
  return
}

// -----

// expected-error @+1 {{but got '(memref<f32>) -> ()'}}
func.func @decode(%logits: memref<f32>) {
  return
}

// -----

// expected-error @+1 {{but got '(memref<0xf32>) -> ()'}}
func.func @decode(%logits: memref<0xf32>) {
  return
}

// -----

// expected-error @+1 {{but got '(index) -> ()'}}
func.func @decode(%past: index) {
  return
}

// -----

// expected-error @+1 {{but got '() -> ()'}}
func.func @decode() {
  return
}

// -----

// expected-error @+1 {{expected a public function of one block without results}}
func.func @decode(%logits: memref<8xf32>) {
  cf.br ^bb1
^bb1:
  return
}

// -----

// expected-error @+1 {{expected a public function of one block without results}}
func.func @decode(%past: index, %logits: memref<8xf32>) -> index {
  return %past : index
}
