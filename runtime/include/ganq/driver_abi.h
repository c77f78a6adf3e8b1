/*===-- ganq/driver_abi.h - Functions of a device's driver -------*- C -*-===*\
|*
|* SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
|*
|*===----------------------------------------------------------------------===*|
|*
|* The functions through which the runtime uses a device, under one table for
|* two providers: NVIDIA's driver, whose library exports them under the names
|* given here, and the emulator, whose library returns the whole table. Their
|* meaning is that of the CUDA driver API. What the runtime promises beyond it:
|* each of a launch's `args` points at 8 readable bytes.
|*
\*===----------------------------------------------------------------------===*/

#ifndef GANQ_DRIVER_ABI_H
#define GANQ_DRIVER_ABI_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Changes whenever the table does. */
#define GANQ_DRIVER_ABI_VERSION 1u

/* Results are CUresult: 0 is success. Handles are opaque pointers. */
enum {
  GANQ_DRIVER_SUCCESS = 0,
  GANQ_DRIVER_INVALID_VALUE = 1,
  GANQ_DRIVER_OUT_OF_MEMORY = 2,
  GANQ_DRIVER_NO_DEVICE = 100,
  GANQ_DRIVER_INVALID_IMAGE = 200,
  GANQ_DRIVER_NO_BINARY_FOR_GPU = 209,
  GANQ_DRIVER_UNSUPPORTED_PTX = 222,
  GANQ_DRIVER_NOT_FOUND = 500,
  GANQ_DRIVER_ILLEGAL_ADDRESS = 700,
  GANQ_DRIVER_OUT_OF_RESOURCES = 701, /* registers or threads of a launch */
  GANQ_DRIVER_LAUNCH_TIMEOUT = 702,
  GANQ_DRIVER_CONTEXT_DESTROYED = 709,
  GANQ_DRIVER_ASSERT = 710,
  GANQ_DRIVER_HARDWARE_STACK_ERROR = 714,
  GANQ_DRIVER_ILLEGAL_INSTRUCTION = 715,
  GANQ_DRIVER_MISALIGNED_ADDRESS = 716,
  GANQ_DRIVER_INVALID_ADDRESS_SPACE = 717,
  GANQ_DRIVER_INVALID_PC = 718,
  GANQ_DRIVER_LAUNCH_FAILED = 719,
  GANQ_DRIVER_SYSTEM_MISMATCH = 803
};

/* CUdevice_attribute */
enum {
  GANQ_DEVICE_CACHE_BYTES = 38, /* of the L2 cache */
  GANQ_DEVICE_CAPABILITY_MAJOR = 75,
  GANQ_DEVICE_CAPABILITY_MINOR = 76,
  GANQ_DEVICE_SHARED_BYTES = 97 /* per block, after opting in */
};
/* Static and dynamic shared memory of a block: the most that any chip gives. */
enum { GANQ_MAX_SHARED_BYTES = 227 * 1024 };
/* CUfunction_attribute */
enum { GANQ_FUNCTION_DYNAMIC_SHARED_BYTES = 8 };
/* CUstream_flags, CUstreamCaptureMode */
enum { GANQ_STREAM_NON_BLOCKING = 1, GANQ_CAPTURE_THREAD_LOCAL = 1 };

