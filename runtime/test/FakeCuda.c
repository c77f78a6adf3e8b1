/*===-- FakeCuda.c - A CUDA driver by hand -----------------------*- C -*-===*\
|*
|* SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
|*
|*===----------------------------------------------------------------------===*|
|*
|* Stands for libcuda.so.1 with one device in the host's memory. It is as late
|* as a driver may be: what is put into a stream runs when somebody waits for
|* the stream, so that memory which is reused too early or read too soon shows.
|* Memory that waiting work names cannot be freed. Fails on request and counts
|* what lives (FakeCuda.h). One thread.
|*
\*===----------------------------------------------------------------------===*/

#include "FakeCuda.h"
#include "TestKernels.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
  Success = 0,
  InvalidValue = 1,
  OutOfMemory = 2,
  NoDevice = 100,
  InvalidImage = 200,
  InvalidContext = 201,
  NotFound = 500,
  CaptureUnsupported = 900
};

#define INITIAL                                                                \
  {.version = 12080,                                                           \
   .devices = 1,                                                               \
   .major = 9,                                                                 \
   .shared_bytes = 100000,                                                     \
   .memory = 64 << 20}

struct fake_cuda_state fake_cuda = INITIAL;

/* What handles stand for; listed, so that a new beginning can free the rest. */
union object {
  union object *next;
  max_align_t alignment;
};
static union object *objects;

static void *make(size_t bytes) {
  union object *made = calloc(1, sizeof(*made) + bytes);
  made->next = objects;
  objects = made;
  return made + 1;
}
static void unmake(void *handle) {
  for (union object **at = &objects; *at; at = &(*at)->next)
    if (*at + 1 == handle) {
      union object *found = *at;
      *at = found->next;
      free(found);
      return;
    }
}

/* Memory of the device or of the host, with a header in front. */
struct block {
  struct block *next;
  size_t bytes;
  int on_host;
};
static struct block *blocks;
enum { Header = 256 };

struct work {
  struct work *next;
  enum { Copy, Fill, Launch, Record } kind;
  void *to;
  const void *from;
  size_t bytes;
  int value;
  const struct kernel *kernel;
  unsigned blocks;
  uint64_t args[6];
};
/* A stream or a graph. */
struct list {
  struct work *first, **end;
  int in_capture;
  struct list *next; /* stream */
};
/* Also those that were destroyed before their work was done. */
static struct list *streams;

void fake_cuda_reset(void) {
  fake_cuda = (struct fake_cuda_state)INITIAL;
  while (objects)
    unmake(objects + 1);
  while (blocks) {
    struct block *next = blocks->next;
    free(blocks);
    blocks = next;
  }
  streams = NULL;
}

static int lives(void) {
  return fake_cuda.contexts || fake_cuda.pushed || fake_cuda.modules ||
         fake_cuda.streams || fake_cuda.events || fake_cuda.graphs ||
         fake_cuda.executables || fake_cuda.allocations ||
         fake_cuda.host_allocations || fake_cuda.used;
}

/* A program may not end before it has freed everything. */
__attribute__((destructor)) static void check_end(void) {
  if (lives()) {
    fputs("FakeCuda.c: something was not freed\n", stderr);
    _exit(99);
  }
}

/* Whether this call is the one that is to fail. */
static int fails(const char *function) {
  return fake_cuda.fail && strcmp(function, fake_cuda.fail) == 0 &&
         fake_cuda.fail_at-- == 0;
}
#define ENTER                                                                  \
  if (fails(__func__)) {                                                       \
    fake_cuda.failed = 1;                                                      \
    return fake_cuda.error;                                                    \
  }
#define ENTER_CONTEXT                                                          \
  if (fake_cuda.pushed < 1)                                                    \
    return InvalidContext;                                                     \
  ENTER

/*===-- Driver, device, context -------------------------------------------===*/

