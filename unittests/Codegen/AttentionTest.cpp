//===- AttentionTest.cpp - Attention against plain loops ------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "CompiledModule.h"

using namespace ganq;
using namespace ganq::test;

namespace {

struct Case {
  int64_t batch = 1, queryHeads = 4, keyHeads = 4, queries = 1, keys = 1,
          headSize = 8, valueSize = 8;
  bool causal = false;
  int64_t past = -1; ///< Operand; -1 without.
  bool mask = false; ///< [B, 1, S, T]
  bool dynamicKeys = false;
};

std::vector<float> reference(const Case &c, const Array<float> &q,
                             const Array<float> &k, const Array<float> &v,
                             const Array<float> &mask, float scale) {
  std::vector<float> out;
  int64_t past = c.past >= 0 ? c.past : c.keys - c.queries;
  for (int64_t b = 0; b < c.batch; ++b)
    for (int64_t h = 0; h < c.queryHeads; ++h)
      for (int64_t s = 0; s < c.queries; ++s) {
        int64_t kv = b * c.keyHeads + h / (c.queryHeads / c.keyHeads);
        int64_t seen = c.causal ? std::min(c.keys, past + s + 1) : c.keys;
        std::vector<double> scores;
        double most = -INFINITY, total = 0;
        for (int64_t t = 0; t < seen; ++t) {
          double dot = 0;
          for (int64_t d = 0; d < c.headSize; ++d)
            dot += static_cast<double>(
                       q[((b * c.queryHeads + h) * c.queries + s) * c.headSize +
                         d]) *
                   k[(kv * c.keys + t) * c.headSize + d];
          dot *= scale;
          if (c.mask)
            dot += mask[(b * c.queries + s) * c.keys + t];
          scores.push_back(dot);
          most = std::max(most, dot);
        }
        for (double &score : scores)
          total += score = std::exp(score - most);
        for (int64_t d = 0; d < c.valueSize; ++d) {
          double sum = 0;
          for (int64_t t = 0; t < seen; ++t)
            sum += scores[t] * v[(kv * c.keys + t) * c.valueSize + d];
          out.push_back(static_cast<float>(sum / total));
        }
      }
  return out;
}

class AttentionTest : public CpuTest {
protected:
  /// Attention to keys and values that went through caches of bytes or f16,
  /// which are written in two calls.
  template <typename T> void runCached(Case c, const std::string &element) {
    bool bytes = element == "i8";
    auto type = [](int64_t heads, int64_t rows, int64_t size,
                   const std::string &element) {
      return llvm::formatv("memref<1x{0}x{1}x{2}x{3}>", heads, rows, size,
                           element)
          .str();
    };
    int64_t room = c.keys + 5, rest = bytes ? 4 : 0;
    std::string q = type(c.queryHeads, c.queries, c.headSize, "f32"),
                k = type(c.keyHeads, c.keys, c.headSize, "f32"),
                v = type(c.keyHeads, c.keys, c.valueSize, "f32"),
                kc = type(c.keyHeads, room, c.headSize + rest, element),
                vc = type(c.keyHeads, room, c.valueSize + rest, element),
                o = type(c.queryHeads, c.queries, c.valueSize, "f32");
    std::string text = llvm::formatv(
        R"(func.func @run(%q: {0}, %k: {1}, %v: {2}, %kc: {3}, %vc: {4}, %past: index, %o: {5}) {
             %c0 = arith.constant 0 : index
             ganq.kv_update %k into %kc[%c0] : {1}, {3}
             ganq.kv_update %v into %vc[%c0] : {2}, {4}
             ganq.attention %q, %kc, %vc past(%past) causal out(%o : {5})
               {{scale = 3.535534e-01 : f32} : {0}, {3}, {4}
             return
           })",
        q, k, v, kc, vc, o);
    SCOPED_TRACE(text);
    CompiledModule module(text, GetParam());
    ASSERT_TRUE(module);
    module.setParameters({});
    Array<float> query =
                     randomArray({1, c.queryHeads, c.queries, c.headSize}, 1),
                 key = randomArray({1, c.keyHeads, c.keys, c.headSize}, 2),
                 value = randomArray({1, c.keyHeads, c.keys, c.valueSize}, 3),
                 none({1}), out({1, c.queryHeads, c.queries, c.valueSize});
    // A row of zeros has no scale.
    for (int64_t d = 0; d < c.headSize; ++d)
      key[d] = 0;
    Array<T> keys({1, c.keyHeads, room, c.headSize + rest}),
        values({1, c.keyHeads, room, c.valueSize + rest});
    module.call("run",
                {query.argument(), key.argument(), value.argument(),
                 keys.argument(), values.argument(), &c.past, out.argument()},
                2);
    auto round = [&](Array<float> &array, int64_t size) {
      for (size_t row = 0; row < array.values.size() / size; ++row) {
        float *x = array.values.data() + row * size, most = 0;
        for (int64_t d = 0; d < size; ++d)
          most = std::max(most, std::fabs(x[d]));
        float scale = most / 127;
        for (int64_t d = 0; d < size; ++d)
          x[d] = !bytes       ? fromHalf(toHalf(x[d]))
                 : scale == 0 ? 0
                              : scale * std::nearbyint(x[d] * (1 / scale));
      }
    };
    round(key, c.headSize);
    round(value, c.valueSize);
    expectClose(out.values, reference(c, query, key, value, none, 0.3535534f),
                2e-6);
  }

