//===- GramProblem.h - A Gram matrix made ready for solvers ---------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Everything here is in processing order: position p holds input column
// order[p]. H is divided by its mean diagonal.
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_LIB_QUANTIZATION_GRAMPROBLEM_H
#define GANQ_LIB_QUANTIZATION_GRAMPROBLEM_H

#include "Aligned.h"
#include "Blas.h"
#include "ganq/Quantization/Gram.h"

namespace ganq::quant {

struct GramOptions {
  /// Columns that stay together; 0: all of them.
  int64_t group = 0;
  /// Visit columns of large H[j,j] first; otherwise from last to first.
  bool fallingCurvature = true;
  /// Added to H's diagonal, as a fraction of the diagonal's mean.
  double ridge = 0.01;
  /// Share of the correction by the cross moments; 0: none.
  double alpha = 0.5;
  /// Otherwise nothing is prepared but the groups and, in the caller's order,
  /// H: undamped, and empty for the identity.
  bool factorise = true;
  /// 0: one per core.
  unsigned threads = 0;
};

struct GramProblem {
  /// Columns of one group, contiguous in processing order.
  struct Group {
    int64_t begin = 0;
    int64_t end = 0;
    /// Index of the group in the caller's order.
    int64_t index = 0;
  };

  const Blas *blas = nullptr;
  Damping damping;
  int64_t k = 0;
  double alpha = 0;
  std::vector<int64_t> order;
  std::vector<Group> groups;
  /// Damped H [k x k], and what the damping added to its diagonal [k].
  AlignedFloats h;
  std::vector<float> added;
  /// Row p, u < p: M[u][p] / M[p][p] for H = M M^T with M upper triangular.
  AlignedFloats factor;
  /// M[p][p] squared: the curvature left once the later columns absorb what
  /// they can.
  std::vector<double> curvature;
  /// (C - H) (damped H)^-1 [k x k], or empty.
  std::vector<float> correction;

  static Expected<GramProblem> prepare(const GramOptions &options, int64_t k,
                                       const double *h, const double *c);

  /// Rows of w[count x k] (the caller's order) in processing order and aimed at
  /// the corrected target, in `buffer` [count x k], or twice that with a
  /// correction. Returns where in the buffer they are.
  float *target(const float *w, int64_t count, float *buffer) const;

private:
  void orderColumns(const GramOptions &options, const double *h);
  Status factorise(const double *h, const double *c);
};

/// Fails on the first value that is not finite; rows count from `first`.
Status checkWeights(const float *w, int64_t first, int64_t count, int64_t k);

} // namespace ganq::quant

#endif // GANQ_LIB_QUANTIZATION_GRAMPROBLEM_H