int cuDriverGetVersion(int *version) {
  *version = fake_cuda.version;
  return Success;
}
int cuInit(unsigned flags) {
  ENTER(void) flags;
  return fake_cuda.devices ? Success : NoDevice;
}
int cuGetErrorName(int error, const char **text) {
  *text = error == OutOfMemory    ? "CUDA_ERROR_OUT_OF_MEMORY"
          : error == NoDevice     ? "CUDA_ERROR_NO_DEVICE"
          : error == InvalidImage ? "CUDA_ERROR_INVALID_IMAGE"
          : error == NotFound     ? "CUDA_ERROR_NOT_FOUND"
          : error == 700          ? "CUDA_ERROR_ILLEGAL_ADDRESS"
          : error == 803          ? "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH"
                                  : NULL;
  return *text ? Success : InvalidValue;
}
int cuGetErrorString(int error, const char **text) {
  *text = "in words";
  return error == 999 ? InvalidValue : Success;
}
int cuDeviceGetCount(int *count) {
  ENTER
  *count = fake_cuda.devices;
  return Success;
}
int cuDeviceGet(int *device, int ordinal) {
  ENTER
  *device = 40 + ordinal;
  return ordinal < fake_cuda.devices ? Success : InvalidValue;
}
int cuDeviceGetName(char *name, int length, int device) {
  ENTER
  strncpy(name, "Fake 9000", (size_t)length);
  return device == 40 ? Success : InvalidValue;
}
int cuDeviceGetAttribute(int *value, int attribute, int device) {
  ENTER
  *value = attribute == 75   ? fake_cuda.major
           : attribute == 76 ? fake_cuda.minor
           : attribute == 97 ? fake_cuda.shared_bytes
           : attribute == 38 ? 4096
                             : -1;
  return device == 40 && *value >= 0 ? Success : InvalidValue;
}
int cuDevicePrimaryCtxRetain(void **context, int device) {
  ENTER
  *context = &fake_cuda;
  ++fake_cuda.contexts;
  return device == 40 ? Success : InvalidValue;
}
int cuDevicePrimaryCtxRelease_v2(int device) {
  --fake_cuda.contexts;
  return device == 40 ? Success : InvalidValue;
}
int cuCtxPushCurrent_v2(void *context) {
  ENTER
  if (context != &fake_cuda)
    return InvalidValue;
  ++fake_cuda.pushed;
  return Success;
}
int cuCtxPopCurrent_v2(void **context) {
  *context = &fake_cuda;
  --fake_cuda.pushed;
  return Success;
}

/*===-- Modules -----------------------------------------------------------===*/

struct kernel {
  const char *name;
  void (*run)(uint32_t block, void *const *args);
  int parameters;
  size_t sizes[6];
  unsigned shared; /* static */
};
static const struct kernel kernels[] = {
    {"embed", run_embed, 5, {8, 8, 8, 8, 4}, 0},
    {"state", run_state, 4, {8, 8, 4, 8}, 4096},
    {"head", run_head, 5, {8, 8, 8, 8, 8}, 0},
    {"head_of_row", run_head_of_row, 6, {8, 8, 8, 8, 8, 8}, 0},
    {"argmax", run_argmax, 3, {8, 8, 4}, 0},
};
enum { Kernels = sizeof(kernels) / sizeof(kernels[0]) };

struct function {
  const struct kernel *kernel;
  unsigned shared; /* the most that is dynamic */
};
static struct function functions[Kernels];

