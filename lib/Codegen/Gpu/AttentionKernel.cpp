//===- AttentionKernel.cpp - Softmax attention on GPUs --------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A block for each query: lanes take keys to find scores, then columns of the
// values, in chunks of as many keys as there are lanes, with a running maximum
// and sum (Milakov and Gimelshein, "Online normalizer calculation for softmax",
// 2018). A step of one token has few queries: several blocks share the keys of
// one, and another kernel puts their parts together (Dao et al.,
// "Flash-Decoding for long-context inference", 2023). Such blocks also rotate
// the query and the new key, and write the caches.
//
//===----------------------------------------------------------------------===//

#include "ModelKernels.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "llvm/Support/MathExtras.h"
#include <limits>

using namespace mlir;
using namespace ganq;
using Values = KernelBuilder::Values;

namespace {

/// How an attention is launched.
struct Plan {
  Plan(AttentionOp op, NewTokens tokens) : op(op), tokens(tokens) {
    ArrayRef<int64_t> q = typeOf(op.getQ()).getShape();
    keys = typeOf(op.getK()).getDimSize(2);
    queries = q[0] * q[1] * q[2];
    headSize = q[3];
    valueSize = typeOf(op.getV()).getShape().back();
    fused = canFuseNewTokens(op, tokens);
    // As many blocks as large GPUs run at a time, of no less keys than lanes
    // make worth while.
    constexpr int64_t kBlocks = 256, kLeastKeys = 256;
    if (q[2] == 1)
      splits = std::clamp<int64_t>(llvm::divideCeil(keys, kLeastKeys), 1,
                                   std::max<int64_t>(kBlocks / queries, 1));
    perSplit = llvm::divideCeil(keys, splits);
    threads = std::clamp<int64_t>(llvm::PowerOf2Ceil(perSplit),
                                  LaneBuilder::kWarp, 128);
  }

  AttentionOp op;
  NewTokens tokens;
  int64_t keys, queries, headSize, valueSize;
  bool fused;
  int64_t splits = 1, perSplit, threads;
};

/// The kernel's parameters; the number of each, 0 for none but q.
struct Inputs {
  Inputs(Plan &plan, Value out, Value past) {
    AttentionOp op = plan.op;
    RopeOp rope = plan.fused ? plan.tokens.queryRope : RopeOp();
    values = {rope ? rope.getX() : op.getQ(), op.getK(), op.getV(), out};
    mask = add(op.getMask());
    if (op.getCausal() && op.getPast())
      this->past = add(past);
    if (!plan.fused)
      return;
    if (rope) {
      cos = add(rope.getCos());
      sin = add(rope.getSin());
    }
    RopeOp keyRope = plan.tokens.keyRope;
    newKey = add(keyRope ? keyRope.getX() : plan.tokens.keys.getValue());
    if (keyRope) {
      keyCos = add(keyRope.getCos());
      keySin = add(keyRope.getSin());
    }
    newValue = add(plan.tokens.values.getValue());
  }

  SmallVector<Value> values;
  size_t mask = 0, past = 0, cos = 0, sin = 0, newKey = 0, keyCos = 0,
         keySin = 0, newValue = 0;

private:
  size_t add(Value value) {
    if (!value)
      return 0;
    values.push_back(value);
    return values.size() - 1;
  }
};

class GpuAttention {
public:
  GpuAttention(LaneBuilder &k, Plan &plan, const Inputs &inputs,
               ValueRange args)
      : k(k), plan(plan), op(plan.op), inputs(inputs), args(args) {}

  void emit() {
    ArrayRef<int64_t> shape = typeOf(op.getQ()).getShape();
    SmallVector<int64_t> blocks(shape.drop_back());
    blocks.push_back(plan.splits);
    Values at = k.delinearize(k.block, blocks);
    batch = at[0];
    head = at[1];
    query = at[2];
    int64_t group = shape[1] / typeOf(op.getK()).getDimSize(1);
    keyHead = k.div(head, group);
    begin = k.mul(at[3], plan.perSplit);
    limit = k.min(k.add(begin, plan.perSplit), k.index(plan.keys));
    end = limit;
    if (op.getCausal()) {
      before = inputs.past ? loadPast(k, args[inputs.past])
                           : k.index(plan.keys - shape[2]);
      end = k.min(limit, k.add(k.add(before, query), 1));
    }
    if (plan.fused)
      prepare(group);

    int64_t columns = llvm::divideCeil(plan.valueSize, k.threads);
    Value infinity = getInfinity();
    Values state{infinity, k.constant(0.0f)};
    state.append(columns, k.constant(0.0f));
    state = k.loop(begin, end, k.threads, state,
                   [&](Value first, ValueRange carried) {
                     return emitChunk(first, carried, columns);
                   });
    for (int64_t c = 0; c < columns; ++c) {
      Value column = k.add(k.lane, c * k.threads);
      k.when(k.less(column, k.index(plan.valueSize)), [&] {
        if (plan.splits == 1)
          k.store(k.divf(state[2 + c], state[1]), args[3],
                  {batch, head, query, column});
        else
          k.store(state[2 + c], args[3], {k.block, column});
      });
    }
    if (plan.splits == 1)
      return;
    k.when(k.equal(k.lane, k.index(0)), [&] {
      k.store(state[0], args[3], {k.block, k.index(plan.valueSize)});
      k.store(state[1], args[3], {k.block, k.index(plan.valueSize + 1)});
    });
  }

private:
  Value getInfinity() {
    return k.constant(-std::numeric_limits<float>::infinity());
  }

