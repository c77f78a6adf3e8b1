/*===-- CompileTest.c - Compiles a model by the C API ------------*- C -*-===*\
|*
|* SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
|*
\*===----------------------------------------------------------------------===*/

#include "ganq-c/ganq.h"
#include <dirent.h>
#include <pthread.h>
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

/* Open files of this process. */
static int count_files(void) {
  DIR *folder = opendir("/proc/self/fd");
  int count = 0;
  if (!folder)
    return -1;
  while (readdir(folder))
    ++count;
  closedir(folder);
  return count;
}

typedef struct job {
  const char *model, *output;
  int status;
  char *messages;
} job;

static void *run_job(void *argument) {
  job *work = argument;
  const ganq_option options[] = {
      {"scheme", "uniform"}, {"bits", "3"}, {"solver", "rtn"}};
  work->status = ganq_compile(work->model, work->output, options, 3, NULL,
                              &work->messages);
  return NULL;
}

/* Two threads with one output, and so one work folder, take turns. */
static void test_threads(const char *model, const char *output) {
  job jobs[2] = {{model, output, -1, NULL}, {model, output, -1, NULL}};
  pthread_t threads[2];
  int files = count_files();
  for (int i = 0; i < 2; ++i)
    expect(!pthread_create(&threads[i], NULL, run_job, &jobs[i]), "a thread",
           NULL);
  for (int i = 0; i < 2; ++i) {
    pthread_join(threads[i], NULL);
    expect(jobs[i].status == 0, "the model to compile beside another",
           jobs[i].messages);
    ganq_compiler_free(jobs[i].messages);
  }
  expect(count_files() == files, "no file left open", "another number");
  remove(output);
}

/* What ganq-compile refuses or takes is refused or taken here. */
static void test_equal_to_command_line(const char *model, const char *output) {
  const ganq_option budget[] = {{"budget", "0"}};
  expect_refusal(model, output, budget, 1,
                 "expected --budget to be a positive number of bits");
  const ganq_option group[] = {{"budget", "3"}, {"group", "64"}};
  expect_refusal(model, output, group, 2, "--calibration=ids.npy");
  const ganq_option report[] = {{"report", "m.txt"}};
  expect_refusal(model, output, report, 1, ".html or .json");
  const ganq_option evaluate[] = {{"evaluate", "/nowhere/ids.npy"}};
  expect_refusal(model, output, evaluate, 1, "/nowhere/ids.npy");

  const ganq_option unused[] = {{"group", "64"}, {"compile-to", "input"}};
  char *messages = NULL;
  int status = ganq_compile(model, output, unused, 2, NULL, &messages);
  expect(status == 0, "an option without effect to be taken", messages);
  expect(messages && strstr(messages, "--group has no effect without --scheme"),
         "a warning", messages);
  ganq_compiler_free(messages);
  remove(output);
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
  expect_refusal(model, output, text, 1, "expected --alpha to be a number");
  const ganq_option phase[] = {{"compile-to", "moon"}};
  expect_refusal(model, output, phase, 1, "expected --compile-to to be one of");
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
  test_equal_to_command_line(model, output);
  test_threads(model, output);
  expect(strchr(ganq_compiler_version(), '.') != NULL, "a version",
         ganq_compiler_version());
  return failures != 0;
}
