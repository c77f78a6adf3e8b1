//===- LutProblem.cpp - What all rows of a layer share --------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "LutProblem.h"
#include "Kernels.h"
#include <algorithm>

using namespace ganq::quant;

static Status checkOptions(const LutOptions &options, int64_t k) {
  auto atLeast = [](const char *what, double least, double got) {
    return Status::error(std::string("expected ") + what + " of at least " +
                         std::to_string(static_cast<int64_t>(least)) +
                         ", but got " + std::to_string(got));
  };
  if (options.bits < 1 || options.bits > 8)
    return Status::error("expected 1 to 8 bits, but got " +
                         std::to_string(options.bits));
  if (options.rows < 1 || options.rows > 1024)
    return Status::error("expected tables shared by 1 to 1024 rows, but got " +
                         std::to_string(options.rows));
  if (options.kept < 0 || options.kept > k)
    return Status::error("expected 0 to " + std::to_string(k) +
                         " kept values per row, but got " +
                         std::to_string(options.kept));
  if (options.kept && options.bits > 7)
    return Status::error("expected at most 7 bits along with kept values, but "
                         "got " +
                         std::to_string(options.bits) +
                         "; 8 bits need no outliers");
  if (options.iterations < 1)
    return atLeast("a number of iterations", 1, options.iterations);
  if (options.descentRounds < 0 || options.descentSweeps < 0)
    return atLeast("a number of descent rounds and sweeps", 0,
                   std::min(options.descentRounds, options.descentSweeps));
  return {};
}

Expected<LutProblem> LutProblem::prepare(const LutOptions &options, int64_t k,
                                         const double *h, const double *c) {
  if (Status status = checkOptions(options, k); !status.ok())
    return status;
  GramOptions gram;
  gram.group = options.group;
  gram.fallingCurvature = options.method == LutMethod::Improved;
  gram.ridge = options.ridge;
  gram.alpha = options.alpha;
  gram.threads = options.threads;
  if (options.method == LutMethod::KMeans) {
    gram.alpha = 0;
    gram.factorise = false;
  }
  Expected<GramProblem> shared = GramProblem::prepare(gram, k, h, c);
  if (!shared.ok())
    return shared.status();
  LutProblem problem;
  static_cast<GramProblem &>(problem) = std::move(*shared);
  problem.options = options;
  problem.levels = 1 << options.bits;
  if (options.method != LutMethod::KMeans)
    problem.packTiles();
  return problem;
}

LutOutput::LutOutput(const LutProblem &problem, int64_t capacity)
    : codes(capacity * problem.k),
      tables((capacity + problem.options.rows - 1) / problem.options.rows *
             static_cast<int64_t>(problem.groups.size()) * problem.levels),
      scales(capacity), keptColumns(capacity * problem.options.kept),
      keptValues(capacity * problem.options.kept), reports(capacity) {}

void LutProblem::packTiles() {
  int64_t total = 0;
  for (const Group &group : groups) {
    tileStart.push_back(total);
    for (int64_t u = group.begin; u < group.end; u += tileWidth)
      total += (group.end - u) * tileWidth;
  }
  tiles.resize(total);
  float *out = tiles.data();
  for (const Group &group : groups)
    for (int64_t u = group.begin; u < group.end; u += tileWidth)
      for (int64_t j = u; j != group.end; ++j, out += tileWidth)
        for (int64_t q = u; q != std::min(u + tileWidth, j + 1); ++q)
          out[q - u] = h[j * k + q] * (q == j ? 0.5f : 1.0f);
}
