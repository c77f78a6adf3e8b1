//===- Progress.h - Says how far long work is -------------------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_PIPELINES_PROGRESS_H
#define GANQ_PIPELINES_PROGRESS_H

#include "llvm/ADT/Twine.h"
#include <chrono>
#include <string>

namespace ganq {

/// One line on stderr that is rewritten in place, on a terminal only.
class Progress {
public:
  explicit Progress(bool verbose);
  ~Progress();

  /// True if somebody looks: a terminal, or `verbose`.
  bool isWatched() const { return terminal || verbose; }
  /// Prints a line that stays, if somebody looks.
  void note(const llvm::Twine &line);
  /// Starts a stage of `total` units.
  void begin(std::string stage, double total);
  /// `done` units are over; `detail` names what is at work.
  void update(double done, const llvm::Twine &detail);
  void end();

private:
  void clear();

  bool terminal, verbose;
  bool dirty = false;
  std::string stage;
  double total = 0;
  std::chrono::steady_clock::time_point started;
};

} // namespace ganq

#endif // GANQ_PIPELINES_PROGRESS_H
