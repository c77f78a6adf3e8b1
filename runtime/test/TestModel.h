//===- TestModel.h - A compiled model made by hand ------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_RUNTIME_TEST_TESTMODEL_H
#define GANQ_RUNTIME_TEST_TESTMODEL_H

#include "ganq/runtime/manifest.h"
#include "ganq/runtime/safetensors.h"
#include <cstdlib>
#include <fstream>
#include <functional>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sstream>

namespace ganq::runtime::test {

/// A folder that goes away with the object.
class TemporaryFolder {
public:
  TemporaryFolder() {
    std::string pattern = ::testing::TempDir() + "ganq-XXXXXX";
    path = mkdtemp(pattern.data());
  }
  ~TemporaryFolder() {
    std::string command = "rm -rf '" + path + "'";
    if (system(command.c_str()) != 0)
      ADD_FAILURE() << command;
  }
  std::string operator/(const std::string &name) const {
    return path + "/" + name;
  }
  /// Names of the files within, hidden ones too.
  std::vector<std::string> files() const;

  std::string path;
};

inline std::string readFile(const std::string &path) {
  std::ifstream stream(path, std::ios::binary);
  std::ostringstream text;
  text << stream.rdbuf();
  return text.str();
}

inline void writeFile(const std::string &path, const std::string &bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

/// Overwrites one byte.
inline void patchFile(const std::string &path, size_t offset, char byte) {
  std::fstream stream(path, std::ios::binary | std::ios::in | std::ios::out);
  stream.seekp(std::streamoff(offset));
  stream.put(byte);
}

/// The manifest that fits FakeModule.c.
nlohmann::json testManifest();

/// Writes a model of this manifest around FakeModule.c (or `code`).
void packModel(const std::string &path, const nlohmann::json &manifest,
               const std::string *code = nullptr);

/// The logits of FakeModule.c after these tokens, computed here.
std::vector<float> expectedLogits(const std::vector<int64_t> &tokens);

constexpr int64_t testVocabulary = 16;
constexpr int64_t testContext = 10;

} // namespace ganq::runtime::test

#endif // GANQ_RUNTIME_TEST_TESTMODEL_H
