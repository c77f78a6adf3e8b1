//===- Indexing.cpp - onnx operators with index tensors -------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Lowering.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "llvm/ADT/StringExtras.h"

using namespace mlir;
using namespace ganq::lowering;
using ganq::onnx::getOpName;

Value ganq::lowering::loadIndex(BodyBuilder &s, Value tensor,
                                ValueRange position, Value size) {
  Value index = tensor::ExtractOp::create(s, tensor, position);
  return s.wrapIndex(s.toIndex(index), size);
}

LogicalResult ganq::lowering::requireWithin(Lowering &l, unsigned i,
                                            ArrayRef<OpFoldResult> sizes,
                                            bool fromEnd) {
  auto known = getConstantIntValues(sizes);
  SmallVector<int64_t> elements;
  if (ganq::onnx::getConstantInts(l.op->getOperand(i), elements) && known) {
    for (auto [position, index] : llvm::enumerate(elements)) {
      int64_t size = (*known)[position % known->size()];
      int64_t low = fromEnd ? -size : 0;
      if (index < low || index >= size)
        return l.op->emitOpError("expected indices from ")
               << low << " to " << size - 1 << ", but got " << index;
    }
    return success();
  }
  // One limit for all indices, or one per place in the last dimension.
  FailureOr<Value> inside =
      l.map({l.operand(i), l.fromSizes(sizes)}, l.b.getI1Type(),
            [&](BodyBuilder &s, ValueRange v) {
              Value index = s.toIndex(v[0]), size = s.toIndex(v[1]);
              Value low = fromEnd ? s.sub(s.index(0), size) : s.index(0);
              return s.andBits(s.compare(Compare::GE, index, low),
                               s.compare(Compare::LT, index, size));
            });
  if (failed(inside))
    return failure();
  int64_t rank = Lowering::typeOf(*inside).getRank();
  auto axes = llvm::to_vector(llvm::seq<int64_t>(0, rank));
  Value all = l.reduce(
      *inside, axes, l.b.integer(l.b.getI1Type(), 1),
      [](BodyBuilder &s, ValueRange v) { return s.andBits(v[0], v[1]); });
  SmallVector<Value> first(rank, l.b.index(0));
  std::string message = "expected indices within the dimension";
  if (known) {
    message += known->size() == 1 ? " of " : "s of ";
    message += llvm::join(
        llvm::map_range(*known,
                        [](int64_t size) { return std::to_string(size); }),
        ", ");
  }
  l.assertThat(tensor::ExtractOp::create(l.b, all, first), message);
  return success();
}

/// Checks that the indices of operand 1 along `axis` fit the data, and that
/// they have no more places than the data in the other dimensions.
static LogicalResult checkElementIndices(Lowering &l, int64_t axis) {
  Shape data = l.shapeOf(l.operand(0)), indices = l.shapeOf(l.operand(1));
  for (auto [dim, sizes] : llvm::enumerate(llvm::zip(data, indices))) {
    auto [size, count] = sizes;
    if (static_cast<int64_t>(dim) == axis || size == count)
      continue;
    auto knownSize = getConstantIntValue(size);
    auto knownCount = getConstantIntValue(count);
    if (knownSize && knownCount) {
      if (*knownCount > *knownSize)
        return l.op->emitOpError("expected indices of at most ")
               << *knownSize << " places in dimension " << dim << ", but got "
               << *knownCount;
      continue;
    }
    l.assertThat(l.b.compare(Compare::LE, l.toValue(count), l.toValue(size)),
                 "expected no more indices than data in dimension " +
                     Twine(dim));
  }
  return requireWithin(l, 1, data[axis]);
}

static LogicalResult lowerGather(Lowering &l) {
  Value data = l.operand(0), indices = l.operand(1);
  Shape from = l.shapeOf(data);
  int64_t rank = from.size(), count = l.rank(1);
  FailureOr<int64_t> axis = l.getAxis("axis", 0, rank);
  if (failed(axis))
    return failure();
  l.requireNonEmpty(from[*axis], "the dimension");
  if (failed(requireWithin(l, 1, from[*axis])))
    return failure();
  Shape shape(ArrayRef<OpFoldResult>(from).take_front(*axis));
  shape.append(l.shapeOf(indices));
  shape.append(from.begin() + *axis + 1, from.end());
  Value size = l.toValue(from[*axis]);
  Value result =
      l.generate(shape, l.element(0), [&](BodyBuilder &s, ValueRange at) {
        SmallVector<Value> position(at.take_front(*axis));
        position.push_back(loadIndex(s, indices, at.slice(*axis, count), size));
        llvm::append_range(position, at.drop_front(*axis + count));
        return Lowering::load(s, data, position);
      });
  return l.setResult(result, l.isUnsigned(0));
}

