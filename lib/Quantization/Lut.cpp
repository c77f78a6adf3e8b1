//===- Lut.cpp - Weights as indices into per-row tables -------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/Quantization/Lut.h"
#include "LutProblem.h"
#include "RowBlocks.h"
#include <algorithm>

using namespace ganq::quant;

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
  const LutProblem &problem = impl->problem;
  auto make = [&](int64_t capacity) {
    auto block = std::make_shared<LutBlock>(problem, capacity);
    return RowWorker{[block](const float *w, int64_t first, int64_t count) {
                       return block->solve(w, first, count);
                     },
                     [block, &write](int64_t first, int64_t count) {
                       return write({first, count, block->codes.data(),
                                     block->tables.data(),
                                     block->reports.data()});
                     }};
  };
  return solveInBlocks(n, problem.k, problem.options.threads, make, read,
                       progress);
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
  return quant::relativeOutputError(rows);
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
