//===- MatmulKernels.cpp - Products with float and packed weights ---------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// One skeleton with a hole for the weights. Four rows of W are read side by
// side, which is how packed codes lie in memory; up to a handful of rows of x
// share each decoded vector of weights. K runs innermost, its partial sums stay
// in registers, and lanes are added up once per result. K is static, so the
// columns after the last full vector are masked by constants.
//
//===----------------------------------------------------------------------===//

#include "WeightReaders.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace ganq;
using Values = KernelBuilder::Values;

namespace {

constexpr int64_t kLanes = KernelBuilder::kLanes;
constexpr int64_t kRowTile = WeightReader::kRowTile;

/// The skeleton: out[m, n] = sum over k of x[m, k] w[n, k], plus bias[n], for
/// the row tiles lo <= tile < hi.
class MatmulSkeleton {
public:
  MatmulSkeleton(KernelBuilder &k, WeightReader &reader, Value x, Value bias,
                 Value out, int64_t columns)
      : k(k), reader(reader), x(x), bias(bias), out(out), columns(columns) {
    auto type = cast<MemRefType>(out.getType());
    m = type.isDynamicDim(0) ? -1 : type.getDimSize(0);
    n = type.getDimSize(1);
  }

  void emit(Value lo, Value hi) {
    // With many rows of x, decoding once into a buffer beats decoding once
    // for each few rows. Sums then pass through out, which must hold them.
    bool decodeFirst = !reader.isPlain() &&
                       (m < 0 || m >= (k.avx512 ? 8 : 2)) &&
                       cast<MemRefType>(out.getType()).getElementType().isF32();
    if (decodeFirst) {
      decoded = k.scratch({kRowTile, getDecodedColumns()});
      if (reader.getSparseRows())
        cursors = k.scratch({kRowTile}, k.builder.getIndexType());
    }
    reader.begin(k);
    k.loop(lo, hi, 1, [&](Value tile) {
      reader.beginTile(k, tile);
      if (decodeFirst)
        emitDecodedRows(tile);
      else
        emitRows(tile);
    });
  }

private:
  /// Columns of four rows that fit the first cache as f32.
  static constexpr int64_t kDecodedColumns = 1024;

  /// Rows of x that share a vector of weights: 4 x 4 sums, and the vectors of
  /// four tables and four weights, stay within the 32 registers of AVX-512;
  /// 4 x 1 within the 16 shorter ones of AVX2.
  int64_t rowBlock() const {
    int64_t most = k.avx512 ? 4 : 1;
    return m < 0 ? most : std::min(m, most);
  }

  /// Whether a group is a part of a granule and begins between its vectors.
  bool groupsWithinGranule() const {
    return reader.getGroup() && reader.getGroup() < reader.getGranule();
  }
  /// Columns of a group, or of the granule that holds several.
  int64_t getGroupColumns() const {
    if (!reader.getGroup())
      return columns;
    return std::min(std::max(reader.getGroup(), reader.getGranule()), columns);
  }
  void beginGroup(Value group) {
    if (!groupsWithinGranule())
      reader.beginGroup(k, group);
  }
  void beginChunk(Value granule, int64_t chunk) {
    if (!groupsWithinGranule() || chunk * kLanes % reader.getGroup() != 0)
      return;
    int64_t groups = reader.getGranule() / reader.getGroup();
    reader.beginGroup(
        k, k.add(k.mul(granule, groups), chunk * kLanes / reader.getGroup()));
  }

  /// Columns of a decoded block, and groups in it; whole groups, or a part of
  /// the only one.
  int64_t getDecodedColumns() const {
    int64_t group = getGroupColumns();
    if (group == columns)
      return std::min<int64_t>(kDecodedColumns,
                               llvm::alignTo(columns, reader.getGranule()));
    return std::max<int64_t>(1, kDecodedColumns / group) * group;
  }

  /// Blocks of columns of one tile: decode, then multiply with all rows of x.
  void emitDecodedRows(Value tile) {
    int64_t size = getDecodedColumns(), full = columns / size;
    Value rows = k.dim(out, 0);
    k.loop(k.index(0), rows, 1, [&](Value row) {
      for (int64_t r = 0; r < kRowTile; ++r)
        whenColumn(tile, r, [&](Value column) {
          Value start = bias ? k.load(bias, column) : k.constant(0.0f);
          k.store(start, out, {row, column});
        });
    });
    if (cursors)
      for (int64_t r = 0; r < kRowTile; ++r)
        whenColumn(tile, r, [&](Value row) {
          memref::StoreOp::create(k.builder, k.loc, sparseEntry(row), cursors,
                                  k.index(r));
        });
    auto emitBlockOf = [&](Value index, int64_t count) {
      decodeBlock(index, size, count);
      if (cursors)
        for (int64_t r = 0; r < kRowTile; ++r)
          whenColumn(tile, r, [&](Value row) {
            addSparseToDecoded(row, r, k.mul(index, size), count);
          });
      forRowBlocks([&](Value row, int64_t rowCount) {
        multiplyDecoded(tile, row, rowCount, k.mul(index, size), count);
      });
    };
    if (full == 1)
      emitBlockOf(k.index(0), size);
    else if (full > 1)
      k.loop(k.index(0), k.index(full), 1,
             [&](Value index) { emitBlockOf(index, size); });
    if (columns % size)
      emitBlockOf(k.index(full), columns % size);
  }

