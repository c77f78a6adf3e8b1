//===- EmulatedModule.cpp - Compiled kernels and their launches -----------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Jit.h"
#include "KernelModule.h"
#include "ganq/Support/Errors.h"
#include "ganq/Target/CpuTarget.h"
#include "ganq/emulator.h"
#include "llvm/TargetParser/Host.h"

using namespace ganq;
using namespace llvm;

struct EmulatedModule::Impl {
  std::unique_ptr<LoadedObject> object;
  const ganq_simt_module *module = nullptr;
  std::unique_ptr<ganq_simt_device, void (*)(ganq_simt_device *)> device{
      ganq_simt_create(), ganq_simt_destroy};
};

EmulatedModule::EmulatedModule(std::unique_ptr<Impl> impl)
    : impl(std::move(impl)) {}

EmulatedModule::~EmulatedModule() = default;

Error ganq::checkThisMachine(const EmulatorOptions &options) {
  Expected<CpuTarget> target = CpuTarget::get(options.cpu);
  if (!target)
    return target.takeError();
  if (options.cpu == "host")
    return Error::success();
  SmallVector<StringRef> needed = {"avx2", "bmi",   "bmi2", "f16c",
                                   "fma",  "lzcnt", "movbe"};
  if (target->avx512)
    needed.append({"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"});
  for (StringRef feature : target->features)
    if (feature.consume_front("+"))
      needed.push_back(feature);
  StringMap<bool> features = sys::getHostCPUFeatures();
  for (StringRef feature : needed)
    if (!features.lookup(feature))
      return ganq::makeError("expected a machine with " + feature +
                             " to run code for " + options.cpu +
                             " on, but this one has not; choose cpu=host");
  return Error::success();
}

Expected<std::unique_ptr<EmulatedModule>>
EmulatedModule::create(mlir::gpu::GPUModuleOp module,
                       const EmulatorOptions &options) {
  if (Error error = checkThisMachine(options))
    return std::move(error);
  auto bytes = compileKernels(module, options);
  if (!bytes)
    return bytes.takeError();
  auto impl = std::make_unique<Impl>();
  if (!impl->device)
    return ganq::makeError("expected memory for the emulator, but got none");
  auto object = LoadedObject::load(*bytes, getEmulatorSymbols());
  if (!object)
    return object.takeError();
  impl->object = std::move(*object);
  Expected<void *> table = impl->object->lookup("ganq_simt_module");
  if (!table)
    return table.takeError();
  impl->module = static_cast<const ganq_simt_module *>(*table);
  std::unique_ptr<EmulatedModule> result(new EmulatedModule(std::move(impl)));
  result->setRunOptions(options);
  return std::move(result);
}

void EmulatedModule::addBuffer(const void *data, int64_t bytes, StringRef name,
                               bool readOnly) {
  ganq_simt_add_buffer(impl->device.get(), data, bytes, name.str().c_str(),
                       readOnly);
}

void EmulatedModule::removeBuffer(const void *data) {
  ganq_simt_remove_buffer(impl->device.get(), data);
}

void EmulatedModule::setRunOptions(const EmulatorOptions &options) {
  ganq_simt_order order = GANQ_SIMT_FORWARD;
  switch (options.order) {
  case LaneOrder::Forward:
    break;
  case LaneOrder::Reverse:
    order = GANQ_SIMT_REVERSE;
    break;
  case LaneOrder::Random:
    order = GANQ_SIMT_RANDOM;
    break;
  case LaneOrder::All:
    order = GANQ_SIMT_ALL_ORDERS;
    break;
  }
  ganq_simt_options simt = {order, options.seed, options.threads,
                            options.iterationLimit};
  ganq_simt_configure(impl->device.get(), &simt);
}

Error EmulatedModule::launch(StringRef kernel, Dim3 grid, Dim3 block,
                             int64_t dynamicSharedBytes,
                             ArrayRef<void *> args) {
  uint32_t sizes[2][3];
  const Dim3 dimensions[] = {grid, block};
  for (auto [i, size] : enumerate(dimensions)) {
    int64_t wide[3] = {size.x, size.y, size.z};
    for (int d = 0; d < 3; ++d) {
      if (wide[d] < 1 || wide[d] > INT32_MAX)
        return ganq::makeError(
            Twine("expected sizes of 1 to 2147483647 for a ") +
            (i ? "block" : "grid") + ", but got " + Twine(wide[d]) +
            " (kernel `" + kernel + "`)");
      sizes[i][d] = uint32_t(wide[d]);
    }
  }
  if (dynamicSharedBytes < 0)
    return ganq::makeError("expected 0 or more bytes of dynamic shared memory, "
                           "but got " +
                           Twine(dynamicSharedBytes) + " (kernel `" + kernel +
                           "`)");
  if (ganq_simt_launch(impl->device.get(), impl->module, kernel.str().c_str(),
                       sizes[0], sizes[1], dynamicSharedBytes, args.data(),
                       args.size()) != 0)
    return ganq::makeError(ganq_simt_message(impl->device.get()));
  return Error::success();
}

Expected<int64_t> EmulatedModule::getStaticSharedBytes(StringRef kernel) const {
  for (uint32_t i = 0; i < impl->module->num_kernels; ++i)
    if (kernel == impl->module->kernels[i].name)
      return int64_t(impl->module->kernels[i].static_shared_bytes);
  return ganq::makeError("expected a kernel of the module, but got `" + kernel +
                         "`");
}
