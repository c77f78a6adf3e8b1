//===- TranslateKernels.cpp - A gpu.module to LLVM IR ---------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "KernelModule.h"
#include "ganq/Support/Errors.h"
#include "ganq/emulator.h"
#include "mlir/Dialect/LLVMIR/BasicPtxBuilderInterface.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/Transforms/Passes.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Target/LLVMIR/Dialect/Builtin/BuiltinToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/GPU/GPUToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/LLVMIR/LLVMToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/NVVM/NVVMToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Export.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/ADT/SmallPtrSet.h"
#include "llvm/IR/DebugInfoMetadata.h"
#include "llvm/IR/InstIterator.h"
#include "llvm/IR/Instructions.h"
#include "llvm/IR/ReplaceConstant.h"

using namespace ganq;
using namespace llvm;

static constexpr unsigned kSharedSpace = 3;
/// The column of locations whose line is the number of an op in its function.
static constexpr unsigned kNumberedColumn = 65535;

static std::string toString(mlir::Location location) {
  if (auto file = location->findInstanceOf<mlir::FileLineColLoc>())
    return (file.getFilename().getValue() + ":" + Twine(file.getLine()) + ":" +
            Twine(file.getColumn()))
        .str();
  std::string text;
  raw_string_ostream stream(text);
  location.print(stream);
  return text;
}

/// Whatever LLVM IR has no word for is found before the translation asks.
static Error checkInput(mlir::gpu::GPUModuleOp module) {
  Error error = Error::success();
  module.walk<mlir::WalkOrder::PreOrder>([&](mlir::Operation *op) {
    auto fail = [&](const Twine &message) {
      consumeError(std::move(error));
      error = makeError(toString(op->getLoc()) + ": " + message);
      return mlir::WalkResult::interrupt();
    };
    if (op == module)
      return mlir::WalkResult::advance();
    if (auto ptx = dyn_cast<mlir::NVVM::BasicPtxBuilderInterface>(op))
      if (!ptx.hasIntrinsic())
        return fail("expected ops that the emulator knows, but got `" +
                    op->getName().getStringRef() +
                    "`, which becomes inline PTX");
    if (!isa_and_nonnull<mlir::LLVM::LLVMDialect>(op->getDialect()) &&
        op->getName().getDialectNamespace() != "nvvm")
      return fail("expected LLVM and nvvm ops, but got `" +
                  op->getName().getStringRef() +
                  "`; run convert-gpu-to-nvvm and what it needs first");
    return mlir::WalkResult::advance();
  });
  return error;
}

static Expected<std::unique_ptr<Module>>
translate(mlir::gpu::GPUModuleOp gpuModule, LLVMContext &context,
          StringMap<std::vector<std::string>> &opNames) {
  mlir::MLIRContext *mlirContext = gpuModule.getContext();
  mlir::registerBuiltinDialectTranslation(*mlirContext);
  mlir::registerLLVMDialectTranslation(*mlirContext);
  mlir::registerNVVMDialectTranslation(*mlirContext);

  mlir::OwningOpRef<mlir::ModuleOp> module =
      mlir::ModuleOp::create(gpuModule.getLoc());
  for (mlir::Operation &op : *gpuModule.getBody())
    module->push_back(op.clone());

  // An op without a place in a file gets its number in the function.
  for (auto function : module->getOps<mlir::LLVM::LLVMFuncOp>()) {
    std::vector<std::string> &names = opNames[function.getName()];
    function.walk<mlir::WalkOrder::PreOrder>([&](mlir::Operation *op) {
      names.push_back(op->getName().getStringRef().str());
      if (op->getLoc()->findInstanceOf<mlir::FileLineColLoc>())
        return;
      op->setLoc(mlir::FileLineColLoc::get(mlirContext, "", names.size() - 1,
                                           kNumberedColumn));
    });
  }

  std::string messages;
  mlir::ScopedDiagnosticHandler handler(
      mlirContext, [&](mlir::Diagnostic &diagnostic) {
        if (!messages.empty())
          messages += "\n";
        messages +=
            toString(diagnostic.getLocation()) + ": " + diagnostic.str();
        return mlir::success();
      });
  // Without a scope, LLVM instructions would lose their locations.
  mlir::PassManager manager(mlirContext);
  manager.addPass(mlir::LLVM::createDIScopeForLLVMFuncOpPass());
  std::unique_ptr<Module> result;
  if (mlir::succeeded(manager.run(*module)))
    result = mlir::translateModuleToLLVMIR(*module, context, "kernels");
  if (!result)
    return ganq::makeError(messages.empty()
                               ? Twine("the kernels have no form in LLVM IR")
                               : Twine(messages));
  return result;
}

//===----------------------------------------------------------------------===//
// Places
//===----------------------------------------------------------------------===//

static std::string describe(const DILocation &location) {
  std::string text =
      location.getDirectory().empty()
          ? location.getFilename().str()
          : (location.getDirectory() + "/" + location.getFilename()).str();
  text += ":" + std::to_string(location.getLine()) + ":" +
          std::to_string(location.getColumn());
  if (const DILocation *outer = location.getInlinedAt())
    text += " (inlined at " + describe(*outer) + ")";
  return text;
}

