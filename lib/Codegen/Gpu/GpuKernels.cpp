//===- GpuKernels.cpp - Quantized products on GPUs ------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Skeletons.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/MathExtras.h"
#include <limits>

using namespace mlir;
using namespace ganq;
using llvm::createStringError;
using llvm::Error;
using llvm::Expected;

void GpuKernelContext::storeResult(Value value, Value token, Value row) const {
  FloatType type = spec.getOutType();
  int64_t bytes = type.getWidth() / 8, shift = llvm::Log2_64(bytes);
  if (spec.bias)
    value = k.fadd(value,
                   k.extend(k.load(type, k.at(operands.bias, k.shl(row, shift)),
                                   bytes, true)));
  if (spec.activation == GpuActivation::Relu)
    value = k.relu(value);
  else if (spec.activation == GpuActivation::Silu)
    value = k.silu(value);
  // Results may take more than 2 GiB.
  Value place = arith::AddIOp::create(
      k.b, k.loc,
      arith::MulIOp::create(k.b, k.loc, k.wide(token), k.wide(operands.n)),
      k.wide(row));
  Value offset = arith::ShLIOp::create(
      k.b, k.loc, place,
      arith::ConstantOp::create(k.b, k.loc, k.b.getI64IntegerAttr(shift)));
  if (spec.residual)
    value = k.fadd(
        value, k.extend(k.load(type, k.at(operands.residual, offset), bytes)));
  k.store(k.truncate(value, type), k.at(operands.out, offset), bytes);
}

Value GpuKernelContext::scaleIntegers(Value sum, Value token, Value row) const {
  // Sum of (w - zw)(a - za) = sum w a - zw sum a - za sum w + K zw za.
  Value fourth = k.shl(token, 2), rowFourth = k.shl(row, 2);
  Value rowSecond = k.shl(row, 1);
  Value za = k.load(k.i32, k.at(operands.xZero, fourth), 4, true);
  Value suma = k.load(k.i32, k.at(operands.xSum, fourth), 4, true);
  Value sumw = k.load(k.i32, k.at(operands.weightSum, rowFourth), 4, true);
  Value zero =
      k.extend(k.load(spec.type, k.at(operands.zero, rowSecond), 2, true));
  Value zw = arith::FPToSIOp::create(k.b, k.loc, k.i32, zero);
  Value exact = k.sub(sum, k.mul(za, sumw));
  exact = k.add(exact, k.mul(zw, k.sub(k.mul(operands.k, za), suma)));
  Value scale = k.fmul(
      k.extend(k.load(spec.type, k.at(operands.scale, rowSecond), 2, true)),
      k.load(k.f32, k.at(operands.xScale, fourth), 4, true));
  return k.fmul(k.toFloat(exact), scale);
}

/// Fails where one of these operands takes too many bytes for offsets of 32
/// bits with a sign. Sizes are floats so that none overflows.
static Error checkBytes(ArrayRef<std::pair<StringRef, double>> operands) {
  for (auto [name, bytes] : operands)
    if (bytes >= 0x1p31)
      return createStringError(
          llvm::formatv(
              "expected less than 2 GiB of {0} for the GPU kernels, "
              "but got {1:F2} GiB; split the rows of the weight or of "
              "x over several launches",
              name, bytes / 0x1p30)
              .str());
  return Error::success();
}

static Error checkPositive(ArrayRef<std::pair<char, int64_t>> sizes) {
  for (auto [name, size] : sizes)
    if (size < 1 || size > std::numeric_limits<int32_t>::max())
      return createStringError(
          llvm::formatv("expected {0} of 1 to 2147483647 for the GPU kernels, "
                        "but got {1}",
                        name, size)
              .str());
  return Error::success();
}

/// Bytes of x, or of its codes: `bits` for each column of whole granules.
static double getXBytes(int64_t m, int64_t k, int64_t bits, int64_t granule) {
  return static_cast<double>(m) *
         static_cast<double>(llvm::alignTo(k, granule)) *
         static_cast<double>(bits) / 8;
}

