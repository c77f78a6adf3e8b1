//===- SessionTest.cpp - Tests of generation and perplexity ---------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/runtime/session.h"
#include "TestModel.h"
#include <cmath>

using namespace ganq::runtime;
using namespace ganq::runtime::test;
using nlohmann::json;

namespace {
class SessionTest : public ::testing::Test {
protected:
  std::shared_ptr<Model> open(const json &manifest) {
    std::string path = folder / "m" + std::to_string(count++);
    packModel(path, manifest);
    auto model = Model::open(path);
    EXPECT_TRUE(model.ok()) << model.status().message();
    return model.ok() ? *model : nullptr;
  }
  std::unique_ptr<Session> session(const json &manifest) {
    auto session = Session::create(open(manifest));
    EXPECT_TRUE(session.ok()) << session.status().message();
    return session.ok() ? std::move(*session) : nullptr;
  }
  static json withoutSteps() {
    json manifest = testManifest();
    manifest.erase("state");
    for (const char *step : {"prefill", "prompt", "decode"})
      manifest["entries"].erase(step);
    return manifest;
  }
  static json withoutPrefill() {
    json manifest = testManifest();
    manifest["entries"].erase("prefill");
    manifest["entries"].erase("prompt");
    return manifest;
  }
  static json withoutPrompt() {
    json manifest = testManifest();
    manifest["entries"].erase("prompt");
    return manifest;
  }

  static void expectLogits(const Session &session,
                           const std::vector<int64_t> &tokens) {
    ASSERT_TRUE(session.logits());
    std::vector<float> expected = expectedLogits(tokens);
    for (size_t v = 0; v < expected.size(); ++v)
      EXPECT_NEAR(session.logits()[v], expected[v], 1e-6) << v;
  }

  TemporaryFolder folder;
  int count = 0;
};
} // namespace

static std::vector<int64_t> generate(Session &session,
                                     std::vector<int64_t> prompt, int count,
                                     double temperature = 0) {
  std::vector<int64_t> tokens;
  for (int i = 0; i < count; ++i) {
    Status status = session.feed(prompt.data(), int64_t(prompt.size()));
    EXPECT_TRUE(status.ok()) << status.message();
    auto token = session.sample(temperature);
    EXPECT_TRUE(token.ok()) << token.status().message();
    tokens.push_back(*token);
    prompt = {*token};
  }
  return tokens;
}

TEST_F(SessionTest, EveryChunkingGivesTheSameLogits) {
  // Chunks of 4: whole, partial, padded and, at the end of the context of 10
  // tokens, without room for padding.
  std::vector<int64_t> tokens = {3, 1, 4, 1, 5, 9, 2, 6, 5, 3};
  for (const json &manifest : {testManifest(), withoutPrompt()}) {
    auto cached = session(manifest);
    for (size_t length = 1; length <= tokens.size(); ++length)
      for (size_t first = 0; first < length; ++first) {
        ASSERT_TRUE(cached->rewind(0).ok());
        ASSERT_TRUE(cached->feed(tokens.data(), int64_t(first)).ok());
        ASSERT_TRUE(
            cached->feed(tokens.data() + first, int64_t(length - first)).ok());
        EXPECT_EQ(cached->length(), int64_t(length));
        expectLogits(*cached, {tokens.begin(), tokens.begin() + long(length)});
      }
  }
}

TEST_F(SessionTest, PromptsComputeOneRowOfLogits) {
  json manifest = testManifest();
  // Whoever calls this for a chunk reads logits of the first row alone.
  manifest["entries"]["prefill"]["symbol"] = "ganq_decode";
  auto fed = session(manifest);
  std::vector<int64_t> tokens = {3, 1, 4, 1, 5, 9, 2};
  ASSERT_TRUE(fed->feed(tokens.data(), 7).ok());
  expectLogits(*fed, tokens);
}

