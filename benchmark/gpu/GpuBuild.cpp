//===- GpuBuild.cpp - Kernels by themselves, for chips --------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   gpu-build FOLDER CHIP,... KERNEL...
//
// where KERNEL is one of
//
//   NAME:gemv|gemm:TOKENS:STRATEGY:SCHEME   a product (`lut<bits = 4>`)
//   NAME:quantize:BITS:bytes|planes         codes of x
//
// writes for each chip FOLDER/CHIP.cubin with the kernels that it can execute,
// or FOLDER/emulator.so for the chip `emulator`, and FOLDER/kernels.json, which
// says how to launch each of them and where the bits of codes lie.
//
//===----------------------------------------------------------------------===//

#include "ganq/Codegen/Gpu/GpuKernels.h"
#include "ganq/Codegen/Gpu/Passes.h"
#include "ganq/Emulator/Emulator.h"
#include "ganq/Target/Cubin.h"
#include "ganq/Target/NativeObject.h"
#include "mlir/AsmParser/AsmParser.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/Pass/PassManager.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/raw_ostream.h"

using namespace llvm;
using namespace ganq;
namespace json = llvm::json;

static int fail(const Twine &message) {
  errs() << "gpu-build: " << message << "\n";
  return 1;
}

namespace {
constexpr StringLiteral kEmulator = "emulator";

struct Kernel {
  std::string name, text;
  bool quantizes = false;
  GpuMatmulSpec product;
  GpuQuantizeSpec quantize;
  GpuKernelInfo info;

  /// Whether the chip executes it without emulating instructions.
  bool isNative(StringRef chip) const {
    return quantizes || chip == kEmulator ||
           cantFail(GpuTarget::get(chip)).isNative(product.strategy);
  }
};
} // namespace

static Expected<Kernel> parseKernel(StringRef text,
                                    mlir::MLIRContext &context) {
  auto expected = [&] {
    return createStringError(
        "expected NAME:gemv|gemm:TOKENS:STRATEGY:SCHEME or "
        "NAME:quantize:BITS:bytes|planes, but got `" +
        text + "`");
  };
  SmallVector<StringRef> parts;
  text.split(parts, ':');
  if (parts.size() < 4 || parts[0].empty())
    return expected();
  Kernel kernel;
  kernel.name = parts[0].str();
  kernel.text = text.str();
  auto type = mlir::Float16Type::get(&context);
  if (parts[1] == "quantize") {
    kernel.quantizes = true;
    kernel.quantize.type = type;
    kernel.quantize.planes = parts[3] == "planes";
    if (parts.size() != 4 || parts[2].getAsInteger(10, kernel.quantize.bits) ||
        (parts[3] != "planes" && parts[3] != "bytes"))
      return expected();
    return kernel;
  }
  GpuMatmulSpec &spec = kernel.product;
  auto strategy = parseGpuStrategy(parts[3]);
  if (parts.size() != 5 || (parts[1] != "gemv" && parts[1] != "gemm") ||
      parts[2].getAsInteger(10, spec.tokens) || !strategy)
    return expected();
  spec.type = type;
  spec.skeleton = parts[1] == "gemv" ? GpuSkeleton::Gemv : GpuSkeleton::Gemm;
  spec.strategy = *strategy;
  spec.scheme = dyn_cast_or_null<SchemeAttrInterface>(
      mlir::parseAttribute(("#ganq." + parts[4]).str(), &context));
  if (!spec.scheme)
    return expected();
  if (spec.strategy != GpuStrategy::F16)
    spec.activationBits = spec.scheme.getActivationBits();
  return kernel;
}

/// A module with the kernels, at the NVVM level.
static Expected<mlir::OwningOpRef<mlir::ModuleOp>>
buildModule(mlir::MLIRContext &context, ArrayRef<Kernel *> kernels) {
  mlir::OpBuilder builder(&context);
  mlir::Location loc = builder.getUnknownLoc();
  mlir::OwningOpRef<mlir::ModuleOp> module = mlir::ModuleOp::create(loc);
  (*module)->setAttr(mlir::gpu::GPUDialect::getContainerModuleAttrName(),
                     builder.getUnitAttr());
  builder.setInsertionPointToEnd(module->getBody());
  auto gpuModule = mlir::gpu::GPUModuleOp::create(builder, loc, "kernels");
  for (Kernel *kernel : kernels) {
    auto info = kernel->quantizes
                    ? buildGpuQuantizeRows(gpuModule, kernel->quantize)
                    : buildGpuMatmul(gpuModule, kernel->product);
    if (!info)
      return createStringError(kernel->text + ": " +
                               toString(info.takeError()));
    kernel->info = *info;
  }
  mlir::PassManager manager(&context);
  buildGpuToNvvmPipeline(manager);
  if (failed(manager.run(*module)))
    return createStringError("the kernels cannot be lowered");
  return module;
}

static Error writeFile(const Twine &path, ArrayRef<char> bytes) {
  std::error_code failure;
  raw_fd_ostream file(path.str(), failure);
  if (!failure) {
    file.write(bytes.data(), bytes.size());
    file.close();
    failure = file.error();
  }
  if (!failure)
    return Error::success();
  file.clear_error();
  return createStringError("cannot write " + path + ": " + failure.message());
}

static Error compile(mlir::gpu::GPUModuleOp module, StringRef chip,
                     const Twine &folder) {
  if (chip == kEmulator) {
    EmulatorOptions options;
    options.optLevel = 1;
    auto object = compileToEmulatedObject(module, options);
    auto shared = object ? linkSharedObject(*object)
                         : Expected<std::vector<char>>(object.takeError());
    return shared ? writeFile(folder + "/" + chip + ".so", *shared)
                  : shared.takeError();
  }
  GpuTarget target = cantFail(GpuTarget::get(chip));
  auto ptx = compileToPtx(module, target);
  auto cubin =
      ptx ? assemblePtx(*ptx, target) : Expected<Cubin>(ptx.takeError());
  return cubin ? writeFile(folder + "/" + chip + ".cubin", cubin->image)
               : cubin.takeError();
}

