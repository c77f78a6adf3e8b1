//===- Solve.cpp - Rounds to evenly spaced levels and packs ---------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "../Pack.h"
#include "ganq/Quantization/Uniform.h"
#include "ganq/Schemes/SchemeSolver.h"
#include <cmath>

using namespace mlir;
using namespace ganq;

namespace {

struct UniformSolverModel
    : SchemeSolverInterface::ExternalModel<UniformSolverModel, UniformAttr> {
  SmallVector<StringRef> getSolvers(Attribute) const { return {"rtn"}; }

  llvm::Expected<QuantizedWeight> quantize(Attribute attr,
                                           const WeightProblem &problem,
                                           const SolverOptions &options) const {
    auto scheme = cast<UniformAttr>(attr);
    int64_t n = problem.n, k = problem.k;
    QuantizedWeight result;
    result.components = allocateComponents(scheme, n, k);
    CodeLayout layout(scheme.getBits(), n, k);
    ganq::quant::UniformOptions uniform;
    uniform.bits = static_cast<int>(scheme.getBits());
    uniform.group = scheme.getGroup();

    double error = 0, energy = 0;
    int64_t step = std::max<int64_t>(1, (int64_t(4) << 20) / k);
    std::vector<float> rows(std::min(step, n) * k), decoded(rows.size());
    for (int64_t first = 0; first < n; first += step) {
      int64_t count = std::min(step, n - first);
      if (llvm::Error failure = problem.readRows(first, count, rows.data()))
        return std::move(failure);
      auto rounded =
          ganq::quant::roundToNearest(uniform, rows.data(), count, k);
      if (!rounded.ok())
        return llvm::createStringError(llvm::inconvertibleErrorCode(),
                                       rounded.message());
      packCodes(layout, result.components[0], first, count, k,
                rounded->codes.data());
      for (int64_t i = 0; i < count * rounded->groups; ++i) {
        storeHalf(result.components[1], first * rounded->groups + i,
                  rounded->scales[i]);
        result.components[2][first * rounded->groups + i] =
            static_cast<char>(rounded->zeros[i]);
      }
      ganq::quant::dequantizeUniform(*rounded, count, k, scheme.getGroup(),
                                     decoded.data());
      addError(problem, count, rows, decoded, error, energy);
      if (options.progress)
        options.progress(static_cast<double>(first + count) /
                         static_cast<double>(n));
    }
    result.relativeError = energy > 0 ? std::sqrt(error / energy) : 0;
    return result;
  }

  /// Adds d H d^T and w H w^T over the rows; rounding itself needs no Gram
  /// matrix, so that the diagonal is enough for a report.
  static void addError(const WeightProblem &problem, int64_t count,
                       const std::vector<float> &rows,
                       const std::vector<float> &decoded, double &error,
                       double &energy) {
    int64_t k = problem.k;
    for (int64_t row = 0; row < count; ++row)
      for (int64_t column = 0; column < k; ++column) {
        double weight = problem.gram ? problem.gram[column * k + column] : 1.0;
        double value = rows[row * k + column];
        double difference = value - decoded[row * k + column];
        error += difference * difference * weight;
        energy += value * value * weight;
      }
  }

  void decode(Attribute attr, int64_t n, int64_t k,
              ArrayRef<ArrayRef<char>> components, float *out) const {
    auto scheme = cast<UniformAttr>(attr);
    CodeLayout layout(scheme.getBits(), n, k);
    const auto *codes = reinterpret_cast<const uint8_t *>(components[0].data());
    int64_t group = scheme.getGroup() ? scheme.getGroup() : k;
    int64_t groups = llvm::divideCeil(k, group);
    for (int64_t row = 0; row < n; ++row)
      for (int64_t column = 0; column < k; ++column) {
        int64_t at = row * groups + column / group;
        int zero = static_cast<uint8_t>(components[2][at]);
        out[row * k + column] =
            static_cast<float>(layout.extract(codes, row, column) - zero) *
            loadHalf(components[1], at);
      }
  }
};

} // namespace

void ganq::registerUniformSolver(DialectRegistry &registry) {
  registry.addExtension(+[](MLIRContext *context, GanqDialect *) {
    UniformAttr::attachInterface<UniformSolverModel>(*context);
  });
}
