//===- CostModel.cpp - What kernels of products cost ----------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/Codegen/CostModel.h"
#include "ganq/Support/CodeLayout.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "llvm/ADT/StringSwitch.h"
#include "llvm/ADT/TypeSwitch.h"
#include "llvm/Support/MathExtras.h"
#include <cmath>
#include <utility>

using namespace mlir;
using namespace ganq;

// Measured on one core of a Xeon (Emerald Rapids), docs/Kernels.md: beside
// loads and stores, kernels of floats and integers retire 6 to 7 G instructions
// per second in two ports of 512 bits and 9 to 11 G in three of 256 bits; a
// tenth less where weights pass through the first cache on their way.
static constexpr double kWideInstructionsPerSecond = 6.5e9;
static constexpr double kInstructionsPerSecond = 10e9;
static constexpr double kDecodingFactor = 0.9;
// Rows of tile registers: a product takes 6 ns, which is 21 cycles, and loading
// 16 rows 3 ns from the first two caches if they lie next to each other, but 11
// if they lie apart.
static constexpr double kTileRowsMultipliedPerSecond = 2.7e9;
static constexpr double kTileRowsMovedPerSecond = 5.7e9;
static constexpr double kTileRowsGatheredPerSecond = 1.4e9;
// Of memory a core's share delivers 12 GB per second to a loop that computes,
// and 18 to one that does not.
static constexpr double kBytesPerSecond = 12e9;
static constexpr double kIdleBytesPerSecond = 18e9;

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

/// Instructions, and those of them that only read or write memory (`moves`) or
/// are of tile registers; the rows that these multiply, and that they read or
/// write next to each other and apart.
struct Count {
  double all = 0, moves = 0, tileProducts = 0, tileMoves = 0, tileGathers = 0;

  Count &operator+=(const Count &other) {
    all += other.all;
    moves += other.moves;
    tileProducts += other.tileProducts;
    tileMoves += other.tileMoves;
    tileGathers += other.tileGathers;
    return *this;
  }
  Count operator*(double times) const {
    return {times * all, times * moves, times * tileProducts, times * tileMoves,
            times * tileGathers};
  }
};

class Counter {
public:
  Counter(func::FuncOp kernel, int64_t items, const CpuTarget &target)
      : kernel(kernel), items(items), registerBits(target.avx512 ? 512 : 256) {}

  Count count(Region &region) {
    Count total;
    for (Block &block : region)
      for (Operation &op : block)
        total += count(op);
    return total;
  }

private:
  Count count(Operation &op) {
    if (auto loop = dyn_cast<scf::ForOp>(op)) {
      Count body = count(loop.getRegion());
      // The number and the jump.
      body.all += 2;
      return body * trips(loop);
    }
    if (auto branch = dyn_cast<scf::IfOp>(op)) {
      Count longer = count(branch.getThenRegion()),
            other = count(branch.getElseRegion());
      if (other.all > longer.all)
        std::swap(longer, other);
      longer.all += 1;
      return longer;
    }
    Count total;
    for (Region &region : op.getRegions())
      total += count(region);
    if (auto call = dyn_cast<LLVM::CallIntrinsicOp>(op))
      if (std::optional<Count> tiles = countTiles(call))
        return *tiles;
    double own = countOne(op);
    bool moves = isa<vector::LoadOp, vector::MaskedLoadOp, vector::StoreOp,
                     vector::MaskedStoreOp, vector::BroadcastOp, memref::LoadOp,
                     memref::StoreOp, memref::PrefetchOp>(op);
    total.all += own;
    total.moves += moves ? own : 0;
    return total;
  }

