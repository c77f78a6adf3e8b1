//===- WireFormat.cpp - Takes weights out of an ONNX file -----------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "WireFormat.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/Twine.h"

using namespace ganq::onnx;
using llvm::StringRef;

namespace {

/// The messages on the way from a model to its tensors.
enum class Message { Model, Graph, Node, Attribute, Function, Sparse, Tensor };

enum WireType { Varint = 0, Fixed64 = 1, Bytes = 2, Fixed32 = 5 };

struct Child {
  Message parent;
  unsigned field;
  Message message;
};

// Field numbers of onnx.proto.
constexpr Child kChildren[] = {
    {Message::Model, 7, Message::Graph},
    {Message::Model, 25, Message::Function},
    {Message::Graph, 1, Message::Node},
    {Message::Graph, 5, Message::Tensor},
    {Message::Graph, 15, Message::Sparse},
    {Message::Node, 5, Message::Attribute},
    {Message::Function, 7, Message::Node},
    {Message::Function, 11, Message::Attribute},
    {Message::Attribute, 5, Message::Tensor},
    {Message::Attribute, 10, Message::Tensor},
    {Message::Attribute, 6, Message::Graph},
    {Message::Attribute, 11, Message::Graph},
    {Message::Attribute, 22, Message::Sparse},
    {Message::Attribute, 23, Message::Sparse},
    {Message::Sparse, 1, Message::Tensor},
    {Message::Sparse, 2, Message::Tensor},
};

constexpr unsigned kTrainingInfo = 20; // of a model; not needed here

// Of a tensor.
constexpr unsigned kDataType = 2, kFloatData = 4, kRawData = 9,
                   kDoubleData = 10;
constexpr uint64_t kFloat = 1, kDouble = 11;

constexpr unsigned kMaxDepth = 96;

struct Field {
  unsigned number = 0;
  WireType type = Varint;
  uint64_t value = 0; ///< Of a varint.
  StringRef bytes;    ///< Of a length-delimited field.
  StringRef whole;    ///< With its tag.
};

void appendVarint(std::string &out, uint64_t value) {
  for (; value >= 0x80; value >>= 7)
    out.push_back(static_cast<char>(value | 0x80));
  out.push_back(static_cast<char>(value));
}

class Stripper {
public:
  Stripper(StringRef file, std::string &error) : file(file), error(error) {}

  bool rewrite(Message message, StringRef bytes, unsigned depth,
               std::string &out);

private:
  bool fail(const char *at, const llvm::Twine &reason) {
    error = ("byte " + llvm::Twine(at - file.data()) + ": " + reason).str();
    return false;
  }
  bool readVarint(StringRef &rest, uint64_t &value);
  bool readField(StringRef &rest, Field &field);
  bool rewriteTensor(StringRef bytes, std::string &out);

  StringRef file;
  std::string &error;
};

} // namespace

bool Stripper::readVarint(StringRef &rest, uint64_t &value) {
  value = 0;
  for (unsigned shift = 0; shift < 64; shift += 7) {
    if (rest.empty())
      return fail(rest.end(), "expected more data, but the file is truncated");
    auto byte = static_cast<unsigned char>(rest.front());
    rest = rest.drop_front();
    value |= static_cast<uint64_t>(byte & 0x7f) << shift;
    if (!(byte & 0x80))
      return true;
  }
  return fail(rest.begin(), "expected a varint of at most 10 bytes");
}

bool Stripper::readField(StringRef &rest, Field &field) {
  const char *begin = rest.begin();
  uint64_t tag, size;
  if (!readVarint(rest, tag))
    return false;
  field = {};
  field.number = static_cast<unsigned>(tag >> 3);
  field.type = static_cast<WireType>(tag & 7);
  if (tag >> 3 == 0 || tag >> 3 >= (1u << 29))
    return fail(begin, "expected a protobuf field, but got field number " +
                           llvm::Twine(tag >> 3));
  switch (static_cast<unsigned>(tag & 7)) {
  case Varint:
    if (!readVarint(rest, field.value))
      return false;
    field.whole = StringRef(begin, rest.begin() - begin);
    return true;
  case Fixed64:
    size = 8;
    break;
  case Fixed32:
    size = 4;
    break;
  case Bytes:
    if (!readVarint(rest, size))
      return false;
    break;
  default:
    return fail(begin, "expected a protobuf field, but got wire type " +
                           llvm::Twine(tag & 7));
  }
  if (size > rest.size())
    return fail(begin, "expected " + llvm::Twine(size) +
                           " bytes of data, but the file is truncated: got " +
                           llvm::Twine(rest.size()));
  field.bytes = rest.take_front(size);
  rest = rest.drop_front(size);
  field.whole = StringRef(begin, rest.begin() - begin);
  return true;
}

bool Stripper::rewriteTensor(StringRef bytes, std::string &out) {
  uint64_t dataType = 0;
  unsigned dataFields = 0;
  Field data;
  Field field;
  auto isData = [](const Field &field) {
    return field.type == Bytes &&
           llvm::is_contained({kFloatData, kRawData, kDoubleData},
                              field.number);
  };
  for (StringRef rest = bytes; !rest.empty();) {
    if (!readField(rest, field))
      return false;
    if (field.number == kDataType && field.type == Varint)
      dataType = field.value;
    if (isData(field)) {
      data = field;
      ++dataFields;
    }
  }
  // A packed list of floats is little-endian and contiguous, as raw data are.
  bool take = dataFields == 1 && data.bytes.size() >= kInlineLimit &&
              (data.number == kRawData ||
               (data.number == kFloatData && dataType == kFloat) ||
               (data.number == kDoubleData && dataType == kDouble));
  for (StringRef rest = bytes; !rest.empty();) {
    if (!readField(rest, field))
      return false;
    bool ours =
        field.number == kDataOffsetField || field.number == kDataLengthField;
    if (!ours && !(take && isData(field)))
      out.append(field.whole.begin(), field.whole.end());
  }
  if (take) {
    appendVarint(out, kDataOffsetField << 3 | Varint);
    appendVarint(out, data.bytes.data() - file.data());
    appendVarint(out, kDataLengthField << 3 | Varint);
    appendVarint(out, data.bytes.size());
  }
  return true;
}

bool Stripper::rewrite(Message message, StringRef bytes, unsigned depth,
                       std::string &out) {
  if (message == Message::Tensor)
    return rewriteTensor(bytes, out);
  if (depth > kMaxDepth)
    return fail(bytes.data(), "expected graphs nested at most " +
                                  llvm::Twine(kMaxDepth / 3) + " deep");
  Field field;
  for (StringRef rest = bytes; !rest.empty();) {
    if (!readField(rest, field))
      return false;
    if (message == Message::Model && field.number == kTrainingInfo)
      continue;
    const Child *child = llvm::find_if(kChildren, [&](const Child &child) {
      return child.parent == message && child.field == field.number;
    });
    if (child == std::end(kChildren) || field.type != Bytes) {
      out.append(field.whole.begin(), field.whole.end());
      continue;
    }
    std::string inner;
    if (!rewrite(child->message, field.bytes, depth + 1, inner))
      return false;
    appendVarint(out, static_cast<uint64_t>(field.number) << 3 | Bytes);
    appendVarint(out, inner.size());
    out += inner;
  }
  return true;
}

std::optional<std::string> ganq::onnx::stripTensorData(StringRef file,
                                                       std::string &error) {
  std::string out;
  if (!Stripper(file, error).rewrite(Message::Model, file, 0, out))
    return std::nullopt;
  return out;
}
