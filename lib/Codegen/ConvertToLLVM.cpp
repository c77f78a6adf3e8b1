//===- ConvertToLLVM.cpp - Everything to the LLVM dialect -----------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/Codegen/Passes.h"
#include "ganq/IR/GanqDialect.h"
#include "ganq/module_abi.h"
#include "mlir/Conversion/ArithToLLVM/ArithToLLVM.h"
#include "mlir/Conversion/ControlFlowToLLVM/ControlFlowToLLVM.h"
#include "mlir/Conversion/FuncToLLVM/ConvertFuncToLLVM.h"
#include "mlir/Conversion/FuncToLLVM/ConvertFuncToLLVMPass.h"
#include "mlir/Conversion/IndexToLLVM/IndexToLLVM.h"
#include "mlir/Conversion/LLVMCommon/ConversionTarget.h"
#include "mlir/Conversion/LLVMCommon/MemRefBuilder.h"
#include "mlir/Conversion/LLVMCommon/Pattern.h"
#include "mlir/Conversion/LLVMCommon/TypeConverter.h"
#include "mlir/Conversion/MathToLLVM/MathToLLVM.h"
#include "mlir/Conversion/MathToLibm/MathToLibm.h"
#include "mlir/Conversion/MemRefToLLVM/MemRefToLLVM.h"
#include "mlir/Conversion/UBToLLVM/UBToLLVM.h"
#include "mlir/Conversion/VectorToLLVM/ConvertVectorToLLVM.h"
#include "mlir/Dialect/ControlFlow/IR/ControlFlow.h"
#include "mlir/Dialect/ControlFlow/IR/ControlFlowOps.h"
#include "mlir/Dialect/Vector/Transforms/LoweringPatterns.h"
#include "mlir/Dialect/Vector/Transforms/VectorRewritePatterns.h"
#include "mlir/Dialect/Vector/Transforms/VectorTransforms.h"
#include "llvm/ADT/MapVector.h"
#include <cstddef>

namespace ganq {
#define GEN_PASS_DEF_CONVERTTOLLVM
#include "ganq/Codegen/Passes.h.inc"
} // namespace ganq

using namespace mlir;
using namespace ganq;

static constexpr llvm::StringLiteral kApi = "__ganq_api";
static constexpr llvm::StringLiteral kParameters = "__ganq_parameters";

namespace {

/// Byte offsets into `ganq_host_api`. The code is for x86-64, as is the
/// compiler that computes them.
enum ApiField : int64_t {
  kApiVersion = offsetof(ganq_host_api, abi_version),
  kApiSize = offsetof(ganq_host_api, size),
  kParallelFor = offsetof(ganq_host_api, parallel_for),
  kAllocate = offsetof(ganq_host_api, allocate),
  kObserve = offsetof(ganq_host_api, observe),
  kFail = offsetof(ganq_host_api, fail),
  kApiEnd = sizeof(ganq_host_api)
};

/// Short forms for building LLVM ops at one place.
struct LLVMBuilder {
  OpBuilder &builder;
  Location loc;
  Type ptr, i64, i32;

  LLVMBuilder(OpBuilder &builder, Location loc)
      : builder(builder), loc(loc),
        ptr(LLVM::LLVMPointerType::get(builder.getContext())),
        i64(builder.getI64Type()), i32(builder.getI32Type()) {}

