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

#include "KernelBuilder.h"
#include "ganq/Support/CodeLayout.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace ganq;
using Values = KernelBuilder::Values;

namespace {

constexpr int64_t kLanes = KernelBuilder::kLanes;
constexpr int64_t kRowTile = CodeLayout::kRowTile;

/// The hole of the skeleton: weights of a tile of four rows as f32 vectors.
class WeightReader {
public:
  virtual ~WeightReader() = default;
  /// Columns that one call of `beginGranule` covers, a multiple of 16.
  virtual int64_t getGranule() const = 0;
  /// Columns that one call of `beginGroup` covers; 0 for the whole row.
  virtual int64_t getGroup() const { return 0; }
  /// Whether weights come from memory as they are, without work per vector.
  virtual bool isPlain() const { return false; }
  virtual void beginTile(KernelBuilder &k, Value tile) = 0;
  virtual void beginGroup(KernelBuilder &k, Value group) {}
  /// Starts at granule number `granule` of the row; `count` vectors follow.
  virtual void beginGranule(KernelBuilder &k, Value granule, int64_t count) = 0;
  /// Vector `chunk` of the granule for row `row` of the tile.
  virtual Value decode(KernelBuilder &k, int64_t row, int64_t chunk,
                       Value mask) = 0;
};

/// Weights in f32, f16 or bf16, [N, K].
class FloatReader : public WeightReader {
public:
  FloatReader(Value weight, int64_t n) : weight(weight), n(n) {}

  int64_t getGranule() const override { return 4 * kLanes; }
  bool isPlain() const override {
    return cast<MemRefType>(weight.getType()).getElementType().isF32();
  }

  void beginTile(KernelBuilder &k, Value tile) override {
    Value first = k.mul(tile, kRowTile);
    for (int64_t row = 0; row < kRowTile; ++row) {
      rows[row] = k.add(first, row);
      // Rows after the last are read from the last and not stored.
      if (n % kRowTile)
        rows[row] = k.min(rows[row], k.index(n - 1));
    }
  }
  void beginGranule(KernelBuilder &k, Value granule, int64_t) override {
    column = k.mul(granule, getGranule());
    for (int64_t row = 0; row < kRowTile; ++row)
      for (int64_t line = 0; line < getGranule(); line += kLanes)
        k.prefetch(weight, {rows[row], k.add(column, kAhead + line)});
  }
  Value decode(KernelBuilder &k, int64_t row, int64_t chunk,
               Value mask) override {
    return k.loadVector(weight, {rows[row], k.add(column, chunk * kLanes)},
                        mask);
  }

private:
  /// Columns between what is read and what is prefetched.
  static constexpr int64_t kAhead = 256;

  Value weight, column;
  int64_t n;
  Value rows[kRowTile];
};

/// Reads codes in the order of CodeLayout; subclasses turn codes into floats.
class CodeReader : public WeightReader {
public:
  CodeReader(Value codes, unsigned bits, int64_t n, int64_t k, int64_t group)
      : codes(codes), bits(bits), group(group), layout(bits, n, k) {}

  int64_t getGranule() const override { return layout.getGroupGranularity(); }
  int64_t getGroup() const override { return group; }

  void beginTile(KernelBuilder &k, Value tile) override {
    this->tile = tile;
    base = k.mul(tile, layout.getTileBytes());
  }

  void beginGranule(KernelBuilder &k, Value granule, int64_t count) override {
    words.assign(layout.getPlanes().size(), {});
    auto bytes = VectorType::get({kLanes}, k.builder.getI8Type());
    for (auto [number, plane] : llvm::enumerate(layout.getPlanes())) {
      int64_t perGranule = getGranule() / plane.columnsPerUnit();
      int64_t units = llvm::divideCeil(count * kLanes, plane.columnsPerUnit());
      Value first =
          k.add(k.add(base, k.mul(granule, perGranule * kRowTile * kLanes)),
                plane.offset);
      for (int64_t unit = 0; unit < units; ++unit)
        for (int64_t row = 0; row < kRowTile; ++row) {
          Value at = k.add(first, (unit * kRowTile + row) * kLanes);
          Value word = vector::LoadOp::create(k.builder, k.loc, bytes, codes,
                                              ValueRange(at));
          words[number].push_back(
              arith::ExtUIOp::create(k.builder, k.loc, k.vecI32, word));
        }
      // A unit of four rows is a cache line.
      for (int64_t unit = 0; unit < units; ++unit)
        k.prefetch(codes, {k.add(first, unit * kRowTile * kLanes + kAhead)});
    }
  }

protected:
  /// Codes of a vector. Bits above the code are left as they are unless
  /// `exact`.
  Value codeVector(KernelBuilder &k, int64_t row, int64_t chunk, bool exact) {
    Value code;
    for (auto [number, plane] : llvm::enumerate(layout.getPlanes())) {
      int64_t chunks = plane.columnsPerUnit() / kLanes;
      Value part = words[number][chunk / chunks * kRowTile + row];
      int64_t shift = chunk % chunks * plane.width;
      if (shift)
        part =
            arith::ShRUIOp::create(k.builder, k.loc, part, k.splatInt(shift));
      bool last = number + 1 == layout.getPlanes().size();
      bool clean = shift + plane.width == 8;
      if (!clean && (exact || !last))
        part = arith::AndIOp::create(k.builder, k.loc, part,
                                     k.splatInt((1 << plane.width) - 1));
      if (plane.shift)
        part = arith::ShLIOp::create(k.builder, k.loc, part,
                                     k.splatInt(plane.shift));
      code =
          code ? arith::OrIOp::create(k.builder, k.loc, code, part).getResult()
               : part;
    }
    return code;
  }

