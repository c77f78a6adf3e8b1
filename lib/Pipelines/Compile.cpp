//===- Compile.cpp - From an ONNX model to a compiled model ---------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/Pipelines/Compile.h"
#include "Errors.h"
#include "Report.h"
#include "TrialModel.h"
#include "WorkFolder.h"
#include "ganq/Onnx/Diagnostics.h"
#include "ganq/Onnx/Import.h"
#include "ganq/Pipelines/Artifact.h"
#include "ganq/Pipelines/Budget.h"
#include "ganq/Pipelines/Progress.h"
#include "ganq/Pipelines/Quantize.h"
#include "ganq/Schemes/Passes.h"
#include "ganq/Schemes/SchemeRules.h"
#include "ganq/Schemes/SchemeSolver.h"
#include "ganq/Schemes/SchemeText.h"
#include "ganq/Support/Files.h"
#include "ganq/Target/CpuTarget.h"
#include "ganq/runtime.h"
#include "ganq/runtime/manifest.h"
#include "mlir/Bytecode/BytecodeWriter.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/MLIRContext.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/ToolOutputFile.h"
#include "llvm/Support/WithColor.h"
#include "llvm/Support/xxhash.h"
#include <chrono>
#include <mutex>

using namespace mlir;
using namespace ganq;
namespace json = llvm::json;
namespace fs = llvm::sys::fs;

namespace {

class Compiler {
public:
  explicit Compiler(const CompileOptions &options)
      : options(options), progress(options.verbose), context(makeRegistry()) {
    StringRef folder = llvm::sys::path::parent_path(options.model);
    this->options.phases.modelDir = folder.empty() ? "." : folder.str();
    context.loadAllAvailableDialects();
    context.printOpOnDiagnostic(false);
    // Remarks are for those who ask; errors and warnings are for all.
    context.getDiagEngine().registerHandler([this](Diagnostic &diagnostic) {
      if (diagnostic.getSeverity() == DiagnosticSeverity::Remark) {
        std::string text = diagnostic.str();
        if (StringRef reason(text); reason.consume_front("no step functions: "))
          noSteps = reason.str();
        if (!this->options.verbose)
          return success();
      }
      onnx::printDiagnostic(diagnostic, messages());
      return success();
    });
  }

  llvm::Expected<json::Object> run() {
    auto summary = compile();
    // Without solutions the work folder is of no use to a next run.
    if (work && (summary ? !options.keepWork : !work->isWorthKeeping()))
      work->remove();
    if (!summary)
      for (const std::string &path : written)
        fs::remove(path);
    return summary;
  }

private:
  llvm::Expected<json::Object> compile();
  static DialectRegistry makeRegistry() {
    DialectRegistry registry;
    registerGanqDialects(registry);
    registerSchemeSolvers(registry);
    return registry;
  }

  llvm::raw_ostream &messages() const {
    return options.messages ? *options.messages : llvm::errs();
  }
  /// Fills in what options leave to others, and warns of those that have no
  /// effect.
  void settleOptions();
  llvm::Error checkOptions();
  /// Reads the options of targets other than CPUs, and checks what these need.
  llvm::Error checkTarget();
  /// Checks the texts of the scheme and of the rules.
  llvm::Error checkScheme();
  /// Checks that every scheme in use has the solver that was asked for.
  llvm::Error checkSolvers(ModuleOp assigned);
  llvm::Error importModel();
  llvm::Error writeModule();
  llvm::Error openWork();
  /// Lets --budget choose the schemes: they become rules.
  llvm::Error searchBudget();
  /// The weights and levels of a row of some layers.
  llvm::Expected<json::Array> describeRows(ModuleOp assigned,
                                           Quantizer &quantizer);
  /// The perplexity of the output, and of the unquantized model where there is
  /// another one.
  llvm::Expected<json::Object> evaluate(ModuleOp assigned);
  std::string fingerprint();
  llvm::Error checkDisk();
  /// Checks that devices can run the model: after the raise phase that there is
  /// something to run, after the assign phase that its weights have kernels.
  llvm::Error checkDeviceModel(Phase phase);

  /// Adds the seconds since the last call to the summary.
  void lap(StringRef stage) {
    auto now = std::chrono::steady_clock::now();
    seconds[stage] = std::chrono::duration<double>(now - last).count();
    last = now;
  }

