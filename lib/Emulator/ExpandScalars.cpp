//===- ExpandScalars.cpp - Scalar GPU arithmetic as plain LLVM IR ---------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Approximations (ex2.approx, rsqrt.approx, __nv_fast_expf) are computed as
// precisely as libm does, and denormal numbers are kept (.ftz is ignored).
//
//===----------------------------------------------------------------------===//

#include "KernelModule.h"
#include "llvm/ADT/StringSwitch.h"
#include "llvm/IR/InstIterator.h"
#include "llvm/IR/IntrinsicInst.h"

using namespace ganq;
using namespace llvm;

//===----------------------------------------------------------------------===//
// Integers
//===----------------------------------------------------------------------===//

/// prmt: byte i of the result is byte s of {hi, lo} for the nibble s at 4 i of
/// the selector; its bit 3 asks for the byte's sign instead. PTX ISA, prmt.
static Value *expandPermute(IRBuilderBase &b, CallInst &call) {
  Type *int64 = b.getInt64Ty();
  Value *bytes =
      b.CreateOr(b.CreateZExt(call.getArgOperand(0), int64),
                 b.CreateShl(b.CreateZExt(call.getArgOperand(1), int64), 32));
  Value *selector = call.getArgOperand(2);
  Value *result = b.getInt32(0);
  for (unsigned i = 0; i < 4; ++i) {
    Value *nibble = b.CreateAnd(b.CreateLShr(selector, 4 * i), 15);
    Value *shift = b.CreateShl(b.CreateAnd(nibble, 7), 3);
    Value *byte = b.CreateTrunc(b.CreateLShr(bytes, b.CreateZExt(shift, int64)),
                                b.getInt8Ty());
    Value *wantsSign = b.CreateICmpUGT(nibble, b.getInt32(7));
    byte = b.CreateSelect(wantsSign, b.CreateAShr(byte, 7), byte);
    result = b.CreateOr(result,
                        b.CreateShl(b.CreateZExt(byte, b.getInt32Ty()), 8 * i));
  }
  return result;
}

/// dp4a and dp2a: sums of products of bytes (of 16-bit halves of A by bytes of
/// a half of B). Arguments a, b[, upper half], c.
static Value *expandDot(IRBuilderBase &b, CallInst &call, unsigned terms,
                        bool aSigned, bool bSigned) {
  Type *int32 = b.getInt32Ty();
  auto get = [&](Value *word, unsigned bits, unsigned index, bool isSigned) {
    Value *part =
        b.CreateTrunc(b.CreateLShr(word, bits * index), b.getIntNTy(bits));
    return isSigned ? b.CreateSExt(part, int32) : b.CreateZExt(part, int32);
  };
  unsigned first = 0;
  if (terms == 2)
    first = cast<ConstantInt>(call.getArgOperand(2))->isZero() ? 0 : 2;
  Value *sum = call.getArgOperand(terms == 4 ? 2 : 3);
  for (unsigned i = 0; i < terms; ++i)
    sum = b.CreateAdd(
        sum, b.CreateMul(get(call.getArgOperand(0), 32 / terms, i, aSigned),
                         get(call.getArgOperand(1), 8, first + i, bSigned)));
  return sum;
}

static Value *expandMultiplyHigh(IRBuilderBase &b, Value *x, Value *y,
                                 bool isSigned) {
  unsigned bits = x->getType()->getIntegerBitWidth();
  Type *wide = b.getIntNTy(2 * bits);
  auto extend = [&](Value *value) {
    return isSigned ? b.CreateSExt(value, wide) : b.CreateZExt(value, wide);
  };
  return b.CreateTrunc(b.CreateLShr(b.CreateMul(extend(x), extend(y)), bits),
                       x->getType());
}

