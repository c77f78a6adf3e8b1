//===- HostFunctions.cpp - What host programs call ------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "HostFunctions.h"
#include "llvm/ADT/APFloat.h"
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>

using namespace ganq;
using namespace llvm;

static thread_local HostProgram *current = nullptr;

void HostProgram::addBuffer(const void *data, int64_t bytes, StringRef name,
                            bool readOnly) {
  for (auto &[_, module] : modules)
    module->addBuffer(data, bytes, name, readOnly);
}

/// Room around an allocation that belongs to nobody, so that an access beside a
/// buffer never falls into the next.
static constexpr size_t kGap = 64;

namespace ganq {
struct HostFunctions {
  /// Leaves the host program, whose frames own nothing.
  [[noreturn]] static void stop() { longjmp(current->leave, 1); }

  /// cf.assert prints its message, then aborts.
  static int keepMessage(const char *text) {
    current->message = text;
    return 0;
  }
  [[noreturn]] static void abort() {
    current->stopped = current->message.empty()
                           ? "the host program aborted"
                           : "expected an assertion of the host program to "
                             "hold, but got: " +
                                 current->message;
    stop();
  }

  static void *allocate(uint64_t bytes) {
    char *memory = nullptr;
    if (bytes < uint64_t(INT64_MAX) - 4 * kGap)
      memory = static_cast<char *>(
          aligned_alloc(kGap, (bytes + kGap - 1) / kGap * kGap + 2 * kGap));
    if (!memory) {
      current->stopped = "expected memory for an allocation of " +
                         std::to_string(bytes) + " bytes, but got none";
      stop();
    }
    void *data = memory + kGap;
    current->allocations[data] = memory;
    current->addBuffer(data, bytes,
                       "allocation of " + std::to_string(bytes) + " bytes",
                       /*readOnly=*/false);
    return data;
  }

  static void release(void *data) {
    auto found = current->allocations.find(data);
    if (found == current->allocations.end())
      return;
    for (auto &[_, module] : current->modules)
      module->removeBuffer(data);
    free(found->second);
    current->allocations.erase(found);
  }

  static void releaseAll() {
    for (auto [_, memory] : current->allocations)
      free(memory);
    current->allocations.clear();
  }
};
} // namespace ganq

void HostProgram::run(void (*entry)()) {
  current = this;
  if (setjmp(leave) == 0)
    entry();
  HostFunctions::releaseAll();
  current = nullptr;
  fflush(stdout);
}

//===----------------------------------------------------------------------===//
// Launches and memory
//===----------------------------------------------------------------------===//

static void launchKernel(int64_t index, const int64_t *sizes,
                         int64_t sharedBytes, void **args, int64_t count) {
  if (current->failed)
    return;
  const HostLaunch &launch = current->launches[index];
  Error error = current->modules[launch.module]->launch(
      launch.kernel, {sizes[0], sizes[1], sizes[2]},
      {sizes[3], sizes[4], sizes[5]}, sharedBytes, {args, size_t(count)});
  if (!error)
    return;
  current->error = toString(std::move(error));
  current->failed = &launch;
}

static void *allocateOnDevice(uint64_t bytes, void *, bool) {
  return HostFunctions::allocate(bytes);
}
static void releaseOnDevice(void *data, void *) {
  HostFunctions::release(data);
}
static void copyOnDevice(void *to, void *from, size_t bytes, void *) {
  memmove(to, from, bytes);
}
static void setWords(void *data, unsigned value, size_t count, void *) {
  for (size_t i = 0; i < count; ++i)
    static_cast<uint32_t *>(data)[i] = value;
}
static void setHalves(void *data, unsigned short value, size_t count, void *) {
  for (size_t i = 0; i < count; ++i)
    static_cast<uint16_t *>(data)[i] = value;
}
static void *createStream() { return nullptr; }
static void useStream(void *) {}
static void useStreamAndEvent(void *, void *) {}

//===----------------------------------------------------------------------===//
// Prints
//===----------------------------------------------------------------------===//

static void printText(const char *text) {
  if (!current->failed)
    fputs(text, stdout);
}
static void printSigned(int64_t value) {
  if (!current->failed)
    printf("%" PRId64, value);
}
static void printUnsigned(uint64_t value) {
  if (!current->failed)
    printf("%" PRIu64, value);
}
static void printDouble(double value) {
  if (!current->failed)
    printf("%g", value);
}
static void printSingle(float value) { printDouble(value); }
/// Halves come as the bits of an f16 or bf16.
template <const fltSemantics &(*semantics)()>
static void printHalf(uint16_t bits) {
  APFloat value(semantics(), APInt(16, bits));
  bool ignored;
  value.convert(APFloat::IEEEsingle(), APFloat::rmNearestTiesToEven, &ignored);
  printDouble(value.convertToFloat());
}
static void printOpen() { printText("( "); }
static void printClose() { printText(" )"); }
static void printComma() { printText(", "); }
static void printNewline() { printText("\n"); }

