//===- Budget.cpp - The best schemes within a size ------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/Pipelines/Budget.h"
#include "Calibrate.h"
#include "Errors.h"
#include "TrialModel.h"
#include "WorkFolder.h"
#include "ganq/Codegen/Gpu/GpuProducts.h"
#include "ganq/Schemes/SchemeSolver.h"
#include "ganq/Schemes/SchemeText.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/Sequence.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Regex.h"
#include <algorithm>
#include <chrono>
#include <cmath>
#include <tuple>

using namespace mlir;
using namespace ganq;
namespace fs = llvm::sys::fs;
namespace json = llvm::json;

/// Tokens that each trial runs over, and the bytes that the unquantized model's
/// log-probabilities may take.
static constexpr int64_t kTrialTokens = 8192;
static constexpr int64_t kReferenceBytes = int64_t(512) << 20;

/// Relative errors up to this do damage that rounding hides.
static constexpr double kLeastError = 1e-4;

//===----------------------------------------------------------------------===//
// Choosing
//===----------------------------------------------------------------------===//

std::optional<size_t> ganq::chooseMeasured(ArrayRef<BudgetChoice> candidates) {
  auto order = llvm::to_vector(llvm::seq<size_t>(candidates.size()));
  llvm::sort(order, [&](size_t a, size_t b) {
    return std::make_pair(candidates[a].bytes, a) <
           std::make_pair(candidates[b].bytes, b);
  });
  if (!order.empty())
    std::rotate(order.begin(), order.begin() + 1, order.end());
  for (size_t index : order)
    if (candidates[index].error > kLeastError)
      return index;
  return std::nullopt;
}

std::vector<size_t>
ganq::chooseWithinBudget(ArrayRef<std::vector<BudgetChoice>> weights,
                         int64_t limit, size_t maxStates) {
  /// The least damage of the first weights at a size, and the way to it.
  struct State {
    int64_t bytes;
    double damage, error;
    uint32_t previous, choice;
  };
  // The least that the weights from each one on take.
  std::vector<int64_t> rest(weights.size() + 1, 0);
  for (size_t i = weights.size(); i-- > 0;) {
    int64_t least = INT64_MAX;
    for (const BudgetChoice &choice : weights[i])
      least = std::min(least, choice.bytes);
    if (weights[i].empty())
      return {};
    rest[i] = rest[i + 1] + least;
  }

  std::vector<std::vector<State>> stages{{{0, 0, 0, 0, 0}}};
  for (size_t i = 0; i < weights.size(); ++i) {
    std::vector<State> all, kept;
    for (auto [from, state] : llvm::enumerate(stages.back()))
      for (auto [number, choice] : llvm::enumerate(weights[i]))
        if (state.bytes + choice.bytes + rest[i + 1] <= limit)
          all.push_back(
              {state.bytes + choice.bytes, state.damage + choice.damage,
               state.error + choice.error * choice.error,
               static_cast<uint32_t>(from), static_cast<uint32_t>(number)});
    llvm::sort(all, [](const State &a, const State &b) {
      return std::tie(a.bytes, a.damage, a.error, a.previous, a.choice) <
             std::tie(b.bytes, b.damage, b.error, b.previous, b.choice);
    });
    for (const State &state : all)
      if (kept.empty() || std::tie(state.damage, state.error) <
                              std::tie(kept.back().damage, kept.back().error))
        kept.push_back(state);
    if (kept.empty())
      return {};
    if (maxStates > 1 && kept.size() > maxStates) {
      std::vector<State> thinned;
      for (size_t j = 0; j < maxStates; ++j)
        thinned.push_back(kept[j * (kept.size() - 1) / (maxStates - 1)]);
      kept = std::move(thinned);
    }
    stages.push_back(std::move(kept));
  }

  // Damage, or the error at the same damage, falls along the sizes.
  std::vector<size_t> chosen(weights.size());
  size_t at = stages.back().size() - 1;
  for (size_t i = weights.size(); i-- > 0;) {
    const State &state = stages[i + 1][at];
    chosen[i] = state.choice;
    at = state.previous;
  }
  return chosen;
}

