//===- Lowering.cpp - Lowering of one onnx operator -----------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Lowering.h"
#include "mlir/Dialect/ControlFlow/IR/ControlFlowOps.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Utils/ReshapeOpsUtils.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"

using namespace mlir;
using namespace ganq::lowering;

Type ganq::lowering::getSignless(Type type) {
  if (auto tensor = dyn_cast<RankedTensorType>(type))
    return tensor.clone(getSignless(tensor.getElementType()));
  if (auto tensor = dyn_cast<UnrankedTensorType>(type))
    return UnrankedTensorType::get(getSignless(tensor.getElementType()));
  if (auto integer = dyn_cast<IntegerType>(type))
    return IntegerType::get(type.getContext(), integer.getWidth());
  return type;
}

bool ganq::lowering::isUnsignedElement(Type type) {
  return getElementTypeOrSelf(type).isUnsignedInteger();
}

Type ganq::lowering::getComputeType(Type element) {
  if (isa<FloatType>(element) && element.getIntOrFloatBitWidth() < 32)
    return Float32Type::get(element.getContext());
  return element;
}

//===----------------------------------------------------------------------===//
// Operands, attributes and results
//===----------------------------------------------------------------------===//

Value Lowering::operand(unsigned i) const {
  Value value = onnx::getOperand(op, i);
  return value ? state.values.lookup(value).value : Value();
}

bool Lowering::isUnsigned(unsigned i) const {
  Value value = onnx::getOperand(op, i);
  return value && state.values.lookup(value).isUnsigned;
}

SmallVector<Value> Lowering::operands() const {
  SmallVector<Value> values;
  for (unsigned i = 0; i < getNumOperands(); ++i)
    if (Value value = operand(i))
      values.push_back(value);
  return values;
}

LogicalResult Lowering::normalizeAxes(MutableArrayRef<int64_t> axes,
                                      int64_t rank) const {
  for (int64_t &axis : axes) {
    if (axis < -rank || axis >= rank)
      return op->emitOpError("expected an axis between ")
             << -rank << " and " << rank - 1 << ", but got " << axis;
    if (axis < 0)
      axis += rank;
  }
  return success();
}

FailureOr<int64_t> Lowering::getAxis(StringRef name, int64_t defaultValue,
                                     int64_t rank) const {
  int64_t axis = getInt(name, defaultValue);
  if (failed(normalizeAxes(axis, rank)))
    return failure();
  return axis;
}

std::optional<SmallVector<int64_t>>
Lowering::constantInts(unsigned i, StringRef name) const {
  SmallVector<int64_t> values;
  if (Value value = onnx::getOperand(op, i)) {
    if (!onnx::getConstantInts(value, values))
      return std::nullopt;
    return values;
  }
  if (auto attr = onnx::getInts(op, name))
    return SmallVector<int64_t>(*attr);
  return std::nullopt;
}

FailureOr<Shape> Lowering::ints(unsigned i, StringRef name) {
  Shape result;
  if (auto known = constantInts(i, name)) {
    for (int64_t value : *known)
      result.push_back(b.getIndexAttr(value));
    return result;
  }
  Value value = operand(i);
  if (!value)
    return failure();
  RankedTensorType type = typeOf(value);
  if (type.getRank() > 1 || !type.hasStaticShape())
    return failure();
  for (int64_t k = 0; k < type.getNumElements(); ++k) {
    SmallVector<Value> position;
    if (type.getRank() == 1)
      position.push_back(b.index(k));
    Value element = tensor::ExtractOp::create(b, value, position);
    result.push_back(b.toIndex(element));
  }
  return result;
}

