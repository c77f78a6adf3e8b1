//===- ganq-conformance.cpp - Runs the node tests of ONNX -----------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Imports, compiles and runs each node test in a process of its own and
// compares its outputs. The list of expected failures is checked both ways: a
// listed test that passes fails the suite as well.
//
//===----------------------------------------------------------------------===//

#include "TestData.h"
#include "ganq/Codegen/Passes.h"
#include "ganq/Conversion/Passes.h"
#include "ganq/IR/GanqDialect.h"
#include "ganq/Onnx/Import.h"
#include "ganq/Onnx/OnnxDialect.h"
#include "ganq/Onnx/Passes.h"
#include "ganq/Target/NativeObject.h"
#include "ganq/module_abi.h"
#include "mlir/Dialect/Bufferization/Transforms/OneShotAnalysis.h"
#include "mlir/Dialect/Bufferization/Transforms/Passes.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/InitAllDialects.h"
#include "mlir/InitAllExtensions.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Target/LLVMIR/Dialect/All.h"
#include "mlir/Transforms/Passes.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/Support/CommandLine.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/ToolOutputFile.h"
#include <cstdlib>
#include <dlfcn.h>
#include <fstream>
#include <map>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace mlir;
namespace cl = llvm::cl;
namespace fs = llvm::sys::fs;
namespace path = llvm::sys::path;

static cl::opt<std::string>
    dataDir("data", cl::desc("Folder of the node tests"),
            cl::init("/usr/share/libonnx-testdata/data/node"));
static cl::opt<std::string>
    expectedFile("expected",
                 cl::desc("Names of tests that fail, one per line"));
static cl::opt<std::string>
    writeExpected("write-expected",
                  cl::desc("Write the failures to this file"));
static cl::opt<std::string> filter("filter",
                                   cl::desc("Run tests with this in the name"));
static cl::opt<unsigned> jobs("j", cl::desc("Tests at a time"), cl::init(2));
static cl::opt<unsigned> seconds("timeout", cl::desc("Seconds for each test"),
                                 cl::init(30));
static cl::opt<bool> verbose("v", cl::desc("Print passed tests too"));

//===----------------------------------------------------------------------===//
// One test, in a process of its own
//===----------------------------------------------------------------------===//

static int resultPipe;

/// Ends the process of a test. `stage` is empty for a pass.
[[noreturn]] static void finish(StringRef stage, const Twine &message = "") {
  std::string text = (stage + "\n" + message).str();
  text.resize(std::min<size_t>(text.size(), 4096));
  ssize_t written = write(resultPipe, text.data(), text.size());
  _exit(written < 0);
}

static void parallelFor(ganq_parallel_fn fn, void *closure, int64_t count) {
  if (count > 0)
    fn(closure, 0, count);
}
static void *allocate(int64_t bytes) {
  return std::aligned_alloc(64, llvm::alignTo(std::max<int64_t>(bytes, 1), 64));
}
static void observe(int64_t, const float *, int64_t, int64_t) {}
static void fail(const char *message) { finish("run", message); }

static const ganq_host_api kApi = {GANQ_MODULE_ABI_VERSION,
                                   sizeof(ganq_host_api),
                                   parallelFor,
                                   allocate,
                                   observe,
                                   fail};

static void buildPipeline(OpPassManager &manager) {
  bufferization::OneShotBufferizePassOptions options;
  options.bufferizeFunctionBoundaries = true;
  options.functionBoundaryTypeConversion =
      bufferization::LayoutMapOption::IdentityLayoutMap;
  manager.addPass(createCanonicalizerPass());
  manager.addPass(createCSEPass());
  manager.addPass(bufferization::createEmptyTensorEliminationPass());
  manager.addPass(bufferization::createOneShotBufferizePass(options));
  manager.addPass(createCanonicalizerPass());
  manager.addPass(createCSEPass());
  ganq::buildCpuLoweringPipeline(manager, {});
}

namespace {
/// A memref descriptor of any rank.
struct Descriptor {
  std::vector<int64_t> words;

  explicit Descriptor(size_t rank) : words(3 + 2 * rank) {}
  explicit Descriptor(TestTensor &tensor) : Descriptor(tensor.shape.size()) {
    // Row-major, at the alignment that compiled code relies on.
    void *data = allocate(tensor.bytes.size());
    std::memcpy(data, tensor.bytes.data(), tensor.bytes.size());
    words[0] = words[1] = reinterpret_cast<int64_t>(data);
    int64_t stride = 1;
    for (size_t dim = tensor.shape.size(); dim-- > 0;) {
      words[3 + dim] = tensor.shape[dim];
      words[3 + tensor.shape.size() + dim] = stride;
      stride *= tensor.shape[dim];
    }
  }