//===----------------------------------------------------------------------===//
// Candidates
//===----------------------------------------------------------------------===//

/// The usual candidates: of each family what a small model gained most from per
/// stored bit.
static constexpr StringLiteral kCandidates =
    "lut<bits = 2>;lut<bits = 3>;lut<bits = 4>;lut<bits = 4, entry = i8>;"
    "lut<bits = 5>;lut<bits = 6>;uniform<bits = 2>;uniform<bits = 3>;"
    "uniform<bits = 4>;uniform<bits = 5>;uniform<bits = 6>;uniform<bits = 8>;"
    "pot<bits = 2, group = 32, grid = stride2>;"
    "pot<bits = 4, group = 32, grid = half, mantissa = 1>;"
    "pot<bits = 5, group = 32, grid = half, mantissa = 2>;"
    "pot<bits = 6, group = 32, grid = half, mantissa = 3>;"
    "nf<bits = 4, group = 64>";

/// The candidates: those named, or those of the scheme, or the usual ones. Of
/// these, devices leave out what they have no kernels for.
static llvm::Expected<std::vector<SchemeAttrInterface>>
readCandidates(const CompileOptions &options, MLIRContext *context) {
  std::vector<SchemeAttrInterface> result;
  auto add = [&](llvm::Expected<SchemeAttrInterface> scheme) -> llvm::Error {
    if (!scheme)
      return makeError("--candidates: " + llvm::toString(scheme.takeError()));
    if (scheme->getActivationBits())
      return makeError("expected candidates of --budget with float "
                       "activations, but got " +
                       getSchemeText(*scheme));
    if (auto uniform = dyn_cast<UniformAttr>(*scheme);
        uniform && uniform.getSmooth())
      return makeError("expected candidates of --budget to leave the inputs "
                       "of products as they are, but got " +
                       getSchemeText(*scheme));
    auto solver = dyn_cast<SchemeSolverInterface>(*scheme);
    if (solver && !options.solver.empty() &&
        !llvm::is_contained(solver.getSolvers(), options.solver))
      return makeError("expected --solver to be one that every candidate of "
                       "--budget has, but `" +
                       options.solver + "` is none of " +
                       getSchemeText(*scheme) + "'s (" +
                       llvm::join(solver.getSolvers(), ", ") +
                       "); leave --solver out, or name --candidates that "
                       "have it");
    if (options.target != "cpu")
      if (llvm::Error error =
              checkGpuWeight(*scheme, /*n=*/32, /*k=*/128, std::nullopt, {})) {
        if (!options.candidates.empty())
          return makeError("--candidates: " + llvm::toString(std::move(error)));
        llvm::consumeError(std::move(error));
        return llvm::Error::success();
      }
    if (llvm::is_contained(result, *scheme))
      return makeError("expected the candidates of --budget to differ, but " +
                       getSchemeText(*scheme) + " is there twice");
    result.push_back(*scheme);
    return llvm::Error::success();
  };
  StringRef named = options.candidates;
  if (named.empty() && options.phases.scheme == "none" &&
      options.phases.schemeOptions.empty())
    named = kCandidates;
  if (!named.empty()) {
    SmallVector<StringRef> texts;
    named.split(texts, ';', -1, /*KeepEmpty=*/false);
    for (StringRef text : texts) {
      auto parsed = SchemeText::parse(text);
      if (!parsed)
        return makeError("--candidates: " + llvm::toString(parsed.takeError()));
      if (llvm::Error error = add(parsed->get(context)))
        return std::move(error);
    }
  } else {
    for (StringRef bits : {"2", "3", "4", "5", "6"}) {
      auto text = SchemeText::parse(
          options.phases.scheme == "none" ? "lut" : options.phases.scheme);
      if (!text)
        return text.takeError();
      for (const auto &[name, value] : options.phases.schemeOptions)
        if (llvm::Error error = text->set(name, value))
          return std::move(error);
      if (llvm::Error error = text->set("bits", bits))
        return std::move(error);
      if (llvm::Error error = add(text->get(context)))
        return std::move(error);
    }
  }
  if (result.size() < 2)
    return makeError("expected at least two candidates for --budget, but got " +
                     llvm::Twine(result.size()));
  return result;
}