static LogicalResult lowerGatherElements(Lowering &l) {
  Value data = l.operand(0), indices = l.operand(1);
  Shape from = l.shapeOf(data);
  int64_t rank = from.size();
  FailureOr<int64_t> axis = l.getAxis("axis", 0, rank);
  if (failed(axis))
    return failure();
  if (l.rank(1) != rank)
    return l.op->emitOpError("expected operands of one rank");
  for (OpFoldResult size : from)
    l.requireNonEmpty(size, "the operand");
  if (failed(checkElementIndices(l, *axis)))
    return failure();
  SmallVector<Value> sizes = l.toValues(from);
  Value result = l.generate(
      l.shapeOf(indices), l.element(0), [&](BodyBuilder &s, ValueRange at) {
        SmallVector<Value> position;
        for (auto [i, size] : llvm::zip(at, sizes))
          position.push_back(s.min(i, s.sub(size, s.index(1))));
        position[*axis] = loadIndex(s, indices, at, sizes[*axis]);
        return Lowering::load(s, data, position);
      });
  return l.setResult(result, l.isUnsigned(0));
}

static LogicalResult lowerGatherND(Lowering &l) {
  Value data = l.operand(0), indices = l.operand(1);
  Shape from = l.shapeOf(data), index = l.shapeOf(indices);
  int64_t batch = l.getInt("batch_dims", 0), rank = from.size();
  if (index.empty())
    return l.op->emitOpError("expected indices of rank 1 or more");
  auto depth = getConstantIntValue(index.back());
  if (!depth)
    return l.unsupported("indices of unknown length");
  int64_t outer = index.size() - 1;
  if (batch < 0 || batch > outer || batch + *depth > rank)
    return l.op->emitOpError("expected indices that fit the data");
  for (OpFoldResult size : from)
    l.requireNonEmpty(size, "the data");
  if (failed(requireWithin(l, 1,
                           ArrayRef<OpFoldResult>(from).slice(batch, *depth))))
    return failure();
  Shape shape(ArrayRef<OpFoldResult>(index).drop_back());
  shape.append(from.begin() + batch + *depth, from.end());
  SmallVector<Value> sizes = l.toValues(from);
  Value result =
      l.generate(shape, l.element(0), [&](BodyBuilder &s, ValueRange at) {
        SmallVector<Value> position;
        for (int64_t dim = 0; dim < batch; ++dim)
          position.push_back(s.min(at[dim], s.sub(sizes[dim], s.index(1))));
        SmallVector<Value> where(at.take_front(outer));
        where.push_back(Value());
        for (int64_t k = 0; k < *depth; ++k) {
          where.back() = s.index(k);
          position.push_back(loadIndex(s, indices, where, sizes[batch + k]));
        }
        llvm::append_range(position, at.drop_front(outer));
        return Lowering::load(s, data, position);
      });
  return l.setResult(result, l.isUnsigned(0));
}

/// What a scatter puts where `old` was; elements are of the storage type.
static Value combine(Lowering &l, BodyBuilder &s, Value old, Value update) {
  StringRef reduction = ganq::onnx::getString(l.op, "reduction", "none");
  bool isUnsigned = l.isUnsigned(0);
  if (reduction == "add")
    return s.add(old, update);
  if (reduction == "mul")
    return s.mul(old, update);
  if (reduction == "max")
    return s.max(old, update, isUnsigned);
  if (reduction == "min")
    return s.min(old, update, isUnsigned);
  return update;
}

static LogicalResult checkScatter(Lowering &l) {
  if (l.element(0) != l.element(2))
    return l.op->emitOpError("expected updates of type ")
           << l.element(0) << ", but got " << l.element(2);
  for (OpFoldResult size : l.shapeOf(l.operand(0)))
    l.requireNonEmpty(size, "the data");
  return success();
}

/// Checks that the updates have the sizes that the indices ask for.
static LogicalResult checkUpdates(Lowering &l, ArrayRef<OpFoldResult> wanted) {
  Shape sizes = l.shapeOf(l.operand(2));
  if (sizes.size() != wanted.size())
    return l.op->emitOpError("expected updates of rank ")
           << wanted.size() << ", but got " << sizes.size();
  for (auto [size, expected] : llvm::zip(sizes, wanted)) {
    if (size == expected)
      continue;
    l.assertThat(l.b.compare(Compare::EQ, l.toValue(size), l.toValue(expected)),
                 "expected updates with the sizes of the indices");
  }
  return success();
}

