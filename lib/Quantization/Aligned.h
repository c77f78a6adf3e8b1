//===- Aligned.h - Vectors that start on a cache line ---------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_LIB_QUANTIZATION_ALIGNED_H
#define GANQ_LIB_QUANTIZATION_ALIGNED_H

#include <cstddef>
#include <new>
#include <vector>

namespace ganq::quant {

/// Full-width vector accesses to such memory never straddle two cache lines.
template <typename T> struct AlignedAllocator {
  using value_type = T;
  static constexpr std::align_val_t alignment{64};
  AlignedAllocator() = default;
  template <typename U> AlignedAllocator(const AlignedAllocator<U> &) {}
  T *allocate(size_t count) {
    return static_cast<T *>(::operator new(count * sizeof(T), alignment));
  }
  void deallocate(T *data, size_t) { ::operator delete(data, alignment); }
  bool operator==(const AlignedAllocator &) const { return true; }
  bool operator!=(const AlignedAllocator &) const { return false; }
};

using AlignedFloats = std::vector<float, AlignedAllocator<float>>;

} // namespace ganq::quant

#endif // GANQ_LIB_QUANTIZATION_ALIGNED_H
