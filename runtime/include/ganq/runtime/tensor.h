//===- tensor.h - Element types and dense arrays ----------------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_RUNTIME_TENSOR_H
#define GANQ_RUNTIME_TENSOR_H

#include "ganq/runtime/status.h"
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace ganq::runtime {

/// Element types, named as in the safetensors format. The order is that of
/// `ganq_dtype` in ganq/runtime.h.
enum class DType {
  Bool,
  U8,
  I8,
  U16,
  I16,
  U32,
  I32,
  U64,
  I64,
  F16,
  BF16,
  F32,
  F64,
  F8E4M3,
  F8E5M2,
};

/// Bytes of one element.
int64_t byteSize(DType type);
/// "F32", "BOOL", "F8_E4M3", ...
const char *name(DType type);
std::optional<DType> parseDType(std::string_view name);

/// The number of elements, or nothing if a dimension is negative or if the
/// number, or its product with `elementBytes`, does not fit into int64_t.
std::optional<int64_t> elementCount(const std::vector<int64_t> &shape,
                                    int64_t elementBytes = 1);

/// "[1, 4, 8]"
std::string toString(const std::vector<int64_t> &shape);

/// Zeroed memory at a 64-byte boundary. Big buffers ask for huge pages.
class Buffer {
public:
  Buffer() = default;
  static Result<Buffer> create(int64_t bytes);

  char *data() { return memory.get(); }
  const char *data() const { return memory.get(); }
  int64_t size() const { return bytes; }

private:
  struct Release {
    Release() : mapped(0) {}
    explicit Release(int64_t mapped) : mapped(mapped) {}
    int64_t mapped; ///< bytes to unmap; 0 for memory from the heap
    void operator()(char *pointer) const;
  };
  std::unique_ptr<char, Release> memory;
  int64_t bytes = 0;
};

/// A dense row-major array that owns its elements.
struct Tensor {
  DType dtype = DType::F32;
  std::vector<int64_t> shape;
  Buffer data;

  /// A zeroed array; fails if the shape is negative or too big.
  static Result<Tensor> create(DType dtype, std::vector<int64_t> shape);

  int64_t count() const;
  template <typename T> T *as() { return reinterpret_cast<T *>(data.data()); }
  template <typename T> const T *as() const {
    return reinterpret_cast<const T *>(data.data());
  }
};

/// Converts elements `begin` .. `begin + count - 1` of an array of F16, BF16,
/// F32 or F64 to float; false for other types.
bool toFloat(DType dtype, const void *data, int64_t begin, int64_t count,
             float *out);

/// Token ids out of an array of integers other than U64, flattened.
Result<std::vector<int64_t>> toTokens(const Tensor &tensor);

} // namespace ganq::runtime

#endif // GANQ_RUNTIME_TENSOR_H
