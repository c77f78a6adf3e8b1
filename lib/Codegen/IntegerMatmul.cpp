//===- IntegerMatmul.cpp - Products of integers ---------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// With codes q, zero points z and scales s of a row of x and a row w of W,
//
//   y = s_x * sum over groups g of s_w[g] (sum of q_x q_w
//         - z_w[g] sum of q_x - z_x (sum of q_w - |g| z_w[g])) + bias
//
// (ABQ-LLM, AAAI 2025). The quantizer of x and the packer of W give the sums of
// codes. A work item is a block of 16 rows of W, four tiles as they lie in
// memory. Products are added up in vectors that hold four partial sums for each
// row of a tile; those of four tiles are added up to 16 results, at the end of
// each group where there are any.
//
// There are three ways to the sums. Few rows of x: codes are decoded in
// registers, and up to eight rows of x share them. Many rows: blocks of W are
// decoded to bytes in the first cache (IntegerDecoded.cpp). Planes of bits:
// `and` and counted ones, for any number of rows.
//
//===----------------------------------------------------------------------===//

#include "IntegerMatmul.h"
#include "IntegerKernel.h"
#include "ganq/Codegen/CostModel.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace ganq;
using Values = KernelBuilder::Values;

void IntegerMatmul::emit(Value lo, Value hi) {
  makeScratch();
  k.loop(lo, hi, 1, [&](Value index) {
    beginBlock(index);
    if (decodes)
      emitDecoded();
    else
      forRowBlocks(k.dim(in.out, 0), p.m, chosen.rows,
                   [&](Value row, int64_t count) { emitRows(row, count); });
  });
}

//===----------------------------------------------------------------------===//
// Blocks of 16 rows of W
//===----------------------------------------------------------------------===//

void IntegerMatmul::beginBlock(Value index) {
  block = index;
  column = k.mul(block, kLanes);
  int64_t padded = llvm::alignTo(p.n, kRowTile);
  storeMask = padMask = {};
  if (p.n % kLanes)
    storeMask = vector::CreateMaskOp::create(k.builder, k.loc, k.vecI1,
                                             k.sub(k.index(p.n), column));
  if (padded % kLanes)
    padMask = vector::CreateMaskOp::create(k.builder, k.loc, k.vecI1,
                                           k.sub(k.index(padded), column));
  bias = in.bias ? k.loadVector(in.bias, column, storeMask) : Value();
  if (p.group)
    return loadGroups();
  scale = k.loadVector(k.flatten(in.scale), column, padMask);
  Value codes = b.loadIntegers(k.flatten(in.sum), column, padMask);
  if (p.tableRows) {
    // Bytes are entries plus 128; the sum is that of entries.
    zero = k.splatInt(128);
    sum = codes;
    return;
  }
  zero = b.loadIntegers(k.flatten(in.zero), column, padMask);
  sum =
      b.subi(codes, b.muli(zero, k.splatInt(static_cast<int32_t>(p.columns))));
}

Value IntegerMatmul::tileAt(Value number) {
  Value tile = k.add(k.mul(block, kTiles), number);
  int64_t tiles = layout.getRowTiles();
  return tiles % kTiles ? k.min(tile, k.index(tiles - 1)) : tile;
}

IntegerMatmul::Tile IntegerMatmul::beginTile(Value number) {
  Tile result{number, k.mul(number, layout.getTileBytes()), {}};
  if (p.tableRows && !p.tableGroup)
    result.table = loadTable(number, k.index(0));
  return result;
}

Values IntegerMatmul::loadTable(Value number, Value group) {
  Values places;
  if (p.tableRows > 1)
    places.push_back(k.div(number, p.tableRows / kRowTile));
  else
    for (int64_t r = 0; r < kRowTile; ++r)
      places.push_back(k.add(k.mul(number, kRowTile), r));
  return b.loadTable(in.table, places, group, p.bits);
}

