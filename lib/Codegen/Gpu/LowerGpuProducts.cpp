//===- LowerGpuProducts.cpp - Quantized products to launches --------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "BufferUses.h"
#include "LaneBuilder.h"
#include "ganq/Codegen/Gpu/GpuPacking.h"
#include "ganq/Codegen/Gpu/GpuProducts.h"
#include "ganq/Codegen/Gpu/Passes.h"
#include "mlir/Dialect/ControlFlow/IR/ControlFlowOps.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/Support/MathExtras.h"
#include <map>

namespace ganq {
#define GEN_PASS_DEF_LOWERGPUPRODUCTS
#include "ganq/Codegen/Gpu/Passes.h.inc"
} // namespace ganq

using namespace mlir;
using namespace ganq;
using llvm::Error;
using llvm::Expected;

//===----------------------------------------------------------------------===//
// What kernels multiply a weight
//===----------------------------------------------------------------------===//

Expected<GpuStrategy> ganq::chooseGpuStrategy(SchemeAttrInterface scheme,
                                              std::optional<GpuStrategy> asked,
                                              ArrayRef<GpuTarget> chips) {
  unsigned bits = scheme.getActivationBits();
  auto isNative = [&](GpuStrategy strategy) {
    return llvm::all_of(
        chips, [&](const GpuTarget &chip) { return chip.isNative(strategy); });
  };
  GpuStrategy strategy = GpuStrategy::F16;
  if (bits) {
    // A pair of planes takes one mma of b1 for eight times the columns of one
    // of s8.
    bool fewer = scheme.getCodeBits() * bits < 8;
    strategy =
        asked.value_or(fewer && isNative(GpuStrategy::Btc) ? GpuStrategy::Btc
                                                           : GpuStrategy::Int8);
  }
  for (const GpuTarget &chip : chips)
    if (Error error = chip.check(strategy))
      return std::move(error);
  return strategy;
}

GpuMatmulSpec ganq::getGpuMatmulSpec(SchemeAttrInterface scheme,
                                     GpuStrategy strategy, int64_t m) {
  GpuMatmulSpec spec;
  spec.scheme = getGpuScheme(scheme);
  spec.type = getGpuType(scheme);
  spec.strategy = strategy;
  if (strategy != GpuStrategy::F16)
    spec.activationBits = scheme.getActivationBits();
  if (m <= 8 && strategy != GpuStrategy::Btc) {
    spec.skeleton = GpuSkeleton::Gemv;
    spec.tokens = static_cast<int64_t>(llvm::PowerOf2Ceil(m));
    if (strategy == GpuStrategy::Int8)
      spec.strategy = GpuStrategy::Dp4a;
    return spec;
  }
  spec.skeleton = GpuSkeleton::Gemm;
  spec.tokens = m <= 16 || strategy == GpuStrategy::Btc ? 16 : 64;
  return spec;
}

Error ganq::checkGpuWeight(SchemeAttrInterface scheme, int64_t n, int64_t k,
                           std::optional<GpuStrategy> asked,
                           ArrayRef<GpuTarget> chips) {
  Expected<GpuStrategy> strategy = chooseGpuStrategy(scheme, asked, chips);
  if (!strategy)
    return strategy.takeError();
  return getGpuLayout(getGpuMatmulSpec(scheme, *strategy, 1), n, k).takeError();
}

//===----------------------------------------------------------------------===//
// The pass
//===----------------------------------------------------------------------===//

namespace {

/// Rows of a buffer whose last dimension are the columns.
int64_t rowsOf(Value value) {
  MemRefType type = typeOf(value);
  return type.getNumElements() / type.getShape().back();
}

/// Lowers the products of one function.
class ProductLowering {
public:
  ProductLowering(func::FuncOp function, gpu::GPUModuleOp kernels,
                  std::optional<GpuStrategy> asked, ArrayRef<GpuTarget> chips)
      : function(function), kernels(kernels), asked(asked), chips(chips),
        b(function.getContext()), loc(function.getLoc()) {}

  LogicalResult run() {
    for (Block &block : function.getBody()) {
      forgetAll();
      for (Operation &op : llvm::make_early_inc_range(block))
        if (failed(visit(&op)))
          return failure();
      for (QuantizeRowsOp op : rounded)
        op.erase();
      rounded.clear();
    }
    WalkResult nested = function.walk([](Operation *op) {
      return isa<PackedMatmulOp, QuantizeRowsOp>(op) ? WalkResult::interrupt()
                                                     : WalkResult::advance();
    });
    if (nested.wasInterrupted())
      return function.emitOpError("expected products outside of loops");
    return success();
  }

private:
  /// x as floats of 16 bits, or as codes with the scale, zero point and sum of
  /// each row.
  using Operands = SmallVector<Value>;
  /// What x becomes: floats of a type, or codes.
  enum class Form { F16, BF16, Bytes, Planes };

