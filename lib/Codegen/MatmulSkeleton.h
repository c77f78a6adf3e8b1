//===- MatmulSkeleton.h - What the skeletons of products share --*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_LIB_CODEGEN_MATMULSKELETON_H
#define GANQ_LIB_CODEGEN_MATMULSKELETON_H

#include "WeightReaders.h"

namespace ganq {

/// out[m, n] = sum over k of x[m, k] w[n, k], plus bias[n], with a hole for the
/// weights. K and n are static, m may be dynamic.
class MatmulSkeleton {
public:
  using Value = mlir::Value;
  using Values = KernelBuilder::Values;
  static constexpr int64_t kLanes = KernelBuilder::kLanes;
  static constexpr int64_t kRowTile = WeightReader::kRowTile;

  /// x and out are matrices; `bias` may be null.
  MatmulSkeleton(KernelBuilder &k, WeightReader &reader, Value x, Value bias,
                 Value out, int64_t columns, const KernelTile &tile);
  virtual ~MatmulSkeleton() = default;

  /// Emits the work items lo <= i < hi.
  virtual void emit(Value lo, Value hi) = 0;

protected:
  /// Whether a group is a part of a granule and begins between its vectors.
  bool groupsWithinGranule() const {
    return reader.getGroup() && reader.getGroup() < reader.getGranule();
  }
  /// Columns of a group, or of the granule that holds several.
  int64_t getGroupColumns() const;
  /// Begins a group that is no part of a granule.
  void beginGroup(Value group) {
    if (!groupsWithinGranule())
      reader.beginGroup(k, group);
  }
  /// Begins the group, if any, that begins with a vector of a granule.
  void beginChunk(Value granule, int64_t chunk);

  /// The first entry of a row in the sparse part, or the end of the row before.
  Value sparseEntry(Value row);
  Value sparseColumn(Value entry);

  KernelBuilder &k;
  WeightReader &reader;
  Value x, bias, out;
  const KernelTile chosen;
  int64_t columns, m, n; ///< `m` is -1 where it is dynamic.
};

} // namespace ganq

#endif // GANQ_LIB_CODEGEN_MATMULSKELETON_H
