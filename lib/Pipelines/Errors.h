//===- Errors.h - Messages as llvm::Error -----------------------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_LIB_PIPELINES_ERRORS_H
#define GANQ_LIB_PIPELINES_ERRORS_H

#include "ganq/Support/Errors.h"
#include "ganq/runtime/status.h"

namespace ganq {

inline llvm::Error toError(const runtime::Status &status) {
  return status.ok() ? llvm::Error::success() : makeError(status.message());
}

} // namespace ganq

#endif // GANQ_LIB_PIPELINES_ERRORS_H
