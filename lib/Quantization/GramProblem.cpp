//===- GramProblem.cpp - A Gram matrix made ready for solvers -------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "GramProblem.h"
#include <algorithm>
#include <cmath>
#include <numeric>

using namespace ganq::quant;

static Status checkOptions(const GramOptions &options, int64_t k) {
  auto atLeast = [](const char *what, double got) {
    return Status::error(std::string("expected ") + what +
                         " of at least 0, but got " + std::to_string(got));
  };
  if (k < 1)
    return Status::error("expected at least one column, but got " +
                         std::to_string(k));
  if (k > INT32_MAX / 2)
    return Status::error("expected fewer than 2^30 columns, but got " +
                         std::to_string(k));
  if (options.group < 0)
    return atLeast("a group size", static_cast<double>(options.group));
  if (!(options.ridge >= 0) || !std::isfinite(options.ridge))
    return atLeast("a ridge", options.ridge);
  if (!(options.alpha >= 0 && options.alpha <= 1))
    return Status::error("expected alpha from 0 to 1, but got " +
                         std::to_string(options.alpha));
  return {};
}

static Status checkMatrix(const double *m, int64_t k, const char *name) {
  for (int64_t i = 0; i != k * k; ++i)
    if (!std::isfinite(m[i]))
      return Status::error(std::string("expected a finite matrix ") + name +
                           ", but got " + std::to_string(m[i]) + " at (" +
                           std::to_string(i / k) + ", " +
                           std::to_string(i % k) + ")");
  return {};
}

Expected<GramProblem> GramProblem::prepare(const GramOptions &options,
                                           int64_t k, const double *h,
                                           const double *c) {
  if (Status status = checkOptions(options, k); !status.ok())
    return status;
  if (c && !h)
    return Status::error("expected the Gram matrix along with the cross Gram "
                         "matrix, but got only the latter");
  if (h)
    if (Status status = checkMatrix(h, k, "H"); !status.ok())
      return status;
  if (c)
    if (Status status = checkMatrix(c, k, "C"); !status.ok())
      return status;
  Expected<const Blas *> library = quant::blas();
  if (!library.ok())
    return library.status();

  GramProblem problem;
  problem.blas = *library;
  problem.k = k;
  problem.alpha = options.alpha;
  // Small factorisations lose more by waiting for threads than they gain.
  constexpr int64_t leastParallel = 512;
  BlasThreads threads(*problem.blas,
                      k < leastParallel
                          ? 1
                          : static_cast<int>(resolveThreads(options.threads)));
  std::vector<double> unit;
  for (int64_t j = 0; h && j != k; ++j) {
    double diagonal = h[j * k + j];
    if (diagonal < 0)
      return Status::error("expected a Gram matrix with a diagonal of at least "
                           "0, but got " +
                           std::to_string(diagonal) + " at " +
                           std::to_string(j));
    problem.damping.meanDiagonal += diagonal / static_cast<double>(k);
    problem.damping.deadColumns += diagonal == 0;
  }
  if (!options.factorise) {
    problem.orderColumns(options, nullptr);
    problem.damping.identity = !(problem.damping.meanDiagonal > 0);
    if (problem.damping.identity)
      problem.damping.meanDiagonal = 1;
    else
      for (int64_t i = 0; i != k * k; ++i)
        problem.h.push_back(
            static_cast<float>(h[i] / problem.damping.meanDiagonal));
    return problem;
  }
  if (!(problem.damping.meanDiagonal > 0)) {
    // Nothing is known of the inputs: all columns count alike.
    unit.resize(k * k);
    for (int64_t j = 0; j != k; ++j)
      unit[j * k + j] = 1;
    h = unit.data();
    c = nullptr;
    problem.damping.identity = true;
    problem.damping.meanDiagonal = 1;
  }
  if (options.alpha == 0)
    c = nullptr;
  problem.damping.ridge = problem.damping.identity
                              ? 0
                              : options.ridge * problem.damping.meanDiagonal;
  problem.orderColumns(options, h);
  if (Status status = problem.factorise(h, c); !status.ok())
    return status;
  return problem;
}

void GramProblem::orderColumns(const GramOptions &options, const double *h) {
  int64_t size = options.group ? std::min(options.group, k) : k;
  int64_t groupCount = (k + size - 1) / size;
  std::vector<int64_t> groupOrder(groupCount);
  std::iota(groupOrder.begin(), groupOrder.end(), 0);
  order.resize(k);
  std::iota(order.begin(), order.end(), 0);
  if (h && options.fallingCurvature) {
    // Columns of a group stay together; those of most curvature come first.
    std::vector<double> most(groupCount);
    for (int64_t j = 0; j != k; ++j)
      most[j / size] = std::max(most[j / size], h[j * k + j]);
    std::sort(groupOrder.begin(), groupOrder.end(), [&](int64_t a, int64_t b) {
      return most[a] != most[b] ? most[a] > most[b] : a < b;
    });
    std::vector<int64_t> rank(groupCount);
    for (int64_t g = 0; g != groupCount; ++g)
      rank[groupOrder[g]] = g;
    std::sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
      if (a / size != b / size)
        return rank[a / size] < rank[b / size];
      double left = h[a * k + a], right = h[b * k + b];
      return left != right ? left > right : a < b;
    });
  } else if (h) {
    std::reverse(order.begin(), order.end());
    std::reverse(groupOrder.begin(), groupOrder.end());
  }
  int64_t begin = 0;
  for (int64_t index : groupOrder) {
    int64_t end = begin + std::min(size, k - index * size);
    groups.push_back({begin, end, index});
    begin = end;
  }
}

