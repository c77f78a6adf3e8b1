//===- KernelTiles.cpp - The tiles that kernels of products have ----------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Limits are those of registers and of the first cache; which tile of these is
// the best is for the cost model to say.
//
//===----------------------------------------------------------------------===//

#include "ganq/Codegen/CostModel.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/FormatVariadic.h"

using namespace mlir;
using namespace ganq;
using Kind = KernelTile::Kind;

std::string KernelTile::str() const {
  static constexpr StringLiteral kNames[] = {"registers", "panels", "tiles",
                                             "planes"};
  std::string text =
      llvm::formatv("{0} rows={1}", kNames[static_cast<size_t>(kind)], rows);
  if (served)
    text += llvm::formatv(" served={0} columns={1}", served, columns).str();
  return text;
}

namespace {

class Lister {
public:
  Lister(int64_t m, const CpuTarget &target) : m(m), target(target) {}

  /// Products with plain weights, or weights that are decoded to floats.
  void listFloats(bool sumsFitOut) {
    // 4 x 4 sums, and the vectors of four tables and four weights, stay within
    // the 32 registers of AVX-512; 1 x 4 within the 16 shorter ones of AVX2.
    listRegisters(target.avx512 ? 4 : 1);
    if (!sumsFitOut)
      return;
    // Sums, beside a vector or two of weights and one of x.
    list(Kind::panels, 2, {target.avx512 ? 12 : 6}, {256}, {256});
    if (target.amxFloats && m >= 0)
      list(Kind::tiles, 2, {32}, {256}, {256, 512});
  }

  void listIntegers(SchemeAttrInterface scheme, int64_t columns) {
    int64_t group = scheme.getSumGroup();
    if (group >= columns)
      group = 0;
    listRegisters(!target.avx512 ? 1 : group ? 4 : 8);
    // Small groups would spend more on closing the sums of tile registers.
    constexpr int64_t kTiledColumns = 64;
    bool hasTiles = target.amx && (!group || group >= kTiledColumns);
    if (!hasTiles || m >= 0)
      // As many sums as registers hold beside weights and, without vpdpbusd,
      // products.
      list(Kind::panels, 2,
           {target.avx512 ? (target.vnni ? 16 : 8) : (target.vnni ? 6 : 2)},
           {64, 256}, {1024});
    if (hasTiles && m >= 0)
      list(Kind::tiles, 4, {32, 64}, {64, 256}, {1024});
    else if (hasTiles)
      list(Kind::tiles, 4, {group ? 64 : 32}, {group ? 64 : 256}, {1024});
  }

  void listPlanes(SchemeAttrInterface scheme) {
    int64_t sums = scheme.getCodeBits() + scheme.getActivationBits() - 1;
    tiles.push_back({Kind::planes,
                     target.avx512 ? std::clamp<int64_t>(12 / sums, 1, 4) : 1,
                     0, 0});
  }

  SmallVector<KernelTile> tiles;

private:
  void listRegisters(int64_t most) {
    // The number of rows is not known only where it may be large.
    if (m < 0 && !tiles.empty())
      return;
    if (m >= 0)
      most = std::min(most, m);
    tiles.push_back({Kind::registers, most, 0, 0});
  }

  /// All combinations for at least `least` rows; larger ones than x has once.
  void list(Kind kind, int64_t least, ArrayRef<int64_t> rows,
            ArrayRef<int64_t> served, ArrayRef<int64_t> columns) {
    if (m >= 0 && m < least)
      return;
    auto forSizes = [&](ArrayRef<int64_t> sizes,
                        function_ref<void(int64_t)> f) {
      for (auto [i, size] : llvm::enumerate(sizes))
        if (i == 0 || (m >= 0 && sizes[i - 1] < m))
          f(size);
    };
    if (m < 0)
      tiles.clear();
    forSizes(rows, [&](int64_t row) {
      forSizes(served, [&](int64_t serve) {
        for (int64_t column : columns)
          tiles.push_back({kind, row, serve, column});
      });
    });
  }

  int64_t m;
  const CpuTarget &target;
};

} // namespace

SmallVector<KernelTile> ganq::listTiles(Operation *product,
                                        const CpuTarget &target) {
  auto packed = dyn_cast<PackedMatmulOp>(product);
  auto out = cast<MemRefType>(product->getOperands().back().getType());
  int64_t m = 1;
  for (int64_t size : out.getShape().drop_back())
    m = ShapedType::isDynamic(size) || m < 0 ? -1 : m * size;
  Lister lister(m, target);
  if (!packed || !packed.getScheme().getActivationBits())
    lister.listFloats(out.getElementType().isF32());
  else if (packed.getStrategy() == Strategy::popcount)
    lister.listPlanes(packed.getScheme());
  else
    lister.listIntegers(packed.getScheme(), packed.getK());
  return lister.tiles;
}
