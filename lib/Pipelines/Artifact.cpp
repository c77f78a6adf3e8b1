//===- Artifact.cpp - Writes compiled models ------------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/Pipelines/Artifact.h"
#include "Errors.h"
#include "ganq/Codegen/Gpu/GpuPacking.h"
#include "ganq/Target/CpuTarget.h"
#include "ganq/Target/NativeObject.h"
#include "ganq/module_abi.h"
#include "ganq/runtime.h"
#include "ganq/runtime/manifest.h"
#include "ganq/runtime/safetensors.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Pass/PassManager.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/Support/FormatVariadic.h"

using namespace mlir;
using namespace ganq;
namespace json = llvm::json;

llvm::Error ganq::runPhase(ModuleOp module, Phase phase,
                           const PhaseOptions &options) {
  PassManager manager(module.getContext());
  buildPhase(manager, phase, options);
  return runPasses(manager, module);
}

/// The runtime's element type; `isUnsigned` where MLIR has dropped the sign.
static std::optional<runtime::DType> getDType(Type type) {
  using runtime::DType;
  if (auto integer = dyn_cast<IntegerType>(type)) {
    bool isUnsigned = integer.isUnsigned();
    switch (integer.getWidth()) {
    case 1:
      return DType::Bool;
    case 8:
      return isUnsigned ? DType::U8 : DType::I8;
    case 16:
      return isUnsigned ? DType::U16 : DType::I16;
    case 32:
      return isUnsigned ? DType::U32 : DType::I32;
    case 64:
      return isUnsigned ? DType::U64 : DType::I64;
    default:
      return std::nullopt;
    }
  }
  if (type.isF16())
    return DType::F16;
  if (type.isBF16())
    return DType::BF16;
  if (type.isF32())
    return DType::F32;
  if (type.isF64())
    return DType::F64;
  if (isa<Float8E4M3FNType>(type))
    return DType::F8E4M3;
  return std::nullopt;
}

/// One input or output of @main for the manifest.
static llvm::Expected<json::Object>
describePort(Type type, DictionaryAttr attrs, StringRef kind, unsigned number) {
  auto name = attrs ? attrs.getAs<StringAttr>("onnx.name") : StringAttr();
  auto dims = attrs ? attrs.getAs<ArrayAttr>("onnx.dims") : ArrayAttr();
  std::string label =
      name ? name.str() : llvm::formatv("{0}{1}", kind, number).str();
  auto tensor = dyn_cast<RankedTensorType>(type);
  std::optional<runtime::DType> dtype;
  if (tensor)
    dtype = getDType(tensor.getElementType());
  if (!dtype)
    return makeError(llvm::formatv("expected {0} '{1}' to be a ranked tensor "
                                   "of numbers, but got {2}",
                                   kind, label, type));
  json::Array shape;
  for (auto [i, size] : llvm::enumerate(tensor.getShape())) {
    if (!ShapedType::isDynamic(size)) {
      shape.push_back(size);
      continue;
    }
    StringAttr symbol;
    if (dims && i < dims.size())
      symbol = dyn_cast<StringAttr>(dims[i]);
    shape.push_back(symbol && !symbol.empty()
                        ? symbol.str()
                        : llvm::formatv("{0}.{1}", label, i).str());
  }
  return json::Object{{"name", label},
                      {"dtype", runtime::name(*dtype)},
                      {"shape", std::move(shape)}};
}

static json::Value shapeOf(ArrayRef<int64_t> shape) {
  json::Array array;
  for (int64_t size : shape)
    array.push_back(size);
  return array;
}

static int64_t storedBytes(ShapedType type) {
  return type.getNumElements() *
         llvm::divideCeil(type.getElementType().getIntOrFloatBitWidth(), 8);
}