TEST_F(SessionTest, CallbackSeesEveryRow) {
  std::vector<int64_t> tokens = {3, 1, 4, 1, 5, 9, 2};
  for (const json &manifest :
       {testManifest(), withoutPrefill(), withoutSteps()}) {
    auto fed = session(manifest);
    int64_t next = 0;
    auto check = [&](const float *logits, int64_t first, int64_t count) {
      EXPECT_EQ(first, next);
      next += count;
      for (int64_t i = 0; i < count; ++i) {
        std::vector<float> expected = expectedLogits(
            {tokens.begin(), tokens.begin() + long(first + i + 1)});
        for (size_t v = 0; v < 16; ++v)
          EXPECT_NEAR(logits[size_t(i) * 16 + v], expected[v], 1e-6);
      }
    };
    ASSERT_TRUE(fed->feed(tokens.data(), 3, check).ok());
    ASSERT_TRUE(fed->feed(tokens.data() + 3, 4, check).ok());
    EXPECT_EQ(next, 7);
  }
}

TEST_F(SessionTest, ObserverSeesNoPadding) {
  auto model = open(testManifest());
  int64_t rows = 0;
  model->setObserver([&](int64_t id, const float *, int64_t count, int64_t) {
    EXPECT_EQ(id, 4);
    rows += count;
  });
  auto fed = Session::create(model);
  ASSERT_TRUE(fed.ok());
  std::vector<int64_t> tokens = {3, 1, 4, 1, 5, 9, 2};
  ASSERT_TRUE((*fed)->feed(tokens.data(), 7).ok());
  EXPECT_EQ(rows, 7);
}

TEST_F(SessionTest, GreedyWithCacheEqualsRecomputing) {
  std::vector<int64_t> prompt = {7, 11, 2};
  std::vector<int64_t> cached = generate(*session(testManifest()), prompt, 7);
  EXPECT_EQ(cached, generate(*session(withoutSteps()), prompt, 7));
  EXPECT_EQ(cached, generate(*session(withoutPrefill()), prompt, 7));
}

TEST_F(SessionTest, RefusesTokensAndOverflow) {
  for (const json &manifest : {testManifest(), withoutSteps()}) {
    auto fed = session(manifest);
    std::vector<int64_t> good = {1, 2, 3};
    ASSERT_TRUE(fed->feed(good.data(), 3).ok());
    for (int64_t bad : {int64_t(-1), int64_t(16), INT64_MAX, INT64_MIN}) {
      std::vector<int64_t> tokens = {1, bad};
      Status status = fed->feed(tokens.data(), 2);
      EXPECT_EQ(status.code(), Code::OutOfRange);
      EXPECT_NE(status.message().find("token 1: expected an id from 0 to 15"),
                std::string::npos);
    }
    EXPECT_EQ(fed->length(), 3) << "a refused feed changes nothing";
    expectLogits(*fed, good);
  }
  auto fed = session(testManifest());
  std::vector<int64_t> tokens(11, 1);
  EXPECT_EQ(fed->feed(tokens.data(), 11).code(), Code::OutOfRange);
  EXPECT_TRUE(fed->feed(tokens.data(), 10).ok());
  EXPECT_EQ(fed->feed(tokens.data(), 1).code(), Code::OutOfRange);
  EXPECT_TRUE(fed->feed(nullptr, 0).ok());
  EXPECT_FALSE(fed->feed(tokens.data(), -1).ok());
  EXPECT_FALSE(fed->rewind(11).ok());
  EXPECT_FALSE(fed->rewind(-1).ok());
  EXPECT_TRUE(fed->rewind(9).ok());
  EXPECT_FALSE(fed->sample(0).ok());
  EXPECT_TRUE(fed->feed(tokens.data(), 1).ok());
}

