//===- Program.cpp - Models as launches for devices -----------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/Pipelines/Program.h"
#include "Errors.h"
#include "ganq/Codegen/Gpu/GpuPacking.h"
#include "ganq/Codegen/Gpu/GpuProducts.h"
#include "ganq/Codegen/Gpu/Passes.h"
#include "ganq/Codegen/Passes.h"
#include "ganq/Emulator/Emulator.h"
#include "ganq/Pipelines/Phases.h"
#include "ganq/Target/CpuTarget.h"
#include "ganq/Target/Cubin.h"
#include "ganq/Target/NativeObject.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "mlir/IR/DialectResourceBlobManager.h"
#include "mlir/Interfaces/ViewLikeInterface.h"
#include "llvm/Support/FormatVariadic.h"

using namespace mlir;
using namespace ganq;
namespace json = llvm::json;

//===----------------------------------------------------------------------===//
// Before work begins
//===----------------------------------------------------------------------===//

llvm::Error ganq::checkDevice(const DeviceOptions &device) {
  if (device.emulated)
    return llvm::Error::success();
  for (const GpuTarget &chip : device.chips) {
    std::string empty =
        ".version 8.7\n.target " + chip.chip.str() + "\n.address_size 64\n";
    if (auto cubin = assemblePtx(empty, chip); !cubin)
      return cubin.takeError();
  }
  return llvm::Error::success();
}

llvm::Error ganq::checkDeviceWeights(ModuleOp assigned,
                                     const DeviceOptions &device) {
  llvm::Error result = llvm::Error::success();
  auto check = [&](StringRef key, SchemeAttrInterface scheme, int64_t n,
                   int64_t k) {
    llvm::Error error =
        checkGpuWeight(scheme, n, k, device.getStrategy(), device.chips);
    if (!error)
      return WalkResult::advance();
    llvm::consumeError(std::move(result));
    result =
        makeError("weight '" + key + "': " + llvm::toString(std::move(error)) +
                  "; --exclude=REGEX leaves a weight as it is");
    return WalkResult::interrupt();
  };
  assigned.walk([&](Operation *op) {
    if (auto packed = dyn_cast<PackedMatmulOp>(op)) {
      auto codes = packed.getComponents().front().getDefiningOp<ParameterOp>();
      return check(codes ? codes.getKey().rsplit('.').first : "",
                   packed.getScheme(), packed.getN(), packed.getK());
    }
    auto parameter = dyn_cast<ParameterOp>(op);
    auto type = parameter ? dyn_cast<RankedTensorType>(parameter.getType())
                          : RankedTensorType();
    auto scheme =
        type ? dyn_cast_or_null<SchemeAttrInterface>(type.getEncoding())
             : SchemeAttrInterface();
    return scheme ? check(parameter.getKey(), scheme, type.getDimSize(0),
                          type.getDimSize(1))
                  : WalkResult::advance();
  });
  return result;
}

//===----------------------------------------------------------------------===//
// Lowering and code
//===----------------------------------------------------------------------===//

void ganq::eraseMain(ModuleOp module) {
  if (auto main = module.lookupSymbol<func::FuncOp>("main"))
    main.erase();
}

llvm::Error ganq::lowerToDevice(ModuleOp module, const DeviceOptions &device) {
  LowerGpuProductsOptions products;
  for (const GpuTarget &chip : device.chips)
    products.chips.push_back(chip.chip.str());
  products.strategy = device.strategy;
  PassManager manager(module.getContext());
  manager.addNestedPass<func::FuncOp>(createSeparateBuffers());
  manager.addPass(createLowerGpuProducts(products));
  manager.addPass(createLowerToGpu());
  manager.addPass(createAddArgmax());
  manager.addPass(createPlanMemory());
  buildGpuToNvvmPipeline(manager);
  return runPasses(manager, module);
}

