//===- Cubin.h - GPU modules to PTX and machine code ------------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_TARGET_CUBIN_H
#define GANQ_TARGET_CUBIN_H

#include "ganq/Target/GpuTarget.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include <string>
#include <vector>

namespace ganq {

/// What ptxas reports of a kernel.
struct GpuKernelResources {
  std::string name;
  int64_t registers = 0;   ///< Per thread.
  int64_t stackBytes = 0;  ///< Per thread.
  int64_t spillBytes = 0;  ///< Stores and loads of spilled registers.
  int64_t sharedBytes = 0; ///< Static shared memory per block.
};

struct Cubin {
  std::vector<char> image;                 ///< An ELF file for the CUDA driver.
  std::vector<GpuKernelResources> kernels; ///< In the order of the module.
};

/// PTX of a `gpu.module` at the NVVM level (what convert-gpu-to-nvvm leaves).
/// Instructions keep the order in which the kernels have them: LLVM's
/// InstCombine, which would turn `(w & mask) << k` into `(w << k) & mask'` and
/// cost an instruction per pair of weights, does not run.
llvm::Expected<std::string> compileToPtx(mlir::gpu::GPUModuleOp module,
                                         const GpuTarget &target);

/// Machine code of `ptx` by the ptxas of a CUDA toolkit: the one in `toolkit`
/// where given, else that on PATH, else that of CUDA_ROOT, CUDA_HOME, CUDA_PATH
/// or /usr/local/cuda. An error names these places, or quotes ptxas. A kernel
/// whose registers are bounded so that several blocks find some
/// (`.minnctapersm`) may have more where it would spill otherwise.
llvm::Expected<Cubin> assemblePtx(llvm::StringRef ptx, const GpuTarget &target,
                                  llvm::StringRef toolkit = "");

} // namespace ganq

#endif // GANQ_TARGET_CUBIN_H
