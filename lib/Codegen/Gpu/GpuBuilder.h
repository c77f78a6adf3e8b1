//===- GpuBuilder.h - Short forms to build GPU kernels ----------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Integers are i32 unless said otherwise; a pair of 16-bit floats travels as an
// i32, its first element in the low half.
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_LIB_CODEGEN_GPU_GPUBUILDER_H
#define GANQ_LIB_CODEGEN_GPU_GPUBUILDER_H

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"

namespace ganq {

class GpuBuilder {
public:
  using Value = mlir::Value;
  using Values = llvm::SmallVector<mlir::Value>;

  GpuBuilder(mlir::OpBuilder &builder, mlir::Location loc);

  mlir::OpBuilder &b;
  mlir::Location loc;
  mlir::Type i8, i16, i32, i64, f32;

  // Integers.
  Value i(int64_t value);
  Value add(Value a, Value b);
  Value add(Value a, int64_t b);
  Value sub(Value a, Value b);
  Value mul(Value a, Value b);
  Value mul(Value a, int64_t b);
  /// Unsigned, by a constant.
  Value div(Value a, int64_t b);
  Value rem(Value a, int64_t b);
  Value bitAnd(Value a, Value b);
  Value bitAnd(Value a, int64_t b);
  Value bitOr(Value a, Value b);
  Value bitOr(Value a, int64_t b);
  Value bitXor(Value a, Value b);
  Value shl(Value a, int64_t b);
  Value shr(Value a, int64_t b);
  /// Left by `by`, or right by `-by`, logically.
  Value shift(Value a, int64_t by) { return by < 0 ? shr(a, -by) : shl(a, by); }
  Value min(Value a, Value b);
  Value less(Value a, Value b);
  Value equal(Value a, Value b);
  Value both(Value a, Value b);
  Value select(Value condition, Value a, Value b);
  Value wide(Value a); ///< To i64, unsigned.
  /// Bytes of a and b by the nibbles of `selector`.
  Value permute(Value a, Value b, Value selector);
  Value permute(Value a, Value b, int64_t selector);
  /// c + sum of the products of four bytes, both unsigned.
  Value dot4(Value a, Value b, Value c);

  // Floats.
  Value f(float value);
  Value fadd(Value a, Value b);
  Value fmul(Value a, Value b);
  Value toFloat(Value integer); ///< Signed i32 to f32.
  Value extend(Value value);    ///< 16-bit float to f32.
  Value truncate(Value value, mlir::Type type);
  Value silu(Value value);
  Value relu(Value value);
  Value fsub(Value a, Value b);
  Value fdiv(Value a, Value b); ///< Correctly rounded.
  Value fma(Value a, Value b, Value c);
  Value fless(Value a, Value b);
  Value fmin(Value a, Value b); ///< Of the number where one is nan.
  Value fmax(Value a, Value b);
  /// To the nearest integer, ties to even, for magnitudes below 2^22.
  Value roundEven(Value value);
  Value toInteger(Value value); ///< Signed i32 of an f32.
  /// a b + c of pairs of `type`, as i32.
  Value fmaPairs(Value a, Value b, Value c, mlir::Type type);
  /// The bits of `value` in both halves.
  int64_t pairOf(double value, mlir::Type type);
  /// The 16 bits of a value, or the lower ones of a word, in both halves.
  Value broadcastPair(Value half);

  // Memory. Offsets count bytes.
  Value at(Value pointer, Value offset);
  Value at(Value pointer, int64_t offset);
  /// base + number * stride with unsigned factors, in a loop: one instruction
  /// there, also where factors do not change.
  Value atMultiple(Value base, Value number, Value stride);
  Value load(mlir::Type type, Value pointer, int64_t align,
             bool invariant = false);
  /// `count` words of i32 side by side; 1, 2 or 4.
  Values loadWords(int64_t count, Value pointer, bool invariant = false);
  void store(Value value, Value pointer, int64_t align);
  void storeWords(mlir::ValueRange words, Value pointer);
  /// 16 bytes from global to shared memory. With `bytes`, those from there on
  /// are not read and become 0.
  void copyAsync(Value shared, Value global, Value bytes);
  void commitCopies();
  void waitCopies(int64_t pending);
  /// Four 8x8 matrices of 16-bit elements.
  Values loadMatrices(Value pointer);

  // Threads.
  Value thread();
  Value block(mlir::gpu::Dimension dimension);
  void barrier();
  /// The value of the lane whose number differs in the bits of `mask`.
  Value exchange(Value value, int64_t mask);

  /// A matrix product of fragments; `c` has four values.
  Values mmaFloat(mlir::ValueRange a, mlir::ValueRange b, mlir::ValueRange c,
                  mlir::Type type);
  Values mmaBytes(mlir::ValueRange a, mlir::ValueRange b, mlir::ValueRange c);
  Values mmaBits(mlir::ValueRange a, mlir::ValueRange b, mlir::ValueRange c);

  // Control flow.
  Values loop(Value lower, Value upper, Value step, mlir::ValueRange inits,
              llvm::function_ref<Values(Value, mlir::ValueRange)> body);
  void loop(Value lower, Value upper, Value step,
            llvm::function_ref<void(Value)> body);
  void when(Value condition, llvm::function_ref<void()> body);
  void branch(Value condition, llvm::function_ref<void()> yes,
              llvm::function_ref<void()> no);
  /// `body`'s values where the condition holds, `otherwise` elsewhere.
  Values valuesWhen(Value condition, mlir::ValueRange otherwise,
                    llvm::function_ref<Values()> body);

private:
  Values unpack(Value structure, int64_t count);
  /// mma.m16n8k<depth> of operands of one kind.
  Values multiply(mlir::ValueRange a, mlir::ValueRange b, mlir::ValueRange c,
                  mlir::Type sum, int64_t depth, mlir::NVVM::MMATypes kind);
};

} // namespace ganq

#endif // GANQ_LIB_CODEGEN_GPU_GPUBUILDER_H
