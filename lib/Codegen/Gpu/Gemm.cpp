//===- Gemm.cpp - Products with many rows of x ----------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// W is the A operand of mma, so that the columns of a tile are tokens. A block
// computes a tile of rows x tokens, its warps share out the rows and the
// granules of a step (split-K). Codes, scales and x reach shared memory by
// cp.async, several steps ahead; x comes to registers by ldmatrix, and the slot
// of a lane (GpuLayout) is decoded in registers to just the A operands that
// this lane holds.
//
// Shared memory holds, for each stage:
//
//   codes  [granule][unit][row + padding], 16 bytes
//   x      [granule][plane][token], 16-byte chunks of a granule; chunks are
//          swizzled by the token so that ldmatrix has no bank conflicts
//   scales [granule][group][row], then zero points
//
//===----------------------------------------------------------------------===//

#include "Skeletons.h"

using namespace mlir;
using namespace ganq;
using Values = GpuBuilder::Values;

namespace {

constexpr int64_t kLanes = 32;

/// The tile of a kernel and the places in its shared memory, in bytes.
struct GemmTile {
  int64_t tokens;    ///< Tokens of a block.
  int64_t warpRows;  ///< Warps along rows.
  int64_t warpSplit; ///< Warps along K: granules of a step.
  int64_t rowTiles;  ///< Tiles of 16 rows of a warp.
  int64_t stages = 3;
  int64_t units;      ///< Of 16 bytes, per row and granule.
  int64_t paddedRows; ///< Rows of a unit in shared memory.
  int64_t planes;     ///< Of x.
  int64_t rowBytes;   ///< Of a granule of a plane of x, for one token.
  int64_t values;     ///< Scales and zero points per row and granule.

  GemmTile(const GpuMatmulSpec &spec, const GpuDecoding &decoding,
           const GpuLayout &layout)
      : tokens(spec.tokens), warpRows(spec.tokens == 16 ? 2 : 4),
        warpSplit(spec.strategy == GpuStrategy::Btc ? 2
                  : spec.tokens == 16               ? 4
                                                    : 1),
        rowTiles(spec.tokens == 16 ? 1 : 2), units(layout.getUnits()),
        planes(spec.strategy == GpuStrategy::Btc ? spec.activationBits : 1),
        rowBytes(spec.strategy == GpuStrategy::F16    ? 256
                 : spec.strategy == GpuStrategy::Int8 ? 128
                                                      : 32),
        values(0) {
    // Rows of the four lanes of a quad must fall into different banks.
    paddedRows = getRows() + (layout.getSlotWords() % 4 == 0 ? 2 : 4);
    if (spec.strategy == GpuStrategy::F16 && decoding.group)
      values = decoding.parameters *
               (decoding.group >= 128 ? 1 : 128 / decoding.group);
    // Every chip can give a block that much.
    if (getSharedBytes() > (99 << 10))
      stages = 2;
  }

  int64_t getThreads() const { return warpRows * warpSplit * kLanes; }
  int64_t getRows() const { return warpRows * rowTiles * 16; }
  int64_t getCodeBytes() const { return units * paddedRows * 16; }
  int64_t getXBytes() const { return planes * tokens * rowBytes; }
  int64_t getValueBytes() const { return values * getRows() * 2; }
  int64_t getStageBytes() const {
    return warpSplit * (getCodeBytes() + getXBytes() + getValueBytes());
  }
  /// Sums of a row of tokens, with a gap that keeps banks apart.
  int64_t getSumPitch() const { return (getRows() + 4) * 4; }
  int64_t getSharedBytes() const {
    return std::max(stages * getStageBytes(),
                    warpSplit * tokens * getSumPitch());
  }
};

class Gemm {
public:
  explicit Gemm(const GpuKernelContext &context)
      : context(context), k(context.k), spec(context.spec),
        layout(context.layout), operands(context.operands),
        tile(spec, context.decoding, layout) {}

