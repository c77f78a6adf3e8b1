//===- AddArgmax.cpp - The most probable token, found on the device -------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "BufferUses.h"
#include "LaneBuilder.h"
#include "ganq/Codegen/Gpu/Passes.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "llvm/Support/MathExtras.h"
#include <limits>

namespace ganq {
#define GEN_PASS_DEF_ADDARGMAX
#include "ganq/Codegen/Gpu/Passes.h.inc"
} // namespace ganq

using namespace mlir;
using namespace ganq;
using Values = KernelBuilder::Values;

namespace {

constexpr int64_t kThreads = 256;
/// Logits that a lane looks at before another block is worth its launch.
constexpr int64_t kLogitsPerLane = 8;

/// A kernel that looks for the greatest of logits. A candidate is a logit (f32)
/// and its token (i32); of equal logits the first token is better, so that the
/// order of comparisons does not matter. What is not a number counts as the
/// greatest logit of all, with the token -1.
class Argmax {
public:
  explicit Argmax(LaneBuilder &k) : k(k) {}

  Value loadToken(Value memref, Value at) {
    return memref::LoadOp::create(k.builder, k.loc, memref, at);
  }

  Values readLogit(Value logits, Value at) {
    Values place(typeOf(logits).getRank() - 1, k.index(0));
    place.push_back(at);
    Value logit = k.load(logits, place);
    Value noNumber = compare(arith::CmpFPredicate::UNO, logit, logit);
    Value token = arith::IndexCastOp::create(k.builder, k.loc,
                                             k.builder.getI32Type(), at);
    constexpr float kInfinity = std::numeric_limits<float>::infinity();
    return {k.select(noNumber, k.constant(kInfinity), logit),
            k.select(noNumber, integer(-1), token)};
  }

  /// The best of candidates `first`, `first + step`, ... < count of all lanes.
  /// Lane 0 has it afterwards and runs `body`.
  void emit(Value first, int64_t count, int64_t step,
            function_ref<Values(Value at)> read,
            function_ref<void(ValueRange best)> body) {
    Values none{k.constant(-std::numeric_limits<float>::infinity()),
                integer(std::numeric_limits<int32_t>::max())};
    Values best = k.loop(first, k.index(count), step, none,
                         [&](Value at, ValueRange carried) {
                           return better(carried, read(at));
                         });
    for (int64_t distance = LaneBuilder::kWarp / 2; distance; distance /= 2)
      best = better(best,
                    {exchange(best[0], distance), exchange(best[1], distance)});
    int64_t warps = k.threads / LaneBuilder::kWarp;
    if (warps > 1) {
      Value warp = k.div(k.lane, LaneBuilder::kWarp);
      k.when(k.equal(k.rem(k.lane, k.index(LaneBuilder::kWarp)), k.index(0)),
             [&] { storeCandidate(best, k.shared[0], k.shared[1], warp); });
      k.barrier();
    }
    k.when(k.equal(k.lane, k.index(0)), [&] {
      for (int64_t warp = 1; warp < warps; ++warp)
        best = better(best, {k.load(k.shared[0], k.index(warp)),
                             loadToken(k.shared[1], k.index(warp))});
      body(best);
    });
  }

  void storeCandidate(ValueRange candidate, Value logits, Value tokens,
                      Value at) {
    k.store(candidate[0], logits, at);
    memref::StoreOp::create(k.builder, k.loc, candidate[1], tokens, at);
  }
  void storeResult(ValueRange candidate, Value best) {
    Value token = arith::ExtSIOp::create(k.builder, k.loc,
                                         k.builder.getI64Type(), candidate[1]);
    memref::StoreOp::create(k.builder, k.loc, token, best, k.index(0));
  }

  LaneBuilder &k;

private:
  Value integer(int32_t value) {
    return arith::ConstantOp::create(k.builder, k.loc,
                                     k.builder.getI32IntegerAttr(value));
  }
  Value compare(arith::CmpFPredicate predicate, Value a, Value b) {
    return arith::CmpFOp::create(k.builder, k.loc, predicate, a, b);
  }
  Value exchange(Value value, int64_t distance) {
    return gpu::ShuffleOp::create(k.builder, k.loc, value,
                                  static_cast<int32_t>(distance),
                                  LaneBuilder::kWarp, gpu::ShuffleMode::XOR)
        .getShuffleResult();
  }
  Values better(ValueRange a, ValueRange b) {
    Value greater = compare(arith::CmpFPredicate::OGT, b[0], a[0]);
    Value first = k.both(compare(arith::CmpFPredicate::OEQ, b[0], a[0]),
                         k.less(b[1], a[1]));
    Value isB = arith::OrIOp::create(k.builder, k.loc, greater, first);
    return {k.select(isB, b[0], a[0]), k.select(isB, b[1], a[1])};
  }
};

struct AddArgmaxPass : public ganq::impl::AddArgmaxBase<AddArgmaxPass> {
  using AddArgmaxBase::AddArgmaxBase;

