// RUN: ganq-opt %s --ganq-separate-buffers --ganq-lower-to-gpu | FileCheck %s
// RUN: ganq-opt %s --ganq-separate-buffers --ganq-lower-to-gpu --ganq-gpu-to-nvvm --ganq-emulate='order=all' -o /dev/null \
// RUN:   | FileCheck %s --check-prefix=VALUES

// Kernels that store floats of 16 bits saturate, also where a conversion that
// does was folded into them.
// CHECK-LABEL: func.func @decode(
// CHECK-NOT: gpu.launch_func
// CHECK: gpu.launch_func @ganq_kernels::@swiglu {{.*}} args(%{{.*}} : memref<1x4xf32>, %{{.*}} : memref<1x4xf32>, %{{.*}} : memref<1x4xf16>)
// CHECK: gpu.launch_func @ganq_kernels::@elementwise{{.*}} args(%{{.*}} : memref<1x4xf16>, %{{.*}} : memref<1x4xf16>)
// CHECK: gpu.launch_func @ganq_kernels::@elementwise{{.*}} args(%{{.*}} : memref<1x4xf32>, %{{.*}} : memref<1x4xf16>)
// CHECK: gpu.launch_func @ganq_kernels::@elementwise{{.*}} args(%{{.*}} : memref<1x4xf16>, %{{.*}} : memref<1x4xf16>)
// CHECK-NOT: gpu.launch_func
// CHECK: return

#map = affine_map<(d0, d1) -> (d0, d1)>

func.func @decode(%x: memref<1x4xf32>, %y: memref<1x4xf16>, %z: memref<1x4xf16>) {
  %low = arith.constant -65504.0 : f32
  %high = arith.constant 65504.0 : f32
  %s = memref.alloc() : memref<1x4xf32>
  ganq.swiglu %x, %x out(%s : memref<1x4xf32>) : memref<1x4xf32>, memref<1x4xf32>
  %h = memref.alloc() : memref<1x4xf16>
  linalg.generic {indexing_maps = [#map, #map], iterator_types = ["parallel", "parallel"]}
      ins(%s : memref<1x4xf32>) outs(%h : memref<1x4xf16>) {
  ^bb0(%in: f32, %out: f16):
    %0 = arith.minimumf %in, %high : f32
    %1 = arith.maximumf %0, %low : f32
    %2 = arith.truncf %1 : f32 to f16
    linalg.yield %2 : f16
  }
  memref.copy %h, %y : memref<1x4xf16> to memref<1x4xf16>
  %t = memref.alloc() : memref<1x4xf32>
  linalg.generic {indexing_maps = [#map, #map], iterator_types = ["parallel", "parallel"]}
      ins(%x : memref<1x4xf32>) outs(%t : memref<1x4xf32>) {
  ^bb0(%in: f32, %out: f32):
    %0 = arith.mulf %in, %in : f32
    %1 = arith.negf %0 : f32
    linalg.yield %1 : f32
  }
  %g = memref.alloc() : memref<1x4xf16>
  linalg.generic {indexing_maps = [#map, #map], iterator_types = ["parallel", "parallel"]}
      ins(%t : memref<1x4xf32>) outs(%g : memref<1x4xf16>) {
  ^bb0(%in: f32, %out: f16):
    %0 = arith.minimumf %in, %high : f32
    %1 = arith.maximumf %0, %low : f32
    %2 = arith.truncf %1 : f32 to f16
    linalg.yield %2 : f16
  }
  memref.copy %g, %z : memref<1x4xf16> to memref<1x4xf16>
  return
}

memref.global "private" constant @x : memref<1x4xf32> = dense<[[1.0e4, 1.0e30, 0x7FC00000, 2.0]]>

func.func @main() {
  %x = memref.get_global @x : memref<1x4xf32>
  %y = memref.alloc() : memref<1x4xf16>
  %z = memref.alloc() : memref<1x4xf16>
  call @decode(%x, %y, %z) : (memref<1x4xf32>, memref<1x4xf16>, memref<1x4xf16>) -> ()
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c4 = arith.constant 4 : index
  // VALUES: 65504
  // VALUES-NEXT: -65504
  // VALUES-NEXT: 65504
  // VALUES-NEXT: -65504
  // VALUES-NEXT: nan
  // VALUES-NEXT: nan
  // VALUES-NEXT: 3.5
  // VALUES-NEXT: -4
  scf.for %i = %c0 to %c4 step %c1 {
    %0 = memref.load %y[%c0, %i] : memref<1x4xf16>
    %1 = arith.extf %0 : f16 to f32
    vector.print %1 : f32
    %2 = memref.load %z[%c0, %i] : memref<1x4xf16>
    %3 = arith.extf %2 : f16 to f32
    vector.print %3 : f32
  }
  return
}
