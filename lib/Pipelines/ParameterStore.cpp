//===- ParameterStore.cpp - The bytes behind parameters -------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/Pipelines/ParameterStore.h"
#include "Errors.h"
#include "ganq/Support/CodeLayout.h"
#include "llvm/ADT/APFloat.h"
#include "llvm/ADT/ScopeExit.h"
#include "llvm/ADT/SmallString.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/Path.h"
#include <cstring>
#include <sys/mman.h>

using namespace mlir;
using namespace ganq;
namespace fs = llvm::sys::fs;

static int64_t elementBytes(ShapedType type) {
  Type element = type.getElementType();
  return element.isIntOrFloat() ? static_cast<int64_t>(llvm::divideCeil(
                                      element.getIntOrFloatBitWidth(), 8))
                                : 0;
}

/// Bits of an element that shares a byte with others; 0 for whole bytes.
static unsigned packedBits(ShapedType type) {
  Type element = type.getElementType();
  if (!element.isIntOrFloat() || element.isInteger(1))
    return 0;
  unsigned bits = element.getIntOrFloatBitWidth();
  return bits == 2 || bits == 4 ? bits : 0;
}

llvm::Expected<ParameterStore::Mapping *> ParameterStore::open(StringRef file) {
  auto &slot = files[file];
  if (slot)
    return slot.get();
  llvm::SmallString<128> path(directory);
  llvm::sys::path::append(path, file);
  auto fail = [&](std::error_code code) {
    return makeError(llvm::formatv("cannot read the weights' file '{0}': {1}",
                                   path, code.message()));
  };
  auto descriptor = fs::openNativeFileForRead(path);
  if (!descriptor)
    return fail(llvm::errorToErrorCode(descriptor.takeError()));
  llvm::scope_exit close([&] { (void)fs::closeFile(*descriptor); });
  fs::file_status status;
  if (std::error_code code = fs::status(*descriptor, status))
    return fail(code);
  if (status.type() != fs::file_type::regular_file || status.getSize() == 0)
    return fail(std::make_error_code(std::errc::invalid_argument));
  std::error_code code;
  auto mapping = std::make_unique<Mapping>(*descriptor, Mapping::readonly,
                                           status.getSize(), 0, code);
  if (code)
    return fail(code);
  slot = std::move(mapping);
  return slot.get();
}

llvm::Expected<ArrayRef<char>> ParameterStore::getBytes(ParameterOp parameter) {
  if (PackedRowsAttr rows = parameter.getPackedRowsAttr();
      rows && rows.getValue())
    return rows.getValue().getRawData();
  ExternalAttr source = parameter.getSourceAttr();
  if (!source)
    return makeError("expected parameter '" + parameter.getKey() +
                     "' to say where its bytes lie");
  auto mapping = open(source.getFile());
  if (!mapping)
    return mapping.takeError();
  auto type = cast<ShapedType>(parameter.getType());
  int64_t expected = type.getNumElements() * elementBytes(type);
  if (PackedRowsAttr rows = parameter.getPackedRowsAttr())
    expected = rows.getBytes();
  else if (unsigned bits = packedBits(type))
    expected = llvm::divideCeil(type.getNumElements() * bits, 8);
  if (source.getLength() != expected)
    return makeError(
        llvm::formatv("expected parameter '{0}' to have {1} bytes, but got {2}",
                      parameter.getKey(), expected, source.getLength()));
  int64_t fileSize = static_cast<int64_t>((*mapping)->size());
  if (source.getOffset() > fileSize ||
      source.getLength() > fileSize - source.getOffset())
    return makeError(llvm::formatv(
        "expected '{0}' to have {1} bytes at offset {2} for parameter '{3}', "
        "but the file has only {4} bytes",
        source.getFile(), source.getLength(), source.getOffset(),
        parameter.getKey(), fileSize));
  return ArrayRef<char>((*mapping)->const_data() + source.getOffset(),
                        source.getLength());
}

