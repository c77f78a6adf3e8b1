//===- Lut.cpp - Weights as indices into per-row tables -------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/Quantization/Lut.h"
#include "LutProblem.h"
#include <algorithm>
#include <cmath>
#include <mutex>
#include <thread>

using namespace ganq::quant;

/// Rows solved together: enough for matrix products to be efficient, few enough
/// for their buffers to stay small.
static constexpr int64_t blockRows = 128;

struct LutSolver::Impl {
  LutProblem problem;
};

LutSolver::LutSolver() = default;
LutSolver::LutSolver(LutSolver &&) = default;
LutSolver &LutSolver::operator=(LutSolver &&) = default;
LutSolver::~LutSolver() = default;

Expected<LutSolver> LutSolver::create(const LutOptions &options, int64_t k,
                                      const double *h, const double *c) {
  Expected<LutProblem> problem = LutProblem::prepare(options, k, h, c);
  if (!problem.ok())
    return problem.status();
  LutSolver solver;
  solver.impl = std::make_unique<Impl>();
  solver.impl->problem = std::move(*problem);
  return Expected<LutSolver>(std::move(solver));
}

int64_t LutSolver::groups() const {
  return static_cast<int64_t>(impl->problem.groups.size());
}

const Damping &LutSolver::damping() const { return impl->problem.damping; }

Status LutSolver::solve(int64_t n, const ReadRows &read, const WriteRows &write,
                        const Progress &progress) const {
  if (!impl)
    return Status::error("expected a solver made by LutSolver::create, but got "
                         "an empty one");
  if (n < 1)
    return Status::error("expected at least one row, but got " +
                         std::to_string(n));
  const LutProblem &problem = impl->problem;
  int64_t k = problem.k, capacity = std::min(blockRows, n);
  int64_t next = 0, done = 0;
  Status result;
  std::mutex mutex;
  // The rows are shared out, so each product runs on its own thread.
  problem.blas->setThreads(1);
  auto work = [&] {
    LutBlock block(problem, capacity);
    std::vector<float> rows(capacity * k);
    std::unique_lock<std::mutex> lock(mutex);
    while (result.ok() && next < n) {
      int64_t first = next, count = std::min(capacity, n - first);
      next += count;
      result = read(first, count, rows.data());
      if (!result.ok())
        return;
      lock.unlock();
      Status status = block.solve(rows.data(), first, count);
      lock.lock();
      if (!result.ok())
        return;
      if (status.ok())
        status = write({first, count, block.codes.data(), block.tables.data(),
                        block.reports.data()});
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
  int64_t threads =
      std::min<int64_t>(resolveThreads(problem.options.threads), blocks);
  std::vector<std::thread> others;
  for (int64_t i = 1; i < threads; ++i)
    others.emplace_back(work);
  work();
  for (std::thread &thread : others)
    thread.join();
  return result;
}

Expected<LutResult> LutSolver::solve(const float *w, int64_t n,
                                     const Progress &progress) const {
  if (!impl || n < 1)
    return solve(n, {}, {}, progress);
  int64_t k = impl->problem.k, entries = groups() * impl->problem.levels;
  LutResult result;
  result.codes.resize(n * k);
  result.tables.resize(n * entries);
  result.rows.resize(n);
  Status status = solve(
      n,
      [&](int64_t first, int64_t count, float *dst) {
        std::copy(w + first * k, w + (first + count) * k, dst);
        return Status();
      },
      [&](const LutRows &rows) {
        std::copy(rows.codes, rows.codes + rows.count * k,
                  result.codes.begin() + rows.first * k);
        std::copy(rows.tables, rows.tables + rows.count * entries,
                  result.tables.begin() + rows.first * entries);
        std::copy(rows.rows, rows.rows + rows.count,
                  result.rows.begin() + rows.first);
        return Status();
      },
      progress);
  if (!status.ok())
    return status;
  return Expected<LutResult>(std::move(result));
}

double LutResult::relativeOutputError() const {
  double error = 0, energy = 0;
  for (const LutRowReport &row : rows) {
    error += row.outputError;
    energy += row.outputEnergy;
  }
  return energy > 0 ? std::sqrt(error / energy) : 0;
}

void ganq::quant::dequantizeLut(const uint8_t *codes, const float *tables,
                                int64_t n, int64_t k, int bits, int64_t group,
                                float *dst) {
  if (group <= 0 || group > k)
    group = k;
  int64_t groups = (k + group - 1) / group, levels = int64_t(1) << bits;
  for (int64_t row = 0; row != n; ++row)
    for (int64_t j = 0; j != k; ++j)
      dst[row * k + j] =
          tables[(row * groups + j / group) * levels + codes[row * k + j]];
}
