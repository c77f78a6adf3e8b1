/*===- emulator.h - Runs GPU kernels on the host ------------------*- C -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Two interfaces. Hosts create a device, add buffers and launch kernels.
// Kernels compiled for the emulator read `ganq_simt_lane` and call the functions
// of the second half; only the compiler writes such calls.
//
// Each GPU thread (a lane) is a fiber; the lanes of a block share one OS thread,
// blocks spread over several. Semantics follow the PTX ISA; docs/Emulator.md
// says where the emulator is stricter.
//
//===----------------------------------------------------------------------===*/

#ifndef GANQ_EMULATOR_H
#define GANQ_EMULATOR_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* Changes whenever a structure or function below does. */
#define GANQ_SIMT_ABI 2

/*===- Compiled kernels ---------------------------------------------------===*/

/* What a kernel knows of its thread. Compiled code reads it by offset. */
typedef struct ganq_simt_lane {
  uint32_t tid[3], ctaid[3], ntid[3], nctaid[3];
  uint32_t laneid, warpid;
  /* Shared memory of the block: static variables, then the dynamic part. */
  char *shared;
  /* Distance from a byte of shared memory to its state, GANQ_SIMT_STATE_*. */
  int64_t shared_state;
  uint64_t shared_bytes;
  /* The buffer that each place of access met last. */
  struct ganq_simt_site *sites;
  /* Loop iterations until `ganq_simt_tick` wants to be called. */
  int64_t *fuel;
  uint64_t dynamic_shared_offset;
} ganq_simt_lane;

/* An access of n bytes at p is inside when p - low <= last (unsigned). */
typedef struct ganq_simt_site {
  uint64_t low, last;
} ganq_simt_site;

/* State of a byte of shared memory; 0: written and readable. */
enum {
  GANQ_SIMT_STATE_UNWRITTEN = 1,
  GANQ_SIMT_STATE_IN_FLIGHT = 2, /* Target of a cp.async not waited for. */
  GANQ_SIMT_STATE_OUTSIDE = 4
};

typedef struct ganq_simt_kernel {
  const char *name;
  /* args[i] points to the value of parameter i. */
  void (*entry)(ganq_simt_lane *lane, void *const *args);
  uint64_t static_shared_bytes;
  uint32_t num_params;
  uint32_t checked; /* Accesses are instrumented. */
  uint64_t stack_bytes;
} ganq_simt_kernel;

/* A global variable of the module outside of shared memory. */
typedef struct ganq_simt_variable {
  const char *name;
  void *data;
  uint64_t bytes;
  uint64_t read_only;
} ganq_simt_variable;

/* What an object for the emulator defines under the name `ganq_simt_module`. */
typedef struct ganq_simt_module {
  uint32_t abi;
  uint32_t num_kernels, num_variables, num_locations, num_sites, reserved;
  const ganq_simt_kernel *kernels;
  const ganq_simt_variable *variables;
  const char *const *locations; /* Places in the source, `file:line:column`. */
} ganq_simt_module;

/*===- Hosts --------------------------------------------------------------===*/

typedef struct ganq_simt_device ganq_simt_device;

enum ganq_simt_order {
  GANQ_SIMT_FORWARD,
  GANQ_SIMT_REVERSE,
  GANQ_SIMT_RANDOM,
  /* The three above, one after the other; buffers must not differ. */
  GANQ_SIMT_ALL_ORDERS
};

typedef struct ganq_simt_options {
  enum ganq_simt_order order;
  uint64_t seed;
  int32_t threads; /* At most four per processor; 0: one. */
  uint64_t iteration_limit; /* Loop iterations per block; 0: 2^32. */
} ganq_simt_options;

/* Null when memory is short. */
ganq_simt_device *ganq_simt_create(void);
void ganq_simt_destroy(ganq_simt_device *device);
void ganq_simt_configure(ganq_simt_device *device,
                         const ganq_simt_options *options);

/* Kernels that are checked may touch these ranges and no other global memory.
   A range that overlaps older ones replaces them. `name` may be null. */
void ganq_simt_add_buffer(ganq_simt_device *device, const void *data,
                          uint64_t bytes, const char *name, int read_only);
void ganq_simt_remove_buffer(ganq_simt_device *device, const void *data);

/* Runs a kernel to its end. 0, or -1 and a message. One launch at a time. */
int ganq_simt_launch(ganq_simt_device *device, const ganq_simt_module *module,
                     const char *kernel, const uint32_t grid[3],
                     const uint32_t block[3], uint64_t dynamic_shared_bytes,
                     void *const *args, uint32_t num_args);
/* Of the last launch that failed. */
const char *ganq_simt_message(const ganq_simt_device *device);

/*===- Called by compiled kernels -----------------------------------------===*/
/* `place` is an index into the module's locations. Functions that find a
   mistake do not return: the launch ends. */

enum {
  GANQ_SIMT_LOAD = 1,
  GANQ_SIMT_STORE = 2,
  GANQ_SIMT_IN_SHARED = 4, /* The pointer is known to be to shared memory. */
  GANQ_SIMT_ALIGN_SHIFT = 8 /* log2 of the alignment stands above. */
};
/* An access that the inlined check did not let pass. `bytes` >= 0. */
void ganq_simt_access(ganq_simt_lane *lane, const void *address, uint64_t bytes,
                      uint32_t flags, uint32_t place, uint32_t site);
/* The same for ranges, where no site remembers the buffer. */
void ganq_simt_range(ganq_simt_lane *lane, const void *address, uint64_t bytes,
                     uint32_t flags, uint32_t place);
