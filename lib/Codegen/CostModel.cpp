//===- CostModel.cpp - What kernels of products cost ----------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/Codegen/CostModel.h"
#include "ganq/Support/CodeLayout.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "llvm/ADT/TypeSwitch.h"
#include "llvm/Support/MathExtras.h"
#include <cmath>

using namespace mlir;
using namespace ganq;

// Measured on one core of a Xeon (Emerald Rapids): 4-bit kernels on weights in
// the cache retire 24 vector instructions for 128 weights at 28 G weights/s,
// and a core's share of memory delivers 12 GB/s.
static constexpr double kInstructionsPerSecond = 5e9;
static constexpr double kBytesPerSecond = 12e9;

bool ganq::decodesFirst(int64_t rows, bool avx512) {
  // Decoding to the cache transposes, which takes longer than decoding anew for
  // every four rows (one with AVX2) of so few; measured.
  return rows < 0 || rows >= (avx512 ? 24 : 4);
}

bool ganq::decodesIntegersFirst(int64_t rows, bool avx512) {
  return rows < 0 || rows >= (avx512 ? 16 : 2);
}

int64_t ganq::getCountedColumns(SchemeAttrInterface scheme) {
  return CodeLayout(scheme.getCodeBits(), 1, 1).getGroupGranularity();
}

Strategy ganq::chooseStrategy(SchemeAttrInterface scheme) {
  // Measured: counting ones beats widening codes only here.
  bool counts = !isa<LutAttr>(scheme) && scheme.getCodeBits() == 1 &&
                scheme.getGroupSize() % getCountedColumns(scheme) == 0 &&
                scheme.getActivationBits() <= 2;
  return counts ? Strategy::popcount : Strategy::int8;
}

namespace {

class Counter {
public:
  Counter(func::FuncOp kernel, int64_t items, const CpuTarget &target)
      : kernel(kernel), items(items), registerBits(target.avx512 ? 512 : 256) {}

  double count(Region &region) {
    double total = 0;
    for (Block &block : region)
      for (Operation &op : block)
        total += count(op);
    return total;
  }

private:
  double count(Operation &op) {
    if (auto loop = dyn_cast<scf::ForOp>(op))
      // The number and the jump.
      return trips(loop) * (count(loop.getRegion()) + 2);
    if (auto branch = dyn_cast<scf::IfOp>(op))
      return std::max(count(branch.getThenRegion()),
                      count(branch.getElseRegion())) +
             1;
    double total = 0;
    for (Region &region : op.getRegions())
      total += count(region);
    return total + countOne(op);
  }

  double trips(scf::ForOp loop) {
    Block &entry = kernel.getBody().front();
    if (loop.getLowerBound() == entry.getArgument(0) &&
        loop.getUpperBound() == entry.getArgument(1))
      return static_cast<double>(items);
    auto lower = getConstantIntValue(loop.getLowerBound()),
         upper = getConstantIntValue(loop.getUpperBound()),
         step = getConstantIntValue(loop.getStep());
    if (!lower || !upper || !step || *step <= 0)
      return 1;
    return std::max(0.0, std::ceil(static_cast<double>(*upper - *lower) /
                                   static_cast<double>(*step)));
  }

  /// Registers of the widest vector that an operation reads or writes.
  double registers(Operation &op) {
    int64_t most = 0;
    auto visit = [&](Type type) {
      auto vector = dyn_cast<VectorType>(type);
      if (vector && !vector.getElementType().isInteger(1) &&
          !vector.getElementType().isIndex())
        most = std::max(most, vector.getNumElements() *
                                  vector.getElementTypeBitWidth());
    };
    llvm::for_each(op.getResultTypes(), visit);
    llvm::for_each(op.getOperandTypes(), visit);
    return static_cast<double>(llvm::divideCeil(most, registerBits));
  }

