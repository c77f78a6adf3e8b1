//===- Quantize.cpp - Calibrates and quantizes the weights ----------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/Pipelines/Quantize.h"
#include "Errors.h"
#include "ganq/Quantization/Gram.h"
#include "ganq/Schemes/Passes.h"
#include "ganq/Schemes/SchemeSolver.h"
#include "ganq/runtime/model.h"
#include "ganq/runtime/npy.h"
#include "ganq/runtime/safetensors.h"
#include "ganq/runtime/session.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/Path.h"
#include <numeric>

using namespace mlir;
using namespace ganq;

static std::string gramName(size_t observer) {
  return "gram." + std::to_string(observer);
}

//===----------------------------------------------------------------------===//
// Setting up
//===----------------------------------------------------------------------===//

Quantizer::Quantizer(ModuleOp assigned, const CompileOptions &options,
                     ParameterStore &store, std::string work,
                     Progress &progress)
    : assigned(assigned), options(options), store(store), work(std::move(work)),
      progress(progress) {
  llvm::StringSet<> seen;
  assigned.walk([&](MatmulOp matmul) {
    auto parameter = matmul.getWeight().getDefiningOp<ParameterOp>();
    auto type = dyn_cast<RankedTensorType>(matmul.getWeight().getType());
    if (!parameter || !type || !type.getEncoding() ||
        !seen.insert(parameter.getKey()).second)
      return;
    weights.push_back({parameter.getKey().str(), parameter,
                       cast<SchemeAttrInterface>(type.getEncoding()),
                       type.getDimSize(0), type.getDimSize(1)});
  });
}

void Quantizer::announce() {
  // One packed product serves all weights of a shape.
  llvm::MapVector<std::pair<int64_t, int64_t>, size_t> kernels;
  int64_t elements = 0, stored = 0, largest = 0;
  double work = 0;
  for (const Weight &weight : weights) {
    ++kernels[{weight.n, weight.k}];
    elements += weight.n * weight.k;
    largest = std::max(largest, weight.k);
    work += static_cast<double>(weight.n) * static_cast<double>(weight.k) *
            static_cast<double>(weight.k);
    for (const SchemeComponent &component :
         weight.scheme.getComponents(weight.n, weight.k))
      stored += component.type.getNumElements() *
                component.type.getElementTypeBitWidth() / 8;
  }
  std::string name = weights.front().scheme.getShortName();
  progress.note(llvm::formatv("{0} weights, {1:F1} M values, to {2}: {3:F2} "
                              "bits per weight with tables and padding",
                              weights.size(),
                              static_cast<double>(elements) / 1e6, name,
                              8.0 * static_cast<double>(stored) /
                                  static_cast<double>(elements))
                    .str());
  for (const auto &[shape, count] : kernels)
    progress.note(llvm::formatv("  kernel packed_matmul {0} {1}x{2}: {3} "
                                "weights",
                                name, shape.first, shape.second, count)
                      .str());

  bool calibrates = !options.calibration.empty();
  int64_t gram = calibrates ? largest * largest * 8 : 0;
  // A solver keeps a few factors of the Gram matrix and blocks of rows.
  int64_t memory = (int64_t(256) << 20) + 4 * gram +
                   (calibrates ? std::min(options.gramMemory, gram * 4) : 0);
  bool solves = options.phases.scheme == "lut" && options.solver != "kmeans";
  // Seconds per row and squared column on two cores of 2023.
  double seconds =
      solves ? work * 1.5e-9 : static_cast<double>(elements) * 2e-7;
  progress.note(
      llvm::formatv("about {0} MiB of memory, {1} MiB in '{2}', {3} s "
                    "for the weights{4}",
                    memory >> 20, (stored + 2 * gram) >> 20, this->work,
                    static_cast<int64_t>(seconds) + 1,
                    calibrates ? " after calibration" : "")
          .str());
}

std::string Quantizer::weightFile(size_t index) const {
  return llvm::formatv("{0}/weight{1}.safetensors", work, index);
}

std::string Quantizer::calibrationFile() const {
  return work + "/calibration.safetensors";
}

