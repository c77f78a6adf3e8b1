//===- KernelBuilder.cpp - Short forms to build kernels -------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "KernelBuilder.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/Matchers.h"

using namespace mlir;
using namespace ganq;

/// Sums may be reordered and fused; nothing is assumed about inf and nan.
static constexpr arith::FastMathFlags kSumFlags =
    arith::FastMathFlags::reassoc | arith::FastMathFlags::contract;

KernelBuilder::KernelBuilder(OpBuilder &builder, Location loc, bool avx512,
                             Block *frame)
    : builder(builder), loc(loc), avx512(avx512), frame(frame),
      f32(builder.getF32Type()), vecF32(VectorType::get({kLanes}, f32)),
      vecI32(VectorType::get({kLanes}, builder.getI32Type())),
      vecI1(VectorType::get({kLanes}, builder.getI1Type())) {}

Value KernelBuilder::index(int64_t value) {
  return arith::ConstantIndexOp::create(builder, loc, value);
}
Value KernelBuilder::add(Value a, Value b) {
  return builder.createOrFold<arith::AddIOp>(loc, a, b);
}
Value KernelBuilder::add(Value a, int64_t b) {
  return b == 0 ? a : add(a, index(b));
}
Value KernelBuilder::sub(Value a, Value b) {
  return builder.createOrFold<arith::SubIOp>(loc, a, b);
}
Value KernelBuilder::mul(Value a, Value b) {
  return builder.createOrFold<arith::MulIOp>(loc, a, b);
}
Value KernelBuilder::mul(Value a, int64_t b) {
  return b == 1 ? a : mul(a, index(b));
}
Value KernelBuilder::div(Value a, Value b) {
  return builder.createOrFold<arith::DivUIOp>(loc, a, b);
}
Value KernelBuilder::div(Value a, int64_t b) {
  return b == 1 ? a : div(a, index(b));
}
Value KernelBuilder::rem(Value a, Value b) {
  return builder.createOrFold<arith::RemUIOp>(loc, a, b);
}
Value KernelBuilder::min(Value a, Value b) {
  return builder.createOrFold<arith::MinSIOp>(loc, a, b);
}
Value KernelBuilder::max(Value a, Value b) {
  return builder.createOrFold<arith::MaxSIOp>(loc, a, b);
}
Value KernelBuilder::less(Value a, Value b) {
  return builder.createOrFold<arith::CmpIOp>(loc, arith::CmpIPredicate::slt, a,
                                             b);
}
Value KernelBuilder::dim(Value memref, int64_t dimension) {
  auto type = cast<MemRefType>(memref.getType());
  if (!type.isDynamicDim(dimension))
    return index(type.getDimSize(dimension));
  return memref::DimOp::create(builder, loc, memref, dimension);
}

Value KernelBuilder::constant(float value) {
  return arith::ConstantOp::create(builder, loc,
                                   builder.getF32FloatAttr(value));
}
Value KernelBuilder::splat(float value) {
  return arith::ConstantOp::create(builder, loc,
                                   DenseElementsAttr::get(vecF32, value));
}
Value KernelBuilder::splat(Value scalar) {
  return vector::BroadcastOp::create(
      builder, loc, VectorType::get({kLanes}, scalar.getType()), scalar);
}
Value KernelBuilder::splatInt(int32_t value) {
  return arith::ConstantOp::create(builder, loc,
                                   DenseElementsAttr::get(vecI32, value));
}
Value KernelBuilder::selectBits(uint32_t mask, Value a, Value b) {
  Value ones = splatInt(static_cast<int32_t>(mask));
  if (!avx512) {
    Value zeros = splatInt(static_cast<int32_t>(~mask));
    return arith::OrIOp::create(builder, loc,
                                arith::AndIOp::create(builder, loc, a, ones),
                                arith::AndIOp::create(builder, loc, b, zeros));
  }
  // LLVM drops bits that no user reads from the masks, which then are no
  // longer complements and take an instruction more.
  constexpr int32_t kSelectByThird = 0xE4;
  Value table = arith::ConstantOp::create(
      builder, loc, builder.getI32IntegerAttr(kSelectByThird));
  return LLVM::CallIntrinsicOp::create(
             builder, loc, vecI32,
             builder.getStringAttr("llvm.x86.avx512.pternlog.d.512"),
             ValueRange{a, b, ones, table})
      .getResult(0);
}
Value KernelBuilder::addf(Value a, Value b) {
  return arith::AddFOp::create(builder, loc, a, b);
}
Value KernelBuilder::subf(Value a, Value b) {
  return arith::SubFOp::create(builder, loc, a, b);
}
Value KernelBuilder::mulf(Value a, Value b) {
  return arith::MulFOp::create(builder, loc, a, b);
}
Value KernelBuilder::divf(Value a, Value b) {
  return arith::DivFOp::create(builder, loc, a, b);
}
Value KernelBuilder::maxf(Value a, Value b) {
  // As the processor does it: b where either is nan.
  Value greater =
      arith::CmpFOp::create(builder, loc, arith::CmpFPredicate::OGT, a, b);
  return arith::SelectOp::create(builder, loc, greater, a, b);
}
Value KernelBuilder::fma(Value a, Value b, Value c) {
  return math::FmaOp::create(builder, loc, a, b, c);
}
Value KernelBuilder::negf(Value a) {
  return arith::NegFOp::create(builder, loc, a);
}

