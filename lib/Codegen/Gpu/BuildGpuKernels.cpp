//===- BuildGpuKernels.cpp - Add the kernel of a quantized product --------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/Codegen/Gpu/GpuKernels.h"
#include "ganq/Codegen/Gpu/Passes.h"
#include "mlir/AsmParser/AsmParser.h"
#include "llvm/ADT/StringSwitch.h"

namespace ganq {
#define GEN_PASS_DEF_BUILDGPUKERNELS
#include "ganq/Codegen/Gpu/Passes.h.inc"
} // namespace ganq

using namespace mlir;
using namespace ganq;

namespace {

struct BuildGpuKernelsPass
    : public ganq::impl::BuildGpuKernelsBase<BuildGpuKernelsPass> {
  using BuildGpuKernelsBase::BuildGpuKernelsBase;

  void getDependentDialects(DialectRegistry &registry) const override {
    BuildGpuKernelsBase::getDependentDialects(registry);
    registry.insert<GanqDialect>();
  }

  void runOnOperation() override {
    ModuleOp module = getOperation();
    GpuMatmulSpec spec;
    if (failed(readOptions(spec)))
      return signalPassFailure();
    auto kernels = module.lookupSymbol<gpu::GPUModuleOp>("ganq_kernels");
    if (!kernels) {
      OpBuilder builder = OpBuilder::atBlockEnd(module.getBody());
      kernels =
          gpu::GPUModuleOp::create(builder, module.getLoc(), "ganq_kernels");
      module->setAttr(gpu::GPUDialect::getContainerModuleAttrName(),
                      builder.getUnitAttr());
    }
    auto info = buildGpuMatmul(kernels, spec);
    if (!info) {
      module.emitError() << llvm::toString(info.takeError());
      return signalPassFailure();
    }
    // How to launch it, for whoever reads the module.
    Builder builder(&getContext());
    SymbolTable::lookupSymbolIn(kernels, info->name)
        ->setAttr(
            "ganq.launch",
            builder.getDictionaryAttr(
                {builder.getNamedAttr("rows",
                                      builder.getI64IntegerAttr(info->rows)),
                 builder.getNamedAttr("shared_bytes", builder.getI64IntegerAttr(
                                                          info->sharedBytes)),
                 builder.getNamedAttr("threads",
                                      builder.getI64IntegerAttr(info->threads)),
                 builder.getNamedAttr(
                     "tokens", builder.getI64IntegerAttr(info->tokens))}));
  }

private:
  LogicalResult readOptions(GpuMatmulSpec &spec) {
    Location loc = getOperation().getLoc();
    auto parsed = dyn_cast_or_null<SchemeAttrInterface>(
        parseAttribute(scheme, &getContext()));
    if (!parsed)
      return emitError(loc) << "expected `scheme` to be a scheme such as "
                               "#ganq.lut<bits = 4>, but got `"
                            << scheme << "`";
    spec.scheme = parsed;
    if (type != "f16" && type != "bf16")
      return emitError(loc)
             << "expected `type` to be f16 or bf16, but got `" << type << "`";
    spec.type = type == "f16" ? cast<FloatType>(Float16Type::get(&getContext()))
                              : BFloat16Type::get(&getContext());
    if (outType == "f32")
      spec.outType = Float32Type::get(&getContext());
    else if (!outType.empty() && outType != type)
      return emitError(loc) << "expected `out-type` to be the type of x (`"
                            << type << "`) or f32, but got `" << outType << "`";
    if (skeleton != "gemv" && skeleton != "gemm")
      return emitError(loc)
             << "expected `skeleton` to be gemv or gemm, but got `" << skeleton
             << "`";
    spec.skeleton = skeleton == "gemv" ? GpuSkeleton::Gemv : GpuSkeleton::Gemm;
    auto known = parseGpuStrategy(strategy);
    if (!known)
      return emitError(loc)
             << "expected `strategy` to be one of " << getGpuStrategyNames()
             << ", but got `" << strategy << "`";
    spec.strategy = *known;
    if (!chip.empty()) {
      auto target = GpuTarget::get(chip);
      llvm::Error error =
          target ? target->check(spec.strategy) : target.takeError();
      if (error)
        return emitError(loc) << llvm::toString(std::move(error));
    }
    if (spec.strategy != GpuStrategy::F16)
      spec.activationBits = parsed.getActivationBits();
    spec.tokens = tokens;
    spec.products = products;
    spec.bias = bias;
    spec.residual = residual;
    auto chosen = llvm::StringSwitch<std::optional<GpuActivation>>(activation)
                      .Case("none", GpuActivation::None)
                      .Case("relu", GpuActivation::Relu)
                      .Case("silu", GpuActivation::Silu)
                      .Default(std::nullopt);
    if (!chosen)
      return emitError(loc)
             << "expected `activation` to be none, relu or silu, but got `"
             << activation << "`";
    spec.activation = *chosen;
    return success();
  }
};

} // namespace
