// RUN: ganq-opt %s --ganq-assign-schemes="scheme='lut<bits = 3, rows = 8, group = 128, entry = f8E4M3FN>'" 2>&1 | FileCheck %s --check-prefix=TILE
// RUN: ganq-opt %s --ganq-assign-schemes="scheme=lut options=table-rows=8,entry=i8,outliers=0.005,full-rows=2" 2>&1 | FileCheck %s --check-prefix=OUTLIERS
// RUN: ganq-opt %s --ganq-assign-schemes="scheme=uniform bits=3 options=activation-bits=8,levels=5,scale=bf16" 2>&1 | FileCheck %s --check-prefix=UNIFORM
// RUN: ganq-opt %s --ganq-assign-schemes="scheme=pot bits=2" 2>&1 | FileCheck %s --check-prefix=POT2
// RUN: ganq-opt %s --ganq-assign-schemes="scheme=pot bits=3" 2>&1 | FileCheck %s --check-prefix=POT3
// RUN: ganq-opt %s --ganq-assign-schemes="scheme=pot" 2>&1 | FileCheck %s --check-prefix=POT4
// RUN: ganq-opt %s --ganq-assign-schemes="scheme=pot options=grid=third,mantissa=0" 2>&1 | FileCheck %s --check-prefix=THIRD
// RUN: ganq-opt %s --ganq-assign-schemes="scheme='pot<bits = 4>'" 2>&1 | FileCheck %s --check-prefix=OWN
// RUN: ganq-opt %s --ganq-assign-schemes="scheme=nf" 2>&1 | FileCheck %s --check-prefix=NF
// RUN: not ganq-opt %s --ganq-assign-schemes="scheme=magic" 2>&1 | FileCheck %s --check-prefix=MAGIC
// RUN: not ganq-opt %s --ganq-assign-schemes="scheme=nf options=grid=pot" 2>&1 | FileCheck %s --check-prefix=OPTION
// RUN: not ganq-opt %s --ganq-assign-schemes="scheme='lut<bits = 3, levels = 4>'" 2>&1 | FileCheck %s --check-prefix=FIELD
// RUN: not ganq-opt %s --ganq-assign-schemes="scheme='lut<bits = 3, group = 7>'" 2>&1 | FileCheck %s --check-prefix=GROUP
// RUN: not ganq-opt %s --ganq-assign-schemes="scheme='lut<bits=3,'" 2>&1 | FileCheck %s --check-prefix=OPEN
// RUN: not ganq-opt %s --ganq-assign-schemes="scheme='lut<group = 128>'" 2>&1 | FileCheck %s --check-prefix=BITS
// RUN: not ganq-opt %s --ganq-assign-schemes="scheme=lut bits=x" 2>&1 | FileCheck %s --check-prefix=NUMBER
// RUN: not ganq-opt %s --ganq-assign-schemes="scheme=lut options=outliers=2" 2>&1 | FileCheck %s --check-prefix=SHARE
// RUN: not ganq-opt %s --ganq-assign-schemes="scheme=lut options=outliers=0.00015" 2>&1 | FileCheck %s --check-prefix=DECIMALS
// RUN: not ganq-opt %s --ganq-assign-schemes="scheme=lut options=entry=f64" 2>&1 | FileCheck %s --check-prefix=ENTRY
// RUN: not ganq-opt %s --ganq-assign-schemes="scheme=lut options=entry=I8" 2>&1 | FileCheck %s --check-prefix=NO-TYPE

// TILE: "up" : tensor<128x64xf32, #ganq.lut<bits = 3, group = 128, rows = 8, entry = f8E4M3FN>>
// OUTLIERS: "up" : tensor<128x64xf32, #ganq.lut<bits = 4, rows = 8, entry = i8, outliers = 50, full_rows = 2>>
// UNIFORM: #ganq.uniform<bits = 3, levels = 5, scale = bf16, activation = 8>
// POT2: #ganq.pot<bits = 2, grid = stride2>
// POT3: #ganq.pot<bits = 3>
// POT4: #ganq.pot<bits = 4, grid = half, mantissa = 1>
// THIRD: #ganq.pot<bits = 4, grid = third>
// OWN: #ganq.pot<bits = 4>
// NF: #ganq.nf<bits = 4>
// MAGIC: expected a scheme to be none, lut, uniform, pot or nf, or a text such as `lut<bits = 3>`, but got `magic`
// OPTION: expected an option of the scheme nf (bits, group), but got grid
// FIELD: expected a field of lut (bits, group, activation, outliers, full_rows, rows, entry), but got `levels = 4`
// GROUP: lut<bits = 3, group = 7>: expected group to be 0
// OPEN: expected the text of a scheme to end in `>`
// BITS: lut<group = 128>:
// NUMBER: expected bits to be an integer, but got `x`
// SHARE: expected outliers to be a share between 0 and 0.5, but got `2`
// DECIMALS: expected outliers to have at most four decimals, but got `0.00015`
// ENTRY: expected entry to be f16, bf16, i8 or f8E4M3FN, but got 'f64'
// NO-TYPE: lut<entry = I8, bits = 4>: expected entry to be f16, bf16, i8 or f8E4M3FN, but got `I8`

func.func @main(%x: tensor<2x64xf32>) -> tensor<2x128xf32> {
  %up = ganq.parameter "up" : tensor<128x64xf32>
  %0 = ganq.matmul %x, %up : tensor<2x64xf32>, tensor<128x64xf32> -> tensor<2x128xf32>
  %head = ganq.parameter "head" : tensor<128x128xf32>
  %1 = ganq.matmul %0, %head : tensor<2x128xf32>, tensor<128x128xf32> -> tensor<2x128xf32>
  return %1 : tensor<2x128xf32>
}
