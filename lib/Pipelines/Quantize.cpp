//===- Quantize.cpp - Quantizes the weights -------------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/Pipelines/Quantize.h"
#include "Calibrate.h"
#include "Errors.h"
#include "WorkFolder.h"
#include "ganq/Onnx/OnnxDialect.h"
#include "ganq/Schemes/SchemeSolver.h"
#include "ganq/Schemes/SchemeText.h"
#include "ganq/runtime/manifest.h"
#include "ganq/runtime/safetensors.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Regex.h"
#include <chrono>
#include <map>
#include <set>
#include <tuple>

using namespace mlir;
using namespace ganq;

int64_t ganq::getStoredBytes(SchemeAttrInterface scheme, int64_t n, int64_t k) {
  int64_t bytes = 0;
  for (const SchemeComponent &component : scheme.getComponents(n, k))
    bytes += component.type.getNumElements() *
             component.type.getElementTypeBitWidth() / 8;
  return bytes;
}

std::string ganq::describeKeptProducts(ModuleOp assigned,
                                       const PhaseOptions &options) {
  llvm::StringSet<> seen;
  int64_t excluded = 0, kept = 0, packed = 0, other = 0;
  llvm::Regex regex(options.exclude);
  // Step functions repeat the products of @main.
  func::FuncOp counted = assigned.lookupSymbol<func::FuncOp>("main");
  if (!counted)
    counted = assigned.lookupSymbol<func::FuncOp>("prefill");
  assigned.walk([&](Operation *op) {
    bool counts = op->getParentOfType<func::FuncOp>() == counted;
    if (auto matmul = dyn_cast<MatmulOp>(op)) {
      auto weight = matmul.getWeight().getDefiningOp<ParameterOp>();
      if (!weight)
        other += counts;
      else if (seen.insert(weight.getKey()).second)
        ++(!options.exclude.empty() && regex.match(weight.getKey()) ? excluded
                                                                    : kept);
    } else if (isa<PackedMatmulOp>(op)) {
      packed += counts;
    } else if (onnx::isOnnxOp(op, "MatMul") || onnx::isOnnxOp(op, "Gemm")) {
      other += counts;
    }
  });
  std::string head = options.quantizeHead
                         ? " kept by the rules"
                         : " the output head (--quantize-head includes it)";
  if (!options.quantizeHead && !options.rules.empty())
    head = " kept by the rules or" + head;
  std::string text;
  for (const auto &[count, what] :
       {std::pair<int64_t, std::string>{excluded, " excluded by `" +
                                                      options.exclude + "`"},
        {kept, head},
        {packed, " quantized already"},
        {other, " of computed or tiny weights"}})
    if (count > 0)
      text += (text.empty() ? "" : ", ") + std::to_string(count) +
              (count == 1 ? " is" : " are") + what;
  return text.empty() ? "it has no matrix products"
                      : "of its matrix products " + text;
}

Quantizer::Quantizer(ModuleOp assigned, ModuleOp imported,
                     const CompileOptions &options, ParameterStore &store,
                     std::string work, Progress &progress)
    : assigned(assigned), imported(imported), options(options), store(store),
      work(std::move(work)), progress(progress) {
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
  std::map<std::tuple<std::string, int64_t, int64_t>, size_t> kernels;
  std::set<std::string> names;
  int64_t elements = 0, stored = 0, largest = 0;
  double work = 0;
  for (const Weight &weight : weights) {
    std::string name = weight.scheme.getShortName();
    ++kernels[{name, weight.n, weight.k}];
    names.insert(name);
    elements += weight.n * weight.k;
    largest = std::max(largest, weight.k);
    work += static_cast<double>(weight.n) * static_cast<double>(weight.k) *
            static_cast<double>(weight.k);
    stored += getStoredBytes(weight.scheme, weight.n, weight.k);
  }
  progress.note(llvm::formatv("{0} weights, {1:F1} M values, to {2}: {3:F2} "
                              "bits per weight with tables and padding",
                              weights.size(),
                              static_cast<double>(elements) / 1e6,
                              llvm::join(names, ", "),
                              8.0 * static_cast<double>(stored) /
                                  static_cast<double>(elements))
                    .str());
  for (const auto &[kernel, count] : kernels)
    progress.note(llvm::formatv("  kernel packed_matmul {0} {1}x{2}: {3} "
                                "weights",
                                std::get<0>(kernel), std::get<1>(kernel),
                                std::get<2>(kernel), count)
                      .str());

  bool calibrates = !options.calibration.empty();
  int64_t gram = calibrates ? largest * largest * 8 : 0;
  // A solver keeps a few factors of the Gram matrix and blocks of rows.
  int64_t memory = (int64_t(256) << 20) + 4 * gram +
                   (calibrates ? std::min(options.gramMemory, gram * 4) : 0);
  bool rounds = options.solver == "kmeans" || options.solver == "rtn";
  // Seconds per row and squared column on two cores of 2023.
  double seconds =
      rounds ? static_cast<double>(elements) * 2e-8 : work * 1.5e-9;
  progress.note(
      llvm::formatv("about {0} MiB of memory, {1} MiB in '{2}', {3} s "
                    "for the weights{4}",
                    memory >> 20, (stored + 2 * gram) >> 20, this->work,
                    static_cast<int64_t>(seconds) + 1,
                    calibrates ? " after calibration" : "")
          .str());
}

