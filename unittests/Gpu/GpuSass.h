//===- GpuSass.h - Machine code of kernels ----------------------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_UNITTESTS_GPU_GPUSASS_H
#define GANQ_UNITTESTS_GPU_GPUSASS_H

#include "ganq/Target/Cubin.h"
#include <map>
#include <string>
#include <vector>

namespace ganq {

/// Instructions of the loop that multiplies: the shortest one with a tensor
/// core instruction or a dot product. Blocks that copy x to shared memory by
/// halves, where its rows are not aligned, do not count.
struct InnerLoop {
  std::map<std::string, int64_t> opcodes; ///< Without their suffixes.
  int64_t total = 0;
  /// Those that neither load, store, multiply nor branch.
  int64_t arithmetic = 0;
  /// Loads from shared memory.
  int64_t sharedLoads = 0;
};

/// Whether nvdisasm was found when the tests were configured.
bool hasDisassembler();

llvm::Expected<std::string> disassemble(const Cubin &cubin);

/// Nothing where no loop multiplies.
std::optional<InnerLoop> findInnerLoop(llvm::StringRef sass);

} // namespace ganq

#endif // GANQ_UNITTESTS_GPU_GPUSASS_H
