//===- WorkFolder.h - Where a run keeps what it has solved ------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_LIB_PIPELINES_WORKFOLDER_H
#define GANQ_LIB_PIPELINES_WORKFOLDER_H

#include "llvm/Support/Error.h"
#include <memory>
#include <string>

namespace ganq {

/// A folder that belongs to one process at a time: its file `lock` is locked
/// until the object goes. Two objects of one process do not exclude each other.
class WorkFolder {
public:
  /// Makes the folder where there is none; fails if another process has it.
  static llvm::Expected<std::unique_ptr<WorkFolder>> open(std::string path);
  ~WorkFolder();
  WorkFolder(const WorkFolder &) = delete;
  WorkFolder &operator=(const WorkFolder &) = delete;

  const std::string &getPath() const { return path; }
  /// True if what is in the folder was made under the same fingerprint. If not,
  /// empties it for this one.
  llvm::Expected<bool> claim(llvm::StringRef fingerprint);
  /// True if there are solutions or statistics for a next run.
  bool isWorthKeeping() const;
  /// Removes the folder and all that is in it.
  void remove();

private:
  WorkFolder(std::string path, int lock) : path(std::move(path)), lock(lock) {}

  std::string path;
  int lock;
};

/// 32 hexadecimal digits by which changed bytes are noticed (XXH3, 128 bits).
std::string hashBytes(llvm::StringRef bytes);

/// A hash of the file that holds this code, a program or a library: solutions
/// of another build of the compiler may differ.
std::string getBuildIdentity();

} // namespace ganq

#endif // GANQ_LIB_PIPELINES_WORKFOLDER_H
