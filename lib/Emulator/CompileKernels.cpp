//===- CompileKernels.cpp - Kernels to an object for the host -------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "KernelModule.h"
#include "ganq/Support/Errors.h"
#include "ganq/Target/CodeGeneration.h"
#include "ganq/emulator.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/IR/DebugInfo.h"
#include "llvm/IR/InstIterator.h"
#include "llvm/Object/ObjectFile.h"
#include "llvm/Support/MemoryBuffer.h"

using namespace ganq;
using namespace llvm;

//===----------------------------------------------------------------------===//
// The table that the runtime reads
//===----------------------------------------------------------------------===//

static Constant *makeString(Module &module, StringRef text) {
  Constant *data = ConstantDataArray::getString(module.getContext(), text);
  return new GlobalVariable(module, data->getType(), /*isConstant=*/true,
                            GlobalValue::PrivateLinkage, data,
                            "ganq_simt_name");
}

/// A constant array, or null when it is empty.
static Constant *makeArray(Module &module, ArrayRef<Constant *> elements) {
  if (elements.empty())
    return ConstantPointerNull::get(
        PointerType::getUnqual(module.getContext()));
  auto *type = ArrayType::get(elements.front()->getType(), elements.size());
  return new GlobalVariable(
      module, type, /*isConstant=*/true, GlobalValue::PrivateLinkage,
      ConstantArray::get(type, elements), "ganq_simt_table");
}

/// entry(lane, args): reads the parameters and calls the kernel.
static Function *makeEntry(KernelModule &kernels, EmulatedKernel &kernel) {
  Module &module = *kernels.module;
  LLVMContext &context = module.getContext();
  Type *pointer = PointerType::getUnqual(context);
  auto *entry = Function::Create(
      FunctionType::get(Type::getVoidTy(context), {pointer, pointer}, false),
      GlobalValue::InternalLinkage, "ganq_simt_entry_" + kernel.name, &module);
  entry->addFnAttr(Attribute::NoUnwind);
  IRBuilder<> builder(BasicBlock::Create(context, "", entry));
  SmallVector<Value *> arguments{entry->getArg(0)};
  for (Argument &parameter : drop_begin(kernel.function->args())) {
    Value *address = builder.CreateLoad(
        pointer, builder.CreateConstGEP1_32(pointer, entry->getArg(1),
                                            parameter.getArgNo() - 1));
    arguments.push_back(parameter.hasByValAttr()
                            ? address
                            : builder.CreateLoad(parameter.getType(), address));
  }
  CallInst *call = builder.CreateCall(kernel.function, arguments);
  for (Argument &parameter : kernel.function->args())
    if (Type *type = parameter.getParamByValType())
      call->addParamAttr(parameter.getArgNo(),
                         Attribute::getWithByValType(context, type));
  builder.CreateRetVoid();
  return entry;
}

/// More than all local arrays of the module; calls nest and code spills.
static uint64_t getStackBytes(Module &module) {
  uint64_t bytes = 0;
  for (Function &function : module)
    for (Instruction &instruction : instructions(function)) {
      if (auto *array = dyn_cast<AllocaInst>(&instruction))
        if (auto size = array->getAllocationSize(module.getDataLayout()))
          bytes += 2 * size->getFixedValue() + 64;
      bytes += 16;
    }
  return bytes;
}

void ganq::addModuleTable(KernelModule &kernels) {
  Module &module = *kernels.module;
  LLVMContext &context = module.getContext();
  IRBuilder<> b(context);
  uint64_t stackBytes = getStackBytes(module);

  SmallVector<Constant *> variables;
  for (GlobalVariable &variable : module.globals()) {
    if (variable.isDeclaration() ||
        variable.getName().starts_with("ganq_simt_"))
      continue;
    uint64_t bytes =
        module.getDataLayout().getTypeAllocSize(variable.getValueType());
    Constant *address =
        ConstantExpr::getPointerBitCastOrAddrSpaceCast(&variable, b.getPtrTy());
    variables.push_back(ConstantStruct::getAnon(
        {makeString(module, variable.getName()), address, b.getInt64(bytes),
         b.getInt64(variable.isConstant())}));
  }
  SmallVector<Constant *> table;
  for (EmulatedKernel &kernel : kernels.kernels)
    table.push_back(ConstantStruct::getAnon(
        {makeString(module, kernel.name), makeEntry(kernels, kernel),
         b.getInt64(kernel.staticSharedBytes),
         b.getInt32(kernel.function->arg_size() - 1),
         b.getInt32(kernels.checked), b.getInt64(stackBytes)}));
  SmallVector<Constant *> places;
  for (const std::string &place : kernels.places)
    places.push_back(makeString(module, place));

  Constant *head = ConstantStruct::getAnon(
      {b.getInt32(GANQ_SIMT_ABI), b.getInt32(table.size()),
       b.getInt32(variables.size()), b.getInt32(places.size()),
       b.getInt32(kernels.numSites), b.getInt32(0), makeArray(module, table),
       makeArray(module, variables), makeArray(module, places)});
  new GlobalVariable(module, head->getType(), /*isConstant=*/true,
                     GlobalValue::ExternalLinkage, head, "ganq_simt_module");
}

