//===- ganq-translate.cpp - From ONNX files to MLIR -----------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/Onnx/Diagnostics.h"
#include "ganq/Onnx/Import.h"
#include "mlir/Bytecode/BytecodeWriter.h"
#include "llvm/Support/CommandLine.h"
#include "llvm/Support/Error.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/InitLLVM.h"
#include "llvm/Support/WithColor.h"
#include "llvm/Support/raw_ostream.h"
#include <csignal>

namespace cl = llvm::cl;

static cl::opt<bool> importOnnx("import-onnx", cl::desc("Import an ONNX model"),
                                cl::Required);
static cl::opt<std::string> input(cl::Positional, cl::desc("<model.onnx>"),
                                  cl::Required);
static cl::opt<std::string>
    output("o", cl::desc("Output; bytecode when it ends in .mlirbc"),
           cl::init("-"));
static cl::list<std::string>
    bindings("bind", cl::desc("Size of a symbolic dimension, name=size"),
             cl::CommaSeparated);
static cl::opt<bool>
    inlineWeights("inline-weights",
                  cl::desc("Put the weights into the IR (for small models)"));

/// Writes beside the output and renames, so that no half file is left.
static llvm::Error write(mlir::ModuleOp module) {
  // Links and devices are written to, not replaced.
  llvm::sys::fs::file_type type =
      llvm::sys::fs::get_file_type(output, /*Follow=*/false);
  bool isFile =
      output != "-" && (type == llvm::sys::fs::file_type::regular_file ||
                        type == llvm::sys::fs::file_type::status_error);
  std::string temporary = isFile ? output + ".tmp" : output;
  std::error_code code;
  llvm::raw_fd_ostream os(temporary, code);
  if (code)
    return llvm::errorCodeToError(code);
  bool ok = true;
  if (llvm::StringRef(output).ends_with(".mlirbc"))
    ok = succeeded(mlir::writeBytecodeToFile(module, os));
  else
    os << module << "\n";
  os.flush();
  code = os.error();
  os.clear_error();
  if (isFile) {
    os.close();
    if (!code && ok)
      code = llvm::sys::fs::rename(temporary, output);
    if (code || !ok)
      llvm::sys::fs::remove(temporary);
  }
  if (code)
    return llvm::errorCodeToError(code);
  return ok ? llvm::Error::success()
            : llvm::createStringError("the module has no bytecode");
}

int main(int argc, char **argv) {
  llvm::InitLLVM init(argc, argv);
  // A file that may not grow is an error of the write, not the end.
  std::signal(SIGXFSZ, SIG_IGN);
  cl::ParseCommandLineOptions(argc, argv, "ganq translation driver\n");
  std::string error;
  ganq::onnx::ImportOptions options;
  options.inlineWeights = inlineWeights;
  for (const std::string &text : bindings)
    if (!ganq::onnx::parseBinding(text, options.bindings.emplace_back(),
                                  error)) {
      llvm::WithColor::error() << error << "\n";
      return 1;
    }
  mlir::MLIRContext context(mlir::MLIRContext::Threading::DISABLED);
  context.printOpOnDiagnostic(false);
  context.getDiagEngine().registerHandler([](mlir::Diagnostic &diagnostic) {
    ganq::onnx::printDiagnostic(diagnostic, llvm::errs());
  });
  auto module = ganq::onnx::importOnnxModel(input, &context, options);
  if (!module)
    return 1;
  if (llvm::Error failure = write(*module)) {
    llvm::WithColor::error() << "cannot write " << output << ": "
                             << llvm::toString(std::move(failure)) << "\n";
    return 1;
  }
  return 0;
}
