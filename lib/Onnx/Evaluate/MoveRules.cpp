//===- MoveRules.cpp - Operators that move elements -----------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Rules.h"
#include <cmath>

using namespace mlir;
using namespace ganq::onnx;

static LogicalResult evaluateIdentity(Evaluation &e) {
  e.out[0] = e.in[0];
  return success();
}

static LogicalResult evaluateShape(Evaluation &e) {
  if (!e.hasRanked(0)) {
    e.set(0, e.intType(64), {e.unknown()});
    return success();
  }
  int64_t rank = e.getRank(0);
  auto clamp = [&](int64_t axis) {
    return std::clamp<int64_t>(axis < 0 ? axis + rank : axis, 0, rank);
  };
  int64_t start = clamp(getInt(e.op, "start", 0));
  int64_t end = std::max(start, clamp(getInt(e.op, "end", rank)));
  e.set(0, e.intType(64), {e.constant(end - start)});
  std::vector<AffineExpr> sizes(e.in[0].dims.begin() + start,
                                e.in[0].dims.begin() + end);
  e.setElements(0, std::move(sizes));
  return success();
}

static LogicalResult evaluateSize(Evaluation &e) {
  e.set(0, e.intType(64), {});
  if (!e.hasRanked(0))
    return success();
  AffineExpr size = e.constant(1);
  for (AffineExpr dim : e.in[0].dims)
    size = size * dim;
  e.setElements(0, std::vector<AffineExpr>{size});
  return success();
}

//===----------------------------------------------------------------------===//
// Reshape
//===----------------------------------------------------------------------===//

/// Splits a product into a number and other factors.
static void collectFactors(AffineExpr expr, int64_t &number,
                           SmallVectorImpl<AffineExpr> &factors) {
  if (std::optional<int64_t> value = getConstantValue(expr)) {
    if (llvm::MulOverflow(number, *value, number))
      number = 0;
    return;
  }
  if (expr.getKind() == AffineExprKind::Mul) {
    auto product = cast<AffineBinaryOpExpr>(expr);
    collectFactors(product.getLHS(), number, factors);
    collectFactors(product.getRHS(), number, factors);
    return;
  }
  factors.push_back(expr);
}

/// The quotient of two products when it is a product itself.
static AffineExpr divideProducts(ArrayRef<AffineExpr> dividend,
                                 ArrayRef<AffineExpr> divisor,
                                 MLIRContext *context) {
  int64_t a = 1, b = 1;
  SmallVector<AffineExpr> factors, divisors;
  for (AffineExpr dim : dividend)
    collectFactors(dim, a, factors);
  for (AffineExpr dim : divisor)
    collectFactors(dim, b, divisors);
  for (AffineExpr expr : divisors) {
    auto it = llvm::find(factors, expr);
    if (it == factors.end())
      return {};
    factors.erase(it);
  }
  if (b == 0)
    return {};
  AffineExpr result = getAffineConstantExpr(1, context);
  for (AffineExpr expr : factors)
    result = result * expr;
  if (a % b == 0)
    return result * (a / b);
  return factors.empty() ? AffineExpr() : (result * a).floorDiv(b);
}