  void emit() {
    thread = k.thread();
    lane = k.bitAnd(thread, kLanes - 1);
    Value warp = k.shr(thread, 5);
    warpRow = k.rem(warp, tile.warpRows);
    warpGranule = k.div(warp, tile.warpRows);
    firstRow = k.mul(operands.rowBlock, tile.getRows());
    firstToken = k.mul(k.block(gpu::Dimension::y), tile.tokens);
    aligned = k.equal(k.bitAnd(operands.k, 7), k.i(0));
    g = k.shr(lane, 2);
    t = k.bitAnd(lane, 3);
    makeDecoders();
    setOffsets();
    planCopies();

    Value steps =
        k.div(k.add(operands.granules, tile.warpSplit - 1), tile.warpSplit);
    for (int64_t stage = 0; stage < tile.stages - 1; ++stage) {
      k.when(k.less(k.i(stage), steps),
             [&] { copyStep(k.i(stage), k.i(stage * tile.getStageBytes())); });
      k.commitCopies();
    }
    Values state{k.i(0), k.i((tile.stages - 1) * tile.getStageBytes())};
    int64_t sums = getSumCount();
    for (int64_t n = 0; n < sums; ++n)
      state.push_back(context.isInteger() ? k.i(0) : k.f(0.0f));
    state = k.loop(
        k.i(0), steps, k.i(1), state, [&](Value step, ValueRange carried) {
          // All have read the stage that is filled next, and see this one.
          k.waitCopies(tile.stages - 2);
          k.barrier();
          Value ahead = k.add(step, tile.stages - 1);
          k.when(k.less(ahead, steps), [&] { copyStep(ahead, carried[1]); });
          k.commitCopies();
          // What has been read is filled next.
          Values next{advance(carried[0]), carried[0]};
          Values inner(carried.drop_front(2));
          multiply(k.at(context.shared, carried[0]), inner);
          next.append(inner);
          return next;
        });
    k.waitCopies(0);
    k.barrier();
    finish(ValueRange(state).drop_front(2));
  }

private:
  int64_t tokenTiles() const { return tile.tokens / 8; }
  /// Accumulators of 4 values of a tile of 16 x 8: one, or one for each weight
  /// 2^d of a pair of planes.
  int64_t diagonals() const {
    return spec.strategy == GpuStrategy::Btc
               ? layout.getBits() + spec.activationBits - 1
               : 1;
  }
  int64_t sumIndex(int64_t rowTile, int64_t tokenTile, int64_t diagonal) const {
    return ((rowTile * tokenTiles() + tokenTile) * diagonals() + diagonal) * 4;
  }
  int64_t getSumCount() const { return sumIndex(tile.rowTiles, 0, 0); }

  Value advance(Value stage) {
    Value next = k.add(stage, tile.getStageBytes());
    return k.select(k.equal(next, k.i(tile.stages * tile.getStageBytes())),
                    k.i(0), next);
  }

  /// Row of W of matrix row `half` * 8 + g of a row tile of this warp.
  Value rowOf(int64_t rowTile, int64_t half) {
    return k.add(firstRow, localRow(rowTile, half));
  }
  Value localRow(int64_t rowTile, int64_t half) {
    return k.add(k.add(k.mul(warpRow, tile.rowTiles * 16), g),
                 rowTile * 16 + half * 8);
  }

  void makeDecoders() {
    if (context.isInteger())
      return;
    for (int64_t rowTile = 0; rowTile < tile.rowTiles; ++rowTile)
      for (int64_t half = 0; half < 2; ++half) {
        auto decoder =
            layout.getOrder() == GpuLayout::Order::Table
                ? createRegisterTableDecoder(k, layout, spec.type)
                : createRowDecoder(k, layout, context.decoding, spec.type);
        // Rows beyond the end read what the last one does.
        Value row =
            k.min(rowOf(rowTile, half), k.sub(operands.paddedRows, k.i(1)));
        decoder->beginRow(operands, row);
        decoders.push_back(std::move(decoder));
      }
  }

  /// Places in shared memory that depend on the lane only.
  void setOffsets() {
    int64_t words = layout.getSlotWords();
    vector = words % 4 == 0 ? 4 : words % 2 == 0 ? 2 : 1;
    Value first = k.mul(t, words);
    Value rowPlace = k.add(k.mul(warpGranule, tile.getCodeBytes()),
                           k.shl(localRow(0, 0), 4));
    for (int64_t n = 0; n < words; n += vector) {
      Value word = k.add(first, n);
      Value unit = k.mul(k.shr(word, 2), tile.paddedRows * 16);
      codePlaces.push_back(
          k.add(rowPlace, k.add(unit, k.shl(k.bitAnd(word, 3), 2))));
    }
    // Lane l gives ldmatrix row l % 8 of matrix l / 8: chunks of the lower and
    // the upper half of k, for one tile of tokens and the next.
    Value inTile = k.bitAnd(lane, 7);
    Value token = k.add(inTile, k.shl(k.shr(lane, 4), 3));
    Value half = k.bitAnd(k.shr(lane, 3), 1);
    xPlace = k.add(k.add(k.mul(warpGranule, tile.getXBytes()),
                         tile.warpSplit * tile.getCodeBytes()),
                   k.mul(token, tile.rowBytes));
    xChunk = k.shl(k.bitXor(half, swizzleOf(inTile)), 4);
  }

