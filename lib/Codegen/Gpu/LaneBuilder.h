//===- LaneBuilder.h - Kernels for the lanes of a block ---------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Short forms to build kernels around the products of a model. Buffers are
// memrefs of static shape, which become bare pointers.
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_LIB_CODEGEN_GPU_LANEBUILDER_H
#define GANQ_LIB_CODEGEN_GPU_LANEBUILDER_H

#include "../KernelBuilder.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"

namespace ganq {

/// KernelBuilder's scalars, and what lanes of a block need.
class LaneBuilder : public KernelBuilder {
public:
  static constexpr int64_t kWarp = 32;

  /// For blocks of `threads` lanes; `shared` are the buffers of the block.
  LaneBuilder(mlir::OpBuilder &builder, mlir::Location loc, mlir::Block *frame,
              int64_t threads, mlir::ValueRange shared);

  const int64_t threads;
  Value lane;  ///< Number of the lane in the block.
  Value block; ///< Number of the block.
  Values shared;

  void barrier();
  /// Sum or maximum of the values of all lanes of a warp, in each of them.
  Value warpSum(Value value);
  Value warpMaximum(Value value);
  /// The same of a block; `memref` has a place for each warp.
  Value blockSum(Value value, Value memref);
  Value blockMaximum(Value value, Value memref);
  /// Runs `body` for each i < count that falls to this lane.
  void forLanes(Value count, llvm::function_ref<void(Value)> body);
  /// Indices of element `linear` of a row-major array.
  Values delinearize(Value linear, llvm::ArrayRef<int64_t> shape);
  Value select(Value condition, Value a, Value b);
  Value equal(Value a, Value b);
  Value both(Value a, Value b);
  Value exp(Value x);
  /// As KernelBuilder has them, but f16 saturates.
  Value truncate(Value value, mlir::Type element);
  void store(Value value, Value memref, mlir::ValueRange indices);
  /// Copies one element, converted where the types differ.
  void copy(Value from, mlir::ValueRange fromIndices, Value to,
            mlir::ValueRange toIndices);

private:
  Value exchange(Value value, int64_t distance);
  Value acrossWarps(Value value, Value memref,
                    llvm::function_ref<Value(Value, Value)> combine);
};

/// The kernels of `gpu.module @ganq_kernels`; equal ones are kept once.
class GpuKernelLibrary {
public:
  GpuKernelLibrary(mlir::ModuleOp module);

  using Body = llvm::function_ref<void(LaneBuilder &, mlir::ValueRange inputs)>;

  /// Launches `blocks` blocks of `threads` lanes at the builder's place. The
  /// kernel's parameters are the buffers `inputs`; `shared` are the types of
  /// what each block has for itself. With `then`, a launch of as many blocks
  /// and threads that follows, each block goes on as its block, and it is
  /// erased.
  void launch(mlir::OpBuilder &builder, mlir::Location loc,
              llvm::StringRef name, int64_t blocks, int64_t threads,
              mlir::ValueRange inputs, llvm::ArrayRef<mlir::MemRefType> shared,
              Body body, mlir::gpu::LaunchFuncOp then = {});
  /// Launches one lane for each element of an array of this shape; with `then`,
  /// a block for each row of it.
  void
  launchElements(mlir::OpBuilder &builder, mlir::Location loc,
                 llvm::StringRef name, llvm::ArrayRef<int64_t> shape,
                 mlir::ValueRange inputs,
                 llvm::function_ref<void(LaneBuilder &, mlir::ValueRange inputs,
                                         const KernelBuilder::Values &at)>
                     body,
                 mlir::gpu::LaunchFuncOp then = {});
  /// Erases kernels that were launched by `then` alone.
  void eraseUnused();

  unsigned getNumKernels() const { return kernels.size(); }

private:
  mlir::gpu::GPUModuleOp kernelModule;
  mlir::SymbolTable symbols;
  llvm::StringMap<mlir::gpu::GPUFuncOp> kernels; ///< By their text.
  llvm::SmallSetVector<mlir::Operation *, 4> joined;
};

/// A wider float on its way to `target`: within the greatest finite numbers of
/// f16 where that is the target, nan as it is; unchanged for other targets.
mlir::Value saturate(mlir::OpBuilder &builder, mlir::Location loc,
                     mlir::Value value, mlir::Type target);
/// What saturate(x) is made of; null where `value` is not saturated.
mlir::Value findSaturated(mlir::Value value);

/// A buffer of a block: `count` floats.
mlir::MemRefType getSharedFloats(mlir::MLIRContext *context, int64_t count);

inline mlir::MemRefType typeOf(mlir::Value memref) {
  return mlir::cast<mlir::MemRefType>(memref.getType());
}

} // namespace ganq

#endif // GANQ_LIB_CODEGEN_GPU_LANEBUILDER_H