static Value *expandInteger(IRBuilderBase &b, StringRef name, CallInst &call) {
  auto arg = [&](unsigned i) { return call.getArgOperand(i); };
  if (name == "prmt")
    return expandPermute(b, call);
  if (name.consume_front("idp4a.") && name.size() == 3)
    return expandDot(b, call, 4, name[0] == 's', name[2] == 's');
  if (name.consume_front("idp2a.") && name.size() == 3)
    return expandDot(b, call, 2, name[0] == 's', name[2] == 's');
  if (name.consume_front("mulhi."))
    return expandMultiplyHigh(b, arg(0), arg(1), !name.starts_with("u"));
  if (name.consume_front("mul24.")) {
    bool isSigned = name == "i";
    auto low = [&](Value *value) {
      Value *top = b.CreateShl(value, 8);
      return isSigned ? b.CreateAShr(top, 8) : b.CreateLShr(top, 8);
    };
    return b.CreateMul(low(arg(0)), low(arg(1)));
  }
  if (name.consume_front("sad.")) {
    bool isSigned = !name.starts_with("u");
    Value *less = isSigned ? b.CreateICmpSLT(arg(0), arg(1))
                           : b.CreateICmpULT(arg(0), arg(1));
    Value *distance = b.CreateSelect(less, b.CreateSub(arg(1), arg(0)),
                                     b.CreateSub(arg(0), arg(1)));
    return b.CreateAdd(distance, arg(2));
  }
  if (name.starts_with("fshl.clamp") || name.starts_with("fshr.clamp")) {
    // {hi, lo} = {arg 0, arg 1}; a shift by 32 or more counts as 32.
    Type *type = call.getType();
    unsigned bits = type->getIntegerBitWidth();
    Type *wide = b.getIntNTy(2 * bits);
    Value *both = b.CreateOr(b.CreateShl(b.CreateZExt(arg(0), wide), bits),
                             b.CreateZExt(arg(1), wide));
    Value *shift =
        b.CreateZExt(b.CreateBinaryIntrinsic(Intrinsic::umin, arg(2),
                                             ConstantInt::get(type, bits)),
                     wide);
    if (name.starts_with("fshr"))
      return b.CreateTrunc(b.CreateLShr(both, shift), type);
    return b.CreateTrunc(b.CreateLShr(b.CreateShl(both, shift), bits), type);
  }
  return nullptr;
}

//===----------------------------------------------------------------------===//
// Floats
//===----------------------------------------------------------------------===//

/// PTX conversions to integers saturate and take NaN for 0.
static Value *convertToInteger(IRBuilderBase &b, Value *value, Type *type,
                               bool isSigned) {
  return b.CreateIntrinsic(isSigned ? Intrinsic::fptosi_sat
                                    : Intrinsic::fptoui_sat,
                           {type, value->getType()}, {value});
}

/// f32 to bf16, to nearest even, on integers: processors differ in what they do
/// with small numbers, and where none of their instructions does it LLVM would
/// call a function.
static Value *roundToBrain(IRBuilderBase &b, Value *value) {
  Type *type = value->getType();
  auto with = [&](Type *element) -> Type * {
    if (auto *vector = dyn_cast<VectorType>(type))
      return VectorType::get(element, vector->getElementCount());
    return element;
  };
  Type *int32 = with(b.getInt32Ty());
  auto constant = [&](uint32_t x) { return ConstantInt::get(int32, x); };
  Value *bits = b.CreateBitCast(value, int32);
  Value *odd = b.CreateAnd(b.CreateLShr(bits, constant(16)), constant(1));
  Value *rounded = b.CreateLShr(
      b.CreateAdd(b.CreateAdd(bits, constant(0x7fff)), odd), constant(16));
  // PTX returns one NaN for all.
  rounded =
      b.CreateSelect(b.CreateFCmpUNO(value, value), constant(0x7fff), rounded);
  return b.CreateBitCast(b.CreateTrunc(rounded, with(b.getInt16Ty())),
                         with(b.getBFloatTy()));
}

/// Narrows f32 or f64 to any float type.
static Value *narrow(IRBuilderBase &b, Value *value, Type *type) {
  if (!type->getScalarType()->isBFloatTy())
    return b.CreateFPTrunc(value, type);
  if (!value->getType()->getScalarType()->isFloatTy()) {
    Type *single = b.getFloatTy();
    if (auto *vector = dyn_cast<VectorType>(type))
      single = VectorType::get(single, vector->getElementCount());
    value = b.CreateFPTrunc(value, single);
  }
  return roundToBrain(b, value);
}

