//===- CudaTest.cpp - Tests of what a GPU's driver may do -----------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "DeviceTestModel.h"
#include "FakeCudaDriver.h"
#include "ganq/runtime.h"
#include "ganq/runtime/session.h"

using namespace ganq::runtime;
using namespace ganq::runtime::test;
using nlohmann::json;

namespace {
class CudaTest : public ::testing::Test {
protected:
  void SetUp() override { pack(deviceManifest("cuda")); }

  void pack(const json &manifest) {
    std::string code = deviceCode("cuda");
    packModel(path(), manifest, &code);
  }
  std::string path() const { return folder / "m.ganq"; }

  /// Loads the model, feeds a prompt and tokens, and times one of them.
  Status run() {
    Result<std::shared_ptr<Model>> model = Model::open(path());
    if (!model.ok())
      return model.status();
    Result<std::unique_ptr<Session>> session = Session::create(*model);
    if (!session.ok())
      return session.status();
    std::vector<int64_t> tokens = {3, 1, 4, 1, 5, 9};
    Status status = (*session)->feed(tokens.data(), 6);
    if (status.ok()) {
      std::vector<float> expected = expectedLogits(tokens);
      for (size_t v = 0; v < expected.size(); ++v)
        EXPECT_NEAR((*session)->logits()[v], expected[v], 1e-6);
      status = (*session)->setTimed(true);
    }
    if (status.ok())
      status = (*session)->feed(tokens.data(), 1);
    return status.ok() ? (*model)->measureDevice().status() : status;
  }

  void expectError(Code code, const std::vector<std::string> &parts) {
    Status status = run();
    EXPECT_EQ(status.code(), code) << status.message();
    EXPECT_EQ(status.message().find(path()), 0u) << status.message();
    for (const std::string &part : parts)
      EXPECT_NE(status.message().find(part), std::string::npos)
          << "no \"" << part << "\" in \"" << status.message() << "\"";
    driver.expectNothingLives();
  }

  FakeCudaDriver driver;
  TemporaryFolder folder;
};
} // namespace

TEST_F(CudaTest, DecodesWithOneGraph) {
  auto model = Model::open(path());
  ASSERT_TRUE(model.ok()) << model.status().message();
  EXPECT_EQ(driver->contexts, 0) << "opened with the first session";
  auto session = Session::create(*model);
  ASSERT_TRUE(session.ok()) << session.status().message();
  EXPECT_EQ(driver->copied_to_device, 68u + 128 + 128) << "parameters once";
  EXPECT_EQ(driver->host_allocations, 2) << "staging memory is gone";
  std::vector<int64_t> prompt = {3, 1, 4, 1};
  ASSERT_TRUE((*session)->feed(prompt.data(), 4).ok());
  EXPECT_EQ(driver->launches, 3);
  EXPECT_EQ(driver->captured, 0);
  for (int64_t token = 0; token < 5; ++token) {
    ASSERT_TRUE((*session)->feed(&token, 1).ok());
    EXPECT_EQ(driver->captured, 4) << "a copy and 3 launches, captured once";
    EXPECT_EQ(driver->graph_launches, token + 1);
    EXPECT_EQ(driver->launches, 3 * (token + 2));
  }
  EXPECT_EQ(driver->executables, 1);
  EXPECT_EQ(driver->graphs, 0);

  // A second session shares the parameters.
  size_t copied = driver->copied_to_device;
  auto other = Session::create(*model);
  ASSERT_TRUE(other.ok()) << other.status().message();
  EXPECT_EQ(driver->copied_to_device, copied);
  EXPECT_EQ(driver->modules, 1);
}

TEST_F(CudaTest, ObserversChangeNothing) {
  auto model = Model::open(path());
  ASSERT_TRUE(model.ok()) << model.status().message();
  (*model)->setObserver([](auto &&...) { ADD_FAILURE() << "has no taps"; });
  auto session = Session::create(*model);
  ASSERT_TRUE(session.ok()) << session.status().message();
  std::vector<int64_t> tokens = {3, 1};
  ASSERT_TRUE((*session)->feed(tokens.data(), 2).ok());
  EXPECT_EQ(driver->launches, 3) << "those of prompt";
}

