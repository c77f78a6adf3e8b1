//===- Grid.cpp - Weights on scaled copies of one grid --------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/Quantization/Grid.h"
#include "GridProblem.h"
#include "RowBlocks.h"
#include <algorithm>

using namespace ganq::quant;

struct GridSolver::Impl {
  GridProblem problem;
};

GridSolver::GridSolver() = default;
GridSolver::GridSolver(GridSolver &&) = default;
GridSolver &GridSolver::operator=(GridSolver &&) = default;
GridSolver::~GridSolver() = default;

Expected<GridSolver> GridSolver::create(const GridOptions &options, int64_t k,
                                        const double *h, const double *c) {
  Expected<GridProblem> problem = GridProblem::prepare(options, k, h, c);
  if (!problem.ok())
    return problem.status();
  GridSolver solver;
  solver.impl = std::make_unique<Impl>();
  solver.impl->problem = std::move(*problem);
  return Expected<GridSolver>(std::move(solver));
}

int64_t GridSolver::groups() const { return impl ? impl->problem.groups : 0; }

const Damping &GridSolver::damping() const {
  static const Damping none;
  return impl ? impl->problem.gram.damping : none;
}

Status GridSolver::solve(int64_t n, const ReadRows &read,
                         const WriteRows &write,
                         const Progress &progress) const {
  if (!impl)
    return Status::error("expected a solver made by GridSolver::create, but "
                         "got an empty one");
  const GridProblem &problem = impl->problem;
  auto make = [&](int64_t capacity) {
    auto block = std::make_shared<GridBlock>(problem, capacity);
    return RowWorker{
        [block](const float *w, int64_t first, int64_t count) {
          return block->solve(w, first, count);
        },
        [block, &write](int64_t first, int64_t count) {
          return write({first, count, block->codes.data(), block->scales.data(),
                        block->zeros.empty() ? nullptr : block->zeros.data(),
                        block->reports.data(), block->raisedScales});
        }};
  };
  return solveInBlocks(n, problem.k, problem.options.threads, make, read,
                       progress);
}

Expected<GridResult> GridSolver::solve(const float *w, int64_t n,
                                       const Progress &progress) const {
  if (!impl || n < 1)
    return solve(n, {}, {}, progress);
  int64_t k = impl->problem.k;
  GridResult result;
  int64_t groups = result.groups = impl->problem.groups;
  result.codes.resize(n * k);
  result.scales.resize(n * groups);
  if (impl->problem.even())
    result.zeros.resize(n * groups);
  result.rows.resize(n);
  Status status = solve(
      n,
      [&](int64_t first, int64_t count, float *dst) {
        std::copy(w + first * k, w + (first + count) * k, dst);
        return Status();
      },
      [&](const GridRows &rows) {
        std::copy(rows.codes, rows.codes + rows.count * k,
                  result.codes.begin() + rows.first * k);
        std::copy(rows.scales, rows.scales + rows.count * groups,
                  result.scales.begin() + rows.first * groups);
        if (rows.zeros)
          std::copy(rows.zeros, rows.zeros + rows.count * groups,
                    result.zeros.begin() + rows.first * groups);
        std::copy(rows.rows, rows.rows + rows.count,
                  result.rows.begin() + rows.first);
        result.raisedScales += rows.raisedScales;
        return Status();
      },
      progress);
  if (!status.ok())
    return status;
  return Expected<GridResult>(std::move(result));
}

void ganq::quant::dequantizeGrid(const GridResult &result,
                                 const std::vector<float> &fixed, int64_t n,
                                 int64_t k, int64_t group, float *dst) {
  if (group <= 0 || group > k)
    group = k;
  for (int64_t row = 0; row != n; ++row)
    for (int64_t j = 0; j != k; ++j) {
      int64_t at = row * result.groups + j / group;
      uint8_t code = result.codes[row * k + j];
      float unit = fixed.empty() ? static_cast<float>(code) - result.zeros[at]
                                 : fixed[code];
      dst[row * k + j] = result.scales[at] * unit;
    }
}
