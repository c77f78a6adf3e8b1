//===- KernelBuilder.h - Short forms to build kernels -----------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Kernels compute in vectors of 16 f32, one AVX-512 register or two of AVX2,
// whatever the element type in memory.
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_LIB_CODEGEN_KERNELBUILDER_H
#define GANQ_LIB_CODEGEN_KERNELBUILDER_H

#include "SharedFunctions.h"
#include "ganq/Codegen/CostModel.h"
#include "ganq/IR/GanqDialect.h"
#include "ganq/Target/CpuTarget.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/IR/BuiltinOps.h"
#include "llvm/ADT/StringMap.h"

namespace ganq {

class KernelBuilder {
public:
  static constexpr int64_t kLanes = 16;
  using Value = mlir::Value;
  using Values = llvm::SmallVector<mlir::Value>;

  /// `frame` is the entry block of the kernel, which holds its buffers.
  KernelBuilder(mlir::OpBuilder &builder, mlir::Location loc, bool avx512,
                mlir::Block *frame = nullptr);

  mlir::OpBuilder &builder;
  mlir::Location loc;
  const bool avx512;
  mlir::Block *const frame;
  mlir::FloatType f32;
  mlir::VectorType vecF32, vecI32, vecI1;

  // Scalars of type index.
  Value index(int64_t value);
  Value add(Value a, Value b);
  Value add(Value a, int64_t b);
  Value sub(Value a, Value b);
  Value mul(Value a, Value b);
  Value mul(Value a, int64_t b);
  Value div(Value a, Value b);
  Value div(Value a, int64_t b);
  Value rem(Value a, Value b);
  Value min(Value a, Value b);
  Value max(Value a, Value b);
  Value less(Value a, Value b);
  /// Size of a dimension; a constant where the type gives it.
  Value dim(Value memref, int64_t dimension);

  // Floats, scalar or vector.
  Value constant(float value);
  Value splat(float value);
  Value splat(Value scalar);
  Value splatInt(int32_t value);
  /// Vectors of i32: bits of `a` where `mask` has ones, of `b` elsewhere. One
  /// instruction with AVX-512.
  Value selectBits(uint32_t mask, Value a, Value b);
  Value addf(Value a, Value b);
  Value subf(Value a, Value b);
  Value mulf(Value a, Value b);
  Value divf(Value a, Value b);
  Value maxf(Value a, Value b);
  Value fma(Value a, Value b, Value c);
  Value negf(Value a);
  /// exp of a vector, accurate to 2 ulp; 0 below the normal range.
  Value exp(Value x);
  /// Reduction over the lanes of a vector.
  Value sum(Value vector);
  Value maximum(Value vector);
  /// To f32 from the element type of memory, and back.
  Value extend(Value value);
  Value truncate(Value value, mlir::Type element);

  // Memory. Loads return f32, stores take f32; a null mask means all lanes.
  Value load(Value memref, mlir::ValueRange indices);
  void store(Value value, Value memref, mlir::ValueRange indices);
  Value loadVector(Value memref, mlir::ValueRange indices, Value mask = {});
  /// Asks for the cache line of an element, which may lie outside the memref.
  void prefetch(Value memref, mlir::ValueRange indices);
  void storeVector(Value value, Value memref, mlir::ValueRange indices,
                   Value mask = {});
  /// Like loadVector, but in the type that memory has.
  Value loadElements(Value memref, mlir::ValueRange indices, Value mask = {});
  /// A matrix, or a vector as it is, as a vector of all elements.
  Value flatten(Value memref);
  /// A buffer of f32, or of `element`, in the frame of the kernel.
  Value scratch(llvm::ArrayRef<int64_t> shape, mlir::Type element = {});

  /// Columns of a square whose rows are the given vectors.
  Values transpose(Values rows);

  /// The first `count` lanes; null for all of them.
  Value laneMask(int64_t count);

  // Control flow.
  void loop(Value lower, Value upper, int64_t step,
            llvm::function_ref<void(Value)> body);
  Values loop(Value lower, Value upper, int64_t step, mlir::ValueRange inits,
              llvm::function_ref<Values(Value, mlir::ValueRange)> body);
  void when(Value condition, llvm::function_ref<void()> body);
  /// Runs `body(offset, mask, values)` for each vector of [0, extent); the
  /// mask is null but for a last incomplete vector.
  Values
  chunks(Value extent, mlir::ValueRange inits,
         llvm::function_ref<Values(Value, Value, mlir::ValueRange)> body);
  void chunks(Value extent, llvm::function_ref<void(Value, Value)> body);

private:
  /// Masked access to bf16, for which LLVM would call into compiler-rt.
  void
  forEachLane(mlir::ValueRange indices, Value mask,
              llvm::function_ref<void(int64_t, Value, mlir::ValueRange)> body);
};

/// The kernels of a module: private functions (lo, hi, inputs...), one for each
/// key, and no two of the same body.
class KernelLibrary {
public:
  using Body = llvm::function_ref<void(KernelBuilder &, mlir::Value lo,
                                       mlir::Value hi, mlir::ValueRange)>;

