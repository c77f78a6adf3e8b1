//===- MathRules.cpp - Elementwise operators ------------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Rules.h"
#include <cmath>
#include <limits>

using namespace mlir;
using namespace ganq::onnx;

//===----------------------------------------------------------------------===//
// One operand
//===----------------------------------------------------------------------===//

namespace {
struct FloatFunction {
  StringRef name;
  double (*apply)(double);
};
} // namespace

static const FloatFunction kFloatFunctions[] = {
    {"Neg", [](double x) { return -x; }},
    {"Abs", [](double x) { return std::fabs(x); }},
    {"Sqrt", [](double x) { return std::sqrt(x); }},
    {"Reciprocal", [](double x) { return 1 / x; }},
    {"Exp", [](double x) { return std::exp(x); }},
    {"Log", [](double x) { return std::log(x); }},
    {"Erf", [](double x) { return std::erf(x); }},
    {"Tanh", [](double x) { return std::tanh(x); }},
    {"Sin", [](double x) { return std::sin(x); }},
    {"Cos", [](double x) { return std::cos(x); }},
    {"Tan", [](double x) { return std::tan(x); }},
    {"Floor", [](double x) { return std::floor(x); }},
    {"Ceil", [](double x) { return std::ceil(x); }},
    {"Round", [](double x) { return std::nearbyint(x); }},
    {"Relu", [](double x) { return x > 0 ? x : 0.0; }},
    {"Sigmoid", [](double x) { return 1 / (1 + std::exp(-x)); }},
    {"Softplus", [](double x) { return std::log1p(std::exp(x)); }},
    {"Sign", [](double x) { return static_cast<double>((x > 0) - (x < 0)); }},
};

static int64_t wrappingNegate(int64_t x) {
  return static_cast<int64_t>(0 - static_cast<uint64_t>(x));
}

static LogicalResult evaluateUnary(Evaluation &e) {
  e.setLike(0, 0);
  StringRef name = getOpName(e.op);
  Type type = e.in[0].elementType;
  if (!e.getComputableShape(0) || !e.loadAll({0}))
    return success();
  if (const std::vector<double> *floats = e.in[0].getFloats()) {
    const auto *function =
        llvm::find_if(kFloatFunctions, [&](const FloatFunction &candidate) {
          return candidate.name == name;
        });
    if (function == std::end(kFloatFunctions))
      return success();
    std::vector<double> values;
    for (double x : *floats)
      values.push_back(roundTo(function->apply(x), type));
    e.setElements(0, std::move(values));
    return success();
  }
  if (const std::vector<int64_t> *ints = e.in[0].getInts()) {
    std::vector<int64_t> values;
    for (int64_t x : *ints) {
      if (name == "Neg")
        x = wrappingNegate(x);
      else if (name == "Abs")
        x = x < 0 ? wrappingNegate(x) : x;
      else if (name == "Sign")
        x = (x > 0) - (x < 0);
      else if (name == "Relu")
        x = std::max<int64_t>(x, 0);
      else if (name == "Not")
        x = !x;
      else if (name == "BitwiseNot")
        x = ~x;
      else
        return success();
      values.push_back(wrapTo(x, type));
    }
    e.setElements(0, std::move(values));
    return success();
  }
  std::optional<Dims> exprs = e.getExprs(0);
  if (exprs && name == "Neg") {
    std::vector<AffineExpr> values;
    for (AffineExpr x : *exprs)
      values.push_back(x ? -x : x);
    e.setElements(0, std::move(values));
  }
  return success();
}

static LogicalResult evaluateTest(Evaluation &e) {
  if (e.in[0].hasRank)
    e.set(0, e.intType(1), e.in[0].dims);
  else
    e.setUnranked(0, e.intType(1));
  const std::vector<double> *floats = nullptr;
  if (e.getComputableShape(0) && e.loadAll({0}))
    floats = e.in[0].getFloats();
  if (!floats || getOpName(e.op) != "IsNaN")
    return success();
  std::vector<int64_t> values;
  for (double x : *floats)
    values.push_back(std::isnan(x));
  e.setElements(0, std::move(values));
  return success();
}

