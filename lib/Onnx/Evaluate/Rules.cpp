//===- Rules.cpp - What the rules of the interpretation share -------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Rules.h"
#include "llvm/ADT/APFloat.h"

using namespace mlir;
using namespace ganq::onnx;

std::optional<int64_t> ganq::onnx::getConstantValue(AffineExpr expr) {
  if (auto constant = dyn_cast_or_null<AffineConstantExpr>(expr))
    return constant.getValue();
  return std::nullopt;
}

int64_t ganq::onnx::getProduct(ArrayRef<int64_t> values) {
  int64_t product = 1;
  for (int64_t value : values)
    product *= value;
  return product;
}

Ints ganq::onnx::getStrides(ArrayRef<int64_t> shape) {
  Ints strides(shape.size(), 1);
  for (int64_t i = static_cast<int64_t>(shape.size()) - 2; i >= 0; --i)
    strides[i] = strides[i + 1] * shape[i + 1];
  return strides;
}

void ganq::onnx::forEachIndex(
    ArrayRef<int64_t> shape,
    llvm::function_ref<void(ArrayRef<int64_t>)> visit) {
  Ints index(shape.size(), 0);
  for (int64_t count = getProduct(shape); count > 0; --count) {
    visit(index);
    for (int64_t i = static_cast<int64_t>(shape.size()) - 1; i >= 0; --i) {
      if (++index[i] < shape[i])
        break;
      index[i] = 0;
    }
  }
}

Ints ganq::onnx::getBroadcastOrder(ArrayRef<int64_t> from,
                                   ArrayRef<int64_t> to) {
  Ints strides = getStrides(from);
  size_t lead = to.size() - from.size();
  Ints order;
  forEachIndex(to, [&](ArrayRef<int64_t> index) {
    int64_t offset = 0;
    for (size_t i = 0; i < from.size(); ++i)
      offset += from[i] == 1 ? 0 : index[lead + i] * strides[i];
    order.push_back(offset);
  });
  return order;
}

Elements ganq::onnx::take(const Elements &elements, ArrayRef<int64_t> order) {
  return std::visit(
      [&](const auto &values) -> Elements {
        std::decay_t<decltype(values)> result;
        result.reserve(order.size());
        for (int64_t index : order)
          result.push_back(values[index]);
        return result;
      },
      elements);
}

static void makeExprs(Elements &elements, MLIRContext *context) {
  if (const auto *ints = std::get_if<std::vector<int64_t>>(&elements)) {
    std::vector<AffineExpr> exprs;
    for (int64_t value : *ints)
      exprs.push_back(getAffineConstantExpr(value, context));
    elements = std::move(exprs);
  }
}

void ganq::onnx::unify(Elements &a, Elements &b, MLIRContext *context) {
  if (a.index() == b.index())
    return;
  makeExprs(a, context);
  makeExprs(b, context);
}

Elements ganq::onnx::simplify(Elements elements) {
  const auto *exprs = std::get_if<std::vector<AffineExpr>>(&elements);
  if (!exprs)
    return elements;
  std::vector<int64_t> ints;
  for (AffineExpr expr : *exprs) {
    std::optional<int64_t> value = getConstantValue(expr);
    if (!value)
      return elements;
    ints.push_back(*value);
  }
  return ints;
}

double ganq::onnx::roundTo(double value, Type type) {
  if (type.isF64())
    return value;
  if (type.isF32())
    return static_cast<double>(static_cast<float>(value));
  auto floatType = dyn_cast<FloatType>(type);
  if (!floatType)
    return value;
  llvm::APFloat number(value);
  bool losesInfo;
  number.convert(floatType.getFloatSemantics(),
                 llvm::APFloat::rmNearestTiesToEven, &losesInfo);
  number.convert(llvm::APFloat::IEEEdouble(),
                 llvm::APFloat::rmNearestTiesToEven, &losesInfo);
  return number.convertToDouble();
}