  /// What the number of a chunk is xor-ed with.
  Value swizzleOf(Value token) {
    // Rows of 32 bytes: two of them share a bank only four tokens apart.
    return tile.rowBytes == 32 ? k.bitAnd(k.shr(token, 2), 1)
                               : k.bitAnd(token, 7);
  }

  //===--------------------------------------------------------------------===//
  // Global to shared memory
  //===--------------------------------------------------------------------===//

  /// For all of [0, count) runs `body` in some thread, with the first number of
  /// the threads' current share; with `all`, in threads beyond the end too.
  void share(int64_t count, llvm::function_ref<void(int64_t)> body,
             bool all = false) {
    int64_t threads = tile.getThreads();
    for (int64_t first = 0; first < count; first += threads)
      if (all || first + threads <= count)
        body(first);
      else
        k.when(k.less(thread, k.i(count - first)), [&] { body(first); });
  }
  /// Quotient and remainder of `first` + thread, constant where that is so.
  std::pair<Value, Value> split(int64_t first, int64_t size) {
    int64_t threads = tile.getThreads();
    if (size % threads == 0)
      return {k.i(first / size), k.add(thread, first % size)};
    if (threads % size == 0)
      return {k.add(k.div(thread, size), first / size), k.rem(thread, size)};
    Value index = k.add(thread, first);
    return {k.div(index, size), k.rem(index, size)};
  }

  /// 16 bytes of codes to copy: from `source` on in the first granule of a
  /// step, to `target` in a stage. `local` is the granule's number in the step.
  struct CodeCopy {
    Value source, target, local;
  };
  /// A chunk of x; `line` is where its token begins, in its plane.
  struct XCopy {
    Value line, target, local;
    int64_t targetOffset;
  };

  /// What does not change from step to step. Rows and tokens beyond the end
  /// read what the last ones do; nobody stores their results.
  void planCopies() {
    Value unitBytes = k.shl(operands.paddedRows, 4);
    int64_t rows = tile.getRows();
    share(
        tile.warpSplit * tile.units * rows,
        [&](int64_t first) {
          auto [line, row] = split(first, rows);
          Value global =
              k.min(k.add(firstRow, row), k.sub(operands.paddedRows, k.i(1)));
          CodeCopy copy;
          copy.local = k.div(line, tile.units);
          copy.source = k.add(k.mul(k.rem(line, tile.units), unitBytes),
                              k.shl(global, 4));
          copy.target = k.add(k.mul(line, tile.paddedRows * 16), k.shl(row, 4));
          codeCopies.push_back(copy);
        },
        /*all=*/true);
    planXCopies();
  }

  /// A thread copies the same chunk of all its tokens: what differs from one to
  /// the next is constant as far as possible.
  void planXCopies() {
    int64_t perRow = tile.rowBytes / 16, lines = tile.getThreads() / perRow;
    Value firstLine = k.div(thread, perRow);
    // Either all lines of a pass are tokens of one plane, or they are all
    // tokens of several planes.
    Value token = k.rem(firstLine, std::min(lines, tile.tokens));
    Value outer = lines <= tile.tokens ? k.i(0) : k.div(firstLine, tile.tokens);
    xChunkOffset = k.shl(k.rem(thread, perRow), 4);
    Value tokenBytes = context.isInteger()
                           ? k.mul(operands.granules, tile.rowBytes)
                           : k.shl(operands.k, 1);
    // Tokens of a thread are a multiple of 8 apart, and so swizzled alike.
    Value chunk = k.shl(k.bitXor(k.rem(thread, perRow), swizzleOf(token)), 4);
    Value target = k.add(k.mul(token, tile.rowBytes), chunk);
    share(
        tile.warpSplit * tile.planes * tile.tokens * perRow,
        [&](int64_t first) {
          int64_t line = first / perRow, inPlane = line % tile.tokens;
          Value passed = k.add(outer, line / tile.tokens);
          Value plane = k.rem(passed, tile.planes);
          Value last = k.sub(operands.m, k.i(1));
          XCopy copy;
          copy.local = k.div(passed, tile.planes);
          copy.line = k.mul(
              k.add(k.mul(plane, operands.m),
                    k.min(k.add(firstToken, k.add(token, inPlane)), last)),
              tokenBytes);
          copy.target = target;
          copy.targetOffset = inPlane * tile.rowBytes;
          int64_t planeBytes = tile.tokens * tile.rowBytes;
          if (lines <= tile.tokens)
            copy.targetOffset += line / tile.tokens * planeBytes;
          else
            copy.target = k.add(target, k.mul(passed, planeBytes));
          xCopies.push_back(copy);
        },
        /*all=*/true);
  }

