//===- RowDecoder.cpp - Codes of a row to operands of mma -----------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "RowDecoder.h"

using namespace mlir;
using namespace ganq;

Value RowDecoder::shifted(GpuSlot &slot, int64_t word, int64_t by) {
  Value &value = slot.memo[{word, by}];
  if (!value)
    value = k.shift(slot.words[word], -by);
  return value;
}

//===----------------------------------------------------------------------===//
// Tables
//===----------------------------------------------------------------------===//

namespace {

/// Key of the word that holds the codes spread over the others' high bits.
constexpr int64_t kSpread = 1000;

/// Columns 24 to 31 of a slot of 3-bit codes, as nibbles.
Value spreadCodes(GpuBuilder &k, GpuSlot &slot,
                  llvm::function_ref<Value(int64_t, int64_t)> shifted) {
  if (Value known = slot.memo.lookup({kSpread, 0}))
    return known;
  Value value = k.bitAnd(shifted(0, 3), 0x11111111);
  value = k.bitOr(value, k.bitAnd(shifted(1, 2), 0x22222222));
  value = k.bitOr(value, k.bitAnd(shifted(2, 1), 0x44444444));
  slot.memo[{kSpread, 0}] = value;
  return value;
}

class RegisterTableDecoder : public RowDecoder {
public:
  using RowDecoder::RowDecoder;

  void beginRow(const GpuOperands &operands, Value row) override {
    int64_t words = (int64_t(1) << layout.getBits()) / 2;
    Value start = k.at(operands.table, k.mul(row, words * 4));
    Values entries;
    for (int64_t first = 0; first < words; first += 4)
      llvm::append_range(entries, k.loadWords(std::min<int64_t>(words, 4),
                                              k.at(start, first * 4), true));
    for (int64_t n = 0; n < words; n += 2) {
      low.push_back(k.permute(entries[n], entries[n + 1], 0x6420));
      high.push_back(k.permute(entries[n], entries[n + 1], 0x7531));
    }
  }

  Value pair(GpuSlot &slot, int64_t c) override {
    int64_t first = c / 2 * 2;
    if (!slot.memo.lookup({kSpread + 1, first})) {
      auto [lows, highs] = lookUp(slot, first);
      slot.memo[{kSpread + 1, first}] = k.permute(lows, highs, 0x5140);
      slot.memo[{kSpread + 2, first}] = k.permute(lows, highs, 0x7362);
    }
    return slot.memo[{kSpread + 1 + c % 2, first}];
  }

private:
  /// Low and high bytes of the entries of four columns, from pair `first` on.
  std::pair<Value, Value> lookUp(GpuSlot &slot, int64_t first) {
    auto shift = [&](int64_t word, int64_t by) {
      return shifted(slot, word, by);
    };
    if (layout.getBits() == 2) {
      // A word has pairs 0 to 3 in the low bits of its nibbles, 4 to 7 above.
      Value codes = masked(slot, shift(first / 8, first % 8 / 4 * 2),
                           0x33333333, {kSpread + 3, first / 4});
      Value selector = upperHalf(slot, codes, first % 4 / 2, first / 4);
      return {k.permute(low[0], low[0], selector),
              k.permute(high[0], high[0], selector)};
    }
    if (layout.getBits() == 3) {
      Value codes = first >= 12 ? spreadCodes(k, slot, shift)
                                : masked(slot, slot.words[first / 4],
                                         0x77777777, {kSpread + 3, first / 4});
      Value selector = upperHalf(slot, codes, first % 4 / 2, first / 4);
      return {k.permute(low[0], low[1], selector),
              k.permute(high[0], high[1], selector)};
    }
    Value codes = shift(first / 4, first % 4 / 2 * 16);
    Value selector = k.bitAnd(codes, 0x7777);
    // Nibble n takes byte n of the lower or of the upper eight entries.
    Value choice = k.bitOr(k.bitAnd(k.shr(codes, 1), 0x4444), 0x3210);
    auto pick = [&](ArrayRef<Value> bytes) {
      return k.permute(k.permute(bytes[0], bytes[1], selector),
                       k.permute(bytes[2], bytes[3], selector), choice);
    };
    return {pick(low), pick(high)};
  }

