//===- Elementwise.cpp - Elementwise onnx operators -----------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Lowering.h"
#include "mlir/Dialect/Math/IR/Math.h"

using namespace mlir;
using namespace ganq::lowering;
using ganq::onnx::getOpName;

//===----------------------------------------------------------------------===//
// One operand
//===----------------------------------------------------------------------===//

using Unary = Value (*)(BodyBuilder &, Value, Lowering &);

template <typename Op>
static Value unaryMath(BodyBuilder &s, Value x, Lowering &) {
  return Op::create(s, x);
}

static Value number(BodyBuilder &s, Value like, double value) {
  return s.constant(like.getType(), value);
}

static Value sigmoid(BodyBuilder &s, Value x) {
  Value one = number(s, x, 1);
  return s.div(one, s.add(one, math::ExpOp::create(s, s.neg(x))));
}

static Value isBelow(BodyBuilder &s, Value x, double bound) {
  return s.compare(Compare::LT, x, number(s, x, bound));
}

static Value geluErf(BodyBuilder &s, Value x) {
  Value scaled = s.mul(x, number(s, x, 0.70710678118654752440));
  Value erf = math::ErfOp::create(s, scaled);
  return s.mul(s.mul(number(s, x, 0.5), x), s.add(number(s, x, 1), erf));
}

static Value geluTanh(BodyBuilder &s, Value x) {
  Value cube = s.mul(s.mul(x, x), x);
  Value inner = s.mul(number(s, x, 0.79788456080286535588),
                      s.add(x, s.mul(number(s, x, 0.044715), cube)));
  Value tanh = math::TanhOp::create(s, inner);
  return s.mul(s.mul(number(s, x, 0.5), x), s.add(number(s, x, 1), tanh));
}

/// log(1 + exp(x)) without overflow.
static Value softplus(BodyBuilder &s, Value x) {
  Value zero = number(s, x, 0);
  Value tail = math::Log1pOp::create(
      s, math::ExpOp::create(s, s.neg(math::AbsFOp::create(s, x))));
  return s.add(s.max(x, zero), tail);
}

static Value isInf(BodyBuilder &s, Value x, Lowering &l) {
  Type type = x.getType();
  Value result = s.constant(s.getI1Type(), 0);
  if (l.getInt("detect_positive", 1))
    result =
        s.orBits(result, s.compare(Compare::EQ, x, s.limit(type, true, false)));
  if (l.getInt("detect_negative", 1))
    result = s.orBits(result,
                      s.compare(Compare::EQ, x, s.limit(type, false, false)));
  return result;
}

