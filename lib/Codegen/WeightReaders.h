//===- WeightReaders.h - Weights of a product as vectors of f32 -*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The hole of the product's skeleton (MatmulKernels.cpp): a reader gives the
// weights of a tile of four rows, sixteen columns at a time, in whatever form
// they lie in memory.
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_LIB_CODEGEN_WEIGHTREADERS_H
#define GANQ_LIB_CODEGEN_WEIGHTREADERS_H

#include "KernelBuilder.h"
#include "ganq/Support/CodeLayout.h"
#include <memory>

namespace ganq {

/// Kept weights in compressed rows, added to the decoded ones: row n holds the
/// entries start[n] <= i < start[n + 1], columns in ascending order.
struct SparseRows {
  mlir::Value start;  ///< [N + 1], i32
  mlir::Value column; ///< i16 or i32, unsigned
  mlir::Value value;  ///< f16
};

/// Weights of a tile of four rows.
class WeightReader {
public:
  using Value = mlir::Value;
  static constexpr int64_t kLanes = KernelBuilder::kLanes;
  static constexpr int64_t kRowTile = CodeLayout::kRowTile;

  virtual ~WeightReader() = default;
  /// Columns that one call of `beginGranule` covers, a multiple of 16.
  virtual int64_t getGranule() const = 0;
  /// Columns that one call of `beginGroup` covers; 0 for the whole row. A
  /// multiple of the granule, or an equal part of it in whole vectors.
  virtual int64_t getGroup() const { return 0; }
  /// Order in which the vectors of a granule are decoded best.
  virtual llvm::SmallVector<int64_t> getOrder(int64_t chunks) const;
  /// Emits what all tiles share, before the loop over them. `sharing` rows of x
  /// use a decoded vector while their sums occupy registers; 0 where decoded
  /// vectors go to memory and no row is decoded twice.
  virtual void begin(KernelBuilder &k, int64_t sharing) {}
  virtual void beginTile(KernelBuilder &k, Value tile) = 0;
  virtual void beginGroup(KernelBuilder &k, Value group) {}
  /// Starts at granule number `granule` of the row; `count` vectors follow.
  virtual void beginGranule(KernelBuilder &k, Value granule, int64_t count) = 0;
  /// Vector `chunk` of the granule for row `row` of the tile.
  virtual Value decode(KernelBuilder &k, int64_t row, int64_t chunk,
                       Value mask) = 0;
  /// A factor, f32, that all decoded values of a row of the tile still lack;
  /// null for none. Sums are multiplied by it.
  virtual Value getRowScale(KernelBuilder &k, int64_t row) { return {}; }
  /// Whether what `decode` and the scale of a row give has at most 16
  /// significant bits.
  virtual bool hasShortWeights() const { return false; }
  /// What is added to the decoded values; null for nothing.
  virtual const SparseRows *getSparseRows() const { return nullptr; }
};

/// Reads f32, f16 or bf16 of shape [n, K].
std::unique_ptr<WeightReader> createFloatReader(mlir::Value weight, int64_t n);

/// Reads the components of a scheme; null for a scheme whose values no reader
/// knows.
std::unique_ptr<WeightReader> createReader(SchemeAttrInterface scheme,
                                           mlir::ValueRange components,
                                           int64_t n, int64_t k);

/// Whether `createReader` knows the scheme.
bool hasReader(SchemeAttrInterface scheme);

} // namespace ganq

#endif // GANQ_LIB_CODEGEN_WEIGHTREADERS_H
