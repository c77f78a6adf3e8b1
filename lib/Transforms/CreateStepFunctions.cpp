//===- CreateStepFunctions.cpp - The step functions of a language model ---===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "RaiseOnnx/Patterns.h"
#include "RaiseOnnx/Probe.h"
#include "StepAnalysis.h"
#include "ganq/Onnx/Evaluate.h"
#include "ganq/Support/CacheLayout.h"
#include "ganq/Transforms/Passes.h"

using namespace mlir;
using namespace ganq;

namespace ganq {
#define GEN_PASS_DEF_CREATESTEPFUNCTIONS
#include "ganq/Transforms/Passes.h.inc"
} // namespace ganq

/// Rows of a cache when neither the model nor the user says more.
static constexpr int64_t kDefaultContext = 2048;

static StringRef getTypeName(Type type) {
  return type.isF16()        ? "F16"
         : type.isBF16()     ? "BF16"
         : type.isInteger(8) ? "I8"
                             : "F32";
}

static constexpr llvm::StringLiteral kCacheKinds[] = {"model", "f32", "f16",
                                                      "i8"};

/// Lets a cache hold its rows as `kind` says.
static void setKind(StepCache &cache, StringRef kind) {
  Builder builder(cache.elementType.getContext());
  if (kind == "f32")
    cache.elementType = builder.getF32Type();
  else if (kind == "f16")
    cache.elementType = builder.getF16Type();
  if (kind == "i8") {
    cache.elementType = builder.getI8Type();
    cache.size = CacheLayout::getBytes(cache.size);
  }
}

namespace {

/// Builds one step function from a clone of @main.
class StepBuilder {
public:
  StepBuilder(func::FuncOp main, const StepModel &model, StringRef name,
              int64_t tokens, int64_t context, bool oneRow = false)
      : model(model), tokens(tokens), context(context), oneRow(oneRow),
        step(cast<func::FuncOp>(main->clone(mapping))), builder(step) {
    step.setName(name);
  }

  /// The function, not yet in the module; null after a remark.
  func::FuncOp build();

private:
  void replaceArguments();
  void replaceCaches();
  void replaceMasks();
  void replaceResults();
  bool pickRow();
  LogicalResult inferTypes();
  LogicalResult eraseArguments();

  Block &body() { return step.getBody().front(); }

  const StepModel &model;
  int64_t tokens, context;
  /// Logits of the one row that an argument names instead of all.
  bool oneRow;
  IRMapping mapping;
  func::FuncOp step;
  OpBuilder builder;
  unsigned oldArguments = 0;
  SmallVector<StringAttr> names;
  BlockArgument past, row;
  SmallVector<Value> updates;
};

} // namespace

/// New arguments behind the old ones, which lose their users on the way.
void StepBuilder::replaceArguments() {
  Location loc = step.getLoc();
  oldArguments = body().getNumArguments();
  auto add = [&](Type type, const Twine &name) {
    names.push_back(builder.getStringAttr(name));
    return body().addArgument(type, loc);
  };
  auto oldTokens = cast<BlockArgument>(mapping.lookup(model.tokens));
  Type integer = cast<ShapedType>(oldTokens.getType()).getElementType();
  Value ids =
      add(RankedTensorType::get({1, tokens}, builder.getI64Type()), "tokens");
  past = add(builder.getIndexType(), "past");
  if (oneRow)
    row = add(RankedTensorType::get({1}, builder.getI64Type()), "row");
  builder.setInsertionPointToStart(&body());
  if (!integer.isInteger(64)) {
    NamedAttribute to(builder.getStringAttr("to"),
                      builder.getI64IntegerAttr(6));
    ids =
        onnx::createOnnxOp(builder, loc, "Cast",
                           RankedTensorType::get({1, tokens}, integer), ids, to)
            ->getResult(0);
  }
  Value count;
  for (Operation *user : llvm::make_early_inc_range(oldTokens.getUsers()))
    if (auto dim = dyn_cast<tensor::DimOp>(user);
        dim && dim.getConstantIndex() == 1) {
      if (!count)
        count = arith::ConstantIndexOp::create(builder, loc, tokens);
      dim.replaceAllUsesWith(count);
      dim.erase();
    }
  oldTokens.replaceAllUsesWith(ids);
  step.walk([&](PastLengthOp op) {
    op.replaceAllUsesWith(Value(past));
    op.erase();
  });
}