  double countOne(Operation &op) {
    StringRef name = op.getName().getStringRef();
    if (op.hasTrait<OpTrait::ConstantLike>() ||
        op.hasTrait<OpTrait::IsTerminator>())
      return 0;
    // A product of tiles occupies its unit for 16 cycles.
    if (name.contains("tile_mul"))
      return 16;
    return llvm::TypeSwitch<Operation *, double>(&op)
        .Case<vector::LoadOp, vector::MaskedLoadOp>([&](Operation *load) {
          return load->hasOneUse() ? 0 : registers(*load);
        })
        .Case<vector::BitCastOp, vector::ShapeCastOp, vector::ExtractOp,
              vector::CreateMaskOp>([](Operation *) { return 0; })
        .Case([&](vector::BroadcastOp) {
          // An operand of the instruction that uses it.
          return op.hasOneUse() ? 0 : registers(op);
        })
        .Case([&](vector::ReductionOp) {
          // Halves are added until one lane is left.
          auto type = cast<VectorType>(op.getOperand(0).getType());
          return 2.0 * llvm::Log2_64_Ceil(type.getNumElements());
        })
        .Case([&](TableLookupOp lookup) {
          auto table = cast<VectorType>(lookup.getTable().getType());
          double parts =
              llvm::divideCeil(table.getNumElements() * 32, 2 * registerBits);
          // Every pair of registers takes a permute, and a blend beyond one.
          return registers(op) == 0 ? 0
                                    : static_cast<double>(llvm::divideCeil(
                                          16 * 32, registerBits)) *
                                          (2 * parts - 1);
        })
        .Case<memref::LoadOp, memref::StoreOp, memref::PrefetchOp>(
            [](Operation *) { return 1; })
        .Default([&](Operation *other) { return registers(*other); });
  }

  func::FuncOp kernel;
  int64_t items;
  uint64_t registerBits;
};

} // namespace

KernelCost ganq::countKernel(func::FuncOp kernel, int64_t items, int64_t bytes,
                             const CpuTarget &target) {
  KernelCost cost;
  cost.instructions = static_cast<int64_t>(
      Counter(kernel, items, target).count(kernel.getBody()));
  cost.bytes = bytes;
  return cost;
}

double KernelCost::getSeconds() const {
  return std::max(static_cast<double>(instructions) / kInstructionsPerSecond,
                  static_cast<double>(bytes) / kBytesPerSecond);
}

bool KernelCost::isBoundByMemory() const {
  return static_cast<double>(bytes) / kBytesPerSecond >=
         static_cast<double>(instructions) / kInstructionsPerSecond;
}

DictionaryAttr ganq::describeProduct(Operation *product, StringRef kernel,
                                     const KernelCost &cost) {
  Builder builder(product->getContext());
  std::string key;
  int64_t rows = 1;
  if (auto matmul = dyn_cast<MatmulOp>(product)) {
    if (auto weight = matmul.getWeight().getDefiningOp<ParameterOp>())
      key = weight.getKey();
  } else {
    auto packed = cast<PackedMatmulOp>(product);
    for (Value component : packed.getComponents())
      if (auto weight = component.getDefiningOp<ParameterOp>())
        key = weight.getKey().rsplit('.').first;
  }
  auto x = cast<ShapedType>(product->getOperand(0).getType());
  for (int64_t size : x.getShape().drop_back())
    rows = ShapedType::isDynamic(size) || rows < 0 ? -1 : rows * size;
  auto number = [&](StringRef name, int64_t value) {
    return builder.getNamedAttr(name, builder.getI64IntegerAttr(value));
  };
  auto text = [&](StringRef name, StringRef value) {
    return builder.getNamedAttr(name, builder.getStringAttr(value));
  };
  auto function = product->getParentOfType<func::FuncOp>();
  return builder.getDictionaryAttr(
      {text("weight", key), text("entry", function.getSymName()),
       text("kernel", kernel), number("rows", rows),
       number("instructions", cost.instructions), number("bytes", cost.bytes),
       number("nanoseconds", static_cast<int64_t>(cost.getSeconds() * 1e9))});
}
