//===- WireFormat.h - Takes weights out of an ONNX file ---------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// An ONNX file may hold gigabytes of tensor data inside its protobuf message.
// The message classes would copy them; this walker instead rewrites the
// message without them and notes where in the file they lie.
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_LIB_ONNX_IMPORT_WIREFORMAT_H
#define GANQ_LIB_ONNX_IMPORT_WIREFORMAT_H

#include "llvm/ADT/StringRef.h"
#include <optional>
#include <string>

namespace ganq::onnx {

/// Fields that the walker adds to a TensorProto whose data it took out: the
/// byte range in the model file. ONNX uses neither number.
constexpr int kDataOffsetField = 200001;
constexpr int kDataLengthField = 200002;

/// Tensors of fewer bytes stay in the message and become constants in the IR.
constexpr uint64_t kInlineLimit = 1024;

/// Returns the serialized ModelProto `file` without the data of large tensors,
/// or nullopt with a reason in `error` when `file` is no well-formed message.
std::optional<std::string> stripTensorData(llvm::StringRef file,
                                           std::string &error);

} // namespace ganq::onnx

#endif // GANQ_LIB_ONNX_IMPORT_WIREFORMAT_H
