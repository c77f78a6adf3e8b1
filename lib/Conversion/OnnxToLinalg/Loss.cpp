//===- Loss.cpp - onnx losses ---------------------------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Lowering.h"

using namespace mlir;
using namespace ganq::lowering;
using ganq::onnx::getOpName;

/// NegativeLogLikelihoodLoss and SoftmaxCrossEntropyLoss on scores [N, C, ...],
/// targets [N, ...] and weights [C].
static LogicalResult lowerLoss(Lowering &l) {
  Value scores = l.operand(0), targets = l.operand(1), weights = l.operand(2);
  if (l.rank(0) < 2 || l.rank(1) != l.rank(0) - 1)
    return l.op->emitOpError("expected targets of one dimension less than the "
                             "scores, which have 2 or more");
  if (failed(l.requireSameElements({0, 2})))
    return failure();
  StringRef reduction = ganq::onnx::getString(l.op, "reduction", "mean");
  if (getOpName(l.op) == "SoftmaxCrossEntropyLoss")
    scores = buildSoftmax(l, scores, 1, /*log=*/true);
  Type element = l.element(0), compute = getComputeType(element);
  Shape from = l.shapeOf(scores);
  for (OpFoldResult size : from)
    l.requireNonEmpty(size, "the scores");
  SmallVector<Value> sizes = l.toValues(from);
  std::optional<int64_t> ignored;
  if (l.op->hasAttr("ignore_index"))
    ignored = l.getInt("ignore_index", 0);

  auto getWeight = [&](BodyBuilder &s, ValueRange at, Value &target) -> Value {
    Value label =
        s.toIndex(tensor::ExtractOp::create(s, targets, at).getResult());
    target = s.wrapIndex(label, sizes[1]);
    Value weight = s.constant(compute, 1);
    if (weights) {
      Value size = tensor::DimOp::create(s, weights, int64_t(0));
      weight =
          Lowering::load(s, weights, s.min(target, s.sub(size, s.index(1))));
    }
    if (ignored)
      weight = s.select(s.compare(Compare::EQ, label, s.index(*ignored)),
                        s.constant(compute, 0), weight);
    return weight;
  };
  Shape shape = l.shapeOf(targets);
  Type partial = reduction == "none" ? element : compute;
  Value loss =
      l.generate(shape, partial, [&](BodyBuilder &s, ValueRange at) -> Value {
        Value target;
        Value weight = getWeight(s, at, target);
        SmallVector<Value> position;
        for (unsigned dim = 0; dim < sizes.size(); ++dim) {
          Value i = dim == 0 ? at[0] : dim == 1 ? target : at[dim - 1];
          position.push_back(s.min(i, s.sub(sizes[dim], s.index(1))));
        }
        return s.neg(s.mul(Lowering::load(s, scores, position), weight));
      });
  auto sum = [&](Value value) {
    auto axes = llvm::to_vector(
        llvm::seq<int64_t>(0, Lowering::typeOf(value).getRank()));
    Value total = l.reduce(
        value, axes, l.b.constant(compute, 0),
        [](BodyBuilder &s, ValueRange v) { return s.add(v[0], v[1]); });
    return l.reshape(total, {});
  };
  if (reduction == "sum") {
    loss = l.castElements(sum(loss), element);
  } else if (reduction == "mean") {
    Value total = sum(
        l.generate(shape, compute, [&](BodyBuilder &s, ValueRange at) -> Value {
          Value target;
          return getWeight(s, at, target);
        }));
    loss =
        l.mapTo({}, {sum(loss), total}, element,
                [](BodyBuilder &s, ValueRange v) { return s.div(v[0], v[1]); });
  }
  if (failed(l.setResult(0, loss)))
    return failure();
  if (l.op->getNumResults() > 1)
    return l.setResult(1, scores);
  return success();
}

void ganq::lowering::addLossLowerings(LoweringTable &table) {
  table["NegativeLogLikelihoodLoss"] = lowerLoss;
  table["SoftmaxCrossEntropyLoss"] = lowerLoss;
}