void StepBuilder::replaceCaches() {
  for (StepCache cache : model.caches) {
    Value original = cache.append.getResult();
    auto append = mapping.lookup(original).getDefiningOp<KvAppendOp>();
    auto type = RankedTensorType::get({1, cache.heads, context, cache.size},
                                      cache.elementType);
    names.push_back(builder.getStringAttr(cache.name));
    Value argument = body().addArgument(type, append.getLoc());
    builder.setInsertionPoint(append);
    Value update = KvUpdateOp::create(builder, append.getLoc(), type, argument,
                                      append.getValue(), past)
                       .getResult();
    append.replaceAllUsesWith(update);
    append.erase();
    updates.push_back(update);
  }
}

/// With an attention mask of ones, attention is causal without a mask.
void StepBuilder::replaceMasks() {
  step.walk([&](AttentionOp op) {
    op.getMaskMutable().clear();
    op.setCausal(true);
    op->removeAttr("ganq.unpadded_mask");
  });
}

void StepBuilder::replaceResults() {
  Operation *terminator = body().getTerminator();
  builder.setInsertionPoint(terminator);
  Value logits = terminator->getOperand(model.logits);
  auto type = cast<RankedTensorType>(logits.getType());
  if (!type.getElementType().isF32()) {
    NamedAttribute to(builder.getStringAttr("to"),
                      builder.getI64IntegerAttr(1));
    logits = onnx::createOnnxOp(
                 builder, terminator->getLoc(), "Cast",
                 RankedTensorType::get(type.getShape(), builder.getF32Type()),
                 logits, to)
                 ->getResult(0);
  }
  SmallVector<Value> results = {logits};
  llvm::append_range(results, updates);
  terminator->setOperands(results);
}

/// Lets the output head read a single row. False where the last operators are
/// not those of a head.
bool StepBuilder::pickRow() {
  Value value = body().getTerminator()->getOperand(0);
  while (Operation *op = value.getDefiningOp()) {
    if (auto head = dyn_cast<MatmulOp>(op)) {
      auto type = cast<RankedTensorType>(head.getX().getType());
      int64_t axis = type.getRank() - 2;
      if (axis < 0 || type.getDimSize(axis) != tokens)
        return false;
      SmallVector<int64_t> shape(type.getShape());
      shape[axis] = 1;
      builder.setInsertionPoint(head);
      NamedAttribute attr(builder.getStringAttr("axis"),
                          builder.getI64IntegerAttr(axis));
      Value picked = onnx::createOnnxOp(
                         builder, head.getLoc(), "Gather",
                         RankedTensorType::get(shape, type.getElementType()),
                         {head.getX(), row}, attr)
                         ->getResult(0);
      head.getXMutable().set(picked);
      return true;
    }
    // Behind the head: a cast, a scale or a bias.
    if (op->getNumOperands() == 0 || isa<KernelOpInterface>(op) ||
        !llvm::all_of(op->getOperands().drop_front(), [](Value other) {
          return other.getDefiningOp<ParameterOp>() || onnx::isNone(other) ||
                 onnx::matchConstant(other);
        }))
      return false;
    value = op->getOperand(0);
  }
  return false;
}

LogicalResult StepBuilder::eraseArguments() {
  eraseDeadOps(step);
  for (unsigned index = 0; index < oldArguments; ++index)
    if (BlockArgument argument = body().getArgument(index);
        !argument.use_empty()) {
      (*argument.user_begin())
              ->emitRemark("no step functions: expected the "
                           "attention mask, positions and "
                           "caches to be recognised, but input #")
          << index << " is still used";
      return failure();
    }
  body().eraseArguments(0, oldArguments);
  return success();
}

