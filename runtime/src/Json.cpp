//===- Json.cpp - Strict parsing of JSON text -----------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Json.h"
#include <set>
#include <stdexcept>
#include <vector>

namespace ganq::runtime {

using nlohmann::json;

Result<json> parseJsonObject(std::string_view text, const std::string &what) {
  auto invalid = [&](const std::string &message) {
    return Status(Code::InvalidFile, what + ": " + message);
  };
  if (text.empty() || text.front() != '{')
    return invalid("expected a JSON object, but got other text");

  std::vector<std::set<std::string>> keys;
  int depth = 0;
  auto check = [&](int, json::parse_event_t event, json &parsed) {
    switch (event) {
    case json::parse_event_t::object_start:
      keys.emplace_back();
      [[fallthrough]];
    case json::parse_event_t::array_start:
      if (++depth > 64)
        throw std::runtime_error("expected at most 64 levels of nesting");
      break;
    case json::parse_event_t::object_end:
      keys.pop_back();
      [[fallthrough]];
    case json::parse_event_t::array_end:
      --depth;
      break;
    case json::parse_event_t::key:
      if (!keys.back().insert(parsed.get_ref<const std::string &>()).second)
        throw std::runtime_error("the key " + excerpt(parsed) +
                                 " stands twice in one object");
      break;
    default:
      break;
    }
    return true;
  };
  try {
    return json::parse(text, check);
  } catch (const json::parse_error &error) {
    return invalid("expected valid JSON, but there is an error at byte " +
                   std::to_string(error.byte));
  } catch (const std::runtime_error &error) {
    return invalid(error.what());
  } catch (const json::exception &) {
    return invalid("expected valid JSON with numbers in range");
  }
}

std::string excerpt(const json &value) {
  std::string text = value.dump(-1, ' ', true, json::error_handler_t::replace);
  if (text.size() > 60)
    text = text.substr(0, 57) + "...";
  return text;
}

} // namespace ganq::runtime
