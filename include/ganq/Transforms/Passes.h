//===- Passes.h - Passes on the ganq dialect --------------------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// From an onnx graph to quantized language models on tensors.
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_TRANSFORMS_PASSES_H
#define GANQ_TRANSFORMS_PASSES_H

#include "ganq/IR/GanqDialect.h"
#include "ganq/Onnx/OnnxDialect.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/Pass/Pass.h"

namespace ganq {

#define GEN_PASS_DECL
#define GEN_PASS_REGISTRATION
#include "ganq/Transforms/Passes.h.inc"

} // namespace ganq

#endif // GANQ_TRANSFORMS_PASSES_H
