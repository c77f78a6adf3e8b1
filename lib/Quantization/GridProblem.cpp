//===- GridProblem.cpp - What all rows of a layer share -------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "GridProblem.h"
#include <algorithm>
#include <cmath>
#include <numeric>

using namespace ganq::quant;

static Status checkOptions(const GridOptions &options) {
  auto expected = [](const std::string &what, const std::string &got) {
    return Status::error("expected " + what + ", but got " + got);
  };
  if (options.levels < 2 || options.levels > 256)
    return expected("2 to 256 levels", std::to_string(options.levels));
  if (!options.fixed.empty()) {
    if (options.fixed.size() < 2 || options.fixed.size() > 256)
      return expected("2 to 256 levels", std::to_string(options.fixed.size()));
    std::vector<float> sorted = options.fixed;
    std::sort(sorted.begin(), sorted.end());
    for (size_t i = 0; i != sorted.size(); ++i)
      if (!std::isfinite(sorted[i]) || (i && sorted[i] == sorted[i - 1]))
        return expected("finite levels that differ", std::to_string(sorted[i]));
    if (sorted.back() <= 0 && sorted.front() >= 0)
      return expected("a level other than 0", "none");
    if (options.low || options.high)
      return expected("ranges only with evenly spaced levels", "fixed levels");
  } else if (options.method == GridMethod::Paper) {
    return expected("fixed levels for the paper's refinement of scales",
                    "evenly spaced ones");
  }
  if (!options.low != !options.high)
    return expected("both ends of the ranges", "one");
  if (options.low && (options.method == GridMethod::Improved ||
                      options.method == GridMethod::Paper))
    return expected("given ranges only with rtn or gptq", "another method");
  if (options.group < 0)
    return expected("a group size of at least 0",
                    std::to_string(options.group));
  if (options.iterations < 1)
    return expected("at least one iteration",
                    std::to_string(options.iterations));
  if (options.descentRounds < 0 || options.descentSweeps < 0)
    return expected(
        "a number of descent rounds and sweeps of at least 0",
        std::to_string(std::min(options.descentRounds, options.descentSweeps)));
  if (options.steps < 0 || !(options.rate > 0 && options.rate < 1) ||
      !(options.decay >= 0) || !std::isfinite(options.decay))
    return expected("steps and a decay of at least 0 and a rate between 0 and "
                    "1",
                    std::to_string(options.steps) + " steps, decay " +
                        std::to_string(options.decay) + ", rate " +
                        std::to_string(options.rate));
  return {};
}

Expected<GridProblem> GridProblem::prepare(const GridOptions &options,
                                           int64_t k, const double *h,
                                           const double *c) {
  if (Status status = checkOptions(options); !status.ok())
    return status;
  GramOptions gram;
  gram.ridge = options.ridge;
  gram.alpha = options.method == GridMethod::Rtn ? 0 : options.alpha;
  gram.threads = options.threads;
  gram.factorise = h && options.method != GridMethod::Rtn;
  Expected<GramProblem> shared = GramProblem::prepare(gram, k, h, c);
  if (!shared.ok())
    return shared.status();
  GridProblem problem;
  problem.gram = std::move(*shared);
  problem.options = options;
  problem.k = k;
  problem.group = options.group ? std::min(options.group, k) : k;
  problem.groups = (k + problem.group - 1) / problem.group;
  problem.added.resize(k);
  problem.diagonal.resize(k, 1);
  problem.inverseDiagonal.resize(k, 1);
  if (gram.factorise)
    problem.h.resize(k * k);
  else
    std::swap(problem.h, problem.gram.h);
  const std::vector<int64_t> &order = problem.gram.order;
  for (int64_t i = 0; gram.factorise && i != k; ++i) {
    for (int64_t j = 0; j != k; ++j)
      problem.h[order[i] * k + order[j]] = problem.gram.h[i * k + j];
    problem.added[order[i]] = problem.gram.added[i];
    problem.diagonal[order[i]] = problem.gram.h[i * k + i];
    problem.inverseDiagonal[order[i]] = 1 / problem.gram.h[i * k + i];
  }
  problem.gram.h = {};
  problem.setLevels();
  return Expected<GridProblem>(std::move(problem));
}

void GridProblem::setLevels() {
  bool half = options.scaleType == ScaleType::Half;
  float greatest = 1;
  size_t n = options.fixed.size();
  levelCodes.resize(n);
  std::iota(levelCodes.begin(), levelCodes.end(), 0);
  std::sort(levelCodes.begin(), levelCodes.end(), [&](uint8_t a, uint8_t b) {
    return options.fixed[a] < options.fixed[b];
  });
  for (uint8_t code : levelCodes) {
    levels.push_back(options.fixed[code]);
    greatest = std::max(greatest, std::fabs(levels.back()));
  }
  for (size_t i = 0; i + 1 < n; ++i) {
    float a = levels[i], b = levels[i + 1];
    float border = 0.5f * (a + b);
    if (options.roundLogarithms && a * b > 0)
      border = std::copysign(std::sqrt(a * b), a);
    borders.push_back(border);
  }
  float normal = half ? 6.103515625e-05f : 1.17549435e-38f;
  float subnormal = half ? 5.9604645e-08f : 1.17549435e-38f;
  leastScale = even() ? subnormal : normal;
  mostScale = half                                     ? 65504.0f
              : options.scaleType == ScaleType::BFloat ? 3.38953139e38f
                                                       : 3.40282347e38f;
  if (!even())
    mostScale /= std::exp2(std::ceil(std::log2(greatest)));
}