static Error checkWeight(const GpuDecoding &decoding, int64_t n, int64_t k) {
  if (Error error = checkPositive({{'N', n}, {'K', k}}))
    return error;
  auto rows = static_cast<double>(llvm::alignTo(n, GpuLayout::kRowTile));
  auto columns = static_cast<double>(
      llvm::alignTo(k, decoding.order == GpuLayout::Order::Planes ? 256 : 128));
  // Tables, scales and zero points never take more than the codes.
  return checkBytes({{"codes of W", rows * columns * decoding.bits / 8}});
}

Error ganq::checkGpuSizes(const GpuMatmulSpec &spec, int64_t m, int64_t n,
                          int64_t k) {
  Expected<GpuDecoding> decoding = getGpuDecoding(spec);
  if (!decoding)
    return decoding.takeError();
  if (Error error = checkPositive({{'M', m}}))
    return error;
  if (Error error = checkWeight(*decoding, n, k))
    return error;
  if (spec.strategy == GpuStrategy::Btc)
    return checkBytes(
        {{"planes of x", getXBytes(m, k, spec.activationBits, 256)}});
  if (spec.strategy != GpuStrategy::F16)
    return checkBytes({{"codes of x", getXBytes(m, k, 8, 128)}});
  return checkBytes({{"x", getXBytes(m, k, 16, 1)}});
}

Error ganq::checkGpuSizes(const GpuQuantizeSpec &spec, int64_t m, int64_t k) {
  if (Error error = checkPositive({{'M', m}, {'K', k}}))
    return error;
  return checkBytes(
      {{"x", getXBytes(m, k, spec.type.getIntOrFloatBitWidth(), 1)},
       {"codes of x", spec.planes ? getXBytes(m, k, spec.bits, 256)
                                  : getXBytes(m, k, 8, 128)}});
}

void GpuKernelContext::finish(RowDecoder *decoder, Value sum, Value token,
                              Value row) const {
  Value inside = k.both(k.less(token, operands.m), k.less(row, operands.n));
  k.when(inside, [&] {
    Value value = sum;
    if (isInteger())
      value = scaleIntegers(sum, token, row);
    else if (Value scale = decoder->rowScale(operands, row))
      value = k.fmul(sum, scale);
    storeResult(value, token, row);
  });
}

Expected<GpuLayout> ganq::getGpuLayout(const GpuMatmulSpec &spec, int64_t rows,
                                       int64_t columns) {
  Expected<GpuDecoding> decoding = getGpuDecoding(spec);
  if (!decoding)
    return decoding.takeError();
  if (Error error = checkWeight(*decoding, rows, columns))
    return std::move(error);
  return GpuLayout(decoding->order, decoding->bits, rows, columns,
                   decoding->exponentBit);
}

static Error checkSpec(const GpuMatmulSpec &spec) {
  if (!spec.type || (!spec.type.isF16() && !spec.type.isBF16()))
    return createStringError("expected x of f16 or bf16 for the GPU kernels");
  if (spec.getOutType() != spec.type && !spec.getOutType().isF32())
    return createStringError("expected results of the type of x or of f32 for "
                             "the GPU kernels");
  auto isOneOf = [&](std::initializer_list<int64_t> values, StringRef name,
                     StringRef skeleton) -> Error {
    if (llvm::is_contained(values, spec.tokens))
      return Error::success();
    return createStringError("expected tokens of a " + skeleton +
                             " kernel to be one of " + name + ", but got " +
                             std::to_string(spec.tokens));
  };
  if (spec.products < 1 || spec.products > 4)
    return createStringError("expected 1 to 4 products of one x, but got " +
                             std::to_string(spec.products));
  if (spec.strategy == GpuStrategy::Int4)
    return createStringError("expected a strategy with kernels (f16, int8, "
                             "dp4a, btc), but got `int4`; use `int8` or `btc`");
  if (spec.skeleton == GpuSkeleton::Gemv) {
    if (spec.strategy != GpuStrategy::F16 && spec.strategy != GpuStrategy::Dp4a)
      return createStringError(
          "expected strategy f16 or dp4a for a gemv kernel, but got `" +
          getName(spec.strategy) + "`; use dp4a, or a gemm kernel");
    return isOneOf({1, 2, 4, 8}, "1, 2, 4, 8", "gemv");
  }
  if (spec.strategy == GpuStrategy::Dp4a)
    return createStringError("expected strategy f16, int8 or btc for a gemm "
                             "kernel, but got `dp4a`; use int8");
  // More tokens would need more sums of pairs of planes than registers.
  if (spec.strategy == GpuStrategy::Btc)
    return isOneOf({16}, "16", "btc gemm");
  return isOneOf({16, 64}, "16, 64", "gemm");
}

