//===- Product.h - Weights of products with rounded inputs ----------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Solves for W~ in y = round(x / s) (W~)^T, where each row of x / s is rounded
// to a few bits with a scale and a zero point of its own (ABQ-LLM, AAAI 2025),
// or not at all, and the input scales s either stay 1 or are searched. W~
// approximates W diag(s). docs/Schemes/Uniform.md has the maths.
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_QUANTIZATION_PRODUCT_H
#define GANQ_QUANTIZATION_PRODUCT_H

#include "ganq/Quantization/Grid.h"

namespace ganq::quant {

/// out[rows x k] = the values that x stands for after each row was rounded to
/// codes 0 .. 2^bits - 1, the range being widened to include 0.
void roundRows(const float *x, int64_t rows, int64_t k, int bits, float *out);

struct ProductOptions {
  /// Evenly spaced levels, as for the weight alone.
  GridOptions grid;
  /// 1..8; 0: inputs stay as they are.
  int activationBits = 0;
  /// Search for input scales: s = max|x|^a / max|w|^(1-a) (SmoothQuant, arXiv
  /// 2211.10438) with rounded inputs, s = mean|x|^a (AWQ, arXiv 2306.00978)
  /// without.
  bool smooth = false;
  /// Add a rank-one matrix to the weight before it is rounded, where that
  /// lowers a row's loss (the compensation of ABQ-LLM in closed form).
  bool compensate = false;
};

struct ProductResult {
  /// Of W diag(inputScale).
  GridResult weight;
  /// [k] fp16 values.
  std::vector<float> inputScale;
  /// The exponent a, or a negative number where all scales are 1.
  double exponent = -1;
  int64_t compensatedRows = 0;
  Damping damping;
};

/// Solves W[n x k]; `h` and `c` as in GridSolver::create, `sample` [sampleRows
/// x k] some rows of the layer's inputs, or null: then nothing is known of the
/// rounding of inputs, and all input scales are 1.
Expected<ProductResult> solveProduct(const ProductOptions &options,
                                     const float *w, int64_t n, int64_t k,
                                     const double *h, const double *c,
                                     const float *sample, int64_t sampleRows,
                                     const Progress &progress = {});

/// The square root of sum e_i H e_i^T / sum w_i H w_i^T with e = v - w over
/// [n x k] matrices; a null H is the identity.
Expected<double> relativeError(const float *w, const float *v, int64_t n,
                               int64_t k, const double *h);

} // namespace ganq::quant

#endif // GANQ_QUANTIZATION_PRODUCT_H
