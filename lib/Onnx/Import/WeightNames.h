//===- WeightNames.h - Keys of weights --------------------------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_LIB_ONNX_IMPORT_WEIGHTNAMES_H
#define GANQ_LIB_ONNX_IMPORT_WEIGHTNAMES_H

#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/StringSet.h"
#include <onnx/onnx_pb.h>
#include <string>

namespace ganq::onnx {

/// The value of metadata entry `key` in a message whose class does not know
/// the field `metadata_props`, number `field`; empty when there is none.
std::string getMetadata(const google::protobuf::Message &message, int field,
                        llvm::StringRef key);

/// Name of the value that an exporter's optimizer computed initializer `name`
/// from, if it says so in the metadata of the value info; else empty.
std::string getFoldedFrom(const ::onnx::ValueInfoProto &info);

/// Chooses the keys of weights. An initializer keeps its name unless an
/// exporter made the name up (`onnx::MatMul_123`); then the key is the name it
/// was folded from, or the path of the first node that reads it and the role
/// that it has there: `/layers.0/q_proj/MatMul` gives `layers.0.q_proj.weight`.
class WeightNames {
public:
  explicit WeightNames(const ::onnx::GraphProto &graph);

  /// A key that no earlier call returned.
  std::string getKey(llvm::StringRef initializer);

private:
  llvm::StringMap<std::string> proposals;
  llvm::StringSet<> realNames; ///< Not asked for yet.
  llvm::StringSet<> used;
};

} // namespace ganq::onnx

#endif // GANQ_LIB_ONNX_IMPORT_WEIGHTNAMES_H
