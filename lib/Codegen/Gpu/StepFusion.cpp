//===- StepFusion.cpp - Ops of a step that share a launch -----------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "StepFusion.h"
#include "LaneBuilder.h"
#include "ganq/Codegen/Gpu/GpuKernels.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/Matchers.h"
#include "mlir/Transforms/RegionUtils.h"

using namespace mlir;
using namespace ganq;

//===----------------------------------------------------------------------===//
// Conversions
//===----------------------------------------------------------------------===//

/// Whether all that the op does is to convert its input to other floats.
static bool isConversion(linalg::GenericOp op) {
  if (op.getNumDpsInputs() != 1 || op.getNumDpsInits() != 1 ||
      !llvm::all_of(op.getIndexingMapsArray(),
                    [](AffineMap map) { return map.isIdentity(); }))
    return false;
  Block *body = op.getBody();
  Operation *cast = body->getTerminator()->getOperand(0).getDefiningOp();
  if (!isa_and_nonnull<arith::TruncFOp, arith::ExtFOp>(cast))
    return false;
  Value from = cast->getOperand(0);
  return from == body->getArgument(0) ||
         findSaturated(from) == body->getArgument(0);
}

/// Makes an elementwise op yield other floats, as the op `conversion` does.
static void convertResult(linalg::GenericOp op, linalg::GenericOp conversion,
                          Type element) {
  Block *body = op.getBody();
  body->getArguments().back().setType(element);
  Operation *yield = body->getTerminator();
  OpBuilder builder(yield);
  Value value = yield->getOperand(0);
  Operation *cast =
      conversion.getBody()->getTerminator()->getOperand(0).getDefiningOp();
  if (findSaturated(cast->getOperand(0)))
    value = saturate(builder, op.getLoc(), value, element);
  bool narrower =
      element.getIntOrFloatBitWidth() < value.getType().getIntOrFloatBitWidth();
  Value converted =
      narrower ? arith::TruncFOp::create(builder, op.getLoc(), element, value)
                     .getResult()
               : arith::ExtFOp::create(builder, op.getLoc(), element, value)
                     .getResult();
  yield->setOperand(0, converted);
}

/// Kernels round where they store, whatever the type of the buffer.
static bool storesAnyFloats(Operation *op) {
  if (auto generic = dyn_cast<linalg::GenericOp>(op))
    return generic.getNumDpsInits() == 1;
  return isa<RmsNormOp, LayerNormOp, SwigluOp, AttentionOp, MatmulOp>(op);
}

static bool foldConversion(linalg::GenericOp op) {
  if (!isConversion(op))
    return false;
  auto alloc =
      getBufferRoot(op.getDpsInputs()[0]).getDefiningOp<memref::AllocOp>();
  auto target = op.getDpsInits()[0].getDefiningOp<memref::AllocOp>();
  if (!alloc || !target)
    return false;
  std::optional<BufferUses> uses = BufferUses::find(alloc);
  if (!uses || uses->ops.size() != 2 || uses->ops[1] != op ||
      !storesAnyFloats(uses->ops[0]))
    return false;
  Operation *producer = uses->ops[0];
  OpOperand *out = nullptr;
  for (OpOperand &operand : producer->getOpOperands())
    if (uses->isView(operand.get())) {
      if (out || !writesWhole(operand))
        return false;
      out = &operand;
    }
  Block *block = op->getBlock();
  bool after = llvm::all_of(target->getUsers(), [&](Operation *user) {
    Operation *ancestor = block->findAncestorOpInBlock(*user);
    return ancestor && (ancestor == op || op->isBeforeInBlock(ancestor));
  });
  if (!out || !after)
    return false;
  Type element = target.getType().getElementType();
  OpBuilder builder(alloc);
  Value narrow = memref::AllocOp::create(
      builder, alloc.getLoc(),
      MemRefType::get(alloc.getType().getShape(), element));
  rebase(*out, alloc, narrow);
  if (auto generic = dyn_cast<linalg::GenericOp>(producer))
    convertResult(generic, op, element);
  builder.setInsertionPoint(op);
  Value view = reshapeBuffer(builder, op.getLoc(), narrow, target.getType());
  target->replaceUsesWithIf(
      ValueRange(view), [&](OpOperand &use) { return use.getOwner() != op; });
  op.erase();
  target.erase();
  uses->eraseDeadViews();
  if (alloc->use_empty())
    alloc.erase();
  return true;
}

