//===- LowerToGpu.cpp - Step functions to launches of GPU kernels ---------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ModelKernels.h"
#include "ganq/Codegen/Gpu/Passes.h"
#include "mlir/Dialect/ControlFlow/IR/ControlFlowOps.h"
#include "mlir/Dialect/Linalg/Transforms/Transforms.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/IR/Matchers.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"
#include "mlir/Transforms/RegionUtils.h"
#include "llvm/ADT/TypeSwitch.h"
#include <limits>

namespace ganq {
#define GEN_PASS_DEF_LOWERTOGPU
#include "ganq/Codegen/Gpu/Passes.h.inc"
} // namespace ganq

using namespace mlir;
using namespace ganq;

namespace {

struct LowerToGpuPass : public ganq::impl::LowerToGpuBase<LowerToGpuPass> {
  using LowerToGpuBase::LowerToGpuBase;

  void runOnOperation() override {
    ModuleOp module = getOperation();
    // The whole model at once, with sizes that are known at run time only.
    if (auto main = module.lookupSymbol<func::FuncOp>("main"))
      if (main.getNumResults() &&
          SymbolTable::symbolKnownUseEmpty(main, module))
        main.erase();
    GpuKernelLibrary library(module);
    for (auto function : module.getOps<func::FuncOp>())
      if (isStepFunction(function) && failed(lower(function, library)))
        return signalPassFailure();
    library.eraseUnused();
    numKernels += library.getNumKernels();
  }

private:
  LogicalResult lower(func::FuncOp function, GpuKernelLibrary &library) {
    if (!llvm::hasSingleElement(function.getBody()))
      return function.emitOpError("expected one block in a step function");
    if (failed(movePast(function)))
      return failure();
    dropChecks(function);
    foldConversions(function);
    SmallVector<Operation *> ops;
    for (Operation &op : function.front()) {
      if (isOnHost(&op))
        continue;
      if (!isa<KernelOpInterface, KvUpdateOp, linalg::LinalgOp, memref::CopyOp>(
              op))
        return op.emitOpError("expected an op with a GPU kernel");
      ops.push_back(&op);
    }
    for (Operation *op : ops)
      if (failed(check(op)))
        return failure();
    // Launches with more than one op stand where the last of them is.
    llvm::DenseSet<Operation *> fused;
    llvm::DenseMap<Operation *, NewTokens> tokens;
    llvm::DenseMap<Operation *, linalg::GenericOp> sums;
    for (Operation *op : ops) {
      if (auto attention = dyn_cast<AttentionOp>(op)) {
        NewTokens found = findNewTokens(attention);
        for (Operation *member : found.getOps())
          fused.insert(member);
        tokens[op] = found;
      } else if (isa<RmsNormOp, LayerNormOp>(op)) {
        if (linalg::GenericOp sum = findSumBefore(op, op->getOperand(0))) {
          fused.insert(sum);
          sums[op] = sum;
        }
      }
    }
    IRRewriter builder(&getContext());
    for (Operation *op : ops) {
      if (fused.contains(op))
        continue;
      builder.setInsertionPoint(op);
      if (auto attention = dyn_cast<AttentionOp>(op)) {
        if (failed(
                lowerAttention(builder, library, attention, tokens.lookup(op))))
          return failure();
        continue;
      }
      if (failed(launch(builder, library, op, sums.lookup(op))))
        return failure();
    }
    for (Operation *op : ops)
      op->erase();
    eraseUnused(function);
    return success();
  }

  /// The count of tokens seen so far lies in memory of the device, so that the
  /// launches of a step are the same each time.
  static LogicalResult movePast(func::FuncOp function) {
    Block &entry = function.front();
    for (BlockArgument argument : entry.getArguments()) {
      if (isa<MemRefType>(argument.getType()))
        continue;
      if (!argument.getType().isIndex())
        return function.emitOpError(
                   "expected buffers and counts of tokens, but got ")
               << argument.getType();
      OpBuilder builder = OpBuilder::atBlockBegin(&entry);
      Location loc = argument.getLoc();
      argument.setType(MemRefType::get({1}, builder.getI64Type()));
      Value zero = arith::ConstantIndexOp::create(builder, loc, 0);
      auto load = memref::LoadOp::create(builder, loc, argument, zero);
      Value count = arith::IndexCastOp::create(builder, loc,
                                               builder.getIndexType(), load);
      argument.replaceAllUsesExcept(count, load);
    }
    function.setFunctionType(
        FunctionType::get(function.getContext(), entry.getArgumentTypes(), {}));
    return success();
  }

