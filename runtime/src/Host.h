//===- Host.h - The runtime's side of the module ABI ----------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_RUNTIME_SRC_HOST_H
#define GANQ_RUNTIME_SRC_HOST_H

#include "ganq/module_abi.h"
#include "ganq/runtime/model.h"

namespace ganq::runtime {

/// A ganq_memref of any rank.
class Descriptor {
public:
  explicit Descriptor(size_t rank) : rank(rank), words(3 + 2 * rank) {}

  Descriptor(void *data, const std::vector<int64_t> &shape)
      : Descriptor(shape.size()) {
    words[0] = words[1] = reinterpret_cast<int64_t>(data);
    int64_t stride = 1;
    for (size_t i = rank; i-- > 0; stride *= shape[i]) {
      words[3 + i] = shape[i];
      words[3 + rank + i] = stride;
    }
  }

  void *get() { return words.data(); }
  const char *aligned() const {
    return reinterpret_cast<const char *>(words[1]);
  }
  int64_t offset() const { return words[2]; }
  int64_t size(size_t i) const { return words[3 + i]; }
  int64_t stride(size_t i) const { return words[3 + rank + i]; }

private:
  size_t rank;
  std::vector<int64_t> words;
};

/// Memory for the results and temporaries of one call. It grows by blocks; a
/// reset merges them into one, so that the next call finds it in one piece.
class Scratch {
public:
  /// Null if there is no memory.
  void *allocate(int64_t bytes);
  void reset();

private:
  std::vector<Buffer> blocks;
  int64_t used = 0; ///< of the last block
};

/// The functions that a module is initialised with.
const ganq_host_api &hostApi();

/// Runs an entry; its host calls use `scratch` and `observer`.
Status runEntry(ganq_entry_fn entry, void **args, Scratch &scratch,
                const Observer &observer);

} // namespace ganq::runtime

#endif // GANQ_RUNTIME_SRC_HOST_H
