//===- CodeLayoutTest.cpp - Order of packed codes -------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/Support/CodeLayout.h"
#include "gtest/gtest.h"
#include <random>

using ganq::CodeLayout;

namespace {

class CodeLayoutTest : public testing::TestWithParam<unsigned> {};

// Every element has bits of its own: what is written is what is read, also on
// shapes that fill neither a row tile nor a unit.
TEST_P(CodeLayoutTest, InsertThenExtract) {
  unsigned bits = GetParam();
  for (auto [rows, columns] : {std::pair<int64_t, int64_t>{1, 1},
                               {4, 128},
                               {5, 130},
                               {7, 257},
                               {3, 64}}) {
    CodeLayout layout(bits, rows, columns);
    std::vector<uint8_t> packed(layout.getBytes());
    std::vector<uint8_t> codes(rows * columns);
    std::mt19937 random(bits);
    for (uint8_t &code : codes)
      code = static_cast<uint8_t>(random() & ((1u << bits) - 1));
    for (int64_t row = 0; row < rows; ++row)
      for (int64_t column = 0; column < columns; ++column)
        layout.insert(packed.data(), row, column,
                      codes[row * columns + column]);
    for (int64_t row = 0; row < rows; ++row)
      for (int64_t column = 0; column < columns; ++column)
        ASSERT_EQ(layout.extract(packed.data(), row, column),
                  codes[row * columns + column])
            << bits << " bits, row " << row << ", column " << column;
    std::vector<uint8_t> byRows(layout.getBytes());
    for (int64_t row = 0; row < rows; ++row)
      layout.insertRow(byRows.data(), row, codes.data() + row * columns,
                       columns);
    EXPECT_EQ(byRows, packed);
  }
}

// Exactly `bits` bits per weight where the shape fills tiles and units.
TEST_P(CodeLayoutTest, NoPaddingOnFullTiles) {
  CodeLayout layout(GetParam(), 8, 1024);
  EXPECT_EQ(layout.getBytes() * 8, 8 * 1024 * static_cast<int64_t>(GetParam()));
}

INSTANTIATE_TEST_SUITE_P(AllBits, CodeLayoutTest, testing::Range(1u, 9u));

// The order that kernels rely on, spelled out once.
TEST(CodeLayout, FourBitOrder) {
  CodeLayout layout(4, 8, 64);
  std::vector<uint8_t> packed(layout.getBytes());
  // Row 6 is row 2 of the second tile; column 53 is byte 5, high nibble of the
  // second unit.
  layout.insert(packed.data(), 6, 53, 0xA);
  EXPECT_EQ(packed[layout.getTileBytes() + (1 * 4 + 2) * 16 + 5], 0xA0);
}

} // namespace
