//===- Cubin.cpp - GPU modules to PTX and machine code --------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/Target/Cubin.h"
#include "ExternalTool.h"
#include "ganq/Target/CodeGeneration.h"
#include "mlir/Target/LLVMIR/Dialect/Builtin/BuiltinToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/GPU/GPUToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/LLVMIR/LLVMToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/NVVM/NVVMToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Export.h"
#include "llvm/IR/DiagnosticInfo.h"
#include "llvm/IR/DiagnosticPrinter.h"
#include "llvm/IR/LegacyPassManager.h"
#include "llvm/Support/CrashRecoveryContext.h"
#include "llvm/Support/ErrorHandling.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/Process.h"
#include "llvm/Support/Program.h"
#include <algorithm>
#include <mutex>

using namespace mlir;
using namespace ganq;
using llvm::createStringError;
using llvm::Error;
using llvm::Expected;

/// Passes that neither change nor move arithmetic.
static void simplify(llvm::Module &module, llvm::TargetMachine &machine) {
  runModulePasses(module, machine, {}, [](llvm::PassBuilder &builder) {
    llvm::ModulePassManager passes;
    llvm::cantFail(builder.parsePassPipeline(
        passes, "function(early-cse<memssa>,simplifycfg,adce)"));
    return passes;
  });
}

namespace {
/// Collects what LLVM would print before it ends the process.
struct ErrorCollector : llvm::DiagnosticHandler {
  explicit ErrorCollector(std::string &errors) : errors(errors) {}
  bool handleDiagnostics(const llvm::DiagnosticInfo &info) override {
    if (info.getSeverity() != llvm::DS_Error)
      return true;
    llvm::raw_string_ostream stream(errors);
    llvm::DiagnosticPrinterRawOStream printer(stream);
    stream << (errors.empty() ? "" : "; ");
    info.print(printer);
    return true;
  }
  std::string &errors;
};

/// From LLVM IR to PTX. What instruction selection does not know is a fatal
/// error in LLVM; here it becomes an error, and what the abandoned passes may
/// still refer to is never freed.
struct CodeGeneration {
  std::unique_ptr<llvm::LLVMContext> context =
      std::make_unique<llvm::LLVMContext>();
  std::unique_ptr<llvm::TargetMachine> machine;
  std::unique_ptr<llvm::Module> code;
  llvm::SmallString<0> ptx;
  std::string errors;

  Error run() {
    context->setDiagnosticHandler(std::make_unique<ErrorCollector>(errors));
    // One at a time: the handler of fatal errors is the process's.
    static std::mutex mutex;
    std::lock_guard<std::mutex> lock(mutex);
    llvm::CrashRecoveryContext::Enable();
    bool finished;
    {
      llvm::ScopedFatalErrorHandler handler(
          [](void *self, const char *reason, bool) {
            std::string &errors = static_cast<CodeGeneration *>(self)->errors;
            if (errors.empty())
              errors = reason;
            llvm::CrashRecoveryContext::GetCurrent()->HandleExit(1);
          },
          this);
      llvm::CrashRecoveryContext recovery;
      finished = recovery.RunSafely([this] { emit(); });
    }
    llvm::CrashRecoveryContext::Disable();
    if (!finished) {
      (void)code.release();
      (void)machine.release();
      (void)context.release();
      if (errors.empty())
        errors = "a crash of LLVM";
    }
    if (errors.empty())
      return Error::success();
    std::replace(errors.begin(), errors.end(), '\n', ' ');
    return createStringError(errors);
  }

private:
  void emit() {
    setTarget(*code, *machine);
    simplify(*code, *machine);
    // On the heap, for what may be abandoned.
    auto passes = std::make_unique<llvm::legacy::PassManager>();
    auto stream = std::make_unique<llvm::raw_svector_ostream>(ptx);
    if (machine->addPassesToEmitFile(*passes, *stream, nullptr,
                                     llvm::CodeGenFileType::AssemblyFile)) {
      errors = "no way to write PTX";
      return;
    }
    passes->run(*code);
  }
};
} // namespace

Expected<std::string> ganq::compileToPtx(gpu::GPUModuleOp module,
                                         const GpuTarget &target) {
  auto machine = createTargetMachine(target);
  if (!machine)
    return machine.takeError();
  MLIRContext &context = *module.getContext();
  registerBuiltinDialectTranslation(context);
  registerGPUDialectTranslation(context);
  registerLLVMDialectTranslation(context);
  registerNVVMDialectTranslation(context);
  CodeGeneration generation;
  generation.machine = std::move(*machine);
  generation.code =
      translateModuleToLLVMIR(module, *generation.context, module.getName());
  if (!generation.code)
    return createStringError("expected a gpu.module of LLVM and nvvm "
                             "operations; run ganq-gpu-to-nvvm");
  if (Error error = generation.run())
    return createStringError("expected operations that LLVM can compile for " +
                             target.chip +
                             ", but got: " + llvm::toString(std::move(error)));
  return std::string(generation.ptx);
}