int64_t ganq::onnx::wrapTo(int64_t value, Type type) {
  auto integer = dyn_cast<IntegerType>(type);
  if (!integer || integer.getWidth() >= 64)
    return value;
  if (integer.getWidth() == 1)
    return value != 0;
  unsigned shift = 64 - integer.getWidth();
  uint64_t high = static_cast<uint64_t>(value) << shift;
  return integer.isUnsigned() ? static_cast<int64_t>(high >> shift)
                              : static_cast<int64_t>(high) >> shift;
}

//===----------------------------------------------------------------------===//
// Evaluation
//===----------------------------------------------------------------------===//

bool Evaluation::loadAll(ArrayRef<unsigned> indices) {
  // Weights are read only when all else is known.
  for (unsigned index : indices)
    if (index >= in.size() || (!in[index].elements && !in[index].parameter))
      return false;
  return llvm::all_of(
      indices, [&](unsigned index) { return evaluator.load(in[index]); });
}

bool Evaluation::loadAll() {
  SmallVector<unsigned> indices;
  for (unsigned i = 0; i < in.size(); ++i)
    if (has(i))
      indices.push_back(i);
  return loadAll(indices);
}

std::optional<Ints> Evaluation::getInts(unsigned index) {
  if (!has(index) || !loadAll({index}))
    return std::nullopt;
  const std::vector<int64_t> *ints = in[index].getInts();
  if (!ints)
    return std::nullopt;
  return Ints(ints->begin(), ints->end());
}

std::optional<Dims> Evaluation::getExprs(unsigned index) {
  if (!has(index) || !loadAll({index}))
    return std::nullopt;
  std::optional<std::vector<AffineExpr>> exprs =
      in[index].getExprs(getContext());
  if (!exprs)
    return std::nullopt;
  return Dims(exprs->begin(), exprs->end());
}

std::optional<int64_t> Evaluation::getInt(unsigned index) {
  std::optional<Ints> ints = getInts(index);
  if (!ints || ints->size() != 1)
    return std::nullopt;
  return ints->front();
}

std::optional<Ints> Evaluation::getComputableShape(unsigned index) const {
  std::optional<int64_t> count = out[index].getNumElements();
  if (!count || *count > evaluator.getMaxElements())
    return std::nullopt;
  return out[index].getStaticShape();
}

void Evaluation::set(unsigned index, Type elementType,
                     ArrayRef<AffineExpr> dims) {
  if (index >= out.size())
    return;
  out[index].elementType = elementType;
  out[index].hasRank = true;
  out[index].dims.clear();
  for (AffineExpr dim : dims)
    out[index].dims.push_back(evaluator.simplify(dim));
}

void Evaluation::setLike(unsigned index, unsigned operand) {
  if (!has(operand))
    return;
  if (in[operand].hasRank)
    set(index, in[operand].elementType, in[operand].dims);
  else
    setUnranked(index, in[operand].elementType);
}

void Evaluation::setUnranked(unsigned index, Type elementType) {
  if (index < out.size())
    out[index].elementType = elementType;
}

void Evaluation::setElements(unsigned index, Elements elements) {
  if (auto *exprs = std::get_if<std::vector<AffineExpr>>(&elements))
    for (AffineExpr &expr : *exprs)
      expr = evaluator.simplify(expr);
  out[index].elements =
      std::make_shared<Elements>(ganq::onnx::simplify(std::move(elements)));
}

void Evaluation::takeElements(ArrayRef<int64_t> order) {
  setElements(0, take(*in[0].elements, order));
}

std::optional<Dims> Evaluation::broadcast(ArrayRef<AffineExpr> a,
                                          ArrayRef<AffineExpr> b) {
  if (a.size() < b.size())
    std::swap(a, b);
  Dims result(a.begin(), a.end());
  size_t lead = a.size() - b.size();
  for (size_t i = 0; i < b.size(); ++i) {
    AffineExpr &x = result[lead + i];
    AffineExpr y = b[i];
    std::optional<int64_t> xSize = getConstantValue(x);
    std::optional<int64_t> ySize = getConstantValue(y);
    if (x == y || ySize == 1)
      continue;
    if (xSize == 1 || (!xSize && ySize))
      x = y;
    else if (xSize && ySize)
      return std::nullopt;
    else if (!xSize)
      x = unknown(); // Either may be 1.
  }
  return result;
}
