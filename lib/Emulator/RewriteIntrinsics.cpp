//===- RewriteIntrinsics.cpp - GPU intrinsics to the emulator's runtime ---===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "KernelModule.h"
#include "ganq/emulator.h"
#include "llvm/ADT/StringSwitch.h"
#include "llvm/IR/InlineAsm.h"
#include "llvm/IR/InstIterator.h"
#include "llvm/IR/IntrinsicInst.h"

using namespace ganq;
using namespace llvm;

namespace {
/// Replaces the calls of one function. A `rewrite` method returns whether it
/// knows the name; the result, if the call has one, is in `result`.
class Rewriter {
public:
  Rewriter(KernelModule &kernels, Function &function)
      : kernels(kernels), function(function),
        builder(kernels.module->getContext()) {}

  Error run();

private:
  Error rewriteCall(CallInst &call);
  Expected<bool> rewriteNvvm(CallInst &call, StringRef name);
  bool rewriteRegister(StringRef name);
  bool rewriteBarrier(CallInst &call, StringRef name);
  bool rewriteWarp(CallInst &call, StringRef name);
  bool rewriteShuffle(CallInst &call, StringRef name);
  bool rewriteCopy(CallInst &call, StringRef name);
  bool rewriteMatrix(CallInst &call, StringRef name);
  bool rewriteMma(CallInst &call, StringRef name);
  bool rewriteNothing(StringRef name);
  bool rewriteExternal(CallInst &call, StringRef name);

  Value *lane() { return KernelModule::getLane(function); }
  Value *member(size_t offset, Type *type = nullptr) {
    return kernels.getLaneMember(function, offset,
                                 type ? type : builder.getInt32Ty());
  }
  Value *place(CallInst &call) { return kernels.getPlaceValue(builder, call); }
  Value *toInt32(Value *value) {
    return value->getType()->isIntegerTy()
               ? builder.CreateZExtOrTrunc(value, builder.getInt32Ty())
               : builder.CreateBitCast(value, builder.getInt32Ty());
  }
  /// Pointers of any address space become generic ones.
  Value *toGeneric(Value *pointer) {
    return builder.CreateAddrSpaceCast(pointer, builder.getPtrTy());
  }
  Value *callRuntime(StringRef name, Type *type, ArrayRef<Value *> arguments) {
    SmallVector<Type *> types;
    for (Value *argument : arguments)
      types.push_back(argument->getType());
    return builder.CreateCall(kernels.getRuntime(name, type, types), arguments);
  }
  /// {value, predicate} from a value with the predicate in bit 32.
  Value *makePair(Value *packed, Type *type) {
    auto *pair = cast<StructType>(type);
    Value *low = builder.CreateTrunc(packed, builder.getInt32Ty());
    Value *high = builder.CreateTrunc(builder.CreateLShr(packed, 32),
                                      builder.getInt1Ty());
    Value *value = PoisonValue::get(pair);
    value = builder.CreateInsertValue(
        value, builder.CreateBitCast(low, pair->getElementType(0)), 0);
    return builder.CreateInsertValue(value, high, 1);
  }
  void storeWord(Value *memory, unsigned index, Value *word) {
    builder.CreateStore(
        word, builder.CreateConstGEP1_32(builder.getInt32Ty(), memory, index));
  }
  /// The members of a struct, or the value itself, from words in memory.
  Value *loadWords(Value *memory, unsigned first, Type *type);

  KernelModule &kernels;
  Function &function;
  IRBuilder<> builder;
  Value *result = nullptr;
};
} // namespace

Value *Rewriter::loadWords(Value *memory, unsigned first, Type *type) {
  auto load = [&](Type *member, unsigned index) -> Value * {
    return builder.CreateLoad(member, builder.CreateConstGEP1_32(
                                          builder.getInt32Ty(), memory, index));
  };
  auto *members = dyn_cast<StructType>(type);
  if (!members)
    return load(type, first);
  Value *value = PoisonValue::get(type);
  for (unsigned i = 0; i < members->getNumElements(); ++i)
    value = builder.CreateInsertValue(
        value, load(members->getElementType(i), first + i), i);
  return value;
}

