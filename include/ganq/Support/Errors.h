//===- Errors.h - Messages as llvm::Error -----------------------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_SUPPORT_ERRORS_H
#define GANQ_SUPPORT_ERRORS_H

#include "llvm/Support/Error.h"

namespace ganq {

/// An error that is a message for the user and no more.
inline llvm::Error makeError(const llvm::Twine &message) {
  return llvm::createStringError(llvm::inconvertibleErrorCode(), message);
}

} // namespace ganq

#endif // GANQ_SUPPORT_ERRORS_H