static Expected<std::string> findPtxas(llvm::StringRef toolkit) {
  auto inFolder = [](llvm::StringRef folder) -> std::optional<std::string> {
    llvm::SmallString<128> path(folder);
    llvm::sys::path::append(path, "bin");
    auto found = llvm::sys::findProgramByName("ptxas", {llvm::StringRef(path)});
    return found ? std::optional<std::string>(*found) : std::nullopt;
  };
  if (!toolkit.empty()) {
    if (auto path = inFolder(toolkit))
      return *path;
    return createStringError("expected the assembler bin/ptxas in the toolkit "
                             "`" +
                             toolkit + "`, but found none");
  }
  if (auto path = llvm::sys::findProgramByName("ptxas"))
    return *path;
  for (llvm::StringRef variable : {"CUDA_ROOT", "CUDA_HOME", "CUDA_PATH"})
    if (auto folder = llvm::sys::Process::GetEnv(variable))
      if (auto path = inFolder(*folder))
        return *path;
  if (auto path = inFolder("/usr/local/cuda"))
    return *path;
  return createStringError(
      "expected the assembler ptxas on PATH, in the bin folder of CUDA_ROOT, "
      "CUDA_HOME or CUDA_PATH, or in /usr/local/cuda/bin, but found none; "
      "install the CUDA toolkit (12.8 or later), or ask for PTX");
}

/// The number in front of `unit`, or 0.
static int64_t numberBefore(llvm::StringRef line, llvm::StringRef unit) {
  size_t at = line.find(unit);
  int64_t number = 0;
  if (at == llvm::StringRef::npos ||
      line.take_front(at).rtrim().rsplit(' ').second.getAsInteger(10, number))
    return 0;
  return number;
}

static std::vector<GpuKernelResources> parseReport(llvm::StringRef log) {
  std::vector<GpuKernelResources> kernels;
  for (llvm::StringRef line : llvm::split(log, '\n')) {
    if (line.contains("Compiling entry function '")) {
      kernels.emplace_back();
      kernels.back().name = line.split('\'').second.split('\'').first;
    } else if (!kernels.empty() && line.contains("bytes stack frame")) {
      kernels.back().stackBytes = numberBefore(line, " bytes stack frame");
      kernels.back().spillBytes = numberBefore(line, " bytes spill stores") +
                                  numberBefore(line, " bytes spill loads");
    } else if (!kernels.empty() && line.contains("Used ")) {
      kernels.back().registers = numberBefore(line, " registers");
      kernels.back().sharedBytes = numberBefore(line, " bytes smem");
    }
  }
  return kernels;
}

/// Lowers the number of blocks that must find registers (`.minnctapersm`) of
/// kernels that spill some; false where none can be lowered.
static bool allowMoreRegisters(std::string &ptx,
                               llvm::ArrayRef<GpuKernelResources> kernels) {
  constexpr llvm::StringRef kDirective = ".minnctapersm ";
  bool changed = false;
  for (const GpuKernelResources &kernel : kernels) {
    size_t entry = ptx.find(".entry " + kernel.name + "(");
    if (kernel.spillBytes == 0 || entry == std::string::npos)
      continue;
    size_t at = ptx.find(kDirective, entry);
    if (at == std::string::npos || at > ptx.find('{', entry))
      continue;
    at += kDirective.size();
    size_t end = ptx.find_first_not_of("0123456789", at);
    int64_t blocks = 0;
    if (llvm::StringRef(ptx).slice(at, end).getAsInteger(10, blocks) ||
        blocks <= 1)
      continue;
    ptx.replace(at, end - at, std::to_string(blocks - 1));
    changed = true;
  }
  return changed;
}

Expected<Cubin> ganq::assemblePtx(llvm::StringRef ptx, const GpuTarget &target,
                                  llvm::StringRef toolkit) {
  Expected<std::string> ptxas = findPtxas(toolkit);
  if (!ptxas)
    return ptxas.takeError();
  std::string source = ptx.str();
  while (true) {
    auto result = runTool(
        *ptxas, llvm::ArrayRef(source.data(), source.size()),
        [&](const std::string &input, const std::string &output) {
          return std::vector<std::string>{
              "-arch=" + target.chip.str(), "-O3", "-v", input, "-o", output};
        });
    if (!result)
      return createStringError("cannot assemble kernels for " + target.chip +
                               ": " + llvm::toString(result.takeError()));
    Cubin cubin{std::move(result->output), parseReport(result->log)};
    if (!allowMoreRegisters(source, cubin.kernels))
      return cubin;
  }
}
