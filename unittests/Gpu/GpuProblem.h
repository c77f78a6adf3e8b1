//===- GpuProblem.h - Quantized products to run on the emulator -*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_UNITTESTS_GPU_GPUPROBLEM_H
#define GANQ_UNITTESTS_GPU_GPUPROBLEM_H

#include "GpuModules.h"
#include "ganq/Emulator/Emulator.h"
#include <string>
#include <vector>

namespace ganq {

/// M, N and K of a product.
struct GpuShape {
  int64_t m, n, k;
};

/// The shapes with which every kernel is tested.
extern const std::vector<GpuShape> kGpuShapes;

/// A kernel in the emulator, or why it could not be made.
class GpuKernelUnderTest {
public:
  /// `scheme` is the text of the scheme; the other fields are as given, but
  /// that the result is f32 with `floatResult`.
  GpuKernelUnderTest(mlir::MLIRContext &context, const std::string &scheme,
                     GpuMatmulSpec spec, bool floatResult = false);

  const std::string &getError() const { return error; }
  const GpuMatmulSpec &getSpec() const { return spec; }

  /// Runs the kernel on random codes and values whose products and sums are
  /// exact in f32, and returns how the result differs from the product that is
  /// computed here, or nothing where it is equal bit for bit.
  std::string check(GpuShape shape, uint64_t seed);

private:
  GpuMatmulSpec spec;
  mlir::OwningOpRef<mlir::ModuleOp> module;
  std::unique_ptr<EmulatedModule> emulated;
  GpuKernelInfo info;
  std::string error;
};

} // namespace ganq

#endif // GANQ_UNITTESTS_GPU_GPUPROBLEM_H
