//===- TrialModel.h - A model whose weights can be exchanged ----*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_LIB_PIPELINES_TRIALMODEL_H
#define GANQ_LIB_PIPELINES_TRIALMODEL_H

#include "ganq/Pipelines/ParameterStore.h"
#include "ganq/Pipelines/Phases.h"
#include "ganq/runtime/session.h"
#include "llvm/ADT/ArrayRef.h"
#include <memory>
#include <vector>

namespace ganq {

/// Rows of token ids, [rows, columns].
struct TokenRows {
  std::vector<int64_t> ids;
  int64_t rows = 0, columns = 0;

  /// Reads an integer `.npy` with two dimensions. `option` names it in errors.
  static llvm::Expected<TokenRows> read(const std::string &path,
                                        llvm::StringRef option);
  /// Evenly spaced rows, at most `limit` tokens but at least one row.
  TokenRows sample(int64_t limit) const;
};

/// The unquantized model, compiled and loaded, of which single weights can be
/// exchanged to see what that does to its output.
class TrialModel {
public:
  /// Compiles a module after the assign phase with its weights in their own
  /// precision to the file `path`.
  static llvm::Expected<std::unique_ptr<TrialModel>>
  build(mlir::ModuleOp assigned, const PhaseOptions &options,
        ParameterStore &store, const std::string &path);

  /// Runs the unquantized model over rows of tokens and keeps its output.
  llvm::Error setReference(const TokenRows &tokens);

  /// The mean over the tokens of KL(p || q) in nats, p being the distribution
  /// of the next token by the unquantized model and q by this one.
  llvm::Expected<double> getDivergence();

  /// Puts `values`, [n, k] row-major, in the place of an encoded weight.
  llvm::Error replace(ParameterOp weight, llvm::ArrayRef<float> values);
  /// Takes the weight's own values again.
  llvm::Error restore(ParameterOp weight);

  /// Bits of one weight of a product in the model's own precision.
  double getBitsPerWeight() const;
  /// The perplexity on rows of tokens.
  llvm::Expected<double> getPerplexity(const TokenRows &tokens);

private:
  /// Runs all rows of the reference; `each` gets the logits of each token.
  llvm::Error
  run(llvm::function_ref<void(int64_t token, llvm::ArrayRef<float>)> each);

  std::shared_ptr<runtime::Model> model;
  std::unique_ptr<runtime::Session> session;
  TokenRows tokens;
  /// Log-probabilities of every token, [tokens, vocabulary].
  std::vector<float> reference;
  runtime::Buffer replacement;
};

/// The mean perplexity of a compiled model on rows of tokens.
llvm::Expected<double>
getPerplexity(const std::shared_ptr<runtime::Model> &model,
              const TokenRows &tokens);

} // namespace ganq

#endif // GANQ_LIB_PIPELINES_TRIALMODEL_H