  TestTensor read(int32_t type) const {
    size_t rank = (words.size() - 3) / 2;
    TestTensor tensor;
    tensor.type = type;
    tensor.shape.assign(words.begin() + 3, words.begin() + 3 + rank);
    int64_t size = getElementSize(type), count = tensor.getCount();
    const char *data = reinterpret_cast<const char *>(words[1]);
    for (int64_t i = 0; i < count; ++i) {
      int64_t rest = i, at = words[2];
      for (size_t dim = rank; dim-- > 0;) {
        at += rest % tensor.shape[dim] * words[3 + rank + dim];
        rest /= tensor.shape[dim];
      }
      tensor.bytes.insert(tensor.bytes.end(), data + at * size,
                          data + (at + 1) * size);
    }
    return tensor;
  }
};
} // namespace

static std::vector<TestTensor> readTensors(StringRef dir, StringRef kind) {
  std::vector<TestTensor> tensors;
  for (unsigned i = 0;; ++i) {
    std::string file =
        (dir + "/test_data_set_0/" + kind + "_" + Twine(i) + ".pb").str();
    if (!fs::exists(file))
      return tensors;
    std::string error;
    if (!readTensor(file, tensors.emplace_back(), error))
      finish("data", error);
  }
}

static ganq_entry_fn loadEntry(ArrayRef<char> object) {
  int file = memfd_create("module", 0);
  size_t done = 0;
  while (file >= 0 && done < object.size()) {
    ssize_t n = write(file, object.data() + done, object.size() - done);
    if (n <= 0)
      break;
    done += n;
  }
  std::string name = "/proc/self/fd/" + std::to_string(file);
  void *library = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library)
    finish("load", dlerror());
  auto init = reinterpret_cast<ganq_module_init_fn>(
      dlsym(library, GANQ_MODULE_INIT_SYMBOL));
  auto entry = reinterpret_cast<ganq_entry_fn>(dlsym(library, "ganq_main"));
  if (!init || !entry || init(&kApi, nullptr) != 0)
    finish("load", "expected a module with an entry main");
  return entry;
}

[[noreturn]] static void runTest(StringRef dir) {
  DialectRegistry registry;
  registerAllDialects(registry);
  registerAllExtensions(registry);
  registerAllToLLVMIRTranslations(registry);
  registry.insert<ganq::GanqDialect>();
  ganq::onnx::registerOnnxDialect(registry);
  ganq::registerBufferizableOpInterfaceExternalModels(registry);
  MLIRContext context(registry, MLIRContext::Threading::DISABLED);
  context.loadAllAvailableDialects();
  std::string message;
  context.getDiagEngine().registerHandler([&](Diagnostic &diagnostic) {
    if (message.empty() &&
        diagnostic.getSeverity() == DiagnosticSeverity::Error)
      message = diagnostic.str();
    return success();
  });

  ganq::onnx::ImportOptions importOptions;
  importOptions.inlineWeights = true;
  OwningOpRef<ModuleOp> module = ganq::onnx::importOnnxModel(
      (dir + "/model.onnx").str(), &context, importOptions);
  if (!module)
    finish("import", message);
  auto run = [&](StringRef stage, function_ref<void(OpPassManager &)> build) {
    PassManager manager(&context);
    build(manager);
    if (failed(manager.run(*module)))
      finish(stage, message);
  };
  run("input", [](OpPassManager &manager) {
    manager.addPass(ganq::createOnnxNormalizeOpset());
    manager.addPass(ganq::createOnnxInferShapes());
    manager.addPass(ganq::createOnnxFold());
  });
  run("convert", [](OpPassManager &manager) {
    manager.addPass(ganq::createConvertOnnxToLinalg());
  });
  auto main = module->lookupSymbol<func::FuncOp>("main");
  SmallVector<Type> inputTypes(main.getArgumentTypes());
  SmallVector<Type> resultTypes(main.getResultTypes());
  run("compile", buildPipeline);
  ganq::TargetOptions targetOptions;
  targetOptions.optLevel = 1;
  auto object = ganq::compileToSharedObject(*module, targetOptions);
  if (!object)
    finish("compile", llvm::toString(object.takeError()));
  ganq_entry_fn entry = loadEntry(*object);

  std::vector<TestTensor> inputs = readTensors(dir, "input");
  std::vector<TestTensor> outputs = readTensors(dir, "output");
  if (inputs.size() != inputTypes.size() ||
      outputs.size() != resultTypes.size())
    finish("data", "expected data for each input and output");
  std::vector<Descriptor> descriptors;
  for (auto [tensor, type] : llvm::zip(inputs, inputTypes)) {
    auto ranked = dyn_cast<RankedTensorType>(type);
    if (!ranked ||
        failed(verifyCompatibleShape(ranked.getShape(), tensor.shape)))
      finish("data", "expected inputs of the model's shapes");
    descriptors.emplace_back(tensor);
  }
  for (Type type : resultTypes)
    descriptors.emplace_back(cast<RankedTensorType>(type).getRank());
  std::vector<void *> args;
  for (Descriptor &descriptor : descriptors)
    args.push_back(descriptor.words.data());
  entry(args.data());

  for (auto [i, expected] : llvm::enumerate(outputs)) {
    TestTensor actual = descriptors[inputs.size() + i].read(expected.type);
    std::string difference = compareTensors(actual, expected);
    if (!difference.empty())
      finish("compare", "output " + Twine(i) + ", " + difference);
  }
  finish("");
}

