//===- IntegerBuilder.cpp - Vectors of codes in kernels -------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "IntegerBuilder.h"
#include "ganq/Support/CodeLayout.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace ganq;

static constexpr int64_t kBytes = 64;

Value IntegerBuilder::shuffle(Value a, Value b,
                              function_ref<int64_t(int64_t)> from,
                              int64_t size) {
  SmallVector<int64_t> lanes;
  for (int64_t i = 0; i < size; ++i)
    lanes.push_back(from(i));
  return vector::ShuffleOp::create(k.builder, k.loc, a, b, lanes);
}

Value IntegerBuilder::half(Value vector, int64_t index) {
  int64_t size = cast<VectorType>(vector.getType()).getNumElements() / 2;
  return shuffle(
      vector, vector, [&](int64_t i) { return index * size + i; }, size);
}

Value IntegerBuilder::asBytes(Value words) {
  return vector::BitCastOp::create(
      k.builder, k.loc, VectorType::get({kBytes}, k.builder.getI8Type()),
      words);
}

Value IntegerBuilder::loadWords(Value bytes, Value at) {
  auto type = VectorType::get({kBytes}, k.builder.getI8Type());
  Value loaded =
      vector::LoadOp::create(k.builder, k.loc, type, bytes, ValueRange(at));
  return vector::BitCastOp::create(k.builder, k.loc, k.vecI32, loaded);
}

KernelBuilder::Values IntegerBuilder::loadTable(Value tables,
                                                ArrayRef<Value> places,
                                                Value group,
                                                unsigned codeBits) {
  constexpr int64_t kEntries = CodeLayout::kLanes;
  int64_t entries = int64_t(1) << codeBits;
  int64_t count = std::min(entries, kEntries);
  auto type = VectorType::get({count}, k.builder.getI8Type());
  Value bias = arith::ConstantOp::create(
      k.builder, k.loc,
      DenseElementsAttr::get(VectorType::get({kBytes}, type.getElementType()),
                             static_cast<int8_t>(-128)));
  Values registers;
  for (int64_t first = 0; first < entries; first += kEntries) {
    Values rows;
    for (Value place : places)
      rows.push_back(
          vector::LoadOp::create(k.builder, k.loc, type, tables,
                                 ValueRange{place, group, k.index(first)}));
    rows.resize(CodeLayout::kRowTile, rows.front());
    auto join = [&](Value a, Value b, int64_t size) {
      // Behind a short table comes what no code reads.
      return shuffle(
          a, b, [=](int64_t i) { return i % size % count + i / size * count; },
          2 * size);
    };
    Values pairs;
    for (int64_t pair : {0, 2})
      pairs.push_back(join(rows[pair], rows[pair + 1], kEntries));
    Value all =
        shuffle(pairs[0], pairs[1], [](int64_t i) { return i; }, kBytes);
    registers.push_back(arith::XOrIOp::create(k.builder, k.loc, all, bias));
  }
  return registers;
}

Value IntegerBuilder::lookUp(ArrayRef<Value> table, Value codes) {
  auto type = cast<VectorType>(table.front().getType());
  auto lookUpIn = [&](Value entries, Value low) {
    return intrinsic("llvm.x86.avx512.pshuf.b.512", "llvm.x86.avx2.pshuf.b",
                     type, {entries, low});
  };
  Value result;
  if (table.size() == 1) {
    result = lookUpIn(table.front(), asBytes(codes));
  } else {
    Value low = asBytes(andi(codes, splatByte(0x0f))),
          high = asBytes(andi(codes, splatByte(0xf0)));
    for (auto [number, entries] : llvm::enumerate(table)) {
      Value found = lookUpIn(entries, low);
      Value isHere = arith::CmpIOp::create(
          k.builder, k.loc, arith::CmpIPredicate::eq, high,
          asBytes(splatByte(static_cast<uint8_t>(number << 4))));
      result = result ? arith::SelectOp::create(k.builder, k.loc, isHere, found,
                                                result)
                      : found;
    }
  }
  return vector::BitCastOp::create(k.builder, k.loc, k.vecI32, result);
}