  /// The buffer that a count of tokens was loaded from; null where it comes
  /// from elsewhere.
  static Value findPast(Value count) {
    auto cast = count.getDefiningOp<arith::IndexCastOp>();
    auto load = cast ? cast.getIn().getDefiningOp<memref::LoadOp>() : nullptr;
    if (!load || !isa<BlockArgument>(load.getMemRef()) ||
        typeOf(load.getMemRef()) !=
            MemRefType::get({1}, IntegerType::get(count.getContext(), 64)))
      return {};
    return load.getMemRef();
  }

  /// The runtime checks tokens and their number before a step; kernels clamp
  /// indices. Nothing else is checked while kernels run.
  static void dropChecks(func::FuncOp function) {
    for (auto op : llvm::make_early_inc_range(function.getOps<cf::AssertOp>()))
      op.erase();
    eraseUnused(function);
  }

  /// Erases what is computed, loaded or written and never read.
  static void eraseUnused(func::FuncOp function) {
    for (bool changed = true; changed;) {
      changed = false;
      for (Operation &op : llvm::make_early_inc_range(
               llvm::reverse(function.front().getOperations()))) {
        bool dead = isOpTriviallyDead(&op) ||
                    (isa<memref::LoadOp>(op) && op.use_empty());
        if (dead)
          op.erase();
        changed |= dead;
      }
      for (auto alloc :
           llvm::make_early_inc_range(function.getOps<memref::AllocOp>())) {
        if (!llvm::all_of(alloc->getUses(), writesOnly))
          continue;
        for (Operation *user : llvm::to_vector(alloc->getUsers()))
          user->erase();
        alloc->erase();
        changed = true;
        break;
      }
    }
  }

  /// Whether the op of this use is there to write the buffer, and no other.
  static bool writesOnly(OpOperand &use) {
    auto op = dyn_cast<linalg::LinalgOp>(use.getOwner());
    return isa<memref::DeallocOp>(use.getOwner()) ||
           (op && op.isDpsInit(&use) && op.getNumDpsInits() == 1);
  }

  static bool isOnHost(Operation *op) {
    return isHostOp(op) || isa<memref::DeallocOp, memref::LoadOp,
                               func::ReturnOp, gpu::LaunchFuncOp>(op);
  }

  /// What the kernels rely on beyond the verifiers.
  static LogicalResult check(Operation *op) {
    if (auto update = dyn_cast<KvUpdateOp>(op))
      if (isBytes(update.getCache()))
        return reportRecords(op, update.getCache());
    if (auto attention = dyn_cast<AttentionOp>(op))
      for (Value cache : {attention.getK(), attention.getV()})
        if (isBytes(cache))
          return reportRecords(op, cache);
    // Kernels of loops take what the bodies capture as well.
    llvm::SetVector<Value> used(op->operand_begin(), op->operand_end());
    getUsedValuesDefinedAbove(op->getRegions(), used);
    for (Value operand : used) {
      if (isa<TensorType>(operand.getType()))
        return op->emitOpError("expected buffers, but got ")
               << operand.getType() << "; bufferize first";
      auto type = dyn_cast<MemRefType>(operand.getType());
      if (!type)
        continue;
      if (!type.hasStaticShape())
        return op->emitOpError("expected static shapes for GPU kernels, but "
                               "got ")
               << type;
      if (!type.getLayout().isIdentity())
        return op->emitOpError("expected buffers without strides, but got ")
               << type;
      // Kernels compute places with 32 bits.
      int64_t elements = type.getNumElements();
      if (elements < 1 || elements > std::numeric_limits<int32_t>::max())
        return op->emitOpError("expected buffers of 1 to 2147483647 elements "
                               "for GPU kernels, but got ")
               << type;
    }
    return success();
  }