  Value constant(int64_t value) {
    return LLVM::ConstantOp::create(builder, loc, i64,
                                    builder.getI64IntegerAttr(value));
  }
  Value load(Type type, Value address) {
    return LLVM::LoadOp::create(builder, loc, type, address);
  }
  void store(Value value, Value address) {
    LLVM::StoreOp::create(builder, loc, value, address);
  }
  Value offset(Value base, int64_t bytes) {
    return LLVM::GEPOp::create(
        builder, loc, ptr, builder.getI8Type(), base,
        ArrayRef<LLVM::GEPArg>{static_cast<int32_t>(bytes)});
  }
  Value slot(Value base, int64_t index) { return offset(base, index * 8); }
  Value addressOf(StringRef symbol) {
    return LLVM::AddressOfOp::create(builder, loc, ptr, symbol);
  }
  Value field(Value aggregate, ArrayRef<int64_t> position) {
    return LLVM::ExtractValueOp::create(builder, loc, aggregate, position);
  }
  /// Calls a function of the host.
  Value callApi(ApiField function, TypeRange results, ValueRange args) {
    Value api = load(ptr, addressOf(kApi));
    Value callee = load(ptr, offset(api, function));
    SmallVector<Type> inputs(args.getTypes());
    Type result = results.empty()
                      ? Type(LLVM::LLVMVoidType::get(builder.getContext()))
                      : results.front();
    SmallVector<Value> operands{callee};
    llvm::append_range(operands, args);
    auto call = LLVM::CallOp::create(
        builder, loc, LLVM::LLVMFunctionType::get(result, inputs), operands);
    return results.empty() ? Value() : call.getResult();
  }
  /// All scalars of a memref descriptor, in the order of function arguments.
  void unpack(Value value, SmallVectorImpl<Value> &scalars) {
    auto record = dyn_cast<LLVM::LLVMStructType>(value.getType());
    if (!record) {
      scalars.push_back(value);
      return;
    }
    for (auto [index, type] : llvm::enumerate(record.getBody())) {
      int64_t position = index;
      if (auto array = dyn_cast<LLVM::LLVMArrayType>(type)) {
        for (int64_t i = 0, e = array.getNumElements(); i < e; ++i)
          scalars.push_back(field(value, {position, i}));
      } else {
        scalars.push_back(field(value, position));
      }
    }
  }
};

/// The index of each key in the parameter table, by first use.
using ParameterIndex = llvm::MapVector<StringAttr, int64_t>;

/// ganq.parameter: the pointer from the table in a static descriptor.
struct ConvertParameter : ConvertOpToLLVMPattern<ParameterOp> {
  ConvertParameter(const LLVMTypeConverter &converter,
                   const ParameterIndex &index)
      : ConvertOpToLLVMPattern(converter), index(index) {}