Value IntegerBuilder::loadInputs(Value records, Value row, Value at) {
  auto type = VectorType::get({kBytes / 4}, k.builder.getI8Type());
  Value loaded = vector::LoadOp::create(k.builder, k.loc, type, records,
                                        ValueRange{row, at});
  Value words = vector::BitCastOp::create(
      k.builder, k.loc, VectorType::get({4}, k.builder.getI32Type()), loaded);
  return shuffle(words, words, [](int64_t i) { return i % 4; }, 16);
}

Value IntegerBuilder::broadcastInputs(Value records, Value row, Value at) {
  auto type = VectorType::get({4}, k.builder.getI8Type());
  Value loaded = vector::LoadOp::create(k.builder, k.loc, type, records,
                                        ValueRange{row, at});
  Value word = vector::BitCastOp::create(
      k.builder, k.loc, VectorType::get({1}, k.builder.getI32Type()), loaded);
  return k.splat(Value(vector::ExtractOp::create(k.builder, k.loc, word, 0)));
}

Value IntegerBuilder::loadHeader(Value records, Value row, Value position) {
  auto type = VectorType::get({4}, k.builder.getI8Type());
  Value loaded = vector::LoadOp::create(k.builder, k.loc, type, records,
                                        ValueRange{row, k.mul(position, 4)});
  Value single = vector::BitCastOp::create(k.builder, k.loc,
                                           VectorType::get({1}, k.f32), loaded);
  return vector::ExtractOp::create(k.builder, k.loc, single, 0);
}
Value IntegerBuilder::loadHeader(Value records, Value row, int64_t position) {
  return loadHeader(records, row, k.index(position));
}

Value IntegerBuilder::andi(Value a, Value b) {
  return arith::AndIOp::create(k.builder, k.loc, a, b);
}
Value IntegerBuilder::ori(Value a, Value b) {
  return arith::OrIOp::create(k.builder, k.loc, a, b);
}
Value IntegerBuilder::addi(Value a, Value b) {
  return arith::AddIOp::create(k.builder, k.loc, a, b);
}
Value IntegerBuilder::subi(Value a, Value b) {
  return arith::SubIOp::create(k.builder, k.loc, a, b);
}
Value IntegerBuilder::muli(Value a, Value b) {
  return arith::MulIOp::create(k.builder, k.loc, a, b);
}
Value IntegerBuilder::shift(Value a, int64_t count, bool isSigned) {
  if (count == 0)
    return a;
  Value by = k.splatInt(static_cast<int32_t>(std::abs(count)));
  if (count > 0)
    return arith::ShLIOp::create(k.builder, k.loc, a, by);
  if (isSigned)
    return arith::ShRSIOp::create(k.builder, k.loc, a, by);
  return arith::ShRUIOp::create(k.builder, k.loc, a, by);
}
Value IntegerBuilder::splatByte(uint8_t value) {
  return k.splatInt(static_cast<int32_t>(0x01010101u * value));
}
Value IntegerBuilder::toFloat(Value integers) {
  return arith::SIToFPOp::create(k.builder, k.loc, k.vecF32, integers);
}
Value IntegerBuilder::toInteger(Value floats) {
  return arith::FPToSIOp::create(k.builder, k.loc, k.vecI32, floats);
}

Value IntegerBuilder::intrinsic(StringRef wide, StringRef narrow,
                                VectorType result, ArrayRef<Value> args) {
  auto call = [&](StringRef name, VectorType type, ValueRange operands) {
    return LLVM::CallIntrinsicOp::create(
               k.builder, k.loc, type, k.builder.getStringAttr(name), operands)
        .getResult(0);
  };
  if (target.avx512)
    return call(wide, result, args);
  auto halfType =
      VectorType::get({result.getNumElements() / 2}, result.getElementType());
  Value parts[2];
  for (int64_t i = 0; i < 2; ++i) {
    SmallVector<Value> operands;
    for (Value arg : args)
      operands.push_back(half(arg, i));
    parts[i] = call(narrow, halfType, operands);
  }
  return shuffle(
      parts[0], parts[1], [](int64_t i) { return i; }, result.getNumElements());
}

int64_t IntegerBuilder::getRun() const {
  // Two products are added at once.
  int64_t pair = 2 * ((int64_t(1) << bits) - 1) << (activation - 1);
  return std::max<int64_t>(1, 32767 / pair);
}

Value IntegerBuilder::multiplyPairs(Value weight, Value input) {
  return intrinsic("llvm.x86.avx512.pmaddubs.w.512",
                   "llvm.x86.avx2.pmadd.ub.sw",
                   VectorType::get({kBytes / 2}, k.builder.getI16Type()),
                   {asBytes(weight), asBytes(input)});
}

