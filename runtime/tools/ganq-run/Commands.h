//===- Commands.h - What ganq-run does ------------------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_RUN_COMMANDS_H
#define GANQ_RUN_COMMANDS_H

#include "ganq/runtime/session.h"

namespace ganq::run {

struct Options {
  std::string model;
  std::string device;          ///< empty: what the model was compiled for
  std::string inputs, outputs; ///< run main
  std::string tokens;          ///< .npy with token ids
  int64_t generate = -1;
  double temperature = 0;
  int64_t seed = 0;
  int64_t promptLength = 128; ///< benchmark
  double loadSeconds = 0;     ///< that opening the model took
  bool perplexity = false, benchmark = false, inspect = false;
  bool json = false, help = false, version = false;
};

/// Fills `options` from the command line; `helpText` explains them.
runtime::Status parseOptions(int argc, char **argv, Options &options);
std::string helpText();

using ModelPointer = std::shared_ptr<runtime::Model>;

/// Fails if the model was not compiled for the device that is asked for.
runtime::Status checkDevice(const ModelPointer &model, const Options &options);

/// Each prints its result to the standard output.
runtime::Status runMain(const ModelPointer &model, const Options &options);
runtime::Status generate(const ModelPointer &model, const Options &options);
runtime::Status perplexity(const ModelPointer &model, const Options &options);
runtime::Status benchmark(const ModelPointer &model, const Options &options);
runtime::Status inspect(const ModelPointer &model, const Options &options);

} // namespace ganq::run

#endif // GANQ_RUN_COMMANDS_H
