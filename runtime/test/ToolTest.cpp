//===- ToolTest.cpp - Tests of ganq-run -----------------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "DeviceTestModel.h"
#include "FakeCudaDriver.h"
#include "ganq/runtime/npy.h"
#include <cmath>
#include <sys/wait.h>

using namespace ganq::runtime;
using namespace ganq::runtime::test;
using nlohmann::json;

namespace {
struct Outcome {
  int code = -1;
  std::string out, err;
};

class ToolTest : public ::testing::Test {
protected:
  void SetUp() override {
    packModel(folder / "m.ganq", testManifest());
    std::vector<int64_t> tokens = {3, 1, 4, 1, 5, 9};
    std::vector<int32_t> narrow(tokens.begin(), tokens.end());
    ASSERT_TRUE(
        writeNpy(folder / "prompt.npy", DType::I64, {3}, tokens.data()).ok());
    ASSERT_TRUE(
        writeNpy(folder / "rows.npy", DType::I32, {2, 3}, narrow.data()).ok());
    ASSERT_TRUE(
        writeNpy(folder / "ids.npy", DType::I64, {2, 3}, tokens.data()).ok());
    tokens[4] = 16;
    ASSERT_TRUE(
        writeNpy(folder / "bad.npy", DType::I64, {2, 3}, tokens.data()).ok());
    ASSERT_TRUE(
        writeNpy(folder / "far.npy", DType::I64, {6}, tokens.data()).ok());
  }

  /// Runs the tool in the folder, with the model if `arguments` are options.
  Outcome run(const std::string &arguments) {
    std::string command = "cd '" + folder.path + "' && '" GANQ_RUN_TOOL "' " +
                          arguments + " > out 2> err";
    Outcome outcome;
    int status = system(command.c_str());
    outcome.code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    outcome.out = readFile(folder / "out");
    outcome.err = readFile(folder / "err");
    return outcome;
  }

  void expectError(const std::string &arguments, int code,
                   const std::string &part) {
    Outcome outcome = run(arguments);
    EXPECT_EQ(outcome.code, code) << arguments;
    EXPECT_EQ(outcome.out, "");
    EXPECT_EQ(outcome.err.find("ganq-run: error: "), 0u) << outcome.err;
    EXPECT_NE(outcome.err.find(part), std::string::npos) << outcome.err;
    EXPECT_EQ(outcome.err.find('\n'), outcome.err.size() - 1) << outcome.err;
  }

  TemporaryFolder folder;
};
} // namespace

TEST_F(ToolTest, RunsMain) {
  Outcome outcome = run("m.ganq --inputs=ids.npy --outputs=results");
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(outcome.err, "");
  Result<Tensor> logits = readNpy(folder / "results/logits.npy");
  ASSERT_TRUE(logits.ok()) << logits.status().message();
  EXPECT_EQ(logits->shape, (std::vector<int64_t>{2, 3, 16}));
  EXPECT_NEAR(logits->as<float>()[2 * 16 + 7], expectedLogits({3, 1, 4})[7],
              1e-6);
  EXPECT_TRUE(readNpy(folder / "results/model_states_0.npy").ok());

  json object =
      json::parse(run("m.ganq --json --inputs=input_ids=ids.npy").out);
  EXPECT_EQ(object["outputs"][1]["shape"], json({2, 3, 2}));

  expectError("m.ganq --inputs=rows.npy --outputs=r", 1, "I32 [2, 3]");
  expectError("m.ganq --inputs=ids.npy,ids.npy", 1, "expected at most 1");
  expectError("m.ganq --inputs=x=ids.npy", 1, "but got 'x'");
  expectError("m.ganq --inputs=none.npy", 1, "none.npy");
  expectError("m.ganq --inputs=bad.npy", 1, "token outside the vocabulary");
}