  LogicalResult
  matchAndRewrite(ParameterOp op, OpAdaptor,
                  ConversionPatternRewriter &rewriter) const override {
    auto type = cast<MemRefType>(op.getType());
    LLVMBuilder b(rewriter, op.getLoc());
    Value table = b.load(b.ptr, b.addressOf(kParameters));
    Value data =
        b.load(b.ptr, b.slot(table, index.find(op.getKeyAttr())->second));
    rewriter.replaceOp(
        op, {MemRefDescriptor::fromStaticShape(
                rewriter, op.getLoc(), *getTypeConverter(), type, data)});
    return success();
  }
  const ParameterIndex &index;
};

/// memref.alloc: memory of the host, which frees it after the call.
struct ConvertAlloc : ConvertOpToLLVMPattern<memref::AllocOp> {
  using ConvertOpToLLVMPattern::ConvertOpToLLVMPattern;
  LogicalResult
  matchAndRewrite(memref::AllocOp op, OpAdaptor adaptor,
                  ConversionPatternRewriter &rewriter) const override {
    MemRefType type = op.getType();
    if (!isConvertibleAndHasIdentityMaps(type))
      return rewriter.notifyMatchFailure(op, "expected an identity layout");
    LLVMBuilder b(rewriter, op.getLoc());
    SmallVector<Value> sizes, strides;
    Value bytes;
    getMemRefDescriptorSizes(op.getLoc(), type, adaptor.getDynamicSizes(),
                             rewriter, sizes, strides, bytes);
    Value data = b.callApi(kAllocate, b.ptr, bytes);
    rewriter.replaceOp(op,
                       {createMemRefDescriptor(op.getLoc(), type, data, data,
                                               sizes, strides, rewriter)});
    return success();
  }
};

struct ConvertDealloc : ConvertOpToLLVMPattern<memref::DeallocOp> {
  using ConvertOpToLLVMPattern::ConvertOpToLLVMPattern;
  LogicalResult
  matchAndRewrite(memref::DeallocOp op, OpAdaptor,
                  ConversionPatternRewriter &rewriter) const override {
    rewriter.eraseOp(op);
    return success();
  }
};

/// ganq.observe: pointer, rows and columns to the host.
struct ConvertObserve : ConvertOpToLLVMPattern<ObserveOp> {
  using ConvertOpToLLVMPattern::ConvertOpToLLVMPattern;
  LogicalResult
  matchAndRewrite(ObserveOp op, OpAdaptor adaptor,
                  ConversionPatternRewriter &rewriter) const override {
    auto type = cast<MemRefType>(op.getX().getType());
    LLVMBuilder b(rewriter, op.getLoc());
    MemRefDescriptor x(adaptor.getX());
    Value data = x.bufferPtr(rewriter, op.getLoc(), *getTypeConverter(), type);
    Value rows = b.constant(1);
    for (int64_t dim = 0; dim + 1 < type.getRank(); ++dim)
      rows = LLVM::MulOp::create(rewriter, op.getLoc(), rows,
                                 x.size(rewriter, op.getLoc(), dim));
    Value columns = x.size(rewriter, op.getLoc(), type.getRank() - 1);
    b.callApi(
        kObserve, {},
        {b.constant(static_cast<int64_t>(op.getId())), data, rows, columns});
    rewriter.eraseOp(op);
    return success();
  }
};

/// ganq.dispatch: the operands go through a struct on the stack; a function
/// `<callee>_closure(closure, lo, hi)` unpacks them. Of a buffer whose type
/// says all else the struct has the address alone.
struct ConvertDispatch : ConvertOpToLLVMPattern<DispatchOp> {
  using ConvertOpToLLVMPattern::ConvertOpToLLVMPattern;
  LogicalResult
  matchAndRewrite(DispatchOp op, OpAdaptor adaptor,
                  ConversionPatternRewriter &rewriter) const override {
    Location loc = op.getLoc();
    auto module = op->getParentOfType<ModuleOp>();
    SmallVector<Value> values;
    for (auto [input, converted] :
         llvm::zip_equal(op.getInputs(), adaptor.getInputs())) {
      if (isAddress(input.getType()))
        values.push_back(MemRefDescriptor(converted).alignedPtr(rewriter, loc));
      else
        llvm::append_range(values, getTypeConverter()->promoteOperands(
                                       loc, input, converted, rewriter));
    }
    SmallVector<Type> types(ValueRange(values).getTypes());
    auto closureType = LLVM::LLVMStructType::getLiteral(getContext(), types);
    std::string wrapper = (op.getCallee() + "_closure").str();
    if (!module.lookupSymbol(wrapper)) {
      OpBuilder::InsertionGuard guard(rewriter);
      rewriter.setInsertionPointToStart(module.getBody());
      createWrapper(rewriter, loc, wrapper, op, closureType);
    }

    LLVMBuilder b(rewriter, loc);
    Value closure;
    {
      // In the entry block: a slot inside a loop would grow the stack.
      OpBuilder::InsertionGuard guard(rewriter);
      Operation *function = op->getParentOfType<FunctionOpInterface>();
      rewriter.setInsertionPointToStart(&function->getRegion(0).front());
      Value one = b.constant(1);
      closure =
          LLVM::AllocaOp::create(rewriter, loc, b.ptr, closureType, one, 8);
    }
    for (auto [index, value] : llvm::enumerate(values))
      b.store(value, fieldAddress(rewriter, loc, closureType, closure, index));
    b.callApi(kParallelFor, {},
              {b.addressOf(wrapper), closure, adaptor.getCount()});
    rewriter.eraseOp(op);
    return success();
  }

private:
  static bool isAddress(Type type) {
    auto memref = dyn_cast<MemRefType>(type);
    return memref && memref.hasStaticShape() && memref.getLayout().isIdentity();
  }

  static Value fieldAddress(OpBuilder &builder, Location loc, Type record,
                            Value base, int64_t index) {
    return LLVM::GEPOp::create(
        builder, loc, base.getType(), record, base,
        ArrayRef<LLVM::GEPArg>{0, static_cast<int32_t>(index)});
  }

