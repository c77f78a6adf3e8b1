//===- InstrumentAccesses.cpp - Checks of memory accesses -----------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The check of an access is inlined and branches to the runtime when it fails:
// - shared memory: the offset lies in the block's memory, and the bytes of
//   state beside it allow the access;
// - global and generic memory: the address lies in the buffer that this place
//   met last. The runtime looks the buffer up and remembers it, or finds
//   shared or local memory, or reports a mistake;
// - local arrays: the offset lies in the array.
//
//===----------------------------------------------------------------------===//

#include "KernelModule.h"
#include "ganq/Support/Errors.h"
#include "ganq/emulator.h"
#include "llvm/Analysis/LoopInfo.h"
#include "llvm/Analysis/ScalarEvolution.h"
#include "llvm/Analysis/ValueTracking.h"
#include "llvm/IR/InstIterator.h"
#include "llvm/IR/IntrinsicInst.h"
#include "llvm/IR/MDBuilder.h"
#include "llvm/Passes/PassBuilder.h"
#include "llvm/Transforms/InstCombine/InstCombine.h"
#include "llvm/Transforms/Scalar/EarlyCSE.h"
#include "llvm/Transforms/Scalar/SROA.h"
#include "llvm/Transforms/Scalar/ScalarizeMaskedMemIntrin.h"
#include "llvm/Transforms/Scalar/SimplifyCFG.h"
#include "llvm/Transforms/Utils/BasicBlockUtils.h"
#include "llvm/Transforms/Utils/LoopSimplify.h"

using namespace ganq;
using namespace llvm;

static constexpr unsigned kSharedSpace = 3;
/// Loops that LLVM knows to end within this many iterations are not counted.
static constexpr unsigned kShortLoop = 1 << 16;

namespace {
struct Access {
  Instruction *instruction;
  Value *address;
  uint64_t bytes;
  Align alignment;
  uint32_t flags; ///< GANQ_SIMT_LOAD, GANQ_SIMT_STORE or both.
};

class Instrumenter {
public:
  Instrumenter(KernelModule &kernels, Function &function)
      : kernels(kernels), function(function),
        layout(kernels.module->getDataLayout()) {}

  Error run();
  /// Counts what `latches` end.
  void countIterations(ArrayRef<Instruction *> latches);

private:
  void checkAccess(const Access &access);
  void checkShared(const Access &access);
  void checkBuffer(const Access &access);
  void checkLocal(const Access &access, AllocaInst &array);
  void checkRange(Instruction &instruction, Value *address, Value *bytes,
                  uint32_t flags);
  void checkDivision(BinaryOperator &division);

  Value *member(size_t offset, Type *type) {
    return kernels.getLaneMember(function, offset, type);
  }
  Value *toInteger(IRBuilderBase &builder, Value *address) {
    return builder.CreatePtrToInt(address, builder.getInt64Ty());
  }
  Value *isMisaligned(IRBuilderBase &builder, Value *address, Align alignment) {
    if (alignment.value() == 1)
      return builder.getFalse();
    return builder.CreateICmpNE(
        builder.CreateAnd(address, alignment.value() - 1), builder.getInt64(0));
  }
  /// A builder in a block that runs when `condition` holds, which is rare.
  IRBuilder<> makeRareBlock(Value *condition, Instruction *before) {
    DebugLoc location = before->getDebugLoc();
    MDNode *weights =
        MDBuilder(before->getContext()).createUnlikelyBranchWeights();
    Instruction *end = SplitBlockAndInsertIfThen(
        condition, before->getIterator(), /*Unreachable=*/false, weights);
    end->setDebugLoc(location);
    return IRBuilder<>(end);
  }
  void callRuntime(IRBuilderBase &builder, StringRef name,
                   ArrayRef<Value *> arguments) {
    SmallVector<Type *> types;
    for (Value *argument : arguments)
      types.push_back(argument->getType());
    FunctionCallee callee =
        kernels.getRuntime(name, builder.getVoidTy(), types);
    cast<Function>(callee.getCallee())->addFnAttr(Attribute::Cold);
    builder.CreateCall(callee, arguments);
  }
  Value *getFlags(IRBuilderBase &builder, uint32_t flags, Align alignment) {
    return builder.getInt32(flags | Log2(alignment) << GANQ_SIMT_ALIGN_SHIFT);
  }

  KernelModule &kernels;
  Function &function;
  const DataLayout &layout;
};
} // namespace

//===----------------------------------------------------------------------===//
// Accesses
//===----------------------------------------------------------------------===//