/// Widens `count` elements that lie side by side.
static void widen(Type element, const char *from, int64_t count, float *out) {
  if (element.isF32()) {
    std::memcpy(out, from, count * sizeof(float));
    return;
  }
  for (int64_t i = 0; i < count; ++i) {
    if (element.isBF16()) {
      uint16_t bits;
      std::memcpy(&bits, from + i * sizeof(bits), sizeof(bits));
      uint32_t wide = static_cast<uint32_t>(bits) << 16;
      std::memcpy(out + i, &wide, sizeof(float));
    } else if (element.isF64()) {
      double wide;
      std::memcpy(&wide, from + i * sizeof(wide), sizeof(wide));
      out[i] = static_cast<float>(wide);
    } else {
      _Float16 half;
      std::memcpy(&half, from + i * sizeof(half), sizeof(half));
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
    widen(element, bytes->data() + first * columns * size, count * columns,
          out);
    return llvm::Error::success();
  }
  // Stored [K, N]: take a few stored rows at a time, so that both sides are
  // touched in runs of cache lines.
  constexpr int64_t kBlock = 32;
  std::vector<float> block(kBlock * count);
  for (int64_t k = 0; k < columns; k += kBlock) {
    int64_t lines = std::min(kBlock, columns - k);
    for (int64_t i = 0; i < lines; ++i)
      widen(element, bytes->data() + ((k + i) * rows + first) * size, count,
            block.data() + i * count);
    for (int64_t n = 0; n < count; ++n)
      for (int64_t i = 0; i < lines; ++i)
        out[n * columns + k + i] = block[i * count + n];
  }
  return llvm::Error::success();
}

/// Greatest size of what a sink gets.
static constexpr int64_t kPiece = 16 << 20;

/// Element `index` of packed elements of at most a byte.
static uint8_t unpack(ArrayRef<char> bytes, int64_t index, unsigned bits) {
  unsigned perByte = 8 / bits;
  auto byte = static_cast<unsigned char>(bytes[index / perByte]);
  return static_cast<uint8_t>(byte >> (index % perByte * bits) &
                              ((1u << bits) - 1));
}

/// Rearranges rows, some tiles at a time.
static llvm::Error
streamRows(ShapedType type, PackedRowsAttr rows, ArrayRef<char> bytes,
           llvm::function_ref<llvm::Error(ArrayRef<char>)> sink) {
  std::vector<char> filled;
  if (rows.getValue() && rows.getValue().isSplat()) {
    filled.resize(rows.getBytes());
    for (size_t i = 0; i < filled.size(); ++i)
      filled[i] = bytes[i % bytes.size()];
    bytes = filled;
  }
  unsigned bits = rows.getBits();
  int64_t count = rows.getRows(), columns = rows.getColumns();
  int64_t size = elementBytes(type);
  bool isCodes = rows.getCodes();
  unsigned codeBits = isCodes ? bits : 1;
  CodeLayout whole(codeBits, count, columns);
  int64_t rowBytes =
      isCodes ? whole.getTileBytes() / CodeLayout::kRowTile : columns * size;
  int64_t total =
      isCodes ? whole.getRowTiles() * CodeLayout::kRowTile : type.getDimSize(0);
  int64_t step = llvm::alignTo(std::max<int64_t>(1, kPiece / rowBytes),
                               CodeLayout::kRowTile);
  std::vector<uint8_t> values(columns);
  std::vector<char> piece;
  for (int64_t first = 0; first < total; first += step) {
    int64_t end = std::min(first + step, total);
    piece.assign((end - first) * rowBytes, 0);
    CodeLayout layout(codeBits, end - first, columns);
    auto *codes = reinterpret_cast<uint8_t *>(piece.data());
    for (int64_t row = first; row < std::min(end, count); ++row) {
      char *to = piece.data() + (row - first) * rowBytes;
      if (bits > 8) {
        const char *from = bytes.data() + row * rows.getStride() / 8;
        for (int64_t k = 0; k < columns; ++k)
          std::memcpy(to + k * size, from + k * bits / 8, bits / 8);
        continue;
      }
      int64_t start = row * rows.getStride() / bits;
      for (int64_t k = 0; k < columns; ++k)
        values[k] = static_cast<uint8_t>(unpack(bytes, start + k, bits) ^
                                         rows.getFlip());
      if (isCodes) {
        layout.insertRow(codes, row - first, values.data(), columns);
        continue;
      }
      for (int64_t k = 0; k < columns; ++k)
        to[k * size] = static_cast<char>(values[k]);
    }
    if (llvm::Error error = sink(piece))
      return error;
  }
  return llvm::Error::success();
}

llvm::Error
ParameterStore::stream(ParameterOp parameter,
                       llvm::function_ref<llvm::Error(ArrayRef<char>)> sink) {
  auto bytes = getBytes(parameter);
  if (!bytes)
    return bytes.takeError();
  if (PackedRowsAttr rows = parameter.getPackedRowsAttr())
    return streamRows(cast<ShapedType>(parameter.getType()), rows, *bytes,
                      sink);
  if (unsigned bits = packedBits(cast<ShapedType>(parameter.getType()))) {
    if (parameter.getTransposed())
      return makeError("expected parameter '" + parameter.getKey() +
                       "' of packed elements not to be transposed");
    // Elements are a byte each in the compiled model.
    int64_t count = cast<ShapedType>(parameter.getType()).getNumElements();
    std::vector<char> piece;
    for (int64_t first = 0; first < count; first += kPiece) {
      piece.resize(std::min(kPiece, count - first));
      for (auto [i, element] : llvm::enumerate(piece))
        element = static_cast<char>(
            unpack(*bytes, first + static_cast<int64_t>(i), bits));
      if (llvm::Error error = sink(piece))
        return error;
    }
    return llvm::Error::success();
  }
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
  // Not mapped_file_region::dontNeed: glibc's posix_madvise ignores it.
  for (auto &file : files)
    if (file.second)
      ::madvise(const_cast<char *>(file.second->const_data()),
                file.second->size(), MADV_DONTNEED);
}
