//===- OutlineParallel.cpp - Large parallel loops to ganq.dispatch --------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "SharedFunctions.h"
#include "ganq/Codegen/Passes.h"
#include "ganq/IR/GanqDialect.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/IR/Matchers.h"
#include "mlir/Transforms/RegionUtils.h"
#include "llvm/ADT/SetVector.h"

namespace ganq {
#define GEN_PASS_DEF_OUTLINEPARALLEL
#include "ganq/Codegen/Passes.h.inc"
} // namespace ganq

using namespace mlir;
using namespace ganq;

namespace {

/// Iterations of a loop where all three are constants.
std::optional<int64_t> tripCount(Value lower, Value upper, Value step) {
  auto low = getConstantIntValue(lower), high = getConstantIntValue(upper),
       by = getConstantIntValue(step);
  if (!low || !high || !by || *by <= 0)
    return std::nullopt;
  return std::max<int64_t>(0, (*high - *low + *by - 1) / *by);
}

struct OutlineParallelPass
    : ganq::impl::OutlineParallelBase<OutlineParallelPass> {
  using OutlineParallelBase::OutlineParallelBase;

  void runOnOperation() override {
    SharedFunctions functions(getOperation());
    SmallVector<scf::ParallelOp> loops;
    getOperation().walk<WalkOrder::PreOrder>([&](scf::ParallelOp loop) {
      if (canOutline(loop))
        loops.push_back(loop);
      return WalkResult::skip();
    });
    for (scf::ParallelOp loop : loops)
      outline(loop, functions);
  }

private:
  /// Iterations of the static loops inside one iteration of `loop`.
  static int64_t innerWork(scf::ParallelOp loop) {
    int64_t work = 1;
    loop.getBody()->walk([&](Operation *op) {
      if (auto inner = dyn_cast<scf::ForOp>(op))
        work *= tripCount(inner.getLowerBound(), inner.getUpperBound(),
                          inner.getStep())
                    .value_or(1);
      return WalkResult::advance();
    });
    return std::max<int64_t>(work, 1);
  }

  bool canOutline(scf::ParallelOp loop) {
    if (loop.getNumReductions() != 0)
      return false;
    // The host's allocator serves one thread.
    bool allocates =
        loop.getBody()
            ->walk([](memref::AllocOp) { return WalkResult::interrupt(); })
            .wasInterrupted();
    if (allocates)
      return false;
    int64_t work = innerWork(loop);
    for (auto [lower, upper, step] : llvm::zip_equal(
             loop.getLowerBound(), loop.getUpperBound(), loop.getStep())) {
      std::optional<int64_t> trips = tripCount(lower, upper, step);
      if (!trips)
        return true;
      work *= *trips;
    }
    return work >= minWork;
  }

  void outline(scf::ParallelOp loop, SharedFunctions &functions) {
    Location loc = loop.getLoc();
    OpBuilder builder(loop);
    unsigned rank = loop.getNumLoops();

    // Ranges are cut along all dimensions but the innermost, so that the
    // innermost loop stays long; a single dimension is cut itself. Dimensions
    // of size 1 do not count.
    SmallVector<unsigned> split;
    SmallVector<Value> trips;
    bool dynamic = false;
    for (unsigned i = 0; i < rank; ++i) {
      Value lower = loop.getLowerBound()[i], upper = loop.getUpperBound()[i],
            step = loop.getStep()[i];
      std::optional<int64_t> known = tripCount(lower, upper, step);
      dynamic |= !known;
      Value span = builder.createOrFold<arith::SubIOp>(loc, upper, lower);
      trips.push_back(
          known
              ? arith::ConstantIndexOp::create(builder, loc, *known).getResult()
              : builder.createOrFold<arith::CeilDivSIOp>(loc, span, step));
      if (!known || *known != 1)
        split.push_back(i);
    }
    if (split.empty())
      split.push_back(0);
    if (split.size() > 1)
      split.pop_back();

    Value count = trips[split.front()];
    for (unsigned i : llvm::drop_begin(split))
      count = builder.createOrFold<arith::MulIOp>(loc, count, trips[i]);

    llvm::SetVector<Value> captured;
    getUsedValuesDefinedAbove(loop->getRegions(), captured);
    for (Value value : loop->getOperands())
      captured.insert(value);
    for (unsigned i : split)
      captured.insert(trips[i]);
    SmallVector<Value> inputs, constants;
    for (Value value : captured)
      (matchPattern(value, m_Constant()) ? constants : inputs).push_back(value);

    func::FuncOp function =
        functions.add(createFunction(loop, inputs, constants, split, trips));
    auto callee = FlatSymbolRefAttr::get(function.getSymNameAttr());
    if (!dynamic) {
      DispatchOp::create(builder, loc, callee, count, inputs);
      loop.erase();
      return;
    }
    Value total = arith::ConstantIndexOp::create(builder, loc, innerWork(loop));
    for (Value trip : trips)
      total = builder.createOrFold<arith::MulIOp>(loc, total, trip);
    Value least = arith::ConstantIndexOp::create(builder, loc, minWork);
    Value large = arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::sge,
                                        total, least);
    scf::IfOp::create(
        builder, loc, large,
        [&](OpBuilder &inner, Location) {
          DispatchOp::create(inner, loc, callee, count, inputs);
          scf::YieldOp::create(inner, loc);
        },
        [&](OpBuilder &inner, Location) {
          SmallVector<Value> args{arith::ConstantIndexOp::create(inner, loc, 0),
                                  count};
          llvm::append_range(args, inputs);
          func::CallOp::create(inner, loc, function, args);
          scf::YieldOp::create(inner, loc);
        });
    loop.erase();
  }

