//===- Lowering.h - Lowering of one onnx operator ---------------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_LIB_CONVERSION_ONNXTOLINALG_LOWERING_H
#define GANQ_LIB_CONVERSION_ONNXTOLINALG_LOWERING_H

#include "BodyBuilder.h"
#include "ganq/Onnx/OnnxDialect.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/StringMap.h"

namespace ganq::lowering {

using mlir::failed;
using mlir::failure;
using mlir::FailureOr;
using mlir::LogicalResult;
using mlir::Operation;
using mlir::OpFoldResult;
using mlir::RankedTensorType;
using mlir::SmallVector;
using mlir::success;
using mlir::Type;
using mlir::Value;
using mlir::ValueRange;

/// Sizes as constants or values of type index.
using Shape = SmallVector<OpFoldResult>;

/// What stands for a value of the onnx dialect: a tensor of signless elements.
struct Lowered {
  Value value;
  bool isUnsigned = false;
};

/// What is known about the function as a whole.
struct LoweringState {
  llvm::DenseMap<Value, Lowered> values;
  /// Sizes that dominate their tensor; equal values mean equal sizes.
  llvm::DenseMap<Value, Shape> shapes;
};

/// `type` with signless element types.
Type getSignless(Type type);
bool isUnsignedElement(Type type);

/// Lowers one operator: reads operands and attributes, builds code before the
/// operator and sets its results. Floats below 32 bits are widened to f32 in
/// the bodies of `map`, `generate` and `reduce`.
class Lowering {
public:
  Lowering(Operation *op, LoweringState &state)
      : op(op), b(op->getLoc(), mlir::OpBuilder(op)), state(state) {}

  Operation *const op;
  BodyBuilder b;

  //===-- Operands, attributes and results --------------------------------===//

  unsigned getNumOperands() const { return op->getNumOperands(); }
  /// Null when operand `i` is missing.
  Value operand(unsigned i) const;
  bool hasOperand(unsigned i) const { return static_cast<bool>(operand(i)); }
  bool isUnsigned(unsigned i) const;
  /// All operands that are present, and whether they are unsigned.
  SmallVector<Value> operands() const;
  RankedTensorType type(unsigned i) const { return typeOf(operand(i)); }
  Type element(unsigned i) const { return type(i).getElementType(); }
  int64_t rank(unsigned i) const { return type(i).getRank(); }
  int64_t getInt(llvm::StringRef name, int64_t defaultValue) const {
    return onnx::getInt(op, name, defaultValue);
  }
  double getFloat(llvm::StringRef name, double defaultValue) const {
    return onnx::getFloat(op, name, defaultValue);
  }
  /// Attribute `name` as an axis of a tensor of `rank` dimensions.
  FailureOr<int64_t> getAxis(llvm::StringRef name, int64_t defaultValue,
                             int64_t rank) const;
  /// Makes axes non-negative; an error when one is out of range.
  LogicalResult normalizeAxes(llvm::MutableArrayRef<int64_t> axes,
                              int64_t rank) const;
  /// The elements of integer operand `i`, or else attribute `name`, when they
  /// are known at compile time; nothing when absent or not known.
  std::optional<SmallVector<int64_t>> constantInts(unsigned i,
                                                   llvm::StringRef name) const;
  /// The elements of integer operand `i`, or else attribute `name`, as indices
  /// that may be known at run time only. Fails without a message when absent
  /// or of unknown length.
  FailureOr<Shape> ints(unsigned i, llvm::StringRef name = "");
  /// The same for an operand whose length is known to be `count`; run-time
  /// lengths are checked.
  FailureOr<Shape> intsOfLength(unsigned i, int64_t count);
  /// Checks that the operands hold integers, floats or booleans where the
  /// operator wants them to.
  LogicalResult checkElementKinds() const;
  /// Checks that the operands of this list that are present have the element
  /// type of the first.
  LogicalResult requireSameElements(llvm::ArrayRef<unsigned> indices) const;
  /// The only element of operand `i` as a scalar.
  Value scalar(unsigned i);

  /// The rank of result `i` where the model tells it.
  std::optional<int64_t> declaredRank(unsigned i) const;
  Type declaredElement(unsigned i) const;
  bool isResultUsed(unsigned i) const;
  /// Sets a result. It gets the static sizes that the model declares. The
  /// signedness is the declared one or, where unknown, `isUnsigned`.
  LogicalResult setResult(unsigned i, Value value, bool isUnsigned = false);
  LogicalResult setResult(Value value, bool isUnsigned = false) {
    return setResult(0, value, isUnsigned);
  }
  /// Reports that `what` is not supported here.
  LogicalResult unsupported(const llvm::Twine &what) const;

  //===-- Sizes -----------------------------------------------------------===//