void Instrumenter::checkShared(const Access &access) {
  Instruction *at = access.instruction;
  IRBuilder<> b(at);
  Type *int64 = b.getInt64Ty();
  Value *generic = b.CreateAddrSpaceCast(access.address, b.getPtrTy());
  Value *address = toInteger(b, generic);
  Value *offset = b.CreateSub(
      address,
      toInteger(b, member(offsetof(ganq_simt_lane, shared), b.getPtrTy())));
  Value *outside = b.CreateICmpUGE(
      offset, member(offsetof(ganq_simt_lane, shared_bytes), int64));
  // States are read at a place that exists even when the address does not: the
  // bytes behind the end say that they are outside.
  Value *base = member(offsetof(ganq_simt_lane, shared), b.getPtrTy());
  Value *safe = b.CreateSelect(outside, b.getInt64(0), offset);
  Value *states = b.CreateGEP(
      b.getInt8Ty(),
      b.CreateGEP(b.getInt8Ty(), base,
                  member(offsetof(ganq_simt_lane, shared_state), int64)),
      safe);
  Type *type = b.getIntNTy(8 * access.bytes);
  Value *state = b.CreateAlignedLoad(type, states, Align(1));
  // What is written may be unwritten before.
  if (!(access.flags & GANQ_SIMT_LOAD))
    state = b.CreateAnd(
        state, ConstantInt::get(
                   type, APInt::getSplat(8 * access.bytes, APInt(8, 0xfe))));
  Value *bad = b.CreateOr(
      b.CreateOr(outside, isMisaligned(b, address, access.alignment)),
      b.CreateICmpNE(state, ConstantInt::get(type, 0)));
  IRBuilder<> rare = makeRareBlock(bad, at);
  callRuntime(
      rare, "ganq_simt_range",
      {KernelModule::getLane(function), generic, rare.getInt64(access.bytes),
       getFlags(rare, access.flags | GANQ_SIMT_IN_SHARED, access.alignment),
       kernels.getPlaceValue(rare, *at)});
  if (access.flags & GANQ_SIMT_STORE)
    IRBuilder<>(at).CreateAlignedStore(ConstantInt::get(type, 0), states,
                                       Align(1));
}

void Instrumenter::checkBuffer(const Access &access) {
  Instruction *at = access.instruction;
  IRBuilder<> b(at);
  Type *int64 = b.getInt64Ty();
  Value *generic = b.CreateAddrSpaceCast(access.address, b.getPtrTy());
  Value *address = toInteger(b, generic);
  uint32_t site = kernels.numSites++;
  Value *sites = member(offsetof(ganq_simt_lane, sites), b.getPtrTy());
  Value *low = b.CreateLoad(
      int64, b.CreateConstGEP1_64(b.getInt8Ty(), sites,
                                  site * sizeof(ganq_simt_site) +
                                      offsetof(ganq_simt_site, low)));
  Value *last = b.CreateLoad(
      int64, b.CreateConstGEP1_64(b.getInt8Ty(), sites,
                                  site * sizeof(ganq_simt_site) +
                                      offsetof(ganq_simt_site, last)));
  Value *bad = b.CreateOr(b.CreateICmpUGT(b.CreateSub(address, low), last),
                          isMisaligned(b, address, access.alignment));
  IRBuilder<> rare = makeRareBlock(bad, at);
  callRuntime(rare, "ganq_simt_access",
              {KernelModule::getLane(function), generic,
               rare.getInt64(access.bytes),
               getFlags(rare, access.flags, access.alignment),
               kernels.getPlaceValue(rare, *at), rare.getInt32(site)});
}

void Instrumenter::checkLocal(const Access &access, AllocaInst &array) {
  uint64_t size = array.getAllocationSize(layout)->getFixedValue();
  APInt constant(64, 0);
  const Value *base = access.address->stripAndAccumulateConstantOffsets(
      layout, constant, /*AllowNonInbounds=*/true);
  bool fits = access.bytes <= size;
  if (base == &array && fits && constant.ule(size - access.bytes))
    return;
  Instruction *at = access.instruction;
  IRBuilder<> b(at);
  Value *offset =
      b.CreateSub(toInteger(b, access.address), toInteger(b, &array));
  Value *bad = fits ? b.CreateICmpUGT(offset, b.getInt64(size - access.bytes))
                    : b.getTrue();
  IRBuilder<> rare = makeRareBlock(bad, at);
  callRuntime(rare, "ganq_simt_local_error",
              {KernelModule::getLane(function), offset,
               rare.getInt64(access.bytes), rare.getInt64(size),
               kernels.getPlaceValue(rare, *at)});
}

