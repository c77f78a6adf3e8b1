//===- SelectRules.cpp - Operators that choose elements -------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Rules.h"
#include <limits>

using namespace mlir;
using namespace ganq::onnx;

//===----------------------------------------------------------------------===//
// Slice
//===----------------------------------------------------------------------===//

namespace {
/// What a Slice takes from one dimension.
struct Section {
  AffineExpr start, size;
  int64_t step = 1;
};
} // namespace

/// Start and size for known numbers, as ONNX clamps them.
static Section clampSection(Evaluation &e, int64_t dim, int64_t start,
                            int64_t end, int64_t step) {
  if (start < 0)
    start += dim;
  if (end < 0)
    end += dim;
  int64_t low = step > 0 ? 0 : -1;
  int64_t high = step > 0 ? dim : dim - 1;
  start =
      std::clamp<int64_t>(start, step > 0 ? 0 : 0, std::max<int64_t>(high, 0));
  end = std::clamp(end, low, std::max(high, low));
  int64_t span = step > 0 ? end - start : start - end;
  int64_t stride = step > 0 ? step : -step;
  int64_t size = span <= 0 ? 0 : llvm::divideCeil(span, stride);
  return {e.constant(start), e.constant(dim == 0 ? 0 : size), step};
}

static Section getSection(Evaluation &e, AffineExpr dim, AffineExpr start,
                          AffineExpr end, int64_t step) {
  Section section{AffineExpr(), e.unknown(), step};
  if (!start || !end)
    return section;
  std::optional<int64_t> size = getConstantValue(dim);
  std::optional<int64_t> first = getConstantValue(start);
  std::optional<int64_t> last = getConstantValue(end);
  if (size && first && last)
    return clampSection(e, *size, *first, *last, step);
  constexpr int64_t kFar = std::numeric_limits<int32_t>::max();
  if (step == -1 && first == -1 && last && *last <= -kFar) {
    section.size = dim; // The whole dimension, backwards.
    return section;
  }
  if (step < 0)
    return section;
  if (first && *first < 0)
    start = *first <= -kFar ? e.constant(0) : dim + *first;
  if (last && *last >= kFar)
    end = dim;
  else if (last && *last < 0)
    end = dim + *last;
  else if (last && !size)
    return section; // The dimension may be shorter.
  AffineExpr span = e.getEvaluator().simplify(end - start);
  if (std::optional<int64_t> known = getConstantValue(span);
      known && *known < 0)
    span = e.constant(0);
  section.start = start;
  section.size = step == 1 ? span : span.ceilDiv(step);
  return section;
}

