//===- MaterializeSchemes.cpp - Encoded weights to stored tensors ---------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/Codegen/CostModel.h"
#include "ganq/Schemes/Passes.h"
#include "ganq/Support/ActivationLayout.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/Builders.h"
#include "llvm/ADT/StringSwitch.h"
#include <tuple>

using namespace mlir;
using namespace ganq;

namespace ganq {
#define GEN_PASS_DEF_MATERIALIZESCHEMES
#include "ganq/Schemes/Passes.h.inc"
} // namespace ganq

namespace {

/// f(a, b) element by element; b may have the last dimension of a only.
Value combine(OpBuilder &builder, Location loc, Value a, Value b,
              function_ref<Value(OpBuilder &, Value, Value)> body) {
  auto type = cast<RankedTensorType>(a.getType());
  auto other = cast<RankedTensorType>(b.getType());
  int64_t rank = type.getRank();
  AffineMap all = builder.getMultiDimIdentityMap(rank);
  AffineMap last = all.getMinorSubMap(other.getRank());
  SmallVector<OpFoldResult> sizes = tensor::getMixedSizes(builder, loc, a);
  Value empty =
      tensor::EmptyOp::create(builder, loc, sizes, type.getElementType());
  SmallVector<utils::IteratorType> loops(rank, utils::IteratorType::parallel);
  return linalg::GenericOp::create(
             builder, loc, type, ValueRange{a, b}, empty,
             ArrayRef<AffineMap>{all, last, all}, loops,
             [&](OpBuilder &inner, Location, ValueRange args) {
               Value second = args[1];
               unsigned from = second.getType().getIntOrFloatBitWidth(),
                        to = type.getElementTypeBitWidth();
               if (from < to)
                 second = arith::ExtFOp::create(inner, loc,
                                                type.getElementType(), second);
               else if (from > to)
                 second = arith::TruncFOp::create(
                     inner, loc, type.getElementType(), second);
               linalg::YieldOp::create(inner, loc,
                                       body(inner, args[0], second));
             })
      .getResult(0);
}

struct MaterializeSchemesPass
    : ganq::impl::MaterializeSchemesBase<MaterializeSchemesPass> {
  using MaterializeSchemesBase::MaterializeSchemesBase;

  void runOnOperation() override {
    if (strategy != "auto" && !symbolizeStrategy(strategy)) {
      getOperation().emitError("expected `strategy` to be auto, int8 or "
                               "popcount, but got `")
          << strategy << "`";
      return signalPassFailure();
    }
    records.clear();
    SmallVector<MatmulOp> products;
    getOperation().walk([&](MatmulOp matmul) {
      auto type = dyn_cast<RankedTensorType>(matmul.getWeight().getType());
      if (type && isa_and_nonnull<SchemeAttrInterface>(type.getEncoding()))
        products.push_back(matmul);
    });
    for (MatmulOp matmul : products) {
      auto weight = matmul.getWeight().getDefiningOp<ParameterOp>();
      if (!weight) {
        matmul.emitError("expected the encoded weight to be a "
                         "`ganq.parameter`, but got a computed value");
        return signalPassFailure();
      }
      if (failed(materialize(matmul, weight)))
        return signalPassFailure();
    }
  }

private:
  LogicalResult materialize(MatmulOp matmul, ParameterOp weight) {
    auto type = cast<RankedTensorType>(weight.getType());
    auto scheme = cast<SchemeAttrInterface>(type.getEncoding());
    int64_t n = type.getDimSize(0), k = type.getDimSize(1);
    Location loc = matmul.getLoc();

    OpBuilder builder(matmul);
    SmallVector<Value> components;
    Value inputScale, inputShift, offset;
    for (const SchemeComponent &component : scheme.getComponents(n, k)) {
      Value value = ParameterOp::create(
          builder, weight.getLoc(), component.type,
          builder.getStringAttr(weight.getKey() + "." + component.suffix),
          ExternalAttr(), UnitAttr());
      if (Value *slot = llvm::StringSwitch<Value *>(component.suffix)
                            .Case("input_scale", &inputScale)
                            .Case("input_shift", &inputShift)
                            .Case("offset", &offset)
                            .Default(nullptr))
        *slot = value;
      else
        components.push_back(value);
    }
    if (auto uniform = dyn_cast<UniformAttr>(scheme))
      scheme = cast<SchemeAttrInterface>(Attribute(UniformAttr::get(
          &getContext(), uniform.getBits(), uniform.getGroup(),
          uniform.getLevels(), uniform.getScale(), uniform.getActivation(),
          /*smooth=*/false, /*shift=*/false)));

    Value x = matmul.getX(), bias = matmul.getBias();
    StrategyAttr how;
    if (scheme.getActivationBits()) {
      FailureOr<Strategy> chosen = choose(matmul, scheme);
      if (failed(chosen))
        return failure();
      how = StrategyAttr::get(&getContext(), *chosen);
      x = quantizeRows(builder, matmul, scheme, *chosen, k, inputScale,
                       inputShift);
    } else if (inputScale) {
      x = combine(builder, loc, x, inputScale,
                  [&](OpBuilder &inner, Value a, Value b) -> Value {
                    return arith::DivFOp::create(inner, loc, a, b);
                  });
    }
    if (offset)
      bias = bias ? combine(builder, loc, offset, bias,
                            [&](OpBuilder &inner, Value a, Value b) -> Value {
                              return arith::AddFOp::create(inner, loc, a, b);
                            })
                  : offset;

    auto packed =
        PackedMatmulOp::create(builder, loc, matmul.getResult().getType(), x,
                               components, bias, Value(), scheme, n, k, how);
    packed->setDiscardableAttrs(matmul->getDiscardableAttrDictionary());
    matmul.getResult().replaceAllUsesWith(packed.getResult());
    matmul.erase();
    if (weight->use_empty())
      weight.erase();
    return success();
  }

  FailureOr<Strategy> choose(MatmulOp matmul, SchemeAttrInterface scheme) {
    if (strategy == "auto")
      return chooseStrategy(scheme);
    Strategy asked = *symbolizeStrategy(strategy);
    if (asked == Strategy::popcount && isa<LutAttr>(scheme))
      return matmul.emitError("expected strategy int8 or auto with tables, but "
                              "got popcount, which counts the bits of codes");
    int64_t unit = getCountedColumns(scheme);
    if (asked == Strategy::popcount && scheme.getGroupSize() % unit != 0)
      return matmul.emitError("expected groups of whole units, multiples of ")
             << unit << " columns, for strategy popcount, but got " << scheme
             << "; use strategy int8 or another group";
    return asked;
  }

  /// The record of x for a product; products that need the same share it.
  Value quantizeRows(OpBuilder &builder, MatmulOp matmul,
                     SchemeAttrInterface scheme, Strategy how, int64_t k,
                     Value inputScale, Value inputShift) {
    Value x = matmul.getX();
    unsigned bits = scheme.getActivationBits();
    unsigned planeBits = how == Strategy::popcount ? scheme.getCodeBits() : 0;
    // Within a block the first product comes before the others.
    auto keyOf = [](Value value) -> const void * {
      return value ? value.getDefiningOp<ParameterOp>()
                         .getKeyAttr()
                         .getAsOpaquePointer()
                   : nullptr;
    };
    Value &record = records[{x.getAsOpaquePointer(), matmul->getBlock(), bits,
                             scheme.getSumGroup(), planeBits, keyOf(inputScale),
                             keyOf(inputShift)}];
    if (record)
      return record;
    SmallVector<int64_t> shape(cast<RankedTensorType>(x.getType()).getShape());
    shape.back() =
        ActivationLayout(bits, k, scheme.getSumGroup(), planeBits).getBytes();
    record =
        QuantizeRowsOp::create(
            builder, matmul.getLoc(),
            RankedTensorType::get(shape, builder.getI8Type()), x, inputScale,
            inputShift, Value(), bits, scheme.getSumGroup(), planeBits)
            .getResult();
    return record;
  }

  using RecordKey = std::tuple<const void *, Block *, unsigned, int64_t,
                               unsigned, const void *, const void *>;
  std::map<RecordKey, Value> records;
};

} // namespace
