//===- QuantizeRows.cpp - Rows of x to codes on GPUs ----------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A block makes the codes of one row: it looks for the range of the row, and
// then each thread takes 32 columns at a time, eight words of bytes or one word
// of each plane.
//
//===----------------------------------------------------------------------===//

#include "Skeletons.h"
#include <limits>

using namespace mlir;
using namespace ganq;
using Values = GpuBuilder::Values;

namespace {

constexpr int64_t kWarps = 8;
constexpr int64_t kThreads = kWarps * 32;

class RowQuantizer {
public:
  RowQuantizer(GpuBuilder &k, const GpuQuantizeSpec &spec,
               gpu::GPUFuncOp function, Value shared)
      : k(k), spec(spec), shared(shared), codes(function.getArgument(0)),
        scales(function.getArgument(1)), zeros(function.getArgument(2)),
        sums(function.getArgument(3)), m(function.getArgument(5)),
        columns(function.getArgument(6)),
        greatest(static_cast<float>((1 << spec.bits) - 1)) {
    thread = k.thread();
    row = k.block(gpu::Dimension::x);
    x = k.at(function.getArgument(4), k.shl(k.mul(row, columns), shift()));
  }

  void emit() {
    findRange();
    int64_t granule = spec.planes ? 256 : 128;
    granules = k.div(k.add(columns, granule - 1), granule);
    Value sum = k.loop(thread, k.mul(granules, granule / 32), k.i(kThreads),
                       k.i(0), [&](Value word, ValueRange carried) -> Values {
                         return {spec.planes ? storePlanes(word, carried[0])
                                             : storeBytes(word, carried[0])};
                       })[0];
    // The first values of the warps have been read by all.
    k.barrier();
    sum = combine(sum, 0, [&](Value a, Value b) { return k.add(a, b); });
    k.when(k.equal(thread, k.i(0)), [&] {
      Value place = k.shl(row, 2);
      k.store(scale, k.at(scales, place), 4);
      k.store(k.toInteger(zero), k.at(zeros, place), 4);
      k.store(sum, k.at(sums, place), 4);
    });
  }

private:
  Value load(Value column) {
    return k.extend(k.load(spec.type, k.at(x, k.shl(column, shift())),
                           spec.type.getIntOrFloatBitWidth() / 8, true));
  }
  /// Of a column to the offset of its value.
  int64_t shift() const { return spec.type.isF32() ? 2 : 1; }

  /// A value of all threads of the block, by way of area `area` of the shared
  /// memory.
  Value combine(Value value, int64_t area,
                llvm::function_ref<Value(Value, Value)> join) {
    for (int64_t mask = 1; mask < 32; mask *= 2)
      value = join(value, k.exchange(value, mask));
    Value start = k.at(shared, area * kWarps * 4);
    // All lanes of a warp have the same value.
    k.when(k.equal(k.bitAnd(thread, 31), k.i(0)),
           [&] { k.store(value, k.at(start, k.shl(k.shr(thread, 5), 2)), 4); });
    k.barrier();
    Value result;
    for (int64_t warp = 0; warp < kWarps; ++warp) {
      Value part = k.load(value.getType(), k.at(start, warp * 4), 4);
      result = result ? join(result, part) : part;
    }
    return result;
  }

  Value clamp(Value value) {
    value = k.fmax(value, k.f(0.0f));
    return k.select(k.fless(value, k.f(greatest)), value, k.f(greatest));
  }

  void findRange() {
    // The range holds zero. The third value is nan where x is not finite.
    Value none = k.f(0.0f);
    Values range =
        k.loop(thread, columns, k.i(kThreads), {none, none, none},
               [&](Value column, ValueRange carried) -> Values {
                 Value value = load(column);
                 return {k.fmin(carried[0], value), k.fmax(carried[1], value),
                         k.fma(value, none, carried[2])};
               });
    Value low =
        combine(range[0], 0, [&](Value a, Value b) { return k.fmin(a, b); });
    Value high =
        combine(range[1], 1, [&](Value a, Value b) { return k.fmax(a, b); });
    Value finite =
        combine(range[2], 2, [&](Value a, Value b) { return k.fadd(a, b); });
    scale = k.fsub(k.fdiv(high, k.f(greatest)), k.fdiv(low, k.f(greatest)));
    // A subnormal scale has no finite inverse; such a row is as good as zero.
    Value vanishes = k.fless(scale, k.f(std::numeric_limits<float>::min()));
    scale = k.select(vanishes, none, scale);
    inverse = k.select(vanishes, none, k.fdiv(k.f(1.0f), scale));
    zero = clamp(k.roundEven(k.fmul(k.fsub(k.f(-0.0f), low), inverse)));
    scale = k.fadd(scale, finite);
  }