static LogicalResult lowerScatterElements(Lowering &l) {
  int64_t rank = l.rank(0);
  FailureOr<int64_t> axis = l.getAxis("axis", 0, rank);
  if (failed(axis) || failed(checkScatter(l)))
    return failure();
  Value data = l.operand(0), indices = l.operand(1), updates = l.operand(2);
  if (l.rank(1) != rank)
    return l.op->emitOpError("expected indices of rank ") << rank;
  if (failed(checkUpdates(l, l.shapeOf(indices))) ||
      failed(checkElementIndices(l, *axis)))
    return failure();
  SmallVector<Value> sizes = l.toValues(l.shapeOf(data));
  SmallVector<Value> result =
      l.b.loops(l.toValues(l.shapeOf(indices)), data,
                [&](BodyBuilder &s, ValueRange at, ValueRange carried) {
                  SmallVector<Value> position;
                  for (auto [i, size] : llvm::zip(at, sizes))
                    position.push_back(s.min(i, s.sub(size, s.index(1))));
                  position[*axis] = loadIndex(s, indices, at, sizes[*axis]);
                  Value old =
                      tensor::ExtractOp::create(s, carried[0], position);
                  Value update = tensor::ExtractOp::create(s, updates, at);
                  Value next = combine(l, s, old, update);
                  return SmallVector<Value>{
                      tensor::InsertOp::create(s, next, carried[0], position)};
                });
  return l.setResult(result[0], l.isUnsigned(0));
}

static LogicalResult lowerScatterND(Lowering &l) {
  if (failed(checkScatter(l)))
    return failure();
  Value data = l.operand(0), indices = l.operand(1), updates = l.operand(2);
  Shape from = l.shapeOf(data), index = l.shapeOf(indices);
  if (index.empty())
    return l.op->emitOpError("expected indices of rank 1 or more");
  auto depth = getConstantIntValue(index.back());
  if (!depth)
    return l.unsupported("indices of unknown length");
  if (*depth > static_cast<int64_t>(from.size()))
    return l.op->emitOpError("expected indices that fit the data");
  Shape wanted(ArrayRef<OpFoldResult>(index).drop_back());
  int64_t outer = wanted.size();
  wanted.append(from.begin() + *depth, from.end());
  if (failed(checkUpdates(l, wanted)) ||
      failed(
          requireWithin(l, 1, ArrayRef<OpFoldResult>(from).take_front(*depth))))
    return failure();
  SmallVector<Value> sizes = l.toValues(from);
  SmallVector<Value> result =
      l.b.loops(l.toValues(wanted), data,
                [&](BodyBuilder &s, ValueRange at, ValueRange carried) {
                  SmallVector<Value> position, where(at.take_front(outer));
                  where.push_back(Value());
                  for (int64_t k = 0; k < *depth; ++k) {
                    where.back() = s.index(k);
                    position.push_back(loadIndex(s, indices, where, sizes[k]));
                  }
                  llvm::append_range(position, at.drop_front(outer));
                  Value old =
                      tensor::ExtractOp::create(s, carried[0], position);
                  Value update = tensor::ExtractOp::create(s, updates, at);
                  Value next = combine(l, s, old, update);
                  return SmallVector<Value>{
                      tensor::InsertOp::create(s, next, carried[0], position)};
                });
  return l.setResult(result[0], l.isUnsigned(0));
}