  /// The query and the new key, rotated, in memory of the block; new rows in
  /// the caches, by one of the blocks that use them.
  void prepare(int64_t group) {
    Value zero = k.index(0);
    Value isOwner = k.both(k.equal(k.rem(head, k.index(group)), zero),
                           k.both(k.less(k.sub(begin, k.index(1)), before),
                                  k.less(before, limit)));
    k.forLanes(k.index(plan.headSize), [&](Value i) {
      Values at{batch, head, zero, i};
      Value q = inputs.cos ? emitRope(k, plan.tokens.queryRope, args[0],
                                      args[inputs.cos], args[inputs.sin], at)
                           : k.load(args[0], at);
      k.store(q, k.shared[2], i);
      at[1] = keyHead;
      Value key = inputs.keyCos
                      ? emitRope(k, plan.tokens.keyRope, args[inputs.newKey],
                                 args[inputs.keyCos], args[inputs.keySin], at)
                      : k.load(args[inputs.newKey], at);
      k.store(asCached(key, args[1]), k.shared[3], i);
      k.when(isOwner,
             [&] { k.store(key, args[1], {batch, keyHead, before, i}); });
    });
    k.forLanes(k.index(plan.valueSize), [&](Value i) {
      k.when(isOwner, [&] {
        k.store(k.load(args[inputs.newValue], {batch, keyHead, zero, i}),
                args[2], {batch, keyHead, before, i});
      });
    });
    k.barrier();
  }

  /// What a cache makes of a value.
  Value asCached(Value value, Value cache) {
    return k.extend(k.truncate(value, typeOf(cache).getElementType()));
  }

  Values emitChunk(Value first, ValueRange carried, int64_t columns) {
    Value infinity = getInfinity();
    Value key = k.add(first, k.lane);
    Value score = scoreOf(key, infinity);
    Value top = k.maxf(k.blockMaximum(score, k.shared[0]), carried[0]);
    // A chunk may be masked altogether.
    Value none = arith::CmpFOp::create(
        k.builder, k.loc, arith::CmpFPredicate::OEQ, top, infinity);
    Value base = k.select(none, k.constant(0.0f), top);
    Value weight = k.exp(k.subf(score, base));
    Value rescale = k.exp(k.subf(carried[0], base));
    k.store(weight, k.shared[1], k.lane);
    // The barriers of the sum also let all lanes see the weights; a single warp
    // has none.
    Value sum = k.blockSum(weight, k.shared[0]);
    if (k.threads == LaneBuilder::kWarp)
      k.barrier();
    Values results{top, k.fma(carried[1], rescale, sum)};
    Value count = k.min(k.sub(end, first), k.index(k.threads));
    // The new value is not read from the cache, where another block writes it.
    Value cached = plan.fused ? k.min(count, k.sub(before, first)) : count;
    for (int64_t c = 0; c < columns; ++c) {
      Value column =
          k.min(k.add(k.lane, c * k.threads), k.index(plan.valueSize - 1));
      Values total =
          k.loop(k.index(0), cached, 1, k.mulf(carried[2 + c], rescale),
                 [&](Value j, ValueRange in) -> Values {
                   Value value = k.load(
                       args[2], {batch, keyHead, k.add(first, j), column});
                   return {k.fma(k.load(k.shared[1], j), value, in[0])};
                 });
      if (plan.fused)
        total = k.loop(
            cached, count, 1, total[0], [&](Value j, ValueRange in) -> Values {
              Value value = k.load(args[inputs.newValue],
                                   {batch, keyHead, k.index(0), column});
              return {k.fma(k.load(k.shared[1], j), asCached(value, args[2]),
                            in[0])};
            });
      results.push_back(total[0]);
    }
    // Weights are read before the next chunk's replace them.
    k.barrier();
    return results;
  }

