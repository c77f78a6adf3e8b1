//===- GpuTarget.cpp - NVIDIA chips that kernels are made for -------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/Target/GpuTarget.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"

using namespace llvm;
using namespace ganq;

// What is native was read off the machine code of ptxas 13.0: kernels of one
// mma with and without a call of `__cuda_sm_*_mma_*`. Shared memory is that of
// the CUDA programming guide, table of compute capabilities.
static constexpr GpuTarget kTargets[] = {
    {"sm_80", true, true, 163 << 10},   {"sm_86", true, true, 99 << 10},
    {"sm_89", true, true, 99 << 10},    {"sm_90", true, false, 227 << 10},
    {"sm_90a", true, false, 227 << 10}, {"sm_100", false, false, 227 << 10},
    {"sm_120", false, false, 99 << 10},
};

static constexpr std::pair<GpuStrategy, StringLiteral> kStrategies[] = {
    {GpuStrategy::F16, "f16"},   {GpuStrategy::Int8, "int8"},
    {GpuStrategy::Dp4a, "dp4a"}, {GpuStrategy::Int4, "int4"},
    {GpuStrategy::Btc, "btc"},
};

StringRef ganq::getName(GpuStrategy strategy) {
  return kStrategies[static_cast<unsigned>(strategy)].second;
}

std::optional<GpuStrategy> ganq::parseGpuStrategy(StringRef name) {
  for (auto [strategy, known] : kStrategies)
    if (known == name)
      return strategy;
  return std::nullopt;
}

std::string ganq::getGpuStrategyNames() {
  return join(make_second_range(kStrategies), ", ");
}

ArrayRef<GpuTarget> GpuTarget::getAll() { return kTargets; }

Expected<GpuTarget> GpuTarget::get(StringRef chip) {
  for (const GpuTarget &target : kTargets)
    if (target.chip == chip)
      return target;
  SmallVector<StringRef> names;
  for (const GpuTarget &target : kTargets)
    names.push_back(target.chip);
  return createStringError("expected the chip to be one of " +
                           join(names, ", ") + ", but got `" + chip + "`");
}

bool GpuTarget::isNative(GpuStrategy strategy) const {
  switch (strategy) {
  case GpuStrategy::F16:
  case GpuStrategy::Int8:
  case GpuStrategy::Dp4a:
    return true;
  case GpuStrategy::Int4:
    return nativeS4;
  case GpuStrategy::Btc:
    return nativeB1;
  }
  llvm_unreachable("all strategies are listed");
}

Error GpuTarget::check(GpuStrategy strategy) const {
  if (isNative(strategy))
    return Error::success();
  SmallVector<StringRef> chips;
  for (const GpuTarget &target : kTargets)
    if (target.isNative(strategy))
      chips.push_back(target.chip);
  return createStringError("expected a chip with instructions for strategy `" +
                           getName(strategy) + "` (" + join(chips, ", ") +
                           "), but got `" + chip +
                           "`, which emulates them; use `int8` or `dp4a`");
}
