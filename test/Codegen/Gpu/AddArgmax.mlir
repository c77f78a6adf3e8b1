// RUN: ganq-opt %s --ganq-add-argmax | FileCheck %s
// The steps under other names, for the host program to call what the pass made.
// RUN: ganq-opt %s --ganq-add-argmax \
// RUN:   | sed -e '/private @one/d' -e '/private @several/d' -e 's/@prompt/@one/' -e 's/@decode/@several/' \
// RUN:   | ganq-opt --ganq-gpu-to-nvvm --ganq-emulate='order=all' -o /dev/null | FileCheck %s --check-prefix=PRINT
// RUN: ganq-opt %s --ganq-add-argmax --ganq-gpu-to-nvvm --ganq-gpu-to-cubin='chips=sm_80 format=ptx' \
// RUN:   | FileCheck %s --check-prefix=PTX

// One block for up to 2048 logits, behind what makes them.
// CHECK-LABEL: func.func @prompt(
// CHECK-SAME: %[[LOGITS:[a-z0-9]+]]: memref<1x1x100xf32>, %[[BEST:[a-z0-9]+]]: memref<1xi64>)
// CHECK: memref.store
// CHECK-DAG: %[[ONE:.*]] = arith.constant 1 : index
// CHECK-DAG: %[[LANES:.*]] = arith.constant 128 : index
// CHECK: gpu.launch_func @ganq_kernels::@argmax blocks in (%[[BLOCKS:.*]], %{{.*}}, %{{.*}}) threads in (%[[LANES]], %{{.*}}, %{{.*}}) args(%[[LOGITS]] : memref<1x1x100xf32>, %[[BEST]] : memref<1xi64>)
// CHECK-NEXT: return

// More have several blocks and one that takes the best of them.
// CHECK-LABEL: func.func @decode(
// CHECK-SAME: %[[LOGITS:[a-z0-9]+]]: memref<2049xf32>, %[[BEST:[a-z0-9]+]]: memref<1xi64>)
// CHECK-DAG: %[[FOUND:.*]] = memref.alloc() : memref<2xf32>
// CHECK-DAG: %[[TOKENS:.*]] = memref.alloc() : memref<2xi32>
// CHECK: gpu.launch_func @ganq_kernels::@argmax_of_block blocks in {{.*}} args(%[[LOGITS]] : memref<2049xf32>, %[[FOUND]] : memref<2xf32>, %[[TOKENS]] : memref<2xi32>)
// CHECK: gpu.launch_func @ganq_kernels::@argmax_of_blocks blocks in {{.*}} args(%[[FOUND]] : memref<2xf32>, %[[TOKENS]] : memref<2xi32>, %[[BEST]] : memref<1xi64>)
// CHECK-NEXT: return

// Other steps have logits of many tokens.
// CHECK: func.func @prefill(%{{.*}}: memref<4x100xf32>) {
// CHECK-NEXT: return

// PTX: .visible .entry argmax(
// PTX-NOT: .extern


