//===- Passes.td - Kernels for GPUs ------------------------*- tablegen -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_CODEGEN_GPU_PASSES_TD
#define GANQ_CODEGEN_GPU_PASSES_TD

include "mlir/Pass/PassBase.td"

def BuildGpuKernels : Pass<"ganq-build-gpu-kernels", "::mlir::ModuleOp"> {
  let summary = "Add the kernel of a quantized product for GPUs";
  let description = [{
    Adds one kernel to the `gpu.module @ganq_kernels`, which is made where there
    is none; each kernel's module can so be looked at, compiled and run alone.
    With `chip`, a strategy that the chip would emulate is an error.

    ```
    ganq-opt --ganq-build-gpu-kernels='scheme=#ganq.lut<bits=4> skeleton=gemv'
    ```
  }];
  let options = [
    Option<"scheme", "scheme", "std::string", "\"\"",
           "Scheme of the weight, as an attribute">,
    Option<"type", "type", "std::string", "\"f16\"",
           "Type of x, scales and tables: f16 or bf16">,
    Option<"outType", "out-type", "std::string", "\"\"",
           "Type of the result, bias and residual: that of x, or f32">,
    Option<"skeleton", "skeleton", "std::string", "\"gemv\"", "gemv or gemm">,
    Option<"strategy", "strategy", "std::string", "\"f16\"",
           "f16, int8, dp4a or btc">,
    Option<"chip", "chip", "std::string", "\"\"",
           "Chip that must not emulate the strategy">,
    Option<"tokens", "tokens", "int64_t", "1", "Rows of x per block">,
    Option<"products", "products", "int64_t", "1",
           "Weights that one launch multiplies by x, 1 to 4">,
    Option<"bias", "bias", "bool", "false", "Add a bias">,
    Option<"residual", "residual", "bool", "false", "Add a residual">,
    Option<"activation", "activation", "std::string", "\"none\"",
           "none, relu or silu">,
  ];
  let dependentDialects = ["::mlir::arith::ArithDialect",
                           "::mlir::gpu::GPUDialect",
                           "::mlir::LLVM::LLVMDialect",
                           "::mlir::NVVM::NVVMDialect",
                           "::mlir::scf::SCFDialect"];
}

def SeparateBuffers : Pass<"ganq-separate-buffers", "::mlir::func::FuncOp"> {
  let summary = "A buffer of its own for each value of a step function";
  let description = [{
    Bufferization lets values share memory, which hides from later passes who
    reads what. Here each op that overwrites a whole buffer gets a new one;
    `ganq-plan-memory` lets them share again. A transpose that moves only
    dimensions of size 1, as in steps of one token, becomes a view.
  }];
  let statistics = [Statistic<"numBuffers", "buffers", "Buffers added">,
                    Statistic<"numFolded", "folded", "Transposes folded">];
  let dependentDialects = ["::mlir::memref::MemRefDialect"];
}

def LowerToGpu : Pass<"ganq-lower-to-gpu", "::mlir::ModuleOp"> {
  let summary = "Step functions in buffer form to launches of GPU kernels";
  let description = [{
    Each op of a step function (a public function without results) becomes a
    `gpu.launch_func` of a kernel in `gpu.module @ganq_kernels`; equal kernels
    are kept once. Launches that are there already stay. The count of tokens
    seen so far, an `index`, becomes a `memref<1xi64>` that kernels load.
    Assertions go: the runtime checks tokens before a step. `@main`, which knows
    its sizes at run time only, is erased.

    ```mlir
    ganq.swiglu %gate, %up out(%y : memref<1x8xf32>) : ...
    // becomes
    gpu.launch_func @ganq_kernels::@swiglu blocks in (%c1, %c1, %c1)
        threads in (%c32, %c1, %c1) args(%gate : memref<1x8xf32>, ...)
    ```

    Shapes must be static, caches floats. An op without a kernel is an error at
    the op.
  }];
  let statistics = [Statistic<"numKernels", "kernels", "Kernels built">];
  let dependentDialects = ["::mlir::affine::AffineDialect",
                           "::mlir::arith::ArithDialect",
                           "::mlir::gpu::GPUDialect",
                           "::mlir::linalg::LinalgDialect",
                           "::mlir::math::MathDialect",
                           "::mlir::memref::MemRefDialect",
                           "::mlir::scf::SCFDialect"];
}