  double trips(scf::ForOp loop) {
    Block &entry = kernel.getBody().front();
    if (loop.getLowerBound() == entry.getArgument(0) &&
        loop.getUpperBound() == entry.getArgument(1))
      return static_cast<double>(items);
    auto lower = getConstantIntValue(loop.getLowerBound()),
         upper = getConstantIntValue(loop.getUpperBound()),
         step = getConstantIntValue(loop.getStep());
    // As many from some number on.
    auto sum = loop.getUpperBound().getDefiningOp<arith::AddIOp>();
    if (!lower && sum && sum.getLhs() == loop.getLowerBound()) {
      lower = 0;
      upper = getConstantIntValue(sum.getRhs());
    }
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

  /// Of an instruction on tile registers, which have 16 rows of 64 bytes: as
  /// many instructions as it takes cycles, at best.
  static std::optional<Count> countTiles(LLVM::CallIntrinsicOp call) {
    constexpr double kRows = 16;
    constexpr int64_t kRowBytes = 64;
    StringRef intrinsic = call.getIntrin();
    if (!intrinsic.consume_front("llvm.x86.t"))
      return std::nullopt;
    if (intrinsic.starts_with("dp"))
      return Count{kRows, kRows, kRows, 0, 0};
    if (intrinsic.starts_with("ilestore"))
      return Count{kRows, kRows, 0, kRows, 0};
    if (intrinsic.starts_with("ilezero"))
      return Count{1, 0, 0, 0, 0};
    if (!intrinsic.starts_with("ileload"))
      return std::nullopt;
    bool isDense = getConstantIntValue(call.getArgs().back()) == kRowBytes;
    return isDense ? Count{kRows / 2, kRows / 2, 0, kRows, 0}
                   : Count{kRows / 2, kRows / 2, 0, 0, kRows};
  }

  /// Whether a shuffle only takes vectors apart or together at the borders of
  /// registers.
  bool movesRegisters(vector::ShuffleOp shuffle) const {
    VectorType type = shuffle.getResultVectorType();
    int64_t lanes = static_cast<int64_t>(registerBits) /
                    static_cast<int64_t>(type.getElementTypeBitWidth());
    for (auto [i, from] : llvm::enumerate(shuffle.getMask())) {
      int64_t within = static_cast<int64_t>(i) % lanes;
      int64_t first = within ? shuffle.getMask()[i - within] : from;
      if (from != first + within || first % lanes)
        return false;
    }
    return true;
  }

  /// How often the registers of `value` are read, in whole vectors.
  double uses(Value value) const {
    double total = 0;
    for (OpOperand &use : value.getUses()) {
      Operation *user = use.getOwner();
      auto shuffle = dyn_cast<vector::ShuffleOp>(user);
      // A vector that is shuffled by itself is read once.
      if (shuffle && use.getOperandNumber() == 1 &&
          shuffle.getV1() == shuffle.getV2())
        continue;
      if (isa<vector::BitCastOp, vector::ShapeCastOp>(user) ||
          (shuffle && movesRegisters(shuffle) &&
           shuffle.getResultVectorType().getNumElements() <=
               shuffle.getV1VectorType().getNumElements())) {
        auto bits = [](Type type) {
          auto vector = cast<VectorType>(type);
          return static_cast<double>(vector.getNumElements() *
                                     vector.getElementTypeBitWidth());
        };
        Value part = user->getResult(0);
        total += uses(part) * bits(part.getType()) / bits(value.getType());
      } else {
        total += 1;
      }
    }
    return total;
  }

  /// Whether an operation's result is an operand of vpmaddubsw.
  static bool multipliesBytes(Operation &op) {
    return llvm::any_of(op.getUsers(), [](Operation *user) {
      auto call = dyn_cast<LLVM::CallIntrinsicOp>(user);
      return (call && call.getIntrin().contains("pmaddubs")) ||
             (isa<vector::BitCastOp>(user) && multipliesBytes(*user));
    });
  }

  double countOne(Operation &op) {
    if (op.hasTrait<OpTrait::ConstantLike>() ||
        op.hasTrait<OpTrait::IsTerminator>())
      return 0;
    return llvm::TypeSwitch<Operation *, double>(&op)
        .Case<vector::LoadOp, vector::MaskedLoadOp>([&](Operation *load) {
          return uses(load->getResult(0)) <= 1 ? 0 : registers(*load);
        })
        .Case<vector::BitCastOp, vector::ShapeCastOp, vector::ExtractOp,
              vector::CreateMaskOp>([](Operation *) { return 0; })
        .Case([&](vector::BroadcastOp) {
          // One register, all of which are the same; with AVX-512 an operand
          // of the only instruction that uses it, unless that is of bytes.
          return registerBits == 512 && uses(op.getResult(0)) <= 1 &&
                         !multipliesBytes(op)
                     ? 0
                     : 1;
        })
        .Case([&](vector::ShuffleOp shuffle) {
          return movesRegisters(shuffle) ? 0 : registers(op);
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
                             const CpuTarget &target, KernelTile::Kind kind) {
  KernelCost cost;
  Count count = Counter(kernel, items, target).count(kernel.getBody());
  cost.instructions = static_cast<int64_t>(count.all);
  cost.bytes = bytes;
  cost.overlaps =
      kind == KernelTile::Kind::registers || kind == KernelTile::Kind::planes;
  double speed =
      target.avx512 ? kWideInstructionsPerSecond : kInstructionsPerSecond;
  cost.computing = (count.all - count.moves) /
                       (cost.overlaps ? speed : kDecodingFactor * speed) +
                   count.tileProducts / kTileRowsMultipliedPerSecond +
                   count.tileMoves / kTileRowsMovedPerSecond +
                   count.tileGathers / kTileRowsGatheredPerSecond;
  cost.reading = static_cast<double>(bytes) /
                 (cost.overlaps ? kBytesPerSecond : kIdleBytesPerSecond);
  return cost;
}

int64_t ganq::getWeightBytes(Operation *product) {
  ValueRange weights = product->getOperands().slice(1, 1);
  if (auto packed = dyn_cast<PackedMatmulOp>(product))
    weights = packed.getComponents();
  int64_t bytes = 0;
  for (Value weight : weights)
    if (auto type = cast<MemRefType>(weight.getType()); type.hasStaticShape())
      bytes += type.getNumElements() *
               llvm::divideCeil(type.getElementTypeBitWidth(), 8);
  return bytes;
}

DictionaryAttr ganq::describeProduct(Operation *product, StringRef kernel,
                                     const KernelTile &tile,
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
       text("kernel", kernel), text("tile", tile.str()), number("rows", rows),
       number("instructions", cost.instructions), number("bytes", cost.bytes),
       number("nanoseconds", static_cast<int64_t>(cost.getSeconds() * 1e9))});
}
