//===- KernelLibrary.cpp - Kernels of a module and their calls ------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "KernelBuilder.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"

using namespace mlir;
using namespace ganq;

/// Waking the threads costs a few microseconds: fewer innermost iterations are
/// no work for them.
static constexpr int64_t kMinWork = 16384;

KernelLibrary::KernelLibrary(ModuleOp module, const CpuTarget &target)
    : module(module), target(target), functions(module) {}

func::FuncOp KernelLibrary::create(StringRef name, TypeRange inputs,
                                   Emit emit) {
  OpBuilder builder(module.getContext());
  SmallVector<Type> types(2, builder.getIndexType());
  llvm::append_range(types, inputs);
  // Shared by many ops: no location of one of them.
  Location loc = NameLoc::get(builder.getStringAttr(name));
  auto kernel = func::FuncOp::create(loc, ("kernel_" + name).str(),
                                     builder.getFunctionType(types, {}));
  kernel.setPrivate();
  Block *entry = kernel.addEntryBlock();
  builder.setInsertionPointToStart(entry);
  emit(builder, entry);
  func::ReturnOp::create(builder, loc);
  return kernel;
}

func::FuncOp KernelLibrary::getKernel(StringRef name, const std::string &key,
                                      TypeRange inputs, Emit emit) {
  func::FuncOp &kernel = kernels[(name + "|" + key).str()];
  if (!kernel)
    kernel = functions.add(create(name, inputs, emit));
  return kernel;
}

void KernelLibrary::addCall(OpBuilder &builder, Location loc, Call call) {
  if (grouping)
    group.push_back(std::move(call));
  else
    emitCall(builder, loc, call);
}

void KernelLibrary::call(OpBuilder &builder, Location loc, StringRef name,
                         const std::string &key, Value count, ValueRange inputs,
                         int64_t work, Body body) {
  func::FuncOp kernel = getKernel(
      name, key, inputs.getTypes(), [&](OpBuilder &builder, Block *entry) {
        KernelBuilder k(builder, NameLoc::get(builder.getStringAttr(name)),
                        target.avx512, entry);
        body(k, entry->getArgument(0), entry->getArgument(1),
             entry->getArguments().drop_front(2));
      });
  addCall(builder, loc, {kernel, count, SmallVector<Value>(inputs), work});
}

void KernelLibrary::callProduct(
    OpBuilder &builder, Operation *product, StringRef name,
    const std::string &key, function_ref<int64_t(const KernelTile &)> itemsOf,
    ValueRange inputs, int64_t work, ProductBody body) {
  auto forced = product->getAttrOfType<StringAttr>(kTileAttrName);
  Product &best = products[(name + "|" + key + "|" +
                            (forced ? forced.getValue() : StringRef()))
                               .str()];
  auto emit = [&](const KernelTile &tile) {
    return create(
        name, inputs.getTypes(), [&](OpBuilder &builder, Block *entry) {
          KernelBuilder k(builder, NameLoc::get(builder.getStringAttr(name)),
                          target.avx512, entry);
          body(k, entry->getArgument(0), entry->getArgument(1),
               entry->getArguments().drop_front(2), tile);
        });
  };
  if (!best.kernel) {
    int64_t bytes = getWeightBytes(product);
    for (const KernelTile &tile : listTiles(product, target)) {
      if (forced && forced.getValue() != tile.str())
        continue;
      Product other{emit(tile), tile, {}, itemsOf(tile)};
      other.cost =
          countKernel(other.kernel, other.items, bytes, target, tile.kind);
      bool isBetter =
          !best.kernel || other.cost.getSeconds() < best.cost.getSeconds();
      if (isBetter)
        std::swap(best, other);
      if (other.kernel)
        other.kernel.erase();
    }
    best.kernel = functions.add(best.kernel);
  }
  lastProduct = &best;
  Value count =
      arith::ConstantIndexOp::create(builder, product->getLoc(), best.items);
  addCall(builder, product->getLoc(),
          {best.kernel, count, SmallVector<Value>(inputs), work});
}

void KernelLibrary::emitCall(OpBuilder &builder, Location loc, Call &call) {
  if (call.work >= 0 && call.work < kMinWork) {
    SmallVector<Value> args{arith::ConstantIndexOp::create(builder, loc, 0),
                            call.count};
    llvm::append_range(args, call.inputs);
    func::CallOp::create(builder, loc, call.kernel, args);
    return;
  }
  DispatchOp::create(builder, loc,
                     FlatSymbolRefAttr::get(call.kernel.getSymNameAttr()),
                     call.count, call.inputs);
}

void KernelLibrary::endGroup(OpBuilder &builder, Location loc) {
  SmallVector<Call> calls = std::move(group);
  group.clear();
  grouping = false;
  // Items of the call that has most of them are those of the whole; shares of
  // the others are in proportion, whatever an item of theirs costs.
  Call whole{{}, {}, {}, 0};
  SmallVector<int64_t> counts;
  int64_t items = 0;
  std::string key;
  for (Call &call : calls) {
    std::optional<int64_t> count = getConstantIntValue(call.count);
    counts.push_back(count.value_or(-1));
    if (counts.back() > items) {
      items = counts.back();
      whole.count = call.count;
    }
    bool unknown = call.work < 0 || whole.work < 0;
    whole.work = unknown ? -1 : whole.work + call.work;
    llvm::append_range(whole.inputs, call.inputs);
    key += call.kernel.getSymName().str() + "," +
           std::to_string(counts.back()) + ",";
  }
  if (calls.size() < 2 || llvm::is_contained(counts, -1) ||
      (whole.work >= 0 && whole.work < kMinWork)) {
    for (Call &call : calls)
      emitCall(builder, loc, call);
    return;
  }
  whole.kernel = getKernel(
      "group", key, ValueRange(whole.inputs).getTypes(),
      [&](OpBuilder &builder, Block *entry) {
        KernelBuilder k(builder, NameLoc::get(builder.getStringAttr("group")),
                        target.avx512, entry);
        ValueRange args = entry->getArguments().drop_front(2);
        for (auto [call, count] : llvm::zip_equal(calls, counts)) {
          auto share = [&, count = count](Value bound) {
            return count == items
                       ? bound
                       : k.div(k.mul(bound, k.index(count)), k.index(items));
          };
          SmallVector<Value> own{share(entry->getArgument(0)),
                                 share(entry->getArgument(1))};
          llvm::append_range(own, args.take_front(call.inputs.size()));
          args = args.drop_front(call.inputs.size());
          func::CallOp::create(builder, k.loc, call.kernel, own);
        }
      });
  emitCall(builder, loc, whole);
}
