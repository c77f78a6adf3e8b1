//===- BufferUses.h - Who reads and writes a buffer -------------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Step functions are one block of ops on buffers; a buffer is used as it is or
// through views of all of it (expand_shape, collapse_shape).
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_LIB_CODEGEN_GPU_BUFFERUSES_H
#define GANQ_LIB_CODEGEN_GPU_BUFFERUSES_H

#include "ganq/IR/GanqDialect.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "llvm/ADT/SetVector.h"
#include <optional>

namespace ganq {

/// A public function with arguments and without results: those are buffers of
/// the caller.
bool isStepFunction(mlir::func::FuncOp function);

/// Whether the op replaces all that the operand's buffer holds, and reads
/// nothing of it through this operand.
bool writesWhole(mlir::OpOperand &operand);

/// Whether the op may write through this operand. Knows ganq and linalg ops.
bool mayWrite(mlir::OpOperand &operand);

/// The buffer that a value has all elements of, in their order, or the value
/// itself.
mlir::Value getBufferRoot(mlir::Value value);
/// The buffer that a value is any view of, or the value itself: what may share
/// memory has the same.
mlir::Value getMemory(mlir::Value value);

/// Whether the op launches nothing and touches no elements of buffers.
bool isHostOp(mlir::Operation *op);

/// The uses of an allocation by ops of its block.
class BufferUses {
public:
  /// Nothing where the buffer is handed on to what is not understood.
  static std::optional<BufferUses> find(mlir::memref::AllocOp alloc);

  /// The ops that read or write it, in their order. Views are none of these.
  llvm::SmallVector<mlir::Operation *> ops;

  /// The buffer or a view of it.
  bool isView(mlir::Value value) const { return views.contains(value); }
  /// Those that the regions of an op use.
  llvm::SmallVector<mlir::Value> getCaptured(mlir::Operation *op) const;
  /// How many ops write some of it.
  unsigned countWrites() const;
  void eraseDeadViews();

private:
  llvm::SmallSetVector<mlir::Value, 4> views;
};

/// The view `value` of `root`, made of `replacement` instead, which has as many
/// elements, maybe of another type.
mlir::Value rebuildView(mlir::OpBuilder &builder, mlir::Value value,
                        mlir::Value root, mlir::Value replacement);

/// Replaces a view of `root` as operand by the same view of `replacement`.
void rebase(mlir::OpOperand &operand, mlir::Value root,
            mlir::Value replacement);

/// All of a buffer in another shape.
mlir::Value reshapeBuffer(mlir::OpBuilder &builder, mlir::Location loc,
                          mlir::Value buffer, mlir::MemRefType type);

} // namespace ganq

#endif // GANQ_LIB_CODEGEN_GPU_BUFFERUSES_H