static LogicalResult evaluateReshape(Evaluation &e) {
  Type elementType = e.in[0].elementType;
  std::optional<Dims> shape = e.getExprs(1);
  if (!shape) {
    // The number of sizes may be known without their values.
    std::optional<int64_t> rank =
        e.hasRanked(1) ? e.in[1].getNumElements() : std::nullopt;
    if (!rank || *rank > 64) {
      e.setUnranked(0, elementType);
      return success();
    }
    Dims dims;
    for (int64_t i = 0; i < *rank; ++i)
      dims.push_back(e.unknown());
    e.set(0, elementType, dims);
    return success();
  }
  bool allowZero = getInt(e.op, "allowzero", 0) != 0;
  Dims dims;
  std::optional<size_t> inferred;
  for (auto [i, size] : llvm::enumerate(*shape)) {
    std::optional<int64_t> value = getConstantValue(size);
    if (!size) {
      dims.push_back(e.unknown());
    } else if (value == 0 && !allowZero) {
      if (e.hasRanked(0) && i >= e.getRank(0))
        return e.error() << "expected size 0 (copy) only for the "
                         << e.getRank(0)
                         << " dimensions of the operand, but got it for "
                            "dimension "
                         << i;
      dims.push_back(e.hasRanked(0) ? e.in[0].dims[i] : e.unknown());
    } else if (value == -1) {
      if (inferred)
        return e.error() << "expected one size of -1, but got two";
      inferred = i;
      dims.push_back(e.constant(1));
    } else if (value && *value < 0) {
      return e.error() << "expected sizes of at least -1, but got " << *value;
    } else {
      dims.push_back(size);
    }
  }
  if (inferred) {
    AffineExpr rest;
    if (e.hasRanked(0))
      rest = divideProducts(e.in[0].dims, dims, e.getContext());
    std::optional<int64_t> total = e.in[0].getNumElements();
    AbstractTensor others;
    others.hasRank = true;
    others.dims = dims;
    std::optional<int64_t> known = others.getNumElements();
    if (!rest && total && known && *known != 0)
      return e.error() << "expected " << *total
                       << " elements to fill a shape of multiples of "
                       << *known;
    dims[*inferred] = rest ? rest : e.unknown();
  }
  e.set(0, elementType, dims);
  std::optional<int64_t> from = e.in[0].getNumElements();
  std::optional<int64_t> to = e.out[0].getNumElements();
  if (from && to && *from != *to)
    return e.error() << "expected as many elements as the operand has, "
                     << *from << ", but got a shape of " << *to;
  if (to && e.loadAll({0}))
    e.out[0].elements = e.in[0].elements;
  return success();
}

static LogicalResult evaluateFlatten(Evaluation &e) {
  if (!e.hasRanked(0)) {
    e.set(0, e.in[0].elementType, {e.unknown(), e.unknown()});
    return success();
  }
  int64_t rank = e.getRank(0);
  int64_t axis = getInt(e.op, "axis", 1);
  if (axis < -rank || axis > rank)
    return e.error() << "expected an axis of at most " << rank << ", but got "
                     << axis;
  if (axis < 0)
    axis += rank;
  AffineExpr sizes[2] = {e.constant(1), e.constant(1)};
  for (int64_t i = 0; i < rank; ++i)
    sizes[i >= axis] = sizes[i >= axis] * e.in[0].dims[i];
  e.set(0, e.in[0].elementType, sizes);
  if (e.loadAll({0}))
    e.out[0].elements = e.in[0].elements;
  return success();
}

/// The axes of operand 1, or of the attribute that older opsets have.
static std::optional<Ints> getAxes(Evaluation &e) {
  if (e.has(1))
    return e.getInts(1);
  if (std::optional<ArrayRef<int64_t>> axes = getInts(e.op, "axes"))
    return Ints(axes->begin(), axes->end());
  return Ints();
}

static LogicalResult evaluateSqueeze(Evaluation &e) {
  Type elementType = e.in[0].elementType;
  std::optional<Ints> axes = getAxes(e);
  e.setUnranked(0, elementType);
  if (!axes || !e.hasRanked(0))
    return success();
  llvm::SmallVector<bool> drop(e.getRank(0), false);
  if (!e.has(1) && !e.op->hasAttr("axes")) {
    for (auto [i, dim] : llvm::enumerate(e.in[0].dims)) {
      if (!getConstantValue(dim))
        return success();
      drop[i] = getConstantValue(dim) == 1;
    }
  }
  for (int64_t axis : *axes) {
    std::optional<int64_t> i = Evaluation::normalizeAxis(axis, e.getRank(0));
    if (!i)
      return e.error() << "expected axes below " << e.getRank(0) << ", but got "
                       << axis;
    std::optional<int64_t> size = getConstantValue(e.in[0].dims[*i]);
    if (size && *size != 1)
      return e.error() << "expected dimension " << *i
                       << " to have size 1, but got " << *size;
    drop[*i] = true;
  }
  Dims dims;
  for (auto [dim, dropped] : llvm::zip(e.in[0].dims, drop))
    if (!dropped)
      dims.push_back(dim);
  e.set(0, elementType, dims);
  if (e.loadAll({0}))
    e.out[0].elements = e.in[0].elements;
  return success();
}

