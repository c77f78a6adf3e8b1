//===- ParameterStore.cpp - The bytes behind parameters -------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/Pipelines/ParameterStore.h"
#include "llvm/ADT/APFloat.h"
#include "llvm/ADT/SmallString.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/Path.h"
#include <cstring>

using namespace mlir;
using namespace ganq;

static llvm::Error makeError(const llvm::Twine &message) {
  return llvm::createStringError(llvm::inconvertibleErrorCode(), message);
}

static int64_t elementBytes(ShapedType type) {
  Type element = type.getElementType();
  return element.isIntOrFloat() ? static_cast<int64_t>(llvm::divideCeil(
                                      element.getIntOrFloatBitWidth(), 8))
                                : 0;
}

llvm::Expected<llvm::MemoryBuffer *> ParameterStore::open(StringRef file) {
  auto &slot = files[file];
  if (slot)
    return slot.get();
  llvm::SmallString<128> path(directory);
  llvm::sys::path::append(path, file);
  auto buffer = llvm::MemoryBuffer::getFile(path, /*IsText=*/false,
                                            /*RequiresNullTerminator=*/false);
  if (!buffer)
    return makeError(llvm::formatv("cannot read the weights' file '{0}': {1}",
                                   path, buffer.getError().message()));
  slot = std::move(*buffer);
  return slot.get();
}

llvm::Expected<ArrayRef<char>> ParameterStore::getBytes(ParameterOp parameter) {
  ExternalAttr source = parameter.getSourceAttr();
  if (!source)
    return makeError("expected parameter '" + parameter.getKey() +
                     "' to say where its bytes lie");
  auto buffer = open(source.getFile());
  if (!buffer)
    return buffer.takeError();
  auto type = cast<ShapedType>(parameter.getType());
  int64_t expected = type.getNumElements() * elementBytes(type);
  if (source.getLength() != expected)
    return makeError(
        llvm::formatv("expected parameter '{0}' to have {1} bytes, but got {2}",
                      parameter.getKey(), expected, source.getLength()));
  int64_t fileSize = static_cast<int64_t>((*buffer)->getBufferSize());
  if (source.getOffset() > fileSize ||
      source.getLength() > fileSize - source.getOffset())
    return makeError(llvm::formatv(
        "expected '{0}' to have {1} bytes at offset {2} for parameter '{3}', "
        "but the file has only {4} bytes",
        source.getFile(), source.getLength(), source.getOffset(),
        parameter.getKey(), fileSize));
  return ArrayRef<char>((*buffer)->getBufferStart() + source.getOffset(),
                        source.getLength());
}

/// Widens `count` elements that lie `stride` bytes apart.
static void widen(Type element, const char *from, int64_t stride, int64_t count,
                  float *out) {
  for (int64_t i = 0; i < count; ++i, from += stride) {
    if (element.isF32()) {
      std::memcpy(out + i, from, sizeof(float));
    } else if (element.isBF16()) {
      uint16_t bits;
      std::memcpy(&bits, from, sizeof(bits));
      uint32_t wide = static_cast<uint32_t>(bits) << 16;
      std::memcpy(out + i, &wide, sizeof(float));
    } else if (element.isF64()) {
      double wide;
      std::memcpy(&wide, from, sizeof(wide));
      out[i] = static_cast<float>(wide);
    } else {
      _Float16 half;
      std::memcpy(&half, from, sizeof(half));
      out[i] = static_cast<float>(half);
    }
  }
}

llvm::Error ParameterStore::readRows(ParameterOp parameter, int64_t first,
                                     int64_t count, float *out) {
  auto bytes = getBytes(parameter);
  if (!bytes)
    return bytes.takeError();
  auto type = cast<ShapedType>(parameter.getType());
  Type element = type.getElementType();
  if (!element.isF32() && !element.isF16() && !element.isBF16() &&
      !element.isF64())
    return makeError(
        llvm::formatv("expected parameter '{0}' to hold floats, but got {1}",
                      parameter.getKey(), type));
  int64_t rows = type.getDimSize(0), columns = type.getDimSize(1);
  int64_t size = elementBytes(type);
  if (!parameter.getTransposed()) {
    widen(element, bytes->data() + first * columns * size, size,
          count * columns, out);
    return llvm::Error::success();
  }
  // Stored [K, N]: go along the stored rows, so that pages are read once.
  std::vector<float> line(count);
  for (int64_t k = 0; k < columns; ++k) {
    widen(element, bytes->data() + (k * rows + first) * size, size, count,
          line.data());
    for (int64_t n = 0; n < count; ++n)
      out[n * columns + k] = line[n];
  }
  return llvm::Error::success();
}

llvm::Error
ParameterStore::stream(ParameterOp parameter,
                       llvm::function_ref<llvm::Error(ArrayRef<char>)> sink) {
  constexpr int64_t kPiece = 16 << 20;
  auto bytes = getBytes(parameter);
  if (!bytes)
    return bytes.takeError();
  if (!parameter.getTransposed()) {
    for (ArrayRef<char> rest = *bytes; !rest.empty();) {
      ArrayRef<char> piece =
          rest.take_front(std::min<size_t>(kPiece, rest.size()));
      if (llvm::Error error = sink(piece))
        return error;
      rest = rest.drop_front(piece.size());
    }
    return llvm::Error::success();
  }
  auto type = cast<ShapedType>(parameter.getType());
  int64_t rows = type.getDimSize(0), columns = type.getDimSize(1);
  int64_t size = elementBytes(type);
  int64_t step = std::max<int64_t>(1, kPiece / (columns * size));
  std::vector<char> piece;
  for (int64_t first = 0; first < rows; first += step) {
    int64_t count = std::min(step, rows - first);
    piece.resize(count * columns * size);
    for (int64_t k = 0; k < columns; ++k) {
      const char *line = bytes->data() + (k * rows + first) * size;
      for (int64_t n = 0; n < count; ++n)
        std::memcpy(piece.data() + (n * columns + k) * size, line + n * size,
                    size);
    }
    if (llvm::Error error = sink(piece))
      return error;
  }
  return llvm::Error::success();
}

void ParameterStore::release() {
  for (auto &file : files)
    file.second->dontNeedIfMmap();
}
