//===- ExternalData.cpp - Tensor data in files beside the model -----------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A model names the files that hold its weights, so a model from a stranger
// must not be able to name other files of this machine: only plain files below
// the model's folder that are reached without a link are opened.
//
//===----------------------------------------------------------------------===//

#include "TensorReader.h"
#include "llvm/ADT/SmallString.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/Path.h"
#include <cerrno>
#include <cstring>
#include <sys/stat.h>

using namespace mlir;
using namespace ganq::onnx;
namespace path = llvm::sys::path;

const llvm::MemoryBuffer *TensorReader::openExternal(StringRef location,
                                                     EmitError emitError) {
  auto known = files.find(location);
  if (known != files.end())
    return known->second.get();
  if (location.empty() || location.contains('\0')) {
    emitError() << "expected external data with a file name in `location`";
    return nullptr;
  }
  if (path::is_absolute(location) || location.starts_with("\\")) {
    emitError() << "expected external data beside the model, but got the "
                   "absolute path '"
                << location << "'";
    return nullptr;
  }
  SmallString<256> file(path::parent_path(modelPath));
  if (file.empty())
    file = ".";
  struct stat info = {};
  for (auto it = path::begin(location), end = path::end(location); it != end;
       ++it) {
    if (*it == "..") {
      emitError() << "expected external data below the model's folder, but got "
                     "the path '"
                  << location << "' with '..'";
      return nullptr;
    }
    path::append(file, *it);
    if (::lstat(file.c_str(), &info) != 0) {
      emitError() << "cannot open external data '" << location
                  << "': " << std::strerror(errno);
      return nullptr;
    }
    if (S_ISLNK(info.st_mode)) {
      emitError() << "expected external data in a plain file, but '" << location
                  << "' leads through a symbolic link; copy the file to the "
                     "model's folder";
      return nullptr;
    }
  }
  if (!S_ISREG(info.st_mode)) {
    emitError() << "expected external data in a plain file, but '" << location
                << "' is none";
    return nullptr;
  }
  if (info.st_nlink > 1) {
    emitError() << "expected external data in a file of its own, but '"
                << location << "' has " << static_cast<uint64_t>(info.st_nlink)
                << " hard links; copy the file";
    return nullptr;
  }
  auto buffer = llvm::MemoryBuffer::getFile(file, /*IsText=*/false,
                                            /*RequiresNullTerminator=*/false);
  if (!buffer) {
    emitError() << "cannot open external data '" << location
                << "': " << buffer.getError().message();
    return nullptr;
  }
  return (files[location] = std::move(*buffer)).get();
}

FailureOr<DataRange>
TensorReader::locateExternal(const ::onnx::TensorProto &tensor, int64_t bytes,
                             EmitError emitError) {
  DataRange range;
  range.length = bytes;
  llvm::StringMap<std::string> entries;
  for (const ::onnx::StringStringEntryProto &entry : tensor.external_data()) {
    StringRef key = entry.key();
    if (!llvm::is_contained({"location", "offset", "length", "checksum"}, key))
      return emitError() << "expected external data with location, offset, "
                            "length and checksum, but got the key '"
                         << key << "'";
    if (!entries.try_emplace(key, entry.value()).second)
      return emitError() << "expected each key of external data once, but got '"
                         << key << "' twice";
  }
  for (StringRef key : {"offset", "length"}) {
    auto it = entries.find(key);
    if (it == entries.end())
      continue;
    int64_t &field = key == "offset" ? range.offset : range.length;
    if (StringRef(it->second).getAsInteger(10, field) || field < 0)
      return emitError() << "expected the " << key
                         << " of external data to be a byte count, but got '"
                         << it->second << "'";
  }
  if (range.length != bytes)
    return emitError() << "expected external data of " << bytes
                       << " bytes, but got length " << range.length;
  range.file = entries.lookup("location");
  const llvm::MemoryBuffer *file = openExternal(range.file, emitError);
  if (!file)
    return failure();
  auto size = static_cast<int64_t>(file->getBufferSize());
  if (range.offset > size || range.length > size - range.offset)
    return emitError() << "expected external data within '" << range.file
                       << "' of " << size << " bytes, but got offset "
                       << range.offset << " and length " << range.length;
  return range;
}
