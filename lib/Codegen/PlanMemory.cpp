//===- PlanMemory.cpp - One arena for the buffers of an entry -------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/Codegen/Passes.h"
#include "ganq/IR/GanqDialect.h"
#include "mlir/Interfaces/ControlFlowInterfaces.h"
#include "mlir/Interfaces/ViewLikeInterface.h"
#include "llvm/Support/MathExtras.h"

namespace ganq {
#define GEN_PASS_DEF_PLANMEMORY
#include "ganq/Codegen/Passes.h.inc"
} // namespace ganq

using namespace mlir;
using namespace ganq;

namespace {

constexpr int64_t kAlignment = 64;

/// A static allocation with its place in program order and in the arena.
struct Buffer {
  memref::AllocOp alloc;
  int64_t bytes;
  int64_t first, last; ///< Numbers of the first and the last op that uses it.
  int64_t offset = 0;
};

struct PlanMemoryPass : ganq::impl::PlanMemoryBase<PlanMemoryPass> {
  using PlanMemoryBase::PlanMemoryBase;

  void runOnOperation() override {
    SmallVector<memref::DeallocOp> deallocs;
    getOperation().walk([&](memref::DeallocOp op) { deallocs.push_back(op); });
    for (memref::DeallocOp op : deallocs)
      op.erase();
    for (auto function : getOperation().getOps<func::FuncOp>())
      if (!function.isExternal() && !function.isPrivate())
        plan(function);
  }

private:
  void plan(func::FuncOp function) {
    // Numbers in program order; an op with regions also gets the number of its
    // end, up to which a buffer used inside it from outside lives.
    llvm::DenseMap<Operation *, std::pair<int64_t, int64_t>> numbers;
    int64_t counter = 0;
    number(function.getBody(), numbers, counter);

    SmallVector<Buffer> buffers;
    function.walk([&](memref::AllocOp alloc) {
      MemRefType type = alloc.getType();
      std::optional<int64_t> bytes = sizeInBytes(type);
      if (!bytes || !type.getLayout().isIdentity())
        return;
      Buffer buffer{alloc, *bytes, numbers[alloc].first, numbers[alloc].first};
      if (findUses(alloc, buffer, numbers))
        buffers.push_back(buffer);
    });

    int64_t arenaBytes = place(buffers);
    numPlanned += buffers.size();
    bool takesArena = function.getNumResults() == 0;
    OpBuilder builder(&getContext());
    auto arenaType =
        MemRefType::get({ShapedType::kDynamic}, builder.getI8Type());
    Value arena;
    Block &entry = function.front();
    if (takesArena) {
      if (failed(function.insertArgument(0, arenaType, {}, function.getLoc())))
        return signalPassFailure();
      arena = function.getArgument(0);
      function->setAttr("ganq.arena_bytes",
                        builder.getI64IntegerAttr(arenaBytes));
    } else if (!buffers.empty()) {
      builder.setInsertionPointToStart(&entry);
      Value size = arith::ConstantIndexOp::create(builder, function.getLoc(),
                                                  arenaBytes);
      arena =
          memref::AllocOp::create(builder, function.getLoc(), arenaType, size);
    }
    for (Buffer &buffer : buffers) {
      builder.setInsertionPoint(buffer.alloc);
      Location loc = buffer.alloc.getLoc();
      Value offset =
          arith::ConstantIndexOp::create(builder, loc, buffer.offset);
      Value view = memref::ViewOp::create(builder, loc, buffer.alloc.getType(),
                                          arena, offset, ValueRange());
      buffer.alloc.replaceAllUsesWith(view);
      buffer.alloc.erase();
    }
  }

  static void
  number(Region &region,
         llvm::DenseMap<Operation *, std::pair<int64_t, int64_t>> &numbers,
         int64_t &counter) {
    for (Block &block : region)
      for (Operation &op : block) {
        int64_t begin = counter++;
        for (Region &inner : op.getRegions())
          number(inner, numbers, counter);
        numbers[&op] = {begin, counter++};
      }
  }

  static std::optional<int64_t> sizeInBytes(MemRefType type) {
    if (!type.hasStaticShape() || type.getMemorySpace())
      return std::nullopt;
    Type element = type.getElementType();
    int64_t bytes;
    if (element.isIndex())
      bytes = 8;
    else if (element.isIntOrFloat())
      bytes = llvm::divideCeil(element.getIntOrFloatBitWidth(), 8);
    else
      return std::nullopt;
    return bytes * type.getNumElements();
  }

  /// Widens the range of `buffer` to all uses of it and of its aliases. False
  /// when a use hands the buffer on to where it cannot be followed.
  static bool findUses(
      memref::AllocOp alloc, Buffer &buffer,
      const llvm::DenseMap<Operation *, std::pair<int64_t, int64_t>> &numbers) {
    SmallVector<Value> worklist{alloc.getResult()};
    llvm::DenseSet<Value> seen{alloc.getResult()};
    Region *home = alloc->getParentRegion();
    while (!worklist.empty()) {
      Value value = worklist.pop_back_val();
      for (Operation *user : value.getUsers()) {
        if (user->hasTrait<OpTrait::IsTerminator>() ||
            isa<RegionBranchOpInterface, CallOpInterface>(user))
          return false;
        // A use inside a loop lasts until the loop around it ends.
        Operation *scope = user;
        while (scope->getParentRegion() != home)
          scope = scope->getParentOp();
        buffer.last = std::max(buffer.last, numbers.lookup(scope).second);
        // What is computed from an address reaches the buffer, too.
        bool isAddress = isa<memref::ExtractAlignedPointerAsIndexOp>(user) ||
                         !isa<BaseMemRefType>(value.getType());
        for (Value result : user->getResults())
          if ((isAddress || isa<BaseMemRefType>(result.getType())) &&
              seen.insert(result).second)
            worklist.push_back(result);
      }
    }
    return true;
  }

  /// Gives each buffer the smallest gap that fits among the placed buffers
  /// that are live at the same time, large buffers first. Returns the size of
  /// the arena.
  static int64_t place(SmallVectorImpl<Buffer> &buffers) {
    SmallVector<Buffer *> order;
    for (Buffer &buffer : buffers)
      order.push_back(&buffer);
    llvm::sort(order, [](const Buffer *a, const Buffer *b) {
      return std::pair(-a->bytes, a->first) < std::pair(-b->bytes, b->first);
    });
    SmallVector<Buffer *> placed; // By offset.
    int64_t end = 0;
    for (Buffer *buffer : order) {
      int64_t size =
          llvm::alignTo(std::max<int64_t>(buffer->bytes, 1), kAlignment);
      int64_t cursor = 0, best = -1,
              bestGap = std::numeric_limits<int64_t>::max();
      for (Buffer *other : placed) {
        if (other->last < buffer->first || buffer->last < other->first)
          continue;
        int64_t gap = other->offset - cursor;
        if (gap >= size && gap < bestGap) {
          best = cursor;
          bestGap = gap;
        }
        cursor = std::max<int64_t>(
            cursor,
            other->offset +
                llvm::alignTo(std::max<int64_t>(other->bytes, 1), kAlignment));
      }
      buffer->offset = best >= 0 ? best : cursor;
      end = std::max(end, buffer->offset + size);
      placed.insert(llvm::upper_bound(placed, buffer,
                                      [](const Buffer *a, const Buffer *b) {
                                        return a->offset < b->offset;
                                      }),
                    buffer);
    }
    return end;
  }
};

} // namespace
