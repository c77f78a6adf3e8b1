//===- Compile.cpp - C API of the compiler --------------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/Pipelines/Compile.h"
#include "ganq-c/ganq.h"
#include "ganq/Onnx/Binding.h"
#include "ganq/runtime.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/Path.h"
#include <cstring>

using namespace ganq;
using llvm::StringRef;

namespace {

/// Sets one option; false after a message in `error`.
class OptionReader {
public:
  OptionReader(CompileOptions &options, std::string &error)
      : options(options), error(error) {}

  bool set(StringRef key, StringRef value);

private:
  bool fail(StringRef key, StringRef expected, StringRef value) {
    error = llvm::formatv("expected {0} to be {1}, but got `{2}`", key,
                          expected, value);
    return false;
  }
  template <typename T> bool number(StringRef key, StringRef value, T &field) {
    T result;
    if constexpr (std::is_floating_point_v<T>) {
      if (value.getAsDouble(result))
        return fail(key, "a number", value);
    } else if (value.getAsInteger(10, result)) {
      return fail(key, "an integer", value);
    }
    field = result;
    return true;
  }
  bool flag(StringRef key, StringRef value, bool &field) {
    if (value != "true" && value != "false")
      return fail(key, "true or false", value);
    field = value == "true";
    return true;
  }

  CompileOptions &options;
  std::string &error;
};

} // namespace

bool OptionReader::set(StringRef key, StringRef value) {
  PhaseOptions &phases = options.phases;
  std::pair<StringRef, std::string *> texts[] = {
      {"calibration", &options.calibration},
      {"calibration-mode", &options.calibrationMode},
      {"candidates", &options.candidates},
      {"cpu", &phases.cpu},
      {"exclude", &phases.exclude},
      {"rules", &phases.rules},
      {"scheme", &phases.scheme},
      {"solver", &options.solver}};
  for (auto [name, field] : texts)
    if (key == name) {
      *field = value.str();
      return true;
    }
  if (key == "alpha")
    return number(key, value, options.alpha);
  if (key == "budget")
    return number(key, value, options.budget);
  if (key == "max-context")
    return number(key, value, phases.maxContext);
  if (key == "prefill-chunk")
    return number(key, value, phases.chunk);
  if (key == "keep-work")
    return flag(key, value, options.keepWork);
  if (key == "quantize-head")
    return flag(key, value, phases.quantizeHead);
  if (key == "verbose")
    return flag(key, value, options.verbose);
  if (key == "gram-memory") {
    int64_t mebibytes = 0;
    if (!number(key, value, mebibytes))
      return false;
    if (mebibytes < 1 || mebibytes > int64_t(1) << 42)
      return fail(key, "between 1 and 2^42 MiB", value);
    options.gramMemory = mebibytes << 20;
    return true;
  }
  if (key == "bind")
    return onnx::parseBinding(value, options.bindings.emplace_back(), error);
  if (key == "compile-to") {
    options.compileTo = parsePhase(value);
    return options.compileTo || fail(key, "one of " + getPhaseNames(), value);
  }
  if (key == "target")
    return value == "cpu" || fail(key, "`cpu`", value);
  // What makes up a scheme; which options one has is for the scheme to say.
  if (llvm::is_contained({"activation-bits", "bits", "entry", "full-rows",
                          "grid", "group", "levels", "mantissa", "outliers",
                          "scale", "table-rows"},
                         key)) {
    auto &list = phases.schemeOptions;
    llvm::erase_if(list, [&](const auto &pair) { return pair.first == key; });
    list.emplace_back(key.str(), value.str());
    return true;
  }
  error =
      llvm::formatv("expected an option of ganq-compile, but got `{0}`", key);
  return false;
}

/// A copy that the caller frees; null when there is no memory.
static char *copy(StringRef text) {
  auto *result = static_cast<char *>(std::malloc(text.size() + 1));
  if (!result)
    return nullptr;
  std::memcpy(result, text.data(), text.size());
  result[text.size()] = '\0';
  return result;
}

int ganq_compile(const char *model, const char *output,
                 const ganq_option *options, size_t count, char **report,
                 char **messages) {
  std::string text;
  llvm::raw_string_ostream stream(text);
  if (report)
    *report = nullptr;
  auto finish = [&](int status) {
    if (messages)
      *messages = copy(text);
    else
      llvm::errs() << text;
    return status;
  };
  auto fail = [&](const llvm::Twine &message) {
    stream << "error: " << message << "\n";
    return finish(1);
  };
  if (!model || !output || (count > 0 && !options))
    return fail("expected a model, an output and options, but got a null "
                "pointer");
  CompileOptions compile;
  compile.model = model;
  compile.output = output;
  compile.messages = &stream;
  StringRef folder = llvm::sys::path::parent_path(compile.model);
  compile.phases.modelDir = folder.empty() ? "." : folder.str();
  for (const ganq_option &option : llvm::ArrayRef(options, count)) {
    std::string error;
    if (!option.key || !option.value)
      return fail("expected options with a key and a value, but got a null "
                  "pointer");
    if (!OptionReader(compile, error).set(option.key, option.value))
      return fail(error);
  }
  llvm::Expected<llvm::json::Object> summary = compileModel(compile);
  if (!summary) {
    if (!summary.errorIsA<ReportedError>())
      return fail(llvm::toString(summary.takeError()));
    llvm::consumeError(summary.takeError());
    return finish(1);
  }
  if (report)
    *report = copy(
        llvm::formatv("{0:2}", llvm::json::Value(std::move(*summary))).str());
  return finish(0);
}

void ganq_compiler_free(char *text) { std::free(text); }

const char *ganq_compiler_version(void) { return ganq_version(); }
