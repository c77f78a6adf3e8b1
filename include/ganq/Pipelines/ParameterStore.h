//===- ParameterStore.h - The bytes behind parameters -----------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_PIPELINES_PARAMETERSTORE_H
#define GANQ_PIPELINES_PARAMETERSTORE_H

#include "ganq/IR/GanqDialect.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/Support/Error.h"
#include "llvm/Support/FileSystem.h"
#include <memory>

namespace ganq {

/// Maps the byte range of `ganq.parameter` ops to memory-mapped files. Nothing
/// is copied: pages are read when touched and can be given back.
class ParameterStore {
public:
  /// File names are looked up in `directory`.
  explicit ParameterStore(std::string directory)
      : directory(std::move(directory)) {}

  /// The stored bytes; fails if the file is missing or too short, or if the
  /// length does not fit the type.
  llvm::Expected<llvm::ArrayRef<char>> getBytes(ParameterOp parameter);

  /// Rows [first, first + count) of an [N, K] parameter as f32, row-major, with
  /// `transposed` undone. Element types f16, bf16, f32 and f64.
  llvm::Error readRows(ParameterOp parameter, int64_t first, int64_t count,
                       float *out);

  /// Hands every byte of the parameter in its logical order (`transposed`
  /// undone) to `sink`, in pieces of bounded size. Integers of 2 and 4 bits
  /// become bytes.
  llvm::Error
  stream(ParameterOp parameter,
         llvm::function_ref<llvm::Error(llvm::ArrayRef<char>)> sink);

  /// Lets the system take back the memory of all files.
  void release();

private:
  using Mapping = llvm::sys::fs::mapped_file_region;
  llvm::Expected<Mapping *> open(llvm::StringRef file);

  std::string directory;
  llvm::StringMap<std::unique_ptr<Mapping>> files;
};

} // namespace ganq

#endif // GANQ_PIPELINES_PARAMETERSTORE_H
