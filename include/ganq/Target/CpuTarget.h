//===- CpuTarget.h - Processors that code is generated for ------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_TARGET_CPUTARGET_H
#define GANQ_TARGET_CPUTARGET_H

#include "mlir/IR/BuiltinOps.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/Support/Error.h"
#include <string>
#include <vector>

namespace ganq {

/// A processor as LLVM names it, and what the kernels choose by.
struct CpuTarget {
  std::string cpu;
  /// Features to pass to LLVM (`+avx512f`), empty when `cpu` implies them.
  std::vector<std::string> features;
  bool avx512 = false;   ///< F, BW, DQ, VL and CD.
  bool vnni = false;     ///< vpdpbusd in the widest registers.
  bool popcount = false; ///< vpopcntq in the widest registers.
  bool amx = false;      ///< Tile registers with products of bytes.
  bool amxFloats = false; ///< The same of bf16.

  /// Looks up `x86-64-v3`, the same with AVX-VNNI as `x86-64-v3-vnni`,
  /// `x86-64-v4` or `host`. An error names the valid names; `host` fails on a
  /// machine that is below x86-64-v3, and asks the system for tile registers.
  static llvm::Expected<CpuTarget> get(llvm::StringRef name);

  static llvm::ArrayRef<llvm::StringLiteral> getNames();

  /// Features that the code of a module in the LLVM dialect relies on, by
  /// LLVM's names, for the manifest: a processor without one of them must not
  /// run it. Tile registers are among them where the code uses them.
  std::vector<std::string> getRequiredFeatures(mlir::ModuleOp code) const;

  /// Features that a manifest may list; the runtime knows them all.
  static std::vector<llvm::StringRef> getKnownFeatures();
};

} // namespace ganq

#endif // GANQ_TARGET_CPUTARGET_H
