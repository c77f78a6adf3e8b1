//===- TestData.cpp - Tensors of ONNX node tests --------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "TestData.h"
#include "llvm/ADT/APFloat.h"
#include "llvm/Support/FormatVariadic.h"
#include <cmath>
#include <cstring>
#include <fstream>

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"
#include <onnx/onnx_pb.h>
#pragma GCC diagnostic pop

int64_t TestTensor::getCount() const {
  int64_t count = 1;
  for (int64_t size : shape)
    count *= size;
  return count;
}

int64_t getElementSize(int32_t type) {
  switch (type) {
  case 2:
  case 3:
  case 9:
    return 1;
  case 4:
  case 5:
  case 10:
  case 16:
    return 2;
  case 1:
  case 6:
  case 12:
    return 4;
  case 7:
  case 11:
  case 13:
    return 8;
  default:
    return 0;
  }
}

template <typename Stored, typename List>
static void append(std::vector<char> &bytes, const List &list) {
  for (auto element : list) {
    Stored value = static_cast<Stored>(element);
    const char *data = reinterpret_cast<const char *>(&value);
    bytes.insert(bytes.end(), data, data + sizeof(value));
  }
}

bool readTensor(const std::string &path, TestTensor &tensor,
                std::string &error) {
  std::ifstream file(path, std::ios::binary);
  onnx::TensorProto proto;
  if (!file || !proto.ParseFromIstream(&file)) {
    error = "expected a tensor in " + path;
    return false;
  }
  tensor.type = proto.data_type();
  int64_t size = getElementSize(tensor.type);
  if (!size) {
    error = "data of a type that cannot be compiled";
    return false;
  }
  tensor.shape.assign(proto.dims().begin(), proto.dims().end());
  if (proto.has_raw_data()) {
    tensor.bytes.assign(proto.raw_data().begin(), proto.raw_data().end());
  } else if (tensor.type == 1) {
    append<float>(tensor.bytes, proto.float_data());
  } else if (tensor.type == 11) {
    append<double>(tensor.bytes, proto.double_data());
  } else if (tensor.type == 7) {
    append<int64_t>(tensor.bytes, proto.int64_data());
  } else if (tensor.type == 12 || tensor.type == 13) {
    if (size == 4)
      append<uint32_t>(tensor.bytes, proto.uint64_data());
    else
      append<uint64_t>(tensor.bytes, proto.uint64_data());
  } else if (size == 1) {
    append<int8_t>(tensor.bytes, proto.int32_data());
  } else if (size == 2) {
    append<int16_t>(tensor.bytes, proto.int32_data());
  } else {
    append<int32_t>(tensor.bytes, proto.int32_data());
  }
  if (static_cast<int64_t>(tensor.bytes.size()) != tensor.getCount() * size) {
    error = "data that do not fill their shape";
    return false;
  }
  return true;
}

template <typename T> static T read(const char *data) {
  T value;
  std::memcpy(&value, data, sizeof(value));
  return value;
}

static bool isFloat(int32_t type) {
  return type == 1 || type == 10 || type == 11 || type == 16;
}

static double readFloat(int32_t type, const char *data) {
  if (type == 1)
    return read<float>(data);
  if (type == 11)
    return read<double>(data);
  llvm::APFloat value(type == 10 ? llvm::APFloat::IEEEhalf()
                                 : llvm::APFloat::BFloat(),
                      llvm::APInt(16, read<uint16_t>(data)));
  bool ignored;
  value.convert(llvm::APFloat::IEEEdouble(), llvm::APFloat::rmNearestTiesToEven,
                &ignored);
  return value.convertToDouble();
}

static int64_t readInteger(int64_t size, const char *data) {
  switch (size) {
  case 1:
    return read<int8_t>(data);
  case 2:
    return read<int16_t>(data);
  case 4:
    return read<int32_t>(data);
  default:
    return read<int64_t>(data);
  }
}

std::string compareTensors(const TestTensor &actual,
                           const TestTensor &expected) {
  if (actual.shape != expected.shape)
    return llvm::formatv(
               "expected shape [{0:$[, ]}], but got [{1:$[, ]}]",
               llvm::make_range(expected.shape.begin(), expected.shape.end()),
               llvm::make_range(actual.shape.begin(), actual.shape.end()))
        .str();
  int64_t size = getElementSize(expected.type);
  for (int64_t i = 0, count = expected.getCount(); i < count; ++i) {
    const char *a = actual.bytes.data() + i * size;
    const char *e = expected.bytes.data() + i * size;
    if (isFloat(expected.type)) {
      double x = readFloat(expected.type, a), y = readFloat(expected.type, e);
      bool equal = std::isnan(y) ? std::isnan(x)
                   : std::isinf(y)
                       ? x == y
                       : std::abs(x - y) <= 1e-7 + 1e-3 * std::abs(y);
      if (!equal)
        return llvm::formatv("element {0}: expected {1:f8}, but got {2:f8}", i,
                             y, x)
            .str();
    } else if (std::memcmp(a, e, size) != 0) {
      return llvm::formatv("element {0}: expected {1}, but got {2}", i,
                           readInteger(size, e), readInteger(size, a))
          .str();
    }
  }
  return {};
}
