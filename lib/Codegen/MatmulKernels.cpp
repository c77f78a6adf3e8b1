//===- MatmulKernels.cpp - Products with float and packed weights ---------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Few rows of x: four rows of W are read side by side, which is how packed
// codes lie in memory; up to a handful of rows of x share each decoded vector
// of weights. K runs innermost, its partial sums stay in registers, and lanes
// are added up once per result. K is static, so the columns after the last full
// vector are masked by constants.
//
//===----------------------------------------------------------------------===//

#include "MatmulPanels.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace ganq;
using Values = KernelBuilder::Values;

namespace {

/// The skeleton for few rows of x. A work item is a tile of four rows of W.
class TileSkeleton : public MatmulSkeleton {
public:
  using MatmulSkeleton::MatmulSkeleton;

  void emit(Value lo, Value hi) override {
    reader.begin(k, rowBlock());
    k.loop(lo, hi, 1, [&](Value tile) {
      reader.beginTile(k, tile);
      forRowBlocks(
          [&](Value row, int64_t count) { emitBlock(tile, row, count); });
    });
  }

private:
  /// Rows of x that share a vector of weights.
  int64_t rowBlock() const { return chosen.rows; }

  /// Column `r` of a tile of the result, where it exists.
  void whenColumn(Value tile, int64_t r, function_ref<void(Value)> body) {
    Value column = k.add(k.mul(tile, kRowTile), r);
    if (n % kRowTile == 0)
      body(column);
    else
      k.when(k.less(column, k.index(n)), [&] { body(column); });
  }

  /// All rows of x in blocks.
  void forRowBlocks(function_ref<void(Value, int64_t)> body) {
    int64_t block = rowBlock();
    if (m == block)
      return body(k.index(0), block);
    Value rows = k.dim(out, 0);
    Value full =
        m < 0 ? k.mul(k.div(rows, block), block) : k.index(m / block * block);
    k.loop(k.index(0), full, block, [&](Value row) { body(row, block); });
    if (m < 0)
      k.loop(full, rows, 1, [&](Value row) { body(row, 1); });
    else if (m % block)
      body(full, m % block);
  }

  /// `count` rows of x from `row` on times one tile of W.
  void emitBlock(Value tile, Value row, int64_t count) {
    // Eight independent sums at least hide the latency of fma.
    int64_t copies = k.avx512 && count == 1 ? 2 : 1;
    Values sums(count * kRowTile * copies, k.splat(0.0f));
    int64_t group = getGroupColumns(), full = columns / group;
    auto emitOne = [&](Value index, int64_t size, ValueRange carried) {
      beginGroup(index);
      return emitGroup(index, group, size, row, count, copies, carried);
    };
    if (full == 1)
      sums = emitOne(k.index(0), group, sums);
    else
      sums = k.loop(k.index(0), k.index(full), 1, sums,
                    [&](Value index, ValueRange carried) {
                      return emitOne(index, group, carried);
                    });
    if (columns % group)
      sums = emitOne(k.index(full), columns % group, sums);

    for (int64_t r = 0; r < kRowTile; ++r)
      whenColumn(tile, r, [&](Value column) {
        Values kept;
        if (reader.getSparseRows())
          kept = multiplySparse(column, row, count);
        for (int64_t i = 0; i < count; ++i) {
          Value total = sums[(i * kRowTile + r) * copies];
          for (int64_t c = 1; c < copies; ++c)
            total = k.addf(total, sums[(i * kRowTile + r) * copies + c]);
          if (Value scale = reader.getRowScale(k, r))
            total = k.mulf(total, k.splat(scale));
          if (!kept.empty())
            total = k.addf(total, kept[i]);
          Value result = k.sum(total);
          if (bias)
            result = k.addf(result, k.load(bias, column));
          k.store(result, out, {k.add(row, i), column});
        }
      });
  }

  /// `size` columns of group number `index`.
  Values emitGroup(Value index, int64_t group, int64_t size, Value row,
                   int64_t count, int64_t copies, ValueRange carried) {
    int64_t granule = reader.getGranule();
    Value first = k.mul(index, group / granule);
    int64_t full = size / granule;
    Values sums(carried);
    auto step = [&](Value number, int64_t columnsLeft, ValueRange in) {
      return emitGranule(number, columnsLeft, row, count, copies, in);
    };
    if (full == 1)
      sums = step(first, granule, sums);
    else if (full > 1)
      sums = k.loop(first, k.add(first, full), 1, sums,
                    [&](Value number, ValueRange in) {
                      return step(number, granule, in);
                    });
    if (size % granule)
      sums = step(k.add(first, full), size % granule, sums);
    return sums;
  }

