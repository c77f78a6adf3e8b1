//===- GpuTarget.h - NVIDIA chips that kernels are made for -----*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_TARGET_GPUTARGET_H
#define GANQ_TARGET_GPUTARGET_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"
#include <cstdint>
#include <optional>
#include <string>

namespace ganq {

/// How a GPU multiplies. ptxas replaces some of these by long routines of other
/// instructions on chips without them, and does not say so.
enum class GpuStrategy {
  F16,  ///< Dequantize, then mma of f16 or bf16.
  Int8, ///< Widen codes to bytes, then mma of s8 and u8.
  Dp4a, ///< Widen codes to bytes, then four-way dot products.
  Int4, ///< mma of s4 and u4.
  Btc,  ///< Bit planes, mma of b1 with and + popcount (ABQ-LLM, section 3.5).
};

llvm::StringRef getName(GpuStrategy strategy);
/// Nothing where no strategy has this name.
std::optional<GpuStrategy> parseGpuStrategy(llvm::StringRef name);
/// All names, for messages.
std::string getGpuStrategyNames();

/// A chip as ptxas names it.
struct GpuTarget {
  llvm::StringLiteral chip;
  bool nativeB1; ///< mma.m16n8k256 of b1 with .and.popc.
  bool nativeS4; ///< mma.m16n8k64 of s4 and u4.
  /// Bytes of shared memory that one block can ask for.
  int64_t sharedBytes;

  /// The PTX version that LLVM writes. Left to itself it takes the oldest one
  /// that knows the chip, and stops the process at instructions that are newer.
  static constexpr llvm::StringLiteral kFeatures = "+ptx87";

  /// Looks up `sm_80`, `sm_90a`, ...; an error names the valid chips.
  static llvm::Expected<GpuTarget> get(llvm::StringRef chip);
  static llvm::ArrayRef<GpuTarget> getAll();

  bool isNative(GpuStrategy strategy) const;
  /// Fails when the chip emulates `strategy`, and says what to use.
  llvm::Error check(GpuStrategy strategy) const;
};

} // namespace ganq

#endif // GANQ_TARGET_GPUTARGET_H