/// Static shapes from the new arguments on.
LogicalResult StepBuilder::inferTypes() {
  onnx::Evaluator evaluator(step.getContext());
  // What does not fit one sequence is no error of the model.
  auto quiet = std::make_unique<ScopedDiagnosticHandler>(
      step.getContext(), [](Diagnostic &) { return success(); });
  auto reject = [&](Operation &op) {
    quiet.reset();
    op.emitRemark(
        "no step functions: expected shapes that fit one sequence of ")
        << tokens << " tokens";
    return failure();
  };
  for (BlockArgument argument : body().getArguments())
    evaluator.bind(argument, evaluator.fromType(argument.getType()));
  for (Operation &op : body().without_terminator()) {
    for (Value result : op.getResults()) {
      if (!isa<RankedTensorType>(result.getType()) ||
          isa<ParameterOp, KvUpdateOp>(op))
        continue;
      FailureOr<onnx::AbstractTensor> tensor = evaluator.evaluate(result);
      if (failed(tensor))
        return reject(op);
      Type type = evaluator.toType(*tensor);
      if (auto ranked = dyn_cast_or_null<RankedTensorType>(type))
        result.setType(ranked);
    }
    if (auto kernel = dyn_cast<KernelOpInterface>(op)) {
      auto type = dyn_cast_or_null<RankedTensorType>(
          kernel.inferResult([&] { return op.emitError(); }));
      if (!type)
        return reject(op);
      op.getResult(0).setType(type);
      evaluator.bind(op.getResult(0), evaluator.fromType(type));
    }
  }
  return success();
}

func::FuncOp StepBuilder::build() {
  replaceArguments();
  replaceCaches();
  replaceMasks();
  replaceResults();
  auto discard = [&]() -> func::FuncOp {
    step->erase();
    return {};
  };
  if (failed(eraseArguments()) || failed(inferTypes()))
    return discard();
  if (oneRow && (!pickRow() || failed(inferTypes())))
    return discard();
  Operation *terminator = body().getTerminator();
  auto logits = dyn_cast<RankedTensorType>(terminator->getOperand(0).getType());
  auto expected = RankedTensorType::get(
      {1, oneRow ? 1 : tokens, model.vocabulary}, builder.getF32Type());
  if (logits != expected) {
    terminator->emitRemark("no step functions: expected logits of type ")
        << expected << ", but got " << logits;
    return discard();
  }
  step.setFunctionType(builder.getFunctionType(body().getArgumentTypes(),
                                               terminator->getOperandTypes()));
  auto named = [&](StringAttr name) {
    return builder.getDictionaryAttr(builder.getNamedAttr("onnx.name", name));
  };
  SmallVector<Attribute> argumentAttrs, resultAttrs;
  for (StringAttr name : names)
    argumentAttrs.push_back(named(name));
  resultAttrs.push_back(named(builder.getStringAttr("logits")));
  for (StringAttr name : ArrayRef(names).take_back(model.caches.size()))
    resultAttrs.push_back(named(name));
  step.setAllArgAttrs(argumentAttrs);
  step.setAllResultAttrs(resultAttrs);
  return step;
}

