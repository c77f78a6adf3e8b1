//===- NativeObject.h - LLVM dialect to a shared object ---------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_TARGET_NATIVEOBJECT_H
#define GANQ_TARGET_NATIVEOBJECT_H

#include "ganq/Target/CpuTarget.h"
#include "mlir/IR/BuiltinOps.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/Support/Error.h"
#include <string>
#include <vector>

namespace ganq {

struct TargetOptions {
  std::string cpu = "host"; ///< A name that `CpuTarget::get` knows.
  int optLevel = 3;         ///< 0 to 3, for LLVM's pipeline.
  /// When set, gets the assembly text of the object.
  std::string *assembly = nullptr;
};

/// Compiles a module in the LLVM dialect to an ELF shared object for x86-64 and
/// returns its bytes, which are the same for the same module and options.
/// Links with `ld.lld`; an error says where it was looked for.
llvm::Expected<std::vector<char>>
compileToSharedObject(mlir::ModuleOp module, const TargetOptions &options);

/// Links an x86-64 object to a shared one without needed libraries; what it
/// leaves undefined the loader finds.
llvm::Expected<std::vector<char>> linkSharedObject(llvm::ArrayRef<char> object);

} // namespace ganq

#endif // GANQ_TARGET_NATIVEOBJECT_H
