//===- ProgramTest.cpp - Tests of programs in manifests -------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "DeviceTestModel.h"
#include "ganq/runtime/session.h"
#include <thread>

using namespace ganq::runtime;
using namespace ganq::runtime::test;
using nlohmann::json;

/// The error of opening a model for `arch` with this value (JSON; null removes
/// the field) in its manifest.
static std::string openError(const char *arch, const char *pointer,
                             const char *value) {
  TemporaryFolder folder;
  json manifest = deviceManifest(arch);
  json::json_pointer place(pointer);
  if (value)
    manifest[place] = json::parse(value);
  else
    manifest[place.parent_pointer()].erase(place.back());
  std::string code = deviceCode(arch);
  packModel(folder / "m.ganq", manifest, &code);
  auto model = Model::open(folder / "m.ganq");
  return model.ok() ? "" : model.status().message();
}

static void expectPart(const std::string &message, const std::string &part) {
  EXPECT_NE(message.find(part), std::string::npos)
      << "no \"" << part << "\" in \"" << message << "\"";
  EXPECT_EQ(message.find('\n'), std::string::npos) << message;
}

TEST(Program, RefusesBadChips) {
  struct Case {
    const char *pointer, *value, *expected;
  };
  const Case cases[] = {
      {"/target/chips", nullptr, "manifest.target.chips: expected an array"},
      {"/target/chips", "[]", "manifest.target.chips: expected at least one"},
      {"/target/chips/0/chip", "\"gfx90a\"", "chips[0].chip: expected a chip"},
      {"/target/chips/0/chip", "\"sm_9x\"", "chips[0].chip"},
      {"/target/chips/0/chip", "\"sm_8\"", "chips[0].chip"},
      {"/target/chips/0/chip", "\"sm_99999\"", "chips[0].chip"},
      {"/target/chips/0/chip", "\"sm_\"", "chips[0].chip"},
      {"/target/chips/0/chip", "\"sm_a\"", "chips[0].chip"},
      {"/target/chips/0/chip", "80", "chips[0].chip: expected a string"},
      {"/target/chips/1/chip", "\"sm_80\"", "chips[1].chip: expected a new"},
      {"/target/chips/0/offset", "-1", "chips[0].offset"},
      {"/target/chips/0/bytes", "0", "chips[0].bytes"},
      {"/target/chips/1/bytes", "1000", "chips[1]: expected a range within"},
      {"/target/chips/1/offset", "9223372036854775807", "chips[1]: expected"},
      {"/target/features", "[\"avx512nope\"]", "'avx512nope'"},
      {"/target/cpu", "7", "manifest.target.cpu"},
  };
  for (const Case &test : cases) {
    SCOPED_TRACE(std::string(test.pointer) + " " +
                 (test.value ? test.value : "gone"));
    expectPart(openError("cuda", test.pointer, test.value), test.expected);
  }
  EXPECT_EQ(openError("cuda", "/target/chips/0/chip", "\"sm_100f\""), "");
}

