//===- GanqDialect.cpp - The ganq dialect ---------------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/IR/GanqDialect.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace ganq;

#include "ganq/IR/GanqDialect.cpp.inc"

#define GET_ATTRDEF_CLASSES
#include "ganq/IR/GanqAttributes.cpp.inc"

void GanqDialect::initialize() {
  addOperations<
#define GET_OP_LIST
#include "ganq/IR/GanqOps.cpp.inc"
      >();
  addAttributes<
#define GET_ATTRDEF_LIST
#include "ganq/IR/GanqAttributes.cpp.inc"
      >();
}
