//===- TrialModel.cpp - A model whose weights can be exchanged ------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "TrialModel.h"
#include "Errors.h"
#include "ganq/Pipelines/Artifact.h"
#include "ganq/Schemes/Passes.h"
#include "ganq/runtime/npy.h"
#include "mlir/Pass/PassManager.h"
#include "llvm/ADT/APFloat.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/FormatVariadic.h"
#include <cmath>
#include <cstring>

using namespace mlir;
using namespace ganq;

llvm::Expected<TokenRows>
TokenRows::read(const std::string &path, StringRef option, int64_t minColumns) {
  runtime::Result<runtime::Tensor> tensor = runtime::readNpy(path);
  if (!tensor.ok())
    return toError(tensor.status());
  if (tensor->shape.size() != 2 || tensor->shape[0] < 1 ||
      tensor->shape[1] < minColumns)
    return makeError(llvm::formatv(
        "expected {0}='{1}' to hold rows of at least {2} token id{3} "
        "[rows, tokens], but got {4}",
        option, path, minColumns, minColumns == 1 ? "" : "s",
        runtime::toString(tensor->shape)));
  runtime::Result<std::vector<int64_t>> ids = runtime::toTokens(*tensor);
  if (!ids.ok())
    return makeError(path + ": " + ids.status().message());
  TokenRows result;
  result.ids = std::move(*ids);
  result.rows = tensor->shape[0];
  result.columns = tensor->shape[1];
  return result;
}

llvm::Error TokenRows::check(ModuleOp module, StringRef option,
                             StringRef path, int64_t targets) const {
  auto state = module->getAttrOfType<DictionaryAttr>("ganq.state");
  if (!state)
    return llvm::Error::success();
  int64_t vocabulary = state.getAs<IntegerAttr>("vocabulary").getInt();
  int64_t context = state.getAs<IntegerAttr>("max_context").getInt();
  if (columns - targets > context)
    return makeError(llvm::formatv(
        "expected rows of at most {0} tokens (the model's context) in "
        "{1}='{2}', but got {3}",
        context + targets, option, path, columns));
  for (auto [index, id] : llvm::enumerate(ids))
    if (id < 0 || id >= vocabulary)
      return makeError(llvm::formatv(
          "expected token ids from 0 to {0} in {1}='{2}', but got {3} in row "
          "{4}",
          vocabulary - 1, option, path, id, index / columns));
  return llvm::Error::success();
}

TokenRows TokenRows::sample(int64_t limit) const {
  TokenRows result;
  result.columns = std::clamp<int64_t>(limit, 1, columns);
  result.rows = std::clamp<int64_t>(limit / columns, 1, rows);
  for (int64_t i = 0; i < result.rows; ++i) {
    const int64_t *row = ids.data() + i * rows / result.rows * columns;
    result.ids.insert(result.ids.end(), row, row + result.columns);
  }
  return result;
}

/// The name of a weight in the model of the trials. A name of its own keeps an
/// embedding that shares the weight as it is.
static std::string trialKey(StringRef key) { return (key + ".trial").str(); }

llvm::Expected<std::unique_ptr<TrialModel>>
TrialModel::build(ModuleOp assigned, const PhaseOptions &options,
                  ParameterStore &store, const std::string &path) {
  OwningOpRef<ModuleOp> module(assigned.clone());
  module->walk([](ParameterOp parameter) {
    auto type = dyn_cast<RankedTensorType>(parameter.getType());
    if (type && isa_and_nonnull<SchemeAttrInterface>(type.getEncoding()))
      parameter.setKey(trialKey(parameter.getKey()));
  });
  PassManager manager(module->getContext());
  manager.addPass(createDropSchemes());
  if (llvm::Error error = runPasses(manager, *module))
    return std::move(error);
  auto info = describeModule(*module);
  if (!info)
    return info.takeError();
  auto component = [](StringRef key,
                      llvm::function_ref<llvm::Error(ArrayRef<char>)>) {
    return makeError("internal error: the parameter '" + key +
                     "' has no source");
  };
  auto written = writeArtifact(*module, *info, options, store, component, path);
  if (!written)
    return written.takeError();

  auto result = std::make_unique<TrialModel>();
  auto opened = runtime::Model::open(path);
  if (!opened.ok())
    return toError(opened.status());
  result->model = *opened;
  return result;
}