  Value masked(GpuSlot &slot, Value word, int64_t mask,
               std::pair<int64_t, int64_t> key) {
    Value &value = slot.memo[key];
    if (!value)
      value = k.bitAnd(word, mask);
    return value;
  }
  /// prmt reads the low half of its selector.
  Value upperHalf(GpuSlot &slot, Value codes, int64_t half, int64_t key) {
    if (!half)
      return codes;
    Value &value = slot.memo[{kSpread + 4, key}];
    if (!value)
      value = k.shr(codes, 16);
    return value;
  }

  Values low, high; ///< Low and high bytes of four entries each.
};

} // namespace

void SharedTableDecoder::fill(const GpuOperands &operands, Value shared,
                              Value row, Value lane, Value warp,
                              int64_t warps) {
  table = shared;
  laneOffset = k.shl(lane, 2);
  int64_t bits = layout.getBits(), entries = int64_t(1) << bits;
  Value start = k.at(operands.table, k.mul(row, entries * 2));
  Values words;
  for (int64_t first = 0; first < entries / 2; first += 4)
    llvm::append_range(words, k.loadWords(std::min<int64_t>(entries / 2, 4),
                                          k.at(start, first * 4), true));
  // Entry [second][first] of the pairs, its index having gaps as the codes do.
  k.loop(warp, k.i(entries), k.i(warps), [&](Value second) {
    Value half = k.load(k.i16, k.at(start, k.shl(second, 1)), 2, true);
    Value upper = arith::ExtUIOp::create(k.b, k.loc, k.i32, half);
    Value place = k.at(shared, k.add(k.shl(second, 4 + 7), laneOffset));
    for (int64_t first = 0; first < entries; ++first)
      k.store(k.permute(words[first / 2], upper, first % 2 ? 0x5432 : 0x5410),
              k.at(place, first * 128), 4);
  });
}

Value SharedTableDecoder::pair(GpuSlot &slot, int64_t c) {
  auto shift = [&](int64_t word, int64_t by) {
    return shifted(slot, word, by);
  };
  Value word;
  int64_t bit = 0;
  if (layout.getBits() == 2) {
    word = slot.words[c / 8];
    bit = c % 4 * 8 + c % 8 / 4 * 2;
  } else if (layout.getBits() == 3 && c >= 12) {
    word = spreadCodes(k, slot, shift);
    bit = (c - 12) * 8;
  } else {
    word = slot.words[c / 4];
    bit = c % 4 * 8;
  }
  // The index times 128 bytes, and the lane's bank in the bits below.
  Value index = k.bitAnd(k.shift(word, 7 - bit), getMask() << 7);
  return k.load(k.i32, k.at(table, k.bitOr(index, laneOffset)), 4);
}

std::unique_ptr<RowDecoder>
ganq::createRegisterTableDecoder(GpuBuilder &k, const GpuLayout &layout,
                                 FloatType type) {
  return std::make_unique<RegisterTableDecoder>(k, layout, type);
}

//===----------------------------------------------------------------------===//
// Arithmetic
//===----------------------------------------------------------------------===//

namespace {

/// Cuts codes out as mantissas of 2^m + code, m being the mantissa's bits, and
/// takes 2^m + zero away, which is exact; then multiplies by the group's scale
/// if `scaled`. Scales of whole rows wait until the end.
class UniformDecoder : public RowDecoder {
public:
  UniformDecoder(GpuBuilder &k, const GpuLayout &layout, FloatType type,
                 int64_t group, bool scaled)
      : RowDecoder(k, layout, type), group(group), scaled(scaled && group),
        mantissa(type.isF16() ? 10 : 7) {}