void Instrumenter::checkAccess(const Access &access) {
  if (access.bytes == 0)
    return;
  Value *object = getUnderlyingObject(access.address, /*MaxLookup=*/0);
  if (auto *array = dyn_cast<AllocaInst>(object)) {
    checkLocal(access, *array);
    return;
  }
  unsigned space = access.address->getType()->getPointerAddressSpace();
  if (space == kSharedSpace)
    checkShared(access);
  else
    checkBuffer(access);
}

void Instrumenter::checkRange(Instruction &instruction, Value *address,
                              Value *bytes, uint32_t flags) {
  if (isa<AllocaInst>(getUnderlyingObject(address, /*MaxLookup=*/0)) &&
      isa<ConstantInt>(bytes)) {
    checkAccess({&instruction, address,
                 cast<ConstantInt>(bytes)->getZExtValue(), Align(1), flags});
    return;
  }
  IRBuilder<> b(&instruction);
  if (address->getType()->getPointerAddressSpace() == kSharedSpace)
    flags |= GANQ_SIMT_IN_SHARED;
  callRuntime(b, "ganq_simt_range",
              {KernelModule::getLane(function),
               b.CreateAddrSpaceCast(address, b.getPtrTy()),
               b.CreateZExt(bytes, b.getInt64Ty()),
               getFlags(b, flags, Align(1)),
               kernels.getPlaceValue(b, instruction)});
}

//===----------------------------------------------------------------------===//
// Divisions, which would raise a signal here, and loops
//===----------------------------------------------------------------------===//

void Instrumenter::checkDivision(BinaryOperator &division) {
  unsigned opcode = division.getOpcode();
  bool isSigned = opcode == Instruction::SDiv || opcode == Instruction::SRem;
  Value *divisor = division.getOperand(1), *dividend = division.getOperand(0);
  Type *type = division.getType();
  auto *constant = dyn_cast<ConstantInt>(divisor);
  if (constant && !constant->isZero() && !constant->isMinusOne())
    return;
  IRBuilder<> b(&division);
  Value *bad = b.CreateICmpEQ(divisor, Constant::getNullValue(type));
  if (isSigned) {
    unsigned bits = type->getScalarSizeInBits();
    Value *smallest = ConstantInt::get(type, APInt::getSignedMinValue(bits));
    bad = b.CreateOr(
        bad,
        b.CreateAnd(b.CreateICmpEQ(divisor, Constant::getAllOnesValue(type)),
                    b.CreateICmpEQ(dividend, smallest)));
  }
  if (type->isVectorTy())
    bad = b.CreateOrReduce(bad);
  IRBuilder<> rare = makeRareBlock(bad, &division);
  callRuntime(
      rare, "ganq_simt_divide_error",
      {KernelModule::getLane(function), kernels.getPlaceValue(rare, division)});
}

void Instrumenter::countIterations(ArrayRef<Instruction *> latches) {
  for (Instruction *latch : latches) {
    IRBuilder<> b(latch);
    Value *fuel = member(offsetof(ganq_simt_lane, fuel), b.getPtrTy());
    Value *left =
        b.CreateSub(b.CreateLoad(b.getInt64Ty(), fuel), b.getInt64(1));
    b.CreateStore(left, fuel);
    IRBuilder<> rare =
        makeRareBlock(b.CreateICmpSLT(left, b.getInt64(0)), latch);
    callRuntime(
        rare, "ganq_simt_tick",
        {KernelModule::getLane(function), kernels.getPlaceValue(rare, *latch)});
  }
}

