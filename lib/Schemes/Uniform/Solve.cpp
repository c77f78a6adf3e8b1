//===- Solve.cpp - Rounds to evenly spaced levels and packs ---------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "../GridPacker.h"
#include "ganq/Quantization/Product.h"
#include "llvm/ADT/StringSwitch.h"
#include "llvm/Support/FormatVariadic.h"
#include <array>

using namespace mlir;
using namespace ganq;

static llvm::Expected<std::vector<float>>
readWeight(const WeightProblem &problem) {
  std::vector<float> weight(problem.n * problem.k);
  if (llvm::Error failure = problem.readRows(0, problem.n, weight.data()))
    return std::move(failure);
  return weight;
}

static void addNote(QuantizedWeight &result, const std::string &note) {
  result.note += (result.note.empty() ? "" : "; ") + note;
}

static ganq::quant::GridRows allRows(const ganq::quant::GridResult &result) {
  return {0,
          static_cast<int64_t>(result.rows.size()),
          result.codes.data(),
          result.scales.data(),
          result.zeros.data(),
          result.rows.data(),
          result.raisedScales};
}

/// Rounded inputs or input scales: solves with what the sample of inputs says.
static llvm::Expected<QuantizedWeight>
quantizeProduct(UniformAttr scheme, const ganq::quant::ProductOptions &product,
                const WeightProblem &problem, const SolverOptions &options) {
  auto weight = readWeight(problem);
  if (!weight)
    return weight.takeError();
  auto solved = ganq::quant::solveProduct(
      product, weight->data(), problem.n, problem.k, problem.gram,
      problem.cross, problem.sample, problem.sampleRows, makeProgress(options));
  if (!solved.ok())
    return makeError(solved.message());
  GridPacker packer(scheme, problem.n, problem.k);
  if (auto status = packer.write(allRows(solved->weight)); !status.ok())
    return makeError(status.message());
  if (std::vector<char> *scales = packer.find("input_scale"))
    for (int64_t j = 0; j < problem.k; ++j)
      storeHalf(*scales, j, solved->inputScale[j]);
  QuantizedWeight result = packer.finish(solved->damping);
  if (product.smooth && !problem.sample)
    addNote(result, "no sample of the inputs: they are not rescaled");
  return result;
}

namespace {

/// What was learned for a weight; empty where there is nothing.
struct Learned {
  ArrayRef<float> inputScale, inputShift, low, high, left, right, delta, format;

  static llvm::Expected<Learned> get(UniformAttr scheme,
                                     const WeightProblem &problem);
};

} // namespace

llvm::Expected<Learned> Learned::get(UniformAttr scheme,
                                     const WeightProblem &problem) {
  int64_t n = problem.n, k = problem.k;
  int64_t groups =
      scheme.getGroup() ? llvm::divideCeil(k, scheme.getGroup()) : 1;
  Learned learned;
  bool any = false;
  auto take = [&](StringRef suffix, int64_t size,
                  ArrayRef<float> &values) -> llvm::Error {
    if (problem.learned)
      values = problem.learned(suffix);
    any |= !values.empty();
    if (!values.empty() && static_cast<int64_t>(values.size()) != size)
      return makeError("expected " + llvm::Twine(size) + " learned values of " +
                       suffix + ", but got " + llvm::Twine(values.size()));
    for (float value : values)
      if (!std::isfinite(value))
        return makeError("expected finite learned values of " + suffix +
                         ", but got " + std::to_string(value));
    return llvm::Error::success();
  };
  for (auto [suffix, size, values] :
       {std::tuple<StringRef, int64_t, ArrayRef<float> *>{"input_scale", k,
                                                          &learned.inputScale},
        {"input_shift", k, &learned.inputShift},
        {"clip_low", n * groups, &learned.low},
        {"clip_high", n * groups, &learned.high},
        {"compensation_left", n, &learned.left},
        {"compensation_right", k, &learned.right},
        {"weight_delta", n * k, &learned.delta},
        {"format", 3, &learned.format}})
    if (llvm::Error error = take(suffix, size, *values))
      return std::move(error);
  std::array<float, 3> format = {static_cast<float>(scheme.getLevelCount()),
                                 static_cast<float>(scheme.getGroup()),
                                 static_cast<float>(scheme.getActivation())};
  if (!learned.format.empty() && !llvm::equal(learned.format, format))
    return makeError(llvm::formatv(
        "expected the scheme that was learned, {0:f0} levels, group {1:f0} and "
        "{2:f0} activation bits (0: none), but got {3:f0}, {4:f0} and {5:f0}",
        learned.format[0], learned.format[1], learned.format[2], format[0],
        format[1], format[2]));
  if (!any)
    return makeError("expected learned tensors of the weight for the solver "
                     "'learned', but the calibration has none; run the learned "
                     "calibration first or choose another solver");
  if (learned.low.empty() != learned.high.empty() ||
      learned.left.empty() != learned.right.empty())
    return makeError("expected learned clip_low with clip_high and "
                     "compensation_left with compensation_right, but got one "
                     "without the other");
  if (!learned.inputScale.empty() && !scheme.getSmooth())
    return makeError("expected a scheme with smooth = true for learned input "
                     "scales, but got " +
                     scheme.getShortName());
  if (!learned.inputShift.empty() && !scheme.getShift())
    return makeError("expected a scheme with shift = true for learned input "
                     "shifts, but got " +
                     scheme.getShortName());
  return learned;
}