  static bool isBytes(Value cache) {
    return getElementTypeOrSelf(cache.getType()).isInteger(8);
  }
  static LogicalResult reportRecords(Operation *op, Value cache) {
    return op->emitOpError("expected a cache of floats for GPU kernels, but "
                           "got ")
           << cache.getType() << "; compile with --kv-cache=f16";
  }

  static FailureOr<Value> getPast(Operation *op, Value count) {
    if (Value past = findPast(count))
      return past;
    return op->emitOpError("expected the count of tokens to be an argument of "
                           "the step function");
  }

  static LogicalResult lowerAttention(IRRewriter &builder,
                                      GpuKernelLibrary &library, AttentionOp op,
                                      NewTokens tokens) {
    FailureOr<Value> past = Value();
    if (op.getPast())
      past = getPast(op, op.getPast());
    if (failed(past))
      return failure();
    if (!canFuseNewTokens(op, tokens) && !tokens.getOps().empty()) {
      int64_t elements = countNewTokens(tokens);
      if (elements > std::numeric_limits<int32_t>::max())
        return op.emitOpError("expected queries, keys and values of new tokens "
                              "to have at most 2147483647 elements together, "
                              "but got ")
               << elements << "; compile with fewer tokens per chunk";
      launchNewTokens(builder, library, op.getLoc(), tokens, *past);
    }
    launchAttention(builder, library, op, *past, tokens);
    return success();
  }

  /// The launch that rounds the rows that `op` writes, if a block for each row
  /// can do both.
  static gpu::LaunchFuncOp findRoundingOf(Operation *op) {
    Value out;
    if (auto generic = dyn_cast<linalg::GenericOp>(op)) {
      if (generic.getNumDpsInits() != 1 ||
          generic.getNumParallelLoops() != generic.getNumLoops() ||
          !generic.getIndexingMapsArray().back().isIdentity())
        return {};
      out = generic.getDpsInits()[0];
    } else if (isa<RmsNormOp, LayerNormOp, SwigluOp>(op)) {
      out = op->getOperands().back();
    } else {
      return {};
    }
    if (typeOf(out).getRank() == 0)
      return {};
    int64_t columns = typeOf(out).getShape().back();
    return findRounding(op, out, typeOf(out).getNumElements() / columns,
                        columns);
  }

  static LogicalResult launch(IRRewriter &builder, GpuKernelLibrary &library,
                              Operation *op, linalg::GenericOp sum) {
    gpu::LaunchFuncOp then = findRoundingOf(op);
    auto withPast = [&](auto emit, auto op, Value count) -> LogicalResult {
      FailureOr<Value> past = getPast(op, count);
      if (failed(past))
        return failure();
      emit(builder, library, op, *past);
      return success();
    };
    auto plain = [&](auto emit, auto op) -> LogicalResult {
      emit(builder, library, op);
      return success();
    };
    return llvm::TypeSwitch<Operation *, LogicalResult>(op)
        .Case([&](RmsNormOp op) {
          launchRmsNorm(builder, library, op, sum, then);
          return success();
        })
        .Case([&](LayerNormOp op) {
          launchLayerNorm(builder, library, op, sum, then);
          return success();
        })
        .Case([&](SwigluOp op) {
          launchSwiglu(builder, library, op, then);
          return success();
        })
        .Case([&](RopeOp op) { return plain(launchRope, op); })
        .Case([&](MatmulOp op) { return plain(launchMatmul, op); })
        .Case([&](PositionRowsOp op) {
          return withPast(launchPositionRows, op, op.getPast());
        })
        .Case([&](KvUpdateOp op) {
          return withPast(launchKvUpdate, op, op.getPast());
        })
        .Case([&](memref::CopyOp op) {
          auto generic = linalg::makeMemRefCopyOp(
              builder, op.getLoc(), op.getSource(), op.getTarget());
          LogicalResult result =
              launchLinalg(builder, library, generic, gpu::LaunchFuncOp());
          generic->erase();
          return result;
        })
        .Case([&](linalg::LinalgOp op) {
          return launchLinalg(builder, library, op, then);
        })
        .Default([](Operation *op) {
          return op->emitOpError("expected an op with a GPU kernel");
        });
  }
};

} // namespace
