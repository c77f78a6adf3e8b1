//===- SeparateTransposed.cpp - A key for each form of a weight -----------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/Transforms/Passes.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/StringSet.h"

using namespace mlir;
using namespace ganq;

namespace ganq {
#define GEN_PASS_DEF_SEPARATETRANSPOSED
#include "ganq/Transforms/Passes.h.inc"
} // namespace ganq

namespace {

struct SeparateTransposedPass
    : ganq::impl::SeparateTransposedBase<SeparateTransposedPass> {
  void runOnOperation() override {
    llvm::StringSet<> stored, taken;
    SmallVector<ParameterOp> transposed;
    getOperation().walk([&](ParameterOp parameter) {
      taken.insert(parameter.getKey());
      if (parameter.getTransposed())
        transposed.push_back(parameter);
      else
        stored.insert(parameter.getKey());
    });
    llvm::StringMap<std::string> names;
    for (ParameterOp parameter : transposed) {
      if (!stored.contains(parameter.getKey()))
        continue;
      std::string &name = names[parameter.getKey()];
      if (name.empty()) {
        // A model may have a weight of that name already.
        name = (parameter.getKey() + ".transposed").str();
        while (!taken.insert(name).second)
          name += "_";
      }
      parameter.setKey(name);
    }
  }
};

} // namespace
