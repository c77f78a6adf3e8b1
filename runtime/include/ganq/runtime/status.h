//===- status.h - Errors of the runtime -------------------------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Success or an error with a code and a one-line message. The headers of the
// runtime can be used by code that is compiled without exceptions.
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_RUNTIME_STATUS_H
#define GANQ_RUNTIME_STATUS_H

#include <optional>
#include <string>
#include <utility>

namespace ganq::runtime {

/// The values are those of `ganq_status` in ganq/runtime.h.
enum class Code {
  Ok = 0,
  InvalidArgument = 1, ///< a value from the caller that cannot be used
  InvalidFile = 2,     ///< a file whose content breaks its format's rules
  Unsupported = 3,     ///< valid, but not on this machine or by this version
  OutOfRange = 4,      ///< token id outside the vocabulary, context overflow
  InputOutput = 5,     ///< the operating system refused: open, read, write
  OutOfMemory = 6,
  Failed = 7, ///< the model's own code reported a failure
};

class [[nodiscard]] Status {
public:
  Status() = default;
  /// Control characters, which names out of files may hold, become spaces.
  Status(Code code, std::string message)
      : errorCode(code), text(std::move(message)) {
    for (char &c : text)
      if (static_cast<unsigned char>(c) < ' ')
        c = ' ';
  }

  bool ok() const { return errorCode == Code::Ok; }
  Code code() const { return errorCode; }
  const std::string &message() const { return text; }

private:
  Code errorCode = Code::Ok;
  std::string text;
};

/// A value or the error that kept it from being made.
template <typename T> class [[nodiscard]] Result {
public:
  Result(T value) : content(std::move(value)) {}
  Result(Status error) : failure(std::move(error)) {}

  bool ok() const { return content.has_value(); }
  const Status &status() const { return failure; }
  T &operator*() { return *content; }
  const T &operator*() const { return *content; }
  T *operator->() { return &*content; }
  const T *operator->() const { return &*content; }

private:
  std::optional<T> content;
  Status failure;
};

} // namespace ganq::runtime

#endif // GANQ_RUNTIME_STATUS_H
