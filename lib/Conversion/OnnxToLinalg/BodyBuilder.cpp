//===- BodyBuilder.cpp - Scalar code in loop bodies -----------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "BodyBuilder.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/IR/BuiltinTypes.h"

using namespace mlir;
using namespace ganq::lowering;

static bool isFloat(Value value) { return isa<FloatType>(value.getType()); }

Value BodyBuilder::constant(Type type, double value) {
  if (auto floatType = dyn_cast<FloatType>(type))
    return arith::ConstantOp::create(*this, getFloatAttr(floatType, value));
  return integer(type, static_cast<int64_t>(value));
}

Value BodyBuilder::integer(Type type, int64_t value) {
  if (isa<FloatType>(type))
    return constant(type, static_cast<double>(value));
  if (type.isIndex())
    return arith::ConstantIndexOp::create(*this, value);
  unsigned width = type.getIntOrFloatBitWidth();
  return arith::ConstantOp::create(
      *this, IntegerAttr::get(type, APInt(64, value).sextOrTrunc(width)));
}

Value BodyBuilder::limit(Type type, bool largest, bool isUnsigned) {
  if (auto floatType = dyn_cast<FloatType>(type))
    return arith::ConstantOp::create(
        *this,
        FloatAttr::get(floatType, APFloat::getInf(floatType.getFloatSemantics(),
                                                  /*Negative=*/!largest)));
  unsigned width = type.getIntOrFloatBitWidth();
  if (width == 1)
    isUnsigned = true;
  APInt value = isUnsigned
                    ? (largest ? APInt::getMaxValue(width) : APInt(width, 0))
                    : (largest ? APInt::getSignedMaxValue(width)
                               : APInt::getSignedMinValue(width));
  return arith::ConstantOp::create(*this, IntegerAttr::get(type, value));
}

Value BodyBuilder::add(Value a, Value b) {
  if (isFloat(a))
    return arith::AddFOp::create(*this, a, b);
  return arith::AddIOp::create(*this, a, b);
}
Value BodyBuilder::sub(Value a, Value b) {
  if (isFloat(a))
    return arith::SubFOp::create(*this, a, b);
  return arith::SubIOp::create(*this, a, b);
}
Value BodyBuilder::mul(Value a, Value b) {
  if (isFloat(a))
    return arith::MulFOp::create(*this, a, b);
  return arith::MulIOp::create(*this, a, b);
}

Value BodyBuilder::div(Value a, Value b, bool isUnsigned) {
  if (isFloat(a))
    return arith::DivFOp::create(*this, a, b);
  Type type = a.getType();
  Value zero = integer(type, 0), one = integer(type, 1);
  Value isZero = compare(Compare::EQ, b, zero);
  if (isUnsigned) {
    Value quotient = arith::DivUIOp::create(*this, a, select(isZero, one, b));
    return select(isZero, zero, quotient);
  }
  // The smallest value by -1 overflows, which traps; negate instead.
  Value isMinusOne = compare(Compare::EQ, b, integer(type, -1));
  Value divisor = select(orBits(isZero, isMinusOne), one, b);
  Value quotient = arith::DivSIOp::create(*this, a, divisor);
  return select(isZero, zero, select(isMinusOne, sub(zero, a), quotient));
}

Value BodyBuilder::min(Value a, Value b, bool isUnsigned) {
  if (isFloat(a))
    return arith::MinimumFOp::create(*this, a, b);
  if (isUnsigned)
    return arith::MinUIOp::create(*this, a, b);
  return arith::MinSIOp::create(*this, a, b);
}
Value BodyBuilder::max(Value a, Value b, bool isUnsigned) {
  if (isFloat(a))
    return arith::MaximumFOp::create(*this, a, b);
  if (isUnsigned)
    return arith::MaxUIOp::create(*this, a, b);
  return arith::MaxSIOp::create(*this, a, b);
}
Value BodyBuilder::neg(Value a) {
  if (isFloat(a))
    return arith::NegFOp::create(*this, a);
  return sub(integer(a.getType(), 0), a);
}

Value BodyBuilder::compare(Compare predicate, Value a, Value b,
                           bool isUnsigned) {
  using F = arith::CmpFPredicate;
  using I = arith::CmpIPredicate;
  if (isFloat(a)) {
    constexpr F floats[] = {F::OEQ, F::UNE, F::OLT, F::OLE, F::OGT, F::OGE};
    return arith::CmpFOp::create(*this, floats[static_cast<int>(predicate)], a,
                                 b);
  }
  constexpr I signedOnes[] = {I::eq, I::ne, I::slt, I::sle, I::sgt, I::sge};
  constexpr I unsignedOnes[] = {I::eq, I::ne, I::ult, I::ule, I::ugt, I::uge};
  I chosen =
      (isUnsigned ? unsignedOnes : signedOnes)[static_cast<int>(predicate)];
  return arith::CmpIOp::create(*this, chosen, a, b);
}

