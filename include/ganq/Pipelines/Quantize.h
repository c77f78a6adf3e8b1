//===- Quantize.h - Calibrates and quantizes the weights --------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_PIPELINES_QUANTIZE_H
#define GANQ_PIPELINES_QUANTIZE_H

#include "ganq/Pipelines/Artifact.h"
#include "ganq/Pipelines/Compile.h"
#include "ganq/Pipelines/Progress.h"

namespace ganq {

struct InputStatistics;

/// Bytes that a weight [n, k] takes: codes, tables, scales, padding.
int64_t getStoredBytes(SchemeAttrInterface scheme, int64_t n, int64_t k);

/// Why the products of a module after the assign phase keep their weights, as
/// in "of its matrix products 1 is the output head, 3 are quantized already".
std::string describeKeptProducts(mlir::ModuleOp assigned,
                                 const PhaseOptions &options);

/// The quantized weights of a module after the assign phase, kept in files of a
/// work folder: one per weight, so that a stopped run goes on where it was.
/// docs/Calibration.md describes what calibration computes.
class Quantizer {
public:
  /// `imported` is the module after the input phase, which calibration runs;
  /// null where there is none. `work` exists and belongs to this run's options
  /// alone.
  Quantizer(mlir::ModuleOp assigned, mlir::ModuleOp imported,
            const CompileOptions &options, ParameterStore &store,
            std::string work, Progress &progress);

  /// Files of a work folder: the solution of a weight, and the statistics.
  static std::string weightFile(llvm::StringRef work, size_t index);
  static std::string calibrationFile(llvm::StringRef work);

  /// Number of weights that have a scheme.
  size_t getWeightCount() const { return weights.size(); }

  /// Says what will be done, if somebody looks: layers, memory, disk.
  void announce();

  /// Calibrates, where tokens were given, and solves every weight.
  llvm::Error run();

  /// Stored bytes of one component.
  llvm::Error
  readComponent(llvm::StringRef key,
                llvm::function_ref<llvm::Error(llvm::ArrayRef<char>)> sink);

  /// The values that a solved [n, k] weight stands for, row-major.
  llvm::Expected<std::vector<float>>
  decode(llvm::StringRef key, SchemeAttrInterface scheme, int64_t n, int64_t k);

  /// Per weight: name, scheme, shape, bits of a code, stored bytes, relative
  /// error, seconds, note.
  llvm::json::Array report() const;

private:
  struct Weight {
    std::string key;
    ParameterOp parameter;
    SchemeAttrInterface scheme;
    int64_t n, k;
    int64_t observer = -1;
    bool finished = false;
    double error = 0;
    double condition = 0; ///< QuantizedWeight::gramCondition
    double seconds = 0;   ///< that the solver took
    std::string note = {};

    /// Relative time to solve it.
    double cost() const {
      return static_cast<double>(n) * static_cast<double>(k) *
             static_cast<double>(k);
    }
  };
  class StagedCalibration;

  std::string weightFile(size_t index) const { return weightFile(work, index); }
  std::string calibrationFile() const { return calibrationFile(work); }
  /// SHA-256 of the ONNX file.
  const std::string &modelHash();
  /// Weights of an earlier run count as finished.
  void findFinished();
  bool isFinished() const;
  /// Reads the rows of tokens; fails if they do not fit the model.
  llvm::Error readTokens();
  /// The model after the raise phase with schemes, for rows of the
  /// calibration's length where it has no step functions: its only input then
  /// is the tokens.
  llvm::Expected<mlir::OwningOpRef<mlir::ModuleOp>> raiseForRows();
  /// Gives the products of a module the schemes of the assigned one.
  void assignSchemes(mlir::ModuleOp module) const;
  /// Finds which observer sees the input of each weight.
  llvm::Error numberObservers();
  /// Writes the model with observers and its own weights.
  llvm::Error buildObserved(const std::string &path);
  /// Runs the whole unquantized model and writes calibrationFile().
  llvm::Error observe();
  llvm::Error solveInOneShot();
  /// Solves a weight and writes its file. `done` units of progress are over.
  llvm::Error solve(size_t index, const InputStatistics &statistics,
                    double done);
  /// Solves every weight with the statistics of a file; of none if it is empty.
  llvm::Error solveAll(const std::string &statistics);
  /// Solves the weights in the order of data flow, each with the inputs that
  /// those before it give.
  llvm::Error solveInStages();

  mlir::ModuleOp assigned, imported;
  /// What one-shot calibration runs: the assigned module, or one for rows.
  mlir::ModuleOp observed;
  mlir::OwningOpRef<mlir::ModuleOp> rowModule;
  /// Why calibration went on in one shot where it was to be sequential.
  std::string oneShotReason;
  const CompileOptions &options;
  ParameterStore &store;
  std::string work;
  Progress &progress;
  std::vector<Weight> weights;
  /// Columns of each observer's input.
  std::vector<int64_t> observers;
  std::vector<int64_t> tokens;
  int64_t tokenRows = 0, tokenColumns = 0;
  std::string hash;
};

} // namespace ganq

#endif // GANQ_PIPELINES_QUANTIZE_H