  /// The granule of a copy, or the last one beyond the end.
  Value granuleOf(const CodeCopy &copy, Value firstGranule) {
    if (tile.warpSplit == 1)
      return firstGranule;
    return k.min(k.add(firstGranule, copy.local),
                 k.sub(operands.granules, k.i(1)));
  }

  void copyStep(Value step, Value stage) {
    Value place = k.at(context.shared, stage);
    Value firstGranule = k.mul(step, tile.warpSplit);
    Value granuleBytes = k.mul(k.shl(operands.paddedRows, 4), tile.units);
    size_t next = 0;
    share(tile.warpSplit * tile.units * tile.getRows(), [&](int64_t) {
      const CodeCopy &copy = codeCopies[next++];
      Value source = k.add(k.mul(granuleOf(copy, firstGranule), granuleBytes),
                           copy.source);
      k.copyAsync(k.at(place, copy.target), k.at(operands.codes, source), {});
    });
    Value x = k.at(place, tile.warpSplit * tile.getCodeBytes());
    Value source = k.at(
        operands.x, k.add(k.mul(firstGranule, tile.rowBytes), xChunkOffset));
    if (context.isInteger()) {
      forX([&](const XCopy &copy) {
        copyX(x, source, copy,
              k.less(firstGranule, k.sub(operands.granules, copy.local)));
      });
    } else {
      Value column = k.add(k.shl(firstGranule, 7), k.shr(xChunkOffset, 1));
      auto end = [&](const XCopy &copy) {
        return k.sub(operands.k, k.shl(copy.local, 7));
      };
      // Columns beyond the end must be zero, whatever their weights are.
      k.branch(
          aligned,
          [&] {
            forX([&](const XCopy &copy) {
              copyX(x, source, copy, k.less(column, end(copy)));
            });
          },
          [&] {
            forX([&](const XCopy &copy) {
              loadFloats(x, source, copy, k.sub(end(copy), column));
            });
          });
    }
    if (tile.values)
      copyValues(k.at(place, tile.warpSplit *
                                 (tile.getCodeBytes() + tile.getXBytes())),
                 firstGranule);
  }

  void forX(llvm::function_ref<void(const XCopy &)> body) {
    size_t next = 0;
    share(tile.warpSplit * tile.planes * tile.tokens * tile.rowBytes / 16,
          [&](int64_t) { body(xCopies[next++]); });
  }

  Value getTarget(Value place, const XCopy &copy) {
    return k.at(k.at(place, copy.target), copy.targetOffset);
  }
  /// Of the first granule of the step for `source`.
  Value getSource(Value source, const XCopy &copy) {
    // Times 1: one instruction adds 32 bits to 64, and nothing of it is kept in
    // registers, of which 64 tokens leave none.
    return k.atMultiple(k.at(source, k.mul(copy.local, tile.rowBytes)),
                        copy.line, k.i(1));
  }
  /// Zeros where the chunk is not present: then nothing is read.
  void copyX(Value place, Value source, const XCopy &copy, Value present) {
    k.copyAsync(getTarget(place, copy), getSource(source, copy),
                k.select(present, k.i(16), k.i(0)));
  }

  /// Where rows of x do not begin at multiples of 16 bytes.
  void loadFloats(Value place, Value source, const XCopy &copy, Value left) {
    Value start = getSource(source, copy), target = getTarget(place, copy);
    Value zero =
        arith::ConstantOp::create(k.b, k.loc, k.b.getI16IntegerAttr(0));
    for (int64_t n = 0; n < 8; ++n) {
      Value inside = k.less(k.i(n), left);
      Value bits = k.valuesWhen(inside, zero, [&]() -> Values {
        return {k.load(k.i16, k.at(start, 2 * n), 2)};
      })[0];
      k.store(bits, k.at(target, 2 * n), 2);
    }
  }

