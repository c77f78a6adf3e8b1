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

namespace ganq {

/// Whether weights of a product with `rows` rows of x (-1: not known) are
/// decoded to the first cache once for all rows, instead of in registers for
/// each few of them.
bool decodesFirst(int64_t rows, bool avx512);

/// The same of a product of integers.
bool decodesIntegersFirst(int64_t rows, bool avx512);

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
  /// Seconds of one thread for the instructions that compute; others that load
  /// and store run beside them.
  double computing = 0;
  /// Of the weight, as it is stored.
  int64_t bytes = 0;

  /// Seconds of one thread: the longer of `computing` and reading the weight.
  double getSeconds() const;
  bool isBoundByMemory() const;
};

/// Counts a kernel (lo, hi, inputs...) -> () over `items` items.
KernelCost countKernel(mlir::func::FuncOp kernel, int64_t items, int64_t bytes,
                       const CpuTarget &target);

/// The cost of the kernel that `product` calls, in the module's attribute
/// `ganq.kernels`: an array of dictionaries with the weight's key, the function
/// ("decode", ...), the kernel's name, rows of x, instructions, bytes and
/// nanoseconds of one thread.
mlir::DictionaryAttr describeProduct(mlir::Operation *product,
                                     llvm::StringRef kernel,
                                     const KernelCost &cost);

} // namespace ganq

#endif // GANQ_CODEGEN_COSTMODEL_H
