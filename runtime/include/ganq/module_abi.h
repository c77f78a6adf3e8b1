/*===-- ganq/module_abi.h - ABI of a model's native code ---------*- C -*-===*\
|*
|* SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
|*
|*===----------------------------------------------------------------------===*|
|*
|* The contract between the native code in a `.ganq` file and the runtime that
|* loads it. The compiler emits code against it, the runtime implements it, and
|* neither includes a header of the other apart from this one. docs/Format.md
|* describes the file around the code.
|*
|* The code is an ELF shared object. It names no needed libraries; what it
|* leaves undefined can only be functions of libc and libm. It exports
|*
|*   - GANQ_MODULE_INIT_SYMBOL, of type ganq_module_init_fn, and
|*   - a function of type ganq_entry_fn for each entry of the manifest.
|*
\*===----------------------------------------------------------------------===*/

#ifndef GANQ_MODULE_ABI_H
#define GANQ_MODULE_ABI_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Changes whenever code built for one version cannot run under another. It
   stands in the manifest ("abi") and in ganq_host_api. */
#define GANQ_MODULE_ABI_VERSION 1u

#define GANQ_MODULE_INIT_SYMBOL "ganq_module_init"

/* Alignment, in bytes, of every parameter, of main's inputs, of memory from
   `allocate`, of the arena, of the caches and of the logits buffer. */
#define GANQ_MODULE_ALIGNMENT 64

/* The body of a parallel loop: runs the iterations lo <= i < hi. */
typedef void (*ganq_parallel_fn)(void *closure, int64_t lo, int64_t hi);

/* What the runtime offers to the code. Later versions only append fields;
   `size` says how many bytes are valid. */
typedef struct ganq_host_api {
  uint32_t abi_version; /* GANQ_MODULE_ABI_VERSION of the runtime */
  uint32_t size;        /* sizeof(ganq_host_api) of the runtime */

  /* Runs `fn` over [0, count) split into contiguous non-empty ranges, one per
     thread, the caller's thread among them, and returns when all have ended;
     their writes are then visible to the caller. A call from within a body
     runs on the spot as one range. count <= 0 calls nothing. */
  void (*parallel_for)(ganq_parallel_fn fn, void *closure, int64_t count);

  /* Returns `bytes` bytes at GANQ_MODULE_ALIGNMENT, uninitialized, never NULL
     (also for 0 bytes). The runtime frees them after the call of the entry and
     after it has read the results. Not to be called from a body of
     parallel_for. Where there is no memory the call of the entry is abandoned
     with an error and this function does not return. */
  void *(*allocate)(int64_t bytes);

  /* Hands a calibration tap's values to the observer: `data` is a row-major
     [rows, columns] array, valid during the call; `id` is the tap's number.
     Not to be called from a body of parallel_for. */
  void (*observe)(int64_t id, const float *data, int64_t rows, int64_t columns);

  /* Reports that this call of the entry has failed; the first message is kept
     and copied. Outside a body of parallel_for the call of the entry is
     abandoned and this function does not return. Within a body it returns, and
     the code goes on in a memory-safe way. */
  void (*fail)(const char *message);
} ganq_host_api;

/* A ranked memref as MLIR lays it out (StridedMemRefType); the object holds
   2 * rank 64-bit integers after the offset: sizes, then strides, both in
   elements. Rank 0 ends after the offset. i1 elements take one byte each. */
typedef struct ganq_memref {
  void *allocated;
  void *aligned;
  int64_t offset;
  int64_t sizes_and_strides[1]; /* really 2 * rank */
} ganq_memref;

/* Called once after loading, before any entry. The module keeps both pointers;
   they stay valid until it is unloaded. params[i] is the data of the tensor
   that "parameters"[i] of the manifest names, read-only; the runtime may point
   it at other data between calls of entries. Returns 0, or any other value to
   refuse to load. */
typedef int32_t (*ganq_module_init_fn)(const ganq_host_api *api,
                                       const void *const *params);

/* An entry. args[i] points at the i-th argument: at the value itself for a
   scalar (i64 or index: int64_t, f32: float), at a ganq_memref for a memref.
   Result slots follow the inputs, for each result room for a ganq_memref that
   the entry fills; a result may lie in memory from `allocate`, in an input or
   in a parameter, with any strides. The runtime runs one entry of a module at a
   time.

   main:     inputs as "inputs" of the manifest, in that order (row-major
             memrefs, also of rank 0; copies, which the code may overwrite,
             unless the model was built to leave its inputs alone),
             then one slot for each of "outputs".
   prefill,
   prompt,
   decode:   memref<?xi8>            arena, "arena" bytes of scratch memory
             memref<1xSxi64>         token ids; S is "tokens" of the entry
             i64                     past: tokens in the caches before this call
             memref<1xi64>           prompt only: the row, 0 <= row < S, whose
                                     logits are wanted
             memref<...>             each of "caches" of the state, in order;
                                     rows past..past+S-1 are written,
                                     rows 0..past-1 are read
             memref<1xSxVxf32>       logits, filled by the entry;
                                     memref<1x1xVxf32> for prompt
             No results. The runtime keeps past + S <= max_context and every
             token id within [0, vocabulary). */
typedef void (*ganq_entry_fn)(void **args);

#ifdef __cplusplus
}
#endif

#endif /* GANQ_MODULE_ABI_H */
