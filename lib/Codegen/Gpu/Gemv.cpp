//===- Gemv.cpp - Products with up to eight rows of x ---------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Lane = row of W: a block computes 32 rows, and its warps take the granules of
// these rows in turn (split-K). Each lane reads and decodes its own row, 16
// bytes at a time, so that a table of pairs needs one bank per lane and scales
// one register.
//
// Floats are multiplied by the tensor cores although lanes hold different rows.
// In the A operand of mma, lane (g, t) holds entries of matrix row g (and g +
// 8) in the k-slots of t. Here these are weights of row 4g + t of W. In column
// n of B only the slots of t = n % 4 are non-zero, so that D[g, n] is a sum of
// row 4g + n % 4 alone. Matrix rows g and columns 0 to 3 take one half of the K
// columns, matrix rows g + 8 and columns 4 to 7 the other; the rest of D is of
// no use. So every mma multiplies 8 weights of each lane with one row of x, and
// sums are f32 throughout.
//
//===----------------------------------------------------------------------===//

#include "Skeletons.h"

using namespace mlir;
using namespace ganq;
using Values = GpuBuilder::Values;

namespace {

constexpr int64_t kWarps = 8;
constexpr int64_t kLanes = 32;
/// Bytes of a staged part of x, for all tokens.
constexpr int64_t kTileBytes = 32 << 10;

int64_t granuleBytes(const GpuMatmulSpec &spec) {
  return spec.strategy == GpuStrategy::F16 ? 256 : 128;
}
int64_t tileGranules(const GpuMatmulSpec &spec) {
  return kTileBytes / (granuleBytes(spec) * spec.tokens);
}
int64_t tableBytes(const GpuLayout &layout) {
  if (layout.getOrder() != GpuLayout::Order::Table)
    return 0;
  return layout.getBits() == 4   ? 256 * 128
         : layout.getBits() == 3 ? 120 * 128
                                 : 52 * 128;
}

class Gemv {
public:
  explicit Gemv(const GpuKernelContext &context)
      : context(context), k(context.k), spec(context.spec),
        layout(context.layout), operands(context.operands) {}

  void emit() {
    thread = k.thread();
    lane = k.bitAnd(thread, kLanes - 1);
    warp = k.shr(thread, 5);
    firstRow = k.shl(k.block(gpu::Dimension::x), 5);
    row = k.add(firstRow, lane);
    firstToken = k.mul(k.block(gpu::Dimension::y), spec.tokens);
    staged = k.at(context.shared, tableBytes(layout));
    zeros = k.at(staged, kTileBytes);

    // The first codes are on their way while tables are filled.
    Values codes = loadGranule(warp);
    if (layout.getOrder() == GpuLayout::Order::Table) {
      auto shared = std::make_unique<SharedTableDecoder>(k, layout, spec.type);
      shared->fill(operands, context.shared, row, lane, warp, kWarps);
      decoder = std::move(shared);
    } else if (!context.isInteger()) {
      decoder = createRowDecoder(k, layout, context.decoding, spec.type);
      decoder->beginRow(operands, row);
    }
    Value zeroEnd = k.i(granuleBytes(spec) * spec.tokens);
    if (!context.isInteger())
      k.loop(k.shl(thread, 2), zeroEnd, k.i(kWarps * kLanes * 4),
             [&](Value at) { k.store(k.i(0), k.at(zeros, at), 4); });

    setLane();
    Values state(codes);
    int64_t perToken = context.isInteger() ? 1 : 4;
    for (int64_t n = 0; n < spec.tokens * perToken; ++n)
      state.push_back(context.isInteger() ? k.i(0) : k.f(0.0f));
    size_t codeCount = codes.size();
    Value tile = k.i(tileGranules(spec));
    state = k.loop(k.i(0), operands.granules, tile, state,
                   [&](Value first, ValueRange carried) {
                     k.barrier();
                     Value end = k.min(operands.granules, k.add(first, tile));
                     stage(first, end);
                     k.barrier();
                     return k.loop(
                         k.add(first, warp), end, k.i(kWarps), carried,
                         [&](Value granule, ValueRange inner) {
                           Values next = loadGranule(k.add(granule, kWarps));
                           Values sums(inner.drop_front(codeCount));
                           multiply(inner.take_front(codeCount),
                                    k.sub(granule, first), sums);
                           next.append(sums);
                           return next;
                         });
                   });
    reduce(ValueRange(state).drop_front(codeCount));
  }

private:
  /// The codes of a granule of the lane's row, and the scales of its groups; of
  /// the last granule beyond the end.
  Values loadGranule(Value granule) {
    granule = k.min(granule, k.sub(operands.granules, k.i(1)));
    Value unitBytes = k.shl(operands.paddedRows, 4);
    Value at = k.add(k.mul(granule, k.mul(unitBytes, layout.getUnits())),
                     k.shl(row, 4));
    Values values;
    for (int64_t unit = 0; unit < layout.getUnits(); ++unit) {
      values.append(k.loadWords(4, k.at(operands.codes, at), true));
      at = k.add(at, unitBytes);
    }
    int64_t groups = context.getGroupsPerGranule();
    for (int64_t n = 0; groups && n < context.decoding.parameters; ++n)
      for (int64_t group = 0; group < groups; ++group) {
        // The last group may end before the granule does.
        Value last = k.div(k.sub(operands.k, k.i(1)), context.decoding.group);
        Value number =
            k.min(k.add(context.getFirstGroup(granule), group), last);
        Value place = k.add(k.mul(number, operands.paddedRows), row);
        values.push_back(
            k.load(spec.type,
                   k.at(n ? operands.zero : operands.scale, k.shl(place, 1)), 2,
                   true));
      }
    return values;
  }

