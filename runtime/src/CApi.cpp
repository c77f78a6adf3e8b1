//===- CApi.cpp - C API of the runtime ------------------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ganq/runtime.h"
#include "ganq/runtime/session.h"
#include <new>

using namespace ganq::runtime;

struct ganq_model {
  std::shared_ptr<Model> model;
};

struct ganq_session {
  std::unique_ptr<Session> session;
};

struct ganq_results {
  std::shared_ptr<Model> model; ///< owns the names
  std::vector<Tensor> tensors;
};

static_assert(int(Code::Failed) == GANQ_FAILED &&
                  int(Code::OutOfMemory) == GANQ_OUT_OF_MEMORY &&
                  int(Code::InputOutput) == GANQ_IO_ERROR,
              "the two lists of codes are one");
static_assert(int(DType::F8E5M2) == GANQ_F8_E5M2 &&
                  int(DType::F16) == GANQ_F16 && int(DType::I64) == GANQ_I64,
              "the two lists of element types are one");

static thread_local std::string lastMessage;

static ganq_status report(const Status &status) {
  lastMessage = status.message();
  return ganq_status(status.code());
}

/// Runs `body`, a function that returns a Status; nothing is thrown to C.
template <typename Body> static ganq_status guarded(Body body) {
  try {
    return report(body());
  } catch (const std::bad_alloc &) {
    return report(Status(Code::OutOfMemory, "out of memory"));
  } catch (const std::exception &error) {
    return report(Status(Code::Failed, error.what()));
  }
}

static Status nullArgument(const char *name) {
  return Status(Code::InvalidArgument,
                std::string("expected '") + name + "', but got a null pointer");
}

const char *ganq_version(void) { return GANQ_RUNTIME_VERSION; }

const char *ganq_error_message(void) { return lastMessage.c_str(); }

ganq_status ganq_model_open(const char *path, ganq_model **model) {
  return guarded([&] {
    if (!path || !model)
      return nullArgument(path ? "model" : "path");
    Result<std::shared_ptr<Model>> opened = Model::open(path);
    if (opened.ok())
      *model = new ganq_model{*opened};
    return opened.status();
  });
}

void ganq_model_close(ganq_model *model) { delete model; }

const char *ganq_model_manifest(const ganq_model *model) {
  if (!model)
    return "";
  return model->model->file().metadata().at("ganq.manifest").c_str();
}

ganq_status ganq_model_run(ganq_model *model, const ganq_tensor *inputs,
                           size_t count, ganq_results **results) {
  return guarded([&] {
    if (!model || !results || (count && !inputs))
      return nullArgument(!model ? "model" : results ? "inputs" : "results");
    std::vector<NamedTensor> named;
    for (size_t i = 0; i < count; ++i) {
      const ganq_tensor &input = inputs[i];
      if (!input.name || (input.rank > 0 && !input.shape))
        return nullArgument(input.name ? "shape" : "name");
      if (input.dtype < 0 || input.dtype > GANQ_F8_E5M2 || input.rank < 0 ||
          input.rank > 64)
        return Status(Code::InvalidArgument,
                      std::string("input '") + input.name +
                          "': expected a known dtype and a rank up to 64");
      NamedTensor tensor{input.name, DType(input.dtype), {}, input.data};
      if (input.rank > 0)
        tensor.shape.assign(input.shape, input.shape + input.rank);
      std::optional<int64_t> elements = elementCount(tensor.shape);
      if (!input.data && elements != 0)
        return nullArgument("data");
      named.push_back(std::move(tensor));
    }
    Result<std::vector<Tensor>> outputs = model->model->run(named);
    if (outputs.ok())
      *results = new ganq_results{model->model, std::move(*outputs)};
    return outputs.status();
  });
}

size_t ganq_results_count(const ganq_results *results) {
  return results ? results->tensors.size() : 0;
}

ganq_status ganq_results_get(const ganq_results *results, size_t i,
                             ganq_tensor *tensor) {
  return guarded([&] {
    if (!results || !tensor)
      return nullArgument(results ? "tensor" : "results");
    if (i >= results->tensors.size())
      return Status(Code::InvalidArgument,
                    "expected an output below " +
                        std::to_string(results->tensors.size()) + ", but got " +
                        std::to_string(i));
    const Tensor &output = results->tensors[i];
    *tensor = {results->model->manifest().main->outputs[i].name.c_str(),
               int32_t(output.dtype), int32_t(output.shape.size()),
               output.shape.data(), output.data.data()};
    return Status();
  });
}

void ganq_results_free(ganq_results *results) { delete results; }

ganq_status ganq_model_evaluate(ganq_model *model, const int64_t *tokens,
                                int64_t rows, int64_t columns, double *loss,
                                int64_t *targets) {
  return guarded([&] {
    if (!model || !tokens || !loss || !targets)
      return nullArgument(!model    ? "model"
                          : !tokens ? "tokens"
                          : !loss   ? "loss"
                                    : "targets");
    Result<PerplexityResult> result =
        evaluatePerplexity(model->model, tokens, rows, columns);
    if (result.ok()) {
      *loss = result->negativeLogLikelihood;
      *targets = result->tokens;
    }
    return result.status();
  });
}

ganq_status ganq_session_create(ganq_model *model, ganq_session **session) {
  return guarded([&] {
    if (!model || !session)
      return nullArgument(model ? "session" : "model");
    Result<std::unique_ptr<Session>> created = Session::create(model->model);
    if (created.ok())
      *session = new ganq_session{std::move(*created)};
    return created.status();
  });
}

void ganq_session_destroy(ganq_session *session) { delete session; }

ganq_status ganq_session_feed(ganq_session *session, const int64_t *tokens,
                              int64_t count) {
  return guarded([&] {
    if (!session)
      return nullArgument("session");
    return session->session->feed(tokens, count);
  });
}

ganq_status ganq_session_logits(const ganq_session *session,
                                const float **logits, int64_t *vocabulary) {
  return guarded([&] {
    if (!session || !logits || !vocabulary)
      return nullArgument(!session ? "session"
                          : logits ? "vocabulary"
                                   : "logits");
    Result<const float *> read = session->session->readLogits();
    if (!read.ok())
      return read.status();
    if (!*read)
      return Status(Code::InvalidArgument,
                    "expected a session with logits, but no token was fed");
    *logits = *read;
    *vocabulary = session->session->vocabulary();
    return Status();
  });
}

int64_t ganq_session_length(const ganq_session *session) {
  return session ? session->session->length() : 0;
}

int64_t ganq_session_max_context(const ganq_session *session) {
  return session ? session->session->maxContext() : 0;
}

ganq_status ganq_session_rewind(ganq_session *session, int64_t length) {
  return guarded([&] {
    if (!session)
      return nullArgument("session");
    return session->session->rewind(length);
  });
}

ganq_status ganq_session_sample(ganq_session *session, double temperature,
                                int64_t *token) {
  return guarded([&] {
    if (!session || !token)
      return nullArgument(session ? "token" : "session");
    Result<int64_t> sampled = session->session->sample(temperature);
    if (sampled.ok())
      *token = *sampled;
    return sampled.status();
  });
}

void ganq_session_seed(ganq_session *session, uint64_t seed) {
  if (session)
    session->session->seed(seed);
}