/// Elements of `from` as elements of type `to`; false when one has no value.
static bool convert(const Elements &from, Type to, Elements &result) {
  bool toFloat = isa<FloatType>(to);
  if (const auto *exprs = std::get_if<std::vector<AffineExpr>>(&from)) {
    // A size fits in every integer type that a model would use for it.
    result = *exprs;
    return isa<IntegerType>(to) && to.getIntOrFloatBitWidth() >= 32;
  }
  if (const auto *ints = std::get_if<std::vector<int64_t>>(&from)) {
    if (toFloat) {
      std::vector<double> values;
      for (int64_t x : *ints)
        values.push_back(roundTo(static_cast<double>(x), to));
      result = std::move(values);
      return true;
    }
    std::vector<int64_t> values;
    for (int64_t x : *ints)
      values.push_back(wrapTo(x, to));
    result = std::move(values);
    return isa<IntegerType>(to);
  }
  const auto &floats = std::get<std::vector<double>>(from);
  if (toFloat) {
    std::vector<double> values;
    for (double x : floats)
      values.push_back(roundTo(x, to));
    result = std::move(values);
    return true;
  }
  std::vector<int64_t> values;
  for (double x : floats) {
    if (to.isInteger(1)) {
      values.push_back(x != 0);
      continue;
    }
    if (!(std::fabs(x) < 9.2e18))
      return false;
    values.push_back(wrapTo(static_cast<int64_t>(x), to));
  }
  result = std::move(values);
  return isa<IntegerType>(to);
}

static LogicalResult castTo(Evaluation &e, Type type) {
  if (!e.in[0].hasRank) {
    e.setUnranked(0, type);
    return success();
  }
  e.set(0, type, e.in[0].dims);
  Elements result;
  if (e.getComputableShape(0) && e.loadAll({0}) &&
      convert(*e.in[0].elements, type, result))
    e.setElements(0, std::move(result));
  return success();
}

static LogicalResult evaluateCast(Evaluation &e) {
  Type type;
  if (auto number = e.op->getAttrOfType<IntegerAttr>("to"))
    type = getElementType(number.getInt(), e.getContext());
  if (!type)
    return e.error() << "expected the number of an element type in `to`";
  return castTo(e, type);
}

static LogicalResult evaluateCastLike(Evaluation &e) {
  return castTo(e, e.in[1].elementType);
}

static LogicalResult evaluateClip(Evaluation &e) {
  e.setLike(0, 0);
  if (!e.getComputableShape(0) || !e.loadAll())
    return success();
  auto bound = [&](unsigned i, double fallback) {
    std::optional<std::vector<double>> numbers;
    if (e.has(i))
      numbers = e.in[i].getNumbers();
    return numbers && numbers->size() == 1 ? numbers->front() : fallback;
  };
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  double low = bound(1, -kInfinity), high = bound(2, kInfinity);
  Elements elements = *e.in[0].elements;
  if (auto *floats = std::get_if<std::vector<double>>(&elements)) {
    for (double &x : *floats)
      x = std::min(std::max(x, low), high);
    e.setElements(0, std::move(elements));
  } else if (auto *ints = std::get_if<std::vector<int64_t>>(&elements)) {
    for (int64_t &x : *ints) {
      if (static_cast<double>(x) < low)
        x = static_cast<int64_t>(low);
      if (static_cast<double>(x) > high)
        x = static_cast<int64_t>(high);
    }
    e.setElements(0, std::move(elements));
  }
  return success();
}

//===----------------------------------------------------------------------===//
// Two or more operands
//===----------------------------------------------------------------------===//

static std::optional<double> applyFloat(StringRef name, double a, double b) {
  if (name == "Add" || name == "Sum")
    return a + b;
  if (name == "Sub")
    return a - b;
  if (name == "Mul")
    return a * b;
  if (name == "Div")
    return a / b;
  if (name == "Pow")
    return std::pow(a, b);
  if (name == "Mod")
    return std::fmod(a, b);
  if (name == "Min")
    return std::isnan(a) || a < b ? a : b;
  if (name == "Max")
    return std::isnan(a) || a > b ? a : b;
  return std::nullopt;
}

static std::optional<int64_t> applyInt(StringRef name, int64_t a, int64_t b,
                                       bool fmod) {
  auto ua = static_cast<uint64_t>(a), ub = static_cast<uint64_t>(b);
  if (name == "Add" || name == "Sum")
    return static_cast<int64_t>(ua + ub);
  if (name == "Sub")
    return static_cast<int64_t>(ua - ub);
  if (name == "Mul")
    return static_cast<int64_t>(ua * ub);
  if (name == "Div" || name == "Mod") {
    if (b == 0 || (b == -1 && a == std::numeric_limits<int64_t>::min()))
      return std::nullopt;
    if (name == "Div")
      return a / b;
    int64_t rest = a % b;
    // The result has the divisor's sign, or the dividend's with fmod.
    return rest != 0 && (rest < 0) != (b < 0) && !fmod ? rest + b : rest;
  }
  if (name == "Pow") {
    if (b < 0 || b > 64)
      return std::nullopt;
    uint64_t result = 1;
    for (int64_t i = 0; i < b; ++i)
      result *= ua;
    return static_cast<int64_t>(result);
  }
  if (name == "Min")
    return std::min(a, b);
  if (name == "Max")
    return std::max(a, b);
  if (name == "And" || name == "BitwiseAnd")
    return a & b;
  if (name == "Or" || name == "BitwiseOr")
    return a | b;
  if (name == "Xor" || name == "BitwiseXor")
    return a ^ b;
  return std::nullopt;
}

