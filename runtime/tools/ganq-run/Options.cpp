//===- Options.cpp - Command line of ganq-run -----------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Commands.h"
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <variant>

namespace ganq::run {

using runtime::Code;
using runtime::Status;

namespace {

using Target = std::variant<bool Options::*, std::string Options::*,
                            int64_t Options::*, double Options::*>;

struct OptionRow {
  const char *name;
  const char *value; ///< placeholder in the help; null for a flag
  Target target;
  const char *help;
};

const OptionRow optionTable[] = {
    {"device", "DEVICE", &Options::device,
     "cpu, cuda or emulator: refuse a model that was compiled for another one; "
     "without it the model decides"},
    {"inputs", "A.npy,...", &Options::inputs,
     "run the model once on these arrays, given in the order of its inputs or "
     "as name=A.npy"},
    {"outputs", "DIR", &Options::outputs,
     "write each output to DIR/<name>.npy; without it they are only listed"},
    {"generate", "N", &Options::generate,
     "print N token ids that continue --tokens; with --benchmark, decode N "
     "tokens"},
    {"tokens", "IDS.npy", &Options::tokens,
     "token ids, any integer type but uint64: one sequence for --generate, a "
     "row for each "
     "sequence for --perplexity"},
    {"temperature", "T", &Options::temperature,
     "draw tokens from softmax(logits / T); 0, the default, takes the most "
     "probable"},
    {"seed", "S", &Options::seed, "start of the draws, 0 by default"},
    {"perplexity", nullptr, &Options::perplexity,
     "judge the model on --tokens; the targets of a row are its tokens 1 to "
     "the end"},
    {"benchmark", nullptr, &Options::benchmark,
     "measure speed, and the share of the machine's read bandwidth, or of the "
     "device's copy bandwidth, that the weights take"},
    {"prompt-length", "N", &Options::promptLength,
     "with --benchmark: tokens of the prompt, 128 by default"},
    {"inspect", nullptr, &Options::inspect, "describe the model"},
    {"json", nullptr, &Options::json, "print the result as a JSON object"},
    {"help", nullptr, &Options::help, "print this and exit"},
    {"version", nullptr, &Options::version, "print the version and exit"},
};

Status assign(Options &options, const OptionRow &row,
              const std::string &value) {
  auto invalid = [&](const char *expected) {
    return Status(Code::InvalidArgument, std::string("--") + row.name +
                                             ": expected " + expected +
                                             ", but got '" + value + "'");
  };
  char *end = nullptr;
  errno = 0;
  if (auto *text = std::get_if<std::string Options::*>(&row.target)) {
    if (value.empty())
      return invalid("a value");
    options.**text = value;
  } else if (auto *integer = std::get_if<int64_t Options::*>(&row.target)) {
    options.**integer = strtoll(value.c_str(), &end, 10);
    if (value.empty() || *end || errno || options.**integer < 0)
      return invalid("a non-negative integer");
  } else if (auto *number = std::get_if<double Options::*>(&row.target)) {
    options.**number = strtod(value.c_str(), &end);
    if (value.empty() || *end || !std::isfinite(options.**number) ||
        options.**number < 0)
      return invalid("a non-negative number");
  }
  return Status();
}

Status checkCombination(const Options &options) {
  auto invalid = [](const char *message) {
    return Status(Code::InvalidArgument, message);
  };
  bool generate = options.generate >= 0 && !options.benchmark;
  int commands = generate + options.perplexity + options.benchmark +
                 options.inspect + !options.inputs.empty();
  if (options.model.empty())
    return invalid("expected a model file, but got none");
  if (!options.device.empty() && options.device != "cpu" &&
      options.device != "cuda" && options.device != "emulator")
    return Status(Code::InvalidArgument,
                  "--device: expected cpu, cuda or emulator, but got '" +
                      options.device + "'");
  if (commands == 0 && options.outputs.empty())
    return invalid("expected one of --inputs, --generate, --perplexity, "
                   "--benchmark and --inspect, but got none");
  if (commands > 1)
    return invalid("expected one of --inputs, --generate, --perplexity, "
                   "--benchmark and --inspect, but got several");
  if ((generate || options.perplexity) && options.tokens.empty())
    return invalid("expected --tokens=IDS.npy beside --generate or "
                   "--perplexity, but got none");
  return Status();
}

} // namespace

Status parseOptions(int argc, char **argv, Options &options) {
  for (int i = 1; i < argc; ++i) {
    std::string argument = argv[i];
    if (argument.empty() || argument[0] != '-') {
      if (!options.model.empty())
        return Status(Code::InvalidArgument,
                      "expected one model file, but got also '" + argument +
                          "'");
      options.model = argument;
      continue;
    }
    size_t start = argument.find_first_not_of('-');
    size_t equals = argument.find('=');
    std::string name = start == std::string::npos
                           ? ""
                           : argument.substr(start, equals - start);
    const OptionRow *row = nullptr;
    for (const OptionRow &candidate : optionTable)
      if (name == candidate.name)
        row = &candidate;
    if (!row || start > 2)
      return Status(Code::InvalidArgument, "unknown option '" + argument + "'");
    bool hasValue = equals != std::string::npos;
    if (auto *flag = std::get_if<bool Options::*>(&row->target)) {
      if (hasValue)
        return Status(Code::InvalidArgument,
                      "--" + name + ": expected no value, but got '" +
                          argument.substr(equals + 1) + "'");
      options.**flag = true;
      continue;
    }
    if (!hasValue && i + 1 == argc)
      return Status(Code::InvalidArgument,
                    "--" + name + ": expected a value, but got none");
    Status status = assign(options, *row,
                           hasValue ? argument.substr(equals + 1) : argv[++i]);
    if (!status.ok())
      return status;
  }
  if (options.help || options.version)
    return Status();
  return checkCombination(options);
}

std::string helpText() {
  std::string text =
      "usage: ganq-run MODEL.ganq [options]\n"
      "\n"
      "Runs a model that ganq-compile made. The model's file contains native\n"
      "code: run only files that you trust.\n"
      "\n"
      "options:\n";
  for (const OptionRow &row : optionTable) {
    std::string left = std::string("  --") + row.name;
    if (row.value)
      left += std::string("=") + row.value;
    left.resize(std::max<size_t>(left.size() + 2, 24), ' ');
    size_t column = left.size();
    text += left;
    // Broken at spaces before column 80.
    std::string words = row.help;
    while (column + words.size() > 80) {
      size_t space = words.rfind(' ', 80 - column);
      text += words.substr(0, space) + "\n" + std::string(24, ' ');
      words.erase(0, space + 1);
      column = 24;
    }
    text += words + "\n";
  }
  text += "\n"
          "The environment variable GANQ_THREADS sets the number of threads,\n"
          "GANQ_CUDA_DRIVER the library of NVIDIA's driver (libcuda.so.1).\n"
          "\n"
          "examples:\n"
          "  ganq-run model.ganq --generate=64 --tokens=prompt.npy\n"
          "  ganq-run model.ganq --generate=64 --tokens=prompt.npy "
          "--temperature=0.8 --seed=1\n"
          "  ganq-run model.ganq --perplexity --tokens=text.npy --json\n"
          "  ganq-run model.ganq --inputs=input_ids=ids.npy --outputs=results\n"
          "  ganq-run model.ganq --benchmark\n"
          "  ganq-run model.ganq --inspect\n";
  return text;
}

} // namespace ganq::run