FailureOr<Shape> Lowering::intsOfLength(unsigned i, int64_t count) {
  FailureOr<Shape> known = ints(i);
  if (succeeded(known)) {
    if (known->size() != static_cast<size_t>(count))
      return failure();
    return known;
  }
  Value value = operand(i);
  if (!value || typeOf(value).getRank() != 1)
    return failure();
  assertThat(b.compare(Compare::EQ, toValue(shapeOf(value)[0]), b.index(count)),
             "expected operand " + Twine(i) + " to have " + Twine(count) +
                 " elements");
  Shape result;
  for (int64_t k = 0; k < count; ++k) {
    Value element = tensor::ExtractOp::create(b, value, b.index(k));
    result.push_back(b.toIndex(element));
  }
  return result;
}

Value Lowering::scalar(unsigned i) {
  Value value = operand(i);
  SmallVector<Value> position(typeOf(value).getRank(), b.index(0));
  return tensor::ExtractOp::create(b, value, position);
}

std::optional<int64_t> Lowering::declaredRank(unsigned i) const {
  auto type = dyn_cast<RankedTensorType>(op->getResult(i).getType());
  if (!type)
    return std::nullopt;
  return type.getRank();
}

Type Lowering::declaredElement(unsigned i) const {
  return getSignless(getElementTypeOrSelf(op->getResult(i).getType()));
}

bool Lowering::isResultUsed(unsigned i) const {
  return i < op->getNumResults() && !op->getResult(i).use_empty();
}

LogicalResult Lowering::setResult(unsigned i, Value value, bool isUnsigned) {
  Value result = op->getResult(i);
  Type declaredType = result.getType();
  if (isa<NoneType>(declaredType)) // An optional result that is left out.
    return success();
  Type declaredElementType = getElementTypeOrSelf(declaredType);
  if (isa<IntegerType>(declaredElementType))
    isUnsigned = declaredElementType.isUnsignedInteger();
  RankedTensorType type = typeOf(value);
  if (!isa<onnx::AnyType>(declaredElementType) &&
      getSignless(declaredElementType) != type.getElementType())
    return op->emitOpError("expected result ")
           << i << " to have elements of type " << type.getElementType()
           << ", but got " << declaredElementType;
  if (auto declared = dyn_cast<RankedTensorType>(declaredType)) {
    if (declared.getRank() != type.getRank())
      return op->emitOpError("expected result ")
             << i << " to have rank " << type.getRank() << ", but got "
             << declared.getRank();
    SmallVector<int64_t> sizes(type.getShape());
    for (auto [index, size] : llvm::enumerate(declared.getShape())) {
      if (ShapedType::isDynamic(size))
        continue;
      if (!ShapedType::isDynamic(sizes[index]) && sizes[index] != size)
        return op->emitOpError("expected result ")
               << i << " to have size " << sizes[index] << " in dimension "
               << index << ", but got " << size;
      sizes[index] = size;
    }
    auto refined = RankedTensorType::get(sizes, type.getElementType());
    if (refined != type) {
      Shape shape = shapeOf(value);
      for (auto [index, size] : llvm::enumerate(sizes))
        if (type.isDynamicDim(index) && !ShapedType::isDynamic(size)) {
          Value matches =
              b.compare(Compare::EQ, toValue(shape[index]), b.index(size));
          assertThat(matches, "expected size " + llvm::Twine(size) +
                                  " in dimension " + llvm::Twine(index));
          shape[index] = b.getIndexAttr(size);
        }
      value = tensor::CastOp::create(b, refined, value);
      state.shapes[value] = shape;
    }
  }
  state.values[result] = {value, isUnsigned};
  return success();
}

LogicalResult Lowering::unsupported(const Twine &what) const {
  return op->emitOpError("cannot be compiled: ") << what << " is not supported";
}

//===----------------------------------------------------------------------===//
// Sizes
//===----------------------------------------------------------------------===//

Shape Lowering::shapeOf(Value value) {
  Shape &known = state.shapes[value];
  RankedTensorType type = typeOf(value);
  if (known.empty() && type.getRank() > 0) {
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointAfterValue(value);
    known = tensor::getMixedSizes(b, b.getLoc(), value);
  }
  return known;
}

