//===- Passes.h - Passes of the emulator ------------------------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_EMULATOR_PASSES_H
#define GANQ_EMULATOR_PASSES_H

#include "mlir/IR/BuiltinOps.h"
#include "mlir/Pass/Pass.h"

namespace ganq {

#define GEN_PASS_DECL
#include "ganq/Emulator/Passes.h.inc"

#define GEN_PASS_REGISTRATION
#include "ganq/Emulator/Passes.h.inc"

} // namespace ganq

#endif // GANQ_EMULATOR_PASSES_H
