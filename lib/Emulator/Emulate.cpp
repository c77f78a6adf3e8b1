//===- Emulate.cpp - Runs a module with its kernels -----------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "HostFunctions.h"
#include "KernelModule.h"
#include "ganq/Emulator/Passes.h"
#include "mlir/Conversion/Passes.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/MemRef/Transforms/Passes.h"
#include "mlir/IR/AttrTypeSubElements.h"
#include "mlir/IR/Builders.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Target/LLVMIR/Dialect/Builtin/BuiltinToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/LLVMIR/LLVMToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/NVVM/NVVMToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Export.h"

namespace ganq {
#define GEN_PASS_DEF_EMULATE
#include "ganq/Emulator/Passes.h.inc"
} // namespace ganq

using namespace ganq;
using namespace mlir;

namespace {
struct EmulatePass : ganq::impl::EmulateBase<EmulatePass> {
  using EmulateBase::EmulateBase;

  void getDependentDialects(DialectRegistry &registry) const override {
    // What the host is lowered to, and the way from there to LLVM IR.
    registry.insert<LLVM::LLVMDialect>();
    registerBuiltinDialectTranslation(registry);
    registerLLVMDialectTranslation(registry);
    registerNVVMDialectTranslation(registry);
    OpPassManager manager(ModuleOp::getOperationName());
    addHostPasses(manager, /*barePointers=*/false);
    manager.getDependentDialects(registry);
  }

  void runOnOperation() override;

private:
  static void addHostPasses(OpPassManager &manager, bool barePointers);
  FailureOr<EmulatorOptions> getOptions();
  LogicalResult compileModules(HostProgram &program,
                               const EmulatorOptions &options);
  FailureOr<bool> usesBarePointers();
  LogicalResult lowerHost(ModuleOp host, HostProgram &program,
                          bool barePointers);
  LogicalResult run(ModuleOp host, HostProgram &program,
                    const EmulatorOptions &options);
};
} // namespace

/// Reports a message of the form `file:line:column: text` there, other ones at
/// `fallback`.
static InFlightDiagnostic emitAtPlace(StringRef message, Location fallback) {
  auto [place, text] = message.split(": ");
  auto [rest, column] = place.rsplit(':');
  auto [file, line] = rest.rsplit(':');
  unsigned lineNumber, columnNumber;
  if (file.empty() || line.getAsInteger(10, lineNumber) ||
      column.getAsInteger(10, columnNumber))
    return emitError(fallback) << message;
  return emitError(FileLineColLoc::get(fallback.getContext(), file, lineNumber,
                                       columnNumber))
         << text;
}

FailureOr<EmulatorOptions> EmulatePass::getOptions() {
  EmulatorOptions options;
  auto order = llvm::StringSwitch<std::optional<LaneOrder>>(this->order)
                   .Case("forward", LaneOrder::Forward)
                   .Case("reverse", LaneOrder::Reverse)
                   .Case("random", LaneOrder::Random)
                   .Case("all", LaneOrder::All)
                   .Default(std::nullopt);
  if (!order)
    return emitError(getOperation().getLoc())
           << "expected order to be forward, reverse, random or all, but got `"
           << this->order << "`";
  if (threads < 0)
    return emitError(getOperation().getLoc())
           << "expected threads to be 0 or more, but got "
           << static_cast<int64_t>(threads);
  options.order = *order;
  options.seed = seed;
  options.threads = threads;
  options.check = check;
  options.iterationLimit = iterationLimit;
  options.cpu = cpu;
  return options;
}

LogicalResult EmulatePass::compileModules(HostProgram &program,
                                          const EmulatorOptions &options) {
  for (auto module : getOperation().getOps<gpu::GPUModuleOp>()) {
    auto compiled = EmulatedModule::create(module, options);
    if (!compiled)
      return emitAtPlace(llvm::toString(compiled.takeError()), module.getLoc());
    program.modules[module.getName().str()] = std::move(*compiled);
  }
  return success();
}