Value BodyBuilder::select(Value condition, Value a, Value b) {
  return arith::SelectOp::create(*this, condition, a, b);
}
Value BodyBuilder::andBits(Value a, Value b) {
  return arith::AndIOp::create(*this, a, b);
}
Value BodyBuilder::orBits(Value a, Value b) {
  return arith::OrIOp::create(*this, a, b);
}
Value BodyBuilder::notBool(Value a) {
  return arith::XOrIOp::create(*this, a, integer(a.getType(), -1));
}

Value BodyBuilder::cast(Value value, Type to, bool fromUnsigned,
                        bool toUnsigned) {
  Type from = value.getType();
  if (from == to)
    return value;
  if (from.isIndex() || to.isIndex()) {
    if (isa<FloatType>(from))
      return toIndex(cast(value, getI64Type(), false, false));
    if (isa<FloatType>(to))
      return cast(arith::IndexCastOp::create(*this, getI64Type(), value), to,
                  false, false);
    if (fromUnsigned || from.isInteger(1))
      return arith::IndexCastUIOp::create(*this, to, value);
    return arith::IndexCastOp::create(*this, to, value);
  }
  if (to.isInteger(1))
    return compare(Compare::NE, value, constant(from, 0));
  bool fromFloat = isa<FloatType>(from), toFloat = isa<FloatType>(to);
  unsigned fromWidth = from.getIntOrFloatBitWidth();
  unsigned toWidth = to.getIntOrFloatBitWidth();
  if (fromFloat && toFloat) {
    if (fromWidth == toWidth) // f16 and bf16
      return arith::TruncFOp::create(
          *this, to, arith::ExtFOp::create(*this, getF32Type(), value));
    if (fromWidth < toWidth)
      return arith::ExtFOp::create(*this, to, value);
    return arith::TruncFOp::create(*this, to, value);
  }
  if (fromFloat) {
    // Through 64 bits, where numbers that do not fit wrap.
    Type wide = getI64Type();
    Value number =
        toUnsigned && toWidth == 64
            ? arith::FPToUIOp::create(*this, wide, value).getResult()
            : arith::FPToSIOp::create(*this, wide, value).getResult();
    return toWidth == 64
               ? number
               : arith::TruncIOp::create(*this, to, number).getResult();
  }
  bool zeroExtend = fromUnsigned || from.isInteger(1);
  if (toFloat) {
    if (zeroExtend)
      return arith::UIToFPOp::create(*this, to, value);
    return arith::SIToFPOp::create(*this, to, value);
  }
  if (fromWidth == toWidth)
    return value;
  if (fromWidth > toWidth)
    return arith::TruncIOp::create(*this, to, value);
  if (zeroExtend)
    return arith::ExtUIOp::create(*this, to, value);
  return arith::ExtSIOp::create(*this, to, value);
}

Value BodyBuilder::toIndex(Value value) {
  if (value.getType().isIndex())
    return value;
  return arith::IndexCastOp::create(*this, getIndexType(), value);
}

Value BodyBuilder::wrapIndex(Value position, Value size) {
  Value zero = index(0);
  Value wrapped = select(compare(Compare::LT, position, zero),
                         add(position, size), position);
  return clamp(wrapped, zero, sub(size, index(1)));
}

Value BodyBuilder::clamp(Value value, Value low, Value high) {
  return max(min(value, high), low);
}

SmallVector<Value> BodyBuilder::loops(ValueRange bounds, ValueRange inits,
                                      Loop body) {
  SmallVector<Value> ivs;
  std::function<SmallVector<Value>(BodyBuilder &, ValueRange)> nest =
      [&](BodyBuilder &b, ValueRange carried) -> SmallVector<Value> {
    if (ivs.size() == bounds.size())
      return body(b, ivs, carried);
    auto loop = scf::ForOp::create(
        b, b.index(0), bounds[ivs.size()], b.index(1), carried,
        [&](OpBuilder &inner, Location loc, Value iv, ValueRange args) {
          ivs.push_back(iv);
          BodyBuilder nested(loc, inner);
          scf::YieldOp::create(nested, nest(nested, args));
          ivs.pop_back();
        });
    return SmallVector<Value>(loop.getResults());
  };
  return nest(*this, inits);
}