TEST(Program, RefusesBadLaunches) {
  struct Case {
    const char *pointer, *value, *expected;
  };
  const Case cases[] = {
      {"/launches", nullptr, "launches: expected an array"},
      {"/launches", "[]", "launches: expected at least one launch"},
      {"/launches/1", "3", "launches[1].kernel: expected a string"},
      {"/launches/0/kernel", "\"\"", "launches[0].kernel: expected a kernel"},
      {"/launches/0/grid", nullptr, "launches[0].grid: expected an array of 3"},
      {"/launches/0/grid", "[1,1]", "launches[0].grid: expected an array of 3"},
      {"/launches/0/grid/0", "2147483648", "launches[0].grid[0]"},
      {"/launches/0/grid/1", "65536", "launches[0].grid[1]"},
      {"/launches/0/grid/2", "65536", "launches[0].grid[2]"},
      {"/launches/0/grid/0", "0",
       "launches[0].grid[0]: expected an integer "
       "from 1 to 2147483647, but got 0"},
      {"/launches/0/block/0", "1025", "launches[0].block[0]"},
      {"/launches/0/block/1", "1025", "launches[0].block[1]"},
      {"/launches/0/block/2", "65", "launches[0].block[2]"},
      {"/launches/0/block", "[32,33,1]",
       "launches[0].block: expected at most 1024 threads, but got [32,33,1]"},
      {"/launches/0/shared", "232449", "launches[0].shared"},
      {"/launches/0/shared", nullptr, "launches[0].shared"},
      {"/launches/0/args", nullptr, "launches[0].args: expected an array"},
      {"/launches/0/args/0", "[]", "args[0]: expected an argument such as"},
      {"/launches/0/args/0", "[7]", "args[0]: expected an argument such as"},
      {"/launches/0/args/0", "[\"stack\", 0]", "args[0]: expected an argument"},
      {"/launches/0/args/0", "[\"tokens\", 0]", "expected tokens and 0 values"},
      {"/launches/0/args/0", "[\"parameter\", 0]",
       "args[0]: expected parameter and 2 values"},
      {"/launches/0/args/0", "[\"parameter\", 3, 0]",
       "args[0][1]: expected an integer from 0 to 2, but got 3"},
      {"/launches/0/args/0", "[\"parameter\", 0, -1]", "args[0][2]"},
      {"/launches/0/args/0", "[\"parameter\", 0, 128]",
       "launches[0].args[0][2]: expected an integer from 0 to 127, within "
       "'embedding', but got 128"},
      {"/launches/0/args/0", "[\"cache\", 1]",
       "args[0][1]: expected an integer from 0 to 0, but got 1"},
      {"/launches/0/args/0", "[\"arena\", 100000]", "args[0][1]: expected"},
      {"/launches/0/args/0", "[\"arena\", \"0\"]", "args[0][1]: expected"},
      {"/launches/0/args/0", "[\"i32\", 2147483648]", "args[0][1]: expected"},
      {"/launches/0/args/0", "[\"i32\", -2147483649]", "args[0][1]: expected"},
      {"/launches/0/args/0", "[\"i64\", 1e3]", "args[0][1]: expected"},
      {"/launches/0/args/0", "[\"f32\", 1e39]",
       "args[0][1]: expected a number in the range of f32, but got 1e+39"},
      {"/launches/0/args/0", "[\"f32\", null]", "args[0][1]: expected"},
  };
  for (const char *entry : {"prefill", "prompt", "decode"})
    for (const Case &test : cases) {
      std::string pointer = std::string("/entries/") + entry + test.pointer;
      SCOPED_TRACE(pointer + " " + (test.value ? test.value : "gone"));
      std::string message = openError("emulator", pointer.c_str(), test.value);
      expectPart(message, test.expected);
      expectPart(message, std::string("manifest.entries.") + entry + ".");
    }
  expectPart(
      openError("emulator", "/entries/decode/launches/0/args/0", "[\"row\"]"),
      "expected no row outside of prompt");
  expectPart(
      openError("emulator", "/entries/prefill/launches/0/args/0", "[\"best\"]"),
      "args[0]: expected no best token of prefill");
  expectPart(openError("emulator", "/entries/decode/arena", nullptr),
             "manifest.entries.decode.launches[1].args[3][1]: expected an "
             "integer from 0 to 0, but got 64");
  expectPart(openError("emulator", "/parameters", "[]"),
             "expected a model with parameters");
  expectPart(openError("emulator", "/state/caches", "[]"),
             "expected a state with caches");
  expectPart(openError("emulator", "/state", nullptr),
             "expected a state with caches");
  expectPart(openError("emulator", "/parameters/1", "\"heads\""),
             "there is no 'heads'");
  expectPart(openError("emulator", "/entries/main",
                       "{\"symbol\":\"f\",\"inputs\":[],\"outputs\":[]}"),
             "manifest.entries.main: expected step functions only");
  for (const char *good :
       {"[\"i32\", -2147483648]", "[\"i64\", -9223372036854775808]",
        "[\"f32\", -1]", "[\"arena\", 71]", "[\"parameter\", 2, 67]"})
    EXPECT_EQ(openError("emulator", "/entries/decode/launches/0/args/0", good),
              "")
        << good;
}

namespace {
/// Models for the emulator whose first session fails.
class EmulatedProgram : public ::testing::Test {
protected:
  Status run(const json &manifest, const std::string &code) {
    packModel(folder / "m.ganq", manifest, &code);
    auto model = Model::open(folder / "m.ganq");
    if (!model.ok())
      return model.status();
    auto session = Session::create(*model);
    if (!session.ok())
      return session.status();
    int64_t token = 3;
    return (*session)->feed(&token, 1);
  }
  Status run(const json &manifest) {
    return run(manifest, deviceCode("emulator"));
  }
  /// A token with a launch behind it that stores at an offset of an argument.
  std::string store(const json &argument, int64_t offset) {
    json manifest = deviceManifest("emulator");
    json launch = {{"kernel", "store"},
                   {"grid", {1, 1, 1}},
                   {"block", {1, 1, 1}},
                   {"shared", 0},
                   {"args", json::array({argument, {"i64", offset}})}};
    manifest["entries"]["decode"]["launches"].push_back(launch);
    return run(manifest).message();
  }

  TemporaryFolder folder;
};
} // namespace

