//===- Normalization.cpp - onnx normalizations ----------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Lowering.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"

using namespace mlir;
using namespace ganq::lowering;
using ganq::onnx::getOpName;

/// Mean over `axes`, which keep size 1, in f32 or wider.
static Value buildMean(Lowering &l, Value input, ArrayRef<int64_t> axes) {
  Type compute = getComputeType(Lowering::typeOf(input).getElementType());
  OpFoldResult count = l.size(1);
  for (int64_t axis : axes)
    count = l.mul(count, l.shapeOf(input)[axis]);
  Value number = l.b.cast(l.toValue(count), compute, false, false);
  Value sum =
      l.reduce(input, axes, l.b.constant(compute, 0),
               [](BodyBuilder &s, ValueRange v) { return s.add(v[0], v[1]); });
  return l.mapTo(
      l.shapeOf(sum), sum, compute,
      [&](BodyBuilder &s, ValueRange v) { return s.div(v[0], number); });
}

static Value buildMeanOfSquares(Lowering &l, Value input,
                                ArrayRef<int64_t> axes) {
  Type compute = getComputeType(Lowering::typeOf(input).getElementType());
  Value squares =
      l.mapTo(l.shapeOf(input), input, compute,
              [](BodyBuilder &s, ValueRange v) { return s.mul(v[0], v[0]); });
  return buildMean(l, squares, axes);
}

/// 1 / sqrt(x + epsilon)
static Value buildInverseRoot(Lowering &l, Value x, double epsilon) {
  Type type = Lowering::typeOf(x).getElementType();
  return l.mapTo(l.shapeOf(x), x, type, [&](BodyBuilder &s, ValueRange v) {
    Value root =
        math::SqrtOp::create(s, s.add(v[0], s.constant(type, epsilon)));
    return s.div(s.constant(type, 1), root);
  });
}

static Value buildDifference(Lowering &l, Value x, Value mean) {
  Type type = Lowering::typeOf(mean).getElementType();
  return l.mapTo(
      l.shapeOf(x), {x, mean}, type,
      [](BodyBuilder &s, ValueRange v) { return s.sub(v[0], v[1]); });
}

namespace {
struct Normalized {
  Value result, mean, inverse;
};
} // namespace

/// x / sqrt(mean(x^2) + epsilon), after the mean is taken off if `centered`;
/// times scale plus bias, which broadcast to x.
static FailureOr<Normalized> buildNorm(Lowering &l, Value x,
                                       ArrayRef<int64_t> axes, double epsilon,
                                       bool centered, Value scale, Value bias) {
  Type element = Lowering::typeOf(x).getElementType();
  Normalized norm;
  if (centered) {
    norm.mean = buildMean(l, x, axes);
    x = buildDifference(l, x, norm.mean);
  }
  norm.inverse = buildInverseRoot(l, buildMeanOfSquares(l, x, axes), epsilon);
  SmallVector<Value> inputs{x, norm.inverse};
  for (Value extra : {scale, bias})
    if (extra)
      inputs.push_back(extra);
  FailureOr<Value> result =
      l.map(inputs, element, [&](BodyBuilder &s, ValueRange v) {
        Value y = s.mul(v[0], v[1]);
        unsigned next = 2;
        if (scale)
          y = s.mul(y, s.cast(v[next++], y.getType(), false, false));
        if (bias)
          y = s.add(y, s.cast(v[next], y.getType(), false, false));
        return y;
      });
  if (failed(result))
    return failure();
  norm.result = *result;
  return norm;
}

FailureOr<Value> ganq::lowering::buildLayerNorm(Lowering &l, Value x,
                                                double epsilon, Value scale,
                                                Value bias) {
  FailureOr<Normalized> norm =
      buildNorm(l, x, Lowering::typeOf(x).getRank() - 1, epsilon,
                /*centered=*/true, scale, bias);
  return failed(norm) ? FailureOr<Value>() : norm->result;
}

static LogicalResult setOptional(Lowering &l, unsigned i, Value value) {
  if (i >= l.op->getNumResults())
    return success();
  Type element = l.declaredElement(i);
  if (!isa<FloatType>(element))
    element = Lowering::typeOf(value).getElementType();
  return l.setResult(i, l.castElements(value, element));
}