llvm::Error BudgetSearch::check(const CompileOptions &options,
                                MLIRContext *context) {
  if (!(options.budget > 0 && options.budget <= 32))
    return makeError(llvm::formatv("expected --budget to be a number of bits "
                                   "between 0 and 32, but got {0}",
                                   options.budget));
  if (options.compileTo)
    return makeError("expected --budget without --compile-to, as the search "
                     "runs the model");
  if (options.calibration.empty() || !isNpyFile(options.calibration))
    return makeError("expected --budget with token ids to judge the schemes "
                     "on: --calibration=ids.npy");
  for (const auto &[name, value] : options.phases.schemeOptions)
    if (name == "bits")
      return makeError("expected --budget without --bits, which it chooses");
  if (StringRef(options.phases.scheme).contains('<'))
    return makeError("expected --budget with the name of a scheme, but got the "
                     "text of an attribute; --candidates takes such texts");
  if (!options.candidates.empty() && options.phases.scheme != "none" &&
      options.phases.rules.empty())
    return makeError("expected --candidates or --scheme, but got both");
  return readCandidates(options, context).takeError();
}

BudgetSearch::BudgetSearch(ModuleOp raised, ModuleOp imported,
                           const CompileOptions &options, ParameterStore &store,
                           std::string work, Progress &progress)
    : raised(raised), imported(imported), options(options), store(store),
      work(std::move(work)), progress(progress) {}

/// Shares a finished file, and its hash where it has one, between two folders.
static void share(const std::string &from, const std::string &to) {
  for (StringRef suffix : {"", ".hash"}) {
    std::string source = from + suffix.str(), target = to + suffix.str();
    if (fs::exists(source) && !fs::exists(target) &&
        fs::create_hard_link(source, target))
      fs::copy_file(source, target);
  }
}

llvm::Error BudgetSearch::assignCandidates() {
  auto schemes = readCandidates(options, raised.getContext());
  if (!schemes)
    return schemes.takeError();
  for (SchemeAttrInterface scheme : *schemes) {
    Candidate &candidate = candidates.emplace_back();
    candidate.scheme = scheme;
    candidate.work = work + "/" + scheme.getShortName() + "." +
                     std::to_string(candidates.size());
    candidate.options = std::make_unique<CompileOptions>(options);
    candidate.options->phases.scheme = getSchemeText(scheme);
    candidate.options->phases.schemeOptions.clear();
    // All candidates are judged on the unquantized model.
    candidate.options->calibrationMode = "one-shot";
    candidate.assigned = OwningOpRef<ModuleOp>(raised.clone());
    // One word on each weight is enough, when the choice is made.
    ScopedDiagnosticHandler quiet(raised.getContext(),
                                  [](Diagnostic &diagnostic) {
                                    return success(diagnostic.getSeverity() ==
                                                   DiagnosticSeverity::Remark);
                                  });
    if (llvm::Error error = runPhase(*candidate.assigned, Phase::Assign,
                                     candidate.options->phases))
      return error;

    llvm::StringMap<size_t> seen;
    candidate.assigned->walk([&](MatmulOp matmul) {
      auto parameter = matmul.getWeight().getDefiningOp<ParameterOp>();
      auto type = dyn_cast<RankedTensorType>(matmul.getWeight().getType());
      if (!parameter || !type || !type.getEncoding() ||
          !seen.try_emplace(parameter.getKey(), seen.size()).second)
        return;
      size_t index = seen.size() - 1;
      if (candidates.size() == 1) {
        Weight weight;
        weight.key = parameter.getKey().str();
        weight.parameter = parameter;
        weight.n = type.getDimSize(0);
        weight.k = type.getDimSize(1);
        if (auto solver = parameter->getAttrOfType<StringAttr>("ganq.solver"))
          weight.solver = solver.str();
        weights.push_back(std::move(weight));
      }
      Weight &weight = weights[index];
      auto assigned = cast<SchemeAttrInterface>(type.getEncoding());
      weight.schemes.push_back(assigned);
      weight.choices.emplace_back().bytes =
          getStoredBytes(assigned, weight.n, weight.k);
    });
    if (weights.empty())
      return makeError(
          "expected the model to have weights to quantize, but " +
          describeKeptProducts(*candidate.assigned, candidate.options->phases));
  }
  for (const Weight &weight : weights)
    elements += weight.n * weight.k;
  return llvm::Error::success();
}

