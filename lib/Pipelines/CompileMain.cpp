//===- CompileMain.cpp - Command line of ganq-compile ---------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/Pipelines/Compile.h"
#include "ganq/runtime.h"
#include "llvm/Config/llvm-config.h"
#include "llvm/Support/CommandLine.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/InitLLVM.h"
#include "llvm/Support/WithColor.h"
#include <csignal>
#include <memory>

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
    cl::desc("Quantization of the weights: none (default), lut, uniform, pot, "
             "nf, or an attribute's text such as 'lut<bits = 3>'"),
    cl::cat(category));
// The options of a scheme are texts: what they may be depends on the scheme.
static cl::opt<std::string> bits("bits", cl::desc("Bits of a code, 1 to 8 (4)"),
                                 cl::cat(category));
static cl::opt<std::string>
    group("group",
          cl::desc("Columns per table or scale (0: whole rows; nf: 64)"),
          cl::cat(category));
static cl::opt<std::string>
    activationBits("activation-bits",
                   cl::desc("uniform, and lut with entries of i8: bits that "
                            "activations are rounded to, 1 to 8 (0: products "
                            "of floats)"),
                   cl::cat(category));
static cl::opt<std::string>
    levels("levels", cl::desc("uniform: number of levels (0: 2^bits)"),
           cl::cat(category));
static cl::opt<std::string>
    outliers("outliers",
             cl::desc("lut: share of each row that is kept apart (0)"),
             cl::value_desc("share"), cl::cat(category));
static cl::opt<std::string>
    fullRows("full-rows", cl::desc("lut: rows that are kept as they are (0)"),
             cl::cat(category));
static cl::opt<std::string>
    tableRows("table-rows", cl::desc("lut: rows that share a table (1)"),
              cl::cat(category));
static cl::opt<std::string>
    entry("entry",
          cl::desc("lut: type of table entries: f16 (default), bf16, i8, "
                   "f8E4M3FN"),
          cl::cat(category));
static cl::opt<std::string>
    grid("grid",
         cl::desc("pot: levels: pot, stride2, half, third (by bits: 2 stride2, "
                  "3 pot, else half)"),
         cl::cat(category));
static cl::opt<std::string>
    mantissa("mantissa",
             cl::desc("pot: bits of the mantissa with half and third (bits - "
                      "3)"),
             cl::cat(category));
static cl::opt<std::string>
    scale("scale",
          cl::desc("uniform, pot: type of scales: f16 (default), bf16, and f32 "
                   "for uniform"),
          cl::cat(category));
static cl::opt<std::string>
    rules("rules",
          cl::desc("Schemes of single weights, a YAML or JSON list; --scheme "
                   "is for the others"),
          cl::value_desc("file"), cl::cat(category));
static cl::opt<std::string>
    calibration("calibration",
                cl::desc("Token ids to calibrate on (integer rows), or "
                         "statistics of a run with --keep-work"),
                cl::value_desc("ids.npy"), cl::cat(category));
static cl::opt<std::string> calibrationMode(
    "calibration-mode",
    cl::desc("sequential (default): each weight sees the inputs that quantized "
             "weights before it give; one-shot: those of the original model"),
    cl::cat(category));
static cl::opt<std::string>
    alpha("alpha",
          cl::desc("Sequential: 0 aims at the layer's own output, 1 at the "
                   "original model's (0.5)"),
          cl::cat(category));
static cl::opt<std::string>
    exclude("exclude",
            cl::desc("Weights that keep their precision (regular expression)"),
            cl::value_desc("regex"), cl::cat(category));
static cl::opt<bool> quantizeHead("quantize-head",
                                  cl::desc("Quantize the output head too"),
                                  cl::cat(category));
static cl::opt<std::string> solver(
    "solver",
    cl::desc("lut: improved, literal, kmeans; uniform: improved, rtn, gptq, "
             "awq, learned; pot: improved, paper, rtn; nf: gptq, rtn (the "
             "first)"),
    cl::cat(category));
static cl::opt<std::string>
    gramMemory("gram-memory",
               cl::desc("MiB that Gram matrices may take at a time (1024)"),
               cl::cat(category));
static cl::opt<std::string>
    budget("budget",
           cl::desc("Bits per weight that tables, scales and all may take: "
                    "chooses the scheme of each weight"),
           cl::value_desc("bits"), cl::cat(category));
static cl::opt<std::string> candidates(
    "candidates",
    cl::desc("Schemes that --budget chooses from (--scheme with 2 to 6 "
             "bits; without one, some of each family)"),
    cl::value_desc("scheme;..."), cl::cat(category));
static cl::opt<std::string>
    evaluate("evaluate",
             cl::desc("Token ids to judge the model on, before and after: the "
                      "perplexities are in --json and --report"),
             cl::value_desc("ids.npy"), cl::cat(category));
static cl::list<std::string>
    reports("report",
            cl::desc("Describe the result in a file (may be repeated)"),
            cl::value_desc("file.html|file.json"), cl::cat(category));
static cl::opt<std::string>
    target("target",
           cl::desc("Where the model runs: cpu (default), cuda for NVIDIA "
                    "GPUs, or emulator for a GPU's kernels on the CPU"),
           cl::cat(category));
static cl::opt<std::string>
    chips("chips",
          cl::desc("GPUs to compile for (all of sm_80, sm_86, sm_89, sm_90, "
                   "sm_90a, sm_100, sm_120); emulator: those whose "
                   "instructions may be used"),
          cl::value_desc("sm_80,..."), cl::cat(category));
static cl::opt<std::string>
    strategy("strategy",
             cl::desc("How GPUs multiply with rounded activations: auto "
                      "(default), int8, or btc by bit planes"),
             cl::cat(category));