static std::optional<bool> compare(StringRef name, double order) {
  if (name == "Equal")
    return order == 0;
  if (name == "Less")
    return order < 0;
  if (name == "Greater")
    return order > 0;
  if (name == "LessOrEqual")
    return order <= 0;
  if (name == "GreaterOrEqual")
    return order >= 0;
  return std::nullopt;
}

/// A comparison of expressions when it has one outcome for all sizes.
static AffineExpr compareExprs(Evaluation &e, StringRef name, AffineExpr a,
                               AffineExpr b) {
  AffineExpr difference = e.getEvaluator().simplify(a - b);
  auto answer = [&](bool value) { return e.constant(value); };
  if (std::optional<int64_t> value = getConstantValue(difference))
    return answer(*compare(name, static_cast<double>(*value)));
  std::optional<int64_t> low = Evaluator::getLowerBound(difference);
  std::optional<int64_t> high =
      Evaluator::getLowerBound(e.getEvaluator().simplify(b - a));
  bool above = low && *low > 0, notBelow = low && *low >= 0;
  bool below = high && *high > 0, notAbove = high && *high >= 0;
  if (above || below)
    return answer(*compare(name, above ? 1 : -1));
  if (notBelow && (name == "Less" || name == "GreaterOrEqual"))
    return answer(name == "GreaterOrEqual");
  if (notAbove && (name == "Greater" || name == "LessOrEqual"))
    return answer(name == "LessOrEqual");
  return {};
}

/// Null when the result is no expression.
static AffineExpr applyExprs(Evaluation &e, StringRef name, AffineExpr a,
                             AffineExpr b) {
  if (!a || !b)
    return {};
  if (compare(name, 0))
    return compareExprs(e, name, a, b);
  std::optional<int64_t> x = getConstantValue(a), y = getConstantValue(b);
  if (x && y) {
    std::optional<int64_t> value =
        applyInt(name, *x, *y, getInt(e.op, "fmod", 0) != 0);
    return value ? e.constant(*value) : AffineExpr();
  }
  if (name == "Add" || name == "Sum")
    return a + b;
  if (name == "Sub")
    return a - b;
  if (name == "Mul")
    return a * b;
  if (name == "Div" || name == "Mod") {
    // Expressions divide towards minus infinity, ONNX towards zero.
    std::optional<int64_t> low = Evaluator::getLowerBound(a);
    std::optional<int64_t> divisor = Evaluator::getLowerBound(b);
    if (!low || *low < 0 || !divisor || (y ? *y <= 0 : *divisor < 0))
      return {};
    return name == "Div" ? a.floorDiv(b) : a % b;
  }
  if (name == "Min" || name == "Max") {
    std::optional<int64_t> low =
        Evaluator::getLowerBound(e.getEvaluator().simplify(a - b));
    if (low && *low >= 0)
      return name == "Max" ? a : b;
    std::optional<int64_t> high =
        Evaluator::getLowerBound(e.getEvaluator().simplify(b - a));
    if (high && *high >= 0)
      return name == "Max" ? b : a;
  }
  if (name == "Pow" && y == 1)
    return a;
  return {};
}

