//===- ImportTensor.cpp - ONNX tensors to attributes and file ranges ------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "TensorReader.h"
#include "WireFormat.h"
#include "ganq/Onnx/OnnxDialect.h"
#include "llvm/ADT/APFloat.h"
#include "llvm/Support/MathExtras.h"
#include "llvm/Support/Path.h"
#include <cstring>
#include <google/protobuf/unknown_field_set.h>
#include <limits>
#include <optional>

using namespace mlir;
using namespace ganq::onnx;

/// Width of an element in a file; 0 for strings.
static unsigned getStoredBits(Type type) {
  if (auto complex = dyn_cast<ComplexType>(type))
    return 2 * getStoredBits(complex.getElementType());
  return type.isIntOrFloat()
             ? (type.isInteger(1) ? 8 : type.getIntOrFloatBitWidth())
             : 0;
}

static int64_t getStoredBytes(RankedTensorType type) {
  return llvm::divideCeil(
      type.getNumElements() *
          static_cast<int64_t>(getStoredBits(type.getElementType())),
      8);
}

RankedTensorType TensorReader::getType(const ::onnx::TensorProto &tensor,
                                       EmitError emitError) {
  Type element = getElementType(tensor.data_type(), context);
  if (!element) {
    emitError() << "expected a tensor of a known element type, but got number "
                << tensor.data_type();
    return {};
  }
  int64_t count = 1;
  for (int64_t dim : tensor.dims()) {
    // Sixteen bytes are the widest element.
    if (dim < 0 || llvm::MulOverflow(count, dim, count) ||
        count > std::numeric_limits<int64_t>::max() / 128) {
      emitError() << "expected a tensor whose size fits in 64 bits, but got "
                     "dimension "
                  << dim;
      return {};
    }
  }
  return RankedTensorType::get(
      ArrayRef(tensor.dims().data(), tensor.dims_size()), element);
}

template <typename T> static void appendAs(std::vector<char> &bytes, T value) {
  const char *begin = reinterpret_cast<const char *>(&value);
  bytes.insert(bytes.end(), begin, begin + sizeof(T));
}

/// The typed fields of a tensor in the format of raw data; nullopt when the
/// element type has no typed field.
static std::optional<std::vector<char>>
readTypedFields(const ::onnx::TensorProto &tensor, Type element) {
  std::vector<char> bytes;
  Type part = element;
  if (auto complex = dyn_cast<ComplexType>(element))
    part = complex.getElementType();
  if (part.isF32()) {
    for (float value : tensor.float_data())
      appendAs(bytes, value);
    return bytes;
  }
  if (part.isF64()) {
    for (double value : tensor.double_data())
      appendAs(bytes, value);
    return bytes;
  }
  if (element.isSignlessInteger(64)) {
    for (int64_t value : tensor.int64_data())
      appendAs(bytes, value);
    return bytes;
  }
  unsigned bits = getStoredBits(element);
  if (element.isUnsignedInteger(64) || element.isUnsignedInteger(32)) {
    for (uint64_t value : tensor.uint64_data())
      bits == 64 ? appendAs(bytes, value)
                 : appendAs(bytes, static_cast<uint32_t>(value));
    return bytes;
  }
  if (bits == 0)
    return std::nullopt;
  for (int32_t value : tensor.int32_data()) {
    if (bits == 32)
      appendAs(bytes, value);
    else if (bits == 16)
      appendAs(bytes, static_cast<int16_t>(value));
    else // Narrower elements share a byte.
      appendAs(bytes, static_cast<int8_t>(value));
  }
  return bytes;
}

/// Reads a field that the wire-format walker wrote.
static std::optional<uint64_t> getNote(const ::onnx::TensorProto &tensor,
                                       int number) {
  const auto &fields = tensor.unknown_fields();
  for (int i = 0; i < fields.field_count(); ++i)
    if (fields.field(i).number() == number &&
        fields.field(i).type() == google::protobuf::UnknownField::TYPE_VARINT)
      return fields.field(i).varint();
  return std::nullopt;
}