namespace {
/// `fma.rn.ftz.f` taken apart: the operation, and what alters it. Types and
/// modifiers that make no difference here are left out.
struct FloatName {
  StringRef operation;
  StringRef rounding = "rn";
  bool saturates = false, rectifies = false, keepsNan = false, known = true;
};
} // namespace

static FloatName parseFloatName(StringRef name) {
  FloatName parsed;
  SmallVector<StringRef> parts;
  name.split(parts, '.');
  parsed.operation = parts.front();
  for (StringRef part : drop_begin(parts)) {
    if (part == "rn" || part == "rz" || part == "rm" || part == "rp")
      parsed.rounding = part;
    else if (part == "sat")
      parsed.saturates = true;
    else if (part == "relu")
      parsed.rectifies = true;
    else if (part == "nan")
      parsed.keepsNan = true;
    else if (!is_contained({"ftz", "approx", "full", "f", "d", "f32", "f64",
                            "f16", "v2f16", "f16x2", "bf16", "v2bf16",
                            "bf16x2"},
                           part))
      parsed.known = false;
  }
  return parsed;
}

static Value *roundToIntegral(IRBuilderBase &b, Value *value, StringRef mode) {
  return b.CreateUnaryIntrinsic(StringSwitch<Intrinsic::ID>(mode)
                                    .Case("rn", Intrinsic::roundeven)
                                    .Case("rm", Intrinsic::floor)
                                    .Case("rp", Intrinsic::ceil)
                                    .Default(Intrinsic::trunc),
                                value);
}

static Value *clampToUnit(IRBuilderBase &b, Value *value) {
  Type *type = value->getType();
  // maxnum takes NaN for 0, as PTX does.
  value = b.CreateBinaryIntrinsic(Intrinsic::maxnum, value,
                                  ConstantFP::getZero(type));
  return b.CreateBinaryIntrinsic(Intrinsic::minnum, value,
                                 ConstantFP::get(type, 1.0));
}

/// Conversions by name, `f2i`, `d2ull`, `i2f`, `ff2f16x2` and their like.
static Value *expandConversion(IRBuilderBase &b, const FloatName &name,
                               CallInst &call) {
  StringRef op = name.operation;
  Type *type = call.getType();
  Value *x = call.getArgOperand(0);
  if (op == "f2i" || op == "f2ui" || op == "f2ll" || op == "f2ull" ||
      op == "d2i" || op == "d2ui" || op == "d2ll" || op == "d2ull")
    return convertToInteger(b, roundToIntegral(b, x, name.rounding), type,
                            op[2] != 'u');
  if (name.rounding != "rn")
    return nullptr;
  if (op == "i2f" || op == "ll2f" || op == "i2d" || op == "ll2d")
    return b.CreateSIToFP(x, type);
  if (op == "ui2f" || op == "ull2f" || op == "ui2d" || op == "ull2d")
    return b.CreateUIToFP(x, type);
  if (op == "d2f")
    return b.CreateFPTrunc(x, type);
  if (op == "f2h")
    return b.CreateBitCast(b.CreateFPTrunc(x, b.getHalfTy()), type);
  auto rectify = [&](Value *value) {
    return name.rectifies
               ? b.CreateBinaryIntrinsic(Intrinsic::maximum, value,
                                         ConstantFP::getZero(value->getType()))
               : value;
  };
  if (op == "f2f16" || op == "f2bf16")
    return narrow(b, rectify(x), type);
  if (op == "ff2f16x2" || op == "ff2bf16x2") {
    // The first operand goes into the upper half.
    Type *element = type->getScalarType();
    Value *high = narrow(b, rectify(x), element);
    Value *low = narrow(b, rectify(call.getArgOperand(1)), element);
    Value *pair = PoisonValue::get(type);
    pair = b.CreateInsertElement(pair, low, uint64_t(0));
    return b.CreateInsertElement(pair, high, uint64_t(1));
  }
  return nullptr;
}