//===----------------------------------------------------------------------===//
// Descriptions
//===----------------------------------------------------------------------===//

/// Where the bits of codes lie: `columns` has the slot of each column of a
/// granule and its number in there, `places` word and bit of each bit of that.
static json::Object describeLayout(const GpuLayout &layout) {
  json::Array columns, places;
  for (int64_t column = 0; column < layout.getGranuleColumns(); ++column)
    columns.push_back(
        json::Array{layout.getSlot(column), layout.getIndexInSlot(column)});
  for (int64_t index = 0; index < layout.getSlotColumns(); ++index) {
    json::Array bits;
    for (unsigned bit = 0; bit < layout.getBits(); ++bit) {
      GpuLayout::Bit place = layout.getBit(index, bit);
      bits.push_back(json::Array{place.word, place.bit});
    }
    places.push_back(std::move(bits));
  }
  return json::Object{{"units", layout.getUnits()},
                      {"slot_words", layout.getSlotWords()},
                      {"columns", std::move(columns)},
                      {"places", std::move(places)}};
}

static json::Object describe(const Kernel &kernel, ArrayRef<StringRef> chips) {
  json::Array native;
  for (StringRef chip : chips)
    if (kernel.isNative(chip))
      native.push_back(chip);
  json::Object object{{"name", kernel.name},
                      {"entry", kernel.info.name},
                      {"threads", kernel.info.threads},
                      {"shared", kernel.info.sharedBytes},
                      {"rows", kernel.info.rows},
                      {"tokens", kernel.info.tokens},
                      {"chips", std::move(native)}};
  if (kernel.quantizes) {
    object["kind"] = "quantize";
    object["bits"] = kernel.quantize.bits;
    object["planes"] = kernel.quantize.planes;
    object["args"] = json::Array{"codes", "x_scale", "x_zero", "x_sum", "x"};
    return object;
  }
  const GpuMatmulSpec &spec = kernel.product;
  json::Array args{"out", "x", "codes"};
  if (isa<LutAttr>(spec.scheme)) {
    object["family"] = "lut";
    args.push_back("table");
  } else if (auto uniform = dyn_cast<UniformAttr>(spec.scheme)) {
    object["family"] = "uniform";
    object["group"] = uniform.getGroup();
    args.push_back("scale");
    args.push_back("zero");
  } else {
    auto pot = cast<PotAttr>(spec.scheme);
    object["family"] = "pot";
    object["group"] = pot.getGroup();
    object["stride"] = pot.getGrid() == PotGrid::stride2 ? 2 : 1;
    args.push_back("scale");
  }
  if (spec.strategy != GpuStrategy::F16)
    for (StringRef name : {"weight_sum", "x_scale", "x_zero", "x_sum"})
      args.push_back(name);
  object["kind"] = "product";
  object["skeleton"] = spec.skeleton == GpuSkeleton::Gemv ? "gemv" : "gemm";
  object["strategy"] = getName(spec.strategy);
  object["bits"] = spec.scheme.getCodeBits();
  object["activation"] = spec.activationBits;
  object["args"] = std::move(args);
  object["layout"] =
      describeLayout(cantFail(getGpuLayout(spec, GpuLayout::kRowTile, 1)));
  return object;
}

int main(int argc, char **argv) {
  if (argc < 4)
    return fail("expected FOLDER CHIP,... KERNEL...");
  std::string folder = argv[1];
  SmallVector<StringRef> chips;
  StringRef(argv[2]).split(chips, ',');
  for (StringRef chip : chips)
    if (Error error = chip == kEmulator ? Error::success()
                                        : GpuTarget::get(chip).takeError())
      return fail(toString(std::move(error)));
  mlir::DialectRegistry registry;
  registerGpuConversions(registry);
  mlir::MLIRContext context(registry);
  context.loadDialect<GanqDialect, mlir::gpu::GPUDialect>();

  std::vector<Kernel> kernels;
  for (int n = 3; n < argc; ++n) {
    auto kernel = parseKernel(argv[n], context);
    if (!kernel)
      return fail(toString(kernel.takeError()));
    kernels.push_back(std::move(*kernel));
  }
  if (std::error_code failure = sys::fs::create_directories(folder))
    return fail("cannot make " + folder + ": " + failure.message());
  // Names and sizes, of kernels too that no chip executes.
  SmallVector<Kernel *> all;
  for (Kernel &kernel : kernels)
    all.push_back(&kernel);
  if (Error error = buildModule(context, all).takeError())
    return fail(toString(std::move(error)));
  for (StringRef chip : chips) {
    SmallVector<Kernel *> native;
    for (Kernel &kernel : kernels)
      if (kernel.isNative(chip))
        native.push_back(&kernel);
    auto module = buildModule(context, native);
    Error error =
        module ? compile(*(*module)->getOps<mlir::gpu::GPUModuleOp>().begin(),
                         chip, folder)
               : module.takeError();
    if (error)
      return fail(chip + ": " + toString(std::move(error)));
  }

  json::Array described;
  for (const Kernel &kernel : kernels)
    described.push_back(describe(kernel, chips));
  std::string text;
  raw_string_ostream(text) << json::Value(json::Object{
      {"row_tile", GpuLayout::kRowTile}, {"kernels", std::move(described)}});
  if (Error error = writeFile(folder + "/kernels.json",
                              ArrayRef(text.data(), text.size())))
    return fail(toString(std::move(error)));
  return 0;
}