  CompileOptions options;
  Progress progress;
  MLIRContext context;
  OwningOpRef<ModuleOp> module;
  /// After the input phase, for calibration.
  OwningOpRef<ModuleOp> imported;
  std::unique_ptr<ParameterStore> store;
  std::unique_ptr<WorkFolder> work;
  /// Outputs that a failure takes back.
  std::vector<std::string> written;
  /// Of --evaluate.
  std::optional<TokenRows> evaluationTokens;
  std::optional<json::Object> budget;
  /// Where the model is for a GPU or its emulator.
  std::optional<DeviceOptions> device;
  /// Why the model has no step functions, if it has none.
  std::string noSteps;
  json::Object seconds;
  std::chrono::steady_clock::time_point last = std::chrono::steady_clock::now();
};

} // namespace

void Compiler::settleOptions() {
  PhaseOptions &phases = options.phases;
  auto warn = [&](StringRef name, StringRef without) {
    if (llvm::is_contained(options.given, name))
      llvm::WithColor::warning(messages())
          << "--" << name << " has no effect without " << without << "\n";
  };
  bool searches = options.budget != 0;
  if (!searches)
    warn("candidates", "--budget");
  if (phases.scheme == "none" && !searches) {
    for (StringRef name : getSchemeOptions())
      warn(name, "--scheme");
    phases.schemeOptions.clear();
  }
  if (options.target != "cpu" && phases.rules.empty() &&
      !StringRef(phases.scheme).contains("activation") &&
      llvm::none_of(phases.schemeOptions, [](const auto &option) {
        return StringRef(option.first).starts_with("activation");
      }))
    warn("strategy", "--activation-bits");
  if (!phases.quantizes() && !searches)
    for (StringRef name : {"calibration", "calibration-mode", "alpha",
                           "exclude", "quantize-head", "solver"})
      warn(name, "--scheme, --rules or --budget");
  // The options of the family that the candidates are of.
  if (phases.scheme == "none" && !phases.schemeOptions.empty())
    phases.scheme = "lut";
}

llvm::Error Compiler::checkScheme() {
  auto text = SchemeText::parse(options.phases.scheme);
  if (!text)
    return makeError("--scheme: " + llvm::toString(text.takeError()));
  for (const auto &[name, value] : options.phases.schemeOptions) {
    if (text->isAttribute())
      return makeError("expected --" + name +
                       " to be left out, as --scheme is the text of an "
                       "attribute, which has fields of its own");
    if (llvm::Error error = text->set(name, value))
      return makeError("--" + name + ": " + llvm::toString(std::move(error)));
  }
  if (!text->isNone()) {
    auto scheme = text->get(&context);
    if (!scheme)
      return makeError("--scheme: " + llvm::toString(scheme.takeError()));
  }
  if (options.phases.rules.empty())
    return llvm::Error::success();
  return SchemeRules::read(&context, options.phases.rules, *text).takeError();
}

llvm::Error Compiler::checkSolvers(ModuleOp assigned) {
  llvm::Error result = llvm::Error::success();
  assigned.walk([&](ParameterOp parameter) {
    auto type = dyn_cast<RankedTensorType>(parameter.getType());
    auto scheme =
        type ? dyn_cast_or_null<SchemeAttrInterface>(type.getEncoding())
             : SchemeAttrInterface();
    if (!scheme)
      return WalkResult::advance();
    auto solver = dyn_cast<SchemeSolverInterface>(scheme);
    auto own = parameter->getAttrOfType<StringAttr>("ganq.solver");
    StringRef name = own ? own.getValue() : StringRef(options.solver);
    SmallVector<StringRef> names;
    if (solver)
      names = solver.getSolvers();
    if (solver && (name.empty() || llvm::is_contained(names, name)))
      return WalkResult::advance();
    llvm::consumeError(std::move(result));
    result = makeError(
        solver ? llvm::formatv("{0}: expected the solver of {1} ('{2}') to be "
                               "one of {3}, but got `{4}`",
                               own ? options.phases.rules : "--solver",
                               scheme.getShortName(), parameter.getKey(),
                               llvm::join(names, ", "), name)
                     .str()
               : "there is no solver for the scheme " + scheme.getShortName());
    return WalkResult::interrupt();
  });
  return result;
}

