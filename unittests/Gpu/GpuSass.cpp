//===- GpuSass.cpp - Machine code of kernels ------------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "GpuSass.h"
#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/ScopeExit.h"
#include "llvm/ADT/SmallString.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Program.h"
#include "llvm/Support/raw_ostream.h"

using namespace ganq;
using namespace llvm;

bool ganq::hasDisassembler() { return StringRef(GANQ_NVDISASM) != ""; }

Expected<std::string> ganq::disassemble(const Cubin &cubin) {
  SmallString<128> image, text;
  int descriptor;
  if (sys::fs::createTemporaryFile("ganq", "cubin", descriptor, image) ||
      sys::fs::createTemporaryFile("ganq", "sass", text))
    return createStringError("cannot create temporary files");
  scope_exit cleanup([&] {
    sys::fs::remove(image);
    sys::fs::remove(text);
  });
  raw_fd_ostream(descriptor, /*shouldClose=*/true)
      .write(cubin.image.data(), cubin.image.size());
  StringRef args[] = {GANQ_NVDISASM, "-c", image};
  std::optional<StringRef> redirects[] = {StringRef(""), StringRef(text),
                                          StringRef(text)};
  int status =
      sys::ExecuteAndWait(GANQ_NVDISASM, args, std::nullopt, redirects);
  auto buffer = MemoryBuffer::getFile(text);
  if (status != 0 || !buffer)
    return createStringError("nvdisasm failed: " +
                             (buffer ? (*buffer)->getBuffer() : ""));
  return (*buffer)->getBuffer().str();
}

static bool multiplies(StringRef opcode) {
  return is_contained({"HMMA", "IMMA", "BMMA", "IDP"}, opcode);
}

/// Loads, stores and waits on them, and control flow.
static bool isOther(StringRef opcode) {
  static const StringRef kOthers[] = {
      "LDG",  "LDS", "LDSM", "STS",      "STG",    "LDGSTS", "LDGDEPBAR",
      "BAR",  "BRA", "EXIT", "NOP",      "DEPBAR", "BSSY",   "BSYNC",
      "ULDC", "LDC", "LDCU", "WARPSYNC", "CALL",   "RET"};
  return multiplies(opcode) || is_contained(kOthers, opcode);
}

std::optional<InnerLoop> ganq::findInnerLoop(StringRef sass) {
  SmallVector<StringRef> opcodes;
  SmallVector<size_t> blocks; // Of each instruction, their numbers.
  DenseSet<size_t> byHalves;  // Blocks.
  size_t block = 0;
  StringMap<size_t> labels;
  std::optional<std::pair<size_t, size_t>> best;
  for (StringRef line : split(sass, '\n')) {
    line = line.trim();
    if (line.starts_with(".L_") && line.ends_with(":")) {
      labels[line.drop_back()] = opcodes.size();
      ++block;
      continue;
    }
    if (!line.consume_front("/*"))
      continue;
    line = line.split("*/").second.ltrim();
    // A predicate may stand in front.
    if (line.starts_with("@"))
      line = line.split(' ').second.ltrim();
    StringRef opcode = line.take_while(
        [](char c) { return isUpper(c) || isDigit(c) || c == '_'; });
    if (opcode.empty())
      continue;
    opcodes.push_back(opcode);
    blocks.push_back(block);
    if (line.starts_with("STS.U16"))
      byHalves.insert(block);
    if (opcode != "BRA")
      continue;
    ++block;
    size_t at = line.find(".L_");
    if (at == StringRef::npos)
      continue;
    auto label = labels.find(line.substr(at).split(')').first);
    if (label == labels.end())
      continue;
    size_t first = label->second, end = opcodes.size();
    bool found =
        any_of(ArrayRef(opcodes).slice(first, end - first), multiplies);
    if (found && (!best || end - first < best->second - best->first))
      best = {first, end};
  }
  if (!best)
    return std::nullopt;
  InnerLoop loop;
  for (size_t n = best->first; n < best->second; ++n) {
    StringRef opcode = opcodes[n];
    if (byHalves.contains(blocks[n]))
      continue;
    ++loop.opcodes[opcode.str()];
    ++loop.total;
    loop.arithmetic += !isOther(opcode);
    loop.sharedLoads += opcode == "LDS";
  }
  return loop;
}
