//===- Files.h - Which files can be read ------------------------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_SUPPORT_FILES_H
#define GANQ_SUPPORT_FILES_H

#include "llvm/Support/FileSystem.h"

namespace ganq {

/// What a path is that is no regular file, in words; empty where it is one or
/// does not exist. Reading pipes and devices may never end.
inline llvm::StringRef describeSpecialFile(const llvm::Twine &path) {
  llvm::sys::fs::file_status status;
  if (llvm::sys::fs::status(path, status) ||
      llvm::sys::fs::is_regular_file(status))
    return "";
  return llvm::sys::fs::is_directory(status) ? "a folder" : "a pipe or device";
}

} // namespace ganq

#endif // GANQ_SUPPORT_FILES_H