  void beginRow(const GpuOperands &operands, Value row) override {
    // One LOP3 does `and` and `or`, but takes one constant only. ptxas would
    // write two with a constant each if it knew that no M is negative.
    magic = k.add(k.i(k.pairOf(static_cast<double>(1 << mantissa), type)),
                  k.shr(operands.m, 31));
    if (group == 0)
      setZeros({k.load(type, k.at(operands.zero, k.shl(row, 1)), 2, true)});
  }
  void beginGranule(ValueRange values) override {
    if (group == 0)
      return;
    size_t count = scaled ? values.size() / 2 : 0;
    scales.clear();
    for (Value scale : values.take_front(count))
      scales.push_back(k.broadcastPair(scale));
    setZeros(values.drop_front(count));
  }
  Value rowScale(const GpuOperands &operands, Value row) override {
    if (group != 0)
      return {};
    return k.extend(k.load(type, k.at(operands.scale, k.shl(row, 1)), 2, true));
  }

  Value pair(GpuSlot &slot, int64_t c) override {
    unsigned bits = layout.getBits();
    GpuLayout::Bit first = layout.getBit(2 * c, 0);
    Value codes;
    int64_t position = 0;
    if (layout.getBit(2 * c, bits - 1).word == first.word) {
      // Bits that do not fit the mantissa in their place are shifted down, as
      // many pairs as possible at a time.
      int64_t window = (mantissa - bits) / bits * bits + bits;
      int64_t by = first.bit / window * window;
      position = first.bit - by;
      codes = k.bitAnd(shifted(slot, first.word, by), lanes(bits, position));
    } else {
      for (unsigned j = 0; j < bits; ++j) {
        GpuLayout::Bit bit = layout.getBit(2 * c, j);
        Value part =
            k.bitAnd(shifted(slot, bit.word, bit.bit - static_cast<int64_t>(j)),
                     lanes(1, j));
        codes = codes ? k.bitOr(codes, part) : part;
      }
    }
    double unit = 1.0 / static_cast<double>(int64_t(1) << position);
    int64_t number = group ? c * 8 / std::min<int64_t>(group, 128) : 0;
    Value weight = k.fmaPairs(k.bitOr(codes, magic), k.i(k.pairOf(unit, type)),
                              offset(number, position), type);
    return scaled ? k.fmaPairs(weight, scales[number],
                               k.i(k.pairOf(-0.0, type)), type)
                  : weight;
  }

private:
  /// `count` ones at `position` in both halves.
  static int64_t lanes(int64_t count, int64_t position) {
    return ((int64_t(1) << count) - 1) * 0x10001 << position;
  }
  void setZeros(ValueRange values) {
    zeros.clear();
    offsets.clear();
    for (Value zero : values)
      zeros.push_back(k.broadcastPair(zero));
  }
  /// - (2^m / 2^position + zero)
  Value offset(int64_t number, int64_t position) {
    Value &value = offsets[{number, position}];
    if (!value) {
      double magic = static_cast<double>(int64_t(1) << (mantissa - position));
      value = k.fmaPairs(zeros[number], k.i(k.pairOf(-1.0, type)),
                         k.i(k.pairOf(-magic, type)), type);
    }
    return value;
  }

  int64_t group;
  bool scaled;
  int64_t mantissa;
  Value magic;
  Values scales, zeros;
  llvm::DenseMap<std::pair<int64_t, int64_t>, Value> offsets;
};

/// Adds sign and exponent bits to the bits of the scale: bits(s) + (E << m) is
/// s 2^E while the scale is positive and normal and the product finite
/// (PoTPTQ, section 4).
class PotDecoder : public RowDecoder {
public:
  PotDecoder(GpuBuilder &k, const GpuLayout &layout, FloatType type,
             int64_t group)
      : RowDecoder(k, layout, type), group(group) {}

  void beginRow(const GpuOperands &operands, Value row) override {
    if (group == 0)
      scales.assign({k.broadcastPair(
          k.load(type, k.at(operands.scale, k.shl(row, 1)), 2, true))});
  }
  void beginGranule(ValueRange values) override {
    if (group == 0)
      return;
    scales.clear();
    for (Value scale : values)
      scales.push_back(k.broadcastPair(scale));
  }

