//===- GpuToCubin.cpp - Compile GPU modules to PTX or machine code --------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/Codegen/Gpu/Passes.h"
#include "ganq/Target/Cubin.h"

namespace ganq {
#define GEN_PASS_DEF_GPUTOCUBIN
#include "ganq/Codegen/Gpu/Passes.h.inc"
} // namespace ganq

using namespace mlir;
using namespace ganq;

namespace {

struct GpuToCubinPass : public ganq::impl::GpuToCubinBase<GpuToCubinPass> {
  using GpuToCubinBase::GpuToCubinBase;

  void runOnOperation() override {
    ModuleOp module = getOperation();
    if (format != "ptx" && format != "cubin") {
      module.emitError() << "expected `format` to be ptx or cubin, but got `"
                         << format << "`";
      return signalPassFailure();
    }
    SmallVector<GpuTarget> targets;
    for (const std::string &chip : chips) {
      auto target = GpuTarget::get(chip);
      if (!target) {
        module.emitError() << llvm::toString(target.takeError());
        return signalPassFailure();
      }
      targets.push_back(*target);
    }
    if (targets.empty())
      llvm::append_range(targets, GpuTarget::getAll());

    for (auto kernels :
         llvm::make_early_inc_range(module.getOps<gpu::GPUModuleOp>())) {
      SmallVector<Attribute> objects;
      for (const GpuTarget &target : targets) {
        auto object = compile(kernels, target);
        if (!object) {
          kernels.emitError() << llvm::toString(object.takeError());
          return signalPassFailure();
        }
        objects.push_back(*object);
      }
      OpBuilder builder(kernels);
      gpu::BinaryOp::create(builder, kernels.getLoc(), kernels.getName(),
                            /*offloadingHandler=*/nullptr,
                            builder.getArrayAttr(objects));
      kernels.erase();
    }
  }

private:
  llvm::Expected<gpu::ObjectAttr> compile(gpu::GPUModuleOp kernels,
                                          const GpuTarget &target) {
    MLIRContext *context = &getContext();
    Builder builder(context);
    // A chip that cannot execute an instruction would stop LLVM, or emulate it.
    bool bits = false;
    kernels.walk([&](NVVM::MmaOp op) {
      bits |= op.getMultiplicandAPtxType() == NVVM::MMATypes::b1;
    });
    if (bits)
      if (llvm::Error error = target.check(GpuStrategy::Btc))
        return std::move(error);

    auto ptx = compileToPtx(kernels, target);
    if (!ptx)
      return ptx.takeError();
    auto chipAttr = NVVM::NVVMTargetAttr::get(
        context, 3, "nvptx64-nvidia-cuda", target.chip, GpuTarget::kFeatures);
    if (format == "ptx")
      return gpu::ObjectAttr::get(
          context, chipAttr, gpu::CompilationTarget::Assembly,
          builder.getStringAttr(*ptx), DictionaryAttr(), nullptr);
    auto cubin = assemblePtx(*ptx, target, toolkit);
    if (!cubin)
      return cubin.takeError();
    SmallVector<NamedAttribute> properties;
    for (const GpuKernelResources &kernel : cubin->kernels) {
      auto number = [&](StringRef name, int64_t value) {
        return builder.getNamedAttr(name, builder.getI64IntegerAttr(value));
      };
      properties.push_back(builder.getNamedAttr(
          kernel.name, builder.getDictionaryAttr(
                           {number("registers", kernel.registers),
                            number("shared_bytes", kernel.sharedBytes),
                            number("spill_bytes", kernel.spillBytes),
                            number("stack_bytes", kernel.stackBytes)})));
    }
    return gpu::ObjectAttr::get(context, chipAttr,
                                gpu::CompilationTarget::Binary,
                                builder.getStringAttr(StringRef(
                                    cubin->image.data(), cubin->image.size())),
                                builder.getDictionaryAttr(properties), nullptr);
  }
};

} // namespace