  Value scoreOf(Value key, Value infinity) {
    Value present = k.less(key, end);
    // Rows that do not exist are read from the first one and weigh nothing.
    Value row = k.select(present, key, begin);
    auto dot = [&](function_ref<Value(Value)> loadKey) {
      return k.loop(k.index(0), k.index(plan.headSize), 1, k.constant(0.0f),
                    [&](Value i, ValueRange carried) -> Values {
                      Value q = plan.fused
                                    ? k.load(k.shared[2], i)
                                    : k.load(args[0], {batch, head, query, i});
                      return {k.fma(q, loadKey(i), carried[0])};
                    })[0];
    };
    auto fromCache = [&](Value i) {
      return k.load(args[1], {batch, keyHead, row, i});
    };
    Value sum;
    if (plan.fused) {
      auto branch = scf::IfOp::create(k.builder, k.loc, TypeRange{k.f32},
                                      k.equal(row, before),
                                      /*addThenBlock=*/true,
                                      /*addElseBlock=*/true);
      OpBuilder::InsertionGuard guard(k.builder);
      k.builder.setInsertionPointToStart(branch.thenBlock());
      Value fresh = dot([&](Value i) { return k.load(k.shared[3], i); });
      scf::YieldOp::create(k.builder, k.loc, fresh);
      k.builder.setInsertionPointToStart(branch.elseBlock());
      scf::YieldOp::create(k.builder, k.loc, dot(fromCache));
      sum = branch.getResult(0);
    } else {
      sum = dot(fromCache);
    }
    Value score = k.mulf(sum, k.constant(op.getScale().convertToFloat()));
    if (inputs.mask) {
      auto type = typeOf(op.getMask());
      Values at{batch, head, query, row};
      for (int64_t dim = 0; dim < 3; ++dim)
        if (type.getDimSize(dim) == 1)
          at[dim] = k.index(0);
      score = k.addf(score, k.load(args[inputs.mask], at));
    }
    return k.select(present, score, infinity);
  }

  LaneBuilder &k;
  Plan &plan;
  AttentionOp op;
  const Inputs &inputs;
  ValueRange args;
  Value batch, head, query, keyHead;
  Value begin, limit; ///< The keys of this block.
  Value end;          ///< Those of them that the query sees.
  Value before;       ///< Number of tokens seen before this step.
};

/// One element of the result of the parts of each query [queries * splits,
/// Dv + 2]: sums of weighted values, the greatest score and the sum of weights.
void emitCombination(LaneBuilder &k, Plan &plan, Value parts, Value out,
                     Value element) {
  Values at = k.delinearize(element, typeOf(out).getShape());
  Value first = k.mul(k.div(element, plan.valueSize), plan.splits);
  auto load = [&](int64_t split, Value column) {
    return k.load(parts, {k.add(first, split), column});
  };
  Value scoreColumn = k.index(plan.valueSize),
        sumColumn = k.index(plan.valueSize + 1);
  Value greatest = load(0, scoreColumn);
  for (int64_t split = 1; split < plan.splits; ++split)
    greatest = k.maxf(greatest, load(split, scoreColumn));
  Value value = k.constant(0.0f), total = value;
  for (int64_t split = 0; split < plan.splits; ++split) {
    Value factor = k.exp(k.subf(load(split, scoreColumn), greatest));
    total = k.fma(factor, load(split, sumColumn), total);
    value = k.fma(factor, load(split, at.back()), value);
  }
  k.store(k.divf(value, total), out, at);
}

} // namespace

bool ganq::canFuseNewTokens(AttentionOp op, NewTokens tokens) {
  auto isOneToken = [](Value value) {
    return typeOf(value).getDimSize(2) == 1;
  };
  // A query and a key lie in the block's own memory.
  constexpr int64_t kGreatestHead = 4096;
  return tokens.keys && tokens.values && op.getCausal() &&
         typeOf(op.getQ()).getShape().back() <= kGreatestHead &&
         isOneToken(op.getQ()) && isOneToken(tokens.keys.getValue()) &&
         isOneToken(tokens.values.getValue());
}

void ganq::launchAttention(OpBuilder &builder, GpuKernelLibrary &library,
                           AttentionOp op, Value past, NewTokens tokens) {
  Plan plan(op, tokens);
  Location loc = op.getLoc();
  Value out = op.getOut();
  if (plan.splits > 1)
    out = memref::AllocOp::create(
        builder, loc,
        MemRefType::get({plan.queries * plan.splits, plan.valueSize + 2},
                        builder.getF32Type()));
  Inputs inputs(plan, out, past);
  MLIRContext *context = builder.getContext();
  SmallVector<MemRefType> shared{
      getSharedFloats(context, plan.threads / LaneBuilder::kWarp),
      getSharedFloats(context, plan.threads)};
  if (plan.fused)
    shared.append(2, getSharedFloats(context, plan.headSize));
  library.launch(builder, loc, "attention", plan.queries * plan.splits,
                 plan.threads, inputs.values, shared,
                 [&](LaneBuilder &k, ValueRange args) {
                   GpuAttention(k, plan, inputs, args).emit();
                 });
  if (plan.splits == 1)
    return;
  // A block for each query, or for each token with all of its heads.
  ArrayRef<int64_t> shape = typeOf(op.getOut()).getShape();
  gpu::LaunchFuncOp then =
      findRounding(op, op.getOut(), shape[0], shape[1] * plan.valueSize);
  int64_t rows = then ? shape[0] : plan.queries;
  int64_t columns = plan.queries / rows * plan.valueSize;
  auto threads =
      std::clamp<int64_t>(llvm::PowerOf2Ceil(columns), LaneBuilder::kWarp, 256);
  library.launch(
      builder, loc, "combine", rows, then ? 256 : threads, {out, op.getOut()},
      {},
      [&](LaneBuilder &k, ValueRange args) {
        k.forLanes(k.index(columns), [&](Value i) {
          emitCombination(k, plan, args[0], args[1],
                          k.add(k.mul(k.block, columns), i));
        });
      },
      then);
}