static LogicalResult lowerLayerNorm(Lowering &l) {
  bool centered = getOpName(l.op) == "LayerNormalization";
  int64_t rank = l.rank(0);
  FailureOr<int64_t> axis = l.getAxis("axis", -1, rank);
  if (failed(axis))
    return failure();
  auto axes = llvm::to_vector(llvm::seq<int64_t>(*axis, rank));
  FailureOr<Normalized> norm =
      buildNorm(l, l.operand(0), axes, l.getFloat("epsilon", 1e-5), centered,
                l.operand(1), l.operand(2));
  if (failed(norm) || failed(l.setResult(norm->result)))
    return failure();
  if (!centered)
    return setOptional(l, 1, norm->inverse);
  if (failed(setOptional(l, 1, norm->mean)))
    return failure();
  return setOptional(l, 2, norm->inverse);
}

/// com.microsoft's Skip(Simplified)LayerNormalization: the sum of both inputs
/// and an optional bias is normalized over the last dimension.
static LogicalResult lowerSkipNorm(Lowering &l) {
  bool centered = getOpName(l.op) == "com.microsoft.SkipLayerNormalization";
  Value beta = centered ? l.operand(3) : Value();
  Value bias = l.operand(centered ? 4 : 3);
  SmallVector<Value> terms{l.operand(0), l.operand(1)};
  if (bias)
    terms.push_back(bias);
  FailureOr<Value> sum =
      l.map(terms, l.element(0), [](BodyBuilder &s, ValueRange v) {
        Value total = s.add(v[0], v[1]);
        return v.size() > 2 ? s.add(total, v[2]) : total;
      });
  if (failed(sum))
    return failure();
  FailureOr<Normalized> norm =
      buildNorm(l, *sum, l.rank(0) - 1, l.getFloat("epsilon", 1e-12), centered,
                l.operand(2), beta);
  if (failed(norm) || failed(l.setResult(norm->result)))
    return failure();
  if (centered && failed(setOptional(l, 1, norm->mean)))
    return failure();
  if (l.isResultUsed(1) && !centered)
    return l.unsupported("the second result");
  if (failed(setOptional(l, 2, norm->inverse)))
    return failure();
  return setOptional(l, 3, *sum);
}