  void copyValues(Value place, Value firstGranule) {
    int64_t perLine = tile.getRows() * 2 / 16;
    int64_t groups = context.getGroupsPerGranule();
    int64_t group = context.decoding.group;
    Value lastGroup = k.div(k.sub(operands.k, k.i(1)), group);
    for (int64_t n = 0; n < context.decoding.parameters; ++n)
      share(tile.warpSplit * groups * perLine, [&](int64_t first) {
        auto [line, chunk] = split(first, perLine);
        Value granule = k.add(firstGranule, k.div(line, groups));
        Value number =
            k.min(k.add(context.getFirstGroup(granule), k.rem(line, groups)),
                  lastGroup);
        Value row = k.min(k.add(firstRow, k.shl(chunk, 3)),
                          k.sub(operands.paddedRows, k.i(8)));
        Value source = k.shl(k.add(k.mul(number, operands.paddedRows), row), 1);
        Value target = k.add(
            k.mul(k.div(line, groups), tile.getValueBytes()),
            k.add(k.mul(k.rem(line, groups), tile.getRows() * 2),
                  k.add(k.shl(chunk, 4), n * groups * tile.getRows() * 2)));
        k.copyAsync(k.at(place, target),
                    k.at(n ? operands.zero : operands.scale, source), {});
      });
  }

  //===--------------------------------------------------------------------===//
  // Products
  //===--------------------------------------------------------------------===//

  /// The words of the lane's slot of a row.
  GpuSlot loadSlot(Value stage, int64_t rowTile, int64_t half) {
    GpuSlot slot;
    for (Value place : codePlaces)
      slot.words.append(k.loadWords(
          vector, k.at(k.at(stage, place), (rowTile * 16 + half * 8) * 16)));
    return slot;
  }

  /// B operands of all token tiles for a step of 32 bytes of k.
  Values loadX(Value stage, int64_t plane, int64_t step) {
    Value chunk = step ? k.bitXor(xChunk, k.i(step * 32)) : xChunk;
    Value place = k.at(stage, k.add(xPlace, chunk));
    Values words;
    for (int64_t n = 0; n < tokenTiles(); n += 2)
      words.append(k.loadMatrices(
          k.at(place, (plane * tile.tokens + n * 8) * tile.rowBytes)));
    return words;
  }

  void multiply(Value stage, Values &sums) {
    SmallVector<GpuSlot> slots;
    for (int64_t n = 0; n < 2 * tile.rowTiles; ++n) {
      slots.push_back(loadSlot(stage, n / 2, n % 2));
      if (tile.values)
        beginGranule(stage, n);
    }
    if (spec.strategy == GpuStrategy::Btc)
      return multiplyPlanes(stage, slots, sums);
    int64_t steps = tile.rowBytes / 32;
    for (int64_t step = 0; step < steps; ++step) {
      Values x = loadX(stage, 0, step);
      for (int64_t rowTile = 0; rowTile < tile.rowTiles; ++rowTile) {
        // Rows g and g + 8 of the lower half of k, then of the upper.
        Values weights;
        for (int64_t upper = 0; upper < 2; ++upper)
          for (int64_t half = 0; half < 2; ++half)
            weights.push_back(
                decode(slots, rowTile * 2 + half, step * 2 + upper));
        for (int64_t n = 0; n < tokenTiles(); ++n)
          accumulate(sums, sumIndex(rowTile, n, 0), weights,
                     ValueRange(x).slice(n * 2, 2));
      }
    }
  }

  Value decode(SmallVector<GpuSlot> &slots, int64_t row, int64_t number) {
    if (spec.strategy == GpuStrategy::Int8)
      return decodeBytes(k, layout, slots[row], number);
    return decoders[row]->pair(slots[row], number);
  }

  void multiplyPlanes(Value stage, SmallVector<GpuSlot> &slots, Values &sums) {
    for (int64_t j = 0; j < tile.planes; ++j) {
      Values x = loadX(stage, j, 0);
      for (int64_t i = 0; i < static_cast<int64_t>(layout.getBits()); ++i)
        for (int64_t rowTile = 0; rowTile < tile.rowTiles; ++rowTile) {
          Values weights;
          for (int64_t upper = 0; upper < 2; ++upper)
            for (int64_t half = 0; half < 2; ++half)
              weights.push_back(slots[rowTile * 2 + half].words[i * 2 + upper]);
          for (int64_t n = 0; n < tokenTiles(); ++n)
            accumulate(sums, sumIndex(rowTile, n, i + j), weights,
                       ValueRange(x).slice(n * 2, 2));
        }
    }
  }