//===----------------------------------------------------------------------===//
// Special registers
//===----------------------------------------------------------------------===//

bool Rewriter::rewriteRegister(StringRef name) {
  auto getDimension = [](StringRef axis) -> int {
    return axis == "x" ? 0 : axis == "y" ? 1 : axis == "z" ? 2 : -1;
  };
  auto [base, axis] = name.rsplit('.');
  size_t vector = StringSwitch<size_t>(base)
                      .Case("tid", offsetof(ganq_simt_lane, tid))
                      .Case("ntid", offsetof(ganq_simt_lane, ntid))
                      .Case("ctaid", offsetof(ganq_simt_lane, ctaid))
                      .Case("nctaid", offsetof(ganq_simt_lane, nctaid))
                      .Default(~size_t(0));
  if (vector != ~size_t(0) && getDimension(axis) >= 0) {
    result = member(vector + 4 * getDimension(axis));
    return true;
  }
  Type *int32 = builder.getInt32Ty(), *int64 = builder.getInt64Ty();
  Value *one = builder.getInt32(1);
  auto laneId = [&] { return member(offsetof(ganq_simt_lane, laneid)); };
  if (name == "laneid") {
    result = laneId();
  } else if (name == "warpid") {
    result = member(offsetof(ganq_simt_lane, warpid));
  } else if (name == "warpsize") {
    result = builder.getInt32(32);
  } else if (name == "nwarpid") {
    Value *threads = one;
    for (int d = 0; d < 3; ++d)
      threads = builder.CreateMul(
          threads, member(offsetof(ganq_simt_lane, ntid) + 4 * d));
    result =
        builder.CreateLShr(builder.CreateAdd(threads, builder.getInt32(31)), 5);
  } else if (name == "clock64") {
    result = callRuntime("ganq_simt_clock", int64, {});
  } else if (name == "clock") {
    result =
        builder.CreateTrunc(callRuntime("ganq_simt_clock", int64, {}), int32);
  } else if (name == "globaltimer") {
    result = callRuntime("ganq_simt_nanoseconds", int64, {});
  } else if (name == "globaltimer.lo") {
    result = builder.CreateTrunc(
        callRuntime("ganq_simt_nanoseconds", int64, {}), int32);
  } else if (name.consume_front("lanemask.")) {
    Value *bit = builder.CreateShl(one, laneId());
    Value *below = builder.CreateSub(bit, one);
    if (name == "eq")
      result = bit;
    else if (name == "lt")
      result = below;
    else if (name == "le")
      result = builder.CreateOr(below, bit);
    else if (name == "ge")
      result = builder.CreateNot(below);
    else if (name == "gt")
      result = builder.CreateNot(builder.CreateOr(below, bit));
    else
      return false;
  } else {
    return false;
  }
  return true;
}

//===----------------------------------------------------------------------===//
// Barriers and warp operations
//===----------------------------------------------------------------------===//

/// barrier.cta.{sync,arrive,red.OP}[.aligned].{all,count}
bool Rewriter::rewriteBarrier(CallInst &call, StringRef name) {
  if (!name.consume_front("barrier.cta."))
    return false;
  uint32_t flags = 0;
  if (name.consume_front("arrive"))
    flags = GANQ_SIMT_BARRIER_ARRIVE;
  else if (name.consume_front("red.popc"))
    flags = GANQ_SIMT_BARRIER_POPC;
  else if (name.consume_front("red.and"))
    flags = GANQ_SIMT_BARRIER_AND;
  else if (name.consume_front("red.or"))
    flags = GANQ_SIMT_BARRIER_OR;
  else if (!name.consume_front("sync"))
    return false;
  if (name.consume_front(".aligned"))
    flags |= GANQ_SIMT_BARRIER_ALIGNED;
  bool counted = name == ".count";
  if (!counted && name != ".all")
    return false;
  bool reduces = !call.getType()->isVoidTy();
  Value *count = counted ? call.getArgOperand(1) : builder.getInt32(0);
  Value *predicate =
      reduces ? toInt32(call.getArgOperand(counted ? 2 : 1)) : count;
  if (!reduces)
    predicate = builder.getInt32(0);
  Value *reduction = callRuntime("ganq_simt_barrier", builder.getInt32Ty(),
                                 {lane(), place(call), builder.getInt32(flags),
                                  call.getArgOperand(0), count, predicate});
  if (reduces)
    result = builder.CreateZExtOrTrunc(reduction, call.getType());
  return true;
}