void IntegerMatmul::finish(Value row, Value total) {
  Value factor = k.splat(b.loadHeader(in.x, row, ActivationLayout::kScale));
  if (!p.group) {
    Value inputZero =
        b.toInteger(k.splat(b.loadHeader(in.x, row, ActivationLayout::kZero)));
    Value inputSum =
        b.toInteger(k.splat(b.loadHeader(in.x, row, ActivationLayout::kSums)));
    total = b.subi(total, b.muli(zero, inputSum));
    total = b.subi(total, b.muli(sum, inputZero));
    total = k.mulf(b.toFloat(total), scale);
  }
  Value result = k.mulf(total, factor);
  if (bias)
    result = k.addf(result, bias);
  k.storeVector(result, in.out, {row, column}, storeMask);
}

Value IntegerMatmul::loadScratch(Value memref, ValueRange at) {
  auto type = cast<MemRefType>(memref.getType());
  Values indices(at);
  indices.push_back(k.index(0));
  return vector::LoadOp::create(
      k.builder, k.loc, VectorType::get({kLanes}, type.getElementType()),
      memref, indices);
}

void IntegerMatmul::storeScratch(Value value, Value memref, ValueRange at) {
  Values indices(at);
  indices.push_back(k.index(0));
  vector::StoreOp::create(k.builder, k.loc, value, memref, indices);
}

void IntegerMatmul::forRowBlocks(Value rows, int64_t known, int64_t size,
                                 function_ref<void(Value, int64_t)> body) {
  if (known >= 0)
    size = std::min(size, known);
  Value full =
      known < 0 ? k.mul(k.div(rows, size), size) : k.index(known / size * size);
  k.loop(k.index(0), full, size, [&](Value row) { body(row, size); });
  if (known < 0)
    k.loop(full, rows, 1, [&](Value row) { body(row, 1); });
  else if (known % size)
    body(full, known % size);
}

//===----------------------------------------------------------------------===//
// Groups
//===----------------------------------------------------------------------===//

bool IntegerMatmul::hasLargeSums() const {
  int64_t weight = (int64_t(1) << p.bits) - 1;
  int64_t input = (int64_t(1) << p.activation) - 1 - record.getCenter();
  input = std::max<int64_t>(input, record.getCenter());
  return 2 * p.group * weight * input > int64_t(1) << 24;
}

void IntegerMatmul::loadGroups() {
  Value rows[kLanes];
  for (int64_t i = 0; i < kLanes; ++i) {
    int64_t row = decodes ? b.getTransposedRow(i) : i;
    rows[i] =
        k.add(k.mul(tileAt(k.index(row / kRowTile)), kRowTile), row % kRowTile);
  }
  // 16 groups of each row become 16 rows of each group. Zero points and narrow
  // sums share a word on the way.
  bool isNarrow =
      cast<MemRefType>(in.sum.getType()).getElementTypeBitWidth() == 16;
  auto loadPart = [&](Value first, int64_t count, int64_t last) {
    Value mask = k.laneMask(count);
    Values scales, zeros, codes;
    for (Value row : rows) {
      Values at{row, first}, next{k.add(row, kLanes), first};
      scales.push_back(k.loadVector(in.scale, at, mask));
      zeros.push_back(b.loadIntegers(in.zero, at, mask));
      codes.push_back(b.loadIntegers(in.sum, at, mask));
      for (Value memref : {in.scale, in.zero, in.sum})
        k.prefetch(memref, next);
      if (isNarrow)
        codes.back() =
            b.ori(codes.back(), b.shift(zeros.back(), 16, /*isSigned=*/false));
    }
    scales = k.transpose(scales);
    codes = k.transpose(codes);
    if (!isNarrow)
      zeros = k.transpose(zeros);
    for (int64_t i = 0; i < count; ++i) {
      Value zeroPoint =
          isNarrow ? b.shift(codes[i], -16, /*isSigned=*/false) : zeros[i];
      Value code = isNarrow ? b.andi(codes[i], k.splatInt(0xffff)) : codes[i];
      int64_t size = i == count - 1 ? last : p.group;
      code = b.subi(code,
                    b.muli(zeroPoint, k.splatInt(static_cast<int32_t>(size))));
      Value parts[] = {scales[i], b.toFloat(zeroPoint), b.toFloat(code)};
      for (int64_t part = 0; part < 3; ++part)
        storeScratch(parts[part], groups, {k.add(first, i), k.index(part)});
    }
  };
  int64_t full = p.columns / p.group / kLanes;
  k.loop(k.index(0), k.index(full), 1, [&](Value number) {
    loadPart(k.mul(number, kLanes), kLanes, p.group);
  });
  int64_t rest = record.getGroups() - full * kLanes;
  if (rest)
    loadPart(k.index(full * kLanes), rest,
             p.columns % p.group ? p.columns % p.group : p.group);
}

