// RUN: ganq-opt %s --pass-pipeline='builtin.module(gpu.module(convert-scf-to-cf,convert-gpu-to-nvvm,reconcile-unrealized-casts),ganq-emulate{order=all iteration-limit=1000000})' --split-input-file --verify-diagnostics -o /dev/null

// Each kernel makes one mistake. All take a buffer of 64 floats.

module attributes {gpu.container_module} {
  gpu.module @m {
    gpu.func @beyond(%x: memref<?xf32>) kernel {
      %t = gpu.thread_id x
      // expected-error @+1 {{expected a load of 4 bytes inside of a buffer, but got offset 256 of the nearest buffer `allocation of 256 bytes` with 256 bytes (thread (64, 0, 0) of block (0, 0, 0), kernel `beyond`)}}
      %v = memref.load %x[%t] : memref<?xf32>
      %d = arith.addf %v, %v : f32
      memref.store %d, %x[%t] : memref<?xf32>
      gpu.return
    }
  }
  func.func @main() {
    %c1 = arith.constant 1 : index
    %c65 = arith.constant 65 : index
    %c64 = arith.constant 64 : index
    %x = memref.alloc(%c64) : memref<?xf32>
    // expected-note @+1 {{launched here}}
    gpu.launch_func @m::@beyond blocks in (%c1, %c1, %c1) threads in (%c65, %c1, %c1) args(%x : memref<?xf32>)
    return
  }
}

// -----

module attributes {gpu.container_module} {
  gpu.module @m {
    gpu.func @misaligned(%x: memref<?xf32>)
        workgroup(%w: memref<64xf32, #gpu.address_space<workgroup>>) kernel {
      %t = gpu.thread_id x
      %v = vector.load %x[%t] {alignment = 4 : i64} : memref<?xf32>, vector<4xf32>
      // expected-error @+1 {{expected a store of 16 bytes to be aligned to 16, but got offset 4 of shared memory}}
      vector.store %v, %w[%t] {alignment = 16 : i64} : memref<64xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      gpu.return
    }
  }
  func.func @main() {
    %c1 = arith.constant 1 : index
    %c2 = arith.constant 2 : index
    %c64 = arith.constant 64 : index
    %x = memref.alloc(%c64) : memref<?xf32>
    // expected-note @+1 {{launched here}}
    gpu.launch_func @m::@misaligned blocks in (%c1, %c1, %c1) threads in (%c2, %c1, %c1) args(%x : memref<?xf32>)
    return
  }
}

// -----

module attributes {gpu.container_module} {
  gpu.module @m {
    gpu.func @unwritten(%x: memref<?xf32>)
        workgroup(%w: memref<64xf32, #gpu.address_space<workgroup>>) kernel {
      %t = gpu.thread_id x
      %v = memref.load %x[%t] : memref<?xf32>
      memref.store %v, %w[%t] : memref<64xf32, #gpu.address_space<workgroup>>
      gpu.barrier
      %c1 = arith.constant 1 : index
      %n = arith.addi %t, %c1 : index
      // expected-error @+1 {{expected shared memory that some thread has written, but got a load of 4 bytes at offset 128 of which byte 0 is not (thread (31, 0, 0)}}
      %u = memref.load %w[%n] : memref<64xf32, #gpu.address_space<workgroup>>
      memref.store %u, %x[%t] : memref<?xf32>
      gpu.return
    }
  }
  func.func @main() {
    %c1 = arith.constant 1 : index
    %c32 = arith.constant 32 : index
    %c64 = arith.constant 64 : index
    %x = memref.alloc(%c64) : memref<?xf32>
    // expected-note @+1 {{launched here}}
    gpu.launch_func @m::@unwritten blocks in (%c1, %c1, %c1) threads in (%c32, %c1, %c1) args(%x : memref<?xf32>)
    return
  }
}

// -----

module attributes {gpu.container_module} {
  gpu.module @m {
    gpu.func @divergent(%x: memref<?xf32>) kernel {
      %t = gpu.thread_id x
      %c16 = arith.constant 16 : index
      %few = arith.cmpi ult, %t, %c16 : index
      scf.if %few {
        // expected-error @+1 {{divergent bar.sync: no thread can go on: threads 0-15 wait at bar.sync 0 here; threads 16-63 have returned}}
        gpu.barrier
      }
      gpu.return
    }
  }
  func.func @main() {
    %c1 = arith.constant 1 : index
    %c64 = arith.constant 64 : index
    %x = memref.alloc(%c64) : memref<?xf32>
    // expected-note @+1 {{launched here}}
    gpu.launch_func @m::@divergent blocks in (%c1, %c1, %c1) threads in (%c64, %c1, %c1) args(%x : memref<?xf32>)
    return
  }
}