int64_t BudgetSearch::getLimit() const {
  return static_cast<int64_t>(options.budget * static_cast<double>(elements) /
                              8);
}

llvm::Error BudgetSearch::checkLimit() const {
  int64_t least = 0;
  for (const Weight &weight : weights)
    least +=
        llvm::min_element(weight.choices, [](const auto &a, const auto &b) {
          return a.bytes < b.bytes;
        })->bytes;
  if (least <= getLimit())
    return llvm::Error::success();
  return makeError(llvm::formatv(
      "expected --budget to be at least {0:F4} bits per weight, what the "
      "smallest candidates take, but got {1}",
      8.0 * static_cast<double>(least) / static_cast<double>(elements) + 5e-5,
      options.budget));
}

llvm::Error BudgetSearch::solveCandidates() {
  for (auto [number, candidate] : llvm::enumerate(candidates)) {
    if (std::error_code code = fs::create_directories(candidate.work))
      return makeError("cannot make the folder '" + candidate.work +
                       "': " + code.message());
    // A rule has fixed the scheme: solved once.
    for (auto [index, weight] : llvm::enumerate(weights))
      if (number && weight.schemes.front() == weight.schemes[number])
        share(Quantizer::weightFile(candidates.front().work, index),
              Quantizer::weightFile(candidate.work, index));
    share(Quantizer::calibrationFile(candidates.front().work),
          Quantizer::calibrationFile(candidate.work));
    progress.note(llvm::formatv("candidate {0} of {1}: {2}", number + 1,
                                candidates.size(),
                                getSchemeText(candidate.scheme))
                      .str());
    candidate.quantizer = std::make_unique<Quantizer>(
        *candidate.assigned, imported, *candidate.options, store,
        candidate.work, progress);
    candidate.quantizer->announce();
    if (llvm::Error error = candidate.quantizer->run())
      return error;
    for (const auto &[weight, value] :
         llvm::zip_equal(weights, candidate.quantizer->report()))
      weight.choices[number].error =
          value.getAsObject()->getNumber("relative_error").value_or(0);
  }
  return llvm::Error::success();
}

//===----------------------------------------------------------------------===//
// Judging
//===----------------------------------------------------------------------===//

/// One trial a line: a hash of the rest, the damage, the weight and the scheme.
static std::string trialFile(StringRef work) {
  return (work + "/trials").str();
}

static std::string nameTrial(StringRef key, SchemeAttrInterface scheme) {
  return (key + " " + getSchemeText(scheme)).str();
}

