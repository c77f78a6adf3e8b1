//===- Files.h - Whole-file access under a temporary name -----------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_RUNTIME_SRC_FILES_H
#define GANQ_RUNTIME_SRC_FILES_H

#include "ganq/runtime/status.h"
#include <cstdint>
#include <string>

namespace ganq::runtime {

/// "cannot open 'x': No such file or directory"
Status systemError(const char *action, const std::string &path, int number);

/// Opens a regular file for reading and tells its size. Directories, pipes and
/// devices are refused without waiting for them.
Result<int> openRegularFile(const std::string &path, int64_t &bytes);

/// Creates a new file beside `path` for a later rename; `temporary` is its
/// name.
Result<int> createTemporary(const std::string &path, std::string &temporary);

/// Writes all bytes at the offset.
Status writeFully(int descriptor, const char *data, int64_t bytes,
                  int64_t offset, const std::string &path);

/// Closes the file and gives it its final name; on failure removes it.
Status closeAndRename(int descriptor, const std::string &temporary,
                      const std::string &path);

} // namespace ganq::runtime

#endif // GANQ_RUNTIME_SRC_FILES_H
