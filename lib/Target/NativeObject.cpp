//===- NativeObject.cpp - LLVM dialect to a shared object -----------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/Target/NativeObject.h"
#include "ExternalTool.h"
#include "ganq/Target/CodeGeneration.h"
#include "mlir/Target/LLVMIR/Dialect/Builtin/BuiltinToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/LLVMIR/LLVMToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Export.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/Program.h"
#include "llvm/Transforms/Utils/Cloning.h"

using namespace mlir;
using namespace ganq;
using llvm::createStringError;
using llvm::Error;
using llvm::Expected;

static void setFunctionAttributes(llvm::Module &module,
                                  const CpuTarget &target) {
  for (llvm::Function &function : module) {
    if (function.isDeclaration())
      continue;
    function.addFnAttr(llvm::Attribute::NoUnwind);
    function.addFnAttr("target-cpu", target.cpu);
    if (!target.features.empty())
      function.addFnAttr("target-features", llvm::join(target.features, ","));
    // LLVM prefers 256-bit vectors on most AVX-512 parts unless told.
    if (target.avx512)
      function.addFnAttr("prefer-vector-width", "512");
  }
}

static Expected<std::string> findLinker() {
  llvm::StringRef folders[] = {"/usr/lib/llvm-22/bin"};
  for (llvm::StringRef name : {"ld.lld-22", "ld.lld"}) {
    if (auto path = llvm::sys::findProgramByName(name))
      return *path;
    if (auto path = llvm::sys::findProgramByName(name, folders))
      return *path;
  }
  return createStringError("expected the linker ld.lld-22 or ld.lld on PATH or "
                           "in " +
                           folders[0] +
                           ", but found none; install the package lld-22");
}

Expected<std::vector<char>>
ganq::linkSharedObject(llvm::ArrayRef<char> object) {
  Expected<std::string> linker = findLinker();
  if (!linker)
    return linker.takeError();
  auto result = runTool(
      *linker, object, [](const std::string &input, const std::string &output) {
        return std::vector<std::string>{"-shared",
                                        "-nostdlib",
                                        "--build-id=none",
                                        "--strip-debug",
                                        "-z",
                                        "noexecstack",
                                        "-soname",
                                        "ganq_module.so",
                                        "-o",
                                        output,
                                        input};
      });
  if (!result)
    return result.takeError();
  return std::move(result->output);
}

Expected<std::vector<char>>
ganq::compileToSharedObject(ModuleOp module, const TargetOptions &options) {
  Expected<CpuTarget> target = CpuTarget::get(options.cpu);
  if (!target)
    return target.takeError();
  auto machine = createTargetMachine(*target, options.optLevel);
  if (!machine)
    return machine.takeError();

  registerBuiltinDialectTranslation(*module.getContext());
  registerLLVMDialectTranslation(*module.getContext());
  llvm::LLVMContext context;
  std::unique_ptr<llvm::Module> native =
      translateModuleToLLVMIR(module, context, "ganq_module");
  if (!native)
    return createStringError(
        "expected a module in the LLVM dialect; run ganq-convert-to-llvm");
  setTarget(*native, **machine);
  setFunctionAttributes(*native, *target);
  if (Error error = ganq::verify(*native))
    return std::move(error);

  optimize(*native, **machine, options.optLevel);
  if (options.assembly) {
    std::unique_ptr<llvm::Module> copy = llvm::CloneModule(*native);
    llvm::SmallVector<char, 0> text;
    if (Error error =
            emit(*copy, **machine, llvm::CodeGenFileType::AssemblyFile, text))
      return std::move(error);
    options.assembly->assign(text.begin(), text.end());
  }
  llvm::SmallVector<char, 0> object;
  if (Error error =
          emit(*native, **machine, llvm::CodeGenFileType::ObjectFile, object))
    return std::move(error);
  return linkSharedObject(object);
}