  LogicalResult visit(Operation *op) {
    loc = op->getLoc();
    b.setInsertionPoint(op);
    if (auto quantize = dyn_cast<QuantizeRowsOp>(op)) {
      if (failed(check(op)))
        return failure();
      forget(quantize.getOut());
      records[getMemory(quantize.getOut())] = quantize;
      rounded.push_back(quantize);
      return success();
    }
    if (auto matmul = dyn_cast<PackedMatmulOp>(op)) {
      if (failed(check(op)))
        return failure();
      group.push_back(matmul);
      if (findCompanion(matmul))
        return success();
      if (failed(lower(group)))
        return failure();
      for (PackedMatmulOp product : group) {
        forget(product.getOut());
        product.erase();
      }
      group.clear();
      return success();
    }
    // What is written later is another x. An assertion has an effect, but on
    // no buffer.
    if (isa<cf::AssertOp>(op))
      return success();
    auto effects = dyn_cast<MemoryEffectOpInterface>(op);
    if (!effects) {
      if (op->getNumRegions() || !isMemoryEffectFree(op))
        forgetAll();
      return success();
    }
    SmallVector<MemoryEffects::EffectInstance> list;
    effects.getEffects(list);
    for (const MemoryEffects::EffectInstance &effect : list) {
      if (!isa<MemoryEffects::Write>(effect.getEffect()))
        continue;
      if (Value value = effect.getValue())
        forget(value);
      else
        forgetAll();
    }
    return success();
  }

  /// The product that comes next, if one launch can compute both.
  bool findCompanion(PackedMatmulOp op) {
    constexpr size_t kMost = 4;
    Operation *next = op->getNextNode();
    while (next && isHostOp(next))
      next = next->getNextNode();
    auto other = dyn_cast_or_null<PackedMatmulOp>(next);
    return other && group.size() < kMost && other.getX() == op.getX() &&
           other.getK() == op.getK() && other.getScheme() == op.getScheme() &&
           !other.getBias() == !op.getBias() &&
           llvm::all_of(other->getOperandTypes(), isSupported) &&
           typeOf(other.getOut()).getElementType() ==
               typeOf(op.getOut()).getElementType() &&
           isIndependent(other);
  }

  /// Whether a product may run at the same time as those of the group: it reads
  /// nothing that they write, and writes nothing that they read or write.
  bool isIndependent(PackedMatmulOp op) {
    Value out = getMemory(op.getOut());
    return llvm::none_of(group, [&](PackedMatmulOp member) {
      Value written = getMemory(member.getOut());
      return llvm::any_of(
                 op->getOperands(),
                 [&](Value value) { return getMemory(value) == written; }) ||
             llvm::any_of(member->getOperands(),
                          [&](Value value) { return getMemory(value) == out; });
    });
  }

  /// Drops what is known of all buffers, or of the one that `value` is part of.
  void forgetAll() {
    inputs.clear();
    records.clear();
  }
  void forget(Value value) {
    Value root = getMemory(value);
    records.erase(root);
    for (auto it = inputs.begin(); it != inputs.end();)
      it = getMemory(Value::getFromOpaquePointer(it->first.first)) == root
               ? inputs.erase(it)
               : std::next(it);
  }
  Operands &find(Value x, Form form) {
    return inputs[{x.getAsOpaquePointer(), form}];
  }

  static bool isSupported(Type type) {
    auto buffer = dyn_cast<MemRefType>(type);
    return buffer && buffer.hasStaticShape() && buffer.getLayout().isIdentity();
  }
  static LogicalResult check(Operation *op) {
    for (Value operand : op->getOperands()) {
      if (isSupported(operand.getType()))
        continue;
      if (!isa<MemRefType>(operand.getType()))
        return op->emitOpError("expected buffers, but got ")
               << operand.getType() << "; bufferize first";
      return op->emitOpError("expected buffers of static shape without "
                             "strides for GPU kernels, but got ")
             << operand.getType();
    }
    return success();
  }

