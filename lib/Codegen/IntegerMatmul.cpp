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
// row of a tile; those of a block are added to 16 results at its end.
//
// There are three ways to the partial sums. Few rows of x: codes are decoded in
// registers, and up to four rows of x share them. Many rows: blocks of W are
// decoded to bytes in the first cache and serve 64 rows of x, four at a time.
// Planes of bits: `and` and counted ones, for any number of rows.
//
//===----------------------------------------------------------------------===//

#include "IntegerMatmul.h"
#include "IntegerKernel.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace ganq;
using Values = KernelBuilder::Values;

void IntegerMatmul::emit(Value lo, Value hi) {
  bool decodes = !p.planes && (p.m < 0 || p.m >= (k.avx512 ? 8 : 2));
  makeScratch(decodes);
  k.loop(lo, hi, 1, [&](Value block) {
    beginBlock(block);
    if (decodes)
      emitDecoded();
    else
      forRowBlocks(k.dim(in.out, 0), p.m, getRowBlock(),
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
    return;
  scale = k.loadVector(flat(in.scale), column, padMask);
  zero = b.loadIntegers(flat(in.zero), column, padMask);
  Value sums = b.loadIntegers(flat(in.sum), column, padMask);
  sum = b.subi(sums, b.muli(zero, k.splatInt(static_cast<int32_t>(p.columns))));
}

Value IntegerMatmul::flat(Value memref) {
  return memref::CollapseShapeOp::create(
      k.builder, k.loc, memref, SmallVector<ReassociationIndices>{{0, 1}});
}

Value IntegerMatmul::tileAt(Value number) {
  Value tile = k.add(k.mul(block, kTiles), number);
  int64_t tiles = layout.getRowTiles();
  return tiles % kTiles ? k.min(tile, k.index(tiles - 1)) : tile;
}

void IntegerMatmul::finish(Value row, Value place) {
  Values tiles;
  for (int64_t t = 0; t < kTiles; ++t)
    tiles.push_back(loadScratch(sums, {place, k.index(t)}));
  Value total = b.addPartials(tiles);
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

IntegerMatmul::Group IntegerMatmul::loadGroup(Value tile, Value index,
                                              int64_t size) {
  auto loadRows = [&](Value memref) {
    Values rows;
    for (int64_t r = 0; r < kRowTile; ++r)
      rows.push_back(memref::LoadOp::create(
          k.builder, k.loc, memref,
          ValueRange{k.add(k.mul(tile, kRowTile), r), index}));
    return rows;
  };
  Value zeros = b.spread(loadRows(in.zero), /*repeat=*/false);
  Value codes = b.spread(loadRows(in.sum), /*repeat=*/false);
  return {b.spread(loadRows(in.scale), /*repeat=*/!hasLargeSums()), zeros,
          k.subf(codes, k.mulf(zeros, k.splat(static_cast<float>(size))))};
}

Value IntegerMatmul::closeGroup(const Group &group, Value index, Value row,
                                Value inputZero, Value products, Value total) {
  Value inputSum =
      k.splat(b.loadHeader(in.x, row, k.add(index, ActivationLayout::kSums)));
  Value exact;
  if (hasLargeSums()) {
    // The terms cancel each other in integers before one rounding; the scale
    // is zero in all places but the first of each row.
    exact = b.addWithinRows(products);
    exact =
        b.subi(exact, b.muli(b.toInteger(group.zero), b.toInteger(inputSum)));
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

int64_t IntegerMatmul::getRowBlock() const {
  if (!k.avx512)
    return 1;
  return p.planes ? std::clamp<int64_t>(12 / getPlaneSums(), 1, 4) : 4;
}

void IntegerMatmul::emitRows(Value row, int64_t count) {
  firstRow = row;
  rowCount = count;
  prepareSums();
  k.loop(k.index(0), k.index(kTiles), 1, [&](Value number) {
    Values totals = emitTile(tileAt(number));
    for (int64_t i = 0; i < count; ++i)
      storeScratch(totals[i], sums, {k.index(i), number});
  });
  for (int64_t i = 0; i < count; ++i)
    finish(k.add(row, i), k.index(i));
}

void IntegerMatmul::prepareSums() {
  places.clear();
  if (p.planes) {
    for (int64_t d = 0; d < getPlaneSums(); ++d)
      places[d] = d;
    copies = 1;
    return;
  }
  inPlace = b.target.vnni && rowCount == 1;
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

Values IntegerMatmul::emitTile(Value tile) {
  base = k.mul(tile, layout.getTileBytes());
  if (!p.group) {
    Values products = overColumns(k.index(0), p.columns, zeroSums());
    Values totals;
    for (int64_t i = 0; i < rowCount; ++i)
      totals.push_back(combine(products, i));
    return totals;
  }
  Values inputZeros;
  for (int64_t i = 0; i < rowCount; ++i)
    inputZeros.push_back(loadInputZero(k.add(firstRow, i)));
  auto close = [&](Value index, int64_t size, ValueRange products,
                   ValueRange totals) {
    Group group = loadGroup(tile, index, size);
    Values results;
    for (int64_t i = 0; i < rowCount; ++i)
      results.push_back(closeGroup(group, index, k.add(firstRow, i),
                                   inputZeros[i], combine(products, i),
                                   totals[i]));
    return results;
  };
  if (p.group % step == 0)
    return inParts(p.group, Values(rowCount, zeroSum()),
                   [&](Value index, int64_t size, ValueRange totals) {
                     Values products = overColumns(k.mul(index, p.group / step),
                                                   size, zeroSums());
                     return close(index, size, products, totals);
                   });
  // Groups are parts of a step.
  return inParts(step, Values(rowCount, zeroSum()),
                 [&](Value index, int64_t size, ValueRange carried) {
                   Values totals(carried);
                   for (int64_t at = 0; at < size; at += p.group) {
                     int64_t part = std::min(p.group, size - at);
                     Values products = dotStep(
                         index, at / kLanes,
                         llvm::divideCeil(at + part, kLanes), zeroSums());
                     Value number =
                         k.add(k.mul(index, step / p.group), at / p.group);
                     totals = close(number, part, products, totals);
                   }
                   return totals;
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
                              int64_t unit) {
  int64_t perStep = step / plane.columnsPerUnit();
  Value at = k.add(k.add(base, k.mul(index, perStep * kRowTile * kLanes)),
                   plane.offset + unit * kRowTile * kLanes);
  k.prefetch(in.codes, k.add(at, kAhead));
  return b.loadWords(in.codes, at);
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
      Value word = loadUnit(plane, index, unit);
      for (; chunk < end && chunk / chunks == unit; ++chunk) {
        int64_t at = chunk % chunks * plane.width;
        Value codes = plane.width == 8
                          ? word
                          : b.andi(word, b.splatByte(static_cast<uint8_t>(
                                             ((1 << plane.width) - 1) << at)));
        int64_t number = places[static_cast<int64_t>(plane.shift) - at];
        Value &sum = products[number * copies + unit % copies];
        sum = b.dot(sum, codes, inputs[chunk]);
      }
    }
  }
}

Values IntegerMatmul::decode(Value index, int64_t begin, int64_t end) {
  Values codes(end);
  for (const CodeLayout::Plane &plane : layout.getPlanes()) {
    int64_t chunks = plane.columnsPerUnit() / kLanes;
    for (int64_t chunk = begin; chunk < end;) {
      int64_t unit = chunk / chunks;
      Value word = loadUnit(plane, index, unit);
      for (; chunk < end && chunk / chunks == unit; ++chunk) {
        int64_t move =
            static_cast<int64_t>(plane.shift) - chunk % chunks * plane.width;
        Value part = b.shift(word, move, /*isSigned=*/false);
        if (plane.width < 8)
          part = b.andi(part, b.splatByte(static_cast<uint8_t>(
                                  ((1 << plane.width) - 1) << plane.shift)));
        codes[chunk] = codes[chunk] ? b.ori(codes[chunk], part) : part;
      }
    }
  }
  return codes;
}

void IntegerMatmul::dotDecoded(Value index, int64_t begin, int64_t end,
                               Values &products) {
  Values codes = decode(index, begin, end);
  for (int64_t i = 0; i < rowCount; ++i)
    for (int64_t copy = 0; copy < copies; ++copy) {
      Values weights, inputs;
      for (int64_t chunk = begin + copy; chunk < end; chunk += copies) {
        weights.push_back(codes[chunk]);
        inputs.push_back(inputsAt(k.add(firstRow, i), index, chunk));
      }
      Value &sum = products[i * copies + copy];
      sum = b.dot(sum, weights, inputs);
    }
}

void IntegerMatmul::countStep(Value index, int64_t end, Values &products) {
  for (auto [number, plane] : llvm::enumerate(layout.getPlanes())) {
    int64_t perStep = step / plane.columnsPerUnit();
    int64_t units = llvm::divideCeil(end * kLanes, plane.columnsPerUnit());
    int64_t unitBytes = p.activation * kLanes;
    for (int64_t unit = 0; unit < units; ++unit) {
      Value word = loadUnit(plane, index, unit);
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
            Value &sum = products[i * getSumCount() + plane.shift + bit + a];
            sum = b.addi(sum, b.countOnes(b.andi(ones, input)));
          }
      }
    }
  }
}

static std::string describe(const CpuTarget &target, const IntegerProblem &p) {
  std::string text = std::to_string(p.bits) + "-bit weights and " +
                     std::to_string(p.activation) + "-bit activations: ";
  if (p.planes)
    return text + "strategy popcount, " +
           (target.popcount ? "vpopcntq" : "ones counted by tables");
  return text + "strategy int8, " +
         (target.vnni ? "vpdpbusd" : "vpmaddubsw and vpmaddwd");
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
  problem.group =
      scheme.getGroupSize() >= problem.columns ? 0 : scheme.getGroupSize();
  problem.bits = scheme.getCodeBits();
  problem.activation = scheme.getActivationBits();
  problem.planes = op.getStrategy() == Strategy::popcount;
  op.emitRemark() << describe(target, problem);

  SmallVector<Value> inputs{x, out};
  llvm::append_range(inputs, op.getComponents());
  bool hasBias = static_cast<bool>(op.getBias());
  if (hasBias)
    inputs.push_back(op.getBias());
  std::string rest =
      std::to_string(problem.n) + "x" + std::to_string(problem.columns) + "g" +
      std::to_string(problem.group) + "a" + std::to_string(problem.activation) +
      (problem.planes ? "p" : "");
  Value blocks = arith::ConstantIndexOp::create(
      builder, loc, llvm::divideCeil(problem.n, KernelBuilder::kLanes));
  int64_t work = problem.m < 0 ? -1 : problem.m * problem.n * problem.columns;
  library.call(builder, loc, scheme.getShortName() + "_matmul",
               kernelKey(inputs, rest), blocks, inputs, work,
               [&](KernelBuilder &k, Value lo, Value hi, ValueRange args) {
                 IntegerOperands operands{args[0],
                                          args[1],
                                          args[2],
                                          args[3],
                                          args[4],
                                          args[5],
                                          hasBias ? args.back() : Value()};
                 IntegerMatmul(k, target, problem, operands).emit(lo, hi);
               });
}