Value Lowering::toValue(OpFoldResult value) {
  return getValueOrCreateConstantIndexOp(b, b.getLoc(), value);
}
SmallVector<Value> Lowering::toValues(ArrayRef<OpFoldResult> values) {
  return getValueOrCreateConstantIndexOp(b, b.getLoc(), values);
}

template <typename Fold, typename Build>
static OpFoldResult combine(Lowering &l, OpFoldResult a, OpFoldResult c,
                            Fold fold, Build build) {
  auto x = getConstantIntValue(a), y = getConstantIntValue(c);
  if (x && y)
    return l.size(fold(*x, *y));
  return build(l.toValue(a), l.toValue(c));
}

OpFoldResult Lowering::add(OpFoldResult a, OpFoldResult c) {
  return combine(*this, a, c, std::plus<uint64_t>(),
                 [&](Value x, Value y) { return b.add(x, y); });
}
OpFoldResult Lowering::sub(OpFoldResult a, OpFoldResult c) {
  return combine(*this, a, c, std::minus<uint64_t>(),
                 [&](Value x, Value y) { return b.sub(x, y); });
}
OpFoldResult Lowering::mul(OpFoldResult a, OpFoldResult c) {
  if (isConstantIntValue(a, 1))
    return c;
  if (isConstantIntValue(c, 1))
    return a;
  return combine(*this, a, c, std::multiplies<uint64_t>(),
                 [&](Value x, Value y) { return b.mul(x, y); });
}
OpFoldResult Lowering::floorDiv(OpFoldResult a, OpFoldResult c) {
  if (isConstantIntValue(c, 1))
    return a;
  return combine(
      *this, a, c,
      [](int64_t x, int64_t y) {
        return y ? llvm::divideFloorSigned(x, y) : 0;
      },
      [&](Value x, Value y) -> Value {
        Value isZero = b.compare(Compare::EQ, y, b.index(0));
        return arith::FloorDivSIOp::create(b, x,
                                           b.select(isZero, b.index(1), y));
      });
}
OpFoldResult Lowering::max(OpFoldResult a, OpFoldResult c) {
  return combine(
      *this, a, c, [](int64_t x, int64_t y) { return std::max(x, y); },
      [&](Value x, Value y) { return b.max(x, y); });
}
OpFoldResult Lowering::min(OpFoldResult a, OpFoldResult c) {
  return combine(
      *this, a, c, [](int64_t x, int64_t y) { return std::min(x, y); },
      [&](Value x, Value y) { return b.min(x, y); });
}
OpFoldResult Lowering::product(ArrayRef<OpFoldResult> sizes) {
  OpFoldResult result = size(1);
  for (OpFoldResult factor : sizes)
    result = mul(result, factor);
  return result;
}

LogicalResult Lowering::requireSameElements(ArrayRef<unsigned> indices) const {
  for (unsigned i : indices)
    if (hasOperand(i) && (element(i) != element(indices.front()) ||
                          isUnsigned(i) != isUnsigned(indices.front())))
      return op->emitOpError("expected operand ")
             << i << " to have elements of type " << element(indices.front())
             << " as operand " << indices.front() << ", but got " << element(i);
  return success();
}

Value Lowering::isOneOf(int64_t dim, int64_t rank,
                        ArrayRef<OpFoldResult> axes) {
  Value result = b.integer(b.getI1Type(), 0);
  for (OpFoldResult axis : axes) {
    Value value = toValue(axis);
    for (int64_t candidate : {dim, dim - rank})
      result =
          b.orBits(result, b.compare(Compare::EQ, value, b.index(candidate)));
  }
  return result;
}

void Lowering::assertThat(Value condition, const Twine &message) {
  std::string text = op->getName().stripDialect().str();
  if (StringRef node = onnx::getNodeName(op); !node.empty())
    text += " '" + node.str() + "'";
  cf::AssertOp::create(b, condition, text + ": " + message.str());
}