TEST_F(CudaTest, GreedyTokensAreEightBytes) {
  pack(argmaxManifest("cuda"));
  auto model = Model::open(path());
  ASSERT_TRUE(model.ok()) << model.status().message();
  auto session = Session::create(*model);
  ASSERT_TRUE(session.ok()) << session.status().message();
  std::vector<int64_t> tokens = {3, 1, 4, 1};
  const int64_t *next = tokens.data();
  int64_t count = 4;
  for (size_t fed = 0; fed < 5; ++fed) {
    size_t before = driver->copied_to_host;
    ASSERT_TRUE((*session)->feed(next, count).ok());
    auto token = (*session)->sample(0);
    ASSERT_TRUE(token.ok()) << token.status().message();
    EXPECT_EQ(driver->copied_to_host - before, 8u);
    tokens.push_back(*token);
    next = &tokens.back();
    count = 1;
  }
  // Logits are copied when somebody wants them, once.
  size_t before = driver->copied_to_host;
  ASSERT_TRUE((*session)->sample(0.7).ok());
  ASSERT_TRUE((*session)->logits());
  EXPECT_EQ(driver->copied_to_host - before, 64u);
  ASSERT_TRUE((*session)->feed(next, 1).ok());
  for (const char *function : {"cuMemcpyDtoHAsync_v2", "cuStreamSynchronize"}) {
    driver->fail = function;
    driver->fail_at = 0;
    driver->error = 700;
    auto read = (*session)->readLogits();
    EXPECT_EQ(read.status().code(), Code::Failed);
    EXPECT_NE(read.status().message().find("cannot copy logits from the "
                                           "device: CUDA_ERROR_ILLEGAL"),
              std::string::npos)
        << read.status().message();
    driver->fail_at = 0;
    EXPECT_FALSE((*session)->logits());
    driver->fail_at = 0;
    EXPECT_EQ((*session)->sample(1).status().code(), Code::Failed);
    EXPECT_TRUE((*session)->sample(0).ok()) << "which is here already";
  }
  std::vector<float> expected = expectedLogits(tokens);
  ASSERT_TRUE((*session)->logits());
  EXPECT_NEAR((*session)->logits()[7], expected[7], 1e-6);
}

TEST_F(CudaTest, ModelsLargerThanStagingMemory) {
  // Parameters of 20 MiB go through the buffers of 16 MiB in turns.
  std::vector<char> data(size_t(20) << 20);
  for (size_t i = 0; i < data.size(); ++i)
    data[i] = char(i * 2654435761u >> 13);
  json manifest = deviceManifest("cuda");
  std::string code = deviceCode("cuda");
  std::vector<float> head(32, 1), embedding(32, 2);
  manifest["parameters"] = {"embedding", "head", "big"};
  // Logits are the bytes behind the first 16 MiB as floats.
  int64_t offset = (int64_t(16) << 20) - 32;
  for (size_t i = 0; i < 16; ++i) {
    float value = float(i) + 0.5f;
    memcpy(&data[size_t(offset) + i * 4], &value, 4);
  }
  for (auto &entry : manifest["entries"])
    entry["launches"][2]["args"][2] = {"parameter", 2, offset};
  SafetensorsWriter writer(path());
  int64_t codeBytes = int64_t(code.size()), bytes = int64_t(data.size());
  ASSERT_TRUE(writer.declare("__code__", DType::U8, {codeBytes}).ok());
  ASSERT_TRUE(writer.declare("big", DType::U8, {bytes}).ok());
  ASSERT_TRUE(writer.declare("embedding", DType::F32, {16, 2}).ok());
  ASSERT_TRUE(writer.declare("head", DType::F32, {16, 2}).ok());
  for (const auto &[key, value] : modelMetadata(manifest.dump(), code))
    ASSERT_TRUE(writer.setMetadata(key, value).ok());
  ASSERT_TRUE(writer.begin().ok());
  ASSERT_TRUE(writer.append("__code__", code.data(), codeBytes).ok());
  ASSERT_TRUE(writer.append("big", data.data(), bytes).ok());
  ASSERT_TRUE(writer.append("embedding", embedding.data(), 128).ok());
  ASSERT_TRUE(writer.append("head", head.data(), 128).ok());
  ASSERT_TRUE(writer.finish().ok());

  auto model = Model::open(path());
  ASSERT_TRUE(model.ok()) << model.status().message();
  auto session = Session::create(*model);
  ASSERT_TRUE(session.ok()) << session.status().message();
  int64_t token = 3;
  ASSERT_TRUE((*session)->feed(&token, 1).ok());
  for (size_t v = 0; v < 16; ++v)
    EXPECT_EQ((*session)->logits()[v], 2 + 2 + float(v) + 0.5f);
}