llvm::StringMap<double> BudgetSearch::readTrials() const {
  llvm::StringMap<double> trials;
  auto file = llvm::MemoryBuffer::getFile(trialFile(work));
  if (!file)
    return trials;
  SmallVector<StringRef> lines;
  (*file)->getBuffer().split(lines, '\n', -1, /*KeepEmpty=*/false);
  for (StringRef line : lines) {
    auto [hash, text] = line.split(' ');
    auto [number, name] = text.split(' ');
    double damage = 0;
    if (hash == hashBytes(text) && !number.getAsDouble(damage))
      trials[name] = damage;
  }
  return trials;
}

llvm::Error BudgetSearch::keepTrial(StringRef name, double damage) const {
  std::string text =
      llvm::formatv("{0} {1}", llvm::format("%.17g", damage), name);
  std::error_code code;
  llvm::raw_fd_ostream os(trialFile(work), code, fs::OF_Append);
  if (!code) {
    // A line that a stopped run left unfinished ends here.
    os << '\n' << hashBytes(text) << ' ' << text << '\n';
    os.close();
    code = os.error();
    os.clear_error();
  }
  if (code)
    return makeError("cannot write '" + trialFile(work) +
                     "': " + code.message());
  return llvm::Error::success();
}

llvm::Expected<std::unique_ptr<TrialModel>>
BudgetSearch::buildTrial(size_t trials) {
  auto tokens = TokenRows::read(options.calibration, "--calibration");
  if (!tokens)
    return tokens.takeError();
  auto model = TrialModel::build(*candidates.front().assigned, options.phases,
                                 store, work + "/reference.ganq");
  if (!model)
    return model.takeError();
  int64_t limit = kTrialTokens;
  if (auto state = raised->getAttrOfType<DictionaryAttr>("ganq.state"))
    limit = std::min<int64_t>(
        limit, kReferenceBytes /
                   (4 * state.getAs<IntegerAttr>("vocabulary").getInt()));
  TokenRows sample = tokens->sample(limit);
  auto begin = std::chrono::steady_clock::now();
  if (llvm::Error error = (*model)->setReference(sample))
    return std::move(error);
  double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begin)
          .count();
  progress.note(
      llvm::formatv(
          "{0} trials on {1} tokens: about {2} s", trials,
          sample.rows * sample.columns,
          static_cast<int64_t>(static_cast<double>(trials) * seconds) + 1)
          .str());
  return model;
}

llvm::Expected<double> BudgetSearch::runTrial(TrialModel &model,
                                              Weight &weight) {
  size_t base = *weight.measured;
  auto values = candidates[base].quantizer->decode(
      weight.key, weight.schemes[base], weight.n, weight.k);
  if (!values)
    return values.takeError();
  if (llvm::Error error = model.replace(weight.parameter, *values))
    return std::move(error);
  auto damage = model.getDivergence();
  if (!damage)
    return damage.takeError();
  if (!std::isfinite(*damage))
    return makeError("expected finite logits with weight '" + weight.key +
                     "' as " + getSchemeText(weight.schemes[base]) +
                     ", but got others");
  if (llvm::Error error = model.restore(weight.parameter))
    return std::move(error);
  return *damage;
}

llvm::Error BudgetSearch::measure() {
  llvm::StringMap<double> known = readTrials();
  size_t open = 0, measured = 0;
  for (Weight &weight : weights) {
    weight.measured = chooseMeasured(weight.choices);
    if (!weight.measured)
      continue;
    ++measured;
    open += !known.contains(
        nameTrial(weight.key, weight.schemes[*weight.measured]));
  }
  if (open < measured)
    progress.note(
        llvm::formatv("{0} trials of an earlier run", measured - open).str());
  std::unique_ptr<TrialModel> model;
  if (open) {
    auto built = buildTrial(open);
    if (!built)
      return built.takeError();
    model = std::move(*built);
  }
  progress.begin("judging", static_cast<double>(open));
  double done = 0;
  for (Weight &weight : weights) {
    if (!weight.measured)
      continue;
    std::string name = nameTrial(weight.key, weight.schemes[*weight.measured]);
    auto found = known.find(name);
    double damage = 0;
    if (found != known.end()) {
      damage = found->second;
    } else {
      auto result = runTrial(*model, weight);
      if (!result)
        return result.takeError();
      damage = *result;
      if (llvm::Error error = keepTrial(name, damage))
        return error;
      progress.update(++done, weight.key);
    }
    double base = weight.choices[*weight.measured].error;
    for (BudgetChoice &choice : weight.choices) {
      double ratio = choice.error / base;
      choice.damage = damage * ratio * ratio;
    }
  }
  progress.end();
  return llvm::Error::success();
}