/// Writes `update` into the cache along `axis`, batch by batch from its own
/// place on.
static LogicalResult lowerTensorScatter(Lowering &l) {
  Value cache = l.operand(0), update = l.operand(1), starts = l.operand(2);
  int64_t rank = l.rank(0);
  FailureOr<int64_t> axis = l.getAxis("axis", -2, rank);
  if (failed(axis) || failed(l.requireSameElements({0, 1})))
    return failure();
  StringRef mode = ganq::onnx::getString(l.op, "mode", "linear");
  if (mode != "linear" && mode != "circular")
    return l.op->emitOpError("expected mode to be linear or circular, but got ")
           << mode;
  if (l.rank(1) != rank || *axis == 0)
    return l.op->emitOpError("expected cache and update of one rank and an "
                             "axis after the batch");
  Shape shape = l.shapeOf(cache), sizes = l.shapeOf(update), room = shape;
  // Where the first row may go, so that the last one fits.
  OpFoldResult limit = shape[*axis];
  if (mode == "linear")
    limit = l.add(l.sub(limit, sizes[*axis]), l.size(1));
  room[*axis] = sizes[*axis];
  for (auto [size, wanted] : llvm::zip(sizes, room))
    if (size != wanted)
      l.assertThat(l.b.compare(Compare::EQ, l.toValue(size), l.toValue(wanted)),
                   "expected an update with the sizes of the cache");
  l.requireNonEmpty(limit, "the room for the update");
  if (starts) {
    if (l.rank(2) != 1)
      return l.op->emitOpError("expected write indices of rank 1");
    l.assertThat(l.b.compare(Compare::EQ, l.toValue(l.shapeOf(starts)[0]),
                             l.toValue(shape[0])),
                 "expected one write index per batch");
    if (failed(requireWithin(l, 2, limit, /*fromEnd=*/false)))
      return failure();
  }
  Value rows = l.toValue(shape[*axis]);
  SmallVector<Value> result = l.b.loops(
      l.toValues(sizes), cache,
      [&](BodyBuilder &s, ValueRange at, ValueRange carried) {
        SmallVector<Value> position(at);
        Value &row = position[*axis];
        if (starts)
          row = s.add(row,
                      s.toIndex(tensor::ExtractOp::create(s, starts, at[0])));
        row = arith::RemUIOp::create(s, row, rows);
        Value element = tensor::ExtractOp::create(s, update, at);
        return SmallVector<Value>{
            tensor::InsertOp::create(s, element, carried[0], position)};
      });
  return l.setResult(result[0], l.isUnsigned(0));
}

static LogicalResult lowerOneHot(Lowering &l) {
  Value indices = l.operand(0), values = l.operand(2);
  int64_t rank = l.rank(0);
  FailureOr<int64_t> axis = l.getAxis("axis", -1, rank + 1);
  if (failed(axis) || l.rank(2) != 1)
    return l.op->emitOpError("expected values of rank 1");
  Value depth = l.b.cast(l.scalar(1), l.b.getIndexType(), false, false);
  depth = l.b.max(depth, l.b.index(0));
  Shape shape = l.shapeOf(indices);
  OpFoldResult size = depth;
  SmallVector<int64_t> known;
  if (ganq::onnx::getConstantInts(l.op->getOperand(1), known) &&
      known.size() == 1)
    size = l.size(std::max<int64_t>(known[0], 0));
  shape.insert(shape.begin() + *axis, size);
  Value off = tensor::ExtractOp::create(l.b, values, l.b.index(0));
  Value on = tensor::ExtractOp::create(l.b, values, l.b.index(1));
  Value result =
      l.generate(shape, l.element(2), [&](BodyBuilder &s, ValueRange at) {
        SmallVector<Value> position(at);
        position.erase(position.begin() + *axis);
        Value index = tensor::ExtractOp::create(s, indices, position);
        index = s.cast(index, s.getIndexType(), false, false);
        index = s.select(s.compare(Compare::LT, index, s.index(0)),
                         s.add(index, depth), index);
        return s.select(s.compare(Compare::EQ, index, at[*axis]), on, off);
      });
  return l.setResult(result, l.isUnsigned(2));
}

/// Runs `insert` on a tensor and a count, where `condition` holds.
static SmallVector<Value>
insertIf(BodyBuilder &s, Value condition, ValueRange carried,
         llvm::function_ref<Value(BodyBuilder &)> insert) {
  auto choice = scf::IfOp::create(
      s, condition,
      [&](OpBuilder &builder, Location loc) {
        BodyBuilder inner(loc, builder);
        Value tensor = insert(inner);
        Value next = inner.add(carried[1], inner.index(1));
        scf::YieldOp::create(inner, ValueRange{tensor, next});
      },
      [&](OpBuilder &builder, Location loc) {
        scf::YieldOp::create(builder, loc, carried);
      });
  return SmallVector<Value>(choice.getResults());
}

