//===- LowerKernels.cpp - ganq ops on buffers to kernels ------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "IntegerMatmul.h"
#include "KernelBuilder.h"
#include "ganq/Codegen/CostModel.h"
#include "ganq/Codegen/Passes.h"
#include "mlir/Dialect/ControlFlow/IR/ControlFlow.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "mlir/Interfaces/FunctionInterfaces.h"
#include "mlir/Interfaces/ViewLikeInterface.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/TypeSwitch.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/MathExtras.h"
#include <limits>

namespace ganq {
#define GEN_PASS_DEF_LOWERKERNELS
#include "ganq/Codegen/Passes.h.inc"
} // namespace ganq

using namespace mlir;
using namespace ganq;

namespace {

/// Collects what the products of a module cost.
class ProductCosts {
public:
  void add(Operation *op, KernelLibrary::Product chosen) {
    StringAttr name = chosen.kernel.getSymNameAttr();
    Kernel &entry = kernels[name];
    if (entry.products++ == 0) {
      entry.tile = chosen.tile;
      entry.cost = chosen.cost;
      entry.loc = op->getLoc();
    }
    products.push_back(
        describeProduct(op, name.getValue(), chosen.tile, chosen.cost));
    entry.rows = products.back().getAs<IntegerAttr>("rows").getInt();
  }

  void finish(ModuleOp module) {
    if (products.empty())
      return;
    SmallVector<Attribute> list(products.begin(), products.end());
    module->setAttr("ganq.kernels", ArrayAttr::get(module.getContext(), list));
    size_t number = 0;
    for (auto &[name, kernel] : kernels) {
      auto remark = emitRemark(*kernel.loc);
      remark << name.getValue() << ", rows of x: ";
      if (kernel.rows < 0)
        remark << "any";
      else
        remark << kernel.rows;
      remark << ", products: " << kernel.products << ": " << kernel.tile.str()
             << ", " << kernel.cost.instructions << " instructions, "
             << kernel.cost.bytes << " bytes, "
             << llvm::formatv("{0:f1}", kernel.cost.getSeconds() * 1e6).str()
             << " us of one thread, bound by "
             << (kernel.cost.isBoundByMemory() ? "memory" : "computing")
             << "; kernel " << ++number << " of " << kernels.size();
    }
  }

private:
  struct Kernel {
    KernelTile tile;
    KernelCost cost;
    std::optional<Location> loc;
    int64_t products = 0, rows = 1;
  };
  llvm::MapVector<StringAttr, Kernel> kernels;
  SmallVector<DictionaryAttr> products;
};

/// The bytes of a buffer that a view of it may touch.
struct Extent {
  Value root;
  int64_t begin = 0, end = std::numeric_limits<int64_t>::max();

  static Extent of(Value value) {
    Extent extent;
    while (auto view = value.getDefiningOp<ViewLikeOpInterface>()) {
      value = view.getViewSource();
      // Where the planned arena has a buffer.
      auto bytes = dyn_cast<memref::ViewOp>(*view);
      if (!bytes || value.getDefiningOp<ViewLikeOpInterface>())
        continue;
      MemRefType type = bytes.getType();
      auto shift = getConstantIntValue(bytes.getByteShift());
      if (!shift || !type.hasStaticShape() ||
          !type.getElementType().isIntOrFloat())
        continue;
      extent.begin = *shift;
      extent.end =
          *shift + type.getNumElements() *
                       llvm::divideCeil(type.getElementTypeBitWidth(), 8);
    }
    extent.root = value;
    return extent;
  }

  bool overlapsAny(ArrayRef<Extent> others) const {
    return llvm::any_of(others, [&](const Extent &other) {
      if (root != other.root)
        return !isWhole(root) || !isWhole(other.root);
      return begin < other.end && other.begin < end;
    });
  }

private:
  /// Whether a value is all of a buffer, which other such values are not part
  /// of.
  static bool isWhole(Value root) {
    if (auto argument = dyn_cast<BlockArgument>(root))
      return isa<FunctionOpInterface>(argument.getOwner()->getParentOp());
    return isa<ParameterOp, memref::GetGlobalOp, memref::AllocOp,
               memref::AllocaOp>(root.getDefiningOp());
  }
};

struct LowerKernelsPass : ganq::impl::LowerKernelsBase<LowerKernelsPass> {
  using LowerKernelsBase::LowerKernelsBase;

