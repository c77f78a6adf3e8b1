// RUN: ganq-opt %s --verify-diagnostics --split-input-file

// lut-bits
// expected-error @below {{expected bits to be between 1 and 8, but got 9}}
func.func private @lut_bits(tensor<4x32xf32, #ganq.lut<bits = 9>>)

// -----

// lut-group
// expected-error @below {{expected group to be 0 or a positive multiple of 32 for 4-bit codes, but got 20}}
func.func private @lut_group(tensor<4x32xf32, #ganq.lut<bits = 4, group = 20>>)

// -----

// uniform-bits
// expected-error @below {{expected bits to be between 1 and 8, but got 0}}
func.func private @uniform_bits(tensor<4x32xf32, #ganq.uniform<bits = 0>>)

// -----

// parameter-transposed
func.func @parameter_transposed() {
  // expected-error @below {{expected a transposed parameter to have rank 2, but got 'tensor<4xf32>'}}
  %0 = ganq.parameter "w" transposed : tensor<4xf32>
  return
}

// -----

func.func @external() {
  // expected-error @below {{expected offset and length to be non-negative}}
  %0 = ganq.parameter "w" from <"f", -1, 16> : tensor<4xf32>
  return
}

// -----

// attention-heads
func.func @attention_heads(%q: tensor<1x8x2x8xf32>, %k: tensor<1x3x2x8xf32>) {
  // expected-error @below {{expected the number of key heads to divide 8, but got 3}}
  %0 = ganq.attention %q, %k, %k {scale = 1.0 : f32} : tensor<1x8x2x8xf32>, tensor<1x3x2x8xf32>, tensor<1x3x2x8xf32> -> tensor<1x8x2x8xf32>
  return
}

// -----

func.func @matmul_k(%x: tensor<2x32xf32>, %w: tensor<8x64xf32>) {
  // expected-error @below {{expected the last dimension of x to be 64, but got 'tensor<2x32xf32>'}}
  %0 = ganq.matmul %x, %w : tensor<2x32xf32>, tensor<8x64xf32> -> tensor<2x8xf32>
  return
}

// -----

func.func @mixed_forms(%x: tensor<2x32xf32>, %w: tensor<8x32xf32>, %o: memref<2x8xf32>) {
  // expected-error @below {{expected all operands to be memrefs, but got 'tensor<2x32xf32>'}}
  ganq.matmul %x, %w out(%o : memref<2x8xf32>) : tensor<2x32xf32>, tensor<8x32xf32>
  return
}

// -----

func.func @packed_components(%x: tensor<2x32xf32>, %c: tensor<64xi8>, %t: tensor<8x1x16xf16>) {
  // expected-error @below {{expected component `codes` to be 'tensor<128xi8>', but got 'tensor<64xi8>'}}
  %0 = ganq.packed_matmul %x weight(%c, %t : tensor<64xi8>, tensor<8x1x16xf16>)
    {scheme = #ganq.lut<bits = 4>, n = 8 : i64, k = 32 : i64} : tensor<2x32xf32> -> tensor<2x8xf32>
  return
}

// -----

// expected-note @below {{callee is declared here}}
func.func private @callee(index, index)

func.func @dispatch_type(%n: index) {
  // expected-error @below {{expected the callee to take (index, index) and the types of the inputs}}
  ganq.dispatch @callee[%n](%n) : (index)
  return
}

// -----

func.func @lookup_size(%t: vector<12xf32>, %i: vector<16xi32>) {
  // expected-error @below {{expected the table size to be a power of two, but got 12}}
  %0 = ganq.table_lookup %t[%i] : vector<12xf32>, vector<16xi32> -> vector<16xf32>
  return
}
