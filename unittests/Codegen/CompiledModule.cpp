//===- CompiledModule.cpp - Compiles and loads a module in a test ---------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "CompiledModule.h"
#include "ganq/Codegen/Passes.h"
#include "ganq/IR/GanqDialect.h"
#include "ganq/Target/NativeObject.h"
#include "ganq/runtime/model.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/InitAllDialects.h"
#include "mlir/Parser/Parser.h"
#include "mlir/Pass/PassManager.h"
#include <cstdlib>
#include <dlfcn.h>
#include <sys/mman.h>
#include <thread>
#include <unistd.h>

using namespace ganq;
using namespace ganq::test;

const ganq_host_api *ganq::test::getApi() {
  static const ganq_host_api api = {
      GANQ_MODULE_ABI_VERSION,
      sizeof(ganq_host_api),
      [](ganq_parallel_fn fn, void *closure, int64_t count) {
        ++host.dispatches;
        std::vector<std::thread> threads;
        int64_t parts = std::min<int64_t>(host.threads, count);
        for (int64_t i = 0; i < parts; ++i)
          threads.emplace_back(fn, closure, count * i / parts,
                               count * (i + 1) / parts);
        for (std::thread &thread : threads)
          thread.join();
      },
      [](int64_t bytes) -> void * {
        size_t size = (static_cast<size_t>(bytes) / 64 + 1) * 64;
        host.allocations.push_back(std::aligned_alloc(64, size));
        return host.allocations.back();
      },
      [](int64_t id, const float *data, int64_t rows, int64_t columns) {
        auto &values = host.observed[id];
        values.insert(values.end(), data, data + rows * columns);
      },
      [](const char *message) { host.failures.push_back(message); }};
  return &api;
}

bool ganq::test::hostRuns(llvm::StringRef cpu) {
  llvm::Expected<CpuTarget> machine = CpuTarget::get("host");
  if (!machine) {
    llvm::consumeError(machine.takeError());
    return false;
  }
  if (cpu == "x86-64-v3-vnni")
    return llvm::is_contained(machine->features, "+avxvnni");
  return cpu != "x86-64-v4" || machine->avx512;
}

CompiledModule::CompiledModule(llvm::StringRef text, llvm::StringRef cpu,
                               std::string *assembly) {
  mlir::DialectRegistry registry;
  mlir::registerAllDialects(registry);
  registry.insert<GanqDialect>();
  mlir::MLIRContext context(registry);
  auto module = mlir::parseSourceString<mlir::ModuleOp>(text, &context);
  if (!module) {
    ADD_FAILURE() << "the module does not parse";
    return;
  }
  mlir::PassManager manager(&context);
  buildCpuLoweringPipeline(manager, {cpu.str()});
  if (failed(manager.run(*module))) {
    ADD_FAILURE() << "the pipeline failed";
    return;
  }
  for (mlir::Attribute key :
       (*module)->getAttrOfType<mlir::ArrayAttr>("ganq.parameters"))
    keys.push_back(llvm::cast<mlir::StringAttr>(key).str());
  module->walk([&](mlir::LLVM::LLVMFuncOp function) {
    auto size = function->getAttrOfType<mlir::IntegerAttr>("ganq.arena_bytes");
    if (size)
      arenaBytes[function.getName().str()] = size.getInt();
  });
  TargetOptions options;
  options.cpu = cpu.str();
  options.assembly = assembly;
  auto code = compileToSharedObject(*module, options);
  if (!code) {
    ADD_FAILURE() << llvm::toString(code.takeError());
    return;
  }
  bytes = *code;
  // Asks the system for registers that the code uses.
  EXPECT_EQ(runtime::missingCpuFeature(
                CpuTarget::get(cpu)->getRequiredFeatures(*module)),
            "");
  int file = memfd_create("module", 0);
  EXPECT_EQ(write(file, bytes.data(), bytes.size()),
            static_cast<ssize_t>(bytes.size()));
  std::string path = "/proc/self/fd/" + std::to_string(file);
  handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!handle)
    ADD_FAILURE() << dlerror();
  close(file);
}

CompiledModule::~CompiledModule() {
  if (handle)
    dlclose(handle);
}

void CompiledModule::setParameters(
    const std::map<std::string, const void *> &byKey) {
  for (const std::string &key : keys)
    parameters.push_back(byKey.at(key));
  auto init = reinterpret_cast<ganq_module_init_fn>(
      dlsym(handle, GANQ_MODULE_INIT_SYMBOL));
  ASSERT_TRUE(init);
  EXPECT_EQ(init(getApi(), parameters.data()), 0);
}

void CompiledModule::call(const std::string &name, std::vector<void *> args,
                          int threads) {
  std::string symbol = "ganq_" + name;
  auto entry = reinterpret_cast<ganq_entry_fn>(dlsym(handle, symbol.c_str()));
  ASSERT_TRUE(entry) << symbol;
  for (void *allocation : host.allocations)
    std::free(allocation);
  host = Host();
  host.threads = threads;
  auto size = arenaBytes.find(symbol);
  Array<uint8_t> arena({size == arenaBytes.end() ? 0 : size->second + 64});
  if (size != arenaBytes.end()) {
    void *descriptor = arena.argument();
    arena.descriptor[1] = (arena.descriptor[1] + 63) / 64 * 64;
    args.insert(args.begin(), descriptor);
  }
  entry(args.data());
}
