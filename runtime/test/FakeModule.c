/*===-- FakeModule.c - Native code as the compiler would emit it -*- C -*-===*\
|*
|* SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
|*
|*===----------------------------------------------------------------------===*|
|*
|* A language model small enough to write by hand. Token t has the embedding
|* E[t] (2 numbers); the state at position i is the sum over j <= i of
|* E[token j] / 2^(i - j); logits are state . W[v] + bias[v]. The cache holds
|* the embeddings, so that each state needs all earlier rows of it.
|*
\*===----------------------------------------------------------------------===*/

#include "ganq/module_abi.h"

enum { Vocabulary = 16, Width = 2, Prefill = 4 };

static const ganq_host_api *host;
static const void *const *parameters;
#define embedding ((const float *)parameters[0])
#define head ((const float *)parameters[1])
#define bias ((const float *)parameters[2])

int32_t ganq_module_init(const ganq_host_api *api, const void *const *params) {
  host = api;
  parameters = params;
  for (int i = 0; i < 3; ++i)
    if ((uintptr_t)params[i] % GANQ_MODULE_ALIGNMENT)
      return 7;
  return 0;
}

static int64_t size(const ganq_memref *ref, int i) {
  return ref->sizes_and_strides[i];
}

static void logits_of(const float *state, float *out) {
  for (int v = 0; v < Vocabulary; ++v)
    out[v] =
        state[0] * head[v * Width] + state[1] * head[v * Width + 1] + bias[v];
}

struct rows {
  const int64_t *tokens;
  int64_t columns;
  float *states; /* [batch, width, columns] */
  float *logits;
};

static void run_rows(void *closure, int64_t lo, int64_t hi) {
  struct rows *rows = closure;
  for (int64_t b = lo; b < hi; ++b) {
    float state[Width] = {0, 0};
    for (int64_t i = 0; i < rows->columns; ++i) {
      int64_t token = rows->tokens[b * rows->columns + i];
      if (token < 0 || token >= Vocabulary) {
        host->fail("token outside the vocabulary");
        token = 0;
      }
      for (int c = 0; c < Width; ++c) {
        state[c] = state[c] / 2 + embedding[token * Width + c];
        rows->states[(b * Width + c) * rows->columns + i] = state[c];
      }
      logits_of(state, rows->logits + (b * rows->columns + i) * Vocabulary);
    }
  }
}

/* Inputs: input_ids [batch, seq]. Outputs: logits [batch, seq, vocabulary];
   states [batch, seq, width], a transposed view. A sequence of 13 tokens fails
   outside of a parallel body, one of 14 asks for too much memory. */
void ganq_main(void **args) {
  ganq_memref *ids = args[0], *logits = args[1], *states = args[2];
  int64_t batch = size(ids, 0), columns = size(ids, 1);
  if (columns == 13) {
    host->fail("thirteen tokens");
    *(volatile int *)0 = 0; /* not reached */
  }
  if (columns == 14)
    *(volatile char *)host->allocate(INT64_MAX / 2) = 0;
  float *out = host->allocate(batch * columns * Vocabulary * 4);
  float *state = host->allocate(batch * columns * Width * 4 + 4);
  struct rows rows = {(int64_t *)ids->aligned + ids->offset, columns, state + 1,
                      out};
  host->parallel_for(run_rows, &rows, batch);
  host->observe(3, out, batch * columns, Vocabulary);

  int64_t dense[6] = {batch,      columns, Vocabulary, columns * Vocabulary,
                      Vocabulary, 1};
  int64_t turned[6] = {batch, columns, Width, Width * columns, 1, columns};
  logits->allocated = logits->aligned = out;
  logits->offset = 0;
  states->allocated = states->aligned = state;
  states->offset = 1;
  for (int i = 0; i < 6; ++i) {
    logits->sizes_and_strides[i] = dense[i];
    states->sizes_and_strides[i] = turned[i];
  }
}

/* All logits, or with `row` those of one row. */
static void step(void **args, int64_t count, const int64_t *row) {
  int next = row ? 4 : 3;
  ganq_memref *arena = args[0], *ids = args[1], *cache = args[next],
              *logits = args[next + 1];
  int64_t past = *(int64_t *)args[2];
  float *rows = cache->aligned;
  float *scratch = arena->aligned;
  float unused[Vocabulary];
  /* Garbage in the arena must not matter. */
  scratch[0] = 12345;
  for (int64_t i = 0; i < count; ++i) {
    int64_t token = ((int64_t *)ids->aligned)[i];
    for (int c = 0; c < Width; ++c)
      rows[(past + i) * Width + c] = embedding[token * Width + c];
    float state[Width] = {0, 0};
    for (int64_t j = 0; j <= past + i; ++j)
      for (int c = 0; c < Width; ++c)
        state[c] = state[c] / 2 + rows[j * Width + c];
    logits_of(state, !row        ? (float *)logits->aligned + i * Vocabulary
                     : *row == i ? (float *)logits->aligned
                                 : unused);
  }
  host->observe(4, logits->aligned, row ? 1 : count, Vocabulary);
}

void ganq_prefill(void **args) { step(args, Prefill, 0); }
void ganq_prompt(void **args) {
  ganq_memref *row = args[3];
  step(args, Prefill, row->aligned);
}
void ganq_decode(void **args) { step(args, 1, 0); }
