//===- GpuProblem.cpp - Quantized products to run on the emulator ---------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "GpuProblem.h"
#include "ganq/Codegen/Gpu/GpuPacking.h"
#include "ganq/Support/CodeLayout.h"
#include "llvm/ADT/APFloat.h"
#include "llvm/Support/MathExtras.h"
#include <cmath>
#include <cstring>
#include <random>

using namespace ganq;

const std::vector<GpuShape> ganq::kGpuShapes = {
    {1, 64, 64},    {1, 4096, 512}, {3, 100, 260},
    {16, 128, 256}, {64, 96, 1024}, {130, 257, 384},
};

GpuKernelUnderTest::GpuKernelUnderTest(mlir::MLIRContext &context,
                                       const std::string &scheme,
                                       GpuMatmulSpec spec, bool floatResult)
    : spec(makeSpec(context, scheme, scheme.find("bf16") != std::string::npos,
                    spec)) {
  if (floatResult)
    this->spec.outType = mlir::Float32Type::get(&context);
  auto built = buildKernelModule(context, this->spec, info);
  if (!built) {
    error = llvm::toString(built.takeError());
    return;
  }
  module = std::move(*built);
  EmulatorOptions options;
  options.optLevel = 1;
  auto made = EmulatedModule::create(
      *module->getOps<mlir::gpu::GPUModuleOp>().begin(), options);
  if (made)
    emulated = std::move(*made);
  else
    error = llvm::toString(made.takeError());
}

namespace {

/// Numbers of a 16-bit float type.
class Half {
public:
  explicit Half(mlir::FloatType type) : semantics(type.getFloatSemantics()) {}
  uint16_t encode(double value) const {
    llvm::APFloat number(value);
    bool lost;
    number.convert(semantics, llvm::APFloat::rmNearestTiesToEven, &lost);
    return static_cast<uint16_t>(number.bitcastToAPInt().getZExtValue());
  }
  double decode(uint16_t bits) const {
    llvm::APFloat number(semantics, llvm::APInt(16, bits));
    bool lost;
    number.convert(llvm::APFloat::IEEEdouble(),
                   llvm::APFloat::rmNearestTiesToEven, &lost);
    return number.convertToDouble();
  }

private:
  const llvm::fltSemantics &semantics;
};

/// Bias, residual or results, as they lie in memory.
class Stored {
public:
  Stored(mlir::FloatType type, int64_t count)
      : semantics(type.getFloatSemantics()), width(type.getWidth() / 8),
        bytes(static_cast<size_t>(count) * width, 0x7e) {}
  void set(size_t index, double value) {
    llvm::APFloat number(value);
    bool lost;
    number.convert(semantics, llvm::APFloat::rmNearestTiesToEven, &lost);
    uint64_t bits = number.bitcastToAPInt().getZExtValue();
    std::memcpy(&bytes[index * width], &bits, width);
  }
  double get(size_t index) const {
    uint64_t bits = 0;
    std::memcpy(&bits, &bytes[index * width], width);
    llvm::APFloat number(semantics, llvm::APInt(8 * width, bits));
    bool lost;
    number.convert(llvm::APFloat::IEEEdouble(),
                   llvm::APFloat::rmNearestTiesToEven, &lost);
    return number.convertToDouble();
  }
  std::vector<uint8_t> &getBytes() { return bytes; }

private:
  const llvm::fltSemantics &semantics;
  unsigned width;
  std::vector<uint8_t> bytes;
};

/// A weight with its components as the kernels want them, and the matrix that
/// they stand for.
struct Weight {
  std::vector<uint8_t> codes;
  std::vector<uint16_t> table, scale, zero;
  std::vector<int32_t> sum;
  std::vector<int32_t> code; ///< [N, K]
  std::vector<double> value; ///< [N, K]
};

class Generator {
public:
  Generator(const GpuMatmulSpec &spec, GpuShape shape, uint64_t seed)
      : spec(spec), shape(shape), half(spec.type), random(seed) {}

  int64_t draw(int64_t low, int64_t high) {
    return std::uniform_int_distribution<int64_t>(low, high)(random);
  }

