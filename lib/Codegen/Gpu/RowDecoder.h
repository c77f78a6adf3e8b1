//===- RowDecoder.h - Codes of a row to operands of mma ---------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The hole of the skeletons. A decoder emits the code by which one thread turns
// the words of a slot of one row (GpuLayout) into operands.
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_LIB_CODEGEN_GPU_ROWDECODER_H
#define GANQ_LIB_CODEGEN_GPU_ROWDECODER_H

#include "GpuBuilder.h"
#include "ganq/Codegen/Gpu/GpuKernels.h"

namespace ganq {

/// Parameters of a kernel, null where it has none.
struct GpuOperands {
  mlir::Value out, x, codes, table, scale, zero, weightSum, xScale, xZero, xSum,
      bias, residual, m, n, k;
  /// N rounded up to whole row tiles, and granules of a row.
  mlir::Value paddedRows, granules;
  /// Number of the block among those of its product.
  mlir::Value rowBlock;
};

/// The words of one slot, and what was computed from them before.
struct GpuSlot {
  GpuBuilder::Values words;
  llvm::DenseMap<std::pair<int64_t, int64_t>, mlir::Value> memo;
};

class RowDecoder {
public:
  using Value = mlir::Value;
  using Values = GpuBuilder::Values;

  RowDecoder(GpuBuilder &k, const GpuLayout &layout, mlir::FloatType type)
      : k(k), layout(layout), type(type) {}
  virtual ~RowDecoder() = default;

  /// Loads what a row needs all the time. `row` is below the padded N.
  virtual void beginRow(const GpuOperands &operands, Value row) {}
  /// Sets scales and zero points of the groups of a granule: first all of one,
  /// then all of the other, of `type`.
  virtual void beginGranule(mlir::ValueRange values) {}
  /// Columns 2c and 2c + 1 of a slot as a pair of floats.
  virtual Value pair(GpuSlot &slot, int64_t c) { return {}; }
  /// What the sums of a row are multiplied by, as f32; null for 1.
  virtual Value rowScale(const GpuOperands &operands, Value row) { return {}; }

protected:
  /// `word` of the slot shifted right, once.
  Value shifted(GpuSlot &slot, int64_t word, int64_t by);

  GpuBuilder &k;
  const GpuLayout &layout;
  mlir::FloatType type;
};

/// What a scheme asks of the skeletons.
struct GpuDecoding {
  GpuLayout::Order order;
  unsigned bits;
  int64_t group = 0;      ///< Columns that share a scale; 0 for a row.
  int64_t parameters = 0; ///< Parameters per group: scale, zero point.
  int exponentBit = 10;
  bool table = false, zero = false, scale = false;
};

/// An error names what the GPU kernels do not support.
llvm::Expected<GpuDecoding> getGpuDecoding(const GpuMatmulSpec &spec);

/// Reads its weights from a table of pairs in shared memory, one bank per lane,
/// which the block fills first (ganq.md: conflict-free pair table).
class SharedTableDecoder : public RowDecoder {
public:
  using RowDecoder::RowDecoder;
  /// Fills the table for row `row` = first row of the block + lane; `warp` of
  /// `warps` does its part. A barrier must follow.
  void fill(const GpuOperands &operands, Value shared, Value row, Value lane,
            Value warp, int64_t warps);
  Value pair(GpuSlot &slot, int64_t c) override;

private:
  int64_t getMask() const {
    return layout.getBits() == 4 ? 0xff : layout.getBits() == 3 ? 0x77 : 0x33;
  }
  Value table, laneOffset;
};

/// Keeps the table of its row in registers and picks bytes from it.
std::unique_ptr<RowDecoder> createRegisterTableDecoder(GpuBuilder &k,
                                                       const GpuLayout &layout,
                                                       mlir::FloatType type);
/// Any other scheme. Without `scaled` the weights of a uniform scheme wait for
/// the scales of their groups, and a granule has zero points only.
std::unique_ptr<RowDecoder> createRowDecoder(GpuBuilder &k,
                                             const GpuLayout &layout,
                                             const GpuDecoding &decoding,
                                             mlir::FloatType type,
                                             bool scaled = true);

/// Columns 4q to 4q + 3 of a slot in the order `Bytes`, as bytes.
mlir::Value decodeBytes(GpuBuilder &k, const GpuLayout &layout, GpuSlot &slot,
                        int64_t quad);

} // namespace ganq

#endif // GANQ_LIB_CODEGEN_GPU_ROWDECODER_H
