//===- Product.cpp - Weights of products with rounded inputs --------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/Quantization/Product.h"
#include "GramProblem.h"
#include "Half.h"
#include <algorithm>
#include <cmath>
#include <limits>

using namespace ganq::quant;

/// Rows of the weight and of the sample that candidates are judged by.
static constexpr int64_t judgedRows = 128, judgedSamples = 1024;

void ganq::quant::roundRows(const float *x, int64_t rows, int64_t k, int bits,
                            float *out) {
  auto top = static_cast<float>((1 << bits) - 1);
  for (int64_t row = 0; row != rows; ++row, x += k, out += k) {
    auto [low, high] = std::minmax_element(x, x + k);
    float least = std::min(*low, 0.0f), greatest = std::max(*high, 0.0f);
    // As ganq.quantize_rows, operation by operation.
    float scale = greatest / top - least / top;
    if (!(scale >= std::numeric_limits<float>::min())) {
      std::fill(out, out + k, 0.0f);
      continue;
    }
    float inverse = 1 / scale;
    float zero = std::clamp(std::nearbyint(-least * inverse), 0.0f, top);
    for (int64_t j = 0; j != k; ++j) {
      float code = std::nearbyint(x[j] * inverse) + zero;
      out[j] = scale * (std::clamp(code, 0.0f, top) - zero);
    }
  }
}

namespace {

/// One layer and what is known of its inputs.
struct Layer {
  const ProductOptions &options;
  const Blas &blas;
  int64_t n, k;
  const float *w;
  std::vector<double> h, c;
  const float *sample;
  int64_t sampleRows;

  std::vector<float> columnScales(double exponent) const;
  std::vector<float> divideSample(const std::vector<float> &scale,
                                  int64_t step) const;
  std::vector<double> scaleMoments(const std::vector<double> &m,
                                   const std::vector<float> &scale) const;
  std::vector<double> roundingNoise(const std::vector<float> &scale) const;
  Expected<std::vector<float>> target(const std::vector<float> &w, int64_t rows,
                                      const std::vector<double> &h,
                                      const std::vector<double> &c,
                                      double alpha) const;
  Expected<double> judge(const std::vector<float> &scale,
                         const std::vector<float> &target, int64_t rows) const;
  Expected<double> chooseScales(std::vector<float> &scale) const;
  std::vector<double> rowLosses(const std::vector<float> &v,
                                const std::vector<float> &w,
                                const std::vector<float> &h) const;
  Status compensate(const GridSolver &solver, const std::vector<double> &h,
                    const std::vector<float> &target,
                    ProductResult &result) const;
};

} // namespace

/// Rows 0, step, 2 step, .. of the sample over the scales.
std::vector<float> Layer::divideSample(const std::vector<float> &scale,
                                       int64_t step) const {
  std::vector<float> x;
  for (int64_t row = 0; row < sampleRows; row += step)
    for (int64_t j = 0; j != k; ++j)
      x.push_back(sample[row * k + j] / scale[j]);
  return x;
}

std::vector<double> Layer::scaleMoments(const std::vector<double> &m,
                                        const std::vector<float> &scale) const {
  std::vector<double> scaled(m);
  for (int64_t i = 0; i != k; ++i)
    for (int64_t j = 0; !m.empty() && j != k; ++j)
      scaled[i * k + j] /= static_cast<double>(scale[i]) * scale[j];
  return scaled;
}

/// Mean squared error of each input by its rounding [k].
std::vector<double>
Layer::roundingNoise(const std::vector<float> &scale) const {
  std::vector<double> noise(k);
  if (!options.activationBits || !sampleRows)
    return noise;
  std::vector<float> x = divideSample(scale, 1), rounded(x.size());
  roundRows(x.data(), sampleRows, k, options.activationBits, rounded.data());
  for (int64_t i = 0; i != sampleRows * k; ++i) {
    double error = rounded[i] - x[i];
    noise[i % k] += error * error / static_cast<double>(sampleRows);
  }
  return noise;
}