llvm::Error Compiler::checkTarget() {
  if (options.target == "cpu") {
    for (StringRef name : {"chips", "strategy"})
      if (llvm::is_contained(options.given, name))
        return makeError("expected --" + name +
                         " with --target=cuda or --target=emulator only");
    return llvm::Error::success();
  }
  device.emplace();
  device->emulated = options.target == "emulator";
  device->strategy = options.strategy;
  device->cpu = options.phases.cpu;
  SmallVector<StringRef> names;
  if (llvm::is_contained(options.given, "chips"))
    StringRef(options.chips).split(names, ',');
  for (StringRef name : names) {
    auto chip = GpuTarget::get(name.trim());
    if (!chip)
      return makeError("--chips: " + llvm::toString(chip.takeError()));
    if (llvm::is_contained(llvm::map_range(device->chips,
                                           [](const GpuTarget &known) {
                                             return StringRef(known.chip);
                                           }),
                           chip->chip))
      return makeError("expected --chips to name each chip once, but got `" +
                       options.chips + "`");
    device->chips.push_back(*chip);
  }
  if (device->chips.empty() && !device->emulated)
    llvm::append_range(device->chips, GpuTarget::getAll());
  if (auto strategy = device->getStrategy())
    for (const GpuTarget &chip : device->chips)
      if (llvm::Error error = chip.check(*strategy))
        return makeError("--strategy: " + llvm::toString(std::move(error)) +
                         " (--strategy=int8 stands for both), or leave the "
                         "chip out of --chips");
  std::string where = "--target=" + options.target;
  if (options.phases.kvCache == "i8")
    return makeError("expected --kv-cache to be model, f32 or f16 with " +
                     where + ", but got `i8`, for which GPUs have no kernels");
  if (!options.evaluate.empty())
    return makeError("expected --evaluate with --target=cpu, whose result it "
                     "judges, but got " +
                     where);
  // MLIR needs no assembler.
  return options.compileTo ? llvm::Error::success() : checkDevice(*device);
}

llvm::Error Compiler::checkDeviceModel(Phase phase) {
  if (!device)
    return llvm::Error::success();
  if (phase == Phase::Assign)
    return checkDeviceWeights(*module, *device);
  if (phase != Phase::Raise || module->lookupSymbol("decode"))
    return llvm::Error::success();
  return makeError(
      "expected a language model with a cache for --target=" + options.target +
      ", which runs its steps, but it has no step functions: " +
      (noSteps.empty() ? "no cache was recognised" : noSteps));
}

llvm::Error Compiler::checkOptions() {
  auto cpu = CpuTarget::get(options.phases.cpu);
  if (!cpu)
    return cpu.takeError();
  if (options.phases.chunk < 1 || options.phases.chunk > 4096)
    return makeError("expected --prefill-chunk to be between 1 and 4096, but "
                     "got " +
                     llvm::Twine(options.phases.chunk));
  if (!llvm::is_contained({"model", "f32", "f16", "i8"},
                          options.phases.kvCache))
    return makeError("expected --kv-cache to be model, f32, f16 or i8, but got "
                     "`" +
                     options.phases.kvCache + "`");
  if (options.gramMemory < (1 << 20))
    return makeError("expected --gram-memory to be between 1 and 2^42 MiB");
  if (llvm::Error error = checkScheme())
    return error;
  if (options.calibrationMode != "sequential" &&
      options.calibrationMode != "one-shot")
    return makeError("expected --calibration-mode to be sequential or "
                     "one-shot, but got `" +
                     options.calibrationMode + "`");
  if (!(options.alpha >= 0 && options.alpha <= 1))
    return makeError("expected --alpha to be between 0 and 1, but got " +
                     llvm::formatv("{0}", options.alpha).str());
  for (const std::string &path : options.reports)
    if (path == options.output || fs::equivalent(path, options.model))
      return makeError("expected --report to differ from the model and the "
                       "output, but got '" +
                       path + "'");
    else if (llvm::Error error = checkReportPath(path))
      return error;
  // Before hours are spent.
  if (!options.evaluate.empty()) {
    auto tokens = TokenRows::read(options.evaluate, "--evaluate");
    if (!tokens)
      return tokens.takeError();
    evaluationTokens = std::move(*tokens);
  }
  if (options.compileTo &&
      (!options.reports.empty() || !options.evaluate.empty()))
    return makeError("expected --report and --evaluate without --compile-to, "
                     "as they are about compiled models");
  if (!options.calibration.empty() && !fs::exists(options.calibration))
    return makeError("cannot read the calibration tokens '" +
                     options.calibration + "': no such file");
  if (StringRef special = describeSpecialFile(options.calibration);
      !special.empty())
    return makeError("expected --calibration='" + options.calibration +
                     "' to be a regular file, but got " + special);
  if (options.budget != 0)
    if (llvm::Error error = BudgetSearch::check(options, &context))
      return error;
  if (llvm::Error error = checkTarget())
    return error;
  if (options.output.empty())
    return makeError("expected the output to be a file, but got ''");
  if (options.output == "-")
    return options.compileTo
               ? llvm::Error::success()
               : makeError("expected the output to be a file: a compiled model "
                           "is not written to a stream");
  StringRef folder = llvm::sys::path::parent_path(options.output);
  if (!folder.empty() && !fs::is_directory(folder))
    return makeError("expected the folder '" + folder +
                     "' of the output to exist");
  if (fs::is_directory(options.output))
    return makeError("expected the output to be a file, but '" +
                     options.output + "' is a folder");
  // The output replaces what is there: as root even a device.
  fs::file_type type = fs::get_file_type(options.output, /*Follow=*/false);
  if (type != fs::file_type::regular_file &&
      type != fs::file_type::status_error)
    return makeError("expected the output to be a regular file, but '" +
                     options.output + "' is a link or a device");
  if (fs::equivalent(options.model, options.output))
    return makeError("expected the output to differ from the model");
  return llvm::Error::success();
}