  Values emitGranule(Value number, int64_t size, Value row, int64_t count,
                     int64_t copies, ValueRange carried) {
    int64_t chunks = llvm::divideCeil(size, kLanes);
    reader.beginGranule(k, number, chunks);
    Value column = k.mul(number, reader.getGranule());
    Values sums(carried);
    int64_t turn = 0;
    for (int64_t chunk : reader.getOrder(chunks)) {
      Value mask = k.laneMask(size - chunk * kLanes);
      beginChunk(number, chunk);
      int64_t copy = turn++ % copies;
      Values inputs, weights;
      for (int64_t i = 0; i < count; ++i)
        inputs.push_back(k.loadVector(
            x, {k.add(row, i), k.add(column, chunk * kLanes)}, mask));
      for (int64_t r = 0; r < kRowTile; ++r)
        weights.push_back(reader.decode(k, r, chunk, mask));
      for (int64_t i = 0; i < count; ++i)
        for (int64_t r = 0; r < kRowTile; ++r) {
          Value &sum = sums[(i * kRowTile + r) * copies + copy];
          sum = k.fma(inputs[i], weights[r], sum);
        }
    }
    return sums;
  }

  /// Row `weightRow` of the sparse part times `count` rows of x, as vectors of
  /// partial sums.
  Values multiplySparse(Value weightRow, Value row, int64_t count) {
    const SparseRows &sparse = *reader.getSparseRows();
    auto columnType = cast<MemRefType>(sparse.column.getType());
    Value first = sparseEntry(weightRow);
    Value end = sparseEntry(k.add(weightRow, 1));
    // Vectors end where the row does or the vector after them begins, so that
    // none reads beyond the last entry; lanes before the row are masked.
    Value lanes = vector::StepOp::create(
        k.builder, k.loc, VectorType::get({kLanes}, k.builder.getIndexType()));
    Value present = k.laneMask(columnType.getDimSize(0));
    auto step = [&](Value done, ValueRange carried) {
      Value behind = k.sub(end, done);
      Value entry = k.max(k.sub(behind, k.index(kLanes)), k.index(0));
      Value start = k.max(entry, first);
      Value mask = arith::CmpIOp::create(
          k.builder, k.loc, arith::CmpIPredicate::ult,
          arith::SubIOp::create(k.builder, k.loc, lanes,
                                k.splat(k.sub(start, entry))),
          k.splat(k.sub(behind, start)));
      Value column = k.loadElements(sparse.column, entry, present);
      if (!columnType.getElementType().isInteger(32))
        column = arith::ExtUIOp::create(k.builder, k.loc, k.vecI32, column);
      Value weight = k.loadVector(sparse.value, entry, present);
      auto inputType = VectorType::get(
          {kLanes}, cast<MemRefType>(x.getType()).getElementType());
      Value none = arith::ConstantOp::create(k.builder, k.loc,
                                             k.builder.getZeroAttr(inputType));
      Values sums(carried);
      for (int64_t i = 0; i < count; ++i) {
        Value input = vector::GatherOp::create(
            k.builder, k.loc, inputType, x,
            ValueRange{k.add(row, i), k.index(0)}, column, mask, none);
        sums[i] = k.fma(k.extend(input), weight, sums[i]);
      }
      return sums;
    };
    return k.loop(k.index(0), k.sub(end, first), kLanes,
                  Values(count, k.splat(0.0f)), step);
  }
};

void emitCall(OpBuilder &builder, KernelLibrary &library, Operation *product,
              StringRef name, const std::string &rest, Value x, Value bias,
              Value out, ValueRange weights, int64_t n, int64_t columns,
              function_ref<std::unique_ptr<WeightReader>(ValueRange)> reader) {
  Location loc = product->getLoc();
  Value xMatrix = asMatrix(builder, loc, x);
  Value outMatrix = asMatrix(builder, loc, out);
  auto type = cast<MemRefType>(outMatrix.getType());
  SmallVector<Value> inputs{xMatrix, outMatrix};
  llvm::append_range(inputs, weights);
  if (bias)
    inputs.push_back(bias);
  int64_t work = type.isDynamicDim(0) ? -1 : type.getDimSize(0) * n * columns;
  library.callProduct(
      builder, product, name, kernelKey(inputs, rest),
      [&](const KernelTile &tile) {
        int64_t rows = tile.kind == KernelTile::Kind::registers
                           ? MatmulSkeleton::kRowTile
                           : PanelSkeleton::getPanelRows(library.hasAvx512());
        return llvm::divideCeil(n, rows);
      },
      inputs, work,
      [&](KernelBuilder &k, Value lo, Value hi, ValueRange args,
          const KernelTile &tile) {
        std::unique_ptr<WeightReader> decoder =
            reader(args.slice(2, weights.size()));
        Value start = bias ? args.back() : Value();
        auto emit = [&](auto &&skeleton) { skeleton.emit(lo, hi); };
        if (tile.kind == KernelTile::Kind::registers)
          emit(TileSkeleton(k, *decoder, args[0], start, args[1], columns,
                            tile));
        else if (tile.kind == KernelTile::Kind::panels)
          emit(PanelSkeleton(k, *decoder, args[0], start, args[1], columns,
                             tile));
        else
          emit(TiledPanelSkeleton(k, *decoder, args[0], start, args[1], columns,
                                  tile));
      });
}

} // namespace

