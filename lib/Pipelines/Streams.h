//===- Streams.h - Activations kept on disk ---------------------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_LIB_PIPELINES_STREAMS_H
#define GANQ_LIB_PIPELINES_STREAMS_H

#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/Twine.h"
#include "llvm/Support/Error.h"
#include <map>
#include <string>
#include <vector>

namespace ganq {

/// The two models whose activations calibration keeps side by side.
enum class Stream { Original, Quantized };

/// Values of all sequences in both streams, in memory-mapped files without a
/// name: they are gone when the process ends, however it ends. A file whose
/// value is released serves the next value of its size.
class Streams {
public:
  /// `folder` is where the files lie. A process that was killed between making
  /// a file and taking its name away left one there: it is removed.
  Streams(std::string folder, int64_t sequences);
  ~Streams();
  Streams(const Streams &) = delete;
  Streams &operator=(const Streams &) = delete;

  /// Reserves `bytes` per sequence and stream, at multiples of 64.
  llvm::Error allocate(int64_t value, int64_t bytes);
  /// Lets a later allocation have the value's file; until that is written, the
  /// value can still be read.
  void release(int64_t value);
  char *get(int64_t value, Stream stream, int64_t sequence) const;

  /// Bytes of the file of one value.
  static int64_t fileBytes(int64_t bytes, int64_t sequences);

private:
  struct File {
    char *data = nullptr;
    int64_t stride = 0;
  };
  std::string folder;
  int64_t sequences;
  std::vector<File> files;
  std::multimap<int64_t, size_t> free;
  llvm::DenseMap<int64_t, size_t> owner;
};

} // namespace ganq

#endif // GANQ_LIB_PIPELINES_STREAMS_H