TEST_F(CudaTest, TakesTheBestChip) {
  struct Case {
    int major, minor;
    const char *chip; ///< null: none
  };
  for (Case test :
       {Case{8, 0, "sm_80"}, Case{8, 9, "sm_80"}, Case{9, 0, "sm_90a"},
        Case{7, 5, nullptr}, Case{9, 1, nullptr}, Case{10, 0, nullptr}}) {
    driver.reset();
    driver->major = test.major;
    driver->minor = test.minor;
    if (test.chip) {
      Status status = run();
      EXPECT_TRUE(status.ok()) << status.message();
      EXPECT_STREQ(driver->chip, test.chip);
    } else {
      std::string own =
          "sm_" + std::to_string(test.major) + std::to_string(test.minor);
      expectError(Code::Unsupported, {"expected code for 'Fake 9000', " + own +
                                          ", but got sm_80, sm_90a",
                                      "compile the model with --chips=" + own});
    }
  }
  // Code for a family of chips comes before that for its least one.
  json family = deviceManifest("cuda");
  family["target"]["chips"][0]["chip"] = "sm_90f";
  family["target"]["chips"][1]["chip"] = "sm_90";
  pack(family);
  for (int minor : {0, 1}) {
    driver.reset();
    driver->minor = minor;
    ASSERT_TRUE(run().ok());
    EXPECT_STREQ(driver->chip, "sm_80") << "the text of the first range";
  }
  // Of several that run, the one that uses most of the device.
  json manifest = deviceManifest("cuda");
  json &chips = manifest["target"]["chips"];
  chips[0]["chip"] = "sm_86";
  chips[1]["chip"] = "sm_80";
  pack(manifest);
  driver.reset();
  driver->major = 8;
  driver->minor = 9;
  ASSERT_TRUE(run().ok());
  EXPECT_STREQ(driver->chip, "sm_80") << "the text of the first range";
}

TEST_F(CudaTest, ExplainsWhatIsMissing) {
  setenv("GANQ_CUDA_DRIVER", "libno-such-driver.so.1", 1);
  expectError(Code::Unsupported,
              {"cannot load NVIDIA's driver", "libno-such-driver.so.1",
               "compile the model with --target=cpu"});
  setenv("GANQ_CUDA_DRIVER", "libm.so.6", 1);
  expectError(Code::Unsupported, {"expected the function cuDriverGetVersion",
                                  "libm.so.6", "update the driver"});
  setenv("GANQ_CUDA_DRIVER", GANQ_FAKE_CUDA, 1);

  driver->version = 11020;
  expectError(Code::Unsupported,
              {"CUDA 11.4 or later", "is for CUDA 11.2", "update the driver"});
  driver.reset();
  driver->devices = 0;
  expectError(Code::Unsupported,
              {"cannot start the driver: CUDA_ERROR_NO_DEVICE: in words",
               "CUDA_VISIBLE_DEVICES"});
  driver.reset();
  driver->memory = 300;
  expectError(Code::OutOfMemory,
              {"cannot allocate 68 bytes for parameter 'bias' on 'Fake 9000', "
               "which has 44 of 300 bytes left: CUDA_ERROR_OUT_OF_MEMORY",
               "free memory of the device"});
  driver.reset();
  driver->memory = 1256;
  expectError(Code::OutOfMemory, {"bytes for the arena", "of 1256 bytes left"});
}

TEST_F(CudaTest, ExplainsWhatTheDeviceLacks) {
  json manifest = deviceManifest("cuda");
  manifest["entries"]["decode"]["launches"][1]["shared"] = 100001;
  pack(manifest);
  expectError(Code::Unsupported,
              {"kernel 'state': expected at most 100000 bytes of shared "
               "memory, which 'Fake 9000' has, but got 100001"});
  // The kernel has 4096 bytes of its own; what exceeds 48 KiB with them must be
  // asked for, once and for the launch that needs most.
  manifest["entries"]["decode"]["launches"][1]["shared"] = 100000;
  pack(manifest);
  expectError(Code::Failed, {"cannot give the kernel 'state' shared memory"});
  for (int bytes : {48 * 1024 - 4095, 100000 - 4096}) {
    manifest["entries"]["decode"]["launches"][1]["shared"] = bytes;
    manifest["entries"]["prompt"]["launches"][1]["shared"] = 48 * 1024 - 4095;
    pack(manifest);
    EXPECT_TRUE(run().ok()) << bytes;
  }

  manifest = deviceManifest("cuda");
  manifest["entries"]["prompt"]["launches"][0]["kernel"] = "gone";
  pack(manifest);
  expectError(Code::Failed, {"cannot find the kernel 'gone' in the model's "
                             "code: CUDA_ERROR_NOT_FOUND"});
  manifest = deviceManifest("cuda");
  json &args = manifest["entries"]["prefill"]["launches"][0]["args"];
  args[4] = {"i64", 2};
  pack(manifest);
  expectError(Code::InvalidFile, {"kernel 'embed': expected an argument 4 of 4 "
                                  "bytes, but got 8"});
  args.erase(4);
  pack(manifest);
  expectError(Code::InvalidFile, {"kernel 'embed': expected more than 4 "
                                  "arguments, but got 4"});
  args.push_back({"i32", 2});
  args.push_back({"past"});
  pack(manifest);
  expectError(Code::InvalidFile, {"kernel 'embed': expected 5 arguments, but "
                                  "got 6"});
  manifest = deviceManifest("cuda");
  pack(manifest);
  driver->fail = "cuModuleLoadData";
  driver->error = 200;
  expectError(Code::Unsupported,
              {"cannot load the model's code: CUDA_ERROR_INVALID_IMAGE",
               "update NVIDIA's driver"});
}