  Value pair(GpuSlot &slot, int64_t c) override {
    unsigned bits = layout.getBits();
    int64_t number = group ? c * 8 / std::min<int64_t>(group, 128) : 0;
    Value result = scales[number];
    GpuLayout::Bit lowest = layout.getBit(2 * c, 0);
    int gather = layout.getGatherBit();
    if (gather >= 0 && lowest.word != layout.getBit(2 * c, 1).word) {
      int64_t move = gather - lowest.bit, mask = 0;
      for (unsigned j = 0; j < bits; ++j)
        mask |= int64_t(0x10001) << (layout.getFloatBit(j) - move);
      return k.add(k.shl(k.bitAnd(gathered(slot), mask), move), result);
    }
    // Bits that keep their distance move together: and, then shift and add.
    // LLVM must not turn that into shift, and, add: see compileToPtx.
    for (unsigned j = 0; j < bits;) {
      GpuLayout::Bit first = layout.getBit(2 * c, j);
      int64_t move = layout.getFloatBit(j) - first.bit, mask = 0;
      for (; j < bits; ++j) {
        GpuLayout::Bit bit = layout.getBit(2 * c, j);
        if (bit.word != first.word || layout.getFloatBit(j) - bit.bit != move)
          break;
        mask |= int64_t(0x10001) << bit.bit;
      }
      result =
          k.add(k.shift(k.bitAnd(slot.words[first.word], mask), move), result);
    }
    return result;
  }

private:
  /// What whole pairs leave of the words, shifted to whole pairs.
  Value gathered(GpuSlot &slot) {
    Value &word = slot.memo[{kGathered, 0}];
    if (word)
      return word;
    Value result;
    for (unsigned j = 0; j < layout.getBits(); ++j) {
      int64_t move = layout.getFloatBit(j) - layout.getGatherBit(), mask = 0;
      for (int64_t c = 0; c < layout.getSlotColumns() / 2; ++c)
        if (layout.getBit(2 * c, 0).word != layout.getBit(2 * c, 1).word)
          mask |= int64_t(0x10001) << (layout.getBit(2 * c, j).bit + move);
      Value part = k.bitAnd(k.shift(slot.words[j], move), mask);
      result = result ? k.bitOr(result, part) : part;
    }
    return slot.memo[{kGathered, 0}] = result;
  }

  static constexpr int64_t kGathered = 1000; ///< Key in a slot's memo.
  int64_t group;
  Values scales;
};

} // namespace

std::unique_ptr<RowDecoder> ganq::createRowDecoder(GpuBuilder &k,
                                                   const GpuLayout &layout,
                                                   const GpuDecoding &decoding,
                                                   FloatType type,
                                                   bool scaled) {
  if (layout.getOrder() == GpuLayout::Order::Exponent)
    return std::make_unique<PotDecoder>(k, layout, type, decoding.group);
  return std::make_unique<UniformDecoder>(k, layout, type, decoding.group,
                                          scaled);
}

Value ganq::decodeBytes(GpuBuilder &k, const GpuLayout &layout, GpuSlot &slot,
                        int64_t quad) {
  // Runs of bits that stand side by side, one for each plane.
  unsigned bits = layout.getBits();
  Value result;
  for (unsigned j = 0; j < bits;) {
    GpuLayout::Bit first = layout.getBit(4 * quad, j);
    auto start = static_cast<int64_t>(j);
    int64_t mask = 0;
    for (; j < bits && layout.getBit(4 * quad, j).word == first.word; ++j)
      mask |= int64_t(0x01010101) << j;
    Value part = slot.words[first.word];
    if (mask != 0xffffffff) {
      Value &moved = slot.memo[{first.word, first.bit - start}];
      if (!moved)
        moved = k.shift(part, start - first.bit);
      part = k.bitAnd(moved, mask);
    }
    result = result ? k.bitOr(result, part) : part;
  }
  return result;
}

//===----------------------------------------------------------------------===//
// What a scheme asks for
//===----------------------------------------------------------------------===//

static llvm::Error expected(SchemeAttrInterface scheme, StringRef what,
                            StringRef remedy) {
  std::string text;
  llvm::raw_string_ostream(text)
      << "expected " << what << " for the GPU kernels, but got " << scheme
      << "; " << remedy;
  return llvm::createStringError(text);
}