TEST_F(EmulatedProgram, RefusesOtherCode) {
  json manifest = deviceManifest("emulator");
  expectPart(run(manifest, "no code at all").message(),
             "code tensor '__code__': expected an ELF shared object, but got "
             "14 bytes");
  expectPart(run(manifest, readFile(GANQ_FAKE_MODULE)).message(),
             "there is no 'ganq_simt_module'");
  expectPart(run(manifest, readFile(GANQ_OLD_DEVICE_MODULE)).message(),
             "expected kernels for version");
  manifest["entries"]["decode"]["launches"][0]["kernel"] = "gone";
  expectPart(run(manifest).message(),
             "cannot find the kernel 'gone' in the model's code: emulator: "
             "there is no such kernel");
  manifest = deviceManifest("emulator");
  manifest["entries"]["decode"]["launches"][0]["args"].erase(4);
  expectPart(run(manifest).message(),
             "kernel 'embed': expected more than 4 arguments, but got 4");
  manifest = deviceManifest("emulator");
  manifest["entries"]["decode"]["launches"][0]["args"][0] = {"arena", 65};
  expectPart(run(manifest).message(), "aligned to 8");
}

TEST_F(EmulatedProgram, ReportsWildAccesses) {
  // The last bytes of each array, and then one byte behind them.
  EXPECT_EQ(store({"arena", 0}, 256 + 4 * 8 + 256 + 4 * 8 - 68), "");
  EXPECT_EQ(store({"cache", 0}, 80 - 4), "");
  EXPECT_EQ(store({"logits"}, 4 * 16 * 4 - 4), "");
  expectPart(store({"cache", 0}, 80 - 3),
             "emulator: fake.mlir:2:2: expected a store of 4 bytes inside of a "
             "buffer, but got offset 77 of the nearest buffer `cache 'cache'` "
             "with 80 bytes");
  expectPart(store({"logits"}, 4 * 16 * 4), "buffer `logits` with 256 bytes");
  expectPart(store({"arena", 64}, -68), "inside of a buffer");
  expectPart(store({"parameter", 1, 4}, 0),
             "offset 4 of the read-only buffer `parameter 'head'`");
  expectPart(store({"tokens"}, 0), "read-only buffer `tokens`");
  expectPart(store({"past"}, 0), "read-only buffer `past`");
  EXPECT_EQ(store({"best"}, 4), "");
  expectPart(store({"best"}, 5), "buffer `best` with 8 bytes");
  expectPart(store({"past"}, 8), "nearest buffer `past` with 8 bytes");
}

TEST_F(EmulatedProgram, ReportsCachesThatDoNotFit) {
  json manifest = deviceManifest("emulator");
  manifest["state"]["caches"][0]["shape"] = {1, 1, int64_t(1) << 50, 2};
  Status status = run(manifest);
  EXPECT_EQ(status.code(), Code::OutOfMemory);
  expectPart(status.message(),
             "m.ganq: cannot allocate 9007199254740992 bytes for cache 'cache' "
             "on 'emulator'");
}

TEST_F(EmulatedProgram, SessionsOfSeveralThreads) {
  std::string code = deviceCode("emulator");
  packModel(folder / "m.ganq", deviceManifest("emulator"), &code);
  auto model = Model::open(folder / "m.ganq");
  ASSERT_TRUE(model.ok()) << model.status().message();
  auto work = [&](int64_t start) {
    for (int round = 0; round < 10; ++round) {
      auto fed = Session::create(*model);
      ASSERT_TRUE(fed.ok()) << fed.status().message();
      std::vector<int64_t> tokens;
      for (int64_t i = 0; i < 8; ++i)
        tokens.push_back((start + i * 3) % 16);
      ASSERT_TRUE((*fed)->feed(tokens.data(), 6).ok());
      ASSERT_TRUE((*fed)->feed(tokens.data() + 6, 2).ok());
      std::vector<float> expected = expectedLogits(tokens);
      for (size_t v = 0; v < expected.size(); ++v)
        EXPECT_NEAR((*fed)->logits()[v], expected[v], 1e-6) << v;
    }
  };
  std::thread other(work, 3);
  work(8);
  other.join();
}

TEST_F(EmulatedProgram, TakesOrderFromTheEnvironment) {
  json manifest = deviceManifest("emulator");
  json launch = {{"kernel", "race"},
                 {"grid", {1, 1, 1}},
                 {"block", {64, 1, 1}},
                 {"shared", 0},
                 {"args", json::array({json::array({"arena", 4})})}};
  manifest["entries"]["decode"]["launches"].push_back(launch);
  for (const char *order : {"", "forward", "reverse", "random"}) {
    setenv("GANQ_EMULATOR_ORDER", order, 1);
    EXPECT_EQ(run(manifest).message(), "") << order;
  }
  setenv("GANQ_EMULATOR_ORDER", "all", 1);
  expectPart(run(manifest).message(),
             "cannot run the graph of decode: emulator: expected the same "
             "result in every order of lanes, but byte 4 of buffer `the arena` "
             "differs");
  EXPECT_EQ(run(deviceManifest("emulator")).message(), "");
  setenv("GANQ_EMULATOR_ORDER", "sideways", 1);
  expectPart(run(manifest).message(),
             "cannot use the device 'emulator': emulator: GANQ_EMULATOR_ORDER: "
             "expected forward, reverse, random or all, but got 'sideways'");
  unsetenv("GANQ_EMULATOR_ORDER");
}
