//===- Npy.cpp - Reader and writer of .npy files --------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/runtime/npy.h"
#include "Files.h"
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <unistd.h>
#include <utility>

namespace ganq::runtime {

namespace {

struct NpyType {
  const char *code;
  DType dtype;
};
constexpr NpyType npyTypes[] = {
    {"b1", DType::Bool}, {"u1", DType::U8},  {"i1", DType::I8},
    {"u2", DType::U16},  {"i2", DType::I16}, {"u4", DType::U32},
    {"i4", DType::I32},  {"u8", DType::U64}, {"i8", DType::I64},
    {"f2", DType::F16},  {"f4", DType::F32}, {"f8", DType::F64},
};

constexpr char magic[] = "\x93NUMPY";
constexpr size_t magicBytes = 6;

/// Reads the header's Python dictionary, of which only three keys are allowed.
class DictionaryParser {
public:
  explicit DictionaryParser(std::string_view text) : rest(text) {}

  /// False at the first thing that is not as numpy.lib.format describes it.
  bool parse(std::string &descr, bool &fortranOrder,
             std::vector<int64_t> &shape) {
    if (!eat('{'))
      return false;
    bool seen[3] = {};
    while (!eat('}')) {
      std::string key;
      if (!string(key) || !eat(':'))
        return false;
      int which = key == "descr"           ? 0
                  : key == "fortran_order" ? 1
                  : key == "shape"         ? 2
                                           : -1;
      if (which < 0 || std::exchange(seen[which], true))
        return false;
      bool good = which == 0   ? string(descr)
                  : which == 1 ? boolean(fortranOrder)
                               : tuple(shape);
      if (!good)
        return false;
      if (!eat(',') && (rest.empty() || rest.front() != '}'))
        return false;
    }
    skipSpace();
    return rest.empty() && seen[0] && seen[1] && seen[2];
  }

private:
  void skipSpace() {
    while (!rest.empty() && (rest.front() == ' ' || rest.front() == '\n'))
      rest.remove_prefix(1);
  }
  bool eat(char expected) {
    skipSpace();
    if (rest.empty() || rest.front() != expected)
      return false;
    rest.remove_prefix(1);
    skipSpace();
    return true;
  }
  bool word(std::string_view expected) {
    if (rest.substr(0, expected.size()) != expected)
      return false;
    rest.remove_prefix(expected.size());
    return true;
  }
  bool string(std::string &value) {
    skipSpace();
    if (rest.empty() || (rest.front() != '\'' && rest.front() != '"'))
      return false;
    size_t end = rest.find(rest.front(), 1);
    if (end == std::string_view::npos)
      return false;
    value = rest.substr(1, end - 1);
    rest.remove_prefix(end + 1);
    return true;
  }
  bool boolean(bool &value) {
    value = word("True");
    return value || word("False");
  }
  bool tuple(std::vector<int64_t> &values) {
    if (!eat('('))
      return false;
    while (!eat(')')) {
      int64_t value = 0;
      size_t digits = 0;
      for (; !rest.empty() && rest.front() >= '0' && rest.front() <= '9';
           ++digits, rest.remove_prefix(1))
        if (__builtin_mul_overflow(value, int64_t(10), &value) ||
            __builtin_add_overflow(value, int64_t(rest.front() - '0'), &value))
          return false;
      if (digits == 0)
        return false;
      values.push_back(value);
      if (!eat(',') && (rest.empty() || rest.front() != ')'))
        return false;
    }
    return true;
  }