FailureOr<TensorReader::Source>
TensorReader::locate(const ::onnx::TensorProto &tensor, RankedTensorType type,
                     EmitError emitError) {
  int64_t bytes = getStoredBytes(type);
  if (tensor.data_location() == ::onnx::TensorProto::EXTERNAL) {
    if (getStoredBits(type.getElementType()) == 0)
      return emitError() << "expected strings in the model, but got external "
                            "data";
    FailureOr<DataRange> range = locateExternal(tensor, bytes, emitError);
    if (failed(range))
      return failure();
    return Source(*range);
  }
  std::optional<uint64_t> offset = getNote(tensor, kDataOffsetField);
  std::optional<uint64_t> length = getNote(tensor, kDataLengthField);
  if (offset && length) {
    if (*length != static_cast<uint64_t>(bytes))
      return emitError() << "expected tensor data of " << bytes
                         << " bytes, but got " << *length;
    return Source(DataRange{llvm::sys::path::filename(modelPath).str(),
                            static_cast<int64_t>(*offset), bytes});
  }
  std::vector<char> data(tensor.raw_data().begin(), tensor.raw_data().end());
  if (!tensor.has_raw_data()) {
    auto typed = readTypedFields(tensor, type.getElementType());
    if (!typed)
      return emitError() << "expected numeric tensor data, but got "
                         << type.getElementType();
    data = std::move(*typed);
  }
  if (data.size() != static_cast<size_t>(bytes))
    return emitError() << "expected tensor data of " << bytes
                       << " bytes, but got " << data.size();
  return Source(std::move(data));
}

DenseElementsAttr TensorReader::read(const ::onnx::TensorProto &tensor,
                                     EmitError emitError) {
  RankedTensorType type = getType(tensor, emitError);
  if (!type)
    return {};
  if (isa<StringType>(type.getElementType())) {
    if (tensor.string_data_size() != type.getNumElements()) {
      emitError() << "expected " << type.getNumElements()
                  << " strings, but got " << tensor.string_data_size();
      return {};
    }
    SmallVector<StringRef> strings(tensor.string_data().begin(),
                                   tensor.string_data().end());
    return DenseStringElementsAttr::get(type, strings);
  }
  FailureOr<Source> source = locate(tensor, type, emitError);
  return failed(source) ? DenseElementsAttr() : read(*source, type, emitError);
}

/// Elements that are not whole bytes: booleans, one per byte, and packed
/// narrow types, the first element in the low bits.
static DenseElementsAttr readNarrow(ArrayRef<char> bytes,
                                    RankedTensorType type) {
  Type element = type.getElementType();
  unsigned width = element.getIntOrFloatBitWidth();
  unsigned stored = getStoredBits(element);
  unsigned perByte = 8 / stored;
  SmallVector<APInt> values;
  for (int64_t i = 0, end = type.getNumElements(); i < end; ++i) {
    auto byte = static_cast<unsigned char>(bytes[i / perByte]);
    unsigned code = byte >> (i % perByte * stored) & ((1u << stored) - 1);
    values.emplace_back(width, width == 1 ? code != 0 : code);
  }
  auto floatType = dyn_cast<FloatType>(element);
  if (!floatType)
    return DenseElementsAttr::get(type, values);
  SmallVector<APFloat> floats;
  for (const APInt &value : values)
    floats.emplace_back(floatType.getFloatSemantics(), value);
  return DenseElementsAttr::get(type, floats);
}

DenseElementsAttr TensorReader::read(const Source &source,
                                     RankedTensorType type,
                                     EmitError emitError) {
  ArrayRef<char> bytes;
  if (const auto *range = std::get_if<DataRange>(&source)) {
    const llvm::MemoryBuffer *file = &model;
    if (auto it = files.find(range->file); it != files.end())
      file = it->second.get();
    bytes = ArrayRef(file->getBufferStart() + range->offset,
                     static_cast<size_t>(range->length));
  } else {
    bytes = std::get<std::vector<char>>(source);
  }
  Type element = type.getElementType();
  if (getStoredBits(element) < 8 || element.isInteger(1))
    return readNarrow(bytes, type);
  return DenseElementsAttr::getFromRawBuffer(type, bytes);
}
