//===- Print.cpp - printf of kernels --------------------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Block.h"
#include <cstdio>
#include <cstring>

using namespace ganq::simt;

/// Reads values as the caller of vprintf laid them out: each at its natural
/// alignment.
namespace {
struct Values {
  const char *data;
  uint64_t bytes;
  size_t used = 0;

  template <typename T> bool has() const {
    uint64_t end = (used + sizeof(T) - 1) / sizeof(T) * sizeof(T) + sizeof(T);
    return end <= bytes;
  }

  template <typename T> T next() {
    used = (used + sizeof(T) - 1) / sizeof(T) * sizeof(T);
    T value;
    memcpy(&value, data + used, sizeof(T));
    used += sizeof(T);
    return value;
  }
};
} // namespace

/// Prints values as a format says to standard output, which is locked for that
/// long: a failure, which does not return, unlocks it.
namespace {
class Printer {
public:
  Printer(Lane &lane, Values values, uint32_t place)
      : lane(lane), values(values), place(place) {}

  int32_t print(const char *format);

private:
  template <typename T> T next(const char *conversion) {
    if (!values.has<T>()) {
      funlockfile(stdout);
      lane.owner->fail(lane, place,
                       "expected a value for `%s` of printf, but got %llu "
                       "bytes of values",
                       conversion, (unsigned long long)values.bytes);
    }
    return values.next<T>();
  }
  const char *nextText();

  Lane &lane;
  Values values;
  uint32_t place;
};
} // namespace

/// A text must end within a buffer of the device.
const char *Printer::nextText() {
  auto *text = next<const char *>("%s");
  auto address = reinterpret_cast<uint64_t>(text);
  const Buffer *buffer = findBuffer(*lane.owner->getLaunch().buffers, address);
  if (!buffer || !memchr(text, 0, buffer->begin + buffer->bytes - address)) {
    funlockfile(stdout);
    lane.owner->fail(lane, place,
                     "expected the address of a text that ends in its buffer "
                     "for `%%s` of printf, but got 0x%llx",
                     (unsigned long long)address);
  }
  return text;
}

int32_t Printer::print(const char *format) {
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
        fprintf(stdout, one, next<long long>(one));
      else
        fprintf(stdout, one, next<int>(one));
      break;
    case 'c':
      finish(text);
      fprintf(stdout, one, next<int>(one));
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
      fprintf(stdout, one, next<double>(one));
      break;
    case 's':
      finish(text);
      fprintf(stdout, one, nextText());
      break;
    case 'p':
      finish(text);
      fprintf(stdout, one, next<void *>(one));
      break;
    default:
      count = -1;
    }
  }
  return count;
}

int32_t ganq_simt_print(ganq_simt_lane *lane, const char *format,
                        const void *values, uint64_t bytes, uint32_t place) {
  Printer printer(*static_cast<Lane *>(lane),
                  {static_cast<const char *>(values), bytes}, place);
  // Lines of two blocks stay whole.
  flockfile(stdout);
  int32_t count = printer.print(format);
  funlockfile(stdout);
  return count;
}
