/*===-- FakeCuda.h - What a test sees of the CUDA driver by hand -*- C -*-===*\
|*
|* SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
|*
\*===----------------------------------------------------------------------===*/

#ifndef GANQ_RUNTIME_TEST_FAKECUDA_H
#define GANQ_RUNTIME_TEST_FAKECUDA_H

#include <stddef.h>
#include <stdint.h>

/* The library exports one under the name `fake_cuda`, and the function
   `fake_cuda_reset`, which begins anew. */
struct fake_cuda_state {
  /* What there is. */
  int version, devices, major, minor, shared_bytes;
  size_t memory;
  /* The function whose call number `fail_at`, from 0, gives `error`. */
  const char *fail;
  int fail_at, error;

  /* What happened. */
  int failed;
  int launches, captured, graph_launches;
  size_t copied_to_device, copied_to_host;
  char chip[16];
  /* What lives. */
  int contexts, pushed, modules, streams, events, graphs, executables,
      allocations, host_allocations;
  size_t used;
};

#endif /* GANQ_RUNTIME_TEST_FAKECUDA_H */