IntegerMatmul::Group IntegerMatmul::groupAt(Value index) {
  auto load = [&](int64_t part) {
    return loadScratch(groups, {index, k.index(part)});
  };
  return {load(0), load(1), load(2)};
}

Value IntegerMatmul::closeGroup(const Group &group, Value index, Value row,
                                Value inputZero, Value products, Value total) {
  Value inputSum =
      k.splat(b.loadHeader(in.x, row, k.add(index, ActivationLayout::kSums)));
  Value exact;
  if (hasLargeSums()) {
    // The terms cancel each other in integers before one rounding.
    exact = b.subi(products,
                   b.muli(b.toInteger(group.zero), b.toInteger(inputSum)));
    exact =
        b.subi(exact, b.muli(b.toInteger(group.sum), b.toInteger(inputZero)));
    exact = b.toFloat(exact);
  } else {
    exact = b.toFloat(products);
    exact = k.fma(k.negf(group.zero), inputSum, exact);
    exact = k.fma(k.negf(group.sum), inputZero, exact);
  }
  return k.fma(exact, group.scale, total);
}

//===----------------------------------------------------------------------===//
// Few rows of x, and planes
//===----------------------------------------------------------------------===//

void IntegerMatmul::emitRows(Value row, int64_t count) {
  firstRow = row;
  rowCount = count;
  prepareSums();
  if (p.group) {
    for (auto [i, total] : llvm::enumerate(emitGroups()))
      finish(k.add(row, static_cast<int64_t>(i)), total);
    return;
  }
  k.loop(k.index(0), k.index(kTiles), 1, [&](Value number) {
    tile = beginTile(tileAt(number));
    Values products = overColumns(k.index(0), p.columns, zeroSums());
    for (int64_t i = 0; i < count; ++i)
      storeScratch(combine(products, i), sums, {k.index(i), number});
  });
  for (int64_t i = 0; i < count; ++i) {
    Values tiles;
    for (int64_t t = 0; t < kTiles; ++t)
      tiles.push_back(loadScratch(sums, {k.index(i), k.index(t)}));
    finish(k.add(row, i), b.addPartials(tiles));
  }
}

void IntegerMatmul::prepareSums() {
  places.clear();
  if (p.planes) {
    for (int64_t d = 0; d < getPlaneSums(); ++d)
      places[d] = d;
    copies = 1;
    return;
  }
  // Shifting many sums of each group would cost more than shifting weights.
  inPlace = b.target.vnni && rowCount == 1 && !p.tableRows &&
            (!p.group || layout.getPlanes().front().width >= 4);
  if (inPlace) {
    std::map<int64_t, int64_t> used;
    for (const CodeLayout::Plane &plane : layout.getPlanes())
      for (unsigned at = 0; at < 8; at += plane.width)
        used[static_cast<int64_t>(plane.shift) - at] = 0;
    for (auto [shift, unused] : used)
      places.try_emplace(shift, places.size());
  } else {
    places[0] = 0;
  }
  // Chains of dependent additions; groups are independent of each other.
  bool isShort = p.group && p.group <= 1024;
  int64_t chains = rowCount * static_cast<int64_t>(places.size());
  copies = b.target.vnni && !isShort ? std::max<int64_t>(1, 8 / chains) : 1;
}

Value IntegerMatmul::combine(ValueRange products, int64_t i) {
  Value total;
  for (auto [shift, number] : places) {
    Value part;
    for (int64_t copy = 0; copy < copies; ++copy) {
      Value one = products[i * getSumCount() + number * copies + copy];
      part = part ? b.addi(part, one) : one;
    }
    part = b.shift(part, shift, /*isSigned=*/true);
    total = total ? b.addi(total, part) : part;
  }
  return total;
}

