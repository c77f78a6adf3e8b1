//===- GpuLayoutTest.cpp - Order of packed codes for GPU kernels ----------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/Support/GpuLayout.h"
#include "gtest/gtest.h"
#include <random>
#include <set>

using namespace ganq;
using Order = GpuLayout::Order;

namespace {

constexpr Order kOrders[] = {Order::Table, Order::Halves, Order::Exponent,
                             Order::Bytes, Order::Planes};

template <typename Body> void forLayouts(Body body) {
  for (Order order : kOrders)
    for (unsigned bits = 1; bits <= 8; ++bits)
      for (int exponentBit : {7, 8, 10, 11})
        if (GpuLayout::supports(order, bits) &&
            (order == Order::Exponent || exponentBit == 10))
          body(order, bits, exponentBit);
}

TEST(GpuLayoutTest, EveryBitOfASlotHoldsOneBitOfOneCode) {
  forLayouts([](Order order, unsigned bits, int exponentBit) {
    GpuLayout layout(order, bits, 32, 128, exponentBit);
    std::set<std::pair<int, int>> seen;
    for (int64_t i = 0; i < layout.getSlotColumns(); ++i)
      for (unsigned j = 0; j < bits; ++j) {
        GpuLayout::Bit bit = layout.getBit(i, j);
        EXPECT_TRUE(bit.word >= 0 && bit.word < layout.getSlotWords());
        EXPECT_TRUE(bit.bit >= 0 && bit.bit < 32);
        seen.insert({bit.word, bit.bit});
      }
    EXPECT_EQ(seen.size(), static_cast<size_t>(layout.getSlotWords()) * 32)
        << "order " << static_cast<int>(order) << ", " << bits << " bits";
  });
}

TEST(GpuLayoutTest, RoundTrip) {
  std::mt19937 random(7);
  forLayouts([&](Order order, unsigned bits, int exponentBit) {
    for (auto [rows, columns] : {std::pair<int64_t, int64_t>{33, 300},
                                 std::pair<int64_t, int64_t>{64, 64}}) {
      GpuLayout layout(order, bits, rows, columns, exponentBit);
      std::vector<uint8_t> stored(static_cast<size_t>(layout.getBytes()));
      std::vector<uint8_t> codes;
      for (int64_t i = 0; i < rows * columns; ++i) {
        codes.push_back(static_cast<uint8_t>(random() & ((1u << bits) - 1)));
        layout.insert(stored.data(), i / columns, i % columns, codes.back());
      }
      for (int64_t i = 0; i < rows * columns; ++i)
        ASSERT_EQ(layout.extract(stored.data(), i / columns, i % columns),
                  codes[static_cast<size_t>(i)]);
    }
  });
}

TEST(GpuLayoutTest, BytesPerWeight) {
  // Exactly the bits of the codes where rows and columns are whole tiles.
  GpuLayout layout(Order::Table, 3, 4096, 4096);
  EXPECT_EQ(layout.getBytes(), 4096 * 4096 * 3 / 8);
  GpuLayout ragged(Order::Table, 4, 33, 129);
  EXPECT_EQ(ragged.getBytes(), 64 * 256 / 2);
}

} // namespace
