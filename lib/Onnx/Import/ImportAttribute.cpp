//===- ImportAttribute.cpp - ONNX attributes, constants and weights -------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "GraphImporter.h"
#include "WireFormat.h"

using namespace mlir;
using namespace ganq::onnx;

FailureOr<Value> GraphImporter::importTensor(const ::onnx::TensorProto &tensor,
                                             Location loc, StringRef name) {
  auto error = [&] { return emitError(loc); };
  RankedTensorType type = tensors.getType(tensor, error);
  if (!type)
    return failure();
  DenseElementsAttr value;
  if (isa<StringType>(type.getElementType())) {
    value = tensors.read(tensor, error);
  } else {
    FailureOr<TensorReader::Source> source =
        tensors.locate(tensor, type, error);
    if (failed(source))
      return failure();
    const auto *range = std::get_if<DataRange>(&*source);
    if (range && range->length >= static_cast<int64_t>(kInlineLimit) &&
        !options.inlineWeights) {
      auto external = ExternalAttr::get(builder.getContext(), range->file,
                                        range->offset, range->length);
      return ParameterOp::create(builder, loc, type, names.getKey(name),
                                 external, /*transposed=*/false)
          .getResult();
    }
    value = tensors.read(*source, type, error);
  }
  if (!value)
    return failure();
  return createConstant(builder, loc, value);
}

FailureOr<Value>
GraphImporter::importSparseTensor(const ::onnx::SparseTensorProto &tensor,
                                  Location loc) {
  FailureOr<Value> values = importTensor(tensor.values(), loc, "sparse.values");
  FailureOr<Value> indices =
      importTensor(tensor.indices(), loc, "sparse.indices");
  if (failed(values) || failed(indices))
    return failure();
  SmallVector<int64_t> dims(tensor.dims().begin(), tensor.dims().end());
  if (llvm::any_of(dims, [](int64_t dim) { return dim < 0; }))
    return emitError(loc) << "expected dimensions of at least 0";
  Type element = cast<ShapedType>(values->getType()).getElementType();
  auto type = SparseType::get(builder.getContext(),
                              RankedTensorType::get(dims, element));
  return createOnnxOp(builder, loc, "SparseTensor", type, {*values, *indices})
      ->getResult(0);
}

LogicalResult GraphImporter::importConstant(const ::onnx::NodeProto &node,
                                            Location loc, Scope &scope,
                                            const Call *call) {
  if (node.output_size() != 1 || node.input_size() != 0)
    return emitError(loc)
           << "expected Constant with no operand and one result, but got "
           << node.input_size() << " and " << node.output_size();
  FailureOr<Value> value = failure();
  auto scalar = [&](Type type, Attribute attr) -> FailureOr<Value> {
    return createConstant(
        builder, loc,
        DenseElementsAttr::get(RankedTensorType::get({}, type), attr));
  };
  const ::onnx::AttributeProto *attribute =
      node.attribute_size() == 1 ? resolve(node.attribute(0), call) : nullptr;
  if (!attribute)
    return emitError(loc) << "expected Constant with one value, but got "
                          << node.attribute_size() << " attributes";
  StringRef kind = node.attribute(0).name();
  auto vector = [&](Type type, int64_t size) {
    return RankedTensorType::get({size}, type);
  };
  Type string = StringType::get(builder.getContext());
  if (kind == "value" && attribute->has_t()) {
    value = importTensor(attribute->t(), loc, node.output(0));
  } else if (kind == "sparse_value" && attribute->has_sparse_tensor()) {
    value = importSparseTensor(attribute->sparse_tensor(), loc);
  } else if (kind == "value_int") {
    value =
        scalar(builder.getI64Type(), builder.getI64IntegerAttr(attribute->i()));
  } else if (kind == "value_float") {
    value =
        scalar(builder.getF32Type(), builder.getF32FloatAttr(attribute->f()));
  } else if (kind == "value_ints") {
    value =
        createInts(builder, loc,
                   ArrayRef(attribute->ints().data(), attribute->ints_size()));
  } else if (kind == "value_floats") {
    value = createConstant(
        builder, loc,
        DenseElementsAttr::get(
            vector(builder.getF32Type(), attribute->floats_size()),
            ArrayRef(attribute->floats().data(), attribute->floats_size())));
  } else if (kind == "value_string") {
    value = createConstant(
        builder, loc,
        DenseStringElementsAttr::get(RankedTensorType::get({}, string),
                                     {StringRef(attribute->s())}));
  } else if (kind == "value_strings") {
    SmallVector<StringRef> strings(attribute->strings().begin(),
                                   attribute->strings().end());
    value = createConstant(
        builder, loc,
        DenseStringElementsAttr::get(vector(string, strings.size()), strings));
  } else {
    return emitError(loc)
           << "expected Constant with a value, but got attribute '" << kind
           << "'";
  }
  if (failed(value))
    return failure();
  if (!node.name().empty())
    value->getDefiningOp()->setAttr("onnx.node",
                                    builder.getStringAttr(node.name()));
  return define(scope, node.output(0), *value, loc);
}