/// shfl.sync.{up,down,bfly,idx}.{i32,f32}[p]
bool Rewriter::rewriteShuffle(CallInst &call, StringRef name) {
  if (!name.consume_front("shfl.sync."))
    return false;
  auto [modeName, type] = name.split('.');
  int mode = StringSwitch<int>(modeName)
                 .Case("up", GANQ_SIMT_SHUFFLE_UP)
                 .Case("down", GANQ_SIMT_SHUFFLE_DOWN)
                 .Case("bfly", GANQ_SIMT_SHUFFLE_BFLY)
                 .Case("idx", GANQ_SIMT_SHUFFLE_IDX)
                 .Default(-1);
  if (mode < 0)
    return false;
  Value *packed =
      callRuntime("ganq_simt_shuffle", builder.getInt64Ty(),
                  {lane(), place(call), builder.getInt32(mode),
                   call.getArgOperand(0), toInt32(call.getArgOperand(1)),
                   call.getArgOperand(2), call.getArgOperand(3)});
  result = type.ends_with("p")
               ? makePair(packed, call.getType())
               : builder.CreateBitCast(
                     builder.CreateTrunc(packed, builder.getInt32Ty()),
                     call.getType());
  return true;
}

bool Rewriter::rewriteWarp(CallInst &call, StringRef name) {
  Type *int64 = builder.getInt64Ty();
  if (name == "bar.warp.sync") {
    callRuntime("ganq_simt_warp_barrier", builder.getVoidTy(),
                {lane(), place(call), call.getArgOperand(0)});
    return true;
  }
  if (name == "activemask") {
    result =
        callRuntime("ganq_simt_active_mask", builder.getInt32Ty(), {lane()});
    return true;
  }
  int kind = StringSwitch<int>(name)
                 .Case("vote.all.sync", GANQ_SIMT_VOTE_ALL)
                 .Case("vote.any.sync", GANQ_SIMT_VOTE_ANY)
                 .Case("vote.uni.sync", GANQ_SIMT_VOTE_UNI)
                 .Case("vote.ballot.sync", GANQ_SIMT_VOTE_BALLOT)
                 .Case("elect.sync", GANQ_SIMT_VOTE_ELECT)
                 .Cases({"match.any.sync.i32", "match.any.sync.i64"},
                        GANQ_SIMT_MATCH_ANY)
                 .Cases({"match.all.sync.i32p", "match.all.sync.i64p"},
                        GANQ_SIMT_MATCH_ALL)
                 .Case("redux.sync.add", GANQ_SIMT_REDUX_ADD)
                 .Case("redux.sync.min", GANQ_SIMT_REDUX_MIN)
                 .Case("redux.sync.max", GANQ_SIMT_REDUX_MAX)
                 .Case("redux.sync.umin", GANQ_SIMT_REDUX_UMIN)
                 .Case("redux.sync.umax", GANQ_SIMT_REDUX_UMAX)
                 .Case("redux.sync.and", GANQ_SIMT_REDUX_AND)
                 .Case("redux.sync.or", GANQ_SIMT_REDUX_OR)
                 .Case("redux.sync.xor", GANQ_SIMT_REDUX_XOR)
                 .Default(-1);
  if (kind < 0)
    return false;
  // redux takes the value first.
  bool isRedux = kind >= GANQ_SIMT_REDUX_ADD;
  Value *mask = call.getArgOperand(isRedux ? 1 : 0);
  Value *value =
      kind == GANQ_SIMT_VOTE_ELECT
          ? builder.getInt64(0)
          : builder.CreateZExt(call.getArgOperand(isRedux ? 0 : 1), int64);
  Value *packed =
      callRuntime("ganq_simt_vote", int64,
                  {lane(), place(call), builder.getInt32(kind), mask, value});
  result = call.getType()->isStructTy()
               ? makePair(packed, call.getType())
               : builder.CreateTrunc(packed, call.getType());
  return true;
}

