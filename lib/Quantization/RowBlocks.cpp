//===- RowBlocks.cpp - Share rows out to threads --------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "RowBlocks.h"
#include "Blas.h"
#include <algorithm>
#include <cmath>
#include <mutex>
#include <thread>

using namespace ganq::quant;

double ganq::quant::relativeError(double error, double energy) {
  if (!(energy > 0))
    return error > 0 ? 1 : 0;
  return std::sqrt(std::max(error, 0.0) / energy);
}

double ganq::quant::relativeOutputError(const std::vector<RowReport> &rows) {
  double error = 0, energy = 0;
  for (const RowReport &row : rows) {
    error += row.outputError;
    energy += row.outputEnergy;
  }
  return relativeError(error, energy);
}

bool ganq::quant::stillGains(const std::vector<double> &losses,
                             std::vector<double> &before, int64_t count) {
  constexpr double leastShare = 0.02, leastGain = 1e-4;
  int64_t gains = 0;
  for (int64_t i = 0; i != count; ++i) {
    gains += losses[i] < before[i] * (1 - leastGain);
    before[i] = std::min(before[i], losses[i]);
  }
  return gains != 0 &&
         static_cast<double>(gains) >= leastShare * static_cast<double>(count);
}

Status ganq::quant::solveInBlocks(
    int64_t n, int64_t k, unsigned threads,
    const std::function<RowWorker(int64_t capacity)> &make,
    const ReadRows &read, const Progress &progress, int64_t tile) {
  if (n < 1)
    return Status::error("expected at least one row, but got " +
                         std::to_string(n));
  Expected<const Blas *> library = blas();
  if (!library.ok())
    return library.status();
  // The rows are shared out, so each product runs on its own thread.
  BlasThreads serial(**library, 1);
  int64_t capacity = std::min((blockRows + tile - 1) / tile * tile, n);
  int64_t next = 0, done = 0;
  Status result;
  std::mutex mutex;
  auto work = [&] {
    RowWorker worker = make(capacity);
    std::vector<float> rows(capacity * k);
    std::unique_lock<std::mutex> lock(mutex);
    while (result.ok() && next < n) {
      int64_t first = next, count = std::min(capacity, n - first);
      next += count;
      result = read(first, count, rows.data());
      if (!result.ok())
        return;
      lock.unlock();
      Status status = worker.solve(rows.data(), first, count);
      lock.lock();
      if (!result.ok())
        return;
      if (status.ok())
        status = worker.write(first, count);
      done += count;
      if (status.ok() && progress && !progress(done, n))
        status = Status::error("expected the solver to go on, but got a "
                               "request to stop after " +
                               std::to_string(done) + " of " +
                               std::to_string(n) + " rows");
      result = status;
    }
  };
  int64_t blocks = (n + capacity - 1) / capacity;
  int64_t workers = std::min<int64_t>(resolveThreads(threads), blocks);
  std::vector<std::thread> others;
  for (int64_t i = 1; i < workers; ++i)
    others.emplace_back(work);
  work();
  for (std::thread &thread : others)
    thread.join();
  return result;
}
