// RUN: rm -rf %t && split-file %s %t
// RUN: ganq-opt %t/model.mlir --ganq-assign-schemes="scheme=lut bits=3 rules=%t/rules.yaml" 2>&1 | FileCheck %s --check-prefixes=CHECK,LUT
// RUN: ganq-opt %t/model.mlir --ganq-assign-schemes="scheme=lut bits=3 rules=%t/rules.json" 2>&1 | FileCheck %s --check-prefixes=CHECK,LUT
// RUN: ganq-opt %t/model.mlir --ganq-assign-schemes="scheme=none rules=%t/some.yaml" 2>&1 | FileCheck %s --check-prefix=SOME
// RUN: not ganq-opt %t/model.mlir --ganq-assign-schemes="rules=%t/unused.yaml" 2>&1 | FileCheck %s --check-prefix=UNUSED
// RUN: not ganq-opt %t/model.mlir --ganq-assign-schemes="rules=%t/shadowed.yaml" 2>&1 | FileCheck %s --check-prefix=SHADOWED
// RUN: not ganq-opt %t/model.mlir --ganq-assign-schemes="rules=%t/field.yaml" 2>&1 | FileCheck %s --check-prefix=FIELD
// RUN: not ganq-opt %t/model.mlir --ganq-assign-schemes="rules=%t/option.yaml" 2>&1 | FileCheck %s --check-prefix=OPTION
// RUN: not ganq-opt %t/model.mlir --ganq-assign-schemes="rules=%t/regex.yaml" 2>&1 | FileCheck %s --check-prefix=REGEX
// RUN: not ganq-opt %t/model.mlir --ganq-assign-schemes="rules=%t/value.yaml" 2>&1 | FileCheck %s --check-prefix=VALUE
// RUN: not ganq-opt %t/model.mlir --ganq-assign-schemes="rules=%t/keep.yaml" 2>&1 | FileCheck %s --check-prefix=KEEP
// RUN: not ganq-opt %t/model.mlir --ganq-assign-schemes="rules=%t/broken.yaml" 2>&1 | FileCheck %s --check-prefix=BROKEN
// RUN: not ganq-opt %t/model.mlir --ganq-assign-schemes="rules=%t/list.yaml" 2>&1 | FileCheck %s --check-prefix=LIST
// RUN: not ganq-opt %t/model.mlir --ganq-assign-schemes="rules=%t/none.yaml" 2>&1 | FileCheck %s --check-prefix=NONE

// CHECK-DAG: "up" {ganq.solver = "kmeans"} : tensor<128x64xf32, #ganq.lut<bits = 2>>
// CHECK-DAG: "down" : tensor<64x128xf32, #ganq.uniform<bits = 4, group = 32, activation = 8>>
// CHECK-DAG: "kept" : tensor<64x64xf32>
// LUT-DAG: "other" : tensor<64x64xf32, #ganq.lut<bits = 3>>
// SOME-DAG: "up" : tensor<128x64xf32, #ganq.pot<bits = 2, grid = stride2>>
// SOME-DAG: "down" : tensor<64x128xf32>

// UNUSED: unused.yaml:2: expected `nothing` to match at least one weight that may be quantized, but it matches none
// SHADOWED: shadowed.yaml:3: expected `up` to match a weight that the rules before leave, but they decide on all that it matches
// FIELD: field.yaml:3: expected match, scheme, solver, keep or an option of schemes, but got `bit`
// OPTION: option.yaml:1: expected an option of the scheme lut (bits, group, activation-bits, outliers, full-rows, table-rows, entry), but got grid
// REGEX: regex.yaml:1: expected `match` to be a regular expression, but got `(`: parentheses not balanced
// VALUE: value.yaml:2: expected bits to be an integer, but got `many`
// KEEP: keep.yaml:1: expected a rule that keeps weights to say nothing about a scheme
// BROKEN: broken.yaml:{{[0-9]+}}:
// LIST: list.yaml:1: expected a list of rules
// NONE: cannot read the rules '{{.*}}none.yaml'

//--- rules.yaml
# Comments are allowed.
- match: ^up$
  bits: 2
  solver: kmeans
- {match: dow, scheme: uniform, group: 32, activation_bits: 8}
- {match: kept, keep: true}
//--- rules.json
[{"match": "^up$", "bits": 2, "solver": "kmeans"},
 {"match": "down", "scheme": "uniform<bits = 4, group = 32, activation = 8>"},
 {"match": "kept", "scheme": "none"}]
//--- some.yaml
- {match: up, scheme: pot, bits: 2}
//--- unused.yaml
- {match: up, bits: 2}
- {match: nothing, bits: 2}
//--- shadowed.yaml
- match: .*
  bits: 2
- match: up
  bits: 2
//--- field.yaml
- match: up
  bits: 4
  bit: 3
//--- option.yaml
- {match: up, grid: half}
//--- regex.yaml
- {match: '(', bits: 2}
//--- value.yaml
- match: up
  bits: many
//--- keep.yaml
- {match: up, keep: true, bits: 2}
//--- broken.yaml
- {match: up, bits: 2
- [
//--- list.yaml
match: up
//--- model.mlir
func.func @main(%x: tensor<2x64xf32>) -> tensor<2x64xf32> {
  %up = ganq.parameter "up" : tensor<128x64xf32>
  %down = ganq.parameter "down" : tensor<64x128xf32>
  %kept = ganq.parameter "kept" : tensor<64x64xf32>
  %other = ganq.parameter "other" : tensor<64x64xf32>
  %0 = ganq.matmul %x, %up : tensor<2x64xf32>, tensor<128x64xf32> -> tensor<2x128xf32>
  %1 = ganq.matmul %0, %down : tensor<2x128xf32>, tensor<64x128xf32> -> tensor<2x64xf32>
  %2 = ganq.matmul %1, %kept : tensor<2x64xf32>, tensor<64x64xf32> -> tensor<2x64xf32>
  %3 = ganq.matmul %2, %other : tensor<2x64xf32>, tensor<64x64xf32> -> tensor<2x64xf32>
  %4 = ganq.parameter "head" : tensor<64x64xf32>
  %5 = ganq.matmul %3, %4 : tensor<2x64xf32>, tensor<64x64xf32> -> tensor<2x64xf32>
  return %5 : tensor<2x64xf32>
}