//===----------------------------------------------------------------------===//
// Copies and matrices
//===----------------------------------------------------------------------===//

/// cp.async.{ca,cg}.shared.global.N[.s], and the groups
bool Rewriter::rewriteCopy(CallInst &call, StringRef name) {
  if (!name.consume_front("cp.async."))
    return false;
  Type *none = builder.getVoidTy();
  if (name == "commit.group") {
    callRuntime("ganq_simt_copy_commit", none, {lane()});
    return true;
  }
  if (name == "wait.group" || name == "wait.all") {
    Value *pending = name == "wait.all" ? builder.getInt32(~0u)
                                        : toInt32(call.getArgOperand(0));
    callRuntime("ganq_simt_copy_wait", none, {lane(), pending});
    return true;
  }
  if (!name.consume_front("ca.shared.global.") &&
      !name.consume_front("cg.shared.global."))
    return false;
  bool hasSize = name.consume_back(".s");
  uint32_t bytes;
  if (name.getAsInteger(10, bytes))
    return false;
  callRuntime("ganq_simt_copy_async", none,
              {lane(), place(call), toGeneric(call.getArgOperand(0)),
               toGeneric(call.getArgOperand(1)), builder.getInt32(bytes),
               hasSize ? call.getArgOperand(2) : builder.getInt32(bytes)});
  return true;
}

/// {ld,st}matrix.sync.aligned.m8n8.x{1,2,4}[.trans].b16[.pN]
bool Rewriter::rewriteMatrix(CallInst &call, StringRef name) {
  bool loads = name.consume_front("ldmatrix.sync.aligned.m8n8.x");
  if (!loads && !name.consume_front("stmatrix.sync.aligned.m8n8.x"))
    return false;
  uint32_t count;
  if (name.consumeInteger(10, count) || count > 4)
    return false;
  bool transposed = name.consume_front(".trans");
  if (!name.starts_with(".b16"))
    return false;
  Value *shape = builder.getInt32(count | uint32_t(transposed) << 8);
  Value *words = kernels.makeOperands(function, 4);
  Value *row = toGeneric(call.getArgOperand(0));
  if (!loads)
    for (uint32_t i = 0; i < count; ++i)
      storeWord(words, i, call.getArgOperand(1 + i));
  callRuntime(loads ? "ganq_simt_ldmatrix" : "ganq_simt_stmatrix",
              builder.getVoidTy(), {lane(), place(call), shape, row, words});
  if (loads)
    result = loadWords(words, 0, call.getType());
  return true;
}

static int getElement(StringRef name) {
  return StringSwitch<int>(name)
      .Case("f16", GANQ_SIMT_F16)
      .Case("bf16", GANQ_SIMT_BF16)
      .Case("tf32", GANQ_SIMT_TF32)
      .Case("s8", GANQ_SIMT_S8)
      .Case("u8", GANQ_SIMT_U8)
      .Case("s4", GANQ_SIMT_S4)
      .Case("u4", GANQ_SIMT_U4)
      .Case("b1", GANQ_SIMT_B1)
      .Case("f32", GANQ_SIMT_F32)
      .Default(-1);
}