  /// Components as schemes store them, and what the library makes of them.
  Weight makeWeight() {
    auto components = spec.scheme.getComponents(shape.n, shape.k);
    std::vector<std::vector<char>> stored;
    for (const SchemeComponent &component : components)
      stored.emplace_back(static_cast<size_t>(component.type.getNumElements()) *
                          component.type.getElementTypeBitWidth() / 8);
    Weight w;
    auto bits = static_cast<int64_t>(spec.scheme.getCodeBits());
    int64_t levels = int64_t(1) << bits, group = spec.scheme.getGroupSize();
    int64_t padded = llvm::alignTo(shape.n, GpuLayout::kRowTile);
    bool lut = mlir::isa<LutAttr>(spec.scheme);
    CodeLayout layout(spec.scheme.getCodeBits(), shape.n, shape.k);
    std::vector<int32_t> sums(static_cast<size_t>(padded));
    for (int64_t n = 0; n < shape.n; ++n)
      for (int64_t j = 0; j < shape.k; ++j) {
        auto code = static_cast<uint8_t>(draw(0, levels - 1));
        w.code.push_back(code);
        sums[static_cast<size_t>(n)] += code;
        layout.insert(reinterpret_cast<uint8_t *>(stored[0].data()), n, j,
                      code);
      }
    for (auto [component, bytes] : llvm::zip(components, stored)) {
      for (size_t i = 0; component.suffix == "zero" && i < bytes.size(); ++i)
        bytes[i] = static_cast<char>(draw(0, levels - 1));
      for (size_t i = 0; component.suffix == "sum" && i < bytes.size() / 4; ++i)
        std::memcpy(&bytes[4 * i], &sums[i], 4);
      if (component.suffix != "table" && component.suffix != "scale")
        continue;
      for (size_t i = 0; i < bytes.size(); i += 2) {
        uint16_t value =
            half.encode(lut ? static_cast<double>(draw(-16, 16)) / 8
                            : std::exp2(draw(-5, -2)));
        std::memcpy(&bytes[i], &value, 2);
      }
    }
    pack(w, components, stored);

    for (int64_t n = 0; n < shape.n; ++n)
      for (int64_t j = 0; j < shape.k; ++j) {
        int64_t code = w.code[index(n, j)];
        if (lut) {
          w.value.push_back(
              half.decode(w.table[static_cast<size_t>(n * levels + code)]));
          continue;
        }
        auto place = static_cast<size_t>((group ? j / group : 0) * padded + n);
        double scale = half.decode(w.scale[place]);
        if (mlir::isa<UniformAttr>(spec.scheme)) {
          w.value.push_back(
              (static_cast<double>(code) - half.decode(w.zero[place])) * scale);
          continue;
        }
        auto pot = mlir::cast<PotAttr>(spec.scheme);
        int64_t exponent = code & (levels / 2 - 1);
        if (pot.getGrid() == PotGrid::stride2)
          exponent *= 2;
        double magnitude = std::ldexp(scale, static_cast<int>(exponent));
        w.value.push_back(code >> (bits - 1) ? -magnitude : magnitude);
      }
    return w;
  }

  void pack(Weight &w, llvm::ArrayRef<SchemeComponent> components,
            llvm::ArrayRef<std::vector<char>> stored) const {
    std::vector<llvm::StringRef> names;
    for (const SchemeComponent &component : components)
      names.push_back(component.suffix);
    std::vector<llvm::ArrayRef<char>> bytes(stored.begin(), stored.end());
    for (GpuPackedAttr operand :
         llvm::cantFail(getGpuOperands(spec, shape.n, shape.k, names))) {
      auto packed = llvm::cantFail(packGpuOperand(operand, bytes));
      auto copy = [&](auto &to) {
        to.resize(packed.size() / sizeof(to[0]));
        std::memcpy(to.data(), packed.data(), packed.size());
      };
      switch (operand.getOperand()) {
      case GpuOperand::codes:
        copy(w.codes);
        break;
      case GpuOperand::table:
        copy(w.table);
        break;
      case GpuOperand::scale:
        copy(w.scale);
        break;
      case GpuOperand::zero:
        copy(w.zero);
        break;
      case GpuOperand::weight_sum:
        copy(w.sum);
        break;
      }
    }
  }