  Value row(KernelBuilder &k, int64_t index) {
    return k.add(k.mul(tile, kRowTile), index);
  }
  /// Entries of a table in registers: what one permute reads, or more.
  int64_t registerEntries(KernelBuilder &k) const {
    return std::max<int64_t>(int64_t(1) << bits, k.avx512 ? 16 : 8);
  }
  bool fitsRegisters(KernelBuilder &k) const {
    return bits <= (k.avx512 ? 6 : 4);
  }
  Value lookup(KernelBuilder &k, Value table, int64_t row, int64_t chunk) {
    return TableLookupOp::create(k.builder, k.loc, k.vecF32, table,
                                 codeVector(k, row, chunk, /*exact=*/false));
  }

  Value codes, tile, base;
  unsigned bits;
  int64_t group;
  CodeLayout layout;

private:
  /// Bytes between what is read and what is prefetched. Hardware stops at the
  /// end of a page, which is often the end of a row tile as well.
  static constexpr int64_t kAhead = 2048;

  /// By plane: units, rows innermost.
  SmallVector<Values> words;
};

/// #ganq.lut: the code selects an entry of the row's table.
class LutReader : public CodeReader {
public:
  LutReader(Value codes, Value tables, LutAttr scheme, int64_t n, int64_t k)
      : CodeReader(codes, scheme.getBits(), n, k, scheme.getGroup()),
        tables(tables) {}

  void beginGroup(KernelBuilder &k, Value group) override {
    int64_t entries = int64_t(1) << bits;
    if (!fitsRegisters(k) && !spill)
      spill = k.scratch({kRowTile, entries});
    auto stored = VectorType::get({entries}, k.builder.getF16Type());
    for (int64_t r = 0; r < kRowTile; ++r) {
      if (!fitsRegisters(k)) {
        for (int64_t at = 0; at < entries; at += kLanes)
          k.storeVector(k.loadVector(tables, {row(k, r), group, k.index(at)}),
                        spill, {k.index(r), k.index(at)});
        continue;
      }
      Value half =
          vector::LoadOp::create(k.builder, k.loc, stored, tables,
                                 ValueRange{row(k, r), group, k.index(0)});
      table[r] = k.extend(half);
      if (entries < registerEntries(k)) {
        SmallVector<int64_t> repeat;
        for (int64_t i = 0; i < registerEntries(k); ++i)
          repeat.push_back(i % entries);
        table[r] = vector::ShuffleOp::create(k.builder, k.loc, table[r],
                                             table[r], repeat);
      }
    }
  }

  Value decode(KernelBuilder &k, int64_t row, int64_t chunk, Value) override {
    if (fitsRegisters(k))
      return lookup(k, table[row], row, chunk);
    Value all = arith::ConstantOp::create(
        k.builder, k.loc, DenseElementsAttr::get(k.vecI1, true));
    return vector::GatherOp::create(
        k.builder, k.loc, k.vecF32, spill, ValueRange{k.index(row), k.index(0)},
        codeVector(k, row, chunk, /*exact=*/true), all, k.splat(0.0f));
  }

private:
  Value tables, spill;
  Value table[kRowTile];
};

/// #ganq.uniform: (code - zero) * scale, through a table for small codes.
class UniformReader : public CodeReader {
public:
  UniformReader(Value codes, Value scales, Value zeros, UniformAttr scheme,
                int64_t n, int64_t k)
      : CodeReader(codes, scheme.getBits(), n, k, scheme.getGroup()),
        scales(scales), zeros(zeros) {}

