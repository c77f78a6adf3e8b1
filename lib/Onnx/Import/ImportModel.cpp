//===- ImportModel.cpp - ONNX models to the onnx dialect ------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "GraphImporter.h"
#include "WireFormat.h"
#include "ganq/Onnx/Import.h"
#include "ganq/Support/Files.h"
#include "mlir/IR/Verifier.h"

using namespace mlir;
using namespace ganq::onnx;

/// The opset of the default domain and those of the other domains.
static void setOpsets(ModuleOp module, const ::onnx::ModelProto &model) {
  Builder b(module.getContext());
  NamedAttrList domains;
  for (const ::onnx::OperatorSetIdProto &opset : model.opset_import()) {
    if (opset.domain().empty() || opset.domain() == "ai.onnx")
      module->setAttr("onnx.opset", b.getI64IntegerAttr(opset.version()));
    else
      domains.set(opset.domain(), b.getI64IntegerAttr(opset.version()));
  }
  if (!domains.empty())
    module->setAttr("onnx.domains", domains.getDictionary(b.getContext()));
  module->setAttr("onnx.ir_version", b.getI64IntegerAttr(model.ir_version()));
  if (!model.producer_name().empty())
    module->setAttr("onnx.producer", b.getStringAttr(model.producer_name()));
}

OwningOpRef<ModuleOp>
ganq::onnx::importOnnxModel(StringRef path, MLIRContext *context,
                            const ImportOptions &options) {
  context->loadDialect<OnnxDialect, ganq::GanqDialect, func::FuncDialect>();
  Location loc = NameLoc::get(StringAttr::get(context, path));
  auto fail = [&](const Twine &message) {
    emitError(loc) << message;
    return OwningOpRef<ModuleOp>();
  };
  if (StringRef special = describeSpecialFile(path); !special.empty())
    return fail("expected an ONNX file, but got " + special);
  auto file = llvm::MemoryBuffer::getFile(path, /*IsText=*/false,
                                          /*RequiresNullTerminator=*/false);
  if (!file)
    return fail("cannot open the model: " + file.getError().message());
  if ((*file)->getBufferSize() == 0)
    return fail("expected an ONNX file, but got an empty file");

  std::string error;
  std::optional<std::string> skeleton =
      stripTensorData((*file)->getBuffer(), error);
  if (!skeleton)
    return fail("expected an ONNX file, but it cannot be read: " + error);
  ::onnx::ModelProto model;
  // The message classes report malformed messages on stderr; the diagnostic
  // below says it all.
  google::protobuf::LogSilencer silence;
  if (skeleton->size() > std::numeric_limits<int>::max() ||
      !model.ParseFromArray(skeleton->data(),
                            static_cast<int>(skeleton->size())))
    return fail("expected an ONNX file, but it is no valid ModelProto message");
  skeleton.reset();
  if (!model.has_graph())
    return fail("expected an ONNX file, but got a message without a graph");

  GraphImporter importer(path, **file, model, context, options);
  OwningOpRef<ModuleOp> module = importer.run();
  if (!module)
    return {};
  setOpsets(*module, model);
  if (failed(verify(*module)))
    return {};
  return module;
}