llvm::Error Quantizer::readTokens() {
  runtime::Result<runtime::Tensor> tensor =
      runtime::readNpy(options.calibration);
  if (!tensor.ok())
    return toError(tensor.status());
  if (tensor->shape.size() != 2 || tensor->shape[0] < 1 || tensor->shape[1] < 1)
    return makeError("expected '" + options.calibration +
                     "' to hold rows of token ids [rows, tokens], but got " +
                     runtime::toString(tensor->shape));
  runtime::Result<std::vector<int64_t>> ids = runtime::toTokens(*tensor);
  if (!ids.ok())
    return makeError(options.calibration + ": " + ids.status().message());
  // Before hours are spent: do the tokens fit the model?
  if (auto state = assigned->getAttrOfType<DictionaryAttr>("ganq.state")) {
    int64_t vocabulary = state.getAs<IntegerAttr>("vocabulary").getInt();
    int64_t context = state.getAs<IntegerAttr>("max_context").getInt();
    if (tensor->shape[1] > context)
      return makeError(
          llvm::formatv("expected rows of at most {0} tokens (the model's "
                        "context) in '{1}', but got {2}",
                        context, options.calibration, tensor->shape[1]));
    for (auto [index, id] : llvm::enumerate(*ids))
      if (id < 0 || id >= vocabulary)
        return makeError(llvm::formatv(
            "expected token ids from 0 to {0} in '{1}', but got {2} in row {3}",
            vocabulary - 1, options.calibration, id, index / tensor->shape[1]));
  }
  tokenRows = tensor->shape[0];
  tokenColumns = tensor->shape[1];
  tokens = std::move(*ids);
  return llvm::Error::success();
}

llvm::Error Quantizer::numberObservers() {
  OwningOpRef<ModuleOp> module(assigned.clone());
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
  OwningOpRef<ModuleOp> module(assigned.clone());
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

//===----------------------------------------------------------------------===//
// Calibration
//===----------------------------------------------------------------------===//

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
      return makeError("expected a model with one input of token ids to "
                       "calibrate, but got " +
                       llvm::Twine(inputs.size()) +
                       " inputs; quantize it without --calibration");
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

llvm::Error Quantizer::calibrate() {
  std::string path = calibrationFile();
  if (llvm::sys::fs::exists(path))
    return llvm::Error::success();
  std::string observedPath = work + "/observed.ganq";
  progress.note("building the model with observers");
  if (llvm::Error error = buildObserved(observedPath))
    return error;
  ObservedModel model;
  if (llvm::Error error = model.open(observedPath))
    return error;

  runtime::SafetensorsWriter writer(path);
  for (auto [id, columns] : llvm::enumerate(observers))
    if (auto status = writer.declare(gramName(id), runtime::DType::F64,
                                     {columns, columns});
        !status.ok())
      return toError(status);
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
    for (size_t id = first; id < last; ++id)
      grams.emplace_back(observers[id]);

    std::string failure;
    auto observe = [&](int64_t id, const float *data, int64_t rows, int64_t) {
      if (id < static_cast<int64_t>(first) || id >= static_cast<int64_t>(last))
        return;
      ganq::quant::Status status = grams[id - first].add(data, rows);
      if (!status.ok() && failure.empty())
        failure = status.message();
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
      if (auto status =
              writer.append(gramName(id), gram.h.data(), gramBytes(id));
          !status.ok())
        return toError(status);
    }
    first = last;
  }
  progress.end();
  if (auto status = writer.finish(); !status.ok())
    return toError(status);
  llvm::sys::fs::remove(observedPath);
  return llvm::Error::success();
}

//===----------------------------------------------------------------------===//
// Solving
//===----------------------------------------------------------------------===//

