//===- Program.h - Reads what a device runs out of a manifest ---*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_RUNTIME_SRC_PROGRAM_H
#define GANQ_RUNTIME_SRC_PROGRAM_H

#include "ManifestReader.h"
#include "ganq/runtime/manifest.h"
#include "ganq/runtime/safetensors.h"

namespace ganq::runtime {

/// A chip's name in parts: "sm_90a" is 9, 0, 'a'; without a suffix 0. Nothing
/// if the name is no chip's.
struct ChipName {
  int major = 0, minor = 0;
  char suffix = 0;
};
std::optional<ChipName> parseChip(std::string_view name);

/// The chips of "target".
std::vector<ChipCode> readChips(ManifestReader &reader,
                                const nlohmann::json &value,
                                const std::string &path);

/// The launches of the entry of a step, whose arena and tokens are known, as
/// are the parameters and the state of the manifest.
std::vector<Launch> readLaunches(ManifestReader &reader,
                                 const nlohmann::json &value,
                                 const std::string &path,
                                 const Manifest &manifest, const Entry &entry,
                                 Step step);

/// Checks what takes the file: that the chips' code lies within `codeBytes` and
/// that arguments lie within the parameters, which all exist.
Status checkProgram(const Manifest &manifest, const Safetensors &file,
                    int64_t codeBytes);

} // namespace ganq::runtime

#endif // GANQ_RUNTIME_SRC_PROGRAM_H