  void createWrapper(OpBuilder &builder, Location loc, StringRef name,
                     DispatchOp op, LLVM::LLVMStructType closureType) const {
    LLVMBuilder b(builder, loc);
    auto type = LLVM::LLVMFunctionType::get(
        LLVM::LLVMVoidType::get(builder.getContext()), {b.ptr, b.i64, b.i64});
    auto function = LLVM::LLVMFuncOp::create(builder, loc, name, type,
                                             LLVM::Linkage::Internal);
    Block *entry = function.addEntryBlock(builder);
    builder.setInsertionPointToStart(entry);
    SmallVector<Value> args{entry->getArgument(1), entry->getArgument(2)};
    int64_t next = 0;
    auto loadField = [&] {
      Value field = b.load(
          closureType.getBody()[next],
          fieldAddress(builder, loc, closureType, entry->getArgument(0), next));
      ++next;
      return field;
    };
    for (Value input : op.getInputs()) {
      auto memref = dyn_cast<MemRefType>(input.getType());
      if (isAddress(input.getType())) {
        Value descriptor = MemRefDescriptor::fromStaticShape(
            builder, loc, *getTypeConverter(), memref, loadField());
        MemRefDescriptor::unpack(builder, loc, descriptor, memref, args);
        continue;
      }
      int64_t fields =
          memref ? MemRefDescriptor::getNumUnpackedValues(memref) : 1;
      for (int64_t i = 0; i < fields; ++i)
        args.push_back(loadField());
    }
    LLVM::CallOp::create(builder, loc, TypeRange(), op.getCallee(), args);
    LLVM::ReturnOp::create(builder, loc, ValueRange());
  }
};

/// cf.assert: tells the host and goes on.
struct ConvertAssert : ConvertOpToLLVMPattern<cf::AssertOp> {
  using ConvertOpToLLVMPattern::ConvertOpToLLVMPattern;
  LogicalResult
  matchAndRewrite(cf::AssertOp op, OpAdaptor adaptor,
                  ConversionPatternRewriter &rewriter) const override {
    Location loc = op.getLoc();
    auto module = op->getParentOfType<ModuleOp>();
    std::string text = op.getMsg().str();
    text.push_back('\0');
    std::string name;
    {
      OpBuilder::InsertionGuard guard(rewriter);
      rewriter.setInsertionPointToStart(module.getBody());
      for (unsigned i = 0; name.empty() || module.lookupSymbol(name); ++i)
        name = "__ganq_message_" + std::to_string(i);
      auto type = LLVM::LLVMArrayType::get(rewriter.getI8Type(), text.size());
      LLVM::GlobalOp::create(rewriter, loc, type, /*isConstant=*/true,
                             LLVM::Linkage::Internal, name,
                             rewriter.getStringAttr(text));
    }
    Block *head = op->getBlock();
    Block *tail = rewriter.splitBlock(head, std::next(op->getIterator()));
    Block *failure = rewriter.createBlock(tail);
    LLVMBuilder b(rewriter, loc);
    b.callApi(kFail, {}, b.addressOf(name));
    LLVM::BrOp::create(rewriter, loc, ValueRange(), tail);
    rewriter.setInsertionPointToEnd(head);
    LLVM::CondBrOp::create(rewriter, loc, adaptor.getArg(), tail, failure);
    rewriter.eraseOp(op);
    return success();
  }
};

/// A cast between types that are one type in LLVM, such as ui8 and i8 buffers.
struct ConvertTrivialCast : ConvertOpToLLVMPattern<UnrealizedConversionCastOp> {
  using ConvertOpToLLVMPattern::ConvertOpToLLVMPattern;
  LogicalResult
  matchAndRewrite(UnrealizedConversionCastOp op, OpAdaptor adaptor,
                  ConversionPatternRewriter &rewriter) const override {
    if (op.getNumOperands() != 1 || op.getNumResults() != 1 ||
        getTypeConverter()->convertType(op.getResult(0).getType()) !=
            adaptor.getInputs()[0].getType())
      return rewriter.notifyMatchFailure(op, "not a trivial cast");
    rewriter.replaceOp(op, adaptor.getInputs());
    return success();
  }
};

struct ConvertToLLVMPass : ganq::impl::ConvertToLLVMBase<ConvertToLLVMPass> {
  void runOnOperation() override {
    ModuleOp module = getOperation();
    MLIRContext *context = &getContext();

    if (failed(checkOps(module)))
      return signalPassFailure();
    ParameterIndex parameters;
    module.walk([&](ParameterOp op) {
      parameters.insert({op.getKeyAttr(), parameters.size()});
    });
    SmallVector<Attribute> keys;
    for (auto &entry : parameters)
      keys.push_back(entry.first);
    module->setAttr("ganq.parameters", ArrayAttr::get(context, keys));

    struct Entry {
      std::string name;
      FunctionType type;
      Attribute arenaBytes;
    };
    SmallVector<Entry> entries;
    for (auto function : module.getOps<func::FuncOp>()) {
      // Names from the model mean nothing to LLVM.
      function.removeArgAttrsAttr();
      function.removeResAttrsAttr();
      if (function.isExternal() || function.isPrivate())
        continue;
      entries.push_back({function.getName().str(), function.getFunctionType(),
                         function->getAttr("ganq.arena_bytes")});
      function.setPrivate();
    }
    createGlobals(module);

    LowerToLLVMOptions options(context);
    LLVMTypeConverter converter(context, options);
    converter.addConversion([&](IntegerType type) -> std::optional<Type> {
      return IntegerType::get(type.getContext(), type.getWidth());
    });
    RewritePatternSet patterns(context);
    arith::populateArithToLLVMConversionPatterns(converter, patterns);
    cf::populateControlFlowToLLVMConversionPatterns(converter, patterns);
    index::populateIndexToLLVMConversionPatterns(converter, patterns);
    populateFuncToLLVMConversionPatterns(converter, patterns);
    populateFinalizeMemRefToLLVMConversionPatterns(converter, patterns);
    populateMathToLLVMConversionPatterns(converter, patterns);
    // Only for what has no intrinsic: an instruction beats a call.
    populateMathToLibmConversionPatterns(patterns, PatternBenefit(0));
    ub::populateUBToLLVMConversionPatterns(converter, patterns);
    vector::populateVectorRankReducingFMAPattern(patterns);
    vector::populateVectorInsertExtractStridedSliceTransforms(patterns);
    vector::populateVectorStepLoweringPatterns(patterns);
    vector::populateVectorMaskOpLoweringPatterns(patterns);
    vector::populateVectorMaskMaterializationPatterns(
        patterns, /*force32BitVectorIndices=*/true);
    populateVectorToLLVMConversionPatterns(converter, patterns);
    patterns.add<ConvertParameter>(converter, parameters);
    patterns.add<ConvertDispatch, ConvertObserve, ConvertTrivialCast>(
        converter);
    patterns.add<ConvertAlloc, ConvertDealloc, ConvertAssert>(converter,
                                                              /*benefit=*/10);

    LLVMConversionTarget target(*context);
    target.addLegalOp<ModuleOp>();
    if (failed(applyFullConversion(module, target, std::move(patterns))))
      return signalPassFailure();

    for (auto function : module.getOps<LLVM::LLVMFuncOp>())
      if (!function.isExternal()) {
        function.setLinkage(LLVM::Linkage::Internal);
        function.setVisibility(SymbolTable::Visibility::Private);
      }
    OpBuilder builder(context);
    builder.setInsertionPointToEnd(module.getBody());
    createInit(builder, module.getLoc());
    for (const Entry &entry : entries)
      createEntry(builder, module, converter, entry.name, entry.type,
                  entry.arenaBytes);
  }

private:
  /// What the host's ABI can express.
  static LogicalResult checkOps(ModuleOp module) {
    WalkResult result = module.walk([](Operation *op) {
      auto plain = [](Value value) {
        auto type = dyn_cast<MemRefType>(value.getType());
        return type && type.getLayout().isIdentity();
      };
      if (auto observe = dyn_cast<ObserveOp>(op))
        if (!plain(observe.getX()) ||
            !getElementTypeOrSelf(observe.getX().getType()).isF32()) {
          observe.emitOpError(
              "expected an f32 buffer without strides, but got ")
              << observe.getX().getType();
          return WalkResult::interrupt();
        }
      if (auto parameter = dyn_cast<ParameterOp>(op)) {
        auto type = dyn_cast<MemRefType>(parameter.getType());
        if (!type || !type.hasStaticShape() || !plain(parameter.getResult())) {
          parameter.emitOpError("expected a static buffer without strides, but "
                                "got ")
              << parameter.getType();
          return WalkResult::interrupt();
        }
      }
      return WalkResult::advance();
    });
    return failure(result.wasInterrupted());
  }

