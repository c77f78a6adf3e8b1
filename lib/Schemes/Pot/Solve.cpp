//===- Solve.cpp - Rounds to powers of two and packs ----------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "../GridPacker.h"

using namespace mlir;
using namespace ganq;

namespace {

struct PotSolverModel
    : SchemeSolverInterface::ExternalModel<PotSolverModel, PotAttr> {
  SmallVector<StringRef> getSolvers(Attribute) const {
    return {"improved", "paper", "rtn"};
  }

  llvm::Expected<QuantizedWeight> quantize(Attribute attr,
                                           const WeightProblem &problem,
                                           const SolverOptions &options) const {
    auto scheme = cast<PotAttr>(attr);
    auto solver = chooseSolver(getSolvers(attr), options, scheme);
    if (!solver)
      return solver.takeError();
    ganq::quant::GridOptions grid =
        getGridOptions(scheme, scheme.getScale(), options);
    if (*solver != "improved") {
      grid.method = *solver == "paper" ? ganq::quant::GridMethod::Paper
                                       : ganq::quant::GridMethod::Rtn;
      grid.searchScales = true;
      grid.roundLogarithms = true;
    }
    return solveOnGrid(scheme, grid, problem, options);
  }

  void decode(Attribute attr, int64_t n, int64_t k,
              ArrayRef<ArrayRef<char>> components, float *out) const {
    auto scheme = cast<PotAttr>(attr);
    decodeFixedLevels(scheme, scheme.getScale(), n, k, components, out);
  }
};

} // namespace

void ganq::registerPotSolver(DialectRegistry &registry) {
  registry.addExtension(+[](MLIRContext *context, GanqDialect *) {
    PotAttr::attachInterface<PotSolverModel>(*context);
  });
}