/// Candidates' scales for one exponent, their geometric mean being 1.
std::vector<float> Layer::columnScales(double exponent) const {
  std::vector<double> inputs(k), weights(k), logarithms(k);
  bool rounded = options.activationBits != 0;
  for (int64_t row = 0; row != sampleRows; ++row)
    for (int64_t j = 0; j != k; ++j) {
      double size = std::fabs(sample[row * k + j]);
      inputs[j] = rounded ? std::max(inputs[j], size) : inputs[j] + size;
    }
  for (int64_t row = 0; row != n; ++row)
    for (int64_t j = 0; j != k; ++j)
      weights[j] = std::max<double>(weights[j], std::fabs(w[row * k + j]));
  double mean = 0;
  constexpr double least = 1e-5;
  for (int64_t j = 0; j != k; ++j) {
    logarithms[j] = exponent * std::log(std::max(inputs[j], least));
    if (rounded)
      logarithms[j] -= (1 - exponent) * std::log(std::max(weights[j], least));
    mean += logarithms[j] / static_cast<double>(k);
  }
  std::vector<float> scale(k);
  for (int64_t j = 0; j != k; ++j)
    scale[j] = roundToHalf(static_cast<float>(
        std::clamp(std::exp(logarithms[j] - mean), 1e-2, 1e4)));
  return scale;
}

/// The corrected target of `rows` rows.
Expected<std::vector<float>> Layer::target(const std::vector<float> &w,
                                           int64_t rows,
                                           const std::vector<double> &h,
                                           const std::vector<double> &c,
                                           double alpha) const {
  if (c.empty() || alpha == 0)
    return w;
  GramOptions gram;
  gram.ridge = options.grid.ridge;
  gram.alpha = alpha;
  gram.threads = options.grid.threads;
  Expected<GramProblem> problem =
      GramProblem::prepare(gram, k, h.data(), c.data());
  if (!problem.ok())
    return problem.status();
  std::vector<float> buffer(2 * rows * k), result(rows * k);
  const float *ordered = problem->target(w.data(), rows, buffer.data());
  for (int64_t row = 0; row != rows; ++row)
    for (int64_t j = 0; j != k; ++j)
      result[row * k + problem->order[j]] = ordered[row * k + j];
  return result;
}

/// Squared error of the product on the sample for input scales, with weights
/// rounded in a quick way. `target` are rows of the unscaled problem.
Expected<double> Layer::judge(const std::vector<float> &scale,
                              const std::vector<float> &target,
                              int64_t rows) const {
  GridOptions grid = options.grid;
  if (grid.method != GridMethod::Rtn) {
    grid.method = GridMethod::Gptq;
    grid.searchScales = true;
  }
  grid.alpha = 0;
  std::vector<double> moments = scaleMoments(h, scale);
  std::vector<double> noise = roundingNoise(scale);
  for (int64_t j = 0; !moments.empty() && j != k; ++j)
    moments[j * k + j] += noise[j];
  Expected<GridSolver> solver =
      GridSolver::create(grid, k, moments.empty() ? nullptr : moments.data());
  if (!solver.ok())
    return solver.status();
  std::vector<float> scaled(target), decoded(rows * k);
  for (int64_t i = 0; i != rows * k; ++i)
    scaled[i] *= scale[i % k];
  Expected<GridResult> result = solver->solve(scaled.data(), rows);
  if (!result.ok())
    return result.status();
  dequantizeGrid(*result, {}, rows, k, grid.group, decoded.data());

  int64_t step = std::max<int64_t>(1, sampleRows / judgedSamples);
  std::vector<float> x = divideSample(std::vector<float>(k, 1), step);
  std::vector<float> divided = divideSample(scale, step);
  auto count = static_cast<int64_t>(x.size()) / k;
  if (options.activationBits)
    roundRows(divided.data(), count, k, options.activationBits, divided.data());
  std::vector<float> y(count * rows);
  blas.gemm(false, true, count, rows, k, 1, x.data(), k, target.data(), k, 0,
            y.data(), rows);
  blas.gemm(false, true, count, rows, k, -1, divided.data(), k, decoded.data(),
            k, 1, y.data(), rows);
  double error = 0;
  for (float value : y)
    error += static_cast<double>(value) * value;
  return error;
}