llvm::Error Compiler::importModel() {
  onnx::ImportOptions import;
  import.bindings = options.bindings;
  module = onnx::importOnnxModel(options.model, &context, import);
  if (!module)
    return llvm::make_error<ReportedError>();
  store = std::make_unique<ParameterStore>(options.phases.modelDir);
  return llvm::Error::success();
}

llvm::Error Compiler::writeModule() {
  if (options.output == "-") {
    module->print(llvm::outs(), OpPrintingFlags().enableDebugInfo(false));
    llvm::outs().flush();
    if (!llvm::outs().has_error())
      return llvm::Error::success();
    std::string reason = llvm::outs().error().message();
    llvm::outs().clear_error();
    return makeError("cannot write to stdout: " + reason);
  }
  std::string temporary = options.output + ".tmp";
  std::error_code code;
  {
    llvm::ToolOutputFile file(temporary, code, fs::OF_None);
    if (code)
      return makeError("cannot write '" + temporary + "': " + code.message());
    if (StringRef(options.output).ends_with(".mlirbc")) {
      if (failed(writeBytecodeToFile(*module, file.os())))
        return makeError("cannot write '" + temporary + "'");
    } else {
      module->print(file.os(), OpPrintingFlags().enableDebugInfo(false));
    }
    file.os().flush();
    if (file.os().has_error()) {
      std::string reason = file.os().error().message();
      file.os().clear_error();
      return makeError("cannot write '" + temporary + "': " + reason);
    }
    file.keep();
  }
  if ((code = fs::rename(temporary, options.output))) {
    fs::remove(temporary);
    return makeError("cannot write '" + options.output +
                     "': " + code.message());
  }
  return llvm::Error::success();
}

