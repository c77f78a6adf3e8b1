//===- Artifact.h - Writes compiled models ----------------------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_PIPELINES_ARTIFACT_H
#define GANQ_PIPELINES_ARTIFACT_H

#include "ganq/Pipelines/ParameterStore.h"
#include "ganq/Pipelines/Phases.h"
#include "ganq/Pipelines/Program.h"
#include "mlir/IR/BuiltinOps.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/Support/JSON.h"

namespace ganq {

/// Gives the bytes of one component of a quantized weight, as they are stored.
using ComponentSource = llvm::function_ref<llvm::Error(
    llvm::StringRef key,
    llvm::function_ref<llvm::Error(llvm::ArrayRef<char>)>)>;

/// What a manifest says about the model apart from its code.
struct ArtifactInfo {
  /// Signature of @main, in the manifest's form: "inputs" and "outputs".
  llvm::json::Object main;
  /// "state" of a causal language model, if it is one.
  std::optional<llvm::json::Object> state;
  /// "weights": one object per matrix-product weight.
  llvm::json::Array weights;
  /// Mean stored bits per element of the quantized weights; of all
  /// matrix-product weights where none is quantized.
  double bitsPerWeight = 0;
  std::string sourceFile, sourceSha256;
};

/// Describes a module after the materialize phase.
llvm::Expected<ArtifactInfo> describeModule(mlir::ModuleOp module);

/// Compiles a module after the materialize phase and writes it with its
/// parameters to `path` (under a temporary name first): to native code, or the
/// step functions to a program for `device`. The module is lowered in place.
/// `info` gets the sizes of weights that devices store otherwise. Returns the
/// number of bytes written.
llvm::Expected<int64_t> writeArtifact(mlir::ModuleOp module, ArtifactInfo &info,
                                      const PhaseOptions &options,
                                      ParameterStore &store,
                                      ComponentSource components,
                                      const std::string &path,
                                      const DeviceOptions *device = nullptr);

/// Runs the passes of one phase.
llvm::Error runPhase(mlir::ModuleOp module, Phase phase,
                     const PhaseOptions &options);

} // namespace ganq

#endif // GANQ_PIPELINES_ARTIFACT_H