  /// Copies granules [first, end) of x to shared memory: [granule][token].
  void stage(Value first, Value end) {
    int64_t size = granuleBytes(spec), perGranule = size / 16;
    Value chunks = k.mul(k.sub(end, first), perGranule);
    for (int64_t token = 0; token < spec.tokens; ++token) {
      Value m = k.add(firstToken, token);
      Value present = k.less(m, operands.m);
      k.loop(thread, chunks, k.i(kWarps * kLanes), [&](Value chunk) {
        Value place =
            k.add(k.mul(k.div(chunk, perGranule), size * spec.tokens),
                  k.add(k.shl(k.rem(chunk, perGranule), 4), token * size));
        Values words =
            loadX(m, present, k.add(chunk, k.mul(first, perGranule)));
        k.storeWords(words, k.at(staged, place));
      });
    }
  }

  /// 16 bytes of a row of x, from chunk `chunk` on, 0 where there is no x.
  Values loadX(Value m, Value present, Value chunk) {
    Values none(4, k.i(0));
    if (context.isInteger()) {
      Value rowBytes = k.mul(operands.granules, 128);
      return k.valuesWhen(present, none, [&] {
        return k.loadWords(
            4, k.at(operands.x, k.add(k.mul(m, rowBytes), k.shl(chunk, 4))));
      });
    }
    Value column = k.shl(chunk, 3);
    Value start =
        k.at(operands.x, k.shl(k.add(k.mul(m, operands.k), column), 1));
    Value inside = k.both(present, k.less(column, operands.k));
    Value aligned = k.equal(k.bitAnd(operands.k, 7), k.i(0));
    auto fast = [&] { return k.loadWords(4, start); };
    auto slow = [&] {
      Values words;
      for (int64_t n = 0; n < 8; n += 2) {
        Value both;
        for (int64_t half = 0; half < 2; ++half) {
          Value some = k.less(k.add(column, n + half), operands.k);
          Value bits = k.valuesWhen(some, k.i(0), [&]() -> Values {
            Value part = k.load(k.i16, k.at(start, 2 * (n + half)), 2);
            return {arith::ExtUIOp::create(k.b, k.loc, k.i32, part)};
          })[0];
          both = half ? k.bitOr(both, k.shl(bits, 16)) : bits;
        }
        words.push_back(both);
      }
      return words;
    };
    return k.valuesWhen(inside, none, [&] {
      auto op = scf::IfOp::create(
          k.b, k.loc, aligned,
          [&](OpBuilder &, Location) {
            scf::YieldOp::create(k.b, k.loc, fast());
          },
          [&](OpBuilder &, Location) {
            scf::YieldOp::create(k.b, k.loc, slow());
          });
      return Values(op.getResults());
    });
  }

  /// Which part of x, or of zeros, the lane brings into B.
  void setLane() {
    Value g = k.shr(lane, 2), t = k.bitAnd(lane, 3);
    diagonal = k.equal(k.bitAnd(g, 3), t);
    laneColumn = k.shl(k.shr(g, 2), 4);
    upper = k.equal(k.shr(t, 1), k.i(1));
  }

