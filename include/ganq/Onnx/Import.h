//===- Import.h - From an ONNX file to the onnx dialect ---------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_ONNX_IMPORT_H
#define GANQ_ONNX_IMPORT_H

#include "ganq/Onnx/Binding.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"
#include "llvm/ADT/StringRef.h"
#include <string>
#include <utility>
#include <vector>

namespace ganq::onnx {

struct ImportOptions {
  /// Sizes of symbolic dimensions. A name that no input has is an error.
  std::vector<std::pair<std::string, int64_t>> bindings;
  /// Put all weights into the IR instead of references to their files.
  bool inlineWeights = false;
};

/// Reads `path` and the external data beside it. The model becomes one
/// function @main; weights of 1 KiB and more become `ganq.parameter`
/// operations that name a byte range of their file. Errors (not an ONNX file,
/// names without a value, cycles, external data that leave the folder of the
/// model or the file, ...) are reported on `context`, and the result is null.
mlir::OwningOpRef<mlir::ModuleOp>
importOnnxModel(llvm::StringRef path, mlir::MLIRContext *context,
                const ImportOptions &options = {});

} // namespace ganq::onnx

#endif // GANQ_ONNX_IMPORT_H
