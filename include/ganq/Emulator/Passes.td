//===- Passes.td - Passes of the emulator ------------------*- tablegen -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_EMULATOR_PASSES_TD
#define GANQ_EMULATOR_PASSES_TD

include "mlir/Pass/PassBase.td"

def Emulate : Pass<"ganq-emulate", "::mlir::ModuleOp"> {
  let summary = "Run a host function and its GPU kernels on this machine";
  let description = [{
    Compiles every `gpu.module`, which must be at the NVVM level, for the
    emulator, and the rest of the module for the host; then calls the function
    `entry`, which takes and returns nothing. Its `gpu.launch_func` run their
    kernels, `vector.print`, `@printMemrefF32` and their like and `gpu.printf`
    write to standard output. Buffers that the host allocates (`memref.alloc`,
    `gpu.alloc`, `memref.global`) are the memory that kernels may touch. The
    module stays as it is. docs/Emulator.md describes what is emulated and
    which mistakes become errors; their locations are those of the kernel's ops.
  }];
  let options = [
    Option<"entry", "entry", "std::string", "\"main\"",
           "The function of the host to call">,
    Option<"order", "order", "std::string", "\"forward\"",
           "Order of lanes: forward, reverse, random or all, which runs each "
           "launch in the three orders and compares">,
    Option<"seed", "seed", "uint64_t", "0", "Seed of the random order">,
    Option<"threads", "threads", "int", "0",
           "OS threads that run blocks, at most four per processor; 0: one per "
           "processor">,
    Option<"check", "check", "bool", "true",
           "Check bounds, alignment and shared memory that is not written">,
    Option<"iterationLimit", "iteration-limit", "uint64_t", "4294967296",
           "Loop iterations of a block after which it is taken to hang">,
    Option<"cpu", "cpu", "std::string", "\"host\"",
           "Processor to generate code for: x86-64-v3, x86-64-v3-vnni, "
           "x86-64-v4 or host, of which this machine must be one">
  ];
}

#endif // GANQ_EMULATOR_PASSES_TD