  void beginGroup(KernelBuilder &k, Value group) override {
    for (int64_t r = 0; r < kRowTile; ++r) {
      Value scalar = k.load(scales, {row(k, r), group});
      Value zero = memref::LoadOp::create(k.builder, k.loc, zeros,
                                          ValueRange{row(k, r), group});
      zero = arith::UIToFPOp::create(k.builder, k.loc, k.f32, zero);
      if (usesTable(k)) {
        SmallVector<float> levels;
        for (int64_t i = 0; i < registerEntries(k); ++i)
          levels.push_back(static_cast<float>(i % (1 << bits)));
        auto type = VectorType::get({registerEntries(k)}, k.f32);
        auto broadcast = [&](Value value) -> Value {
          return vector::BroadcastOp::create(k.builder, k.loc, type, value);
        };
        Value iota = arith::ConstantOp::create(
            k.builder, k.loc,
            DenseElementsAttr::get(type, ArrayRef<float>(levels)));
        scale[r] = k.mulf(k.subf(iota, broadcast(zero)), broadcast(scalar));
      } else {
        scale[r] = k.splat(scalar);
        shift[r] = k.splat(k.negf(k.mulf(zero, scalar)));
      }
    }
  }

  Value decode(KernelBuilder &k, int64_t row, int64_t chunk, Value) override {
    if (usesTable(k))
      return lookup(k, scale[row], row, chunk);
    Value level = arith::SIToFPOp::create(
        k.builder, k.loc, k.vecF32, codeVector(k, row, chunk, /*exact=*/true));
    return k.fma(level, scale[row], shift[row]);
  }

private:
  static constexpr unsigned kMaxTableBits = 4;
  bool usesTable(KernelBuilder &k) const { return bits <= kMaxTableBits; }

  Value scales, zeros;
  Value scale[kRowTile], shift[kRowTile];
};

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
    if (decodeFirst)
      decoded = k.scratch({kRowTile, getDecodedColumns()});
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

  int64_t getGroupColumns() const {
    return reader.getGroup() ? std::min(reader.getGroup(), columns) : columns;
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
    auto emitBlockOf = [&](Value index, int64_t count) {
      decodeBlock(index, size, count);
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
        for (int64_t chunk = 0; chunk < chunks; ++chunk)
          for (int64_t r = 0; r < kRowTile; ++r)
            k.storeVector(
                reader.decode(k, r, chunk, k.laneMask(left - chunk * kLanes)),
                decoded,
                {k.index(r),
                 k.add(k.add(place, k.mul(number, granule)), chunk * kLanes)});
      };
      k.loop(k.index(0), k.index(columnCount / granule), 1,
             [&](Value number) { decodeGranule(number, granule); });
      if (columnCount % granule)
        decodeGranule(k.index(columnCount / granule), columnCount % granule);
    };
    if (group == columns) {
      reader.beginGroup(k, k.index(0));
      decodeColumns(k.mul(index, size / granule), k.index(0), count);
      return;
    }
    Value firstGroup = k.mul(index, size / group);
    auto decodeGroup = [&](Value number, int64_t columnCount) {
      Value source = k.add(firstGroup, number);
      reader.beginGroup(k, source);
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
    int64_t group =
        reader.getGroup() ? std::min(reader.getGroup(), columns) : columns;
    int64_t full = columns / group;
    auto emitOne = [&](Value index, int64_t size, ValueRange carried) {
      reader.beginGroup(k, index);
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
        for (int64_t i = 0; i < count; ++i) {
          Value total = sums[(i * kRowTile + r) * copies];
          for (int64_t c = 1; c < copies; ++c)
            total = k.addf(total, sums[(i * kRowTile + r) * copies + c]);
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

  KernelBuilder &k;
  WeightReader &reader;
  Value x, bias, out;
  Value decoded; ///< [4, columns of a block]
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
             return std::make_unique<FloatReader>(args[0], type.getDimSize(0));
           });
}

void ganq::lowerPackedMatmul(OpBuilder &builder, KernelLibrary &library,
                             PackedMatmulOp op) {
  int64_t n = op.getN(), k = op.getK();
  SchemeAttrInterface scheme = op.getScheme();
  emitCall(builder, library, op.getLoc(), scheme.getShortName() + "_matmul",
           std::to_string(n) + "x" + std::to_string(k) + "g" +
               std::to_string(scheme.getGroupSize()),
           op.getX(), op.getBias(), op.getOut(), op.getComponents(), n, k,
           [&](ValueRange args) -> std::unique_ptr<WeightReader> {
             if (auto lut = dyn_cast<LutAttr>(scheme))
               return std::make_unique<LutReader>(args[0], args[1], lut, n, k);
             return std::make_unique<UniformReader>(
                 args[0], args[1], args[2], cast<UniformAttr>(scheme), n, k);
           });
}