static LogicalResult evaluateUnsqueeze(Evaluation &e) {
  std::optional<Ints> axes = getAxes(e);
  e.setUnranked(0, e.in[0].elementType);
  if (!axes || !e.hasRanked(0))
    return success();
  int64_t rank = e.getRank(0) + axes->size();
  llvm::SmallVector<bool> isNew(rank, false);
  for (int64_t axis : *axes) {
    std::optional<int64_t> i = Evaluation::normalizeAxis(axis, rank);
    if (!i || isNew[*i])
      return e.error() << "expected distinct axes below " << rank
                       << ", but got " << axis;
    isNew[*i] = true;
  }
  Dims dims;
  auto next = e.in[0].dims.begin();
  for (bool one : isNew)
    dims.push_back(one ? e.constant(1) : *next++);
  e.set(0, e.in[0].elementType, dims);
  if (e.loadAll({0}))
    e.out[0].elements = e.in[0].elements;
  return success();
}

//===----------------------------------------------------------------------===//
// Rearranging
//===----------------------------------------------------------------------===//

static LogicalResult evaluateTranspose(Evaluation &e) {
  e.setUnranked(0, e.in[0].elementType);
  if (!e.hasRanked(0))
    return success();
  int64_t rank = e.getRank(0);
  Ints perm;
  if (std::optional<ArrayRef<int64_t>> attr = getInts(e.op, "perm"))
    perm.assign(attr->begin(), attr->end());
  else
    for (int64_t i = rank - 1; i >= 0; --i)
      perm.push_back(i);
  llvm::SmallVector<bool> seen(rank, false);
  for (int64_t axis : perm)
    if (axis >= 0 && axis < rank)
      seen[axis] = true;
  if (static_cast<int64_t>(perm.size()) != rank ||
      llvm::is_contained(seen, false))
    return e.error() << "expected a permutation of " << rank << " dimensions";
  Dims dims;
  for (int64_t axis : perm)
    dims.push_back(e.in[0].dims[axis]);
  e.set(0, e.in[0].elementType, dims);
  std::optional<Ints> shape = e.getComputableShape(0);
  if (!shape || !e.loadAll({0}))
    return success();
  Ints strides = getStrides(*e.in[0].getStaticShape());
  Ints order;
  forEachIndex(*shape, [&](ArrayRef<int64_t> index) {
    int64_t offset = 0;
    for (auto [i, axis] : llvm::zip(index, perm))
      offset += i * strides[axis];
    order.push_back(offset);
  });
  e.takeElements(order);
  return success();
}

static LogicalResult evaluateExpand(Evaluation &e) {
  std::optional<Dims> shape = e.getExprs(1);
  e.setUnranked(0, e.in[0].elementType);
  if (!e.hasRanked(0))
    return success();
  if (!shape) {
    std::optional<int64_t> rank =
        e.hasRanked(1) ? e.in[1].getNumElements() : std::nullopt;
    if (!rank || *rank > 64)
      return success();
    shape.emplace(*rank, AffineExpr());
  }
  for (AffineExpr &size : *shape)
    if (!size)
      size = e.unknown();
  std::optional<Dims> dims = e.broadcast(e.in[0].dims, *shape);
  if (!dims)
    return e.error() << "expected a shape that the operand broadcasts to";
  e.set(0, e.in[0].elementType, *dims);
  std::optional<Ints> to = e.getComputableShape(0);
  if (to && e.loadAll({0}))
    e.takeElements(getBroadcastOrder(*e.in[0].getStaticShape(), *to));
  return success();
}

