//===- CalibrateStages.cpp - Weights in the order of data flow ------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The model is cut at the inputs of its quantized products. Each stage is a
// small model of its own that runs on the activations of the stage before, once
// as it is and once with the weights that are quantized by then.
//
//===----------------------------------------------------------------------===//

#include "Calibrate.h"
#include "Errors.h"
#include "Streams.h"
#include "ganq/Onnx/OnnxDialect.h"
#include "ganq/Pipelines/Quantize.h"
#include "ganq/Quantization/Gram.h"
#include "ganq/Schemes/Passes.h"
#include "ganq/runtime/model.h"
#include "mlir/Dialect/Bufferization/IR/BufferizableOpInterface.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/BitVector.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/FormatVariadic.h"

using namespace mlir;
using namespace ganq;

namespace {

/// A function of the cut model.
struct Stage {
  struct Tap {
    int64_t value;
    SmallVector<size_t> weights;
  };
  func::FuncOp function;
  SmallVector<int64_t> inputs, outputs; ///< Numbers of values.
  std::vector<Tap> taps;
};

/// A stage that can run: its code, and what its arguments after the values are.
struct LoadedStage {
  std::shared_ptr<runtime::Model> model;
  std::vector<runtime::Buffer> constants;
};

} // namespace

class Quantizer::StagedCalibration {
public:
  explicit StagedCalibration(Quantizer &parent)
      : parent(parent), streams(parent.work, parent.tokenRows) {}

  llvm::Error run();

private:
  llvm::Error cut();
  llvm::Error announce();
  llvm::Expected<LoadedStage> load(const Stage &stage, Stream stream);
  /// Turns parameters and constants into arguments, so that stages that differ
  /// only in their weights are the same code.
  llvm::Error liftConstants(ModuleOp module, LoadedStage &loaded);
  llvm::Error liftConstant(Operation &op, LoadedStage &loaded);
  llvm::Expected<std::shared_ptr<runtime::Model>> compile(ModuleOp module);
  llvm::Error runStage(const Stage &stage, Stream stream);
  llvm::Error solveTap(const Stage::Tap &tap, bool isFirst);
  /// Row-major f32 of a value in one sequence.
  const float *getFloats(int64_t value, Stream stream, int64_t sequence,
                         std::vector<float> &scratch);

  int64_t bytesOf(int64_t value) const {
    auto type = types.lookup(value);
    return type.getNumElements() *
           llvm::divideCeil(type.getElementTypeBitWidth(), 8);
  }
  /// Seconds of two cores, roughly.
  double runCost(const Stage &stage) const;
  double tapCost(const Stage::Tap &tap) const;

  Quantizer &parent;
  Streams streams;
  OwningOpRef<ModuleOp> module;
  std::vector<Stage> stages;
  DenseMap<int64_t, RankedTensorType> types;
  /// The last stage that reads a value.
  DenseMap<int64_t, size_t> lastStage;
  /// Compiled stages by their text.
  llvm::StringMap<std::shared_ptr<runtime::Model>> compiled;
  double done = 0;
};

//===----------------------------------------------------------------------===//
// The cut model
//===----------------------------------------------------------------------===//

/// The value of an input other than the tokens, for one whole sequence that
/// nothing came before: positions count from 0, masks are ones, and what is
/// kept of the past is empty. Null for an input of another kind.
static DenseElementsAttr getUsualValue(func::FuncOp main, unsigned index,
                                       Attribute batch, int64_t tokens) {
  auto type = dyn_cast<RankedTensorType>(main.getArgument(index).getType());
  auto dims = main.getArgAttrOfType<ArrayAttr>(index, "onnx.dims");
  auto name = main.getArgAttrOfType<StringAttr>(index, "onnx.name");
  if (!type || !dims || !name || type.getRank() == 0)
    return {};
  Type element = type.getElementType();
  bool past = isa<FloatType>(element);
  SmallVector<int64_t> shape(type.getShape());
  for (auto [size, dim] : llvm::zip_equal(shape, dims))
    if (ShapedType::isDynamic(size))
      size = dim == batch ? 1 : past ? 0 : tokens;
  type = RankedTensorType::get(shape, element);
  int64_t count = type.getNumElements();
  if (past)
    return count ? DenseElementsAttr()
                 : DenseElementsAttr::get(type, ArrayRef<Attribute>());
  if (!element.isInteger())
    return {};
  bool counts = name.getValue().contains("position");
  SmallVector<APInt> values;
  for (int64_t i = 0; i < count; ++i)
    values.emplace_back(element.getIntOrFloatBitWidth(),
                        counts ? i % shape.back() : 1);
  return DenseElementsAttr::get(type, values);
}