static LogicalResult evaluateSlice(Evaluation &e) {
  Type elementType = e.in[0].elementType;
  e.setUnranked(0, elementType);
  if (!e.hasRanked(0))
    return success();
  int64_t rank = e.getRank(0);
  auto get = [&](unsigned operand, StringRef name) -> std::optional<Dims> {
    if (e.has(operand))
      return e.getExprs(operand);
    std::optional<ArrayRef<int64_t>> attr = getInts(e.op, name);
    if (!attr)
      return std::nullopt;
    Dims exprs;
    for (int64_t value : *attr)
      exprs.push_back(e.constant(value));
    return exprs;
  };
  std::optional<Dims> starts = get(1, "starts"), ends = get(2, "ends");
  std::optional<Dims> axes = get(3, "axes");
  std::optional<Ints> steps = e.getInts(4);
  Dims dims(e.in[0].dims.begin(), e.in[0].dims.end());
  size_t count = starts ? starts->size() : ends ? ends->size() : rank;
  if ((e.has(3) && !axes) || (e.has(4) && !steps)) {
    // Which dimensions shrink is not known.
    for (AffineExpr &dim : dims)
      dim = e.unknown();
    e.set(0, elementType, dims);
    return success();
  }
  if ((ends && ends->size() != count) || (axes && axes->size() != count) ||
      (steps && steps->size() != count) || static_cast<int64_t>(count) > rank)
    return e.error() << "expected starts, ends, axes and steps of one length "
                        "of at most "
                     << rank;
  std::vector<Section> sections;
  for (AffineExpr dim : dims)
    sections.push_back({e.constant(0), dim, 1});
  for (size_t i = 0; i < count; ++i) {
    std::optional<int64_t> axis = i;
    if (axes) {
      std::optional<int64_t> value = getConstantValue((*axes)[i]);
      axis = value ? Evaluation::normalizeAxis(*value, rank) : std::nullopt;
    }
    if (!axis)
      return e.error() << "expected axes below " << rank;
    int64_t step = steps ? (*steps)[i] : 1;
    if (step == 0 || step == std::numeric_limits<int64_t>::min())
      return e.error() << "expected steps other than 0";
    sections[*axis] =
        getSection(e, dims[*axis], starts ? (*starts)[i] : AffineExpr(),
                   ends ? (*ends)[i] : AffineExpr(), step);
    dims[*axis] = sections[*axis].size;
  }
  e.set(0, elementType, dims);
  std::optional<Ints> shape = e.getComputableShape(0);
  std::optional<Ints> from = e.in[0].getStaticShape();
  if (!shape || !from || !e.loadAll({0}))
    return success();
  Ints strides = getStrides(*from);
  int64_t base = 0;
  for (int64_t i = 0; i < rank; ++i) {
    std::optional<int64_t> start = getConstantValue(sections[i].start);
    if (!start)
      return success();
    base += *start * strides[i];
  }
  Ints order;
  forEachIndex(*shape, [&](ArrayRef<int64_t> index) {
    int64_t offset = base;
    for (int64_t i = 0; i < rank; ++i)
      offset += index[i] * sections[i].step * strides[i];
    order.push_back(offset);
  });
  e.takeElements(order);
  return success();
}

//===----------------------------------------------------------------------===//
// Gather and scatter
//===----------------------------------------------------------------------===//

static LogicalResult evaluateGather(Evaluation &e) {
  Type elementType = e.in[0].elementType;
  e.setUnranked(0, elementType);
  if (!e.hasRanked(0) || !e.hasRanked(1))
    return success();
  std::optional<int64_t> axis =
      Evaluation::normalizeAxis(getInt(e.op, "axis", 0), e.getRank(0));
  if (!axis)
    return e.error() << "expected an axis below " << e.getRank(0);
  ArrayRef<AffineExpr> data = e.in[0].dims;
  Dims dims(data.begin(), data.begin() + *axis);
  dims.append(e.in[1].dims.begin(), e.in[1].dims.end());
  dims.append(data.begin() + *axis + 1, data.end());
  e.set(0, elementType, dims);
  std::optional<Ints> from = e.in[0].getStaticShape();
  if (!from || !e.getComputableShape(0) || !e.loadAll({0, 1}))
    return success();
  std::optional<Ints> indices = e.getInts(1);
  if (!indices)
    return success();
  int64_t size = (*from)[*axis];
  int64_t inner = getProduct(ArrayRef(*from).drop_front(*axis + 1));
  int64_t outer = getProduct(ArrayRef(*from).take_front(*axis));
  Ints order;
  for (int64_t o = 0; o < outer; ++o)
    for (int64_t index : *indices) {
      std::optional<int64_t> i = Evaluation::normalizeAxis(index, size);
      if (!i)
        return e.error() << "expected indices below " << size << ", but got "
                         << index;
      for (int64_t n = 0; n < inner; ++n)
        order.push_back((o * size + *i) * inner + n);
    }
  e.takeElements(order);
  return success();
}

