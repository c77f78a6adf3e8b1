//===- Solve.cpp - Finds and packs codes and tables -----------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "../Pack.h"
#include "ganq/Quantization/Lut.h"
#include "ganq/Schemes/SchemeSolver.h"
#include "llvm/ADT/StringSwitch.h"

using namespace mlir;
using namespace ganq;

static llvm::Error makeError(const llvm::Twine &message) {
  return llvm::createStringError(llvm::inconvertibleErrorCode(), message);
}

static std::string describe(const ganq::quant::Damping &damping) {
  std::string note;
  if (damping.deadColumns)
    note = std::to_string(damping.deadColumns) + " inputs were always zero";
  if (damping.diagonalDominance)
    note += std::string(note.empty() ? "" : "; ") +
            "Gram matrix made diagonally dominant";
  return note;
}

namespace {

struct LutSolverModel
    : SchemeSolverInterface::ExternalModel<LutSolverModel, LutAttr> {
  SmallVector<StringRef> getSolvers(Attribute) const {
    return {"improved", "literal", "kmeans"};
  }

  llvm::Expected<QuantizedWeight> quantize(Attribute attr,
                                           const WeightProblem &problem,
                                           const SolverOptions &options) const {
    auto scheme = cast<LutAttr>(attr);
    int64_t n = problem.n, k = problem.k;
    ganq::quant::LutOptions lut;
    lut.bits = static_cast<int>(scheme.getBits());
    lut.group = scheme.getGroup();
    lut.method = llvm::StringSwitch<ganq::quant::LutMethod>(options.solver)
                     .Case("literal", ganq::quant::LutMethod::Literal)
                     .Case("kmeans", ganq::quant::LutMethod::KMeans)
                     .Default(ganq::quant::LutMethod::Improved);
    auto solver = ganq::quant::LutSolver::create(lut, k, problem.gram);
    if (!solver.ok())
      return makeError(solver.message());

    QuantizedWeight result;
    result.components = allocateComponents(scheme, n, k);
    CodeLayout layout(scheme.getBits(), n, k);
    int64_t perRow = solver->groups() << scheme.getBits();
    double error = 0, energy = 0;
    auto read = [&](int64_t first, int64_t count, float *out) {
      llvm::Error failure = problem.readRows(first, count, out);
      return failure ? ganq::quant::Status::error(
                           llvm::toString(std::move(failure)))
                     : ganq::quant::Status();
    };
    auto write = [&](const ganq::quant::LutRows &rows) {
      packCodes(layout, result.components[0], rows.first, rows.count, k,
                rows.codes);
      for (int64_t i = 0; i < rows.count * perRow; ++i)
        storeHalf(result.components[1], rows.first * perRow + i,
                  rows.tables[i]);
      for (int64_t row = 0; row < rows.count; ++row) {
        error += rows.rows[row].outputError;
        energy += rows.rows[row].outputEnergy;
      }
      return ganq::quant::Status();
    };
    auto progress = [&](int64_t done, int64_t total) {
      if (options.progress)
        options.progress(static_cast<double>(done) /
                         static_cast<double>(total));
      return true;
    };
    if (ganq::quant::Status status = solver->solve(n, read, write, progress);
        !status.ok())
      return makeError(status.message());
    result.relativeError = energy > 0 ? std::sqrt(error / energy) : 0;
    result.note = describe(solver->damping());
    return result;
  }

  void decode(Attribute attr, int64_t n, int64_t k,
              ArrayRef<ArrayRef<char>> components, float *out) const {
    auto scheme = cast<LutAttr>(attr);
    CodeLayout layout(scheme.getBits(), n, k);
    const auto *codes = reinterpret_cast<const uint8_t *>(components[0].data());
    int64_t group = scheme.getGroup() ? scheme.getGroup() : k;
    int64_t groups = llvm::divideCeil(k, group);
    for (int64_t row = 0; row < n; ++row)
      for (int64_t column = 0; column < k; ++column)
        out[row * k + column] =
            loadHalf(components[1],
                     ((row * groups + column / group) << scheme.getBits()) +
                         layout.extract(codes, row, column));
  }
};

} // namespace

void ganq::registerLutSolver(DialectRegistry &registry) {
  registry.addExtension(+[](MLIRContext *context, GanqDialect *) {
    LutAttr::attachInterface<LutSolverModel>(*context);
  });
}
