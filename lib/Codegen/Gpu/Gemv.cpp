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
/// Granules that a warp takes one after the other, so that it counts and
/// computes addresses once for all of them; tiles hold whole such runs.
constexpr int64_t kRun = 2;
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

/// Whether sums are multiplied by the scales of their groups, not weights:
/// where that takes fewer instructions.
bool scalesSums(const GpuMatmulSpec &spec, const GpuDecoding &decoding) {
  return spec.strategy == GpuStrategy::F16 && decoding.zero && decoding.group &&
         llvm::divideCeil(128, decoding.group) * spec.tokens <= 8;
}

class Gemv {
public:
  explicit Gemv(const GpuKernelContext &context)
      : context(context), k(context.k), spec(context.spec),
        layout(context.layout), operands(context.operands),
        sumsScaled(scalesSums(spec, context.decoding)) {}

  void emit() {
    thread = k.thread();
    lane = k.bitAnd(thread, kLanes - 1);
    warp = k.shr(thread, 5);
    firstRow = k.shl(operands.rowBlock, 5);
    row = k.add(firstRow, lane);
    firstToken = k.mul(k.block(gpu::Dimension::y), spec.tokens);
    staged = k.at(context.shared, tableBytes(layout));
    zeros = k.at(staged, kTileBytes);

    setBases();
    // The first codes are on their way while tables are filled.
    Value firstGranule = k.mul(warp, kRun);
    Values state;
    for (int64_t n = 0; n < kRun; ++n)
      state.append(loadGranule(firstGranule, n));
    size_t codeCount = state.size() / kRun;
    if (layout.getOrder() == GpuLayout::Order::Table) {
      auto shared = std::make_unique<SharedTableDecoder>(k, layout, spec.type);
      shared->fill(operands, context.shared, row, lane, warp, kWarps);
      decoder = std::move(shared);
    } else if (!context.isInteger()) {
      decoder = createRowDecoder(k, layout, context.decoding, spec.type,
                                 /*scaled=*/!sumsScaled);
      decoder->beginRow(operands, row);
    }
    Value zeroEnd = k.i(kRun * granuleBytes(spec) * spec.tokens);
    if (!context.isInteger())
      k.loop(k.shl(thread, 2), zeroEnd, k.i(kWarps * kLanes * 4),
             [&](Value at) { k.store(k.i(0), k.at(zeros, at), 4); });

    setLane();
    int64_t perToken = context.isInteger() ? 1 : 4;
    for (int64_t n = 0; n < spec.tokens * perToken; ++n)
      state.push_back(context.isInteger() ? k.i(0) : k.f(0.0f));
    Value tile = k.i(tileGranules(spec));
    state = k.loop(k.i(0), operands.granules, tile, state,
                   [&](Value first, ValueRange carried) {
                     k.barrier();
                     Value end = k.min(operands.granules, k.add(first, tile));
                     stage(first, end);
                     k.barrier();
                     Values inits{firstX};
                     llvm::append_range(inits, carried);
                     Values results = k.loop(
                         k.add(first, firstGranule), end, k.i(kWarps * kRun),
                         inits, [&](Value granule, ValueRange inner) {
                           return multiplyRun(granule, inner, codeCount);
                         });
                     results.erase(results.begin());
                     return results;
                   });
    reduce(ValueRange(state).drop_front(kRun * codeCount));
  }

private:
  /// Multiplies a run of granules from `granule` on, and loads the warp's next
  /// run. `carried` and the result are the place of x, the codes and the sums.
  Values multiplyRun(Value granule, ValueRange carried, size_t codeCount) {
    Value x = carried[0], ahead = k.add(granule, kWarps * kRun);
    ValueRange codes = carried.slice(1, kRun * codeCount);
    Values sums(carried.drop_front(1 + kRun * codeCount));
    Values next{k.add(x, stepX)};
    parts.assign(sums.size(), k.f(0.0f));
    Value start = k.at(context.shared, x);
    for (int64_t n = 0; n < kRun; ++n) {
      multiply(codes.slice(n * codeCount, codeCount),
               k.at(start, n * granuleBytes(spec) * spec.tokens), sums);
      next.append(loadGranule(ahead, n, /*inLoop=*/true));
    }
    next.append(sums);
    return next;
  }

  /// Where the codes and scales of the lane's row begin, and how far granules
  /// and groups are apart.
  void setBases() {
    Value unitBytes = k.shl(operands.paddedRows, 4);
    granuleStride = k.mul(unitBytes, layout.getUnits());
    Value at = k.shl(row, 4);
    for (int64_t unit = 0; unit < layout.getUnits(); ++unit) {
      codeBases.push_back(k.at(operands.codes, at));
      at = k.add(at, unitBytes);
    }
    if (!context.getGroupsPerGranule())
      return;
    groupStride = k.shl(operands.paddedRows, 1);
    // Sums of a lane are those of rows 4g + 2 (t % 2) and the next.
    Value sumRow =
        k.add(firstRow, k.add(k.bitAnd(lane, -4), k.shl(k.bitAnd(lane, 1), 1)));
    for (int64_t n = 0; n < context.decoding.parameters; ++n)
      groupBases.push_back(
          n ? k.at(operands.zero, k.shl(row, 1))
            : k.at(operands.scale, k.shl(sumsScaled ? sumRow : row, 1)));
  }