Value KernelBuilder::exp(Value x) {
  // x = n ln 2 + r with |r| <= ln 2 / 2, and a Taylor polynomial of degree 7
  // for exp(r), whose remainder is below 6e-9. ln 2 is split in two so that
  // n times the first part is exact.
  Value clamped = maxf(x, splat(-104.0f));
  clamped = arith::SelectOp::create(
      builder, loc,
      arith::CmpFOp::create(builder, loc, arith::CmpFPredicate::OGT, clamped,
                            splat(89.0f)),
      splat(89.0f), clamped);
  Value n = math::RoundEvenOp::create(builder, loc,
                                      mulf(clamped, splat(1.44269504f)));
  Value r = fma(n, splat(-0.693359375f), clamped);
  r = fma(n, splat(2.12194440e-4f), r);
  Value p = splat(1.0f / 5040);
  for (float coefficient :
       {1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f})
    p = fma(p, r, splat(coefficient));
  // Scale by 2^n in two steps: n reaches 128 and below -126.
  Value whole = arith::FPToSIOp::create(builder, loc, vecI32, n);
  Value half = arith::ShRSIOp::create(builder, loc, whole, splatInt(1));
  Value rest = arith::SubIOp::create(builder, loc, whole, half);
  for (Value power : {half, rest}) {
    Value biased = arith::AddIOp::create(builder, loc, power, splatInt(127));
    Value bits = arith::ShLIOp::create(builder, loc, biased, splatInt(23));
    p = mulf(p, arith::BitcastOp::create(builder, loc, vecF32, bits));
  }
  Value isNan =
      arith::CmpFOp::create(builder, loc, arith::CmpFPredicate::UNO, x, x);
  return arith::SelectOp::create(builder, loc, isNan, x, p);
}

Value KernelBuilder::sum(Value vector) {
  return vector::ReductionOp::create(builder, loc, vector::CombiningKind::ADD,
                                     vector, kSumFlags);
}
Value KernelBuilder::maximum(Value vector) {
  return vector::ReductionOp::create(builder, loc,
                                     vector::CombiningKind::MAXNUMF, vector);
}

Value KernelBuilder::extend(Value value) {
  Type type = value.getType(), element = getElementTypeOrSelf(type);
  if (element.isF32())
    return value;
  Type target = f32;
  if (auto vector = dyn_cast<VectorType>(type))
    target = VectorType::get(vector.getShape(), f32);
  if (element.isF64())
    return arith::TruncFOp::create(builder, loc, target, value);
  return arith::ExtFOp::create(builder, loc, target, value);
}
Value KernelBuilder::truncate(Value value, Type element) {
  if (element.isF32())
    return value;
  Type target = element;
  if (auto vector = dyn_cast<VectorType>(value.getType()))
    target = VectorType::get(vector.getShape(), element);
  if (element.isF64())
    return arith::ExtFOp::create(builder, loc, target, value);
  return arith::TruncFOp::create(builder, loc, target, value);
}