TEST_F(ToolTest, Generates) {
  Outcome plain = run("m.ganq --generate=5 --tokens=prompt.npy");
  EXPECT_EQ(plain.code, 0) << plain.err;
  EXPECT_EQ(plain.err, "");
  json object =
      json::parse(run("m.ganq --generate 5 --tokens prompt.npy --json").out);
  EXPECT_EQ(object["prompt"], json({3, 1, 4}));
  std::vector<int64_t> tokens = {3, 1, 4};
  std::string expected;
  for (int i = 0; i < 5; ++i) {
    std::vector<float> logits = expectedLogits(tokens);
    tokens.push_back(std::max_element(logits.begin(), logits.end()) -
                     logits.begin());
    expected += (i ? " " : "") + std::to_string(tokens.back());
    EXPECT_EQ(object["tokens"][size_t(i)], tokens.back());
  }
  EXPECT_EQ(plain.out, expected + "\n");

  std::string drawn = "m.ganq --generate=8 --tokens=prompt.npy "
                      "--temperature=3 --seed=";
  EXPECT_EQ(run(drawn + "1").out, run(drawn + "1").out);
  EXPECT_NE(run(drawn + "1").out, run(drawn + "2").out);

  EXPECT_EQ(run("m.ganq --generate=8 --tokens=prompt.npy").code, 0);
  expectError("m.ganq --generate=9 --tokens=prompt.npy", 1, "at most 10");
  expectError("m.ganq --generate=1 --tokens=ids.npy", 1, "one sequence");
  expectError("m.ganq --generate=1 --tokens=far.npy", 1, "far.npy: token 4");
}

TEST_F(ToolTest, JudgesPerplexity) {
  Outcome outcome = run("m.ganq --perplexity --tokens=rows.npy --json");
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(outcome.err, "");
  json object = json::parse(outcome.out);
  EXPECT_EQ(object["tokens"], 4);
  EXPECT_EQ(object["bits_per_weight"], 32.0);
  EXPECT_GT(object["perplexity"].get<double>(), 1.0);
  EXPECT_EQ(run("m.ganq --perplexity --tokens=ids.npy --json").out,
            outcome.out);
  expectError("m.ganq --perplexity --tokens=prompt.npy", 1, "shape [3]");
  expectError("m.ganq --perplexity --tokens=bad.npy", 1, "row 1: token 1");
}

TEST_F(ToolTest, InspectsAndMeasures) {
  Outcome plain = run("m.ganq --inspect");
  EXPECT_EQ(plain.code, 0);
  EXPECT_NE(plain.out.find("input_ids I64 [batch, seq]"), std::string::npos);
  EXPECT_NE(plain.out.find("context          10 tokens\n"), std::string::npos);
  json object = json::parse(run("m.ganq --inspect --json").out);
  EXPECT_EQ(object["manifest"], testManifest());
  EXPECT_NE(
      plain.out.find(
          "decode   kernel_matmul, 1 rows: registers rows=1, "
          "40 instructions, 128 bytes, 0.1 us predicted for one thread\n"),
      std::string::npos)
      << plain.out;
  EXPECT_NE(plain.out.find("kernels          1 for all products\n"),
            std::string::npos)
      << plain.out;
  EXPECT_EQ(object["weight_bytes"], 128);
  object = json::parse(run("m.ganq --benchmark --json").out);
  EXPECT_GT(object["decode_tokens_per_second"].get<double>(), 0);
  EXPECT_GT(object["read_bytes_per_second"].get<double>(), 1e8);
  EXPECT_GT(object["load_ms"].get<double>(), 0);
  EXPECT_GT(object["first_token_after_load_ms"].get<double>(), 0);
  EXPECT_EQ(object["prompt_tokens"].get<int>() +
                object["decoded_tokens"].get<int>(),
            10);
}

