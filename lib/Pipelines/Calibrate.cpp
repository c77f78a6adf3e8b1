//===- Calibrate.cpp - Statistics of the unquantized model ----------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Calibrate.h"
#include "Errors.h"
#include "TrialModel.h"
#include "WorkFolder.h"
#include "ganq/Pipelines/Quantize.h"
#include "ganq/Quantization/Gram.h"
#include "ganq/Schemes/Passes.h"
#include "ganq/runtime/model.h"
#include "ganq/runtime/session.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/MemoryBuffer.h"

using namespace mlir;
using namespace ganq;

llvm::Error Quantizer::readTokens() {
  auto read = TokenRows::read(options.calibration, "--calibration",
                              /*minColumns=*/1);
  if (!read)
    return read.takeError();
  // Before hours are spent: do the tokens fit the model?
  if (llvm::Error error =
          read->check(assigned, "--calibration", options.calibration))
    return error;
  tokenRows = read->rows;
  tokenColumns = read->columns;
  tokens = std::move(read->ids);
  return llvm::Error::success();
}

llvm::Error Quantizer::numberObservers() {
  observed = assigned;
  auto main = assigned.lookupSymbol<func::FuncOp>("main");
  if (!assigned->hasAttr("ganq.state") && main && main.getNumArguments() > 1) {
    auto raised = raiseForRows();
    if (!raised)
      return raised.takeError();
    rowModule = std::move(*raised);
    observed = *rowModule;
  }
  OwningOpRef<ModuleOp> module(observed.clone());
  PassManager manager(module->getContext());
  manager.addPass(createInsertObservers());
  if (llvm::Error error = runPasses(manager, *module))
    return error;
  auto ids = (*module)->getAttrOfType<DictionaryAttr>("ganq.observers");
  for (Weight &weight : weights) {
    auto id = ids.getAs<IntegerAttr>(weight.key);
    if (!id)
      continue;
    weight.observer = id.getInt();
    if (observers.size() <= static_cast<size_t>(weight.observer))
      observers.resize(weight.observer + 1);
    observers[weight.observer] = weight.k;
  }
  return llvm::Error::success();
}

llvm::Error Quantizer::buildObserved(const std::string &path) {
  OwningOpRef<ModuleOp> module(observed.clone());
  PassManager manager(module->getContext());
  manager.addPass(createInsertObservers());
  manager.addPass(createDropSchemes());
  if (llvm::Error error = runPasses(manager, *module))
    return error;
  auto info = describeModule(*module);
  if (!info)
    return info.takeError();
  auto component = [](StringRef key,
                      llvm::function_ref<llvm::Error(ArrayRef<char>)>) {
    return makeError("internal error: no weight is quantized yet: '" + key +
                     "'");
  };
  auto written =
      writeArtifact(*module, *info, options.phases, store, component, path);
  return written ? llvm::Error::success() : written.takeError();
}

namespace {

/// Runs a model with observers over rows of tokens, chunk by chunk.
class ObservedModel {
public:
  llvm::Error open(const std::string &path) {
    auto opened = runtime::Model::open(path);
    if (!opened.ok())
      return toError(opened.status());
    model = *opened;
    const runtime::Manifest &manifest = model->manifest();
    if (manifest.state) {
      auto created = runtime::Session::create(model);
      if (!created.ok())
        return toError(created.status());
      session = std::move(*created);
      chunk = manifest.prefill ? manifest.prefill->tokens : 1;
      return llvm::Error::success();
    }
    const auto &inputs = manifest.main->inputs;
    if (inputs.size() != 1 || (inputs[0].dtype != runtime::DType::I64 &&
                               inputs[0].dtype != runtime::DType::I32))
      return makeError("expected a model with an input of token ids to "
                       "calibrate; quantize it without --calibration");
    return llvm::Error::success();
  }

  /// Tokens of one call; 0: a row at a time.
  int64_t getChunk() const { return session ? chunk : 0; }

  /// Runs tokens [begin, begin + count) of a row; `observe` sees the inputs of
  /// each layer, count rows of them.
  llvm::Error run(const int64_t *row, int64_t begin, int64_t count,
                  const runtime::Observer &observe) {
    model->setObserver(
        [&](int64_t id, const float *data, int64_t rows, int64_t columns) {
          // A chunk that is not full ends in padding.
          observe(id, data, std::min(rows, count), columns);
        });
    if (session) {
      if (begin == 0)
        if (runtime::Status status = session->rewind(0); !status.ok())
          return toError(status);
      return toError(session->feed(row + begin, count));
    }
    const runtime::Port &port = model->manifest().main->inputs[0];
    runtime::NamedTensor input;
    input.name = port.name;
    input.dtype = port.dtype;
    input.shape = {1, count};
    std::vector<int32_t> narrow(row + begin, row + begin + count);
    input.data = port.dtype == runtime::DType::I64
                     ? static_cast<const void *>(row + begin)
                     : narrow.data();
    return toError(model->run({input}).status());
  }

private:
  std::shared_ptr<runtime::Model> model;
  std::unique_ptr<runtime::Session> session;
  int64_t chunk = 0;
};

} // namespace

