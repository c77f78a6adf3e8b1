//===- Commands.cpp - Running, generating, judging and describing ---------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Commands.h"
#include "ganq/runtime/npy.h"
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <sys/stat.h>
#include <unistd.h>

namespace ganq::run {

using namespace runtime;
using nlohmann::ordered_json;

/// Prints a JSON object; text that is no UTF-8 is mended.
static void print(const ordered_json &object) {
  puts(object.dump(-1, ' ', false, ordered_json::error_handler_t::replace)
           .c_str());
}

Status checkDevice(const ModelPointer &model, const Options &options) {
  const std::string &arch = model->manifest().arch;
  std::string device = model->manifest().isForDevice() ? arch : "cpu";
  if (options.device.empty() || options.device == device)
    return Status();
  return Status(Code::Unsupported,
                "--device=" + options.device + ": '" + options.model +
                    "' was compiled for " + device +
                    " (compile the model with ganq-compile --target=" +
                    options.device + ")");
}

/// The inputs' paths by name.
static Result<std::map<std::string, std::string>>
parseInputs(const std::string &text, const std::vector<Port> &ports) {
  std::map<std::string, std::string> paths;
  size_t position = 0;
  for (size_t begin = 0; begin < text.size();) {
    size_t end = std::min(text.find(',', begin), text.size());
    std::string item = text.substr(begin, end - begin);
    begin = end + 1;
    // Names may contain '=' no more than paths do; the first one divides.
    size_t equals = item.find('=');
    std::string name;
    if (equals != std::string::npos) {
      name = item.substr(0, equals);
      item.erase(0, equals + 1);
    } else if (position < ports.size()) {
      name = ports[position++].name;
    } else {
      return Status(Code::InvalidArgument, "--inputs: expected at most " +
                                               std::to_string(ports.size()) +
                                               " arrays, but got also '" +
                                               item + "'");
    }
    if (!paths.try_emplace(name, item).second)
      return Status(Code::InvalidArgument,
                    "--inputs: '" + name + "' is given twice");
  }
  return paths;
}

/// A file name for an output: unsafe characters replaced, and no name twice.
static std::string fileName(const std::string &output,
                            std::set<std::string> &used) {
  std::string name;
  for (char c : output) {
    bool safe = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') ||
                (c >= 'a' && c <= 'z') || c == '_' || c == '-' ||
                (c == '.' && !name.empty());
    name += safe ? c : '_';
  }
  name = name.substr(0, 200);
  std::string unique = name;
  for (int i = 2; !used.insert(unique).second; ++i)
    unique = name + "_" + std::to_string(i);
  return unique + ".npy";
}

static Status writeOutput(const std::string &path, const Tensor &tensor) {
  if (tensor.dtype != DType::BF16)
    return writeNpy(path, tensor.dtype, tensor.shape, tensor.data.data());
  // NumPy has no bfloat16; float32 holds its values exactly.
  Result<Tensor> floats = Tensor::create(DType::F32, tensor.shape);
  if (!floats.ok())
    return floats.status();
  toFloat(tensor.dtype, tensor.data.data(), 0, tensor.count(),
          floats->as<float>());
  return writeNpy(path, DType::F32, floats->shape, floats->data.data());
}

Status runMain(const ModelPointer &model, const Options &options) {
  if (!model->manifest().main)
    return Status(Code::Unsupported, "the model has no entry 'main'");
  const Entry &entry = *model->manifest().main;
  auto paths = parseInputs(options.inputs, entry.inputs);
  if (!paths.ok())
    return paths.status();
  std::vector<Tensor> arrays;
  std::vector<NamedTensor> inputs;
  for (const auto &[name, path] : *paths) {
    Result<Tensor> array = readNpy(path);
    if (!array.ok())
      return array.status();
    inputs.push_back({name, array->dtype, array->shape, array->data.data()});
    arrays.push_back(std::move(*array));
  }
  Result<std::vector<Tensor>> results = model->run(inputs);
  if (!results.ok())
    return results.status();

  if (!options.outputs.empty() && mkdir(options.outputs.c_str(), 0777) != 0 &&
      errno != EEXIST)
    return Status(Code::InputOutput, "cannot create '" + options.outputs +
                                         "': " + strerror(errno));
  std::set<std::string> used;
  ordered_json list = ordered_json::array();
  for (size_t i = 0; i < results->size(); ++i) {
    const Tensor &tensor = (*results)[i];
    std::string path;
    if (!options.outputs.empty()) {
      path = options.outputs + "/" + fileName(entry.outputs[i].name, used);
      if (Status status = writeOutput(path, tensor); !status.ok())
        return status;
    }
    if (options.json)
      list.push_back({{"name", entry.outputs[i].name},
                      {"dtype", name(tensor.dtype)},
                      {"shape", tensor.shape},
                      {"file", path}});
    else
      printf("%s %s %s%s%s\n", entry.outputs[i].name.c_str(),
             name(tensor.dtype), toString(tensor.shape).c_str(),
             path.empty() ? "" : " -> ", path.c_str());
  }
  if (options.json)
    print({{"outputs", list}});
  return Status();
}

/// Reads token ids: one sequence, or with `rows` a row for each sequence.
static Result<std::vector<int64_t>>
readTokens(const std::string &path, bool rows, std::vector<int64_t> &shape) {
  Result<Tensor> array = readNpy(path);
  if (!array.ok())
    return array.status();
  shape = array->shape;
  if (rows ? shape.size() != 2
           : shape.empty() || array->count() != shape.back())
    return Status(Code::InvalidArgument,
                  path + ": expected " +
                      (rows ? "a row of tokens for each sequence"
                            : "one sequence of tokens") +
                      ", but got the shape " + toString(shape));
  Result<std::vector<int64_t>> tokens = toTokens(*array);
  if (!tokens.ok())
    return Status(tokens.status().code(),
                  path + ": " + tokens.status().message());
  return tokens;
}

Status generate(const ModelPointer &model, const Options &options) {
  std::vector<int64_t> shape;
  Result<std::vector<int64_t>> prompt =
      readTokens(options.tokens, /*rows=*/false, shape);
  if (!prompt.ok())
    return prompt.status();
  if (prompt->empty())
    return Status(Code::InvalidArgument,
                  options.tokens + ": expected at least one token, but got 0");
  Result<std::unique_ptr<Session>> created = Session::create(model);
  if (!created.ok())
    return created.status();
  Session &session = **created;
  // The last generated token is not fed.
  int64_t room = session.maxContext() - int64_t(prompt->size()) + 1;
  if (options.generate > room)
    return Status(Code::OutOfRange,
                  "expected at most " + std::to_string(session.maxContext()) +
                      " tokens (the model's context), but got a prompt of " +
                      std::to_string(prompt->size()) +
                      " and --generate=" + std::to_string(options.generate));
  session.seed(uint64_t(options.seed));

  std::vector<int64_t> generated;
  const int64_t *next = prompt->data();
  int64_t count = int64_t(prompt->size());
  for (int64_t i = 0; i < options.generate; ++i) {
    if (Status status = session.feed(next, count); !status.ok())
      return status.code() == Code::OutOfRange && i == 0
                 ? Status(status.code(),
                          options.tokens + ": " + status.message())
                 : status;
    Result<int64_t> token = session.sample(options.temperature);
    if (!token.ok())
      return token.status();
    generated.push_back(*token);
    next = &generated.back();
    count = 1;
    if (!options.json) {
      printf("%s%lld", i ? " " : "", static_cast<long long>(*token));
      if (isatty(STDOUT_FILENO))
        fflush(stdout);
    }
  }
  if (options.json)
    print({{"prompt", *prompt}, {"tokens", generated}});
  else
    puts("");
  return Status();
}

Status perplexity(const ModelPointer &model, const Options &options) {
  std::vector<int64_t> shape;
  Result<std::vector<int64_t>> tokens =
      readTokens(options.tokens, /*rows=*/true, shape);
  if (!tokens.ok())
    return tokens.status();
  bool terminal = isatty(STDERR_FILENO);
  auto progress = [&](int64_t row) {
    if (terminal)
      fprintf(stderr, "\rrow %lld of %lld%s", static_cast<long long>(row),
              static_cast<long long>(shape[0]),
              row == shape[0] ? "\r\033[K" : "");
  };
  Result<PerplexityResult> result =
      evaluatePerplexity(model, tokens->data(), shape[0], shape[1], progress);
  if (!result.ok())
    return Status(result.status().code(),
                  options.tokens + ": " + result.status().message());
  const std::optional<double> &bits = model->manifest().bitsPerWeight;
  if (options.json) {
    ordered_json object = {{"perplexity", result->perplexity()},
                           {"tokens", result->tokens}};
    object["bits_per_weight"] = bits ? ordered_json(*bits) : ordered_json();
    print(object);
    return Status();
  }
  printf("perplexity       %.6g\n", result->perplexity());
  printf("tokens           %lld\n", static_cast<long long>(result->tokens));
  if (bits)
    printf("bits per weight  %.4g\n", *bits);
  return Status();
}

static void printPorts(const char *title, const std::vector<Port> &ports) {
  for (const Port &port : ports)
    printf("%-16s %s\n", title, toString(port).c_str());
}

/// A line for each kernel of a program, in the order of their first launches.
static void printProgram(const char *name, const std::optional<Entry> &entry) {
  if (!entry || entry->launches.empty())
    return;
  std::vector<std::pair<const Launch *, int>> kernels;
  std::map<std::string, size_t> places;
  for (const Launch &launch : entry->launches) {
    auto [place, isNew] = places.try_emplace(launch.kernel, kernels.size());
    if (isNew)
      kernels.push_back({&launch, 0});
    ++kernels[place->second].second;
  }
  printf("%-16s %zu launches of %zu kernels, %lld bytes of scratch memory\n",
         name, entry->launches.size(), kernels.size(),
         static_cast<long long>(entry->arena));
  for (auto [launch, count] : kernels)
    printf("  %5d  %s, the first with [%u, %u, %u] blocks of [%u, %u, %u] "
           "threads, %u bytes shared\n",
           count, launch->kernel.c_str(), launch->grid[0], launch->grid[1],
           launch->grid[2], launch->block[0], launch->block[1],
           launch->block[2], launch->shared);
}

static void printTarget(const Manifest &manifest) {
  printf("target           %s", manifest.arch.c_str());
  if (!manifest.cpu.empty())
    printf(", %s", manifest.cpu.c_str());
  for (const ChipCode &chip : manifest.chips)
    printf(", %s (%lld bytes)", chip.chip.c_str(),
           static_cast<long long>(chip.bytes));
  puts("");
}

Status inspect(const ModelPointer &model, const Options &options) {
  const Manifest &manifest = model->manifest();
  const Safetensors &file = model->file();
  if (options.json) {
    print({{"file", file.path()},
           {"bytes", file.fileBytes()},
           {"alignment", file.alignment()},
           {"tensors", file.tensors().size()},
           {"weight_bytes", manifest.weightBytes()},
           {"manifest",
            ordered_json::parse(file.metadata().at("ganq.manifest"))}});
    return Status();
  }
  printf("file             %s, %lld bytes, %zu tensors\n", file.path().c_str(),
         static_cast<long long>(file.fileBytes()), file.tensors().size());
  if (!manifest.sourceFile.empty())
    printf("compiled from    %s\n", manifest.sourceFile.c_str());
  if (!manifest.generator.empty())
    printf("compiled by      %s\n", manifest.generator.c_str());
  printTarget(manifest);
  if (manifest.main) {
    printPorts("input", manifest.main->inputs);
    printPorts("output", manifest.main->outputs);
  }
  if (manifest.state) {
    printf("vocabulary       %lld tokens\n",
           static_cast<long long>(manifest.state->vocabulary));
    printf("context          %lld tokens\n",
           static_cast<long long>(manifest.state->maxContext));
    if (manifest.prefill)
      printf("prefill          %lld tokens at a time\n",
             static_cast<long long>(manifest.prefill->tokens));
  }
  printProgram("prefill", manifest.prefill);
  printProgram("prompt", manifest.prompt);
  printProgram("decode", manifest.decode);
  if (manifest.bitsPerWeight)
    printf("bits per weight  %.4g\n", *manifest.bitsPerWeight);
  printf("weights          %zu, %lld bytes\n", manifest.weights.size(),
         static_cast<long long>(manifest.weightBytes()));
  // Kernels serve many weights: each once, after the first of them.
  std::set<std::string> seen;
  for (const WeightInfo &weight : manifest.weights) {
    printf("  %-10s %12lld bytes  %s %s\n", weight.scheme.c_str(),
           static_cast<long long>(weight.bytes), toString(weight.shape).c_str(),
           weight.name.c_str());
    for (const KernelInfo &kernel : weight.kernels)
      if (seen.insert(kernel.name).second)
        printf("    %-8s %s, %lld rows%s%s, %lld instructions, %lld bytes, "
               "%.1f us predicted for one thread\n",
               kernel.entry.c_str(), kernel.name.c_str(),
               static_cast<long long>(kernel.rows),
               kernel.tile.empty() ? "" : ": ", kernel.tile.c_str(),
               static_cast<long long>(kernel.instructions),
               static_cast<long long>(kernel.bytes),
               double(kernel.nanoseconds) / 1e3);
  }
  if (!seen.empty())
    printf("kernels          %zu for all products\n", seen.size());
  return Status();
}

} // namespace ganq::run