def AddArgmax : Pass<"ganq-add-argmax", "::mlir::ModuleOp"> {
  let summary = "Find the most probable token on the device";
  let description = [{
    `@prompt` and `@decode`, whose last argument is the logits of one token, get
    another one behind it, a `memref<1xi64>`, and launches at their end that
    write the token of the greatest logit there: of equal logits the first one,
    and -1 if a logit is not a number. One block looks at up to 2048 logits;
    more go to several blocks, and another launch takes the best that they
    found.

    ```mlir
    func.func @decode(..., %logits: memref<1x1x512xf32>, %best: memref<1xi64>) {
      ...
      gpu.launch_func @ganq_kernels::@argmax blocks in (%c1, %c1, %c1)
          threads in (%c256, %c1, %c1)
          args(%logits : memref<1x1x512xf32>, %best : memref<1xi64>)
    ```
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect",
                           "::mlir::gpu::GPUDialect",
                           "::mlir::memref::MemRefDialect",
                           "::mlir::scf::SCFDialect"];
}

def LowerGpuMath : Pass<"ganq-lower-gpu-math", "::mlir::gpu::GPUModuleOp"> {
  let summary = "Math functions to instructions and polynomials";
  let description = [{
    PTX has no functions of libm, and libdevice would have to be linked. Square
    roots, roundings and the like become intrinsics of LLVM, which are
    instructions of every chip; exp becomes the approximation of 2^x, accurate
    to 2 ulp of its rounded argument; the rest polynomials. A function for which
    none of this exists is an error.
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect",
                           "::mlir::LLVM::LLVMDialect",
                           "::mlir::math::MathDialect",
                           "::mlir::vector::VectorDialect"];
}

def LowerGpuProducts : Pass<"ganq-lower-gpu-products", "::mlir::ModuleOp"> {
  let summary = "Quantized products in buffer form to launches of GPU kernels";
  let description = [{
    Each `ganq.packed_matmul` becomes a launch of a kernel in
    `gpu.module @ganq_kernels`: gemv for up to 8 rows of x, gemm for more. The
    stored tensors of its weight become parameters in the order of the kernels,
    with `#ganq.gpu_packed` to say how they are made. x becomes floats of 16
    bits by a `linalg.generic` before the first of the products that read it;
    `ganq.quantize_rows` becomes a launch that makes codes, bytes or planes as
    the products want them. Products of one x that come one after the other,
    by weights of one scheme, share a launch. A remark for each product names
    its kernel.

    Buffers must have static shapes. What no kernel supports, or one of `chips`
    would emulate, is an error that names the weight.
  }];
  let options = [
    ListOption<"chips", "chips", "std::string",
               "Chips that must not emulate what products use">,
    Option<"strategy", "strategy", "std::string", "\"auto\"",
           "For products of integers: auto, int8 or btc">,
  ];
  let dependentDialects = ["::mlir::arith::ArithDialect",
                           "::mlir::gpu::GPUDialect",
                           "::mlir::linalg::LinalgDialect",
                           "::mlir::LLVM::LLVMDialect",
                           "::mlir::memref::MemRefDialect",
                           "::mlir::NVVM::NVVMDialect",
                           "::mlir::scf::SCFDialect"];
}

def GpuToCubin : Pass<"ganq-gpu-to-cubin", "::mlir::ModuleOp"> {
  let summary = "Compile GPU modules at the NVVM level to PTX or machine code";
  let description = [{
    Every `gpu.module` becomes a `gpu.binary` with one object for each chip. An
    object's properties say what ptxas reports of its kernels: `registers`,
    `spill_bytes`, `stack_bytes` and `shared_bytes`. The chips are checked
    before any code is generated.
  }];
  let options = [
    ListOption<"chips", "chips", "std::string",
               "Chips, such as sm_80,sm_90a; all that are known without any">,
    Option<"format", "format", "std::string", "\"cubin\"",
           "ptx, or cubin, which needs the ptxas of a CUDA toolkit">,
    Option<"toolkit", "toolkit", "std::string", "\"\"",
           "Folder of the CUDA toolkit">,
  ];
  let dependentDialects = ["::mlir::gpu::GPUDialect",
                           "::mlir::NVVM::NVVMDialect"];
}

#endif // GANQ_CODEGEN_GPU_PASSES_TD