FailureOr<Shape> Lowering::broadcast(ArrayRef<Shape> shapes) {
  size_t rank = 0;
  for (const Shape &shape : shapes)
    rank = std::max(rank, shape.size());
  Shape result(rank, size(1));
  for (size_t dim = 0; dim < rank; ++dim) {
    std::optional<int64_t> known;
    SmallVector<Value> dynamic;
    for (const Shape &shape : shapes) {
      if (dim + shape.size() < rank)
        continue;
      OpFoldResult entry = shape[dim + shape.size() - rank];
      if (auto constant = getConstantIntValue(entry)) {
        if (*constant == 1)
          continue;
        if (known && *known != *constant) {
          op->emitOpError("expected sizes that broadcast, but got ")
              << *known << " and " << *constant << " in dimension " << dim
              << " of the result";
          return failure();
        }
        known = *constant;
      } else if (auto value = cast<Value>(entry);
                 !llvm::is_contained(dynamic, value)) {
        dynamic.push_back(value);
      }
    }
    if (!known && dynamic.empty())
      continue;
    Value current = known ? b.index(*known) : dynamic.front();
    for (Value value : known ? ArrayRef<Value>(dynamic)
                             : ArrayRef<Value>(dynamic).drop_front()) {
      Value isOne = b.compare(Compare::EQ, value, b.index(1));
      Value agrees = b.orBits(isOne, b.compare(Compare::EQ, value, current));
      if (!known)
        agrees = b.orBits(agrees, b.compare(Compare::EQ, current, b.index(1)));
      assertThat(agrees, "expected sizes that broadcast in dimension " +
                             Twine(dim) + " of the result");
      if (!known)
        current = b.select(isOne, current, value);
    }
    result[dim] = known ? OpFoldResult(size(*known)) : OpFoldResult(current);
  }
  return result;
}

//===----------------------------------------------------------------------===//
// Tensors
//===----------------------------------------------------------------------===//

Value Lowering::empty(ArrayRef<OpFoldResult> shape, Type element) {
  return tensor::EmptyOp::create(b, shape, element);
}

static Value widen(BodyBuilder &body, Value value) {
  return body.cast(value, getComputeType(value.getType()), false, false);
}

Value Lowering::load(BodyBuilder &body, Value tensor, ValueRange indices) {
  return widen(body, tensor::ExtractOp::create(body, tensor, indices));
}

Value Lowering::loadIf(BodyBuilder &body, Value condition, Value tensor,
                       ValueRange indices, Value otherwise) {
  auto choice = scf::IfOp::create(
      body, condition,
      [&](OpBuilder &builder, Location loc) {
        BodyBuilder inner(loc, builder);
        scf::YieldOp::create(inner, load(inner, tensor, indices));
      },
      [&](OpBuilder &builder, Location loc) {
        scf::YieldOp::create(builder, loc, otherwise);
      });
  return choice.getResult(0);
}

void Lowering::requireNonEmpty(OpFoldResult size, const Twine &what) {
  if (auto constant = getConstantIntValue(size); constant && *constant > 0)
    return;
  assertThat(b.compare(Compare::GT, toValue(size), b.index(0)),
             "expected " + what + " not to be empty");
}

FailureOr<Value> Lowering::map(ValueRange inputs, Type element, MapFn body) {
  SmallVector<Shape> shapes;
  for (Value input : inputs)
    shapes.push_back(shapeOf(input));
  FailureOr<Shape> shape = broadcast(shapes);
  if (failed(shape))
    return failure();
  return mapTo(*shape, inputs, element, body);
}

