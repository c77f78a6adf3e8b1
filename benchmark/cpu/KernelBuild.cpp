//===- KernelBuild.cpp - Products by themselves, compiled -----------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   kernel-build CPU FOLDER NAME:MxNxK:SCHEME[:TILE]...
//
// compiles, for each of them, the product of M rows of x with an [N, K] weight
// of a scheme (`lut<bits = 4>`), with a tile (`registers rows=4`; `?` lists
// those there are) in place of the one that the cost model chooses, and writes
// FOLDER/kernels.so and FOLDER/kernels.json, which kernel-run loads. No weight
// is written: the description says of what kind each stored tensor is. A
// product of integers has two entries: NAME's own reads the records of
// `ganq.quantize_rows`, the other one makes them first.
//
//===----------------------------------------------------------------------===//

#include "ganq/Codegen/Passes.h"
#include "ganq/IR/GanqDialect.h"
#include "ganq/Support/ActivationLayout.h"
#include "ganq/Target/NativeObject.h"
#include "mlir/AsmParser/AsmParser.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/InitAllDialects.h"
#include "mlir/Parser/Parser.h"
#include "mlir/Pass/PassManager.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/raw_ostream.h"

using namespace llvm;
using namespace ganq;
namespace json = llvm::json;

static int fail(const Twine &message) {
  errs() << "kernel-build: " << message << "\n";
  return 1;
}

namespace {
struct Kernel {
  std::string name, schemeText, tile;
  int64_t m = 0, n = 0, k = 0;
  SchemeAttrInterface scheme;
};
} // namespace

static std::optional<Kernel> parseKernel(StringRef text,
                                         mlir::MLIRContext &context) {
  Kernel kernel;
  auto [name, rest] = text.split(':');
  auto [sizes, what] = rest.split(':');
  auto [scheme, tile] = what.split(':');
  SmallVector<StringRef> parts;
  sizes.split(parts, 'x');
  if (name.empty() || parts.size() != 3 ||
      parts[0].getAsInteger(10, kernel.m) ||
      parts[1].getAsInteger(10, kernel.n) ||
      parts[2].getAsInteger(10, kernel.k) || kernel.m < 1 || kernel.n < 1 ||
      kernel.k < 1) {
    fail("expected NAME:MxNxK:SCHEME[:TILE], but got `" + text + "`");
    return std::nullopt;
  }
  kernel.name = name.str();
  kernel.schemeText = scheme.str();
  kernel.tile = tile.str();
  kernel.scheme = dyn_cast_or_null<SchemeAttrInterface>(
      mlir::parseAttribute(("#ganq." + scheme).str(), &context));
  auto emitError = [&] {
    return mlir::emitError(mlir::UnknownLoc::get(&context));
  };
  if (!kernel.scheme ||
      failed(kernel.scheme.verifyWeight(emitError, kernel.n, kernel.k))) {
    fail("expected a scheme that fits, but got `" + scheme + "`");
    return std::nullopt;
  }
  return kernel;
}

static std::string toString(mlir::Type type) {
  std::string text;
  raw_string_ostream(text) << type;
  return text;
}

/// What random bytes have to be to be such a tensor: `bytes`, `f16`, `bf16`,
/// `f32`, or the greatest value of small integers.
static json::Value describe(const SchemeComponent &component,
                            const Kernel &kernel) {
  mlir::Type element = component.type.getElementType();
  bool zero = component.suffix == "zero";
  int64_t bytes =
      component.type.getNumElements() * element.getIntOrFloatBitWidth() / 8;
  return json::Object{{"bytes", bytes},
                      {"kind", isa<mlir::FloatType>(element) ? toString(element)
                               : zero                        ? "zero"
                                                             : "bytes"},
                      {"most", (1 << kernel.scheme.getCodeBits()) - 1}};
}

/// Appends the entries of a kernel and describes them.
static json::Object emitKernel(const Kernel &kernel, size_t index,
                               std::string &module,
                               std::map<std::string, json::Value> &tensors) {
  std::string parameters, names, types;
  int64_t packed = 0;
  for (const SchemeComponent &each :
       kernel.scheme.getComponents(kernel.n, kernel.k)) {
    std::string key = formatv("w{0}.{1}", index, each.suffix);
    std::string type = toString(mlir::MemRefType::get(
        each.type.getShape(), each.type.getElementType()));
    parameters += formatv("  %{0} = ganq.parameter \"{1}\" : {2}\n",
                          each.suffix, key, type);
    names += (names.empty() ? "%" : ", %") + each.suffix;
    types += (types.empty() ? "" : ", ") + type;
    json::Value description = describe(each, kernel);
    packed += *description.getAsObject()->getInteger("bytes");
    tensors.emplace(key, std::move(description));
  }
  unsigned activation = kernel.scheme.getActivationBits();
  int64_t group = kernel.scheme.getSumGroup();
  std::string product = formatv(
      "  ganq.packed_matmul %x weight({0} : {1}) out(%y : memref<{2}x{3}xf32>) "
      "{{scheme = #ganq.{4}, n = {3}, k = {5}{6}{7}} : ",
      names, types, kernel.m, kernel.n, kernel.schemeText, kernel.k,
      activation ? ", strategy = #ganq.strategy<int8>" : "",
      kernel.tile.empty() ? "" : ", ganq.tile = \"" + kernel.tile + "\"");
  std::string floats = formatv("memref<{0}x{1}xf32>", kernel.m, kernel.k);
  std::string result = formatv("memref<{0}x{1}xf32>", kernel.m, kernel.n);
  json::Object description{
      {"name", kernel.name},    {"scheme", kernel.schemeText},
      {"m", kernel.m},          {"n", kernel.n},
      {"k", kernel.k},          {"entry", formatv("ganq_run{0}", index).str()},
      {"packed_bytes", packed}, {"record_bytes", 0}};
  if (!activation) {
    module += formatv("func.func @run{0}(%x: {1}, %y: {2}) {{\n{3}{4}{1}\n"
                      "  return\n}\n",
                      index, floats, result, parameters, product);
    return description;
  }
  ActivationLayout layout(activation, kernel.k, group, 0);
  std::string records =
      formatv("memref<{0}x{1}xi8>", kernel.m, layout.getBytes());
  module += formatv("func.func @run{0}(%x: {1}, %y: {2}) {{\n{3}{4}{1}\n"
                    "  return\n}\n",
                    index, records, result, parameters, product);
  module += formatv(
      "func.func @round{0}(%x: {1}, %r: {2}) {{\n"
      "  ganq.quantize_rows %x out(%r : {2}) {{bits = {3}, group = {4}} : {1}\n"
      "  return\n}\n",
      index, floats, records, activation, group);
  description["round_entry"] = formatv("ganq_round{0}", index).str();
  description["record_bytes"] = layout.getBytes();
  return description;
}

