// RUN: ganq-opt %s --ganq-gpu-to-cubin='chips=sm_80 format=ptx' --split-input-file --verify-diagnostics -o /dev/null

// What LLVM cannot compile for a chip is an error, not the end of the process.

// expected-error @+1 {{expected operations that LLVM can compile for sm_80, but got: Cannot select: intrinsic %llvm.nvvm.barrier.cluster.arrive}}
gpu.module @newer {
  llvm.func @f() attributes {gpu.kernel, nvvm.kernel} {
    nvvm.cluster.arrive
    llvm.return
  }
}

// -----

// expected-error @+1 {{expected operations that LLVM can compile for sm_80, but got: no libcall available for fexp}}
gpu.module @libcall {
  llvm.func @f(%p: !llvm.ptr<1>, %v: f32) attributes {gpu.kernel, nvvm.kernel} {
    %0 = llvm.intr.exp(%v) : (f32) -> f32
    llvm.store %0, %p : f32, !llvm.ptr<1>
    llvm.return
  }
}

// -----

// A failure leaves nothing behind that stops the next.
gpu.module @fine {
  llvm.func @f(%p: !llvm.ptr<1>, %v: f32) attributes {gpu.kernel, nvvm.kernel} {
    llvm.store %v, %p : f32, !llvm.ptr<1>
    llvm.return
  }
}