/// Rounds (W + delta) diag(scale) + left right^T to the nearest levels in the
/// learned ranges.
static llvm::Expected<QuantizedWeight>
quantizeLearned(UniformAttr scheme, ganq::quant::GridOptions grid,
                const WeightProblem &problem, const SolverOptions &options) {
  auto learned = Learned::get(scheme, problem);
  if (!learned)
    return learned.takeError();
  auto weight = readWeight(problem);
  if (!weight)
    return weight.takeError();
  int64_t n = problem.n, k = problem.k;
  GridPacker packer(scheme, n, k);
  std::vector<float> scale(k, 1);
  if (std::vector<char> *stored = packer.find("input_scale"))
    for (int64_t j = 0; j < k; ++j) {
      float value = learned->inputScale.empty() ? 1 : learned->inputScale[j];
      storeHalf(*stored, j, value);
      scale[j] = loadHalf(*stored, j);
      if (!(scale[j] > 0) || !std::isfinite(scale[j]))
        return makeError("expected learned input scales that are positive in "
                         "f16, but got " +
                         std::to_string(value));
    }
  if (!learned->inputShift.empty()) {
    std::vector<char> &shift = *packer.find("input_shift");
    std::vector<char> &offset = *packer.find("offset");
    for (int64_t j = 0; j < k; ++j)
      storeHalf(shift, j, learned->inputShift[j]);
    for (int64_t row = 0; row < n; ++row) {
      double sum = 0;
      for (int64_t j = 0; j < k; ++j)
        sum += static_cast<double>((*weight)[row * k + j]) * loadHalf(shift, j);
      storeFloat(offset, Float32Type::get(scheme.getContext()), row,
                 static_cast<float>(sum));
    }
  }
  std::vector<float> changed(*weight);
  for (int64_t i = 0; i < n * k; ++i) {
    if (!learned->delta.empty())
      changed[i] += learned->delta[i];
    changed[i] *= scale[i % k];
    if (!learned->left.empty())
      changed[i] += learned->left[i / k] * learned->right[i % k];
  }
  grid.method = ganq::quant::GridMethod::Rtn;
  if (!learned->low.empty()) {
    grid.low = learned->low.data();
    grid.high = learned->high.data();
  }
  auto solver = ganq::quant::GridSolver::create(grid, k, nullptr);
  if (!solver.ok())
    return makeError(solver.message());
  auto rounded = solver->solve(changed.data(), n, makeProgress(options));
  if (!rounded.ok())
    return makeError(rounded.message());
  if (auto status = packer.write(allRows(*rounded)); !status.ok())
    return makeError(status.message());
  QuantizedWeight result = packer.finish(solver->damping());
  // Against the weight itself, not the changed one.
  ganq::quant::dequantizeGrid(*rounded, {}, n, k, grid.group, changed.data());
  for (int64_t i = 0; i < n * k; ++i)
    changed[i] /= scale[i % k];
  auto error = ganq::quant::relativeError(weight->data(), changed.data(), n, k,
                                          problem.gram);
  if (!error.ok())
    return makeError(error.message());
  result.relativeError = *error;
  return result;
}