/// Kernels take a memref as one pointer or as its descriptor; their number of
/// parameters tells which.
FailureOr<bool> EmulatePass::usesBarePointers() {
  std::optional<bool> bare;
  SymbolTableCollection symbols;
  WalkResult result = getOperation().walk([&](gpu::LaunchFuncOp launch) {
    auto kernel = symbols.lookupNearestSymbolFrom<LLVM::LLVMFuncOp>(
        launch, launch.getKernelAttr());
    if (!kernel) {
      launch.emitError() << "expected a kernel at the NVVM level, but "
                         << launch.getKernelAttr()
                         << " is none; run convert-gpu-to-nvvm first";
      return WalkResult::interrupt();
    }
    unsigned members = 0;
    for (Type type : launch.getKernelOperands().getTypes()) {
      auto memref = dyn_cast<MemRefType>(type);
      members += memref ? 3 + 2 * memref.getRank() : 1;
    }
    unsigned parameters = kernel.getNumArguments();
    unsigned operands = launch.getNumKernelOperands();
    if (parameters != members && parameters != operands) {
      launch.emitError() << "expected a kernel with " << operands << " or "
                         << members << " parameters, but got " << parameters;
      return WalkResult::interrupt();
    }
    if (members == operands)
      return WalkResult::advance();
    if (bare && *bare != (parameters == operands)) {
      launch.emitError() << "expected all kernels to take memrefs as bare "
                            "pointers or all as descriptors, but got both";
      return WalkResult::interrupt();
    }
    bare = parameters == operands;
    return WalkResult::advance();
  });
  if (result.wasInterrupted())
    return failure();
  return bare.value_or(false);
}

void EmulatePass::addHostPasses(OpPassManager &manager, bool barePointers) {
  manager.addPass(createConvertVectorToSCFPass());
  manager.addPass(memref::createExpandStridedMetadataPass());
  manager.addPass(createLowerAffinePass());
  manager.addPass(createSCFToControlFlowPass());
  GpuToLLVMConversionPassOptions options;
  options.kernelBarePtrCallConv = barePointers;
  manager.addPass(createGpuToLLVMConversionPass(options));
  manager.addPass(createReconcileUnrealizedCastsPass());
}

/// A launch becomes a call with its sizes and the addresses of its operands.
static void lowerLaunch(gpu::LaunchFuncOp launch, HostProgram &program,
                        LLVM::LLVMFuncOp callee) {
  OpBuilder b(launch);
  Location loc = launch.getLoc();
  auto pointer = LLVM::LLVMPointerType::get(b.getContext());
  auto makeInt = [&](int64_t value) -> Value {
    return LLVM::ConstantOp::create(b, loc, b.getI64Type(),
                                    b.getI64IntegerAttr(value));
  };
  auto widen = [&](Value value) -> Value {
    if (value.getType().isInteger(64))
      return value;
    return LLVM::SExtOp::create(b, loc, b.getI64Type(), value);
  };
  auto makeArray = [&](Type type, ArrayRef<Value> values) -> Value {
    Value array = LLVM::AllocaOp::create(
        b, loc, pointer, type, makeInt(std::max<size_t>(values.size(), 1)));
    for (auto [i, value] : llvm::enumerate(values)) {
      Value address = LLVM::GEPOp::create(b, loc, pointer, type, array,
                                          ArrayRef<LLVM::GEPArg>{int32_t(i)});
      LLVM::StoreOp::create(b, loc, value, address);
    }
    return array;
  };
  SmallVector<Value> sizes, addresses;
  for (Value size :
       {launch.getGridSizeX(), launch.getGridSizeY(), launch.getGridSizeZ(),
        launch.getBlockSizeX(), launch.getBlockSizeY(), launch.getBlockSizeZ()})
    sizes.push_back(widen(size));
  for (Value operand : launch.getKernelOperands())
    addresses.push_back(makeArray(operand.getType(), operand));
  Value shared = launch.getDynamicSharedMemorySize();
  LLVM::CallOp::create(b, loc, callee,
                       ValueRange{makeInt(program.launches.size()),
                                  makeArray(b.getI64Type(), sizes),
                                  shared ? widen(shared) : makeInt(0),
                                  makeArray(pointer, addresses),
                                  makeInt(addresses.size())});
  program.launches.push_back({launch.getKernelModuleName().getValue().str(),
                              launch.getKernelName().getValue().str(), loc});
  if (launch.getAsyncToken())
    launch.getAsyncToken().replaceAllUsesWith(
        LLVM::ZeroOp::create(b, loc, pointer).getResult());
  launch.erase();
}

