/*===-- CompileTest.c - Compiles a model by the C API ------------*- C -*-===*\
|*
|* SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
|*
\*===----------------------------------------------------------------------===*/

#include "ganq-c/ganq.h"
#include <stdio.h>
#include <string.h>

static int failures = 0;

static void expect(int condition, const char *what, const char *messages) {
  if (condition)
    return;
  ++failures;
  fprintf(stderr, "expected %s, but got: %s\n", what,
          messages ? messages : "nothing");
}

/* Compiles and expects a failure whose messages contain `part`. */
static void expect_refusal(const char *model, const char *output,
                           const ganq_option *options, size_t count,
                           const char *part) {
  char *report = NULL, *messages = NULL;
  int status = ganq_compile(model, output, options, count, &report, &messages);
  FILE *file = fopen(output, "rb");
  expect(status == 1, "a failure", messages);
  expect(messages && strstr(messages, part), part, messages);
  expect(report == NULL, "no report", report);
  expect(file == NULL, "no output", output);
  if (file)
    fclose(file);
  ganq_compiler_free(messages);
  ganq_compiler_free(report);
}

int main(int argc, char **argv) {
  char output[4096];
  char *report = NULL, *messages = NULL;
  if (argc != 3)
    return 2;
  const char *model = argv[1];
  snprintf(output, sizeof(output), "%s/capi.ganq", argv[2]);
  remove(output);

  const ganq_option unknown[] = {{"colour", "red"}};
  expect_refusal(model, output, unknown, 1,
                 "expected an option of ganq-compile, but got `colour`");
  const ganq_option wide[] = {{"scheme", "uniform"}, {"bits", "9"}};
  expect_refusal(model, output, wide, 2, "between 1 and 8");
  const ganq_option text[] = {{"alpha", "half"}};
  expect_refusal(model, output, text, 1, "expected alpha to be a number");
  const ganq_option phase[] = {{"compile-to", "moon"}};
  expect_refusal(model, output, phase, 1, "expected compile-to to be one of");
  const ganq_option bind[] = {{"bind", "batch"}};
  expect_refusal(model, output, bind, 1, "expected dimension=size");
  expect_refusal("/nowhere/model.onnx", output, NULL, 0, "error: ");
  expect_refusal(model, output, NULL, 1, "null pointer");

  const ganq_option options[] = {{"scheme", "uniform"},
                                 {"bits", "4"},
                                 {"solver", "rtn"},
                                 {"max-context", "100000"},
                                 {"bind", "batch=1"}};
  int status =
      ganq_compile(model, output, options, sizeof(options) / sizeof(options[0]),
                   &report, &messages);
  expect(status == 0, "the model to compile", messages);
  expect(messages && strstr(messages, "warning: "), "a warning", messages);
  expect(report && strstr(report, "\"scheme\": \"uniform4\""),
         "a report of the weights", report);
  FILE *file = fopen(output, "rb");
  expect(file != NULL, "an output", output);
  if (file)
    fclose(file);
  remove(output);
  ganq_compiler_free(report);
  ganq_compiler_free(messages);
  expect(strchr(ganq_compiler_version(), '.') != NULL, "a version",
         ganq_compiler_version());
  return failures != 0;
}