/// Makes the tokens the only input of @main, with the sizes of one calibration
/// sequence.
static llvm::Error bindTokens(ModuleOp module, int64_t tokens) {
  auto main = module.lookupSymbol<func::FuncOp>("main");
  SmallVector<unsigned> candidates, others;
  for (unsigned i = 0; main && i < main.getNumArguments(); ++i) {
    auto type = dyn_cast<RankedTensorType>(main.getArgument(i).getType());
    auto name = main.getArgAttrOfType<StringAttr>(i, "onnx.name");
    bool isTokens = type && type.getRank() == 2 &&
                    (type.getElementType().isInteger(64) ||
                     type.getElementType().isInteger(32)) &&
                    !(name && (name.getValue().contains("mask") ||
                               name.getValue().contains("position")));
    (isTokens ? candidates : others).push_back(i);
  }
  if (candidates.size() != 1)
    return makeError(
        llvm::formatv("expected a model with one input of token ids [batch, "
                      "sequence] to calibrate, but got {0} among {1} inputs; "
                      "quantize it without --calibration",
                      candidates.size(), main ? main.getNumArguments() : 0));
  unsigned index = candidates.front();
  auto type = cast<RankedTensorType>(main.getArgument(index).getType());
  for (auto [size, wanted] : {std::pair(type.getDimSize(0), int64_t(1)),
                              {type.getDimSize(1), tokens}})
    if (!ShapedType::isDynamic(size) && size != wanted)
      return makeError(llvm::formatv(
          "expected rows of tokens that fit the model's input {0} one at a "
          "time, but got rows of {1}",
          type, tokens));
  auto dims = main.getArgAttrOfType<ArrayAttr>(index, "onnx.dims");
  OpBuilder builder(main.getBody());
  llvm::BitVector bound(main.getNumArguments());
  for (unsigned other : others) {
    DenseElementsAttr value =
        getUsualValue(main, other, dims ? dims[0] : Attribute(), tokens);
    if (!value)
      return makeError(llvm::formatv(
          "expected inputs of tokens, masks, positions and an empty past to "
          "calibrate, but got {0} of type {1}; quantize it without "
          "--calibration",
          main.getArgAttrOfType<StringAttr>(other, "onnx.name"),
          main.getArgument(other).getType()));
    auto constant = onnx::ConstantOp::create(builder, main.getLoc(),
                                             value.getType(), value);
    main.getArgument(other).replaceAllUsesWith(constant);
    bound.set(other);
  }
  auto fixed = RankedTensorType::get({1, tokens}, type.getElementType());
  main.getArgument(index).setType(fixed);
  main.setArgAttr(index, "onnx.dims", builder.getI64ArrayAttr({1, tokens}));
  main.setFunctionType(builder.getFunctionType(
      main.getBody().getArgumentTypes(), main.getFunctionType().getResults()));
  return succeeded(main.eraseArguments(bound))
             ? llvm::Error::success()
             : makeError("internal error: cannot bind inputs");
}

void Quantizer::assignSchemes(ModuleOp module) const {
  llvm::StringMap<SchemeAttrInterface> schemes;
  for (const Weight &weight : weights)
    schemes[weight.key] = weight.scheme;
  module.walk([&](MatmulOp matmul) {
    auto parameter = matmul.getWeight().getDefiningOp<ParameterOp>();
    auto known = parameter ? schemes.find(parameter.getKey()) : schemes.end();
    if (known == schemes.end())
      return;
    OpBuilder builder(matmul);
    auto copy = cast<ParameterOp>(builder.clone(*parameter));
    auto type = cast<RankedTensorType>(copy.getType());
    copy.getResult().setType(RankedTensorType::get(
        type.getShape(), type.getElementType(), known->second));
    matmul.getWeightMutable().set(copy);
  });
}

