//===- CodeLibrary.h - Shared objects out of a model's file -----*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_RUNTIME_SRC_CODELIBRARY_H
#define GANQ_RUNTIME_SRC_CODELIBRARY_H

#include "ganq/runtime/status.h"
#include <memory>
#include <string_view>

namespace ganq::runtime {

/// An ELF shared object for x86-64, loaded from memory.
class CodeLibrary {
public:
  /// `where` names the code in errors.
  static Result<std::unique_ptr<CodeLibrary>> load(std::string_view code,
                                                   const std::string &where);
  ~CodeLibrary();
  CodeLibrary(const CodeLibrary &) = delete;
  CodeLibrary &operator=(const CodeLibrary &) = delete;

  /// The address of an exported name, or null.
  void *find(const std::string &name) const;

private:
  CodeLibrary() = default;

  void *library = nullptr;
  /// Of the memory file behind the library. It stays open as long: dlopen takes
  /// two files of one name, and so of one descriptor number, for the same
  /// library.
  int descriptor = -1;
};

} // namespace ganq::runtime

#endif // GANQ_RUNTIME_SRC_CODELIBRARY_H
