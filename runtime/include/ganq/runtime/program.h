//===- program.h - What a device runs for a step of a model ---------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_RUNTIME_PROGRAM_H
#define GANQ_RUNTIME_PROGRAM_H

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace ganq::runtime {

/// A step function of a language model (see ganq/module_abi.h).
enum class Step { Prefill, Prompt, Decode };

/// The value of a kernel's parameter: an address in the device's memory, or a
/// number that stands in the file.
struct LaunchArgument {
  enum class Kind {
    Arena,     ///< `offset` bytes into the entry's scratch memory
    Parameter, ///< `offset` bytes into parameter `index`
    Cache,     ///< cache `index`
    Tokens,    ///< i64[tokens], the ids of this call
    Past,      ///< i64[1], tokens in the caches before this call
    Row,       ///< i64[1], prompt only: the row whose logits are wanted
    Logits,    ///< f32[tokens * vocabulary]; f32[vocabulary] for prompt
    Best,      ///< i64[1], not of prefill: where the most probable token goes
    I32,
    I64,
    F32,
  };
  Kind kind = Kind::I32;
  int64_t index = 0;
  int64_t offset = 0;
  int64_t integer = 0; ///< of I32 and I64
  float real = 0;      ///< of F32

  bool isAddress() const { return kind < Kind::I32; }
};

/// One launch of a kernel.
struct Launch {
  std::string kernel;
  std::array<uint32_t, 3> grid = {1, 1, 1};  ///< in blocks
  std::array<uint32_t, 3> block = {1, 1, 1}; ///< in threads
  uint32_t shared = 0;                       ///< dynamic shared memory in bytes
  std::vector<LaunchArgument> arguments;
};

/// Code for one kind of GPU: a range of the code tensor.
struct ChipCode {
  std::string chip; ///< "sm_80", "sm_90a"
  int64_t offset = 0;
  int64_t bytes = 0;
};

} // namespace ganq::runtime

#endif // GANQ_RUNTIME_PROGRAM_H