static LogicalResult evaluateTile(Evaluation &e) {
  std::optional<Dims> repeats = e.getExprs(1);
  e.setUnranked(0, e.in[0].elementType);
  if (!e.hasRanked(0))
    return success();
  if (repeats && repeats->size() != e.getRank(0))
    return e.error() << "expected " << e.getRank(0) << " repeats, but got "
                     << repeats->size();
  Dims dims;
  for (auto [i, dim] : llvm::enumerate(e.in[0].dims))
    dims.push_back(repeats && (*repeats)[i] ? dim * (*repeats)[i]
                                            : e.unknown());
  e.set(0, e.in[0].elementType, dims);
  std::optional<Ints> to = e.getComputableShape(0);
  if (!to || !e.loadAll({0}) || !e.in[0].getStaticShape())
    return success();
  Ints from = *e.in[0].getStaticShape();
  Ints strides = getStrides(from);
  Ints order;
  forEachIndex(*to, [&](ArrayRef<int64_t> index) {
    int64_t offset = 0;
    for (size_t i = 0; i < from.size(); ++i)
      offset += index[i] % from[i] * strides[i];
    order.push_back(offset);
  });
  e.takeElements(order);
  return success();
}

static LogicalResult evaluateConcat(Evaluation &e) {
  Type elementType = e.in[0].elementType;
  e.setUnranked(0, elementType);
  bool isNew = getInt(e.op, "new_axis", 0) != 0;
  if (isNew)
    return success();
  for (unsigned i = 0; i < e.in.size(); ++i)
    if (!e.hasRanked(i))
      return success();
  std::optional<int64_t> axis =
      Evaluation::normalizeAxis(getInt(e.op, "axis", 0), e.getRank(0));
  if (!axis)
    return e.error() << "expected an axis below " << e.getRank(0);
  Dims dims = Dims(e.in[0].dims.begin(), e.in[0].dims.end());
  for (unsigned i = 1; i < e.in.size(); ++i) {
    if (e.getRank(i) != dims.size())
      return e.error() << "expected operands of rank " << dims.size()
                       << ", but operand " << i << " has rank " << e.getRank(i);
    for (size_t d = 0; d < dims.size(); ++d) {
      AffineExpr dim = e.in[i].dims[d];
      if (static_cast<int64_t>(d) == *axis) {
        dims[d] = dims[d] + dim;
        continue;
      }
      std::optional<int64_t> a = getConstantValue(dims[d]);
      std::optional<int64_t> b = getConstantValue(dim);
      if (a && b && *a != *b)
        return e.error() << "expected operands that agree in dimension " << d
                         << ", but got " << *a << " and " << *b;
      if (!a && b)
        dims[d] = dim;
    }
  }
  e.set(0, elementType, dims);
  std::optional<Ints> shape = e.getComputableShape(0);
  if (!shape)
    return success();
  // Integers that are unknown count as unknown expressions, so that the known
  // sizes of a shape are not lost.
  bool any = false;
  for (const AbstractTensor &operand : e.in) {
    if (!operand.getStaticShape())
      return success();
    any |= operand.elements || operand.parameter;
  }
  bool partial = any && dims.size() == 1 && isa<IntegerType>(elementType);
  for (unsigned i = 0; partial && i < e.in.size(); ++i)
    if (!e.in[i].elements && !e.in[i].parameter)
      e.in[i].elements = std::make_shared<Elements>(
          std::vector<AffineExpr>(*e.in[i].getNumElements()));
  if (!e.loadAll())
    return success();
  Elements all = *e.in[0].elements;
  Ints starts{0};
  for (unsigned i = 1; i < e.in.size(); ++i) {
    Elements next = *e.in[i].elements;
    starts.push_back(
        std::visit([](const auto &values) { return values.size(); }, all));
    unify(all, next, e.getContext());
    if (all.index() != next.index())
      return success();
    std::visit(
        [&](auto &values) {
          const auto &more = std::get<std::decay_t<decltype(values)>>(next);
          values.insert(values.end(), more.begin(), more.end());
        },
        all);
  }
  Ints order;
  int64_t inner = getProduct(ArrayRef(*shape).drop_front(*axis + 1));
  int64_t outer = getProduct(ArrayRef(*shape).take_front(*axis));
  for (int64_t o = 0; o < outer; ++o)
    for (unsigned i = 0; i < e.in.size(); ++i) {
      int64_t chunk = *getConstantValue(e.in[i].dims[*axis]) * inner;
      for (int64_t n = 0; n < chunk; ++n)
        order.push_back(starts[i] + o * chunk + n);
    }
  e.setElements(0, take(all, order));
  return success();
}

