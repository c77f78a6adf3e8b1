//===- GpuBuilder.cpp - Short forms to build GPU kernels ------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "GpuBuilder.h"

using namespace mlir;
using namespace ganq;
using Values = GpuBuilder::Values;

GpuBuilder::GpuBuilder(OpBuilder &builder, Location loc)
    : b(builder), loc(loc), i8(b.getI8Type()), i16(b.getI16Type()),
      i32(b.getI32Type()), i64(b.getI64Type()), f32(b.getF32Type()) {}

Value GpuBuilder::i(int64_t value) {
  return arith::ConstantOp::create(
      b, loc, b.getI32IntegerAttr(static_cast<int32_t>(value)));
}
Value GpuBuilder::add(Value x, Value y) {
  return b.createOrFold<arith::AddIOp>(loc, x, y);
}
Value GpuBuilder::add(Value x, int64_t y) { return y ? add(x, i(y)) : x; }
Value GpuBuilder::sub(Value x, Value y) {
  return b.createOrFold<arith::SubIOp>(loc, x, y);
}
Value GpuBuilder::mul(Value x, Value y) {
  return b.createOrFold<arith::MulIOp>(loc, x, y);
}
Value GpuBuilder::mul(Value x, int64_t y) {
  return llvm::isPowerOf2_64(y) ? shl(x, llvm::Log2_64(y)) : mul(x, i(y));
}
Value GpuBuilder::div(Value x, int64_t y) {
  return llvm::isPowerOf2_64(y) ? shr(x, llvm::Log2_64(y))
                                : b.createOrFold<arith::DivUIOp>(loc, x, i(y));
}
Value GpuBuilder::rem(Value x, int64_t y) {
  return llvm::isPowerOf2_64(y) ? bitAnd(x, y - 1)
                                : b.createOrFold<arith::RemUIOp>(loc, x, i(y));
}
Value GpuBuilder::bitAnd(Value x, Value y) {
  return b.createOrFold<arith::AndIOp>(loc, x, y);
}
Value GpuBuilder::bitAnd(Value x, int64_t y) { return bitAnd(x, i(y)); }
Value GpuBuilder::bitOr(Value x, Value y) {
  return b.createOrFold<arith::OrIOp>(loc, x, y);
}
Value GpuBuilder::bitOr(Value x, int64_t y) { return bitOr(x, i(y)); }
Value GpuBuilder::bitXor(Value x, Value y) {
  return b.createOrFold<arith::XOrIOp>(loc, x, y);
}
Value GpuBuilder::shl(Value x, int64_t y) {
  return y ? b.createOrFold<arith::ShLIOp>(loc, x, i(y)) : x;
}
Value GpuBuilder::shr(Value x, int64_t y) {
  return y ? b.createOrFold<arith::ShRUIOp>(loc, x, i(y)) : x;
}
Value GpuBuilder::min(Value x, Value y) {
  return b.createOrFold<arith::MinSIOp>(loc, x, y);
}
Value GpuBuilder::less(Value x, Value y) {
  return arith::CmpIOp::create(b, loc, arith::CmpIPredicate::slt, x, y);
}
Value GpuBuilder::equal(Value x, Value y) {
  return arith::CmpIOp::create(b, loc, arith::CmpIPredicate::eq, x, y);
}
Value GpuBuilder::both(Value x, Value y) {
  return b.createOrFold<arith::AndIOp>(loc, x, y);
}
Value GpuBuilder::select(Value condition, Value x, Value y) {
  return arith::SelectOp::create(b, loc, condition, x, y);
}
Value GpuBuilder::wide(Value x) {
  return arith::ExtUIOp::create(b, loc, i64, x);
}
Value GpuBuilder::permute(Value x, Value y, Value selector) {
  return NVVM::PermuteOp::create(b, loc, i32, x, y, selector,
                                 NVVM::PermuteMode::DEFAULT);
}
Value GpuBuilder::permute(Value x, Value y, int64_t selector) {
  return permute(x, y, i(selector));
}
Value GpuBuilder::dot4(Value x, Value y, Value c) {
  auto bytes = VectorType::get(4, i8);
  return NVVM::DotAccumulate4WayOp::create(
      b, loc, i32, LLVM::BitcastOp::create(b, loc, bytes, x),
      NVVM::DotAccumulateType::UNSIGNED,
      LLVM::BitcastOp::create(b, loc, bytes, y),
      NVVM::DotAccumulateType::UNSIGNED, c);
}

