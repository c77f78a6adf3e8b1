//===- LowerTableLookup.cpp - ganq.table_lookup to permutes ---------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/Codegen/Passes.h"
#include "ganq/IR/GanqDialect.h"
#include "ganq/Target/CpuTarget.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"
#include "llvm/Support/MathExtras.h"

namespace ganq {
#define GEN_PASS_DEF_LOWERTABLELOOKUP
#include "ganq/Codegen/Passes.h.inc"
} // namespace ganq

using namespace mlir;
using namespace ganq;

namespace {

struct LowerLookup : OpRewritePattern<TableLookupOp> {
  LowerLookup(MLIRContext *context, bool avx512)
      : OpRewritePattern(context), avx512(avx512) {}

  LogicalResult matchAndRewrite(TableLookupOp op,
                                PatternRewriter &rewriter) const override {
    int64_t lanes = op.getIndex().getType().getNumElements();
    int64_t width = avx512 ? 16 : 8;
    bool isF32 = op.getTable().getType().getElementType().isF32();
    // Beyond eight registers of table a chain of selects no longer pays.
    if (!isF32 || lanes % width != 0 ||
        op.getTable().getType().getNumElements() > 8 * width) {
      rewriter.replaceOp(op, extractEach(rewriter, op));
      return success();
    }
    Value result;
    if (lanes == width) {
      result = permute(rewriter, op.getLoc(), op.getTable(), op.getIndex());
    } else {
      result = arith::ConstantOp::create(rewriter, op.getLoc(),
                                         rewriter.getZeroAttr(op.getType()));
      for (int64_t at = 0; at < lanes; at += width) {
        Value index = slice(rewriter, op.getLoc(), op.getIndex(), at, width);
        result = vector::InsertStridedSliceOp::create(
            rewriter, op.getLoc(),
            permute(rewriter, op.getLoc(), op.getTable(), index), result,
            ArrayRef<int64_t>{at}, ArrayRef<int64_t>{1});
      }
    }
    rewriter.replaceOp(op, result);
    return success();
  }

private:
  static Value slice(OpBuilder &builder, Location loc, Value vector, int64_t at,
                     int64_t size) {
    return vector::ExtractStridedSliceOp::create(
        builder, loc, vector, ArrayRef<int64_t>{at}, ArrayRef<int64_t>{size},
        ArrayRef<int64_t>{1});
  }

  static Value intrinsic(OpBuilder &builder, Location loc, StringRef name,
                         ValueRange args, Type result) {
    return LLVM::CallIntrinsicOp::create(builder, loc, result,
                                         builder.getStringAttr(name), args)
        .getResult(0);
  }

  /// Looks up one register of indices; the permutes ignore high bits.
  Value permute(OpBuilder &builder, Location loc, Value table,
                Value index) const {
    auto type = cast<VectorType>(table.getType());
    int64_t entries = type.getNumElements();
    auto indexType = cast<VectorType>(index.getType());
    int64_t width = indexType.getNumElements();
    auto resultType = VectorType::get({width}, type.getElementType());
    if (entries < width) {
      SmallVector<int64_t> repeat;
      for (int64_t i = 0; i < width; ++i)
        repeat.push_back(i % entries);
      table = vector::ShuffleOp::create(builder, loc, table, table, repeat);
      entries = width;
    }
    if (entries == width)
      return avx512 ? intrinsic(builder, loc, "llvm.x86.avx512.permvar.sf.512",
                                {table, index}, resultType)
                    : intrinsic(builder, loc, "llvm.x86.avx2.permps",
                                {table, index}, resultType);
    Value low = slice(builder, loc, table, 0, entries / 2);
    Value high = slice(builder, loc, table, entries / 2, entries / 2);
    if (avx512 && entries == 2 * width)
      return intrinsic(builder, loc, "llvm.x86.avx512.vpermi2var.ps.512",
                       {low, index, high}, resultType);
    // The bit above those of a half, moved to the sign, is what a blend reads.
    auto constant = [&](int32_t value) -> Value {
      return arith::ConstantOp::create(
          builder, loc, DenseElementsAttr::get(indexType, value));
    };
    Value sign = arith::ShLIOp::create(
        builder, loc, index, constant(31 - llvm::Log2_64(entries / 2)));
    Value lower = permute(builder, loc, low, index);
    Value upper = permute(builder, loc, high, index);
    if (!avx512)
      return intrinsic(
          builder, loc, "llvm.x86.avx.blendv.ps.256",
          {lower, upper,
           arith::BitcastOp::create(builder, loc, resultType, sign)},
          resultType);
    Value chosen = arith::CmpIOp::create(
        builder, loc, arith::CmpIPredicate::slt, sign, constant(0));
    return arith::SelectOp::create(builder, loc, chosen, upper, lower);
  }

  static Value extractEach(OpBuilder &builder, TableLookupOp op) {
    Location loc = op.getLoc();
    auto indexType = op.getIndex().getType();
    Value mask = arith::ConstantOp::create(
        builder, loc,
        DenseElementsAttr::get(
            indexType, static_cast<int32_t>(
                           op.getTable().getType().getNumElements() - 1)));
    Value index = arith::AndIOp::create(builder, loc, op.getIndex(), mask);
    Value result = arith::ConstantOp::create(builder, loc,
                                             builder.getZeroAttr(op.getType()));
    for (int64_t i = 0; i < indexType.getNumElements(); ++i) {
      Value position = arith::IndexCastUIOp::create(
          builder, loc, builder.getIndexType(),
          vector::ExtractOp::create(builder, loc, index, i));
      Value entry = vector::ExtractOp::create(builder, loc, op.getTable(),
                                              OpFoldResult(position));
      result = vector::InsertOp::create(builder, loc, entry, result, i);
    }
    return result;
  }

  bool avx512;
};

struct LowerTableLookupPass
    : ganq::impl::LowerTableLookupBase<LowerTableLookupPass> {
  using LowerTableLookupBase::LowerTableLookupBase;

  void runOnOperation() override {
    llvm::Expected<CpuTarget> target = CpuTarget::get(cpu);
    if (!target) {
      getOperation()->emitError(llvm::toString(target.takeError()));
      return signalPassFailure();
    }
    RewritePatternSet patterns(&getContext());
    patterns.add<LowerLookup>(&getContext(), target->avx512);
    if (failed(applyPatternsGreedily(getOperation(), std::move(patterns))))
      signalPassFailure();
  }
};

} // namespace