static cl::opt<std::string>
    cpu("cpu",
        cl::desc("Processor: host (default), x86-64-v3, x86-64-v3-vnni, "
                 "x86-64-v4"),
        cl::cat(category));
static cl::list<std::string> bindings("bind",
                                      cl::desc("Size of a symbolic dimension"),
                                      cl::value_desc("dim=value"),
                                      cl::cat(category));
static cl::opt<std::string> chunk("prefill-chunk",
                                  cl::desc("Tokens of one prefill call (64)"),
                                  cl::cat(category));
static cl::opt<std::string>
    maxContext("max-context",
               cl::desc("Longest sequence (0: what the model says)"),
               cl::cat(category));
static cl::opt<std::string>
    kvCache("kv-cache",
            cl::desc("Keys and values of the sequence so far: model (default: "
                     "the model's type), f32, f16, i8"),
            cl::cat(category));
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
  Three bits, tables of tiles of 8x64 weights, 0.5 % of the weights kept apart:
    ganq-compile model.onnx -o model.ganq --scheme=lut --bits=3 --group=64 --table-rows=8 --outliers=0.005 --calibration=ids.npy
  The same with 8-bit table entries, in the text of the IR's attribute:
    ganq-compile model.onnx -o model.ganq --scheme='lut<bits = 3, rows = 8, group = 64, entry = f8E4M3FN>' --calibration=ids.npy
  Round to the nearest of 8 levels, one scale per 128 columns:
    ganq-compile model.onnx -o model.ganq --scheme=uniform --bits=3 --group=128 --solver=rtn
  Integer products: 4-bit weights, activations rounded to 8 bits at run time:
    ganq-compile model.onnx -o model.ganq --scheme=uniform --bits=4 --activation-bits=8 --calibration=ids.npy
  Powers of two, one scale per 128 columns; normal quantiles:
    ganq-compile model.onnx -o model.ganq --scheme=pot --bits=3 --group=128 --calibration=ids.npy
    ganq-compile model.onnx -o model.ganq --scheme=nf --bits=4
  Four bits, but three for some weights and none for others, by rules.yaml:
    - {match: 'up_proj|gate_proj', bits: 3}
    - {match: 'layers\.0\.', keep: true}
    ganq-compile model.onnx -o model.ganq --scheme=lut --rules=rules.yaml --calibration=ids.npy
  The best mixture of schemes that takes 3.25 bits per weight:
    ganq-compile model.onnx -o model.ganq --budget=3.25 --calibration=ids.npy
  Say what that did to each weight and to the perplexity on other text:
    ganq-compile model.onnx -o model.ganq --scheme=lut --bits=3 --calibration=ids.npy --evaluate=test.npy --report=model.html
  For two generations of GPUs, and the same kernels on this machine:
    ganq-compile model.onnx -o model.ganq --scheme=lut --bits=4 --calibration=ids.npy --target=cuda --chips=sm_80,sm_90a
    ganq-compile model.onnx -o model.ganq --scheme=lut --bits=4 --calibration=ids.npy --target=emulator
  See the model after its ops have been named:
    ganq-compile model.onnx -o model.mlir --compile-to=raise
)");

/// The options that setCompileOption() reads.
static cl::opt<std::string> *const texts[] = {
    &scheme,     &bits,        &group,           &activationBits,
    &levels,     &outliers,    &fullRows,        &tableRows,
    &entry,      &grid,        &mantissa,        &scale,
    &rules,      &calibration, &calibrationMode, &alpha,
    &exclude,    &solver,      &gramMemory,      &budget,
    &candidates, &evaluate,    &target,          &cpu,
    &chips,      &strategy,    &chunk,           &maxContext,
    &kvCache,    &compileTo};
static cl::opt<bool> *const flags[] = {&quantizeHead, &keepWork, &verbose};
// Lists have an operator & of their own.
static cl::list<std::string> *const lists[] = {std::addressof(bindings),
                                               std::addressof(reports)};

static llvm::Error readOptions(CompileOptions &options) {
  for (const cl::opt<std::string> *text : texts)
    if (text->getNumOccurrences() > 0)
      if (llvm::Error error =
              setCompileOption(options, text->ArgStr, text->getValue()))
        return error;
  for (const cl::opt<bool> *flag : flags)
    if (flag->getNumOccurrences() > 0)
      if (llvm::Error error = setCompileOption(
              options, flag->ArgStr, flag->getValue() ? "true" : "false"))
        return error;
  for (const cl::list<std::string> *list : lists)
    for (const std::string &value : *list)
      if (llvm::Error error = setCompileOption(options, list->ArgStr, value))
        return error;
  return llvm::Error::success();
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
  auto fail = [](const llvm::Twine &message) {
    llvm::WithColor::error(llvm::errs(), "ganq-compile") << message << "\n";
    return 1;
  };
  CompileOptions options;
  options.model = model;
  options.output = output;
  if (llvm::Error error = readOptions(options))
    return fail(llvm::toString(std::move(error)));
  if (printJson && options.output == "-")
    return fail("expected --json or -o -, but got both");
  llvm::Expected<llvm::json::Object> summary = compileModel(options);
  if (!summary) {
    if (summary.errorIsA<ReportedError>()) {
      llvm::consumeError(summary.takeError());
      return 1;
    }
    return fail(llvm::toString(summary.takeError()));
  }
  if (!printJson)
    return 0;
  llvm::outs() << llvm::formatv("{0:2}\n",
                                llvm::json::Value(std::move(*summary)));
  llvm::outs().flush();
  if (!llvm::outs().has_error())
    return 0;
  std::string reason = llvm::outs().error().message();
  llvm::outs().clear_error();
  return fail("cannot write to stdout: " + reason + "; the output '" +
              options.output + "' is complete");
}