static LogicalResult evaluateGatherND(Evaluation &e) {
  Type elementType = e.in[0].elementType;
  e.setUnranked(0, elementType);
  if (!e.hasRanked(0) || !e.hasRanked(1) || e.getRank(1) == 0)
    return success();
  std::optional<int64_t> depth = getConstantValue(e.in[1].dims.back());
  int64_t batch = getInt(e.op, "batch_dims", 0);
  int64_t rank = e.getRank(0);
  if (!depth)
    return success();
  if (batch < 0 || *depth < 1 || batch + *depth > rank || batch >= e.getRank(1))
    return e.error() << "expected indices of at most " << rank
                     << " numbers each, but got " << *depth;
  Dims dims(e.in[1].dims.begin(), e.in[1].dims.end() - 1);
  dims.append(e.in[0].dims.begin() + batch + *depth, e.in[0].dims.end());
  e.set(0, elementType, dims);
  std::optional<Ints> from = e.in[0].getStaticShape();
  if (batch != 0 || !from || !e.getComputableShape(0) || !e.loadAll())
    return success();
  std::optional<Ints> indices = e.getInts(1);
  if (!indices)
    return success();
  Ints strides = getStrides(*from);
  int64_t inner = getProduct(ArrayRef(*from).drop_front(*depth));
  Ints order;
  for (size_t i = 0; i < indices->size(); i += *depth) {
    int64_t offset = 0;
    for (int64_t d = 0; d < *depth; ++d) {
      auto index = Evaluation::normalizeAxis((*indices)[i + d], (*from)[d]);
      if (!index)
        return e.error() << "expected indices below " << (*from)[d]
                         << ", but got " << (*indices)[i + d];
      offset += *index * strides[d];
    }
    for (int64_t n = 0; n < inner; ++n)
      order.push_back(offset + n);
  }
  e.takeElements(order);
  return success();
}

static LogicalResult evaluateGatherElements(Evaluation &e) {
  e.setUnranked(0, e.in[0].elementType);
  if (e.hasRanked(1))
    e.set(0, e.in[0].elementType, e.in[1].dims);
  return success();
}

static LogicalResult evaluateScatterND(Evaluation &e) {
  e.setLike(0, 0);
  std::optional<Ints> shape = e.getComputableShape(0);
  if (!shape || !e.hasRanked(1) || e.getRank(1) == 0 || !e.loadAll() ||
      getString(e.op, "reduction", "none") != "none")
    return success();
  std::optional<Ints> indices = e.getInts(1);
  std::optional<int64_t> depth = getConstantValue(e.in[1].dims.back());
  if (!indices || !depth || *depth < 1 ||
      *depth > static_cast<int64_t>(shape->size()))
    return success();
  Elements data = *e.in[0].elements, updates = *e.in[2].elements;
  unify(data, updates, e.getContext());
  if (data.index() != updates.index())
    return success();
  Ints strides = getStrides(*shape);
  int64_t inner = getProduct(ArrayRef(*shape).drop_front(*depth));
  int64_t count = indices->size() / *depth;
  if (e.in[2].getNumElements() != count * inner)
    return e.error() << "expected " << count * inner << " updates";
  for (int64_t i = 0; i < count; ++i) {
    int64_t offset = 0;
    for (int64_t d = 0; d < *depth; ++d) {
      auto index =
          Evaluation::normalizeAxis((*indices)[i * *depth + d], (*shape)[d]);
      if (!index)
        return e.error() << "expected indices below " << (*shape)[d]
                         << ", but got " << (*indices)[i * *depth + d];
      offset += *index * strides[d];
    }
    std::visit(
        [&](auto &values) {
          const auto &from = std::get<std::decay_t<decltype(values)>>(updates);
          for (int64_t n = 0; n < inner; ++n)
            values[offset + n] = from[i * inner + n];
        },
        data);
  }
  e.setElements(0, std::move(data));
  return success();
}

//===----------------------------------------------------------------------===//
// Where, Trilu and others
//===----------------------------------------------------------------------===//

