//===- TensorReader.h - Types and tensors of an ONNX file -------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_LIB_ONNX_IMPORT_TENSORREADER_H
#define GANQ_LIB_ONNX_IMPORT_TENSORREADER_H

#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Diagnostics.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/Support/MemoryBuffer.h"
#include <memory>
#include <onnx/onnx_pb.h>
#include <string>
#include <variant>
#include <vector>

namespace ganq::onnx {

using EmitError = llvm::function_ref<mlir::InFlightDiagnostic()>;

/// Converts types of values and binds their symbolic dimensions.
class ValueTypes {
public:
  ValueTypes(mlir::MLIRContext *context,
             const llvm::StringMap<int64_t> &bindings)
      : context(context), bindings(bindings) {}

  /// Null, after an error, when the type is malformed. `dims`, when given,
  /// gets one integer or string per dimension of a ranked tensor.
  mlir::Type convert(const ::onnx::TypeProto &type, EmitError emitError,
                     mlir::ArrayAttr *dims = nullptr) const;
  /// Type of a value that the file tells nothing about.
  mlir::Type getUnknown() const;

private:
  mlir::Type convertTensor(int32_t elementType,
                           const ::onnx::TensorShapeProto *shape,
                           EmitError emitError, mlir::ArrayAttr *dims) const;

  mlir::MLIRContext *context;
  const llvm::StringMap<int64_t> &bindings;
};

/// A byte range of the model file or of a file beside it.
struct DataRange {
  std::string file; ///< Relative to the folder of the model.
  int64_t offset = 0;
  int64_t length = 0;
};

/// Reads tensors of one model file.
class TensorReader {
public:
  TensorReader(llvm::StringRef modelPath, const llvm::MemoryBuffer &model,
               mlir::MLIRContext *context)
      : modelPath(modelPath), model(model), context(context) {}

  /// Type from the tensor's dimensions and element type; null after an error.
  mlir::RankedTensorType getType(const ::onnx::TensorProto &tensor,
                                 EmitError emitError);
  /// Where the bytes of a tensor are: a range of a file when they are large or
  /// external, else the bytes themselves in the format of raw data.
  using Source = std::variant<DataRange, std::vector<char>>;
  mlir::FailureOr<Source> locate(const ::onnx::TensorProto &tensor,
                                 mlir::RankedTensorType type,
                                 EmitError emitError);
  /// The tensor as an attribute, wherever its bytes are; null after an error.
  mlir::DenseElementsAttr read(const ::onnx::TensorProto &tensor,
                               EmitError emitError);
  mlir::DenseElementsAttr
  read(const Source &source, mlir::RankedTensorType type, EmitError emitError);

private:
  mlir::FailureOr<DataRange> locateExternal(const ::onnx::TensorProto &tensor,
                                            int64_t bytes, EmitError emitError);
  /// Opens a file that external data name, once.
  const llvm::MemoryBuffer *openExternal(llvm::StringRef location,
                                         EmitError emitError);

  std::string modelPath;
  const llvm::MemoryBuffer &model;
  mlir::MLIRContext *context;
  llvm::StringMap<std::unique_ptr<llvm::MemoryBuffer>> files;
};

} // namespace ganq::onnx

#endif // GANQ_LIB_ONNX_IMPORT_TENSORREADER_H
