//===- GridPacker.cpp - Store scaled codes as components ------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "GridPacker.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include <cmath>

using namespace mlir;
using namespace ganq;

void ganq::storeFloat(std::vector<char> &bytes, Type type, int64_t index,
                      float value) {
  if (type.isF16())
    return storeHalf(bytes, index, value);
  if (type.isF32()) {
    std::memcpy(bytes.data() + index * sizeof(value), &value, sizeof(value));
    return;
  }
  if (type.isInteger(8)) {
    bytes[index] = static_cast<char>(static_cast<int8_t>(value));
    return;
  }
  llvm::APFloat narrow(value);
  bool inexact;
  narrow.convert(cast<FloatType>(type).getFloatSemantics(),
                 llvm::APFloat::rmNearestTiesToEven, &inexact);
  uint64_t bits = narrow.bitcastToAPInt().getZExtValue();
  int64_t size = type.getIntOrFloatBitWidth() / 8;
  std::memcpy(bytes.data() + index * size, &bits, size);
}

float ganq::loadFloat(ArrayRef<char> bytes, Type type, int64_t index) {
  if (type.isF16())
    return loadHalf(bytes, index);
  float value = 0;
  if (type.isF32()) {
    std::memcpy(&value, bytes.data() + index * sizeof(value), sizeof(value));
    return value;
  }
  if (type.isInteger(8))
    return static_cast<int8_t>(bytes[index]);
  unsigned width = type.getIntOrFloatBitWidth();
  uint64_t bits = 0;
  std::memcpy(&bits, bytes.data() + index * (width / 8), width / 8);
  return llvm::APFloat(cast<FloatType>(type).getFloatSemantics(),
                       llvm::APInt(width, bits))
      .convertToFloat();
}

ganq::quant::ScaleType ganq::getScaleType(Type type) {
  if (type.isBF16())
    return ganq::quant::ScaleType::BFloat;
  return type.isF32() ? ganq::quant::ScaleType::Float
                      : ganq::quant::ScaleType::Half;
}

ganq::quant::GridOptions ganq::getGridOptions(SchemeAttrInterface scheme,
                                              Type scaleType,
                                              const SolverOptions &options) {
  ganq::quant::GridOptions grid;
  grid.levels = 1 << scheme.getCodeBits();
  SmallVector<float> levels = scheme.getFixedLevels();
  grid.fixed.assign(levels.begin(), levels.end());
  grid.group = scheme.getGroupSize();
  grid.scaleType = getScaleType(scaleType);
  grid.alpha = options.alpha;
  return grid;
}

llvm::Expected<StringRef> ganq::chooseSolver(ArrayRef<StringRef> solvers,
                                             const SolverOptions &options,
                                             SchemeAttrInterface scheme) {
  if (options.solver.empty())
    return solvers.front();
  for (StringRef solver : solvers)
    if (solver == options.solver)
      return solver;
  return makeError("expected a solver of " + scheme.getShortName() + " (" +
                   llvm::join(solvers, ", ") + "), but got '" + options.solver +
                   "'");
}

ganq::quant::ReadRows ganq::makeReader(const WeightProblem &problem) {
  return [&problem](int64_t first, int64_t count, float *out) {
    llvm::Error failure = problem.readRows(first, count, out);
    return failure
               ? ganq::quant::Status::error(llvm::toString(std::move(failure)))
               : ganq::quant::Status();
  };
}

ganq::quant::Progress ganq::makeProgress(const SolverOptions &options) {
  return [&options](int64_t done, int64_t total) {
    if (options.progress)
      options.progress(static_cast<double>(done) / static_cast<double>(total));
    return true;
  };
}

GridPacker::GridPacker(SchemeAttrInterface scheme, int64_t n, int64_t k)
    : scheme(scheme), k(k),
      group(scheme.getGroupSize() ? scheme.getGroupSize() : k),
      groups(llvm::divideCeil(k, group)), layout(scheme.getCodeBits(), n, k),
      components(scheme.getComponents(n, k)), reports(n) {
  result.components = allocateComponents(scheme, n, k);
}

