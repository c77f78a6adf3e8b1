//===- ManifestReader.h - Checked values out of a manifest ------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_RUNTIME_SRC_MANIFESTREADER_H
#define GANQ_RUNTIME_SRC_MANIFESTREADER_H

#include "Json.h"
#include "ganq/runtime/tensor.h"

namespace ganq::runtime {

/// Reads values out of the JSON tree. The first thing that is not as expected
/// becomes `error`, with its path; from then on every read gives a default.
class ManifestReader {
public:
  using json = nlohmann::json;

  explicit ManifestReader(std::string where) : where(std::move(where)) {}

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

private:
  std::string where;
};

} // namespace ganq::runtime

#endif // GANQ_RUNTIME_SRC_MANIFESTREADER_H