  /// Products of one x by weights of one scheme and K: one launch.
  LogicalResult lower(ArrayRef<PackedMatmulOp> products) {
    PackedMatmulOp first = products.front();
    SchemeAttrInterface scheme = first.getScheme();
    Type outElement = typeOf(first.getOut()).getElementType();
    int64_t m = rowsOf(first.getOut()), k = first.getK();
    Operands x;
    std::optional<GpuKernelInfo> kernel;
    SmallVector<Value> pointers;
    SmallVector<int64_t> sizes{m, 0, k};
    SmallVector<std::pair<Value, Value>> conversions;
    int64_t blocks = 0;
    for (PackedMatmulOp op : products) {
      SmallVector<StringRef> keys;
      for (Value component : op.getComponents()) {
        auto parameter = component.getDefiningOp<ParameterOp>();
        if (!parameter)
          return op.emitOpError("expected a weight that is stored, but got a "
                                "computed one");
        keys.push_back(parameter.getKey());
      }
      StringRef weight = keys.front().rsplit('.').first;
      auto fail = [&](Error error) {
        return op.emitOpError() << "weight '" << weight
                                << "': " << llvm::toString(std::move(error));
      };
      Expected<GpuStrategy> strategy = chooseGpuStrategy(scheme, asked, chips);
      if (!strategy)
        return fail(strategy.takeError());
      int64_t n = op.getN();
      GpuMatmulSpec spec = getGpuMatmulSpec(scheme, *strategy, m);
      spec.outType = outElement == spec.type ? spec.type : b.getF32Type();
      spec.bias = static_cast<bool>(op.getBias());
      spec.products = static_cast<int64_t>(products.size());
      if (Error error = checkGpuSizes(spec, m, n, k))
        return fail(std::move(error));
      auto operands = getGpuOperands(spec, n, k, keys, scheme);
      if (!operands)
        return fail(operands.takeError());
      if (!kernel) {
        Expected<GpuKernelInfo> built = buildGpuMatmul(kernels, spec);
        if (!built)
          return fail(built.takeError());
        kernel = *built;
        if (spec.strategy == GpuStrategy::F16)
          x = {getFloats(op.getX(), spec.type)};
        else if (failed(getCodes(op, spec, x)))
          return failure();
      }
      Value out = op.getOut();
      if (outElement != spec.getOutType()) {
        out = memref::AllocOp::create(
            b, loc, MemRefType::get(typeOf(out).getShape(), spec.getOutType()));
        conversions.push_back({out, op.getOut()});
      }
      pointers.push_back(getPointer(out));
      if (op == first)
        pointers.push_back(getPointer(x[0]));
      for (GpuPackedAttr operand : *operands)
        pointers.push_back(getPointer(getParameter(weight, operand)));
      if (op == first)
        for (Value value : ArrayRef(x).drop_front())
          pointers.push_back(getPointer(value));
      if (Value bias = op.getBias())
        pointers.push_back(getPointer(convert(bias, spec.getOutType())));
      if (op == first)
        sizes[1] = n;
      else
        sizes.push_back(n);
      blocks += llvm::divideCeil(n, kernel->rows);
      op.emitRemark() << "weight '" << weight << "', rows of x: " << m << ": "
                      << kernel->name << ", strategy "
                      << getName(spec.strategy);
    }
    launch(*kernel, blocks, llvm::divideCeil(m, kernel->tokens), pointers,
           sizes);
    for (auto [from, to] : conversions)
      emitConversion(from, to);
    return success();
  }

  /// An operand in the order of the kernels.
  Value getParameter(StringRef weight, GpuPackedAttr operand) {
    RankedTensorType type = getGpuOperandType(operand);
    return ParameterOp::create(
        b, loc, MemRefType::get(type.getShape(), type.getElementType()),
        b.getStringAttr(weight + ".gpu_" +
                        stringifyGpuOperand(operand.getOperand())),
        ExternalAttr(), UnitAttr(), PackedRowsAttr(), operand);
  }

  /// out = in, in other floats.
  void emitConversion(Value in, Value out) {
    AffineMap map = b.getMultiDimIdentityMap(typeOf(in).getRank());
    SmallVector<utils::IteratorType> loops(typeOf(in).getRank(),
                                           utils::IteratorType::parallel);
    linalg::GenericOp::create(
        b, loc, ValueRange{in}, ValueRange{out}, ArrayRef<AffineMap>{map, map},
        loops, [](OpBuilder &inner, Location loc, ValueRange args) {
          linalg::YieldOp::create(inner, loc,
                                  cast(inner, loc, args[0], args[1].getType()));
        });
  }

