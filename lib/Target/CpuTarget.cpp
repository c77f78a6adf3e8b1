//===- CpuTarget.cpp - Processors that code is generated for --------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/Target/CpuTarget.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/TargetParser/Host.h"

using namespace llvm;
using namespace ganq;

static constexpr StringLiteral kNames[] = {"x86-64-v3", "x86-64-v3-vnni",
                                           "x86-64-v4", "host"};

static constexpr StringLiteral kAvx2Features[] = {"avx", "avx2", "f16c", "fma",
                                                  "bmi2"};
static constexpr StringLiteral kAvx512Features[] = {
    "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"};

ArrayRef<StringLiteral> CpuTarget::getNames() { return kNames; }

Expected<CpuTarget> CpuTarget::get(StringRef name) {
  CpuTarget target;
  if (name == "x86-64-v3" || name == "x86-64-v4") {
    target.cpu = name.str();
    target.avx512 = name == "x86-64-v4";
    return target;
  }
  if (name == "x86-64-v3-vnni") {
    target.cpu = "x86-64-v3";
    target.features = {"+avxvnni"};
    target.vnni = true;
    return target;
  }
  if (name != "host")
    return createStringError("expected the cpu to be one of " +
                             join(getNames(), ", ") + ", but got `" + name +
                             "`");

  StringMap<bool> host = sys::getHostCPUFeatures();
  auto has = [&](StringRef feature) { return host.lookup(feature); };
  if (!all_of(kAvx2Features, has))
    return createStringError(
        "expected this machine to have AVX2, FMA and F16C, but got `" +
        sys::getHostCPUName() + "`; choose another cpu than host");
  target.cpu = sys::getHostCPUName().str();
  target.avx512 = all_of(kAvx512Features, has);
  target.vnni = has(target.avx512 ? "avx512vnni" : "avxvnni");
  target.popcount = target.avx512 && has("avx512vpopcntdq");
  target.amx =
      target.avx512 && has("amx-tile") && has("amx-int8") && has("amx-bf16");
  for (const auto &feature : host)
    target.features.push_back(
        ((feature.second ? "+" : "-") + feature.first()).str());
  llvm::sort(target.features);
  return target;
}

/// Features whose instructions LLVM may choose without being asked by name.
/// `avx10` stands for features that are listed by themselves.
static bool isForCodegen(StringRef feature) {
  static constexpr StringLiteral kPrefixes[] = {
      "amx",   "avx",    "bmi", "fma", "gfni", "lzcnt",
      "movbe", "popcnt", "sse", "tbm", "xop"};
  return !feature.starts_with("avx10") &&
         any_of(kPrefixes,
                [&](StringRef prefix) { return feature.starts_with(prefix); });
}

std::vector<std::string> CpuTarget::getRequiredFeatures() const {
  std::vector<std::string> required;
  for (StringRef feature : kAvx2Features)
    required.push_back(feature.str());
  if (avx512)
    for (StringRef feature : kAvx512Features)
      required.push_back(feature.str());
  // Code for this machine may use all that it has.
  for (StringRef feature : features)
    if (feature.consume_front("+") && isForCodegen(feature) &&
        !is_contained(required, feature))
      required.push_back(feature.str());
  return required;
}
