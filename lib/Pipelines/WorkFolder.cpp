//===- WorkFolder.cpp - Where a run keeps what it has solved --------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "WorkFolder.h"
#include "Errors.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/Process.h"
#include "llvm/Support/raw_ostream.h"
#include "llvm/Support/xxhash.h"
#include <dlfcn.h>
#include <link.h>

using namespace ganq;
namespace fs = llvm::sys::fs;

llvm::Expected<std::unique_ptr<WorkFolder>> WorkFolder::open(std::string path) {
  for (;;) {
    if (std::error_code code = fs::create_directories(path))
      return makeError("cannot make the work folder '" + path +
                       "': " + code.message());
    std::string lockPath = path + "/lock";
    int lock = -1;
    if (std::error_code code = fs::openFileForWrite(lockPath, lock))
      return makeError("cannot write '" + lockPath + "': " + code.message());
    std::unique_ptr<WorkFolder> folder(new WorkFolder(path, lock));
    if (fs::tryLockFile(lock))
      return makeError("another run is at work in '" + path +
                       "'; wait for it or choose another output");
    // A run that ended between the two calls has removed the file.
    fs::file_status locked, named;
    if (std::error_code code = fs::status(lock, locked))
      return makeError("cannot read '" + lockPath + "': " + code.message());
    if (!fs::status(lockPath, named) && fs::equivalent(locked, named))
      return folder;
  }
}

WorkFolder::~WorkFolder() {
  fs::unlockFile(lock);
  llvm::sys::Process::SafelyCloseFileDescriptor(lock);
}

llvm::Expected<bool> WorkFolder::claim(llvm::StringRef fingerprint) {
  std::string file = path + "/fingerprint";
  auto existing = llvm::MemoryBuffer::getFile(file);
  if (existing && (*existing)->getBuffer() == fingerprint)
    return true;
  std::error_code code;
  for (fs::directory_iterator entry(path, code), end; entry != end && !code;
       entry.increment(code))
    if (entry->type() == fs::file_type::directory_file)
      fs::remove_directories(entry->path());
    else if (llvm::sys::path::filename(entry->path()) != "lock")
      fs::remove(entry->path());
  llvm::raw_fd_ostream os(file, code);
  if (!code) {
    os << fingerprint;
    os.close();
    code = os.error();
    os.clear_error();
  }
  if (code) {
    fs::remove(file);
    return makeError("cannot write '" + file + "': " + code.message());
  }
  return false;
}

bool WorkFolder::isWorthKeeping() const {
  std::error_code code;
  for (fs::recursive_directory_iterator entry(path, code), end;
       entry != end && !code; entry.increment(code))
    if (llvm::sys::path::extension(entry->path()) == ".safetensors")
      return true;
  return false;
}

void WorkFolder::remove() { fs::remove_directories(path); }

std::string ganq::hashBytes(llvm::StringRef bytes) {
  llvm::XXH128_hash_t hash = llvm::xxh3_128bits(llvm::ArrayRef<uint8_t>(
      reinterpret_cast<const uint8_t *>(bytes.data()), bytes.size()));
  return llvm::formatv("{0:x16}{1:x16}", hash.high64, hash.low64);
}

std::string ganq::getBuildIdentity() {
  Dl_info info;
  link_map *map = nullptr;
  // The program itself has no name in the list of loaded objects.
  std::string file = "/proc/self/exe";
  if (dladdr1(reinterpret_cast<void *>(&getBuildIdentity), &info,
              reinterpret_cast<void **>(&map), RTLD_DL_LINKMAP) &&
      map && map->l_name && *map->l_name)
    file = map->l_name;
  auto buffer = llvm::MemoryBuffer::getFile(file, /*IsText=*/false,
                                            /*RequiresNullTerminator=*/false);
  return buffer ? hashBytes((*buffer)->getBuffer()) : "unknown";
}
