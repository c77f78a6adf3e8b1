// RUN: ganq-opt %s --verify-diagnostics --split-input-file

// lut-bits
// expected-error @below {{expected bits to be between 1 and 8, but got 9}}
func.func private @lut_bits(tensor<4x32xf32, #ganq.lut<bits = 9>>)

// -----

// lut-group
// expected-error @below {{expected group to be 0, a multiple of 32, or a divisor of it that is a multiple of 16, for 4-bit codes, but got 20}}
func.func private @lut_group(tensor<4x32xf32, #ganq.lut<bits = 4, group = 20>>)

// -----

// lut-rows
// expected-error @below {{expected rows to be 1 or a positive multiple of 4 up to 1024, but got 6}}
func.func private @lut_rows(tensor<8x64xf32, #ganq.lut<bits = 4, rows = 6>>)

// -----

// lut-rows
// expected-error @below {{expected rows to be 1 or a positive multiple of 4 up to 1024, but got 1028}}
func.func private @lut_many_rows(tensor<2048x64xf32, #ganq.lut<bits = 4, rows = 1028>>)

// -----

// lut-entry
// expected-error @below {{expected entry to be f16, bf16, i8 or f8E4M3FN, but got 'f32'}}
func.func private @lut_entry(tensor<8x64xf32, #ganq.lut<bits = 4, entry = f32>>)

// -----

// lut-outliers
// expected-error @below {{expected outliers to be between 0 and 5000 ten-thousandths of a row, but got 9000}}
func.func private @lut_outliers(tensor<8x64xf32, #ganq.lut<bits = 4, outliers = 9000>>)

// -----

// lut-outliers
// expected-error @below {{expected at most 7 bits along with outliers, but got 8; tables of 8 bits need no outliers}}
func.func private @lut_outliers_8_bits(tensor<8x64xf32, #ganq.lut<bits = 8, outliers = 50>>)

// -----

// lut-group
// expected-error @below {{expected group to be at most 1073741824, but got 1152921504606846976; 0 groups the whole row}}
func.func private @lut_huge_group(tensor<8x64xf32, #ganq.lut<bits = 4, group = 1152921504606846976>>)

// -----

// lut-full-rows
// expected-error @below {{expected full_rows not to be negative, but got -1}}
func.func private @lut_full_rows(tensor<8x64xf32, #ganq.lut<bits = 4, full_rows = -1>>)

// -----

// uniform-bits
// expected-error @below {{expected bits to be between 1 and 8, but got 0}}
func.func private @uniform_bits(tensor<4x32xf32, #ganq.uniform<bits = 0>>)

// -----

// uniform-group
// expected-error @below {{expected group to be 0, a multiple of 32, or a divisor of it that is a multiple of 16, for 4-bit codes, but got 8}}
func.func private @uniform_group(tensor<4x32xf32, #ganq.uniform<bits = 4, group = 8>>)

// -----

// uniform-levels
// expected-error @below {{expected levels to be 0 or between 2 and 8 for 3-bit codes, but got 9}}
func.func private @uniform_levels(tensor<4x32xf32, #ganq.uniform<bits = 3, levels = 9>>)

// -----

// uniform-scale
// expected-error @below {{expected scale to be f16, bf16 or f32, but got 'i8'}}
func.func private @uniform_scale(tensor<4x32xf32, #ganq.uniform<bits = 3, scale = i8>>)

// -----

// lut-activation
// expected-error @below {{expected activation to be between 0 and 8 bits, but got 9}}
func.func private @lut_activation_bits(tensor<4x32xf32, #ganq.lut<bits = 3, entry = i8, activation = 9>>)

// -----

// lut-activation
// expected-error @below {{expected activation only with entries of i8 and without outliers and full rows, but got entry = 'f16', outliers = 0, full_rows = 0}}
func.func private @lut_activation_entry(tensor<4x32xf32, #ganq.lut<bits = 3, activation = 8>>)

// -----

// lut-activation
// expected-error @below {{expected activation only with entries of i8 and without outliers and full rows, but got entry = 'i8', outliers = 50, full_rows = 1}}
func.func private @lut_activation_sparse(tensor<4x32xf32, #ganq.lut<bits = 3, entry = i8, outliers = 50, full_rows = 1, activation = 8>>)

// -----

// uniform-activation
// expected-error @below {{expected activation to be between 0 and 8 bits, but got 9}}
func.func private @uniform_activation(tensor<4x32xf32, #ganq.uniform<bits = 3, activation = 9>>)

// -----

// uniform-shift
// expected-error @below {{expected shift only with an activation, but got activation = 0}}
func.func private @uniform_shift(tensor<4x32xf32, #ganq.uniform<bits = 3, shift = true>>)

// -----

// pot-bits
// expected-error @below {{expected bits to be between 2 and 8, but got 1}}
func.func private @pot_bits(tensor<4x32xf32, #ganq.pot<bits = 1>>)

// -----

// pot-group
// expected-error @below {{expected group to be 0, a multiple of 64, or a divisor of it that is a multiple of 16, for 2-bit codes, but got 24}}
func.func private @pot_group(tensor<4x64xf32, #ganq.pot<bits = 2, group = 24>>)

// -----

// pot-grid
// expected-error @below {{expected mantissa to be 0 with grid pot and 3 bits, but got 1}}
func.func private @pot_mantissa(tensor<4x32xf32, #ganq.pot<bits = 3, mantissa = 1>>)

// -----

// pot-grid
// expected-error @below {{expected the greatest exponent to be at most 8, but grid stride2 with 4 bits has 14}}
func.func private @pot_grid(tensor<4x32xf32, #ganq.pot<bits = 4, grid = stride2>>)

// -----

// pot-scale
// expected-error @below {{expected scale to be f16 or bf16, but got 'f32'}}
func.func private @pot_scale(tensor<4x32xf32, #ganq.pot<bits = 3, scale = f32>>)

// -----

// nf-bits
// expected-error @below {{expected bits to be between 2 and 8, but got 1}}
func.func private @nf_bits(tensor<4x32xf32, #ganq.nf<bits = 1>>)

// -----

// nf-group
// expected-error @below {{expected group to be 0, a multiple of 32, or a divisor of it that is a multiple of 16, for 4-bit codes, but got 5}}
func.func private @nf_group(tensor<4x32xf32, #ganq.nf<bits = 4, group = 5>>)

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

// attention-records
func.func @attention_records(%q: tensor<1x8x2x8xf32>, %k: tensor<1x8x2x4xi8>) {
  // expected-error @below {{expected records of a static size above 4, but got 'tensor<1x8x2x4xi8>'}}
  %0 = ganq.attention %q, %k, %k {scale = 1.0 : f32} : tensor<1x8x2x8xf32>, tensor<1x8x2x4xi8>, tensor<1x8x2x4xi8> -> tensor<1x8x2x8xf32>
  return
}

// -----

// kv-update-records
func.func @kv_update_records(%v: memref<1x8x2x?xf32>, %c: memref<1x8x9x12xi8>, %p: index) {
  // expected-error @below {{expected rows of a static size for a cache of bytes, but got 'memref<1x8x2x?xf32>'}}
  ganq.kv_update %v into %c[%p] : memref<1x8x2x?xf32>, memref<1x8x9x12xi8>
  return
}

// -----

func.func @kv_update_size(%v: memref<1x8x2x8xf32>, %c: memref<1x8x9x8xi8>, %p: index) {
  // expected-error @below {{expected cache and value to agree but for the length, but got 'memref<1x8x9x8xi8>' and 'memref<1x8x2x8xf32>'}}
  ganq.kv_update %v into %c[%p] : memref<1x8x2x8xf32>, memref<1x8x9x8xi8>
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

// -----

func.func @packed_rows_bits() {
  // expected-error @+1 {{expected bits to be 2, 4 or those of whole bytes, but got 3}}
  %w = ganq.parameter "w" from <"m", 0, 8> rows <bits = 3, rows = 1, columns = 8, stride = 64> : tensor<1x8xi8>
  return
}

// -----

func.func @packed_rows_stride() {
  // expected-error @+1 {{expected rows and columns to be positive and rows to fit their stride, but got 2 rows of 8 in 24 bits}}
  %w = ganq.parameter "w" from <"m", 0, 6> rows <bits = 4, rows = 2, columns = 8, stride = 24> : tensor<2x8xi8>
  return
}

// -----

func.func @packed_rows_value() {
  // expected-error @+1 {{expected a value of 8 bytes, but got 'tensor<4xi8>'}}
  %w = ganq.parameter "w" rows <bits = 4, rows = 2, columns = 8, stride = 32, value = dense<0> : tensor<4xi8>> : tensor<2x8xi8>
  return
}

// -----

func.func @packed_rows_type() {
  // expected-error @+1 {{expected a tensor that the packed rows fill, but got 'tensor<2x9xi8>'}}
  %w = ganq.parameter "w" from <"m", 0, 8> rows <bits = 4, rows = 2, columns = 8, stride = 32> : tensor<2x9xi8>
  return
}

// -----

func.func @packed_rows_source() {
  // expected-error @+1 {{expected packed rows with either a source or a value}}
  %w = ganq.parameter "w" rows <bits = 4, rows = 2, columns = 8, stride = 32> : tensor<2x8xi8>
  return
}

// -----

// gpu-packed-shape
func.func @gpu_packed_shape() {
  // expected-error @+1 {{expected n and k to be between 1 and 1073741824, but got 0 and 128}}
  %c = ganq.parameter "c" gpu <scheme = #ganq.lut<bits = 3>, n = 0, k = 128, operand = codes, order = table, components = ["c"]> : memref<3072xi8>
  return
}

// -----

// gpu-packed-scheme
func.func @gpu_packed_scheme() {
  // expected-error @+1 {{expected a quantization scheme, but got 4 : i64}}
  %c = ganq.parameter "c" gpu <scheme = 4, n = 64, k = 128, operand = codes, order = table, components = ["c"]> : memref<3072xi8>
  return
}

// -----

// gpu-packed-components
func.func @gpu_packed_components() {
  // expected-error @+1 {{expected components to be names, but got []}}
  %c = ganq.parameter "c" gpu <scheme = #ganq.lut<bits = 3>, n = 64, k = 128, operand = codes, order = table, components = []> : memref<3072xi8>
  return
}

// -----

func.func @gpu_packed_count() {
  // expected-error @+1 {{expected the 2 components of #ganq.lut<bits = 3>, 'codes' first, but got ["w.codes"]}}
  %c = ganq.parameter "c" gpu <scheme = #ganq.lut<bits = 3>, n = 64, k = 128, operand = codes, order = table, components = ["w.codes"]> : memref<3072xi8>
  return
}

// -----

func.func @gpu_packed_first() {
  // expected-error @+1 {{'codes' first, but got ["w.table", "w.codes"]}}
  %c = ganq.parameter "c" gpu <scheme = #ganq.lut<bits = 3>, n = 64, k = 128, operand = codes, order = table, components = ["w.table", "w.codes"]> : memref<3072xi8>
  return
}

// -----

func.func @gpu_packed_operand() {
  // expected-error @+1 {{expected an operand that #ganq.lut<bits = 3> has, but got weight_sum}}
  %c = ganq.parameter "c" gpu <scheme = #ganq.lut<bits = 3>, n = 64, k = 128, operand = weight_sum, order = table, components = ["w.codes", "w.table"]> : memref<3072xi8>
  return
}

// -----

func.func @gpu_packed_exponent() {
  // expected-error @+1 {{expected exponent_bit along with order exponent only, but got planes}}
  %c = ganq.parameter "c" gpu <scheme = #ganq.lut<bits = 3>, n = 64, k = 128, operand = codes, order = planes, exponent_bit = 3, components = ["w.codes", "w.table"]> : memref<3072xi8>
  return
}

// -----

func.func @gpu_packed_source() {
  // expected-error @+1 {{expected no source along with gpu, as the parameter is made of stored tensors}}
  %c = ganq.parameter "c" from <"m", 0, 8> gpu <scheme = #ganq.lut<bits = 3>, n = 64, k = 128, operand = codes, order = table, components = ["w.codes", "w.table"]> : memref<3072xi8>
  return
}

// -----

// quantize-rows-bits
func.func @quantize_bits(%x: tensor<2x64xf32>) {
  // expected-error @below {{expected bits to be between 1 and 8 and plane_bits between 0 and 8, but got 9 and 0}}
  %0 = ganq.quantize_rows %x {bits = 9} : tensor<2x64xf32> -> tensor<2x128xi8>
  return
}

// -----

// quantize-rows-group
func.func @quantize_group(%x: tensor<2x64xf32>) {
  // expected-error @below {{expected group to be 0 or a positive multiple of 16, but got 24}}
  %0 = ganq.quantize_rows %x {bits = 8, group = 24} : tensor<2x64xf32> -> tensor<2x128xi8>
  return
}

// -----

// quantize-rows-columns
func.func @quantize_columns(%x: tensor<2x?xf32>) {
  // expected-error @below {{expected x to have a last dimension that is static and not 0, but got 'tensor<2x?xf32>'}}
  %0 = ganq.quantize_rows %x {bits = 8} : tensor<2x?xf32> -> tensor<2x128xi8>
  return
}

// -----

func.func @quantize_scale(%x: tensor<2x64xf32>, %s: tensor<32xf16>) {
  // expected-error @below {{expected scale to have shape [64], but got 'tensor<32xf16>'}}
  %0 = ganq.quantize_rows %x scale(%s : tensor<32xf16>) {bits = 8} : tensor<2x64xf32> -> tensor<2x128xi8>
  return
}

// -----

// packed-matmul-records
func.func @records_bytes(%x: tensor<2x64xi8>, %c: tensor<256xi8>, %g: tensor<8x1xf16>, %z: tensor<8x1xi8>, %u: tensor<8x1xi32>) {
  // expected-error @below {{expected x to be records of 128 i8, but got 'tensor<2x64xi8>'}}
  %0 = ganq.packed_matmul %x weight(%c, %g, %z, %u : tensor<256xi8>, tensor<8x1xf16>, tensor<8x1xi8>, tensor<8x1xi32>)
    {scheme = #ganq.uniform<bits = 4, activation = 8>, n = 8, k = 64, strategy = #ganq.strategy<int8>} : tensor<2x64xi8> -> tensor<2x8xf32>
  return
}

// -----

// packed-matmul-records
func.func @records_strategy(%x: tensor<2x128xi8>, %c: tensor<256xi8>, %g: tensor<8x1xf16>, %z: tensor<8x1xi8>, %u: tensor<8x1xi32>) {
  // expected-error @below {{expected a strategy with #ganq.uniform<bits = 4, activation = 8>}}
  %0 = ganq.packed_matmul %x weight(%c, %g, %z, %u : tensor<256xi8>, tensor<8x1xf16>, tensor<8x1xi8>, tensor<8x1xi32>)
    {scheme = #ganq.uniform<bits = 4, activation = 8>, n = 8, k = 64} : tensor<2x128xi8> -> tensor<2x8xf32>
  return
}

// -----

// packed-matmul-records
func.func @records_tables(%x: tensor<2x128xi8>, %c: tensor<256xi8>, %t: tensor<8x1x16xi8>, %g: tensor<8xf16>, %u: tensor<8xi32>) {
  // expected-error @below {{expected strategy int8 with tables, but got popcount, which counts the bits of codes}}
  %0 = ganq.packed_matmul %x weight(%c, %t, %g, %u : tensor<256xi8>, tensor<8x1x16xi8>, tensor<8xf16>, tensor<8xi32>)
    {scheme = #ganq.lut<bits = 4, entry = i8, activation = 8>, n = 8, k = 64, strategy = #ganq.strategy<popcount>} : tensor<2x128xi8> -> tensor<2x8xf32>
  return
}

// -----

// packed-matmul-records
func.func @records_groups(%x: tensor<2x128xi8>, %c: tensor<128xi8>, %g: tensor<8x2xf16>, %z: tensor<8x2xi8>, %u: tensor<8x2xi16>) {
  // expected-error @below {{expected groups of whole units, multiples of 128 columns, to count bits, but got a group of 64; use strategy int8 or another group}}
  %0 = ganq.packed_matmul %x weight(%c, %g, %z, %u : tensor<128xi8>, tensor<8x2xf16>, tensor<8x2xi8>, tensor<8x2xi16>)
    {scheme = #ganq.uniform<bits = 1, group = 64, activation = 2>, n = 8, k = 128, strategy = #ganq.strategy<popcount>} : tensor<2x128xi8> -> tensor<2x8xf32>
  return
}

// -----

// packed-matmul-records
func.func @records_floats(%x: tensor<2x128xi8>, %c: tensor<256xi8>, %t: tensor<8x1x16xf16>) {
  // expected-error @below {{expected x to be floats and no strategy with #ganq.lut<bits = 4>, but got 'tensor<2x128xi8>'}}
  %0 = ganq.packed_matmul %x weight(%c, %t : tensor<256xi8>, tensor<8x1x16xf16>)
    {scheme = #ganq.lut<bits = 4>, n = 8, k = 64} : tensor<2x128xi8> -> tensor<2x8xf32>
  return
}