llvm::Error Quantizer::solve() {
  std::unique_ptr<runtime::Safetensors> calibration;
  if (!options.calibration.empty()) {
    auto opened = runtime::Safetensors::open(calibrationFile());
    if (!opened.ok())
      return toError(opened.status());
    calibration = std::move(*opened);
  }
  auto findGram = [&](int64_t observer) -> const double * {
    const runtime::TensorInfo *info =
        calibration && observer >= 0 ? calibration->find(gramName(observer))
                                     : nullptr;
    return info ? reinterpret_cast<const double *>(calibration->data(*info))
                : nullptr;
  };

  double total = 0, done = 0;
  for (const Weight &weight : weights)
    total += static_cast<double>(weight.n) * weight.k * weight.k;
  progress.begin("quantizing", total);
  for (size_t index = 0; index < weights.size(); ++index) {
    Weight &weight = weights[index];
    double cost = static_cast<double>(weight.n) * weight.k * weight.k;
    std::string path = weightFile(index);
    SmallVector<SchemeComponent> components =
        weight.scheme.getComponents(weight.n, weight.k);
    if (auto existing = runtime::Safetensors::open(path); existing.ok()) {
      const auto &metadata = (*existing)->metadata();
      if (auto it = metadata.find("error"); it != metadata.end())
        weight.error = std::strtod(it->second.c_str(), nullptr);
      if (auto it = metadata.find("note"); it != metadata.end())
        weight.note = it->second;
      done += cost;
      continue;
    }

    WeightProblem problem;
    problem.n = weight.n;
    problem.k = weight.k;
    problem.readRows = [&](int64_t first, int64_t count, float *out) {
      return store.readRows(weight.parameter, first, count, out);
    };
    problem.gram = findGram(weight.observer);
    SolverOptions solver;
    solver.solver = options.solver;
    solver.progress = [&](double share) {
      progress.update(
          done + share * cost,
          llvm::formatv("{0} {1}", weight.key, weight.scheme.getShortName())
              .str());
    };
    auto attr = cast<SchemeSolverInterface>(weight.scheme);
    auto result = attr.quantize(problem, solver);
    store.release();
    if (!result)
      return makeError("weight '" + weight.key +
                       "': " + llvm::toString(result.takeError()) +
                       "; --exclude=REGEX leaves a weight as it is");
    weight.error = result->relativeError;
    weight.note = result->note;

    runtime::SafetensorsWriter writer(path);
    std::string errorText = llvm::formatv("{0}", weight.error);
    for (auto [key, value] :
         {std::pair<std::string, std::string>{"key", weight.key},
          {"error", errorText},
          {"note", weight.note}})
      if (auto status = writer.setMetadata(key, value); !status.ok())
        return toError(status);
    for (auto [component, bytes] :
         llvm::zip_equal(components, result->components))
      if (auto status = writer.declare(component.suffix, runtime::DType::U8,
                                       {static_cast<int64_t>(bytes.size())});
          !status.ok())
        return toError(status);
    if (auto status = writer.begin(); !status.ok())
      return toError(status);
    for (auto [component, bytes] :
         llvm::zip_equal(components, result->components))
      if (auto status = writer.append(component.suffix, bytes.data(),
                                      static_cast<int64_t>(bytes.size()));
          !status.ok())
        return toError(status);
    if (auto status = writer.finish(); !status.ok())
      return toError(status);
    done += cost;
    progress.update(done,
                    llvm::formatv("{0} {1} error {2:F5}", weight.key,
                                  weight.scheme.getShortName(), weight.error)
                        .str());
  }
  progress.end();
  return llvm::Error::success();
}

llvm::Error Quantizer::run() {
  if (weights.empty())
    return llvm::Error::success();
  if (llvm::Error error = numberObservers())
    return error;
  if (!options.calibration.empty())
    if (llvm::Error error = readTokens())
      return error;
  if (!options.calibration.empty())
    if (llvm::Error error = calibrate())
      return error;
  return solve();
}

llvm::Error
Quantizer::readComponent(StringRef key,
                         llvm::function_ref<llvm::Error(ArrayRef<char>)> sink) {
  auto [name, suffix] = key.rsplit('.');
  for (auto [index, weight] : llvm::enumerate(weights)) {
    if (weight.key != name)
      continue;
    auto file = runtime::Safetensors::open(weightFile(index));
    if (!file.ok())
      return toError(file.status());
    const runtime::TensorInfo *info = (*file)->find(suffix.str());
    if (!info)
      return makeError("expected '" + (*file)->path() +
                       "' to hold the tensor '" + suffix +
                       "'; delete the work folder and start again");
    return sink(ArrayRef<char>((*file)->data(*info), info->bytes));
  }
  return makeError("internal error: unknown weight '" + name + "'");
}

llvm::json::Array Quantizer::report() const {
  llvm::json::Array array;
  for (const Weight &weight : weights) {
    llvm::json::Object entry{{"name", weight.key},
                             {"scheme", weight.scheme.getShortName()},
                             {"shape", llvm::json::Array{weight.n, weight.k}},
                             {"relative_error", weight.error}};
    if (!weight.note.empty())
      entry["note"] = weight.note;
    array.push_back(std::move(entry));
  }
  return array;
}