Values IntegerMatmul::emitGroups() {
  Values inputZeros;
  for (int64_t i = 0; i < rowCount; ++i)
    inputZeros.push_back(loadInputZero(k.add(firstRow, i)));
  // Adds what `dot` finds in each of the four tiles.
  auto addGroup = [&](Value index, ValueRange totals,
                      function_ref<Values()> dot) {
    SmallVector<Values> partials(rowCount);
    for (int64_t t = 0; t < kTiles; ++t) {
      tile = beginTile(tileAt(k.index(t)));
      Values products = dot();
      for (int64_t i = 0; i < rowCount; ++i)
        partials[i].push_back(combine(products, i));
    }
    Group group = groupAt(index);
    Values results;
    for (int64_t i = 0; i < rowCount; ++i)
      results.push_back(closeGroup(group, index, k.add(firstRow, i),
                                   inputZeros[i], b.addPartials(partials[i]),
                                   totals[i]));
    return results;
  };
  Values totals(rowCount, k.splat(0.0f));
  if (p.group % step == 0)
    return inParts(
        p.group, totals, [&](Value index, int64_t size, ValueRange carried) {
          return addGroup(index, carried, [&] {
            return overColumns(k.mul(index, p.group / step), size, zeroSums());
          });
        });
  // Groups are parts of a step.
  return inParts(
      step, totals, [&](Value index, int64_t size, ValueRange carried) {
        Values results(carried);
        for (int64_t at = 0; at < size; at += p.group) {
          int64_t end = std::min(at + p.group, size);
          results = addGroup(
              k.add(k.mul(index, step / p.group), at / p.group), results, [&] {
                return dotStep(index, at / kLanes,
                               llvm::divideCeil(end, kLanes), zeroSums());
              });
        }
        return results;
      });
}

Values
IntegerMatmul::inParts(int64_t size, Values values,
                       function_ref<Values(Value, int64_t, ValueRange)> body) {
  int64_t full = p.columns / size;
  if (full)
    values = k.loop(k.index(0), k.index(full), 1, values,
                    [&](Value index, ValueRange carried) {
                      return body(index, size, carried);
                    });
  if (p.columns % size)
    values = body(k.index(full), p.columns % size, values);
  return values;
}

Values IntegerMatmul::overColumns(Value first, int64_t size, Values values) {
  int64_t full = size / step, chunks = step / kLanes;
  if (full == 1)
    values = dotStep(first, 0, chunks, values);
  else if (full > 1)
    values = k.loop(first, k.add(first, full), 1, values,
                    [&](Value index, ValueRange carried) {
                      return dotStep(index, 0, chunks, carried);
                    });
  if (size % step)
    values = dotStep(k.add(first, full), 0,
                     llvm::divideCeil(size % step, kLanes), values);
  return values;
}

Value IntegerMatmul::loadUnit(const CodeLayout::Plane &plane, Value index,
                              int64_t unit, int64_t chunk) {
  constexpr int64_t kUnitBytes = kRowTile * kLanes;
  int64_t perStep = step / plane.columnsPerUnit();
  Value place = k.mul(index, perStep * kUnitBytes);
  Value at = k.add(k.add(tile.base, place), plane.offset + unit * kUnitBytes);
  Value word = b.loadWords(in.codes, at);
  if (chunk * kLanes % plane.columnsPerUnit())
    return word; // A group within a unit, which was asked for before.
  // Planes, and tiles whose groups are closed together, are read side by side:
  // behind the end of a plane comes that of the next tile or block.
  int64_t tiles = p.group || decodes ? kTiles : 1;
  int64_t bytes = plane.units * kUnitBytes, all = layout.getTileBytes(),
          ahead = llvm::alignTo(kAhead / tiles * bytes / all, kUnitBytes);
  Value next = k.add(at, ahead);
  if (bytes < tiles * all)
    next = k.add(next, arith::SelectOp::create(
                           k.builder, k.loc,
                           k.less(k.add(place, ahead), k.index(bytes)),
                           k.index(0), k.index(tiles * all - bytes)));
  k.prefetch(in.codes, next);
  return word;
}

Values IntegerMatmul::dotStep(Value index, int64_t begin, int64_t end,
                              ValueRange carried) {
  Values products(carried);
  if (p.planes)
    countStep(index, end, products);
  else if (inPlace)
    dotInPlace(index, begin, end, products);
  else
    dotDecoded(index, begin, end, products);
  return products;
}