/// Everything that the solutions of weights depend on, and some of what only
/// the bytes of the output do.
std::string Compiler::fingerprint() {
  std::string text;
  llvm::raw_string_ostream os(text);
  const PhaseOptions &phases = options.phases;
  os << "ganq " << ganq_version() << ' ' << getBuildIdentity() << '\n'
     << phases.scheme << ' ' << phases.exclude << ' ' << phases.quantizeHead
     << ' ' << phases.cpu << ' ' << phases.chunk << ' ' << phases.maxContext
     << ' ' << phases.kvCache << '\n'
     << options.solver << ' ' << options.calibrationMode << ' ' << options.alpha
     << '\n'
     << options.budget << ' ' << options.candidates << '\n';
  for (const auto &[name, value] : phases.schemeOptions)
    os << name << '=' << value << '\n';
  for (const auto &[name, size] : options.bindings)
    os << name << '=' << size << '\n';
  std::vector<std::string> files{options.model};
  for (const std::string &file : {options.calibration, phases.rules})
    if (!file.empty())
      files.push_back(file);
  for (const std::string &file : files) {
    auto buffer = llvm::MemoryBuffer::getFile(file, false, false);
    if (buffer) {
      llvm::XXH128_hash_t hash = llvm::xxh3_128bits(llvm::ArrayRef<uint8_t>(
          reinterpret_cast<const uint8_t *>((*buffer)->getBufferStart()),
          (*buffer)->getBufferSize()));
      os << llvm::formatv("{0:x16}{1:x16}\n", hash.high64, hash.low64);
    }
  }
  // External weights are too large to hash: their size and time must do.
  llvm::StringSet<> seen;
  module->walk([&](ParameterOp parameter) {
    ExternalAttr source = parameter.getSourceAttr();
    if (!source || !seen.insert(source.getFile()).second)
      return;
    llvm::SmallString<128> path(llvm::sys::path::parent_path(options.model));
    llvm::sys::path::append(path, source.getFile());
    fs::file_status status;
    if (!fs::status(path, status))
      os << source.getFile() << ' ' << status.getSize() << ' '
         << status.getLastModificationTime().time_since_epoch().count() << '\n';
  });
  return text;
}

llvm::Error Compiler::openWork() {
  auto opened = WorkFolder::open(options.output + ".work");
  if (!opened)
    return opened.takeError();
  work = std::move(*opened);
  bool existed = fs::exists(work->getPath() + "/fingerprint");
  auto resumes = work->claim(fingerprint());
  if (!resumes)
    return resumes.takeError();
  if (*resumes)
    progress.note("going on with the layers in '" + work->getPath() + "'");
  else if (existed)
    progress.note("'" + work->getPath() +
                  "' belongs to other options: starting again");
  return llvm::Error::success();
}

llvm::Error Compiler::searchBudget() {
  if (llvm::Error error = openWork())
    return error;
  BudgetSearch search(*module, *imported, options, *store, work->getPath(),
                      progress);
  auto rules = search.run();
  if (!rules)
    return rules.takeError();
  budget = search.report();
  options.phases.scheme = "none";
  options.phases.schemeOptions.clear();
  options.phases.rules = *rules;
  lap("search");
  return llvm::Error::success();
}

llvm::Error Compiler::checkDisk() {
  // The tensors of the output, once each, the same in the unquantized model,
  // and what the work folder holds of them.
  int64_t stored = 0, plain = 0, solved = 0;
  llvm::StringSet<> seen;
  module->walk([&](ParameterOp parameter) {
    auto type = cast<RankedTensorType>(parameter.getType());
    auto scheme = dyn_cast_or_null<SchemeAttrInterface>(type.getEncoding());
    if (!seen.insert((parameter.getKey() + (scheme ? ".codes" : "")).str())
             .second)
      return;
    int64_t bytes =
        type.getNumElements() *
        llvm::divideCeil(type.getElementType().getIntOrFloatBitWidth(), 8);
    plain += bytes;
    if (scheme) {
      bytes = getStoredBytes(scheme, type.getDimSize(0), type.getDimSize(1));
      solved += bytes;
    }
    stored += bytes;
  });
  int64_t needed = stored + solved;
  // Some runs write the unquantized model for a while.
  bool runsPlain =
      !options.evaluate.empty() ||
      (!options.calibration.empty() && options.calibrationMode == "one-shot");
  if (options.phases.quantizes() && runsPlain)
    needed += plain;
  StringRef folder = llvm::sys::path::parent_path(options.output);
  auto space = fs::disk_space(folder.empty() ? "." : folder);
  if (space && static_cast<int64_t>(space->available) < needed)
    return makeError(llvm::formatv(
        "expected about {0} KiB free for '{1}' and its work folder, but only "
        "{2} KiB are left on the disk",
        needed >> 10, options.output, space->available >> 10));
  return llvm::Error::success();
}