llvm::Expected<ArtifactInfo> ganq::describeModule(ModuleOp module) {
  ArtifactInfo info;
  auto main = module.lookupSymbol<func::FuncOp>("main");
  if (!main)
    return makeError("expected the module to have a function @main");
  json::Array inputs, outputs;
  for (unsigned i = 0; i < main.getNumArguments(); ++i) {
    auto port = describePort(main.getArgument(i).getType(),
                             main.getArgAttrDict(i), "input", i);
    if (!port)
      return port.takeError();
    inputs.push_back(std::move(*port));
  }
  for (unsigned i = 0; i < main.getNumResults(); ++i) {
    auto port = describePort(main.getResultTypes()[i],
                             main.getResultAttrDict(i), "output", i);
    if (!port)
      return port.takeError();
    outputs.push_back(std::move(*port));
  }
  info.main = json::Object{{"symbol", "ganq_main"},
                           {"arena", 0},
                           {"inputs", std::move(inputs)},
                           {"outputs", std::move(outputs)}};

  if (auto state = module->getAttrOfType<DictionaryAttr>("ganq.state")) {
    json::Array caches;
    for (Attribute attr : state.getAs<ArrayAttr>("caches")) {
      auto cache = cast<DictionaryAttr>(attr);
      caches.push_back(json::Object{
          {"name", cache.getAs<StringAttr>("name").str()},
          {"dtype", cache.getAs<StringAttr>("dtype").str()},
          {"shape",
           shapeOf(cache.getAs<DenseI64ArrayAttr>("shape").asArrayRef())}});
    }
    info.state = json::Object{
        {"max_context", state.getAs<IntegerAttr>("max_context").getInt()},
        {"vocabulary", state.getAs<IntegerAttr>("vocabulary").getInt()},
        {"caches", std::move(caches)}};
  }

  // What a scheme stores beside the product's operands, such as the scales of
  // its inputs, is read by other ops.
  llvm::StringMap<llvm::MapVector<StringRef, int64_t>> stored;
  module.walk([&](ParameterOp parameter) {
    if (!parameter.getSourceAttr())
      stored[parameter.getKey().rsplit('.').first][parameter.getKey()] =
          storedBytes(cast<ShapedType>(parameter.getType()));
  });

  // The weights of all functions, once each.
  llvm::MapVector<StringRef, json::Object> weights;
  int64_t quantizedBits = 0, quantizedElements = 0, plainBits = 0,
          plainElements = 0;
  module.walk([&](Operation *op) {
    if (auto matmul = dyn_cast<MatmulOp>(op)) {
      auto weight = matmul.getWeight().getDefiningOp<ParameterOp>();
      if (!weight || weights.count(weight.getKey()))
        return;
      auto type = cast<ShapedType>(weight.getType());
      plainBits += storedBytes(type) * 8;
      plainElements += type.getNumElements();
      weights[weight.getKey()] =
          json::Object{{"name", weight.getKey()},
                       {"scheme", "none"},
                       {"shape", shapeOf(type.getShape())},
                       {"bytes", storedBytes(type)},
                       {"tensors", json::Array{weight.getKey()}}};
    } else if (auto packed = dyn_cast<PackedMatmulOp>(op)) {
      StringRef key;
      llvm::MapVector<StringRef, int64_t> parts;
      for (Value component : packed.getComponents()) {
        auto parameter = component.getDefiningOp<ParameterOp>();
        if (!parameter)
          return;
        key = parameter.getKey().rsplit('.').first;
        parts[parameter.getKey()] =
            storedBytes(cast<ShapedType>(parameter.getType()));
      }
      if (weights.count(key))
        return;
      for (auto [name, size] : stored.lookup(key))
        parts[name] = size;
      int64_t bytes = 0;
      json::Array tensors;
      for (auto [name, size] : parts) {
        bytes += size;
        tensors.push_back(name);
      }
      int64_t n = packed.getN(), k = packed.getK();
      quantizedBits += bytes * 8;
      quantizedElements += n * k;
      weights[key] = json::Object{{"name", key},
                                  {"scheme", packed.getScheme().getShortName()},
                                  {"shape", json::Array{n, k}},
                                  {"bytes", bytes},
                                  {"tensors", std::move(tensors)}};
    }
  });
  for (auto &entry : weights)
    info.weights.push_back(std::move(entry.second));
  if (quantizedElements)
    info.bitsPerWeight = static_cast<double>(quantizedBits) /
                         static_cast<double>(quantizedElements);
  else if (plainElements)
    info.bitsPerWeight =
        static_cast<double>(plainBits) / static_cast<double>(plainElements);
  return info;
}