llvm::Error Quantizer::observe() {
  std::string path = calibrationFile(), hashPath = path + ".hash";
  auto hash = [&]() -> std::string {
    auto file = llvm::MemoryBuffer::getFile(path, /*IsText=*/false,
                                            /*RequiresNullTerminator=*/false);
    return file ? hashBytes((*file)->getBuffer()) : "";
  };
  if (auto known = llvm::MemoryBuffer::getFile(hashPath);
      known && llvm::sys::fs::exists(path) && (*known)->getBuffer() == hash())
    return llvm::Error::success();
  std::string observedPath = work + "/observed.ganq";
  progress.note("building the model with observers");
  if (llvm::Error error = buildObserved(observedPath))
    return error;
  ObservedModel model;
  if (llvm::Error error = model.open(observedPath))
    return error;

  // Weights with one input share what is stored under the first one's key.
  std::vector<std::string> names(observers.size());
  llvm::json::Object sameInput;
  for (const Weight &weight : weights) {
    if (weight.observer < 0)
      continue;
    std::string &name = names[weight.observer];
    if (name.empty())
      name = weight.key;
    else
      sameInput[weight.key] = name;
  }
  SampleRows sampleRows(tokenRows * tokenColumns);
  runtime::SafetensorsWriter writer(path);
  for (const auto &[key, value] :
       {std::pair<std::string, std::string>{kCalibrationVersionKey, "1"},
        {kCalibrationModelKey, modelHash()},
        {kSameInputKey,
         llvm::formatv("{0}", llvm::json::Value(std::move(sameInput)))}})
    if (auto status = writer.setMetadata(key, value); !status.ok())
      return toError(status);
  for (auto [id, columns] : llvm::enumerate(observers)) {
    auto status = writer.declare(names[id] + ".gram", runtime::DType::F64,
                                 {columns, columns});
    if (status.ok())
      status = writer.declare(names[id] + ".sample", runtime::DType::F32,
                              {sampleRows.getCount(), columns});
    if (!status.ok())
      return toError(status);
  }
  if (auto status = writer.begin(); !status.ok())
    return toError(status);

  // As many layers at a time as their Gram matrices fit the budget.
  auto gramBytes = [&](size_t id) {
    return observers[id] * observers[id] * static_cast<int64_t>(sizeof(double));
  };
  for (size_t first = 0; first < observers.size();) {
    size_t last = first + 1;
    for (int64_t bytes = gramBytes(first);
         last < observers.size() &&
         (bytes += gramBytes(last)) <= options.gramMemory;)
      ++last;
    std::vector<ganq::quant::GramAccumulator> grams;
    std::vector<std::vector<float>> samples(last - first);
    for (size_t id = first; id < last; ++id)
      grams.emplace_back(observers[id]);

    std::string failure;
    auto observe = [&](int64_t id, const float *data, int64_t rows,
                       int64_t columns) {
      if (id < static_cast<int64_t>(first) || id >= static_cast<int64_t>(last))
        return;
      ganq::quant::GramAccumulator &gram = grams[id - first];
      std::vector<float> &sample = samples[id - first];
      for (int64_t next; (next = static_cast<int64_t>(sample.size()) /
                                 columns) < sampleRows.getCount();) {
        int64_t row = sampleRows.getRow(next) - gram.rows();
        if (row >= rows)
          break;
        sample.insert(sample.end(), data + row * columns,
                      data + (row + 1) * columns);
      }
      ganq::quant::Status status = gram.add(data, rows);
      if (!status.ok() && failure.empty())
        failure = "input of weight '" + names[id] + "': " + status.message();
    };
    progress.begin(llvm::formatv("calibrating layers {0}-{1} of {2}", first + 1,
                                 last, observers.size()),
                   static_cast<double>(tokenRows));
    int64_t chunk = model.getChunk() ? model.getChunk() : tokenColumns;
    for (int64_t row = 0; row < tokenRows; ++row) {
      for (int64_t begin = 0; begin < tokenColumns; begin += chunk) {
        int64_t count = std::min(chunk, tokenColumns - begin);
        if (llvm::Error error = model.run(tokens.data() + row * tokenColumns,
                                          begin, count, observe))
          return makeError(llvm::formatv("row {0} of '{1}': {2}", row,
                                         options.calibration,
                                         llvm::toString(std::move(error))));
        if (!failure.empty())
          return makeError(llvm::formatv("row {0} of '{1}': {2}", row,
                                         options.calibration, failure));
      }
      progress.update(static_cast<double>(row + 1), "");
    }
    for (size_t id = first; id < last; ++id) {
      ganq::quant::Gram gram = grams[id - first].finish();
      auto &sample = samples[id - first];
      sample.resize(sampleRows.getCount() * observers[id]);
      auto status =
          writer.append(names[id] + ".gram", gram.h.data(), gramBytes(id));
      if (status.ok())
        status =
            writer.append(names[id] + ".sample", sample.data(),
                          static_cast<int64_t>(sample.size() * sizeof(float)));
      if (!status.ok())
        return toError(status);
    }
    first = last;
  }
  progress.end();
  if (auto status = writer.finish(); !status.ok())
    return toError(status);
  llvm::sys::fs::remove(observedPath);
  std::error_code code;
  llvm::raw_fd_ostream os(hashPath, code);
  if (!code) {
    os << hash();
    os.close();
    code = os.error();
    os.clear_error();
  }
  if (code)
    return makeError("cannot write '" + hashPath + "': " + code.message());
  return llvm::Error::success();
}