static const std::pair<const char *, Unary> kUnary[] = {
    {"Abs",
     [](BodyBuilder &s, Value x, Lowering &l) -> Value {
       if (isa<FloatType>(x.getType()))
         return math::AbsFOp::create(s, x);
       return l.isUnsigned(0) ? x : math::AbsIOp::create(s, x).getResult();
     }},
    {"Acos", unaryMath<math::AcosOp>},
    {"Acosh", unaryMath<math::AcoshOp>},
    {"Asin", unaryMath<math::AsinOp>},
    {"Asinh", unaryMath<math::AsinhOp>},
    {"Atan", unaryMath<math::AtanOp>},
    {"Atanh", unaryMath<math::AtanhOp>},
    {"BitwiseNot",
     [](BodyBuilder &s, Value x, Lowering &) { return s.notBool(x); }},
    {"Ceil", unaryMath<math::CeilOp>},
    {"Celu",
     [](BodyBuilder &s, Value x, Lowering &l) {
       Value alpha = number(s, x, l.getFloat("alpha", 1));
       Value zero = number(s, x, 0);
       Value low = s.mul(alpha, math::ExpM1Op::create(s, s.div(x, alpha)));
       return s.add(s.max(x, zero), s.min(zero, low));
     }},
    {"Cos", unaryMath<math::CosOp>},
    {"Cosh", unaryMath<math::CoshOp>},
    {"Elu",
     [](BodyBuilder &s, Value x, Lowering &l) {
       Value low = s.mul(number(s, x, l.getFloat("alpha", 1)),
                         math::ExpM1Op::create(s, x));
       return s.select(isBelow(s, x, 0), low, x);
     }},
    {"Erf", unaryMath<math::ErfOp>},
    {"Exp", unaryMath<math::ExpOp>},
    {"Floor", unaryMath<math::FloorOp>},
    {"Gelu",
     [](BodyBuilder &s, Value x, Lowering &l) {
       return ganq::onnx::getString(l.op, "approximate", "none") == "tanh"
                  ? geluTanh(s, x)
                  : geluErf(s, x);
     }},
    {"HardSigmoid",
     [](BodyBuilder &s, Value x, Lowering &l) {
       Value line = s.add(s.mul(number(s, x, l.getFloat("alpha", 0.2)), x),
                          number(s, x, l.getFloat("beta", 0.5)));
       return s.clamp(line, number(s, x, 0), number(s, x, 1));
     }},
    {"HardSwish",
     [](BodyBuilder &s, Value x, Lowering &) {
       Value line = s.add(s.div(x, number(s, x, 6)), number(s, x, 0.5));
       return s.mul(x, s.clamp(line, number(s, x, 0), number(s, x, 1)));
     }},
    {"LeakyRelu",
     [](BodyBuilder &s, Value x, Lowering &l) {
       Value low = s.mul(number(s, x, l.getFloat("alpha", 0.01)), x);
       return s.select(isBelow(s, x, 0), low, x);
     }},
    {"Log", unaryMath<math::LogOp>},
    {"Mish",
     [](BodyBuilder &s, Value x, Lowering &) {
       return s.mul(x, math::TanhOp::create(s, softplus(s, x)));
     }},
    {"Neg", [](BodyBuilder &s, Value x, Lowering &) { return s.neg(x); }},
    {"Not", [](BodyBuilder &s, Value x, Lowering &) { return s.notBool(x); }},
    {"Reciprocal", [](BodyBuilder &s, Value x,
                      Lowering &) { return s.div(number(s, x, 1), x); }},
    {"Relu", [](BodyBuilder &s, Value x,
                Lowering &) { return s.max(x, number(s, x, 0)); }},
    {"Round", unaryMath<math::RoundEvenOp>},
    {"Selu",
     [](BodyBuilder &s, Value x, Lowering &l) {
       Value alpha = number(s, x, l.getFloat("alpha", 1.67326319217681884765));
       Value gamma = number(s, x, l.getFloat("gamma", 1.05070102214813232421));
       Value low = s.mul(alpha, math::ExpM1Op::create(s, x));
       return s.mul(gamma, s.select(isBelow(s, x, 0), low, x));
     }},
    {"Shrink",
     [](BodyBuilder &s, Value x, Lowering &l) {
       double lambda = l.getFloat("lambd", 0.5);
       Value bias = number(s, x, l.getFloat("bias", 0));
       Value high = s.compare(Compare::GT, x, number(s, x, lambda));
       return s.select(isBelow(s, x, -lambda), s.add(x, bias),
                       s.select(high, s.sub(x, bias), number(s, x, 0)));
     }},
    {"Sigmoid",
     [](BodyBuilder &s, Value x, Lowering &) { return sigmoid(s, x); }},
    {"Sign",
     [](BodyBuilder &s, Value x, Lowering &l) {
       Value zero = number(s, x, 0), one = number(s, x, 1);
       Value positive = s.compare(Compare::GT, x, zero, l.isUnsigned(0));
       if (l.isUnsigned(0))
         return s.select(positive, one, zero);
       Value negative = s.compare(Compare::LT, x, zero);
       return s.select(positive, one, s.select(negative, number(s, x, -1), x));
     }},
    {"Sin", unaryMath<math::SinOp>},
    {"Sinh", unaryMath<math::SinhOp>},
    {"Softplus",
     [](BodyBuilder &s, Value x, Lowering &) { return softplus(s, x); }},
    {"Softsign",
     [](BodyBuilder &s, Value x, Lowering &) {
       return s.div(x, s.add(number(s, x, 1), math::AbsFOp::create(s, x)));
     }},
    {"Sqrt", unaryMath<math::SqrtOp>},
    {"Swish",
     [](BodyBuilder &s, Value x, Lowering &l) {
       Value scaled = s.mul(number(s, x, l.getFloat("alpha", 1)), x);
       return s.mul(x, sigmoid(s, scaled));
     }},
    {"Tan", unaryMath<math::TanOp>},
    {"Tanh", unaryMath<math::TanhOp>},
    {"ThresholdedRelu",
     [](BodyBuilder &s, Value x, Lowering &l) {
       Value bound = number(s, x, l.getFloat("alpha", 1));
       return s.select(s.compare(Compare::GT, x, bound), x, number(s, x, 0));
     }},
    {"com.microsoft.Gelu",
     [](BodyBuilder &s, Value x, Lowering &) { return geluErf(s, x); }},
    {"com.microsoft.QuickGelu",
     [](BodyBuilder &s, Value x, Lowering &l) {
       Value scaled = s.mul(number(s, x, l.getFloat("alpha", 1.702)), x);
       return s.mul(x, sigmoid(s, scaled));
     }},
};

