//===- NativeObject.cpp - LLVM dialect to a shared object -----------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/Target/NativeObject.h"
#include "ganq/Target/CodeGeneration.h"
#include "mlir/Target/LLVMIR/Dialect/Builtin/BuiltinToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/LLVMIR/LLVMToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Export.h"
#include "llvm/ADT/ScopeExit.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"
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

static Error writeFile(llvm::StringRef path, llvm::ArrayRef<char> bytes) {
  std::error_code code;
  llvm::raw_fd_ostream stream(path, code);
  if (!code) {
    stream.write(bytes.data(), bytes.size());
    stream.close();
    code = stream.error();
    stream.clear_error();
  }
  if (code)
    return createStringError("cannot write " + path + ": " + code.message());
  return Error::success();
}

static Expected<std::vector<char>> link(llvm::ArrayRef<char> object) {
  Expected<std::string> linker = findLinker();
  if (!linker)
    return linker.takeError();
  llvm::SmallString<128> folder;
  if (std::error_code code =
          llvm::sys::fs::createUniqueDirectory("ganq-link", folder))
    return createStringError("cannot create a temporary folder: " +
                             code.message());
  llvm::scope_exit cleanup([&] { llvm::sys::fs::remove_directories(folder); });
  auto file = [&](llvm::StringRef name) {
    llvm::SmallString<128> path(folder);
    llvm::sys::path::append(path, name);
    return std::string(path);
  };
  std::string objectPath = file("module.o"), soPath = file("module.so"),
              logPath = file("log");
  if (Error error = writeFile(objectPath, object))
    return std::move(error);

  llvm::StringRef args[] = {
      *linker,          "-shared", "-nostdlib",   "--build-id=none",
      "--strip-debug",  "-z",      "noexecstack", "-soname",
      "ganq_module.so", "-o",      soPath,        objectPath};
  std::optional<llvm::StringRef> redirects[] = {
      llvm::StringRef(""), llvm::StringRef(logPath), llvm::StringRef(logPath)};
  std::string message;
  int status = llvm::sys::ExecuteAndWait(*linker, args, std::nullopt, redirects,
                                         0, 0, &message);
  if (status != 0) {
    if (auto log = llvm::MemoryBuffer::getFile(logPath))
      message += (*log)->getBuffer().trim();
    return createStringError("linking with " + *linker + " failed: " + message);
  }
  auto buffer = llvm::MemoryBuffer::getFile(soPath, /*IsText=*/false,
                                            /*RequiresNullTerminator=*/false);
  if (!buffer)
    return createStringError("cannot read " + soPath + ": " +
                             buffer.getError().message());
  return std::vector<char>((*buffer)->getBufferStart(),
                           (*buffer)->getBufferEnd());
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
  return link(object);
}
