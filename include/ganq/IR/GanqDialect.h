//===- GanqDialect.h - The ganq dialect -------------------------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_IR_GANQDIALECT_H
#define GANQ_IR_GANQDIALECT_H

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"
#include <string>

namespace ganq {

/// One stored tensor of a quantized weight.
struct SchemeComponent {
  /// Appended to the weight's key with a dot: `codes`, `table`, ...
  std::string suffix;
  mlir::RankedTensorType type;
};

} // namespace ganq

#include "ganq/IR/GanqAttrInterfaces.h.inc"
#include "ganq/IR/GanqDialect.h.inc"
#include "ganq/IR/GanqEnums.h.inc"
#include "ganq/IR/GanqOpInterfaces.h.inc"

#define GET_ATTRDEF_CLASSES
#include "ganq/IR/GanqAttributes.h.inc"

#define GET_OP_CLASSES
#include "ganq/IR/GanqOps.h.inc"

namespace ganq {

/// Lets one-shot bufferization handle the ops of the dialect.
void registerBufferizableOpInterfaceExternalModels(
    mlir::DialectRegistry &registry);

} // namespace ganq

#endif // GANQ_IR_GANQDIALECT_H