Status GramProblem::factorise(const double *h, const double *c) {
  // With the positions reversed, M of H = M M^T is LAPACK's lower factor. A
  // lower triangle by rows is an upper triangle by columns.
  double scale = 1 / damping.meanDiagonal;
  std::vector<double> added64(k, damping.ridge * scale), matrix(k * k);
  auto at = [&](const double *m, int64_t p, int64_t q) {
    return m[order[p] * k + order[q]];
  };
  auto fill = [&] {
    for (int64_t p = 0; p != k; ++p) {
      double *row = matrix.data() + (k - 1 - p) * k;
      for (int64_t q = 0; q != k; ++q)
        row[k - 1 - q] = (at(h, p, q) + at(h, q, p)) * (0.5 * scale);
      row[k - 1 - p] += added64[p];
    }
  };
  int size = static_cast<int>(k), info = 0;
  double norm = 0;
  auto factoriseOnce = [&] {
    fill();
    norm = 0;
    for (int64_t i = 0; i != k; ++i) {
      double sum = 0;
      for (int64_t j = 0; j != k; ++j)
        sum += std::fabs(matrix[i * k + j]);
      norm = std::max(norm, sum);
    }
    this->h.resize(k * k);
    for (int64_t p = 0; p != k; ++p)
      for (int64_t q = 0; q != k; ++q)
        this->h[p * k + q] =
            static_cast<float>(matrix[(k - 1 - p) * k + (k - 1 - q)]);
    blas->dpotrf("U", &size, matrix.data(), &size, &info);
  };
  factoriseOnce();
  if (info != 0) {
    damping.diagonalDominance = true;
    for (int64_t p = 0; p != k; ++p) {
      double sum = 0;
      for (int64_t q = 0; q != k; ++q)
        sum += std::fabs(at(h, p, q) + at(h, q, p)) * (0.5 * scale);
      added64[p] += std::max(sum - 2 * at(h, p, p) * scale, 0.0) + 1e-6;
    }
    factoriseOnce();
  }
  if (info != 0)
    return Status::error("expected a positive definite Gram matrix after "
                         "damping, but got a failure of its Cholesky "
                         "factorisation at pivot " +
                         std::to_string(info) +
                         "; raise the ridge or check the calibration data");
  added.assign(added64.begin(), added64.end());
  factor.resize(k * k);
  curvature.resize(k);
  for (int64_t p = 0; p != k; ++p) {
    // M[u][p] = L[k-1-u][k-1-p].
    double pivot = matrix[(k - 1 - p) * k + (k - 1 - p)];
    curvature[p] = pivot * pivot;
    for (int64_t u = 0; u < p; ++u)
      factor[p * k + u] =
          static_cast<float>(matrix[(k - 1 - u) * k + (k - 1 - p)] / pivot);
  }
  if (!damping.identity) {
    double reciprocal = 0;
    std::vector<double> work(3 * k);
    std::vector<int> iwork(k);
    blas->dpocon("U", &size, matrix.data(), &size, &norm, &reciprocal,
                 work.data(), iwork.data(), &info);
    damping.condition = 1 / reciprocal;
  }
  if (!c)
    return {};
  std::vector<double> rhs(k * k);
  for (int64_t p = 0; p != k; ++p)
    for (int64_t q = 0; q != k; ++q)
      rhs[(k - 1 - p) * k + (k - 1 - q)] =
          (at(c, p, q) - (at(h, p, q) + at(h, q, p)) * 0.5) * scale;
  // Rows of the right-hand side are LAPACK's columns: X H = C - H.
  blas->dpotrs("U", &size, &size, matrix.data(), &size, rhs.data(), &size,
               &info);
  correction.resize(k * k);
  for (int64_t p = 0; p != k; ++p)
    for (int64_t q = 0; q != k; ++q)
      correction[p * k + q] =
          static_cast<float>(rhs[(k - 1 - p) * k + (k - 1 - q)]);
  return {};
}

float *GramProblem::target(const float *w, int64_t count, float *buffer) const {
  for (int64_t r = 0; r != count; ++r)
    for (int64_t j = 0; j != k; ++j)
      buffer[r * k + j] = w[r * k + order[j]];
  if (correction.empty())
    return buffer;
  float *corrected = buffer + count * k;
  std::copy(buffer, buffer + count * k, corrected);
  blas->gemm(false, false, count, k, k, static_cast<float>(alpha), buffer, k,
             correction.data(), k, 1, corrected, k);
  return corrected;
}

Status ganq::quant::checkWeights(const float *w, int64_t first, int64_t count,
                                 int64_t k) {
  for (int64_t i = 0; i != count * k; ++i)
    if (!std::isfinite(w[i]))
      return Status::error("expected finite weights, but got " +
                           std::to_string(w[i]) + " in row " +
                           std::to_string(first + i / k) + ", column " +
                           std::to_string(i % k));
  return {};
}
