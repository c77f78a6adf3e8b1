//===- QuantizeRows.cpp - Rows of activations to records of codes ---------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A row is read for its range, for the sums of its codes and their bytes, and,
// where planes are wanted instead of bytes, once more for each plane of the
// weight. K is static, so the columns after the last full vector are masked by
// constants.
//
//===----------------------------------------------------------------------===//

#include "IntegerMatmul.h"
#include "ganq/Support/ActivationLayout.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include <limits>

using namespace mlir;
using namespace ganq;
using Values = KernelBuilder::Values;

namespace {

constexpr int64_t kLanes = KernelBuilder::kLanes;

class RowQuantizer {
public:
  /// `x`, `out`, and the smoothing vectors or null.
  RowQuantizer(KernelBuilder &k, Value x, Value out, Value scale, Value shift,
               unsigned bits, int64_t group, unsigned planeBits)
      : k(k), x(x), out(out), inputScale(scale), inputShift(shift), bits(bits),
        columns(cast<MemRefType>(x.getType()).getDimSize(1)),
        group(group ? group : columns), planeBits(planeBits),
        layout(bits, columns, group, planeBits),
        greatest(static_cast<float>((1 << bits) - 1)) {}

  void emit(Value index) {
    row = index;
    findRange();
    int64_t full = columns / group;
    k.loop(k.index(0), k.index(full), 1,
           [&](Value index) { quantizeGroup(index, group); });
    if (columns % group)
      quantizeGroup(k.index(full), columns % group);
    if (planeBits)
      storePlanes();
  }

private:
  Value select(Value condition, Value a, Value b) {
    return arith::SelectOp::create(k.builder, k.loc, condition, a, b);
  }
  Value compare(arith::CmpFPredicate predicate, Value a, Value b) {
    return arith::CmpFOp::create(k.builder, k.loc, predicate, a, b);
  }
  Value roundEven(Value value) {
    return math::RoundEvenOp::create(k.builder, k.loc, value);
  }

  /// x, smoothed; zero where the mask is not set.
  Value load(Value column, Value mask) {
    Value value = k.loadVector(x, {row, column}, mask);
    if (inputShift)
      value = k.subf(value, k.loadVector(inputShift, column, mask));
    if (inputScale) {
      value = k.divf(value, k.loadVector(inputScale, column, mask));
      if (mask)
        value = select(mask, value, k.splat(0.0f));
    }
    return value;
  }

  /// To [0, greatest], scalar or vector; nan to 0.
  Value clamp(Value value) {
    bool isVector = isa<VectorType>(value.getType());
    Value low = isVector ? k.splat(0.0f) : k.constant(0.0f),
          high = isVector ? k.splat(greatest) : k.constant(greatest);
    value = k.maxf(value, low);
    return select(compare(arith::CmpFPredicate::OLT, value, high), value, high);
  }

  void findRange() {
    // Ranges hold zero, which no column that is masked away changes. The third
    // value is nan where x is not finite, else 0.
    Value zero = k.splat(0.0f);
    Values range = k.chunks(
        k.index(columns), {zero, zero, zero},
        [&](Value column, Value mask, ValueRange carried) -> Values {
          Value value = load(column, mask);
          return {select(compare(arith::CmpFPredicate::OLT, value, carried[0]),
                         value, carried[0]),
                  k.maxf(value, carried[1]),
                  k.fma(value, k.splat(0.0f), carried[2])};
        });
    Value low = vector::ReductionOp::create(
        k.builder, k.loc, vector::CombiningKind::MINNUMF, range[0]);
    Value high = k.maximum(range[1]);
    // Divided first: the difference of finite numbers may not be finite.
    Value scale = k.subf(k.divf(high, k.constant(greatest)),
                         k.divf(low, k.constant(greatest)));
    // A subnormal scale has no finite inverse; such a row is as good as zero.
    Value vanishes = compare(arith::CmpFPredicate::OLT, scale,
                             k.constant(std::numeric_limits<float>::min()));
    scale = select(vanishes, k.constant(0.0f), scale);
    Value inverse =
        select(vanishes, k.constant(0.0f), k.divf(k.constant(1.0f), scale));
    Value zeroPoint = clamp(roundEven(k.mulf(k.negf(low), inverse)));
    storeHeader(k.addf(scale, k.sum(range[2])),
                k.index(ActivationLayout::kScale));
    storeHeader(
        k.subf(zeroPoint, k.constant(static_cast<float>(layout.getCenter()))),
        k.index(ActivationLayout::kZero));
    factor = k.splat(inverse);
    offset = k.splat(zeroPoint);
  }

  /// Codes of a vector as i32, less the center; 0 where the mask is not set.
  Value codesAt(Value column, Value mask) {
    Value level = k.addf(roundEven(k.mulf(load(column, mask), factor)), offset);
    Value centered =
        k.subf(clamp(level), k.splat(static_cast<float>(layout.getCenter())));
    Value codes = arith::FPToSIOp::create(k.builder, k.loc, k.vecI32, centered);
    return mask ? select(mask, codes, k.splatInt(0)) : codes;
  }

