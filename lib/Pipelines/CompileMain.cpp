//===- CompileMain.cpp - Command line of ganq-compile ---------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/Onnx/Binding.h"
#include "ganq/Pipelines/Compile.h"
#include "ganq/runtime.h"
#include "llvm/Config/llvm-config.h"
#include "llvm/Support/CommandLine.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/InitLLVM.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/WithColor.h"
#include <csignal>

using namespace ganq;
namespace cl = llvm::cl;

static cl::OptionCategory category("ganq-compile options");

static cl::opt<std::string> model(cl::Positional, cl::desc("<model.onnx>"),
                                  cl::Required, cl::cat(category));
static cl::opt<std::string> output("o", cl::desc("Output file"),
                                   cl::value_desc("model.ganq"), cl::Required,
                                   cl::cat(category));
static cl::opt<std::string> scheme(
    "scheme",
    cl::desc("Quantization of the weights: none (default), lut, uniform"),
    cl::init("none"), cl::cat(category));
static cl::opt<unsigned> bits("bits", cl::desc("Bits of a code, 1 to 8 (4)"),
                              cl::init(4), cl::cat(category));
static cl::opt<int64_t>
    group("group", cl::desc("Columns per table or scale (0: whole rows)"),
          cl::init(0), cl::cat(category));
static cl::opt<std::string>
    calibration("calibration",
                cl::desc("Token ids to calibrate on: integer rows"),
                cl::value_desc("ids.npy"), cl::cat(category));
static cl::opt<std::string>
    exclude("exclude",
            cl::desc("Weights that keep their precision (regular expression)"),
            cl::value_desc("regex"), cl::cat(category));
static cl::opt<bool> quantizeHead("quantize-head",
                                  cl::desc("Quantize the output head too"),
                                  cl::cat(category));
static cl::opt<std::string>
    solver("solver",
           cl::desc("LUT solver: improved (default), literal, kmeans"),
           cl::init("improved"), cl::cat(category));
static cl::opt<int64_t>
    gramMemory("gram-memory",
               cl::desc("MiB that Gram matrices may take at a time (1024)"),
               cl::init(1024), cl::cat(category));
static cl::opt<std::string> target("target", cl::desc("Target: cpu (default)"),
                                   cl::init("cpu"), cl::cat(category));
static cl::opt<std::string>
    cpu("cpu", cl::desc("Processor: host (default), x86-64-v3, x86-64-v4"),
        cl::init("host"), cl::cat(category));
static cl::list<std::string> bindings("bind",
                                      cl::desc("Size of a symbolic dimension"),
                                      cl::value_desc("dim=value"),
                                      cl::cat(category));
static cl::opt<int64_t> chunk("prefill-chunk",
                              cl::desc("Tokens of one prefill call (64)"),
                              cl::init(64), cl::cat(category));
static cl::opt<int64_t>
    maxContext("max-context",
               cl::desc("Longest sequence (0: what the model says)"),
               cl::init(0), cl::cat(category));
static cl::opt<std::string>
    compileTo("compile-to", cl::desc("Stop after a phase and write MLIR"),
              cl::value_desc("phase"), cl::cat(category));
static cl::opt<bool> keepWork("keep-work",
                              cl::desc("Keep the folder <output>.work"),
                              cl::cat(category));
static cl::opt<bool> verbose("verbose",
                             cl::desc("Print the plan and all remarks"),
                             cl::cat(category));
static cl::opt<bool> printJson("json",
                               cl::desc("Print a summary as JSON to stdout"),
                               cl::cat(category));
static cl::extrahelp examples(R"(
EXAMPLES:
  Keep the model's own precision:
    ganq-compile model.onnx -o model.ganq
  Four bits with a table per row, calibrated on token ids:
    ganq-compile model.onnx -o model.ganq --scheme=lut --bits=4 --calibration=ids.npy
  Round to the nearest of 8 levels, one scale per 128 columns:
    ganq-compile model.onnx -o model.ganq --scheme=uniform --bits=3 --group=128
  See the model after its ops have been named:
    ganq-compile model.onnx -o model.mlir --compile-to=raise
)");

/// Names the options that a run without quantization does not read.
static void warnOfIgnoredOptions() {
  if (scheme != "none")
    return;
  for (const cl::Option *option : std::initializer_list<const cl::Option *>{
           &bits, &group, &calibration, &exclude, &quantizeHead, &solver})
    if (option->getNumOccurrences() > 0)
      llvm::WithColor::warning(llvm::errs(), "ganq-compile")
          << "--" << option->ArgStr
          << " has no effect without --scheme=lut or --scheme=uniform\n";
}

int ganq::compileMain(int argc, char **argv) {
  llvm::InitLLVM init(argc, argv);
  // A file that may not grow is an error of the write, not the end.
  std::signal(SIGXFSZ, SIG_IGN);
  cl::HideUnrelatedOptions(category);
  cl::SetVersionPrinter([](llvm::raw_ostream &os) {
    os << "ganq-compile " << ganq_version() << " (LLVM " LLVM_VERSION_STRING
       << ")\n";
  });
  cl::ParseCommandLineOptions(
      argc, argv, "Compiles an ONNX language model to a .ganq file\n");
  CompileOptions options;
  options.model = model;
  options.output = output;
  llvm::StringRef folder = llvm::sys::path::parent_path(model);
  options.phases.modelDir = folder.empty() ? "." : folder.str();
  options.phases.scheme = scheme;
  options.phases.bits = bits;
  options.phases.group = group;
  options.phases.exclude = exclude;
  options.phases.quantizeHead = quantizeHead;
  options.phases.cpu = cpu;
  options.phases.chunk = chunk;
  options.phases.maxContext = maxContext;
  options.calibration = calibration;
  options.solver = solver;
  options.keepWork = keepWork;
  options.verbose = verbose;

  auto fail = [](const llvm::Twine &message) {
    llvm::WithColor::error(llvm::errs(), "ganq-compile") << message << "\n";
    return 1;
  };
  for (const std::string &text : bindings) {
    std::string error;
    std::pair<std::string, int64_t> binding;
    if (!onnx::parseBinding(text, binding, error))
      return fail(error);
    options.bindings.push_back(std::move(binding));
  }
  constexpr int64_t kMaxMiB = int64_t(1) << 42;
  if (gramMemory < 1 || gramMemory > kMaxMiB)
    return fail(
        "expected --gram-memory to be between 1 and 2^42 MiB, but got " +
        llvm::Twine(gramMemory));
  options.gramMemory = gramMemory << 20;
  if (target != "cpu")
    return fail("expected --target to be `cpu`, but got `" + target + "`");
  if (!compileTo.empty()) {
    options.compileTo = parsePhase(compileTo);
    if (!options.compileTo)
      return fail("expected --compile-to to be one of " + getPhaseNames() +
                  ", but got `" + compileTo + "`");
  }
  if (printJson && options.output == "-")
    return fail("expected --json or -o -, but got both");
  warnOfIgnoredOptions();
  llvm::Expected<llvm::json::Object> summary = compileModel(options);
  if (!summary) {
    if (summary.errorIsA<ReportedError>()) {
      llvm::consumeError(summary.takeError());
      return 1;
    }
    return fail(llvm::toString(summary.takeError()));
  }
  if (printJson)
    llvm::outs() << llvm::formatv("{0:2}\n",
                                  llvm::json::Value(std::move(*summary)));
  return 0;
}
