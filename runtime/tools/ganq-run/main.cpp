//===- main.cpp - Runs compiled models ------------------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Commands.h"
#include <chrono>
#include <cstdio>
#include <exception>

using namespace ganq;

static runtime::Status execute(run::Options &options) {
  auto start = std::chrono::steady_clock::now();
  runtime::Result<run::ModelPointer> model =
      runtime::Model::open(options.model);
  if (!model.ok())
    return model.status();
  options.loadSeconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start)
          .count();
  if (runtime::Status status = run::checkDevice(*model, options); !status.ok())
    return status;
  if (options.inspect)
    return run::inspect(*model, options);
  if (options.benchmark)
    return run::benchmark(*model, options);
  if (options.perplexity)
    return run::perplexity(*model, options);
  if (options.generate >= 0)
    return run::generate(*model, options);
  return run::runMain(*model, options);
}

static int fail(const std::string &message, int code) {
  fprintf(stderr, "ganq-run: error: %s\n", message.c_str());
  return code;
}

int main(int argc, char **argv) {
  try {
    run::Options options;
    runtime::Status status = run::parseOptions(argc, argv, options);
    if (!status.ok())
      return fail(status.message() + " (--help explains the options)", 2);
    if (options.help)
      fputs(run::helpText().c_str(), stdout);
    else if (options.version)
      puts("ganq-run " GANQ_RUNTIME_VERSION);
    else
      status = execute(options);
    if (!status.ok())
      return fail(status.message(), 1);
    if (fflush(stdout) != 0 || ferror(stdout))
      return fail("cannot write to the standard output", 1);
    return 0;
  } catch (const std::exception &error) {
    return fail(error.what(), 1);
  }
}