  /// The sum of codes of a group and, unless planes are wanted, its bytes.
  void quantizeGroup(Value index, int64_t size) {
    Value first = k.mul(index, group);
    Values sums = k.chunks(
        k.index(size), k.splatInt(0),
        [&](Value place, Value mask, ValueRange carried) -> Values {
          Value column = k.add(first, place);
          Value codes = codesAt(column, mask);
          if (!planeBits)
            storeBytes(codes, k.add(column, layout.getCodesOffset()));
          return {arith::AddIOp::create(k.builder, k.loc, carried[0], codes)};
        });
    Value sum = vector::ReductionOp::create(
        k.builder, k.loc, vector::CombiningKind::ADD, sums[0]);
    storeHeader(arith::SIToFPOp::create(k.builder, k.loc, k.f32, sum),
                k.add(index, ActivationLayout::kSums));
  }

  void storePlanes() {
    CodeLayout weight(planeBits, 1, columns);
    for (auto [number, plane] : llvm::enumerate(weight.getPlanes())) {
      int64_t perUnit = plane.columnsPerUnit(), width = plane.width,
              start = layout.getPlaneOffset(number);
      auto storeUnit = [&](Value unit, int64_t size) {
        Values words(bits, k.splatInt(0));
        for (int64_t at = 0; at < size; at += kLanes) {
          Value codes =
              codesAt(k.add(k.mul(unit, perUnit), at), k.laneMask(size - at));
          for (unsigned bit = 0; bit < bits; ++bit) {
            // A field of zeros or ones.
            Value one = arith::AndIOp::create(
                k.builder, k.loc,
                arith::ShRUIOp::create(k.builder, k.loc, codes,
                                       k.splatInt(static_cast<int32_t>(bit))),
                k.splatInt(1));
            Value field = arith::MulIOp::create(
                k.builder, k.loc, one,
                k.splatInt(((1 << width) - 1) << (width * (at / kLanes))));
            words[bit] =
                arith::OrIOp::create(k.builder, k.loc, words[bit], field);
          }
        }
        for (unsigned bit = 0; bit < bits; ++bit)
          storeBytes(words[bit],
                     k.add(k.mul(unit, bits * kLanes), start + bit * kLanes));
      };
      int64_t full = columns / perUnit;
      k.loop(k.index(0), k.index(full), 1,
             [&](Value unit) { storeUnit(unit, perUnit); });
      if (columns % perUnit)
        storeUnit(k.index(full), columns % perUnit);
    }
  }

  /// The low bytes of 16 i32 at byte `at` of the record.
  void storeBytes(Value integers, Value at) {
    Value bytes = arith::TruncIOp::create(
        k.builder, k.loc, VectorType::get({kLanes}, k.builder.getI8Type()),
        integers);
    vector::StoreOp::create(k.builder, k.loc, bytes, out, ValueRange{row, at});
  }

  void storeHeader(Value value, Value position) {
    Value single = vector::BroadcastOp::create(
        k.builder, k.loc, VectorType::get({1}, k.f32), value);
    Value bytes = vector::BitCastOp::create(
        k.builder, k.loc, VectorType::get({4}, k.builder.getI8Type()), single);
    vector::StoreOp::create(k.builder, k.loc, bytes, out,
                            ValueRange{row, k.mul(position, 4)});
  }

  KernelBuilder &k;
  Value x, out, inputScale, inputShift;
  unsigned bits;
  int64_t columns, group;
  unsigned planeBits;
  ActivationLayout layout;
  float greatest;
  Value row, factor, offset;
};

} // namespace

void ganq::lowerQuantizeRows(OpBuilder &builder, KernelLibrary &library,
                             QuantizeRowsOp op) {
  Location loc = op.getLoc();
  SmallVector<Value> inputs;
  for (Value memref : SmallVector<Value>{op.getX(), op.getOut()})
    inputs.push_back(
        withDynamicRows(builder, loc, asMatrix(builder, loc, memref)));
  bool hasScale = static_cast<bool>(op.getScale()),
       hasShift = static_cast<bool>(op.getShift());
  if (hasScale)
    inputs.push_back(op.getScale());
  if (hasShift)
    inputs.push_back(op.getShift());
  unsigned bits = op.getBits(), planeBits = op.getPlaneBits();
  int64_t group = static_cast<int64_t>(op.getGroup());
  std::string rest = "a" + std::to_string(bits) + "g" + std::to_string(group) +
                     "p" + std::to_string(planeBits) + (hasScale ? "s" : "") +
                     (hasShift ? "t" : "");
  Value rows = memref::DimOp::create(builder, loc, inputs[0], 0);
  library.call(builder, loc, "quantize_rows", kernelKey(inputs, rest), rows,
               inputs, staticElements(op.getX()),
               [&](KernelBuilder &k, Value lo, Value hi, ValueRange args) {
                 RowQuantizer quantizer(
                     k, args[0], args[1], hasScale ? args[2] : Value(),
                     hasShift ? args.back() : Value(), bits, group, planeBits);
                 k.loop(lo, hi, 1, [&](Value row) { quantizer.emit(row); });
               });
}
