//===- BodyBuilder.h - Scalar code in loop bodies ---------------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_LIB_CONVERSION_ONNXTOLINALG_BODYBUILDER_H
#define GANQ_LIB_CONVERSION_ONNXTOLINALG_BODYBUILDER_H

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"

namespace ganq::lowering {

enum class Compare { EQ, NE, LT, LE, GT, GE };

/// Builds arithmetic on scalars that works alike on floats, integers (whose
/// signedness is told) and indices.
class BodyBuilder : public mlir::ImplicitLocOpBuilder {
public:
  BodyBuilder(mlir::Location loc, const mlir::OpBuilder &builder)
      : ImplicitLocOpBuilder(loc, builder) {}

  mlir::Value constant(mlir::Type type, double value);
  mlir::Value integer(mlir::Type type, int64_t value);
  mlir::Value index(int64_t value) { return integer(getIndexType(), value); }
  /// Largest or smallest value of `type`; infinity for floats.
  mlir::Value limit(mlir::Type type, bool largest, bool isUnsigned);

  mlir::Value add(mlir::Value a, mlir::Value b);
  mlir::Value sub(mlir::Value a, mlir::Value b);
  mlir::Value mul(mlir::Value a, mlir::Value b);
  /// Integers: truncates; by zero gives zero rather than a trap.
  mlir::Value div(mlir::Value a, mlir::Value b, bool isUnsigned = false);
  mlir::Value min(mlir::Value a, mlir::Value b, bool isUnsigned = false);
  mlir::Value max(mlir::Value a, mlir::Value b, bool isUnsigned = false);
  mlir::Value neg(mlir::Value a);
  mlir::Value compare(Compare predicate, mlir::Value a, mlir::Value b,
                      bool isUnsigned = false);
  mlir::Value select(mlir::Value condition, mlir::Value a, mlir::Value b);
  mlir::Value andBits(mlir::Value a, mlir::Value b);
  mlir::Value orBits(mlir::Value a, mlir::Value b);
  mlir::Value notBool(mlir::Value a);
  /// Converts as ONNX Cast does: truncates to integers, != 0 to booleans.
  mlir::Value cast(mlir::Value value, mlir::Type to, bool fromUnsigned,
                   bool toUnsigned);
  mlir::Value toIndex(mlir::Value value);
  /// Counts negative indices from the end and clamps into [0, size - 1].
  mlir::Value wrapIndex(mlir::Value index, mlir::Value size);
  mlir::Value clamp(mlir::Value value, mlir::Value low, mlir::Value high);

  using Loop = llvm::function_ref<llvm::SmallVector<mlir::Value>(
      BodyBuilder &, mlir::ValueRange ivs, mlir::ValueRange carried)>;
  /// A nest of loops over [0, bounds[i]), the first bound outermost.
  llvm::SmallVector<mlir::Value> loops(mlir::ValueRange bounds,
                                       mlir::ValueRange inits, Loop body);
};

} // namespace ganq::lowering

#endif // GANQ_LIB_CONVERSION_ONNXTOLINALG_BODYBUILDER_H