Value IntegerBuilder::addPairs(Value pairs, Value weight, Value input) {
  Value products = multiplyPairs(weight, input);
  return pairs ? addi(pairs, products) : products;
}

Value IntegerBuilder::widenPairs(Value sums, Value pairs) {
  Value ones = arith::ConstantOp::create(
      k.builder, k.loc,
      DenseElementsAttr::get(cast<VectorType>(pairs.getType()), int16_t(1)));
  return addi(sums,
              intrinsic("llvm.x86.avx512.pmaddw.d.512",
                        "llvm.x86.avx2.pmadd.wd", k.vecI32, {pairs, ones}));
}

Value IntegerBuilder::dot(Value sums, ArrayRef<Value> weights,
                          ArrayRef<Value> inputs) {
  if (target.vnni) {
    for (auto [weight, input] : llvm::zip_equal(weights, inputs))
      sums = intrinsic("llvm.x86.avx512.vpdpbusd.512",
                       "llvm.x86.avx512.vpdpbusd.256", k.vecI32,
                       {sums, asBytes(weight), asBytes(input)});
    return sums;
  }
  if (needsHalves()) {
    for (auto [weight, input] : llvm::zip_equal(weights, inputs))
      for (uint8_t part : {0x7f, 0x80})
        sums = widenPairs(sums,
                          multiplyPairs(andi(weight, splatByte(part)), input));
    return sums;
  }
  size_t run = getRun();
  for (size_t first = 0; first < weights.size(); first += run) {
    Value pairs;
    for (size_t i = first; i < std::min(first + run, weights.size()); ++i)
      pairs = addPairs(pairs, weights[i], inputs[i]);
    sums = widenPairs(sums, pairs);
  }
  return sums;
}

Value IntegerBuilder::countOnes(Value words) {
  Value longs = vector::BitCastOp::create(
      k.builder, k.loc, VectorType::get({8}, k.builder.getI64Type()), words);
  Value counts = math::CtPopOp::create(k.builder, k.loc, longs);
  // At most 64 each, so that sums fit the low half of an i64.
  return vector::BitCastOp::create(k.builder, k.loc, k.vecI32, counts);
}

Value IntegerBuilder::addPartials(ArrayRef<Value> tiles) {
  bool isFloat = getElementTypeOrSelf(tiles[0].getType()).isF32();
  auto addNeighbours = [&](Value a, Value b) {
    Value even = shuffle(a, b, [](int64_t i) { return 2 * i; }, 16);
    Value odd = shuffle(a, b, [](int64_t i) { return 2 * i + 1; }, 16);
    return isFloat ? k.addf(even, odd) : addi(even, odd);
  };
  return addNeighbours(addNeighbours(tiles[0], tiles[1]),
                       addNeighbours(tiles[2], tiles[3]));
}

KernelBuilder::Values IntegerBuilder::transposeTiles(ArrayRef<Value> tiles) {
  // Halves, and halves of those, of each 128-bit part.
  auto interleave = [&](Value a, Value b, int64_t size, int64_t which) {
    return shuffle(
        a, b,
        [=](int64_t i) {
          int64_t in = i % 4 / size % 2 * 16 + i % size;
          return in + i / 4 * 4 + which * 2 + i % 4 / (2 * size) * size;
        },
        16);
  };
  Values low, high, columns;
  for (int64_t which : {0, 1}) {
    low.push_back(interleave(tiles[0], tiles[1], 1, which));
    high.push_back(interleave(tiles[2], tiles[3], 1, which));
  }
  for (int64_t pair : {0, 1})
    for (int64_t which : {0, 1})
      columns.push_back(interleave(low[pair], high[pair], 2, which));
  return columns;
}

Value IntegerBuilder::inRowOrder(Value sums) {
  return shuffle(sums, sums, getTransposedRow, 16);
}

Value IntegerBuilder::loadIntegers(Value memref, ValueRange at, Value mask) {
  Value loaded = k.loadElements(memref, at, mask);
  if (getElementTypeOrSelf(loaded).isInteger(32))
    return loaded;
  return arith::ExtUIOp::create(k.builder, k.loc, k.vecI32, loaded);
}
