//===- Lut.cpp - Weights as indices into per-row tables -------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/Quantization/Lut.h"
#include "LutKMeans.h"
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
  return impl ? static_cast<int64_t>(impl->problem.groups.size()) : 0;
}

const Damping &LutSolver::damping() const {
  static const Damping none;
  return impl ? impl->problem.damping : none;
}

template <typename Block>
static RowWorker makeWorker(const LutProblem &problem, int64_t capacity,
                            const LutSolver::WriteRows &write) {
  auto block = std::make_shared<Block>(problem, capacity);
  return {[block](const float *w, int64_t first, int64_t count) {
            return block->solve(w, first, count);
          },
          [block, &write](int64_t first, int64_t count) {
            const LutOutput &output = block->output;
            return write({first, count, output.codes.data(),
                          output.tables.data(), output.scales.data(),
                          output.keptColumns.data(), output.keptValues.data(),
                          output.reports.data()});
          }};
}

Status LutSolver::solve(int64_t n, const ReadRows &read, const WriteRows &write,
                        const Progress &progress) const {
  if (!impl)
    return Status::error("expected a solver made by LutSolver::create, but got "
                         "an empty one");
  const LutProblem &problem = impl->problem;
  auto make = [&](int64_t capacity) {
    return problem.options.method == LutMethod::KMeans
               ? makeWorker<LutKMeans>(problem, capacity, write)
               : makeWorker<LutBlock>(problem, capacity, write);
  };
  return solveInBlocks(n, problem.k, problem.options.threads, make, read,
                       progress, problem.options.rows);
}

void LutSolver::target(const float *w, int64_t count, float *dst) const {
  const LutProblem &problem = impl->problem;
  int64_t k = problem.k;
  std::vector<float> buffer(count * k * (problem.correction.empty() ? 1 : 2));
  const float *rows = problem.target(w, count, buffer.data());
  for (int64_t r = 0; r != count; ++r)
    for (int64_t j = 0; j != k; ++j)
      dst[r * k + problem.order[j]] = rows[r * k + j];
}

Expected<LutResult> LutSolver::solve(const float *w, int64_t n,
                                     const Progress &progress) const {
  if (!impl || n < 1)
    return solve(n, {}, {}, progress);
  int64_t k = impl->problem.k, entries = groups() * impl->problem.levels;
  int64_t tile = impl->problem.options.rows, kept = impl->problem.options.kept;
  LutResult result;
  result.codes.resize(n * k);
  result.tables.resize((n + tile - 1) / tile * entries);
  result.scales.resize(n);
  result.keptColumns.resize(n * kept);
  result.keptValues.resize(n * kept);
  result.rows.resize(n);
  Status status = solve(
      n,
      [&](int64_t first, int64_t count, float *dst) {
        std::copy(w + first * k, w + (first + count) * k, dst);
        return Status();
      },
      [&](const LutRows &rows) {
        int64_t first = rows.first, tables = (rows.count + tile - 1) / tile;
        std::copy_n(rows.codes, rows.count * k,
                    result.codes.begin() + first * k);
        std::copy_n(rows.tables, tables * entries,
                    result.tables.begin() + first / tile * entries);
        std::copy_n(rows.scales, rows.count, result.scales.begin() + first);
        std::copy_n(rows.keptColumns, rows.count * kept,
                    result.keptColumns.begin() + first * kept);
        std::copy_n(rows.keptValues, rows.count * kept,
                    result.keptValues.begin() + first * kept);
        std::copy_n(rows.rows, rows.count, result.rows.begin() + first);
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

void ganq::quant::dequantizeLut(const LutResult &result,
                                const LutOptions &options, int64_t n, int64_t k,
                                float *dst) {
  int64_t group = options.group > 0 ? std::min(options.group, k) : k;
  int64_t groups = (k + group - 1) / group, levels = int64_t(1) << options.bits;
  for (int64_t row = 0; row != n; ++row) {
    const float *tables =
        result.tables.data() + row / options.rows * groups * levels;
    for (int64_t j = 0; j != k; ++j)
      dst[row * k + j] = result.scales[row] *
                         tables[j / group * levels + result.codes[row * k + j]];
    for (int64_t i = row * options.kept; i != (row + 1) * options.kept; ++i)
      dst[row * k + result.keptColumns[i]] = result.keptValues[i];
  }
}