/// com.microsoft.EmbedLayerNormalization: the sum of a word's, its position's
/// and its segment's rows, normalized.
static LogicalResult lowerEmbedNorm(Lowering &l) {
  enum { kIds, kSegments, kWords, kPositions, kSegmentRows, kGamma, kBeta };
  constexpr unsigned kMask = 7, kPositionIds = 8;
  Value ids = l.operand(kIds), segments = l.operand(kSegments),
        positionIds = l.operand(kPositionIds);
  Value words = l.operand(kWords), positions = l.operand(kPositions),
        segmentRows = l.operand(kSegmentRows);
  if (l.rank(kIds) != 2 || l.rank(kWords) != 2 || l.rank(kPositions) != 2 ||
      (positionIds && l.rank(kPositionIds) != 2))
    return l.op->emitOpError("expected ids and tables of rank 2");
  if (segments &&
      (!segmentRows || l.rank(kSegments) != 2 || l.rank(kSegmentRows) != 2))
    return l.op->emitOpError("expected segment ids and a table of rank 2");
  Shape shape = l.shapeOf(ids);
  auto check = [&](unsigned i, Value table) {
    return requireWithin(l, i, l.shapeOf(table)[0], /*fromEnd=*/false);
  };
  auto assertEqual = [&](OpFoldResult a, OpFoldResult c, const Twine &what) {
    if (a != c)
      l.assertThat(l.b.compare(Compare::EQ, l.toValue(a), l.toValue(c)), what);
  };
  if (failed(check(kIds, words)) ||
      (segments && failed(check(kSegments, segmentRows))) ||
      (positionIds && failed(check(kPositionIds, positions))))
    return failure();
  for (Value table : {words, positions, segmentRows})
    if (table)
      l.requireNonEmpty(l.shapeOf(table)[0], "the table");
  for (Value table : {positions, segmentRows})
    if (table)
      assertEqual(l.shapeOf(table)[1], l.shapeOf(words)[1],
                  "expected tables with rows of one size");
  for (unsigned dim : {0u, 1u})
    if (segments)
      assertEqual(l.shapeOf(segments)[dim], shape[dim],
                  "expected a segment for each word");
  bool sharesPositions = false;
  if (positionIds) {
    OpFoldResult batch = l.shapeOf(positionIds)[0];
    sharesPositions = isConstantIntValue(batch, 1);
    if (!sharesPositions)
      assertEqual(batch, shape[0], "expected the positions of each sequence");
    assertEqual(l.shapeOf(positionIds)[1], shape[1],
                "expected a position for each word");
  } else {
    l.assertThat(l.b.compare(Compare::LE, l.toValue(shape[1]),
                             l.toValue(l.shapeOf(positions)[0])),
                 "expected sequences no longer than the table of positions");
  }
  Shape rows = shape;
  rows.push_back(l.shapeOf(words)[1]);
  auto size = [&](Value table) {
    return table ? l.toValue(l.shapeOf(table)[0]) : Value();
  };
  Value wordCount = size(words), positionCount = size(positions),
        segmentCount = size(segmentRows);
  Value sum =
      l.generate(rows, l.element(kWords), [&](BodyBuilder &s, ValueRange at) {
        auto row = [&](Value index, Value table) {
          return Lowering::load(s, table, {index, at[2]});
        };
        Value position = at[1];
        if (positionIds)
          position = loadIndex(s, positionIds,
                               {sharesPositions ? s.index(0) : at[0], at[1]},
                               positionCount);
        Value total =
            s.add(row(loadIndex(s, ids, at.take_front(2), wordCount), words),
                  row(position, positions));
        if (segments)
          total = s.add(
              total, row(loadIndex(s, segments, at.take_front(2), segmentCount),
                         segmentRows));
        return total;
      });
  FailureOr<Value> result = buildLayerNorm(l, sum, l.getFloat("epsilon", 1e-12),
                                           l.operand(kGamma), l.operand(kBeta));
  if (failed(result) || failed(l.setResult(*result)) ||
      (l.op->getNumResults() > 2 && failed(l.setResult(2, sum))))
    return failure();
  if (!l.isResultUsed(1))
    return success();
  // How many words of each sequence the mask shows; 0 without a mask.
  Type i32 = l.b.getI32Type();
  if (Value mask = l.operand(kMask)) {
    if (l.rank(kMask) != 2)
      return l.op->emitOpError("expected a mask of rank 2");
    Value shown = l.reduce(
        mask, {1}, l.b.integer(i32, 0), [&](BodyBuilder &s, ValueRange v) {
          Value isShown =
              s.compare(Compare::EQ, v[0], s.integer(v[0].getType(), 1));
          return s.add(v[1], s.cast(isShown, i32, false, false));
        });
    return l.setResult(1, l.reshape(shown, {l.shapeOf(mask)[0]}));
  }
  return l.setResult(1, l.fill({shape[0]}, l.b.integer(i32, 0)));
}

/// A rank 1 tensor over channels, to broadcast against [N, C, ...].
static Value alongChannels(Lowering &l, Value value, int64_t rank) {
  Shape shape = l.shapeOf(value);
  shape.append(std::max<int64_t>(rank - 2, 0), l.size(1));
  return l.reshape(value, shape);
}

static LogicalResult lowerBatchNorm(Lowering &l) {
  if (l.getInt("training_mode", 0))
    return l.unsupported("training mode");
  SmallVector<Value> inputs{l.operand(0)};
  for (unsigned i = 1; i < 5; ++i)
    inputs.push_back(alongChannels(l, l.operand(i), l.rank(0)));
  double epsilon = l.getFloat("epsilon", 1e-5);
  FailureOr<Value> result =
      l.map(inputs, l.element(0), [&](BodyBuilder &s, ValueRange v) {
        Type type = v[0].getType();
        auto cast = [&](Value x) { return s.cast(x, type, false, false); };
        Value root = math::SqrtOp::create(
            s, s.add(cast(v[4]), s.constant(type, epsilon)));
        Value x = s.div(s.sub(v[0], cast(v[3])), root);
        return s.add(s.mul(x, cast(v[1])), cast(v[2]));
      });
  return failed(result) ? failure() : l.setResult(*result);
}

