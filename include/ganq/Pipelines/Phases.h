//===- Phases.h - The named phases of compilation ---------------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_PIPELINES_PHASES_H
#define GANQ_PIPELINES_PHASES_H

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/DialectRegistry.h"
#include "mlir/Pass/PassManager.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace ganq {

/// The road of a model, in order. `--compile-to=<phase>` stops after one.
enum class Phase {
  Input,       ///< onnx dialect, one canonical opset, shapes known, checked
  Raise,       ///< named ganq ops; @prefill and @decode
  Assign,      ///< schemes on the weights' types
  Materialize, ///< packed products on the tensors that are stored
  Linalg,      ///< no onnx op left
  Buffer,      ///< memrefs instead of tensors
  LLVM,        ///< LLVM dialect with the entries of the module ABI
};

std::optional<Phase> parsePhase(llvm::StringRef name);
/// Comma-separated, for messages.
std::string getPhaseNames();

struct PhaseOptions {
  /// Where the files of the model's weights lie.
  std::string modelDir = ".";
  /// Tokens of one call of @prefill.
  int64_t chunk = 64;
  /// Greatest number of tokens in the cache; 0: what the model says.
  int64_t maxContext = 0;
  /// How caches hold keys and values: model, f32, f16 or i8.
  std::string kvCache = "model";
  /// `none`, the name of a scheme, or an attribute's text.
  std::string scheme = "none";
  /// Options of a scheme that is given by its name, such as {"bits", "3"}.
  std::vector<std::pair<std::string, std::string>> schemeOptions;
  /// A file of rules for single weights; empty: `scheme` is for all.
  std::string rules;
  bool quantizes() const { return scheme != "none" || !rules.empty(); }
  std::string exclude;
  bool quantizeHead = false;
  std::string cpu = "host";
};

/// Adds the passes of one phase.
void buildPhase(mlir::OpPassManager &manager, Phase phase,
                const PhaseOptions &options);

/// A failure that diagnostics have described already: nothing is left to print.
class ReportedError : public llvm::ErrorInfo<ReportedError> {
public:
  static char ID;
  void log(llvm::raw_ostream &os) const override { os << "compilation failed"; }
  std::error_code convertToErrorCode() const override {
    return llvm::inconvertibleErrorCode();
  }
};

/// Runs the passes. A failure is a ReportedError, or names itself where no
/// diagnostic was emitted.
llvm::Error runPasses(mlir::PassManager &manager, mlir::ModuleOp module);

/// All dialects, extensions and external models that the phases need.
void registerGanqDialects(mlir::DialectRegistry &registry);

/// All of ganq's passes, for ganq-opt.
void registerGanqPasses();

} // namespace ganq

#endif // GANQ_PIPELINES_PHASES_H
