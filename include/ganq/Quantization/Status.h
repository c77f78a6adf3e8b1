//===- Status.h - Errors of the quantization library ----------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The library throws nothing and aborts nowhere on its input: a function that
// can fail returns one of these.
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_QUANTIZATION_STATUS_H
#define GANQ_QUANTIZATION_STATUS_H

#include <cstdio>
#include <string>
#include <utility>

namespace ganq::quant {

/// Success, or a message in the form "expected X, but got Y".
class [[nodiscard]] Status {
public:
  Status() = default;
  static Status error(std::string message) {
    Status status;
    status.failed = true;
    status.text = std::move(message);
    return status;
  }
  bool ok() const { return !failed; }
  const std::string &message() const { return text; }

private:
  bool failed = false;
  std::string text;
};

/// A number as messages show it.
inline std::string formatNumber(double value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%g", value);
  return text;
}

/// A value or the status that says why there is none.
template <typename T> class [[nodiscard]] Expected {
public:
  Expected(T value) : held(std::move(value)) {}
  Expected(Status status) : why(std::move(status)) {}
  bool ok() const { return why.ok(); }
  const Status &status() const { return why; }
  const std::string &message() const { return why.message(); }
  T &operator*() { return held; }
  const T &operator*() const { return held; }
  T *operator->() { return &held; }
  const T *operator->() const { return &held; }

private:
  T held{};
  Status why;
};

} // namespace ganq::quant

#endif // GANQ_QUANTIZATION_STATUS_H
