//===- CodeLibrary.cpp - Shared objects out of a model's file -------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "CodeLibrary.h"
#include <cerrno>
#include <cstring>
#include <dlfcn.h>
#include <elf.h>
#include <sys/mman.h>
#include <unistd.h>

namespace ganq::runtime {

/// Puts the code into an anonymous file and loads that; null if the system or
/// the loader refuses, with the reason in `error`.
static void *loadLibrary(std::string_view code, int &descriptor,
                         std::string &error) {
  descriptor = memfd_create("ganq-model", MFD_CLOEXEC);
  if (descriptor < 0) {
    error = strerror(errno);
    return nullptr;
  }
  void *library = nullptr;
  size_t written = 0;
  while (written < code.size()) {
    ssize_t got =
        write(descriptor, code.data() + written, code.size() - written);
    if (got < 0 && errno == EINTR)
      continue;
    if (got <= 0) {
      error = strerror(errno);
      break;
    }
    written += size_t(got);
  }
  if (written == code.size()) {
    // The code may call libm without naming it.
    static void *libm = dlopen("libm.so.6", RTLD_NOW | RTLD_GLOBAL);
    (void)libm;
    std::string path = "/proc/self/fd/" + std::to_string(descriptor);
    library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!library)
      error = dlerror();
  }
  return library;
}

Result<std::unique_ptr<CodeLibrary>>
CodeLibrary::load(std::string_view code, const std::string &where) {
  auto invalid = [&](const std::string &message) {
    return Status(Code::InvalidFile, where + ": " + message);
  };
  Elf64_Ehdr header;
  if (code.size() < sizeof(header))
    return invalid("expected an ELF shared object, but got " +
                   std::to_string(code.size()) + " bytes");
  memcpy(&header, code.data(), sizeof(header));
  if (memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 ||
      header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_type != ET_DYN ||
      header.e_machine != EM_X86_64)
    return invalid("expected an ELF shared object for x86_64");
  std::unique_ptr<CodeLibrary> result(new CodeLibrary);
  std::string error;
  result->library = loadLibrary(code, result->descriptor, error);
  if (!result->library)
    return invalid("cannot load it: " + error);
  return result;
}

CodeLibrary::~CodeLibrary() {
  if (library)
    dlclose(library);
  if (descriptor >= 0)
    close(descriptor);
}

void *CodeLibrary::find(const std::string &name) const {
  return dlsym(library, name.c_str());
}

} // namespace ganq::runtime
