//===- Attention.cpp - Attention and caches of keys and values ------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Builder.h"
#include "Patterns.h"
#include "Probe.h"

using namespace mlir;
using namespace ganq;

namespace {

struct Mask {
  Value value;
  MaskForm form;
  /// What hidden scores become in the Seen and Hidden forms.
  double hidden = 0.0;
  MaskKind kind = MaskKind::Other;
  bool dependsOnInputs = false;
};

struct Scores {
  Value q, keys;
  double scale = 1.0;
  SmallVector<Mask> masks;
};

/// Keys or values as they are before heads are repeated: `base` with its
/// dimensions permuted by `perm` is [B, Hkv, T, D].
struct Heads {
  Value base;
  SmallVector<int64_t> perm = {0, 1, 2, 3};

  bool isPermuted() const { return perm != SmallVector<int64_t>{0, 1, 2, 3}; }
  int64_t getDim(unsigned dim) const {
    return rankedType(base).getDimSize(perm[dim]);
  }
};

} // namespace

/// Peels multiplications and divisions by scalars and multiplies `scale`.
static Value peelScale(Value value, double &scale) {
  while (true) {
    bool changed = false;
    if (Operation *mul = onnx::getDefiningOnnxOp(value, "Mul"))
      changed = eitherOrder(mul, [&](Value rest, Value factor) {
        std::optional<double> number =
            onnx::getConstantFloat(skipFloatCasts(factor));
        if (!number || !rankedType(rest) ||
            rankedType(rest).getRank() != rankedType(value).getRank())
          return false;
        scale *= *number;
        value = rest;
        return true;
      });
    else if (Operation *div = onnx::getDefiningOnnxOp(value, "Div"))
      if (std::optional<double> number =
              onnx::getConstantFloat(skipFloatCasts(div->getOperand(1)));
          number && *number != 0.0) {
        scale /= *number;
        value = div->getOperand(0);
        changed = true;
      }
    if (!changed)
      return value;
  }
}

/// The number that hides a score: the elements of `value`, all at most -1e4.
static std::optional<double> getHiddenScore(Value value) {
  std::optional<double> number = onnx::getConstantFloat(skipFloatCasts(value));
  if (!number || *number > -1e4)
    return std::nullopt;
  return number;
}

/// Follows the scores from the softmax back to q k^T.
static std::optional<Scores> matchScores(Value value, unsigned depth = 6) {
  if (depth == 0)
    return std::nullopt;
  value = skipFloatCasts(value);
  Operation *op = value.getDefiningOp();
  if (onnx::isOnnxOp(op, "MatMul")) {
    RankedTensorType q = rankedType(op->getOperand(0)),
                     k = rankedType(op->getOperand(1));
    if (!q || !k || q.getRank() != 4 || k.getRank() != 4)
      return std::nullopt;
    return Scores{op->getOperand(0), op->getOperand(1), 1.0, {}};
  }
  double scale = 1.0;
  if (Value unscaled = peelScale(value, scale); unscaled != value) {
    std::optional<Scores> scores = matchScores(unscaled, depth - 1);
    if (!scores || !scores->masks.empty())
      return std::nullopt;
    scores->scale *= scale;
    return scores;
  }
  std::optional<Scores> scores;
  if (onnx::isOnnxOp(op, "Add")) {
    eitherOrder(op, [&](Value rest, Value mask) {
      if (rest.getType() != value.getType())
        return false;
      scores = matchScores(rest, depth - 1);
      if (scores)
        scores->masks.push_back({mask, MaskForm::Additive});
      return scores.has_value();
    });
  } else if (onnx::isOnnxOp(op, "Where")) {
    for (unsigned branch : {1, 2}) {
      std::optional<double> hidden = getHiddenScore(op->getOperand(3 - branch));
      if (!hidden || op->getOperand(branch).getType() != value.getType())
        continue;
      scores = matchScores(op->getOperand(branch), depth - 1);
      if (scores) {
        scores->masks.push_back(
            {op->getOperand(0), branch == 1 ? MaskForm::Seen : MaskForm::Hidden,
             *hidden});
        return scores;
      }
    }
  }
  return scores;
}

/// Follows the probabilities back to the softmax: casts, and Where(IsNaN(p), 0,
/// p), which some exporters add for rows without keys.
static Operation *matchSoftmax(Value value) {
  value = skipFloatCasts(value);
  if (Operation *where = onnx::getDefiningOnnxOp(value, "Where"))
    if (Operation *nan = onnx::getDefiningOnnxOp(where->getOperand(0), "IsNaN");
        nan && nan->getOperand(0) == where->getOperand(2))
      value = skipFloatCasts(where->getOperand(2));
  Operation *softmax = onnx::getDefiningOnnxOp(value, "Softmax");
  return softmax && isOverLastDim(softmax, softmax->getOperand(0)) ? softmax
                                                                   : nullptr;
}

