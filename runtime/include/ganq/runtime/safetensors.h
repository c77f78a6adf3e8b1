//===- safetensors.h - Reader and writer of safetensors files ---*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The file: 8 bytes of little-endian header length, a JSON object that maps
// tensor names to dtype, shape and byte range, the data. The rules that the
// reader enforces are those of the format's reference implementation: header of
// at most 100 MB, no hole and no overlap between ranges, no key twice.
//
//===----------------------------------------------------------------------===//

#ifndef GANQ_RUNTIME_SAFETENSORS_H
#define GANQ_RUNTIME_SAFETENSORS_H

#include "ganq/runtime/tensor.h"
#include <map>
#include <unordered_map>

namespace ganq::runtime {

struct TensorInfo {
  std::string name;
  DType dtype = DType::U8;
  std::vector<int64_t> shape;
  int64_t offset = 0; ///< of the first byte, from the start of the file
  int64_t bytes = 0;
};

/// A file mapped read-only. Every tensor's range lies within the file. The
/// mapping, and with it every data pointer, lives as long as the object.
class Safetensors {
public:
  static Result<std::unique_ptr<Safetensors>> open(const std::string &path);
  ~Safetensors();
  Safetensors(const Safetensors &) = delete;
  Safetensors &operator=(const Safetensors &) = delete;

  const std::string &path() const { return filePath; }
  int64_t fileBytes() const { return mappedBytes; }
  /// Where the data begins, from the start of the file.
  int64_t dataStart() const { return dataOffset; }
  /// The greatest power of two, at most 4096, that divides the start of the
  /// data and the offset of every tensor.
  int64_t alignment() const;

  /// In the order of their bytes.
  const std::vector<TensorInfo> &tensors() const { return infos; }
  const std::map<std::string, std::string> &metadata() const {
    return attributes;
  }
  /// Null if there is no such tensor.
  const TensorInfo *find(const std::string &name) const;
  const char *data(const TensorInfo &info) const { return base + info.offset; }

private:
  Safetensors() = default;
  Status parseHeader();

  std::string filePath;
  const char *base = nullptr;
  int64_t mappedBytes = 0;
  int64_t dataOffset = 0;
  std::vector<TensorInfo> infos;
  std::unordered_map<std::string, size_t> index;
  std::map<std::string, std::string> attributes;
};

/// Writes a file piece by piece, without holding a tensor in memory:
///
///   SafetensorsWriter writer(path);
///   writer.declare(...), writer.setMetadata(...)   everything first
///   writer.begin()                                 lays the file out
///   writer.append(name, data, bytes), ...          in any order of tensors
///   writer.finish()                                the file appears at `path`
///
/// The data starts at a page and tensors whose size is a multiple of 64 bytes
/// come first, so that each of them lies at a multiple of 64. Until finish()
/// succeeds there is only a temporary file beside `path`, which the destructor
/// removes. begin() reserves the disk space where the file system can. After
/// an error every later call returns that error.
class SafetensorsWriter {
public:
  explicit SafetensorsWriter(std::string path);
  ~SafetensorsWriter();
  SafetensorsWriter(const SafetensorsWriter &) = delete;
  SafetensorsWriter &operator=(const SafetensorsWriter &) = delete;

  Status declare(const std::string &name, DType dtype,
                 std::vector<int64_t> shape);
  Status setMetadata(const std::string &key, std::string value);
  Status begin();
  /// The next `bytes` bytes of the tensor.
  Status append(const std::string &name, const void *data, int64_t bytes);
  /// Fails if a tensor has not received all its bytes.
  Status finish();

private:
  struct Declared {
    TensorInfo info;
    int64_t written = 0;
  };
  Status fail(Code code, std::string message);
  Status writeAt(const char *data, int64_t bytes, int64_t offset);

  std::string target;
  std::string temporary;
  int descriptor = -1;
  bool laidOut = false;
  Status error;
  std::vector<Declared> declared;
  std::unordered_map<std::string, size_t> index;
  std::map<std::string, std::string> attributes;
};

} // namespace ganq::runtime

#endif // GANQ_RUNTIME_SAFETENSORS_H