void ganq::foldConversions(func::FuncOp function) {
  for (auto op :
       llvm::make_early_inc_range(function.getOps<linalg::GenericOp>()))
    foldConversion(op);
}

//===----------------------------------------------------------------------===//
// Sums before norms
//===----------------------------------------------------------------------===//

/// Whether the element at some indices is the one at the same place of a buffer
/// of the loops' shape.
static bool readsSamePlace(AffineMap map, ArrayRef<int64_t> shape) {
  if (map.getNumResults() != shape.size())
    return false;
  for (auto [i, result] : llvm::enumerate(map.getResults())) {
    auto dimension = dyn_cast<AffineDimExpr>(result);
    auto constant = dyn_cast<AffineConstantExpr>(result);
    bool same = dimension && dimension.getPosition() == i;
    if (!same && !(constant && constant.getValue() == 0 && shape[i] == 1))
      return false;
  }
  return true;
}

linalg::GenericOp ganq::findSumBefore(Operation *norm, Value x) {
  Operation *before = norm->getPrevNode();
  while (before && isHostOp(before))
    before = before->getPrevNode();
  auto sum = dyn_cast_or_null<linalg::GenericOp>(before);
  if (!sum || sum.getNumDpsInputs() != 2 || sum.getNumDpsInits() != 1 ||
      sum.getDpsInits()[0] != x)
    return {};
  ArrayRef<int64_t> shape = cast<MemRefType>(x.getType()).getShape();
  for (auto [operand, map] :
       llvm::zip_equal(sum->getOperands(), sum.getIndexingMapsArray()))
    if (cast<MemRefType>(operand.getType()).getShape() != shape ||
        !readsSamePlace(map, shape))
      return {};
  Block *body = sum.getBody();
  auto add = dyn_cast<arith::AddFOp>(body->front());
  if (body->getOperations().size() != 2 || !add || !add.getType().isF32() ||
      add.getLhs() != body->getArgument(0) ||
      add.getRhs() != body->getArgument(1) ||
      body->getTerminator()->getOperand(0) != add)
    return {};
  return sum;
}

//===----------------------------------------------------------------------===//
// Codes of rows
//===----------------------------------------------------------------------===//

gpu::LaunchFuncOp ganq::findRounding(Operation *op, Value out, int64_t rows,
                                     int64_t columns) {
  Operation *next = op->getNextNode();
  while (next && isHostOp(next))
    next = next->getNextNode();
  auto launch = dyn_cast_or_null<gpu::LaunchFuncOp>(next);
  // Parameters: codes, scale, zero, sum, x, rows, columns.
  constexpr unsigned kX = 4, kRows = 5, kColumns = 6, kOperands = 7;
  if (!launch || launch.getNumKernelOperands() != kOperands ||
      launch.getKernelModuleName() != "ganq_kernels")
    return {};
  // Its body is to become the end of another one.
  auto kernel = SymbolTable::lookupNearestSymbolFrom<gpu::GPUFuncOp>(
      launch, launch.getKernelAttr());
  if (!kernel || !kernel->hasAttr(kGpuQuantizeRowsAttr) ||
      !llvm::hasSingleElement(kernel.getBody()) ||
      kernel.getNumWorkgroupAttributions())
    return {};
  // The address of what it reads.
  Value x = launch.getKernelOperand(kX);
  while (x && !isa<MemRefType>(x.getType()))
    x = x.getDefiningOp() && x.getDefiningOp()->getNumOperands() == 1
            ? x.getDefiningOp()->getOperand(0)
            : Value();
  if (!x || getBufferRoot(x) != getBufferRoot(out))
    return {};
  auto isConstant = [](Value value, int64_t wanted) {
    APInt constant;
    return matchPattern(value, m_ConstantInt(&constant)) &&
           constant.getSExtValue() == wanted;
  };
  ArrayRef<int64_t> shape = cast<MemRefType>(x.getType()).getShape();
  if (shape.empty())
    return {};
  bool fits = shape.back() == columns &&
              ShapedType::getNumElements(shape) / columns == rows &&
              isConstant(launch.getKernelOperand(kRows), rows) &&
              isConstant(launch.getKernelOperand(kColumns), columns) &&
              isConstant(launch.getGridSizeX(), rows) &&
              isConstant(launch.getGridSizeY(), 1) &&
              isConstant(launch.getBlockSizeX(), 256);
  return fits ? launch : gpu::LaunchFuncOp();
}