/// The weights with the costs of their products in the step functions.
static json::Array describeKernels(ModuleOp module, json::Array weights) {
  llvm::StringMap<json::Array> kernels;
  if (auto list = module->getAttrOfType<ArrayAttr>("ganq.kernels"))
    for (auto kernel : list.getAsRange<DictionaryAttr>()) {
      StringRef entry = kernel.getAs<StringAttr>("entry");
      if (entry == "main")
        continue;
      auto number = [&](StringRef name) {
        return kernel.getAs<IntegerAttr>(name).getInt();
      };
      kernels[kernel.getAs<StringAttr>("weight").getValue()].push_back(
          json::Object{{"entry", entry},
                       {"name", kernel.getAs<StringAttr>("kernel").getValue()},
                       {"tile", kernel.getAs<StringAttr>("tile").getValue()},
                       {"rows", number("rows")},
                       {"instructions", number("instructions")},
                       {"bytes", number("bytes")},
                       {"nanoseconds", number("nanoseconds")}});
    }
  for (json::Value &weight : weights) {
    json::Object &object = *weight.getAsObject();
    auto found = kernels.find(*object.getString("name"));
    if (found != kernels.end())
      object["kernels"] = std::move(found->second);
  }
  return weights;
}

/// The entry of a step function: its tokens and scratch memory.
static llvm::Expected<json::Object>
describeStep(ModuleOp module, StringRef name, int64_t tokens) {
  std::string symbol = ("ganq_" + name).str();
  auto func = module.lookupSymbol<LLVM::LLVMFuncOp>(symbol);
  auto arena = func ? func->getAttrOfType<IntegerAttr>("ganq.arena_bytes")
                    : IntegerAttr();
  if (!arena)
    return makeError("internal error: no arena for the entry '" + symbol + "'");
  return json::Object{
      {"symbol", symbol}, {"tokens", tokens}, {"arena", arena.getInt()}};
}

namespace {

/// What a file holds besides weights.
struct Compiled {
  std::vector<char> code;
  json::Object target, entries;
  /// Names of stored tensors, by the numbers that the code uses.
  std::vector<std::string> parameters;
  /// Those that are made of others or belong to the program.
  DeviceProgram program;
};

/// Compiles a module after the buffer phase, and writes it.
class ArtifactWriter {
public:
  ArtifactWriter(ModuleOp module, ArtifactInfo &info,
                 const PhaseOptions &options, ParameterStore &store,
                 ComponentSource components)
      : module(module), info(info), options(options), store(store),
        components(components) {}

  /// Lowers to buffers, and notes where the parameters come from.
  llvm::Error lower();
  llvm::Expected<Compiled> compile();
  llvm::Expected<Compiled> compile(const DeviceOptions &device);
  llvm::Expected<int64_t> write(Compiled compiled, const std::string &path);

private:
  /// What the file must hold, by the tensor's name.
  struct Stored {
    ParameterOp source; ///< Where the bytes come from; null for components.
    RankedTensorType type;
  };
  using Sink = llvm::function_ref<llvm::Error(ArrayRef<char>)>;

  /// The type of a tensor of the file.
  llvm::Expected<ShapedType> getType(const Compiled &compiled, StringRef key);
  /// Hands the bytes of a tensor of the file to `sink`.
  llvm::Error stream(const Compiled &compiled, StringRef key, Sink sink);
  /// The same for what the model or its quantized weights hold.
  llvm::Error streamStored(StringRef key, Sink sink);
  /// Gives weights that are made of others the tensors that the file holds.
  llvm::Error describeStored(const Compiled &compiled);

  ModuleOp module;
  ArtifactInfo &info;
  const PhaseOptions &options;
  ParameterStore &store;
  ComponentSource components;
  /// Keeps the parameters that `stored` names.
  OwningOpRef<ModuleOp> keep;
  llvm::StringMap<Stored> stored;
};

} // namespace

llvm::Error ArtifactWriter::lower() {
  if (llvm::Error error = runPhase(module, Phase::Linalg, options))
    return error;

  // The names of @main's values are in `info` by now.
  for (auto func : module.getOps<func::FuncOp>()) {
    for (StringRef name : {"onnx.name", "onnx.dims"})
      for (unsigned i = 0; i < func.getNumArguments(); ++i)
        func.removeArgAttr(i, name);
    func.removeResAttrsAttr();
  }

  keep = OwningOpRef<ModuleOp>(module.clone());
  keep->walk([&](ParameterOp parameter) {
    auto type = cast<RankedTensorType>(parameter.getType());
    stored.try_emplace(
        parameter.getKey(),
        Stored{parameter.getSourceAttr() || parameter.getPackedRowsAttr()
                   ? parameter
                   : ParameterOp(),
               type});
  });
  return runPhase(module, Phase::Buffer, options);
}