namespace {

struct UniformSolverModel
    : SchemeSolverInterface::ExternalModel<UniformSolverModel, UniformAttr> {
  SmallVector<StringRef> getSolvers(Attribute) const {
    return {"improved", "rtn", "gptq", "awq", "learned"};
  }

  llvm::Expected<QuantizedWeight> quantize(Attribute attr,
                                           const WeightProblem &problem,
                                           const SolverOptions &options) const {
    auto scheme = cast<UniformAttr>(attr);
    auto solver = chooseSolver(getSolvers(attr), options, scheme);
    if (!solver)
      return solver.takeError();
    ganq::quant::ProductOptions product;
    ganq::quant::GridOptions &grid = product.grid;
    grid = getGridOptions(scheme, scheme.getScale(), options);
    grid.levels = static_cast<int>(scheme.getLevelCount());
    grid.method = llvm::StringSwitch<ganq::quant::GridMethod>(*solver)
                      .Cases({"rtn", "awq"}, ganq::quant::GridMethod::Rtn)
                      .Case("gptq", ganq::quant::GridMethod::Gptq)
                      .Default(ganq::quant::GridMethod::Improved);
    if (*solver == "learned")
      return quantizeLearned(scheme, grid, problem, options);
    if (*solver == "awq" && !scheme.getSmooth())
      return makeError("expected a scheme with smooth = true for the solver "
                       "'awq', which rescales inputs, but got " +
                       scheme.getShortName());
    if (*solver == "awq" && !problem.gram && !problem.sample)
      return makeError("expected statistics of the inputs for the solver "
                       "'awq', but got none; give --calibration");
    bool improved = *solver == "improved" && scheme.getActivation();
    if (!improved && !scheme.getSmooth())
      return solveOnGrid(scheme, grid, problem, options);
    product.activationBits = static_cast<int>(scheme.getActivation());
    product.smooth = scheme.getSmooth();
    product.compensate = improved;
    return quantizeProduct(scheme, product, problem, options);
  }

  void decode(Attribute attr, int64_t n, int64_t k,
              ArrayRef<ArrayRef<char>> components, float *out) const {
    auto scheme = cast<UniformAttr>(attr);
    CodeLayout layout(scheme.getBits(), n, k);
    const auto *codes = reinterpret_cast<const uint8_t *>(components[0].data());
    int64_t group = scheme.getGroup() ? scheme.getGroup() : k;
    int64_t groups = llvm::divideCeil(k, group);
    // The stored matrix is W diag(input_scale).
    std::vector<float> inverse(k, 1);
    for (auto [component, bytes] :
         llvm::zip_equal(scheme.getComponents(n, k), components))
      if (component.suffix == "input_scale")
        for (int64_t column = 0; column < k; ++column)
          inverse[column] = 1 / loadHalf(bytes, column);
    for (int64_t row = 0; row < n; ++row)
      for (int64_t column = 0; column < k; ++column) {
        int64_t at = row * groups + column / group;
        int zero = static_cast<uint8_t>(components[2][at]);
        out[row * k + column] =
            static_cast<float>(layout.extract(codes, row, column) - zero) *
            loadFloat(components[1], scheme.getScale(), at) * inverse[column];
      }
  }
};

} // namespace

void ganq::registerUniformSolver(DialectRegistry &registry) {
  registry.addExtension(+[](MLIRContext *context, GanqDialect *) {
    UniformAttr::attachInterface<UniformSolverModel>(*context);
  });
}