TEST_F(SessionTest, StaticSequenceIsPadded) {
  json manifest = withoutSteps();
  manifest["entries"]["main"]["inputs"][0]["shape"] = {1, 6};
  auto fed = session(manifest);
  EXPECT_EQ(fed->maxContext(), 6);
  std::vector<int64_t> tokens = {3, 1, 4};
  ASSERT_TRUE(fed->feed(tokens.data(), 3).ok());
  expectLogits(*fed, tokens);
}

TEST_F(SessionTest, RefusesModelsThatAreNoLanguageModels) {
  json manifest = withoutSteps();
  manifest["entries"]["main"]["inputs"][0]["dtype"] = "F32";
  EXPECT_EQ(Session::create(open(manifest)).status().code(), Code::Unsupported);
  manifest = withoutSteps();
  manifest["entries"]["main"]["outputs"][0]["dtype"] = "I32";
  manifest["entries"]["main"]["outputs"][1]["dtype"] = "I32";
  EXPECT_EQ(Session::create(open(manifest)).status().code(), Code::Unsupported);
}

TEST_F(SessionTest, ReportsCachesThatDoNotFit) {
  json manifest = testManifest();
  manifest["state"]["caches"][0]["shape"] = {1, 1, int64_t(1) << 50, 2};
  auto session = Session::create(open(manifest));
  EXPECT_EQ(session.status().code(), Code::OutOfMemory);
}

TEST_F(SessionTest, DrawsFollowTheSoftmax) {
  auto fed = session(testManifest());
  std::vector<int64_t> tokens = {3, 1};
  ASSERT_TRUE(fed->feed(tokens.data(), 2).ok());
  std::vector<float> logits = expectedLogits(tokens);
  double temperature = 0.5, sum = 0;
  for (float logit : logits)
    sum += std::exp(logit / temperature);
  constexpr int draws = 20000;
  std::vector<int> hits(16);
  fed->seed(7);
  for (int i = 0; i < draws; ++i)
    ++hits[size_t(*fed->sample(temperature))];
  for (size_t v = 0; v < 16; ++v) {
    double p = std::exp(logits[v] / temperature) / sum;
    // Five standard deviations.
    EXPECT_NEAR(hits[v], draws * p, 5 * std::sqrt(draws * p) + 1) << v;
  }
  std::vector<int64_t> first, second;
  for (std::vector<int64_t> *list : {&first, &second}) {
    fed->seed(3);
    for (int i = 0; i < 20; ++i)
      list->push_back(*fed->sample(1));
  }
  EXPECT_EQ(first, second);
  for (double bad : {-1.0, double(NAN), double(INFINITY)})
    EXPECT_FALSE(fed->sample(bad).ok());
}

TEST_F(SessionTest, Perplexity) {
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
  // With steps, without, and with rows beyond the caches' context.
  json shortContext = testManifest();
  shortContext["state"]["max_context"] = 5;
  for (const json &manifest :
       {testManifest(), withoutPrefill(), withoutSteps(), shortContext}) {
    int64_t seen = 0;
    auto result = evaluatePerplexity(open(manifest), tokens.data(), 2, 8,
                                     [&](int64_t rows) { seen = rows; });
    ASSERT_TRUE(result.ok()) << result.status().message();
    EXPECT_EQ(result->tokens, 14);
    EXPECT_NEAR(result->negativeLogLikelihood, loss, 1e-5);
    EXPECT_NEAR(result->perplexity(), std::exp(loss / 14), 1e-5);
    EXPECT_EQ(seen, 2);

    tokens[9] = 16;
    auto bad = evaluatePerplexity(open(manifest), tokens.data(), 2, 8);
    EXPECT_EQ(bad.status().code(), Code::OutOfRange);
    EXPECT_NE(bad.status().message().find("row 1: token 1"), std::string::npos);
    tokens[9] = 3;
  }
  EXPECT_FALSE(
      evaluatePerplexity(open(testManifest()), tokens.data(), 2, 1).ok());
  EXPECT_FALSE(
      evaluatePerplexity(open(testManifest()), tokens.data(), 0, 8).ok());
}