  /// Decodes `count` columns from `index` * `size` on.
  void decodeBlock(Value index, int64_t size, int64_t count) {
    int64_t group = getGroupColumns(), granule = reader.getGranule();
    auto decodeColumns = [&](Value first, Value place, int64_t columnCount) {
      auto decodeGranule = [&](Value number, int64_t left) {
        int64_t chunks = llvm::divideCeil(left, kLanes);
        Value source = k.add(first, number);
        reader.beginGranule(k, source, chunks);
        for (int64_t chunk = 0; chunk < chunks; ++chunk) {
          beginChunk(source, chunk);
          for (int64_t r = 0; r < kRowTile; ++r) {
            Value weight =
                reader.decode(k, r, chunk, k.laneMask(left - chunk * kLanes));
            if (Value scale = reader.getRowScale(k, r))
              weight = k.mulf(weight, k.splat(scale));
            k.storeVector(
                weight, decoded,
                {k.index(r),
                 k.add(k.add(place, k.mul(number, granule)), chunk * kLanes)});
          }
        }
      };
      k.loop(k.index(0), k.index(columnCount / granule), 1,
             [&](Value number) { decodeGranule(number, granule); });
      if (columnCount % granule)
        decodeGranule(k.index(columnCount / granule), columnCount % granule);
    };
    if (group == columns) {
      beginGroup(k.index(0));
      decodeColumns(k.mul(index, size / granule), k.index(0), count);
      return;
    }
    Value firstGroup = k.mul(index, size / group);
    auto decodeGroup = [&](Value number, int64_t columnCount) {
      Value source = k.add(firstGroup, number);
      beginGroup(source);
      decodeColumns(k.mul(source, group / granule), k.mul(number, group),
                    columnCount);
    };
    k.loop(k.index(0), k.index(count / group), 1,
           [&](Value number) { decodeGroup(number, group); });
    if (count % group)
      decodeGroup(k.index(count / group), count % group);
  }

  /// Adds the products of `count` rows of x with the decoded block to out.
  void multiplyDecoded(Value tile, Value row, int64_t count, Value column,
                       int64_t size) {
    auto step = [&](Value offset, Value mask, ValueRange carried) {
      Values sums(carried), weights;
      for (int64_t r = 0; r < kRowTile; ++r)
        weights.push_back(k.loadVector(decoded, {k.index(r), offset}));
      for (int64_t i = 0; i < count; ++i) {
        Value input =
            k.loadVector(x, {k.add(row, i), k.add(column, offset)}, mask);
        for (int64_t r = 0; r < kRowTile; ++r)
          sums[i * kRowTile + r] =
              k.fma(input, weights[r], sums[i * kRowTile + r]);
      }
      return sums;
    };
    Values sums =
        k.chunks(k.index(size), Values(count * kRowTile, k.splat(0.0f)), step);
    for (int64_t r = 0; r < kRowTile; ++r)
      whenColumn(tile, r, [&](Value at) {
        for (int64_t i = 0; i < count; ++i) {
          Values place{k.add(row, i), at};
          k.store(k.addf(k.load(out, place), k.sum(sums[i * kRowTile + r])),
                  out, place);
        }
      });
  }

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

  void emitRows(Value tile) {
    forRowBlocks(
        [&](Value row, int64_t count) { emitBlock(tile, row, count); });
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
    for (int64_t chunk = 0; chunk < chunks; ++chunk) {
      Value mask = k.laneMask(size - chunk * kLanes);
      beginChunk(number, chunk);
      Values inputs, weights;
      for (int64_t i = 0; i < count; ++i)
        inputs.push_back(k.loadVector(
            x, {k.add(row, i), k.add(column, chunk * kLanes)}, mask));
      for (int64_t r = 0; r < kRowTile; ++r)
        weights.push_back(reader.decode(k, r, chunk, mask));
      for (int64_t i = 0; i < count; ++i)
        for (int64_t r = 0; r < kRowTile; ++r) {
          Value &sum = sums[(i * kRowTile + r) * copies + chunk % copies];
          sum = k.fma(inputs[i], weights[r], sum);
        }
    }
    return sums;
  }

