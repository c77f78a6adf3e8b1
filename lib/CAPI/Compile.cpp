//===- Compile.cpp - C API of the compiler --------------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/Pipelines/Compile.h"
#include "ganq-c/ganq.h"
#include "ganq/runtime.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/Support/FormatVariadic.h"
#include <cstdlib>
#include <cstring>

using namespace ganq;
using llvm::StringRef;

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
  for (const ganq_option &option : llvm::ArrayRef(options, count)) {
    if (!option.key || !option.value)
      return fail("expected options with a key and a value, but got a null "
                  "pointer");
    if (llvm::Error error = setCompileOption(compile, option.key, option.value))
      return fail(llvm::toString(std::move(error)));
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