int cuModuleLoadData(void **module, const void *image) {
  ENTER_CONTEXT
  /* Text behind the header, and a NUL, as the driver wants it of a PTX. */
  const char *text = (const char *)image + 64;
  if (memcmp(image, "\177ELF", 4) != 0 || strncmp(text, "cubin sm_", 9) != 0)
    return InvalidImage;
  strncpy(fake_cuda.chip, text + 6, sizeof(fake_cuda.chip) - 1);
  for (int i = 0; i < Kernels; ++i)
    functions[i] =
        (struct function){&kernels[i], 48 * 1024 - kernels[i].shared};
  *module = make(1);
  ++fake_cuda.modules;
  return Success;
}
int cuModuleUnload(void *module) {
  ENTER_CONTEXT
  unmake(module);
  --fake_cuda.modules;
  return Success;
}
int cuModuleGetFunction(void **function, void *module, const char *name) {
  ENTER_CONTEXT(void) module;
  for (int i = 0; i < Kernels; ++i)
    if (strcmp(name, kernels[i].name) == 0) {
      *function = &functions[i];
      return Success;
    }
  return NotFound;
}
int cuFuncSetAttribute(void *function, int attribute, int value) {
  ENTER_CONTEXT
  struct function *f = function;
  if (attribute != 8 || value + (int)f->kernel->shared > fake_cuda.shared_bytes)
    return InvalidValue;
  f->shared = (unsigned)value;
  return Success;
}
int cuFuncGetParamInfo(void *function, size_t index, size_t *offset,
                       size_t *size) {
  ENTER_CONTEXT
  const struct kernel *kernel = ((struct function *)function)->kernel;
  if (index >= (size_t)kernel->parameters)
    return InvalidValue;
  *offset = 0;
  *size = kernel->sizes[index];
  return Success;
}

/*===-- Memory ------------------------------------------------------------===*/

/* Whether memory of the device, or of the host, holds the range. */
static int holds(int on_host, uint64_t address, size_t bytes) {
  for (struct block *b = blocks; b; b = b->next) {
    uint64_t begin = (uint64_t)b + Header;
    if (b->on_host == on_host && address >= begin &&
        bytes <= b->bytes - (address - begin) && address - begin <= b->bytes)
      return 1;
  }
  return 0;
}
static void *take(size_t bytes, int on_host) {
  struct block *b = aligned_alloc(256, (Header + bytes + 255) / 256 * 256);
  *b = (struct block){blocks, bytes, on_host};
  blocks = b;
  memset((char *)b + Header, 0xff, bytes);
  return (char *)b + Header;
}
/* Whether work that a stream has yet to do names the block. */
static int in_use(const struct block *b) {
  uint64_t begin = (uint64_t)b + Header;
  for (const struct list *s = streams; s; s = s->next)
    for (const struct work *w = s->in_capture ? NULL : s->first; w;
         w = w->next) {
      uint64_t named[8] = {(uint64_t)w->to, (uint64_t)w->from};
      for (int i = 0; w->kind == Launch && i < w->kernel->parameters; ++i)
        named[2 + i] = w->kernel->sizes[i] == 8 ? w->args[i] : 0;
      for (int i = 0; i < 8; ++i)
        if (named[i] - begin < b->bytes)
          return 1;
    }
  return 0;
}
/* The bytes of what was there, or 0: also where it is in use, so that it stays
   and shows at the end. */
static size_t give(void *memory, int on_host) {
  for (struct block **at = &blocks; *at; at = &(*at)->next)
    if ((char *)*at + Header == memory && (*at)->on_host == on_host) {
      struct block *b = *at;
      size_t bytes = b->bytes;
      if (in_use(b))
        return 0;
      *at = b->next;
      free(b);
      return bytes;
    }
  return 0;
}

