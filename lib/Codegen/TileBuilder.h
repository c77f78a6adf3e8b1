//===- TileBuilder.h - Short forms for tile registers -----------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// AMX has eight registers of up to 16 rows of 64 bytes. One instruction adds to
// 16 x 16 sums of 32 bits the products of 16 rows of 64 bytes with 16 columns.
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_LIB_CODEGEN_TILEBUILDER_H
#define GANQ_LIB_CODEGEN_TILEBUILDER_H

#include "KernelBuilder.h"

namespace ganq {

class TileBuilder {
public:
  using Value = mlir::Value;

  static constexpr int64_t kRows = 16;
  static constexpr int64_t kBytes = 64;

  explicit TileBuilder(KernelBuilder &k);

  /// The address of byte `offset` of a buffer without strides.
  Value address(Value memref, Value offset);

  // Sums: `rows` rows of 16 values of 32 bits.
  Value zero(int64_t rows);
  Value loadSums(Value address, int64_t rows);
  void storeSums(Value tile, Value address, int64_t rows);

  /// `rows` rows of `bytes` bytes that lie `stride` bytes apart.
  Value load(Value address, int64_t rows, int64_t bytes, int64_t stride);

  /// sums[m][n] + sum over the `bytes` of a row of `signedRows` of
  /// signedRows[m][4 i + j] * columns[i][4 n + j], whose bytes are unsigned.
  Value dot(Value sums, Value signedRows, Value columns, int64_t rows,
            int64_t bytes);

  /// sums[m][n] + sum over i, j < 2 of rows[m][2 i + j] * columns[i][2 n + j],
  /// all of bf16 and whole tiles. Denormals count as zero.
  Value dotFloats(Value sums, Value rows, Value columns);

private:
  Value call(mlir::StringRef name, llvm::ArrayRef<Value> args);
  Value shape(int64_t size);

  KernelBuilder &k;
  mlir::Type tile;
};

} // namespace ganq

#endif // GANQ_LIB_CODEGEN_TILEBUILDER_H