  std::string_view rest;
};

Status readFully(int descriptor, char *data, int64_t bytes, int64_t offset,
                 const std::string &path) {
  while (bytes > 0) {
    ssize_t got = pread(descriptor, data, size_t(bytes), offset);
    if (got < 0 && errno == EINTR)
      continue;
    if (got <= 0)
      return systemError("read", path, got < 0 ? errno : EIO);
    data += got;
    bytes -= got;
    offset += got;
  }
  return Status();
}

Result<Tensor> readOpened(int descriptor, int64_t fileBytes,
                          const std::string &path) {
  auto invalid = [&](const std::string &message) {
    return Status(Code::InvalidFile, path + ": " + message);
  };
  unsigned char start[12] = {};
  if (fileBytes < int64_t(sizeof(start)))
    return invalid("expected a .npy file, but got " +
                   std::to_string(fileBytes) + " bytes");
  if (Status status = readFully(descriptor, reinterpret_cast<char *>(start),
                                sizeof(start), 0, path);
      !status.ok())
    return status;
  if (memcmp(start, magic, magicBytes) != 0)
    return invalid("expected a .npy file, but the first bytes are others");
  int version = start[6];
  if (version < 1 || version > 3)
    return invalid("expected .npy format version 1, 2 or 3, but got " +
                   std::to_string(version));
  int64_t headerStart = version == 1 ? 10 : 12;
  int64_t headerBytes = start[8] | start[9] << 8;
  if (version > 1)
    headerBytes |= int64_t(start[10]) << 16 | int64_t(start[11]) << 24;
  if (headerBytes > std::min<int64_t>(fileBytes - headerStart, 1 << 20))
    return invalid("expected a complete header, but it is cut short");
  std::string header(size_t(headerBytes), '\0');
  if (Status status =
          readFully(descriptor, header.data(), headerBytes, headerStart, path);
      !status.ok())
    return status;

  std::string descr;
  bool fortranOrder = false;
  std::vector<int64_t> shape;
  if (!DictionaryParser(header).parse(descr, fortranOrder, shape))
    return invalid("expected a header with descr, fortran_order and shape");
  const NpyType *type = nullptr;
  for (const NpyType &candidate : npyTypes)
    if (descr.size() == 3 && descr.substr(1) == candidate.code &&
        (descr[0] == '<' || descr[0] == '|' || descr[0] == '='))
      type = &candidate;
  if (!type)
    return invalid("expected little-endian bool, int, uint or float elements "
                   "of up to 8 bytes, but got '" +
                   descr.substr(0, 40) + "' (convert with numpy's astype)");
  if (fortranOrder && shape.size() > 1)
    return invalid("expected C order, but got Fortran order (convert with "
                   "numpy.ascontiguousarray)");
  int64_t dataStart = headerStart + headerBytes;
  std::optional<int64_t> count = elementCount(shape, byteSize(type->dtype));
  if (!count || *count * byteSize(type->dtype) != fileBytes - dataStart)
    return invalid("expected the data of shape " + toString(shape) +
                   " of type " + name(type->dtype) + ", but got " +
                   std::to_string(fileBytes - dataStart) + " bytes");
  Result<Tensor> tensor = Tensor::create(type->dtype, std::move(shape));
  if (!tensor.ok())
    return tensor;
  if (Status status = readFully(descriptor, tensor->data.data(),
                                tensor->data.size(), dataStart, path);
      !status.ok())
    return status;
  return tensor;
}

} // namespace

Result<Tensor> readNpy(const std::string &path) {
  int64_t bytes = 0;
  Result<int> descriptor = openRegularFile(path, bytes);
  if (!descriptor.ok())
    return descriptor.status();
  Result<Tensor> tensor = readOpened(*descriptor, bytes, path);
  close(*descriptor);
  return tensor;
}

Status writeNpy(const std::string &path, DType dtype,
                const std::vector<int64_t> &shape, const void *data) {
  const NpyType *type = nullptr;
  for (const NpyType &candidate : npyTypes)
    if (candidate.dtype == dtype)
      type = &candidate;
  std::optional<int64_t> count = elementCount(shape, byteSize(dtype));
  if (!type || !count)
    return Status(Code::InvalidArgument, path + ": a .npy file cannot hold " +
                                             name(dtype) + " " +
                                             toString(shape));
  std::string tuple;
  for (int64_t size : shape)
    tuple += std::to_string(size) + ",";
  std::string header = std::string("{'descr': '") +
                       (byteSize(dtype) == 1 ? '|' : '<') + type->code +
                       "', 'fortran_order': False, 'shape': (" + tuple + "), }";
  bool wide = header.size() > 65000;
  size_t prefix = wide ? 12 : 10;
  // The format asks for data at a multiple of 64 and a final newline.
  header.resize((prefix + header.size() + 64) / 64 * 64 - prefix - 1, ' ');
  header += '\n';
  std::string start(magic, magicBytes);
  start += wide ? '\2' : '\1';
  start += '\0';
  for (size_t i = 0; i < prefix - 8; ++i)
    start += char(header.size() >> (8 * i));
  start += header;

  std::string temporary;
  Result<int> descriptor = createTemporary(path, temporary);
  if (!descriptor.ok())
    return descriptor.status();
  Status status =
      writeFully(*descriptor, start.data(), int64_t(start.size()), 0, path);
  if (status.ok())
    status = writeFully(*descriptor, static_cast<const char *>(data),
                        *count * byteSize(dtype), int64_t(start.size()), path);
  if (!status.ok()) {
    close(*descriptor);
    unlink(temporary.c_str());
    return status;
  }
  return closeAndRename(*descriptor, temporary, path);
}

} // namespace ganq::runtime
