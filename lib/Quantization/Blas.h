//===- Blas.h - The BLAS and LAPACK routines in use -----------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_LIB_QUANTIZATION_BLAS_H
#define GANQ_LIB_QUANTIZATION_BLAS_H

#include "ganq/Quantization/Status.h"
#include <cstdint>

namespace ganq::quant {

/// Row-major single precision C = alpha op(A) op(B) + beta C, and LAPACK's
/// double precision Cholesky routines (column-major, as LAPACK has them).
struct Blas {
  void (*cblasSgemm)(int order, int transA, int transB, int m, int n, int k,
                     float alpha, const float *a, int lda, const float *b,
                     int ldb, float beta, float *c, int ldc) = nullptr;
  void (*dpotrf)(const char *uplo, const int *n, double *a, const int *lda,
                 int *info) = nullptr;
  void (*dpotrs)(const char *uplo, const int *n, const int *nrhs,
                 const double *a, const int *lda, double *b, const int *ldb,
                 int *info) = nullptr;
  void (*dpocon)(const char *uplo, const int *n, const double *a,
                 const int *lda, const double *norm, double *rcond,
                 double *work, int *iwork, int *info) = nullptr;
  void (*setThreads)(int) = nullptr;
  int (*getThreads)() = nullptr;
  const char *(*coreName)() = nullptr;

  void gemm(bool transA, bool transB, int64_t m, int64_t n, int64_t k,
            float alpha, const float *a, int64_t lda, const float *b,
            int64_t ldb, float beta, float *c, int64_t ldc) const {
    constexpr int rowMajor = 101, no = 111, yes = 112;
    if (m == 0 || n == 0)
      return;
    cblasSgemm(rowMajor, transA ? yes : no, transB ? yes : no,
               static_cast<int>(m), static_cast<int>(n), static_cast<int>(k),
               alpha, a, static_cast<int>(lda), b, static_cast<int>(ldb), beta,
               c, static_cast<int>(ldc));
  }
};

/// OpenBLAS, loaded on the first call. It picks its kernels while it is being
/// loaded, and releases of 2022 take the slowest ones for CPUs newer than they
/// are; so it is loaded at run time, after OPENBLAS_CORETYPE has been set for a
/// CPU with AVX-512. A value set by the user stands.
Expected<const Blas *> blas();

/// Sets the threads of BLAS, which belong to the process, and restores them.
class BlasThreads {
public:
  BlasThreads(const Blas &blas, int threads)
      : blas(blas), before(blas.getThreads()) {
    blas.setThreads(threads);
  }
  ~BlasThreads() { blas.setThreads(before); }
  BlasThreads(const BlasThreads &) = delete;
  BlasThreads &operator=(const BlasThreads &) = delete;

private:
  const Blas &blas;
  int before;
};

/// Threads to use where 0 asks for one per core.
unsigned resolveThreads(unsigned threads);

} // namespace ganq::quant

#endif // GANQ_LIB_QUANTIZATION_BLAS_H