llvm::Expected<Compiled> ArtifactWriter::compile() {
  auto target = CpuTarget::get(options.cpu);
  if (!target)
    return target.takeError();
  if (llvm::Error error = runPhase(module, Phase::LLVM, options))
    return std::move(error);

  Compiled compiled;
  compiled.entries["main"] = json::Object(info.main);
  if (info.state) {
    for (auto [name, tokens] :
         {std::pair<StringRef, int64_t>{"prefill", options.chunk},
          {"prompt", options.chunk},
          {"decode", 1}}) {
      if (name == "prompt" && !module.lookupSymbol("ganq_prompt"))
        continue;
      auto step = describeStep(module, name, tokens);
      if (!step)
        return step.takeError();
      compiled.entries[name] = std::move(*step);
    }
  }
  if (auto keys = module->getAttrOfType<ArrayAttr>("ganq.parameters"))
    for (Attribute key : keys)
      compiled.parameters.push_back(cast<StringAttr>(key).str());

  TargetOptions targetOptions;
  targetOptions.cpu = options.cpu;
  auto code = compileToSharedObject(module, targetOptions);
  if (!code)
    return code.takeError();
  compiled.code = std::move(*code);

  json::Array features;
  for (const std::string &feature : target->getRequiredFeatures(module))
    features.push_back(feature);
  // As users name it; `host` is known by the processor's own name.
  compiled.target =
      json::Object{{"arch", "x86_64"},
                   {"cpu", options.cpu == "host" ? target->cpu : options.cpu},
                   {"features", std::move(features)}};
  return compiled;
}

llvm::Expected<Compiled> ArtifactWriter::compile(const DeviceOptions &device) {
  if (llvm::Error error = lowerToDevice(module, device))
    return std::move(error);
  auto program = exportProgram(module);
  if (!program)
    return program.takeError();
  auto code = compileKernels(module, device);
  if (!code)
    return code.takeError();
  Compiled compiled;
  compiled.program = std::move(*program);
  compiled.code = std::move(code->bytes);
  compiled.target = std::move(code->target);
  compiled.entries = std::move(compiled.program.entries);
  compiled.parameters = std::move(compiled.program.parameters);
  return compiled;
}

llvm::Expected<ShapedType> ArtifactWriter::getType(const Compiled &compiled,
                                                   StringRef key) {
  const DeviceProgram &program = compiled.program;
  if (auto found = program.packed.find(key); found != program.packed.end())
    if (RankedTensorType type = getGpuOperandType(found->second))
      return cast<ShapedType>(type);
  if (auto found = program.constants.find(key);
      found != program.constants.end())
    return cast<ShapedType>(found->second.getType());
  auto entry = stored.find(key);
  if (entry == stored.end())
    return makeError("internal error: unknown parameter '" + key + "'");
  return cast<ShapedType>(entry->second.type);
}

llvm::Error ArtifactWriter::streamStored(StringRef key, Sink sink) {
  auto entry = stored.find(key);
  if (entry == stored.end())
    return makeError("internal error: unknown parameter '" + key + "'");
  if (!entry->second.source)
    return components(key, sink);
  llvm::Error error = store.stream(entry->second.source, sink);
  store.release();
  return error;
}

llvm::Error ArtifactWriter::stream(const Compiled &compiled, StringRef key,
                                   Sink sink) {
  const DeviceProgram &program = compiled.program;
  if (auto found = program.constants.find(key);
      found != program.constants.end()) {
    auto bytes = getConstantBytes(found->second);
    return bytes ? sink(*bytes) : bytes.takeError();
  }
  auto found = program.packed.find(key);
  if (found == program.packed.end())
    return streamStored(key, sink);
  std::vector<std::vector<char>> parts;
  for (auto name : found->second.getComponents().getAsRange<StringAttr>()) {
    std::vector<char> &bytes = parts.emplace_back();
    if (llvm::Error error = streamStored(name, [&](ArrayRef<char> piece) {
          llvm::append_range(bytes, piece);
          return llvm::Error::success();
        }))
      return error;
  }
  auto packed = packGpuOperand(
      found->second, std::vector<ArrayRef<char>>(parts.begin(), parts.end()));
  return packed ? sink(*packed) : packed.takeError();
}