static std::string getKernelName(const GpuMatmulSpec &spec) {
  std::string name;
  llvm::raw_string_ostream os(name);
  os << (spec.skeleton == GpuSkeleton::Gemv ? "gemv_" : "gemm_")
     << spec.scheme.getShortName();
  if (spec.strategy != GpuStrategy::F16)
    os << '_' << getName(spec.strategy);
  os << '_' << spec.type << "_m" << spec.tokens;
  if (spec.getOutType() != spec.type)
    os << '_' << spec.getOutType();
  if (spec.bias)
    os << "_bias";
  if (spec.activation != GpuActivation::None)
    os << (spec.activation == GpuActivation::Relu ? "_relu" : "_silu");
  if (spec.residual)
    os << "_residual";
  if (spec.products > 1)
    os << "_x" << spec.products;
  return name;
}

Value ganq::getDynamicShared(GpuBuilder &k, gpu::GPUModuleOp module) {
  constexpr StringRef kName = "ganq_shared";
  auto type = LLVM::LLVMArrayType::get(k.i8, 0);
  if (!SymbolTable::lookupSymbolIn(module, kName)) {
    OpBuilder::InsertionGuard guard(k.b);
    k.b.setInsertionPointToStart(module.getBody());
    LLVM::GlobalOp::create(k.b, k.loc, type, /*isConstant=*/false,
                           LLVM::Linkage::External, kName, Attribute(),
                           /*alignment=*/16, /*addrSpace=*/3);
  }
  return LLVM::AddressOfOp::create(
      k.b, k.loc, LLVM::LLVMPointerType::get(k.b.getContext(), 3), kName);
}

gpu::GPUFuncOp ganq::createGpuKernel(GpuBuilder &k, gpu::GPUModuleOp module,
                                     const GpuKernelInfo &info, size_t pointers,
                                     size_t integers) {
  k.b.setInsertionPointToEnd(module.getBody());
  SmallVector<Type> types(pointers,
                          LLVM::LLVMPointerType::get(k.b.getContext(), 1));
  types.append(integers, k.i32);
  auto function = gpu::GPUFuncOp::create(k.b, k.loc, info.name,
                                         k.b.getFunctionType(types, {}));
  function->setAttr(gpu::GPUDialect::getKernelFuncAttrName(),
                    k.b.getUnitAttr());
  function.setKnownBlockSizeAttr(
      k.b.getDenseI32ArrayAttr({static_cast<int32_t>(info.threads), 1, 1}));
  // Without a number of blocks ptxas spills to stay within 64 registers.
  function->setAttr(
      NVVM::NVVMDialect::getMinctasmAttrName(),
      k.b.getI32IntegerAttr(static_cast<int32_t>(info.minBlocks)));
  k.b.setInsertionPointToStart(&function.getBody().front());
  return function;
}

