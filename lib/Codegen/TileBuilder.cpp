//===- TileBuilder.cpp - Short forms for tile registers -------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "TileBuilder.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"

using namespace mlir;
using namespace ganq;

TileBuilder::TileBuilder(KernelBuilder &k)
    : k(k), tile(LLVM::LLVMX86AMXType::get(k.builder.getContext())) {}

Value TileBuilder::address(Value memref, Value offset) {
  Value base =
      memref::ExtractAlignedPointerAsIndexOp::create(k.builder, k.loc, memref);
  Value place = arith::IndexCastOp::create(
      k.builder, k.loc, k.builder.getI64Type(), k.add(base, offset));
  return LLVM::IntToPtrOp::create(
      k.builder, k.loc, LLVM::LLVMPointerType::get(k.builder.getContext()),
      place);
}

Value TileBuilder::shape(int64_t size) {
  return arith::ConstantOp::create(
      k.builder, k.loc,
      k.builder.getI16IntegerAttr(static_cast<int16_t>(size)));
}

Value TileBuilder::call(StringRef name, ArrayRef<Value> args) {
  StringAttr intrinsic =
      k.builder.getStringAttr("llvm.x86." + name + ".internal");
  return LLVM::CallIntrinsicOp::create(k.builder, k.loc, tile, intrinsic, args)
      .getResult(0);
}

Value TileBuilder::zero(int64_t rows) {
  return call("tilezero", {shape(rows), shape(kBytes)});
}

Value TileBuilder::load(Value address, int64_t rows, int64_t bytes,
                        int64_t stride) {
  Value distance = arith::ConstantOp::create(
      k.builder, k.loc, k.builder.getI64IntegerAttr(stride));
  return call("tileloadd64", {shape(rows), shape(bytes), address, distance});
}

Value TileBuilder::loadSums(Value address, int64_t rows) {
  return load(address, rows, kBytes, kBytes);
}

void TileBuilder::storeSums(Value sums, Value address, int64_t rows) {
  Value distance = arith::ConstantOp::create(
      k.builder, k.loc, k.builder.getI64IntegerAttr(kBytes));
  LLVM::CallIntrinsicOp::create(
      k.builder, k.loc,
      k.builder.getStringAttr("llvm.x86.tilestored64.internal"),
      ValueRange{shape(rows), shape(kBytes), address, distance, sums});
}

Value TileBuilder::dot(Value sums, Value signedRows, Value columns,
                       int64_t rows, int64_t bytes) {
  return call("tdpbsud", {shape(rows), shape(kBytes), shape(bytes), sums,
                          signedRows, columns});
}

Value TileBuilder::dotFloats(Value sums, Value rows, Value columns) {
  return call("tdpbf16ps", {shape(kRows), shape(kBytes), shape(kBytes), sums,
                            rows, columns});
}