uint32_t KernelModule::getPlace(const Instruction &instruction) {
  const DILocation *location = instruction.getDebugLoc();
  std::string text = "in `" + instruction.getFunction()->getName().str() + "`";
  if (location && location->getColumn() == kNumberedColumn) {
    const std::vector<std::string> &names =
        opNames[instruction.getFunction()->getName()];
    if (location->getLine() < names.size())
      text += ", op " + std::to_string(location->getLine()) + " (" +
              names[location->getLine()] + ")";
  } else if (location && location->getLine()) {
    text = describe(*location);
  }
  auto [entry, isNew] = placeNumbers.try_emplace(text, places.size());
  if (isNew)
    places.push_back(text);
  return entry->second;
}

Error KernelModule::makeError(const Instruction &instruction,
                              const Twine &message) {
  return ganq::makeError(places[getPlace(instruction)] + ": " + message);
}

//===----------------------------------------------------------------------===//
// The lane
//===----------------------------------------------------------------------===//

Value *KernelModule::getLaneMember(Function &function, size_t offset,
                                   Type *type) {
  Value *&member = members[{&function, offset}];
  if (member)
    return member;
  BasicBlock &entry = function.getEntryBlock();
  IRBuilder<> builder(&entry, entry.begin());
  Value *address = builder.CreateConstInBoundsGEP1_64(
      builder.getInt8Ty(), getLane(function), offset);
  LoadInst *load = builder.CreateLoad(type, address);
  load->setMetadata(LLVMContext::MD_invariant_load,
                    MDNode::get(module->getContext(), {}));
  return member = load;
}

FunctionCallee KernelModule::getRuntime(StringRef name, Type *result,
                                        ArrayRef<Type *> parameters) {
  FunctionCallee callee = module->getOrInsertFunction(
      name, FunctionType::get(result, parameters, /*isVarArg=*/false));
  auto *function = cast<Function>(callee.getCallee());
  function->addFnAttr(Attribute::Convergent);
  function->addFnAttr(Attribute::NoUnwind);
  return callee;
}

AllocaInst *KernelModule::makeOperands(Function &function, uint32_t words) {
  BasicBlock &entry = function.getEntryBlock();
  IRBuilder<> builder(&entry, entry.begin());
  AllocaInst *memory =
      builder.CreateAlloca(builder.getInt32Ty(), builder.getInt32(words));
  memory->setAlignment(Align(16));
  return memory;
}

/// Gives every defined function the lane as its first parameter.
static Error addLanes(KernelModule &kernels) {
  Module &module = *kernels.module;
  SmallVector<Function *> functions;
  for (Function &function : module)
    if (!function.isDeclaration())
      functions.push_back(&function);

  Type *pointer = PointerType::getUnqual(module.getContext());
  DenseMap<Function *, Function *> replacements;
  for (Function *old : functions) {
    SmallVector<Type *> parameters{pointer};
    append_range(parameters, old->getFunctionType()->params());
    auto *type = FunctionType::get(old->getReturnType(), parameters, false);
    auto *function =
        Function::Create(type, GlobalValue::InternalLinkage, "", &module);
    function->takeName(old);
    function->addFnAttr(Attribute::NoUnwind);
    function->addFnAttr(Attribute::Convergent);
    function->setSubprogram(old->getSubprogram());
    old->setSubprogram(nullptr);
    function->splice(function->begin(), old);
    for (auto [from, to] : zip(old->args(), drop_begin(function->args()))) {
      from.replaceAllUsesWith(&to);
      to.setName(from.getName());
      // A kernel parameter given by value stays one in memory.
      if (Type *byValue = from.getParamByValType())
        to.addAttr(Attribute::getWithByValType(module.getContext(), byValue));
    }
    replacements[old] = function;
  }
  for (auto [old, function] : replacements) {
    for (User *user : make_early_inc_range(old->users())) {
      auto *call = dyn_cast<CallInst>(user);
      if (!call || call->getCalledOperand() != old)
        return ganq::makeError("expected functions to be called by name only, "
                               "but `" +
                               function->getName() + "` is used as a value");
      SmallVector<Value *> arguments{
          KernelModule::getLane(*call->getFunction())};
      append_range(arguments, call->args());
      IRBuilder<> builder(call);
      CallInst *changed = builder.CreateCall(function, arguments);
      call->replaceAllUsesWith(changed);
      call->eraseFromParent();
    }
    old->eraseFromParent();
  }
  for (EmulatedKernel &kernel : kernels.kernels)
    kernel.function = module.getFunction(kernel.name);
  return Error::success();
}

//===----------------------------------------------------------------------===//
// Shared memory
//===----------------------------------------------------------------------===//

/// Functions that a kernel runs, or an error for recursion.
static Error collectCallees(KernelModule &kernels, Function &function,
                            SmallVectorImpl<Function *> &path,
                            SmallPtrSetImpl<Function *> &callees) {
  if (is_contained(path, &function))
    return ganq::makeError("expected functions without recursion, but `" +
                           function.getName() + "` calls itself");
  if (!callees.insert(&function).second)
    return Error::success();
  path.push_back(&function);
  for (Instruction &instruction : instructions(function))
    if (auto *call = dyn_cast<CallInst>(&instruction))
      if (Function *callee = call->getCalledFunction())
        if (!callee->isDeclaration())
          if (Error error = collectCallees(kernels, *callee, path, callees))
            return error;
  path.pop_back();
  return Error::success();
}