/// Operators with a boolean result.
static const std::pair<const char *, Unary> kUnaryTests[] = {
    {"IsInf", isInf},
    {"IsNaN", [](BodyBuilder &s, Value x,
                 Lowering &) { return s.compare(Compare::NE, x, x); }},
};

//===----------------------------------------------------------------------===//
// Two operands
//===----------------------------------------------------------------------===//

using Binary = Value (*)(BodyBuilder &, Value, Value, Lowering &);

static Value modulo(BodyBuilder &s, Value x, Value y, Lowering &l) {
  Type type = x.getType();
  if (isa<FloatType>(type))
    return arith::RemFOp::create(s, x, y);
  Value zero = s.integer(type, 0);
  bool isUnsigned = l.isUnsigned(0);
  // x - trunc(x / y) y has the sign of x; Mod wants the sign of y.
  Value rest = s.sub(x, s.mul(s.div(x, y, isUnsigned), y));
  rest = s.select(s.compare(Compare::EQ, y, zero), zero, rest);
  if (isUnsigned || l.getInt("fmod", 0))
    return rest;
  Value differs =
      s.andBits(s.compare(Compare::NE, rest, zero),
                arith::XOrIOp::create(s, s.compare(Compare::LT, rest, zero),
                                      s.compare(Compare::LT, y, zero)));
  return s.select(differs, s.add(rest, y), rest);
}

/// Exact for integers; the result has the type of the base.
static Value power(BodyBuilder &s, Value x, Value y, Lowering &l) {
  Type type = x.getType();
  if (isa<FloatType>(type)) {
    if (!isa<FloatType>(y.getType())) {
      Value exponent = s.cast(y, type, l.isUnsigned(1), false);
      return math::PowFOp::create(s, x, exponent);
    }
    return math::PowFOp::create(s, x, s.cast(y, type, false, false));
  }
  if (isa<FloatType>(y.getType())) {
    Type f64 = s.getF64Type();
    Value result =
        math::PowFOp::create(s, s.cast(x, f64, l.isUnsigned(0), false),
                             s.cast(y, f64, false, false));
    return s.cast(result, type, false, l.isUnsigned(0));
  }
  // Squaring: the bits of the exponent, low ones first.
  Type i64 = s.getI64Type();
  Value exponent = s.cast(y, i64, l.isUnsigned(1), false);
  Value one = s.integer(type, 1);
  SmallVector<Value> result = s.loops(
      {s.index(64)}, {one, x},
      [&](BodyBuilder &inner, ValueRange ivs, ValueRange carried) {
        Value shift = arith::IndexCastOp::create(inner, i64, ivs[0]);
        Value bit = inner.cast(
            inner.andBits(arith::ShRUIOp::create(inner, exponent, shift),
                          inner.integer(i64, 1)),
            inner.getI1Type(), false, false);
        Value next = inner.mul(carried[0], carried[1]);
        return SmallVector<Value>{inner.select(bit, next, carried[0]),
                                  inner.mul(carried[1], carried[1])};
      });
  Value negative = s.compare(Compare::LT, exponent, s.integer(i64, 0));
  Value isOne = s.compare(Compare::EQ, x, one);
  return s.select(s.andBits(negative, s.notBool(isOne)), s.integer(type, 0),
                  result[0]);
}