llvm::Expected<OwningOpRef<ModuleOp>> Quantizer::raiseForRows() {
  // What is to be said about the model has been said when it was raised first.
  ScopedDiagnosticHandler quiet(
      imported.getContext(), [](Diagnostic &diagnostic) {
        return success(diagnostic.getSeverity() == DiagnosticSeverity::Remark ||
                       diagnostic.getSeverity() == DiagnosticSeverity::Warning);
      });
  PhaseOptions phases = options.phases;
  phases.chunk = phases.maxContext = tokenColumns;
  // Stages read what one call of @prefill writes, before a cache rounds it.
  phases.kvCache = "model";
  OwningOpRef<ModuleOp> module(imported.clone());
  if (llvm::Error error = runPhase(*module, Phase::Raise, phases))
    return std::move(error);
  auto prefill = module->lookupSymbol<func::FuncOp>("prefill");
  if (!prefill ||
      cast<ShapedType>(prefill.getArgument(0).getType()).getDimSize(1) !=
          tokenColumns) {
    module = OwningOpRef<ModuleOp>(imported.clone());
    if (llvm::Error error = bindTokens(*module, tokenColumns))
      return std::move(error);
    for (Phase phase : {Phase::Input, Phase::Raise})
      if (llvm::Error error = runPhase(*module, phase, phases))
        return std::move(error);
  }
  assignSchemes(*module);
  return module;
}

llvm::Error Quantizer::StagedCalibration::cut() {
  llvm::StringMap<size_t> indices;
  for (auto [index, weight] : llvm::enumerate(parent.weights))
    indices[weight.key] = index;
  PassManager manager(module->getContext());
  manager.addPass(createCutStages());
  if (llvm::Error error = runPasses(manager, *module))
    return error;

  auto refuse = [&](Type type) {
    llvm::raw_string_ostream(parent.oneShotReason)
        << "the model has a value of type " << type << " between products";
    return llvm::Error::success();
  };
  llvm::DenseSet<int64_t> known{0};
  for (auto function : module->getOps<func::FuncOp>()) {
    Stage stage;
    stage.function = function;
    auto number = [](Attribute attr) {
      return cast<IntegerAttr>(attr).getInt();
    };
    for (unsigned i = 0; i < function.getNumArguments(); ++i) {
      int64_t value = number(function.getArgAttr(i, "ganq.value"));
      auto type = dyn_cast<RankedTensorType>(function.getArgument(i).getType());
      if (!known.contains(value) || !type || !type.hasStaticShape())
        return refuse(function.getArgument(i).getType());
      stage.inputs.push_back(value);
      types[value] = type;
      lastStage[value] = stages.size();
    }
    for (unsigned i = 0; i < function.getNumResults(); ++i) {
      int64_t value = number(function.getResultAttr(i, "ganq.value"));
      auto type = dyn_cast<RankedTensorType>(function.getResultTypes()[i]);
      if (!type || !type.hasStaticShape())
        return refuse(function.getResultTypes()[i]);
      stage.outputs.push_back(value);
      types[value] = type;
      known.insert(value);
      lastStage.try_emplace(value, stages.size());
    }
    for (Attribute attr : function->getAttrOfType<ArrayAttr>("ganq.taps")) {
      auto tap = cast<DictionaryAttr>(attr);
      Stage::Tap &entry = stage.taps.emplace_back();
      entry.value = number(tap.get("value"));
      for (Attribute key : tap.getAs<ArrayAttr>("weights"))
        entry.weights.push_back(
            indices.lookup(cast<StringAttr>(key).getValue()));
    }
    stages.push_back(std::move(stage));
  }
  return llvm::Error::success();
}

