//===- IntegerKernel.h - The kernel of a product of integers ----*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_LIB_CODEGEN_INTEGERKERNEL_H
#define GANQ_LIB_CODEGEN_INTEGERKERNEL_H

#include "IntegerBuilder.h"
#include "ganq/Support/ActivationLayout.h"
#include "ganq/Support/CodeLayout.h"
#include <map>

namespace ganq {

/// What the kernel is made for.
struct IntegerProblem {
  int64_t m; ///< Rows of x, or -1.
  int64_t n, columns;
  int64_t group; ///< Columns that share a scale, 0 for whole rows.
  unsigned bits, activation;
  bool planes;
  int64_t tableRows = 0; ///< Rows that share a table; 0 where codes are levels.
  int64_t tableGroup = 0; ///< Columns that do, 0 for whole rows.
};

/// Without tables `table` is null, with them `zero` is.
struct IntegerOperands {
  mlir::Value x, out, codes, scale, zero, sum, table, bias;
};

/// Emits the body of the kernel that IntegerMatmul.cpp describes.
class IntegerMatmul {
  using Value = mlir::Value;
  using Values = KernelBuilder::Values;

public:
  IntegerMatmul(KernelBuilder &k, const CpuTarget &target,
                const IntegerProblem &problem, const IntegerOperands &operands,
                const KernelTile &chosen)
      : k(k),
        b(k, target, problem.tableRows ? 8 : problem.bits, problem.activation),
        p(problem), in(operands), chosen(chosen),
        layout(p.bits, p.n, p.columns),
        record(p.activation, p.columns, p.group, p.planes ? p.bits : 0) {
    decodes = chosen.kind == KernelTile::Kind::panels || hasTiles();
    step = layout.getGroupGranularity();
    // Long steps have the additions of more chains in flight.
    while (!p.planes && step < kLeastStep &&
           (p.group == 0 || p.group % (2 * step) == 0) &&
           (p.tableGroup == 0 || p.tableGroup % (2 * step) == 0 ||
            2 * step % p.tableGroup == 0))
      step *= 2;
  }

  void emit(Value lo, Value hi);

private:
  // Blocks of 16 rows of W.

  mlir::Type getSumType() const {
    return p.group ? mlir::Type(k.f32) : mlir::Type(k.builder.getI32Type());
  }
  Value zeroSum() { return p.group ? k.splat(0.0f) : k.splatInt(0); }

  void beginBlock(Value index);

  /// Four rows of W.
  struct Tile {
    Value number, base; ///< Its number and the first byte of its codes.
    mlir::SmallVector<Value> table; ///< Where it is the same for all columns.
  };
  /// A tile of the block; behind the last one that one, which is not stored.
  Value tileAt(Value number);
  Tile beginTile(Value number);

  /// Stores 16 results from the sums of a row of x.
  void finish(Value row, Value total);

  Value loadScratch(Value memref, mlir::ValueRange at);
  void storeScratch(Value value, Value memref, mlir::ValueRange at);

  /// [0, rows) in blocks of `size`, or `known` of them; the rest of a number
  /// that is not known one by one.
  void forRowBlocks(Value rows, int64_t known, int64_t size,
                    llvm::function_ref<void(Value, int64_t)> body);

  // Groups.

  /// Whether a term of a partial sum may exceed the whole numbers of f32.
  bool hasLargeSums() const;

  /// Scale, zero point and the sum of codes less zero points of a group, for
  /// each of 16 sums.
  struct Group {
    Value scale, zero, sum;
  };
  /// Those of all groups of the block, in the order of its sums.
  void loadGroups();
  Group groupAt(Value index);

  /// Adds the products of a group to the sums of a row.
  Value closeGroup(const Group &group, Value index, Value row, Value inputZero,
                   Value products, Value total);

  Value loadInputZero(Value row) {
    return k.splat(b.loadHeader(in.x, row, ActivationLayout::kZero));
  }

  // Few rows of x, and planes.

  int64_t getPlaneSums() const { return p.bits + p.activation - 1; }

  void emitRows(Value row, int64_t count);

  /// Chooses the sums that a row of x has.
  ///
  /// With vpdpbusd a single row leaves fields of codes where they are in their
  /// bytes, sums up each place by itself, and shifts the sums.
  void prepareSums();

  int64_t getSumCount() const {
    return static_cast<int64_t>(places.size()) * copies;
  }
  Values zeroSums() { return Values(rowCount * getSumCount(), k.splatInt(0)); }

  /// The products of row `i` from all of its sums.
  Value combine(mlir::ValueRange products, int64_t i);

