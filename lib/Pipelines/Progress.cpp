//===- Progress.cpp - Says how far long work is ---------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/Pipelines/Progress.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/raw_ostream.h"

using namespace ganq;

Progress::Progress(bool verbose)
    : terminal(llvm::errs().is_displayed()), verbose(verbose) {}

Progress::~Progress() { clear(); }

void Progress::clear() {
  if (dirty)
    llvm::errs() << "\r\033[K";
  dirty = false;
}

void Progress::note(const llvm::Twine &line) {
  if (!isWatched())
    return;
  clear();
  llvm::errs() << line << "\n";
}

void Progress::begin(std::string name, double units) {
  stage = std::move(name);
  total = units;
  started = std::chrono::steady_clock::now();
}

void Progress::update(double done, const llvm::Twine &detail) {
  if (!terminal || total <= 0)
    return;
  double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - started)
          .count();
  clear();
  llvm::errs() << llvm::formatv("{0} {1:F0}%  {2}", stage, 100 * done / total,
                                detail);
  if (done > 0 && done < total)
    llvm::errs() << llvm::formatv("  {0:F0} s left",
                                  seconds * (total - done) / done);
  llvm::errs().flush();
  dirty = true;
}

void Progress::end() { clear(); }
