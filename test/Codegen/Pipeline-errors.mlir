// RUN: not ganq-opt %s --ganq-lower-kernels=cpu=z80 2>&1 | FileCheck %s
// RUN: not ganq-opt %s --ganq-lower-table-lookup=cpu=z80 2>&1 | FileCheck %s
// CHECK: expected the cpu to be one of x86-64-v3, x86-64-v3-vnni, x86-64-v4, host, but got `z80`

func.func @f() {
  return
}
