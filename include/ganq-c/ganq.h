/*===-- ganq-c/ganq.h - C API of the compiler --------------------*- C -*-===*\
|*
|* SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
|*
|*===----------------------------------------------------------------------===*|
|*
|* Compiles ONNX language models, as ganq-compile does; ganq/runtime.h runs
|* what it writes. Several threads may call these functions; compilations take
|* turns, so that the next one begins when the one before it has ended.
|*
|* A model names files beside it, and calibration runs code that was made from
|* it: see docs/Onnx.md for what a model from a stranger cannot do.
|*
\*===----------------------------------------------------------------------===*/

#ifndef GANQ_C_GANQ_H
#define GANQ_C_GANQ_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define GANQ_C_API __attribute__((visibility("default")))
#else
#define GANQ_C_API
#endif

/* One option of ganq-compile by its name without dashes, such as {"scheme",
 * "lut"} or {"bind", "batch=1"}; flags take "true" and "false". Of an option
 * that is given twice the last one counts, but for "bind" and "report". */
typedef struct ganq_option {
  const char *key;
  const char *value;
} ganq_option;

/* Compiles the ONNX file `model` to the file `output`. Returns 0, or 1 after a
 * failure that leaves no output behind.
 *
 * `report`, if not null, gets a JSON object that describes the output: sizes,
 * and for each quantized weight its scheme and error; null after a failure.
 * `messages`, if not null, gets warnings and errors, a line each, or an empty
 * string; without it they go to stderr. Both are freed by
 * ganq_compiler_free(). */
GANQ_C_API int ganq_compile(const char *model, const char *output,
                            const ganq_option *options, size_t option_count,
                            char **report, char **messages);

GANQ_C_API void ganq_compiler_free(char *text);

/* The compiler's version, "0.1.0". */
GANQ_C_API const char *ganq_compiler_version(void);

#ifdef __cplusplus
}
#endif

#endif /* GANQ_C_GANQ_H */