double Quantizer::StagedCalibration::runCost(const Stage &stage) const {
  double flops = 0;
  func::FuncOp function = stage.function;
  function.walk([&](MatmulOp matmul) {
    auto type = cast<ShapedType>(matmul.getWeight().getType());
    flops += 4.0 * static_cast<double>(type.getNumElements());
  });
  return flops * static_cast<double>(parent.tokenRows * parent.tokenColumns) *
             2e-11 +
         0.02;
}

double Quantizer::StagedCalibration::tapCost(const Stage::Tap &tap) const {
  double k = static_cast<double>(parent.weights[tap.weights.front()].k);
  double cost = 4e-11 * k * k *
                static_cast<double>(parent.tokenRows * parent.tokenColumns);
  for (size_t index : tap.weights)
    cost += parent.weights[index].cost() * 1.5e-9;
  return cost;
}

/// Says what it takes, and fails if the disk has not that much.
llvm::Error Quantizer::StagedCalibration::announce() {
  std::multimap<int64_t, int64_t> free;
  DenseMap<int64_t, bool> live;
  int64_t disk = 0, memory = 0;
  double seconds = 0;
  std::vector<SmallVector<int64_t>> dying(stages.size());
  for (auto [value, stage] : lastStage)
    dying[stage].push_back(value);
  for (auto [index, stage] : llvm::enumerate(stages)) {
    for (int64_t value : dying[index])
      if (value != 0 && live.lookup(value))
        free.emplace(bytesOf(value), value);
    for (int64_t value : stage.outputs) {
      live[value] = true;
      if (auto known = free.find(bytesOf(value)); known != free.end())
        free.erase(known);
      else
        disk += Streams::fileBytes(bytesOf(value), parent.tokenRows);
    }
    int64_t weights = 0;
    stage.function.walk([&](ParameterOp parameter) {
      auto type = cast<ShapedType>(parameter.getType());
      weights += type.getNumElements() *
                 llvm::divideCeil(type.getElementTypeBitWidth(), 8);
    });
    memory = std::max(memory, weights);
    seconds += runCost(stage);
    for (const Stage::Tap &tap : stage.taps) {
      // Sums and moments of H and C, and what a solver makes of them.
      int64_t k = parent.weights[tap.weights.front()].k;
      memory = std::max(memory, 8 * k * k * 8);
      seconds += tapCost(tap);
    }
  }
  parent.progress.note(
      llvm::formatv("sequential calibration on {0} x {1} tokens in {2} stages: "
                    "about {3} MiB of memory, {4} MiB of activations in "
                    "'{5}', {6} s",
                    parent.tokenRows, parent.tokenColumns, stages.size(),
                    ((memory >> 20) + 256), (disk >> 20) + 1, parent.work,
                    static_cast<int64_t>(seconds) + 1)
          .str());
  parent.progress.begin("quantizing", seconds);
  auto space = llvm::sys::fs::disk_space(parent.work);
  if (space && static_cast<int64_t>(space->available) < disk)
    return makeError(llvm::formatv(
        "expected about {0} MiB free for activations in '{1}', but only {2} "
        "MiB are left on the disk; use fewer tokens or "
        "--calibration-mode=one-shot",
        (disk >> 20) + 1, parent.work, space->available >> 20));
  return llvm::Error::success();
}

//===----------------------------------------------------------------------===//
// Code of a stage
//===----------------------------------------------------------------------===//

