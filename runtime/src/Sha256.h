//===- Sha256.h - SHA-256 (FIPS 180-4) ------------------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_RUNTIME_SRC_SHA256_H
#define GANQ_RUNTIME_SRC_SHA256_H

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace ganq::runtime {

class Sha256 {
public:
  void update(std::string_view bytes);
  /// The digest of everything so far as 64 hexadecimal digits. The object
  /// cannot be used afterwards.
  std::string finish();

private:
  void compress(const unsigned char *block);

  std::array<uint32_t, 8> state = {0x6a09e667, 0xbb67ae85, 0x3c6ef372,
                                   0xa54ff53a, 0x510e527f, 0x9b05688c,
                                   0x1f83d9ab, 0x5be0cd19};
  std::array<unsigned char, 64> pending{};
  uint64_t length = 0;
};

} // namespace ganq::runtime

#endif // GANQ_RUNTIME_SRC_SHA256_H
