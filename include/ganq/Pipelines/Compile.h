//===- Compile.h - From an ONNX model to a compiled model -------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_PIPELINES_COMPILE_H
#define GANQ_PIPELINES_COMPILE_H

#include "ganq/Pipelines/Phases.h"
#include "llvm/Support/Error.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/raw_ostream.h"
#include <vector>

namespace ganq {

struct CompileOptions {
  std::string model;  ///< An ONNX file.
  std::string output; ///< The `.ganq` file, or the MLIR of `compileTo`.
  PhaseOptions phases;
  /// Stop after this phase and write MLIR.
  std::optional<Phase> compileTo;
  /// Sizes of symbolic dimensions of @main: `name=size`.
  std::vector<std::pair<std::string, int64_t>> bindings;
  /// Tokens for calibration: an integer `.npy` of rows. Without it, solvers see
  /// the weights alone.
  std::string calibration;
  /// `improved`, `literal` or `kmeans` (LUT only).
  std::string solver = "improved";
  /// Bytes that Gram matrices may take at a time.
  int64_t gramMemory = int64_t(1) << 30;
  bool keepWork = false; ///< Keep `<output>.work`.
  bool verbose = false;  ///< Plan and remarks even without a terminal.
};

/// Compiles a model. Diagnostics and progress go to stderr; on failure no
/// output is left behind, and quantized layers stay in `<output>.work` for the
/// next run with the same options. Returns a summary: per weight its scheme,
/// bytes and error, sizes, seconds of each stage.
llvm::Expected<llvm::json::Object> compileModel(const CompileOptions &options);

/// The command line of ganq-compile.
int compileMain(int argc, char **argv);

} // namespace ganq

#endif // GANQ_PIPELINES_COMPILE_H
