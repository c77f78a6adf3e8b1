//===- OnnxDialect.h - The onnx dialect -------------------------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The dialect and small helpers to match and build its operations. Operators
// are found by name, without the dialect prefix: "Add" stands for onnx.Add,
// "com.microsoft.GroupQueryAttention" for the operator of that domain.
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_ONNX_ONNXDIALECT_H
#define GANQ_ONNX_ONNXDIALECT_H

#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/ExtensibleDialect.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/Interfaces/ControlFlowInterfaces.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"
#include <optional>

#include "ganq/Onnx/OnnxDialect.h.inc"

#define GET_TYPEDEF_CLASSES
#include "ganq/Onnx/OnnxTypes.h.inc"

#define GET_OP_CLASSES
#include "ganq/Onnx/OnnxOps.h.inc"

namespace ganq::onnx {

void registerOnnxDialect(mlir::DialectRegistry &registry);

/// What later passes can do with an operator.
enum class OpSupport { None, Lower, Raise };

/// One line of the operator table (lib/Onnx/OnnxOps.inc).
struct OpSchema {
  llvm::StringRef name; ///< With its domain, without the dialect prefix.
  unsigned minOperands, maxOperands;
  unsigned minResults, maxResults;
  unsigned sinceVersion; ///< Opset that brought it.
  unsigned tier;         ///< 1 = language models, 2 = common, 3 = the rest.
  OpSupport support;
};

/// All operators of the table, sorted by name.
llvm::ArrayRef<OpSchema> getOpSchemas();
/// Null for operators that the table does not know.
const OpSchema *lookupOpSchema(llvm::StringRef name);
/// True when the operator, or a form that the normalizer and folder remove,
/// can be compiled.
bool isSupportedOp(llvm::StringRef name);

//===----------------------------------------------------------------------===//
// Matching
//===----------------------------------------------------------------------===//

/// "Add" for onnx.Add; empty for operations of other dialects or null.
llvm::StringRef getOpName(mlir::Operation *op);
bool isOnnxOp(mlir::Operation *op, llvm::StringRef name);
bool isOnnxOp(mlir::Operation *op, llvm::ArrayRef<llvm::StringRef> names);
/// The defining operation of `value` when it is operator `name`, else null.
mlir::Operation *getDefiningOnnxOp(mlir::Value value, llvm::StringRef name);

/// True for a missing optional operand (onnx.None or a null value).
bool isNone(mlir::Value value);
/// Operand `index`, or a null value when it is missing or onnx.None.
mlir::Value getOperand(mlir::Operation *op, unsigned index);

int64_t getInt(mlir::Operation *op, llvm::StringRef name, int64_t defaultValue);
double getFloat(mlir::Operation *op, llvm::StringRef name, double defaultValue);
llvm::StringRef getString(mlir::Operation *op, llvm::StringRef name,
                          llvm::StringRef defaultValue = "");
std::optional<llvm::ArrayRef<int64_t>> getInts(mlir::Operation *op,
                                               llvm::StringRef name);
std::optional<llvm::ArrayRef<float>> getFloats(mlir::Operation *op,
                                               llvm::StringRef name);
/// The name of the ONNX node that `op` came from; may be empty.
llvm::StringRef getNodeName(mlir::Operation *op);

/// The value of an onnx.Constant (seen through onnx.Identity).
std::optional<mlir::DenseElementsAttr> matchConstant(mlir::Value value);
/// Appends the elements of a constant integer or boolean tensor.
bool getConstantInts(mlir::Value value,
                     llvm::SmallVectorImpl<int64_t> &elements);
/// Appends the elements of a constant float or integer tensor.
bool getConstantFloats(mlir::Value value,
                       llvm::SmallVectorImpl<double> &elements);
std::optional<int64_t> getConstantInt(mlir::Value value);
/// The single element of a constant of one element of any rank.
std::optional<double> getConstantFloat(mlir::Value value);

/// The element type with an ONNX number, such as attribute `to` of Cast has;
/// null when there is none. Knows the types up to opset 25.
mlir::Type getElementType(int64_t number, mlir::MLIRContext *context);
std::optional<int64_t> getElementTypeNumber(mlir::Type type);

//===----------------------------------------------------------------------===//
// Building
//===----------------------------------------------------------------------===//

mlir::Operation *createOnnxOp(mlir::OpBuilder &builder, mlir::Location loc,
                              llvm::StringRef name, mlir::TypeRange resultTypes,
                              mlir::ValueRange operands,
                              llvm::ArrayRef<mlir::NamedAttribute> attrs = {});
mlir::Value createConstant(mlir::OpBuilder &builder, mlir::Location loc,
                           mlir::DenseElementsAttr value);
/// A rank 1 tensor of i64.
mlir::Value createInts(mlir::OpBuilder &builder, mlir::Location loc,
                       llvm::ArrayRef<int64_t> elements);
/// A rank 0 tensor of i64.
mlir::Value createInt(mlir::OpBuilder &builder, mlir::Location loc,
                      int64_t element);
mlir::Value createNone(mlir::OpBuilder &builder, mlir::Location loc);

} // namespace ganq::onnx

#endif // GANQ_ONNX_ONNXDIALECT_H
