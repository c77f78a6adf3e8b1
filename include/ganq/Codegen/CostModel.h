//===- CostModel.h - What kernels of products cost --------------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The one place of rules that choose how a product is computed, and of the
// counts that tell what a choice costs.
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_CODEGEN_COSTMODEL_H
#define GANQ_CODEGEN_COSTMODEL_H

#include "ganq/IR/GanqDialect.h"
#include "ganq/Target/CpuTarget.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include <algorithm>

namespace ganq {

/// How a product is computed, and how much of it at once.
struct KernelTile {
  enum class Kind {
    registers, ///< Weights are decoded in registers, for `rows` rows of x.
    panels,    ///< They are decoded to the first cache, for `served` rows.
    tiles,     ///< The same; tile registers (AMX) multiply.
    planes,    ///< Ones are counted in planes of bits.
  };
  Kind kind = Kind::registers;
  int64_t rows = 1; ///< Of x whose sums stay in registers.
  int64_t served = 0;
  /// Of W that are decoded at once; groups and units of codes may ask for
  /// fewer or a little more.
  int64_t columns = 0;

  /// `registers rows=4`, `panels rows=12 served=256 columns=256`.
  std::string str() const;
};

/// The tiles that kernels of a product in buffer form exist for, a
/// `ganq.matmul` or `ganq.packed_matmul`: at least one.
llvm::SmallVector<KernelTile> listTiles(mlir::Operation *product,
                                        const CpuTarget &target);

/// Name of the attribute of a product that names its tile, as `str()` does, in
/// place of the cost model.
inline constexpr llvm::StringLiteral kTileAttrName = "ganq.tile";

/// How codes of a weight and of the activation are multiplied: by counting ones
/// where that takes fewer instructions. The scheme rounds activations.
Strategy chooseStrategy(SchemeAttrInterface scheme);

/// Columns of a whole unit of codes, of which groups must be multiples where
/// ones are counted.
int64_t getCountedColumns(SchemeAttrInterface scheme);

/// What one call of a kernel takes.
struct KernelCost {
  /// Instructions in its loops, as the kernel's operations say before LLVM has
  /// seen them: one for each register of a vector; loads that are used once are
  /// operands; none for addresses. Those of tile registers count by the cycles
  /// of their unit. A loop of unknown length counts once.
  int64_t instructions = 0;
  /// Of the weight, as it is stored.
  int64_t bytes = 0;
  /// Seconds of one thread for the instructions that compute, beside which
  /// others load and store, and for those of tile registers.
  double computing = 0;
  /// Seconds of one thread for reading the weight.
  double reading = 0;
  /// Whether the weight is read in all of the kernel, and not just where it is
  /// decoded for many rows.
  bool overlaps = true;

  double getSeconds() const {
    return overlaps ? std::max(computing, reading) : computing + reading;
  }
  bool isBoundByMemory() const { return reading >= computing; }
};

/// Counts a kernel (lo, hi, inputs...) -> () over `items` items.
KernelCost countKernel(mlir::func::FuncOp kernel, int64_t items, int64_t bytes,
                       const CpuTarget &target,
                       KernelTile::Kind kind = KernelTile::Kind::registers);

/// Bytes of a product's weight, as it is stored.
int64_t getWeightBytes(mlir::Operation *product);

/// The cost of the kernel that `product` calls, in the module's attribute
/// `ganq.kernels`: an array of dictionaries with the weight's key, the function
/// ("decode", ...), the kernel's name and tile, rows of x, instructions, bytes
/// and nanoseconds of one thread.
mlir::DictionaryAttr describeProduct(mlir::Operation *product,
                                     llvm::StringRef kernel,
                                     const KernelTile &tile,
                                     const KernelCost &cost);

} // namespace ganq

#endif // GANQ_CODEGEN_COSTMODEL_H
