//===- ImportTypes.cpp - ONNX types to MLIR types -------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "TensorReader.h"
#include "ganq/Onnx/OnnxDialect.h"

using namespace mlir;
using namespace ganq::onnx;

Type ValueTypes::getUnknown() const {
  return UnrankedTensorType::get(AnyType::get(context));
}

Type ValueTypes::convertTensor(int32_t elementType,
                               const ::onnx::TensorShapeProto *shape,
                               EmitError emitError, ArrayAttr *dims) const {
  Type element = elementType == 0 ? AnyType::get(context)
                                  : getElementType(elementType, context);
  if (!element) {
    emitError() << "expected a known element type, but got number "
                << elementType;
    return {};
  }
  if (!shape)
    return UnrankedTensorType::get(element);
  Builder b(context);
  SmallVector<int64_t> sizes;
  SmallVector<Attribute> names;
  for (const ::onnx::TensorShapeProto::Dimension &dim : shape->dim()) {
    int64_t size = ShapedType::kDynamic;
    if (dim.has_dim_value()) {
      // Exporters write -1 for a size that they do not know.
      if (dim.dim_value() >= 0)
        size = dim.dim_value();
    } else {
      auto bound = bindings.find(dim.dim_param());
      if (bound != bindings.end())
        size = bound->second;
    }
    sizes.push_back(size);
    if (ShapedType::isDynamic(size))
      names.push_back(b.getStringAttr(dim.dim_param()));
    else
      names.push_back(b.getI64IntegerAttr(size));
  }
  if (dims)
    *dims = b.getArrayAttr(names);
  return RankedTensorType::get(sizes, element);
}

Type ValueTypes::convert(const ::onnx::TypeProto &type, EmitError emitError,
                         ArrayAttr *dims) const {
  switch (type.value_case()) {
  case ::onnx::TypeProto::kTensorType: {
    const auto &tensor = type.tensor_type();
    return convertTensor(tensor.elem_type(),
                         tensor.has_shape() ? &tensor.shape() : nullptr,
                         emitError, dims);
  }
  case ::onnx::TypeProto::kSparseTensorType: {
    const auto &sparse = type.sparse_tensor_type();
    Type dense = convertTensor(sparse.elem_type(),
                               sparse.has_shape() ? &sparse.shape() : nullptr,
                               emitError, nullptr);
    return dense ? SparseType::get(context, dense) : Type();
  }
  case ::onnx::TypeProto::kSequenceType: {
    Type element = convert(type.sequence_type().elem_type(), emitError);
    return element ? SequenceType::get(context, element) : Type();
  }
  case ::onnx::TypeProto::kOptionalType: {
    Type element = convert(type.optional_type().elem_type(), emitError);
    return element ? OptionalType::get(context, element) : Type();
  }
  case ::onnx::TypeProto::kMapType: {
    Type key = getElementType(type.map_type().key_type(), context);
    Type value = convert(type.map_type().value_type(), emitError);
    if (!key)
      emitError() << "expected a known key type, but got number "
                  << type.map_type().key_type();
    return key && value ? MapType::get(context, key, value) : Type();
  }
  default:
    return getUnknown();
  }
}
