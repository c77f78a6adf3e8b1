//===- DeviceTest.cpp - Tests of models on devices ------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "DeviceTestModel.h"
#include "FakeCudaDriver.h"
#include "ganq/runtime/session.h"
#include <algorithm>
#include <cmath>

using namespace ganq::runtime;
using namespace ganq::runtime::test;
using nlohmann::json;

namespace {
class DeviceTest : public ::testing::TestWithParam<const char *> {
protected:
  void SetUp() override {
    if (GetParam() == std::string("cuda"))
      driver.emplace();
  }
  std::shared_ptr<Model> open(const json &manifest) {
    std::string path = folder / "m" + std::to_string(count++);
    std::string code = deviceCode(GetParam());
    packModel(path, manifest, &code);
    auto model = Model::open(path);
    EXPECT_TRUE(model.ok()) << model.status().message();
    return model.ok() ? *model : nullptr;
  }
  std::shared_ptr<Model> open() { return open(deviceManifest(GetParam())); }
  static std::unique_ptr<Session> session(std::shared_ptr<Model> model) {
    auto session = Session::create(std::move(model));
    EXPECT_TRUE(session.ok()) << session.status().message();
    return session.ok() ? std::move(*session) : nullptr;
  }
  static void expectLogits(const float *logits,
                           const std::vector<int64_t> &tokens) {
    ASSERT_TRUE(logits);
    std::vector<float> expected = expectedLogits(tokens);
    for (size_t v = 0; v < expected.size(); ++v)
      EXPECT_NEAR(logits[v], expected[v], 1e-6) << v;
  }

  std::optional<FakeCudaDriver> driver;
  TemporaryFolder folder;
  int count = 0;
};
} // namespace

TEST_P(DeviceTest, EveryChunkingGivesTheSameLogits) {
  // Chunks of 4: whole, partial, padded and, at the end of the context of 10
  // tokens, without room for padding.
  std::vector<int64_t> tokens = {3, 1, 4, 1, 5, 9, 2, 6, 5, 3};
  json manifest = deviceManifest(GetParam());
  json withoutPrompt = manifest, onlyDecode = manifest;
  withoutPrompt["entries"].erase("prompt");
  onlyDecode["entries"].erase("prompt");
  onlyDecode["entries"].erase("prefill");
  for (const json &each : {manifest, withoutPrompt, onlyDecode}) {
    auto fed = session(open(each));
    ASSERT_TRUE(fed);
    for (size_t length = 1; length <= tokens.size(); ++length)
      for (size_t first = 0; first < length; ++first) {
        ASSERT_TRUE(fed->rewind(0).ok());
        ASSERT_TRUE(fed->feed(tokens.data(), int64_t(first)).ok());
        ASSERT_TRUE(
            fed->feed(tokens.data() + first, int64_t(length - first)).ok());
        expectLogits(fed->logits(),
                     {tokens.begin(), tokens.begin() + long(length)});
      }
  }
}

TEST_P(DeviceTest, CallbackSeesEveryRow) {
  std::vector<int64_t> tokens = {3, 1, 4, 1, 5, 9, 2};
  auto fed = session(open());
  ASSERT_TRUE(fed);
  int64_t next = 0;
  auto check = [&](const float *logits, int64_t first, int64_t count) {
    EXPECT_EQ(first, next);
    next += count;
    for (int64_t i = 0; i < count; ++i)
      expectLogits(logits + i * 16,
                   {tokens.begin(), tokens.begin() + long(first + i + 1)});
  };
  ASSERT_TRUE(fed->feed(tokens.data(), 3, check).ok());
  ASSERT_TRUE(fed->feed(tokens.data() + 3, 4, check).ok());
  EXPECT_EQ(next, 7);
}

// Where the device finds the most probable token, logits come late.
TEST_P(DeviceTest, FindsTheMostProbableToken) {
  std::vector<int64_t> tokens = {3, 1, 4, 1, 5, 9, 2, 6, 5, 3};
  json manifest = argmaxManifest(GetParam()), withoutPrompt = manifest;
  withoutPrompt["entries"].erase("prompt");
  for (const json &each : {manifest, withoutPrompt}) {
    auto fed = session(open(each));
    ASSERT_TRUE(fed);
    EXPECT_FALSE(fed->sample(0).ok());
    EXPECT_FALSE(fed->logits());
    for (size_t length = 1; length <= tokens.size(); ++length)
      for (size_t first = 0; first < length; ++first) {
        ASSERT_TRUE(fed->rewind(0).ok());
        EXPECT_FALSE(fed->sample(0).ok());
        EXPECT_FALSE(fed->logits());
        ASSERT_TRUE(fed->feed(tokens.data(), int64_t(first)).ok());
        ASSERT_TRUE(
            fed->feed(tokens.data() + first, int64_t(length - first)).ok());
        std::vector<int64_t> sequence{tokens.begin(),
                                      tokens.begin() + long(length)};
        std::vector<float> expected = expectedLogits(sequence);
        auto best = fed->sample(0);
        ASSERT_TRUE(best.ok()) << best.status().message();
        EXPECT_EQ(*best, std::max_element(expected.begin(), expected.end()) -
                             expected.begin());
        expectLogits(fed->logits(), sequence);
        expectLogits(fed->logits(), sequence);
        EXPECT_TRUE(fed->sample(1).ok());
      }
    // A callback gets all rows.
    ASSERT_TRUE(fed->rewind(0).ok());
    int64_t rows = 0;
    auto check = [&](const float *logits, int64_t first, int64_t count) {
      rows += count;
      for (int64_t i = 0; i < count; ++i)
        expectLogits(logits + i * 16,
                     {tokens.begin(), tokens.begin() + long(first + i + 1)});
    };
    ASSERT_TRUE(fed->feed(tokens.data(), 10, check).ok());
    EXPECT_EQ(rows, 10);
    expectLogits(fed->logits(), tokens);
  }
}

