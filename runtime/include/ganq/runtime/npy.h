//===- npy.h - Reader and writer of .npy files ------------------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_RUNTIME_NPY_H
#define GANQ_RUNTIME_NPY_H

#include "ganq/runtime/tensor.h"

namespace ganq::runtime {

/// Reads a file of format version 1, 2 or 3: bool, i8..i64, u8..u64, f16, f32
/// or f64, little-endian, C order.
Result<Tensor> readNpy(const std::string &path);

/// Writes format version 1 (2 for a header beyond 64 KiB) under a temporary
/// name and renames it. Types that NumPy does not have are refused.
Status writeNpy(const std::string &path, DType dtype,
                const std::vector<int64_t> &shape, const void *data);

} // namespace ganq::runtime

#endif // GANQ_RUNTIME_NPY_H