llvm::Expected<DeviceCode> ganq::compileKernels(ModuleOp module,
                                                const DeviceOptions &device) {
  auto modules = module.getOps<gpu::GPUModuleOp>();
  if (!llvm::hasSingleElement(modules))
    return makeError("internal error: expected the module to have one "
                     "gpu.module");
  gpu::GPUModuleOp kernels = *modules.begin();
  DeviceCode code;
  if (device.emulated) {
    EmulatorOptions options;
    options.cpu = device.cpu;
    auto object = compileToEmulatedObject(kernels, options);
    if (!object)
      return object.takeError();
    auto shared = linkSharedObject(*object);
    if (!shared)
      return shared.takeError();
    // Another processor must not run it.
    auto target = CpuTarget::get(device.cpu);
    if (!target)
      return target.takeError();
    json::Array features;
    for (const std::string &feature : target->getRequiredFeatures(module))
      features.push_back(feature);
    code.bytes = std::move(*shared);
    code.target =
        json::Object{{"arch", "emulator"},
                     {"cpu", device.cpu == "host" ? target->cpu : device.cpu},
                     {"features", std::move(features)}};
    return code;
  }
  json::Array chips;
  for (const GpuTarget &chip : device.chips) {
    auto ptx = compileToPtx(kernels, chip);
    if (!ptx)
      return ptx.takeError();
    auto cubin = assemblePtx(*ptx, chip);
    if (!cubin)
      return cubin.takeError();
    // Drivers read images from where they lie.
    constexpr size_t kAlignment = 64;
    code.bytes.resize(llvm::alignTo(code.bytes.size(), kAlignment));
    chips.push_back(
        json::Object{{"chip", chip.chip},
                     {"offset", static_cast<int64_t>(code.bytes.size())},
                     {"bytes", static_cast<int64_t>(cubin->image.size())}});
    llvm::append_range(code.bytes, cubin->image);
  }
  code.target = json::Object{{"arch", "cuda"}, {"chips", std::move(chips)}};
  return code;
}

//===----------------------------------------------------------------------===//
// Launches
//===----------------------------------------------------------------------===//

namespace {

/// Reads the launches off one step function.
class ProgramReader {
public:
  ProgramReader(ModuleOp module, DeviceProgram &program)
      : module(module), program(program) {}

  llvm::Error read(func::FuncOp function);

private:
  llvm::Error fail(Operation *op, const llvm::Twine &what) const {
    return makeError("internal error: " + what + ", but got `" +
                     op->getName().getStringRef() + "` in @" +
                     op->getParentOfType<func::FuncOp>().getSymName());
  }

  /// The places of the function's arguments: see CreateStepFunctions.
  llvm::Error nameArguments(func::FuncOp function);
  llvm::Expected<json::Object> readLaunch(gpu::LaunchFuncOp launch);
  llvm::Expected<json::Array> readSizes(Operation *op, gpu::KernelDim3 sizes);
  llvm::Expected<json::Value> readArgument(Operation *op, Value value);
  /// A buffer's place, as the manifest has it.
  llvm::Expected<json::Value> readBuffer(Operation *op, Value buffer);
  /// The number of a stored tensor, which `content` sets apart from others;
  /// null for one that the weights file has.
  llvm::Expected<json::Value> readParameter(Operation *op, StringRef key,
                                            Attribute content, int64_t offset);

  ModuleOp module;
  DeviceProgram &program;
  llvm::DenseMap<Value, json::Value> arguments;
  llvm::StringMap<std::pair<int64_t, Attribute>> numbers;
};

} // namespace

llvm::Expected<json::Value> ProgramReader::readParameter(Operation *op,
                                                         StringRef key,
                                                         Attribute content,
                                                         int64_t offset) {
  auto number = static_cast<int64_t>(program.parameters.size());
  auto [entry, isNew] =
      numbers.try_emplace(key, std::make_pair(number, content));
  if (isNew)
    program.parameters.push_back(key.str());
  else if (entry->second.second != content)
    return fail(op, "expected one stored tensor of the name '" + key + "'");
  return json::Array{"parameter", entry->second.first, offset};
}

llvm::Error ProgramReader::nameArguments(func::FuncOp function) {
  auto state = module->getAttrOfType<DictionaryAttr>("ganq.state");
  size_t caches = state ? state.getAs<ArrayAttr>("caches").size() : 0;
  SmallVector<json::Value> places{json::Array{"tokens"}, json::Array{"past"}};
  if (function.getSymName() == "prompt")
    places.push_back(json::Array{"row"});
  for (size_t i = 0; i < caches; ++i)
    places.push_back(json::Array{"cache", static_cast<int64_t>(i)});
  places.push_back(json::Array{"logits"});
  // See AddArgmax.
  if (function.getNumArguments() == places.size() + 2)
    places.push_back(json::Array{"best"});
  // The arena comes first.
  if (function.getNumArguments() != places.size() + 1)
    return makeError(llvm::formatv("internal error: expected @{0} to have {1} "
                                   "arguments, but got {2}",
                                   function.getSymName(), places.size() + 1,
                                   function.getNumArguments()));
  arguments.clear();
  arguments.try_emplace(function.getArgument(0), json::Array{"arena", 0});
  for (auto [argument, place] :
       llvm::zip(function.getArguments().drop_front(), places))
    arguments.try_emplace(argument, std::move(place));
  return llvm::Error::success();
}