namespace {
/// The descriptor behind an unranked memref: two pointers, the offset, then
/// `rank` sizes and strides.
struct Descriptor {
  void *allocated, *aligned;
  int64_t offset, dimensions[1];
};
} // namespace

template <typename T>
static void printDimension(const T *data, const int64_t *sizes,
                           const int64_t *strides, int64_t rank) {
  if (rank == 0) {
    if constexpr (std::is_floating_point_v<T>)
      printDouble(*data);
    else
      printSigned(*data);
    return;
  }
  printText("[");
  for (int64_t i = 0; i < *sizes; ++i) {
    if (i)
      printText(", ");
    printDimension(data + i * *strides, sizes + 1, strides + 1, rank - 1);
  }
  printText("]");
}

template <typename T> static void printMemref(int64_t rank, void *memref) {
  if (current->failed)
    return;
  auto *descriptor = static_cast<Descriptor *>(memref);
  printDimension(static_cast<T *>(descriptor->aligned) + descriptor->offset,
                 descriptor->dimensions, descriptor->dimensions + rank, rank);
  printNewline();
}

namespace {
struct UnrankedMemref {
  int64_t rank;
  void *descriptor;
};
} // namespace

template <typename T> static void printUnranked(UnrankedMemref *memref) {
  printMemref<T>(memref->rank, memref->descriptor);
}

template <typename F> static HostSymbol makeSymbol(StringRef name, F function) {
  return {name, reinterpret_cast<void *>(function)};
}

ArrayRef<HostSymbol> ganq::getHostSymbols() {
  static const HostSymbol symbols[] = {
      makeSymbol("malloc", HostFunctions::allocate),
      makeSymbol("free", HostFunctions::release),
      makeSymbol("puts", HostFunctions::keepMessage),
      makeSymbol("abort", HostFunctions::abort),
      makeSymbol("ganq_emulator_launch", launchKernel),
      makeSymbol("mgpuMemAlloc", allocateOnDevice),
      makeSymbol("mgpuMemFree", releaseOnDevice),
      makeSymbol("mgpuMemcpy", copyOnDevice),
      makeSymbol("mgpuMemset32", setWords),
      makeSymbol("mgpuMemset16", setHalves),
      makeSymbol("mgpuStreamCreate", createStream),
      makeSymbol("mgpuStreamDestroy", useStream),
      makeSymbol("mgpuStreamSynchronize", useStream),
      makeSymbol("mgpuStreamWaitEvent", useStreamAndEvent),
      makeSymbol("mgpuEventCreate", createStream),
      makeSymbol("mgpuEventDestroy", useStream),
      makeSymbol("mgpuEventSynchronize", useStream),
      makeSymbol("mgpuEventRecord", useStreamAndEvent),
      makeSymbol("printI64", printSigned),
      makeSymbol("printU64", printUnsigned),
      makeSymbol("printF32", printSingle),
      makeSymbol("printF64", printDouble),
      makeSymbol("printF16", printHalf<APFloat::IEEEhalf>),
      makeSymbol("printBF16", printHalf<APFloat::BFloat>),
      makeSymbol("printString", printText),
      makeSymbol("printOpen", printOpen),
      makeSymbol("printClose", printClose),
      makeSymbol("printComma", printComma),
      makeSymbol("printNewline", printNewline),
      makeSymbol("printMemrefF32", printMemref<float>),
      makeSymbol("printMemrefF64", printMemref<double>),
      makeSymbol("printMemrefI8", printMemref<int8_t>),
      makeSymbol("printMemrefI32", printMemref<int32_t>),
      makeSymbol("printMemrefI64", printMemref<int64_t>),
      makeSymbol("_mlir_ciface_printMemrefF32", printUnranked<float>),
      makeSymbol("_mlir_ciface_printMemrefF64", printUnranked<double>),
      makeSymbol("_mlir_ciface_printMemrefI8", printUnranked<int8_t>),
      makeSymbol("_mlir_ciface_printMemrefI32", printUnranked<int32_t>),
      makeSymbol("_mlir_ciface_printMemrefI64", printUnranked<int64_t>)};
  return symbols;
}
