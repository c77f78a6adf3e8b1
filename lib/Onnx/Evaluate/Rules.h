//===- Rules.h - Rules of the symbolic interpretation -----------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_LIB_ONNX_EVALUATE_RULES_H
#define GANQ_LIB_ONNX_EVALUATE_RULES_H

#include "ganq/Onnx/Evaluate.h"
#include "ganq/Onnx/OnnxDialect.h"

namespace ganq::onnx {

using Dims = llvm::SmallVector<mlir::AffineExpr, 4>;
using Ints = llvm::SmallVector<int64_t>;

/// The interpretation of one operation.
class Evaluation {
public:
  Evaluation(Evaluator &evaluator, mlir::Operation *op,
             llvm::SmallVector<AbstractTensor> operands)
      : op(op), in(std::move(operands)), out(op->getNumResults()),
        evaluator(evaluator) {}

  mlir::Operation *op;
  llvm::SmallVector<AbstractTensor> in;
  llvm::SmallVector<AbstractTensor> out; ///< Filled by the rule.

  mlir::MLIRContext *getContext() const { return evaluator.getContext(); }
  Evaluator &getEvaluator() { return evaluator; }
  /// True when operand `index` is there and not onnx.None.
  bool has(unsigned index) const {
    return index < in.size() && in[index].elementType;
  }
  bool hasRanked(unsigned index) const {
    return has(index) && in[index].hasRank;
  }
  unsigned getRank(unsigned index) const { return in[index].dims.size(); }

  mlir::AffineExpr constant(int64_t value) const {
    return evaluator.getConstant(value);
  }
  mlir::AffineExpr unknown() { return evaluator.getNewSymbol(); }
  mlir::Type intType(unsigned width) const {
    return mlir::IntegerType::get(getContext(), width);
  }

  /// The integers of an operand when all are known.
  std::optional<Ints> getInts(unsigned index);
  std::optional<Dims> getExprs(unsigned index);
  std::optional<int64_t> getInt(unsigned index);
  /// Reads weights; true when the elements of all given operands are known.
  bool loadAll(llvm::ArrayRef<unsigned> indices);
  bool loadAll();
  /// The sizes of result `index` when they are known and few enough for its
  /// elements to be computed.
  std::optional<Ints> getComputableShape(unsigned index) const;

  void set(unsigned index, mlir::Type elementType,
           llvm::ArrayRef<mlir::AffineExpr> dims);
  void setLike(unsigned index, unsigned operand);
  void setUnranked(unsigned index, mlir::Type elementType);
  void setElements(unsigned index, Elements elements);
  /// Result 0 takes the elements of operand 0 in the given order.
  void takeElements(llvm::ArrayRef<int64_t> order);

  mlir::InFlightDiagnostic error() {
    return op->emitError() << getOpName(op) << ": ";
  }

  /// Axis `axis` of a tensor of rank `rank` from the front; nullopt when out
  /// of range.
  static std::optional<int64_t> normalizeAxis(int64_t axis, int64_t rank) {
    if (axis < -rank || axis >= rank)
      return std::nullopt;
    return axis < 0 ? axis + rank : axis;
  }
  /// Sizes of a broadcast; nullopt when two known sizes do not fit.
  std::optional<Dims> broadcast(llvm::ArrayRef<mlir::AffineExpr> a,
                                llvm::ArrayRef<mlir::AffineExpr> b);

private:
  Evaluator &evaluator;
};

/// Fills the results; fails after an error.
using Rule = mlir::LogicalResult (*)(Evaluation &);
using RuleMap = llvm::StringMap<Rule>;

void addMoveRules(RuleMap &rules);
void addSelectRules(RuleMap &rules);
void addMathRules(RuleMap &rules);
void addReductionRules(RuleMap &rules);
void addModelRules(RuleMap &rules);
/// Rules of ganq operations, by full name.
void addGanqRules(RuleMap &rules);

//===----------------------------------------------------------------------===//
// Helpers
//===----------------------------------------------------------------------===//

std::optional<int64_t> getConstantValue(mlir::AffineExpr expr);
int64_t getProduct(llvm::ArrayRef<int64_t> values);
Ints getStrides(llvm::ArrayRef<int64_t> shape);
/// Calls `visit` with each index of `shape` in row-major order.
void forEachIndex(llvm::ArrayRef<int64_t> shape,
                  llvm::function_ref<void(llvm::ArrayRef<int64_t>)> visit);
/// For each element of `to`, the element of `from` that a broadcast reads.
Ints getBroadcastOrder(llvm::ArrayRef<int64_t> from,
                       llvm::ArrayRef<int64_t> to);
/// Elements in another order.
Elements take(const Elements &elements, llvm::ArrayRef<int64_t> order);
/// Both as the more general of their kinds.
void unify(Elements &a, Elements &b, mlir::MLIRContext *context);
/// Expressions become integers when all are constants.
Elements simplify(Elements elements);
/// Rounds to the nearest value of a float type, wraps to an integer type.
double roundTo(double value, mlir::Type type);
int64_t wrapTo(int64_t value, mlir::Type type);

} // namespace ganq::onnx

#endif // GANQ_LIB_ONNX_EVALUATE_RULES_H