  /// The code of a column, 0 beyond the end.
  Value codeAt(Value column) {
    return k.valuesWhen(k.less(column, columns), k.i(0), [&]() -> Values {
      Value level = k.roundEven(k.fmul(load(column), inverse));
      return {k.toInteger(clamp(k.fadd(level, zero)))};
    })[0];
  }

  Value storeBytes(Value word, Value sum) {
    Value first = k.shl(word, 5);
    Value place = k.at(codes, k.add(k.mul(row, k.mul(granules, 128)), first));
    return k.loop(k.i(0), k.i(8), k.i(1), sum,
                  [&](Value quad, ValueRange carried) -> Values {
                    Value total = carried[0], bytes;
                    Value column = k.add(first, k.shl(quad, 2));
                    for (int64_t n = 0; n < 4; ++n) {
                      Value code = codeAt(k.add(column, n));
                      total = k.add(total, code);
                      bytes = n ? k.bitOr(bytes, k.shl(code, 8 * n)) : code;
                    }
                    k.store(bytes, k.at(place, k.shl(quad, 2)), 4);
                    return {total};
                  })[0];
  }

  Value storePlanes(Value word, Value sum) {
    Values state(spec.bits, k.i(0));
    state.push_back(sum);
    state = k.loop(
        k.i(0), k.i(32), k.i(1), state, [&](Value bit, ValueRange carried) {
          Value code = codeAt(k.add(k.shl(word, 5), bit));
          Values next;
          for (int64_t j = 0; j < spec.bits; ++j) {
            Value one = k.bitAnd(k.shr(code, j), 1);
            Value moved = arith::ShLIOp::create(k.b, k.loc, one, bit);
            next.push_back(k.bitOr(carried[j], moved));
          }
          next.push_back(k.add(carried[spec.bits], code));
          return next;
        });
    Value rowBytes = k.mul(granules, 32);
    for (int64_t j = 0; j < spec.bits; ++j) {
      Value line = k.add(k.mul(m, j), row);
      k.store(state[j],
              k.at(codes, k.add(k.mul(line, rowBytes), k.shl(word, 2))), 4);
    }
    return state[spec.bits];
  }

  GpuBuilder &k;
  const GpuQuantizeSpec &spec;
  Value shared, codes, scales, zeros, sums, m, columns;
  float greatest;
  Value thread, row, x, granules;
  Value scale, inverse, zero;
};

} // namespace

llvm::Expected<GpuKernelInfo>
ganq::buildGpuQuantizeRows(gpu::GPUModuleOp module,
                           const GpuQuantizeSpec &spec) {
  if (!spec.type ||
      (!spec.type.isF16() && !spec.type.isBF16() && !spec.type.isF32()))
    return llvm::createStringError(
        "expected x of f16, bf16 or f32 for the kernel that rounds rows of x");
  if (spec.bits < 1 || spec.bits > 8)
    return llvm::createStringError("expected codes of x of 1 to 8 bits, but "
                                   "got " +
                                   std::to_string(spec.bits));
  GpuKernelInfo info;
  llvm::raw_string_ostream(info.name)
      << "quantize_rows" << spec.bits << (spec.planes ? "_planes_" : "_bytes_")
      << spec.type;
  info.threads = kThreads;
  info.tokens = 1;
  info.sharedBytes = 3 * kWarps * 4;
  if (SymbolTable::lookupSymbolIn(module, info.name))
    return info;
  module.getContext()
      ->loadDialect<arith::ArithDialect, gpu::GPUDialect, LLVM::LLVMDialect,
                    NVVM::NVVMDialect, scf::SCFDialect>();
  OpBuilder builder(module.getContext());
  GpuBuilder k(builder, module.getLoc());
  auto function = createGpuKernel(k, module, info, 5, 2);
  function->setAttr(kGpuQuantizeRowsAttr, builder.getUnitAttr());
  RowQuantizer(k, spec, function, getDynamicShared(k, module)).emit();
  gpu::ReturnOp::create(builder, module.getLoc());
  return info;
}