  /// The codes of granule `first` + `index` of the lane's row, and the scales
  /// of its groups, as words; of the last granule beyond the end.
  Values loadGranule(Value first, int64_t index, bool inLoop = false) {
    Value granule =
        k.min(k.add(first, index), k.sub(operands.granules, k.i(1)));
    auto from = [&](Value base, Value number, Value stride) {
      return inLoop ? k.atMultiple(base, number, stride)
                    : k.at(base, k.wide(k.mul(number, stride)));
    };
    Values values;
    for (Value base : codeBases)
      values.append(k.loadWords(4, from(base, granule, granuleStride), true));
    int64_t groups = context.getGroupsPerGranule();
    for (auto [n, base] : llvm::enumerate(groupBases))
      for (int64_t group = 0; group < groups; ++group) {
        Value number = k.add(context.getFirstGroup(granule), group);
        // The last group may end before the granule does.
        if (groups > 1)
          number = k.min(
              number, k.div(k.sub(operands.k, k.i(1)), context.decoding.group));
        Value place = from(base, number, groupStride);
        values.push_back(
            n == 0 && sumsScaled
                ? k.load(k.i32, place, 4, true)
                : arith::ExtUIOp::create(k.b, k.loc, k.i32,
                                         k.load(k.i16, place, 2, true)));
      }
    return values;
  }

  /// Copies granules [first, end) of x to shared memory: [granule][token].
  /// Zeros follow up to the end of a run.
  void stage(Value first, Value end) {
    int64_t size = granuleBytes(spec), perGranule = size / 16;
    Value count = k.bitAnd(k.add(k.sub(end, first), kRun - 1), -kRun);
    Value chunks = k.mul(count, perGranule);
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
      Value inside =
          k.both(present, k.less(chunk, k.mul(operands.granules, 8)));
      return k.valuesWhen(inside, none, [&] {
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

  /// Where in shared memory a lane reads x first, and how far its runs are
  /// apart.
  void setLane() {
    int64_t table = tableBytes(layout), size = granuleBytes(spec) * spec.tokens;
    firstX = k.add(k.mul(warp, kRun * size), table);
    stepX = k.i(kWarps * kRun * size);
    if (context.isInteger())
      return;
    // Lanes off the diagonal bring zeros into B, always the same ones.
    Value g = k.shr(lane, 2), t = k.bitAnd(lane, 3);
    Value diagonal = k.equal(k.bitAnd(g, 3), t);
    Value column = k.shl(k.shr(g, 2), 4);
    firstX = k.add(k.select(diagonal, firstX, k.i(table + kTileBytes)), column);
    stepX = k.select(diagonal, stepX, k.i(0));
    upper = k.equal(k.shr(t, 1), k.i(1));
  }

  /// Adds products of a granule, with `x` on which the lane reads.
  void multiply(ValueRange codes, Value x, Values &sums) {
    int64_t words = layout.getSlotWords();
    std::array<GpuSlot, 4> slots;
    for (int64_t t = 0; t < 4; ++t)
      slots[t].words.assign(codes.begin() + t * words,
                            codes.begin() + (t + 1) * words);
    if (context.isInteger())
      return multiplyBytes(slots, x, sums);
    ValueRange values = codes.drop_front(4 * words);
    if (!sumsScaled) {
      decoder->beginGranule(values);
      return multiplyPairs(slots, 0, 16, x, sums);
    }
    int64_t groups = context.getGroupsPerGranule(), pairs = 16 / groups;
    decoder->beginGranule(values.drop_front(groups));
    for (int64_t group = 0; group < groups; ++group) {
      multiplyPairs(slots, group * pairs, (group + 1) * pairs, x, parts);
      Value both = LLVM::BitcastOp::create(
          k.b, k.loc, VectorType::get(2, spec.type), values[group]);
      std::array<Value, 2> scales;
      for (int64_t n = 0; n < 2; ++n)
        scales[n] =
            k.extend(LLVM::ExtractElementOp::create(k.b, k.loc, both, k.i(n)));
      for (size_t n = 0; n < sums.size(); ++n)
        sums[n] = k.fma(parts[n], scales[n % 2], sums[n]);
      // The next ones begin at zero, but not before these are known: otherwise
      // the assembler decodes all of them at once and runs out of registers.
      for (Value &part : parts)
        part = k.fmul(part, k.f(0.0f));
    }
  }

  /// Adds products of pairs `first` to `end` of the slots.
  void multiplyPairs(std::array<GpuSlot, 4> &slots, int64_t first, int64_t end,
                     Value x, Values &sums) {
    for (int64_t c = first; c < end; c += 2) {
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
  bool sumsScaled;
  Values parts; ///< Sums of a group that is not yet scaled.
  std::unique_ptr<RowDecoder> decoder;
  Value thread, lane, warp, firstRow, row, firstToken, staged, zeros;
  Values codeBases, groupBases;
  Value granuleStride, groupStride, firstX, stepX, upper;
};

} // namespace

void ganq::planGemv(const GpuMatmulSpec &spec, const GpuDecoding &decoding,
                    const GpuLayout &layout, GpuKernelInfo &info) {
  info.threads = kWarps * kLanes;
  info.rows = kLanes;
  info.tokens = spec.tokens;
  // The assembler takes all registers that it may. It gets more than these
  // where it would spill some (assemblePtx).
  info.minBlocks = spec.tokens == 1 ? 3 : 1;
  info.sharedBytes = tableBytes(layout) + kTileBytes;
  if (spec.strategy == GpuStrategy::F16)
    info.sharedBytes += kRun * granuleBytes(spec) * spec.tokens;
}

void ganq::emitGemv(const GpuKernelContext &context) { Gemv(context).emit(); }