  KernelLibrary(mlir::ModuleOp module, const CpuTarget &target);

  /// Runs the kernel for `key` over [0, count) at the builder's place, on all
  /// threads when `work`, in innermost iterations, is large or unknown (-1).
  void call(mlir::OpBuilder &builder, mlir::Location loc, llvm::StringRef name,
            const std::string &key, mlir::Value count, mlir::ValueRange inputs,
            int64_t work, Body body);

  using ProductBody =
      llvm::function_ref<void(KernelBuilder &, mlir::Value lo, mlir::Value hi,
                              mlir::ValueRange, const KernelTile &)>;

  /// The same for a product, with the kernel of the tile that the cost model
  /// expects to be the fastest, or that the product's attribute names.
  /// `itemsOf` gives the work items of a tile.
  void callProduct(mlir::OpBuilder &builder, mlir::Operation *product,
                   llvm::StringRef name, const std::string &key,
                   llvm::function_ref<int64_t(const KernelTile &)> itemsOf,
                   mlir::ValueRange inputs, int64_t work, ProductBody body);

  /// The calls from here to endGroup() write nothing that another one of them
  /// touches: they become one dispatch, in which each thread takes its share of
  /// every one. endGroup() emits it at the builder's place.
  void beginGroup() { grouping = true; }
  void endGroup(mlir::OpBuilder &builder, mlir::Location loc);

  bool hasAvx512() const { return target.avx512; }
  const CpuTarget &getTarget() const { return target; }
  /// Kernels of different keys that turn out equal count once.
  unsigned getNumKernels() const {
    return kernels.size() + products.size() - functions.getNumShared();
  }

  /// A kernel of products, with what it was chosen for.
  struct Product {
    mlir::func::FuncOp kernel;
    KernelTile tile;
    KernelCost cost;
    int64_t items = 0;
  };
  /// The kernel of the last callProduct().
  const Product &getLastProduct() const { return *lastProduct; }

private:
  struct Call {
    mlir::func::FuncOp kernel;
    mlir::Value count;
    llvm::SmallVector<mlir::Value> inputs;
    int64_t work;
  };
  using Emit = llvm::function_ref<void(mlir::OpBuilder &, mlir::Block *entry)>;

  /// A function outside of the module, whose body `emit` makes.
  mlir::func::FuncOp create(llvm::StringRef name, mlir::TypeRange inputs,
                            Emit emit);
  /// The function for `key`, made where it is new.
  mlir::func::FuncOp getKernel(llvm::StringRef name, const std::string &key,
                               mlir::TypeRange inputs, Emit emit);
  void addCall(mlir::OpBuilder &builder, mlir::Location loc, Call call);
  void emitCall(mlir::OpBuilder &builder, mlir::Location loc, Call &call);

  mlir::ModuleOp module;
  CpuTarget target;
  SharedFunctions functions;
  llvm::StringMap<mlir::func::FuncOp> kernels;
  llvm::StringMap<Product> products;
  const Product *lastProduct = nullptr;
  bool grouping = false;
  llvm::SmallVector<Call> group;
};

/// Emits the kernel call for an op in buffer form at the builder's place.
void lowerMatmul(mlir::OpBuilder &builder, KernelLibrary &library, MatmulOp op);
void lowerPackedMatmul(mlir::OpBuilder &builder, KernelLibrary &library,
                       PackedMatmulOp op);
/// Fails with a diagnostic where no kernel knows the scheme of the weight.
mlir::LogicalResult checkPackedMatmul(PackedMatmulOp op);
void lowerRmsNorm(mlir::OpBuilder &builder, KernelLibrary &library,
                  RmsNormOp op);
void lowerLayerNorm(mlir::OpBuilder &builder, KernelLibrary &library,
                    LayerNormOp op);
void lowerSwiglu(mlir::OpBuilder &builder, KernelLibrary &library, SwigluOp op);
void lowerRope(mlir::OpBuilder &builder, KernelLibrary &library, RopeOp op);
void lowerPositionRows(mlir::OpBuilder &builder, KernelLibrary &library,
                       PositionRowsOp op);
void lowerKvUpdate(mlir::OpBuilder &builder, KernelLibrary &library,
                   KvUpdateOp op);
void lowerAttention(mlir::OpBuilder &builder, KernelLibrary &library,
                    AttentionOp op);

/// Views a buffer [..., C] as [rows, C].
mlir::Value asMatrix(mlir::OpBuilder &builder, mlir::Location loc,
                     mlir::Value memref);
/// Views a buffer with one size more dynamic, so that kernels are shared.
mlir::Value withDynamicRows(mlir::OpBuilder &builder, mlir::Location loc,
                            mlir::Value matrix);
/// Elements of a buffer, or -1.
int64_t staticElements(mlir::Value memref);
/// A key of types and values.
std::string kernelKey(mlir::ValueRange inputs, llvm::StringRef rest = "");

} // namespace ganq

#endif // GANQ_LIB_CODEGEN_KERNELBUILDER_H