Value KernelBuilder::load(Value memref, ValueRange indices) {
  return extend(memref::LoadOp::create(builder, loc, memref, indices));
}
void KernelBuilder::store(Value value, Value memref, ValueRange indices) {
  Type element = cast<MemRefType>(memref.getType()).getElementType();
  memref::StoreOp::create(builder, loc, truncate(value, element), memref,
                          indices);
}
void KernelBuilder::prefetch(Value memref, ValueRange indices) {
  memref::PrefetchOp::create(builder, loc, memref, indices, /*isWrite=*/false,
                             /*localityHint=*/3, /*isDataCache=*/true);
}
Value KernelBuilder::loadVector(Value memref, ValueRange indices, Value mask) {
  Type element = cast<MemRefType>(memref.getType()).getElementType();
  if (mask && element.isBF16()) {
    Value result = splat(0.0f), zero = constant(0.0f);
    forEachLane(indices, mask, [&](int64_t lane, Value bit, ValueRange at) {
      auto branch = scf::IfOp::create(builder, loc, f32, bit,
                                      /*withElseRegion=*/true);
      OpBuilder::InsertionGuard guard(builder);
      builder.setInsertionPointToStart(branch.thenBlock());
      scf::YieldOp::create(builder, loc, load(memref, at));
      builder.setInsertionPointToStart(branch.elseBlock());
      scf::YieldOp::create(builder, loc, zero);
      builder.setInsertionPointAfter(branch);
      result = vector::InsertOp::create(builder, loc, branch.getResult(0),
                                        result, lane);
    });
    return result;
  }
  return extend(loadElements(memref, indices, mask));
}
Value KernelBuilder::loadElements(Value memref, ValueRange indices,
                                  Value mask) {
  Type element = cast<MemRefType>(memref.getType()).getElementType();
  auto type = VectorType::get({kLanes}, element);
  if (!mask)
    return vector::LoadOp::create(builder, loc, type, memref, indices);
  Value zero =
      arith::ConstantOp::create(builder, loc, builder.getZeroAttr(type));
  return vector::MaskedLoadOp::create(builder, loc, type, memref, indices, mask,
                                      zero);
}
void KernelBuilder::storeVector(Value value, Value memref, ValueRange indices,
                                Value mask) {
  Type element = cast<MemRefType>(memref.getType()).getElementType();
  if (mask && element.isBF16()) {
    forEachLane(indices, mask, [&](int64_t lane, Value bit, ValueRange at) {
      when(bit, [&] {
        store(vector::ExtractOp::create(builder, loc, value, lane), memref, at);
      });
    });
    return;
  }
  value = truncate(value, element);
  if (mask)
    vector::MaskedStoreOp::create(builder, loc, memref, indices, mask, value);
  else
    vector::StoreOp::create(builder, loc, value, memref, indices);
}
void KernelBuilder::forEachLane(
    ValueRange indices, Value mask,
    function_ref<void(int64_t, Value, ValueRange)> body) {
  for (int64_t lane = 0; lane < kLanes; ++lane) {
    Value bit = vector::ExtractOp::create(builder, loc, mask, lane);
    Values at(indices);
    at.back() = add(at.back(), lane);
    body(lane, bit, at);
  }
}
Value KernelBuilder::flatten(Value memref) {
  if (cast<MemRefType>(memref.getType()).getRank() == 1)
    return memref;
  return memref::CollapseShapeOp::create(
      builder, loc, memref, ArrayRef<ReassociationIndices>{{0, 1}});
}
Value KernelBuilder::scratch(ArrayRef<int64_t> shape, Type element) {
  OpBuilder::InsertionGuard guard(builder);
  builder.setInsertionPointToStart(frame);
  return memref::AllocaOp::create(
      builder, loc, MemRefType::get(shape, element ? element : f32),
      builder.getI64IntegerAttr(64));
}

KernelBuilder::Values KernelBuilder::transpose(Values rows) {
  auto count = static_cast<int64_t>(rows.size());
  for (int64_t step = 1; step < count; step *= 2)
    for (int64_t i = 0; i < count; ++i) {
      if (i & step)
        continue;
      // Swaps the squares of `step` elements off the diagonal.
      Value a = rows[i], b = rows[i + step];
      SmallVector<int64_t> low, high;
      for (int64_t lane = 0; lane < count; ++lane) {
        low.push_back(lane & step ? count + lane - step : lane);
        high.push_back(lane & step ? count + lane : lane + step);
      }
      rows[i] = vector::ShuffleOp::create(builder, loc, a, b, low);
      rows[i + step] = vector::ShuffleOp::create(builder, loc, a, b, high);
    }
  return rows;
}

Value KernelBuilder::laneMask(int64_t count) {
  if (count >= kLanes)
    return {};
  SmallVector<bool> lanes(kLanes, false);
  std::fill_n(lanes.begin(), count, true);
  return arith::ConstantOp::create(builder, loc,
                                   DenseElementsAttr::get(vecI1, lanes));
}

void KernelBuilder::loop(Value lower, Value upper, int64_t step,
                         function_ref<void(Value)> body) {
  loop(lower, upper, step, ValueRange(), [&](Value i, ValueRange) {
    body(i);
    return Values();
  });
}

