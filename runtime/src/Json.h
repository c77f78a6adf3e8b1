//===- Json.h - Strict parsing of JSON text -------------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_RUNTIME_SRC_JSON_H
#define GANQ_RUNTIME_SRC_JSON_H

#include "ganq/runtime/status.h"
#include <nlohmann/json.hpp>
#include <string_view>

namespace ganq::runtime {

/// Parses a JSON text that must be an object. Refuses a key that stands twice
/// in one object and nesting beyond 64 levels. `what` names the text in errors.
Result<nlohmann::json> parseJsonObject(std::string_view text,
                                       const std::string &what);

/// The value shortened for an error message.
std::string excerpt(const nlohmann::json &value);

} // namespace ganq::runtime

#endif // GANQ_RUNTIME_SRC_JSON_H
