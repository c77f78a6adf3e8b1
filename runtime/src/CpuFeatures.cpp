//===- CpuFeatures.cpp - What the CPU can do ------------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/runtime/model.h"
#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace ganq::runtime {

#if defined(__x86_64__)

namespace {

enum Register { EAX, EBX, ECX, EDX };

/// State that the operating system must save for the feature to be usable:
/// bits of XCR0.
enum State : uint32_t { Always = 0, Avx = 0x6, Avx512 = 0xe6, Amx = 0x60000 };

struct Feature {
  const char *name; ///< LLVM's
  uint32_t leaf, subleaf;
  Register reg;
  unsigned bit;
  State state;
};

// Intel SDM volume 2, CPUID; AMD APM volume 3, appendix E.
constexpr Feature features[] = {
    {"sse3", 1, 0, ECX, 0, Always},
    {"pclmul", 1, 0, ECX, 1, Always},
    {"ssse3", 1, 0, ECX, 9, Always},
    {"fma", 1, 0, ECX, 12, Avx},
    {"cx16", 1, 0, ECX, 13, Always},
    {"sse4.1", 1, 0, ECX, 19, Always},
    {"sse4.2", 1, 0, ECX, 20, Always},
    {"crc32", 1, 0, ECX, 20, Always},
    {"movbe", 1, 0, ECX, 22, Always},
    {"popcnt", 1, 0, ECX, 23, Always},
    {"aes", 1, 0, ECX, 25, Always},
    {"xsave", 1, 0, ECX, 27, Always},
    {"avx", 1, 0, ECX, 28, Avx},
    {"f16c", 1, 0, ECX, 29, Avx},
    {"rdrnd", 1, 0, ECX, 30, Always},
    {"x87", 1, 0, EDX, 0, Always},
    {"cx8", 1, 0, EDX, 8, Always},
    {"cmov", 1, 0, EDX, 15, Always},
    {"mmx", 1, 0, EDX, 23, Always},
    {"fxsr", 1, 0, EDX, 24, Always},
    {"sse", 1, 0, EDX, 25, Always},
    {"sse2", 1, 0, EDX, 26, Always},
    {"fsgsbase", 7, 0, EBX, 0, Always},
    {"sgx", 7, 0, EBX, 2, Always},
    {"bmi", 7, 0, EBX, 3, Always},
    {"avx2", 7, 0, EBX, 5, Avx},
    {"bmi2", 7, 0, EBX, 8, Always},
    {"invpcid", 7, 0, EBX, 10, Always},
    {"rtm", 7, 0, EBX, 11, Always},
    {"avx512f", 7, 0, EBX, 16, Avx512},
    {"avx512dq", 7, 0, EBX, 17, Avx512},
    {"rdseed", 7, 0, EBX, 18, Always},
    {"adx", 7, 0, EBX, 19, Always},
    {"avx512ifma", 7, 0, EBX, 21, Avx512},
    {"clflushopt", 7, 0, EBX, 23, Always},
    {"clwb", 7, 0, EBX, 24, Always},
    {"avx512cd", 7, 0, EBX, 28, Avx512},
    {"sha", 7, 0, EBX, 29, Always},
    {"avx512bw", 7, 0, EBX, 30, Avx512},
    {"avx512vl", 7, 0, EBX, 31, Avx512},
    {"avx512vbmi", 7, 0, ECX, 1, Avx512},
    {"pku", 7, 0, ECX, 4, Always},
    {"waitpkg", 7, 0, ECX, 5, Always},
    {"avx512vbmi2", 7, 0, ECX, 6, Avx512},
    {"shstk", 7, 0, ECX, 7, Always},
    {"gfni", 7, 0, ECX, 8, Always},
    {"vaes", 7, 0, ECX, 9, Avx},
    {"vpclmulqdq", 7, 0, ECX, 10, Avx},
    {"avx512vnni", 7, 0, ECX, 11, Avx512},
    {"avx512bitalg", 7, 0, ECX, 12, Avx512},
    {"avx512vpopcntdq", 7, 0, ECX, 14, Avx512},
    {"rdpid", 7, 0, ECX, 22, Always},
    {"cldemote", 7, 0, ECX, 25, Always},
    {"movdiri", 7, 0, ECX, 27, Always},
    {"movdir64b", 7, 0, ECX, 28, Always},
    {"enqcmd", 7, 0, ECX, 29, Always},
    {"uintr", 7, 0, EDX, 5, Always},
    {"avx512vp2intersect", 7, 0, EDX, 8, Avx512},
    {"serialize", 7, 0, EDX, 14, Always},
    {"tsxldtrk", 7, 0, EDX, 16, Always},
    {"pconfig", 7, 0, EDX, 18, Always},
    {"amx-bf16", 7, 0, EDX, 22, Amx},
    {"avx512fp16", 7, 0, EDX, 23, Avx512},
    {"amx-tile", 7, 0, EDX, 24, Amx},
    {"amx-int8", 7, 0, EDX, 25, Amx},
    {"sha512", 7, 1, EAX, 0, Avx},
    {"avxvnni", 7, 1, EAX, 4, Avx},
    {"avx512bf16", 7, 1, EAX, 5, Avx512},
    {"amx-fp16", 7, 1, EAX, 21, Amx},
    {"hreset", 7, 1, EAX, 22, Always},
    {"avxifma", 7, 1, EAX, 23, Avx},
    {"avxvnniint8", 7, 1, EDX, 4, Avx},
    {"avxneconvert", 7, 1, EDX, 5, Avx},
    {"amx-complex", 7, 1, EDX, 8, Amx},
    {"avxvnniint16", 7, 1, EDX, 10, Avx},
    {"prefetchi", 7, 1, EDX, 14, Always},
    {"xsaveopt", 13, 1, EAX, 0, Always},
    {"xsavec", 13, 1, EAX, 1, Always},
    {"xsaves", 13, 1, EAX, 3, Always},
    {"ptwrite", 20, 0, EBX, 4, Always},
    {"sahf", 0x80000001, 0, ECX, 0, Always},
    {"lzcnt", 0x80000001, 0, ECX, 5, Always},
    {"sse4a", 0x80000001, 0, ECX, 6, Always},
    {"prfchw", 0x80000001, 0, ECX, 8, Always},
    {"xop", 0x80000001, 0, ECX, 11, Avx},
    {"fma4", 0x80000001, 0, ECX, 16, Avx},
    {"tbm", 0x80000001, 0, ECX, 21, Always},
    {"mwaitx", 0x80000001, 0, ECX, 29, Always},
    {"64bit", 0x80000001, 0, EDX, 29, Always},
    {"clzero", 0x80000008, 0, EBX, 0, Always},
    {"rdpru", 0x80000008, 0, EBX, 4, Always},
    {"wbnoinvd", 0x80000008, 0, EBX, 9, Always},
};

/// Bits of XCR0; none without the XGETBV instruction.
uint32_t savedState() {
  unsigned eax, ebx, ecx, edx;
  if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || !(ecx & 1u << 27))
    return 0;
  uint32_t low, high;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low;
}

