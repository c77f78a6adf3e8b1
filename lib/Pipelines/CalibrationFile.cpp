//===- CalibrationFile.cpp - Statistics read from a file ------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Calibrate.h"
#include "Errors.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/MemoryBuffer.h"
#include <cmath>
#include <cstring>

using namespace ganq;
using llvm::ArrayRef;
using llvm::StringRef;

const char *const ganq::kCalibrationVersionKey = "ganq.calibration";
const char *const ganq::kCalibrationModelKey = "ganq.model";
const char *const ganq::kSameInputKey = "ganq.same_input";

bool ganq::isNpyFile(StringRef path) {
  auto buffer = llvm::MemoryBuffer::getFileSlice(path, 6, 0);
  return buffer && (*buffer)->getBuffer() == "\x93NUMPY";
}

llvm::Expected<std::unique_ptr<CalibrationFile>>
CalibrationFile::open(const std::string &path, StringRef modelHash) {
  auto opened = runtime::Safetensors::open(path);
  if (!opened.ok())
    return makeError("expected calibration tokens (.npy) or a calibration file "
                     "(.safetensors): " +
                     llvm::Twine(opened.status().message()));
  auto result = std::make_unique<CalibrationFile>();
  result->file = std::move(*opened);
  const auto &metadata = result->file->metadata();
  auto find = [&](const char *key) {
    auto it = metadata.find(key);
    return it == metadata.end() ? std::string() : it->second;
  };
  if (find(kCalibrationVersionKey) != "1")
    return makeError(llvm::formatv(
        "{0}: expected a calibration file with `{1}` \"1\" in its metadata, "
        "but got \"{2}\"",
        path, kCalibrationVersionKey, find(kCalibrationVersionKey)));
  if (std::string model = find(kCalibrationModelKey); model != modelHash)
    return makeError(llvm::formatv(
        "{0}: expected a calibration of the model with SHA-256 {1}, but it is "
        "one of {2}; calibrate this model",
        path, modelHash, model.empty() ? "an unknown model" : model));
  if (std::string text = find(kSameInputKey); !text.empty()) {
    auto parsed = llvm::json::parse(text);
    llvm::json::Object *object = parsed ? parsed->getAsObject() : nullptr;
    bool valid = object && llvm::all_of(*object, [](const auto &entry) {
                   return entry.second.getAsString().has_value();
                 });
    if (!parsed)
      llvm::consumeError(parsed.takeError());
    if (!valid)
      return makeError(
          llvm::formatv("{0}: expected `{1}` in the metadata to be "
                        "a JSON object of strings",
                        path, kSameInputKey));
    result->sameInput = std::move(*object);
  }
  return result;
}

std::string CalibrationFile::getOwner(StringRef key) const {
  auto other = sameInput.getString(key);
  return other ? other->str() : key.str();
}

llvm::Expected<const runtime::TensorInfo *>
CalibrationFile::find(StringRef name, runtime::DType type,
                      ArrayRef<int64_t> shape) const {
  const runtime::TensorInfo *info = file->find(name.str());
  if (!info)
    return info;
  bool fits = info->dtype == type && info->shape.size() == shape.size() &&
              info->bytes > 0;
  for (size_t i = 0; fits && i < shape.size(); ++i)
    fits = shape[i] < 0 || shape[i] == info->shape[i];
  if (fits)
    return info;
  std::string wanted;
  for (int64_t size : shape)
    wanted += (wanted.empty() ? "" : ", ") +
              (size < 0 ? std::string("?") : std::to_string(size));
  return makeError(llvm::formatv(
      "{0}: expected tensor '{1}' to be {2} [{3}], but got {4} {5}",
      file->path(), name, runtime::name(type), wanted,
      runtime::name(info->dtype), runtime::toString(info->shape)));
}

template <typename T>
llvm::Expected<ArrayRef<T>>
CalibrationFile::read(StringRef name, ArrayRef<int64_t> shape) const {
  auto found = find(name,
                    std::is_same_v<T, double> ? runtime::DType::F64
                                              : runtime::DType::F32,
                    shape);
  if (!found)
    return found.takeError();
  const runtime::TensorInfo *info = *found;
  if (!info)
    return ArrayRef<T>();
  const char *data = file->data(*info);
  if (reinterpret_cast<uintptr_t>(data) % alignof(T)) {
    // NOLINTNEXTLINE: a vector's memory fits every type.
    copies.emplace_back(data, data + info->bytes);
    data = copies.back().data();
  }
  ArrayRef<T> values(reinterpret_cast<const T *>(data),
                     info->bytes / static_cast<int64_t>(sizeof(T)));
  for (auto [index, value] : llvm::enumerate(values))
    if (!std::isfinite(value))
      return makeError(llvm::formatv(
          "{0}: expected finite values in tensor '{1}', but got {2} at {3}",
          file->path(), name, value, index));
  return values;
}

