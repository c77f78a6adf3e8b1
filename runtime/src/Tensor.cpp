//===- Tensor.cpp - Element types and dense arrays ------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/runtime/tensor.h"
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <sys/mman.h>

namespace ganq::runtime {

namespace {
struct DTypeRow {
  const char *name;
  int64_t bytes;
};
// In the order of DType.
constexpr DTypeRow dtypeTable[] = {
    {"BOOL", 1}, {"U8", 1},  {"I8", 1},  {"U16", 2},     {"I16", 2},
    {"U32", 4},  {"I32", 4}, {"U64", 8}, {"I64", 8},     {"F16", 2},
    {"BF16", 2}, {"F32", 4}, {"F64", 8}, {"F8_E4M3", 1}, {"F8_E5M2", 1},
};

constexpr int64_t alignment = 64;
constexpr int64_t mapThreshold = int64_t(1) << 21;

float halfToFloat(uint16_t half) {
  uint32_t sign = uint32_t(half & 0x8000) << 16;
  uint32_t exponent = (half >> 10) & 0x1f;
  uint32_t mantissa = half & 0x3ff;
  if (exponent == 0) {
    float magnitude = float(mantissa) * 0x1p-24f;
    return sign ? -magnitude : magnitude;
  }
  uint32_t bits = sign | mantissa << 13 |
                  (exponent == 31 ? 0x7f800000u : (exponent + 112) << 23);
  float value;
  memcpy(&value, &bits, sizeof(value));
  return value;
}
} // namespace

int64_t byteSize(DType type) { return dtypeTable[size_t(type)].bytes; }

const char *name(DType type) { return dtypeTable[size_t(type)].name; }

std::optional<DType> parseDType(std::string_view name) {
  for (size_t i = 0; i < std::size(dtypeTable); ++i)
    if (name == dtypeTable[i].name)
      return DType(i);
  return std::nullopt;
}

std::optional<int64_t> elementCount(const std::vector<int64_t> &shape,
                                    int64_t elementBytes) {
  int64_t count = 1;
  bool empty = false;
  for (int64_t size : shape) {
    if (size < 0)
      return std::nullopt;
    if (size == 0)
      empty = true;
    else if (__builtin_mul_overflow(count, size, &count))
      return std::nullopt;
  }
  int64_t bytes;
  if (__builtin_mul_overflow(count, elementBytes, &bytes))
    return std::nullopt;
  return empty ? 0 : count;
}

std::string toString(const std::vector<int64_t> &shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i)
    text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

void Buffer::Release::operator()(char *pointer) const {
  if (mapped)
    munmap(pointer, size_t(mapped));
  else
    free(pointer);
}

Result<Buffer> Buffer::create(int64_t bytes) {
  Status outOfMemory(Code::OutOfMemory,
                     "cannot allocate " + std::to_string(bytes) + " bytes");
  if (bytes < 0)
    return outOfMemory;
  Buffer buffer;
  buffer.bytes = bytes;
  if (bytes >= mapThreshold) {
    void *pointer = mmap(nullptr, size_t(bytes), PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pointer == MAP_FAILED)
      return outOfMemory;
    madvise(pointer, size_t(bytes), MADV_HUGEPAGE);
    buffer.memory = {static_cast<char *>(pointer), Release{bytes}};
    return buffer;
  }
  int64_t rounded = std::max(alignment, (bytes + alignment - 1) & -alignment);
  void *pointer = aligned_alloc(alignment, size_t(rounded));
  if (!pointer)
    return outOfMemory;
  memset(pointer, 0, size_t(rounded));
  buffer.memory = {static_cast<char *>(pointer), Release{}};
  return buffer;
}

Result<Tensor> Tensor::create(DType dtype, std::vector<int64_t> shape) {
  std::optional<int64_t> count = elementCount(shape, byteSize(dtype));
  if (!count)
    return Status(Code::InvalidArgument,
                  "expected a shape whose size in bytes fits into 63 bits, but "
                  "got " +
                      toString(shape));
  Result<Buffer> buffer = Buffer::create(*count * byteSize(dtype));
  if (!buffer.ok())
    return buffer.status();
  Tensor tensor;
  tensor.dtype = dtype;
  tensor.shape = std::move(shape);
  tensor.data = std::move(*buffer);
  return tensor;
}

int64_t Tensor::count() const { return data.size() / byteSize(dtype); }

bool toFloat(DType dtype, const void *data, int64_t begin, int64_t count,
             float *out) {
  switch (dtype) {
  case DType::F32:
    memcpy(out, static_cast<const float *>(data) + begin,
           size_t(count) * sizeof(float));
    return true;
  case DType::F64:
    for (int64_t i = 0; i < count; ++i)
      out[i] = float(static_cast<const double *>(data)[begin + i]);
    return true;
  case DType::F16:
    for (int64_t i = 0; i < count; ++i)
      out[i] = halfToFloat(static_cast<const uint16_t *>(data)[begin + i]);
    return true;
  case DType::BF16:
    for (int64_t i = 0; i < count; ++i) {
      uint32_t bits = uint32_t(static_cast<const uint16_t *>(data)[begin + i])
                      << 16;
      memcpy(out + i, &bits, sizeof(bits));
    }
    return true;
  default:
    return false;
  }
}

template <typename T> static std::vector<int64_t> widen(const Tensor &tensor) {
  return std::vector<int64_t>(tensor.as<T>(), tensor.as<T>() + tensor.count());
}

Result<std::vector<int64_t>> toTokens(const Tensor &tensor) {
  switch (tensor.dtype) {
  case DType::U8:
    return widen<uint8_t>(tensor);
  case DType::I8:
    return widen<int8_t>(tensor);
  case DType::U16:
    return widen<uint16_t>(tensor);
  case DType::I16:
    return widen<int16_t>(tensor);
  case DType::U32:
    return widen<uint32_t>(tensor);
  case DType::I32:
    return widen<int32_t>(tensor);
  case DType::I64:
    return widen<int64_t>(tensor);
  default:
    return Status(Code::InvalidArgument,
                  std::string("expected token ids of type int64 or of a "
                              "narrower integer type, but got ") +
                      name(tensor.dtype));
  }
}

} // namespace ganq::runtime
