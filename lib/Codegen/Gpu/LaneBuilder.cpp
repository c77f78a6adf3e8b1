//===- LaneBuilder.cpp - Kernels for the lanes of a block -----------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "LaneBuilder.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/IR/Matchers.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace ganq;
using Values = KernelBuilder::Values;

//===----------------------------------------------------------------------===//
// Lanes
//===----------------------------------------------------------------------===//

LaneBuilder::LaneBuilder(OpBuilder &builder, Location loc, Block *frame,
                         int64_t threads, ValueRange shared)
    : KernelBuilder(builder, loc, /*avx512=*/false, frame), threads(threads),
      shared(shared) {
  lane = gpu::ThreadIdOp::create(builder, loc, gpu::Dimension::x);
  block = gpu::BlockIdOp::create(builder, loc, gpu::Dimension::x);
}

void LaneBuilder::barrier() { gpu::BarrierOp::create(builder, loc); }

Value LaneBuilder::exchange(Value value, int64_t distance) {
  return gpu::ShuffleOp::create(builder, loc, value,
                                static_cast<int32_t>(distance), kWarp,
                                gpu::ShuffleMode::XOR)
      .getShuffleResult();
}

Value LaneBuilder::warpSum(Value value) {
  for (int64_t distance = kWarp / 2; distance; distance /= 2)
    value = addf(value, exchange(value, distance));
  return value;
}

Value LaneBuilder::warpMaximum(Value value) {
  for (int64_t distance = kWarp / 2; distance; distance /= 2)
    value = maxf(value, exchange(value, distance));
  return value;
}

Value LaneBuilder::acrossWarps(Value value, Value memref,
                               function_ref<Value(Value, Value)> combine) {
  if (threads == kWarp)
    return value;
  // The places may still be read from the call before.
  barrier();
  when(equal(rem(lane, index(kWarp)), index(0)),
       [&] { store(value, memref, div(lane, kWarp)); });
  barrier();
  Value total = load(memref, index(0));
  for (int64_t warp = 1; warp < threads / kWarp; ++warp)
    total = combine(total, load(memref, index(warp)));
  return total;
}

Value LaneBuilder::blockSum(Value value, Value memref) {
  return acrossWarps(warpSum(value), memref,
                     [&](Value a, Value b) { return addf(a, b); });
}

Value LaneBuilder::blockMaximum(Value value, Value memref) {
  return acrossWarps(warpMaximum(value), memref,
                     [&](Value a, Value b) { return maxf(a, b); });
}

void LaneBuilder::forLanes(Value count, function_ref<void(Value)> body) {
  loop(lane, count, threads, body);
}

Values LaneBuilder::delinearize(Value linear, ArrayRef<int64_t> shape) {
  Values indices(shape.size());
  for (size_t i = shape.size(); i-- > 0;) {
    if (shape[i] == 1) {
      indices[i] = index(0);
      continue;
    }
    bool last = llvm::all_of(shape.take_front(i),
                             [](int64_t size) { return size == 1; });
    indices[i] = last ? linear : rem(linear, index(shape[i]));
    linear = div(linear, shape[i]);
  }
  return indices;
}

Value LaneBuilder::select(Value condition, Value a, Value b) {
  return arith::SelectOp::create(builder, loc, condition, a, b);
}

Value LaneBuilder::equal(Value a, Value b) {
  return builder.createOrFold<arith::CmpIOp>(loc, arith::CmpIPredicate::eq, a,
                                             b);
}

Value LaneBuilder::both(Value a, Value b) {
  return builder.createOrFold<arith::AndIOp>(loc, a, b);
}

Value LaneBuilder::truncate(Value value, Type element) {
  return KernelBuilder::truncate(saturate(builder, loc, value, element),
                                 element);
}

void LaneBuilder::store(Value value, Value memref, ValueRange indices) {
  Type element = typeOf(memref).getElementType();
  KernelBuilder::store(saturate(builder, loc, value, element), memref, indices);
}

Value LaneBuilder::exp(Value x) { return math::ExpOp::create(builder, loc, x); }

