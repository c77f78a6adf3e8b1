//===- Report.h - What quantization did to a model --------------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_LIB_PIPELINES_REPORT_H
#define GANQ_LIB_PIPELINES_REPORT_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/Support/Error.h"
#include "llvm/Support/JSON.h"

namespace ganq {

/// Fails if the extension is neither `.html` nor `.json` or if there is no
/// folder for the file.
llvm::Error checkReportPath(llvm::StringRef path);

/// Writes the summary of a compilation, by the extension of the path as JSON or
/// as a page that needs no other file.
llvm::Error writeReport(llvm::StringRef path,
                        const llvm::json::Object &summary);

/// The distribution of the weights of a row and the values that stand for them:
/// `low`, `high`, `counts` of evenly spaced bins, `levels`.
llvm::json::Object describeRow(llvm::ArrayRef<float> values,
                               llvm::ArrayRef<float> decoded);

} // namespace ganq

#endif // GANQ_LIB_PIPELINES_REPORT_H