  void accumulate(Values &sums, int64_t at, ValueRange weights, ValueRange x) {
    Values part(sums.begin() + at, sums.begin() + at + 4);
    part = spec.strategy == GpuStrategy::Btc ? k.mmaBits(weights, x, part)
           : spec.strategy == GpuStrategy::Int8
               ? k.mmaBytes(weights, x, part)
               : k.mmaFloat(weights, x, part, spec.type);
    llvm::copy(part, sums.begin() + at);
  }

  void beginGranule(Value stage, int64_t row) {
    int64_t groups = context.getGroupsPerGranule();
    Value place = k.add(k.mul(warpGranule, tile.getValueBytes()),
                        k.shl(localRow(row / 2, row % 2), 1));
    Value start = k.at(
        k.at(stage, tile.warpSplit * (tile.getCodeBytes() + tile.getXBytes())),
        place);
    Values values;
    for (int64_t n = 0; n < context.decoding.parameters * groups; ++n)
      values.push_back(
          k.load(spec.type, k.at(start, n * tile.getRows() * 2), 2));
    decoders[row]->beginGranule(values);
  }

  //===--------------------------------------------------------------------===//
  // Results
  //===--------------------------------------------------------------------===//

  void finish(ValueRange sums) {
    bool integer = context.isInteger();
    int64_t pitch = tile.getSumPitch(), part = tile.tokens * pitch;
    Value start = k.add(k.mul(warpGranule, part),
                        k.add(k.mul(t, 2 * pitch), k.shl(localRow(0, 0), 2)));
    for (int64_t rowTile = 0; rowTile < tile.rowTiles; ++rowTile)
      for (int64_t n = 0; n < tokenTiles(); ++n)
        for (int64_t c = 0; c < 4; ++c) {
          Value value = sums[sumIndex(rowTile, n, 0) + c];
          for (int64_t d = 1; d < diagonals(); ++d)
            value = k.add(value, k.shl(sums[sumIndex(rowTile, n, d) + c], d));
          // c: rows g, g + 8 by tokens 2t, 2t + 1.
          int64_t offset =
              (n * 8 + c % 2) * pitch + (rowTile * 16 + c / 2 * 8) * 4;
          k.store(value, k.at(k.at(context.shared, start), offset), 4);
        }
    k.barrier();
    int64_t rows = tile.getRows();
    k.loop(thread, k.i(tile.tokens * rows), k.i(tile.getThreads()),
           [&](Value result) {
             Value row = k.rem(result, rows), token = k.div(result, rows);
             Value place = k.at(context.shared,
                                k.add(k.mul(token, pitch), k.shl(row, 2)));
             Value sum;
             for (int64_t n = 0; n < tile.warpSplit; ++n) {
               Value value =
                   k.load(integer ? k.i32 : k.f32, k.at(place, n * part), 4);
               if (n == 0)
                 sum = value;
               else
                 sum = integer ? k.add(sum, value) : k.fadd(sum, value);
             }
             context.finish(decoders.empty() ? nullptr : decoders[0].get(), sum,
                            k.add(firstToken, token), k.add(firstRow, row));
           });
  }

  const GpuKernelContext &context;
  GpuBuilder &k;
  const GpuMatmulSpec &spec;
  const GpuLayout &layout;
  const GpuOperands &operands;
  GemmTile tile;
  SmallVector<std::unique_ptr<RowDecoder>> decoders;
  Value thread, lane, g, t, warpRow, warpGranule, firstRow, firstToken, aligned;
  int64_t vector = 1; ///< Words of a slot that are loaded at once.
  Values codePlaces;
  Value xPlace, xChunk;
  Value xChunkOffset;
  SmallVector<CodeCopy> codeCopies;
  SmallVector<XCopy> xCopies;
};

} // namespace

void ganq::planGemm(const GpuMatmulSpec &spec, const GpuDecoding &decoding,
                    const GpuLayout &layout, GpuKernelInfo &info) {
  GemmTile tile(spec, decoding, layout);
  info.threads = tile.getThreads();
  info.rows = tile.getRows();
  info.tokens = tile.tokens;
  info.sharedBytes = tile.getSharedBytes();
}

void ganq::emitGemm(const GpuKernelContext &context) { Gemm(context).emit(); }
