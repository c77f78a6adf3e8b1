//===- Model.cpp - A compiled model, loaded -------------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/runtime/model.h"
#include "CodeLibrary.h"
#include "DeviceModel.h"
#include "Host.h"
#include "Program.h"
#include "ganq/runtime/thread_pool.h"
#include <algorithm>
#include <cstring>
#include <mutex>

namespace ganq::runtime {

struct Model::Implementation {
  Manifest manifest;
  std::unique_ptr<Safetensors> file;
  std::vector<Buffer> copies; ///< of parameters that the file misaligns
  std::vector<const void *> parameters; ///< what the code reads
  std::vector<const void *> stored;     ///< the file's
  std::unique_ptr<CodeLibrary> library;
  ganq_entry_fn main = nullptr, prefill = nullptr, prompt = nullptr,
                decode = nullptr;
  std::string_view code;
  std::unique_ptr<DeviceModel> device; ///< null before the first session
  Observer observer;
  Scratch scratch;
  std::mutex calls;

  Status checkTarget() const;
  Status bindParameters();
  Status loadCode(std::string_view code);
};

Status Model::Implementation::checkTarget() const {
  if (manifest.arch != "x86_64" && !manifest.isForDevice())
    return Status(
        Code::Unsupported,
        file->path() +
            ": expected code for x86_64, cuda or emulator, but got '" +
            manifest.arch + "'");
  std::string missing = missingCpuFeature(manifest.features);
  if (!missing.empty())
    return Status(Code::Unsupported,
                  file->path() + ": the model was compiled for the CPU '" +
                      manifest.cpu + "' and needs " + missing +
                      " (compile it with another --cpu)");
  return Status();
}

Status Model::Implementation::bindParameters() {
  for (size_t i = 0; i < manifest.parameters.size(); ++i) {
    const std::string &name = manifest.parameters[i];
    const TensorInfo *info = file->find(name);
    if (!info)
      return Status(Code::InvalidFile,
                    file->path() + ": manifest.parameters[" +
                        std::to_string(i) +
                        "]: expected the name of a tensor, but there is no '" +
                        name + "'");
    if (manifest.isForDevice())
      continue; // they go to the device's memory
    const char *data = file->data(*info);
    if (reinterpret_cast<uintptr_t>(data) % GANQ_MODULE_ALIGNMENT) {
      Result<Buffer> copy = Buffer::create(info->bytes);
      if (!copy.ok())
        return copy.status();
      memcpy(copy->data(), data, size_t(info->bytes));
      data = copy->data();
      copies.push_back(std::move(*copy));
    }
    parameters.push_back(data);
  }
  stored = parameters;
  for (const WeightInfo &weight : manifest.weights)
    for (const std::string &name : weight.tensors)
      if (!file->find(name))
        return Status(Code::InvalidFile,
                      file->path() + ": weight '" + weight.name +
                          "': there is no tensor '" + name + "'");
  return Status();
}

Status Model::Implementation::loadCode(std::string_view code) {
  std::string where = file->path() + ": code tensor '" + manifest.code + "'";
  Result<std::unique_ptr<CodeLibrary>> loaded = CodeLibrary::load(code, where);
  if (!loaded.ok())
    return loaded.status();
  library = std::move(*loaded);
  auto invalid = [&](const std::string &message) {
    return Status(Code::InvalidFile, where + ": " + message);
  };

  auto resolve = [&](const std::optional<Entry> &entry,
                     ganq_entry_fn &function) {
    if (!entry)
      return Status();
    function = reinterpret_cast<ganq_entry_fn>(library->find(entry->symbol));
    return function ? Status()
                    : invalid("there is no function '" + entry->symbol + "'");
  };
  for (Status status :
       {resolve(manifest.main, main), resolve(manifest.prefill, prefill),
        resolve(manifest.prompt, prompt), resolve(manifest.decode, decode)})
    if (!status.ok())
      return status;
  auto init = reinterpret_cast<ganq_module_init_fn>(
      library->find(GANQ_MODULE_INIT_SYMBOL));
  if (!init)
    return invalid("there is no function '" GANQ_MODULE_INIT_SYMBOL "'");
  int32_t refused = init(&hostApi(), parameters.data());
  if (refused != 0)
    return Status(Code::Unsupported,
                  file->path() + ": the model's code refused to start (" +
                      std::to_string(refused) + ")");
  return Status();
}

Model::Model() : impl(std::make_unique<Implementation>()) {}
Model::~Model() = default;

Result<std::shared_ptr<Model>> Model::open(const std::string &path) {
  if (Result<int> threads = ThreadPool::defaultThreads(); !threads.ok())
    return threads.status();
  Result<std::unique_ptr<Safetensors>> file = Safetensors::open(path);
  if (!file.ok())
    return file.status();
  const auto &metadata = (*file)->metadata();
  auto text = metadata.find("ganq.manifest");
  if (text == metadata.end())
    return Status(Code::InvalidFile,
                  path + ": expected a compiled model, but the metadata has no "
                         "'ganq.manifest'");
  Result<Manifest> manifest = Manifest::parse(text->second, path);
  if (!manifest.ok())
    return manifest.status();

  std::shared_ptr<Model> model(new Model);
  Implementation &impl = *model->impl;
  impl.manifest = std::move(*manifest);
  impl.file = std::move(*file);
  const TensorInfo *info = impl.file->find(impl.manifest.code);
  if (!info || info->dtype != DType::U8)
    return Status(Code::InvalidFile,
                  path + ": expected the code in a U8 tensor '" +
                      impl.manifest.code + "', but there is none");
  std::string_view code(impl.file->data(*info), size_t(info->bytes));
  auto checksum = metadata.find("ganq.checksum");
  if (checksum == metadata.end() ||
      checksum->second != modelMetadata(text->second, code).at("ganq.checksum"))
    return Status(Code::InvalidFile,
                  path + ": the checksum of manifest and code does not match: "
                         "the file is damaged");
  if (Status status = impl.checkTarget(); !status.ok())
    return status;
  if (Status status = impl.bindParameters(); !status.ok())
    return status;
  impl.code = code;
  Status status = impl.manifest.isForDevice()
                      ? checkProgram(impl.manifest, *impl.file, info->bytes)
                      : impl.loadCode(code);
  if (!status.ok())
    return status;
  return model;
}

const Manifest &Model::manifest() const { return impl->manifest; }
const Safetensors &Model::file() const { return *impl->file; }

void Model::setObserver(Observer observer) {
  std::lock_guard<std::mutex> lock(impl->calls);
  impl->observer = std::move(observer);
}

Status Model::setParameter(const std::string &name, const void *data) {
  const std::vector<std::string> &names = impl->manifest.parameters;
  size_t index =
      size_t(std::find(names.begin(), names.end(), name) - names.begin());
  if (index == names.size())
    return Status(Code::InvalidArgument,
                  "the model has no parameter '" + name + "'");
  if (reinterpret_cast<uintptr_t>(data) % GANQ_MODULE_ALIGNMENT)
    return Status(Code::InvalidArgument,
                  "parameter '" + name +
                      "': expected data at a multiple of 64 bytes");
  std::lock_guard<std::mutex> lock(impl->calls);
  if (impl->manifest.isForDevice())
    return Status(Code::Unsupported,
                  "the parameters of a model on a device cannot be replaced");
  impl->parameters[index] = data ? data : impl->stored[index];
  return Status();
}

Result<DeviceModel *> Model::device() {
  std::lock_guard<std::mutex> lock(impl->calls);
  if (!impl->device) {
    Result<std::unique_ptr<DeviceModel>> loaded =
        DeviceModel::load(impl->manifest, *impl->file, impl->code);
    if (!loaded.ok())
      return loaded.status();
    impl->device = std::move(*loaded);
  }
  return impl->device.get();
}

Result<Model::DeviceFacts> Model::measureDevice() {
  if (!impl->manifest.isForDevice())
    return Status(Code::Unsupported,
                  "expected a model on a device, but got one on the CPU");
  Result<DeviceModel *> loaded = device();
  if (!loaded.ok())
    return loaded.status();
  std::lock_guard<std::mutex> lock(impl->calls);
  Result<double> bandwidth = (*loaded)->copyBandwidth();
  if (!bandwidth.ok())
    return bandwidth.status();
  return DeviceFacts{(*loaded)->device().name(), *bandwidth};
}

std::mutex &Model::callMutex() { return impl->calls; }

Status Model::step(Step step, void **args) {
  return call(step == Step::Prefill  ? impl->prefill
              : step == Step::Prompt ? impl->prompt
                                     : impl->decode,
              args, {});
}

bool Model::isObserved() const {
  std::lock_guard<std::mutex> lock(impl->calls);
  // Programs for devices have no taps.
  return impl->observer && !impl->manifest.isForDevice();
}

Status Model::call(ganq_entry_fn entry, void **args,
                   const std::function<Status()> &inspect) {
  std::lock_guard<std::mutex> lock(impl->calls);
  Status status = runEntry(entry, args, impl->scratch, impl->observer);
  if (status.ok() && inspect)
    status = inspect();
  impl->scratch.reset();
  return status;
}

namespace {

/// Copies dimension `axis` and those within it out of a strided array.
void copyStrided(const Descriptor &from, const std::vector<int64_t> &shape,
                 size_t axis, const char *source, int64_t bytes, char *&out) {
  if (axis == shape.size()) {
    memcpy(out, source, size_t(bytes));
    out += bytes;
    return;
  }
  if (axis + 1 == shape.size() && from.stride(axis) == 1) {
    memcpy(out, source, size_t(shape[axis] * bytes));
    out += shape[axis] * bytes;
    return;
  }
  for (int64_t i = 0; i < shape[axis]; ++i)
    copyStrided(from, shape, axis + 1, source + i * from.stride(axis) * bytes,
                bytes, out);
}

Result<Tensor> readResult(const Descriptor &slot, const Port &port) {
  std::vector<int64_t> shape;
  for (size_t i = 0; i < port.shape.size(); ++i) {
    shape.push_back(slot.size(i));
    if (port.shape[i].size >= 0 && port.shape[i].size != slot.size(i))
      return Status(Code::Failed, "output '" + port.name + "': expected " +
                                      toString(port) +
                                      ", but the model's code gave " +
                                      std::to_string(slot.size(i)) +
                                      " for dimension " + std::to_string(i));
  }
  Result<Tensor> tensor = Tensor::create(port.dtype, shape);
  if (!tensor.ok() || tensor->data.size() == 0)
    return tensor;
  if (!slot.aligned())
    return Status(Code::Failed, "output '" + port.name +
                                    "': the model's code left it without data");
  char *out = tensor->data.data();
  int64_t bytes = byteSize(port.dtype);
  copyStrided(slot, shape, 0, slot.aligned() + slot.offset() * bytes, bytes,
              out);
  return tensor;
}

/// Checks one input against its port; `symbols` collects name -> size.
Status checkInput(const NamedTensor &input, const Port &port,
                  std::map<std::string, int64_t> &symbols) {
  auto mismatch = [&](const std::string &reason) {
    return Status(Code::InvalidArgument,
                  "input '" + port.name + "': expected " + toString(port) +
                      ", but got " + name(input.dtype) + " " +
                      toString(input.shape) + reason);
  };
  if (input.dtype != port.dtype || input.shape.size() != port.shape.size() ||
      !elementCount(input.shape, byteSize(input.dtype)))
    return mismatch("");
  for (size_t i = 0; i < input.shape.size(); ++i) {
    const Dimension &dimension = port.shape[i];
    if (dimension.size >= 0) {
      if (dimension.size != input.shape[i])
        return mismatch("");
      continue;
    }
    auto [known, isNew] = symbols.try_emplace(dimension.symbol, input.shape[i]);
    if (!isNew && known->second != input.shape[i])
      return mismatch(", where '" + dimension.symbol + "' is " +
                      std::to_string(known->second) + " elsewhere");
  }
  return Status();
}

} // namespace

Result<std::vector<Tensor>> Model::run(const std::vector<NamedTensor> &inputs) {
  if (!impl->main)
    return Status(Code::Unsupported, "the model has no entry 'main'");
  const Entry &entry = *impl->manifest.main;
  for (const NamedTensor &input : inputs) {
    bool known = false;
    for (const Port &port : entry.inputs)
      known |= port.name == input.name;
    if (!known) {
      std::string names;
      for (const Port &port : entry.inputs)
        names += (names.empty() ? "" : ", ") + toString(port);
      return Status(Code::InvalidArgument, "expected the inputs " + names +
                                               ", but got '" + input.name +
                                               "'");
    }
  }

  // The code may write into its inputs, so they are copied by default.
  std::vector<Tensor> copies;
  std::vector<Descriptor> slots;
  std::map<std::string, int64_t> symbols;
  for (const Port &port : entry.inputs) {
    const NamedTensor *found = nullptr;
    for (const NamedTensor &input : inputs) {
      if (input.name != port.name)
        continue;
      if (found)
        return Status(Code::InvalidArgument,
                      "input '" + port.name + "' is given twice");
      found = &input;
    }
    if (!found)
      return Status(Code::InvalidArgument, "expected the input " +
                                               toString(port) +
                                               ", but it is missing");
    if (Status status = checkInput(*found, port, symbols); !status.ok())
      return status;
    if (found->inPlace) {
      if (reinterpret_cast<uintptr_t>(found->data) % GANQ_MODULE_ALIGNMENT)
        return Status(Code::InvalidArgument,
                      "input '" + port.name +
                          "': expected data at a multiple of 64 bytes to read "
                          "in place");
      slots.emplace_back(const_cast<void *>(found->data), found->shape);
      continue;
    }
    Result<Tensor> copy = Tensor::create(port.dtype, found->shape);
    if (!copy.ok())
      return copy.status();
    if (copy->data.size() > 0)
      memcpy(copy->data.data(), found->data, size_t(copy->data.size()));
    slots.emplace_back(copy->data.data(), copy->shape);
    copies.push_back(std::move(*copy));
  }
  for (const Port &port : entry.outputs)
    slots.emplace_back(port.shape.size());
  std::vector<void *> args;
  for (Descriptor &slot : slots)
    args.push_back(slot.get());

  std::vector<Tensor> results;
  Status status = call(impl->main, args.data(), [&] {
    for (size_t i = 0; i < entry.outputs.size(); ++i) {
      Result<Tensor> result =
          readResult(slots[entry.inputs.size() + i], entry.outputs[i]);
      if (!result.ok())
        return result.status();
      results.push_back(std::move(*result));
    }
    return Status();
  });
  if (!status.ok())
    return status;
  return results;
}

} // namespace ganq::runtime