void BudgetSearch::choose() {
  std::vector<std::vector<BudgetChoice>> choices;
  for (const Weight &weight : weights)
    choices.push_back(weight.choices);
  // Never empty: the smallest candidates fit.
  std::vector<size_t> chosen = chooseWithinBudget(choices, getLimit());
  int64_t bytes = 0;
  for (auto [weight, index] : llvm::zip_equal(weights, chosen)) {
    weight.chosen = index;
    bytes += weight.choices[index].bytes;
  }
  bitsPerWeight =
      8.0 * static_cast<double>(bytes) / static_cast<double>(elements);
}

llvm::Expected<std::string> BudgetSearch::writeRules() {
  std::string path = work + "/choice.json";
  json::Array rules;
  for (const Weight &weight : weights) {
    json::Object rule{{"match", "^" + llvm::Regex::escape(weight.key) + "$"},
                      {"scheme", getSchemeText(weight.schemes[weight.chosen])}};
    if (!weight.solver.empty())
      rule["solver"] = weight.solver;
    rules.push_back(std::move(rule));
  }
  std::error_code code;
  llvm::raw_fd_ostream os(path, code);
  if (!code) {
    os << llvm::formatv("{0:2}\n", json::Value(std::move(rules)));
    os.close();
    code = os.error();
    os.clear_error();
  }
  if (code)
    return makeError("cannot write '" + path + "': " + code.message());
  return path;
}

void BudgetSearch::keepSolutions() {
  if (options.calibrationMode != "one-shot")
    return;
  share(Quantizer::calibrationFile(candidates.front().work),
        Quantizer::calibrationFile(work));
  for (auto [index, weight] : llvm::enumerate(weights))
    share(Quantizer::weightFile(candidates[weight.chosen].work, index),
          Quantizer::weightFile(work, index));
}

llvm::Expected<std::string> BudgetSearch::run() {
  if (llvm::Error error = assignCandidates())
    return std::move(error);
  if (llvm::Error error = checkLimit())
    return std::move(error);
  if (llvm::Error error = solveCandidates())
    return std::move(error);
  if (llvm::Error error = measure())
    return std::move(error);
  choose();
  keepSolutions();
  progress.note(llvm::formatv("chose {0:F4} bits per weight of {1}",
                              bitsPerWeight, options.budget)
                    .str());
  return writeRules();
}

json::Object BudgetSearch::report() const {
  json::Array list;
  double total = 0;
  for (const Weight &weight : weights) {
    json::Array options;
    for (size_t i = 0; i < candidates.size(); ++i)
      options.push_back(
          json::Object{{"scheme", getSchemeText(weight.schemes[i])},
                       {"bytes", weight.choices[i].bytes},
                       {"relative_error", weight.choices[i].error},
                       {"divergence", weight.choices[i].damage}});
    total += weight.choices[weight.chosen].damage;
    json::Object entry{{"name", weight.key},
                       {"chosen", getSchemeText(weight.schemes[weight.chosen])},
                       {"candidates", std::move(options)}};
    if (weight.measured)
      entry["measured"] = getSchemeText(weight.schemes[*weight.measured]);
    list.push_back(std::move(entry));
  }
  return json::Object{{"limit", options.budget},
                      {"bits_per_weight", bitsPerWeight},
                      {"predicted_divergence", total},
                      {"weights", std::move(list)}};
}
