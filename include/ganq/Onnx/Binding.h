//===- Binding.h - Sizes of symbolic dimensions -----------------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_ONNX_BINDING_H
#define GANQ_ONNX_BINDING_H

#include "llvm/ADT/StringRef.h"
#include <cstdint>
#include <string>
#include <utility>

namespace ganq::onnx {

/// Reads "name=size". On failure, returns false and sets `error`.
bool parseBinding(llvm::StringRef text, std::pair<std::string, int64_t> &result,
                  std::string &error);

} // namespace ganq::onnx

#endif // GANQ_ONNX_BINDING_H