/// Combines the elements of two tensors that broadcast to `shape`.
static std::optional<Elements> combine(Evaluation &e, StringRef name,
                                       const Elements &lhs, const Elements &rhs,
                                       Type operandType) {
  Elements a = lhs, b = rhs;
  unify(a, b, e.getContext());
  if (a.index() != b.index())
    return std::nullopt;
  if (auto *x = std::get_if<std::vector<double>>(&a)) {
    const auto &y = std::get<std::vector<double>>(b);
    if (compare(name, 0)) {
      std::vector<int64_t> values;
      for (size_t i = 0; i < x->size(); ++i) {
        double order = (*x)[i] < y[i] ? -1 : (*x)[i] > y[i] ? 1 : 0;
        bool ordered = !std::isnan((*x)[i]) && !std::isnan(y[i]);
        values.push_back(ordered && *compare(name, order));
      }
      return values;
    }
    std::vector<double> values;
    for (size_t i = 0; i < x->size(); ++i) {
      std::optional<double> value = applyFloat(name, (*x)[i], y[i]);
      if (!value)
        return std::nullopt;
      values.push_back(roundTo(*value, operandType));
    }
    return values;
  }
  if (auto *x = std::get_if<std::vector<int64_t>>(&a)) {
    const auto &y = std::get<std::vector<int64_t>>(b);
    bool isUnsigned = operandType.isUnsignedInteger(64);
    bool fmod = getInt(e.op, "fmod", 0) != 0;
    std::vector<int64_t> values;
    for (size_t i = 0; i < x->size(); ++i) {
      int64_t p = (*x)[i], q = y[i];
      // Values of 64 unsigned bits are kept as signed numbers.
      if (isUnsigned && (p < 0 || q < 0))
        return std::nullopt;
      double order = p < q ? -1 : p > q;
      if (std::optional<bool> outcome = compare(name, order)) {
        values.push_back(*outcome);
        continue;
      }
      std::optional<int64_t> value = applyInt(name, p, q, fmod);
      if (!value)
        return std::nullopt;
      values.push_back(wrapTo(*value, operandType));
    }
    return values;
  }
  const auto &x = std::get<std::vector<AffineExpr>>(a);
  const auto &y = std::get<std::vector<AffineExpr>>(b);
  std::vector<AffineExpr> values;
  for (size_t i = 0; i < x.size(); ++i)
    values.push_back(applyExprs(e, name, x[i], y[i]));
  if (llvm::all_of(values, [](AffineExpr value) { return !value; }))
    return std::nullopt;
  return values;
}

static LogicalResult evaluateBroadcast(Evaluation &e) {
  StringRef name = getOpName(e.op);
  Type type = e.in[0].elementType;
  Type resultType = compare(name, 0) ? Type(e.intType(1)) : type;
  e.setUnranked(0, resultType);
  for (unsigned i = 0; i < e.in.size(); ++i)
    if (!e.hasRanked(i))
      return success();
  std::optional<Dims> dims = Dims(e.in[0].dims.begin(), e.in[0].dims.end());
  for (unsigned i = 1; i < e.in.size(); ++i) {
    dims = e.broadcast(*dims, e.in[i].dims);
    if (!dims)
      return e.error() << "expected operands that broadcast, but operand " << i
                       << " does not fit the ones before it";
  }
  e.set(0, resultType, *dims);
  std::optional<Ints> shape = e.getComputableShape(0);
  if (!shape || !e.loadAll())
    return success();
  auto spread = [&](unsigned i) {
    return take(*e.in[i].elements,
                getBroadcastOrder(*e.in[i].getStaticShape(), *shape));
  };
  Elements result = spread(0);
  if (e.in.size() == 1 && name == "Mean")
    return e.setElements(0, std::move(result)), success();
  for (unsigned i = 1; i < e.in.size(); ++i) {
    Elements other = spread(i);
    // Pow may mix types: the exponent follows the base.
    Elements converted;
    if (name == "Pow" && other.index() != result.index() &&
        convert(other, type, converted))
      other = std::move(converted);
    std::optional<Elements> next = combine(e, name, result, other, type);
    if (!next)
      return success();
    result = std::move(*next);
  }
  e.setElements(0, std::move(result));
  return success();
}

void ganq::onnx::addMathRules(RuleMap &rules) {
  for (const FloatFunction &function : kFloatFunctions)
    rules[function.name] = evaluateUnary;
  for (StringRef name : {"Not",
                         "BitwiseNot",
                         "Gelu",
                         "Swish",
                         "Asin",
                         "Acos",
                         "Atan",
                         "Sinh",
                         "Cosh",
                         "Asinh",
                         "Acosh",
                         "Atanh",
                         "LeakyRelu",
                         "Elu",
                         "Selu",
                         "Celu",
                         "ThresholdedRelu",
                         "HardSigmoid",
                         "HardSwish",
                         "Mish",
                         "Softsign",
                         "Shrink",
                         "PRelu",
                         "com.microsoft.Gelu",
                         "com.microsoft.FastGelu",
                         "com.microsoft.QuickGelu",
                         "com.microsoft.BiasGelu"})
    rules[name] = evaluateUnary;
  rules["IsNaN"] = evaluateTest;
  rules["IsInf"] = evaluateTest;
  rules["Cast"] = evaluateCast;
  rules["CastLike"] = evaluateCastLike;
  rules["Clip"] = evaluateClip;
  for (StringRef name : {"Add",         "Sub",
                         "Mul",         "Div",
                         "Pow",         "Mod",
                         "Min",         "Max",
                         "Sum",         "Mean",
                         "And",         "Or",
                         "Xor",         "BitwiseAnd",
                         "BitwiseOr",   "BitwiseXor",
                         "BitShift",    "Equal",
                         "Less",        "Greater",
                         "LessOrEqual", "GreaterOrEqual",
                         "SwiGLU"})
    rules[name] = evaluateBroadcast;
}