/// True for [B, H, T, D] types that differ at most in B, T and, by a factor,
/// in dimension `axis`.
static bool isRepeated(Value less, Value more, int64_t axis) {
  RankedTensorType a = rankedType(less), b = rankedType(more);
  if (!a || !b || a.getRank() != 4 || b.getRank() != 4 ||
      a.isDynamicDim(axis) || b.isDynamicDim(axis) || a.getDimSize(axis) == 0 ||
      b.getDimSize(axis) % a.getDimSize(axis) != 0)
    return false;
  for (int64_t dim = 0; dim < 4; ++dim)
    if (dim != axis &&
        failed(verifyCompatibleShape({a.getDimSize(dim)}, {b.getDimSize(dim)})))
      return false;
  return !a.isDynamicDim(3) || axis == 3;
}

/// Looks through the repetition of heads in groups along `axis`.
static Value peelRepeat(Value value, int64_t axis) {
  Operation *op = value.getDefiningOp();
  if (onnx::isOnnxOp(op, "Gather") && onnx::getInt(op, "axis", 0) == axis) {
    SmallVector<int64_t> indices;
    RankedTensorType source = rankedType(op->getOperand(0));
    if (!source || source.getRank() != 4 || source.isDynamicDim(axis) ||
        !onnx::getConstantInts(op->getOperand(1), indices) || indices.empty())
      return value;
    int64_t heads = source.getDimSize(axis), total = indices.size();
    if (heads == 0 || total % heads != 0)
      return value;
    for (auto [i, index] : llvm::enumerate(indices))
      if (index != static_cast<int64_t>(i) / (total / heads))
        return value;
    return op->getOperand(0);
  }
  if (!onnx::isOnnxOp(op, "Reshape"))
    return value;
  Operation *repeat = op->getOperand(0).getDefiningOp();
  Value grouped;
  if (onnx::isOnnxOp(repeat, {"Expand", "Tile"})) {
    grouped = repeat->getOperand(0);
  } else if (onnx::isOnnxOp(repeat, "Concat")) {
    if (onnx::getInt(repeat, "axis", 0) != axis + 1 ||
        !llvm::all_equal(repeat->getOperands()))
      return value;
    grouped = repeat->getOperand(0);
  }
  Operation *unsqueeze =
      grouped ? onnx::getDefiningOnnxOp(grouped, "Unsqueeze") : nullptr;
  SmallVector<int64_t> axes;
  if (!unsqueeze || !onnx::getConstantInts(unsqueeze->getOperand(1), axes) ||
      axes.size() != 1 || (axes[0] != axis + 1 && axes[0] + 5 != axis + 1))
    return value;
  // Only the new dimension may grow: [B, H, 1, T, D] to [B, H, n, T, D].
  RankedTensorType wide = rankedType(repeat->getResult(0));
  Value source = unsqueeze->getOperand(0);
  if (!wide || wide.getRank() != 5 || wide.isDynamicDim(axis + 1) ||
      !isRepeated(source, value, axis) ||
      wide.getDimSize(axis) != rankedType(source).getDimSize(axis) ||
      wide.getDimSize(axis) * wide.getDimSize(axis + 1) !=
          rankedType(value).getDimSize(axis))
    return value;
  return source;
}

/// Composes `heads` with the transposition that makes its base, and peels
/// repeated heads, as long as there is something to peel.
static void peelHeads(Heads &heads, double *scale) {
  while (true) {
    Value base = heads.base;
    if (scale)
      base = peelScale(base, *scale);
    base = peelRepeat(base, heads.perm[1]);
    Operation *transpose = onnx::getDefiningOnnxOp(base, "Transpose");
    std::optional<ArrayRef<int64_t>> perm;
    if (transpose)
      perm = onnx::getInts(transpose, "perm");
    if (perm && perm->size() == 4) {
      Heads inner{transpose->getOperand(0), {}};
      for (int64_t dim : heads.perm)
        inner.perm.push_back((*perm)[dim]);
      // A transposition is looked through to find repeated heads below it, or
      // to undo the one of the keys.
      Value peeled = peelRepeat(inner.base, inner.perm[1]);
      if (peeled != inner.base || !inner.isPermuted() ||
          (heads.isPermuted() && base == heads.base)) {
        inner.base = peeled;
        heads = inner;
        continue;
      }
    }
    if (base == heads.base)
      return;
    heads.base = base;
  }
}