Value IntegerMatmul::inputsAt(Value row, Value index, int64_t chunk) {
  return b.loadInputs(
      in.x, row,
      k.add(k.mul(index, step), record.getCodesOffset() + chunk * kLanes));
}

void IntegerMatmul::dotInPlace(Value index, int64_t begin, int64_t end,
                               Values &products) {
  Values inputs(end);
  for (int64_t chunk = begin; chunk < end; ++chunk)
    inputs[chunk] = inputsAt(firstRow, index, chunk);
  for (const CodeLayout::Plane &plane : layout.getPlanes()) {
    int64_t chunks = plane.columnsPerUnit() / kLanes;
    for (int64_t chunk = begin; chunk < end;) {
      int64_t unit = chunk / chunks;
      Value word = loadUnit(plane, index, unit, chunk);
      for (; chunk < end && chunk / chunks == unit; ++chunk) {
        int64_t at = chunk % chunks * plane.width;
        Value codes = plane.width == 8
                          ? word
                          : b.andi(word, b.splatByte(static_cast<uint8_t>(
                                             ((1 << plane.width) - 1) << at)));
        int64_t number = places[static_cast<int64_t>(plane.shift) - at];
        Value &product = products[number * copies + unit % copies];
        product = b.dot(product, codes, inputs[chunk]);
      }
    }
  }
}

Value IntegerMatmul::decodeChunk(StepCache &cache, Value index, int64_t chunk) {
  Value codes;
  for (const CodeLayout::Plane &plane : layout.getPlanes()) {
    int64_t chunks = plane.columnsPerUnit() / kLanes;
    Value &word = cache.units[{plane.shift, chunk / chunks}];
    if (!word)
      word = loadUnit(plane, index, chunk / chunks, chunk);
    int64_t move =
        static_cast<int64_t>(plane.shift) - chunk % chunks * plane.width;
    Value part = b.shift(word, move, /*isSigned=*/false);
    if (plane.width < 8)
      part = b.andi(part, b.splatByte(static_cast<uint8_t>(
                              ((1 << plane.width) - 1) << plane.shift)));
    codes = codes ? b.ori(codes, part) : part;
  }
  if (!p.tableRows)
    return codes;
  if (!p.tableGroup)
    return b.lookUp(tile.table, codes);
  bool isPart = p.tableGroup < step;
  int64_t within = isPart ? chunk * kLanes / p.tableGroup : 0;
  Values &table = cache.tables[within];
  if (table.empty())
    table = loadTable(tile.number,
                      isPart ? k.add(k.mul(index, step / p.tableGroup), within)
                             : k.div(index, p.tableGroup / step));
  return b.lookUp(table, codes);
}

void IntegerMatmul::dotDecoded(Value index, int64_t begin, int64_t end,
                               Values &products) {
  StepCache cache;
  Values codes(end);
  for (int64_t chunk = begin; chunk < end; ++chunk)
    codes[chunk] = decodeChunk(cache, index, chunk);
  for (int64_t i = 0; i < rowCount; ++i)
    for (int64_t copy = 0; copy < copies; ++copy) {
      Values weights, inputs;
      for (int64_t chunk = begin + copy; chunk < end; chunk += copies) {
        weights.push_back(codes[chunk]);
        inputs.push_back(inputsAt(k.add(firstRow, i), index, chunk));
      }
      Value &product = products[i * copies + copy];
      product = b.dot(product, weights, inputs);
    }
}

void IntegerMatmul::countStep(Value index, int64_t end, Values &products) {
  for (auto [number, plane] : llvm::enumerate(layout.getPlanes())) {
    int64_t perStep = step / plane.columnsPerUnit();
    int64_t units = llvm::divideCeil(end * kLanes, plane.columnsPerUnit());
    int64_t unitBytes = p.activation * kLanes;
    for (int64_t unit = 0; unit < units; ++unit) {
      Value word =
          loadUnit(plane, index, unit, unit * plane.columnsPerUnit() / kLanes);
      Value at = k.add(k.mul(index, perStep * unitBytes),
                       record.getPlaneOffset(number) + unit * unitBytes);
      for (unsigned bit = 0; bit < plane.width; ++bit) {
        Value ones = word;
        if (plane.width > 1) {
          unsigned mask = 0;
          for (unsigned i = bit; i < 8; i += plane.width)
            mask |= 1u << i;
          ones = b.andi(word, b.splatByte(static_cast<uint8_t>(mask)));
        }
        for (int64_t i = 0; i < rowCount; ++i)
          for (unsigned a = 0; a < p.activation; ++a) {
            Value input =
                b.loadInputs(in.x, k.add(firstRow, i), k.add(at, a * kLanes));
            Value &count = products[i * getSumCount() + plane.shift + bit + a];
            count = b.addi(count, b.countOnes(b.andi(ones, input)));
          }
      }
    }
  }
}

