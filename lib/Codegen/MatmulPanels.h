//===- MatmulPanels.h - Products of many rows of x --------------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_LIB_CODEGEN_MATMULPANELS_H
#define GANQ_LIB_CODEGEN_MATMULPANELS_H

#include "MatmulSkeleton.h"

namespace ganq {

/// The skeleton for many rows of x. A work item is a panel of W.
class PanelSkeleton : public MatmulSkeleton {
public:
  using MatmulSkeleton::MatmulSkeleton;

  /// Rows of W in a panel.
  static int64_t getPanelRows(bool avx512) { return (avx512 ? 2 : 1) * kLanes; }

  void emit(Value lo, Value hi) override;

protected:
  int64_t panelVectors() const { return getPanelRows(k.avx512) / kLanes; }

  /// Buffers, for as many rows of x.
  virtual void makeScratch(int64_t served);

  /// Copies a block of `count` rows of x.
  virtual void pack(Value first, Value count, Value column,
                    int64_t columnCount);

  /// Transposes decoded[row][column] to rows `first` on of the panel, in
  /// squares of one register wide.
  virtual void transposeTo(Value first, int64_t count);

  /// Adds the product of a block of columns to out, for all served rows.
  virtual void multiply(Value number, Value first, Value count, int64_t known,
                        Value block, int64_t columnCount);

  /// Where the results of a panel go: columns of out, and masks of vectors
  /// where there are fewer.
  struct Columns {
    Values places, masks;
  };
  Columns beginColumns(Value number);

  /// Adds a row of sums of block `block` to out.
  void addToOut(const Columns &at, Value row, Value block,
                mlir::ArrayRef<Value> sums);

  int64_t size = 0; ///< Columns of a block.
  Value packed;     ///< [served rows, columns of a block], of x
  Value decoded;    ///< [16, columns of a block], of W
  Value panel;      ///< [columns of a block, rows of a panel], of W

private:
  /// Columns of a block: whole groups or an equal part of one.
  int64_t getBlockColumns() const;

  /// Runs `body(first, count, known)` for the rows of x, as many at a time as a
  /// panel serves; `known` is -1 where the count is not static.
  void forServedRows(llvm::function_ref<void(Value, Value, int64_t)> body);

  /// Decodes block number `block` of the columns of a panel.
  void decodePanel(Value number, Value block, int64_t count);

  /// Decodes a block of columns of four rows to decoded[place + row][column].
  void decodeTile(Value tile, Value place, Value block, int64_t count);

  /// Adds what a row of the weight keeps in `count` columns from `column` on to
  /// row `place` of what is decoded. Columns ascend within a row.
  void addSparse(Value row, Value place, Value column, int64_t count);

  void multiplyRows(Value number, Value first, Value row, int64_t rows,
                    Value block, int64_t columnCount);
};

/// The same in tile registers (MatmulTiles.cpp).
class TiledPanelSkeleton : public PanelSkeleton {
public:
  using PanelSkeleton::PanelSkeleton;

protected:
  void makeScratch(int64_t served) override;
  void pack(Value first, Value count, Value column,
            int64_t columnCount) override;
  void transposeTo(Value first, int64_t count) override;
  void multiply(Value number, Value first, Value count, int64_t known,
                Value block, int64_t columnCount) override;

private:
  /// The same for `tiles` tiles of 16 rows of x from number `tile` on.
  void multiplyTiles(const Columns &at, Value tile, int64_t tiles, Value first,
                     Value count, Value block, int64_t columnCount);

  /// The `count` bf16 that add up to each value, two values to a word.
  Values split(Value low, Value high, int64_t count);
  void storeWords(Value words, Value to, Value first, Value step, int64_t part,
                  Value row);

  int64_t weightParts = 0; ///< The bf16 that add up to a weight.
  Value results;           ///< [tile of x, vector of the panel, 16, 16]
};

} // namespace ganq

#endif // GANQ_LIB_CODEGEN_MATMULPANELS_H
