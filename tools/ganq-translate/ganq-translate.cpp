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
#include "llvm/Support/InitLLVM.h"
#include "llvm/Support/WithColor.h"
#include "llvm/Support/raw_ostream.h"

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

int main(int argc, char **argv) {
  llvm::InitLLVM init(argc, argv);
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
  // Writes beside the output and renames, so that no half file is left.
  auto write = [&](llvm::raw_ostream &os) -> llvm::Error {
    if (!llvm::StringRef(output).ends_with(".mlirbc"))
      os << *module << "\n";
    else if (failed(mlir::writeBytecodeToFile(*module, os)))
      return llvm::createStringError("cannot write bytecode");
    return llvm::Error::success();
  };
  if (llvm::Error failure = llvm::writeToOutput(output, write)) {
    llvm::WithColor::error() << "cannot write " << output << ": "
                             << llvm::toString(std::move(failure)) << "\n";
    return 1;
  }
  return 0;
}