  /// The sums of the block, one vector for each row of x.
  Values emitGroups();

  /// All columns in parts of `size`, the last of which may be smaller.
  Values
  inParts(int64_t size, Values values,
          llvm::function_ref<Values(Value, int64_t, mlir::ValueRange)> body);

  /// Adds the products of `size` columns from the start of step `first` on.
  Values overColumns(Value first, int64_t size, Values values);

  /// Four rows of a unit of a plane, which are read from `chunk` on.
  Value loadUnit(const CodeLayout::Plane &plane, Value index, int64_t unit,
                 int64_t chunk);

  Values dotStep(Value index, int64_t begin, int64_t end,
                 mlir::ValueRange carried);

  Value inputsAt(Value row, Value index, int64_t chunk);

  void dotInPlace(Value index, int64_t begin, int64_t end, Values &products);

  /// What was loaded for a step of a tile: units of planes and tables.
  struct StepCache {
    std::map<std::pair<unsigned, int64_t>, Value> units;
    std::map<int64_t, Values> tables;
  };
  /// A chunk of a step of the tile as bytes.
  Value decodeChunk(StepCache &cache, Value index, int64_t chunk);
  Values loadTable(Value number, Value group);

  void dotDecoded(Value index, int64_t begin, int64_t end, Values &products);

  /// Counts the ones of all pairs of planes; pairs of one weight share a sum.
  void countStep(Value index, int64_t end, Values &products);

  // Many rows of x.

  /// Columns that are decoded at a time: whole groups and steps.
  int64_t getDecodedColumns() const;
  bool hasTiles() const { return chosen.kind == KernelTile::Kind::tiles; }
  /// Rows of x that are multiplied at a time.
  int64_t getDecodedRows() const;

  void makeScratch();

  void emitDecoded();

  /// Bytes, and the values of groups, of `size` columns of all tiles.
  void decodeBlock(Value index, int64_t size);

  /// Adds the products of `count` rows with `size` columns of the decoded block
  /// to their sums: all columns, or those of group `part`. Row `place` of the
  /// sums is row `first` + `place` of x.
  void multiply(Value first, Value place, int64_t count, Value index,
                Value part, int64_t size);

  /// The same for up to chosen.rows rows in tile registers.
  void multiplyTiles(Value first, Value place, int64_t count, Value index,
                     Value part, int64_t size);

  /// Adds the products of rows of x, whose codes start at byte `at`, with
  /// `count` chunks of the decoded block from number `first` on.
  Values dotDecodedChunks(llvm::ArrayRef<Value> rows, Value at, Value first,
                          int64_t count, Values totals);

  static constexpr int64_t kLanes = KernelBuilder::kLanes;
  static constexpr int64_t kRowTile = CodeLayout::kRowTile;
  /// Tiles of a work item.
  static constexpr int64_t kTiles = kLanes / kRowTile;
  /// Columns of a step, at least, where groups allow.
  static constexpr int64_t kLeastStep = 128;
  /// Bytes between what is read and what is prefetched, as for other products.
  static constexpr int64_t kAhead = 6144;
  /// Columns that one product of tile registers takes.
  static constexpr int64_t kTiledColumns = 64;
  /// Rows of x that tile registers are used for.
  static constexpr int64_t kLeastTiledRows = 4;
  /// Columns of a vector of the decoded block, and vectors of a chunk.
  static constexpr int64_t kQuarter = 4;
  /// Vectors of a decoded block that are multiplied at once.
  static constexpr int64_t kDecodedRun = 8;

  KernelBuilder &k;
  IntegerBuilder b;
  const IntegerProblem &p;
  const IntegerOperands &in;
  const KernelTile chosen;
  CodeLayout layout;
  ActivationLayout record;
  int64_t step;   ///< Columns that are emitted at once.
  Value sums;     ///< [rows, tiles or 1, 16]
  Value decoded;  ///< [columns / 4, 16]
  Value tileSums; ///< [chosen.rows, 16]: those of a group.
  Value groups;   ///< [groups, scale zero sum, 16]
  Value block, column, storeMask, padMask;
  Value bias, scale, zero, sum; ///< For 16 rows of W.
  Value firstRow;
  Tile tile;
  int64_t rowCount = 0, copies = 1;
  bool inPlace = false;
  bool decodes; ///< To memory, for many rows of x.
  /// Number of the sum whose value is to be shifted left by the key.
  std::map<int64_t, int64_t> places;
};

} // namespace ganq

#endif // GANQ_LIB_CODEGEN_INTEGERKERNEL_H