static LogicalResult lowerInstanceNorm(Lowering &l) {
  int64_t rank = l.rank(0);
  auto axes =
      llvm::to_vector(llvm::seq<int64_t>(2, std::max<int64_t>(rank, 2)));
  FailureOr<Normalized> norm =
      buildNorm(l, l.operand(0), axes, l.getFloat("epsilon", 1e-5), true,
                alongChannels(l, l.operand(1), rank),
                alongChannels(l, l.operand(2), rank));
  return failed(norm) ? failure() : l.setResult(norm->result);
}

static LogicalResult lowerMeanVariance(Lowering &l) {
  SmallVector<int64_t> axes{0, 2, 3};
  if (auto attr = ganq::onnx::getInts(l.op, "axes"))
    axes.assign(attr->begin(), attr->end());
  if (failed(l.normalizeAxes(axes, l.rank(0))))
    return failure();
  FailureOr<Normalized> norm =
      buildNorm(l, l.operand(0), axes, 1e-9, true, Value(), Value());
  return failed(norm) ? failure() : l.setResult(norm->result);
}

static LogicalResult lowerLpNorm(Lowering &l) {
  FailureOr<int64_t> axis = l.getAxis("axis", -1, l.rank(0));
  if (failed(axis))
    return failure();
  bool euclidean = l.getInt("p", 2) == 2;
  Type element = l.element(0), compute = getComputeType(element);
  Value sum = l.reduce(l.operand(0), *axis, l.b.constant(compute, 0),
                       [&](BodyBuilder &s, ValueRange v) {
                         Value term =
                             euclidean
                                 ? s.mul(v[0], v[0])
                                 : math::AbsFOp::create(s, v[0]).getResult();
                         return s.add(term, v[1]);
                       });
  Value result = l.mapTo(l.shapeOf(l.operand(0)), {l.operand(0), sum}, element,
                         [&](BodyBuilder &s, ValueRange v) {
                           Value norm = v[1];
                           if (euclidean)
                             norm = math::SqrtOp::create(s, norm);
                           return s.div(v[0], norm);
                         });
  return l.setResult(result);
}

/// Local response normalization over the channels.
static LogicalResult lowerLRN(Lowering &l) {
  Value input = l.operand(0);
  if (l.rank(0) < 2)
    return l.op->emitOpError("expected an operand of rank 2 or more");
  int64_t size = l.getInt("size", 1);
  Shape shape = l.shapeOf(input);
  Value channels = l.toValue(shape[1]);
  Type element = l.element(0), compute = getComputeType(element);
  Value result =
      l.generate(shape, element, [&](BodyBuilder &s, ValueRange indices) {
        Value first = s.sub(indices[1], s.index((size - 1) / 2));
        Value zero = s.constant(compute, 0);
        SmallVector<Value> sum = s.loops(
            s.index(size), zero,
            [&](BodyBuilder &inner, ValueRange ivs, ValueRange carried) {
              SmallVector<Value> position(indices);
              position[1] = inner.add(first, ivs[0]);
              Value inside = inner.compare(Compare::LT, position[1], channels,
                                           /*isUnsigned=*/true);
              Value x = Lowering::loadIf(inner, inside, input, position, zero);
              return SmallVector<Value>{inner.add(carried[0], inner.mul(x, x))};
            });
        Value scale = s.constant(compute, l.getFloat("alpha", 1e-4) / size);
        Value base = s.add(s.constant(compute, l.getFloat("bias", 1)),
                           s.mul(scale, sum[0]));
        Value power = math::PowFOp::create(
            s, base, s.constant(compute, l.getFloat("beta", 0.75)));
        return s.div(Lowering::load(s, input, indices), power);
      });
  return l.setResult(result);
}

void ganq::lowering::addNormalizationLowerings(LoweringTable &table) {
  for (StringRef name : {"LayerNormalization", "RMSNormalization",
                         "SimplifiedLayerNormalization",
                         "com.microsoft.SimplifiedLayerNormalization"})
    table[name] = lowerLayerNorm;
  table["com.microsoft.EmbedLayerNormalization"] = lowerEmbedNorm;
  table["com.microsoft.SkipLayerNormalization"] = lowerSkipNorm;
  table["com.microsoft.SkipSimplifiedLayerNormalization"] = lowerSkipNorm;
  table["BatchNormalization"] = lowerBatchNorm;
  table["InstanceNormalization"] = lowerInstanceNorm;
  table["MeanVarianceNormalization"] = lowerMeanVariance;
  table["LpNormalization"] = lowerLpNorm;
  table["LRN"] = lowerLRN;
}