llvm::Expected<json::Array> Compiler::describeRows(ModuleOp assigned,
                                                   Quantizer &quantizer) {
  // By error: the greatest, the middle one and the least.
  json::Array report = quantizer.report();
  std::vector<std::pair<double, StringRef>> order;
  for (const json::Value &value : report)
    order.emplace_back(
        value.getAsObject()->getNumber("relative_error").value_or(0),
        *value.getAsObject()->getString("name"));
  llvm::sort(order);
  json::Array result;
  llvm::StringSet<> seen;
  for (auto [rank, index] :
       {std::pair<StringRef, size_t>{"Worst", order.size() - 1},
        {"Median", order.size() / 2},
        {"Best", 0}}) {
    StringRef key = order[index].second;
    if (!seen.insert(key).second)
      continue;
    ParameterOp parameter;
    assigned.walk([&](ParameterOp op) {
      auto type = dyn_cast<RankedTensorType>(op.getType());
      if (op.getKey() == key && type && type.getEncoding())
        parameter = op;
    });
    auto type = cast<RankedTensorType>(parameter.getType());
    auto scheme = cast<SchemeAttrInterface>(type.getEncoding());
    int64_t n = type.getDimSize(0), k = type.getDimSize(1), row = n / 2;
    auto decoded = quantizer.decode(key, scheme, n, k);
    if (!decoded)
      return decoded.takeError();
    std::vector<float> values(k);
    if (llvm::Error error = store->readRows(parameter, row, 1, values.data()))
      return std::move(error);
    json::Object described =
        describeRow(values, ArrayRef(*decoded).slice(row * k, k));
    described["rank"] = rank;
    described["name"] = key.str();
    described["scheme"] = getSchemeText(scheme);
    described["row"] = row;
    result.push_back(std::move(described));
  }
  return result;
}

llvm::Expected<json::Object> Compiler::evaluate(ModuleOp assigned) {
  const TokenRows &tokens = *evaluationTokens;
  auto model = runtime::Model::open(options.output);
  if (!model.ok())
    return makeError(model.status().message());
  auto after = getPerplexity(*model, tokens);
  if (!after)
    return makeError("--evaluate='" + options.evaluate +
                     "': " + llvm::toString(after.takeError()));
  json::Object result{{"tokens", tokens.rows * (tokens.columns - 1)},
                      {"perplexity", *after}};
  if (!assigned)
    return result;
  auto trial = TrialModel::build(assigned, options.phases, *store,
                                 work->getPath() + "/reference.ganq");
  if (!trial)
    return trial.takeError();
  auto before = (*trial)->getPerplexity(tokens);
  if (!before)
    return before.takeError();
  result["reference_perplexity"] = *before;
  result["reference_bits"] = (*trial)->getBitsPerWeight();
  return result;
}