llvm::Error Quantizer::StagedCalibration::liftConstant(Operation &op,
                                                       LoadedStage &loaded) {
  auto type = cast<RankedTensorType>(op.getResult(0).getType());
  int64_t bytes = type.getNumElements() *
                  llvm::divideCeil(type.getElementTypeBitWidth(), 8);
  auto buffer = runtime::Buffer::create(bytes);
  if (!buffer.ok())
    return toError(buffer.status());
  int64_t filled = 0;
  auto fill = [&](ArrayRef<char> piece) -> llvm::Error {
    auto size = static_cast<int64_t>(piece.size());
    if (size > bytes - filled)
      return makeError("internal error: a parameter has more bytes than its "
                       "type says");
    std::memcpy(buffer->data() + filled, piece.data(), piece.size());
    filled += size;
    return llvm::Error::success();
  };
  if (auto parameter = dyn_cast<ParameterOp>(op)) {
    llvm::Error error = parameter.getSourceAttr()
                            ? parent.store.stream(parameter, fill)
                            : parent.readComponent(parameter.getKey(), fill);
    if (error)
      return error;
  } else {
    auto values =
        cast<DenseElementsAttr>(cast<onnx::ConstantOp>(op).getValue());
    while (filled < bytes)
      if (llvm::Error error = fill(values.getRawData()))
        return error;
  }
  loaded.constants.push_back(std::move(*buffer));
  Block *body = op.getBlock();
  op.getResult(0).replaceAllUsesWith(body->addArgument(type, op.getLoc()));
  op.erase();
  return llvm::Error::success();
}

llvm::Error Quantizer::StagedCalibration::liftConstants(ModuleOp module,
                                                        LoadedStage &loaded) {
  auto main = *module.getOps<func::FuncOp>().begin();
  SmallVector<Operation *> constants;
  for (Operation &op : main.getBody().front()) {
    auto type = op.getNumResults() == 1
                    ? dyn_cast<RankedTensorType>(op.getResult(0).getType())
                    : RankedTensorType();
    if (!type || !type.hasStaticShape() || op.use_empty())
      continue;
    bool isWhole = type.getElementTypeBitWidth() % 8 == 0;
    auto constant = dyn_cast<onnx::ConstantOp>(op);
    bool lifts = constant && isa<DenseElementsAttr>(constant.getValue()) &&
                 isa<FloatType>(type.getElementType()) &&
                 type.getNumElements() > 1;
    if (isWhole && (lifts || isa<ParameterOp>(op)))
      constants.push_back(&op);
  }
  for (Operation *op : constants)
    if (llvm::Error error = liftConstant(*op, loaded))
      return error;
  parent.store.release();

  OpBuilder builder(module.getContext());
  main.setFunctionType(builder.getFunctionType(
      main.getBody().getArgumentTypes(), main.getResultTypes()));
  SmallVector<Attribute> attrs;
  for (unsigned i = 0; i < main.getNumArguments(); ++i)
    attrs.push_back(builder.getDictionaryAttr(
        {builder.getNamedAttr("onnx.name",
                              builder.getStringAttr("v" + Twine(i))),
         builder.getNamedAttr(
             bufferization::BufferizationDialect::kWritableAttrName,
             builder.getBoolAttr(false))}));
  main.setAllArgAttrs(attrs);
  return llvm::Error::success();
}

llvm::Expected<std::shared_ptr<runtime::Model>>
Quantizer::StagedCalibration::compile(ModuleOp stage) {
  stage.walk([](Operation *op) { op->removeAttr("onnx.node"); });
  std::string text;
  llvm::raw_string_ostream os(text);
  stage.print(os, OpPrintingFlags().enableDebugInfo(false));
  std::shared_ptr<runtime::Model> &model = compiled[text];
  if (model)
    return model;
  auto info = describeModule(stage);
  if (!info)
    return info.takeError();
  std::string path = parent.work + "/stage.ganq";
  auto component = [](StringRef key,
                      llvm::function_ref<llvm::Error(ArrayRef<char>)>) {
    return makeError("internal error: weight in a stage: '" + key + "'");
  };
  auto written = writeArtifact(stage, *info, parent.options.phases,
                               parent.store, component, path);
  if (!written)
    return written.takeError();
  auto opened = runtime::Model::open(path);
  llvm::sys::fs::remove(path);
  if (!opened.ok())
    return toError(opened.status());
  model = *opened;
  return model;
}