Expected<GpuKernelInfo> ganq::buildGpuMatmul(gpu::GPUModuleOp module,
                                             const GpuMatmulSpec &spec) {
  if (Error error = checkSpec(spec))
    return std::move(error);
  Expected<GpuDecoding> decoding = getGpuDecoding(spec);
  if (!decoding)
    return decoding.takeError();
  // Offsets within a granule do not depend on the sizes, which come later.
  GpuLayout layout(decoding->order, decoding->bits, GpuLayout::kRowTile, 1,
                   decoding->exponentBit);
  GpuKernelInfo info;
  info.name = getKernelName(spec);
  if (spec.skeleton == GpuSkeleton::Gemv)
    planGemv(spec, *decoding, layout, info);
  else
    planGemm(spec, *decoding, layout, info);
  if (SymbolTable::lookupSymbolIn(module, info.name))
    return info;

  MLIRContext *context = module.getContext();
  context->loadDialect<arith::ArithDialect, gpu::GPUDialect, LLVM::LLVMDialect,
                       NVVM::NVVMDialect, scf::SCFDialect>();
  OpBuilder builder(context);
  Location loc = module.getLoc();
  GpuBuilder k(builder, loc);

  GpuOperands operands;
  // Those of x are the same for all products.
  SmallVector<Value *> pointers = {&operands.out, &operands.x, &operands.codes};
  bool integer = spec.strategy != GpuStrategy::F16;
  auto addIf = [&](bool wanted, std::initializer_list<Value *> values) {
    if (wanted)
      pointers.append(values);
  };
  addIf(decoding->table, {&operands.table});
  addIf(decoding->scale, {&operands.scale});
  addIf(decoding->zero, {&operands.zero});
  addIf(integer, {&operands.weightSum, &operands.xScale, &operands.xZero,
                  &operands.xSum});
  addIf(spec.bias, {&operands.bias});
  addIf(spec.residual, {&operands.residual});
  SmallVector<Value *> own;
  for (Value *pointer : pointers)
    if (pointer != &operands.x && pointer != &operands.xScale &&
        pointer != &operands.xZero && pointer != &operands.xSum)
      own.push_back(pointer);
  size_t further = spec.products - 1;
  size_t count = pointers.size() + further * own.size();
  auto function = createGpuKernel(k, module, info, count, 3 + further);
  for (auto [n, pointer] : llvm::enumerate(pointers))
    *pointer = function.getArgument(n);
  operands.m = function.getArgument(count);
  operands.n = function.getArgument(count + 1);
  operands.k = function.getArgument(count + 2);
  operands.rowBlock = k.block(gpu::Dimension::x);
  // Blocks of the products before this one.
  Value first = k.i(0), end;
  auto addBlocks = [&](Value begin, Value n) {
    return k.add(begin, k.div(k.add(n, info.rows - 1), info.rows));
  };
  if (further)
    end = addBlocks(first, operands.n);
  for (size_t product = 0; product < further; ++product) {
    Value n = function.getArgument(count + 3 + product);
    Value earlier = k.less(operands.rowBlock, end);
    for (auto [i, pointer] : llvm::enumerate(own))
      *pointer = k.select(
          earlier, *pointer,
          function.getArgument(pointers.size() + product * own.size() + i));
    operands.n = k.select(earlier, operands.n, n);
    first = k.select(earlier, first, end);
    if (product + 1 < further)
      end = addBlocks(end, n);
  }
  if (further)
    operands.rowBlock = k.sub(operands.rowBlock, first);

  constexpr int64_t kTile = GpuLayout::kRowTile;
  operands.paddedRows = k.bitAnd(k.add(operands.n, kTile - 1), -kTile);
  int64_t columns = layout.getGranuleColumns();
  operands.granules = k.div(k.add(operands.k, columns - 1), columns);
  GpuKernelContext kernel{k,      spec,     *decoding,
                          layout, operands, getDynamicShared(k, module)};
  if (spec.skeleton == GpuSkeleton::Gemv)
    emitGemv(kernel);
  else
    emitGemm(kernel);
  gpu::ReturnOp::create(builder, loc);
  return info;
}
