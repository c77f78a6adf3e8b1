/*===-- TestKernels.h - FakeModule.c as kernels of a device ------*- C -*-===*\
|*
|* SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
|*
|*===----------------------------------------------------------------------===*|
|*
|* Each runs one block, of one thread; args[i] points at the i-th argument, as
|* with cuLaunchKernel.
|*
\*===----------------------------------------------------------------------===*/

#ifndef GANQ_RUNTIME_TEST_TESTKERNELS_H
#define GANQ_RUNTIME_TEST_TESTKERNELS_H

#include <stdint.h>

#define POINTER(type, i) (*(type *const *)args[i])
#define VALUE(type, i) (*(const type *)args[i])

/* tokens, past, embedding, cache, width (i32): a row of the cache per block */
static void run_embed(uint32_t block, void *const *args) {
  int32_t width = VALUE(int32_t, 4);
  int64_t token = POINTER(const int64_t, 0)[block];
  int64_t row = POINTER(const int64_t, 1)[0] + block;
  for (int32_t c = 0; c < width; ++c)
    POINTER(float, 3)
  [row * width + c] = POINTER(const float, 2)[token * width + c];
}

/* past, cache, decay (f32), states: the state of a row per block */
static void run_state(uint32_t block, void *const *args) {
  int64_t row = POINTER(const int64_t, 0)[0] + block;
  float state[2] = {0, 0};
  for (int64_t i = 0; i <= row; ++i)
    for (int c = 0; c < 2; ++c)
      state[c] =
          state[c] * VALUE(float, 2) + POINTER(const float, 1)[i * 2 + c];
  for (int c = 0; c < 2; ++c)
    POINTER(float, 3)[block * 2 + c] = state[c];
}

static void logits_of(const float *state, void *const *args, float *out) {
  const float *head = POINTER(const float, 1), *bias = POINTER(const float, 2);
  int64_t vocabulary = VALUE(int64_t, 3);
  for (int64_t v = 0; v < vocabulary; ++v)
    out[v] = state[0] * head[v * 2] + state[1] * head[v * 2 + 1] + bias[v];
}

/* states, head, bias, vocabulary (i64), logits: of a row per block */
static void run_head(uint32_t block, void *const *args) {
  logits_of(POINTER(const float, 0) + block * 2, args,
            POINTER(float, 4) + block * VALUE(int64_t, 3));
}

/* The same with `row` behind: of that row */
static void run_head_of_row(uint32_t block, void *const *args) {
  (void)block;
  logits_of(POINTER(const float, 0) + POINTER(const int64_t, 5)[0] * 2, args,
            POINTER(float, 4));
}

/* logits, best, vocabulary (i32): the token of the greatest logit */
static void run_argmax(uint32_t block, void *const *args) {
  const float *logits = POINTER(const float, 0);
  int64_t best = 0;
  (void)block;
  for (int32_t v = 0; v < VALUE(int32_t, 2); ++v)
    best = logits[v] > logits[best] ? v : best;
  *POINTER(int64_t, 1) = best;
}

#endif /* GANQ_RUNTIME_TEST_TESTKERNELS_H */
