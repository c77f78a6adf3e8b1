//===- session.h - Text generation with a compiled model ------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_RUNTIME_SESSION_H
#define GANQ_RUNTIME_SESSION_H

#include "ganq/runtime/model.h"

namespace ganq::runtime {

/// One sequence of tokens and what the model has to remember of it. A model
/// with step functions keeps its caches here; any other recomputes the whole
/// sequence through main at each feed.
class Session {
public:
  static Result<std::unique_ptr<Session>> create(std::shared_ptr<Model> model);
  ~Session();

  /// Logits of consecutive tokens: row-major [count, vocabulary], of the tokens
  /// first .. first + count - 1 of the sequence, valid during the call.
  using LogitsCallback =
      std::function<void(const float *logits, int64_t first, int64_t count)>;

  /// Appends tokens. Fails, and changes nothing, if one is outside
  /// [0, vocabulary) or if the sequence would exceed maxContext().
  Status feed(const int64_t *tokens, int64_t count,
              const LogitsCallback &each = {});

  /// The last token's logits, `vocabulary()` of them; null before a feed. A
  /// device that finds the most probable token itself keeps them until
  /// somebody asks for them here.
  Result<const float *> readLogits() const;
  /// The same, null also where they cannot be read.
  const float *logits() const;
  int64_t vocabulary() const; ///< 0: not known before the first feed
  int64_t maxContext() const; ///< INT64_MAX: no limit is known
  int64_t length() const;

  /// Forgets all but the first `length` tokens. There are no logits afterwards.
  Status rewind(int64_t length);

  /// The next token by the last logits: the most probable one (of equals the
  /// first) at temperature 0, else drawn from softmax(logits / temperature).
  Result<int64_t> sample(double temperature);
  void seed(uint64_t seed);

  /// For measurements on a device: whether its clock times the feeds. A timed
  /// step finds nothing of the model in the device's cache.
  Status setTimed(bool timed);
  /// Seconds that the device worked at the last feed, if it was timed.
  double deviceSeconds() const;

private:
  struct Implementation;
  Session();
  std::unique_ptr<Implementation> impl;
};

struct PerplexityResult {
  double negativeLogLikelihood = 0; ///< natural logarithm, summed
  int64_t tokens = 0;               ///< targets
  double perplexity() const;
};

/// Judges the model on `rows` independent sequences of `columns` tokens each;
/// the targets of a row are its tokens 1 .. columns - 1. `progress`, if given,
/// hears the number of finished rows.
Result<PerplexityResult>
evaluatePerplexity(const std::shared_ptr<Model> &model, const int64_t *tokens,
                   int64_t rows, int64_t columns,
                   const std::function<void(int64_t)> &progress = {});

} // namespace ganq::runtime

#endif // GANQ_RUNTIME_SESSION_H
