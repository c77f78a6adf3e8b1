//===- OrderConstants.cpp - A fixed order of constant buffers -------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/Codegen/Passes.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "llvm/ADT/MapVector.h"

using namespace mlir;

namespace ganq {
#define GEN_PASS_DEF_ORDERCONSTANTS
#include "ganq/Codegen/Passes.h.inc"
} // namespace ganq

namespace {

struct OrderConstantsPass : ganq::impl::OrderConstantsBase<OrderConstantsPass> {
  void runOnOperation() override {
    ModuleOp module = getOperation();
    SymbolTable symbols(module);
    llvm::MapVector<Operation *, SmallVector<memref::GetGlobalOp>> uses;
    module.walk([&](memref::GetGlobalOp use) {
      auto global = symbols.lookup<memref::GlobalOp>(use.getName());
      if (global && global.isPrivate() && global.getConstant())
        uses[global].push_back(use);
    });
    for (auto &[global, _] : uses) {
      symbols.remove(global);
      global->remove();
    }
    // The table gives each name that is taken a suffix of its own.
    Block::iterator place = module.getBody()->begin();
    for (auto &[op, users] : uses) {
      auto global = cast<memref::GlobalOp>(op);
      global.setSymName("__constant");
      StringAttr name = symbols.insert(global, place);
      place = std::next(op->getIterator());
      for (memref::GetGlobalOp use : users)
        use.setName(name);
    }
  }
};

} // namespace