// The driver would read it to its first NUL, wherever that is.
TEST_F(CudaTest, RefusesWhatIsNoCubin) {
  const json good = deviceManifest("cuda");
  const std::string code = deviceCode("cuda");
  const int64_t begin = good["target"]["chips"][1]["offset"];
  const int64_t bytes = good["target"]["chips"][1]["bytes"];
  auto expectRefused = [&](const json &manifest, const std::string &code) {
    packModel(path(), manifest, &code);
    const json &chip = manifest["target"]["chips"][1];
    expectError(Code::InvalidFile,
                {"code tensor '__code__': expected a cubin for sm_90a in the " +
                     chip["bytes"].dump() + " bytes at " +
                     chip["offset"].dump(),
                 "compile the model again"});
    EXPECT_EQ(driver->chip[0], 0) << "the driver has seen it";
  };
  json shifted = good;
  shifted["target"]["chips"][1]["offset"] = begin - 1;
  expectRefused(shifted, code);
  for (int64_t less : {bytes - 1, int64_t(64), int64_t(63), int64_t(1)}) {
    json cut = good;
    cut["target"]["chips"][1]["bytes"] = less;
    expectRefused(cut, code);
  }
  // Magic, class, machine, and the offsets, sizes and counts of both tables.
  for (auto [at, value] :
       {std::pair(0, 'E'), std::pair(4, '\1'), std::pair(18, '\3'),
        std::pair(32, '\x7f'), std::pair(39, '\x80'), std::pair(40, '\x41'),
        std::pair(47, '\xff'), std::pair(58, '\2'), std::pair(61, '\1')}) {
    SCOPED_TRACE(at);
    std::string changed = code;
    changed[size_t(begin + at)] = value;
    expectRefused(good, changed);
  }
}

TEST_F(CudaTest, SaysWhatAnErrorLeaves) {
  auto message = [&](int error) {
    driver.reset();
    driver->fail = "cuLaunchKernel";
    driver->error = error;
    Status status = run();
    EXPECT_EQ(status.code(), Code::Failed);
    return status.message();
  };
  auto has = [](const std::string &text, const char *part) {
    return text.find(part) != std::string::npos;
  };
  for (int error : {700, 702, 709, 710, 714, 715, 716, 717, 718, 719})
    EXPECT_TRUE(has(message(error), "(the device's state is lost; start the "
                                    "process again)"))
        << error;
  for (int error : {701, 704, 705, 708, 711, 712, 713, 720}) {
    EXPECT_FALSE(has(message(error), "lost")) << error;
    EXPECT_EQ(has(message(error), "(compile the model for this chip)"),
              error == 701)
        << error;
  }
}