int cuMemGetInfo_v2(size_t *available, size_t *total) {
  ENTER_CONTEXT
  *available = fake_cuda.memory - fake_cuda.used;
  *total = fake_cuda.memory;
  return Success;
}
int cuMemAlloc_v2(uint64_t *address, size_t bytes) {
  ENTER_CONTEXT
  if (bytes == 0)
    return InvalidValue;
  if (bytes > fake_cuda.memory - fake_cuda.used)
    return OutOfMemory;
  *address = (uint64_t)take(bytes, 0);
  fake_cuda.used += bytes;
  ++fake_cuda.allocations;
  return Success;
}
int cuMemFree_v2(uint64_t address) {
  ENTER_CONTEXT
  size_t bytes = give((void *)address, 0);
  fake_cuda.used -= bytes;
  fake_cuda.allocations -= bytes != 0;
  return bytes ? Success : InvalidValue;
}
int cuMemAllocHost_v2(void **memory, size_t bytes) {
  ENTER_CONTEXT
  *memory = take(bytes, 1);
  ++fake_cuda.host_allocations;
  return Success;
}
int cuMemFreeHost(void *memory) {
  ENTER_CONTEXT
  size_t bytes = give(memory, 1);
  fake_cuda.host_allocations -= bytes != 0;
  return bytes ? Success : InvalidValue;
}

/*===-- Streams and graphs ------------------------------------------------===*/

static struct list *new_list(void) {
  struct list *list = make(sizeof(*list));
  list->end = &list->first;
  return list;
}
static void put(struct list *list, struct work work) {
  *list->end = make(sizeof(work));
  **list->end = work;
  (*list->end)->next = NULL;
  list->end = &(*list->end)->next;
  fake_cuda.captured += list->in_capture;
}
static void clear(struct list *list) {
  while (list->first) {
    struct work *work = list->first;
    list->first = work->next;
    unmake(work);
  }
  list->end = &list->first;
}
static long now;
static void run(const struct work *work) {
  switch (work->kind) {
  case Copy:
    memcpy(work->to, work->from, work->bytes);
    break;
  case Fill:
    memset(work->to, work->value, work->bytes);
    break;
  case Record:
    *(long *)work->to = now;
    break;
  case Launch: {
    void *args[6];
    for (int i = 0; i < 6; ++i)
      args[i] = (void *)&work->args[i];
    for (unsigned block = 0; block < work->blocks; ++block)
      work->kernel->run(block, args);
    ++fake_cuda.launches;
    break;
  }
  }
  ++now;
}

int cuStreamCreate(void **stream, unsigned flags) {
  ENTER_CONTEXT
  if (flags != 1)
    return InvalidValue;
  struct list *made = new_list();
  made->next = streams;
  streams = made;
  *stream = made;
  ++fake_cuda.streams;
  return Success;
}
int cuStreamDestroy_v2(void *stream) {
  ENTER_CONTEXT
  struct list *list = stream, **at = &streams;
  --fake_cuda.streams;
  /* What is in it is still done, some time. */
  if (list->first)
    return Success;
  while (*at != list)
    at = &(*at)->next;
  *at = list->next;
  unmake(list);
  return Success;
}
int cuStreamSynchronize(void *stream) {
  struct list *list = stream;
  if (fails(__func__)) {
    /* Work that failed is over. */
    clear(list);
    fake_cuda.failed = 1;
    return fake_cuda.error;
  }
  if (fake_cuda.pushed < 1)
    return InvalidContext;
  if (list->in_capture)
    return CaptureUnsupported;
  for (struct work *work = list->first; work; work = work->next)
    run(work);
  clear(list);
  return Success;
}

int cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t bytes,
                         void *stream) {
  ENTER_CONTEXT
  if (!holds(0, to, bytes) || !holds(1, (uint64_t)from, bytes))
    return InvalidValue;
  put(stream,
      (struct work){
          .kind = Copy, .to = (void *)to, .from = from, .bytes = bytes});
  fake_cuda.copied_to_device += bytes;
  return Success;
}
int cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t bytes, void *stream) {
  ENTER_CONTEXT
  if (!holds(0, from, bytes))
    return InvalidValue;
  put(stream,
      (struct work){
          .kind = Copy, .to = to, .from = (const void *)from, .bytes = bytes});
  fake_cuda.copied_to_host += bytes;
  return Success;
}
int cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t bytes,
                         void *stream) {
  ENTER_CONTEXT
  if (!holds(0, from, bytes) || !holds(0, to, bytes))
    return InvalidValue;
  put(stream, (struct work){.kind = Copy,
                            .to = (void *)to,
                            .from = (const void *)from,
                            .bytes = bytes});
  return Success;
}
int cuMemsetD8Async(uint64_t to, unsigned char value, size_t bytes,
                    void *stream) {
  ENTER_CONTEXT
  if (!holds(0, to, bytes))
    return InvalidValue;
  put(stream,
      (struct work){
          .kind = Fill, .to = (void *)to, .value = value, .bytes = bytes});
  return Success;
}
int cuLaunchKernel(void *function, unsigned grid_x, unsigned grid_y,
                   unsigned grid_z, unsigned block_x, unsigned block_y,
                   unsigned block_z, unsigned shared, void *stream, void **args,
                   void **extra) {
  ENTER_CONTEXT
  struct function *f = function;
  if (extra || shared > f->shared || block_x * block_y * block_z != 1)
    return InvalidValue;
  struct work work = {
      .kind = Launch, .kernel = f->kernel, .blocks = grid_x * grid_y * grid_z};
  for (int i = 0; i < f->kernel->parameters; ++i)
    memcpy(&work.args[i], args[i], f->kernel->sizes[i]);
  put(stream, work);
  return Success;
}

int cuEventCreate(void **event, unsigned flags) {
  ENTER_CONTEXT
  *event = make(sizeof(long));
  ++fake_cuda.events;
  return flags == 0 ? Success : InvalidValue;
}
int cuEventDestroy_v2(void *event) {
  ENTER_CONTEXT
  unmake(event);
  --fake_cuda.events;
  return Success;
}
int cuEventRecord(void *event, void *stream) {
  ENTER_CONTEXT
  put(stream, (struct work){.kind = Record, .to = event});
  return Success;
}
/* A millisecond per operation between the events. */
int cuEventElapsedTime(float *milliseconds, void *start, void *end) {
  ENTER_CONTEXT
  *milliseconds = (float)(*(long *)end - *(long *)start);
  return Success;
}

int cuStreamBeginCapture_v2(void *stream, int mode) {
  ENTER_CONTEXT
  struct list *list = stream;
  if (list->in_capture || list->first || mode != 1)
    return InvalidValue;
  list->in_capture = 1;
  return Success;
}
int cuStreamEndCapture(void *stream, void **graph) {
  struct list *list = stream, *made = new_list();
  int fail = fails(__func__);
  if (!list->in_capture)
    return InvalidValue;
  /* Also a capture that fails ends. */
  list->in_capture = 0;
  if (list->first) {
    made->first = list->first;
    made->end = list->end;
  }
  list->first = NULL;
  list->end = &list->first;
  if (fail) {
    clear(made);
    unmake(made);
    fake_cuda.failed = 1;
    return fake_cuda.error;
  }
  *graph = made;
  ++fake_cuda.graphs;
  return Success;
}
int cuGraphInstantiateWithFlags(void **executable, void *graph,
                                uint64_t flags) {
  ENTER_CONTEXT
  struct list *made = new_list();
  for (struct work *work = ((struct list *)graph)->first; work;
       work = work->next)
    put(made, *work);
  *executable = made;
  ++fake_cuda.executables;
  return flags == 0 ? Success : InvalidValue;
}
int cuGraphLaunch(void *executable, void *stream) {
  ENTER_CONTEXT
  for (struct work *work = ((struct list *)executable)->first; work;
       work = work->next)
    put(stream, *work);
  ++fake_cuda.graph_launches;
  return Success;
}
int cuGraphExecDestroy(void *executable) {
  ENTER_CONTEXT
  clear(executable);
  unmake(executable);
  --fake_cuda.executables;
  return Success;
}
int cuGraphDestroy(void *graph) {
  ENTER_CONTEXT
  clear(graph);
  unmake(graph);
  --fake_cuda.graphs;
  return Success;
}
