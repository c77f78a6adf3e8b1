//===- Blas.cpp - Load OpenBLAS with the right kernels --------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Blas.h"
#include <cstdlib>
#include <dlfcn.h>
#include <thread>

using namespace ganq::quant;

static bool hasAvx512() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx512f") &&
         __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512cd") &&
         __builtin_cpu_supports("avx512vl");
#else
  return false;
#endif
}

static Expected<const Blas *> load() {
  constexpr const char *variable = "OPENBLAS_CORETYPE";
  bool choose = hasAvx512() && !std::getenv(variable);
  if (choose)
    setenv(variable, "SKYLAKEX", /*overwrite=*/0);
  void *library = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
  if (!library)
    library = dlopen("libopenblas.so", RTLD_NOW | RTLD_LOCAL);
  if (choose)
    unsetenv(variable);
  if (!library)
    return Status::error(std::string("expected OpenBLAS as libopenblas.so.0, "
                                     "but loading it gave: ") +
                         dlerror() + "; install libopenblas0");
  static Blas table;
  const char *missing = nullptr;
  auto find = [&](auto &slot, const char *name) {
    void *symbol = dlsym(library, name);
    if (!symbol)
      missing = name;
    slot = reinterpret_cast<std::decay_t<decltype(slot)>>(symbol);
  };
  find(table.cblasSgemm, "cblas_sgemm");
  find(table.dpotrf, "dpotrf_");
  find(table.dpotrs, "dpotrs_");
  find(table.dpocon, "dpocon_");
  find(table.setThreads, "openblas_set_num_threads");
  find(table.getThreads, "openblas_get_num_threads");
  find(table.coreName, "openblas_get_corename");
  if (missing)
    return Status::error(std::string("expected OpenBLAS with ") + missing +
                         ", but got a library without it; install "
                         "libopenblas0-pthread");
  return &table;
}

Expected<const Blas *> ganq::quant::blas() {
  static const Expected<const Blas *> loaded = load();
  return loaded;
}

unsigned ganq::quant::resolveThreads(unsigned threads) {
  if (threads)
    return threads;
  unsigned cores = std::thread::hardware_concurrency();
  return cores ? cores : 1;
}