LogicalResult
GraphImporter::importAttribute(const ::onnx::AttributeProto &attribute,
                               Location loc, NamedAttrList &attrs) {
  using Proto = ::onnx::AttributeProto;
  auto error = [&] { return emitError(loc); };
  Proto::AttributeType kind = attribute.type();
  // Early files leave the kind out.
  if (kind == Proto::UNDEFINED)
    kind = attribute.has_f()              ? Proto::FLOAT
           : attribute.has_i()            ? Proto::INT
           : attribute.has_s()            ? Proto::STRING
           : attribute.has_t()            ? Proto::TENSOR
           : attribute.floats_size() > 0  ? Proto::FLOATS
           : attribute.strings_size() > 0 ? Proto::STRINGS
           : attribute.tensors_size() > 0 ? Proto::TENSORS
                                          : Proto::INTS;
  auto collect = [&](const auto &list, auto convert) -> Attribute {
    SmallVector<Attribute> elements;
    for (const auto &element : list) {
      elements.push_back(convert(element));
      if (!elements.back())
        return {};
    }
    return builder.getArrayAttr(elements);
  };
  auto typeAttr = [&](const ::onnx::TypeProto &proto) -> Attribute {
    Type type = types.convert(proto, error);
    return type ? TypeAttr::get(type) : Attribute();
  };
  auto tensorAttr = [&](const ::onnx::TensorProto &tensor) -> Attribute {
    return tensors.read(tensor, error);
  };
  Attribute value;
  switch (kind) {
  case Proto::FLOAT:
    value = builder.getF32FloatAttr(attribute.f());
    break;
  case Proto::INT:
    value = builder.getI64IntegerAttr(attribute.i());
    break;
  case Proto::STRING:
    value = builder.getStringAttr(attribute.s());
    break;
  case Proto::TENSOR:
    value = tensorAttr(attribute.t());
    break;
  case Proto::FLOATS:
    value = builder.getDenseF32ArrayAttr(
        ArrayRef(attribute.floats().data(), attribute.floats_size()));
    break;
  case Proto::INTS:
    value = builder.getDenseI64ArrayAttr(
        ArrayRef(attribute.ints().data(), attribute.ints_size()));
    break;
  case Proto::STRINGS:
    value = collect(attribute.strings(), [&](const std::string &string) {
      return Attribute(builder.getStringAttr(string));
    });
    break;
  case Proto::TENSORS:
    value = collect(attribute.tensors(), tensorAttr);
    break;
  case Proto::TYPE_PROTO:
    value = typeAttr(attribute.tp());
    break;
  case Proto::TYPE_PROTOS:
    value = collect(attribute.type_protos(), typeAttr);
    break;
  default:
    return emitError(loc) << "expected a known kind of attribute, but '"
                          << attribute.name() << "' has number "
                          << static_cast<int>(kind);
  }
  if (!value)
    return failure();
  attrs.set(attribute.name(), value);
  return success();
}