//===----------------------------------------------------------------------===//
// The suite
//===----------------------------------------------------------------------===//

namespace {
struct Outcome {
  std::string stage, message;
  bool passed() const { return stage.empty(); }
};
} // namespace

static Outcome readOutcome(int file, int status) {
  std::string text(8192, '\0');
  ssize_t size = read(file, text.data(), text.size());
  close(file);
  text.resize(std::max<ssize_t>(size, 0));
  if (text.empty()) {
    int number = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    return number == SIGALRM
               ? Outcome{"timeout", ""}
               : Outcome{"crash", "signal " + std::to_string(number)};
  }
  auto [stage, message] = StringRef(text).split('\n');
  return {stage.str(),
          message.take_until([](char c) { return c == '\n'; }).str()};
}

static std::vector<std::string> findTests() {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator it(dataDir, error), end; it != end && !error;
       it.increment(error))
    if (fs::exists(it->path() + "/model.onnx") &&
        StringRef(it->path()).contains(filter))
      names.push_back(path::filename(it->path()).str());
  llvm::sort(names);
  return names;
}

/// The first word of each line that is no comment.
static bool readNames(StringRef file, llvm::StringMap<bool> &names) {
  std::ifstream stream(file.str());
  if (!stream)
    return false;
  for (std::string line; std::getline(stream, line);) {
    StringRef name = StringRef(line).split('#').first.trim();
    if (!name.empty())
      names[name] = true;
  }
  return true;
}

int main(int argc, char **argv) {
  cl::ParseCommandLineOptions(argc, argv, "Runs the node tests of ONNX\n");
  std::vector<std::string> names = findTests();
  if (names.empty()) {
    llvm::errs() << "error: expected node tests in '" << dataDir
                 << "'; install libonnx-testdata or pass --data\n";
    return 1;
  }
  llvm::StringMap<bool> expected;
  if (!expectedFile.empty() && !readNames(expectedFile, expected)) {
    llvm::errs() << "error: expected a list of failures in '" << expectedFile
                 << "', but it cannot be read\n";
    return 1;
  }

  std::vector<Outcome> outcomes(names.size());
  std::map<pid_t, std::pair<size_t, int>> running;
  for (size_t next = 0; next < names.size() || !running.empty();) {
    if (next < names.size() && running.size() < std::max(jobs.getValue(), 1u)) {
      int ends[2];
      if (pipe(ends) != 0) {
        llvm::errs() << "error: expected a pipe, but the system has none\n";
        return 1;
      }
      pid_t child = fork();
      if (child == 0) {
        resultPipe = ends[1];
        alarm(seconds);
        runTest(dataDir + "/" + names[next]);
      }
      close(ends[1]);
      running[child] = {next++, ends[0]};
      continue;
    }
    int status;
    pid_t child = wait(&status);
    auto it = running.find(child);
    if (it == running.end())
      continue;
    outcomes[it->second.first] = readOutcome(it->second.second, status);
    running.erase(it);
  }

  std::map<std::string, unsigned> stages;
  unsigned passed = 0, unexpected = 0;
  for (auto [name, outcome] : llvm::zip(names, outcomes)) {
    passed += outcome.passed();
    ++stages[outcome.passed() ? "passed" : outcome.stage];
    bool isExpected = expected.count(name);
    bool surprise = !expectedFile.empty() && outcome.passed() == isExpected;
    unexpected += surprise;
    if (outcome.passed() && !verbose && !surprise)
      continue;
    llvm::outs() << (surprise ? "UNEXPECTED " : "")
                 << (outcome.passed() ? "PASS " : "FAIL ") << name;
    if (!outcome.passed())
      llvm::outs() << ": " << outcome.stage << ": " << outcome.message;
    llvm::outs() << "\n";
  }
  for (auto &entry : expected)
    if (filter.empty() && !llvm::is_contained(names, entry.getKey())) {
      llvm::outs() << "UNEXPECTED no test " << entry.getKey() << "\n";
      ++unexpected;
    }
  for (auto &[stage, count] : stages)
    if (stage != "passed")
      llvm::outs() << "failed at " << stage << ": " << count << "\n";
  llvm::outs() << passed << " passed, " << names.size() - passed << " failed, "
               << unexpected << " unexpected, of " << names.size() << "\n";

  if (!writeExpected.empty()) {
    std::error_code error;
    llvm::ToolOutputFile file(writeExpected, error, fs::OF_Text);
    if (error) {
      llvm::errs() << "error: expected to write '" << writeExpected
                   << "': " << error.message() << "\n";
      return 1;
    }
    file.os() << "# Node tests of ONNX that do not pass, and the stage that "
                 "fails.\n";
    for (auto [name, outcome] : llvm::zip(names, outcomes))
      if (!outcome.passed())
        file.os() << name << "  # " << outcome.stage << "\n";
    file.keep();
  }
  return unexpected ? 1 : 0;
}
