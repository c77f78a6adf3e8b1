//===- CutStages.cpp - A function for each step of calibration ------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/Schemes/Passes.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/Transforms/RegionUtils.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/SetVector.h"

using namespace mlir;
using namespace ganq;

namespace ganq {
#define GEN_PASS_DEF_CUTSTAGES
#include "ganq/Schemes/Passes.h.inc"
} // namespace ganq

/// The key of a weight that is to be quantized; empty for other products.
static StringRef getQuantizedKey(Operation *op) {
  auto matmul = dyn_cast<MatmulOp>(op);
  if (!matmul)
    return {};
  auto weight = matmul.getWeight().getDefiningOp<ParameterOp>();
  auto type = dyn_cast<RankedTensorType>(matmul.getWeight().getType());
  return weight && type && type.getEncoding() ? weight.getKey() : StringRef();
}

namespace {

class StageCutter {
public:
  explicit StageCutter(func::FuncOp func) : func(func) {}

  LogicalResult run();

private:
  LogicalResult startAtZero();
  LogicalResult findLevels();
  void findNeeded();
  void emit(int64_t stage, OpBuilder &builder);

  /// Operands of `op` and what its regions read from outside.
  static SmallVector<Value> getReads(Operation *op);
  int64_t getLevel(Value value) const {
    auto known = levels.find(value);
    return known == levels.end() ? -1 : known->second;
  }
  static int64_t stageOf(int64_t level) { return std::max<int64_t>(level, 0); }
  IntegerAttr numberOf(Value value) {
    return Builder(func).getI64IntegerAttr(
        numbers.try_emplace(value, numbers.size()).first->second);
  }

  func::FuncOp func;
  /// Quantized products on the longest way from an argument to the value; -1
  /// for values that depend on no argument.
  DenseMap<Value, int64_t> levels;
  /// The input of the first product of each weight, and its keys.
  llvm::MapVector<Value, SmallVector<StringRef>> taps;
  llvm::DenseSet<Operation *> needed;
  /// The last stage that reads a value.
  DenseMap<Value, int64_t> lastStage;
  DenseMap<Value, int64_t> numbers;
};

} // namespace

SmallVector<Value> StageCutter::getReads(Operation *op) {
  SmallVector<Value> reads(op->getOperands());
  if (op->getNumRegions()) {
    llvm::SetVector<Value> above;
    getUsedValuesDefinedAbove(op->getRegions(), above);
    llvm::append_range(reads, above);
  }
  return reads;
}

/// A step function whose caches are as long as its chunk, called without past:
/// the caches hold what the call itself writes.
LogicalResult StageCutter::startAtZero() {
  OpBuilder builder = OpBuilder::atBlockBegin(&func.getBody().front());
  for (BlockArgument argument : func.getArguments())
    if (argument.getType().isIndex() && !argument.use_empty())
      argument.replaceAllUsesWith(
          arith::ConstantIndexOp::create(builder, func.getLoc(), 0));
  for (auto update : llvm::make_early_inc_range(func.getOps<KvUpdateOp>())) {
    if (update.getValue().getType() != update.getCache().getType())
      return update.emitError("expected a cache of ")
             << update.getValue().getType()
             << ", which one call fills, but got "
             << update.getCache().getType();
    update.getResult().replaceAllUsesWith(update.getValue());
    update.erase();
  }
  return success();
}

LogicalResult StageCutter::findLevels() {
  for (BlockArgument argument : func.getArguments()) {
    levels[argument] = 0;
    numberOf(argument);
  }
  llvm::MapVector<StringRef, Value> inputs;
  for (Operation &op : func.getBody().front().without_terminator()) {
    int64_t level = -1;
    for (Value read : getReads(&op))
      level = std::max(level, getLevel(read));
    if (StringRef key = getQuantizedKey(&op); !key.empty()) {
      Value x = cast<MatmulOp>(op).getX();
      if (level < 0)
        level = levels[x] = 0;
      Value &first = inputs[key];
      if (!first || getLevel(x) < getLevel(first))
        first = x;
      ++level;
    } else if (op.getNumRegions()) {
      auto inner = op.walk([](MatmulOp matmul) {
        return getQuantizedKey(matmul).empty() ? WalkResult::advance()
                                               : WalkResult::interrupt();
      });
      if (inner.wasInterrupted())
        return op.emitError("expected no quantized product inside of an "
                            "operation with regions");
    }
    if (level >= 0)
      for (Value result : op.getResults())
        levels[result] = level;
  }
  if (inputs.empty())
    return func.emitError("expected a product with an encoded weight in @")
           << func.getName();
  for (auto &[key, input] : inputs)
    taps[input].push_back(key);
  return success();
}

