//===- ReductionRules.cpp - Reductions and products -----------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Rules.h"
#include <cmath>

using namespace mlir;
using namespace ganq::onnx;

//===----------------------------------------------------------------------===//
// Reductions
//===----------------------------------------------------------------------===//

/// The axes that a reduction runs over, as flags; nullopt when unknown.
static std::optional<llvm::SmallVector<bool>> getReduced(Evaluation &e,
                                                         bool &malformed) {
  int64_t rank = e.getRank(0);
  llvm::SmallVector<bool> reduced(rank, false);
  Ints axes;
  if (e.has(1)) {
    std::optional<Ints> given = e.getInts(1);
    if (!given)
      return std::nullopt;
    axes = *given;
  } else if (std::optional<ArrayRef<int64_t>> attr = getInts(e.op, "axes")) {
    axes.assign(attr->begin(), attr->end());
  }
  if (axes.empty()) {
    bool all = getInt(e.op, "noop_with_empty_axes", 0) == 0;
    reduced.assign(rank, all);
    return reduced;
  }
  for (int64_t axis : axes) {
    std::optional<int64_t> i = Evaluation::normalizeAxis(axis, rank);
    if (!i) {
      malformed = true;
      return std::nullopt;
    }
    reduced[*i] = true;
  }
  return reduced;
}

/// Reduces the given elements to one; nullopt when that is not known.
static std::optional<double> reduce(StringRef name, ArrayRef<double> values) {
  double sum = 0, product = 1, square = 0;
  for (double value : values) {
    sum += value;
    product *= value;
    square += value * value;
  }
  if (name == "ReduceSum")
    return sum;
  if (name == "ReduceProd")
    return product;
  if (name == "ReduceSumSquare")
    return square;
  if (name == "ReduceL2")
    return std::sqrt(square);
  if (values.empty())
    return std::nullopt;
  if (name == "ReduceMean")
    return sum / static_cast<double>(values.size());
  if (name == "ReduceMax")
    return *llvm::max_element(values);
  if (name == "ReduceMin")
    return *llvm::min_element(values);
  return std::nullopt;
}

static LogicalResult evaluateReduction(Evaluation &e) {
  StringRef name = getOpName(e.op);
  Type type = e.in[0].elementType;
  e.setUnranked(0, type);
  if (!e.hasRanked(0))
    return success();
  bool malformed = false;
  auto reduced = getReduced(e, malformed);
  bool keep = getInt(e.op, "keepdims", 1) != 0;
  if (malformed)
    return e.error() << "expected axes below " << e.getRank(0);
  if (!reduced) {
    if (keep) {
      Dims dims;
      for (unsigned i = 0; i < e.getRank(0); ++i)
        dims.push_back(e.unknown());
      e.set(0, type, dims);
    }
    return success();
  }
  Dims dims;
  for (auto [dim, flag] : llvm::zip(e.in[0].dims, *reduced))
    if (!flag)
      dims.push_back(dim);
    else if (keep)
      dims.push_back(e.constant(1));
  e.set(0, type, dims);
  if (!e.getComputableShape(0) || !e.loadAll({0}))
    return success();
  std::optional<Ints> from = e.in[0].getStaticShape();

  // A product of sizes stays an expression.
  if (std::optional<Dims> exprs = e.getExprs(0);
      exprs && !e.in[0].getInts() && name == "ReduceProd" &&
      llvm::all_of(*reduced, [](bool flag) { return flag; })) {
    AffineExpr product = e.constant(1);
    for (AffineExpr expr : *exprs)
      product = product && expr ? product * expr : AffineExpr();
    e.setElements(0, std::vector<AffineExpr>{product});
    return success();
  }

  std::optional<std::vector<double>> numbers = e.in[0].getNumbers();
  if (!numbers)
    return success();
  Ints kept;
  for (auto [size, flag] : llvm::zip(*from, *reduced))
    kept.push_back(flag ? 1 : size);
  Ints strides = getStrides(kept);
  std::vector<std::vector<double>> groups(getProduct(kept));
  size_t at = 0;
  forEachIndex(*from, [&](ArrayRef<int64_t> index) {
    int64_t group = 0;
    for (size_t i = 0; i < index.size(); ++i)
      group += (*reduced)[i] ? 0 : index[i] * strides[i];
    groups[group].push_back((*numbers)[at++]);
  });
  std::vector<double> floats;
  std::vector<int64_t> ints;
  for (const std::vector<double> &group : groups) {
    std::optional<double> value = reduce(name, group);
    // Beyond 2^53 doubles lose integers.
    if (!value ||
        (e.in[0].getInts() && !(std::fabs(*value) < 9007199254740992.0)))
      return success();
    floats.push_back(roundTo(*value, type));
    ints.push_back(wrapTo(static_cast<int64_t>(*value), type));
  }
  if (e.in[0].getInts())
    e.setElements(0, std::move(ints));
  else
    e.setElements(0, std::move(floats));
  return success();
}

