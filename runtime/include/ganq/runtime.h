/*===-- ganq/runtime.h - C API of the runtime --------------------*- C -*-===*\
|*
|* SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
|*
|*===----------------------------------------------------------------------===*|
|*
|* Loads and runs compiled models. Every function that can fail returns a
|* ganq_status; ganq_error_message() then explains in one line. Handles may be
|* used by one thread at a time; different handles by different threads. A
|* compiled model contains native code: open only files that you trust as you
|* would trust an executable.
|*
|* The number of threads is that of the environment variable GANQ_THREADS, by
|* default the number of CPUs that the process may use.
|*
|* A model runs where it was compiled for: on the CPU, or on the first GPU that
|* the driver shows (GANQ_CUDA_DRIVER names another library than libcuda.so.1)
|* or in the emulator, which are opened with the model's first session.
|*
\*===----------------------------------------------------------------------===*/

#ifndef GANQ_RUNTIME_H
#define GANQ_RUNTIME_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define GANQ_API __attribute__((visibility("default")))
#else
#define GANQ_API
#endif

typedef enum ganq_status {
  GANQ_OK = 0,
  GANQ_INVALID_ARGUMENT = 1, /* a value from the caller that cannot be used */
  GANQ_INVALID_FILE = 2,     /* content that breaks the format's rules */
  GANQ_UNSUPPORTED = 3,  /* valid, but not on this machine or by this version */
  GANQ_OUT_OF_RANGE = 4, /* token outside the vocabulary, context overflow */
  GANQ_IO_ERROR = 5,     /* the operating system refused */
  GANQ_OUT_OF_MEMORY = 6,
  GANQ_FAILED = 7 /* the model's own code, or the device, reported a failure */
} ganq_status;

/* Element types, row-major arrays, native byte order. */
typedef enum ganq_dtype {
  GANQ_BOOL,
  GANQ_U8,
  GANQ_I8,
  GANQ_U16,
  GANQ_I16,
  GANQ_U32,
  GANQ_I32,
  GANQ_U64,
  GANQ_I64,
  GANQ_F16,
  GANQ_BF16,
  GANQ_F32,
  GANQ_F64,
  GANQ_F8_E4M3,
  GANQ_F8_E5M2
} ganq_dtype;

typedef struct ganq_tensor {
  const char *name;
  int32_t dtype; /* ganq_dtype */
  int32_t rank;
  const int64_t *shape; /* `rank` sizes */
  const void *data;
} ganq_tensor;

typedef struct ganq_model ganq_model;
typedef struct ganq_session ganq_session;
typedef struct ganq_results ganq_results;

/* The runtime's version, "0.1.0". */
GANQ_API const char *ganq_version(void);

/* The message of the calling thread's last error; "" if there was none. Valid
   until the thread's next call into the runtime. */
GANQ_API const char *ganq_error_message(void);

/*===-- Models ------------------------------------------------------------===*/

/* Maps the file, checks it, loads its code. */
GANQ_API ganq_status ganq_model_open(const char *path, ganq_model **model);

/* Sessions of the model stay usable. NULL is allowed. */
GANQ_API void ganq_model_close(ganq_model *model);

/* The manifest as JSON (docs/Format.md), valid as long as the model. */
GANQ_API const char *ganq_model_manifest(const ganq_model *model);

/* Runs the entry `main` on `count` inputs, which are told apart by name; their
   dtype, rank and sizes must be those that the manifest gives. */
GANQ_API ganq_status ganq_model_run(ganq_model *model,
                                    const ganq_tensor *inputs, size_t count,
                                    ganq_results **results);
GANQ_API size_t ganq_results_count(const ganq_results *results);
/* The i-th output in the manifest's order; pointers are valid as long as
   `results`. */
GANQ_API ganq_status ganq_results_get(const ganq_results *results, size_t i,
                                      ganq_tensor *tensor);
GANQ_API void ganq_results_free(ganq_results *results);

/* Judges a language model on `rows` independent sequences of `columns` token
   ids each, row-major: the targets of a row are its tokens 1 .. columns - 1.
   `loss` is the sum of the targets' negative log-likelihoods (natural
   logarithm), `targets` their number; the perplexity is exp(loss / targets). */
GANQ_API ganq_status ganq_model_evaluate(ganq_model *model,
                                         const int64_t *tokens, int64_t rows,
                                         int64_t columns, double *loss,
                                         int64_t *targets);

/*===-- Sessions: one sequence of tokens each -----------------------------===*/

GANQ_API ganq_status ganq_session_create(ganq_model *model,
                                         ganq_session **session);
GANQ_API void ganq_session_destroy(ganq_session *session);

/* Appends tokens. A token outside the vocabulary or a sequence beyond the
   model's context is GANQ_OUT_OF_RANGE and changes nothing. */
GANQ_API ganq_status ganq_session_feed(ganq_session *session,
                                       const int64_t *tokens, int64_t count);

/* The last token's logits and their number; valid until the next feed or
   rewind. */
GANQ_API ganq_status ganq_session_logits(const ganq_session *session,
                                         const float **logits,
                                         int64_t *vocabulary);

GANQ_API int64_t ganq_session_length(const ganq_session *session);
/* INT64_MAX if no limit is known. */
GANQ_API int64_t ganq_session_max_context(const ganq_session *session);

/* Keeps the first `length` tokens only; 0 starts anew. */
GANQ_API ganq_status ganq_session_rewind(ganq_session *session, int64_t length);

/* Chooses the next token by the last logits, without feeding it: the most
   probable at temperature 0, else a draw from softmax(logits / temperature). */
GANQ_API ganq_status ganq_session_sample(ganq_session *session,
                                         double temperature, int64_t *token);

/* Starts the draws anew. Equal seeds give equal draws on every machine. */
GANQ_API void ganq_session_seed(ganq_session *session, uint64_t seed);

#ifdef __cplusplus
}
#endif

#endif /* GANQ_RUNTIME_H */
