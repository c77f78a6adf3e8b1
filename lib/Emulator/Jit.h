//===- Jit.h - Loads host objects into this process -------------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_LIB_EMULATOR_JIT_H
#define GANQ_LIB_EMULATOR_JIT_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ExecutionEngine/Orc/LLJIT.h"
#include "llvm/Support/Error.h"

namespace ganq {

/// A function that an object may call by name.
using HostSymbol = std::pair<llvm::StringRef, void *>;

/// An object in this process, linked against `symbols` and, after them, what
/// the process exports (libm).
class LoadedObject {
public:
  static llvm::Expected<std::unique_ptr<LoadedObject>>
  load(llvm::ArrayRef<char> object, llvm::ArrayRef<HostSymbol> symbols);

  llvm::Expected<void *> lookup(llvm::StringRef name);

private:
  std::unique_ptr<llvm::orc::LLJIT> jit;
};

/// The emulator's functions that compiled kernels call.
llvm::ArrayRef<HostSymbol> getEmulatorSymbols();

} // namespace ganq

#endif // GANQ_LIB_EMULATOR_JIT_H
