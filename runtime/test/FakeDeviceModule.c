/*===-- FakeDeviceModule.c - Stands for kernels for the emulator -*- C -*-===*\
|*
|* SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
|*
\*===----------------------------------------------------------------------===*/

#include "TestKernels.h"
#include "ganq/emulator.h"

static void embed(ganq_simt_lane *lane, void *const *args) {
  /* The alignment of an i64; place 0. */
  ganq_simt_range(lane, POINTER(const int64_t, 0) + lane->ctaid[0], 8,
                  GANQ_SIMT_LOAD | 3 << GANQ_SIMT_ALIGN_SHIFT, 0);
  run_embed(lane->ctaid[0], args);
}
static void state(ganq_simt_lane *lane, void *const *args) {
  run_state(lane->ctaid[0], args);
}
static void head(ganq_simt_lane *lane, void *const *args) {
  run_head(lane->ctaid[0], args);
}
static void head_of_row(ganq_simt_lane *lane, void *const *args) {
  run_head_of_row(lane->ctaid[0], args);
}
static void argmax(ganq_simt_lane *lane, void *const *args) {
  run_argmax(lane->ctaid[0], args);
}
/* An address and an offset (i64) to store 4 bytes at. */
static void store(ganq_simt_lane *lane, void *const *args) {
  ganq_simt_range(lane, POINTER(char, 0) + VALUE(int64_t, 1), 4,
                  GANQ_SIMT_STORE, 1);
}

/* An address: each thread stores its number there. */
static void race(ganq_simt_lane *lane, void *const *args) {
  *POINTER(uint32_t, 0) = lane->tid[0];
}

static const ganq_simt_kernel kernels[] = {
    {"embed", embed, 0, 5, 1, 0},   {"state", state, 0, 4, 1, 0},
    {"head", head, 0, 5, 1, 0},     {"head_of_row", head_of_row, 0, 6, 1, 0},
    {"store", store, 0, 2, 1, 0},   {"race", race, 0, 1, 1, 0},
    {"argmax", argmax, 0, 3, 1, 0},
};
static const char *const places[] = {"fake.mlir:1:1", "fake.mlir:2:2"};

#ifndef FAKE_ABI
#define FAKE_ABI GANQ_SIMT_ABI
#endif

/* The type's name is the symbol's. */
__attribute__((visibility("default"))) extern const ganq_simt_module
    module __asm__("ganq_simt_module");
const ganq_simt_module module = {FAKE_ABI, 7, 0, 2, 0, 0, kernels, 0, places};
