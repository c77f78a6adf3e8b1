//===- SharedFunctions.cpp - Functions of a module, each once -------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "SharedFunctions.h"
#include "mlir/IR/OperationSupport.h"

using namespace mlir;
using namespace ganq;

func::FuncOp SharedFunctions::add(func::FuncOp function) {
  llvm::hash_code hash = mlir::hash_value(function.getFunctionType());
  function.walk([&](Operation *op) {
    if (op != function.getOperation())
      hash = llvm::hash_combine(hash,
                                OperationEquivalence::computeHash(
                                    op, OperationEquivalence::ignoreHashValue,
                                    OperationEquivalence::ignoreHashValue,
                                    OperationEquivalence::IgnoreLocations));
  });
  SmallVector<func::FuncOp> &candidates = byHash[hash];
  for (func::FuncOp other : candidates)
    if (other.getFunctionType() == function.getFunctionType() &&
        OperationEquivalence::isRegionEquivalentTo(
            &other.getBody(), &function.getBody(),
            OperationEquivalence::IgnoreLocations)) {
      function.erase();
      ++numShared;
      return other;
    }
  symbols.insert(function);
  candidates.push_back(function);
  return function;
}