static LogicalResult evaluateArgReduction(Evaluation &e) {
  Type type = e.intType(64);
  e.setUnranked(0, type);
  if (!e.hasRanked(0))
    return success();
  std::optional<int64_t> axis =
      Evaluation::normalizeAxis(getInt(e.op, "axis", 0), e.getRank(0));
  if (!axis)
    return e.error() << "expected an axis below " << e.getRank(0);
  Dims dims(e.in[0].dims.begin(), e.in[0].dims.end());
  if (getInt(e.op, "keepdims", 1))
    dims[*axis] = e.constant(1);
  else
    dims.erase(dims.begin() + *axis);
  e.set(0, type, dims);
  return success();
}

static LogicalResult evaluateCumSum(Evaluation &e) {
  e.setLike(0, 0);
  std::optional<Ints> shape = e.getComputableShape(0);
  std::optional<int64_t> axis = e.getInt(1);
  if (!shape || !axis || !e.loadAll({0}))
    return success();
  axis = Evaluation::normalizeAxis(*axis, shape->size());
  if (!axis)
    return e.error() << "expected an axis below " << shape->size();
  bool exclusive = getInt(e.op, "exclusive", 0) != 0;
  bool reverse = getInt(e.op, "reverse", 0) != 0;
  int64_t size = (*shape)[*axis];
  int64_t inner = getProduct(ArrayRef(*shape).drop_front(*axis + 1));
  int64_t outer = getProduct(ArrayRef(*shape).take_front(*axis));
  Elements elements = *e.in[0].elements;
  auto accumulate = [&](auto &values, auto add) {
    for (int64_t o = 0; o < outer; ++o)
      for (int64_t n = 0; n < inner; ++n) {
        typename std::decay_t<decltype(values)>::value_type sum = 0;
        for (int64_t i = 0; i < size; ++i) {
          int64_t at = (o * size + (reverse ? size - 1 - i : i)) * inner + n;
          auto next = add(sum, values[at]);
          values[at] = exclusive ? sum : next;
          sum = next;
        }
      }
  };
  Type type = e.in[0].elementType;
  if (auto *ints = std::get_if<std::vector<int64_t>>(&elements))
    accumulate(*ints, [&](int64_t a, int64_t b) {
      return wrapTo(static_cast<int64_t>(static_cast<uint64_t>(a) +
                                         static_cast<uint64_t>(b)),
                    type);
    });
  else if (auto *floats = std::get_if<std::vector<double>>(&elements))
    accumulate(*floats,
               [&](double a, double b) { return roundTo(a + b, type); });
  else
    return success();
  e.setElements(0, std::move(elements));
  return success();
}

//===----------------------------------------------------------------------===//
// Products
//===----------------------------------------------------------------------===//

/// Shapes of a product; vectors count as one row or column.
static LogicalResult setProduct(Evaluation &e, unsigned a, unsigned b,
                                Type type) {
  e.setUnranked(0, type);
  if (!e.hasRanked(a) || !e.hasRanked(b))
    return success();
  Dims lhs(e.in[a].dims.begin(), e.in[a].dims.end());
  Dims rhs(e.in[b].dims.begin(), e.in[b].dims.end());
  if (lhs.empty() || rhs.empty())
    return e.error() << "expected operands of rank 1 or more";
  bool row = lhs.size() == 1, column = rhs.size() == 1;
  if (row)
    lhs.insert(lhs.begin(), e.constant(1));
  if (column)
    rhs.push_back(e.constant(1));
  bool batchFirst = getInt(e.op, "transBatchA", 0) != 0 ||
                    getInt(e.op, "transBatchB", 0) != 0;
  if (batchFirst)
    return success();
  if (getInt(e.op, "transA", 0))
    std::swap(lhs[lhs.size() - 1], lhs[lhs.size() - 2]);
  if (getInt(e.op, "transB", 0))
    std::swap(rhs[rhs.size() - 1], rhs[rhs.size() - 2]);
  std::optional<int64_t> x = getConstantValue(lhs.back());
  std::optional<int64_t> y = getConstantValue(rhs[rhs.size() - 2]);
  if (x && y && *x != *y)
    return e.error() << "expected inner dimensions that agree, but got " << *x
                     << " and " << *y;
  std::optional<Dims> dims =
      e.broadcast(ArrayRef(lhs).drop_back(2), ArrayRef(rhs).drop_back(2));
  if (!dims)
    return e.error() << "expected batch dimensions that broadcast";
  if (!row)
    dims->push_back(lhs[lhs.size() - 2]);
  if (!column)
    dims->push_back(rhs.back());
  e.set(0, type, *dims);
  return success();
}