/// mma[.{and,xor}.popc].mMnNkK.row.col[.satfinite].TYPES, where TYPES are those
/// of D and C for f16 and else of A, or of A and B.
bool Rewriter::rewriteMma(CallInst &call, StringRef name) {
  if (!name.consume_front("mma."))
    return false;
  ganq_simt_mma_shape shape = {};
  shape.op = name.consume_front("and.popc.")   ? GANQ_SIMT_MMA_AND_POPC
             : name.consume_front("xor.popc.") ? GANQ_SIMT_MMA_XOR_POPC
                                               : GANQ_SIMT_MMA_MULTIPLY;
  if (!name.consume_front("m") || name.consumeInteger(10, shape.m) ||
      !name.consume_front("n") || name.consumeInteger(10, shape.n) ||
      !name.consume_front("k") || name.consumeInteger(10, shape.k) ||
      !name.consume_front(".row.col."))
    return false;
  if (name.consume_front("satfinite."))
    shape.op = GANQ_SIMT_MMA_SATURATE;
  auto [firstName, secondName] = name.split('.');
  int first = getElement(firstName);
  int second = secondName.empty() ? first : getElement(secondName);
  if (first < 0 || second < 0 || shape.n != 8 ||
      (shape.m != 8 && shape.m != 16))
    return false;
  bool isHalf =
      !secondName.empty() && (first == GANQ_SIMT_F16 || first == GANQ_SIMT_F32);
  bool isFloat = isHalf || first == GANQ_SIMT_BF16 || first == GANQ_SIMT_TF32;
  shape.a = isHalf ? GANQ_SIMT_F16 : first;
  shape.b = isHalf ? GANQ_SIMT_F16 : second;
  shape.d = isHalf ? first : isFloat ? GANQ_SIMT_F32 : GANQ_SIMT_S32;
  shape.c = isHalf ? second : shape.d;
  // The one f16 shape with 8 rows and other fragments, from Volta.
  if (isFloat && shape.m == 8)
    return false;

  unsigned accumulators = shape.m / 8 * (shape.c == GANQ_SIMT_F16 ? 1 : 2);
  unsigned registers = call.arg_size();
  Value *words = kernels.makeOperands(function, registers + 4);
  for (unsigned i = 0; i < registers; ++i)
    storeWord(words, i, call.getArgOperand(i));
  auto *bytes = ConstantDataArray::getRaw(
      StringRef(reinterpret_cast<const char *>(&shape), sizeof(shape)),
      sizeof(shape), builder.getInt8Ty());
  auto *constant =
      new GlobalVariable(*kernels.module, bytes->getType(), /*isConstant=*/true,
                         GlobalValue::PrivateLinkage, bytes, "ganq_simt_shape");
  constant->setAlignment(Align(2));
  callRuntime("ganq_simt_mma", builder.getVoidTy(),
              {lane(), place(call), constant, words});
  result = loadWords(words, registers - accumulators, call.getType());
  return true;
}

//===----------------------------------------------------------------------===//
// The rest
//===----------------------------------------------------------------------===//

/// What has no effect here.
bool Rewriter::rewriteNothing(StringRef name) {
  if (name == "membar.gl" || name == "membar.sys" ||
      name.starts_with("fence.sc")) {
    builder.CreateFence(AtomicOrdering::SequentiallyConsistent);
    return true;
  }
  if (name == "nanosleep") {
    callRuntime("ganq_simt_yield", builder.getVoidTy(), {lane()});
    return true;
  }
  static constexpr StringLiteral kNothing[] = {
      "membar.cta", "prefetch", "applypriority",
      "setmaxnreg", "pm.event", "griddepcontrol"};
  return any_of(kNothing,
                [&](StringRef prefix) { return name.starts_with(prefix); });
}

Expected<bool> Rewriter::rewriteNvvm(CallInst &call, StringRef name) {
  if (name.consume_front("read.ptx.sreg."))
    return rewriteRegister(name);
  if (name.consume_front("isspacep.")) {
    Value *offset = builder.CreateSub(
        builder.CreatePtrToInt(call.getArgOperand(0), builder.getInt64Ty()),
        builder.CreatePtrToInt(
            member(offsetof(ganq_simt_lane, shared), builder.getPtrTy()),
            builder.getInt64Ty()));
    Value *isShared = builder.CreateICmpULT(
        offset,
        member(offsetof(ganq_simt_lane, shared_bytes), builder.getInt64Ty()));
    if (name != "shared" && name != "global")
      return false;
    result = name == "shared" ? isShared : builder.CreateNot(isShared);
    return true;
  }
  if (rewriteBarrier(call, name) || rewriteShuffle(call, name) ||
      rewriteWarp(call, name) || rewriteCopy(call, name) ||
      rewriteMatrix(call, name) || rewriteMma(call, name) ||
      rewriteNothing(name))
    return true;
  result = expandScalarIntrinsic(builder, name, call);
  return result != nullptr;
}