  size_t index(int64_t row, int64_t column) const {
    return static_cast<size_t>(row * shape.k + column);
  }

  const GpuMatmulSpec &spec;
  GpuShape shape;
  Half half;
  std::mt19937_64 random;
};

/// x as the kernel wants it, and its values.
struct Input {
  std::vector<uint16_t> floats;
  std::vector<uint8_t> codes;
  std::vector<float> scale;
  std::vector<int32_t> zero, sum;
  std::vector<double> value;
};

} // namespace

static Input makeInput(Generator &draw) {
  const GpuMatmulSpec &spec = draw.spec;
  GpuShape shape = draw.shape;
  Input x;
  if (spec.strategy == GpuStrategy::F16) {
    for (int64_t i = 0; i < shape.m * shape.k; ++i) {
      x.value.push_back(static_cast<double>(draw.draw(-2, 2)));
      x.floats.push_back(draw.half.encode(x.value.back()));
    }
    return x;
  }
  int64_t bits = spec.activationBits;
  bool planes = spec.strategy == GpuStrategy::Btc;
  int64_t padded = llvm::alignTo(shape.k, planes ? 256 : 128);
  x.codes.assign(
      static_cast<size_t>(shape.m * (planes ? padded / 8 * bits : padded)), 0);
  for (int64_t m = 0; m < shape.m; ++m) {
    x.scale.push_back(static_cast<float>(std::exp2(draw.draw(-12, -8))));
    x.zero.push_back(
        static_cast<int32_t>(draw.draw(0, (int64_t(1) << bits) - 1)));
    int32_t sum = 0;
    for (int64_t j = 0; j < shape.k; ++j) {
      auto code = static_cast<int32_t>(draw.draw(0, (int64_t(1) << bits) - 1));
      sum += code;
      x.value.push_back(static_cast<double>(code - x.zero.back()) *
                        static_cast<double>(x.scale.back()));
      if (!planes) {
        x.codes[static_cast<size_t>(m * padded + j)] =
            static_cast<uint8_t>(code);
        continue;
      }
      for (int64_t bit = 0; bit < bits; ++bit)
        x.codes[static_cast<size_t>((bit * shape.m + m) * padded / 8 +
                                    j / 8)] |=
            static_cast<uint8_t>(((code >> bit) & 1) << (j % 8));
    }
    x.sum.push_back(sum);
  }
  return x;
}

namespace {

/// One of the products of x.
struct Product {
  Product(const GpuMatmulSpec &spec, GpuShape shape, uint64_t seed)
      : shape(shape), draw(spec, shape, seed), type(spec.getOutType()),
        w(draw.makeWeight()), bias(type, shape.n),
        residual(type, shape.m * shape.n), out(type, shape.m * shape.n) {
    for (int64_t n = 0; n < shape.n; ++n)
      bias.set(static_cast<size_t>(n), drawAddend());
    for (int64_t i = 0; i < shape.m * shape.n; ++i)
      residual.set(static_cast<size_t>(i), drawAddend());
  }

  /// Where a result differs, or nothing.
  std::string compare(const GpuMatmulSpec &spec, const Input &x);

  GpuShape shape;
  Generator draw;
  mlir::FloatType type;
  Weight w;
  /// Nothing may be read of what was in `out` before, nor be left out.
  Stored bias, residual, out;

private:
  // Results of f32 show that neither these nor they pass through 16 bits.
  double drawAddend() {
    return type.isF32()
               ? static_cast<double>(draw.draw(-(1 << 16), 1 << 16)) / 32
               : static_cast<double>(draw.draw(-64, 64));
  }
};

} // namespace

