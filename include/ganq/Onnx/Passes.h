//===- Passes.h - Passes on the onnx dialect --------------------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_ONNX_PASSES_H
#define GANQ_ONNX_PASSES_H

#include "ganq/Onnx/OnnxDialect.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/Pass/Pass.h"

namespace ganq {

#define GEN_PASS_DECL
#define GEN_PASS_REGISTRATION
#include "ganq/Onnx/Passes.h.inc"

} // namespace ganq

#endif // GANQ_ONNX_PASSES_H