//===----------------------------------------------------------------------===//
// New tokens
//===----------------------------------------------------------------------===//

SmallVector<Operation *> NewTokens::getOps() {
  SmallVector<Operation *> ops;
  for (Operation *op : {queryRope.getOperation(), keyRope.getOperation(),
                        keys.getOperation(), values.getOperation()})
    if (op)
      ops.push_back(op);
  return ops;
}

/// Whether an op may run right before `later`: nothing in between but
/// `companion` writes what it reads, or touches what it writes.
static bool canMove(Operation *op, Operation *later,
                    Operation *companion = nullptr) {
  for (Operation *between = op->getNextNode(); between != later;
       between = between->getNextNode()) {
    if (between == companion || isHostOp(between))
      continue;
    if (!isa<KernelOpInterface, KvUpdateOp, linalg::LinalgOp>(between))
      return false;
    // Bodies load what they capture; only operands are written.
    llvm::SetVector<Value> captured;
    getUsedValuesDefinedAbove(between->getRegions(), captured);
    for (OpOperand &mine : op->getOpOperands()) {
      if (!isa<MemRefType>(mine.get().getType()))
        continue;
      Value root = getMemory(mine.get());
      if (mayWrite(mine) && llvm::any_of(captured, [&](Value value) {
            return getMemory(value) == root;
          }))
        return false;
      for (OpOperand &other : between->getOpOperands())
        if (getMemory(other.get()) == root &&
            (mayWrite(mine) || mayWrite(other)))
          return false;
    }
  }
  return true;
}

/// The rope that makes `value` for `reader` alone, if it may run right before
/// `later` along with `reader`.
static RopeOp findRope(Value value, Operation *reader, Operation *later) {
  auto alloc = getBufferRoot(value).getDefiningOp<memref::AllocOp>();
  std::optional<BufferUses> uses =
      alloc ? BufferUses::find(alloc) : std::nullopt;
  if (!uses || uses->ops.size() != 2 || uses->ops[1] != reader)
    return {};
  auto rope = dyn_cast<RopeOp>(uses->ops[0]);
  return rope && rope.getOut() == value && canMove(rope, later, reader)
             ? rope
             : RopeOp();
}

/// The op that wrote to a cache last, if it may run right before `attention`.
static KvUpdateOp findUpdate(Value cache, AttentionOp attention) {
  for (Operation *op = attention->getPrevNode(); op; op = op->getPrevNode()) {
    if (llvm::none_of(op->getOperands(), [&](Value operand) {
          return getMemory(operand) == getMemory(cache);
        }))
      continue;
    auto update = dyn_cast<KvUpdateOp>(op);
    return update && update.getCache() == cache &&
                   update.getPast() == attention.getPast() &&
                   canMove(update, attention)
               ? update
               : KvUpdateOp();
  }
  return {};
}

NewTokens ganq::findNewTokens(AttentionOp attention) {
  NewTokens result;
  if (!attention.getPast() ||
      getMemory(attention.getK()) == getMemory(attention.getV()))
    return result;
  result.queryRope = findRope(attention.getQ(), attention, attention);
  result.keys = findUpdate(attention.getK(), attention);
  result.values = findUpdate(attention.getV(), attention);
  if (result.keys)
    result.keyRope = findRope(result.keys.getValue(), result.keys, attention);
  return result;
}
