//===- Passes.h - Passes that quantize weights ------------------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_SCHEMES_PASSES_H
#define GANQ_SCHEMES_PASSES_H

#include "ganq/IR/GanqDialect.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/Pass/Pass.h"

namespace ganq {

#define GEN_PASS_DECL
#include "ganq/Schemes/Passes.h.inc"

#define GEN_PASS_REGISTRATION
#include "ganq/Schemes/Passes.h.inc"

} // namespace ganq

#endif // GANQ_SCHEMES_PASSES_H