// -----

module attributes {gpu.container_module} {
  gpu.module @m {
    gpu.func @shuffle(%x: memref<?xf32>) kernel {
      %t = gpu.thread_id x
      %c1 = arith.constant 1 : i32
      %c32 = arith.constant 32 : i32
      %c40 = arith.constant 40 : index
      %many = arith.cmpi ult, %t, %c40 : index
      scf.if %many {
        %v = memref.load %x[%t] : memref<?xf32>
        %s, %p = gpu.shuffle xor %v, %c1, %c32 : f32
        memref.store %s, %x[%t] : memref<?xf32>
      }
      // expected-error @+1 {{divergent bar.sync: no thread can go on: threads 0-31, 40-63 wait at bar.sync 0 here; threads 32-39 wait in shfl.sync with mask 0xffffffff at}}
      gpu.barrier
      gpu.return
    }
  }
  func.func @main() {
    %c1 = arith.constant 1 : index
    %c64 = arith.constant 64 : index
    %x = memref.alloc(%c64) : memref<?xf32>
    // expected-note @+1 {{launched here}}
    gpu.launch_func @m::@shuffle blocks in (%c1, %c1, %c1) threads in (%c64, %c1, %c1) args(%x : memref<?xf32>)
    return
  }
}

// -----

module attributes {gpu.container_module} {
  gpu.module @m {
    // The barrier between store and load is missing; the cells were written
    // before, so that only the order of lanes shows it.
    gpu.func @race(%x: memref<?xf32>)
        workgroup(%w: memref<64xf32, #gpu.address_space<workgroup>>) kernel {
      %t = gpu.thread_id x
      %c1 = arith.constant 1 : index
      %z = arith.constant 0.0 : f32
      memref.store %z, %w[%t] : memref<64xf32, #gpu.address_space<workgroup>>
      gpu.barrier
      %v = arith.index_cast %t : index to i32
      %f = arith.sitofp %v : i32 to f32
      memref.store %f, %w[%t] : memref<64xf32, #gpu.address_space<workgroup>>
      %o = arith.xori %t, %c1 : index
      %u = memref.load %w[%o] : memref<64xf32, #gpu.address_space<workgroup>>
      memref.store %u, %x[%t] : memref<?xf32>
      gpu.return
    }
  }
  func.func @main() {
    %c1 = arith.constant 1 : index
    %c64 = arith.constant 64 : index
    %x = memref.alloc(%c64) : memref<?xf32>
    // expected-error @+2 {{expected the same result in every order of lanes, but byte 2 of buffer `allocation of 256 bytes` differs between forward and reverse order (kernel `race`); threads race, a barrier may be missing}}
    // expected-note @+1 {{launched here}}
    gpu.launch_func @m::@race blocks in (%c1, %c1, %c1) threads in (%c64, %c1, %c1) args(%x : memref<?xf32>)
    return
  }
}

// -----

