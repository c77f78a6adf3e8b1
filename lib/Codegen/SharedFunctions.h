//===- SharedFunctions.h - Functions of a module, each once -----*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_LIB_CODEGEN_SHAREDFUNCTIONS_H
#define GANQ_LIB_CODEGEN_SHAREDFUNCTIONS_H

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/SymbolTable.h"
#include <map>

namespace ganq {

/// Adds functions to a module unless it has, from here, one that does the same.
class SharedFunctions {
public:
  explicit SharedFunctions(mlir::ModuleOp module) : symbols(module) {}

  /// A function of the module with the type and the body of `function`, which
  /// is outside of it: `function` itself, or an earlier one, such as that of
  /// another layer, in whose favour `function` is erased.
  mlir::func::FuncOp add(mlir::func::FuncOp function);

  /// Functions that were erased.
  unsigned getNumShared() const { return numShared; }

private:
  mlir::SymbolTable symbols;
  std::map<size_t, llvm::SmallVector<mlir::func::FuncOp>> byHash;
  unsigned numShared = 0;
};

} // namespace ganq

#endif // GANQ_LIB_CODEGEN_SHAREDFUNCTIONS_H
