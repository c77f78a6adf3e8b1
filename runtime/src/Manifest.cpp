//===- Manifest.cpp - What a .ganq file says about itself -----------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/runtime/manifest.h"
#include "Program.h"
#include "Sha256.h"
#include "ganq/module_abi.h"

namespace ganq::runtime {

using nlohmann::json;

namespace {

using Reader = ManifestReader;

std::vector<Port> readPorts(Reader &reader, const json &value,
                            const std::string &path) {
  std::vector<Port> result;
  reader.array(value, path, [&](const json &item, const std::string &at) {
    Port port;
    port.name = reader.string(reader.member(item, "name"), at + ".name");
    port.dtype = reader.dtype(reader.member(item, "dtype"), at + ".dtype");
    reader.array(reader.member(item, "shape"), at + ".shape",
                 [&](const json &size, const std::string &where) {
                   Dimension dimension;
                   if (size.is_string())
                     dimension.symbol = size.get<std::string>();
                   else
                     dimension.size = reader.integer(size, where);
                   port.shape.push_back(dimension);
                 });
    for (const Port &other : result)
      reader.expect(other.name != port.name, at + ".name", "a new name",
                    port.name);
    result.push_back(std::move(port));
  });
  return result;
}

enum class EntryKind { Main, Prefill, Prompt, Decode };

/// An entry, or nothing if it is absent. Parameters and state are known.
std::optional<Entry> readEntry(Reader &reader, const json &entries,
                               const std::string &key, EntryKind kind,
                               const Manifest &manifest) {
  const json &value = reader.member(entries, key);
  if (value.is_null())
    return std::nullopt;
  std::string path = ".entries." + key;
  bool step = kind != EntryKind::Main, device = manifest.isForDevice();
  Entry result;
  if (const json &arena = reader.member(value, "arena"); !arena.is_null())
    result.arena = reader.integer(arena, path + ".arena", 0, int64_t(1) << 48);
  if (step)
    result.tokens = reader.integer(reader.member(value, "tokens"),
                                   path + ".tokens", 1, 1 << 20);
  if (device) {
    reader.expect(step, path, "step functions only in code for a device",
                  value);
    result.launches = readLaunches(reader, reader.member(value, "launches"),
                                   path + ".launches", manifest, result,
                                   kind == EntryKind::Prefill  ? Step::Prefill
                                   : kind == EntryKind::Prompt ? Step::Prompt
                                                               : Step::Decode);
    for (const Launch &launch : result.launches)
      for (const LaunchArgument &argument : launch.arguments)
        result.findsBest |= argument.kind == LaunchArgument::Kind::Best;
    return result;
  }
  result.symbol =
      reader.string(reader.member(value, "symbol"), path + ".symbol");
  if (!step) {
    result.inputs =
        readPorts(reader, reader.member(value, "inputs"), path + ".inputs");
    result.outputs =
        readPorts(reader, reader.member(value, "outputs"), path + ".outputs");
  }
  return result;
}

void readTarget(Reader &reader, const json &target, Manifest &manifest) {
  manifest.arch = reader.string(reader.member(target, "arch"), ".target.arch");
  if (manifest.arch == "cuda")
    manifest.chips =
        readChips(reader, reader.member(target, "chips"), ".target.chips");
  const json &cpu = reader.member(target, "cpu");
  const json &features = reader.member(target, "features");
  // Code for a GPU needs no CPU; code for the emulator may.
  if (!manifest.isForDevice() || !cpu.is_null())
    manifest.cpu = reader.string(cpu, ".target.cpu");
  if (!manifest.isForDevice() || !features.is_null())
    manifest.features = reader.strings(features, ".target.features");
}

StateInfo readState(Reader &reader, const json &value) {
  StateInfo state;
  state.maxContext = reader.integer(reader.member(value, "max_context"),
                                    ".state.max_context", 1, int64_t(1) << 40);
  state.vocabulary = reader.integer(reader.member(value, "vocabulary"),
                                    ".state.vocabulary", 1, int64_t(1) << 32);
  reader.array(
      reader.member(value, "caches"), ".state.caches",
      [&](const json &item, const std::string &at) {
        CacheInfo cache;
        cache.name = reader.string(reader.member(item, "name"), at + ".name");
        cache.dtype = reader.dtype(reader.member(item, "dtype"), at + ".dtype");
        cache.shape = reader.sizes(reader.member(item, "shape"), at + ".shape",
                                   byteSize(cache.dtype));
        state.caches.push_back(std::move(cache));
      });
  return state;
}

std::vector<KernelInfo> readKernels(Reader &reader, const json &value,
                                    const std::string &path) {
  std::vector<KernelInfo> kernels;
  reader.array(value, path, [&](const json &item, const std::string &at) {
    KernelInfo kernel;
    auto number = [&](const char *key) {
      return reader.integer(reader.member(item, key), at + "." + key, 0,
                            INT64_MAX);
    };
    kernel.entry = reader.string(reader.member(item, "entry"), at + ".entry");
    kernel.name = reader.string(reader.member(item, "name"), at + ".name");
    if (const json &tile = reader.member(item, "tile"); !tile.is_null())
      kernel.tile = reader.string(tile, at + ".tile");
    kernel.rows = number("rows");
    kernel.instructions = number("instructions");
    kernel.bytes = number("bytes");
    kernel.nanoseconds = number("nanoseconds");
    kernels.push_back(std::move(kernel));
  });
  return kernels;
}

std::vector<WeightInfo> readWeights(Reader &reader, const json &value) {
  std::vector<WeightInfo> weights;
  if (value.is_null())
    return weights;
  reader.array(value, ".weights", [&](const json &item, const std::string &at) {
    WeightInfo weight;
    weight.name = reader.string(reader.member(item, "name"), at + ".name");
    weight.scheme =
        reader.string(reader.member(item, "scheme"), at + ".scheme");
    weight.shape = reader.sizes(reader.member(item, "shape"), at + ".shape", 1);
    weight.bytes = reader.integer(reader.member(item, "bytes"), at + ".bytes",
                                  0, int64_t(1) << 48);
    weight.tensors =
        reader.strings(reader.member(item, "tensors"), at + ".tensors");
    if (const json &kernels = reader.member(item, "kernels");
        !kernels.is_null())
      weight.kernels = readKernels(reader, kernels, at + ".kernels");
    weights.push_back(std::move(weight));
  });
  return weights;
}

} // namespace

Result<Manifest> Manifest::parse(std::string_view text,
                                 const std::string &where) {
  Result<json> parsed = parseJsonObject(text, where + ": manifest");
  if (!parsed.ok())
    return parsed.status();
  const json &root = *parsed;
  Reader reader(where);
  Manifest manifest;

  int64_t abi = reader.integer(reader.member(root, "abi"), ".abi");
  if (reader.error.ok() && abi != GANQ_MODULE_ABI_VERSION)
    return Status(Code::Unsupported,
                  where + ": expected a model of ABI version " +
                      std::to_string(GANQ_MODULE_ABI_VERSION) + ", but got " +
                      std::to_string(abi) +
                      " (compile the model again with this version of ganq)");
  if (const json &value = reader.member(root, "generator"); !value.is_null())
    manifest.generator = reader.string(value, ".generator");

  readTarget(reader, reader.member(root, "target"), manifest);
  manifest.code = reader.string(reader.member(root, "code"), ".code");
  manifest.parameters =
      reader.strings(reader.member(root, "parameters"), ".parameters");

  const json &entries = reader.member(root, "entries");
  reader.expect(entries.is_object(), ".entries", "an object", entries);
  const json &state = reader.member(root, "state");
  if (!state.is_null())
    manifest.state = readState(reader, state);
  auto entry = [&](const char *key, EntryKind kind) {
    return readEntry(reader, entries, key, kind, manifest);
  };
  manifest.main = entry("main", EntryKind::Main);
  manifest.prefill = entry("prefill", EntryKind::Prefill);
  manifest.prompt = entry("prompt", EntryKind::Prompt);
  manifest.decode = entry("decode", EntryKind::Decode);
  reader.expect(manifest.main || manifest.decode, ".entries",
                "main or decode among the entries", entries);
  reader.expect(manifest.state.has_value() == manifest.decode.has_value() &&
                    (manifest.decode || !manifest.prefill),
                ".entries", "a state and a decode entry, or neither", entries);
  if (manifest.decode)
    reader.expect(manifest.decode->tokens == 1, ".entries.decode.tokens", "1",
                  manifest.decode->tokens);
  if (manifest.prompt)
    reader.expect(manifest.prefill &&
                      manifest.prompt->tokens == manifest.prefill->tokens,
                  ".entries.prompt.tokens", "as many tokens as prefill takes",
                  manifest.prompt->tokens);
  if (manifest.state && manifest.prefill)
    reader.expect(
        elementCount({manifest.prefill->tokens, manifest.state->vocabulary}, 4)
            .has_value(),
        ".entries.prefill.tokens", "a chunk whose logits fit into memory",
        manifest.prefill->tokens);

  manifest.weights = readWeights(reader, reader.member(root, "weights"));
  if (const json &bits = reader.member(root, "bits_per_weight");
      !bits.is_null()) {
    reader.expect(bits.is_number(), ".bits_per_weight", "a number", bits);
    if (bits.is_number())
      manifest.bitsPerWeight = bits.get<double>();
  }
  if (const json &file = reader.member(reader.member(root, "source"), "file");
      !file.is_null())
    manifest.sourceFile = reader.string(file, ".source.file");
  if (!reader.error.ok())
    return reader.error;
  return manifest;
}

int64_t Manifest::weightBytes() const {
  int64_t bytes = 0;
  for (const WeightInfo &weight : weights)
    bytes += weight.bytes;
  return bytes;
}

std::string toString(const Port &port) {
  std::string text = port.name + " " + name(port.dtype) + " [";
  for (size_t i = 0; i < port.shape.size(); ++i) {
    const Dimension &dimension = port.shape[i];
    text +=
        (i ? ", " : "") + (dimension.size >= 0 ? std::to_string(dimension.size)
                                               : dimension.symbol);
  }
  return text + "]";
}

std::map<std::string, std::string> modelMetadata(std::string_view manifest,
                                                 std::string_view code) {
  Sha256 sum;
  sum.update(manifest);
  sum.update(code);
  return {{"ganq.manifest", std::string(manifest)},
          {"ganq.checksum", sum.finish()}};
}

std::string sha256(std::string_view bytes) {
  Sha256 sum;
  sum.update(bytes);
  return sum.finish();
}

} // namespace ganq::runtime