//===----------------------------------------------------------------------===//
// Optimization and code generation
//===----------------------------------------------------------------------===//

/// Leaves nothing behind of the GPU that the code was written for.
static void retarget(Module &module, const CpuTarget &target,
                     TargetMachine &machine) {
  setTarget(module, machine);
  if (NamedMDNode *annotations = module.getNamedMetadata("nvvm.annotations"))
    module.eraseNamedMetadata(annotations);
  for (Function &function : module) {
    function.setCallingConv(CallingConv::C);
    for (User *user : function.users())
      if (auto *call = dyn_cast<CallBase>(user))
        call->setCallingConv(CallingConv::C);
    if (function.isDeclaration())
      continue;
    for (StringRef attribute : {"target-cpu", "target-features", "tune-cpu"})
      function.removeFnAttr(attribute);
    function.addFnAttr("target-cpu", target.cpu);
    if (!target.features.empty())
      function.addFnAttr("target-features", join(target.features, ","));
  }
}

/// The object must not want functions that no host of kernels has.
static Error checkSymbols(ArrayRef<char> bytes) {
  auto object = object::ObjectFile::createObjectFile(
      MemoryBufferRef(StringRef(bytes.data(), bytes.size()), "kernels"));
  if (!object)
    return object.takeError();
  // Other functions of compiler-rt stand for what the processor lacks.
  for (const object::SymbolRef &symbol : (*object)->symbols()) {
    Expected<uint32_t> flags = symbol.getFlags();
    Expected<StringRef> name = symbol.getName();
    if (!flags || !name) {
      consumeError(flags.takeError());
      consumeError(name.takeError());
      continue;
    }
    if ((*flags & object::SymbolRef::SF_Undefined) && name->starts_with("__"))
      return makeError("expected kernels to need only the emulator and libm, "
                       "but they call `" +
                       *name +
                       "`; some conversion of f64 or of wide integers has no "
                       "instruction here");
  }
  return Error::success();
}

/// Sets the target of the module and of its functions.
static Expected<std::unique_ptr<TargetMachine>>
prepare(Module &module, const EmulatorOptions &options) {
  Expected<CpuTarget> target = CpuTarget::get(options.cpu);
  if (!target)
    return target.takeError();
  auto machine = createTargetMachine(*target, options.optLevel);
  if (machine)
    retarget(module, *target, **machine);
  return machine;
}

static Expected<SmallVector<char, 0>>
emitObject(Module &module, TargetMachine &machine, int level) {
  if (Error error = ganq::verify(module))
    return std::move(error);
  optimize(module, machine, level);
  SmallVector<char, 0> object;
  if (Error error =
          ganq::emit(module, machine, CodeGenFileType::ObjectFile, object))
    return std::move(error);
  return object;
}

Expected<SmallVector<char, 0>>
ganq::compileForHost(Module &module, const EmulatorOptions &options) {
  auto machine = prepare(module, options);
  if (!machine)
    return machine.takeError();
  return emitObject(module, **machine, options.optLevel);
}

Expected<SmallVector<char, 0>>
ganq::compileKernels(mlir::gpu::GPUModuleOp gpuModule,
                     const EmulatorOptions &options) {
  LLVMContext context;
  Expected<KernelModule> kernels = translateKernels(gpuModule, context);
  if (!kernels)
    return kernels.takeError();
  Module &module = *kernels->module;
  kernels->checked = options.check;
  if (Error error = rewriteIntrinsics(*kernels))
    return std::move(error);
  auto machine = prepare(module, options);
  if (!machine)
    return machine.takeError();
  // The passes in between expect valid IR.
  if (Error error = ganq::verify(module))
    return std::move(error);
  if (Error error = instrumentAccesses(*kernels))
    return std::move(error);
  addModuleTable(*kernels);
  StripDebugInfo(module);
  while (!module.named_metadata_empty())
    module.eraseNamedMetadata(&*module.named_metadata_begin());
  for (GlobalVariable &variable : module.globals())
    if (!variable.isDeclaration() && variable.getName() != "ganq_simt_module" &&
        !variable.hasLocalLinkage())
      variable.setLinkage(GlobalValue::InternalLinkage);
  auto object = emitObject(module, **machine, options.optLevel);
  if (!object)
    return object.takeError();
  if (Error error = checkSymbols(*object))
    return std::move(error);
  return object;
}

Expected<std::vector<char>>
ganq::compileToEmulatedObject(mlir::gpu::GPUModuleOp module,
                              const EmulatorOptions &options) {
  auto object = compileKernels(module, options);
  if (!object)
    return object.takeError();
  return std::vector<char>(object->begin(), object->end());
}
