//===- Errors.h - Messages as llvm::Error -----------------------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_LIB_PIPELINES_ERRORS_H
#define GANQ_LIB_PIPELINES_ERRORS_H

#include "ganq/runtime/status.h"
#include "llvm/Support/Error.h"

namespace ganq {

inline llvm::Error makeError(const llvm::Twine &message) {
  return llvm::createStringError(llvm::inconvertibleErrorCode(), message);
}

inline llvm::Error toError(const runtime::Status &status) {
  return status.ok() ? llvm::Error::success() : makeError(status.message());
}

} // namespace ganq

#endif // GANQ_LIB_PIPELINES_ERRORS_H