static LogicalResult evaluateMatMul(Evaluation &e) {
  Type type = e.in[0].elementType;
  if (failed(setProduct(e, 0, 1, type)))
    return failure();
  // Tables of angles are products of small matrices.
  std::optional<Ints> shape = e.getComputableShape(0);
  if (!shape || getOpName(e.op) != "MatMul" || !e.hasRanked(0) ||
      e.getRank(0) < 2 || e.getRank(1) < 2 || !e.loadAll())
    return success();
  const std::vector<double> *a = e.in[0].getFloats(), *b = e.in[1].getFloats();
  if (!a || !b)
    return success();
  Ints lhs = *e.in[0].getStaticShape(), rhs = *e.in[1].getStaticShape();
  int64_t m = lhs[lhs.size() - 2], k = lhs.back(), n = rhs.back();
  constexpr int64_t kMaxProducts = int64_t(1) << 26;
  if (m * n != 0 && k > kMaxProducts / std::max<int64_t>(1, getProduct(*shape)))
    return success();
  ArrayRef<int64_t> batch = ArrayRef(*shape).drop_back(2);
  Ints lhsOrder = getBroadcastOrder(ArrayRef(lhs).drop_back(2), batch);
  Ints rhsOrder = getBroadcastOrder(ArrayRef(rhs).drop_back(2), batch);
  std::vector<double> result;
  for (auto [p, q] : llvm::zip(lhsOrder, rhsOrder))
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = 0; j < n; ++j) {
        double sum = 0;
        for (int64_t l = 0; l < k; ++l)
          sum += (*a)[(p * m + i) * k + l] * (*b)[(q * k + l) * n + j];
        result.push_back(roundTo(sum, type));
      }
  e.setElements(0, std::move(result));
  return success();
}

static LogicalResult evaluateMatMulInteger(Evaluation &e) {
  return setProduct(e, 0, 1, e.intType(32));
}

static LogicalResult evaluateQLinearMatMul(Evaluation &e) {
  return setProduct(e, 0, 3, e.in[7].elementType);
}

static LogicalResult evaluateMatMulNBits(Evaluation &e) {
  Type type = e.has(0) ? e.in[0].elementType : Type();
  e.setUnranked(0, type);
  if (!e.hasRanked(0) || e.getRank(0) == 0)
    return success();
  Dims dims(e.in[0].dims.begin(), e.in[0].dims.end());
  int64_t k = getInt(e.op, "K", -1), n = getInt(e.op, "N", -1);
  std::optional<int64_t> inner = getConstantValue(dims.back());
  if (k < 0 || n < 0)
    return e.error() << "expected the sizes K and N";
  if (inner && *inner != k)
    return e.error() << "expected rows of K = " << k << " elements, but got "
                     << *inner;
  dims.back() = e.constant(n);
  e.set(0, type, dims);
  return success();
}

static LogicalResult evaluateEinsum(Evaluation &e) {
  Type type = e.in[0].elementType;
  e.setUnranked(0, type);
  StringRef equation = getString(e.op, "equation");
  auto [left, right] = equation.split("->");
  if (!equation.contains("->") || equation.contains('.'))
    return success();
  llvm::SmallVector<StringRef> terms;
  left.split(terms, ',');
  if (terms.size() != e.in.size())
    return e.error() << "expected " << terms.size() << " operands";
  llvm::DenseMap<char, AffineExpr> sizes;
  for (auto [i, term] : llvm::enumerate(terms)) {
    if (!e.hasRanked(i))
      return success();
    llvm::SmallVector<char> labels;
    for (char label : term)
      if (label != ' ')
        labels.push_back(label);
    if (labels.size() != e.getRank(i))
      return e.error() << "expected operand " << i << " to have rank "
                       << labels.size();
    for (auto [label, dim] : llvm::zip(labels, e.in[i].dims)) {
      AffineExpr &size = sizes[label];
      if (!size || (getConstantValue(dim) && getConstantValue(dim) != 1))
        size = dim;
    }
  }
  Dims dims;
  for (char label : right) {
    if (label == ' ')
      continue;
    if (!sizes.contains(label))
      return e.error() << "expected results made of the operands' labels";
    dims.push_back(sizes[label]);
  }
  e.set(0, type, dims);
  return success();
}

void ganq::onnx::addReductionRules(RuleMap &rules) {
  for (StringRef name : {"ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin",
                         "ReduceProd", "ReduceL1", "ReduceL2", "ReduceLogSum",
                         "ReduceLogSumExp", "ReduceSumSquare"})
    rules[name] = evaluateReduction;
  rules["ArgMax"] = evaluateArgReduction;
  rules["ArgMin"] = evaluateArgReduction;
  rules["CumSum"] = evaluateCumSum;
  rules["MatMul"] = evaluateMatMul;
  rules["com.microsoft.FusedMatMul"] = evaluateMatMul;
  rules["Gemm"] = evaluateMatMul;
  rules["MatMulInteger"] = evaluateMatMulInteger;
  rules["QLinearMatMul"] = evaluateQLinearMatMul;
  rules["com.microsoft.MatMulNBits"] = evaluateMatMulNBits;
  rules["com.microsoft.MatMulBnb4"] = evaluateMatMulNBits;
  rules["Einsum"] = evaluateEinsum;
}
