//===- model.h - A compiled model, loaded ---------------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_RUNTIME_MODEL_H
#define GANQ_RUNTIME_MODEL_H

#include "ganq/runtime/manifest.h"
#include "ganq/runtime/safetensors.h"
#include <functional>
#include <mutex>

namespace ganq::runtime {

class DeviceModel;

/// A view of an input of main.
struct NamedTensor {
  std::string name;
  DType dtype = DType::F32;
  std::vector<int64_t> shape;
  const void *data = nullptr; ///< row-major, at any alignment
  /// The code of this model only reads the input, and `data` lies at a multiple
  /// of 64 bytes: it is read where it is. Other inputs are copied.
  bool inPlace = false;
};

/// Receives the values of calibration tap `id`: a row-major [rows, columns]
/// array that is valid during the call.
using Observer = std::function<void(int64_t id, const float *data, int64_t rows,
                                    int64_t columns)>;

/// A `.ganq` file with its weights mapped and its native code loaded. The code
/// runs with the rights of the process: open only files that you trust as you
/// would trust an executable. Calls from several threads take turns.
class Model {
public:
  static Result<std::shared_ptr<Model>> open(const std::string &path);
  ~Model();
  Model(const Model &) = delete;
  Model &operator=(const Model &) = delete;

  const Manifest &manifest() const;
  const Safetensors &file() const;

  /// Sets what receives the values of a model with calibration taps; without
  /// one they are dropped. Models for devices have no taps.
  void setObserver(Observer observer);

  /// Makes the code read a parameter from `data`, which has the tensor's dtype
  /// and shape, lies at a multiple of 64 bytes and stays the caller's; from the
  /// file again if it is null. Not while an entry runs.
  Status setParameter(const std::string &name, const void *data);

  /// Runs main. The inputs may come in any order; each must have the name,
  /// dtype and rank of one of the manifest's, its known sizes, and one size for
  /// each symbol. The results come in the manifest's order.
  Result<std::vector<Tensor>> run(const std::vector<NamedTensor> &inputs);

  struct DeviceFacts {
    std::string name;
    double copyBandwidth; ///< bytes that a copy reads and writes in a second
  };
  /// Measures the device that the model runs on.
  Result<DeviceFacts> measureDevice();

private:
  friend class Session;
  struct Implementation;
  Model();
  /// Runs an entry's code; `inspect` sees the results before their memory goes.
  Status call(void (*entry)(void **), void **args,
              const std::function<Status()> &inspect);
  bool isObserved() const;
  /// The model on its device, which is opened at the first call.
  Result<DeviceModel *> device();
  /// Held while an entry runs.
  std::mutex &callMutex();
  /// Runs a step function that the manifest has.
  Status step(Step step, void **args);

  std::unique_ptr<Implementation> impl;
};

/// Explains why code for these CPU features cannot run here, or is empty.
std::string missingCpuFeature(const std::vector<std::string> &features);

} // namespace ganq::runtime

#endif // GANQ_RUNTIME_MODEL_H
