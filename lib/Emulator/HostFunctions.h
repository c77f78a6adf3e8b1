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

  void addBuffer(const void *data, int64_t bytes, llvm::StringRef name,
                 bool readOnly);

  /// Calls `entry` with the functions of `getHostSymbols` at its service.
  void run(void (*entry)());

private:
  friend struct HostFunctions;
  std::map<void *, void *> allocations; ///< By the address given out.
};

/// `malloc` and `free`, which keep account of buffers; the mgpu functions of
/// upstream's GPU runtime for memory; prints; and
///   ganq_emulator_launch(launch, sizes, sharedBytes, args, count)
/// where `sizes` are six i64 of grid and block and `launch` counts
/// HostProgram::launches.
llvm::ArrayRef<HostSymbol> getHostSymbols();

} // namespace ganq

#endif // GANQ_LIB_EMULATOR_HOSTFUNCTIONS_H