static LogicalResult evaluateWhere(Evaluation &e) {
  Type elementType = e.in[1].elementType;
  e.setUnranked(0, elementType);
  if (!e.hasRanked(0) || !e.hasRanked(1) || !e.hasRanked(2))
    return success();
  std::optional<Dims> dims = e.broadcast(e.in[1].dims, e.in[2].dims);
  if (dims)
    dims = e.broadcast(e.in[0].dims, *dims);
  if (!dims)
    return e.error() << "expected operands that broadcast";
  e.set(0, elementType, *dims);
  std::optional<Ints> shape = e.getComputableShape(0);
  if (!shape || !e.loadAll())
    return success();
  auto spread = [&](unsigned i) {
    return take(*e.in[i].elements,
                getBroadcastOrder(*e.in[i].getStaticShape(), *shape));
  };
  Elements condition = spread(0), yes = spread(1), no = spread(2);
  unify(yes, no, e.getContext());
  if (yes.index() != no.index())
    return success();
  if (const auto *known = std::get_if<std::vector<int64_t>>(&condition)) {
    std::visit(
        [&](auto &values) {
          const auto &other = std::get<std::decay_t<decltype(values)>>(no);
          for (size_t i = 0; i < values.size(); ++i)
            if (!(*known)[i])
              values[i] = other[i];
        },
        yes);
    e.setElements(0, std::move(yes));
    return success();
  }
  // Some conditions are unknown: those elements too, unless both sides agree.
  const auto *conditions = std::get_if<std::vector<AffineExpr>>(&condition);
  if (!conditions || yes.index() == 2)
    return success();
  Elements expressions = std::vector<AffineExpr>();
  unify(yes, expressions, e.getContext());
  expressions = std::vector<AffineExpr>();
  unify(no, expressions, e.getContext());
  auto &values = std::get<std::vector<AffineExpr>>(yes);
  const auto &other = std::get<std::vector<AffineExpr>>(no);
  for (size_t i = 0; i < values.size(); ++i) {
    std::optional<int64_t> known = getConstantValue((*conditions)[i]);
    if (known && !*known)
      values[i] = other[i];
    else if (!known && values[i] != other[i])
      values[i] = AffineExpr();
  }
  e.setElements(0, std::move(yes));
  return success();
}

static LogicalResult evaluateTrilu(Evaluation &e) {
  e.setLike(0, 0);
  std::optional<Ints> shape = e.getComputableShape(0);
  std::optional<int64_t> shift = e.has(1) ? e.getInt(1) : 0;
  if (!shape || shape->size() < 2 || !shift || !e.loadAll({0}))
    return success();
  bool upper = getInt(e.op, "upper", 1) != 0;
  Elements elements = *e.in[0].elements;
  size_t at = 0;
  forEachIndex(*shape, [&](ArrayRef<int64_t> index) {
    int64_t row = index[index.size() - 2], column = index.back();
    bool keep = upper ? column >= row + *shift : column <= row + *shift;
    if (!keep) {
      if (auto *ints = std::get_if<std::vector<int64_t>>(&elements))
        (*ints)[at] = 0;
      else if (auto *floats = std::get_if<std::vector<double>>(&elements))
        (*floats)[at] = 0;
      else
        std::get<std::vector<AffineExpr>>(elements)[at] = e.constant(0);
    }
    ++at;
  });
  e.setElements(0, std::move(elements));
  return success();
}

static LogicalResult evaluatePad(Evaluation &e) {
  Type elementType = e.in[0].elementType;
  e.setUnranked(0, elementType);
  if (!e.hasRanked(0))
    return success();
  int64_t rank = e.getRank(0);
  std::optional<Ints> pads = e.getInts(1);
  Ints axes;
  if (e.has(3)) {
    std::optional<Ints> given = e.getInts(3);
    if (!given)
      pads = std::nullopt;
    else
      axes = *given;
  } else {
    for (int64_t i = 0; i < rank; ++i)
      axes.push_back(i);
  }
  Dims dims(e.in[0].dims.begin(), e.in[0].dims.end());
  if (!pads) {
    for (AffineExpr &dim : dims)
      dim = e.unknown();
    e.set(0, elementType, dims);
    return success();
  }
  if (pads->size() != 2 * axes.size())
    return e.error() << "expected " << 2 * axes.size() << " pads, but got "
                     << pads->size();
  for (auto [i, axis] : llvm::enumerate(axes)) {
    std::optional<int64_t> d = Evaluation::normalizeAxis(axis, rank);
    if (!d)
      return e.error() << "expected axes below " << rank;
    dims[*d] = dims[*d] + (*pads)[i] + (*pads)[i + axes.size()];
  }
  e.set(0, elementType, dims);
  return success();
}