static Error write(const Twine &path, StringRef bytes) {
  return writeToOutput(path.str(), [&](raw_ostream &stream) -> Error {
    stream << bytes;
    return Error::success();
  });
}

int main(int argc, char **argv) {
  if (argc < 4)
    return fail("expected CPU FOLDER NAME:MxNxK:SCHEME[:TILE]..., but got " +
                Twine(argc - 1) + " arguments");
  std::string cpu = argv[1], folder = argv[2];
  Expected<CpuTarget> target = CpuTarget::get(cpu);
  if (!target)
    return fail(llvm::toString(target.takeError()));
  mlir::DialectRegistry registry;
  mlir::registerAllDialects(registry);
  registry.insert<GanqDialect>();
  mlir::MLIRContext context(registry);
  context.loadDialect<GanqDialect>();

  std::string text;
  json::Array kernels;
  std::map<std::string, json::Value> tensors;
  for (int i = 3; i < argc; ++i) {
    std::optional<Kernel> kernel = parseKernel(argv[i], context);
    if (!kernel)
      return 1;
    kernels.push_back(emitKernel(*kernel, i - 3, text, tensors));
  }
  auto module = mlir::parseSourceString<mlir::ModuleOp>(text, &context);
  if (!module)
    return fail("expected ops that take these schemes");
  mlir::PassManager manager(&context);
  buildCpuLoweringPipeline(manager, {cpu});
  if (failed(manager.run(*module)))
    return fail("expected kernels for these schemes");
  json::Array parameters;
  for (mlir::Attribute attribute :
       (*module)->getAttrOfType<mlir::ArrayAttr>("ganq.parameters")) {
    std::string key = cast<mlir::StringAttr>(attribute).str();
    json::Object tensor = *tensors.at(key).getAsObject();
    tensor["kernel"] = std::stoi(key.substr(1));
    parameters.push_back(std::move(tensor));
  }
  int64_t arena = 0;
  SmallVector<std::string> withArena;
  module->walk([&](mlir::LLVM::LLVMFuncOp function) {
    if (auto size =
            function->getAttrOfType<mlir::IntegerAttr>("ganq.arena_bytes")) {
      arena = std::max(arena, size.getInt());
      if (function.getName().starts_with("ganq_"))
        withArena.push_back(function.getName().str());
    }
  });
  // What the cost model chose and expects.
  for (auto chosen : (*module)
                         ->getAttrOfType<mlir::ArrayAttr>("ganq.kernels")
                         .getAsRange<mlir::DictionaryAttr>()) {
    auto entry = chosen.getAs<mlir::StringAttr>("entry").getValue();
    json::Object &kernel =
        *kernels[std::stoul(entry.drop_front(3).str())].getAsObject();
    kernel["tile"] = chosen.getAs<mlir::StringAttr>("tile").getValue();
    kernel["predicted_nanoseconds"] =
        chosen.getAs<mlir::IntegerAttr>("nanoseconds").getInt();
  }
  TargetOptions options;
  options.cpu = cpu;
  Expected<std::vector<char>> code = compileToSharedObject(*module, options);
  if (!code)
    return fail(llvm::toString(code.takeError()));

  json::Array features;
  for (const std::string &feature : target->getRequiredFeatures(*module))
    features.push_back(feature);
  json::Value description =
      json::Object{{"cpu", cpu},
                   {"processor", target->cpu},
                   {"features", std::move(features)},
                   {"kernels", std::move(kernels)},
                   {"parameters", std::move(parameters)},
                   {"arena_bytes", arena},
                   {"arena_entries", json::Array(withArena)}};
  if (std::error_code error = sys::fs::create_directories(folder))
    return fail("cannot make " + folder + ": " + error.message());
  if (Error error =
          write(folder + "/kernels.so", StringRef(code->data(), code->size())))
    return fail(llvm::toString(std::move(error)));
  if (Error error = write(folder + "/kernels.json",
                          formatv("{0:2}\n", description).str()))
    return fail(llvm::toString(std::move(error)));
  return 0;
}
