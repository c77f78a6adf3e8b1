//===- ExternalTool.h - Assemblers and linkers ------------------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_LIB_TARGET_EXTERNALTOOL_H
#define GANQ_LIB_TARGET_EXTERNALTOOL_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/STLFunctionalExtras.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"
#include <string>
#include <vector>

namespace ganq {

/// What a tool made.
struct ToolResult {
  std::vector<char> output;
  std::string log; ///< Standard output and error.
};

/// Runs `program` on a file with the bytes `input` in a temporary folder, which
/// is gone afterwards. `arguments` gets the paths of the input and the output
/// file. An error quotes the tool.
llvm::Expected<ToolResult>
runTool(llvm::StringRef program, llvm::ArrayRef<char> input,
        llvm::function_ref<std::vector<std::string>(const std::string &input,
                                                    const std::string &output)>
            arguments);

} // namespace ganq

#endif // GANQ_LIB_TARGET_EXTERNALTOOL_H
