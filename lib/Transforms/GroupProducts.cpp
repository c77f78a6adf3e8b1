//===- GroupProducts.cpp - Products of one input side by side -------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/Transforms/Passes.h"
#include "mlir/IR/PatternMatch.h"
#include "mlir/Transforms/RegionUtils.h"
#include "llvm/ADT/MapVector.h"

using namespace mlir;
using namespace ganq;

namespace ganq {
#define GEN_PASS_DEF_GROUPPRODUCTS
#include "ganq/Transforms/Passes.h.inc"
} // namespace ganq

namespace {

struct GroupProductsPass : ganq::impl::GroupProductsBase<GroupProductsPass> {
  void runOnOperation() override {
    getOperation().walk([&](Block *block) { group(*block); });
  }

  void group(Block &block) {
    llvm::MapVector<Value, SmallVector<Operation *>> readers;
    for (Operation &op : block)
      if (isa<MatmulOp, PackedMatmulOp>(op))
        readers[op.getOperand(0)].push_back(&op);
    IRRewriter rewriter(&getContext());
    for (auto &[x, products] : readers) {
      Operation *last = products.front();
      for (Operation *product : llvm::drop_begin(products)) {
        // Behind the last one, with what it reads besides x before the first.
        if (failed(
                moveOperationDependencies(rewriter, product, products.front())))
          continue;
        if (last->getNextNode() != product)
          ++numMoved;
        rewriter.moveOpAfter(product, last);
        last = product;
      }
    }
  }
};

} // namespace