std::string Product::compare(const GpuMatmulSpec &spec, const Input &x) {
  for (int64_t i = 0; i < shape.m; ++i)
    for (int64_t j = 0; j < shape.n; ++j) {
      double sum = 0;
      for (int64_t l = 0; l < shape.k; ++l)
        sum += x.value[draw.index(i, l)] * w.value[draw.index(j, l)];
      // Sums of integers are exact until they become f32.
      if (spec.strategy != GpuStrategy::F16)
        sum = static_cast<double>(static_cast<float>(sum));
      if (spec.bias)
        sum = static_cast<float>(sum + bias.get(static_cast<size_t>(j)));
      if (spec.activation == GpuActivation::Relu)
        sum = sum > 0 ? sum : 0;
      bool exact = spec.activation != GpuActivation::Silu;
      if (!exact)
        sum = sum / (1 + std::exp(-sum));
      auto place = static_cast<size_t>(i * shape.n + j);
      if (spec.residual)
        sum += residual.get(place);
      Stored wanted(type, 1);
      wanted.set(0, sum);
      // Zeros may differ in sign.
      double got = out.get(place);
      double slack = std::fabs(sum) * (type.isF32() ? 0x1p-16 : 0x1p-7) + 1e-3;
      if (exact ? got == wanted.get(0) : std::fabs(got - sum) <= slack)
        continue;
      return "out[" + std::to_string(i) + ", " + std::to_string(j) + "] is " +
             std::to_string(got) + ", but expected " + std::to_string(sum);
    }
  return "";
}

std::string GpuKernelUnderTest::check(GpuShape shape, uint64_t seed) {
  if (!emulated)
    return error;
  // Further products have fewer rows, then more.
  std::vector<std::unique_ptr<Product>> products;
  for (int64_t i = 0; i < spec.products; ++i) {
    GpuShape own = shape;
    own.n = shape.n * (i + 1) / 2 + i;
    if (i == 0)
      own.n = shape.n;
    products.push_back(std::make_unique<Product>(spec, own, seed + 1000 * i));
  }
  Input x = makeInput(products.front()->draw);

  std::vector<const void *> buffers;
  std::vector<void *> args;
  auto add = [&](const void *data, size_t bytes, const char *name,
                 bool readOnly = true) {
    emulated->addBuffer(data, static_cast<int64_t>(bytes), name, readOnly);
    buffers.push_back(data);
  };
  auto addVector = [&](auto &values, const char *name) {
    if (!values.empty())
      add(values.data(), values.size() * sizeof(values[0]), name);
  };
  bool integer = spec.strategy != GpuStrategy::F16;
  int64_t blocks = 0;
  for (auto &product : products) {
    bool first = product == products.front();
    add(product->out.getBytes().data(), product->out.getBytes().size(), "out",
        false);
    if (first) {
      addVector(x.floats, "x");
      addVector(x.codes, "x");
    }
    addVector(product->w.codes, "codes");
    addVector(product->w.table, "table");
    addVector(product->w.scale, "scale");
    addVector(product->w.zero, "zero");
    if (integer)
      addVector(product->w.sum, "weight_sum");
    if (integer && first) {
      addVector(x.scale, "x_scale");
      addVector(x.zero, "x_zero");
      addVector(x.sum, "x_sum");
    }
    if (spec.bias)
      addVector(product->bias.getBytes(), "bias");
    if (spec.residual)
      addVector(product->residual.getBytes(), "residual");
    blocks += llvm::divideCeil(product->shape.n, info.rows);
  }
  for (const void *&buffer : buffers)
    args.push_back(&buffer);
  std::vector<int32_t> sizes{static_cast<int32_t>(shape.m),
                             static_cast<int32_t>(shape.n),
                             static_cast<int32_t>(shape.k)};
  for (auto &product : products)
    if (product != products.front())
      sizes.push_back(static_cast<int32_t>(product->shape.n));
  for (int32_t &size : sizes)
    args.push_back(&size);
  // Small products in several orders of lanes, which finds races.
  EmulatorOptions options;
  if (shape.m * shape.n * shape.k < 1 << 20)
    options.order = LaneOrder::All;
  emulated->setRunOptions(options);
  Dim3 grid, block;
  grid.x = blocks;
  grid.y = llvm::divideCeil(shape.m, info.tokens);
  block.x = info.threads;
  llvm::Error failed =
      emulated->launch(info.name, grid, block, info.sharedBytes, args);
  for (const void *buffer : buffers)
    emulated->removeBuffer(buffer);
  if (failed)
    return llvm::toString(std::move(failed));

  for (auto &product : products) {
    std::string difference = product->compare(spec, x);
    if (!difference.empty())
      return info.name + ", N = " + std::to_string(product->shape.n) + ": " +
             difference;
  }
  return "";
}