static LogicalResult lowerNonZero(Lowering &l) {
  BodyBuilder &b = l.b;
  Value input = l.operand(0);
  SmallVector<Value> bounds = l.toValues(l.shapeOf(input));
  int64_t rank = bounds.size();
  auto isSet = [&](BodyBuilder &s, ValueRange at) {
    Value x = tensor::ExtractOp::create(s, input, at);
    return s.cast(x, s.getI1Type(), false, false);
  };
  SmallVector<Value> count = b.loops(
      bounds, b.index(0), [&](BodyBuilder &s, ValueRange at, ValueRange n) {
        Value step = s.select(isSet(s, at), s.index(1), s.index(0));
        return SmallVector<Value>{s.add(n[0], step)};
      });
  Shape shape{l.size(rank), OpFoldResult(count[0])};
  Value start = l.empty(shape, b.getI64Type());
  SmallVector<Value> result = b.loops(
      bounds, {start, b.index(0)},
      [&](BodyBuilder &s, ValueRange at, ValueRange carried) {
        return insertIf(s, isSet(s, at), carried, [&](BodyBuilder &inner) {
          Value tensor = carried[0];
          for (auto [dim, i] : llvm::enumerate(at)) {
            Value number = inner.cast(i, inner.getI64Type(), false, false);
            tensor = tensor::InsertOp::create(
                inner, number, tensor,
                ValueRange{inner.index(dim), carried[1]});
          }
          return tensor;
        });
      });
  l.state.shapes[result[0]] = shape;
  return l.setResult(result[0]);
}

static LogicalResult lowerCompress(Lowering &l) {
  BodyBuilder &b = l.b;
  Value input = l.operand(0), condition = l.operand(1);
  int64_t axis = 0;
  if (l.op->hasAttr("axis")) {
    FailureOr<int64_t> given = l.getAxis("axis", 0, l.rank(0));
    if (failed(given))
      return failure();
    axis = *given;
  } else {
    input = l.reshape(input, {l.product(l.shapeOf(input))});
  }
  if (l.rank(1) != 1)
    return l.op->emitOpError("expected a condition of rank 1");
  Shape shape = l.shapeOf(input);
  OpFoldResult length = l.min(l.shapeOf(condition)[0], shape[axis]);
  Shape all{length};
  Value start = l.empty(all, b.getIndexType());
  SmallVector<Value> kept = b.loops(
      l.toValue(length), {start, b.index(0)},
      [&](BodyBuilder &s, ValueRange at, ValueRange carried) {
        Value stays = tensor::ExtractOp::create(s, condition, at);
        return insertIf(s, stays, carried, [&](BodyBuilder &inner) -> Value {
          return tensor::InsertOp::create(inner, at[0], carried[0], carried[1]);
        });
      });
  shape[axis] = kept[1];
  Value result =
      l.generate(shape, l.element(0), [&](BodyBuilder &s, ValueRange at) {
        SmallVector<Value> position(at);
        position[axis] = tensor::ExtractOp::create(s, kept[0], at[axis]);
        return Lowering::load(s, input, position);
      });
  return l.setResult(result, l.isUnsigned(0));
}

/// The first lengths[batch] elements along the time axis change their order.
static LogicalResult lowerReverseSequence(Lowering &l) {
  Value input = l.operand(0), lengths = l.operand(1);
  int64_t batch = l.getInt("batch_axis", 1), time = l.getInt("time_axis", 0);
  if (l.rank(0) < 2 || batch + time != 1 || l.rank(1) != 1)
    return l.op->emitOpError("expected axes 0 and 1");
  Shape shape = l.shapeOf(input);
  SmallVector<Value> sizes = l.toValues(shape);
  Value last = l.b.sub(l.toValue(l.shapeOf(lengths)[0]), l.b.index(1));
  Value result =
      l.generate(shape, l.element(0), [&](BodyBuilder &s, ValueRange at) {
        Value length =
            tensor::ExtractOp::create(s, lengths, s.min(at[batch], last));
        length = s.clamp(s.toIndex(length), s.index(0), sizes[time]);
        SmallVector<Value> position(at);
        position[time] =
            s.select(s.compare(Compare::LT, at[time], length),
                     s.sub(s.sub(length, s.index(1)), at[time]), at[time]);
        return Lowering::load(s, input, position);
      });
  return l.setResult(result, l.isUnsigned(0));
}

void ganq::lowering::addIndexingLowerings(LoweringTable &table) {
  table["Gather"] = lowerGather;
  table["GatherElements"] = lowerGatherElements;
  table["GatherND"] = lowerGatherND;
  table["Scatter"] = lowerScatterElements;
  table["ScatterElements"] = lowerScatterElements;
  table["ScatterND"] = lowerScatterND;
  table["OneHot"] = lowerOneHot;
  table["TensorScatter"] = lowerTensorScatter;
  table["NonZero"] = lowerNonZero;
  table["Compress"] = lowerCompress;
  table["ReverseSequence"] = lowerReverseSequence;
}