static LogicalResult evaluateSplit(Evaluation &e) {
  unsigned count = e.out.size();
  for (unsigned i = 0; i < count; ++i)
    e.setUnranked(i, e.in[0].elementType);
  if (!e.hasRanked(0))
    return success();
  std::optional<int64_t> axis =
      Evaluation::normalizeAxis(getInt(e.op, "axis", 0), e.getRank(0));
  if (!axis)
    return e.error() << "expected an axis below " << e.getRank(0);
  AffineExpr size = e.in[0].dims[*axis];
  std::optional<int64_t> total = getConstantValue(size);
  std::optional<Ints> split;
  if (e.has(1))
    split = e.getInts(1);
  else if (std::optional<ArrayRef<int64_t>> attr = getInts(e.op, "split"))
    split = Ints(attr->begin(), attr->end());
  else if (total && count > 0) {
    int64_t chunk = llvm::divideCeil(*total, count);
    split.emplace();
    for (unsigned i = 0; i < count; ++i)
      split->push_back(std::clamp<int64_t>(*total - i * chunk, 0, chunk));
  }
  if (split && split->size() != count)
    return e.error() << "expected " << count << " sizes, but got "
                     << split->size();
  int64_t sum = 0;
  for (unsigned i = 0; split && i < count; ++i) {
    if ((*split)[i] < 0)
      return e.error() << "expected sizes of at least 0";
    sum += (*split)[i];
  }
  if (split && total && sum != *total)
    return e.error() << "expected sizes whose sum is " << *total << ", but got "
                     << sum;
  int64_t start = 0;
  for (unsigned i = 0; i < count; ++i) {
    Dims dims(e.in[0].dims.begin(), e.in[0].dims.end());
    dims[*axis] = split      ? e.constant((*split)[i])
                  : e.has(1) ? e.unknown()
                             : size.floorDiv(count);
    e.set(i, e.in[0].elementType, dims);
    std::optional<Ints> shape = e.getComputableShape(i);
    if (!shape || !total || !e.loadAll({0}))
      continue;
    Ints strides = getStrides(*e.in[0].getStaticShape());
    Ints order;
    forEachIndex(*shape, [&](ArrayRef<int64_t> index) {
      int64_t offset = start * strides[*axis];
      for (auto [n, stride] : llvm::zip(index, strides))
        offset += n * stride;
      order.push_back(offset);
    });
    e.setElements(i, take(*e.in[0].elements, order));
    start += (*shape)[*axis];
  }
  return success();
}

//===----------------------------------------------------------------------===//
// Making
//===----------------------------------------------------------------------===//