  /// The first entry of a row in the sparse part, or the end of the row before.
  Value sparseEntry(Value row) {
    Value entry = memref::LoadOp::create(
        k.builder, k.loc, reader.getSparseRows()->start, ValueRange(row));
    return arith::IndexCastOp::create(k.builder, k.loc,
                                      k.builder.getIndexType(), entry);
  }
  Value sparseColumn(Value entry) {
    return arith::IndexCastUIOp::create(
        k.builder, k.loc, k.builder.getIndexType(),
        memref::LoadOp::create(k.builder, k.loc, reader.getSparseRows()->column,
                               ValueRange(entry)));
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
      Value column = loadIntegers(sparse.column, entry, present);
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

  Value loadIntegers(Value memref, Value at, Value mask) {
    auto type = VectorType::get(
        {kLanes}, cast<MemRefType>(memref.getType()).getElementType());
    if (!mask)
      return vector::LoadOp::create(k.builder, k.loc, type, memref,
                                    ValueRange(at));
    Value none = arith::ConstantOp::create(k.builder, k.loc,
                                           k.builder.getZeroAttr(type));
    return vector::MaskedLoadOp::create(k.builder, k.loc, type, memref, at,
                                        mask, none);
  }

  /// Adds what row `weightRow`, number `r` of its tile, keeps in `size` columns
  /// from `column` on to the decoded block. Blocks come in ascending order.
  void addSparseToDecoded(Value weightRow, int64_t r, Value column,
                          int64_t size) {
    OpBuilder &b = k.builder;
    Value end = sparseEntry(k.add(weightRow, 1));
    Value behind = k.add(column, size);
    Type index = b.getIndexType();
    Value next = memref::LoadOp::create(b, k.loc, cursors, k.index(r));
    auto loop = scf::WhileOp::create(
        b, k.loc, TypeRange{index, index}, next,
        [&](OpBuilder &, Location, ValueRange at) {
          // The column of the entry, or one behind the block without any.
          auto found = scf::IfOp::create(
              b, k.loc, k.less(at[0], end),
              [&](OpBuilder &, Location) {
                Value value = sparseColumn(at[0]);
                scf::YieldOp::create(b, k.loc, value);
              },
              [&](OpBuilder &, Location) {
                scf::YieldOp::create(b, k.loc, behind);
              });
          scf::ConditionOp::create(b, k.loc, k.less(found.getResult(0), behind),
                                   ValueRange{at[0], found.getResult(0)});
        },
        [&](OpBuilder &, Location, ValueRange at) {
          Values place{k.index(r), k.sub(at[1], column)};
          Value kept = k.load(reader.getSparseRows()->value, at[0]);
          k.store(k.addf(k.load(decoded, place), kept), decoded, place);
          scf::YieldOp::create(b, k.loc, k.add(at[0], 1));
        });
    memref::StoreOp::create(b, k.loc, loop.getResult(0), cursors, k.index(r));
  }

  KernelBuilder &k;
  WeightReader &reader;
  Value x, bias, out;
  Value decoded; ///< [4, columns of a block]
  Value cursors; ///< [4], next entry of the sparse part
  int64_t columns, m, n;
};

void emitCall(OpBuilder &builder, KernelLibrary &library, Location loc,
              StringRef name, const std::string &rest, Value x, Value bias,
              Value out, ValueRange weights, int64_t n, int64_t columns,
              function_ref<std::unique_ptr<WeightReader>(ValueRange)> reader) {
  Value xMatrix = asMatrix(builder, loc, x);
  Value outMatrix = asMatrix(builder, loc, out);
  // Blocks of rows are worth a kernel of their own only for a few rows.
  auto type = cast<MemRefType>(outMatrix.getType());
  SmallVector<Value> inputs{xMatrix, outMatrix};
  llvm::append_range(inputs, weights);
  if (bias)
    inputs.push_back(bias);
  Value tiles = arith::ConstantIndexOp::create(builder, loc,
                                               llvm::divideCeil(n, kRowTile));
  int64_t work = type.isDynamicDim(0) ? -1 : type.getDimSize(0) * n * columns;
  library.call(builder, loc, name, kernelKey(inputs, rest), tiles, inputs, work,
               [&](KernelBuilder &k, Value lo, Value hi, ValueRange args) {
                 std::unique_ptr<WeightReader> decoder =
                     reader(args.slice(2, weights.size()));
                 MatmulSkeleton(k, *decoder, args[0],
                                bias ? args.back() : Value(), args[1], columns)
                     .emit(lo, hi);
               });
}

} // namespace

void ganq::lowerMatmul(OpBuilder &builder, KernelLibrary &library,
                       MatmulOp op) {
  auto type = cast<MemRefType>(op.getWeight().getType());
  emitCall(builder, library, op.getLoc(), "matmul", "", op.getX(), op.getBias(),
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
  emitCall(builder, library, op.getLoc(), scheme.getShortName() + "_matmul",
           key, op.getX(), op.getBias(), op.getOut(), op.getComponents(), n, k,
           [&](ValueRange args) { return createReader(scheme, args, n, k); });
}