static LogicalResult evaluateTopK(Evaluation &e) {
  e.setUnranked(0, e.in[0].elementType);
  e.setUnranked(1, e.intType(64));
  if (!e.hasRanked(0))
    return success();
  std::optional<int64_t> axis =
      Evaluation::normalizeAxis(getInt(e.op, "axis", -1), e.getRank(0));
  if (!axis)
    return e.error() << "expected an axis below " << e.getRank(0);
  Dims dims(e.in[0].dims.begin(), e.in[0].dims.end());
  std::optional<Dims> k = e.getExprs(1);
  dims[*axis] = k && k->size() == 1 && k->front() ? k->front() : e.unknown();
  e.set(0, e.in[0].elementType, dims);
  e.set(1, e.intType(64), dims);
  return success();
}

static LogicalResult evaluateNonZero(Evaluation &e) {
  if (!e.hasRanked(0)) {
    e.set(0, e.intType(64), {e.unknown(), e.unknown()});
    return success();
  }
  int64_t rank = e.getRank(0);
  e.set(0, e.intType(64), {e.constant(rank), e.unknown()});
  std::optional<Ints> shape = e.in[0].getStaticShape();
  if (!shape || !e.loadAll({0}))
    return success();
  std::optional<std::vector<double>> values = e.in[0].getNumbers();
  if (!values)
    return success();
  std::vector<Ints> found;
  size_t at = 0;
  forEachIndex(*shape, [&](ArrayRef<int64_t> index) {
    if ((*values)[at++] != 0)
      found.emplace_back(index.begin(), index.end());
  });
  e.set(0, e.intType(64),
        {e.constant(rank), e.constant(static_cast<int64_t>(found.size()))});
  std::vector<int64_t> result;
  for (int64_t d = 0; d < rank; ++d)
    for (const Ints &index : found)
      result.push_back(index[d]);
  e.setElements(0, std::move(result));
  return success();
}

static LogicalResult evaluateOneHot(Evaluation &e) {
  Type elementType = e.in[2].elementType;
  e.setUnranked(0, elementType);
  if (!e.hasRanked(0))
    return success();
  int64_t rank = e.getRank(0) + 1;
  std::optional<int64_t> axis =
      Evaluation::normalizeAxis(getInt(e.op, "axis", -1), rank);
  if (!axis)
    return e.error() << "expected an axis below " << rank;
  std::optional<Dims> depth = e.getExprs(1);
  Dims dims(e.in[0].dims.begin(), e.in[0].dims.end());
  dims.insert(dims.begin() + *axis,
              depth && depth->size() == 1 && depth->front() ? depth->front()
                                                            : e.unknown());
  e.set(0, elementType, dims);
  return success();
}

static LogicalResult evaluateLikeFirst(Evaluation &e) {
  e.setLike(0, 0);
  return success();
}

void ganq::onnx::addSelectRules(RuleMap &rules) {
  rules["Slice"] = evaluateSlice;
  rules["Gather"] = evaluateGather;
  rules["GatherND"] = evaluateGatherND;
  rules["GatherElements"] = evaluateGatherElements;
  rules["ScatterND"] = evaluateScatterND;
  for (StringRef name : {"Scatter", "ScatterElements", "TensorScatter"})
    rules[name] = evaluateLikeFirst;
  rules["Where"] = evaluateWhere;
  rules["Trilu"] = evaluateTrilu;
  rules["Pad"] = evaluatePad;
  rules["TopK"] = evaluateTopK;
  rules["NonZero"] = evaluateNonZero;
  rules["OneHot"] = evaluateOneHot;
}
