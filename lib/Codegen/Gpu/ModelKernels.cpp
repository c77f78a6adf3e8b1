//===- ModelKernels.cpp - GPU kernels around the products -----------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ModelKernels.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Interfaces/TilingInterface.h"
#include "mlir/Transforms/RegionUtils.h"
#include "llvm/Support/MathExtras.h"
#include <functional>

using namespace mlir;
using namespace ganq;
using Values = KernelBuilder::Values;

//===----------------------------------------------------------------------===//
// Rows
//===----------------------------------------------------------------------===//

static constexpr int64_t kThreads = 256;

namespace {

/// A kernel with a block for each row of x, which may be a sum of two buffers
/// that it stores as well.
class RowKernel {
public:
  RowKernel(Value x, Value out, linalg::GenericOp sum)
      : shape(typeOf(x).getShape()), columns(shape.back()), inputs{x, out} {
    if (!sum)
      return;
    hasSum = true;
    llvm::append_range(inputs, sum.getDpsInputs());
  }

  /// Adds an input for all rows; returns its number, or 0 for none.
  size_t add(Value vector) {
    if (!vector)
      return 0;
    inputs.push_back(vector);
    return inputs.size() - 1;
  }

  void launch(OpBuilder &builder, GpuKernelLibrary &library, Location loc,
              StringRef name, gpu::LaunchFuncOp then,
              function_ref<void(RowKernel &)> body) {
    int64_t rows = ShapedType::getNumElements(shape) / columns;
    auto threads = std::clamp<int64_t>(llvm::PowerOf2Ceil(columns / 4),
                                       LaneBuilder::kWarp, kThreads);
    if (then)
      threads = kThreads;
    library.launch(
        builder, loc, hasSum ? "add_" + name.str() : name.str(), rows, threads,
        inputs,
        getSharedFloats(builder.getContext(), threads / LaneBuilder::kWarp),
        [&](LaneBuilder &lanes, ValueRange arguments) {
          k = &lanes;
          args = arguments;
          row = k->delinearize(k->block, shape.drop_back());
          body(*this);
        },
        then);
  }

  /// x in its first use, which stores it if it is a sum.
  Value first(Value column) {
    if (!hasSum)
      return load(column);
    Value sum =
        k->addf(k->load(args[2], at(column)), k->load(args[3], at(column)));
    k->store(sum, args[0], at(column));
    return sum;
  }
  /// x in later uses, by the same lane.
  Value load(Value column) { return k->load(args[0], at(column)); }
  void store(Value y, Value column) { k->store(y, args[1], at(column)); }

  /// The sum of `term` over the columns of the row.
  Value sum(function_ref<Value(Value column)> term) {
    Values sums =
        k->loop(k->lane, k->index(columns), k->threads, k->constant(0.0f),
                [&](Value column, ValueRange carried) -> Values {
                  return {k->addf(carried[0], term(column))};
                });
    return k->blockSum(sums[0], k->shared[0]);
  }
  void forColumns(function_ref<void(Value)> body) {
    k->forLanes(k->index(columns), body);
  }
  Value asMean(Value sum) {
    return k->divf(sum, k->constant(static_cast<float>(columns)));
  }
  /// 1 / sqrt(sum / columns + epsilon).
  Value inverseRoot(Value sum, const APFloat &epsilon) {
    Value root = math::SqrtOp::create(
        k->builder, k->loc,
        k->addf(asMean(sum), k->constant(epsilon.convertToFloat())));
    return k->divf(k->constant(1.0f), root);
  }

  LaneBuilder *k = nullptr;
  ValueRange args;

private:
  Values at(Value column) {
    Values indices(row);
    indices.push_back(column);
    return indices;
  }

  ArrayRef<int64_t> shape;
  int64_t columns;
  SmallVector<Value> inputs;
  bool hasSum = false;
  Values row;
};

} // namespace

void ganq::launchRmsNorm(OpBuilder &builder, GpuKernelLibrary &library,
                         RmsNormOp op, linalg::GenericOp sum,
                         gpu::LaunchFuncOp then) {
  RowKernel kernel(op.getX(), op.getOut(), sum);
  size_t weight = kernel.add(op.getWeight());
  kernel.launch(builder, library, op.getLoc(), "rms_norm", then,
                [&](RowKernel &r) {
                  Value squares = r.sum([&](Value column) {
                    Value x = r.first(column);
                    return r.k->mulf(x, x);
                  });
                  Value factor = r.inverseRoot(squares, op.getEpsilon());
                  r.forColumns([&](Value column) {
                    Value y = r.k->mulf(r.load(column), factor);
                    if (weight)
                      y = r.k->mulf(y, r.k->load(r.args[weight], column));
                    r.store(y, column);
                  });
                });
}