llvm::Error ArtifactWriter::describeStored(const Compiled &compiled) {
  // Weights of kernels for devices are stored as these want them.
  llvm::StringMap<std::vector<std::string>> packed;
  llvm::StringSet<> present;
  for (const std::string &key : compiled.parameters) {
    present.insert(key);
    if (compiled.program.packed.contains(key))
      packed[StringRef(key).rsplit('.').first].push_back(key);
  }
  if (packed.empty())
    return llvm::Error::success();
  double bits = 0, elements = 0;
  for (json::Value &value : info.weights) {
    json::Object &weight = *value.getAsObject();
    auto found = packed.find(*weight.getString("name"));
    if (found == packed.end())
      continue;
    std::vector<std::string> names = found->second;
    for (const json::Value &name : *weight.getArray("tensors"))
      if (present.contains(*name.getAsString()))
        names.push_back(name.getAsString()->str());
    int64_t bytes = 0;
    for (const std::string &name : names) {
      auto type = getType(compiled, name);
      if (!type)
        return type.takeError();
      bytes += storedBytes(*type);
    }
    weight["tensors"] = json::Array(names);
    weight["bytes"] = bytes;
    bits += 8.0 * static_cast<double>(bytes);
    const json::Array &shape = *weight.getArray("shape");
    elements += *shape[0].getAsNumber() * *shape[1].getAsNumber();
  }
  info.bitsPerWeight = bits / elements;
  return llvm::Error::success();
}

llvm::Expected<int64_t> ArtifactWriter::write(Compiled compiled,
                                              const std::string &path) {
  if (llvm::Error error = describeStored(compiled))
    return std::move(error);
  json::Object manifest{
      {"abi", static_cast<int64_t>(GANQ_MODULE_ABI_VERSION)},
      {"generator", std::string("ganq ") + ganq_version()},
      {"target", std::move(compiled.target)},
      {"code", "__code__"},
      {"parameters", json::Array(compiled.parameters)},
      {"entries", std::move(compiled.entries)},
      {"weights", describeKernels(module, info.weights)},
      {"bits_per_weight", info.bitsPerWeight},
      {"source",
       json::Object{{"file", info.sourceFile}, {"sha256", info.sourceSha256}}}};
  if (info.state)
    manifest["state"] = json::Object(*info.state);
  std::string manifestText =
      llvm::formatv("{0}", json::Value(std::move(manifest)));

  const std::vector<char> &code = compiled.code;
  auto codeBytes = static_cast<int64_t>(code.size());
  runtime::SafetensorsWriter writer(path);
  for (auto &[key, value] : runtime::modelMetadata(
           manifestText, std::string_view(code.data(), code.size())))
    if (runtime::Status status = writer.setMetadata(key, value); !status.ok())
      return toError(status);
  if (runtime::Status status =
          writer.declare("__code__", runtime::DType::U8, {codeBytes});
      !status.ok())
    return toError(status);
  for (const std::string &key : compiled.parameters) {
    auto type = getType(compiled, key);
    if (!type)
      return type.takeError();
    // Elements of less than a byte are stored as bytes.
    Type element = type->getElementType();
    if (element.isIndex())
      element = IntegerType::get(element.getContext(), 64);
    std::optional<runtime::DType> dtype =
        element.isInteger(2) || element.isInteger(4) ? runtime::DType::U8
                                                     : getDType(element);
    if (!dtype)
      return makeError(llvm::formatv(
          "expected parameter '{0}' to hold numbers of a type that files can "
          "store, but got {1}",
          key, *type));
    if (runtime::Status status =
            writer.declare(key, *dtype, type->getShape().vec());
        !status.ok())
      return toError(status);
  }
  if (runtime::Status status = writer.begin(); !status.ok())
    return toError(status);
  if (runtime::Status status =
          writer.append("__code__", code.data(), codeBytes);
      !status.ok())
    return toError(status);
  int64_t total = codeBytes;
  for (const std::string &key : compiled.parameters) {
    auto sink = [&](ArrayRef<char> piece) -> llvm::Error {
      total += static_cast<int64_t>(piece.size());
      return toError(
          writer.append(key, piece.data(), static_cast<int64_t>(piece.size())));
    };
    if (llvm::Error error = stream(compiled, key, sink))
      return std::move(error);
  }
  if (runtime::Status status = writer.finish(); !status.ok())
    return toError(status);
  return total;
}

llvm::Expected<int64_t> ganq::writeArtifact(ModuleOp module, ArtifactInfo &info,
                                            const PhaseOptions &options,
                                            ParameterStore &store,
                                            ComponentSource components,
                                            const std::string &path,
                                            const DeviceOptions *device) {
  ArtifactWriter writer(module, info, options, store, components);
  if (device)
    eraseMain(module);
  if (llvm::Error error = writer.lower())
    return std::move(error);
  auto compiled = device ? writer.compile(*device) : writer.compile();
  if (!compiled)
    return compiled.takeError();
  return writer.write(std::move(*compiled), path);
}