void LaneBuilder::copy(Value from, ValueRange fromIndices, Value to,
                       ValueRange toIndices) {
  if (typeOf(from).getElementType() != typeOf(to).getElementType())
    return store(load(from, fromIndices), to, toIndices);
  Value value = memref::LoadOp::create(builder, loc, from, fromIndices);
  memref::StoreOp::create(builder, loc, value, to, toIndices);
}

//===----------------------------------------------------------------------===//
// Saturation
//===----------------------------------------------------------------------===//

static constexpr double kGreatestHalf = 65504.0;

Value ganq::saturate(OpBuilder &builder, Location loc, Value value,
                     Type target) {
  auto type = dyn_cast<FloatType>(value.getType());
  if (!target.isF16() || !type || type.getWidth() <= 16)
    return value;
  auto limit = [&](double number) -> Value {
    return arith::ConstantOp::create(builder, loc,
                                     builder.getFloatAttr(type, number));
  };
  value = arith::MinimumFOp::create(builder, loc, value, limit(kGreatestHalf));
  return arith::MaximumFOp::create(builder, loc, value, limit(-kGreatestHalf));
}

Value ganq::findSaturated(Value value) {
  auto isLimit = [](Value value, double number) {
    APFloat constant(0.0);
    return matchPattern(value, m_ConstantFloat(&constant)) &&
           constant.convertToDouble() == number;
  };
  auto greatest = value.getDefiningOp<arith::MaximumFOp>();
  auto least = greatest ? greatest.getLhs().getDefiningOp<arith::MinimumFOp>()
                        : arith::MinimumFOp();
  return least && isLimit(greatest.getRhs(), -kGreatestHalf) &&
                 isLimit(least.getRhs(), kGreatestHalf)
             ? least.getLhs()
             : Value();
}

//===----------------------------------------------------------------------===//
// The library
//===----------------------------------------------------------------------===//

MemRefType ganq::getSharedFloats(MLIRContext *context, int64_t count) {
  auto space =
      gpu::AddressSpaceAttr::get(context, gpu::AddressSpace::Workgroup);
  return MemRefType::get({count}, Float32Type::get(context),
                         MemRefLayoutAttrInterface(), space);
}

static gpu::GPUModuleOp getKernelModule(ModuleOp module) {
  constexpr StringRef kName = "ganq_kernels";
  OpBuilder builder = OpBuilder::atBlockEnd(module.getBody());
  module->setAttr(gpu::GPUDialect::getContainerModuleAttrName(),
                  builder.getUnitAttr());
  if (auto found = module.lookupSymbol<gpu::GPUModuleOp>(kName))
    return found;
  return gpu::GPUModuleOp::create(builder, module.getLoc(), kName);
}

GpuKernelLibrary::GpuKernelLibrary(ModuleOp module)
    : kernelModule(getKernelModule(module)), symbols(kernelModule) {}