/// Everything that the inputs of quantized products depend on.
void StageCutter::findNeeded() {
  SmallVector<Value> worklist;
  for (auto &tap : taps)
    worklist.push_back(tap.first);
  while (!worklist.empty()) {
    Operation *op = worklist.pop_back_val().getDefiningOp();
    if (op && needed.insert(op).second)
      llvm::append_range(worklist, getReads(op));
  }
  for (Operation *op : needed) {
    int64_t level = op->getNumResults() ? getLevel(op->getResult(0)) : -1;
    if (level >= 0)
      for (Value read : getReads(op)) {
        int64_t &last = lastStage.try_emplace(read, 0).first->second;
        last = std::max(last, level);
      }
  }
}

void StageCutter::emit(int64_t stage, OpBuilder &builder) {
  Location loc = func.getLoc();
  auto function =
      func::FuncOp::create(builder, loc, ("stage" + Twine(stage)).str(),
                           builder.getFunctionType({}, {}));
  Block *body = function.addEntryBlock();
  OpBuilder inside = OpBuilder::atBlockBegin(body);
  IRMapping mapping;
  SmallVector<Value> inputs, outputs;
  // What depends on no argument is computed wherever it is read.
  std::function<void(Operation *)> clone = [&](Operation *op) {
    for (Value read : getReads(op)) {
      if (mapping.contains(read))
        continue;
      if (getLevel(read) < 0) {
        clone(read.getDefiningOp());
      } else {
        inputs.push_back(read);
        mapping.map(read, body->addArgument(read.getType(), loc));
      }
    }
    inside.clone(*op, mapping);
  };
  for (Operation &op : func.getBody().front().without_terminator()) {
    if (!needed.contains(&op) || !op.getNumResults() ||
        getLevel(op.getResult(0)) != stage)
      continue;
    clone(&op);
    for (Value result : op.getResults())
      if (lastStage.lookup(result) > stage || taps.count(result))
        outputs.push_back(result);
  }
  SmallVector<Value> results;
  for (Value output : outputs)
    results.push_back(mapping.lookup(output));
  func::ReturnOp::create(inside, loc, results);
  function.setFunctionType(
      builder.getFunctionType(body->getArgumentTypes(), TypeRange(results)));
  for (auto [index, value] : llvm::enumerate(inputs))
    function.setArgAttr(index, "ganq.value", numberOf(value));
  for (auto [index, value] : llvm::enumerate(outputs))
    function.setResultAttr(index, "ganq.value", numberOf(value));
  SmallVector<Attribute> list;
  for (auto &[input, keys] : taps) {
    if (stageOf(getLevel(input)) != stage)
      continue;
    list.push_back(builder.getDictionaryAttr(
        {builder.getNamedAttr("value", numberOf(input)),
         builder.getNamedAttr("weights", builder.getStrArrayAttr(keys))}));
  }
  function->setAttr("ganq.taps", builder.getArrayAttr(list));
}

LogicalResult StageCutter::run() {
  if (func.isExternal() || !func.getBody().hasOneBlock())
    return func.emitError("expected a function of one block");
  if (failed(startAtZero()) || failed(findLevels()))
    return failure();
  findNeeded();
  int64_t last = 0;
  for (auto &tap : taps)
    last = std::max(last, stageOf(getLevel(tap.first)));
  OpBuilder builder(func);
  for (int64_t stage = 0; stage <= last; ++stage)
    emit(stage, builder);
  return success();
}

namespace {

struct CutStagesPass : ganq::impl::CutStagesBase<CutStagesPass> {
  void runOnOperation() override {
    ModuleOp module = getOperation();
    auto func = module.lookupSymbol<func::FuncOp>("prefill");
    if (!func)
      func = module.lookupSymbol<func::FuncOp>("main");
    if (!func) {
      module.emitError("expected a function @prefill or @main, but got none");
      return signalPassFailure();
    }
    SmallVector<func::FuncOp> old(module.getOps<func::FuncOp>());
    if (failed(StageCutter(func).run()))
      return signalPassFailure();
    for (func::FuncOp function : old)
      function.erase();
  }
};

} // namespace