llvm::Expected<json::Value> ProgramReader::readBuffer(Operation *op,
                                                      Value buffer) {
  // Views that plan-memory made start elsewhere; others change the shape, or
  // have their offset in the type, which kernels know.
  int64_t offset = 0;
  while (auto view = buffer.getDefiningOp<ViewLikeOpInterface>()) {
    if (auto bytes = dyn_cast<memref::ViewOp>(view.getOperation())) {
      auto shift = getConstantIntValue(bytes.getByteShift());
      if (!shift)
        return fail(view, "expected a constant place in the arena");
      offset += *shift;
    }
    buffer = view.getViewSource();
  }
  if (auto found = arguments.find(buffer); found != arguments.end()) {
    json::Value place = found->second;
    if (*place.getAsArray()->front().getAsString() == "arena")
      return json::Array{"arena", offset};
    if (offset)
      return fail(op, "expected views into the arena only");
    return place;
  }
  Operation *source = buffer.getDefiningOp();
  if (!source)
    return fail(op, "expected a buffer of the step function");
  if (auto parameter = dyn_cast<ParameterOp>(source)) {
    GpuPackedAttr packed = parameter.getGpuPackedAttr();
    if (packed) {
      auto type = cast<ShapedType>(parameter.getType());
      RankedTensorType made = getGpuOperandType(packed);
      if (!made || made.getShape() != type.getShape() ||
          made.getElementType() != type.getElementType())
        return fail(source, "expected the type that the packed operand has");
      program.packed.insert({parameter.getKey(), packed});
    }
    return readParameter(source, parameter.getKey(), packed, offset);
  }
  auto get = dyn_cast<memref::GetGlobalOp>(source);
  auto global = get ? module.lookupSymbol<memref::GlobalOp>(get.getName())
                    : memref::GlobalOp();
  auto value = global ? dyn_cast_or_null<ElementsAttr>(
                            global.getInitialValue().value_or(Attribute()))
                      : ElementsAttr();
  if (!value || !global.getConstant())
    return fail(source, "expected a buffer of the step function or a constant");
  // Tensors of the model may have the symbol's name.
  auto key = StringAttr::get(module.getContext(),
                             "constant of the program: " + global.getSymName());
  program.constants.insert({key.getValue(), value});
  return readParameter(source, key, value, offset);
}

llvm::Expected<json::Value> ProgramReader::readArgument(Operation *op,
                                                        Value value) {
  if (isa<MemRefType>(value.getType()))
    return readBuffer(op, value);
  // An address: see LowerGpuProducts.
  if (auto pointer = value.getDefiningOp<LLVM::IntToPtrOp>()) {
    Value integer = pointer.getArg();
    if (auto cast = integer.getDefiningOp<arith::IndexCastOp>())
      integer = cast.getIn();
    if (auto address =
            integer.getDefiningOp<memref::ExtractAlignedPointerAsIndexOp>())
      return readBuffer(op, address.getSource());
  }
  TypedAttr constant;
  if (auto constantOp = value.getDefiningOp<arith::ConstantOp>())
    constant = constantOp.getValue();
  if (auto number = dyn_cast_or_null<IntegerAttr>(constant)) {
    if (value.getType().isIndex() || value.getType().isInteger(64))
      return json::Array{"i64", number.getInt()};
    if (value.getType().isInteger(32))
      return json::Array{"i32", number.getInt()};
  }
  if (auto number = dyn_cast_or_null<FloatAttr>(constant);
      number && value.getType().isF32())
    return json::Array{"f32", number.getValueAsDouble()};
  return fail(value.getDefiningOp() ? value.getDefiningOp() : op,
              "expected arguments of kernels to be buffers and constants");
}

