//===- Evaluate.h - Symbolic interpretation of ONNX graphs ------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Says what is known about a value before the program runs: element type,
// sizes as expressions over symbolic dimensions, and the elements where they
// follow from constants and sizes. Shape inference and folding use it, and so
// can a pass that wants to know what a subgraph computes: bind the sizes of the
// arguments, raise the element limit, and look at the elements of a value.
//
// Sizes are AffineExprs over symbols, simplified, also products of symbols.
// A symbol stands for a size and is therefore at least 0. A symbolic end of a
// Slice is taken to lie within the sliced dimension, as it does in every
// program whose later broadcasts succeed.
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_ONNX_EVALUATE_H
#define GANQ_ONNX_EVALUATE_H

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/AffineExpr.h"
#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Value.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/StringMap.h"
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace ganq {
class ParameterOp;
} // namespace ganq

namespace ganq::onnx {

/// Elements in row-major order: integers and booleans; integer expressions
/// over the symbols, null where unknown; or floats, each a value of the
/// element type.
using Elements =
    std::variant<std::vector<int64_t>, std::vector<mlir::AffineExpr>,
                 std::vector<double>>;

/// What is known about one value.
struct AbstractTensor {
  mlir::Type elementType; ///< onnx.any when unknown; null for other values.
  bool hasRank = false;
  llvm::SmallVector<mlir::AffineExpr, 4> dims;
  std::shared_ptr<const Elements> elements; ///< Null when unknown.
  /// A weight that has not been read; see Evaluator::load.
  mlir::Operation *parameter = nullptr;

  /// Number of elements when all sizes are known.
  std::optional<int64_t> getNumElements() const;
  std::optional<llvm::SmallVector<int64_t>> getStaticShape() const;
  /// Null unless the elements are known integers.
  const std::vector<int64_t> *getInts() const;
  /// Null unless the elements are known floats.
  const std::vector<double> *getFloats() const;
  /// Integers or expressions as expressions; null where unknown.
  std::optional<std::vector<mlir::AffineExpr>>
  getExprs(mlir::MLIRContext *context) const;
  /// All elements as numbers.
  std::optional<std::vector<double>> getNumbers() const;
};

class Evaluator {
public:
  /// Reads the bytes of a weight; nullopt when they cannot be had.
  using ReadParameter =
      std::function<std::optional<std::vector<char>>(ParameterOp)>;

  /// Elements are computed for tensors of at most `maxElements` elements.
  explicit Evaluator(mlir::MLIRContext *context, int64_t maxElements = 1024,
                     ReadParameter readParameter = {})
      : context(context), maxElements(maxElements),
        readParameter(std::move(readParameter)) {}

  /// Binds the arguments of an imported function: dimensions of one name
  /// (`onnx.dims`) are one symbol, or the number that `sizes` has for it.
  void bindArguments(mlir::func::FuncOp function,
                     const llvm::StringMap<int64_t> &sizes = {});
  /// Binds any value, such as an argument or a cut through the graph.
  void bind(mlir::Value value, AbstractTensor tensor);

  /// What is known about `value`. Fails, after an error at the operation, when
  /// the operands of an operation that it needs contradict each other.
  mlir::FailureOr<AbstractTensor> evaluate(mlir::Value value);

  /// Reads the elements of a weight if it is small enough and readable. True
  /// when `tensor.elements` is known afterwards.
  bool load(AbstractTensor &tensor);

  /// What a type tells; unknown sizes become new symbols.
  AbstractTensor fromType(mlir::Type type);
  static AbstractTensor fromAttr(mlir::DenseElementsAttr attr);
  /// The type with the known sizes; null for values that are no tensors.
  mlir::Type toType(const AbstractTensor &tensor) const;
  /// The elements as an attribute; null unless all are known numbers.
  mlir::DenseElementsAttr toAttr(const AbstractTensor &tensor) const;

  /// The symbol of a named dimension.
  mlir::AffineExpr getSymbol(llvm::StringRef name);
  mlir::AffineExpr getNewSymbol();
  /// Empty for symbols without a name.
  llvm::StringRef getName(mlir::AffineExpr symbol) const;
  mlir::AffineExpr getConstant(int64_t value) const;
  /// The normal form, in which equal sums are equal expressions.
  mlir::AffineExpr simplify(mlir::AffineExpr expr);
  /// Least value, given that symbols are at least 0; nullopt when unbounded.
  static std::optional<int64_t> getLowerBound(mlir::AffineExpr expr);

  mlir::MLIRContext *getContext() const { return context; }
  int64_t getMaxElements() const { return maxElements; }

private:
  mlir::AffineExpr parseDim(llvm::StringRef text,
                            const llvm::StringMap<int64_t> &sizes);
  mlir::LogicalResult evaluateOp(mlir::Operation *op);
  llvm::SmallVector<mlir::Value> getMissing(mlir::Operation *op);
  mlir::Block *getTakenBranch(mlir::Operation *op);
  void mergeDeclared(mlir::Value value, AbstractTensor &tensor);

  mlir::MLIRContext *context;
  int64_t maxElements;
  ReadParameter readParameter;
  llvm::StringMap<unsigned> symbols;
  std::vector<std::string> symbolNames;
  llvm::DenseMap<mlir::Value, AbstractTensor> known;
  llvm::DenseMap<mlir::AffineExpr, mlir::AffineExpr> simplified;
};

/// Reads weights from files below `folder`.
Evaluator::ReadParameter readParametersFrom(llvm::StringRef folder);

} // namespace ganq::onnx

#endif // GANQ_ONNX_EVALUATE_H
