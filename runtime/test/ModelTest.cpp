//===- ModelTest.cpp - Tests of loading and running models ----------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/runtime/model.h"
#include "TestModel.h"
#include "ganq/runtime.h"

using namespace ganq::runtime;
using namespace ganq::runtime::test;
using nlohmann::json;

static std::string openError(const std::string &path) {
  auto model = Model::open(path);
  return model.ok() ? "" : model.status().message();
}

static void expectPart(const std::string &message, const std::string &part) {
  EXPECT_NE(message.find(part), std::string::npos)
      << "in \"" << message << "\"";
  EXPECT_EQ(message.find('\n'), std::string::npos) << message;
}

/// The error of loading a model with this change to the manifest.
static std::string manifestError(const std::function<void(json &)> &change) {
  TemporaryFolder folder;
  json manifest = testManifest();
  change(manifest);
  packModel(folder / "m.ganq", manifest);
  return openError(folder / "m.ganq");
}

namespace {
class ModelTest : public ::testing::Test {
protected:
  void SetUp() override {
    packModel(folder / "m.ganq", testManifest());
    auto opened = Model::open(folder / "m.ganq");
    ASSERT_TRUE(opened.ok()) << opened.status().message();
    model = *opened;
  }
  Result<std::vector<Tensor>> run(const std::vector<int64_t> &tokens,
                                  std::vector<int64_t> shape) {
    return model->run({{"input_ids", DType::I64, shape, tokens.data()}});
  }

  TemporaryFolder folder;
  std::shared_ptr<Model> model;
};
} // namespace

TEST_F(ModelTest, RunsMain) {
  std::vector<int64_t> tokens = {3, 1, 4, 1, 5, 9};
  auto results = run(tokens, {2, 3});
  ASSERT_TRUE(results.ok()) << results.status().message();
  ASSERT_EQ(results->size(), 2u);
  const Tensor &logits = (*results)[0];
  EXPECT_EQ(logits.shape, (std::vector<int64_t>{2, 3, 16}));
  std::vector<float> expected = expectedLogits({1, 5, 9});
  for (size_t v = 0; v < 16; ++v)
    EXPECT_FLOAT_EQ(logits.as<float>()[5 * 16 + v], expected[v]);
  // States of the same tokens, out of a strided result with an offset.
  const Tensor &states = (*results)[1];
  EXPECT_EQ(states.shape, (std::vector<int64_t>{2, 3, 2}));
  float e3[2] = {float(42 % 11) / 4 - 1.25f, float(49 % 11) / 4 - 1.25f};
  EXPECT_FLOAT_EQ(states.as<float>()[0], e3[0]);
  EXPECT_FLOAT_EQ(states.as<float>()[1], e3[1]);
  EXPECT_NE(model->file().find("bias")->offset % 64, 0)
      << "the test is about a misaligned parameter, too";
}

TEST_F(ModelTest, ReplacesParameters) {
  std::vector<int64_t> tokens = {3, 1, 4};
  auto before = run(tokens, {1, 3});
  ASSERT_TRUE(before.ok()) << before.status().message();
  alignas(64) float bias[16] = {};
  bias[2] = 100;
  Status status = model->setParameter("bias", bias);
  ASSERT_TRUE(status.ok()) << status.message();
  auto changed = run(tokens, {1, 3});
  ASSERT_TRUE(changed.ok()) << changed.status().message();
  EXPECT_GT((*changed)[0].as<float>()[2], 50);
  ASSERT_TRUE(model->setParameter("bias", nullptr).ok());
  auto after = run(tokens, {1, 3});
  ASSERT_TRUE(after.ok()) << after.status().message();
  EXPECT_EQ((*after)[0].as<float>()[2], (*before)[0].as<float>()[2]);
  expectPart(model->setParameter("other", bias).message(), "'other'");
  expectPart(model->setParameter("bias", bias + 1).message(), "64");
}

TEST_F(ModelTest, EmptyBatch) {
  auto results = run({}, {0, 3});
  ASSERT_TRUE(results.ok()) << results.status().message();
  EXPECT_EQ((*results)[0].shape, (std::vector<int64_t>{0, 3, 16}));
}

TEST_F(ModelTest, ChecksInputs) {
  std::vector<int64_t> tokens(8);
  auto error = [&](const std::vector<NamedTensor> &inputs) {
    auto results = model->run(inputs);
    return results.ok() ? "" : results.status().message();
  };
  NamedTensor good{"input_ids", DType::I64, {2, 4}, tokens.data()};
  NamedTensor other = good;
  EXPECT_EQ(error({good}), "");
  expectPart(error({}), "expected the input input_ids I64 [batch, seq]");
  expectPart(error({good, good}), "is given twice");
  other.name = "ids";
  expectPart(error({other}), "but got 'ids'");
  other = good;
  other.dtype = DType::I32;
  expectPart(error({other}), "I32 [2, 4]");
  other = good;
  other.shape = {8};
  expectPart(error({other}), "[8]");
  other.shape = {-1, 8};
  EXPECT_NE(error({other}), "");
}