  static Value cast(OpBuilder &inner, Location loc, Value value, Type type) {
    if (value.getType() == type)
      return value;
    // One of two types of 16 bits to the other goes by way of f32.
    Type wide = inner.getF32Type();
    if (value.getType().getIntOrFloatBitWidth() < 32)
      value = arith::ExtFOp::create(inner, loc, wide, value);
    if (value.getType() == type)
      return value;
    if (type.getIntOrFloatBitWidth() > value.getType().getIntOrFloatBitWidth())
      return arith::ExtFOp::create(inner, loc, type, value);
    // Products of finite numbers stay finite, but for their sums.
    return arith::TruncFOp::create(inner, loc, type,
                                   saturate(inner, loc, value, type));
  }

  Value convert(Value value, Type type) {
    if (typeOf(value).getElementType() == type)
      return value;
    Value copy = memref::AllocOp::create(
        b, loc, MemRefType::get(typeOf(value).getShape(), type));
    emitConversion(value, copy);
    return copy;
  }

  /// x as floats of `type`, once for all products behind each other.
  Value getFloats(Value x, Type type) {
    if (typeOf(x).getElementType() == type)
      return x;
    Operands &known = find(x, type.isF16() ? Form::F16 : Form::BF16);
    if (known.empty())
      known = {convert(x, type)};
    return known.front();
  }

  /// The codes of x and the scale, zero point and sum of each row.
  LogicalResult getCodes(PackedMatmulOp op, const GpuMatmulSpec &spec,
                         Operands &x) {
    QuantizeRowsOp rows = records.lookup(getMemory(op.getX()));
    if (!rows)
      return op.emitOpError("expected x to come from `ganq.quantize_rows` of "
                            "the same block, with nothing else that writes it "
                            "in between");
    bool planes = spec.strategy == GpuStrategy::Btc;
    Operands &known = find(rows.getOut(), planes ? Form::Planes : Form::Bytes);
    if (known.empty()) {
      // Where the record was made: x may be something else by now.
      OpBuilder::InsertionGuard guard(b);
      b.setInsertionPoint(rows);
      if (failed(emitCodes(rows, planes, known)))
        return failure();
    }
    x = known;
    return success();
  }

  LogicalResult emitCodes(QuantizeRowsOp op, bool planes, Operands &codes) {
    Value x = op.getX();
    GpuQuantizeSpec spec;
    spec.bits = static_cast<unsigned>(op.getBits());
    spec.planes = planes;
    if (op.getScale() || op.getShift())
      x = smooth(op);
    else if (typeOf(x).getElementType().getIntOrFloatBitWidth() > 32)
      x = convert(x, b.getF32Type());
    spec.type = mlir::cast<FloatType>(typeOf(x).getElementType());
    int64_t m = rowsOf(x), k = typeOf(x).getShape().back();
    Error error = checkGpuSizes(spec, m, k);
    Expected<GpuKernelInfo> kernel =
        error ? Expected<GpuKernelInfo>(std::move(error))
              : buildGpuQuantizeRows(kernels, spec);
    if (!kernel)
      return op.emitOpError() << llvm::toString(kernel.takeError());
    int64_t bytes = planes ? spec.bits * m * llvm::alignTo(k, 256) / 8
                           : m * static_cast<int64_t>(llvm::alignTo(k, 128));
    Type i32 = b.getI32Type();
    SmallVector<Value> pointers;
    for (auto [size, type] : {std::pair<int64_t, Type>{bytes, b.getI8Type()},
                              {m, b.getF32Type()},
                              {m, i32},
                              {m, i32}}) {
      codes.push_back(
          memref::AllocOp::create(b, loc, MemRefType::get({size}, type)));
      pointers.push_back(getPointer(codes.back()));
    }
    pointers.push_back(getPointer(x));
    launch(*kernel, llvm::divideCeil(m, kernel->tokens), 1, pointers, {m, k});
    return success();
  }

  /// (x - shift) / scale in f32.
  Value smooth(QuantizeRowsOp op) {
    Value x = op.getX();
    MemRefType type = typeOf(x);
    Value result = memref::AllocOp::create(
        b, loc, MemRefType::get(type.getShape(), b.getF32Type()));
    AffineMap all = b.getMultiDimIdentityMap(type.getRank());
    AffineMap last = all.getMinorSubMap(1);
    SmallVector<AffineMap> maps{all};
    SmallVector<Value> inputs{x};
    for (Value vector : {op.getShift(), op.getScale()})
      if (vector) {
        inputs.push_back(vector);
        maps.push_back(last);
      }
    maps.push_back(all);
    SmallVector<utils::IteratorType> loops(type.getRank(),
                                           utils::IteratorType::parallel);
    linalg::GenericOp::create(
        b, loc, inputs, ValueRange{result}, maps, loops,
        [&](OpBuilder &inner, Location loc, ValueRange args) {
          Type wide = inner.getF32Type();
          Value value = cast(inner, loc, args[0], wide);
          size_t next = 1;
          if (op.getShift())
            value = arith::SubFOp::create(inner, loc, value,
                                          cast(inner, loc, args[next++], wide));
          if (op.getScale())
            value = arith::DivFOp::create(inner, loc, value,
                                          cast(inner, loc, args[next], wide));
          linalg::YieldOp::create(inner, loc, value);
        });
    return result;
  }