namespace {

struct CreateStepFunctionsPass
    : ganq::impl::CreateStepFunctionsBase<CreateStepFunctionsPass> {
  using CreateStepFunctionsBase::CreateStepFunctionsBase;

  void runOnOperation() override {
    auto main = getOperation().lookupSymbol<func::FuncOp>("main");
    if (chunk < 1 || maxContext < 0) {
      getOperation().emitError("expected chunk to be at least 1 and "
                               "max-context at least 0, but got ")
          << chunk.getValue() << " and " << maxContext.getValue();
      return signalPassFailure();
    }
    if (!llvm::is_contained(kCacheKinds, kvCache.getValue())) {
      getOperation().emitError("expected kv-cache to be model, f32, f16 or i8, "
                               "but got `")
          << kvCache << "`";
      return signalPassFailure();
    }
    if (main && !main.isExternal())
      createSteps(main);
    for (auto func : getOperation().getOps<func::FuncOp>())
      finish(func);
  }

  void createSteps(func::FuncOp main) {
    FailureOr<StepModel> model = analyzeSteps(main);
    if (failed(model))
      return;
    for (StepCache &cache : model->caches)
      setKind(cache, kvCache);
    int64_t limit = kDefaultContext;
    if (auto attr = main->getAttrOfType<IntegerAttr>("ganq.max_context"))
      limit = attr.getInt();
    int64_t context = maxContext == 0 ? std::min(limit, kDefaultContext)
                                      : std::min<int64_t>(maxContext, limit);
    if (maxContext > limit)
      main.emitWarning("expected max-context to be at most ")
          << limit << ", where the model's tables of positions end, but got "
          << maxContext.getValue() << "; using " << limit;
    int64_t tokens = std::min<int64_t>(chunk, context);
    auto prefill =
        StepBuilder(main, *model, "prefill", tokens, context).build();
    if (!prefill)
      return;
    auto decode = StepBuilder(main, *model, "decode", 1, context).build();
    if (!decode) {
      prefill->erase();
      return;
    }
    SymbolTable symbols(getOperation());
    symbols.insert(prefill);
    symbols.insert(decode);
    if (tokens > 1)
      if (auto prompt = StepBuilder(main, *model, "prompt", tokens, context,
                                    /*oneRow=*/true)
                            .build())
        symbols.insert(prompt);
    describe(*model, tokens, context);
  }

  /// What a driver must keep between calls.
  void describe(const StepModel &model, int64_t tokens, int64_t context) {
    Builder builder(&getContext());
    SmallVector<Attribute> caches;
    for (const StepCache &cache : model.caches)
      caches.push_back(builder.getDictionaryAttr(
          {builder.getNamedAttr("name", builder.getStringAttr(cache.name)),
           builder.getNamedAttr(
               "dtype", builder.getStringAttr(getTypeName(cache.elementType))),
           builder.getNamedAttr("shape",
                                builder.getDenseI64ArrayAttr(
                                    {1, cache.heads, context, cache.size}))}));
    getOperation()->setAttr(
        "ganq.state",
        builder.getDictionaryAttr(
            {builder.getNamedAttr("caches", builder.getArrayAttr(caches)),
             builder.getNamedAttr("chunk", builder.getI64IntegerAttr(tokens)),
             builder.getNamedAttr("max_context",
                                  builder.getI64IntegerAttr(context)),
             builder.getNamedAttr(
                 "vocabulary", builder.getI64IntegerAttr(model.vocabulary))}));
  }

  /// Without a state between calls, the past is what the cache inputs hold.
  void finish(func::FuncOp func) {
    func->removeAttr("ganq.max_context");
    if (func.isExternal() || !func.getBody().hasOneBlock())
      return;
    SmallVector<ArgumentRole> roles = getArgumentRoles(func);
    OpBuilder builder(func);
    func.walk([&](PastLengthOp op) {
      builder.setInsertionPoint(op);
      Value length;
      for (BlockArgument argument : func.getArguments()) {
        ArgumentRole role = roles[argument.getArgNumber()];
        bool isStacked = role == ArgumentRole::StackedCache;
        if (!length && (isStacked || role == ArgumentRole::Cache))
          length = tensor::DimOp::create(builder, op.getLoc(), argument,
                                         isStacked ? 3 : 2);
      }
      if (!length)
        length = arith::ConstantIndexOp::create(builder, op.getLoc(), 0);
      op.replaceAllUsesWith(length);
      op.erase();
    });
    func.walk([&](KvAppendOp op) {
      Value whole = op.getValue();
      if (op.getPast()) {
        builder.setInsertionPoint(op);
        NamedAttribute axis(builder.getStringAttr("axis"),
                            builder.getI64IntegerAttr(2));
        whole = onnx::createOnnxOp(builder, op.getLoc(), "Concat",
                                   op.getResult().getType(),
                                   {op.getPast(), whole}, axis)
                    ->getResult(0);
      }
      op.replaceAllUsesWith(whole);
      op.erase();
    });
    func.walk([&](AttentionOp op) {
      op->removeAttr("ganq.unpadded_mask");
      if (!op.getCausal())
        op.getPastMutable().clear();
    });
    eraseDeadOps(func);
  }
};

} // namespace
