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

using namespace mlir;
using namespace ganq;
using Values = KernelBuilder::Values;

//===----------------------------------------------------------------------===//
// Rows
//===----------------------------------------------------------------------===//

static constexpr int64_t kThreads = 256;

/// Lanes that rows of `columns` elements keep busy.
static int64_t threadsFor(int64_t columns) {
  return std::clamp<int64_t>(llvm::PowerOf2Ceil(columns / 4),
                             LaneBuilder::kWarp, kThreads);
}

static Value asFloat(LaneBuilder &k, int64_t value) {
  return k.constant(static_cast<float>(value));
}

/// 1 / sqrt(sum / columns + epsilon).
static Value inverseRoot(LaneBuilder &k, Value sum, int64_t columns,
                         float epsilon) {
  Value mean = k.divf(sum, asFloat(k, columns));
  Value root =
      math::SqrtOp::create(k.builder, k.loc, k.addf(mean, k.constant(epsilon)));
  return k.divf(k.constant(1.0f), root);
}

/// Launches one block for each row of `x`, the last dimension apart.
static void launchRows(
    OpBuilder &builder, GpuKernelLibrary &library, Location loc, StringRef name,
    Value x, ValueRange inputs,
    function_ref<void(LaneBuilder &, ValueRange, function_ref<Values(Value)>)>
        body) {
  ArrayRef<int64_t> shape = typeOf(x).getShape();
  int64_t columns = shape.back();
  int64_t rows = typeOf(x).getNumElements() / std::max<int64_t>(columns, 1);
  int64_t threads = threadsFor(columns);
  library.launch(
      builder, loc, name, rows, threads, inputs,
      getSharedFloats(builder.getContext(), threads / LaneBuilder::kWarp),
      [&](LaneBuilder &k, ValueRange args) {
        Values row = k.delinearize(k.block, shape.drop_back());
        body(k, args, [&](Value column) {
          Values at(row);
          at.push_back(column);
          return at;
        });
      });
}

/// The sum of `term` over the columns of the block's row.
static Value rowSum(LaneBuilder &k, int64_t columns,
                    function_ref<Value(Value column)> term) {
  Values sums = k.loop(k.lane, k.index(columns), k.threads, k.constant(0.0f),
                       [&](Value column, ValueRange carried) -> Values {
                         return {k.addf(carried[0], term(column))};
                       });
  return k.blockSum(sums[0], k.shared[0]);
}

void ganq::launchRmsNorm(OpBuilder &builder, GpuKernelLibrary &library,
                         RmsNormOp op) {
  SmallVector<Value> inputs{op.getX(), op.getOut()};
  if (op.getWeight())
    inputs.push_back(op.getWeight());
  int64_t columns = typeOf(op.getX()).getShape().back();
  float epsilon = op.getEpsilon().convertToFloat();
  launchRows(
      builder, library, op.getLoc(), "rms_norm", op.getX(), inputs,
      [&](LaneBuilder &k, ValueRange args, function_ref<Values(Value)> at) {
        Value sum = rowSum(k, columns, [&](Value column) {
          Value x = k.load(args[0], at(column));
          return k.mulf(x, x);
        });
        Value factor = inverseRoot(k, sum, columns, epsilon);
        k.forLanes(k.index(columns), [&](Value column) {
          Value y = k.mulf(k.load(args[0], at(column)), factor);
          if (args.size() > 2)
            y = k.mulf(y, k.load(args[2], column));
          k.store(y, args[1], at(column));
        });
      });
}

void ganq::launchLayerNorm(OpBuilder &builder, GpuKernelLibrary &library,
                           LayerNormOp op) {
  SmallVector<Value> inputs{op.getX(), op.getOut()};
  bool hasWeight = static_cast<bool>(op.getWeight());
  if (hasWeight)
    inputs.push_back(op.getWeight());
  if (op.getBias())
    inputs.push_back(op.getBias());
  int64_t columns = typeOf(op.getX()).getShape().back();
  float epsilon = op.getEpsilon().convertToFloat();
  bool hasBias = static_cast<bool>(op.getBias());
  launchRows(
      builder, library, op.getLoc(), "layer_norm", op.getX(), inputs,
      [&](LaneBuilder &k, ValueRange args, function_ref<Values(Value)> at) {
        Value sum = rowSum(k, columns, [&](Value column) {
          return k.load(args[0], at(column));
        });
        Value mean = k.divf(sum, asFloat(k, columns));
        Value squares = rowSum(k, columns, [&](Value column) {
          Value x = k.subf(k.load(args[0], at(column)), mean);
          return k.mulf(x, x);
        });
        Value factor = inverseRoot(k, squares, columns, epsilon);
        k.forLanes(k.index(columns), [&](Value column) {
          Value y = k.mulf(k.subf(k.load(args[0], at(column)), mean), factor);
          if (hasWeight)
            y = k.mulf(y, k.load(args[2], column));
          if (hasBias)
            y = k.addf(y, k.load(args.back(), column));
          k.store(y, args[1], at(column));
        });
      });
}

//===----------------------------------------------------------------------===//
// Elements
//===----------------------------------------------------------------------===//

void ganq::launchSwiglu(OpBuilder &builder, GpuKernelLibrary &library,
                        SwigluOp op) {
  library.launchElements(
      builder, op.getLoc(), "swiglu", typeOf(op.getOut()).getShape(),
      {op.getGate(), op.getUp(), op.getOut()},
      [&](LaneBuilder &k, ValueRange args, const Values &at) {
        Value gate = k.load(args[0], at);
        Value power = k.exp(k.negf(gate));
        Value factor = k.divf(gate, k.addf(k.constant(1.0f), power));
        k.store(k.mulf(factor, k.load(args[1], at)), args[2], at);
      });
}

void ganq::launchRope(OpBuilder &builder, GpuKernelLibrary &library,
                      RopeOp op) {
  int64_t half = typeOf(op.getCos()).getShape().back();
  bool interleaved = op.getInterleaved();
  library.launchElements(
      builder, op.getLoc(), "rope", typeOf(op.getX()).getShape(),
      {op.getX(), op.getCos(), op.getSin(), op.getOut()},
      [&](LaneBuilder &k, ValueRange args, const Values &at) {
        Value column = at[3];
        Value rotated = k.less(column, k.index(2 * half));
        // Columns behind the rotated ones look at the last pair, in vain.
        Value place = k.min(column, k.index(2 * half - 1));
        Value pair =
            interleaved ? k.div(place, 2) : k.rem(place, k.index(half));
        Value isFirst = interleaved
                            ? k.equal(k.rem(place, k.index(2)), k.index(0))
                            : k.less(place, k.index(half));
        Value distance = k.index(interleaved ? 1 : half);
        Value other =
            k.select(isFirst, k.add(place, distance), k.sub(place, distance));
        Value cos = k.load(args[1], {at[2], pair}),
              sin = k.load(args[2], {at[2], pair});
        Value x = k.load(args[0], at);
        Value y = k.load(args[0], {at[0], at[1], at[2], other});
        Value signedSin = k.select(isFirst, k.negf(sin), sin);
        Value turned = k.addf(k.mulf(x, cos), k.mulf(y, signedSin));
        k.store(k.select(rotated, turned, x), args[3], at);
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
                                 linalg::LinalgOp op) {
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
      inputs, [&](LaneBuilder &k, ValueRange args, const Values &at) {
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
      });
  return result;
}
