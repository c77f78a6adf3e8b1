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
  /// Tokens for calibration, an integer `.npy` of rows, or statistics, a
  /// calibration `.safetensors`. Without it, solvers see the weights alone.
  std::string calibration;
  /// With tokens: `sequential` (each weight sees the inputs that the quantized
  /// weights before it give) or `one-shot` (those of the unquantized model).
  std::string calibrationMode = "sequential";
  /// SolverOptions::alpha.
  double alpha = 0.5;
  /// One of the solvers of every scheme in use; empty: the usual one of each.
  std::string solver;
  /// Most bits per quantized weight, all that is stored counted; 0: no search
  /// for the best schemes.
  double budget = 0;
  /// Texts of schemes for the search, separated by `;`; empty: the phase
  /// options' scheme with 2 to 6 bits or, without one, some of each family.
  std::string candidates;
  /// Files to describe the result in, `.html` or `.json`.
  std::vector<std::string> reports;
  /// Tokens to judge the model on before and after: an integer `.npy` of rows.
  std::string evaluate;
  /// Bytes that Gram matrices may take at a time.
  int64_t gramMemory = int64_t(1) << 30;
  /// `cpu`, `cuda` for GPUs, or `emulator` for these on the CPU.
  std::string target = "cpu";
  /// Chips for `cuda`, separated by commas; empty: all that are known.
  std::string chips;
  /// How GPUs multiply integers: `auto`, `int8` or `btc`.
  std::string strategy = "auto";
  bool keepWork = false; ///< Keep `<output>.work`.
  bool verbose = false;  ///< Plan and remarks even without a terminal.
  /// Where warnings and errors go, a line each; null: stderr.
  llvm::raw_ostream *messages = nullptr;
  /// Names that setCompileOption() has set; the others are defaults.
  std::vector<std::string> given = {};
};

/// Sets the option of ganq-compile with the name `key`, without dashes; flags
/// are `true` or `false`. `bind` and `report` add to what is there. Fails with
/// a message that names the option.
llvm::Error setCompileOption(CompileOptions &options, llvm::StringRef key,
                             llvm::StringRef value);

/// Compiles a model; the calls of a process take turns. The model's weights lie
/// in its own folder, whatever `phases.modelDir` says. With a budget, scheme
/// options alone are for candidates of the family lut. Progress goes to stderr;
/// on failure no output is left behind, and quantized layers stay in
/// `<output>.work` for the next run with the same options. Returns a summary:
/// per weight its scheme, bytes and error, sizes, seconds of each stage.
llvm::Expected<llvm::json::Object> compileModel(const CompileOptions &options);

/// The command line of ganq-compile.
int compileMain(int argc, char **argv);

} // namespace ganq

#endif // GANQ_PIPELINES_COMPILE_H
