//===- Session.cpp - Text generation with a compiled model ----------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/runtime/session.h"
#include "DeviceSession.h"
#include "Host.h"
#include "ganq/runtime/thread_pool.h"
#include <algorithm>
#include <cmath>
#include <cstring>

namespace ganq::runtime {

namespace {

/// How to run a language model through main when it has no step functions:
/// which input takes the tokens, which output gives the logits, and what the
/// customary other inputs get.
struct MainRecipe {
  const Entry *entry = nullptr;
  size_t tokens = 0;      ///< input
  size_t logits = 0;      ///< output
  int64_t capacity = 0;   ///< static sequence length; 0: any
  int64_t vocabulary = 0; ///< 0: not known
};

bool isInteger(DType type) { return type == DType::I64 || type == DType::I32; }

bool contains(const std::string &text, const char *part) {
  return text.find(part) != std::string::npos;
}

bool isFloat(DType type) {
  return type == DType::F32 || type == DType::F16 || type == DType::BF16 ||
         type == DType::F64;
}

Result<MainRecipe> makeRecipe(const Model &model) {
  if (!model.manifest().main)
    return Status(Code::Unsupported,
                  "the model has neither step functions nor an entry 'main'");
  MainRecipe recipe;
  const Entry &entry = *model.manifest().main;
  recipe.entry = &entry;
  std::vector<size_t> candidates;
  for (size_t i = 0; i < entry.inputs.size(); ++i) {
    const Port &port = entry.inputs[i];
    if (isInteger(port.dtype) && !contains(port.name, "mask") &&
        !contains(port.name, "position"))
      candidates.push_back(i);
  }
  if (candidates.size() != 1 || entry.inputs[candidates[0]].shape.size() > 2 ||
      entry.inputs[candidates[0]].shape.empty())
    return Status(Code::Unsupported,
                  "expected a language model with a single token input of type "
                  "int32 or int64 and shape [batch, sequence] or [sequence], "
                  "but got " +
                      std::to_string(candidates.size()) +
                      " candidates among the inputs (use the model's inputs "
                      "and outputs directly)");
  recipe.tokens = candidates[0];
  const Dimension &length = entry.inputs[recipe.tokens].shape.back();
  recipe.capacity = std::max<int64_t>(length.size, 0);

  bool found = false;
  for (size_t i = entry.outputs.size(); i-- > 0;) {
    const Port &port = entry.outputs[i];
    if (!isFloat(port.dtype) || port.shape.size() < 2 || port.shape.size() > 3)
      continue;
    if (found && contains(entry.outputs[recipe.logits].name, "logits") &&
        !contains(port.name, "logits"))
      continue;
    recipe.logits = i;
    found = true;
  }
  if (!found)
    return Status(Code::Unsupported,
                  "expected a language model with an output of logits, but no "
                  "output is a float array [batch, sequence, vocabulary]");
  recipe.vocabulary =
      std::max<int64_t>(entry.outputs[recipe.logits].shape.back().size, 0);
  return recipe;
}

/// Sizes for an input's dimensions: batch 1, the sequence's length, and nothing
/// for lengths of a past.
std::vector<int64_t> recipeShape(const MainRecipe &recipe, const Port &port,
                                 int64_t length) {
  const Port &tokens = recipe.entry->inputs[recipe.tokens];
  const std::string batch =
      tokens.shape.size() == 2 ? tokens.shape[0].symbol : "";
  bool past = !isInteger(port.dtype) && port.dtype != DType::Bool;
  std::vector<int64_t> shape;
  for (const Dimension &dimension : port.shape) {
    bool isBatch = !dimension.symbol.empty() && dimension.symbol == batch;
    shape.push_back(dimension.size >= 0 ? dimension.size
                    : isBatch           ? 1
                    : past              ? 0
                                        : length);
  }
  return shape;
}

Result<Tensor> recipeInput(const MainRecipe &recipe, size_t which,
                           const int64_t *tokens, int64_t count) {
  const Port &port = recipe.entry->inputs[which];
  int64_t length = recipe.capacity ? recipe.capacity : count;
  bool isTokens = which == recipe.tokens;
  std::vector<int64_t> shape = recipeShape(recipe, port, length);
  if (isTokens && shape.size() == 2 &&
      recipe.entry->inputs[which].shape[0].size < 0)
    shape[0] = 1;
  Result<Tensor> tensor = Tensor::create(port.dtype, shape);
  if (!tensor.ok())
    return tensor;
  for (int64_t i = 0, e = tensor->count(); i < e; ++i) {
    int64_t column = i % length;
    int64_t value = isTokens ? (column < count ? tokens[column] : 0)
                    : contains(port.name, "position") ? column
                                                      : 1;
    if (port.dtype == DType::I64)
      tensor->as<int64_t>()[i] = value;
    else if (port.dtype == DType::I32)
      tensor->as<int32_t>()[i] = int32_t(value);
    else if (port.dtype == DType::Bool)
      tensor->as<uint8_t>()[i] = 1;
  }
  return tensor;
}

/// Runs main over a whole sequence; the result is its logits as floats, row by
/// row, at least `count` rows.
Result<Tensor> runMain(Model &model, const MainRecipe &recipe,
                       const int64_t *tokens, int64_t count) {
  if (recipe.capacity && count > recipe.capacity)
    return Status(Code::OutOfRange,
                  "expected at most " + std::to_string(recipe.capacity) +
                      " tokens, but got " + std::to_string(count));
  std::vector<Tensor> tensors;
  std::vector<NamedTensor> inputs;
  for (size_t i = 0; i < recipe.entry->inputs.size(); ++i) {
    Result<Tensor> tensor = recipeInput(recipe, i, tokens, count);
    if (!tensor.ok())
      return tensor;
    inputs.push_back({recipe.entry->inputs[i].name, tensor->dtype,
                      tensor->shape, tensor->data.data()});
    tensors.push_back(std::move(*tensor));
  }
  Result<std::vector<Tensor>> outputs = model.run(inputs);
  if (!outputs.ok())
    return outputs.status();
  Tensor &logits = (*outputs)[recipe.logits];
  int64_t vocabulary = logits.shape.back();
  int64_t rows = vocabulary > 0 ? logits.count() / vocabulary : 0;
  if (rows < count || (logits.shape.size() == 3 && logits.shape[0] != 1))
    return Status(Code::Unsupported,
                  "expected logits for each of " + std::to_string(count) +
                      " tokens of one sequence, but got the shape " +
                      toString(logits.shape));
  if (logits.dtype == DType::F32)
    return std::move(logits);
  Result<Tensor> floats = Tensor::create(DType::F32, logits.shape);
  if (floats.ok())
    toFloat(logits.dtype, logits.data.data(), 0, logits.count(),
            floats->as<float>());
  return floats;
}

/// splitmix64: the same draws on every machine.
uint64_t nextRandom(uint64_t &state) {
  uint64_t z = state += 0x9e3779b97f4a7c15;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

} // namespace

struct Session::Implementation {
  std::shared_ptr<Model> model;
  uint64_t random = 0;
  int64_t length = 0;
  int64_t vocabulary = 0;
  std::vector<float> lastLogits;