  void runOnOperation() override {
    ModuleOp module = getOperation();
    for (StringRef name : {"prompt", "decode"})
      if (auto function = module.lookupSymbol<func::FuncOp>(name))
        if (failed(add(function)))
          return signalPassFailure();
  }

private:
  static MemRefType asShared(MemRefType type) {
    auto space = gpu::AddressSpaceAttr::get(type.getContext(),
                                            gpu::AddressSpace::Workgroup);
    return MemRefType::Builder(type).setMemorySpace(space);
  }

  static LogicalResult add(func::FuncOp function) {
    if (function.isExternal())
      return success();
    auto type = function.getNumArguments()
                    ? dyn_cast<MemRefType>(function.getArgumentTypes().back())
                    : MemRefType();
    // Tokens are i32 in kernels.
    if (!type || !type.hasStaticShape() || !type.getLayout().isIdentity() ||
        !type.getElementType().isF32() || type.getRank() == 0 ||
        type.getNumElements() != type.getShape().back() ||
        type.getNumElements() < 1 ||
        type.getNumElements() > std::numeric_limits<int32_t>::max())
      return function.emitOpError("expected the last argument to be logits of "
                                  "one token, 1 to 2147483647 of type f32, but "
                                  "got ")
             << function.getFunctionType();
    if (!isStepFunction(function) ||
        !llvm::hasSingleElement(function.getBody()))
      return function.emitOpError(
          "expected a public function of one block without results");
    Value logits = function.getArguments().back();
    int64_t count = type.getNumElements();
    OpBuilder builder(function.front().getTerminator());
    Location loc = function.getLoc();
    auto resultType = MemRefType::get({1}, builder.getI64Type());
    if (failed(function.insertArgument(function.getNumArguments(), resultType,
                                       /*argAttrs=*/{}, loc)))
      return failure();
    Value best = function.getArguments().back();

    GpuKernelLibrary library(function->getParentOfType<ModuleOp>());
    auto candidates = [&](int64_t size) {
      return SmallVector<MemRefType>{
          MemRefType::get({size}, builder.getF32Type()),
          MemRefType::get({size}, builder.getI32Type())};
    };
    auto launch = [&](StringRef name, int64_t blocks, int64_t threads,
                      ValueRange inputs, auto body) {
      SmallVector<MemRefType> shared;
      if (threads > LaneBuilder::kWarp)
        for (MemRefType each : candidates(threads / LaneBuilder::kWarp))
          shared.push_back(asShared(each));
      library.launch(
          builder, loc, name, blocks, threads, inputs, shared,
          [&](LaneBuilder &k, ValueRange args) { body(Argmax(k), args); });
    };
    auto threadsFor = [](int64_t size) {
      return std::clamp<int64_t>(llvm::PowerOf2Ceil(size), LaneBuilder::kWarp,
                                 kThreads);
    };
    // So that one block suffices for what they find.
    int64_t blocks = std::min<int64_t>(
        llvm::divideCeil(count, kThreads * kLogitsPerLane), kThreads);
    if (blocks == 1) {
      launch("argmax", 1, threadsFor(count), {logits, best},
             [&](Argmax argmax, ValueRange args) {
               LaneBuilder &k = argmax.k;
               argmax.emit(
                   k.lane, count, k.threads,
                   [&](Value at) { return argmax.readLogit(args[0], at); },
                   [&](ValueRange best) { argmax.storeResult(best, args[1]); });
             });
      return success();
    }
    SmallVector<Value> found;
    for (MemRefType each : candidates(blocks))
      found.push_back(memref::AllocOp::create(builder, loc, each));
    launch("argmax_of_block", blocks, kThreads, {logits, found[0], found[1]},
           [&](Argmax argmax, ValueRange args) {
             LaneBuilder &k = argmax.k;
             argmax.emit(
                 k.add(k.mul(k.block, kThreads), k.lane), count,
                 blocks * kThreads,
                 [&](Value at) { return argmax.readLogit(args[0], at); },
                 [&](ValueRange best) {
                   argmax.storeCandidate(best, args[1], args[2], k.block);
                 });
           });
    launch("argmax_of_blocks", 1, threadsFor(blocks),
           {found[0], found[1], best}, [&](Argmax argmax, ValueRange args) {
             LaneBuilder &k = argmax.k;
             argmax.emit(
                 k.lane, blocks, k.threads,
                 [&](Value at) -> Values {
                   return {k.load(args[0], at), argmax.loadToken(args[1], at)};
                 },
                 [&](ValueRange best) { argmax.storeResult(best, args[2]); });
           });
    return success();
  }
};

} // namespace