Value GpuBuilder::f(float value) {
  return arith::ConstantOp::create(b, loc, b.getF32FloatAttr(value));
}
Value GpuBuilder::fadd(Value x, Value y) {
  return arith::AddFOp::create(b, loc, x, y);
}
Value GpuBuilder::fmul(Value x, Value y) {
  return arith::MulFOp::create(b, loc, x, y);
}
Value GpuBuilder::toFloat(Value integer) {
  return arith::SIToFPOp::create(b, loc, f32, integer);
}
Value GpuBuilder::extend(Value value) {
  return value.getType() == f32 ? value
                                : arith::ExtFOp::create(b, loc, f32, value);
}
Value GpuBuilder::truncate(Value value, Type type) {
  return value.getType() == type ? value
                                 : arith::TruncFOp::create(b, loc, type, value);
}
Value GpuBuilder::silu(Value value) {
  // x / (1 + 2^(-x log2 e)), with the hardware's approximations of both. Other
  // forms of exp2 become calls of libdevice.
  auto fast = LLVM::FastmathFlags::afn | LLVM::FastmathFlags::arcp;
  Value exponent = fmul(value, f(-1.4426950408889634f));
  Value power =
      LLVM::CallIntrinsicOp::create(
          b, loc, f32, b.getStringAttr("llvm.exp2.f32"), ValueRange(exponent),
          LLVM::FastmathFlagsAttr::get(b.getContext(), fast))
          .getResult(0);
  return LLVM::FDivOp::create(b, loc, value, fadd(power, f(1.0f)), fast);
}
Value GpuBuilder::relu(Value value) {
  return arith::MaximumFOp::create(b, loc, value, f(0.0f));
}
Value GpuBuilder::fsub(Value x, Value y) {
  return arith::SubFOp::create(b, loc, x, y);
}
Value GpuBuilder::fdiv(Value x, Value y) {
  return arith::DivFOp::create(b, loc, x, y);
}
Value GpuBuilder::fma(Value x, Value y, Value z) {
  return LLVM::FMAOp::create(b, loc, x, y, z);
}
Value GpuBuilder::fless(Value x, Value y) {
  return arith::CmpFOp::create(b, loc, arith::CmpFPredicate::OLT, x, y);
}
Value GpuBuilder::fmin(Value x, Value y) {
  // arith's forms become calls of libdevice.
  return LLVM::MinNumOp::create(b, loc, x, y);
}
Value GpuBuilder::fmax(Value x, Value y) {
  return LLVM::MaxNumOp::create(b, loc, x, y);
}
Value GpuBuilder::roundEven(Value value) {
  // At 1.5 x 2^23 the spacing of floats is 1.
  Value middle = f(12582912.0f);
  return fsub(fadd(value, middle), middle);
}
Value GpuBuilder::toInteger(Value value) {
  return arith::FPToSIOp::create(b, loc, i32, value);
}
Value GpuBuilder::fmaPairs(Value x, Value y, Value z, Type type) {
  auto pair = VectorType::get(2, type);
  auto cast = [&](Value word) -> Value {
    return LLVM::BitcastOp::create(b, loc, pair, word);
  };
  Value result = LLVM::FMAOp::create(b, loc, cast(x), cast(y), cast(z));
  return LLVM::BitcastOp::create(b, loc, i32, result);
}
int64_t GpuBuilder::pairOf(double value, Type type) {
  llvm::APFloat number(value);
  bool lost;
  number.convert(cast<FloatType>(type).getFloatSemantics(),
                 llvm::APFloat::rmNearestTiesToEven, &lost);
  auto bits = static_cast<int64_t>(number.bitcastToAPInt().getZExtValue());
  return bits << 16 | bits;
}
Value GpuBuilder::broadcastPair(Value half) {
  Value word = half;
  if (word.getType() != i32) {
    Value bits = LLVM::BitcastOp::create(b, loc, i16, half);
    word = arith::ExtUIOp::create(b, loc, i32, bits);
  }
  return permute(word, word, 0x1010);
}