// Each function of the driver fails at each of its calls in turn: the error
// arrives with its name, and everything that was taken is freed.
TEST_F(CudaTest, EveryFailureIsReportedAndFreesAll) {
  const char *const functions[] = {"cuInit",
                                   "cuDeviceGetCount",
                                   "cuDeviceGet",
                                   "cuDeviceGetName",
                                   "cuDeviceGetAttribute",
                                   "cuDevicePrimaryCtxRetain",
                                   "cuCtxPushCurrent_v2",
                                   "cuModuleLoadData",
                                   "cuModuleGetFunction",
                                   "cuFuncSetAttribute",
                                   "cuFuncGetParamInfo",
                                   "cuMemGetInfo_v2",
                                   "cuMemAlloc_v2",
                                   "cuMemAllocHost_v2",
                                   "cuMemcpyHtoDAsync_v2",
                                   "cuMemcpyDtoHAsync_v2",
                                   "cuMemcpyDtoDAsync_v2",
                                   "cuMemsetD8Async",
                                   "cuStreamCreate",
                                   "cuStreamSynchronize",
                                   "cuEventCreate",
                                   "cuEventRecord",
                                   "cuEventElapsedTime",
                                   "cuLaunchKernel",
                                   "cuStreamBeginCapture_v2",
                                   "cuStreamEndCapture",
                                   "cuGraphInstantiateWithFlags",
                                   "cuGraphLaunch"};
  json manifest = deviceManifest("cuda");
  manifest["entries"]["decode"]["launches"][1]["shared"] = 48 * 1024;
  json other = manifest["state"]["caches"][0];
  other["name"] = "other"; // the first is being cleared when it fails
  manifest["state"]["caches"].push_back(other);
  pack(manifest);
  for (const std::string function : functions) {
    SCOPED_TRACE(function);
    int calls = 0, kept = 0;
    for (;; ++calls) {
      SCOPED_TRACE(calls);
      driver.reset();
      driver->fail = function.c_str();
      driver->fail_at = calls;
      driver->error = 700;
      Status status = run();
      ASSERT_LT(calls, 100);
      // What the context has to be entered for stays for its end to free.
      if (function == "cuCtxPushCurrent_v2" && driver->failed && status.ok()) {
        EXPECT_EQ(driver.living(), 1);
        EXPECT_EQ(driver->contexts + driver->pushed, 0);
        ++kept;
        continue;
      }
      driver.expectNothingLives();
      if (!driver->failed) {
        EXPECT_TRUE(status.ok()) << status.message();
        break;
      }
      EXPECT_EQ(status.code(), Code::Failed);
      EXPECT_NE(status.message().find("CUDA_ERROR_ILLEGAL_ADDRESS: in words "
                                      "(the device's state is lost"),
                std::string::npos)
          << status.message();
    }
    EXPECT_GT(calls, kept) << "is not called, or no failure is reported";
  }
}

TEST_F(CudaTest, RunsThroughTheCApi) {
  ganq_model *model = nullptr;
  ganq_session *session = nullptr;
  ASSERT_EQ(ganq_model_open(path().c_str(), &model), GANQ_OK);
  driver->devices = 0;
  EXPECT_EQ(ganq_session_create(model, &session), GANQ_UNSUPPORTED);
  EXPECT_NE(std::string(ganq_error_message()).find("CUDA_ERROR_NO_DEVICE"),
            std::string::npos);
  driver->devices = 1;
  ASSERT_EQ(ganq_session_create(model, &session), GANQ_OK);
  ganq_model_close(model); // the session keeps what it needs
  std::vector<int64_t> tokens = {3, 1, 4, 1, 5};
  ASSERT_EQ(ganq_session_feed(session, tokens.data(), 5), GANQ_OK);
  const float *logits = nullptr;
  int64_t vocabulary = 0, next = 0;
  ASSERT_EQ(ganq_session_logits(session, &logits, &vocabulary), GANQ_OK);
  EXPECT_NEAR(logits[7], expectedLogits(tokens)[7], 1e-6);
  EXPECT_EQ(ganq_session_sample(session, 0, &next), GANQ_OK);
  EXPECT_EQ(ganq_session_rewind(session, 2), GANQ_OK);
  ganq_session_destroy(session);
}

TEST_F(CudaTest, FailuresLeaveTheSessionUsable) {
  auto model = Model::open(path());
  ASSERT_TRUE(model.ok());
  auto session = Session::create(*model);
  ASSERT_TRUE(session.ok()) << session.status().message();
  std::vector<int64_t> tokens = {3, 1, 4, 1, 5};
  ASSERT_TRUE((*session)->feed(tokens.data(), 4).ok());
  // While the graph is captured, so that the capture has to be ended.
  driver->fail = "cuLaunchKernel";
  driver->fail_at = 1;
  driver->error = 999;
  Status status = (*session)->feed(&tokens[4], 1);
  EXPECT_NE(status.message().find(
                "cannot launch the kernel 'state': unknown error 999: the "
                "driver does not explain it"),
            std::string::npos)
      << status.message();
  EXPECT_EQ((*session)->length(), 4);
  ASSERT_TRUE((*session)->feed(&tokens[4], 1).ok());
  std::vector<float> expected = expectedLogits(tokens);
  EXPECT_NEAR((*session)->logits()[7], expected[7], 1e-6);
}
