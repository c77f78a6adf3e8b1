//===- Program.h - Models as launches for devices ---------------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// What becomes of a model's step functions where they run on a GPU or on its
// emulator: kernels, and for each function the list of launches that the
// manifest holds (docs/Format.md).
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_PIPELINES_PROGRAM_H
#define GANQ_PIPELINES_PROGRAM_H

#include "ganq/IR/GanqDialect.h"
#include "ganq/Target/GpuTarget.h"
#include "mlir/IR/BuiltinOps.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/Support/Error.h"
#include "llvm/Support/JSON.h"
#include <optional>
#include <string>
#include <vector>

namespace ganq {

/// A GPU, or its emulator on this machine's processor.
struct DeviceOptions {
  bool emulated = false;
  /// What code is generated for, and what kernels must be native on; for the
  /// emulator the latter only.
  std::vector<GpuTarget> chips = {};
  /// `auto`, `int8` or `btc` for products of integers.
  std::string strategy = "auto";
  /// The emulator's processor.
  std::string cpu = "host";

  std::optional<GpuStrategy> getStrategy() const {
    return parseGpuStrategy(strategy);
  }
};

/// Fails where an assembler that knows the chips is missing, which will be
/// needed in the end.
llvm::Error checkDevice(const DeviceOptions &device);

/// Fails with the weight's name where no kernel can multiply a product's
/// weight, in a module after the assign phase.
llvm::Error checkDeviceWeights(mlir::ModuleOp assigned,
                               const DeviceOptions &device);

/// Erases the function that is no step: it has no place on devices.
void eraseMain(mlir::ModuleOp module);

/// Takes step functions after the buffer phase to launches of kernels, with all
/// buffers in one arena and kernels at the NVVM level.
llvm::Error lowerToDevice(mlir::ModuleOp module, const DeviceOptions &device);

/// The step functions of a lowered module in the manifest's form.
struct DeviceProgram {
  llvm::json::Object entries;
  /// Names of stored tensors, by the numbers that launches use.
  std::vector<std::string> parameters;
  /// Those of them that are made of a weight's components.
  llvm::MapVector<llvm::StringRef, GpuPackedAttr> packed;
  /// Those that are constants of the program.
  llvm::MapVector<llvm::StringRef, mlir::ElementsAttr> constants;
};

/// Reads the launches off the step functions. A failure is an internal error
/// with the op's name.
llvm::Expected<DeviceProgram> exportProgram(mlir::ModuleOp module);

/// The bytes of a constant, an element each at least one.
llvm::Expected<std::vector<char>> getConstantBytes(mlir::ElementsAttr constant);

/// The module's kernels as the code of a model file, and the manifest's
/// "target".
struct DeviceCode {
  std::vector<char> bytes;
  llvm::json::Object target;
};
llvm::Expected<DeviceCode> compileKernels(mlir::ModuleOp module,
                                          const DeviceOptions &device);

} // namespace ganq

#endif // GANQ_PIPELINES_PROGRAM_H
