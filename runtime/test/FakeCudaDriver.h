//===- FakeCudaDriver.h - Uses FakeCuda.c in place of a driver --*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_RUNTIME_TEST_FAKECUDADRIVER_H
#define GANQ_RUNTIME_TEST_FAKECUDADRIVER_H

#include "FakeCuda.h"
#include <cstdlib>
#include <dlfcn.h>
#include <gtest/gtest.h>

namespace ganq::runtime::test {

/// While it lives, the runtime takes FakeCuda.c for NVIDIA's driver, whether or
/// not there is one. At its end nothing of the device may be left.
class FakeCudaDriver {
public:
  FakeCudaDriver()
      : library(dlopen(GANQ_FAKE_CUDA, RTLD_NOW | RTLD_LOCAL)),
        state(static_cast<fake_cuda_state *>(dlsym(library, "fake_cuda"))) {
    setenv("GANQ_CUDA_DRIVER", GANQ_FAKE_CUDA, 1);
    reset();
  }
  ~FakeCudaDriver() {
    expectNothingLives();
    unsetenv("GANQ_CUDA_DRIVER");
    dlclose(library);
  }

  fake_cuda_state *operator->() { return state; }

  void reset() {
    reinterpret_cast<void (*)()>(dlsym(library, "fake_cuda_reset"))();
  }

  int living() const {
    const fake_cuda_state &s = *state;
    return s.contexts + s.pushed + s.modules + s.streams + s.events + s.graphs +
           s.executables + s.allocations + s.host_allocations;
  }

  void expectNothingLives() const {
    const fake_cuda_state &s = *state;
    for (auto [count, what] :
         {std::pair(s.contexts, "contexts"), std::pair(s.pushed, "pushes"),
          std::pair(s.modules, "modules"), std::pair(s.streams, "streams"),
          std::pair(s.events, "events"), std::pair(s.graphs, "graphs"),
          std::pair(s.executables, "executable graphs"),
          std::pair(s.allocations, "allocations"),
          std::pair(s.host_allocations, "allocations of the host")})
      EXPECT_EQ(count, 0) << what;
    EXPECT_EQ(s.used, 0u);
  }

private:
  void *library;
  fake_cuda_state *state;
};

} // namespace ganq::runtime::test

#endif // GANQ_RUNTIME_TEST_FAKECUDADRIVER_H