module attributes {gpu.container_module} {
  gpu.module @m {
    gpu.func @nowait(%x: memref<64xf32, #gpu.address_space<global>>)
        workgroup(%w: memref<64xf32, #gpu.address_space<workgroup>>) kernel {
      %t = gpu.thread_id x
      %c0 = arith.constant 0 : index
      %p = memref.extract_aligned_pointer_as_index %x : memref<64xf32, #gpu.address_space<global>> -> index
      %q = memref.extract_aligned_pointer_as_index %w : memref<64xf32, #gpu.address_space<workgroup>> -> index
      %pi = arith.index_cast %p : index to i64
      %qi = arith.index_cast %q : index to i64
      %global = llvm.inttoptr %pi : i64 to !llvm.ptr<1>
      %shared = llvm.inttoptr %qi : i64 to !llvm.ptr<3>
      nvvm.cp.async.shared.global %shared, %global, 4, cache = ca : !llvm.ptr<3>, !llvm.ptr<1>
      nvvm.cp.async.commit.group
      // expected-error @+1 {{expected shared memory that is not the target of a cp.async in flight, but got a load at offset 0; the copy began at}}
      %u = memref.load %w[%c0] : memref<64xf32, #gpu.address_space<workgroup>>
      memref.store %u, %x[%t] : memref<64xf32, #gpu.address_space<global>>
      nvvm.cp.async.wait.group 0
      gpu.return
    }
  }
  func.func @main() {
    %c1 = arith.constant 1 : index
    %x = memref.alloc() : memref<64xf32, #gpu.address_space<global>>
    // expected-note @+1 {{launched here}}
    gpu.launch_func @m::@nowait blocks in (%c1, %c1, %c1) threads in (%c1, %c1, %c1) args(%x : memref<64xf32, #gpu.address_space<global>>)
    return
  }
}

// -----

module attributes {gpu.container_module} {
  gpu.module @m {
    gpu.func @unknown() kernel {
      // expected-error @+1 {{expected an intrinsic that the emulator knows, but got `llvm.nvvm.wgmma.fence.sync.aligned`}}
      nvvm.wgmma.fence.aligned
      gpu.return
    }
  }
  func.func @main() {
    return
  }
}

// -----

module attributes {gpu.container_module} {
  gpu.module @m {
    gpu.func @forever(%x: memref<?xf32>) kernel {
      %c0 = arith.constant 0 : index
      %one = arith.constant 1.0 : f32
      scf.while : () -> () {
        %v = memref.load %x[%c0] : memref<?xf32>
        %again = arith.cmpf une, %v, %one : f32
        scf.condition(%again)
      } do {
        memref.store %one, %x[%c0] : memref<?xf32>
        %c2 = arith.constant 2.0 : f32
        memref.store %c2, %x[%c0] : memref<?xf32>
        // expected-error @+1 {{expected a block to run at most 1000000 loop iterations, but it runs on here}}
        scf.yield
      }
      gpu.return
    }
  }
  func.func @main() {
    %c1 = arith.constant 1 : index
    %c64 = arith.constant 64 : index
    %x = memref.alloc(%c64) : memref<?xf32>
    // expected-note @+1 {{launched here}}
    gpu.launch_func @m::@forever blocks in (%c1, %c1, %c1) threads in (%c1, %c1, %c1) args(%x : memref<?xf32>)
    return
  }
}

// -----

// expected-error @+1 {{expected a function @main without parameters and results}}
module attributes {gpu.container_module} {
  func.func @main(%x: i32) {
    return
  }
}

// -----

module attributes {gpu.container_module} {
  gpu.module @m {
    gpu.func @number(%f: f32) kernel {
      // expected-error @+1 {{expected the address of a text that ends in its buffer for `%s` of printf, but got 0x3ff8000000000000}}
      gpu.printf "%s\n", %f : f32
      gpu.return
    }
  }
  func.func @main() {
    %c1 = arith.constant 1 : index
    %f = arith.constant 1.5 : f32
    // expected-note @+1 {{launched here}}
    gpu.launch_func @m::@number blocks in (%c1, %c1, %c1) threads in (%c1, %c1, %c1) args(%f : f32)
    return
  }
}

// -----

module attributes {gpu.container_module} {
  gpu.module @m {
    gpu.func @few(%v: i32) kernel {
      // expected-error @+1 {{expected a value for `%d` of printf, but got 4 bytes of values}}
      gpu.printf "%d %d\n", %v : i32
      gpu.return
    }
  }
  func.func @main() {
    %c1 = arith.constant 1 : index
    %v = arith.constant 1 : i32
    // expected-note @+1 {{launched here}}
    gpu.launch_func @m::@few blocks in (%c1, %c1, %c1) threads in (%c1, %c1, %c1) args(%v : i32)
    return
  }
}

// -----

module attributes {gpu.container_module} {
  // expected-error @+1 {{expected an assertion of the host program to hold, but got: the sizes agree}}
  func.func @main() {
    %x = memref.alloc() : memref<4xf32>
    %c4 = arith.constant 4 : index
    %r = memref.cast %x : memref<4xf32> to memref<?xf32>
    %c0 = arith.constant 0 : index
    %d = memref.dim %r, %c0 : memref<?xf32>
    %wrong = arith.cmpi ne, %d, %c4 : index
    cf.assert %wrong, "the sizes agree"
    return
  }
}

// -----

module attributes {gpu.container_module} {
  // expected-error-re @+1 {{expected memory for an allocation of {{[0-9]+}} bytes, but got none}}
  func.func @main() {
    %huge = arith.constant 4611686018427387000 : index
    %x = memref.alloc(%huge) : memref<?xf32>
    %f = arith.constant 1.5 : f32
    %c0 = arith.constant 0 : index
    memref.store %f, %x[%c0] : memref<?xf32>
    %i = memref.extract_aligned_pointer_as_index %x : memref<?xf32> -> index
    vector.print %i : index
    return
  }
}
