//===- manifest.h - What a .ganq file says about itself -------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_RUNTIME_MANIFEST_H
#define GANQ_RUNTIME_MANIFEST_H

#include "ganq/runtime/program.h"
#include "ganq/runtime/tensor.h"
#include <map>

namespace ganq::runtime {

/// A size, or the name of a size that is known when the model runs. Equal names
/// within one entry stand for equal sizes.
struct Dimension {
  int64_t size = -1; ///< negative: `symbol` counts
  std::string symbol;
};

/// An input or output of the model.
struct Port {
  std::string name;
  DType dtype = DType::F32;
  std::vector<Dimension> shape;
};

/// `tokens [batch, 16]`
std::string toString(const Port &port);

/// A function of the native code (see ganq/module_abi.h), or for a device the
/// launches that make up a step function.
struct Entry {
  std::string symbol;
  int64_t arena = 0;  ///< bytes of scratch memory (step functions)
  int64_t tokens = 0; ///< tokens of one call (step functions)
  std::vector<Port> inputs, outputs; ///< main only
  std::vector<Launch> launches;      ///< devices only, in order
  bool findsBest = false; ///< a launch gets the most probable token's place
};

struct CacheInfo {
  std::string name;
  DType dtype = DType::F32;
  std::vector<int64_t> shape;
};

/// The product with a weight in a step function, as the compiler predicts it.
struct KernelInfo {
  std::string entry; ///< "decode", ...
  std::string name;
  std::string tile;         ///< how much it computes at once; may be empty
  int64_t rows = 0;         ///< of x
  int64_t instructions = 0; ///< of all threads
  int64_t bytes = 0;        ///< of the weight
  int64_t nanoseconds = 0;  ///< of one thread
};

/// A matrix that a product reads, quantized or not.
struct WeightInfo {
  std::string name;
  std::string scheme; ///< "lut4", "none", ...
  std::vector<int64_t> shape;
  int64_t bytes = 0; ///< stored bytes, of all its tensors
  std::vector<std::string> tensors;
  std::vector<KernelInfo> kernels;
};

/// What a causal language model's step functions need.
struct StateInfo {
  int64_t maxContext = 0;
  int64_t vocabulary = 0;
  std::vector<CacheInfo> caches;
};

struct Manifest {
  std::string generator;
  std::string arch, cpu;
  std::vector<std::string> features; ///< CPU features, by LLVM's names
  std::vector<ChipCode> chips;       ///< arch "cuda" only
  std::string code;                  ///< name of the code tensor
  std::vector<std::string> parameters;
  std::optional<Entry> main, prefill, prompt, decode;
  std::optional<StateInfo> state; ///< there is a decode if there is a state
  std::vector<WeightInfo> weights;
  std::optional<double> bitsPerWeight;
  std::string sourceFile;

  /// Whether the step functions run on a device: a GPU or its emulator.
  bool isForDevice() const { return arch == "cuda" || arch == "emulator"; }

  /// A step function that the model has.
  const Entry &entry(Step step) const {
    return step == Step::Prefill  ? *prefill
           : step == Step::Prompt ? *prompt
                                  : *decode;
  }

  /// Sum of the weights' stored bytes: what one decoded token reads.
  int64_t weightBytes() const;

  /// Checks everything that can be checked without the file around it; `where`
  /// names the file in errors.
  static Result<Manifest> parse(std::string_view text,
                                const std::string &where);
};

/// The `__metadata__` entries of a compiled model: the manifest and a checksum
/// over it and the code, which guards the loader against damaged files.
std::map<std::string, std::string> modelMetadata(std::string_view manifest,
                                                 std::string_view code);

/// SHA-256 as 64 hexadecimal digits.
std::string sha256(std::string_view bytes);

} // namespace ganq::runtime

#endif // GANQ_RUNTIME_MANIFEST_H
