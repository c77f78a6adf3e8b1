//===- ExternalTool.cpp - Assemblers and linkers --------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ExternalTool.h"
#include "llvm/ADT/ScopeExit.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/Program.h"

using llvm::createStringError;
using llvm::Error;
using llvm::Expected;

static Error writeFile(llvm::StringRef path, llvm::ArrayRef<char> bytes) {
  std::error_code code;
  llvm::raw_fd_ostream stream(path, code);
  if (!code) {
    stream.write(bytes.data(), bytes.size());
    stream.close();
    code = stream.error();
    stream.clear_error();
  }
  if (code)
    return createStringError("cannot write " + path + ": " + code.message());
  return Error::success();
}

Expected<ganq::ToolResult> ganq::runTool(
    llvm::StringRef program, llvm::ArrayRef<char> input,
    llvm::function_ref<std::vector<std::string>(const std::string &input,
                                                const std::string &output)>
        arguments) {
  llvm::SmallString<128> folder;
  if (std::error_code code =
          llvm::sys::fs::createUniqueDirectory("ganq-tool", folder))
    return createStringError("cannot create a temporary folder: " +
                             code.message());
  llvm::scope_exit cleanup([&] { llvm::sys::fs::remove_directories(folder); });
  auto file = [&](llvm::StringRef name) {
    llvm::SmallString<128> path(folder);
    llvm::sys::path::append(path, name);
    return std::string(path);
  };
  std::string source = file("input"), target = file("output"),
              log = file("log");
  if (Error error = writeFile(source, input))
    return std::move(error);

  std::vector<std::string> given = arguments(source, target);
  std::vector<llvm::StringRef> args{program};
  args.insert(args.end(), given.begin(), given.end());
  std::optional<llvm::StringRef> redirects[] = {
      llvm::StringRef(""), llvm::StringRef(log), llvm::StringRef(log)};
  std::string message;
  int status = llvm::sys::ExecuteAndWait(program, args, std::nullopt, redirects,
                                         0, 0, &message);
  ToolResult result;
  if (auto report = llvm::MemoryBuffer::getFile(log))
    result.log = (*report)->getBuffer().str();
  auto failed = [&](const llvm::Twine &reason) {
    return createStringError(program + " failed: " + reason +
                             llvm::StringRef(result.log).trim());
  };
  if (status != 0)
    return failed(message);
  auto buffer = llvm::MemoryBuffer::getFile(target, /*IsText=*/false,
                                            /*RequiresNullTerminator=*/false);
  if (!buffer)
    return failed("expected it to write a file, but there is none; ");
  result.output.assign((*buffer)->getBufferStart(), (*buffer)->getBufferEnd());
  return result;
}
