//===- Budget.h - The best schemes within a size ----------------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_PIPELINES_BUDGET_H
#define GANQ_PIPELINES_BUDGET_H

#include "ganq/Pipelines/Quantize.h"
#include "llvm/ADT/StringMap.h"
#include <optional>

namespace ganq {

class TrialModel;

/// What one candidate does to one weight.
struct BudgetChoice {
  int64_t bytes = 0;
  double damage = 0;
  /// Relative error of the weight's output.
  double error = 0;
};

/// The number of a candidate to measure a weight by: the second smallest, as
/// its damage is far above what rounding does, yet small enough to be that of a
/// small error. One that leaves (nearly) no error measures nothing, so a larger
/// error is looked for: first in the following sizes, then in the smallest.
/// Nothing if no candidate has an error to speak of.
std::optional<size_t> chooseMeasured(llvm::ArrayRef<BudgetChoice> candidates);

/// One choice per weight, such that their bytes add up to at most `limit` and
/// their damage is least, of equal ones the sum of their squared errors, of
/// equal ones the bytes: the multiple-choice knapsack problem, solved exactly
/// by dynamic programming over the sizes that no other one dominates; beyond
/// `maxStates` (at least 2) of those, evenly spaced ones are kept, and the
/// result is within the limit but maybe not the best. Empty if nothing fits.
std::vector<size_t>
chooseWithinBudget(llvm::ArrayRef<std::vector<BudgetChoice>> weights,
                   int64_t limit, size_t maxStates = 20000);

/// Chooses a scheme for each weight such that the quantized weights take at
/// most `options.budget` bits on average and the output of the model on the
/// calibration tokens changes least; docs/Schemes/Budget.md has the maths.
class BudgetSearch {
public:
  /// `raised` and `imported` are the modules after these phases. What the
  /// search leaves in `work` is of use to the Quantizer of the result.
  BudgetSearch(mlir::ModuleOp raised, mlir::ModuleOp imported,
               const CompileOptions &options, ParameterStore &store,
               std::string work, Progress &progress);

  /// Checks the options that belong to the search alone.
  static llvm::Error check(const CompileOptions &options,
                           mlir::MLIRContext *context);

  /// Solves and judges all candidates. Returns the path of a rules file in the
  /// work folder with the choice: weights that it does not name keep their
  /// precision.
  llvm::Expected<std::string> run();

  /// The budget, what was chosen, and the damage of every candidate.
  llvm::json::Object report() const;

private:
  struct Candidate {
    SchemeAttrInterface scheme;
    mlir::OwningOpRef<mlir::ModuleOp> assigned;
    std::unique_ptr<CompileOptions> options;
    std::unique_ptr<Quantizer> quantizer;
    std::string work;
  };
  struct Weight {
    std::string key;
    ParameterOp parameter;
    int64_t n, k;
    std::string solver;
    /// The scheme and effect of each candidate; a rule may fix the scheme.
    std::vector<SchemeAttrInterface> schemes;
    std::vector<BudgetChoice> choices;
    std::optional<size_t> measured;
    size_t chosen = 0;
  };

  /// Gives each weight the schemes and bytes of the candidates.
  llvm::Error assignCandidates();
  /// Bytes of packed weights that the budget allows.
  int64_t getLimit() const;
  /// Refuses a limit below what the smallest candidates take.
  llvm::Error checkLimit() const;
  llvm::Error solveCandidates();
  llvm::Error measure();
  /// The reference model with its outputs, for trials.
  llvm::Expected<std::unique_ptr<TrialModel>> buildTrial(size_t trials);
  /// The damage of one trial.
  llvm::Expected<double> runTrial(TrialModel &model, Weight &weight);
  /// Damages in the work folder, by weight and scheme.
  llvm::StringMap<double> readTrials() const;
  llvm::Error keepTrial(llvm::StringRef name, double damage) const;
  void choose();
  llvm::Expected<std::string> writeRules();
  /// Hands the chosen solutions to the quantizer where they stay valid.
  void keepSolutions();

  mlir::ModuleOp raised, imported;
  CompileOptions options;
  ParameterStore &store;
  std::string work;
  Progress &progress;
  std::vector<Candidate> candidates;
  std::vector<Weight> weights;
  int64_t elements = 0;
  double bitsPerWeight = 0;
};

} // namespace ganq

#endif // GANQ_PIPELINES_BUDGET_H