  /// The address of a buffer, as kernels built of LLVM operations take it.
  Value getPointer(Value buffer) {
    Value address = memref::ExtractAlignedPointerAsIndexOp::create(
        b, loc, b.getIndexType(), buffer);
    Value integer = arith::IndexCastOp::create(b, loc, b.getI64Type(), address);
    return LLVM::IntToPtrOp::create(
        b, loc, LLVM::LLVMPointerType::get(b.getContext(), 1), integer);
  }

  void launch(const GpuKernelInfo &kernel, int64_t blocksX, int64_t blocksY,
              SmallVector<Value> operands, ArrayRef<int64_t> sizes) {
    auto index = [&](int64_t value) -> Value {
      return arith::ConstantIndexOp::create(b, loc, value);
    };
    for (int64_t size : sizes)
      operands.push_back(arith::ConstantIntOp::create(b, loc, size, 32));
    auto function = mlir::cast<gpu::GPUFuncOp>(
        SymbolTable::lookupSymbolIn(kernels, kernel.name));
    gpu::LaunchFuncOp::create(
        b, loc, function,
        gpu::KernelDim3{index(blocksX), index(blocksY), index(1)},
        gpu::KernelDim3{index(kernel.threads), index(1), index(1)},
        arith::ConstantIntOp::create(b, loc, kernel.sharedBytes, 32), operands);
  }

  func::FuncOp function;
  gpu::GPUModuleOp kernels;
  std::optional<GpuStrategy> asked;
  ArrayRef<GpuTarget> chips;
  OpBuilder b;
  Location loc;
  std::map<std::pair<const void *, Form>, Operands> inputs;
  /// Who wrote a buffer of records last.
  llvm::DenseMap<Value, QuantizeRowsOp> records;
  SmallVector<QuantizeRowsOp> rounded;
  /// Products that wait for the last one of their launch.
  SmallVector<PackedMatmulOp> group;
};

struct LowerGpuProductsPass
    : public ganq::impl::LowerGpuProductsBase<LowerGpuProductsPass> {
  using LowerGpuProductsBase::LowerGpuProductsBase;

  void getDependentDialects(DialectRegistry &registry) const override {
    LowerGpuProductsBase::getDependentDialects(registry);
    registry.insert<GanqDialect>();
  }

  void runOnOperation() override {
    ModuleOp module = getOperation();
    SmallVector<GpuTarget> targets;
    for (const std::string &chip : chips) {
      auto target = GpuTarget::get(chip);
      if (!target) {
        module.emitError() << llvm::toString(target.takeError());
        return signalPassFailure();
      }
      targets.push_back(*target);
    }
    std::optional<GpuStrategy> asked;
    if (strategy != "auto") {
      asked = parseGpuStrategy(strategy);
      if (asked != GpuStrategy::Int8 && asked != GpuStrategy::Btc) {
        module.emitError()
            << "expected `strategy` to be auto, int8 or btc, but "
               "got `"
            << strategy << "`";
        return signalPassFailure();
      }
    }
    bool has = false;
    module.walk(
        [&](Operation *op) { has |= isa<PackedMatmulOp, QuantizeRowsOp>(op); });
    if (!has)
      return;
    auto kernels = module.lookupSymbol<gpu::GPUModuleOp>("ganq_kernels");
    if (!kernels) {
      OpBuilder builder = OpBuilder::atBlockEnd(module.getBody());
      kernels =
          gpu::GPUModuleOp::create(builder, module.getLoc(), "ganq_kernels");
      module->setAttr(gpu::GPUDialect::getContainerModuleAttrName(),
                      builder.getUnitAttr());
    }
    // What has results is no step function.
    for (auto function : module.getOps<func::FuncOp>())
      if (!function.isExternal() && function.getNumResults() == 0 &&
          failed(ProductLowering(function, kernels, asked, targets).run()))
        return signalPassFailure();
  }
};

} // namespace
