//===- TestData.h - Tensors of ONNX node tests ------------------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_TEST_CONFORMANCE_TESTDATA_H
#define GANQ_TEST_CONFORMANCE_TESTDATA_H

#include <cstdint>
#include <string>
#include <vector>

/// A tensor of a node test, row-major.
struct TestTensor {
  int32_t type = 0; ///< Number of TensorProto.DataType.
  std::vector<int64_t> shape;
  std::vector<char> bytes;
  int64_t getCount() const;
};

/// Bytes of an element; 0 for types that tests with tensors do not use.
int64_t getElementSize(int32_t type);
/// Reads a TensorProto; on failure sets `error`.
bool readTensor(const std::string &path, TestTensor &tensor,
                std::string &error);
/// Compares with relative tolerance 1e-3 and absolute tolerance 1e-7, integers
/// exactly. Empty when equal, else the first difference.
std::string compareTensors(const TestTensor &actual,
                           const TestTensor &expected);

#endif // GANQ_TEST_CONFORMANCE_TESTDATA_H