/// Finds the input scales of least error, and returns their exponent.
Expected<double> Layer::chooseScales(std::vector<float> &scale) const {
  int64_t rows = std::min(n, judgedRows);
  std::vector<float> some(rows * k);
  for (int64_t row = 0; row != rows; ++row)
    std::copy_n(w + row * n / rows * k, k, some.begin() + row * k);
  Expected<std::vector<float>> aim =
      target(some, rows, h, c, options.grid.alpha);
  if (!aim.ok())
    return aim.status();
  Expected<double> least = judge(scale, *aim, rows);
  double chosen = -1;
  static constexpr double smoothing[] = {0.35, 0.45, 0.5, 0.55,
                                         0.65, 0.75, 0.85};
  static constexpr double salience[] = {0.1, 0.2, 0.3, 0.4, 0.5,
                                        0.6, 0.7, 0.8, 0.9, 1};
  bool rounded = options.activationBits != 0;
  const double *exponents = rounded ? smoothing : salience;
  size_t candidates = rounded ? std::size(smoothing) : std::size(salience);
  for (size_t i = 0; least.ok() && i != candidates; ++i) {
    std::vector<float> candidate = columnScales(exponents[i]);
    Expected<double> error = judge(candidate, *aim, rows);
    if (!error.ok())
      return error.status();
    if (*error < *least) {
      *least = *error;
      chosen = exponents[i];
      scale = candidate;
    }
  }
  if (!least.ok())
    return least.status();
  return chosen;
}

/// (v - w) H (v - w)^T of each row; an empty H is the identity.
std::vector<double> Layer::rowLosses(const std::vector<float> &v,
                                     const std::vector<float> &w,
                                     const std::vector<float> &h) const {
  std::vector<float> error(v), gradient;
  for (size_t i = 0; i != error.size(); ++i)
    error[i] -= w[i];
  if (h.empty()) {
    gradient = error;
  } else {
    gradient.resize(error.size());
    blas.gemm(false, false, n, k, k, 1, error.data(), k, h.data(), k, 0,
              gradient.data(), k);
  }
  std::vector<double> losses(n);
  for (int64_t i = 0; i != n * k; ++i)
    losses[i / k] += static_cast<double>(error[i]) * gradient[i];
  return losses;
}

/// The rank-one change of the target that would cancel most of the error is
/// minus its part along the leading left singular vector of E H^(1/2). Solves
/// for the changed target and takes the rows that gain.
Status Layer::compensate(const GridSolver &solver,
                         const std::vector<double> &moments,
                         const std::vector<float> &target,
                         ProductResult &result) const {
  constexpr int iterations = 20;
  std::vector<float> hf(moments.begin(), moments.end()), v(n * k);
  dequantizeGrid(result.weight, {}, n, k, options.grid.group, v.data());
  std::vector<float> error(v);
  for (int64_t i = 0; i != n * k; ++i)
    error[i] -= target[i];
  std::vector<float> left(n, 1), right(k), image(k);
  for (int iteration = 0; iteration != iterations; ++iteration) {
    double size = 0;
    for (float value : left)
      size += static_cast<double>(value) * value;
    if (!(size > 0) || !std::isfinite(size))
      return {};
    for (float &value : left)
      value = static_cast<float>(value / std::sqrt(size));
    blas.gemm(false, false, 1, k, n, 1, left.data(), n, error.data(), k, 0,
              right.data(), k);
    if (iteration + 1 == iterations)
      break;
    if (hf.empty())
      image = right;
    else
      blas.gemm(false, false, 1, k, k, 1, right.data(), k, hf.data(), k, 0,
                image.data(), k);
    blas.gemm(false, true, 1, n, k, 1, image.data(), k, error.data(), k, 0,
              left.data(), n);
  }
  std::vector<float> changed(target);
  for (int64_t i = 0; i != n * k; ++i)
    changed[i] -= left[i / k] * right[i % k];
  Expected<GridResult> other = solver.solve(changed.data(), n);
  if (!other.ok())
    return other.status();
  std::vector<float> otherV(n * k);
  dequantizeGrid(*other, {}, n, k, options.grid.group, otherV.data());
  std::vector<double> before = rowLosses(v, target, hf);
  std::vector<double> after = rowLosses(otherV, target, hf);
  GridResult &kept = result.weight;
  for (int64_t row = 0; row != n; ++row) {
    if (!(after[row] < before[row]))
      continue;
    ++result.compensatedRows;
    std::copy_n(other->codes.begin() + row * k, k,
                kept.codes.begin() + row * k);
    std::copy_n(other->scales.begin() + row * kept.groups, kept.groups,
                kept.scales.begin() + row * kept.groups);
    std::copy_n(other->zeros.begin() + row * kept.groups, kept.groups,
                kept.zeros.begin() + row * kept.groups);
    kept.rows[row].outputError *= after[row] / before[row];
    kept.rows[row].loss *= after[row] / before[row];
  }
  return {};
}