KernelBuilder::Values
KernelBuilder::loop(Value lower, Value upper, int64_t step, ValueRange inits,
                    function_ref<Values(Value, ValueRange)> body) {
  auto loop = scf::ForOp::create(
      builder, loc, lower, upper, index(step), inits,
      [&](OpBuilder &inner, Location, Value i, ValueRange values) {
        OpBuilder::InsertionGuard guard(builder);
        builder.restoreInsertionPoint(inner.saveInsertionPoint());
        Values results = body(i, values);
        scf::YieldOp::create(builder, loc, results);
      });
  return Values(loop.getResults());
}

void KernelBuilder::when(Value condition, function_ref<void()> body) {
  auto branch = scf::IfOp::create(builder, loc, condition,
                                  /*withElseRegion=*/false);
  OpBuilder::InsertionGuard guard(builder);
  builder.setInsertionPointToStart(branch.thenBlock());
  body();
}

KernelBuilder::Values
KernelBuilder::chunks(Value extent, ValueRange inits,
                      function_ref<Values(Value, Value, ValueRange)> body) {
  APInt known;
  bool isStatic = matchPattern(extent, m_ConstantInt(&known));
  int64_t size = isStatic ? known.getSExtValue() : -1;
  Value full = isStatic ? index(size / kLanes * kLanes)
                        : mul(div(extent, kLanes), kLanes);
  Values values(inits);
  if (!isStatic || size / kLanes > 1)
    values = loop(index(0), full, kLanes, values,
                  [&](Value offset, ValueRange carried) {
                    return body(offset, Value(), carried);
                  });
  else if (size / kLanes == 1)
    values = body(index(0), Value(), values);
  if (isStatic)
    return size % kLanes ? body(full, laneMask(size % kLanes), values) : values;

  Value rest = sub(extent, full);
  auto branch = scf::IfOp::create(builder, loc, TypeRange(ValueRange(values)),
                                  less(index(0), rest),
                                  /*addThenBlock=*/true, /*addElseBlock=*/true);
  OpBuilder::InsertionGuard guard(builder);
  builder.setInsertionPointToStart(branch.thenBlock());
  Value mask = vector::CreateMaskOp::create(builder, loc, vecI1, rest);
  Values results = body(full, mask, values);
  scf::YieldOp::create(builder, loc, results);
  builder.setInsertionPointToStart(branch.elseBlock());
  scf::YieldOp::create(builder, loc, values);
  return Values(branch.getResults());
}

void KernelBuilder::chunks(Value extent,
                           function_ref<void(Value, Value)> body) {
  chunks(extent, ValueRange(), [&](Value offset, Value mask, ValueRange) {
    body(offset, mask);
    return Values();
  });
}

Value ganq::asMatrix(OpBuilder &builder, Location loc, Value memref) {
  auto type = cast<MemRefType>(memref.getType());
  int64_t rank = type.getRank();
  if (rank == 2)
    return memref;
  if (rank == 1) {
    SmallVector<ReassociationIndices> groups{{0, 1}};
    SmallVector<int64_t> shape{1, type.getDimSize(0)};
    SmallVector<OpFoldResult> sizes{
        builder.getIndexAttr(1),
        type.isDynamicDim(0)
            ? OpFoldResult(
                  memref::DimOp::create(builder, loc, memref, 0).getResult())
            : OpFoldResult(builder.getIndexAttr(type.getDimSize(0)))};
    auto target = MemRefType::get(shape, type.getElementType());
    return memref::ExpandShapeOp::create(builder, loc, target, memref, groups,
                                         sizes);
  }
  SmallVector<ReassociationIndices> groups(2);
  for (int64_t i = 0; i + 1 < rank; ++i)
    groups[0].push_back(i);
  groups[1].push_back(rank - 1);
  return memref::CollapseShapeOp::create(builder, loc, memref, groups);
}

Value ganq::withDynamicRows(OpBuilder &builder, Location loc, Value matrix) {
  auto type = cast<MemRefType>(matrix.getType());
  if (type.isDynamicDim(0))
    return matrix;
  SmallVector<int64_t> shape(type.getShape());
  shape[0] = ShapedType::kDynamic;
  return memref::CastOp::create(
      builder, loc, MemRefType::get(shape, type.getElementType()), matrix);
}

int64_t ganq::staticElements(Value memref) {
  auto type = cast<MemRefType>(memref.getType());
  return type.hasStaticShape() ? type.getNumElements() : -1;
}

std::string ganq::kernelKey(ValueRange inputs, StringRef rest) {
  std::string key;
  llvm::raw_string_ostream stream(key);
  for (Type type : inputs.getTypes())
    stream << type << ',';
  stream << rest;
  return key;
}