static Value *expandFloat(IRBuilderBase &b, StringRef text, CallInst &call) {
  FloatName name = parseFloatName(text);
  if (!name.known)
    return nullptr;
  StringRef op = name.operation;
  Value *x = call.getArgOperand(0);
  Value *y = call.arg_size() > 1 ? call.getArgOperand(1) : nullptr;
  Type *type = call.getType();
  if (Value *converted = expandConversion(b, name, call))
    return converted;
  if (op == "saturate")
    return clampToUnit(b, x);
  if (op == "fmin" || op == "fmax") {
    bool isMin = op == "fmin";
    Intrinsic::ID id = name.keepsNan
                           ? (isMin ? Intrinsic::minimum : Intrinsic::maximum)
                           : (isMin ? Intrinsic::minnum : Intrinsic::maxnum);
    return b.CreateBinaryIntrinsic(id, x, y);
  }
  Intrinsic::ID unary = StringSwitch<Intrinsic::ID>(op)
                            .Case("ex2", Intrinsic::exp2)
                            .Case("lg2", Intrinsic::log2)
                            .Case("sin", Intrinsic::sin)
                            .Case("cos", Intrinsic::cos)
                            .Case("tanh", Intrinsic::tanh)
                            .Case("sqrt", Intrinsic::sqrt)
                            .Case("floor", Intrinsic::floor)
                            .Case("ceil", Intrinsic::ceil)
                            .Case("trunc", Intrinsic::trunc)
                            .Case("round", Intrinsic::roundeven)
                            .Case("fabs", Intrinsic::fabs)
                            .Default(Intrinsic::not_intrinsic);
  if (name.rounding != "rn")
    return nullptr; // The host rounds to nearest.
  if (unary != Intrinsic::not_intrinsic)
    return b.CreateUnaryIntrinsic(unary, x);
  Value *one = type->isFPOrFPVectorTy() ? ConstantFP::get(type, 1.0) : nullptr;
  Value *result = nullptr;
  if (op == "rcp")
    result = b.CreateFDiv(one, x);
  else if (op == "rsqrt")
    result = b.CreateFDiv(one, b.CreateUnaryIntrinsic(Intrinsic::sqrt, x));
  else if (op == "neg")
    result = b.CreateFNeg(x);
  else if (op == "add")
    result = b.CreateFAdd(x, y);
  else if (op == "mul")
    result = b.CreateFMul(x, y);
  else if (op == "div")
    result = b.CreateFDiv(x, y);
  else if (op == "fma")
    result = b.CreateIntrinsic(Intrinsic::fma, {type},
                               {x, y, call.getArgOperand(2)});
  else
    return nullptr;
  if (name.saturates)
    result = clampToUnit(b, result);
  if (name.rectifies)
    result = b.CreateBinaryIntrinsic(Intrinsic::maximum, result,
                                     ConstantFP::getZero(type));
  return result;
}

Value *ganq::expandScalarIntrinsic(IRBuilderBase &builder, StringRef name,
                                   CallInst &call) {
  if (call.arg_size() == 0 || call.getType()->isVoidTy())
    return nullptr;
  if (Value *integer = expandInteger(builder, name, call))
    return integer;
  return expandFloat(builder, name, call);
}

//===----------------------------------------------------------------------===//
// libdevice
//===----------------------------------------------------------------------===//