TEST_P(DeviceTest, TakesTheTokenFromTheDevice) {
  json manifest = argmaxManifest(GetParam());
  manifest["entries"]["decode"]["launches"][3]["args"] = {
      {"parameter", 0, 0}, {"best"}, {"i32", 0}};
  int64_t token = 3;
  auto zero = session(open(manifest));
  ASSERT_TRUE(zero && zero->feed(&token, 1).ok());
  auto found = zero->sample(0);
  ASSERT_TRUE(found.ok());
  EXPECT_EQ(*found, 0) << "what the kernel says";
  // Nothing writes the token: as if a logit were no number.
  manifest["entries"]["decode"]["launches"][2]["args"][4] = {"best"};
  manifest["entries"]["decode"]["launches"].erase(3);
  manifest["entries"]["decode"]["launches"][2]["args"][3] = {"i64", 0};
  auto none = session(open(manifest));
  ASSERT_TRUE(none && none->feed(&token, 1).ok());
  found = none->sample(0);
  EXPECT_EQ(found.status().code(), Code::Failed);
  EXPECT_EQ(found.status().message(), "the model's logits are not numbers");
}

TEST_P(DeviceTest, SessionsHaveTheirOwnCaches) {
  auto model = open();
  auto one = session(model), two = session(model);
  ASSERT_TRUE(one && two);
  std::vector<int64_t> first, second;
  for (int64_t i = 0; i < 8; ++i) {
    first.push_back(i * 5 % 16);
    second.push_back(15 - i);
    ASSERT_TRUE(one->feed(&first.back(), 1).ok());
    ASSERT_TRUE(two->feed(&second.back(), 1).ok());
    expectLogits(one->logits(), first);
    expectLogits(two->logits(), second);
  }
  // The rest goes on from the middle.
  ASSERT_TRUE(one->rewind(3).ok());
  first.resize(3);
  first.push_back(7);
  ASSERT_TRUE(one->feed(&first.back(), 1).ok());
  expectLogits(one->logits(), first);
}

TEST_P(DeviceTest, Perplexity) {
  std::vector<int64_t> tokens = {3, 1, 4, 1, 5, 9, 2, 6,
                                 5, 3, 5, 8, 9, 7, 9, 3};
  double loss = 0;
  for (size_t row = 0; row < 2; ++row)
    for (size_t i = 1; i < 8; ++i) {
      auto begin = tokens.begin() + long(row) * 8;
      std::vector<float> logits = expectedLogits({begin, begin + long(i)});
      double sum = 0;
      for (float logit : logits)
        sum += std::exp(double(logit));
      loss += std::log(sum) - double(logits[size_t(begin[long(i)])]);
    }
  auto result = evaluatePerplexity(open(), tokens.data(), 2, 8);
  ASSERT_TRUE(result.ok()) << result.status().message();
  EXPECT_NEAR(result->negativeLogLikelihood, loss, 1e-5);
}

TEST_P(DeviceTest, RefusesWhatTheFileLacks) {
  auto model = open();
  auto results = model->run({});
  EXPECT_EQ(results.status().code(), Code::Unsupported);
  EXPECT_NE(results.status().message().find("no entry 'main'"),
            std::string::npos);
  alignas(64) float bias[17] = {};
  EXPECT_EQ(model->setParameter("bias", bias).code(), Code::Unsupported);
}

TEST_P(DeviceTest, TimesFeeds) {
  auto model = open();
  auto fed = session(model);
  ASSERT_TRUE(fed);
  std::vector<int64_t> tokens = {3, 1, 4, 1, 5};
  ASSERT_TRUE(fed->feed(tokens.data(), 5).ok());
  EXPECT_EQ(fed->deviceSeconds(), 0);
  ASSERT_TRUE(fed->setTimed(true).ok());
  ASSERT_TRUE(fed->rewind(0).ok());
  ASSERT_TRUE(fed->feed(tokens.data(), 5).ok());
  expectLogits(fed->logits(), tokens);
  EXPECT_GT(fed->deviceSeconds(), 0);
  if (driver) { // a prompt and a token of 1 copy, 3 launches and a record each
    EXPECT_NEAR(fed->deviceSeconds(), 10e-3, 1e-9);
  }
  ASSERT_TRUE(fed->setTimed(false).ok());
  ASSERT_TRUE(fed->feed(tokens.data(), 1).ok());
  EXPECT_EQ(fed->deviceSeconds(), 0);

  auto facts = model->measureDevice();
  ASSERT_TRUE(facts.ok()) << facts.status().message();
  EXPECT_EQ(facts->name, driver ? "Fake 9000" : "emulator");
  EXPECT_GT(facts->copyBandwidth, 0);
}

INSTANTIATE_TEST_SUITE_P(Devices, DeviceTest,
                         ::testing::Values("emulator", "cuda"),
                         [](const auto &info) { return info.param; });