llvm::Expected<LoadedStage>
Quantizer::StagedCalibration::load(const Stage &stage, Stream stream) {
  func::FuncOp function = stage.function;
  OwningOpRef<ModuleOp> single(ModuleOp::create(function.getLoc()));
  auto main = cast<func::FuncOp>(function->clone());
  main.setName("main");
  main->removeAttr("ganq.taps");
  main.removeResAttrsAttr();
  single->push_back(main);
  if (stream == Stream::Quantized) {
    if (llvm::Error error =
            runPhase(*single, Phase::Materialize, parent.options.phases))
      return std::move(error);
  } else {
    PassManager manager(single->getContext());
    manager.addPass(createDropSchemes());
    if (llvm::Error error = runPasses(manager, *single))
      return std::move(error);
  }
  LoadedStage loaded;
  if (llvm::Error error = liftConstants(*single, loaded))
    return std::move(error);
  auto model = compile(*single);
  if (!model)
    return model.takeError();
  loaded.model = std::move(*model);
  return loaded;
}

//===----------------------------------------------------------------------===//
// Running
//===----------------------------------------------------------------------===//

llvm::Error Quantizer::StagedCalibration::runStage(const Stage &stage,
                                                   Stream stream) {
  auto loaded = load(stage, stream);
  if (!loaded)
    return loaded.takeError();
  const runtime::Entry &entry = *loaded->model->manifest().main;
  std::vector<runtime::NamedTensor> inputs(entry.inputs.size());
  std::vector<int32_t> narrow;
  for (auto [index, port] : llvm::enumerate(entry.inputs)) {
    runtime::NamedTensor &input = inputs[index];
    input.name = port.name;
    input.dtype = port.dtype;
    for (const runtime::Dimension &dimension : port.shape)
      input.shape.push_back(dimension.size);
    if (index >= stage.inputs.size()) {
      input.data = loaded->constants[index - stage.inputs.size()].data();
      input.inPlace = true;
    }
  }
  for (int64_t row = 0; row < parent.tokenRows; ++row) {
    for (auto [index, value] : llvm::enumerate(stage.inputs)) {
      runtime::NamedTensor &input = inputs[index];
      const int64_t *ids = parent.tokens.data() + row * parent.tokenColumns;
      if (value != 0) {
        input.data = streams.get(value, stream, row);
        input.inPlace = true;
      } else if (input.dtype == runtime::DType::I64) {
        input.data = ids;
      } else {
        narrow.assign(ids, ids + parent.tokenColumns);
        input.data = narrow.data();
      }
    }
    auto results = loaded->model->run(inputs);
    if (!results.ok())
      return makeError(llvm::formatv("row {0} of '{1}': {2}", row,
                                     parent.options.calibration,
                                     results.status().message()));
    // The file of an input that nobody reads any more may be an output's.
    for (auto [value, result] : llvm::zip_equal(stage.outputs, *results))
      std::memcpy(streams.get(value, stream, row), result.data.data(),
                  result.data.size());
  }
  return llvm::Error::success();
}

const float *
Quantizer::StagedCalibration::getFloats(int64_t value, Stream stream,
                                        int64_t sequence,
                                        std::vector<float> &scratch) {
  const char *data = streams.get(value, stream, sequence);
  RankedTensorType type = types.lookup(value);
  Type element = type.getElementType();
  if (element.isF32())
    return reinterpret_cast<const float *>(data);
  scratch.resize(type.getNumElements());
  runtime::toFloat(element.isF16()    ? runtime::DType::F16
                   : element.isBF16() ? runtime::DType::BF16
                                      : runtime::DType::F64,
                   data, 0, type.getNumElements(), scratch.data());
  return scratch.data();
}