std::string Quantizer::weightFile(StringRef work, size_t index) {
  return llvm::formatv("{0}/weight{1}.safetensors", work, index);
}

std::string Quantizer::calibrationFile(StringRef work) {
  return (work + "/calibration.safetensors").str();
}

const std::string &Quantizer::modelHash() {
  if (hash.empty())
    if (auto buffer = llvm::MemoryBuffer::getFile(options.model, false, false))
      hash = runtime::sha256(std::string_view((*buffer)->getBufferStart(),
                                              (*buffer)->getBufferSize()));
  return hash;
}

/// A hash of what a solution's file says and holds.
static std::string
hashSolution(const std::map<std::string, std::string> &metadata,
             ArrayRef<ArrayRef<char>> components) {
  std::string text;
  for (const auto &[name, value] : metadata)
    if (name != "hash")
      text += name + '=' + value + '\n';
  for (ArrayRef<char> bytes : components)
    text += hashBytes({bytes.data(), bytes.size()}) + '\n';
  return hashBytes(text);
}

/// Whether the components of a solution are all there and as they were written.
static bool isWhole(const runtime::Safetensors &file,
                    ArrayRef<SchemeComponent> components) {
  SmallVector<ArrayRef<char>> bytes;
  for (const SchemeComponent &component : components) {
    const runtime::TensorInfo *info = file.find(component.suffix);
    if (!info)
      return false;
    bytes.emplace_back(file.data(*info), info->bytes);
  }
  auto hash = file.metadata().find("hash");
  return hash != file.metadata().end() &&
         hash->second == hashSolution(file.metadata(), bytes);
}

void Quantizer::findFinished() {
  for (auto [index, weight] : llvm::enumerate(weights)) {
    auto existing = runtime::Safetensors::open(weightFile(index));
    if (!existing.ok())
      continue;
    const auto &metadata = (*existing)->metadata();
    auto matches = [&](const char *name, StringRef value) {
      auto it = metadata.find(name);
      return it != metadata.end() && it->second == value;
    };
    // The numbers of files depend on which weights have a scheme.
    if (!matches("key", weight.key) ||
        !matches("scheme", getSchemeText(weight.scheme)))
      continue;
    if (!isWhole(**existing, weight.scheme.getComponents(weight.n, weight.k))) {
      progress.note("'" + (*existing)->path() +
                    "' is damaged: solving the weight again");
      continue;
    }
    weight.finished = true;
    if (auto it = metadata.find("seconds"); it != metadata.end())
      weight.seconds = std::strtod(it->second.c_str(), nullptr);
    if (auto it = metadata.find("error"); it != metadata.end())
      weight.error = std::strtod(it->second.c_str(), nullptr);
    if (auto it = metadata.find("condition"); it != metadata.end())
      weight.condition = std::strtod(it->second.c_str(), nullptr);
    if (auto it = metadata.find("note"); it != metadata.end())
      weight.note = it->second;
  }
}

bool Quantizer::isFinished() const {
  return llvm::all_of(weights, [](const Weight &w) { return w.finished; });
}

/// The solver of a weight's own rule or of all; empty: the scheme's usual one.
static std::string getSolver(ParameterOp weight,
                             const CompileOptions &options) {
  auto chosen = weight->getAttrOfType<StringAttr>("ganq.solver");
  return chosen ? chosen.str() : options.solver;
}

llvm::Error Quantizer::solve(size_t index, const InputStatistics &statistics,
                             double done) {
  Weight &weight = weights[index];
  WeightProblem problem;
  problem.n = weight.n;
  problem.k = weight.k;
  problem.readRows = [&](int64_t first, int64_t count, float *out) {
    return store.readRows(weight.parameter, first, count, out);
  };
  problem.gram = statistics.gram;
  problem.cross = statistics.cross;
  problem.sample = statistics.sample;
  problem.sampleRows = statistics.sampleRows;
  problem.learned = statistics.learned;
  SolverOptions solver;
  solver.solver = getSolver(weight.parameter, options);
  solver.alpha = options.alpha;
  std::string name = weight.key + " " + weight.scheme.getShortName();
  solver.progress = [&](double share) {
    progress.update(done + share * weight.cost(), name);
  };
  auto attr = cast<SchemeSolverInterface>(weight.scheme);
  auto begin = std::chrono::steady_clock::now();
  auto result = attr.quantize(problem, solver);
  weight.seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begin)
          .count();
  store.release();
  if (!result)
    return makeError("weight '" + weight.key +
                     "': " + llvm::toString(result.takeError()) +
                     "; --exclude=REGEX leaves a weight as it is");
  weight.error = result->relativeError;
  weight.condition = result->gramCondition;
  weight.note = result->note;
  if (statistics.gram && statistics.rows > 0 && statistics.rows < weight.k)
    weight.note += llvm::formatv("{0}{1} calibration tokens for {2} inputs: "
                                 "singular Gram matrix",
                                 weight.note.empty() ? "" : "; ",
                                 statistics.rows, weight.k);

  if (!oneShotReason.empty())
    weight.note += (weight.note.empty() ? "" : "; ") +
                   ("calibrated in one shot: " + oneShotReason);

  SmallVector<SchemeComponent> components =
      weight.scheme.getComponents(weight.n, weight.k);
  runtime::SafetensorsWriter writer(weightFile(index));
  std::string errorText = llvm::formatv("{0:E16}", weight.error);
  std::string conditionText = llvm::formatv("{0:E16}", weight.condition);
  std::string secondsText = llvm::formatv("{0:E6}", weight.seconds);
  std::map<std::string, std::string> metadata{
      {"key", weight.key},      {"scheme", getSchemeText(weight.scheme)},
      {"error", errorText},     {"condition", conditionText},
      {"seconds", secondsText}, {"note", weight.note}};
  metadata["hash"] = hashSolution(
      metadata, SmallVector<ArrayRef<char>>(result->components.begin(),
                                            result->components.end()));
  for (const auto &[key, value] : metadata)
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
  weight.finished = true;
  progress.update(done + weight.cost(),
                  llvm::formatv("{0} error {1:F5}", name, weight.error).str());
  return llvm::Error::success();
}

