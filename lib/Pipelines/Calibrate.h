//===- Calibrate.h - Statistics of the inputs of weights --------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_LIB_PIPELINES_CALIBRATE_H
#define GANQ_LIB_PIPELINES_CALIBRATE_H

#include "ganq/runtime/safetensors.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"
#include "llvm/Support/JSON.h"
#include <functional>
#include <list>
#include <memory>

namespace ganq {

/// Rows of a layer's input that are kept as they are.
constexpr int64_t kSampleRows = 512;

/// A sample of at most kSampleRows of `total` rows: one of each of as many
/// equal parts, at a place that does not repeat with the length of a sequence.
class SampleRows {
public:
  explicit SampleRows(int64_t total)
      : total(total), count(std::min(total, kSampleRows)) {}
  int64_t getCount() const { return count; }
  /// The row that is sample `index`; it grows with the index.
  int64_t getRow(int64_t index) const {
    int64_t begin = index * total / count, end = (index + 1) * total / count;
    // A hash of the index (splitmix64).
    uint64_t spread = static_cast<uint64_t>(index) * 0x9E3779B97F4A7C15u;
    spread = (spread ^ (spread >> 30)) * 0xBF58476D1CE4E5B9u;
    spread = (spread ^ (spread >> 27)) >> 33;
    return begin + static_cast<int64_t>(spread) % (end - begin);
  }

private:
  int64_t total, count;
};

/// What calibration says about the input of one weight; see WeightProblem.
struct InputStatistics {
  const double *gram = nullptr, *cross = nullptr;
  const float *sample = nullptr;
  int64_t sampleRows = 0;
  /// Rows that the moments were taken over; 0: not known.
  int64_t rows = 0;
  std::function<llvm::ArrayRef<float>(llvm::StringRef suffix)> learned;
};

/// A `calibration.safetensors`, memory-mapped: per weight `<key>.gram` and the
/// like. docs/Calibration.md describes the format.
class CalibrationFile {
public:
  /// Fails if the file is not one for the model with this hash.
  static llvm::Expected<std::unique_ptr<CalibrationFile>>
  open(const std::string &path, llvm::StringRef modelHash);

  /// Checks the names, shapes and types of what there is about a weight
  /// [n, k], not the values. A weight that `needs` statistics must have learned
  /// tensors, a Gram matrix or, in a file without Gram matrices, a sample.
  llvm::Error check(llvm::StringRef key, int64_t n, int64_t k,
                    bool needs) const;

  /// The pointers live as long as the file. Fails if a tensor does not fit its
  /// shape, is not finite or, being a Gram matrix, not symmetric.
  llvm::Expected<InputStatistics> get(llvm::StringRef key, int64_t n,
                                      int64_t k) const;

private:
  /// The key under which the statistics of a weight's input are.
  std::string getOwner(llvm::StringRef key) const;
  /// A tensor of this shape, where -1 is any size; null where there is none.
  llvm::Expected<const runtime::TensorInfo *>
  find(llvm::StringRef name, runtime::DType type,
       llvm::ArrayRef<int64_t> shape) const;
  /// Its values; empty where there is none.
  template <typename T>
  llvm::Expected<llvm::ArrayRef<T>> read(llvm::StringRef name,
                                         llvm::ArrayRef<int64_t> shape) const;

  std::unique_ptr<runtime::Safetensors> file;
  /// Weights that have their statistics under another key.
  llvm::json::Object sameInput;
  /// Copies of tensors that the file misaligns.
  mutable std::list<std::vector<char>> copies;
};

/// The metadata of a calibration file.
extern const char *const kCalibrationVersionKey;
extern const char *const kCalibrationModelKey;
extern const char *const kSameInputKey;

/// Whether a file holds NumPy data, judged by its first bytes.
bool isNpyFile(llvm::StringRef path);

} // namespace ganq

#endif // GANQ_LIB_PIPELINES_CALIBRATE_H