llvm::Expected<json::Array> ProgramReader::readSizes(Operation *op,
                                                     gpu::KernelDim3 sizes) {
  json::Array result;
  for (Value size : {sizes.x, sizes.y, sizes.z}) {
    auto constant = getConstantIntValue(size);
    if (!constant)
      return fail(op, "expected constant sizes of a launch");
    result.push_back(*constant);
  }
  return result;
}

llvm::Expected<json::Object>
ProgramReader::readLaunch(gpu::LaunchFuncOp launch) {
  auto grid = readSizes(launch, launch.getGridSizeOperandValues());
  if (!grid)
    return grid.takeError();
  auto block = readSizes(launch, launch.getBlockSizeOperandValues());
  if (!block)
    return block.takeError();
  int64_t shared = 0;
  if (Value bytes = launch.getDynamicSharedMemorySize()) {
    auto constant = getConstantIntValue(bytes);
    if (!constant)
      return fail(launch, "expected a constant size of shared memory");
    shared = *constant;
  }
  json::Array args;
  for (Value operand : launch.getKernelOperands()) {
    auto argument = readArgument(launch, operand);
    if (!argument)
      return argument.takeError();
    args.push_back(std::move(*argument));
  }
  return json::Object{{"kernel", launch.getKernelName().getValue()},
                      {"grid", std::move(*grid)},
                      {"block", std::move(*block)},
                      {"shared", shared},
                      {"args", std::move(args)}};
}

llvm::Error ProgramReader::read(func::FuncOp function) {
  auto arena = function->getAttrOfType<IntegerAttr>("ganq.arena_bytes");
  if (!arena || !llvm::hasSingleElement(function.getBody()))
    return makeError("internal error: expected @" + function.getSymName() +
                     " to have one block and an arena");
  if (llvm::Error error = nameArguments(function))
    return error;
  json::Array launches;
  for (Operation &op : function.front()) {
    if (auto launch = dyn_cast<gpu::LaunchFuncOp>(op)) {
      auto entry = readLaunch(launch);
      if (!entry)
        return entry.takeError();
      launches.push_back(std::move(*entry));
      continue;
    }
    // What has an effect must happen on the device.
    if (!isa<func::ReturnOp>(op) && !isMemoryEffectFree(&op))
      return fail(&op, "expected launches of kernels only");
  }
  auto tokens = cast<MemRefType>(function.getArgument(1).getType());
  program.entries[function.getSymName()] =
      json::Object{{"tokens", tokens.getNumElements()},
                   {"arena", arena.getInt()},
                   {"launches", std::move(launches)}};
  return llvm::Error::success();
}

llvm::Expected<DeviceProgram> ganq::exportProgram(ModuleOp module) {
  DeviceProgram program;
  ProgramReader reader(module, program);
  for (StringRef name : {"prefill", "prompt", "decode"})
    if (auto function = module.lookupSymbol<func::FuncOp>(name))
      if (llvm::Error error = reader.read(function))
        return std::move(error);
  return program;
}

llvm::Expected<std::vector<char>>
ganq::getConstantBytes(ElementsAttr constant) {
  auto type = cast<ShapedType>(constant.getType());
  Type element = type.getElementType();
  std::vector<char> bytes;
  if (auto resource = dyn_cast<DenseResourceElementsAttr>(constant)) {
    if (AsmResourceBlob *blob = resource.getRawHandle().getBlob())
      llvm::append_range(bytes, blob->getData());
  } else if (auto dense = dyn_cast<DenseElementsAttr>(constant)) {
    if (element.isInteger(1)) {
      for (bool value : dense.getValues<bool>())
        bytes.push_back(static_cast<char>(value));
      return bytes;
    }
    int64_t count = dense.isSplat() ? type.getNumElements() : 1;
    for (int64_t i = 0; i < count; ++i)
      llvm::append_range(bytes, dense.getRawData());
  }
  int64_t width = element.isIndex()        ? 64
                  : element.isIntOrFloat() ? element.getIntOrFloatBitWidth()
                                           : 0;
  if (static_cast<int64_t>(bytes.size()) != type.getNumElements() * width / 8)
    return makeError(llvm::formatv("internal error: expected a constant of "
                                   "numbers, but got one of type {0}",
                                   type));
  return bytes;
}