module attributes {gpu.container_module} {
func.func @prompt(%logits: memref<1x1x100xf32>) {
  %c0 = arith.constant 0 : index
  %0 = memref.load %logits[%c0, %c0, %c0] : memref<1x1x100xf32>
  memref.store %0, %logits[%c0, %c0, %c0] : memref<1x1x100xf32>
  return
}
func.func @decode(%logits: memref<2049xf32>) {
  return
}
func.func @prefill(%logits: memref<4x100xf32>) {
  return
}
func.func private @one(memref<1x1x100xf32>, memref<1xi64>)
func.func private @several(memref<2049xf32>, memref<1xi64>)

func.func private @set(%logits: memref<1x1x100xf32>, %long: memref<2049xf32>, %token: index, %value: f32) {
  %c0 = arith.constant 0 : index
  %c100 = arith.constant 100 : index
  %short = arith.minui %token, %c100 : index
  %isShort = arith.cmpi ult, %token, %c100 : index
  scf.if %isShort {
    memref.store %value, %logits[%c0, %c0, %short] : memref<1x1x100xf32>
  }
  memref.store %value, %long[%token] : memref<2049xf32>
  return
}
func.func private @find(%logits: memref<1x1x100xf32>, %long: memref<2049xf32>) {
  %c0 = arith.constant 0 : index
  %best = memref.alloc() : memref<1xi64>
  call @one(%logits, %best) : (memref<1x1x100xf32>, memref<1xi64>) -> ()
  %0 = memref.load %best[%c0] : memref<1xi64>
  vector.print %0 : i64
  call @several(%long, %best) : (memref<2049xf32>, memref<1xi64>) -> ()
  %1 = memref.load %best[%c0] : memref<1xi64>
  vector.print %1 : i64
  return
}

func.func @main() {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c33 = arith.constant 33 : index
  %c70 = arith.constant 70 : index
  %c99 = arith.constant 99 : index
  %c300 = arith.constant 300 : index
  %c2048 = arith.constant 2048 : index
  %c2049 = arith.constant 2049 : index
  %logits = memref.alloc() : memref<1x1x100xf32>
  %long = memref.alloc() : memref<2049xf32>
  %low = arith.constant 0xFF800000 : f32
  %minus = arith.constant -2.0 : f32
  %two = arith.constant 2.0 : f32
  %three = arith.constant 3.0 : f32
  %high = arith.constant 0x7F800000 : f32
  %nan = arith.constant 0x7FC00000 : f32
  scf.for %i = %c0 to %c2049 step %c1 {
    func.call @set(%logits, %long, %i, %low) : (memref<1x1x100xf32>, memref<2049xf32>, index, f32) -> ()
  }
  // Of equals the first, also where all are infinitely improbable.
  // PRINT: 0
  // PRINT-NEXT: 0
  call @find(%logits, %long) : (memref<1x1x100xf32>, memref<2049xf32>) -> ()
  // PRINT-NEXT: 99
  // PRINT-NEXT: 99
  call @set(%logits, %long, %c99, %minus) : (memref<1x1x100xf32>, memref<2049xf32>, index, f32) -> ()
  call @find(%logits, %long) : (memref<1x1x100xf32>, memref<2049xf32>) -> ()
  // PRINT-NEXT: 33
  // PRINT-NEXT: 33
  call @set(%logits, %long, %c70, %two) : (memref<1x1x100xf32>, memref<2049xf32>, index, f32) -> ()
  call @set(%logits, %long, %c33, %two) : (memref<1x1x100xf32>, memref<2049xf32>, index, f32) -> ()
  call @set(%logits, %long, %c300, %two) : (memref<1x1x100xf32>, memref<2049xf32>, index, f32) -> ()
  call @find(%logits, %long) : (memref<1x1x100xf32>, memref<2049xf32>) -> ()
  // PRINT-NEXT: 33
  // PRINT-NEXT: 2048
  call @set(%logits, %long, %c2048, %three) : (memref<1x1x100xf32>, memref<2049xf32>, index, f32) -> ()
  call @find(%logits, %long) : (memref<1x1x100xf32>, memref<2049xf32>) -> ()
  // PRINT-NEXT: 1
  // PRINT-NEXT: 1
  call @set(%logits, %long, %c1, %high) : (memref<1x1x100xf32>, memref<2049xf32>, index, f32) -> ()
  call @find(%logits, %long) : (memref<1x1x100xf32>, memref<2049xf32>) -> ()
  // No token is the best if a logit is not a number.
  // PRINT-NEXT: 1
  // PRINT-NEXT: -1
  call @set(%logits, %long, %c300, %nan) : (memref<1x1x100xf32>, memref<2049xf32>, index, f32) -> ()
  call @find(%logits, %long) : (memref<1x1x100xf32>, memref<2049xf32>) -> ()
  // PRINT-NEXT: -1
  // PRINT-NEXT: -1
  call @set(%logits, %long, %c70, %nan) : (memref<1x1x100xf32>, memref<2049xf32>, index, f32) -> ()
  call @find(%logits, %long) : (memref<1x1x100xf32>, memref<2049xf32>) -> ()
  return
}
}
