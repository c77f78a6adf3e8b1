//===- Solve.cpp - Rounds to quantiles of a normal and packs --------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "../GridPacker.h"

using namespace mlir;
using namespace ganq;

namespace {

struct NfSolverModel
    : SchemeSolverInterface::ExternalModel<NfSolverModel, NfAttr> {
  SmallVector<StringRef> getSolvers(Attribute) const { return {"gptq", "rtn"}; }

  llvm::Expected<QuantizedWeight> quantize(Attribute attr,
                                           const WeightProblem &problem,
                                           const SolverOptions &options) const {
    auto scheme = cast<NfAttr>(attr);
    auto solver = chooseSolver(getSolvers(attr), options, scheme);
    if (!solver)
      return solver.takeError();
    ganq::quant::GridOptions grid =
        getGridOptions(scheme, Float16Type::get(attr.getContext()), options);
    grid.method = *solver == "gptq" ? ganq::quant::GridMethod::Gptq
                                    : ganq::quant::GridMethod::Rtn;
    return solveOnGrid(scheme, grid, problem, options);
  }

  void decode(Attribute attr, int64_t n, int64_t k,
              ArrayRef<ArrayRef<char>> components, float *out) const {
    decodeFixedLevels(cast<NfAttr>(attr), Float16Type::get(attr.getContext()),
                      n, k, components, out);
  }
};

} // namespace

void ganq::registerNfSolver(DialectRegistry &registry) {
  registry.addExtension(+[](MLIRContext *context, GanqDialect *) {
    NfAttr::attachInterface<NfSolverModel>(*context);
  });
}