void ganq::launchLayerNorm(OpBuilder &builder, GpuKernelLibrary &library,
                           LayerNormOp op, linalg::GenericOp sum,
                           gpu::LaunchFuncOp then) {
  RowKernel kernel(op.getX(), op.getOut(), sum);
  size_t weight = kernel.add(op.getWeight()), bias = kernel.add(op.getBias());
  kernel.launch(
      builder, library, op.getLoc(), "layer_norm", then, [&](RowKernel &r) {
        Value mean =
            r.asMean(r.sum([&](Value column) { return r.first(column); }));
        // A second pass over the row: the difference of mean(x^2) and mean(x)^2
        // loses all digits where the mean is large.
        Value squares = r.sum([&](Value column) {
          Value x = r.k->subf(r.load(column), mean);
          return r.k->mulf(x, x);
        });
        Value factor = r.inverseRoot(squares, op.getEpsilon());
        r.forColumns([&](Value column) {
          Value y = r.k->mulf(r.k->subf(r.load(column), mean), factor);
          if (weight)
            y = r.k->mulf(y, r.k->load(r.args[weight], column));
          if (bias)
            y = r.k->addf(y, r.k->load(r.args[bias], column));
          r.store(y, column);
        });
      });
}

//===----------------------------------------------------------------------===//
// Elements
//===----------------------------------------------------------------------===//

void ganq::launchSwiglu(OpBuilder &builder, GpuKernelLibrary &library,
                        SwigluOp op, gpu::LaunchFuncOp then) {
  library.launchElements(
      builder, op.getLoc(), "swiglu", typeOf(op.getOut()).getShape(),
      {op.getGate(), op.getUp(), op.getOut()},
      [&](LaneBuilder &k, ValueRange args, const Values &at) {
        Value gate = k.load(args[0], at);
        Value power = k.exp(k.negf(gate));
        Value factor = k.divf(gate, k.addf(k.constant(1.0f), power));
        k.store(k.mulf(factor, k.load(args[1], at)), args[2], at);
      },
      then);
}

Value ganq::emitRope(LaneBuilder &k, RopeOp op, Value x, Value cos, Value sin,
                     const Values &at) {
  int64_t half = typeOf(cos).getShape().back();
  bool interleaved = op.getInterleaved();
  Value column = at[3];
  Value rotated = k.less(column, k.index(2 * half));
  // Columns behind the rotated ones look at the last pair, in vain.
  Value place = k.min(column, k.index(2 * half - 1));
  Value pair = interleaved ? k.div(place, 2) : k.rem(place, k.index(half));
  Value isFirst = interleaved ? k.equal(k.rem(place, k.index(2)), k.index(0))
                              : k.less(place, k.index(half));
  Value distance = k.index(interleaved ? 1 : half);
  Value other =
      k.select(isFirst, k.add(place, distance), k.sub(place, distance));
  Value cosine = k.load(cos, {at[2], pair}), sine = k.load(sin, {at[2], pair});
  Value value = k.load(x, at);
  Value partner = k.load(x, {at[0], at[1], at[2], other});
  Value signedSine = k.select(isFirst, k.negf(sine), sine);
  Value turned = k.addf(k.mulf(value, cosine), k.mulf(partner, signedSine));
  return k.select(rotated, turned, value);
}

void ganq::launchRope(OpBuilder &builder, GpuKernelLibrary &library,
                      RopeOp op) {
  library.launchElements(
      builder, op.getLoc(), "rope", typeOf(op.getX()).getShape(),
      {op.getX(), op.getCos(), op.getSin(), op.getOut()},
      [&](LaneBuilder &k, ValueRange args, const Values &at) {
        k.store(emitRope(k, op, args[0], args[1], args[2], at), args[3], at);
      });
}

Value ganq::loadPast(LaneBuilder &k, Value past) {
  Value count =
      memref::LoadOp::create(k.builder, k.loc, past, ValueRange(k.index(0)));
  return arith::IndexCastOp::create(k.builder, k.loc, k.builder.getIndexType(),
                                    count);
}

void ganq::launchPositionRows(OpBuilder &builder, GpuKernelLibrary &library,
                              PositionRowsOp op, Value past) {
  library.launchElements(
      builder, op.getLoc(), "position_rows", typeOf(op.getOut()).getShape(),
      {op.getTable(), op.getOut(), past},
      [&](LaneBuilder &k, ValueRange args, const Values &at) {
        Value row = k.add(loadPast(k, args[2]), at[0]);
        k.copy(args[0], {row, at[1]}, args[1], at);
      });
}

