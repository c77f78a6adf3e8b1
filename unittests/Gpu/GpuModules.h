//===- GpuModules.h - Modules with one GPU kernel ---------------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_UNITTESTS_GPU_GPUMODULES_H
#define GANQ_UNITTESTS_GPU_GPUMODULES_H

#include "ganq/Codegen/Gpu/GpuKernels.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/IR/OwningOpRef.h"
#include <string>

namespace ganq {

/// A module with one kernel, at the NVVM level.
llvm::Expected<mlir::OwningOpRef<mlir::ModuleOp>>
buildKernelModule(mlir::MLIRContext &context, const GpuMatmulSpec &spec,
                  GpuKernelInfo &info);

llvm::Expected<mlir::OwningOpRef<mlir::ModuleOp>>
buildQuantizeModule(mlir::MLIRContext &context, const GpuQuantizeSpec &spec,
                    GpuKernelInfo &info);

/// Fills `scheme` and `type` of a specification from text.
GpuMatmulSpec makeSpec(mlir::MLIRContext &context, const std::string &scheme,
                       bool bf16, GpuMatmulSpec spec = {});

} // namespace ganq

#endif // GANQ_UNITTESTS_GPU_GPUMODULES_H