Value Lowering::mapTo(const Shape &shape, ValueRange inputs, Type element,
                      MapFn body) {
  MLIRContext *context = b.getContext();
  unsigned rank = shape.size();
  SmallVector<Value> plain;
  SmallVector<AffineMap> maps;
  SmallVector<bool> isPlain;
  for (Value input : inputs) {
    Shape from = shapeOf(input);
    SmallVector<AffineExpr> exprs;
    bool known = true;
    for (auto [dim, entry] : llvm::enumerate(from)) {
      unsigned outer = dim + rank - from.size();
      if (isConstantIntValue(entry, 1))
        exprs.push_back(getAffineConstantExpr(0, context));
      else if (entry == shape[outer])
        exprs.push_back(getAffineDimExpr(outer, context));
      else
        known = false;
    }
    isPlain.push_back(known);
    if (!known)
      continue;
    plain.push_back(input);
    maps.push_back(AffineMap::get(rank, 0, exprs, context));
  }
  maps.push_back(AffineMap::getMultiDimIdentityMap(rank, context));
  Value init = empty(shape, element);
  SmallVector<utils::IteratorType> iterators(rank,
                                             utils::IteratorType::parallel);
  auto generic = linalg::GenericOp::create(
      b, b.getLoc(), init.getType(), plain, init, maps, iterators,
      [&](OpBuilder &builder, Location loc, ValueRange args) {
        BodyBuilder inner(loc, builder);
        SmallVector<Value> elements;
        unsigned next = 0;
        for (auto [input, known] : llvm::zip(inputs, isPlain)) {
          if (known) {
            elements.push_back(widen(inner, args[next++]));
            continue;
          }
          // A size of 1 at run time: every index means element 0.
          SmallVector<Value> position;
          int64_t inputRank = typeOf(input).getRank();
          for (int64_t dim = 0; dim < inputRank; ++dim) {
            Value i = linalg::IndexOp::create(inner, dim + rank - inputRank);
            Value size = tensor::DimOp::create(inner, input, dim);
            position.push_back(inner.min(i, inner.sub(size, inner.index(1))));
          }
          elements.push_back(load(inner, input, position));
        }
        Value value = body(inner, elements);
        linalg::YieldOp::create(inner,
                                inner.cast(value, element, false, false));
      });
  Value result = generic.getResult(0);
  state.shapes[result] = shape;
  return result;
}

Value Lowering::generate(const Shape &shape, Type element, MapFn body) {
  return mapTo(shape, {}, element, [&](BodyBuilder &inner, ValueRange) {
    SmallVector<Value> indices;
    for (unsigned dim = 0; dim < shape.size(); ++dim)
      indices.push_back(linalg::IndexOp::create(inner, dim));
    return body(inner, indices);
  });
}

Value Lowering::fill(const Shape &shape, Value scalar) {
  Value init = empty(shape, scalar.getType());
  Value result = linalg::FillOp::create(b, scalar, init).getResult(0);
  state.shapes[result] = shape;
  return result;
}

Value Lowering::reduce(Value input, ArrayRef<int64_t> axes, Value init,
                       MapFn body) {
  MLIRContext *context = b.getContext();
  Shape shape = shapeOf(input);
  unsigned rank = shape.size();
  SmallVector<AffineExpr> exprs;
  SmallVector<utils::IteratorType> iterators;
  for (unsigned dim = 0; dim < rank; ++dim) {
    bool reduced = llvm::is_contained(axes, static_cast<int64_t>(dim));
    exprs.push_back(reduced ? getAffineConstantExpr(0, context)
                            : getAffineDimExpr(dim, context));
    iterators.push_back(reduced ? utils::IteratorType::reduction
                                : utils::IteratorType::parallel);
    if (reduced)
      shape[dim] = size(1);
  }
  Value start = fill(shape, init);
  SmallVector<AffineMap> maps{AffineMap::getMultiDimIdentityMap(rank, context),
                              AffineMap::get(rank, 0, exprs, context)};
  auto generic = linalg::GenericOp::create(
      b, b.getLoc(), start.getType(), input, start, maps, iterators,
      [&](OpBuilder &builder, Location loc, ValueRange args) {
        BodyBuilder inner(loc, builder);
        Value value = body(inner, {widen(inner, args[0]), args[1]});
        linalg::YieldOp::create(inner, value);
      });
  Value result = generic.getResult(0);
  state.shapes[result] = shape;
  return result;
}

