//===- Files.cpp - Whole-file access under a temporary name ---------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Files.h"
#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace ganq::runtime {

Status systemError(const char *action, const std::string &path, int number) {
  return Status(Code::InputOutput, std::string("cannot ") + action + " '" +
                                       path + "': " + strerror(number));
}

Result<int> openRegularFile(const std::string &path, int64_t &bytes) {
  int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0)
    return systemError("open", path, errno);
  struct stat info;
  if (fstat(descriptor, &info) != 0) {
    Status error = systemError("read", path, errno);
    close(descriptor);
    return error;
  }
  if (!S_ISREG(info.st_mode)) {
    close(descriptor);
    return Status(
        Code::InputOutput,
        "expected '" + path + "' to be a regular file, but got " +
            (S_ISDIR(info.st_mode) ? "a directory" : "a pipe or device"));
  }
  bytes = info.st_size;
  return descriptor;
}

Result<int> createTemporary(const std::string &path, std::string &temporary) {
  static std::atomic<unsigned> counter{0};
  temporary = path + ".tmp" + std::to_string(getpid()) + "." +
              std::to_string(counter++);
  int descriptor =
      open(temporary.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (descriptor < 0) {
    Status error = systemError("create", temporary, errno);
    temporary.clear();
    return error;
  }
  return descriptor;
}

Status writeFully(int descriptor, const char *data, int64_t bytes,
                  int64_t offset, const std::string &path) {
  while (bytes > 0) {
    ssize_t written = pwrite(descriptor, data,
                             size_t(std::min<int64_t>(bytes, 1 << 30)), offset);
    if (written < 0 && errno == EINTR)
      continue;
    if (written <= 0)
      return systemError("write", path, written < 0 ? errno : ENOSPC);
    data += written;
    bytes -= written;
    offset += written;
  }
  return Status();
}

Status closeAndRename(int descriptor, const std::string &temporary,
                      const std::string &path) {
  Status status;
  if (close(descriptor) != 0)
    status = systemError("write", path, errno);
  else if (rename(temporary.c_str(), path.c_str()) != 0)
    status = systemError("create", path, errno);
  if (!status.ok())
    unlink(temporary.c_str());
  return status;
}

} // namespace ganq::runtime
