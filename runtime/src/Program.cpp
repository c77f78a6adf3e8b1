//===- Program.cpp - Reads what a device runs out of a manifest -----------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Program.h"
#include "ganq/driver_abi.h"
#include <algorithm>
#include <cfloat>
#include <cmath>

namespace ganq::runtime {

using nlohmann::json;

using Kind = LaunchArgument::Kind;

/// The most that a launch may ask for on any chip (CUDA programming guide,
/// technical specifications per compute capability).
static constexpr int64_t kMaxGrid[3] = {INT32_MAX, 65535, 65535};
static constexpr int64_t kMaxBlock[3] = {1024, 1024, 64};
static constexpr int64_t kMaxThreads = 1024;
static constexpr int64_t kMaxShared = GANQ_MAX_SHARED_BYTES;

namespace {
struct KindName {
  const char *name;
  Kind kind;
  size_t values; ///< that follow the name
};
} // namespace

static constexpr KindName kKinds[] = {
    {"arena", Kind::Arena, 1},   {"parameter", Kind::Parameter, 2},
    {"cache", Kind::Cache, 1},   {"tokens", Kind::Tokens, 0},
    {"past", Kind::Past, 0},     {"row", Kind::Row, 0},
    {"logits", Kind::Logits, 0}, {"best", Kind::Best, 0},
    {"i32", Kind::I32, 1},       {"i64", Kind::I64, 1},
    {"f32", Kind::F32, 1}};

std::optional<ChipName> parseChip(std::string_view name) {
  if (name.substr(0, 3) != "sm_")
    return std::nullopt;
  name.remove_prefix(3);
  ChipName chip;
  if (!name.empty() && (name.back() == 'a' || name.back() == 'f')) {
    chip.suffix = name.back();
    name.remove_suffix(1);
  }
  if (name.size() < 2 || name.size() > 4 || name[0] == '0' ||
      name.find_first_not_of("0123456789") != std::string_view::npos)
    return std::nullopt;
  for (char digit : name.substr(0, name.size() - 1))
    chip.major = 10 * chip.major + (digit - '0');
  chip.minor = name.back() - '0';
  return chip;
}

std::vector<ChipCode> readChips(ManifestReader &reader, const json &value,
                                const std::string &path) {
  std::vector<ChipCode> chips;
  reader.array(value, path, [&](const json &item, const std::string &at) {
    ChipCode code;
    const json &chip = reader.member(item, "chip");
    code.chip = reader.string(chip, at + ".chip");
    reader.expect(parseChip(code.chip).has_value(), at + ".chip",
                  "a chip such as \"sm_80\"", chip);
    for (const ChipCode &other : chips)
      reader.expect(other.chip != code.chip, at + ".chip", "a new chip", chip);
    code.offset = reader.integer(reader.member(item, "offset"), at + ".offset");
    code.bytes = reader.integer(reader.member(item, "bytes"), at + ".bytes", 1);
    chips.push_back(std::move(code));
  });
  reader.expect(!chips.empty(), path, "at least one chip", value);
  return chips;
}

/// A position within `bytes` bytes; 0 also where there are none.
static int64_t readOffset(ManifestReader &reader, const json &value,
                          const std::string &path, int64_t bytes) {
  return reader.integer(value, path, 0, std::max<int64_t>(bytes - 1, 0));
}

static LaunchArgument readArgument(ManifestReader &reader, const json &value,
                                   const std::string &path,
                                   const Manifest &manifest, const Entry &entry,
                                   Step step) {
  LaunchArgument argument;
  const KindName *kind = nullptr;
  if (value.is_array() && !value.empty() && value[0].is_string())
    for (const KindName &candidate : kKinds)
      if (value[0] == candidate.name)
        kind = &candidate;
  reader.expect(kind && value.size() == kind->values + 1, path,
                kind ? std::string(kind->name) + " and " +
                           std::to_string(kind->values) + " values"
                     : "an argument such as [\"arena\", 0]",
                value);
  if (!reader.error.ok())
    return argument;
  argument.kind = kind->kind;
  auto count = [](size_t size) { return int64_t(size) - 1; };
  switch (kind->kind) {
  case Kind::Arena:
    argument.offset = readOffset(reader, value[1], path + "[1]", entry.arena);
    break;
  case Kind::Parameter:
    reader.expect(!manifest.parameters.empty(), path, "a model with parameters",
                  value);
    argument.index = reader.integer(value[1], path + "[1]", 0,
                                    count(manifest.parameters.size()));
    argument.offset = reader.integer(value[2], path + "[2]");
    break;
  case Kind::Cache: {
    size_t caches = manifest.state ? manifest.state->caches.size() : 0;
    reader.expect(caches > 0, path, "a state with caches", value);
    argument.index = reader.integer(value[1], path + "[1]", 0, count(caches));
    break;
  }
  case Kind::Row:
    reader.expect(step == Step::Prompt, path, "no row outside of prompt",
                  value);
    break;
  case Kind::Best:
    reader.expect(step != Step::Prefill, path, "no best token of prefill",
                  value);
    break;
  case Kind::I32:
    argument.integer =
        reader.integer(value[1], path + "[1]", INT32_MIN, INT32_MAX);
    break;
  case Kind::I64:
    argument.integer = reader.integer(value[1], path + "[1]", INT64_MIN);
    break;
  case Kind::F32: {
    bool good = value[1].is_number() &&
                std::abs(value[1].get<double>()) <= double(FLT_MAX);
    reader.expect(good, path + "[1]", "a number in the range of f32", value[1]);
    argument.real = good ? float(value[1].get<double>()) : 0;
    break;
  }
  case Kind::Tokens:
  case Kind::Past:
  case Kind::Logits:
    break;
  }
  return argument;
}

/// Three sizes from 1 to `most`.
static std::array<uint32_t, 3> readSizes(ManifestReader &reader,
                                         const json &value,
                                         const std::string &path,
                                         const int64_t (&most)[3]) {
  std::array<uint32_t, 3> sizes = {1, 1, 1};
  bool good = value.is_array() && value.size() == 3;
  reader.expect(good, path, "an array of 3 sizes", value);
  for (size_t i = 0; good && i < 3; ++i)
    sizes[i] = uint32_t(reader.integer(
        value[i], path + "[" + std::to_string(i) + "]", 1, most[i]));
  return sizes;
}

std::vector<Launch> readLaunches(ManifestReader &reader, const json &value,
                                 const std::string &path,
                                 const Manifest &manifest, const Entry &entry,
                                 Step step) {
  std::vector<Launch> launches;
  reader.array(value, path, [&](const json &item, const std::string &at) {
    Launch launch;
    const json &kernel = reader.member(item, "kernel");
    launch.kernel = reader.string(kernel, at + ".kernel");
    reader.expect(!launch.kernel.empty(), at + ".kernel", "a kernel's name",
                  kernel);
    launch.grid =
        readSizes(reader, reader.member(item, "grid"), at + ".grid", kMaxGrid);
    const json &block = reader.member(item, "block");
    launch.block = readSizes(reader, block, at + ".block", kMaxBlock);
    reader.expect(int64_t(launch.block[0]) * launch.block[1] *
                          launch.block[2] <=
                      kMaxThreads,
                  at + ".block",
                  "at most " + std::to_string(kMaxThreads) + " threads", block);
    launch.shared = uint32_t(reader.integer(reader.member(item, "shared"),
                                            at + ".shared", 0, kMaxShared));
    reader.array(reader.member(item, "args"), at + ".args",
                 [&](const json &argument, const std::string &where) {
                   launch.arguments.push_back(readArgument(
                       reader, argument, where, manifest, entry, step));
                 });
    launches.push_back(std::move(launch));
  });
  reader.expect(!launches.empty(), path, "at least one launch", value);
  return launches;
}

static Status checkLaunches(const Manifest &manifest, const Safetensors &file,
                            const std::optional<Entry> &entry,
                            const char *name) {
  if (!entry)
    return Status();
  for (size_t i = 0; i < entry->launches.size(); ++i)
    for (size_t j = 0; j < entry->launches[i].arguments.size(); ++j) {
      const LaunchArgument &argument = entry->launches[i].arguments[j];
      if (argument.kind != Kind::Parameter)
        continue;
      const std::string &parameter =
          manifest.parameters[size_t(argument.index)];
      int64_t last = std::max<int64_t>(file.find(parameter)->bytes - 1, 0);
      if (argument.offset > last)
        return Status(Code::InvalidFile,
                      file.path() + ": manifest.entries." + name +
                          ".launches[" + std::to_string(i) + "].args[" +
                          std::to_string(j) +
                          "][2]: expected an integer from 0 to " +
                          std::to_string(last) + ", within '" + parameter +
                          "', but got " + std::to_string(argument.offset));
    }
  return Status();
}

Status checkProgram(const Manifest &manifest, const Safetensors &file,
                    int64_t codeBytes) {
  for (size_t i = 0; i < manifest.chips.size(); ++i) {
    const ChipCode &code = manifest.chips[i];
    if (code.offset > codeBytes || code.bytes > codeBytes - code.offset)
      return Status(Code::InvalidFile,
                    file.path() + ": manifest.target.chips[" +
                        std::to_string(i) + "]: expected a range within the " +
                        std::to_string(codeBytes) + " bytes of code, but got " +
                        std::to_string(code.bytes) + " bytes at " +
                        std::to_string(code.offset));
  }
  for (auto [entry, name] : {std::pair(&manifest.prefill, "prefill"),
                             std::pair(&manifest.prompt, "prompt"),
                             std::pair(&manifest.decode, "decode")})
    if (Status status = checkLaunches(manifest, file, *entry, name);
        !status.ok())
      return status;
  return Status();
}

} // namespace ganq::runtime