MatmulSkeleton::MatmulSkeleton(KernelBuilder &k, WeightReader &reader, Value x,
                               Value bias, Value out, int64_t columns,
                               const KernelTile &tile)
    : k(k), reader(reader), x(x), bias(bias), out(out), chosen(tile),
      columns(columns) {
  auto type = cast<MemRefType>(out.getType());
  m = type.isDynamicDim(0) ? -1 : type.getDimSize(0);
  n = type.getDimSize(1);
}

int64_t MatmulSkeleton::getGroupColumns() const {
  if (!reader.getGroup())
    return columns;
  return std::min(std::max(reader.getGroup(), reader.getGranule()), columns);
}

void MatmulSkeleton::beginChunk(Value granule, int64_t chunk) {
  if (!groupsWithinGranule() || chunk * kLanes % reader.getGroup() != 0)
    return;
  int64_t groups = reader.getGranule() / reader.getGroup();
  reader.beginGroup(
      k, k.add(k.mul(granule, groups), chunk * kLanes / reader.getGroup()));
}

Value MatmulSkeleton::sparseEntry(Value row) {
  Value entry = memref::LoadOp::create(
      k.builder, k.loc, reader.getSparseRows()->start, ValueRange(row));
  return arith::IndexCastOp::create(k.builder, k.loc, k.builder.getIndexType(),
                                    entry);
}

Value MatmulSkeleton::sparseColumn(Value entry) {
  return arith::IndexCastUIOp::create(
      k.builder, k.loc, k.builder.getIndexType(),
      memref::LoadOp::create(k.builder, k.loc, reader.getSparseRows()->column,
                             ValueRange(entry)));
}

void ganq::lowerMatmul(OpBuilder &builder, KernelLibrary &library,
                       MatmulOp op) {
  auto type = cast<MemRefType>(op.getWeight().getType());
  emitCall(builder, library, op, "matmul", "", op.getX(), op.getBias(),
           op.getOut(), op.getWeight(), type.getDimSize(0), type.getDimSize(1),
           [&](ValueRange args) {
             return createFloatReader(args[0], type.getDimSize(0));
           });
}

LogicalResult ganq::checkPackedMatmul(PackedMatmulOp op) {
  if (op.getScheme().getActivationBits() == 0 && hasReader(op.getScheme()))
    return success();
  return op.emitOpError("expected a scheme that a processor's kernels read, "
                        "but got ")
         << op.getScheme();
}

void ganq::lowerPackedMatmul(OpBuilder &builder, KernelLibrary &library,
                             PackedMatmulOp op) {
  int64_t n = op.getN(), k = op.getK();
  SchemeAttrInterface scheme = op.getScheme();
  std::string key = std::to_string(n) + "x" + std::to_string(k);
  llvm::raw_string_ostream(key) << scheme;
  emitCall(builder, library, op, scheme.getShortName() + "_matmul", key,
           op.getX(), op.getBias(), op.getOut(), op.getComponents(), n, k,
           [&](ValueRange args) { return createReader(scheme, args, n, k); });
}