/// The keys [B, H, T, D] of an operand [B, H, D, T] of a product.
static Heads matchKeys(Value transposed, double &scale) {
  transposed = peelScale(transposed, scale);
  Heads heads{transposed, {0, 1, 3, 2}};
  // Some exporters transpose in rank 3: Reshape(Transpose(Reshape(k))).
  if (Operation *outer = onnx::getDefiningOnnxOp(transposed, "Reshape")) {
    Operation *swap =
        onnx::getDefiningOnnxOp(outer->getOperand(0), "Transpose");
    std::optional<ArrayRef<int64_t>> perm;
    if (swap)
      perm = onnx::getInts(swap, "perm");
    Operation *inner =
        perm && *perm == ArrayRef<int64_t>{0, 2, 1}
            ? onnx::getDefiningOnnxOp(swap->getOperand(0), "Reshape")
            : nullptr;
    RankedTensorType from =
        inner ? rankedType(inner->getOperand(0)) : RankedTensorType();
    RankedTensorType to = rankedType(transposed);
    if (from && to && from.getRank() == 4 && to.getRank() == 4 &&
        !to.isDynamicDim(1) && from.getDimSize(1) == to.getDimSize(1) &&
        !to.isDynamicDim(2) && from.getDimSize(3) == to.getDimSize(2))
      heads = {inner->getOperand(0)};
  }
  peelHeads(heads, &scale);
  return heads;
}

namespace {

struct Attention {
  Operation *root;
  Scores scores;
  Heads k, v;
};

} // namespace

static std::optional<Attention> matchAttention(Operation *op) {
  RankedTensorType type = op->getNumResults() == 1
                              ? rankedType(op->getResult(0))
                              : RankedTensorType();
  if (!onnx::isOnnxOp(op, "MatMul") || !type || type.getRank() != 4)
    return std::nullopt;
  Operation *softmax = matchSoftmax(op->getOperand(0));
  if (!softmax)
    return std::nullopt;
  std::optional<Scores> scores = matchScores(softmax->getOperand(0));
  if (!scores)
    return std::nullopt;
  Attention attention{op, *scores, {}, {op->getOperand(1)}};
  attention.scores.q = peelScale(scores->q, attention.scores.scale);
  attention.k = matchKeys(scores->keys, attention.scores.scale);
  peelHeads(attention.v, nullptr);
  // Casts around the softmax may go when everything else has one type.
  Type element = type.getElementType();
  for (Value *value :
       {&attention.scores.q, &attention.k.base, &attention.v.base}) {
    if (!rankedType(*value) || rankedType(*value).getRank() != 4)
      return std::nullopt;
    if (rankedType(*value).getElementType() == element)
      continue;
    *value = skipFloatCasts(*value);
    if (rankedType(*value).getElementType() != element)
      return std::nullopt;
  }
  int64_t heads = rankedType(attention.scores.q).getDimSize(1);
  int64_t groups = attention.k.getDim(1);
  if (ShapedType::isDynamic(heads) || ShapedType::isDynamic(groups) ||
      groups == 0 || heads % groups != 0 || attention.v.getDim(1) != groups ||
      attention.k.getDim(3) != rankedType(attention.scores.q).getDimSize(3))
    return std::nullopt;
  return attention;
}

bool ganq::raiseAttention(ModelBuilder &model, Operation *op) {
  std::optional<Attention> found = matchAttention(op);
  if (!found)
    return false;
  bool isCausal = false;
  std::optional<MaskKind> unpadded;
  SmallVector<AttentionMask> explicitMasks;
  for (Mask &mask : found->scores.masks) {
    mask.kind = model.getProbe().classifyMask(mask.value, mask.form);
    mask.dependsOnInputs = model.getProbe().dependsOnInputs(mask.value);
    if (mask.kind == MaskKind::Other || mask.dependsOnInputs)
      explicitMasks.push_back({mask.value, mask.form, mask.hidden});
    else
      isCausal |= mask.kind == MaskKind::Causal;
    if (mask.kind == MaskKind::Other)
      unpadded = MaskKind::Other;
    else if (mask.dependsOnInputs && unpadded != MaskKind::Other &&
             unpadded != MaskKind::Causal)
      unpadded = mask.kind;
  }
  OpBuilder builder(op);
  Location loc = op->getLoc();
  auto permuted = [&](const Heads &heads) {
    if (!heads.isPermuted())
      return heads.base;
    return model.createTranspose(builder, loc, heads.base, heads.perm);
  };
  Value result = model.createAttention(
      builder, loc, cast<RankedTensorType>(op->getResult(0).getType()),
      found->scores.q, permuted(found->k), permuted(found->v), explicitMasks,
      found->scores.scale, isCausal, unpadded);
  if (!result)
    return false;
  op->getResult(0).replaceAllUsesWith(result);
  return true;
}