static Value shiftBits(BodyBuilder &s, Value x, Value y, Lowering &l) {
  Type type = x.getType();
  Value width = s.integer(type, type.getIntOrFloatBitWidth());
  Value fits = s.compare(Compare::LT, y, width, /*isUnsigned=*/true);
  Value zero = s.integer(type, 0);
  Value amount = s.select(fits, y, zero);
  Value shifted = ganq::onnx::getString(l.op, "direction") == "LEFT"
                      ? arith::ShLIOp::create(s, x, amount).getResult()
                      : arith::ShRUIOp::create(s, x, amount).getResult();
  return s.select(fits, shifted, zero);
}

template <Compare predicate>
static Value comparison(BodyBuilder &s, Value x, Value y, Lowering &l) {
  return s.compare(predicate, x, y,
                   l.isUnsigned(0) || x.getType().isInteger(1));
}
static Value bitwiseAnd(BodyBuilder &s, Value x, Value y, Lowering &) {
  return s.andBits(x, y);
}
static Value bitwiseOr(BodyBuilder &s, Value x, Value y, Lowering &) {
  return s.orBits(x, y);
}
static Value bitwiseXor(BodyBuilder &s, Value x, Value y, Lowering &) {
  return arith::XOrIOp::create(s, x, y);
}

/// The result has the type of the first operand.
static const std::pair<const char *, Binary> kBinary[] = {
    {"Add",
     [](BodyBuilder &s, Value x, Value y, Lowering &) { return s.add(x, y); }},
    {"And", bitwiseAnd},
    {"BitShift", shiftBits},
    {"BitwiseAnd", bitwiseAnd},
    {"BitwiseOr", bitwiseOr},
    {"BitwiseXor", bitwiseXor},
    {"Div", [](BodyBuilder &s, Value x, Value y,
               Lowering &l) { return s.div(x, y, l.isUnsigned(0)); }},
    {"Mod", modulo},
    {"Mul",
     [](BodyBuilder &s, Value x, Value y, Lowering &) { return s.mul(x, y); }},
    {"Or", bitwiseOr},
    {"PRelu",
     [](BodyBuilder &s, Value x, Value slope, Lowering &) {
       return s.select(s.compare(Compare::LT, x, number(s, x, 0)),
                       s.mul(slope, x), x);
     }},
    {"Pow", power},
    {"Sub",
     [](BodyBuilder &s, Value x, Value y, Lowering &) { return s.sub(x, y); }},
    {"SwiGLU", [](BodyBuilder &s, Value x, Value y,
                  Lowering &) { return s.mul(s.mul(x, sigmoid(s, x)), y); }},
    {"Xor", bitwiseXor},
    {"com.microsoft.BiasGelu",
     [](BodyBuilder &s, Value x, Value bias, Lowering &) {
       return geluErf(s, s.add(x, bias));
     }},
};

static const std::pair<const char *, Binary> kComparisons[] = {
    {"Equal", comparison<Compare::EQ>},
    {"Greater", comparison<Compare::GT>},
    {"GreaterOrEqual", comparison<Compare::GE>},
    {"Less", comparison<Compare::LT>},
    {"LessOrEqual", comparison<Compare::LE>},
};