llvm::Error
TrialModel::run(llvm::function_ref<void(int64_t, ArrayRef<float>)> each) {
  if (!session) {
    auto created = runtime::Session::create(model);
    if (!created.ok())
      return toError(created.status());
    session = std::move(*created);
  }
  for (int64_t row = 0; row < tokens.rows; ++row) {
    if (auto status = session->rewind(0); !status.ok())
      return toError(status);
    auto status =
        session->feed(tokens.ids.data() + row * tokens.columns, tokens.columns,
                      [&](const float *logits, int64_t first, int64_t count) {
                        int64_t vocabulary = session->vocabulary();
                        for (int64_t i = 0; i < count; ++i)
                          each(row * tokens.columns + first + i,
                               ArrayRef(logits + i * vocabulary, vocabulary));
                      });
    if (!status.ok())
      return toError(status);
  }
  return llvm::Error::success();
}

double ganq::logSumExp(ArrayRef<float> logits) {
  double greatest = *llvm::max_element(logits), sum = 0;
  for (float logit : logits)
    sum += std::exp(logit - greatest);
  return greatest + std::log(sum);
}

double ganq::getDivergence(ArrayRef<float> logP, ArrayRef<float> logits) {
  double sum = 0, norm = logSumExp(logits);
  for (auto [expected, logit] : llvm::zip_equal(logP, logits)) {
    double logQ = logit - norm;
    double p = std::exp(static_cast<double>(expected)), q = std::exp(logQ);
    sum += p > 0 ? q - p - p * (logQ - expected) : q;
  }
  return sum;
}

llvm::Error TrialModel::setReference(const TokenRows &rows) {
  tokens = rows;
  reference.clear();
  return run([&](int64_t token, ArrayRef<float> logits) {
    size_t width = logits.size();
    reference.resize(
        std::max(reference.size(), static_cast<size_t>(token + 1) * width));
    double norm = logSumExp(logits);
    for (auto [i, logit] : llvm::enumerate(logits))
      reference[token * width + i] = static_cast<float>(logit - norm);
  });
}

llvm::Expected<double> TrialModel::getDivergence() {
  double sum = 0;
  if (llvm::Error error = run([&](int64_t token, ArrayRef<float> logits) {
        sum += ganq::getDivergence(
            ArrayRef(reference).slice(token * logits.size(), logits.size()),
            logits);
      }))
    return std::move(error);
  // What is left of negative terms is rounding; NaN stays.
  return sum < 0 ? 0 : sum / static_cast<double>(tokens.rows * tokens.columns);
}

llvm::Error TrialModel::replace(ParameterOp weight, ArrayRef<float> values) {
  Type element = cast<ShapedType>(weight.getType()).getElementType();
  auto floatType = dyn_cast<FloatType>(element);
  unsigned bytes = floatType ? floatType.getWidth() / 8 : 0;
  if (bytes != 2 && bytes != 4 && bytes != 8)
    return makeError(llvm::formatv("expected weight '{0}' to hold floats, but "
                                   "got {1}",
                                   weight.getKey(), element));
  auto buffer =
      runtime::Buffer::create(static_cast<int64_t>(values.size() * bytes));
  if (!buffer.ok())
    return toError(buffer.status());
  char *out = buffer->data();
  for (float value : values) {
    if (bytes == 4) {
      memcpy(out, &value, 4);
    } else {
      llvm::APFloat number(value);
      bool inexact;
      number.convert(floatType.getFloatSemantics(),
                     llvm::APFloat::rmNearestTiesToEven, &inexact);
      uint64_t bits = number.bitcastToAPInt().getZExtValue();
      memcpy(out, &bits, bytes);
    }
    out += bytes;
  }
  if (auto status =
          model->setParameter(trialKey(weight.getKey()), buffer->data());
      !status.ok())
    return toError(status);
  replacement = std::move(*buffer);
  return llvm::Error::success();
}

llvm::Error TrialModel::restore(ParameterOp weight) {
  return toError(model->setParameter(trialKey(weight.getKey()), nullptr));
}

llvm::Expected<double>
ganq::getPerplexity(const std::shared_ptr<runtime::Model> &model,
                    const TokenRows &tokens) {
  auto result = runtime::evaluatePerplexity(model, tokens.ids.data(),
                                            tokens.rows, tokens.columns);
  if (!result.ok())
    return toError(result.status());
  return result->perplexity();
}

double TrialModel::getBitsPerWeight() const {
  return model->manifest().bitsPerWeight.value_or(0);
}

llvm::Expected<double> TrialModel::getPerplexity(const TokenRows &rows) {
  return ganq::getPerplexity(model, rows);
}