Error Instrumenter::run() {
  SmallVector<Access> accesses;
  SmallVector<BinaryOperator *> divisions;
  SmallVector<MemIntrinsic *> ranges;
  auto add = [&](Instruction &instruction, Value *address, Type *type,
                 Align alignment, uint32_t flags) {
    accesses.push_back({&instruction, address,
                        layout.getTypeStoreSize(type).getFixedValue(),
                        alignment, flags});
  };
  for (Instruction &instruction : instructions(function)) {
    if (auto *load = dyn_cast<LoadInst>(&instruction)) {
      // What the emulator reads of the lane.
      if (getUnderlyingObject(load->getPointerOperand(), 0) ==
          KernelModule::getLane(function))
        continue;
      add(instruction, load->getPointerOperand(), load->getType(),
          load->getAlign(), GANQ_SIMT_LOAD);
    } else if (auto *store = dyn_cast<StoreInst>(&instruction)) {
      add(instruction, store->getPointerOperand(),
          store->getValueOperand()->getType(), store->getAlign(),
          GANQ_SIMT_STORE);
    } else if (auto *atomic = dyn_cast<AtomicRMWInst>(&instruction)) {
      add(instruction, atomic->getPointerOperand(), atomic->getType(),
          atomic->getAlign(), GANQ_SIMT_LOAD | GANQ_SIMT_STORE);
    } else if (auto *exchange = dyn_cast<AtomicCmpXchgInst>(&instruction)) {
      add(instruction, exchange->getPointerOperand(),
          exchange->getNewValOperand()->getType(), exchange->getAlign(),
          GANQ_SIMT_LOAD | GANQ_SIMT_STORE);
    } else if (auto *range = dyn_cast<MemIntrinsic>(&instruction)) {
      ranges.push_back(range);
    } else if (auto *intrinsic = dyn_cast<IntrinsicInst>(&instruction)) {
      // Whatever else touches memory would slip through.
      switch (intrinsic->getIntrinsicID()) {
      case Intrinsic::masked_gather:
      case Intrinsic::masked_scatter:
      case Intrinsic::masked_load:
      case Intrinsic::masked_store:
      case Intrinsic::masked_expandload:
      case Intrinsic::masked_compressstore:
        return kernels.makeError(
            instruction, "expected loads and stores of fixed vectors, "
                         "but got `" +
                             intrinsic->getCalledFunction()->getName() + "`");
      default:
        break;
      }
    } else if (instruction.isIntDivRem()) {
      divisions.push_back(cast<BinaryOperator>(&instruction));
    }
  }
  for (const Access &access : accesses)
    checkAccess(access);
  for (MemIntrinsic *range : ranges) {
    checkRange(*range, range->getDest(), range->getLength(), GANQ_SIMT_STORE);
    if (auto *copy = dyn_cast<MemTransferInst>(range))
      checkRange(*copy, copy->getSource(), copy->getLength(), GANQ_SIMT_LOAD);
  }
  for (BinaryOperator *division : divisions)
    checkDivision(*division);
  return Error::success();
}

//===----------------------------------------------------------------------===//
// All functions
//===----------------------------------------------------------------------===//

/// Arrays of constant size live as long as their function.
static Error hoistArrays(KernelModule &kernels, Function &function) {
  BasicBlock &entry = function.getEntryBlock();
  SmallVector<AllocaInst *> arrays;
  for (Instruction &instruction : instructions(function))
    if (auto *array = dyn_cast<AllocaInst>(&instruction))
      arrays.push_back(array);
  for (AllocaInst *array : arrays) {
    if (!isa<ConstantInt>(array->getArraySize()))
      return kernels.makeError(*array, "expected local arrays of constant "
                                       "size, but got one whose size is "
                                       "computed");
    array->moveBefore(entry, entry.begin());
  }
  return Error::success();
}

Error ganq::instrumentAccesses(KernelModule &kernels) {
  // No target: what the host could do with masks must not keep the loads and
  // stores from being seen one by one.
  LoopAnalysisManager loops;
  FunctionAnalysisManager functions;
  CGSCCAnalysisManager callGraph;
  ModuleAnalysisManager modules;
  PassBuilder builder;
  builder.registerModuleAnalyses(modules);
  builder.registerCGSCCAnalyses(callGraph);
  builder.registerFunctionAnalyses(functions);
  builder.registerLoopAnalyses(loops);
  builder.crossRegisterProxies(loops, functions, callGraph, modules);
  FunctionPassManager simplify;
  simplify.addPass(ScalarizeMaskedMemIntrinPass());
  simplify.addPass(SROAPass(SROAOptions::ModifyCFG));
  simplify.addPass(EarlyCSEPass(/*UseMemorySSA=*/true));
  simplify.addPass(InstCombinePass());
  simplify.addPass(SimplifyCFGPass());
  simplify.addPass(LoopSimplifyPass());

  kernels.forgetLaneMembers();
  for (Function &function : *kernels.module) {
    if (function.isDeclaration())
      continue;
    if (Error error = hoistArrays(kernels, function))
      return error;
    simplify.run(function, functions);
    if (!kernels.checked)
      continue;
    auto &info = functions.getResult<LoopAnalysis>(function);
    auto &evolution = functions.getResult<ScalarEvolutionAnalysis>(function);
    SmallVector<Instruction *> latches;
    for (Loop *loop : info.getLoopsInPreorder()) {
      unsigned most = evolution.getSmallConstantMaxTripCount(loop);
      if (most != 0 && most <= kShortLoop)
        continue;
      SmallVector<BasicBlock *> blocks;
      loop->getLoopLatches(blocks);
      for (BasicBlock *block : blocks)
        latches.push_back(block->getTerminator());
    }
    Instrumenter instrumenter(kernels, function);
    if (Error error = instrumenter.run())
      return error;
    instrumenter.countIterations(latches);
    functions.invalidate(function, PreservedAnalyses::none());
  }
  return Error::success();
}
