//===- Print.cpp - printf of kernels --------------------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Block.h"
#include <cstdio>
#include <cstring>
#include <mutex>

using namespace ganq::simt;

/// Reads values as the caller of vprintf laid them out: each at its natural
/// alignment.
namespace {
struct Values {
  const char *data;
  size_t used = 0;

  template <typename T> T next() {
    used = (used + sizeof(T) - 1) / sizeof(T) * sizeof(T);
    T value;
    memcpy(&value, data + used, sizeof(T));
    used += sizeof(T);
    return value;
  }
};
} // namespace

int32_t ganq_simt_print(ganq_simt_lane *, const char *format,
                        const void *values) {
  static std::mutex mutex; // Lines of two blocks stay whole.
  mutex.lock();
  Values arguments{static_cast<const char *>(values)};
  int32_t count = 0;
  while (*format) {
    size_t plain = strcspn(format, "%");
    fwrite(format, 1, plain, stdout);
    format += plain;
    if (!*format)
      break;
    if (format[1] == '%') {
      fputc('%', stdout);
      format += 2;
      continue;
    }
    size_t length = 1 + strspn(format + 1, "-+ #0123456789.");
    size_t flags = length;
    length += strspn(format + length, "hlzjt");
    bool wide = memchr(format + flags, 'l', length - flags) ||
                memchr(format + flags, 'z', length - flags) ||
                memchr(format + flags, 'j', length - flags) ||
                memchr(format + flags, 't', length - flags);
    char conversion = format[length];
    char one[32];
    if (!conversion || flags + 4 > sizeof(one))
      break;
    memcpy(one, format, flags);
    format += length + 1;
    ++count;
    auto finish = [&](const char *rest) { strcpy(one + flags, rest); };
    char text[2] = {conversion, 0}, longText[4] = {'l', 'l', conversion, 0};
    switch (conversion) {
    case 'd':
    case 'i':
    case 'u':
    case 'o':
    case 'x':
    case 'X':
      finish(wide ? longText : text);
      if (wide)
        fprintf(stdout, one, arguments.next<long long>());
      else
        fprintf(stdout, one, arguments.next<int>());
      break;
    case 'c':
      finish(text);
      fprintf(stdout, one, arguments.next<int>());
      break;
    case 'e':
    case 'E':
    case 'f':
    case 'F':
    case 'g':
    case 'G':
    case 'a':
    case 'A':
      finish(text);
      fprintf(stdout, one, arguments.next<double>());
      break;
    case 's':
      finish(text);
      fprintf(stdout, one, arguments.next<const char *>());
      break;
    case 'p':
      finish(text);
      fprintf(stdout, one, arguments.next<void *>());
      break;
    default:
      count = -1;
    }
  }
  mutex.unlock();
  return count;
}