TEST_F(ModelTest, ReportsFailuresOfTheCode) {
  // In a parallel body, outside of one, and for want of memory.
  auto inside = run({3, 99}, {1, 2});
  EXPECT_EQ(inside.status().code(), Code::Failed);
  EXPECT_EQ(inside.status().message(), "token outside the vocabulary");
  std::vector<int64_t> tokens(14);
  EXPECT_EQ(run(tokens, {1, 13}).status().message(), "thirteen tokens");
  expectPart(run(tokens, {1, 14}).status().message(), "cannot allocate");
  // The next call is as good as new.
  EXPECT_TRUE(run({3, 4}, {1, 2}).ok());
}

TEST_F(ModelTest, CallsTheObserver) {
  std::vector<float> seen;
  model->setObserver(
      [&](int64_t id, const float *data, int64_t rows, int64_t columns) {
        EXPECT_EQ(id, 3);
        EXPECT_EQ(rows, 2);
        EXPECT_EQ(columns, 16);
        seen.assign(data, data + rows * columns);
      });
  auto results = run({3, 4}, {1, 2});
  ASSERT_TRUE(results.ok());
  EXPECT_EQ(seen, std::vector<float>((*results)[0].as<float>(),
                                     (*results)[0].as<float>() + 32));
}

TEST_F(ModelTest, ReadsInputsInPlace) {
  alignas(64) int64_t tokens[12] = {3, 1, 4, 1, 5, 9};
  NamedTensor input{"input_ids", DType::I64, {2, 3}, tokens};
  auto copied = model->run({input});
  input.inPlace = true;
  auto results = model->run({input});
  ASSERT_TRUE(copied.ok() && results.ok()) << results.status().message();
  const Tensor &want = (*copied)[0], &got = (*results)[0];
  EXPECT_EQ(
      std::vector<float>(got.as<float>(), got.as<float>() + got.count()),
      std::vector<float>(want.as<float>(), want.as<float>() + want.count()));
  input.data = tokens + 1;
  expectPart(model->run({input}).status().message(), "multiple of 64 bytes");
}

TEST(Symbols, EqualNamesAreEqualSizes) {
  TemporaryFolder folder;
  json manifest = testManifest();
  manifest["entries"]["main"]["inputs"][0]["shape"] = {"n", "n"};
  packModel(folder / "m.ganq", manifest);
  auto model = Model::open(folder / "m.ganq");
  ASSERT_TRUE(model.ok());
  std::vector<int64_t> tokens(6);
  NamedTensor input{"input_ids", DType::I64, {2, 3}, tokens.data()};
  expectPart((*model)->run({input}).status().message(),
             "where 'n' is 2 elsewhere");
  input.shape = {2, 2};
  EXPECT_TRUE((*model)->run({input}).ok());
}