llvm::Error Quantizer::solveAll(const std::string &statistics) {
  std::unique_ptr<CalibrationFile> file;
  if (!statistics.empty()) {
    auto opened = CalibrationFile::open(statistics, modelHash());
    if (!opened)
      return opened.takeError();
    file = std::move(*opened);
  }
  // A weight that no token reaches has no statistics in our own file.
  auto isInFile = [&](const Weight &weight) {
    return file && !weight.finished &&
           (weight.observer >= 0 || statistics != calibrationFile());
  };
  // Before the first of many hours: is all there that will be read?
  double total = 0, done = 0;
  for (const Weight &weight : weights) {
    total += weight.cost();
    std::string solver = getSolver(weight.parameter, options);
    bool needs = solver != "rtn" && solver != "kmeans";
    if (isInFile(weight))
      if (llvm::Error error =
              file->check(weight.key, weight.n, weight.k, needs))
        return error;
  }
  progress.begin("quantizing", total);
  for (auto [index, weight] : llvm::enumerate(weights)) {
    if (!weight.finished) {
      InputStatistics input;
      if (isInFile(weight)) {
        auto found = file->get(weight.key, weight.n, weight.k);
        if (!found)
          return found.takeError();
        input = *found;
        input.rows = tokenRows * tokenColumns;
      }
      if (llvm::Error error = solve(index, input, done))
        return error;
    }
    done += weight.cost();
  }
  progress.end();
  return llvm::Error::success();
}

llvm::Error Quantizer::run() {
  findFinished();
  if (isFinished())
    return llvm::Error::success();
  if (options.calibration.empty())
    return solveAll("");
  if (!isNpyFile(options.calibration))
    return solveAll(options.calibration);
  if (llvm::Error error = readTokens())
    return error;
  return options.calibrationMode == "sequential" ? solveInStages()
                                                 : solveInOneShot();
}

llvm::Error Quantizer::solveInOneShot() {
  if (llvm::Error error = numberObservers())
    return error;
  if (llvm::Error error = observe())
    return error;
  return solveAll(calibrationFile());
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

llvm::Expected<std::vector<float>> Quantizer::decode(StringRef key,
                                                     SchemeAttrInterface scheme,
                                                     int64_t n, int64_t k) {
  std::vector<std::vector<char>> bytes;
  for (const SchemeComponent &component : scheme.getComponents(n, k)) {
    std::vector<char> &all = bytes.emplace_back();
    if (llvm::Error error = readComponent(
            (key + "." + component.suffix).str(), [&](ArrayRef<char> piece) {
              all.insert(all.end(), piece.begin(), piece.end());
              return llvm::Error::success();
            }))
      return std::move(error);
  }
  std::vector<ArrayRef<char>> components(bytes.begin(), bytes.end());
  std::vector<float> values(n * k);
  cast<SchemeSolverInterface>(scheme).decode(n, k, components, values.data());
  return values;
}

llvm::json::Array Quantizer::report() const {
  llvm::json::Array array;
  for (const Weight &weight : weights) {
    llvm::json::Object entry{{"name", weight.key},
                             {"scheme", weight.scheme.getShortName()},
                             {"shape", llvm::json::Array{weight.n, weight.k}},
                             {"relative_error", weight.error}};
    entry["bytes"] = getStoredBytes(weight.scheme, weight.n, weight.k);
    if (weight.condition > 0)
      entry["gram_condition"] = weight.condition;
    entry["seconds"] = weight.seconds;
    entry["bits"] = static_cast<int64_t>(weight.scheme.getCodeBits());
    if (!weight.note.empty())
      entry["note"] = weight.note;
    array.push_back(std::move(entry));
  }
  return array;
}
