//===- Manifest.cpp - What a .ganq file says about itself -----------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/runtime/manifest.h"
#include "Json.h"
#include "Sha256.h"
#include "ganq/module_abi.h"

namespace ganq::runtime {

using nlohmann::json;

namespace {

/// Reads values out of the JSON tree. The first thing that is not as expected
/// becomes `error`, with its path; from then on every read gives a default.
class Reader {
public:
  explicit Reader(std::string where) : where(std::move(where)) {}

  Status error;

  void expect(bool good, const std::string &path, const std::string &wanted,
              const json &got) {
    if (!good && error.ok())
      error = Status(Code::InvalidFile, where + ": manifest" + path +
                                            ": expected " + wanted +
                                            ", but got " + excerpt(got));
  }

  /// A member; null (JSON) if it is absent.
  const json &member(const json &object, const std::string &key) {
    static const json absent;
    if (!object.is_object() || !object.contains(key))
      return absent;
    return object[key];
  }

  std::string string(const json &value, const std::string &path) {
    expect(value.is_string(), path, "a string", value);
    return value.is_string() ? value.get<std::string>() : "";
  }

  /// An integer within [low, high].
  int64_t integer(const json &value, const std::string &path, int64_t low = 0,
                  int64_t high = INT64_MAX) {
    bool good = value.is_number_integer() &&
                (!value.is_number_unsigned() ||
                 value.get<uint64_t>() <= uint64_t(INT64_MAX));
    int64_t number = good ? value.get<int64_t>() : low;
    good = good && number >= low && number <= high;
    expect(good, path,
           "an integer from " + std::to_string(low) +
               (high == INT64_MAX ? " on" : " to " + std::to_string(high)),
           value);
    return good ? number : low;
  }

  DType dtype(const json &value, const std::string &path) {
    std::optional<DType> type;
    if (value.is_string())
      type = parseDType(value.get_ref<const std::string &>());
    expect(type.has_value(), path, "a dtype such as \"F32\"", value);
    return type.value_or(DType::F32);
  }

  /// Calls `element(value, path)` for each element of an array.
  template <typename Element>
  void array(const json &value, const std::string &path, Element element) {
    expect(value.is_array(), path, "an array", value);
    if (!value.is_array())
      return;
    for (size_t i = 0; i < value.size() && error.ok(); ++i)
      element(value[i], path + "[" + std::to_string(i) + "]");
  }

  std::vector<std::string> strings(const json &value, const std::string &path) {
    std::vector<std::string> result;
    array(value, path, [&](const json &text, const std::string &at) {
      result.push_back(string(text, at));
    });
    return result;
  }

  /// Static sizes whose product in elements of `elementBytes` is representable.
  std::vector<int64_t> sizes(const json &value, const std::string &path,
                             int64_t elementBytes) {
    std::vector<int64_t> result;
    array(value, path, [&](const json &size, const std::string &at) {
      result.push_back(integer(size, at, 1));
    });
    expect(elementCount(result, elementBytes).has_value(), path,
           "a shape whose size in bytes fits into 63 bits", value);
    return result;
  }

  std::vector<Port> ports(const json &value, const std::string &path) {
    std::vector<Port> result;
    array(value, path, [&](const json &item, const std::string &at) {
      Port port;
      port.name = string(member(item, "name"), at + ".name");
      port.dtype = dtype(member(item, "dtype"), at + ".dtype");
      array(member(item, "shape"), at + ".shape",
            [&](const json &size, const std::string &where) {
              Dimension dimension;
              if (size.is_string())
                dimension.symbol = size.get<std::string>();
              else
                dimension.size = integer(size, where);
              port.shape.push_back(dimension);
            });
      for (const Port &other : result)
        expect(other.name != port.name, at + ".name", "a new name", port.name);
      result.push_back(std::move(port));
    });
    return result;
  }

  /// An entry, or nothing if it is absent.
  std::optional<Entry> entry(const json &entries, const std::string &key,
                             bool step) {
    const json &value = member(entries, key);
    if (value.is_null())
      return std::nullopt;
    std::string path = ".entries." + key;
    Entry result;
    result.symbol = string(member(value, "symbol"), path + ".symbol");
    if (const json &arena = member(value, "arena"); !arena.is_null())
      result.arena = integer(arena, path + ".arena", 0, int64_t(1) << 48);
    if (step) {
      result.tokens =
          integer(member(value, "tokens"), path + ".tokens", 1, 1 << 20);
    } else {
      result.inputs = ports(member(value, "inputs"), path + ".inputs");
      result.outputs = ports(member(value, "outputs"), path + ".outputs");
    }
    return result;
  }

private:
  std::string where;
};

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

  const json &target = reader.member(root, "target");
  manifest.arch = reader.string(reader.member(target, "arch"), ".target.arch");
  manifest.cpu = reader.string(reader.member(target, "cpu"), ".target.cpu");
  manifest.features =
      reader.strings(reader.member(target, "features"), ".target.features");
  manifest.code = reader.string(reader.member(root, "code"), ".code");
  manifest.parameters =
      reader.strings(reader.member(root, "parameters"), ".parameters");

  const json &entries = reader.member(root, "entries");
  reader.expect(entries.is_object(), ".entries", "an object", entries);
  manifest.main = reader.entry(entries, "main", /*step=*/false);
  manifest.prefill = reader.entry(entries, "prefill", /*step=*/true);
  manifest.prompt = reader.entry(entries, "prompt", /*step=*/true);
  manifest.decode = reader.entry(entries, "decode", /*step=*/true);
  reader.expect(manifest.main || manifest.decode, ".entries",
                "main or decode among the entries", entries);
  const json &state = reader.member(root, "state");
  if (!state.is_null())
    manifest.state = readState(reader, state);
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