LogicalResult EmulatePass::lowerHost(ModuleOp host, HostProgram &program,
                                     bool barePointers) {
  // The host knows one memory.
  AttrTypeReplacer replacer;
  replacer.addReplacement([](MemRefType type) -> std::optional<Type> {
    if (!isa_and_nonnull<gpu::AddressSpaceAttr>(type.getMemorySpace()))
      return std::nullopt;
    return MemRefType::get(type.getShape(), type.getElementType(),
                           type.getLayout());
  });
  replacer.recursivelyReplaceElementsIn(host, /*replaceAttrs=*/true,
                                        /*replaceLocs=*/false,
                                        /*replaceTypes=*/true);
  // The copy is no part of what this pass may run a pipeline on.
  PassManager manager(&getContext());
  addHostPasses(manager, barePointers);
  if (failed(manager.run(host)))
    return failure();
  OpBuilder b = OpBuilder::atBlockBegin(host.getBody());
  auto pointer = LLVM::LLVMPointerType::get(b.getContext());
  Type i64 = b.getI64Type();
  auto callee = LLVM::LLVMFuncOp::create(
      b, host.getLoc(), "ganq_emulator_launch",
      LLVM::LLVMFunctionType::get(LLVM::LLVMVoidType::get(b.getContext()),
                                  {i64, pointer, i64, pointer, i64}));
  SmallVector<gpu::LaunchFuncOp> launches;
  host.walk([&](gpu::LaunchFuncOp launch) { launches.push_back(launch); });
  for (gpu::LaunchFuncOp launch : launches)
    lowerLaunch(launch, program, callee);
  for (auto module :
       llvm::make_early_inc_range(host.getOps<gpu::GPUModuleOp>()))
    module.erase();
  return success();
}

LogicalResult EmulatePass::run(ModuleOp host, HostProgram &program,
                               const EmulatorOptions &options) {
  auto function = host.lookupSymbol<LLVM::LLVMFuncOp>(entry);
  auto type = function ? function.getFunctionType() : nullptr;
  if (!function || function.isExternal() || type.getNumParams() != 0 ||
      !isa<LLVM::LLVMVoidType>(type.getReturnType()))
    return emitError(getOperation().getLoc())
           << "expected a function @" << entry
           << " without parameters and results";

  Location entryLoc = function.getLoc();
  if (llvm::Error error = checkThisMachine(options))
    return emitError(getOperation().getLoc())
           << llvm::toString(std::move(error));
  llvm::LLVMContext context;
  std::unique_ptr<llvm::Module> module =
      translateModuleToLLVMIR(host, context, "host");
  if (!module)
    return failure();
  // Data of the module is memory that kernels may touch.
  std::vector<std::tuple<std::string, int64_t, bool>> variables;
  for (llvm::GlobalVariable &variable : module->globals()) {
    if (variable.isDeclaration() || !variable.hasName())
      continue;
    variable.setLinkage(llvm::GlobalValue::ExternalLinkage);
    variables.emplace_back(
        variable.getName().str(),
        module->getDataLayout().getTypeAllocSize(variable.getValueType()),
        variable.isConstant());
  }
  auto report = [&](llvm::Error error) {
    return emitError(getOperation().getLoc())
           << "cannot run the host program: "
           << llvm::toString(std::move(error));
  };
  auto object = compileForHost(*module, options);
  if (!object)
    return report(object.takeError());
  auto loaded = LoadedObject::load(*object, getHostSymbols());
  if (!loaded)
    return report(loaded.takeError());
  auto address = (*loaded)->lookup(entry);
  if (!address)
    return report(address.takeError());
  for (auto [name, bytes, readOnly] : variables) {
    auto data = (*loaded)->lookup(name);
    if (!data) { // Optimized away.
      llvm::consumeError(data.takeError());
      continue;
    }
    program.addBuffer(*data, bytes, name, readOnly);
  }
  program.run(reinterpret_cast<void (*)()>(*address));
  if (!program.failed && program.stopped.empty())
    return success();
  if (!program.failed)
    return emitError(entryLoc) << program.stopped;
  InFlightDiagnostic diagnostic =
      emitAtPlace(program.error, program.failed->location);
  diagnostic.attachNote(program.failed->location) << "launched here";
  return diagnostic;
}

void EmulatePass::runOnOperation() {
  HostProgram program;
  FailureOr<EmulatorOptions> options = getOptions();
  if (failed(options) || failed(compileModules(program, *options)))
    return signalPassFailure();
  FailureOr<bool> barePointers = usesBarePointers();
  if (failed(barePointers))
    return signalPassFailure();
  OwningOpRef<ModuleOp> host(getOperation().clone());
  if (failed(lowerHost(*host, program, *barePointers)) ||
      failed(run(*host, program, *options)))
    return signalPassFailure();
  markAllAnalysesPreserved();
}