llvm::Expected<GpuDecoding> ganq::getGpuDecoding(const GpuMatmulSpec &spec) {
  using Order = GpuLayout::Order;
  SchemeAttrInterface scheme = spec.scheme;
  GpuDecoding decoding;
  auto checkGroup = [&](int64_t group) -> llvm::Error {
    decoding.group = group;
    if (group == 0 || group == 32 || group == 64 || group % 128 == 0)
      return llvm::Error::success();
    return expected(scheme, "a group of 0, 32, 64 or a multiple of 128 columns",
                    "choose such a group");
  };
  if (auto lut = dyn_cast<LutAttr>(scheme)) {
    decoding.order = Order::Table;
    decoding.bits = lut.getBits();
    decoding.table = true;
    if (!GpuLayout::supports(decoding.order, decoding.bits))
      return expected(scheme, "tables of 2 to 4 bits", "choose 2 to 4 bits");
    if (lut.getGroup() || lut.getRows() != 1)
      return expected(scheme, "one table per row", "leave out group and rows");
    if (spec.strategy != GpuStrategy::F16 || scheme.getActivationBits())
      return expected(scheme, "tables to multiply floats with",
                      "take strategy f16 and leave out activation");
    if (lut.hasSparsePart() || lut.hasScale())
      return expected(scheme, "tables of f16 or bf16 without kept values",
                      "leave out outliers and full_rows and take entry = f16");
    if (lut.getEntry() != spec.type)
      return expected(scheme, "table entries of the type of x",
                      "set entry to that type");
    return decoding;
  }
  if (auto pot = dyn_cast<PotAttr>(scheme)) {
    decoding.order = Order::Exponent;
    if (spec.strategy != GpuStrategy::F16)
      return expected(scheme, "uniform levels for products of integers",
                      "take strategy f16");
    decoding.bits = pot.getBits();
    decoding.scale = true;
    decoding.parameters = 1;
    bool stride2 = pot.getGrid() == PotGrid::stride2;
    decoding.exponentBit = (spec.type.isF16() ? 10 : 7) + (stride2 ? 1 : 0);
    if (!stride2 && pot.getGrid() != PotGrid::pot)
      return expected(scheme, "a grid of powers of two",
                      "choose grid pot or stride2");
    // Two bits of E stand apart with a stride of 4^E.
    if (!GpuLayout::supports(decoding.order, decoding.bits) ||
        (stride2 && decoding.bits != 2))
      return expected(scheme, "2 to 4 bits, 2 with stride2",
                      "choose other bits or grid = pot");
    if (pot.getScale() != spec.type)
      return expected(scheme, "scales of the type of x",
                      "set scale to that type");
    if (llvm::Error error = checkGroup(pot.getGroup()))
      return std::move(error);
    return decoding;
  }
  if (auto uniform = dyn_cast<UniformAttr>(scheme)) {
    decoding.bits = uniform.getBits();
    decoding.scale = decoding.zero = true;
    decoding.parameters = 2;
    if (uniform.getSmooth() || uniform.getShift())
      return expected(scheme, "a weight without input scales and shifts",
                      "leave out smooth and shift, or fold them into the layer "
                      "before");
    if (uniform.getScale() != spec.type)
      return expected(scheme, "scales of the type of x",
                      "set scale to that type");
    if (llvm::Error error = checkGroup(uniform.getGroup()))
      return std::move(error);
    if (spec.strategy == GpuStrategy::F16) {
      decoding.order = Order::Halves;
      bool fits = GpuLayout::supports(decoding.order, decoding.bits) &&
                  (spec.type.isF16() || decoding.bits < 8);
      if (!fits || uniform.getActivation())
        return expected(scheme, "1 to 4 or, with f16, 8 bits and no activation",
                        "choose other bits, or a strategy for integers");
      return decoding;
    }
    if (uniform.getActivation() != spec.activationBits || !spec.activationBits)
      return expected(scheme, "codes of x of the scheme's `activation` bits",
                      "choose a scheme with activation = 1 to 8");
    if (uniform.getGroup())
      return expected(scheme, "one scale per row for products of integers",
                      "leave out group");
    decoding.order =
        spec.strategy == GpuStrategy::Btc ? Order::Planes : Order::Bytes;
    return decoding;
  }
  return expected(scheme, "a scheme of the kind lut, uniform or pot",
                  "choose one of these");
}