TEST_F(ToolTest, RunsOnDevices) {
  FakeCudaDriver driver;
  std::string expected = run("m.ganq --generate=5 --tokens=prompt.npy").out;
  for (std::string device : {"emulator", "cuda"}) {
    SCOPED_TRACE(device);
    std::string code = deviceCode(device);
    packModel(folder / "d.ganq", deviceManifest(device), &code);
    for (std::string option : {std::string(), "--device=" + device}) {
      Outcome outcome =
          run("d.ganq --generate=5 --tokens=prompt.npy " + option);
      EXPECT_EQ(outcome.code, 0) << outcome.err;
      EXPECT_EQ(outcome.out, expected);
    }
    EXPECT_EQ(run("d.ganq --perplexity --tokens=rows.npy").out,
              run("m.ganq --perplexity --tokens=rows.npy").out);
    expectError("d.ganq --inspect --device=cpu", 1,
                "--device=cpu: 'd.ganq' was compiled for " + device +
                    " (compile the model with ganq-compile --target=cpu)");
    expectError("m.ganq --inspect --device=" + device, 1,
                "'m.ganq' was compiled for cpu (compile the model with "
                "ganq-compile --target=" +
                    device + ")");
    expectError("d.ganq --inputs=ids.npy", 1, "no entry 'main'");

    json object = json::parse(run("d.ganq --benchmark --json").out);
    for (const char *key :
         {"decode_tokens_per_second", "prefill_tokens_per_second",
          "copy_bytes_per_second", "weight_bytes_per_second",
          "bandwidth_fraction", "device_prefill_ms", "device_decode_ms"})
      EXPECT_GT(object[key].get<double>(), 0) << key;
    EXPECT_EQ(object["device"], device == "cuda" ? "Fake 9000" : "emulator");
    if (device == "cuda") { // a copy and 3 launches, by the driver's clock
      EXPECT_EQ(object["device_decode_ms"], 5.0);
    }
    Outcome plain = run("d.ganq --benchmark --generate=3");
    EXPECT_EQ(plain.code, 0) << plain.err;
    EXPECT_NE(plain.out.find("ms per token"), std::string::npos) << plain.out;
  }

  // Without a device models can be described.
  setenv("GANQ_CUDA_DRIVER", "libno-such-driver.so.1", 1);
  Outcome plain = run("d.ganq --inspect --device=cuda");
  EXPECT_EQ(plain.code, 0) << plain.err;
  for (const char *part :
       {"target           cuda, sm_80 (75 bytes), sm_90a (76 bytes)\n",
        "prompt           3 launches of 3 kernels, 544 bytes of scratch",
        "      1  embed, the first with [4, 1, 1] blocks of [1, 1, 1] threads, "
        "0 bytes shared\n"})
    EXPECT_NE(plain.out.find(part), std::string::npos) << plain.out;
  EXPECT_EQ(json::parse(run("d.ganq --inspect --json").out)["manifest"],
            deviceManifest("cuda"));
  expectError("d.ganq --generate=1 --tokens=prompt.npy", 1,
              "cannot load NVIDIA's driver");
}

TEST_F(ToolTest, ExplainsWrongUse) {
  EXPECT_EQ(run("--help").code, 0);
  EXPECT_NE(run("--help").out.find("examples:"), std::string::npos);
  EXPECT_EQ(run("--version").out.find("ganq-run "), 0u);
  expectError("", 2, "expected a model file");
  expectError("m.ganq", 2, "expected one of");
  expectError("m.ganq --inspect --benchmark", 2, "but got several");
  expectError("m.ganq --generate=4", 2, "--tokens");
  expectError("m.ganq --generate=x --tokens=ids.npy", 2, "but got 'x'");
  expectError("m.ganq --generate=-1 --tokens=ids.npy", 2, "non-negative");
  expectError("m.ganq --generate=99999999999999999999 --tokens=ids.npy", 2,
              "integer");
  expectError("m.ganq --temperature=nan", 2, "non-negative number");
  expectError("m.ganq --inspect=1", 2, "expected no value");
  expectError("m.ganq --inspect --device=gpu", 2,
              "--device: expected cpu, cuda or emulator, but got 'gpu'");
  expectError("m.ganq --tokens", 2, "expected a value");
  expectError("m.ganq --frobnicate", 2, "unknown option '--frobnicate'");
  expectError("m.ganq m.ganq --inspect", 2, "expected one model file");
  expectError("none.ganq --inspect", 1, "cannot open 'none.ganq'");
  expectError("ids.npy --inspect", 1, "ids.npy");
  setenv("GANQ_THREADS", "many", 1);
  expectError("m.ganq --inspect", 1, "GANQ_THREADS: expected a number");
  unsetenv("GANQ_THREADS");
  EXPECT_EQ(run("m.ganq --inspect 2> err > /dev/full #").code, 1);
}