bool hasFeature(const Feature &feature) {
  unsigned registers[4] = {};
  if (!__get_cpuid_count(feature.leaf, feature.subleaf, &registers[EAX],
                         &registers[EBX], &registers[ECX], &registers[EDX]))
    return false;
  return (registers[feature.reg] >> feature.bit & 1) &&
         (savedState() & feature.state) == feature.state;
}

/// Linux gives tile registers to processes that ask (Documentation/arch/x86/
/// xstate.rst), for all of their threads.
bool requestTiles() {
  constexpr long kRequestPermission = 0x1023, kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

} // namespace

std::string missingCpuFeature(const std::vector<std::string> &required) {
  for (const std::string &name : required) {
    const Feature *known = nullptr;
    for (const Feature &feature : features)
      if (name == feature.name)
        known = &feature;
    if (!known)
      return "the CPU feature '" + name +
             "', which this version of the runtime does not know";
    if (!hasFeature(*known))
      return "the CPU feature '" + name + "', which this machine lacks";
    if (known->state == Amx && !requestTiles())
      return "the CPU feature '" + name +
             "', which the operating system does not give to this process, "
             "or not with a signal stack as small as it has; compile with "
             "--cpu=x86-64-v4";
  }
  return "";
}

#else

std::string missingCpuFeature(const std::vector<std::string> &required) {
  return required.empty() ? "" : "an x86-64 CPU";
}

#endif

} // namespace ganq::runtime