/* F(field, symbol of the CUDA driver, parameters) */
#define GANQ_DRIVER_FUNCTIONS(F)                                               \
  F(driver_version, cuDriverGetVersion, (int *version))                        \
  F(init, cuInit, (unsigned flags))                                            \
  F(error_name, cuGetErrorName, (int error, const char **text))                \
  F(error_string, cuGetErrorString, (int error, const char **text))            \
  F(device_count, cuDeviceGetCount, (int *count))                              \
  F(device_get, cuDeviceGet, (int *device, int ordinal))                       \
  F(device_name, cuDeviceGetName, (char *name, int length, int device))        \
  F(device_attribute, cuDeviceGetAttribute,                                    \
    (int *value, int attribute, int device))                                   \
  F(context_retain, cuDevicePrimaryCtxRetain, (void **context, int device))    \
  F(context_release, cuDevicePrimaryCtxRelease_v2, (int device))               \
  F(context_push, cuCtxPushCurrent_v2, (void *context))                        \
  F(context_pop, cuCtxPopCurrent_v2, (void **context))                         \
  /* For the emulator `image` is the module's `ganq_simt_module`. */           \
  F(module_load, cuModuleLoadData, (void **module, const void *image))         \
  F(module_unload, cuModuleUnload, (void *module))                             \
  F(module_function, cuModuleGetFunction,                                      \
    (void **function, void *module, const char *name))                         \
  F(function_set, cuFuncSetAttribute,                                          \
    (void *function, int attribute, int value))                                \
  F(memory_info, cuMemGetInfo_v2, (size_t *available, size_t *total))          \
  F(memory_allocate, cuMemAlloc_v2, (uint64_t *address, size_t bytes))         \
  F(memory_free, cuMemFree_v2, (uint64_t address))                             \
  F(host_allocate, cuMemAllocHost_v2, (void **memory, size_t bytes))           \
  F(host_free, cuMemFreeHost, (void *memory))                                  \
  F(copy_to_device, cuMemcpyHtoDAsync_v2,                                      \
    (uint64_t to, const void *from, size_t bytes, void *stream))               \
  F(copy_to_host, cuMemcpyDtoHAsync_v2,                                        \
    (void *to, uint64_t from, size_t bytes, void *stream))                     \
  F(copy_within, cuMemcpyDtoDAsync_v2,                                         \
    (uint64_t to, uint64_t from, size_t bytes, void *stream))                  \
  F(fill, cuMemsetD8Async,                                                     \
    (uint64_t to, unsigned char value, size_t bytes, void *stream))            \
  F(stream_create, cuStreamCreate, (void **stream, unsigned flags))            \
  F(stream_destroy, cuStreamDestroy_v2, (void *stream))                        \
  F(stream_synchronize, cuStreamSynchronize, (void *stream))                   \
  F(event_create, cuEventCreate, (void **event, unsigned flags))               \
  F(event_destroy, cuEventDestroy_v2, (void *event))                           \
  F(event_record, cuEventRecord, (void *event, void *stream))                  \
  F(event_elapsed, cuEventElapsedTime,                                         \
    (float *milliseconds, void *start, void *end))                             \
  F(launch, cuLaunchKernel,                                                    \
    (void *function, unsigned grid_x, unsigned grid_y, unsigned grid_z,        \
     unsigned block_x, unsigned block_y, unsigned block_z, unsigned shared,    \
     void *stream, void **args, void **extra))                                 \
  F(capture_begin, cuStreamBeginCapture_v2, (void *stream, int mode))          \
  F(capture_end, cuStreamEndCapture, (void *stream, void **graph))             \
  F(graph_instantiate, cuGraphInstantiateWithFlags,                            \
    (void **executable, void *graph, uint64_t flags))                          \
  F(graph_launch, cuGraphLaunch, (void *executable, void *stream))             \
  F(graph_exec_destroy, cuGraphExecDestroy, (void *executable))                \
  F(graph_destroy, cuGraphDestroy, (void *graph))

/* Null where the provider lacks them. */
#define GANQ_DRIVER_OPTIONAL_FUNCTIONS(F)                                      \
  /* Of parameter `index`, or GANQ_DRIVER_INVALID_VALUE behind the last. Size  \
     0: not known. In drivers for CUDA 12.4 and later. */                      \
  F(function_parameter, cuFuncGetParamInfo,                                    \
    (void *function, size_t index, size_t *offset, size_t *size))

typedef struct ganq_driver {
#define GANQ_DRIVER_FIELD(field, symbol, parameters) int(*field) parameters;
  GANQ_DRIVER_FUNCTIONS(GANQ_DRIVER_FIELD)
  GANQ_DRIVER_OPTIONAL_FUNCTIONS(GANQ_DRIVER_FIELD)
#undef GANQ_DRIVER_FIELD
  /* The emulator only: names a part of the memory in messages. Kernels may not
     touch parts of an allocation between named ones. */
  int (*name_memory)(uint64_t address, size_t bytes, const char *name,
                     int read_only);
} ganq_driver;

/* The emulator's library exports this. Null for another version. */
#define GANQ_EMULATOR_DRIVER_SYMBOL "ganq_emulator_driver"
typedef const ganq_driver *(*ganq_emulator_driver_fn)(uint32_t abi);

#ifdef __cplusplus
}
#endif

#endif /* GANQ_DRIVER_ABI_H */
