//===- TestModel.cpp - A compiled model made by hand ----------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "TestModel.h"
#include <dirent.h>

namespace ganq::runtime::test {

using nlohmann::json;

std::vector<std::string> TemporaryFolder::files() const {
  std::vector<std::string> names;
  DIR *folder = opendir(path.c_str());
  while (const dirent *entry = readdir(folder))
    if (std::string name = entry->d_name; name != "." && name != "..")
      names.push_back(name);
  closedir(folder);
  return names;
}

namespace {
struct Weights {
  std::vector<float> embedding, head, bias;
};
} // namespace

static const Weights &weights() {
  static const Weights values = [] {
    Weights made;
    for (int i = 0; i < testVocabulary * 2; ++i) {
      made.embedding.push_back(float(i * 7 % 11) / 4 - 1.25f);
      made.head.push_back(float(i * 5 % 13) / 8 - 0.75f);
    }
    // One more than the vocabulary: a size that is no multiple of 64.
    for (int i = 0; i < testVocabulary + 1; ++i)
      made.bias.push_back(float(i % 3) / 16);
    return made;
  }();
  return values;
}

json testManifest() {
  return json::parse(R"({
    "abi": 1, "generator": "test",
    "target": {"arch": "x86_64", "cpu": "x86-64", "features": ["sse2"]},
    "code": "__code__",
    "parameters": ["embedding", "head", "bias"],
    "entries": {
      "main": {"symbol": "ganq_main", "arena": 0,
        "inputs": [{"name": "input_ids", "dtype": "I64",
                    "shape": ["batch", "seq"]}],
        "outputs": [{"name": "logits", "dtype": "F32",
                     "shape": ["batch", "seq", 16]},
                    {"name": "model/states:0", "dtype": "F32",
                     "shape": ["batch", "seq", 2]}]},
      "prefill": {"symbol": "ganq_prefill", "tokens": 4, "arena": 256},
      "prompt": {"symbol": "ganq_prompt", "tokens": 4, "arena": 512},
      "decode": {"symbol": "ganq_decode", "tokens": 1, "arena": 64}},
    "state": {"max_context": 10, "vocabulary": 16,
      "caches": [{"name": "cache", "dtype": "F32", "shape": [1, 1, 10, 2]}]},
    "weights": [{"name": "head", "scheme": "none", "shape": [16, 2],
                 "bytes": 128, "tensors": ["head"],
                 "kernels": [{"entry": "decode", "name": "kernel_matmul",
                              "tile": "registers rows=1", "rows": 1, "instructions": 40, "bytes": 128,
                              "nanoseconds": 100}]}],
    "bits_per_weight": 32.0,
    "source": {"file": "model.onnx", "sha256": "0"}})");
}

void packModel(const std::string &path, const json &manifest,
               const std::string *code) {
  std::string module = code ? *code : readFile(GANQ_FAKE_MODULE);
  ASSERT_FALSE(module.empty());
  const Weights &values = weights();
  // The odd sizes of `pad` and `bias` leave the latter misaligned.
  std::string pad = "abc";
  struct Item {
    const char *name;
    DType dtype;
    std::vector<int64_t> shape;
    const void *data;
    int64_t bytes;
  };
  std::vector<Item> items = {
      {"__code__",
       DType::U8,
       {int64_t(module.size())},
       module.data(),
       int64_t(module.size())},
      {"pad", DType::U8, {3}, pad.data(), 3},
      {"bias", DType::F32, {17}, values.bias.data(), 68},
      {"embedding", DType::F32, {16, 2}, values.embedding.data(), 128},
      {"head", DType::F32, {16, 2}, values.head.data(), 128},
  };
  SafetensorsWriter writer(path);
  for (const Item &item : items)
    ASSERT_TRUE(writer.declare(item.name, item.dtype, item.shape).ok());
  for (const auto &[key, value] : modelMetadata(manifest.dump(), module))
    ASSERT_TRUE(writer.setMetadata(key, value).ok());
  ASSERT_TRUE(writer.begin().ok());
  for (const Item &item : items)
    ASSERT_TRUE(writer.append(item.name, item.data, item.bytes).ok());
  Status status = writer.finish();
  ASSERT_TRUE(status.ok()) << status.message();
}

std::vector<float> expectedLogits(const std::vector<int64_t> &tokens) {
  const Weights &values = weights();
  float state[2] = {};
  for (int64_t token : tokens)
    for (size_t c = 0; c < 2; ++c)
      state[c] = state[c] / 2 + values.embedding[size_t(token) * 2 + c];
  std::vector<float> logits;
  for (size_t v = 0; v < size_t(testVocabulary); ++v)
    logits.push_back(state[0] * values.head[v * 2] +
                     state[1] * values.head[v * 2 + 1] + values.bias[v]);
  return logits;
}

} // namespace ganq::runtime::test