TEST(Loader, RefusesBadManifests) {
  EXPECT_EQ(manifestError([](json &) {}), "");
  struct Case {
    const char *pointer;
    const char *value; ///< JSON; null removes the field
    const char *expected;
  };
  const Case cases[] = {
      {"/abi", "2", "expected a model of ABI version 1, but got 2"},
      {"/abi", "\"1\"", "manifest.abi"},
      {"/abi", nullptr, "manifest.abi"},
      {"/abi", "18446744073709551615", "manifest.abi"},
      {"/target/arch", "\"aarch64\"", "expected code for x86_64"},
      {"/target/features", "[\"sse2\",\"avx512nope\"]",
       "'avx512nope', which this version of the runtime does not know"},
      {"/target/features", "[\"tbm\"]", "'tbm', which this machine lacks"},
      {"/target/features", "[3]", "manifest.target.features[0]"},
      {"/target", nullptr, "manifest.target.arch"},
      {"/code", "\"elsewhere\"", "U8 tensor 'elsewhere'"},
      {"/code", "\"head\"", "U8 tensor 'head'"},
      {"/code", "\"pad\"", "checksum"},
      {"/parameters", "{}", "manifest.parameters"},
      {"/parameters/1", "\"heads\"", "there is no 'heads'"},
      {"/parameters/1", "\"a\\nb\"", "there is no 'a b'"},
      {"/entries", nullptr, "manifest.entries"},
      {"/entries", "{}", "main or decode"},
      {"/entries/main/symbol", "\"nothing\"", "no function 'nothing'"},
      {"/entries/main/inputs", nullptr, "manifest.entries.main.inputs"},
      {"/entries/main/inputs/0/dtype", "\"I65\"", "inputs[0].dtype"},
      {"/entries/main/inputs/0/shape/0", "-1", "inputs[0].shape[0]"},
      {"/entries/main/inputs/0/shape/0", "1.5", "inputs[0].shape[0]"},
      {"/entries/main/outputs/1/name", "\"logits\"", "outputs[1].name"},
      {"/entries/decode", nullptr, "a state and a decode entry"},
      {"/entries/decode/tokens", "2", "manifest.entries.decode.tokens"},
      {"/entries/decode/arena", "-1", "manifest.entries.decode.arena"},
      {"/entries/prefill/tokens", "0", "manifest.entries.prefill.tokens"},
      {"/entries/prompt/tokens", "3", "manifest.entries.prompt.tokens"},
      {"/entries/prefill", nullptr, "manifest.entries.prompt.tokens"},
      {"/state", nullptr, "a state and a decode entry"},
      {"/state/max_context", "0", "manifest.state.max_context"},
      {"/state/vocabulary", "9223372036854775807", "manifest.state.vocabulary"},
      {"/state/caches/0/shape", "[4294967296,4294967296]",
       "manifest.state.caches[0].shape"},
      {"/state/caches/0/shape/1", "0", "manifest.state.caches[0].shape[1]"},
      {"/weights/0/tensors/0", "\"gone\"", "there is no tensor 'gone'"},
      {"/weights/0/bytes", "-5", "manifest.weights[0].bytes"},
      {"/weights/0/kernels", "{}", "manifest.weights[0].kernels"},
      {"/weights/0/kernels/0/rows", "\"\"",
       "manifest.weights[0].kernels[0].rows"},
      {"/bits_per_weight", "\"4\"", "manifest.bits_per_weight"},
      {"/source/file", "4", "manifest.source.file"},
  };
  for (const Case &test : cases) {
    SCOPED_TRACE(test.pointer);
    expectPart(manifestError([&](json &manifest) {
                 json::json_pointer pointer(test.pointer);
                 if (test.value)
                   manifest[pointer] = json::parse(test.value);
                 else
                   manifest[pointer.parent_pointer()].erase(pointer.back());
               }),
               test.expected);
  }
}

TEST(Loader, RefusesFilesWithoutManifest) {
  TemporaryFolder folder;
  SafetensorsWriter writer(folder / "plain.safetensors");
  ASSERT_TRUE(writer.begin().ok());
  ASSERT_TRUE(writer.finish().ok());
  expectPart(openError(folder / "plain.safetensors"), "ganq.manifest");
}

TEST(Loader, RefusesBadCode) {
  TemporaryFolder folder;
  std::string module = readFile(GANQ_FAKE_MODULE);
  std::string path = folder / "m.ganq";
  std::string text = "not an ELF file, but long enough to hold its header, "
                     "which takes sixty-four bytes";
  packModel(path, testManifest(), &text);
  expectPart(openError(path), "expected an ELF shared object");
  std::string brief = "\x7f"
                      "ELF";
  packModel(path, testManifest(), &brief);
  expectPart(openError(path), "but got 4 bytes");
  std::string foreign = module;
  foreign[18] = char(0xb7); // e_machine: AArch64
  packModel(path, testManifest(), &foreign);
  expectPart(openError(path), "expected an ELF shared object for x86_64");
  std::string cut = module.substr(0, 200);
  packModel(path, testManifest(), &cut);
  expectPart(openError(path), "cannot load it");
}

TEST(Loader, RefusesCutFiles) {
  TemporaryFolder folder;
  packModel(folder / "m.ganq", testManifest());
  std::string whole = readFile(folder / "m.ganq");
  std::string path = folder / "cut.ganq";
  writeFile(path, whole.substr(0, whole.size() - 1));
  EXPECT_NE(openError(path), "");
  for (size_t i = 256; i-- > 0;) {
    ASSERT_EQ(truncate(path.c_str(), off_t(whole.size() * i / 256)), 0);
    EXPECT_NE(openError(path), "") << i;
  }
  writeFile(path, whole + "x");
  EXPECT_NE(openError(path), "");
}

