//===- DeviceTestModel.cpp - The model by hand, for devices ---------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "DeviceTestModel.h"
#include <cstring>
#include <elf.h>

namespace ganq::runtime::test {

using nlohmann::json;

/// What FakeCuda.c takes for the code of a chip: an ELF file whose sections are
/// a text.
static std::string fakeCubin(const std::string &chip) {
  std::string text = "cubin " + chip;
  Elf64_Ehdr header = {};
  memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = ELFCLASS64;
  header.e_machine = EM_CUDA;
  header.e_shoff = sizeof(header);
  header.e_shnum = Elf64_Half(text.size());
  header.e_shentsize = 1;
  return std::string(reinterpret_cast<const char *>(&header), sizeof(header)) +
         text;
}

std::string deviceCode(const std::string &arch) {
  return arch == "emulator" ? readFile(GANQ_FAKE_DEVICE_MODULE)
                            : fakeCubin("sm_80") + fakeCubin("sm_90a");
}

static json launch(const char *kernel, int64_t blocks, json args) {
  return {{"kernel", kernel},
          {"grid", {blocks, 1, 1}},
          {"block", {1, 1, 1}},
          {"shared", 0},
          {"args", std::move(args)}};
}

/// States go to the arena at `states`, behind bytes that nobody uses.
static json entry(int64_t tokens, int64_t states, bool prompt) {
  json embed = {
      {"tokens"}, {"past"}, {"parameter", 0, 0}, {"cache", 0}, {"i32", 2}};
  json state = {{"past"}, {"cache", 0}, {"f32", 0.5}, {"arena", states}};
  json head = {{"arena", states},
               {"parameter", 1, 0},
               {"parameter", 2, 0},
               {"i64", 16},
               {"logits"}};
  if (prompt)
    head.push_back({"row"});
  return {{"tokens", tokens},
          {"arena", states + 8 * tokens},
          {"launches",
           {launch("embed", tokens, embed), launch("state", tokens, state),
            prompt ? launch("head_of_row", 1, head)
                   : launch("head", tokens, head)}}};
}

json deviceManifest(const std::string &arch) {
  json manifest = testManifest();
  manifest["target"] = {{"arch", arch}};
  if (arch == "cuda") {
    int64_t first = int64_t(fakeCubin("sm_80").size());
    int64_t second = int64_t(fakeCubin("sm_90a").size());
    manifest["target"]["chips"] = {
        {{"chip", "sm_80"}, {"offset", 0}, {"bytes", first}},
        {{"chip", "sm_90a"}, {"offset", first}, {"bytes", second}}};
  }
  manifest["entries"] = {{"prefill", entry(4, 256, false)},
                         {"prompt", entry(4, 512, true)},
                         {"decode", entry(1, 64, false)}};
  return manifest;
}

json argmaxManifest(const std::string &arch) {
  json manifest = deviceManifest(arch);
  for (const char *entry : {"prompt", "decode"})
    manifest["entries"][entry]["launches"].push_back(
        launch("argmax", 1, {{"logits"}, {"best"}, {"i32", 16}}));
  return manifest;
}

} // namespace ganq::runtime::test