Value Lowering::castElements(Value input, Type element, bool fromUnsigned,
                             bool toUnsigned) {
  if (typeOf(input).getElementType() == element)
    return input;
  return mapTo(shapeOf(input), input, element,
               [&](BodyBuilder &s, ValueRange v) {
                 return s.cast(v[0], element, fromUnsigned, toUnsigned);
               });
}

Value Lowering::fromSizes(ArrayRef<OpFoldResult> sizes) {
  auto type = RankedTensorType::get({static_cast<int64_t>(sizes.size())},
                                    b.getI64Type());
  SmallVector<int64_t> known;
  for (OpFoldResult entry : sizes)
    if (auto constant = getConstantIntValue(entry))
      known.push_back(*constant);
  if (known.size() == sizes.size())
    return arith::ConstantOp::create(
        b, DenseElementsAttr::get(type, ArrayRef<int64_t>(known)));
  SmallVector<Value> elements;
  for (Value value : toValues(sizes))
    elements.push_back(arith::IndexCastOp::create(b, b.getI64Type(), value));
  return tensor::FromElementsOp::create(b, type, elements);
}

Value Lowering::reshape(Value input, const Shape &shape) {
  RankedTensorType type = typeOf(input);
  SmallVector<int64_t> sizes;
  SmallVector<Value> dynamic;
  dispatchIndexOpFoldResults(shape, dynamic, sizes);
  auto target = RankedTensorType::get(sizes, type.getElementType());
  if (target == type && type.hasStaticShape())
    return input;
  Value result;
  if (type.hasStaticShape() && target.hasStaticShape() &&
      type.getNumElements() == target.getNumElements()) {
    auto all = [](int64_t rank) {
      SmallVector<ReassociationIndices> groups;
      if (rank > 0)
        groups.push_back(llvm::to_vector(llvm::seq<int64_t>(0, rank)));
      return groups;
    };
    Value flat = input;
    auto groups = getReassociationIndicesForReshape(type, target);
    if (groups && type.getRank() > target.getRank()) {
      result = tensor::CollapseShapeOp::create(b, target, input, *groups);
    } else if (groups && type.getRank() < target.getRank()) {
      result = tensor::ExpandShapeOp::create(b, target, input, *groups);
    } else {
      auto flatType =
          RankedTensorType::get({type.getNumElements()}, type.getElementType());
      if (type.getRank() == 0)
        flat = tensor::ExpandShapeOp::create(
            b, flatType, flat, SmallVector<ReassociationIndices>());
      else if (type.getRank() > 1)
        flat = tensor::CollapseShapeOp::create(b, flatType, flat,
                                               all(type.getRank()));
      if (target.getRank() == 0)
        flat = tensor::CollapseShapeOp::create(
            b, target, flat, SmallVector<ReassociationIndices>());
      else if (target.getRank() > 1)
        flat = tensor::ExpandShapeOp::create(b, target, flat,
                                             all(target.getRank()));
      result = flat;
    }
  } else {
    auto isKnown = [](OpFoldResult entry) { return isa<Attribute>(entry); };
    if (!llvm::all_of(shape, isKnown) || !type.hasStaticShape()) {
      Value agrees = b.compare(Compare::EQ, toValue(product(shape)),
                               toValue(product(shapeOf(input))));
      assertThat(agrees, "expected as many elements as the operand has");
    }
    SmallVector<Value> values = toValues(shape);
    auto shapeType = RankedTensorType::get({static_cast<int64_t>(shape.size())},
                                           b.getIndexType());
    Value sizesTensor = tensor::FromElementsOp::create(b, shapeType, values);
    result = tensor::ReshapeOp::create(b, target, input, sizesTensor);
  }
  state.shapes[result] = shape;
  return result;
}

Value Lowering::transpose(Value input, ArrayRef<int64_t> permutation) {
  Shape from = shapeOf(input), shape;
  for (int64_t dim : permutation)
    shape.push_back(from[dim]);
  Value init = empty(shape, typeOf(input).getElementType());
  Value result =
      linalg::TransposeOp::create(b, input, init, permutation)->getResult(0);
  state.shapes[result] = shape;
  return result;
}
