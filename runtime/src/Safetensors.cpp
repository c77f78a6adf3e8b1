//===- Safetensors.cpp - Reader of safetensors files ----------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/runtime/safetensors.h"
#include "Files.h"
#include "Json.h"
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <sys/mman.h>
#include <tuple>
#include <unistd.h>

namespace ganq::runtime {

using nlohmann::json;

static constexpr uint64_t maxHeaderBytes = 100'000'000;
static constexpr int64_t lengthBytes = 8;

Result<std::unique_ptr<Safetensors>>
Safetensors::open(const std::string &path) {
  int64_t bytes = 0;
  Result<int> descriptor = openRegularFile(path, bytes);
  if (!descriptor.ok())
    return descriptor.status();
  std::unique_ptr<Safetensors> file(new Safetensors);
  file->filePath = path;
  if (bytes < lengthBytes) {
    close(*descriptor);
    return Status(Code::InvalidFile,
                  path + ": expected at least 8 bytes, but got " +
                      std::to_string(bytes));
  }
  void *base =
      mmap(nullptr, size_t(bytes), PROT_READ, MAP_PRIVATE, *descriptor, 0);
  int number = errno;
  close(*descriptor);
  if (base == MAP_FAILED)
    return systemError("map", path, number);
  file->base = static_cast<const char *>(base);
  file->mappedBytes = bytes;
  if (Status status = file->parseHeader(); !status.ok())
    return status;
  return file;
}

Safetensors::~Safetensors() {
  if (base)
    munmap(const_cast<char *>(base), size_t(mappedBytes));
}

/// Reads an array of non-negative integers; false if it is anything else.
static bool readSizes(const json &value, std::vector<int64_t> &sizes) {
  if (!value.is_array())
    return false;
  for (const json &size : value) {
    if (!size.is_number_unsigned() || size.get<uint64_t>() > INT64_MAX)
      return false;
    sizes.push_back(size.get<int64_t>());
  }
  return true;
}

static Status readTensorInfo(const json &entry, const std::string &where,
                             int64_t dataBytes, TensorInfo &info) {
  auto invalid = [&](const std::string &message) {
    return Status(Code::InvalidFile, where + ": " + message);
  };
  if (!entry.is_object() || !entry.contains("dtype") ||
      !entry.contains("shape") || !entry.contains("data_offsets"))
    return invalid("expected an object with dtype, shape and data_offsets, but "
                   "got " +
                   excerpt(entry));
  const json &dtype = entry["dtype"];
  std::optional<DType> type;
  if (dtype.is_string())
    type = parseDType(dtype.get_ref<const std::string &>());
  if (!type)
    return invalid("expected a known dtype, but got " + excerpt(dtype));
  info.dtype = *type;
  if (!readSizes(entry["shape"], info.shape))
    return invalid("expected a shape of non-negative integers, but got " +
                   excerpt(entry["shape"]));
  std::vector<int64_t> range;
  if (!readSizes(entry["data_offsets"], range) || range.size() != 2 ||
      range[0] > range[1] || range[1] > dataBytes)
    return invalid("expected data_offsets [begin, end] within the file's " +
                   std::to_string(dataBytes) + " bytes of data, but got " +
                   excerpt(entry["data_offsets"]));
  std::optional<int64_t> count = elementCount(info.shape, byteSize(*type));
  info.offset = range[0];
  info.bytes = range[1] - range[0];
  if (!count || *count * byteSize(*type) != info.bytes)
    return invalid(std::string("expected data_offsets to span the bytes of ") +
                   name(*type) + " " + toString(info.shape) + ", but got " +
                   excerpt(entry["data_offsets"]));
  return Status();
}

Status Safetensors::parseHeader() {
  auto invalid = [&](const std::string &message) {
    return Status(Code::InvalidFile, filePath + ": " + message);
  };
  uint64_t headerBytes = 0;
  for (int i = 0; i < lengthBytes; ++i)
    headerBytes |= uint64_t(static_cast<unsigned char>(base[i])) << (8 * i);
  if (headerBytes > maxHeaderBytes ||
      headerBytes > uint64_t(mappedBytes - lengthBytes))
    return invalid("expected a header length of at most " +
                   std::to_string(std::min<uint64_t>(
                       maxHeaderBytes, uint64_t(mappedBytes - lengthBytes))) +
                   ", but got " + std::to_string(headerBytes) +
                   " (is the file complete, and is it a safetensors file?)");
  dataOffset = lengthBytes + int64_t(headerBytes);
  int64_t dataBytes = mappedBytes - dataOffset;

  Result<json> header =
      parseJsonObject({base + lengthBytes, headerBytes}, filePath + ": header");
  if (!header.ok())
    return header.status();
  for (const auto &[key, value] : header->items()) {
    if (key == "__metadata__") {
      if (!value.is_object())
        return invalid("expected __metadata__ to be an object, but got " +
                       excerpt(value));
      for (const auto &[name, text] : value.items()) {
        if (!text.is_string())
          return invalid("__metadata__: expected a string for " +
                         excerpt(name) + ", but got " + excerpt(text));
        attributes[name] = text.get<std::string>();
      }
      continue;
    }
    TensorInfo info;
    info.name = key;
    std::string where = filePath + ": tensor " + excerpt(key);
    if (Status status = readTensorInfo(value, where, dataBytes, info);
        !status.ok())
      return status;
    infos.push_back(std::move(info));
  }

  std::sort(infos.begin(), infos.end(),
            [](const TensorInfo &a, const TensorInfo &b) {
              return std::tie(a.offset, a.bytes, a.name) <
                     std::tie(b.offset, b.bytes, b.name);
            });
  int64_t end = 0;
  for (TensorInfo &info : infos) {
    if (info.offset != end)
      return invalid("tensor " + excerpt(info.name) +
                     ": expected data without holes and overlaps, from byte " +
                     std::to_string(end) + " on, but got " +
                     std::to_string(info.offset));
    end = info.offset + info.bytes;
    info.offset += dataOffset;
  }
  if (end != dataBytes)
    return invalid("expected " + std::to_string(end) +
                   " bytes of data, but got " + std::to_string(dataBytes));
  for (size_t i = 0; i < infos.size(); ++i)
    index[infos[i].name] = i;
  return Status();
}

int64_t Safetensors::alignment() const {
  uint64_t bits = 4096 | uint64_t(dataOffset);
  for (const TensorInfo &info : infos)
    if (info.bytes > 0)
      bits |= uint64_t(info.offset);
  return int64_t(bits & -bits);
}

const TensorInfo *Safetensors::find(const std::string &name) const {
  auto found = index.find(name);
  return found == index.end() ? nullptr : &infos[found->second];
}

} // namespace ganq::runtime
