//===- IntegerBuilder.h - Vectors of codes in kernels -----------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Products of integers work on 64 bytes: four rows of a weight times 16
// columns, as CodeLayout has them, kept as 16 i32 whose bytes are codes. Sums
// are 16 i32 as well, four for each row. AVX2 takes two registers for each.
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_LIB_CODEGEN_INTEGERBUILDER_H
#define GANQ_LIB_CODEGEN_INTEGERBUILDER_H

#include "KernelBuilder.h"

namespace ganq {

class IntegerBuilder {
public:
  using Value = mlir::Value;
  using Values = KernelBuilder::Values;

  /// For weights as bytes below 2^`bits` and centered activations of
  /// `activation` bits.
  IntegerBuilder(KernelBuilder &k, const CpuTarget &target, unsigned bits,
                 unsigned activation)
      : k(k), target(target), bits(bits), activation(activation) {}

  /// 64 bytes of codes from byte `at` of a buffer.
  Value loadWords(Value bytes, Value at);
  /// Entry `code` of each code, in its place.
  Value lookUp(mlir::ArrayRef<Value> table, Value codes);
  /// A table of 2^`codeBits` i8 entries for each of four rows of a weight, plus
  /// 128, as bytes: registers with 16 entries of each row. `tables` is [rows or
  /// row blocks, groups, entries]; `places` has the first index of each row, or
  /// one for all.
  Values loadTable(Value tables, mlir::ArrayRef<Value> places, Value group,
                   unsigned codeBits);
  /// 16 bytes of records at [row, at], for each of the four rows of a weight.
  Value loadInputs(Value records, Value row, Value at);
  /// The four bytes at [row, at], in all places.
  Value broadcastInputs(Value records, Value row, Value at);
  /// f32 number `position` of the header of a record.
  Value loadHeader(Value records, Value row, Value position);
  Value loadHeader(Value records, Value row, int64_t position);

  // Vectors of 16 i32.
  Value andi(Value a, Value b);
  Value ori(Value a, Value b);
  Value addi(Value a, Value b);
  Value subi(Value a, Value b);
  Value muli(Value a, Value b);
  /// Left for positive counts, else right, keeping the sign if `isSigned`.
  Value shift(Value a, int64_t count, bool isSigned);
  /// A byte in all places.
  Value splatByte(uint8_t value);
  Value toFloat(Value integers);
  Value toInteger(Value floats);

  /// sums + for each row the products of bytes of weights and inputs, exactly.
  /// Weights are unsigned, inputs signed.
  Value dot(Value sums, mlir::ArrayRef<Value> weights,
            mlir::ArrayRef<Value> inputs);
  /// Whether there is an instruction that adds four products to a sum.
  /// Otherwise products of two pairs are added up in 16 bits first.
  bool addsFour() const { return target.vnni || needsHalves(); }
  /// Products whose sum still fits 16 bits, where such sums are made.
  int64_t getRun() const;
  /// 32 products of neighbours, added to others or null.
  Value addPairs(Value pairs, Value weight, Value input);
  Value widenPairs(Value sums, Value pairs);
  /// Ones in each of 8 i64, from bits in 16 i32.
  Value countOnes(Value words);

  /// v[i] of the vectors of four tiles, added up by row: 16 sums.
  Value addPartials(mlir::ArrayRef<Value> tiles);

  /// Four vectors of four columns each of four tiles of 16 columns.
  Values transposeTiles(mlir::ArrayRef<Value> tiles);
  /// The row of the four tiles that is in a place of such a vector.
  static int64_t getTransposedRow(int64_t place) {
    return place % 4 * 4 + place / 4;
  }
  /// The sums of rows in that order as row by row.
  Value inRowOrder(Value sums);

  /// `count` elements of a buffer of integers as 16 unsigned i32; all of them
  /// without a mask.
  Value loadIntegers(Value memref, mlir::ValueRange at, Value mask);

  KernelBuilder &k;
  const CpuTarget &target;

private:
  Value shuffle(Value a, Value b, llvm::function_ref<int64_t(int64_t)> from,
                int64_t size);
  Value half(Value vector, int64_t index);
  /// Calls an intrinsic on whole vectors, or on halves with AVX2.
  Value intrinsic(mlir::StringRef wide, mlir::StringRef narrow,
                  mlir::VectorType result, mlir::ArrayRef<Value> args);
  Value asBytes(Value words);
  Value multiplyPairs(Value weight, Value input);
  /// Whether a pair of products may exceed 16 bits, so that the top bit of
  /// weights goes by itself.
  bool needsHalves() const { return bits == 8 && activation == 8; }

  unsigned bits, activation;
};

} // namespace ganq

#endif // GANQ_LIB_CODEGEN_INTEGERBUILDER_H