Value GpuBuilder::at(Value pointer, Value offset) {
  return LLVM::GEPOp::create(b, loc, pointer.getType(), i8, pointer,
                             LLVM::GEPArg(offset),
                             LLVM::GEPNoWrapFlags::inbounds);
}
Value GpuBuilder::at(Value pointer, int64_t offset) {
  return offset
             ? LLVM::GEPOp::create(b, loc, pointer.getType(), i8, pointer,
                                   LLVM::GEPArg(static_cast<int32_t>(offset)),
                                   LLVM::GEPNoWrapFlags::inbounds)
             : pointer;
}
Value GpuBuilder::atMultiple(Value base, Value number, Value stride) {
  // A wide multiply-add, if instruction selection, which sees one block at a
  // time, sees that factors have 32 bits. A call without effect keeps them from
  // leaving the loop.
  auto stay = [&](Value factor) {
    return wide(LLVM::CallIntrinsicOp::create(
                    b, loc, i32, b.getStringAttr("llvm.expect.i32"),
                    ValueRange{factor, i(0)})
                    .getResult(0));
  };
  return at(base, arith::MulIOp::create(b, loc, stay(number), stay(stride)));
}
Value GpuBuilder::load(Type type, Value pointer, int64_t align,
                       bool invariant) {
  auto op =
      LLVM::LoadOp::create(b, loc, type, pointer, static_cast<unsigned>(align));
  op.setInvariant(invariant);
  return op;
}
Values GpuBuilder::loadWords(int64_t count, Value pointer, bool invariant) {
  if (count == 1)
    return {load(i32, pointer, 4, invariant)};
  Value vector =
      load(VectorType::get(count, i32), pointer, 4 * count, invariant);
  Values words;
  for (int64_t n = 0; n < count; ++n)
    words.push_back(LLVM::ExtractElementOp::create(b, loc, vector, i(n)));
  return words;
}
void GpuBuilder::store(Value value, Value pointer, int64_t align) {
  LLVM::StoreOp::create(b, loc, value, pointer, static_cast<unsigned>(align));
}
void GpuBuilder::storeWords(ValueRange words, Value pointer) {
  auto count = static_cast<int64_t>(words.size());
  if (count == 1)
    return store(words[0], pointer, 4);
  Value vector =
      LLVM::UndefOp::create(b, loc, VectorType::get(count, words[0].getType()));
  for (auto [n, word] : llvm::enumerate(words))
    vector = LLVM::InsertElementOp::create(b, loc, vector, word,
                                           i(static_cast<int64_t>(n)));
  store(vector, pointer, 4 * count);
}
void GpuBuilder::copyAsync(Value shared, Value global, Value bytes) {
  NVVM::CpAsyncOp::create(b, loc, shared, global, 16,
                          NVVM::LoadCacheModifierKind::CG, bytes);
}
void GpuBuilder::commitCopies() { NVVM::CpAsyncCommitGroupOp::create(b, loc); }
void GpuBuilder::waitCopies(int64_t pending) {
  NVVM::CpAsyncWaitGroupOp::create(b, loc, static_cast<uint32_t>(pending));
}
Values GpuBuilder::unpack(Value structure, int64_t count) {
  Values parts;
  for (int64_t n = 0; n < count; ++n)
    parts.push_back(LLVM::ExtractValueOp::create(b, loc, structure, n));
  return parts;
}
Values GpuBuilder::loadMatrices(Value pointer) {
  auto type = LLVM::LLVMStructType::getLiteral(b.getContext(),
                                               SmallVector<Type>(4, i32));
  auto *context = b.getContext();
  Value op =
      NVVM::LdMatrixOp::create(b, loc, type, pointer, 4, NVVM::MMALayout::row,
                               NVVM::LdStMatrixShapeAttr::get(context, 8, 8),
                               NVVM::LdStMatrixEltType::B16);
  return unpack(op, 4);
}

