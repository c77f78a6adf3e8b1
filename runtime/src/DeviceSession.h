//===- DeviceSession.h - One sequence of tokens on a device -----*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_RUNTIME_SRC_DEVICESESSION_H
#define GANQ_RUNTIME_SRC_DEVICESESSION_H

#include "DeviceModel.h"

namespace ganq::runtime {

/// Plays the step functions of a model: caches, scratch memory, inputs and
/// logits in the device's memory. Decode is one graph, captured at its first
/// run; it reads tokens and position from the device's memory, so that every
/// token is the same graph.
class DeviceSession {
public:
  static Result<std::unique_ptr<DeviceSession>>
  create(const DeviceModel &model);

  /// Runs a step function on as many `tokens` as the entry takes, with `past`
  /// tokens in the caches and, for prompt, `row`. The result is the logits of
  /// rows `first` .. `first + count - 1` (prompt and decode have one), valid
  /// until the next run; `count` may be 0.
  Result<const float *> run(Step step, const int64_t *tokens, int64_t past,
                            int64_t row, int64_t first, int64_t count);

  /// The token of the greatest logit that the last run, of a step that finds
  /// it, found; negative if a logit was not a number.
  int64_t best() const;
  /// The logits of the last run's first row, which it may have left on the
  /// device.
  Result<const float *> readLogits();

  /// Whether runs are timed by the device's events. A timed run finds nothing
  /// of the model in the device's cache.
  Status setTimed(bool timed);
  /// The time of the last run on the device, in seconds.
  Result<double> seconds() const;

private:
  explicit DeviceSession(const DeviceModel &model)
      : model(model), device(model.device()) {}
  Status allocateAll();
  Status enqueue(Step step);
  Status launch(const Launch &launch);
  uint64_t value(const LaunchArgument &argument) const;
  Status captureDecode();
  Status copyLogits(float *target, int64_t first, int64_t count);
  Status beginTime();

  const DeviceModel &model;
  const Device &device;
  DriverObject stream;
  std::vector<DeviceMemory> caches;
  DeviceMemory arena, inputs, logitRows;
  DriverObject hostInputs, hostLogits; ///< of one row
  std::vector<float> hostRows;         ///< of several
  DriverObject decodeGraph;
  DriverObject start, end; ///< if runs are timed
  DeviceMemory flush;      ///< twice what the device caches, then
  int64_t flushBytes = 0;
  int64_t inputBytes = 0; ///< of the present run
};

} // namespace ganq::runtime

#endif // GANQ_RUNTIME_SRC_DEVICESESSION_H