void GpuKernelLibrary::launch(OpBuilder &builder, Location loc, StringRef name,
                              int64_t blocks, int64_t threads,
                              ValueRange inputs, ArrayRef<MemRefType> shared,
                              Body body, gpu::LaunchFuncOp then) {
  OpBuilder::InsertionGuard place(builder);
  SmallVector<Value> operands(inputs);
  gpu::GPUFuncOp next;
  std::string joinedName;
  if (then) {
    builder.setInsertionPoint(then);
    llvm::append_range(operands, then.getKernelOperands());
    next = symbols.lookup<gpu::GPUFuncOp>(then.getKernelName());
    joined.insert(next);
    joinedName = (name + "_" + next.getName()).str();
    name = joinedName;
  }
  gpu::GPUFuncOp kernel;
  {
    OpBuilder::InsertionGuard guard(builder);
    builder.setInsertionPointToEnd(kernelModule.getBody());
    // Shared by many ops: no location of one of them.
    Location kernelLoc = NameLoc::get(builder.getStringAttr(name));
    SmallVector<Type> sharedTypes(shared);
    kernel = gpu::GPUFuncOp::create(
        builder, kernelLoc, "kernel",
        builder.getFunctionType(ValueRange(operands).getTypes(), {}),
        sharedTypes);
    kernel->setAttr(gpu::GPUDialect::getKernelFuncAttrName(),
                    builder.getUnitAttr());
    kernel.setKnownBlockSizeAttr(
        builder.getDenseI32ArrayAttr({static_cast<int32_t>(threads), 1, 1}));
    Block *entry = &kernel.getBody().front();
    builder.setInsertionPointToStart(entry);
    LaneBuilder k(builder, kernelLoc, entry, threads,
                  kernel.getWorkgroupAttributions());
    body(k, entry->getArguments().take_front(inputs.size()));
    if (next) {
      k.barrier();
      IRMapping mapping;
      for (auto [i, argument] : llvm::enumerate(next.getArguments()))
        mapping.map(argument, entry->getArgument(inputs.size() + i));
      for (Operation &op : next.getBody().front().without_terminator())
        builder.clone(op, mapping);
      // What is constant for that kernel was written by this one.
      kernel.walk([](LLVM::LoadOp load) { load.setInvariant(false); });
      kernel->setAttr(NVVM::NVVMDialect::getMinctasmAttrName(),
                      builder.getI32IntegerAttr(1));
    }
    gpu::ReturnOp::create(builder, kernelLoc);
  }
  std::string text;
  llvm::raw_string_ostream stream(text);
  stream << name << ' ';
  kernel->print(stream, OpPrintingFlags().useLocalScope());
  gpu::GPUFuncOp &known = kernels[text];
  if (known) {
    kernel->erase();
  } else {
    known = kernel;
    kernel->remove();
    kernel.setName(name);
    symbols.insert(kernel);
  }
  auto size = [&](int64_t value) -> Value {
    return arith::ConstantIndexOp::create(builder, loc, value);
  };
  Value one = size(1);
  gpu::LaunchFuncOp::create(
      builder, loc, known, gpu::KernelDim3{size(blocks), one, one},
      gpu::KernelDim3{size(threads), one, one},
      then ? then.getDynamicSharedMemorySize() : Value(), operands);
  if (then)
    then.erase();
}

void GpuKernelLibrary::eraseUnused() {
  llvm::DenseSet<StringRef> launched;
  kernelModule->getParentOp()->walk([&](gpu::LaunchFuncOp launch) {
    launched.insert(launch.getKernelName().getValue());
  });
  for (Operation *kernel : joined)
    if (!launched.contains(cast<gpu::GPUFuncOp>(kernel).getName()))
      symbols.erase(kernel);
  joined.clear();
}

void GpuKernelLibrary::launchElements(
    OpBuilder &builder, Location loc, StringRef name, ArrayRef<int64_t> shape,
    ValueRange inputs,
    function_ref<void(LaneBuilder &, ValueRange, const Values &)> body,
    gpu::LaunchFuncOp then) {
  constexpr int64_t kThreads = 256;
  int64_t count = ShapedType::getNumElements(shape);
  if (count == 0)
    return;
  if (then) {
    launch(
        builder, loc, name, count / shape.back(), kThreads, inputs, {},
        [&](LaneBuilder &k, ValueRange args) {
          Values row = k.delinearize(k.block, shape.drop_back());
          k.forLanes(k.index(shape.back()), [&](Value column) {
            Values at(row);
            at.push_back(column);
            body(k, args, at);
          });
        },
        then);
    return;
  }
  auto threads = std::clamp<int64_t>(llvm::PowerOf2Ceil(count),
                                     LaneBuilder::kWarp, kThreads);
  int64_t blocks = llvm::divideCeil(count, threads);
  launch(builder, loc, name, blocks, threads, inputs, {},
         [&](LaneBuilder &k, ValueRange args) {
           Value linear =
               blocks == 1 ? k.lane : k.add(k.mul(k.block, threads), k.lane);
           auto emit = [&] { body(k, args, k.delinearize(linear, shape)); };
           if (count % threads == 0)
             return emit();
           k.when(k.less(linear, k.index(count)), emit);
         });
}