  void runOnOperation() override {
    llvm::Expected<CpuTarget> target = CpuTarget::get(cpu);
    if (!target) {
      getOperation().emitError(llvm::toString(target.takeError()));
      return signalPassFailure();
    }
    SmallVector<Operation *> ops;
    WalkResult checked = getOperation().walk([&](Operation *op) {
      if (!isa<KernelOpInterface, KvUpdateOp>(op))
        return WalkResult::advance();
      if (failed(check(op)) || failed(checkTile(op, *target)))
        return WalkResult::interrupt();
      ops.push_back(op);
      return WalkResult::advance();
    });
    if (checked.wasInterrupted())
      return signalPassFailure();

    KernelLibrary library(getOperation(), *target);
    ProductCosts costs;
    OpBuilder builder(&getContext());
    for (ArrayRef<Operation *> rest = ops; !rest.empty();) {
      ArrayRef<Operation *> group = rest.take_front(groupSize(rest));
      rest = rest.drop_front(group.size());
      builder.setInsertionPoint(group.back());
      if (group.size() > 1)
        library.beginGroup();
      for (Operation *op : group) {
        lower(builder, library, op);
        if (isa<MatmulOp, PackedMatmulOp>(op))
          costs.add(op, library.getLastProduct());
      }
      if (group.size() > 1)
        library.endGroup(builder, group.back()->getLoc());
      for (Operation *op : group)
        op->erase();
    }
    numKernels += library.getNumKernels();
    costs.finish(getOperation());
  }

private:
  static void lower(OpBuilder &builder, KernelLibrary &library, Operation *op) {
    llvm::TypeSwitch<Operation *>(op)
        .Case([&](MatmulOp op) { lowerMatmul(builder, library, op); })
        .Case([&](PackedMatmulOp op) {
          if (op.getScheme().getActivationBits())
            lowerIntegerMatmul(builder, library, op);
          else
            lowerPackedMatmul(builder, library, op);
        })
        .Case(
            [&](QuantizeRowsOp op) { lowerQuantizeRows(builder, library, op); })
        .Case([&](RmsNormOp op) { lowerRmsNorm(builder, library, op); })
        .Case([&](LayerNormOp op) { lowerLayerNorm(builder, library, op); })
        .Case([&](SwigluOp op) { lowerSwiglu(builder, library, op); })
        .Case([&](RopeOp op) { lowerRope(builder, library, op); })
        .Case(
            [&](PositionRowsOp op) { lowerPositionRows(builder, library, op); })
        .Case([&](KvUpdateOp op) { lowerKvUpdate(builder, library, op); })
        .Case([&](AttentionOp op) { lowerAttention(builder, library, op); });
  }

  /// How many of `ops`, from the first on, are products of the same x that may
  /// run at the same time: none touches what another one writes, nor does
  /// anything between them touch memory.
  static size_t groupSize(ArrayRef<Operation *> ops) {
    SmallVector<Extent> read, written;
    size_t size = 0;
    for (Operation *previous = nullptr; size < ops.size(); ++size) {
      Operation *op = ops[size];
      if (!isa<MatmulOp, PackedMatmulOp>(op))
        break;
      if (previous && (op->getOperand(0) != previous->getOperand(0) ||
                       !isBehind(op, previous)))
        break;
      bool clashes = false;
      for (Value input : op->getOperands().drop_back()) {
        Extent extent = Extent::of(input);
        clashes |= extent.overlapsAny(written);
        read.push_back(extent);
      }
      Extent out = Extent::of(op->getOperands().back());
      if (clashes || out.overlapsAny(written) || out.overlapsAny(read))
        break;
      written.push_back(out);
      previous = op;
    }
    return std::max<size_t>(size, 1);
  }

  /// Whether only memory is reserved between two ops of one block.
  static bool isBehind(Operation *op, Operation *previous) {
    if (op->getBlock() != previous->getBlock())
      return false;
    Operation *between = previous->getNextNode();
    while (between != op &&
           (isMemoryEffectFree(between) || isa<memref::AllocOp>(between)))
      between = between->getNextNode();
    return between == op;
  }

  /// A tile that an attribute names is one of those there are.
  static LogicalResult checkTile(Operation *op, const CpuTarget &target) {
    Attribute attribute = op->getAttr(kTileAttrName);
    if (!attribute || !isa<MatmulOp, PackedMatmulOp>(op))
      return success();
    SmallVector<std::string> names;
    for (const KernelTile &tile : listTiles(op, target))
      names.push_back("`" + tile.str() + "`");
    auto name = dyn_cast<StringAttr>(attribute);
    if (name && llvm::is_contained(names, "`" + name.str() + "`"))
      return success();
    return op->emitOpError("expected `")
           << kTileAttrName << "` to be one of " << llvm::join(names, ", ")
           << ", but got " << attribute;
  }

  /// What the kernels rely on beyond the verifiers.
  static LogicalResult check(Operation *op) {
    for (Value operand : op->getOperands()) {
      if (isa<TensorType>(operand.getType()))
        return op->emitOpError("expected buffers, but got ")
               << operand.getType() << "; bufferize first";
      auto type = dyn_cast<MemRefType>(operand.getType());
      if (type && !type.getLayout().isIdentity())
        return op->emitOpError("expected buffers without strides, but got ")
               << type;
    }
    auto fixedLast = [&](Value memref, StringRef what) -> LogicalResult {
      auto type = cast<MemRefType>(memref.getType());
      if (!type.isDynamicDim(type.getRank() - 1))
        return success();
      return op->emitOpError("expected a static ")
             << what << ", but got " << type;
    };
    if (auto attention = dyn_cast<AttentionOp>(op))
      return success(succeeded(fixedLast(attention.getQ(), "head size")) &&
                     succeeded(fixedLast(attention.getV(), "head size")));
    if (auto matmul = dyn_cast<MatmulOp>(op))
      return fixedLast(matmul.getOut(), "number of columns");
    if (auto matmul = dyn_cast<PackedMatmulOp>(op)) {
      if (!matmul.getScheme().getActivationBits() &&
          failed(checkPackedMatmul(matmul)))
        return failure();
      return fixedLast(matmul.getOut(), "number of columns");
    }
    return success();
  }
};

} // namespace