  /// Not yet in the module.
  func::FuncOp createFunction(scf::ParallelOp loop, ArrayRef<Value> inputs,
                              ArrayRef<Value> constants,
                              ArrayRef<unsigned> split, ArrayRef<Value> trips) {
    Location loc = loop.getLoc();
    OpBuilder builder(&getContext());
    SmallVector<Type> types(2, builder.getIndexType());
    llvm::append_range(types, ValueRange(inputs).getTypes());
    auto function = func::FuncOp::create(builder, loc, "loop",
                                         builder.getFunctionType(types, {}));
    function.setPrivate();
    Block *entry = function.addEntryBlock();
    builder.setInsertionPointToStart(entry);

    IRMapping mapping;
    for (Value constant : constants)
      builder.clone(*constant.getDefiningOp(), mapping);
    mapping.map(inputs, entry->getArguments().drop_front(2));

    Value one = arith::ConstantIndexOp::create(builder, loc, 1);
    auto outer = scf::ForOp::create(builder, loc, entry->getArgument(0),
                                    entry->getArgument(1), one);
    builder.setInsertionPointToStart(outer.getBody());
    Value rest = outer.getInductionVar();
    for (unsigned i : llvm::reverse(split)) {
      Value number = rest;
      if (i != split.front()) {
        Value size = mapping.lookup(trips[i]);
        number = arith::RemUIOp::create(builder, loc, rest, size);
        rest = arith::DivUIOp::create(builder, loc, rest, size);
      }
      Value place = builder.createOrFold<arith::AddIOp>(
          loc, mapping.lookup(loop.getLowerBound()[i]),
          builder.createOrFold<arith::MulIOp>(
              loc, number, mapping.lookup(loop.getStep()[i])));
      mapping.map(loop.getInductionVars()[i], place);
    }
    for (unsigned i = 0; i < loop.getNumLoops(); ++i) {
      if (llvm::is_contained(split, i))
        continue;
      auto inner = scf::ForOp::create(builder, loc,
                                      mapping.lookup(loop.getLowerBound()[i]),
                                      mapping.lookup(loop.getUpperBound()[i]),
                                      mapping.lookup(loop.getStep()[i]));
      mapping.map(loop.getInductionVars()[i], inner.getInductionVar());
      builder.setInsertionPointToStart(inner.getBody());
    }
    for (Operation &op : loop.getBody()->without_terminator())
      builder.clone(op, mapping);
    builder.setInsertionPointToEnd(entry);
    func::ReturnOp::create(builder, loc);
    return function;
  }
};

} // namespace