void ganq::launchKvUpdate(OpBuilder &builder, GpuKernelLibrary &library,
                          KvUpdateOp op, Value past) {
  library.launchElements(
      builder, op.getLoc(), "kv_update", typeOf(op.getValue()).getShape(),
      {op.getValue(), op.getCache(), past},
      [&](LaneBuilder &k, ValueRange args, const Values &at) {
        Value row = k.add(loadPast(k, args[2]), at[2]);
        k.copy(args[0], at, args[1], {at[0], at[1], row, at[3]});
      });
}

int64_t ganq::countNewTokens(NewTokens tokens) {
  int64_t count = 0;
  if (tokens.queryRope)
    count += typeOf(tokens.queryRope.getX()).getNumElements();
  for (KvUpdateOp update : {tokens.keys, tokens.values})
    if (update)
      count += typeOf(update.getValue()).getNumElements();
  return count;
}

void ganq::launchNewTokens(OpBuilder &builder, GpuKernelLibrary &library,
                           Location loc, NewTokens tokens, Value past) {
  SmallVector<Value> inputs{past};
  using Emit = std::function<void(LaneBuilder &, ValueRange, const Values &)>;
  struct Piece {
    ArrayRef<int64_t> shape;
    Emit emit;
  };
  SmallVector<Piece> pieces;
  auto add = [&](RopeOp rope, KvUpdateOp update) {
    if (!rope && !update)
      return;
    size_t next = inputs.size();
    Value from = rope ? rope.getX() : update.getValue();
    inputs.append({from, update ? update.getCache() : rope.getOut()});
    if (rope)
      inputs.append({rope.getCos(), rope.getSin()});
    auto emit = [=](LaneBuilder &k, ValueRange args, const Values &at) {
      Values to(at);
      if (update)
        to[2] = k.add(loadPast(k, args[0]), at[2]);
      if (!rope)
        return k.copy(args[next], at, args[next + 1], to);
      Value value =
          emitRope(k, rope, args[next], args[next + 2], args[next + 3], at);
      k.store(value, args[next + 1], to);
    };
    pieces.push_back({typeOf(from).getShape(), emit});
  };
  add(tokens.queryRope, {});
  add(tokens.keyRope, tokens.keys);
  add({}, tokens.values);
  library.launchElements(
      builder, loc, "new_tokens", countNewTokens(tokens), inputs,
      [&](LaneBuilder &k, ValueRange args, const Values &at) {
        int64_t begin = 0;
        for (const Piece &piece : pieces) {
          int64_t end = begin + ShapedType::getNumElements(piece.shape);
          Value inside = k.both(k.less(k.index(begin - 1), at[0]),
                                k.less(at[0], k.index(end)));
          k.when(inside, [&] {
            Value linear = begin ? k.sub(at[0], k.index(begin)) : at[0];
            piece.emit(k, args, k.delinearize(linear, piece.shape));
          });
          begin = end;
        }
      });
}

//===----------------------------------------------------------------------===//
// Products of floats and attention
//===----------------------------------------------------------------------===//

void ganq::launchMatmul(OpBuilder &builder, GpuKernelLibrary &library,
                        MatmulOp op) {
  // A warp for each row of the weight, and rows of x that share it.
  constexpr int64_t kRows = 4, kWarps = kThreads / LaneBuilder::kWarp;
  ArrayRef<int64_t> outShape = typeOf(op.getOut()).getShape();
  int64_t n = outShape.back(), columns = typeOf(op.getX()).getShape().back();
  int64_t m = typeOf(op.getOut()).getNumElements() / std::max<int64_t>(n, 1);
  int64_t perBlock = llvm::divideCeil(n, kWarps);
  SmallVector<Value> inputs{op.getX(), op.getWeight(), op.getOut()};
  if (op.getBias())
    inputs.push_back(op.getBias());
  library.launch(
      builder, op.getLoc(), "matmul", perBlock * llvm::divideCeil(m, kRows),
      kThreads, inputs, {}, [&](LaneBuilder &k, ValueRange args) {
        Value lane = k.rem(k.lane, k.index(LaneBuilder::kWarp));
        Value column = k.add(k.mul(k.rem(k.block, k.index(perBlock)), kWarps),
                             k.div(k.lane, LaneBuilder::kWarp));
        Value weightRow = k.min(column, k.index(n - 1));
        Value first = k.mul(k.div(k.block, perBlock), kRows);
        int64_t count = std::min(kRows, m);
        SmallVector<Values> rows;
        for (int64_t i = 0; i < count; ++i)
          rows.push_back(k.delinearize(k.min(k.add(first, i), k.index(m - 1)),
                                       outShape.drop_back()));
        Values sums = k.loop(lane, k.index(columns), LaneBuilder::kWarp,
                             Values(count, k.constant(0.0f)),
                             [&](Value at, ValueRange carried) {
                               Value weight = k.load(args[1], {weightRow, at});
                               Values results;
                               for (int64_t i = 0; i < count; ++i) {
                                 Values place(rows[i]);
                                 place.push_back(at);
                                 results.push_back(k.fma(k.load(args[0], place),
                                                         weight, carried[i]));
                               }
                               return results;
                             });
        for (int64_t i = 0; i < count; ++i) {
          Value total = k.warpSum(sums[i]);
          Value present = arith::AndIOp::create(
              k.builder, k.loc, k.less(column, k.index(n)),
              arith::AndIOp::create(k.builder, k.loc,
                                    k.less(k.add(first, i), k.index(m)),
                                    k.equal(lane, k.index(0))));
          k.when(present, [&] {
            Value result = total;
            if (args.size() > 3)
              result = k.addf(result, k.load(args[3], column));
            Values place(rows[i]);
            place.push_back(column);
            k.store(result, args[2], place);
          });
        }
      });
}