void ganq_simt_local_error(ganq_simt_lane *lane, int64_t offset, uint64_t bytes,
                           uint64_t size, uint32_t place);
void ganq_simt_divide_error(ganq_simt_lane *lane, uint32_t place);
void ganq_simt_trap(ganq_simt_lane *lane, uint32_t place);
void ganq_simt_assertion(ganq_simt_lane *lane, const char *message,
                         uint32_t place);
void ganq_simt_tick(ganq_simt_lane *lane, uint32_t place);
void ganq_simt_yield(ganq_simt_lane *lane);
/* `bytes` of values are there, or UINT64_MAX where that is not known. */
int32_t ganq_simt_print(ganq_simt_lane *lane, const char *format,
                        const void *values, uint64_t bytes, uint32_t place);
uint64_t ganq_simt_clock(void);
uint64_t ganq_simt_nanoseconds(void);

enum {
  GANQ_SIMT_BARRIER_ALIGNED = 1,
  GANQ_SIMT_BARRIER_ARRIVE = 2,
  GANQ_SIMT_BARRIER_POPC = 4,
  GANQ_SIMT_BARRIER_AND = 8,
  GANQ_SIMT_BARRIER_OR = 16
};
/* `count` is in threads; 0: all of the block. The result is the reduction. */
uint32_t ganq_simt_barrier(ganq_simt_lane *lane, uint32_t place, uint32_t flags,
                           uint32_t id, uint32_t count, uint32_t predicate);
void ganq_simt_warp_barrier(ganq_simt_lane *lane, uint32_t place,
                            uint32_t mask);

enum ganq_simt_shuffle_mode {
  GANQ_SIMT_SHUFFLE_UP,
  GANQ_SIMT_SHUFFLE_DOWN,
  GANQ_SIMT_SHUFFLE_BFLY,
  GANQ_SIMT_SHUFFLE_IDX
};
/* The value, and the predicate in bit 32. */
uint64_t ganq_simt_shuffle(ganq_simt_lane *lane, uint32_t place, uint32_t mode,
                           uint32_t mask, uint32_t value, uint32_t b,
                           uint32_t c);
enum ganq_simt_vote_kind {
  GANQ_SIMT_VOTE_ALL,
  GANQ_SIMT_VOTE_ANY,
  GANQ_SIMT_VOTE_UNI,
  GANQ_SIMT_VOTE_BALLOT,
  GANQ_SIMT_VOTE_ELECT, /* The leader's lane; predicate in bit 32. */
  GANQ_SIMT_MATCH_ANY,
  GANQ_SIMT_MATCH_ALL, /* Predicate in bit 32. */
  GANQ_SIMT_REDUX_ADD,
  GANQ_SIMT_REDUX_MIN,
  GANQ_SIMT_REDUX_MAX,
  GANQ_SIMT_REDUX_UMIN,
  GANQ_SIMT_REDUX_UMAX,
  GANQ_SIMT_REDUX_AND,
  GANQ_SIMT_REDUX_OR,
  GANQ_SIMT_REDUX_XOR
};
uint64_t ganq_simt_vote(ganq_simt_lane *lane, uint32_t place, uint32_t kind,
                        uint32_t mask, uint64_t value);
uint32_t ganq_simt_active_mask(ganq_simt_lane *lane);

/* m8n8.b16: `shape` is the number of matrices, plus 256 for .trans. */
void ganq_simt_ldmatrix(ganq_simt_lane *lane, uint32_t place, uint32_t shape,
                        const void *row, uint32_t *registers);
void ganq_simt_stmatrix(ganq_simt_lane *lane, uint32_t place, uint32_t shape,
                        void *row, const uint32_t *registers);

enum ganq_simt_element {
  GANQ_SIMT_F16,
  GANQ_SIMT_BF16,
  GANQ_SIMT_TF32,
  GANQ_SIMT_S8,
  GANQ_SIMT_U8,
  GANQ_SIMT_S4,
  GANQ_SIMT_U4,
  GANQ_SIMT_B1,
  GANQ_SIMT_F32,
  GANQ_SIMT_S32
};
enum ganq_simt_mma_op {
  GANQ_SIMT_MMA_MULTIPLY,
  GANQ_SIMT_MMA_SATURATE,
  GANQ_SIMT_MMA_AND_POPC,
  GANQ_SIMT_MMA_XOR_POPC
};
typedef struct ganq_simt_mma_shape {
  uint16_t m, n, k;
  uint8_t a, b, c, d; /* enum ganq_simt_element */
  uint8_t op;         /* enum ganq_simt_mma_op */
  uint8_t reserved;
} ganq_simt_mma_shape;
/* `registers` holds A, B and C; D takes the place of C. Two f16 share one. */
void ganq_simt_mma(ganq_simt_lane *lane, uint32_t place,
                   const ganq_simt_mma_shape *shape, uint32_t *registers);

/* cp.async of 4, 8 or 16 bytes of which the source gives `source_bytes`. */
void ganq_simt_copy_async(ganq_simt_lane *lane, uint32_t place, void *target,
                          const void *source, uint32_t bytes,
                          uint32_t source_bytes);
void ganq_simt_copy_commit(ganq_simt_lane *lane);
/* Leaves the newest `pending` groups in flight; negative: waits for all. */
void ganq_simt_copy_wait(ganq_simt_lane *lane, int32_t pending);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif

#endif /* GANQ_EMULATOR_H */
