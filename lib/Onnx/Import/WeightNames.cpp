//===- WeightNames.cpp - Keys of weights ----------------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "WeightNames.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/Regex.h"
#include <google/protobuf/unknown_field_set.h>

using namespace ganq::onnx;
using llvm::StringRef;

std::string ganq::onnx::getMetadata(const google::protobuf::Message &message,
                                    int field, StringRef key) {
  const auto &fields = message.GetReflection()->GetUnknownFields(message);
  for (int i = 0; i < fields.field_count(); ++i) {
    const google::protobuf::UnknownField &unknown = fields.field(i);
    ::onnx::StringStringEntryProto entry;
    if (unknown.number() == field &&
        unknown.type() ==
            google::protobuf::UnknownField::TYPE_LENGTH_DELIMITED &&
        entry.ParseFromString(unknown.length_delimited()) &&
        StringRef(entry.key()) == key)
      return entry.value();
  }
  return {};
}

std::string ganq::onnx::getFoldedFrom(const ::onnx::ValueInfoProto &info) {
  constexpr int kMetadataProps = 4;
  std::string value =
      getMetadata(info, kMetadataProps, "pkg.onnxscript.optimizer.folded_from");
  // One name, bare or as a list in Python's notation.
  StringRef name = StringRef(value).trim("[]{}()'\" ");
  return name.contains(',') ? std::string() : name.str();
}

static bool isMadeUp(StringRef name) {
  static const llvm::Regex pattern(
      "^(.*::.*|[0-9]+|(val|t|v|w|node|const|constant|Constant|tensor|"
      "initializer|fused)_?[0-9]+)$");
  return pattern.match(name);
}

/// What operand `index` of an operator is called.
static StringRef getRole(StringRef op, int index) {
  bool product = op == "MatMul" || op == "Gemm" || op == "Conv" ||
                 op == "FusedMatMul" || op == "MatMulNBits" ||
                 op == "MatMulInteger";
  if (op == "MatMulNBits" && index >= 2)
    return index == 2 ? "scales" : index == 3 ? "zero_points" : "group_index";
  if (product || op.ends_with("Normalization"))
    return index == 1 ? "weight" : "bias";
  if (op == "Transpose" || op == "Gather" || op == "Cast" ||
      op == "DequantizeLinear")
    return index == 0 ? "weight" : index == 1 ? "scales" : "zero_points";
  if (op == "Add")
    return "bias";
  return "constant";
}

/// `/layers.0/q_proj/MatMul` to `layers.0.q_proj`; empty when the node's name
/// is no path.
static std::string getModulePath(const ::onnx::NodeProto &node) {
  llvm::SmallVector<StringRef> parts;
  StringRef(node.name()).split(parts, '/', -1, /*KeepEmpty=*/false);
  if (parts.size() < 2)
    return {};
  if (parts.back().starts_with(node.op_type()))
    parts.pop_back();
  return llvm::join(parts, ".");
}

WeightNames::WeightNames(const ::onnx::GraphProto &graph) {
  llvm::StringSet<> madeUp;
  for (const ::onnx::TensorProto &tensor : graph.initializer())
    if (isMadeUp(tensor.name()))
      madeUp.insert(tensor.name());
    else if (!tensor.name().empty() && used.insert(tensor.name()).second)
      realNames.insert(tensor.name()); // No other weight may take the name.
  for (const ::onnx::ValueInfoProto &info : graph.value_info())
    if (madeUp.contains(info.name())) {
      std::string origin = getFoldedFrom(info);
      if (!origin.empty())
        proposals.try_emplace(info.name(), std::move(origin));
    }
  for (const ::onnx::NodeProto &node : graph.node())
    for (int i = 0; i < node.input_size(); ++i) {
      StringRef input = node.input(i);
      if (!madeUp.contains(input) || proposals.contains(input))
        continue;
      std::string module = getModulePath(node);
      if (!module.empty())
        proposals[input] = module + "." + getRole(node.op_type(), i).str();
    }
}

std::string WeightNames::getKey(StringRef initializer) {
  if (realNames.erase(initializer))
    return initializer.str();
  auto proposal = proposals.find(initializer);
  std::string key =
      proposal == proposals.end() ? initializer.str() : proposal->second;
  if (key.empty())
    key = "weight";
  std::string unique = key;
  for (unsigned i = 1; !used.insert(unique).second; ++i)
    unique = key + "." + std::to_string(i);
  return unique;
}