/// Variables in shared memory become offsets from the block's memory. What
/// several kernels use comes first, at the same offset for all.
static Error placeShared(KernelModule &kernels) {
  Module &module = *kernels.module;
  SmallVector<GlobalVariable *> variables;
  for (GlobalVariable &variable : module.globals())
    if (variable.getAddressSpace() == kSharedSpace)
      variables.push_back(&variable);
  SmallVector<Constant *> constants(variables.begin(), variables.end());
  convertUsersOfConstantsToInstructions(constants);

  // By kernel: the functions it runs. A recursion is found here.
  std::vector<SmallPtrSet<Function *, 8>> callees(kernels.kernels.size());
  for (auto [kernel, set] : zip(kernels.kernels, callees)) {
    SmallVector<Function *> path;
    if (Error error = collectCallees(kernels, *kernel.function, path, set))
      return error;
  }
  auto getKernels = [&](GlobalVariable *variable) {
    SetVector<size_t> users;
    for (User *user : variable->users())
      if (auto *instruction = dyn_cast<Instruction>(user))
        for (size_t i = 0; i < callees.size(); ++i)
          if (callees[i].contains(instruction->getFunction()))
            users.insert(i);
    return users;
  };

  const DataLayout &layout = module.getDataLayout();
  auto getBytes = [&](GlobalVariable *variable) -> uint64_t {
    return layout.getTypeAllocSize(variable->getValueType());
  };
  auto place = [&](GlobalVariable *variable, uint64_t end) {
    Align alignment = variable->getAlign().value_or(
        layout.getABITypeAlign(variable->getValueType()));
    return alignTo(end, alignment);
  };
  DenseMap<GlobalVariable *, uint64_t> offsets;
  uint64_t common = 0;
  for (GlobalVariable *variable : variables)
    if (getBytes(variable) && getKernels(variable).size() > 1) {
      offsets[variable] = place(variable, common);
      common = offsets[variable] + getBytes(variable);
    }
  for (EmulatedKernel &kernel : kernels.kernels)
    kernel.staticSharedBytes = common;
  for (GlobalVariable *variable : variables) {
    SetVector<size_t> users = getKernels(variable);
    if (!getBytes(variable) || users.size() != 1)
      continue;
    uint64_t &end = kernels.kernels[users[0]].staticSharedBytes;
    offsets[variable] = place(variable, end);
    end = offsets[variable] + getBytes(variable);
  }

  Type *int64 = Type::getInt64Ty(module.getContext());
  for (GlobalVariable *variable : variables) {
    for (Use &use : make_early_inc_range(variable->uses())) {
      auto *user = dyn_cast<Instruction>(use.getUser());
      if (!user)
        continue;
      Function &function = *user->getFunction();
      Value *base =
          kernels.getLaneMember(function, offsetof(ganq_simt_lane, shared),
                                PointerType::getUnqual(module.getContext()));
      Value *offset =
          getBytes(variable)
              ? ConstantInt::get(int64, offsets.lookup(variable))
              : kernels.getLaneMember(
                    function, offsetof(ganq_simt_lane, dynamic_shared_offset),
                    int64);
      // A phi wants its operand at the end of the block that it comes from.
      Instruction *point = user;
      if (auto *phi = dyn_cast<PHINode>(user))
        point = phi->getIncomingBlock(use)->getTerminator();
      IRBuilder<> builder(point);
      Value *address = builder.CreateGEP(builder.getInt8Ty(), base, offset);
      use.set(builder.CreateAddrSpaceCast(address, variable->getType()));
    }
    variable->removeDeadConstantUsers();
    if (variable->use_empty())
      variable->eraseFromParent();
  }
  return Error::success();
}

Expected<KernelModule> ganq::translateKernels(mlir::gpu::GPUModuleOp module,
                                              LLVMContext &context) {
  if (Error error = checkInput(module))
    return std::move(error);
  KernelModule kernels;
  for (auto function : module.getOps<mlir::LLVM::LLVMFuncOp>())
    if (!function.isExternal() &&
        (function->hasAttr("nvvm.kernel") || function->hasAttr("gpu.kernel"))) {
      kernels.kernels.emplace_back();
      kernels.kernels.back().name = function.getName().str();
    }
  auto translated = translate(module, context, kernels.opNames);
  if (!translated)
    return translated.takeError();
  kernels.module = std::move(*translated);
  if (Error error = addLanes(kernels))
    return std::move(error);
  // LLVM would take an index beyond the end for one that cannot happen.
  for (Function &function : *kernels.module)
    for (Instruction &instruction : instructions(function))
      if (isa<GetElementPtrInst>(instruction))
        instruction.dropPoisonGeneratingFlags();
  if (Error error = placeShared(kernels))
    return std::move(error);
  return std::move(kernels);
}