TEST(Loader, SurvivesFlippedHeaderBytes) {
  TemporaryFolder folder;
  packModel(folder / "m.ganq", testManifest());
  std::string whole = readFile(folder / "m.ganq");
  size_t headerEnd = 8 + whole.find('\0', 8 + 8);
  headerEnd = std::min<size_t>(headerEnd, 4096);
  std::string path = folder / "m.ganq";
  std::vector<int64_t> tokens = {1, 2, 3};
  int accepted = 0;
  for (size_t i = 0; i < headerEnd; ++i)
    for (int bit : {0, 1, 4, 7}) {
      patchFile(path, i, char(whole[i] ^ (1 << bit)));
      auto model = Model::open(path);
      patchFile(path, i, whole[i]);
      if (!model.ok()) {
        EXPECT_FALSE(model.status().message().empty());
        continue;
      }
      // Such as a dtype of the same width, or the name of an unused tensor.
      ++accepted;
      EXPECT_TRUE((*model)
                      ->run({{"input_ids", DType::I64, {1, 3}, tokens.data()}})
                      .ok());
    }
  EXPECT_LT(accepted, int(headerEnd) / 10);
}

TEST(Loader, FindsDamagedCode) {
  TemporaryFolder folder;
  packModel(folder / "m.ganq", testManifest());
  std::string whole = readFile(folder / "m.ganq");
  auto file = Safetensors::open(folder / "m.ganq");
  const TensorInfo *code = (*file)->find("__code__");
  for (int64_t i = 0; i < code->bytes; i += code->bytes / 50) {
    size_t at = size_t(code->offset + i);
    patchFile(folder / "m.ganq", at, char(whole[at] ^ 0x10));
    expectPart(openError(folder / "m.ganq"), "checksum");
    patchFile(folder / "m.ganq", at, whole[at]);
  }
}

TEST(Manifest, ChecksumIsSha256) {
  // FIPS 180-4's examples, and lengths around the padding's edges.
  EXPECT_EQ(sha256("abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256(""),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(sha256(std::string(1000000, 'a')),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(CApi, RunsAModel) {
  TemporaryFolder folder;
  packModel(folder / "m.ganq", testManifest());
  ganq_model *model = nullptr;
  ASSERT_EQ(ganq_model_open((folder / "m.ganq").c_str(), &model), GANQ_OK)
      << ganq_error_message();
  EXPECT_EQ(json::parse(ganq_model_manifest(model)), testManifest());

  std::vector<int64_t> tokens = {3, 1, 4}, shape = {1, 3};
  ganq_tensor input = {"input_ids", GANQ_I64, 2, shape.data(), tokens.data()};
  ganq_results *results = nullptr;
  ASSERT_EQ(ganq_model_run(model, &input, 1, &results), GANQ_OK);
  ASSERT_EQ(ganq_results_count(results), 2u);
  ganq_tensor output;
  ASSERT_EQ(ganq_results_get(results, 0, &output), GANQ_OK);
  EXPECT_STREQ(output.name, "logits");
  EXPECT_EQ(output.dtype, GANQ_F32);
  ASSERT_EQ(output.rank, 3);
  EXPECT_EQ(output.shape[2], 16);
  EXPECT_FLOAT_EQ(static_cast<const float *>(output.data)[2 * 16 + 1],
                  expectedLogits(tokens)[1]);
  EXPECT_EQ(ganq_results_get(results, 2, &output), GANQ_INVALID_ARGUMENT);
  ganq_results_free(results);
  input.dtype = 99;
  EXPECT_EQ(ganq_model_run(model, &input, 1, &results), GANQ_INVALID_ARGUMENT);

  ganq_session *session = nullptr;
  ASSERT_EQ(ganq_session_create(model, &session), GANQ_OK);
  ganq_model_close(model); // the session keeps what it needs
  int64_t next = 0, vocabulary = 0;
  const float *logits = nullptr;
  EXPECT_EQ(ganq_session_sample(session, 0, &next), GANQ_INVALID_ARGUMENT);
  EXPECT_EQ(ganq_session_feed(session, tokens.data(), 3), GANQ_OK);
  EXPECT_EQ(ganq_session_logits(session, &logits, &vocabulary), GANQ_OK);
  EXPECT_EQ(vocabulary, 16);
  EXPECT_FLOAT_EQ(logits[1], expectedLogits(tokens)[1]);
  EXPECT_EQ(ganq_session_sample(session, 0, &next), GANQ_OK);
  EXPECT_EQ(ganq_session_length(session), 3);
  tokens[0] = 16;
  EXPECT_EQ(ganq_session_feed(session, tokens.data(), 1), GANQ_OUT_OF_RANGE);
  EXPECT_STRNE(ganq_error_message(), "");
  EXPECT_EQ(ganq_session_rewind(session, 0), GANQ_OK);
  ganq_session_destroy(session);

  EXPECT_EQ(ganq_model_open(nullptr, &model), GANQ_INVALID_ARGUMENT);
  EXPECT_EQ(ganq_model_open((folder / "none").c_str(), &model), GANQ_IO_ERROR);
  ganq_model_close(nullptr);
  ganq_results_free(nullptr);
  ganq_session_destroy(nullptr);
}