/// Describes what a kernel of the problem multiplies with.
static std::string describe(const CpuTarget &target, const IntegerProblem &p,
                            func::FuncOp kernel) {
  bool usesTiles = kernel
                       .walk([](LLVM::CallIntrinsicOp call) {
                         return call.getIntrin().starts_with("llvm.x86.tdp")
                                    ? WalkResult::interrupt()
                                    : WalkResult::advance();
                       })
                       .wasInterrupted();
  std::string text = std::to_string(p.bits) + "-bit weights and " +
                     std::to_string(p.activation) + "-bit activations: ";
  if (p.planes)
    return text + "strategy popcount, " +
           (target.popcount ? "vpopcntq" : "ones counted by tables");
  return text + "strategy int8, " +
         (p.tableRows ? "8-bit entries by vpshufb, " : "") +
         (usesTiles     ? "tdpbsud"
          : target.vnni ? "vpdpbusd"
                        : "vpmaddubsw and vpmaddwd");
}

void ganq::lowerIntegerMatmul(OpBuilder &builder, KernelLibrary &library,
                              PackedMatmulOp op) {
  Location loc = op.getLoc();
  const CpuTarget &target = library.getTarget();
  SchemeAttrInterface scheme = op.getScheme();
  Value x = asMatrix(builder, loc, op.getX()),
        out = asMatrix(builder, loc, op.getOut());
  auto type = cast<MemRefType>(out.getType());
  IntegerProblem problem;
  problem.m = type.isDynamicDim(0) ? -1 : type.getDimSize(0);
  problem.n = static_cast<int64_t>(op.getN());
  problem.columns = static_cast<int64_t>(op.getK());
  auto withinRow = [&](int64_t group) {
    return group >= problem.columns ? 0 : group;
  };
  problem.group = withinRow(scheme.getSumGroup());
  problem.bits = scheme.getCodeBits();
  problem.activation = scheme.getActivationBits();
  problem.planes = op.getStrategy() == Strategy::popcount;
  auto lut = dyn_cast<LutAttr>(scheme);
  if (lut) {
    problem.tableRows = lut.getRows();
    problem.tableGroup = withinRow(lut.getGroup());
  }
  SmallVector<Value> inputs{x, out};
  llvm::append_range(inputs, op.getComponents());
  bool hasBias = static_cast<bool>(op.getBias());
  if (hasBias)
    inputs.push_back(op.getBias());
  std::string rest =
      std::to_string(problem.n) + "x" + std::to_string(problem.columns) + "g" +
      std::to_string(problem.group) + "a" + std::to_string(problem.activation) +
      (problem.planes ? "p" : "") + "t" + std::to_string(problem.tableRows) +
      "g" + std::to_string(problem.tableGroup);
  int64_t work = problem.m < 0 ? -1 : problem.m * problem.n * problem.columns;
  library.callProduct(
      builder, op, scheme.getShortName() + "_matmul", kernelKey(inputs, rest),
      [&](const KernelTile &) {
        return llvm::divideCeil(problem.n, KernelBuilder::kLanes);
      },
      inputs, work,
      [&](KernelBuilder &k, Value lo, Value hi, ValueRange args,
          const KernelTile &tile) {
        IntegerOperands operands;
        operands.x = args[0];
        operands.out = args[1];
        operands.codes = args[2];
        (lut ? operands.table : operands.scale) = args[3];
        (lut ? operands.scale : operands.zero) = args[4];
        operands.sum = args[5];
        if (hasBias)
          operands.bias = args.back();
        IntegerMatmul(k, target, problem, operands, tile).emit(lo, hi);
      });
  op.emitRemark() << describe(target, problem, library.getLastProduct().kernel);
}