  static void createGlobals(ModuleOp module) {
    OpBuilder builder = OpBuilder::atBlockBegin(module.getBody());
    LLVMBuilder b(builder, module.getLoc());
    for (StringRef name : {kApi, kParameters}) {
      builder.setInsertionPointToStart(module.getBody());
      auto global = LLVM::GlobalOp::create(
          builder, module.getLoc(), b.ptr, /*isConstant=*/false,
          LLVM::Linkage::Internal, name, Attribute());
      builder.createBlock(&global.getInitializerRegion());
      Value null = LLVM::ZeroOp::create(builder, module.getLoc(), b.ptr);
      LLVM::ReturnOp::create(builder, module.getLoc(), null);
    }
  }

  /// int32_t ganq_module_init(const ganq_host_api *, const void *const *):
  /// refuses a host of another version.
  static void createInit(OpBuilder &builder, Location loc) {
    OpBuilder::InsertionGuard guard(builder);
    LLVMBuilder b(builder, loc);
    auto function = LLVM::LLVMFuncOp::create(
        builder, loc, GANQ_MODULE_INIT_SYMBOL,
        LLVM::LLVMFunctionType::get(b.i32, {b.ptr, b.ptr}));
    Block *entry = function.addEntryBlock(builder);
    builder.setInsertionPointToStart(entry);
    Value api = entry->getArgument(0);
    auto constant = [&](int64_t value) -> Value {
      return LLVM::ConstantOp::create(builder, loc, b.i32,
                                      builder.getI32IntegerAttr(value));
    };
    Value otherVersion =
        LLVM::ICmpOp::create(builder, loc, LLVM::ICmpPredicate::ne,
                             b.load(b.i32, b.offset(api, kApiVersion)),
                             constant(GANQ_MODULE_ABI_VERSION));
    Value tooSmall = LLVM::ICmpOp::create(
        builder, loc, LLVM::ICmpPredicate::ult,
        b.load(b.i32, b.offset(api, kApiSize)), constant(kApiEnd));
    Value refused = LLVM::OrOp::create(builder, loc, otherVersion, tooSmall);
    b.store(api, b.addressOf(kApi));
    b.store(entry->getArgument(1), b.addressOf(kParameters));
    Value status = LLVM::ZExtOp::create(builder, loc, b.i32, refused);
    LLVM::ReturnOp::create(builder, loc, status);
  }