std::vector<char> *GridPacker::find(StringRef name, Type *type) {
  for (auto [component, bytes] : llvm::zip(components, result.components)) {
    if (component.suffix != name)
      continue;
    if (type)
      *type = component.type.getElementType();
    return &bytes;
  }
  return nullptr;
}

ganq::quant::Status GridPacker::write(const ganq::quant::GridRows &rows) {
  packCodes(layout, result.components[0], rows.first, rows.count, k,
            rows.codes);
  Type scaleType, sumType;
  std::vector<char> *scales = find("scale", &scaleType);
  std::vector<char> *sums = find("sum", &sumType);
  int64_t start = rows.first * groups;
  for (int64_t i = 0; i < rows.count * groups; ++i)
    storeFloat(*scales, scaleType, start + i, rows.scales[i]);
  if (std::vector<char> *zeros = find("zero"))
    std::memcpy(zeros->data() + start, rows.zeros, rows.count * groups);
  for (int64_t i = 0; sums && i < rows.count * groups; ++i) {
    int64_t begin = i % groups * group;
    uint32_t sum = 0;
    for (int64_t j = begin; j < std::min(begin + group, k); ++j)
      sum += rows.codes[i / groups * k + j];
    if (sumType.isInteger(16)) {
      auto narrow = static_cast<uint16_t>(sum);
      std::memcpy(sums->data() + (start + i) * 2, &narrow, 2);
    } else {
      std::memcpy(sums->data() + (start + i) * 4, &sum, 4);
    }
  }
  std::copy_n(rows.rows, rows.count, reports.begin() + rows.first);
  raised += rows.raisedScales;
  return {};
}

SmallVector<std::string>
ganq::describeDamping(const ganq::quant::Damping &damping) {
  SmallVector<std::string> notes;
  if (damping.deadColumns)
    notes.push_back(std::to_string(damping.deadColumns) +
                    " inputs were always zero");
  if (damping.diagonalDominance)
    notes.push_back("Gram matrix made diagonally dominant");
  return notes;
}

QuantizedWeight GridPacker::finish(const ganq::quant::Damping &damping) {
  result.relativeError = ganq::quant::relativeOutputError(reports);
  SmallVector<std::string> notes = describeDamping(damping);
  Type scaleType;
  find("scale", &scaleType);
  // Only schemes without a zero point need normal scales.
  if (raised)
    notes.push_back(std::to_string(raised) +
                    " scales raised to the least normal value" +
                    (scaleType.isF16() && isa<PotAttr>(scheme)
                         ? "; scale = bf16 has room for them"
                         : ""));
  result.note = llvm::join(notes, "; ");
  result.gramCondition = damping.condition;
  return std::move(result);
}

llvm::Expected<QuantizedWeight>
ganq::solveOnGrid(SchemeAttrInterface scheme,
                  const ganq::quant::GridOptions &grid,
                  const WeightProblem &problem, const SolverOptions &options) {
  auto solver = ganq::quant::GridSolver::create(grid, problem.k, problem.gram,
                                                problem.cross);
  if (!solver.ok())
    return makeError(solver.message());
  GridPacker packer(scheme, problem.n, problem.k);
  auto write = [&](const ganq::quant::GridRows &rows) {
    return packer.write(rows);
  };
  ganq::quant::Status status = solver->solve(problem.n, makeReader(problem),
                                             write, makeProgress(options));
  if (!status.ok())
    return makeError(status.message());
  return packer.finish(solver->damping());
}

void ganq::decodeFixedLevels(SchemeAttrInterface scheme, Type scaleType,
                             int64_t n, int64_t k,
                             ArrayRef<ArrayRef<char>> components, float *out) {
  CodeLayout layout(scheme.getCodeBits(), n, k);
  SmallVector<float> levels = scheme.getFixedLevels();
  const auto *codes = reinterpret_cast<const uint8_t *>(components[0].data());
  int64_t group = scheme.getGroupSize() ? scheme.getGroupSize() : k;
  int64_t groups = llvm::divideCeil(k, group);
  for (int64_t row = 0; row < n; ++row)
    for (int64_t column = 0; column < k; ++column)
      out[row * k + column] =
          levels[layout.extract(codes, row, column)] *
          loadFloat(components[1], scaleType, row * groups + column / group);
}
