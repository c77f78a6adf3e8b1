//===- HostFunctions.h - What host programs call ----------------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_LIB_EMULATOR_HOSTFUNCTIONS_H
#define GANQ_LIB_EMULATOR_HOSTFUNCTIONS_H

#include "Jit.h"
#include "ganq/Emulator/Emulator.h"
#include "mlir/IR/Location.h"
#include <csetjmp>
#include <map>

namespace ganq {

/// A `gpu.launch_func` of the host program.
struct HostLaunch {
  std::string module, kernel;
  mlir::Location location;
};

/// A host program that runs: its modules, its memory, and the first error,
/// after which launches and prints do nothing.
struct HostProgram {
  std::map<std::string, std::unique_ptr<EmulatedModule>> modules;
  std::vector<HostLaunch> launches;
  std::string error;
  const HostLaunch *failed = nullptr;
  /// Why the host itself stopped: a failed assertion, or no memory.
  std::string stopped;

  void addBuffer(const void *data, int64_t bytes, llvm::StringRef name,
                 bool readOnly);

  /// Calls `entry` with the functions of `getHostSymbols` at its service, and
  /// returns when it does or stops.
  void run(void (*entry)());

private:
  friend struct HostFunctions;
  std::map<void *, void *> allocations; ///< By the address given out.
  std::string message;                  ///< What was put last.
  jmp_buf leave;
};

/// `malloc` and `free`, which keep account of buffers; `abort` and `puts`, to
/// which cf.assert becomes; the mgpu functions of
/// upstream's GPU runtime for memory; prints; and
///   ganq_emulator_launch(launch, sizes, sharedBytes, args, count)
/// where `sizes` are six i64 of grid and block and `launch` counts
/// HostProgram::launches.
llvm::ArrayRef<HostSymbol> getHostSymbols();

} // namespace ganq

#endif // GANQ_LIB_EMULATOR_HOSTFUNCTIONS_H
