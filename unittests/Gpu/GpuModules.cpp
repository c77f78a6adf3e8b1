//===- GpuModules.cpp - Modules with one GPU kernel -----------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "GpuModules.h"
#include "ganq/Codegen/Gpu/Passes.h"
#include "mlir/AsmParser/AsmParser.h"
#include "mlir/Pass/PassManager.h"

using namespace ganq;

static llvm::Expected<mlir::OwningOpRef<mlir::ModuleOp>> buildModule(
    mlir::MLIRContext &context, GpuKernelInfo &info,
    llvm::function_ref<llvm::Expected<GpuKernelInfo>(mlir::gpu::GPUModuleOp)>
        build) {
  mlir::DialectRegistry registry;
  registerGpuConversions(registry);
  context.appendDialectRegistry(registry);
  context.loadDialect<mlir::gpu::GPUDialect>();
  mlir::OpBuilder builder(&context);
  mlir::Location loc = builder.getUnknownLoc();
  mlir::OwningOpRef<mlir::ModuleOp> module = mlir::ModuleOp::create(loc);
  (*module)->setAttr(mlir::gpu::GPUDialect::getContainerModuleAttrName(),
                     builder.getUnitAttr());
  builder.setInsertionPointToEnd(module->getBody());
  auto built = build(mlir::gpu::GPUModuleOp::create(builder, loc, "kernels"));
  if (!built)
    return built.takeError();
  info = *built;
  mlir::PassManager manager(&context);
  buildGpuToNvvmPipeline(manager);
  if (mlir::failed(manager.run(*module)))
    return llvm::createStringError("the kernel cannot be lowered");
  return module;
}

llvm::Expected<mlir::OwningOpRef<mlir::ModuleOp>>
ganq::buildKernelModule(mlir::MLIRContext &context, const GpuMatmulSpec &spec,
                        GpuKernelInfo &info) {
  return buildModule(context, info, [&](mlir::gpu::GPUModuleOp kernels) {
    return buildGpuMatmul(kernels, spec);
  });
}

llvm::Expected<mlir::OwningOpRef<mlir::ModuleOp>>
ganq::buildQuantizeModule(mlir::MLIRContext &context,
                          const GpuQuantizeSpec &spec, GpuKernelInfo &info) {
  return buildModule(context, info, [&](mlir::gpu::GPUModuleOp kernels) {
    return buildGpuQuantizeRows(kernels, spec);
  });
}

GpuMatmulSpec ganq::makeSpec(mlir::MLIRContext &context,
                             const std::string &scheme, bool bf16,
                             GpuMatmulSpec spec) {
  context.loadDialect<GanqDialect>();
  spec.scheme = mlir::dyn_cast_or_null<SchemeAttrInterface>(
      mlir::parseAttribute(scheme, &context));
  spec.type =
      bf16 ? mlir::cast<mlir::FloatType>(mlir::BFloat16Type::get(&context))
           : mlir::Float16Type::get(&context);
  if (spec.strategy != GpuStrategy::F16)
    spec.activationBits = spec.scheme.getActivationBits();
  return spec;
}