Expected<ProductResult>
ganq::quant::solveProduct(const ProductOptions &options, const float *w,
                          int64_t n, int64_t k, const double *h,
                          const double *c, const float *sample,
                          int64_t sampleRows, const Progress &progress) {
  if (options.activationBits < 0 || options.activationBits > 8)
    return Status::error("expected 0 to 8 bits of activations, but got " +
                         std::to_string(options.activationBits));
  if (!options.grid.fixed.empty())
    return Status::error("expected evenly spaced levels for a product with "
                         "rounded or rescaled inputs, but got fixed ones");
  if (n < 1 || k < 1)
    return Status::error("expected at least one row and one column, but got " +
                         std::to_string(n) + " x " + std::to_string(k));
  if (!sample)
    sampleRows = 0;
  for (int64_t i = 0; i != sampleRows * k; ++i)
    if (!std::isfinite(sample[i]))
      return Status::error("expected finite activations, but got " +
                           std::to_string(sample[i]) + " in row " +
                           std::to_string(i / k) + ", column " +
                           std::to_string(i % k));
  Expected<const Blas *> library = blas();
  if (!library.ok())
    return library.status();
  if (Status status = checkWeights(w, 0, n, k); !status.ok())
    return status;
  Layer layer{options, **library, n, k, w, {}, {}, sample, sampleRows};
  if (h)
    layer.h.assign(h, h + k * k);
  if (h && c && options.grid.method != GridMethod::Rtn)
    layer.c.assign(c, c + k * k);

  BlasThreads threads(**library,
                      static_cast<int>(resolveThreads(options.grid.threads)));
  ProductResult result;
  result.inputScale.assign(k, 1);
  if (options.smooth && sampleRows) {
    Expected<double> exponent = layer.chooseScales(result.inputScale);
    if (!exponent.ok())
      return exponent.status();
    result.exponent = *exponent;
  }
  const std::vector<float> &scale = result.inputScale;
  std::vector<float> scaled(w, w + n * k);
  for (int64_t i = 0; i != n * k; ++i)
    scaled[i] *= scale[i % k];
  std::vector<double> moments = layer.scaleMoments(layer.h, scale);
  std::vector<double> cross = layer.scaleMoments(layer.c, scale);
  layer.h = {};
  layer.c = {};
  Expected<std::vector<float>> target =
      layer.target(scaled, n, moments, cross, options.grid.alpha);
  if (!target.ok())
    return target.status();
  cross = {};
  // The rounding errors of inputs are noise that is hardly correlated with
  // them: X~^T X~ = H + noise. It counts in the choice of codes alone: weights
  // that are best for rounded inputs, W H (H + noise)^-1, are smaller ones, and
  // make the model worse.
  if (!moments.empty() && options.grid.method != GridMethod::Rtn) {
    std::vector<double> noise = layer.roundingNoise(scale);
    for (int64_t j = 0; j != k; ++j)
      moments[j * k + j] += noise[j];
  }

  Expected<GridSolver> solver = GridSolver::create(
      options.grid, k, moments.empty() ? nullptr : moments.data());
  if (!solver.ok())
    return solver.status();
  result.damping = solver->damping();
  Expected<GridResult> solved = solver->solve(target->data(), n, progress);
  if (!solved.ok())
    return solved.status();
  result.weight = std::move(*solved);
  if (options.compensate)
    if (Status status = layer.compensate(*solver, moments, *target, result);
        !status.ok())
      return status;
  return Expected<ProductResult>(std::move(result));
}

Expected<double> ganq::quant::relativeError(const float *w, const float *v,
                                            int64_t n, int64_t k,
                                            const double *h) {
  Expected<const Blas *> library = blas();
  if (!library.ok())
    return library.status();
  std::vector<float> hf;
  if (h)
    hf.assign(h, h + k * k);
  constexpr int64_t block = 256;
  std::vector<float> rows(block * k), image(block * k);
  double sums[2] = {0, 0};
  for (int64_t first = 0; first < n; first += block)
    for (int energy = 0; energy != 2; ++energy) {
      int64_t count = std::min(block, n - first);
      for (int64_t i = 0; i != count * k; ++i)
        rows[i] = w[first * k + i] - (energy ? 0 : v[first * k + i]);
      if (h)
        (*library)->gemm(false, false, count, k, k, 1, rows.data(), k,
                         hf.data(), k, 0, image.data(), k);
      else
        image = rows;
      for (int64_t i = 0; i != count * k; ++i)
        sums[energy] += static_cast<double>(rows[i]) * image[i];
    }
  return relativeError(sums[0], sums[1]);
}