//===----------------------------------------------------------------------===//
// Drivers
//===----------------------------------------------------------------------===//

/// Finds an operator's entry; tables are searched by name.
template <typename Fn, size_t n>
static Fn find(const std::pair<const char *, Fn> (&entries)[n], Operation *op) {
  StringRef name = getOpName(op);
  for (const auto &[key, fn] : entries)
    if (name == key)
      return fn;
  llvm_unreachable("registered from the same table");
}

static LogicalResult requireSameElements(Lowering &l) {
  for (unsigned i = 1; i < l.getNumOperands(); ++i)
    if (l.hasOperand(i) && l.element(i) != l.element(0))
      return l.op->emitOpError("expected operand ")
             << i << " to have elements of type " << l.element(0)
             << ", but got " << l.element(i);
  return success();
}

static LogicalResult lowerUnary(Lowering &l) {
  Unary fn = find(kUnary, l.op);
  static constexpr StringLiteral integerOps[] = {"Abs", "BitwiseNot", "Neg",
                                                 "Not", "Relu",       "Sign"};
  if (!isa<FloatType>(l.element(0)) &&
      !llvm::is_contained(integerOps, getOpName(l.op)))
    return l.unsupported("an operand of integers");
  FailureOr<Value> result =
      l.map(l.operand(0), l.element(0),
            [&](BodyBuilder &s, ValueRange v) { return fn(s, v[0], l); });
  return failed(result) ? failure() : l.setResult(*result, l.isUnsigned(0));
}

static LogicalResult lowerUnaryTest(Lowering &l) {
  Unary fn = find(kUnaryTests, l.op);
  if (!isa<FloatType>(l.element(0)))
    return l.unsupported("an operand of integers");
  FailureOr<Value> result =
      l.map(l.operand(0), l.b.getI1Type(),
            [&](BodyBuilder &s, ValueRange v) { return fn(s, v[0], l); });
  return failed(result) ? failure() : l.setResult(*result);
}

static LogicalResult lowerBinary(Lowering &l) {
  StringRef name = getOpName(l.op);
  Binary fn = find(kBinary, l.op);
  if (name != "Pow" && failed(requireSameElements(l)))
    return failure();
  FailureOr<Value> result =
      l.map({l.operand(0), l.operand(1)}, l.element(0),
            [&](BodyBuilder &s, ValueRange v) { return fn(s, v[0], v[1], l); });
  return failed(result) ? failure() : l.setResult(*result, l.isUnsigned(0));
}

static LogicalResult lowerComparison(Lowering &l) {
  Binary fn = find(kComparisons, l.op);
  if (failed(requireSameElements(l)))
    return failure();
  FailureOr<Value> result =
      l.map({l.operand(0), l.operand(1)}, l.b.getI1Type(),
            [&](BodyBuilder &s, ValueRange v) { return fn(s, v[0], v[1], l); });
  return failed(result) ? failure() : l.setResult(*result);
}

/// Max, Min, Sum and Mean of any number of operands.
static LogicalResult lowerVariadic(Lowering &l) {
  StringRef name = getOpName(l.op);
  bool isUnsigned = l.isUnsigned(0);
  SmallVector<Value> inputs = l.operands();
  if (failed(requireSameElements(l)))
    return failure();
  FailureOr<Value> result =
      l.map(inputs, l.element(0), [&](BodyBuilder &s, ValueRange v) {
        Value value = v[0];
        for (Value next : v.drop_front())
          value = name == "Max"   ? s.max(value, next, isUnsigned)
                  : name == "Min" ? s.min(value, next, isUnsigned)
                                  : s.add(value, next);
        return name == "Mean" ? s.div(value, number(s, value, inputs.size()))
                              : value;
      });
  return failed(result) ? failure() : l.setResult(*result, isUnsigned);
}

