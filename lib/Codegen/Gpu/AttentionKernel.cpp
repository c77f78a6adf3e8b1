//===- AttentionKernel.cpp - Softmax attention on GPUs
//-----------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ModelKernels.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "llvm/Support/MathExtras.h"
#include <limits>

using namespace mlir;
using namespace ganq;
using Values = KernelBuilder::Values;

namespace {

/// A block for each query: lanes take keys to find scores, then columns of the
/// values, in chunks of as many keys as there are lanes (online softmax).
class GpuAttention {
public:
  GpuAttention(LaneBuilder &k, AttentionOp op, ValueRange args, Value past)
      : k(k), op(op), args(args), past(past) {}

  void emit() {
    ArrayRef<int64_t> qShape = typeOf(op.getQ()).getShape(),
                      kShape = typeOf(op.getK()).getShape();
    headSize = qShape.back();
    Values at = k.delinearize(k.block, qShape.drop_back());
    batch = at[0];
    head = at[1];
    query = at[2];
    keyHead = k.div(head, qShape[1] / kShape[1]);
    int64_t valueSize = typeOf(op.getV()).getShape().back();
    int64_t columns = llvm::divideCeil(valueSize, k.threads);
    Value infinity = k.constant(-std::numeric_limits<float>::infinity());
    Value end = k.index(kShape[2]);
    if (op.getCausal()) {
      Value before = past ? loadPast(k, past) : k.index(kShape[2] - qShape[2]);
      end = k.min(end, k.add(k.add(before, query), 1));
    }

    Values state{infinity, k.constant(0.0f)};
    state.append(columns, k.constant(0.0f));
    state = k.loop(
        k.index(0), end, k.threads, state,
        [&](Value first, ValueRange carried) {
          Value key = k.add(first, k.lane);
          Value score = scoreOf(key, end, infinity);
          Value top = k.maxf(k.blockMaximum(score, k.shared[0]), carried[0]);
          // A chunk may be masked altogether.
          Value none = arith::CmpFOp::create(
              k.builder, k.loc, arith::CmpFPredicate::OEQ, top, infinity);
          Value base = k.select(none, k.constant(0.0f), top);
          Value weight = k.exp(k.subf(score, base));
          Value rescale = k.exp(k.subf(carried[0], base));
          k.store(weight, k.shared[1], k.lane);
          Values results{
              top, k.fma(carried[1], rescale, k.blockSum(weight, k.shared[0]))};
          Value count = k.min(k.sub(end, first), k.index(k.threads));
          for (int64_t c = 0; c < columns; ++c) {
            Value column =
                k.min(k.add(k.lane, c * k.threads), k.index(valueSize - 1));
            Values sum =
                k.loop(k.index(0), count, 1, k.mulf(carried[2 + c], rescale),
                       [&](Value j, ValueRange in) -> Values {
                         Value value =
                             k.load(args[2],
                                    {batch, keyHead, k.add(first, j), column});
                         return {k.fma(k.load(k.shared[1], j), value, in[0])};
                       });
            results.push_back(sum[0]);
          }
          // Weights are read before the next chunk's replace them.
          k.barrier();
          return results;
        });
    for (int64_t c = 0; c < columns; ++c) {
      Value column = k.add(k.lane, c * k.threads);
      k.when(k.less(column, k.index(valueSize)), [&] {
        k.store(k.divf(state[2 + c], state[1]), args[3],
                {batch, head, query, column});
      });
    }
  }

private:
  Value scoreOf(Value key, Value end, Value infinity) {
    Value present = k.less(key, end);
    Value row = k.select(present, key, k.index(0));
    Values sum = k.loop(
        k.index(0), k.index(headSize), 1, k.constant(0.0f),
        [&](Value i, ValueRange carried) -> Values {
          return {k.fma(k.load(args[0], {batch, head, query, i}),
                        k.load(args[1], {batch, keyHead, row, i}), carried[0])};
        });
    Value score = k.mulf(sum[0], k.constant(op.getScale().convertToFloat()));
    if (op.getMask()) {
      auto type = typeOf(op.getMask());
      Values at{batch, head, query, row};
      for (int64_t dim = 0; dim < 3; ++dim)
        if (type.getDimSize(dim) == 1)
          at[dim] = k.index(0);
      score = k.addf(score, k.load(args[4], at));
    }
    return k.select(present, score, infinity);
  }

  LaneBuilder &k;
  AttentionOp op;
  ValueRange args;
  Value past;
  Value batch, head, query, keyHead;
  int64_t headSize = 0;
};

} // namespace

void ganq::launchAttention(OpBuilder &builder, GpuKernelLibrary &library,
                           AttentionOp op, Value past) {
  constexpr int64_t kKeys = 128;
  SmallVector<Value> inputs{op.getQ(), op.getK(), op.getV(), op.getOut()};
  if (op.getMask())
    inputs.push_back(op.getMask());
  bool takesPast = op.getCausal() && op.getPast();
  if (takesPast)
    inputs.push_back(past);
  ArrayRef<int64_t> shape = typeOf(op.getQ()).getShape();
  library.launch(
      builder, op.getLoc(), "attention", shape[0] * shape[1] * shape[2], kKeys,
      inputs,
      {getSharedFloats(builder.getContext(), kKeys / LaneBuilder::kWarp),
       getSharedFloats(builder.getContext(), kKeys)},
      [&](LaneBuilder &k, ValueRange args) {
        GpuAttention(k, op, args, takesPast ? args.back() : Value()).emit();
      });
}