  /// void ganq_<name>(void **args).
  static void createEntry(OpBuilder &builder, ModuleOp module,
                          LLVMTypeConverter &converter, StringRef name,
                          FunctionType type, Attribute arenaBytes) {
    OpBuilder::InsertionGuard guard(builder);
    Location loc = module.lookupSymbol(name)->getLoc();
    LLVMBuilder b(builder, loc);
    auto function = LLVM::LLVMFuncOp::create(
        builder, loc, ("ganq_" + name).str(),
        LLVM::LLVMFunctionType::get(
            LLVM::LLVMVoidType::get(builder.getContext()), b.ptr));
    if (arenaBytes)
      function->setAttr("ganq.arena_bytes", arenaBytes);
    Block *entry = function.addEntryBlock(builder);
    builder.setInsertionPointToStart(entry);
    Value slots = entry->getArgument(0);
    SmallVector<Value> args;
    for (auto [index, input] : llvm::enumerate(type.getInputs())) {
      Value address = b.load(b.ptr, b.slot(slots, index));
      b.unpack(b.load(converter.convertType(input), address), args);
    }
    SmallVector<Type> results;
    for (Type result : type.getResults())
      results.push_back(converter.convertType(result));
    SmallVector<Type, 1> packed;
    if (!results.empty())
      packed.push_back(results.size() == 1
                           ? results.front()
                           : LLVM::LLVMStructType::getLiteral(
                                 builder.getContext(), results));
    auto call = LLVM::CallOp::create(builder, loc, packed, name, args);
    for (auto [index, result] : llvm::enumerate(results)) {
      Value value = call.getResult();
      if (results.size() > 1)
        value = b.field(value, static_cast<int64_t>(index));
      b.store(value, b.load(b.ptr, b.slot(slots, type.getNumInputs() + index)));
    }
    LLVM::ReturnOp::create(builder, loc, ValueRange());
  }
};

} // namespace
