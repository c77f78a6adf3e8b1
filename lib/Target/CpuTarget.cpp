//===- CpuTarget.cpp - Processors that code is generated for --------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/Target/CpuTarget.h"
#include "ganq/runtime/model.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
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

/// Others whose instructions LLVM may choose without being asked by name, and
/// that the runtime can look for.
static constexpr StringLiteral kHostFeatures[] = {"avx512bf16",
                                                  "avx512bitalg",
                                                  "avx512fp16",
                                                  "avx512ifma",
                                                  "avx512vbmi",
                                                  "avx512vbmi2",
                                                  "avx512vnni",
                                                  "avx512vp2intersect",
                                                  "avx512vpopcntdq",
                                                  "avxifma",
                                                  "avxneconvert",
                                                  "avxvnni",
                                                  "avxvnniint16",
                                                  "avxvnniint8",
                                                  "bmi",
                                                  "fma4",
                                                  "gfni",
                                                  "lzcnt",
                                                  "movbe",
                                                  "popcnt",
                                                  "sse",
                                                  "sse2",
                                                  "sse3",
                                                  "sse4.1",
                                                  "sse4.2",
                                                  "sse4a",
                                                  "ssse3",
                                                  "tbm",
                                                  "xop"};
static constexpr StringLiteral kTileFeatures[] = {"amx-tile", "amx-int8",
                                                  "amx-bf16"};

std::vector<StringRef> CpuTarget::getKnownFeatures() {
  std::vector<StringRef> known;
  for (ArrayRef<StringLiteral> list : {ArrayRef<StringLiteral>(kAvx2Features),
                                       ArrayRef<StringLiteral>(kAvx512Features),
                                       ArrayRef<StringLiteral>(kHostFeatures),
                                       ArrayRef<StringLiteral>(kTileFeatures)})
    known.insert(known.end(), list.begin(), list.end());
  return known;
}

/// Whether LLVM may use a feature of this machine: not one that brings
/// instructions which manifests cannot ask for, as those of newer processors.
static bool isAllowed(StringRef feature) {
  static constexpr StringLiteral kPrefixes[] = {"amx", "avx", "bmi",
                                                "fma", "sse", "ssse"};
  // General registers and instructions of APX.
  static constexpr StringLiteral kApx[] = {"ccmp", "cf",  "egpr",      "ndd",
                                           "nf",   "ppx", "push2pop2", "zu"};
  bool isListed =
      any_of(kPrefixes,
             [&](StringRef prefix) { return feature.starts_with(prefix); }) ||
      is_contained(kApx, feature);
  return !isListed || is_contained(CpuTarget::getKnownFeatures(), feature);
}

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
  // Linux gives tile registers to processes that ask, in most sandboxes to
  // none.
  target.amx = target.avx512 &&
               runtime::missingCpuFeature({"amx-tile", "amx-int8"}).empty();
  target.amxFloats =
      target.amx && runtime::missingCpuFeature({"amx-bf16"}).empty();
  for (const auto &feature : host)
    target.features.push_back(
        ((feature.second && isAllowed(feature.first()) ? "+" : "-") +
         feature.first())
            .str());
  llvm::sort(target.features);
  return target;
}

std::vector<std::string>
CpuTarget::getRequiredFeatures(mlir::ModuleOp code) const {
  std::vector<std::string> required;
  for (StringRef feature : kAvx2Features)
    required.push_back(feature.str());
  if (avx512)
    for (StringRef feature : kAvx512Features)
      required.push_back(feature.str());
  // LLVM may use all of this machine but tile registers, which take an
  // intrinsic.
  for (StringRef feature : features)
    if (feature.consume_front("+") && is_contained(kHostFeatures, feature))
      required.push_back(feature.str());
  auto isTile = [](mlir::Type type) {
    return isa<mlir::LLVM::LLVMX86AMXType>(type);
  };
  bool usesTiles = false, usesFloats = false;
  code.walk([&](mlir::LLVM::CallIntrinsicOp call) {
    usesTiles |= any_of(call->getResultTypes(), isTile);
    usesFloats |= call.getIntrin().starts_with("llvm.x86.tdpbf16");
  });
  if (usesTiles)
    required.insert(required.end(), {"amx-tile", "amx-int8"});
  if (usesFloats)
    required.push_back("amx-bf16");
  return required;
}