//===----------------------------------------------------------------------===//
// The rest of the graph
//===----------------------------------------------------------------------===//

/// Emits one point of the parallel loops: loops over the others, and the op's
/// body inside them.
static void emitPoint(LaneBuilder &k, linalg::LinalgOp op,
                      const IRMapping &mapping, ArrayRef<int64_t> loops,
                      Values &indices, size_t dimension,
                      LogicalResult &result) {
  while (dimension < loops.size() && indices[dimension])
    ++dimension;
  if (dimension < loops.size()) {
    k.loop(k.index(0), k.index(loops[dimension]), 1, [&](Value i) {
      indices[dimension] = i;
      emitPoint(k, op, mapping, loops, indices, dimension + 1, result);
    });
    indices[dimension] = {};
    return;
  }
  IRMapping local(mapping);
  Operation *here = k.builder.clone(*op, local);
  auto tiling = cast<TilingInterface>(here);
  if (failed(tiling.generateScalarImplementation(k.builder, k.loc, indices)))
    result = op.emitOpError("expected an op with a scalar form");
  here->erase();
}

LogicalResult ganq::launchLinalg(OpBuilder &builder, GpuKernelLibrary &library,
                                 linalg::LinalgOp op, gpu::LaunchFuncOp then) {
  SmallVector<int64_t> loops = op.getStaticLoopRanges();
  SmallVector<utils::IteratorType> kinds = op.getIteratorTypesArray();
  SmallVector<int64_t> parallel;
  for (auto [size, kind] : llvm::zip_equal(loops, kinds)) {
    if (ShapedType::isDynamic(size))
      return op.emitOpError("expected static shapes for GPU kernels");
    if (kind == utils::IteratorType::parallel)
      parallel.push_back(size);
  }
  // What the body reads from outside: buffers, and constants that are copied.
  SmallVector<Value> inputs(op->getOperands());
  llvm::SetVector<Value> captured;
  getUsedValuesDefinedAbove(op->getRegions(), captured);
  SmallVector<Operation *> constants;
  for (Value value : captured) {
    Operation *definition = value.getDefiningOp();
    if (isa<MemRefType>(value.getType())) {
      inputs.push_back(value);
    } else if (definition && definition->hasTrait<OpTrait::ConstantLike>()) {
      constants.push_back(definition);
    } else {
      return op.emitOpError("expected its body to use buffers and constants, "
                            "but got ")
             << value.getType() << " that the host computes";
    }
  }
  LogicalResult result = success();
  // Scalars among the operands are constants as well, or fail.
  for (Value operand : op->getOperands())
    if (!isa<MemRefType>(operand.getType())) {
      Operation *definition = operand.getDefiningOp();
      if (!definition || !definition->hasTrait<OpTrait::ConstantLike>())
        return op.emitOpError("expected buffers or constants, but got ")
               << operand.getType() << " that the host computes";
      constants.push_back(definition);
    }
  llvm::erase_if(inputs,
                 [](Value value) { return !isa<MemRefType>(value.getType()); });
  std::string name = op->getName().stripDialect().str();
  library.launchElements(
      builder, op.getLoc(), name == "generic" ? "elementwise" : name, parallel,
      inputs,
      [&](LaneBuilder &k, ValueRange args, const Values &at) {
        IRMapping mapping;
        for (auto [value, argument] : llvm::zip_equal(inputs, args))
          mapping.map(value, argument);
        for (Operation *constant : constants)
          if (!mapping.contains(constant->getResult(0)))
            k.builder.clone(*constant, mapping);
        Values indices(loops.size());
        auto next = at.begin();
        for (auto [i, kind] : llvm::enumerate(kinds))
          if (kind == utils::IteratorType::parallel)
            indices[i] = *next++;
        emitPoint(k, op, mapping, loops, indices, 0, result);
      },
      then);
  return result;
}
