//===- Streams.cpp - Activations kept on disk -----------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Streams.h"
#include "Errors.h"
#include "llvm/ADT/ScopeExit.h"
#include "llvm/ADT/SmallString.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/MathExtras.h"
#include "llvm/Support/Path.h"
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

using namespace ganq;

constexpr llvm::StringLiteral prefix = "activations-";

static int64_t strideOf(int64_t bytes) {
  return static_cast<int64_t>(llvm::alignTo(std::max<int64_t>(bytes, 1), 64));
}

int64_t Streams::fileBytes(int64_t bytes, int64_t sequences) {
  return 2 * sequences * strideOf(bytes);
}

Streams::Streams(std::string folder, int64_t sequences)
    : folder(std::move(folder)), sequences(sequences) {
  std::error_code ignored;
  for (llvm::sys::fs::directory_iterator file(this->folder, ignored), end;
       !ignored && file != end; file.increment(ignored))
    if (llvm::sys::path::filename(file->path()).starts_with(prefix))
      llvm::sys::fs::remove(file->path());
}

Streams::~Streams() {
  for (const File &file : files)
    ::munmap(file.data, 2 * sequences * file.stride);
}

llvm::Error Streams::allocate(int64_t value, int64_t bytes) {
  int64_t stride = strideOf(bytes);
  if (auto known = free.find(stride); known != free.end()) {
    owner[value] = known->second;
    free.erase(known);
    return llvm::Error::success();
  }
  llvm::SmallString<128> path;
  int descriptor = -1;
  std::error_code code = llvm::sys::fs::createUniqueFile(
      folder + "/" + prefix + "%%%%%%", descriptor, path);
  int64_t size = fileBytes(bytes, sequences);
  auto fail = [&](std::error_code reason) {
    return makeError(llvm::formatv("cannot keep {0} MiB of activations in "
                                   "'{1}': {2}",
                                   (size + (1 << 20) - 1) >> 20, folder,
                                   reason.message()));
  };
  if (code)
    return fail(code);
  llvm::scope_exit close([&] { ::close(descriptor); });
  llvm::sys::fs::remove(path);
  // Without room, writing to the mapping would end the process.
  if (int error = ::posix_fallocate(descriptor, 0, size))
    return fail(std::error_code(error, std::generic_category()));
  void *data =
      ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
  if (data == MAP_FAILED)
    return fail(std::error_code(errno, std::generic_category()));
  owner[value] = files.size();
  files.push_back({static_cast<char *>(data), stride});
  return llvm::Error::success();
}

void Streams::release(int64_t value) {
  auto known = owner.find(value);
  if (known == owner.end())
    return;
  free.emplace(files[known->second].stride, known->second);
}

char *Streams::get(int64_t value, Stream stream, int64_t sequence) const {
  const File &file = files[owner.lookup(value)];
  int64_t index = stream == Stream::Quantized ? sequences : 0;
  return file.data + (index + sequence) * file.stride;
}
