//===- GridPacker.h - Store scaled codes as components ----------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_LIB_SCHEMES_GRIDPACKER_H
#define GANQ_LIB_SCHEMES_GRIDPACKER_H

#include "Pack.h"
#include "ganq/Quantization/Grid.h"
#include "ganq/Schemes/SchemeSolver.h"
#include "ganq/Support/Errors.h"

namespace ganq {

/// Rounds `value` to a float `type` of up to 32 bits and stores it as element
/// `index`; as an i8 it is a whole number already.
void storeFloat(std::vector<char> &bytes, mlir::Type type, int64_t index,
                float value);
float loadFloat(llvm::ArrayRef<char> bytes, mlir::Type type, int64_t index);

/// Stores the codes, scales, zero points and sums that a grid solver hands out
/// as the components of these names.
class GridPacker {
public:
  GridPacker(SchemeAttrInterface scheme, int64_t n, int64_t k);

  ganq::quant::Status write(const ganq::quant::GridRows &rows);
  /// The component called `name` and its element type, or null.
  std::vector<char> *find(llvm::StringRef name, mlir::Type *type = nullptr);
  /// What has been written, with the error over all rows and a note on what had
  /// to be done to the Gram matrix and to scales.
  QuantizedWeight finish(const ganq::quant::Damping &damping);

private:
  SchemeAttrInterface scheme;
  int64_t k, group, groups;
  CodeLayout layout;
  llvm::SmallVector<SchemeComponent> components;
  QuantizedWeight result;
  /// Of each row: blocks of rows are written in any order, and sums depend on
  /// theirs.
  std::vector<ganq::quant::RowReport> reports;
  int64_t raised = 0;
};

/// What had to be done to the Gram matrix, for people; empty if nothing.
llvm::SmallVector<std::string>
describeDamping(const ganq::quant::Damping &damping);

/// The rows of a problem and the progress of its solver, for the solvers of
/// lib/Quantization. They refer to their arguments.
ganq::quant::ReadRows makeReader(const WeightProblem &problem);
ganq::quant::Progress makeProgress(const SolverOptions &options);

/// Number format of a solver's scales for an f16, bf16 or f32 component.
ganq::quant::ScaleType getScaleType(mlir::Type type);

/// Options that a scheme's solvers share.
ganq::quant::GridOptions getGridOptions(SchemeAttrInterface scheme,
                                        mlir::Type scaleType,
                                        const SolverOptions &options);

/// The solver asked for, or the first; an error that lists the solvers if there
/// is none of that name.
llvm::Expected<llvm::StringRef>
chooseSolver(llvm::ArrayRef<llvm::StringRef> solvers,
             const SolverOptions &options, SchemeAttrInterface scheme);

/// Runs a grid solver over the rows of the problem and packs the result.
llvm::Expected<QuantizedWeight>
solveOnGrid(SchemeAttrInterface scheme, const ganq::quant::GridOptions &grid,
            const WeightProblem &problem, const SolverOptions &options);

/// The reference decoder of schemes with fixed levels.
void decodeFixedLevels(SchemeAttrInterface scheme, mlir::Type scaleType,
                       int64_t n, int64_t k,
                       llvm::ArrayRef<llvm::ArrayRef<char>> components,
                       float *out);

} // namespace ganq

#endif // GANQ_LIB_SCHEMES_GRIDPACKER_H
