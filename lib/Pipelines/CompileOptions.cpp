//===- CompileOptions.cpp - Options by their names ------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Errors.h"
#include "ganq/Onnx/Binding.h"
#include "ganq/Pipelines/Compile.h"
#include "ganq/Schemes/SchemeText.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/FormatVariadic.h"
#include <cmath>

using namespace ganq;
using llvm::StringRef;

static llvm::Error refuse(StringRef key, StringRef expected, StringRef value) {
  return makeError(llvm::formatv("expected --{0} to be {1}, but got `{2}`", key,
                                 expected, value));
}

static llvm::Error read(StringRef key, StringRef value, std::string &field) {
  field = value.str();
  return llvm::Error::success();
}

static llvm::Error read(StringRef key, StringRef value, double &field) {
  double number = 0;
  if (value.getAsDouble(number) || !std::isfinite(number))
    return refuse(key, "a number", value);
  field = number;
  return llvm::Error::success();
}

static llvm::Error read(StringRef key, StringRef value, int64_t &field) {
  int64_t number = 0;
  if (value.getAsInteger(10, number))
    return refuse(key, "an integer", value);
  field = number;
  return llvm::Error::success();
}

static llvm::Error read(StringRef key, StringRef value, bool &field) {
  if (value != "true" && value != "false")
    return refuse(key, "true or false", value);
  field = value == "true";
  return llvm::Error::success();
}

llvm::Error ganq::setCompileOption(CompileOptions &options, StringRef key,
                                   StringRef value) {
  PhaseOptions &phases = options.phases;
  if (!llvm::is_contained(options.given, key))
    options.given.push_back(key.str());
  if (key == "alpha")
    return read(key, value, options.alpha);
  if (key == "bind") {
    std::string error;
    if (!onnx::parseBinding(value, options.bindings.emplace_back(), error))
      return makeError(error);
    return llvm::Error::success();
  }
  if (key == "budget") {
    if (llvm::Error error = read(key, value, options.budget))
      return error;
    return options.budget > 0 ? llvm::Error::success()
                              : refuse(key, "a positive number of bits", value);
  }
  if (key == "calibration")
    return read(key, value, options.calibration);
  if (key == "calibration-mode")
    return read(key, value, options.calibrationMode);
  if (key == "candidates")
    return read(key, value, options.candidates);
  if (key == "chips")
    return read(key, value, options.chips);
  if (key == "compile-to") {
    options.compileTo = parsePhase(value);
    return options.compileTo ? llvm::Error::success()
                             : refuse(key, "one of " + getPhaseNames(), value);
  }
  if (key == "cpu")
    return read(key, value, phases.cpu);
  if (key == "evaluate")
    return read(key, value, options.evaluate);
  if (key == "exclude")
    return read(key, value, phases.exclude);
  if (key == "gram-memory") {
    constexpr int64_t kMaxMiB = int64_t(1) << 42;
    int64_t mebibytes = 0;
    if (llvm::Error error = read(key, value, mebibytes))
      return error;
    if (mebibytes < 1 || mebibytes > kMaxMiB)
      return refuse(key, "between 1 and 2^42 MiB", value);
    options.gramMemory = mebibytes << 20;
    return llvm::Error::success();
  }
  if (key == "keep-work")
    return read(key, value, options.keepWork);
  if (key == "kv-cache")
    return read(key, value, phases.kvCache);
  if (key == "max-context")
    return read(key, value, phases.maxContext);
  if (key == "prefill-chunk")
    return read(key, value, phases.chunk);
  if (key == "quantize-head")
    return read(key, value, phases.quantizeHead);
  if (key == "report") {
    options.reports.push_back(value.str());
    return llvm::Error::success();
  }
  if (key == "rules")
    return read(key, value, phases.rules);
  if (key == "scheme")
    return read(key, value, phases.scheme);
  if (key == "solver")
    return read(key, value, options.solver);
  if (key == "strategy") {
    if (!llvm::is_contained({"auto", "int8", "btc"}, value))
      return refuse(key, "auto, int8 or btc", value);
    return read(key, value, options.strategy);
  }
  if (key == "target") {
    if (!llvm::is_contained({"cpu", "cuda", "emulator"}, value))
      return refuse(key, "cpu, cuda or emulator", value);
    return read(key, value, options.target);
  }
  if (key == "verbose")
    return read(key, value, options.verbose);
  // Which of these a scheme has is for the scheme to say.
  if (llvm::is_contained(getSchemeOptions(), key)) {
    auto &list = phases.schemeOptions;
    llvm::erase_if(list, [&](const auto &pair) { return pair.first == key; });
    list.emplace_back(key.str(), value.str());
    return llvm::Error::success();
  }
  return makeError("expected an option of ganq-compile, but got `" + key + "`");
}