  void run(const Case &c) {
    auto type = [](int64_t a, int64_t b, const std::string &s, int64_t d) {
      return llvm::formatv("memref<{0}x{1}x{2}x{3}xf32>", a, b, s, d).str();
    };
    std::string t = c.dynamicKeys ? "?" : std::to_string(c.keys);
    std::string s = std::to_string(c.queries);
    std::string q = type(c.batch, c.queryHeads, s, c.headSize),
                k = type(c.batch, c.keyHeads, t, c.headSize),
                v = type(c.batch, c.keyHeads, t, c.valueSize),
                o = type(c.batch, c.queryHeads, s, c.valueSize),
                m = llvm::formatv("memref<{0}x1x{1}x{2}xf32>", c.batch, s, t);
    std::string text = llvm::formatv(
        R"(func.func @run(%q: {0}, %k: {1}, %v: {2}, %m: {3}, %past: index, %o: {4}) {
             ganq.attention %q, %k, %v {5} {6} {7} out(%o : {4})
               {{scale = 3.535534e-01 : f32} : {0}, {1}, {2}
             return
           })",
        q, k, v, m, o, c.mask ? "mask(%m : " + m + ")" : "",
        c.past >= 0 ? "past(%past)" : "", c.causal ? "causal" : "");
    SCOPED_TRACE(text);
    CompiledModule module(text, GetParam());
    ASSERT_TRUE(module);
    module.setParameters({});
    Array<float> query = randomArray(
                     {c.batch, c.queryHeads, c.queries, c.headSize}, 1),
                 key =
                     randomArray({c.batch, c.keyHeads, c.keys, c.headSize}, 2),
                 value =
                     randomArray({c.batch, c.keyHeads, c.keys, c.valueSize}, 3),
                 mask({c.batch, 1, c.queries, c.keys}),
                 out({c.batch, c.queryHeads, c.queries, c.valueSize});
    for (size_t i = 0; i < mask.values.size(); ++i)
      mask[i] = i % 3 == 1 ? -INFINITY : 0.25f * static_cast<float>(i % 5);
    std::vector<float> expected =
        reference(c, query, key, value, mask, 0.3535534f);
    if (c.causal && c.past >= 0) {
      // The rest of a cache holds whatever memory held.
      for (int64_t row = 0; row < c.batch * c.keyHeads; ++row)
        for (int64_t at = c.past + c.queries; at < c.keys; ++at) {
          for (int64_t d = 0; d < c.headSize; ++d)
            key[(row * c.keys + at) * c.headSize + d] = NAN;
          for (int64_t d = 0; d < c.valueSize; ++d)
            value[(row * c.keys + at) * c.valueSize + d] = NAN;
        }
    }
    int64_t past = c.past;
    for (int threads : {1, 3}) {
      out.values.assign(out.values.size(), -1);
      module.call("run",
                  {query.argument(), key.argument(), value.argument(),
                   mask.argument(), &past, out.argument()},
                  threads);
      expectClose(out.values, expected, 2e-6);
    }
  }
};

TEST_P(AttentionTest, Decode) {
  Case c;
  c.causal = true;
  c.past = 36;
  c.keys = 64;
  run(c);
  c.past = 0;
  run(c);
  c.headSize = c.valueSize = 128;
  c.past = 47;
  run(c);
  c.keyHeads = 1;
  c.headSize = 20;
  run(c);
}

TEST_P(AttentionTest, GroupedQueries) {
  Case c;
  c.queryHeads = 16;
  c.headSize = c.valueSize = 64;
  c.causal = true;
  c.past = 100;
  c.keys = 128;
  run(c);
  c.keyHeads = 2;
  run(c);
  c.queries = 7;
  run(c);
}

TEST_P(AttentionTest, Prefill) {
  Case c;
  c.queries = c.keys = 19;
  c.causal = true;
  run(c);
  c.keys = 50;
  c.past = 20;
  c.headSize = 64;
  c.valueSize = 40;
  c.keyHeads = 2;
  run(c);
}

TEST_P(AttentionTest, NotCausal) {
  Case c;
  c.queries = 5;
  c.keys = 35;
  c.batch = 2;
  run(c);
  c.mask = true;
  run(c);
  c.dynamicKeys = true;
  run(c);
  c.keys = 3;
  run(c);
}

TEST_P(AttentionTest, NarrowCaches) {
  Case c;
  c.queryHeads = 8;
  c.causal = true;
  c.past = 20;
  c.keys = 37;
  c.headSize = 20;
  c.valueSize = 64;
  for (int64_t queries : {1, 17}) {
    c.past = c.keys - queries;
    c.queries = queries;
    runCached<uint16_t>(c, "f16");
    runCached<int8_t>(c, "i8");
  }
  c.headSize = 64;
  c.keyHeads = 2;
  runCached<int8_t>(c, "i8");
}

/// What is not finite stays so, in its own row.
TEST_P(AttentionTest, CachesOfBytesKeepNan) {
  CompiledModule module(
      R"(func.func @run(%v: memref<1x1x3x20xf32>, %c: memref<1x1x3x24xi8>) {
           %c0 = arith.constant 0 : index
           ganq.kv_update %v into %c[%c0] : memref<1x1x3x20xf32>, memref<1x1x3x24xi8>
           return
         })",
      GetParam());
  ASSERT_TRUE(module);
  module.setParameters({});
  Array<float> value = randomArray({1, 1, 3, 20}, 1);
  value[3] = NAN;
  value[20 + 19] = -INFINITY;
  Array<int8_t> cache({1, 1, 3, 24});
  module.call("run", {value.argument(), cache.argument()});
  for (int64_t row = 0; row < 3; ++row) {
    float scale = 0;
    memcpy(&scale, cache.values.data() + row * 24 + 20, 4);
    EXPECT_EQ(std::isnan(scale), row < 2) << row;
  }
}

GANQ_INSTANTIATE(AttentionTest);

} // namespace