  void multiply(ValueRange codes, Value granule, Values &sums) {
    int64_t words = layout.getSlotWords();
    std::array<GpuSlot, 4> slots;
    for (int64_t t = 0; t < 4; ++t)
      slots[t].words.assign(codes.begin() + t * words,
                            codes.begin() + (t + 1) * words);
    Value offset = k.mul(granule, granuleBytes(spec) * spec.tokens);
    if (context.isInteger())
      return multiplyBytes(slots, k.at(staged, offset), sums);
    decoder->beginGranule(codes.drop_front(4 * words));
    // An inactive lane reads zeros.
    Value x = k.select(diagonal, k.at(staged, k.add(offset, laneColumn)),
                       k.at(zeros, laneColumn));
    for (int64_t c = 0; c < 16; c += 2) {
      Values weights;
      for (GpuSlot &slot : slots)
        for (int64_t half = 0; half < 2; ++half)
          weights.push_back(decoder->pair(slot, c + half));
      for (int64_t token = 0; token < spec.tokens; ++token) {
        Values inputs = k.loadWords(4, k.at(x, token * 256 + c * 16));
        Values part(sums.begin() + token * 4, sums.begin() + token * 4 + 4);
        for (int64_t half = 0; half < 2; ++half)
          part = k.mmaFloat(ValueRange(weights).slice(half * 4, 4),
                            ValueRange(inputs).slice(half * 2, 2), part,
                            spec.type);
        llvm::copy(part, sums.begin() + token * 4);
      }
    }
  }

  void multiplyBytes(std::array<GpuSlot, 4> &slots, Value x, Values &sums) {
    for (int64_t c = 0; c < 8; ++c) {
      Values weights;
      for (GpuSlot &slot : slots)
        weights.push_back(decodeBytes(k, layout, slot, c));
      for (int64_t token = 0; token < spec.tokens; ++token) {
        Values inputs = k.loadWords(4, k.at(x, token * 128 + c * 16));
        for (int64_t t = 0; t < 4; ++t)
          sums[token] = k.dot4(weights[t], inputs[t], sums[token]);
      }
    }
  }

  /// Adds the partial sums of all warps; a thread finishes one result at a
  /// time.
  void reduce(ValueRange sums) {
    k.barrier();
    bool integer = context.isInteger();
    int64_t parts = integer ? kWarps : 2 * kWarps;
    Type type = integer ? k.i32 : k.f32;
    for (int64_t token = 0; token < spec.tokens; ++token) {
      if (integer) {
        Value place = k.add(k.shl(warp, 7), k.shl(lane, 2));
        k.store(sums[token], k.at(k.at(staged, token * parts * 128), place), 4);
        continue;
      }
      // Lanes t < 2 hold sums of the first half, for rows 4g + 2t and the next,
      // the others those of the second half.
      Value g = k.shr(lane, 2), pair = k.bitAnd(lane, 1);
      Value part = k.add(k.shl(warp, 1), k.shr(k.bitAnd(lane, 3), 1));
      Value place = k.add(k.shl(part, 7), k.add(k.shl(g, 4), k.shl(pair, 3)));
      Values both;
      for (int64_t n = 0; n < 2; ++n)
        both.push_back(
            k.select(upper, sums[token * 4 + 2 + n], sums[token * 4 + n]));
      k.storeWords(both, k.at(k.at(staged, token * parts * 128), place));
    }
    k.barrier();
    k.loop(thread, k.i(spec.tokens * kLanes), k.i(kWarps * kLanes),
           [&](Value result) {
             Value token = k.shr(result, 5);
             Value place = k.add(k.mul(token, parts * 128), k.shl(lane, 2));
             Value start = k.at(staged, place), sum;
             for (int64_t part = 0; part < parts; ++part) {
               Value value = k.load(type, k.at(start, part * 128), 4);
               if (part == 0)
                 sum = value;
               else
                 sum = integer ? k.add(sum, value) : k.fadd(sum, value);
             }
             context.finish(decoder.get(), sum, k.add(firstToken, token), row);
           });
  }

  const GpuKernelContext &context;
  GpuBuilder &k;
  const GpuMatmulSpec &spec;
  const GpuLayout &layout;
  const GpuOperands &operands;
  std::unique_ptr<RowDecoder> decoder;
  Value thread, lane, warp, firstRow, row, firstToken, staged, zeros;
  Value diagonal, laneColumn, upper;
};

} // namespace

void ganq::planGemv(const GpuMatmulSpec &spec, const GpuLayout &layout,
                    GpuKernelInfo &info) {
  info.threads = kWarps * kLanes;
  info.rows = kLanes;
  info.tokens = spec.tokens;
  info.sharedBytes = tableBytes(layout) + kTileBytes;
  if (spec.strategy == GpuStrategy::F16)
    info.sharedBytes += granuleBytes(spec) * spec.tokens;
}

void ganq::emitGemv(const GpuKernelContext &context) { Gemv(context).emit(); }