static LogicalResult evaluateConstantOfShape(Evaluation &e) {
  auto value = e.op->getAttrOfType<DenseElementsAttr>("value");
  AbstractTensor element;
  if (value)
    element = Evaluator::fromAttr(value);
  else
    element.elementType = Float32Type::get(e.getContext());
  e.setUnranked(0, element.elementType);
  std::optional<Dims> shape = e.getExprs(0);
  if (!shape) {
    std::optional<int64_t> rank =
        e.hasRanked(0) ? e.in[0].getNumElements() : std::nullopt;
    if (!rank || *rank > 64)
      return success();
    shape.emplace(*rank, AffineExpr());
  }
  for (AffineExpr &size : *shape)
    if (!size)
      size = e.unknown();
  e.set(0, element.elementType, *shape);
  std::optional<Ints> sizes = e.getComputableShape(0);
  if (!sizes)
    return success();
  int64_t count = getProduct(*sizes);
  if (!value)
    e.setElements(0, std::vector<double>(count, 0.0));
  else if (element.elements && value.getNumElements() == 1)
    e.setElements(0, take(*element.elements, Ints(count, 0)));
  return success();
}

static LogicalResult evaluateRange(Evaluation &e) {
  Type elementType = e.in[0].elementType;
  e.set(0, elementType, {e.unknown()});
  if (isa<IntegerType>(elementType)) {
    std::optional<Dims> start = e.getExprs(0), limit = e.getExprs(1);
    std::optional<int64_t> delta = e.getInt(2);
    if (!start || !limit || start->size() != 1 || limit->size() != 1 ||
        !delta || !start->front() || !limit->front())
      return success();
    if (*delta == 0)
      return e.error() << "expected a step other than 0";
    std::optional<int64_t> first = getConstantValue(start->front());
    std::optional<int64_t> last = getConstantValue(limit->front());
    if (!first || !last) {
      if (*delta == 1)
        e.set(0, elementType, {limit->front() - start->front()});
      return success();
    }
    int64_t span = 0;
    if (llvm::SubOverflow(*last, *first, span) || span == INT64_MIN)
      return e.error() << "expected a range whose length fits in 64 bits";
    uint64_t length = (span > 0) == (*delta > 0)
                          ? llvm::divideCeil(span > 0 ? span : -span,
                                             *delta > 0 ? *delta : -*delta)
                          : 0;
    e.set(0, elementType, {e.constant(static_cast<int64_t>(length))});
    if (!e.getComputableShape(0))
      return success();
    std::vector<int64_t> values;
    for (uint64_t i = 0; i < length; ++i)
      values.push_back(*first + static_cast<int64_t>(i) * *delta);
    e.setElements(0, std::move(values));
    return success();
  }
  if (!e.loadAll())
    return success();
  const std::vector<double> *start = e.in[0].getFloats();
  const std::vector<double> *limit = e.in[1].getFloats();
  const std::vector<double> *delta = e.in[2].getFloats();
  if (!start || !limit || !delta || start->size() != 1 || limit->size() != 1 ||
      delta->size() != 1 || delta->front() == 0)
    return success();
  double length = std::ceil((limit->front() - start->front()) / delta->front());
  if (!(length < 1e15))
    return success();
  e.set(0, elementType,
        {e.constant(static_cast<int64_t>(std::max(length, 0.0)))});
  if (!e.getComputableShape(0))
    return success();
  std::vector<double> values;
  for (double i = 0; i < length; ++i)
    values.push_back(roundTo(start->front() + i * delta->front(), elementType));
  e.setElements(0, std::move(values));
  return success();
}

void ganq::onnx::addMoveRules(RuleMap &rules) {
  rules["Identity"] = evaluateIdentity;
  rules["Shape"] = evaluateShape;
  rules["Size"] = evaluateSize;
  rules["Reshape"] = evaluateReshape;
  rules["Flatten"] = evaluateFlatten;
  rules["Squeeze"] = evaluateSqueeze;
  rules["Unsqueeze"] = evaluateUnsqueeze;
  rules["Transpose"] = evaluateTranspose;
  rules["Expand"] = evaluateExpand;
  rules["Tile"] = evaluateTile;
  rules["Concat"] = evaluateConcat;
  rules["Split"] = evaluateSplit;
  rules["ConstantOfShape"] = evaluateConstantOfShape;
  rules["Range"] = evaluateRange;
}