static LogicalResult lowerClip(Lowering &l) {
  bool isUnsigned = l.isUnsigned(0);
  Type compute = getComputeType(l.element(0));
  auto bound = [&](unsigned i, StringRef name) -> Value {
    if (l.hasOperand(i))
      return l.b.cast(l.scalar(i), compute, isUnsigned, isUnsigned);
    if (auto attr = l.op->getAttrOfType<FloatAttr>(name))
      return l.b.constant(compute, attr.getValueAsDouble());
    return {};
  };
  Value low = bound(1, "min"), high = bound(2, "max");
  FailureOr<Value> result =
      l.map(l.operand(0), l.element(0), [&](BodyBuilder &s, ValueRange v) {
        Value value = v[0];
        if (low)
          value = s.max(value, low, isUnsigned);
        if (high)
          value = s.min(value, high, isUnsigned);
        return value;
      });
  return failed(result) ? failure() : l.setResult(*result, isUnsigned);
}

static LogicalResult lowerWhere(Lowering &l) {
  if (l.element(1) != l.element(2))
    return l.op->emitOpError("expected operands 1 and 2 to have one element "
                             "type, but got ")
           << l.element(1) << " and " << l.element(2);
  FailureOr<Value> result =
      l.map(l.operands(), l.element(1), [&](BodyBuilder &s, ValueRange v) {
        return s.select(v[0], v[1], v[2]);
      });
  return failed(result) ? failure() : l.setResult(*result, l.isUnsigned(1));
}

/// The type with number `to` of TensorProto.DataType; null if it cannot be
/// compiled.
static Type getDataType(MLIRContext *context, int64_t to, bool &isUnsigned) {
  Type type = ganq::onnx::getElementType(to, context);
  if (!type || !type.isIntOrFloat())
    return {};
  unsigned width = type.getIntOrFloatBitWidth();
  if (isa<FloatType>(type) ? width < 16 : width != 1 && width < 8)
    return {};
  isUnsigned = type.isUnsignedInteger();
  return getSignless(type);
}

static LogicalResult lowerCast(Lowering &l) {
  bool isUnsigned = false;
  Type element;
  if (getOpName(l.op) == "CastLike") {
    element = l.element(1);
    isUnsigned = l.isUnsigned(1);
  } else {
    int64_t to = l.getInt("to", 0);
    element = getDataType(l.b.getContext(), to, isUnsigned);
    if (!element)
      return l.unsupported("a cast to data type " + Twine(to));
  }
  if (element == l.element(0))
    return l.setResult(l.operand(0), isUnsigned);
  return l.setResult(
      l.castElements(l.operand(0), element, l.isUnsigned(0), isUnsigned),
      isUnsigned);
}

static LogicalResult lowerFastGelu(Lowering &l) {
  FailureOr<Value> result =
      l.map(l.operands(), l.element(0), [&](BodyBuilder &s, ValueRange v) {
        return geluTanh(s, v.size() > 1 ? s.add(v[0], v[1]) : v[0]);
      });
  return failed(result) ? failure() : l.setResult(*result);
}

void ganq::lowering::addElementwiseLowerings(LoweringTable &table) {
  for (const auto &entry : kUnary)
    table[entry.first] = lowerUnary;
  for (const auto &entry : kUnaryTests)
    table[entry.first] = lowerUnaryTest;
  for (const auto &entry : kBinary)
    table[entry.first] = lowerBinary;
  for (const auto &entry : kComparisons)
    table[entry.first] = lowerComparison;
  for (StringRef name : {"Max", "Min", "Sum", "Mean"})
    table[name] = lowerVariadic;
  table["Clip"] = lowerClip;
  table["Where"] = lowerWhere;
  table["Cast"] = lowerCast;
  table["CastLike"] = lowerCast;
  table["com.microsoft.FastGelu"] = lowerFastGelu;
}