  // With step functions on a device.
  std::unique_ptr<DeviceSession> device;
  bool timed = false;
  double deviceSeconds = 0; ///< of the last feed
  /// What the device found to be the most probable token, in logits that lie
  /// there while `lastLogits` is empty.
  std::optional<int64_t> best;

  // With step functions of the CPU.
  std::vector<Tensor> caches;
  Buffer arena;
  Tensor logits;

  // Without.
  std::optional<MainRecipe> recipe;
  std::vector<int64_t> history;

  const StateInfo *state() const {
    return model->manifest().state ? &*model->manifest().state : nullptr;
  }
  int64_t maxContext() const;
  Status allocate();
  Status check(const int64_t *tokens, int64_t count) const;
  /// The logits of the last token, if there are any.
  Status readLogits();
  void forgetLogits() {
    lastLogits.clear();
    best.reset();
  }
  /// Runs a step function; `row` is for prompt. The result is the logits of
  /// rows `first` .. `first + count - 1`.
  Result<const float *> step(Step step, int64_t *tokens, int64_t row,
                             int64_t first, int64_t count);
  Status feedSteps(const int64_t *tokens, int64_t count,
                   const LogitsCallback &each);
  Status feedMain(const int64_t *tokens, int64_t count,
                  const LogitsCallback &each);
};

Session::Session() : impl(std::make_unique<Implementation>()) {}
Session::~Session() = default;

Result<std::unique_ptr<Session>> Session::create(std::shared_ptr<Model> model) {
  std::unique_ptr<Session> session(new Session);
  Implementation &impl = *session->impl;
  impl.model = std::move(model);
  if (impl.state()) {
    impl.vocabulary = impl.state()->vocabulary;
    if (Status status = impl.allocate(); !status.ok())
      return status;
    return session;
  }
  Result<MainRecipe> recipe = makeRecipe(*impl.model);
  if (!recipe.ok())
    return recipe.status();
  impl.recipe = *recipe;
  impl.vocabulary = recipe->vocabulary;
  return session;
}

Status Session::Implementation::allocate() {
  const Manifest &manifest = model->manifest();
  if (manifest.isForDevice()) {
    Result<DeviceModel *> loaded = model->device();
    if (!loaded.ok())
      return loaded.status();
    std::lock_guard<std::mutex> lock(model->callMutex());
    Result<std::unique_ptr<DeviceSession>> made =
        DeviceSession::create(**loaded);
    if (!made.ok())
      return Status(made.status().code(),
                    model->file().path() + ": " + made.status().message());
    device = std::move(*made);
    return Status();
  }
  int64_t arenaBytes = manifest.decode->arena, rows = 1;
  if (manifest.prefill) {
    arenaBytes = std::max(arenaBytes, manifest.prefill->arena);
    rows = manifest.prefill->tokens;
  }
  if (manifest.prompt)
    arenaBytes = std::max(arenaBytes, manifest.prompt->arena);
  Result<Buffer> buffer = Buffer::create(arenaBytes);
  if (!buffer.ok())
    return buffer.status();
  arena = std::move(*buffer);
  // Caches start as zeros: rows beyond `past` are masked, but a NaN there would
  // pass a mask that adds.
  for (const CacheInfo &cache : state()->caches) {
    Result<Tensor> tensor = Tensor::create(cache.dtype, cache.shape);
    if (!tensor.ok())
      return Status(tensor.status().code(),
                    "cache '" + cache.name + "': " + tensor.status().message());
    caches.push_back(std::move(*tensor));
  }
  Result<Tensor> tensor =
      Tensor::create(DType::F32, {1, rows, state()->vocabulary});
  if (!tensor.ok())
    return tensor.status();
  logits = std::move(*tensor);
  return Status();
}

int64_t Session::Implementation::maxContext() const {
  if (state())
    return state()->maxContext;
  return recipe->capacity ? recipe->capacity : INT64_MAX;
}

Status Session::Implementation::check(const int64_t *tokens,
                                      int64_t count) const {
  if (count < 0 || (count > 0 && !tokens))
    return Status(Code::InvalidArgument, "expected tokens, but got none");
  if (count > maxContext() - length)
    return Status(Code::OutOfRange,
                  "expected a sequence of at most " +
                      std::to_string(maxContext()) +
                      " tokens (the model's context), but got " +
                      std::to_string(length) + " + " + std::to_string(count));
  int64_t limit = vocabulary ? vocabulary : INT64_MAX;
  for (int64_t i = 0; i < count; ++i)
    if (tokens[i] < 0 || tokens[i] >= limit)
      return Status(Code::OutOfRange, "token " + std::to_string(i) +
                                          ": expected an id from 0 to " +
                                          std::to_string(limit - 1) +
                                          ", but got " +
                                          std::to_string(tokens[i]));
  return Status();
}

Result<const float *> Session::Implementation::step(Step step, int64_t *tokens,
                                                    int64_t row, int64_t first,
                                                    int64_t wanted) {
  const Manifest &manifest = model->manifest();
  if (device) {
    std::lock_guard<std::mutex> lock(model->callMutex());
    Result<const float *> rows =
        device->run(step, tokens, length, row, first, wanted);
    if (timed && rows.ok()) {
      Result<double> seconds = device->seconds();
      if (!seconds.ok())
        return seconds.status();
      deviceSeconds += *seconds;
    }
    return rows;
  }
  bool one = step == Step::Prompt;
  int64_t count = step == Step::Decode ? 1 : manifest.prefill->tokens;
  Descriptor arenaSlot(arena.data(), {arena.size()});
  Descriptor tokenSlot(tokens, {1, count});
  Descriptor rowSlot(&row, {1});
  Descriptor logitSlot(logits.data.data(), {1, one ? 1 : count, vocabulary});
  std::vector<Descriptor> cacheSlots;
  for (Tensor &cache : caches)
    cacheSlots.emplace_back(cache.data.data(), cache.shape);
  std::vector<void *> args = {arenaSlot.get(), tokenSlot.get(), &length};
  if (one)
    args.push_back(rowSlot.get());
  for (Descriptor &slot : cacheSlots)
    args.push_back(slot.get());
  args.push_back(logitSlot.get());
  int64_t before = length;
  Status status = model->step(step, args.data());
  length = before;
  if (!status.ok())
    return status;
  return logits.as<float>() + first * vocabulary;
}

Status Session::Implementation::feedSteps(const int64_t *tokens, int64_t count,
                                          const LogitsCallback &each) {
  const Manifest &manifest = model->manifest();
  bool observed = model->isObserved();
  std::vector<int64_t> chunk;
  while (count > 0) {
    // A partial chunk is padded: its surplus rows of the caches lie beyond the
    // sequence and are overwritten later. Where the context has no room for
    // them, where an observer would see them, and for a few tokens, decoding
    // one by one is right.
    int64_t chunkTokens = manifest.prefill ? manifest.prefill->tokens : 0;
    int64_t fewest =
        observed ? chunkTokens : std::max<int64_t>(2, chunkTokens / 8);
    bool many =
        chunkTokens && chunkTokens <= maxContext() - length && count >= fewest;
    // Nobody else sees the logits of other rows than the last one.
    bool one = many && !each && !observed && manifest.prompt;
    int64_t size = many ? chunkTokens : 1, taken = std::min(count, size);
    chunk.assign(size_t(size), 0);
    std::copy(tokens, tokens + taken, chunk.begin());
    Step which = one ? Step::Prompt : many ? Step::Prefill : Step::Decode;
    bool finds = device && manifest.entry(which).findsBest;
    int64_t wanted = each ? taken : finds ? 0 : 1;
    Result<const float *> rows =
        step(which, chunk.data(), taken - 1, one ? 0 : taken - wanted, wanted);
    if (!rows.ok())
      return rows.status();
    forgetLogits();
    if (finds)
      best = device->best();
    if (each)
      each(*rows, length, taken);
    if (wanted > 0) {
      const float *last = *rows + (wanted - 1) * vocabulary;
      lastLogits.assign(last, last + vocabulary);
    }
    length += taken;
    tokens += taken;
    count -= taken;
  }
  return Status();
}

Status Session::Implementation::feedMain(const int64_t *tokens, int64_t count,
                                         const LogitsCallback &each) {
  std::vector<int64_t> sequence = history;
  sequence.insert(sequence.end(), tokens, tokens + count);
  int64_t total = int64_t(sequence.size());
  Result<Tensor> result = runMain(*model, *recipe, sequence.data(), total);
  if (!result.ok())
    return result.status();
  vocabulary = result->shape.back();
  const float *rows = result->as<float>();
  if (each)
    each(rows + length * vocabulary, length, count);
  const float *last = rows + (total - 1) * vocabulary;
  lastLogits.assign(last, last + vocabulary);
  history = std::move(sequence);
  length = total;
  return Status();
}

Status Session::feed(const int64_t *tokens, int64_t count,
                     const LogitsCallback &each) {
  if (Status status = impl->check(tokens, count); !status.ok())
    return status;
  if (count == 0)
    return Status();
  if (impl->recipe)
    return impl->feedMain(tokens, count, each);
  impl->deviceSeconds = 0;
  int64_t before = impl->length;
  Status status = impl->feedSteps(tokens, count, each);
  if (!status.ok()) {
    impl->length = before;
    impl->forgetLogits();
  }
  return status;
}

Status Session::Implementation::readLogits() {
  if (!best || !lastLogits.empty())
    return Status();
  std::lock_guard<std::mutex> lock(model->callMutex());
  Result<const float *> row = device->readLogits();
  if (!row.ok())
    return row.status();
  lastLogits.assign(*row, *row + vocabulary);
  return Status();
}

Result<const float *> Session::readLogits() const {
  if (Status status = impl->readLogits(); !status.ok())
    return status;
  return impl->lastLogits.empty() ? nullptr : impl->lastLogits.data();
}
const float *Session::logits() const {
  Result<const float *> read = readLogits();
  return read.ok() ? *read : nullptr;
}
int64_t Session::vocabulary() const { return impl->vocabulary; }
int64_t Session::maxContext() const { return impl->maxContext(); }
int64_t Session::length() const { return impl->length; }
void Session::seed(uint64_t seed) { impl->random = seed; }

Status Session::setTimed(bool timed) {
  if (!impl->device)
    return Status(Code::Unsupported,
                  "expected a model on a device to time, but got one on the "
                  "CPU");
  std::lock_guard<std::mutex> lock(impl->model->callMutex());
  impl->timed = false;
  Status status = impl->device->setTimed(timed);
  impl->timed = timed && status.ok();
  return status;
}

double Session::deviceSeconds() const { return impl->deviceSeconds; }

Status Session::rewind(int64_t length) {
  if (length < 0 || length > impl->length)
    return Status(Code::OutOfRange, "expected a length from 0 to " +
                                        std::to_string(impl->length) +
                                        ", but got " + std::to_string(length));
  impl->length = length;
  if (impl->recipe)
    impl->history.resize(size_t(length));
  impl->forgetLogits();
  return Status();
}

Result<int64_t> Session::sample(double temperature) {
  if (!(temperature >= 0) || std::isinf(temperature))
    return Status(Code::InvalidArgument,
                  "expected a temperature of at least 0, but got " +
                      std::to_string(temperature));
  const Status noNumbers(Code::Failed, "the model's logits are not numbers");
  // What is no token is no answer either.
  if (temperature == 0 && impl->best && *impl->best < impl->vocabulary)
    return *impl->best < 0 ? Result<int64_t>(noNumbers) : *impl->best;
  if (Status status = impl->readLogits(); !status.ok())
    return status;
  const std::vector<float> &logits = impl->lastLogits;
  if (logits.empty())
    return Status(Code::InvalidArgument,
                  "expected logits to sample from, but no token was fed");
  for (float logit : logits)
    if (std::isnan(logit))
      return noNumbers;
  auto best = std::max_element(logits.begin(), logits.end());
  if (temperature == 0)
    return int64_t(best - logits.begin());

  std::vector<double> cumulative(logits.size());
  double sum = 0;
  for (size_t i = 0; i < logits.size(); ++i) {
    sum += logits[i] == *best
               ? 1.0
               : std::exp((double(logits[i]) - double(*best)) / temperature);
    cumulative[i] = sum;
  }
  double drawn = double(nextRandom(impl->random) >> 11) * 0x1p-53 * sum;
  auto chosen = std::upper_bound(cumulative.begin(), cumulative.end(), drawn);
  return std::min<int64_t>(chosen - cumulative.begin(),
                           int64_t(logits.size()) - 1);
}

double PerplexityResult::perplexity() const {
  return std::exp(negativeLogLikelihood / double(tokens));
}

namespace {

/// -log softmax(row)[target], summed over rows.
double negativeLogLikelihood(const float *logits, const int64_t *targets,
                             int64_t rows, int64_t vocabulary) {
  struct Work {
    const float *logits;
    const int64_t *targets;
    int64_t vocabulary;
    std::vector<double> losses;
  } work{logits, targets, vocabulary, std::vector<double>(size_t(rows))};
  ThreadPool::instance().parallelFor(
      [](void *closure, int64_t lo, int64_t hi) {
        auto &work = *static_cast<Work *>(closure);
        for (int64_t i = lo; i < hi; ++i) {
          const float *row = work.logits + i * work.vocabulary;
          double best = *std::max_element(row, row + work.vocabulary);
          double sum = 0;
          for (int64_t j = 0; j < work.vocabulary; ++j)
            sum += std::exp(double(row[j]) - best);
          work.losses[size_t(i)] =
              best + std::log(sum) - double(row[work.targets[i]]);
        }
      },
      &work, rows);
  double total = 0;
  for (double loss : work.losses)
    total += loss;
  return total;
}

} // namespace

Result<PerplexityResult>
evaluatePerplexity(const std::shared_ptr<Model> &model, const int64_t *tokens,
                   int64_t rows, int64_t columns,
                   const std::function<void(int64_t)> &progress) {
  if (rows < 1 || columns < 2)
    return Status(Code::InvalidArgument,
                  "expected at least 1 row of at least 2 tokens, but got " +
                      toString({rows, columns}));
  const Manifest &manifest = model->manifest();
  bool steps = manifest.state &&
               (columns - 1 <= manifest.state->maxContext || !manifest.main);
  std::unique_ptr<Session> session;
  MainRecipe recipe;
  if (steps) {
    Result<std::unique_ptr<Session>> created = Session::create(model);
    if (!created.ok())
      return created.status();
    session = std::move(*created);
  } else {
    Result<MainRecipe> made = makeRecipe(*model);
    if (!made.ok())
      return made.status();
    recipe = *made;
  }

  PerplexityResult result;
  for (int64_t row = 0; row < rows; ++row) {
    auto at = [&](const Status &status) {
      return Status(status.code(),
                    "row " + std::to_string(row) + ": " + status.message());
    };
    const int64_t *ids = tokens + row * columns;
    int64_t limit =
        manifest.state ? manifest.state->vocabulary : recipe.vocabulary;
    for (int64_t i = 0; i < columns; ++i)
      if (ids[i] < 0 || (limit && ids[i] >= limit))
        return at(Status(Code::OutOfRange, "token " + std::to_string(i) +
                                               ": expected an id from 0 to " +
                                               std::to_string(limit - 1) +
                                               ", but got " +
                                               std::to_string(ids[i])));
    if (steps) {
      Status status = session->rewind(0);
      if (status.ok())
        status = session->feed(
            ids, columns - 1,
            [&](const float *logits, int64_t first, int64_t count) {
              result.negativeLogLikelihood += negativeLogLikelihood(
                  logits, ids + first + 1, count, session->vocabulary());
            });
      if (!status.ok())
        return at(status);
    } else {
      Result<Tensor> logits = runMain(*model, recipe, ids, columns);
      if (!logits.ok())
        return at(logits.status());
      int64_t vocabulary = logits->shape.back();
      for (int64_t i = 1; i < columns; ++i)
        if (ids[i] >= vocabulary)
          return at(Status(Code::OutOfRange, "token " + std::to_string(i) +
                                                 ": expected an id below " +
                                                 std::to_string(vocabulary) +
                                                 ", but got " +
                                                 std::to_string(ids[i])));
      result.negativeLogLikelihood += negativeLogLikelihood(
          logits->as<float>(), ids + 1, columns - 1, vocabulary);
    }
    result.tokens += columns - 1;
    if (progress)
      progress(row + 1);
  }
  if (!std::isfinite(result.negativeLogLikelihood))
    return Status(Code::Failed, "the model's logits are not finite numbers");
  return result;
}

} // namespace ganq::runtime
