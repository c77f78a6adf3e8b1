//===- RowBlocks.h - Share rows out to threads ----------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_LIB_QUANTIZATION_ROWBLOCKS_H
#define GANQ_LIB_QUANTIZATION_ROWBLOCKS_H

#include "ganq/Quantization/Rows.h"

namespace ganq::quant {

/// Rows solved together: enough for matrix products to be efficient, few enough
/// for their buffers to stay small.
constexpr int64_t blockRows = 128;

/// What one thread works with: buffers of its own behind two functions.
struct RowWorker {
  /// Solves rows w[count x k] of the layer from row `first` on.
  std::function<Status(const float *w, int64_t first, int64_t count)> solve;
  /// Hands the result on; called by one thread at a time.
  std::function<Status(int64_t first, int64_t count)> write;
};

/// True while more than a few of the losses still fall: while it is worth going
/// on with a start. `before` keeps the least of each.
bool stillGains(const std::vector<double> &losses, std::vector<double> &before,
                int64_t count);

/// Solves n rows in blocks of blockRows (and as many more as make whole tiles
/// of `tile` rows), a worker per thread. Blocks are the same whatever the
/// number of threads.
Status solveInBlocks(int64_t n, int64_t k, unsigned threads,
                     const std::function<RowWorker(int64_t capacity)> &make,
                     const ReadRows &read, const Progress &progress,
                     int64_t tile = 1);

} // namespace ganq::quant

#endif // GANQ_LIB_QUANTIZATION_ROWBLOCKS_H
