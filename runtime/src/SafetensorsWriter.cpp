//===- SafetensorsWriter.cpp - Streaming writer of safetensors files ------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Files.h"
#include "Json.h"
#include "ganq/runtime/safetensors.h"
#include <cerrno>
#include <fcntl.h>
#include <unistd.h>

namespace ganq::runtime {

using nlohmann::json;

static constexpr int64_t lengthBytes = 8;
static constexpr int64_t pageBytes = 4096;
static constexpr int64_t tensorAlignment = 64;
static constexpr int64_t maxHeaderBytes = 100'000'000;

SafetensorsWriter::SafetensorsWriter(std::string path)
    : target(std::move(path)) {}

SafetensorsWriter::~SafetensorsWriter() {
  if (descriptor >= 0) {
    close(descriptor);
    unlink(temporary.c_str());
  }
}

Status SafetensorsWriter::fail(Code code, std::string message) {
  error = Status(code, target + ": " + message);
  return error;
}

Status SafetensorsWriter::declare(const std::string &name, DType dtype,
                                  std::vector<int64_t> shape) {
  if (!error.ok())
    return error;
  if (laidOut)
    return fail(Code::InvalidArgument,
                "tensor '" + name + "' is declared after begin()");
  if (name == "__metadata__" || index.count(name))
    return fail(Code::InvalidArgument,
                "expected a new tensor name, but got '" + name + "'");
  std::optional<int64_t> count = elementCount(shape, byteSize(dtype));
  if (!count)
    return fail(Code::InvalidArgument,
                "tensor '" + name +
                    "': expected a shape whose size in bytes "
                    "fits into 63 bits, but got " +
                    toString(shape));
  index[name] = declared.size();
  declared.emplace_back();
  TensorInfo &info = declared.back().info;
  info.name = name;
  info.dtype = dtype;
  info.shape = std::move(shape);
  info.bytes = *count * byteSize(dtype);
  return Status();
}

Status SafetensorsWriter::setMetadata(const std::string &key,
                                      std::string value) {
  if (!error.ok())
    return error;
  if (laidOut)
    return fail(Code::InvalidArgument,
                "metadata '" + key + "' is set after begin()");
  attributes[key] = std::move(value);
  return Status();
}

Status SafetensorsWriter::begin() {
  if (!error.ok())
    return error;
  if (laidOut)
    return fail(Code::InvalidArgument, "begin() is called twice");
  laidOut = true;

  std::vector<TensorInfo *> order;
  for (bool odd : {false, true})
    for (Declared &tensor : declared)
      if ((tensor.info.bytes % tensorAlignment != 0) == odd)
        order.push_back(&tensor.info);

  int64_t dataBytes = 0;
  std::string header = "{";
  try {
    if (!attributes.empty())
      header += "\"__metadata__\":" + json(attributes).dump();
    for (TensorInfo *info : order) {
      info->offset = dataBytes;
      if (__builtin_add_overflow(dataBytes, info->bytes, &dataBytes))
        return fail(Code::InvalidArgument, "the tensors exceed 2^63 bytes");
      header += header.size() > 1 ? "," : "";
      header += json(info->name).dump() +
                ":{\"dtype\":" + json(name(info->dtype)).dump() +
                ",\"shape\":" + json(info->shape).dump() +
                ",\"data_offsets\":[" + std::to_string(info->offset) + "," +
                std::to_string(dataBytes) + "]}";
    }
  } catch (const json::exception &) {
    return fail(Code::InvalidArgument,
                "expected names and metadata to be valid UTF-8");
  }
  header += "}";
  int64_t headerBytes = int64_t(header.size());
  int64_t dataStart =
      (lengthBytes + headerBytes + pageBytes - 1) / pageBytes * pageBytes;
  headerBytes = dataStart - lengthBytes;
  if (headerBytes > maxHeaderBytes)
    return fail(Code::InvalidArgument,
                "expected a header of at most 100000000 bytes, but got " +
                    std::to_string(headerBytes));
  header.resize(size_t(headerBytes), ' ');
  std::string length;
  for (int i = 0; i < lengthBytes; ++i)
    length += char(uint64_t(headerBytes) >> (8 * i));
  int64_t fileBytes;
  if (__builtin_add_overflow(dataStart, dataBytes, &fileBytes))
    return fail(Code::InvalidArgument, "the tensors exceed 2^63 bytes");
  for (TensorInfo *info : order)
    info->offset += dataStart;

  Result<int> created = createTemporary(target, temporary);
  if (!created.ok())
    return error = created.status();
  descriptor = *created;
  // Learn now, not after the last tensor, that the disk is too small.
  if (fallocate(descriptor, 0, 0, fileBytes) != 0 &&
      (errno == ENOSPC || errno == EFBIG || errno == EDQUOT))
    return error = systemError("reserve space for", target, errno);
  header = length + header;
  return error = writeFully(descriptor, header.data(), int64_t(header.size()),
                            0, target);
}

Status SafetensorsWriter::append(const std::string &name, const void *data,
                                 int64_t bytes) {
  if (!error.ok())
    return error;
  auto found = index.find(name);
  if (!laidOut || found == index.end())
    return fail(Code::InvalidArgument,
                laidOut ? "tensor '" + name + "' was not declared"
                        : "append() is called before begin()");
  Declared &tensor = declared[found->second];
  if (bytes < 0 || bytes > tensor.info.bytes - tensor.written)
    return fail(Code::InvalidArgument,
                "tensor '" + name + "': expected at most " +
                    std::to_string(tensor.info.bytes - tensor.written) +
                    " more bytes, but got " + std::to_string(bytes));
  error = writeFully(descriptor, static_cast<const char *>(data), bytes,
                     tensor.info.offset + tensor.written, target);
  tensor.written += bytes;
  return error;
}

Status SafetensorsWriter::finish() {
  if (!error.ok())
    return error;
  if (descriptor < 0)
    return fail(Code::InvalidArgument,
                "finish() is called without begin() or twice");
  for (const Declared &tensor : declared)
    if (tensor.written != tensor.info.bytes)
      return fail(Code::InvalidArgument,
                  "tensor '" + tensor.info.name + "': expected " +
                      std::to_string(tensor.info.bytes) + " bytes, but got " +
                      std::to_string(tensor.written));
  error = closeAndRename(descriptor, temporary, target);
  descriptor = -1;
  return error;
}

} // namespace ganq::runtime