llvm::Error Quantizer::StagedCalibration::solveTap(const Stage::Tap &tap,
                                                   bool isFirst) {
  auto isOpen = [&](size_t index) { return !parent.weights[index].finished; };
  if (llvm::none_of(tap.weights, isOpen)) {
    done += tapCost(tap);
    return llvm::Error::success();
  }
  const Weight &named = parent.weights[tap.weights.front()];
  int64_t k = named.k;
  int64_t rows = types.lookup(tap.value).getNumElements() / k;
  InputStatistics statistics;
  statistics.rows = parent.tokenRows * rows;
  SampleRows sampleRows(statistics.rows);
  std::vector<float> sample, scratch, referenceScratch;
  sample.reserve(sampleRows.getCount() * k);
  // The inputs of the first stage are the same in both streams.
  auto accumulator =
      std::make_unique<ganq::quant::GramAccumulator>(k, !isFirst);
  double doneBefore = done;
  for (int64_t row = 0; row < parent.tokenRows; ++row) {
    const float *x = getFloats(tap.value, Stream::Quantized, row, scratch);
    const float *reference =
        isFirst ? nullptr
                : getFloats(tap.value, Stream::Original, row, referenceScratch);
    if (auto status = accumulator->add(x, rows, reference); !status.ok())
      return makeError(llvm::formatv(
          "row {0} of '{1}': input of weight '{2}': {3}; --exclude=REGEX "
          "leaves weights before it as they are",
          row, parent.options.calibration, named.key, status.message()));
    for (int64_t next; (next = static_cast<int64_t>(sample.size()) / k) <
                       sampleRows.getCount();) {
      int64_t index = sampleRows.getRow(next) - row * rows;
      if (index >= rows)
        break;
      sample.insert(sample.end(), x + index * k, x + (index + 1) * k);
    }
  }
  ganq::quant::Gram gram = accumulator->finish();
  accumulator.reset();
  statistics.gram = gram.h.data();
  statistics.cross = gram.c.empty() ? nullptr : gram.c.data();
  statistics.sample = sample.data();
  statistics.sampleRows = sampleRows.getCount();
  for (size_t index : tap.weights)
    if (isOpen(index))
      if (llvm::Error error = parent.solve(index, statistics, done))
        return error;
  done = doneBefore + tapCost(tap);
  return llvm::Error::success();
}

llvm::Error Quantizer::StagedCalibration::run() {
  auto raised = parent.raiseForRows();
  if (!raised)
    return raised.takeError();
  module = std::move(*raised);
  if (llvm::Error error = cut())
    return error;
  if (!parent.oneShotReason.empty())
    return llvm::Error::success();
  if (llvm::Error error = announce())
    return error;
  size_t end = 0;
  for (auto [index, stage] : llvm::enumerate(stages))
    for (const Stage::Tap &tap : stage.taps)
      for (size_t weight : tap.weights)
        if (!parent.weights[weight].finished)
          end = index + 1;
  for (auto [index, stage] :
       llvm::enumerate(ArrayRef(stages).take_front(end))) {
    for (int64_t value : stage.inputs)
      if (lastStage.lookup(value) == index)
        streams.release(value);
    for (int64_t value : stage.outputs)
      if (llvm::Error error = streams.allocate(value, bytesOf(value)))
        return error;
    if (llvm::Error error = runStage(stage, Stream::Original))
      return error;
    if (index > 0) {
      if (llvm::Error error = runStage(stage, Stream::Quantized))
        return error;
    } else {
      for (int64_t value : stage.outputs)
        for (int64_t row = 0; row < parent.tokenRows; ++row)
          std::memcpy(streams.get(value, Stream::Quantized, row),
                      streams.get(value, Stream::Original, row),
                      bytesOf(value));
    }
    done += runCost(stage);
    for (const Stage::Tap &tap : stage.taps)
      if (llvm::Error error = solveTap(tap, index == 0))
        return error;
    for (int64_t value : stage.outputs)
      if (lastStage.lookup(value) == index)
        streams.release(value);
  }
  parent.progress.end();
  parent.progress.note(
      llvm::formatv("{0} pieces of code for {1} stages", compiled.size(), end)
          .str());
  return llvm::Error::success();
}

llvm::Error Quantizer::solveInStages() {
  if (llvm::Error error = StagedCalibration(*this).run())
    return error;
  if (!oneShotReason.empty()) {
    emitWarning(assigned.getLoc())
        << "calibrates in one shot: " << oneShotReason;
    return solveInOneShot();
  }
  // What no token reaches is judged by the weights alone.
  return solveAll("");
}