/// The learned tensors that a weight [n, k] may have.
static std::vector<std::pair<StringRef, llvm::SmallVector<int64_t, 2>>>
getLearnedShapes(int64_t n, int64_t k) {
  return {{"input_scale", {k}},       {"input_shift", {k}},
          {"clip_low", {n, -1}},      {"clip_high", {n, -1}},
          {"compensation_left", {n}}, {"compensation_right", {k}},
          {"weight_delta", {n, k}},   {"format", {3}}};
}

llvm::Error CalibrationFile::check(StringRef key, int64_t n, int64_t k,
                                   bool needs) const {
  using runtime::DType;
  std::string owner = getOwner(key);
  auto gram = find(owner + ".gram", DType::F64, {k, k});
  if (!gram)
    return gram.takeError();
  auto cross = find(owner + ".cross", DType::F64, {k, k});
  if (!cross)
    return cross.takeError();
  auto sample = find(owner + ".sample", DType::F32, {-1, k});
  if (!sample)
    return sample.takeError();
  bool learned = false;
  for (const auto &[suffix, shape] : getLearnedShapes(n, k)) {
    auto tensor = find((key + "." + suffix).str(), DType::F32, shape);
    if (!tensor)
      return tensor.takeError();
    learned |= *tensor != nullptr;
  }
  if (*cross && !*gram)
    return makeError(llvm::formatv(
        "{0}: expected '{1}.gram' beside '{1}.cross', but there is none",
        file->path(), owner));
  if (!needs || *gram || learned)
    return llvm::Error::success();
  const auto &tensors = file->tensors();
  auto other = llvm::find_if(tensors, [](const runtime::TensorInfo &info) {
    return StringRef(info.name).ends_with(".gram");
  });
  if (*sample && other == tensors.end())
    return llvm::Error::success();
  if (other == tensors.end())
    other = tensors.begin();
  return makeError(llvm::formatv(
      "{0}: expected statistics of the weight '{1}' ('{2}.gram'), but got {3}",
      file->path(), key, owner,
      tensors.empty() ? std::string("no tensors")
                      : "'" + other->name + "' and others only"));
}

llvm::Expected<InputStatistics> CalibrationFile::get(StringRef key, int64_t n,
                                                     int64_t k) const {
  InputStatistics result;
  std::string owner = getOwner(key);
  auto gram = read<double>(owner + ".gram", {k, k});
  if (!gram)
    return gram.takeError();
  const double *values = gram->data();
  for (int64_t i = 0; !gram->empty() && i < k; ++i)
    for (int64_t j = 0; j < i; ++j) {
      double low = values[i * k + j], high = values[j * k + i];
      // Sums in another order differ by a rounding error of the norms.
      double norm = std::sqrt(std::abs(values[i * k + i])) *
                    std::sqrt(std::abs(values[j * k + j]));
      if (std::abs(low - high) >
          1e-6 * std::max({std::abs(low), std::abs(high), norm}))
        return makeError(llvm::formatv(
            "{0}: expected tensor '{1}.gram' to be symmetric, but got {2:E9} "
            "at [{3}, {4}] and {5:E9} at [{4}, {3}]",
            file->path(), owner, low, i, j, high));
    }
  auto cross = read<double>(owner + ".cross", {k, k});
  if (!cross)
    return cross.takeError();
  auto sample = read<float>(owner + ".sample", {-1, k});
  if (!sample)
    return sample.takeError();
  result.gram = gram->empty() ? nullptr : gram->data();
  result.cross = cross->empty() ? nullptr : cross->data();
  if (!sample->empty()) {
    result.sample = sample->data();
    result.sampleRows = static_cast<int64_t>(sample->size()) / k;
  }

  std::map<std::string, ArrayRef<float>> learned;
  for (const auto &[suffix, shape] : getLearnedShapes(n, k)) {
    auto tensor = read<float>((key + "." + suffix).str(), shape);
    if (!tensor)
      return tensor.takeError();
    if (!tensor->empty())
      learned[suffix.str()] = *tensor;
  }
  if (!learned.empty())
    result.learned = [learned](StringRef suffix) -> ArrayRef<float> {
      auto it = learned.find(suffix.str());
      return it == learned.end() ? ArrayRef<float>() : it->second;
    };
  return result;
}
