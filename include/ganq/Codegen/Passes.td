//===- Passes.td - Code generation passes ------------------*- tablegen -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_CODEGEN_PASSES_TD
#define GANQ_CODEGEN_PASSES_TD

include "mlir/Pass/PassBase.td"

class GanqCpuPass<string argument, string operation>
    : Pass<argument, operation> {
  let options = [
    Option<"cpu", "cpu", "std::string", "\"x86-64-v3\"",
           "Processor to generate code for: x86-64-v3, x86-64-v3-vnni, "
           "x86-64-v4 or host">
  ];
}

def OrderConstants : Pass<"ganq-order-constants", "::mlir::ModuleOp"> {
  let summary = "Order and name constant buffers by their first use";
  let description = [{
    Bufferization visits functions in no fixed order and names the
    `memref.global` of each constant by number. This pass puts private constants
    in the order in which the module first reads them and names them anew, so
    that the same model always gives the same bytes.
  }];
  let dependentDialects = ["::mlir::memref::MemRefDialect"];
}

def PlanMemory : Pass<"ganq-plan-memory", "::mlir::ModuleOp"> {
  let summary = "Place static buffers of the entries into one arena each";
  let description = [{
    In every public function, each `memref.alloc` of static shape becomes a
    view into an arena; buffers that are never live at the same time share
    bytes. Offsets are multiples of 64. The function's `ganq.arena_bytes` says
    how large the arena must be.

    A function without results takes the arena as a new first argument
    `memref<?xi8>`. A function with results (`@main`) allocates its own. A
    buffer that may be returned, that a loop or branch hands on, or whose size
    is dynamic stays a `memref.alloc`, which `ganq-convert-to-llvm` turns into a
    call of the host. `memref.dealloc` is dropped: the host frees.
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect",
                           "::mlir::memref::MemRefDialect"];
  let statistics = [
    Statistic<"numPlanned", "buffers", "Buffers placed into arenas">
  ];
}

def LowerKernels
    : GanqCpuPass<"ganq-lower-kernels", "::mlir::ModuleOp"> {
  let summary = "Expand ganq ops on buffers to calls of vector kernels";
  let description = [{
    Every ganq compute op in buffer form becomes a `ganq.dispatch` of a private
    kernel function over vectors. Ops with the same name, types and attributes
    share one kernel. docs/Kernels.md describes the kernels. How a product of
    integers is computed is a remark.
  }];
  let dependentDialects = [
    "::ganq::GanqDialect", "::mlir::arith::ArithDialect",
    "::mlir::cf::ControlFlowDialect", "::mlir::func::FuncDialect",
    "::mlir::LLVM::LLVMDialect", "::mlir::math::MathDialect",
    "::mlir::memref::MemRefDialect", "::mlir::scf::SCFDialect",
    "::mlir::vector::VectorDialect"];
  let statistics = [
    Statistic<"numKernels", "kernels", "Kernel functions created">
  ];
}

def LowerTableLookup : GanqCpuPass<"ganq-lower-table-lookup", ""> {
  let summary = "Lower ganq.table_lookup to the processor's permutes";
  let description = [{
    AVX-512 permutes 16 or, from two registers, 32 floats by an index vector;
    AVX2 permutes 8. Other tables and processors extract element by element.
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect",
                           "::mlir::LLVM::LLVMDialect",
                           "::mlir::vector::VectorDialect"];
}

def LowerLinalg : Pass<"ganq-lower-linalg", "::mlir::func::FuncOp"> {
  let summary = "Lower the remaining linalg ops and copies to loops";
  let description = [{
    Parallel dimensions become `scf.parallel`, reductions `scf.for`. Sums of
    reductions may be reassociated and contracted, never assumed finite.
    Copies between buffers with strides become loops as well.
  }];
  let dependentDialects = ["::mlir::affine::AffineDialect",
                           "::mlir::linalg::LinalgDialect",
                           "::mlir::memref::MemRefDialect",
                           "::mlir::scf::SCFDialect"];
}

def OutlineParallel : Pass<"ganq-outline-parallel", "::mlir::ModuleOp"> {
  let summary = "Turn large parallel loops into ganq.dispatch";
  let description = [{
    An outermost `scf.parallel` whose work reaches `min-work` becomes a function
    over a range of its outer iterations and a `ganq.dispatch` of it; where the
    work is known only at run time, both ways are kept. All other parallel loops
    become `scf.for`.
  }];
  let options = [
    Option<"minWork", "min-work", "int64_t", "32768",
           "Innermost iterations from which threads pay off">
  ];
  let dependentDialects = ["::ganq::GanqDialect", "::mlir::arith::ArithDialect",
                           "::mlir::func::FuncDialect",
                           "::mlir::scf::SCFDialect"];
}

def LowerMath : Pass<"ganq-lower-math", "::mlir::func::FuncOp"> {
  let summary = "Expand or approximate math functions";
  let description = [{
    exp, tanh and erf of f32 become polynomials accurate to a few units in the
    last place; the vectorizer can widen them. Conversions from and to bf16 are
    written out. The rest is left to instructions and libm.
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect",
                           "::mlir::math::MathDialect",
                           "::mlir::vector::VectorDialect"];
}

def ConvertToLLVM : Pass<"ganq-convert-to-llvm", "::mlir::ModuleOp"> {
  let summary = "Convert everything to the LLVM dialect and add the entries";
  let description = [{
    Follows runtime/include/ganq/module_abi.h. Each public function `@f` gets a
    wrapper `ganq_f(void **args)`; `ganq_module_init` keeps the host's functions
    and the parameter table. `ganq.parameter` reads the table at the index of
    its key in the module's new attribute `ganq.parameters`; the stored tensor
    is row-major in the shape of the parameter's type.
  }];
  let dependentDialects = ["::mlir::LLVM::LLVMDialect"];
}

#endif // GANQ_CODEGEN_PASSES_TD
