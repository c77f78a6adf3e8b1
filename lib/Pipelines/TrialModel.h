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

  /// Reads an integer `.npy` with two dimensions and rows of at least
  /// `minColumns` tokens. `option` names it in errors.
  static llvm::Expected<TokenRows>
  read(const std::string &path, llvm::StringRef option, int64_t minColumns = 2);
  /// Fails unless every id is in the vocabulary of the model and every row fits
  /// its context; the last `targets` ids of a row are not read but predicted. A
  /// module without a state has neither. `option` and `path` name the file in
  /// errors.
  llvm::Error check(mlir::ModuleOp module, llvm::StringRef option,
                    llvm::StringRef path, int64_t targets = 0) const;
  /// Evenly spaced rows, at most `limit` tokens; the beginning of one row if
  /// not even that fits.
  TokenRows sample(int64_t limit) const;
};

/// log(sum(exp(logits))).
double logSumExp(llvm::ArrayRef<float> logits);

/// sum p (log p - log q) - p + q, q being the softmax of `logits`: KL(p || q)
/// where p adds up to one, and never below minus a rounding error where p,
/// given by its rounded logarithms, does not. NaN for logits that are not
/// finite.
double getDivergence(llvm::ArrayRef<float> logP, llvm::ArrayRef<float> logits);

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