Value GpuBuilder::thread() { return NVVM::ThreadIdXOp::create(b, loc, i32); }
Value GpuBuilder::block(gpu::Dimension dimension) {
  if (dimension == gpu::Dimension::x)
    return NVVM::BlockIdXOp::create(b, loc, i32);
  return NVVM::BlockIdYOp::create(b, loc, i32);
}
Value GpuBuilder::exchange(Value value, int64_t mask) {
  return NVVM::ShflOp::create(b, loc, value.getType(), i(-1), value, i(mask),
                              i(31), NVVM::ShflKind::bfly, UnitAttr());
}
void GpuBuilder::barrier() { gpu::BarrierOp::create(b, loc); }

Values GpuBuilder::mmaFloat(ValueRange a, ValueRange x, ValueRange c,
                            Type type) {
  bool half = type.isF16();
  auto operand = [&](ValueRange words) {
    Values values(words);
    if (half)
      for (Value &word : values)
        word = LLVM::BitcastOp::create(b, loc, VectorType::get(2, type), word);
    return values;
  };
  return multiply(operand(a), operand(x), c, f32, 16,
                  half ? NVVM::MMATypes::f16 : NVVM::MMATypes::bf16);
}
Values GpuBuilder::mmaBytes(ValueRange a, ValueRange x, ValueRange c) {
  return multiply(a, x, c, i32, 32, NVVM::MMATypes::u8);
}
Values GpuBuilder::mmaBits(ValueRange a, ValueRange x, ValueRange c) {
  return multiply(a, x, c, i32, 256, NVVM::MMATypes::b1);
}
Values GpuBuilder::multiply(ValueRange a, ValueRange x, ValueRange c, Type sum,
                            int64_t depth, NVVM::MMATypes kind) {
  auto result = LLVM::LLVMStructType::getLiteral(b.getContext(),
                                                 SmallVector<Type>(4, sum));
  std::optional<NVVM::MMAB1Op> bits;
  if (kind == NVVM::MMATypes::b1)
    bits = NVVM::MMAB1Op::and_popc;
  std::optional<NVVM::MMAIntOverflow> overflow;
  if (sum == i32)
    overflow = NVVM::MMAIntOverflow::wrapped;
  Value op =
      NVVM::MmaOp::create(b, loc, result, a, x, c, {16, 8, depth}, bits,
                          overflow, std::array<NVVM::MMATypes, 2>{kind, kind},
                          std::array<NVVM::MMALayout, 2>{NVVM::MMALayout::row,
                                                         NVVM::MMALayout::col});
  return unpack(op, 4);
}

Values GpuBuilder::loop(Value lower, Value upper, Value step, ValueRange inits,
                        llvm::function_ref<Values(Value, ValueRange)> body) {
  auto op = scf::ForOp::create(
      b, loc, lower, upper, step, inits,
      [&](OpBuilder &, Location, Value index, ValueRange carried) {
        scf::YieldOp::create(b, loc, body(index, carried));
      });
  return Values(op.getResults());
}
void GpuBuilder::loop(Value lower, Value upper, Value step,
                      llvm::function_ref<void(Value)> body) {
  loop(lower, upper, step, {}, [&](Value index, ValueRange) {
    body(index);
    return Values();
  });
}
void GpuBuilder::when(Value condition, llvm::function_ref<void()> body) {
  scf::IfOp::create(b, loc, condition, [&](OpBuilder &, Location) {
    body();
    scf::YieldOp::create(b, loc);
  });
}
void GpuBuilder::branch(Value condition, llvm::function_ref<void()> yes,
                        llvm::function_ref<void()> no) {
  scf::IfOp::create(
      b, loc, condition,
      [&](OpBuilder &, Location) {
        yes();
        scf::YieldOp::create(b, loc);
      },
      [&](OpBuilder &, Location) {
        no();
        scf::YieldOp::create(b, loc);
      });
}
Values GpuBuilder::valuesWhen(Value condition, ValueRange otherwise,
                              llvm::function_ref<Values()> body) {
  auto op = scf::IfOp::create(
      b, loc, condition,
      [&](OpBuilder &, Location) { scf::YieldOp::create(b, loc, body()); },
      [&](OpBuilder &, Location) { scf::YieldOp::create(b, loc, otherwise); });
  return Values(op.getResults());
}