  static RankedTensorType typeOf(Value value) {
    return mlir::cast<RankedTensorType>(value.getType());
  }
  OpFoldResult size(int64_t value) { return b.getIndexAttr(value); }
  Shape shapeOf(Value value);
  Value toValue(OpFoldResult value);
  SmallVector<Value> toValues(llvm::ArrayRef<OpFoldResult> values);
  OpFoldResult add(OpFoldResult a, OpFoldResult c);
  OpFoldResult sub(OpFoldResult a, OpFoldResult c);
  OpFoldResult mul(OpFoldResult a, OpFoldResult c);
  OpFoldResult floorDiv(OpFoldResult a, OpFoldResult c);
  OpFoldResult max(OpFoldResult a, OpFoldResult c);
  OpFoldResult min(OpFoldResult a, OpFoldResult c);
  OpFoldResult product(llvm::ArrayRef<OpFoldResult> sizes);
  /// Whether `dim` of `rank` dimensions is one of `axes`, which count from the
  /// end where negative.
  Value isOneOf(int64_t dim, int64_t rank, llvm::ArrayRef<OpFoldResult> axes);
  /// Makes the call of the entry fail with `message` when `condition` is false.
  void assertThat(Value condition, const llvm::Twine &message);
  /// Sizes of the broadcast of `shapes`; checks run-time sizes. An error when
  /// static sizes do not agree.
  FailureOr<Shape> broadcast(llvm::ArrayRef<Shape> shapes);

  //===-- Tensors ---------------------------------------------------------===//

  Value empty(llvm::ArrayRef<OpFoldResult> shape, Type element);
  using MapFn = llvm::function_ref<Value(BodyBuilder &, ValueRange)>;
  /// Applies `body` elementwise to inputs that broadcast to each other. The
  /// result has elements of type `element`.
  FailureOr<Value> map(ValueRange inputs, Type element, MapFn body);
  /// The same with inputs that broadcast to `shape`.
  Value mapTo(const Shape &shape, ValueRange inputs, Type element, MapFn body);
  /// A tensor whose elements `body` computes from their indices.
  Value generate(const Shape &shape, Type element, MapFn body);
  /// Reads one element in a body; floats below 32 bits are widened.
  static Value load(BodyBuilder &body, Value tensor, ValueRange indices);
  /// The same where `condition` holds, else `otherwise`; nothing is read then.
  static Value loadIf(BodyBuilder &body, Value condition, Value tensor,
                      ValueRange indices, Value otherwise);
  /// Checks that indices into a dimension of this size make sense.
  void requireNonEmpty(OpFoldResult size, const llvm::Twine &what);
  /// Folds the elements along `axes` into one of type `accumulator`. The body
  /// gets element and accumulator. Reduced dimensions stay with size 1.
  Value reduce(Value input, llvm::ArrayRef<int64_t> axes, Value init,
               MapFn body);
  Value castElements(Value input, Type element, bool fromUnsigned = false,
                     bool toUnsigned = false);
  /// The same elements in row-major order; the counts must agree.
  Value reshape(Value input, const Shape &shape);
  Value transpose(Value input, llvm::ArrayRef<int64_t> permutation);
  /// A rank 1 tensor of i64.
  Value fromSizes(llvm::ArrayRef<OpFoldResult> sizes);
  /// A tensor filled with a scalar.
  Value fill(const Shape &shape, Value scalar);

  LoweringState &state;
};

using LowerFn = LogicalResult (*)(Lowering &);
using LoweringTable = llvm::StringMap<LowerFn>;

/// The type that bodies compute with for tensors of `element`.
Type getComputeType(Type element);

void addElementwiseLowerings(LoweringTable &table);
void addShapeLowerings(LoweringTable &table);
void addPartLowerings(LoweringTable &table);
void addIndexingLowerings(LoweringTable &table);
void addReductionLowerings(LoweringTable &table);
void addMatMulLowerings(LoweringTable &table);
void addNormalizationLowerings(LoweringTable &table);
void addQuantizationLowerings(LoweringTable &table);
void addBlockQuantizedLowerings(LoweringTable &table);
void addWindowLowerings(LoweringTable &table);
void addLossLowerings(LoweringTable &table);

/// Reads an index of `tensor`, counted from the end if negative, and keeps it
/// within [0, size).
Value loadIndex(BodyBuilder &s, Value tensor, ValueRange position, Value size);
/// Indices of operand `i` within [-size, size), or [0, size) without `fromEnd`:
/// an error for constants, a check at run time for the others. `sizes` has one
/// entry, or one per place in the last dimension of the operand.
LogicalResult requireWithin(Lowering &l, unsigned i,
                            llvm::ArrayRef<OpFoldResult> sizes,
                            bool fromEnd = true);
/// Layer norm over the last dimension in f32 or wider, times `scale` plus
/// `bias`.
FailureOr<Value> buildLayerNorm(Lowering &l, Value x, double epsilon,
                                Value scale, Value bias);
/// exp(x - max(x)) / sum(...) along `axis`; with `log` its logarithm.
Value buildSoftmax(Lowering &l, Value input, int64_t axis, bool log);
/// numpy.matmul of operands of rank 1 or more. `product` gets two elements and
/// gives a term of type `accumulator`.
FailureOr<Value> buildMatMul(Lowering &l, Value a, Value c, Type accumulator,
                             Lowering::MapFn product);

} // namespace ganq::lowering

#endif // GANQ_LIB_CONVERSION_ONNXTOLINALG_LOWERING_H