Value *ganq::expandLibdeviceCall(IRBuilderBase &b, StringRef name,
                                 CallInst &call) {
  if (call.arg_size() == 0)
    return nullptr;
  Type *type = call.getType();
  Value *x = call.getArgOperand(0);
  bool isFloat = x->getType()->isFloatTy();
  if (!isFloat && !x->getType()->isDoubleTy())
    return nullptr;
  name.consume_front("fast_");
  StringRef base = name;
  if (isFloat && !base.consume_back("f"))
    return nullptr;
  auto one = [&] { return ConstantFP::get(type, 1.0); };
  if (base == "rsqrt")
    return b.CreateFDiv(one(), b.CreateUnaryIntrinsic(Intrinsic::sqrt, x));
  if (base == "rcp")
    return b.CreateFDiv(one(), x);
  if (base == "fdivide" && call.arg_size() == 2)
    return b.CreateFDiv(x, call.getArgOperand(1));
  if (base == "saturate")
    return clampToUnit(b, x);
  // What libm calls the same.
  static constexpr StringLiteral kUnary[] = {
      "acos",  "acosh", "asin",      "asinh",  "atan",   "atanh", "cbrt",
      "ceil",  "cos",   "cosh",      "erf",    "erfc",   "exp",   "exp10",
      "exp2",  "expm1", "fabs",      "floor",  "lgamma", "log",   "log10",
      "log1p", "log2",  "nearbyint", "rint",   "round",  "sin",   "sinh",
      "sqrt",  "tan",   "tanh",      "tgamma", "trunc"};
  static constexpr StringLiteral kBinary[] = {
      "atan2", "copysign", "fdim",      "fmax", "fmin",
      "fmod",  "hypot",    "nextafter", "pow",  "remainder"};
  bool known = (call.arg_size() == 1 && is_contained(kUnary, base)) ||
               (call.arg_size() == 2 && is_contained(kBinary, base)) ||
               (call.arg_size() == 3 && base == "fma");
  if (!known || any_of(call.args(), [&](Value *argument) {
        return argument->getType() != type;
      }))
    return nullptr;
  Module &module = *call.getModule();
  SmallVector<Type *> types(call.arg_size(), type);
  FunctionCallee callee = module.getOrInsertFunction(
      name, FunctionType::get(type, types, /*isVarArg=*/false));
  SmallVector<Value *> arguments(call.args());
  auto *function = cast<Function>(callee.getCallee());
  function->setDoesNotThrow();
  // errno is nobody's business here.
  function->setDoesNotAccessMemory();
  function->setWillReturn();
  return b.CreateCall(callee, arguments);
}

//===----------------------------------------------------------------------===//
// Conversions and bf16 arithmetic that LLVM IR has as instructions
//===----------------------------------------------------------------------===//

/// Computes an instruction on bf16 in f32.
static Value *widenBrain(IRBuilderBase &b, Instruction &instruction) {
  auto widenType = [&](Type *type) -> Type * {
    if (!type->getScalarType()->isBFloatTy())
      return type;
    if (auto *vector = dyn_cast<VectorType>(type))
      return VectorType::get(b.getFloatTy(), vector->getElementCount());
    return b.getFloatTy();
  };
  auto widen = [&](Value *value) {
    Type *type = widenType(value->getType());
    return type == value->getType() ? value : b.CreateFPExt(value, type);
  };
  Type *type = instruction.getType();
  Value *result = nullptr;
  if (auto *binary = dyn_cast<BinaryOperator>(&instruction)) {
    result = b.CreateBinOp(binary->getOpcode(), widen(binary->getOperand(0)),
                           widen(binary->getOperand(1)));
  } else if (auto *call = dyn_cast<IntrinsicInst>(&instruction)) {
    SmallVector<Value *> arguments;
    for (Value *argument : call->args())
      arguments.push_back(widen(argument));
    result =
        b.CreateIntrinsic(widenType(type), call->getIntrinsicID(), arguments);
  } else if (isa<SIToFPInst>(instruction)) {
    result = b.CreateSIToFP(instruction.getOperand(0), widenType(type));
  } else if (isa<UIToFPInst>(instruction)) {
    result = b.CreateUIToFP(instruction.getOperand(0), widenType(type));
  } else if (isa<FPTruncInst>(instruction)) {
    result = instruction.getOperand(0);
  }
  return result ? narrow(b, result, type) : nullptr;
}

void ganq::expandConversions(Function &function) {
  for (Instruction &instruction :
       make_early_inc_range(instructions(function))) {
    IRBuilder<> builder(&instruction);
    Value *replacement = nullptr;
    Type *type = instruction.getType();
    if (isa<FPToSIInst>(instruction) || isa<FPToUIInst>(instruction)) {
      Value *value = instruction.getOperand(0);
      if (value->getType()->getScalarType()->isBFloatTy()) {
        Type *single = builder.getFloatTy();
        if (auto *vector = dyn_cast<VectorType>(value->getType()))
          single = VectorType::get(single, vector->getElementCount());
        value = builder.CreateFPExt(value, single);
      }
      replacement =
          convertToInteger(builder, value, type, isa<FPToSIInst>(instruction));
    } else if (type->isFPOrFPVectorTy() &&
               type->getScalarType()->isBFloatTy()) {
      replacement = widenBrain(builder, instruction);
    }
    if (!replacement)
      continue;
    instruction.replaceAllUsesWith(replacement);
    instruction.eraseFromParent();
  }
}