/// Functions that the device's libraries would bring.
bool Rewriter::rewriteExternal(CallInst &call, StringRef name) {
  if (name == "vprintf" && call.arg_size() == 2) {
    Value *values = call.getArgOperand(1);
    uint64_t bytes = UINT64_MAX;
    if (isa<ConstantPointerNull>(values->stripPointerCasts()))
      bytes = 0;
    else if (auto *local = dyn_cast<AllocaInst>(values->stripPointerCasts()))
      if (auto size = local->getAllocationSize(kernels.module->getDataLayout()))
        bytes = size->getFixedValue();
    result =
        callRuntime("ganq_simt_print", builder.getInt32Ty(),
                    {lane(), toGeneric(call.getArgOperand(0)),
                     toGeneric(values), builder.getInt64(bytes), place(call)});
    return true;
  }
  if (name == "__assertfail" && call.arg_size() >= 1) {
    callRuntime("ganq_simt_assertion", builder.getVoidTy(),
                {lane(), toGeneric(call.getArgOperand(0)), place(call)});
    return true;
  }
  if (!name.consume_front("__nv_"))
    return false;
  result = expandLibdeviceCall(builder, name, call);
  return result != nullptr;
}

Error Rewriter::rewriteCall(CallInst &call) {
  if (isa<InlineAsm>(call.getCalledOperand()))
    return kernels.makeError(
        call, "expected instructions that the emulator knows, but got inline "
              "assembly `" +
                  cast<InlineAsm>(call.getCalledOperand())->getAsmString() +
                  "`; use an nvvm op or an own op with two lowerings");
  Function *callee = call.getCalledFunction();
  if (!callee)
    return kernels.makeError(call,
                             "expected functions to be called by name, but "
                             "got a call of a value");
  if (!callee->isDeclaration())
    return Error::success();
  StringRef name = callee->getName();
  builder.SetInsertPoint(&call);
  result = nullptr;
  bool known = false;
  if (name.starts_with("ganq_simt_"))
    return Error::success();
  if (callee->isIntrinsic() || name.starts_with("llvm.nvvm.")) {
    Intrinsic::ID id = callee->getIntrinsicID();
    if (id == Intrinsic::trap || id == Intrinsic::debugtrap ||
        id == Intrinsic::ubsantrap) {
      callRuntime("ganq_simt_trap", builder.getVoidTy(), {lane(), place(call)});
      known = true;
    } else if (id == Intrinsic::assume) {
      known = true;
    } else if (!name.consume_front("llvm.nvvm.")) {
      return Error::success();
    } else {
      Expected<bool> rewritten = rewriteNvvm(call, name);
      if (!rewritten)
        return rewritten.takeError();
      known = *rewritten;
    }
    if (!known)
      return kernels.makeError(
          call, "expected an intrinsic that the emulator knows, but got `" +
                    callee->getName() + "`");
  } else if (!rewriteExternal(call, name)) {
    return kernels.makeError(call, "expected functions of this module or of "
                                   "libdevice, but got a call of `" +
                                       name + "`");
  }
  if (!call.getType()->isVoidTy())
    call.replaceAllUsesWith(result);
  call.eraseFromParent();
  return Error::success();
}

Error Rewriter::run() {
  SmallVector<CallInst *> calls;
  for (Instruction &instruction : instructions(function)) {
    if (auto *call = dyn_cast<CallInst>(&instruction))
      calls.push_back(call);
    else if (isa<CallBase>(&instruction))
      return kernels.makeError(instruction,
                               "expected plain calls, but got another kind");
  }
  for (CallInst *call : calls)
    if (Error error = rewriteCall(*call))
      return error;
  return Error::success();
}

Error ganq::rewriteIntrinsics(KernelModule &kernels) {
  for (Function &function : *kernels.module) {
    if (function.isDeclaration())
      continue;
    if (Error error = Rewriter(kernels, function).run())
      return error;
    expandConversions(function);
  }
  for (Function &function : make_early_inc_range(*kernels.module))
    if (function.isDeclaration() && function.use_empty())
      function.eraseFromParent();
  return Error::success();
}
