//===- OnnxToLinalg.h - From onnx to linalg ---------------------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_CONVERSION_ONNXTOLINALG_H
#define GANQ_CONVERSION_ONNXTOLINALG_H

#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringRef.h"

namespace ganq {

/// True when --convert-onnx-to-linalg has a lowering for operator `name`
/// ("Add", "com.microsoft.Gelu"). It may still reject some forms.
bool hasOnnxToLinalgLowering(llvm::StringRef name);
/// The names of all operators that have one, in no particular order.
llvm::SmallVector<llvm::StringRef> getOnnxToLinalgLowerings();

} // namespace ganq

#endif // GANQ_CONVERSION_ONNXTOLINALG_H