llvm::Expected<json::Object> Compiler::compile() {
  settleOptions();
  if (llvm::Error error = checkOptions())
    return std::move(error);
  if (llvm::Error error = importModel())
    return std::move(error);
  lap("import");

  for (Phase phase : {Phase::Input, Phase::Raise, Phase::Assign}) {
    if (llvm::Error error = runPhase(*module, phase, options.phases)) {
      // Shapes computed from an empty dimension mean other things.
      for (const auto &[name, size] : options.bindings)
        if (size == 0)
          llvm::WithColor::note(messages())
              << "--bind makes dimension '" << name
              << "' empty; a size from 1 on may be meant\n";
      return std::move(error);
    }
    if (llvm::Error error = checkDeviceModel(phase))
      return std::move(error);
    if (phase == Phase::Input && !options.calibration.empty())
      imported = OwningOpRef<ModuleOp>(module->clone());
    if (phase == Phase::Raise && evaluationTokens)
      if (llvm::Error error = evaluationTokens->check(
              *module, "--evaluate", options.evaluate, /*targets=*/1))
        return std::move(error);
    if (phase == Phase::Raise && options.budget != 0)
      if (llvm::Error error = searchBudget())
        return std::move(error);
    if (phase == Phase::Assign)
      if (llvm::Error error = checkSolvers(*module))
        return std::move(error);
    if (options.compileTo == phase) {
      if (llvm::Error error = writeModule())
        return std::move(error);
      return json::Object{{"output", options.output}};
    }
  }
  lap("raise");

  json::Array report;
  std::unique_ptr<Quantizer> quantizer;
  OwningOpRef<ModuleOp> assigned;
  bool quantizes = options.phases.quantizes() && !options.compileTo;
  if (!options.compileTo)
    if (llvm::Error error = checkDisk())
      return std::move(error);
  if (quantizes) {
    assigned = OwningOpRef<ModuleOp>(module->clone());
    if (!work)
      if (llvm::Error error = openWork())
        return std::move(error);
    quantizer = std::make_unique<Quantizer>(
        *assigned, imported ? *imported : ModuleOp(), options, *store,
        work->getPath(), progress);
    if (quantizer->getWeightCount() == 0)
      return makeError("expected the model to have weights to quantize, but " +
                       describeKeptProducts(*assigned, options.phases));
    quantizer->announce();
    if (llvm::Error error = quantizer->run())
      return std::move(error);
    report = quantizer->report();
    lap("quantize");
  }

  if (llvm::Error error = runPhase(*module, Phase::Materialize, options.phases))
    return std::move(error);
  if (options.compileTo) {
    if (device && options.compileTo != Phase::Materialize)
      eraseMain(*module);
    for (Phase phase : {Phase::Linalg, Phase::Buffer, Phase::LLVM}) {
      if (options.compileTo < phase)
        break;
      if (llvm::Error error = device && phase == Phase::LLVM
                                  ? lowerToDevice(*module, *device)
                                  : runPhase(*module, phase, options.phases))
        return std::move(error);
    }
    if (llvm::Error error = writeModule())
      return std::move(error);
    return json::Object{{"output", options.output}};
  }

  auto info = describeModule(*module);
  if (!info)
    return info.takeError();
  info->sourceFile = llvm::sys::path::filename(options.model).str();
  if (auto buffer = llvm::MemoryBuffer::getFile(options.model, false, false))
    info->sourceSha256 = runtime::sha256(std::string_view(
        (*buffer)->getBufferStart(), (*buffer)->getBufferSize()));
  auto component = [&](StringRef key,
                       llvm::function_ref<llvm::Error(ArrayRef<char>)> sink) {
    return quantizer->readComponent(key, sink);
  };
  auto bytes = writeArtifact(*module, *info, options.phases, *store, component,
                             options.output, device ? &*device : nullptr);
  if (!bytes)
    return bytes.takeError();
  written.push_back(options.output);
  // Devices store other tensors than schemes do.
  llvm::StringMap<int64_t> weightBytes;
  for (const json::Value &weight : info->weights)
    weightBytes[*weight.getAsObject()->getString("name")] =
        *weight.getAsObject()->getInteger("bytes");
  for (json::Value &value : report) {
    json::Object &weight = *value.getAsObject();
    if (auto found = weightBytes.find(*weight.getString("name"));
        found != weightBytes.end())
      weight["bytes"] = found->second;
  }
  lap("code");
  json::Array rows;
  if (quantizer && !options.reports.empty()) {
    auto described = describeRows(*assigned, *quantizer);
    if (!described)
      return described.takeError();
    rows = std::move(*described);
  }
  std::optional<json::Object> evaluation;
  if (evaluationTokens) {
    auto evaluated = evaluate(assigned ? *assigned : ModuleOp());
    if (!evaluated)
      return evaluated.takeError();
    evaluation = std::move(*evaluated);
    lap("evaluate");
  }
  progress.note(llvm::formatv("wrote {0}: {1} KiB", options.output,
                              (*bytes + 1023) / 1024)
                    .str());
  json::Object summary{{"model", options.model},
                       {"output", options.output},
                       {"bytes", *bytes},
                       {"bits_per_weight", info->bitsPerWeight},
                       {"weights", std::move(report)},
                       {"seconds", std::move(seconds)}};
  if (budget)
    summary["budget"] = std::move(*budget);
  if (evaluation)
    summary["evaluation"] = std::move(*evaluation);
  if (options.reports.empty())
    return summary;
  json::Object whole = summary;
  whole["rows"] = std::move(rows);
  for (const std::string &path : options.reports)
    if (llvm::Error error = writeReport(path, whole))
      return std::move(error);
    else
      written.push_back(path);
  return summary;
}

llvm::Expected<json::Object> ganq::compileModel(const CompileOptions &options) {
  // Runs of one process would share its file locks and the threads of BLAS.
  static std::mutex turn;
  std::lock_guard<std::mutex> guard(turn);
  Compiler compiler(options);
  return compiler.run();
}
