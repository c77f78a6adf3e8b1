//===- Drivers.cpp - Finds the libraries that drive devices ---------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Device.h"
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <link.h>
#include <unistd.h>
#include <vector>

namespace ganq::runtime {

/// The first version of the driver with all functions (graphs with flags): CUDA
/// 11.4, as cuDriverGetVersion gives it.
static constexpr int kOldestDriver = 11040;

static Status unsupported(const std::string &message) {
  return Status(Code::Unsupported, message);
}

static std::string versionText(int version) {
  return std::to_string(version / 1000) + "." +
         std::to_string(version % 1000 / 10);
}

Result<ganq_driver> loadCudaDriver() {
  const char *chosen = getenv("GANQ_CUDA_DRIVER");
  std::string path = chosen && *chosen ? chosen : "libcuda.so.1";
  // Never closed: the driver keeps threads and handlers of its own.
  void *library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library)
    return unsupported("cannot load NVIDIA's driver (install it, or compile "
                       "the model with --target=cpu): " +
                       std::string(dlerror()));
  ganq_driver driver = {};
  const char *missing = nullptr;
  auto find = [&](auto &function, const char *symbol) {
    void *address = dlsym(library, symbol);
    function = reinterpret_cast<std::decay_t<decltype(function)>>(address);
    return address != nullptr;
  };
#define GANQ_DRIVER_FIND(field, symbol, parameters)                            \
  if (!find(driver.field, #symbol) && !missing)                                \
    missing = #symbol;
  GANQ_DRIVER_FUNCTIONS(GANQ_DRIVER_FIND)
#undef GANQ_DRIVER_FIND
#define GANQ_DRIVER_FIND(field, symbol, parameters) find(driver.field, #symbol);
  GANQ_DRIVER_OPTIONAL_FUNCTIONS(GANQ_DRIVER_FIND)
#undef GANQ_DRIVER_FIND

  int version = 0;
  if (driver.driver_version && driver.driver_version(&version) == 0 &&
      version < kOldestDriver)
    return unsupported("expected NVIDIA's driver for CUDA " +
                       versionText(kOldestDriver) + " or later, but '" + path +
                       "' is for CUDA " + versionText(version) +
                       " (update the driver)");
  if (missing)
    return unsupported("expected the function " + std::string(missing) +
                       " in NVIDIA's driver '" + path +
                       "', but there is none (update the driver)");
  return driver;
}

/// The folder of the library or program that this code is part of; empty where
/// the system does not say.
static std::string ownFolder() {
  Dl_info info;
  void *extra = nullptr;
  std::string path;
  if (dladdr1(reinterpret_cast<void *>(&ownFolder), &info, &extra,
              RTLD_DL_LINKMAP) != 0 &&
      extra)
    path = static_cast<const link_map *>(extra)->l_name;
  // The program itself has no name in the list of libraries.
  if (path.empty())
    path = "/proc/self/exe";
  char resolved[PATH_MAX];
  if (!realpath(path.c_str(), resolved))
    return "";
  path = resolved;
  return path.substr(0, path.rfind('/'));
}

Result<ganq_driver> loadEmulatorDriver() {
  const char *const name = "libganq_emulator.so";
  std::string folder = ownFolder();
  // Never the present folder: a library there may be anybody's.
  if (folder.empty())
    return unsupported("cannot find the runtime's own folder, where the "
                       "emulator lies: " +
                       std::string(strerror(errno)));
  std::vector<std::string> places = {folder + "/" + name,
                                     folder + "/../lib/" + name};
  std::string found;
  for (const std::string &place : places)
    if (found.empty() && access(place.c_str(), R_OK) == 0)
      found = place;
  if (found.empty())
    return unsupported("expected the emulator in '" + places[0] + "' or '" +
                       places[1] +
                       "', but there is none (build the target "
                       "ganq_emulator_shared, or copy it there)");
  // Global: the model's code takes `ganq_simt_*` from it.
  void *library = dlopen(found.c_str(), RTLD_NOW | RTLD_GLOBAL);
  if (!library)
    return unsupported("cannot load the emulator: " + std::string(dlerror()));
  auto table = reinterpret_cast<ganq_emulator_driver_fn>(
      dlsym(library, GANQ_EMULATOR_DRIVER_SYMBOL));
  const ganq_driver *driver = table ? table(GANQ_DRIVER_ABI_VERSION) : nullptr;
  if (!driver)
    return unsupported("expected an emulator for this version of the runtime, "
                       "but got another in '" +
                       found + "' (build both again)");
  return *driver;
}

} // namespace ganq::runtime
